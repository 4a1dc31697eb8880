"""Pure stages: bytes to columns to windows to scores to alerts. No clock, log, thread, socket or file in here."""
