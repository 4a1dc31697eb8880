"""What must survive a restart: snapshots of state and models."""
