"""How a process is observed: metrics, health, systemd's watchdog and logs.

`metrics.py` has the collectors and `metric_table.py` the table of all metrics, from which docs/metrics.md is written.
`health.py` keeps the heartbeat and the conditions behind /livez and /readyz. `watchdog.py` notifies systemd. `logs.py`
configures structlog; docs/log-events.md lists every event.

Promises: nothing here waits for a network or a disk, so the worker may report from its loop. Threads may share all of
it. No metric has an asset label, and no log line is written per reading. Nothing here knows the worker or HTTP.

A process makes one `Metrics`, one `Health` and one `Notifier`, and calls `logs.configure` once.
"""
