"""The service: parts made from the settings, run in order, reloaded and stopped.

The door is `run_service` (run.py): it opens the parts of a process, works until a signal arrives or the source ends,
closes everything in the reverse order and returns an exit code. wiring.py makes the parts from the settings,
pipelines.py the stages of a partition, and backends.py alone names implementations (Kafka, files, memory, InfluxDB).
reload.py applies changed settings, signals.py handles signals.

Commands have a module each: offline.py (`train`) and rollback.py, connect.py (`check --connect`), dead_letters.py.
offline.py also reads recordings for `backtest`; intake.py and no_windows.py say why one gave nothing to score.

Promises:

- A process that cannot work because of its configuration exits with 78, one that should be started again with 75.
- A stop makes a checkpoint. A second signal, or the end of the grace period, ends the process at once.
- Changed settings are applied as a whole or refused as a whole.
"""
