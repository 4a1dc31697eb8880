"""The service: parts made from the settings, run in order, reloaded and stopped.

The door is `run_service` (run.py): it opens the parts of a process, works until a signal arrives or the source ends,
closes everything in the reverse order and returns an exit code. wiring.py makes the parts from the settings, stages.py
the stages of a partition, and backends.py alone names implementations (Kafka, files, memory, InfluxDB). reload.py
applies changed settings, signals.py handles signals, offline.py reads a recording to its end.

Promises:

- A process that cannot work because of its configuration exits with 78, one that should be started again with 75.
- A stop makes a checkpoint. A second signal, or the end of the grace period, ends the process at once.
- Changed settings are applied as a whole or refused as a whole.
"""
