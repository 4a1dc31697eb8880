"""The detecting worker: everything between the source of readings and the sink of alerts.

The door is `Daemon` (loop.py): it polls, processes and makes checkpoints on one thread. `PartitionManager` starts,
restores and saves partitions, each a `PartitionState` with a phase. `Publisher` encodes outputs and waits for their
acknowledgement. `DeadLetterLimit` stops a partition of which too much cannot be decoded. The status page shows
`WorkerStatus` with its `AlertCharts`, and `MetricsRecorder` counts what passes.

The promises are the seven rules of delivery at the top of loop.py. In short: offsets are committed after their outputs
are acknowledged, snapshots are written after their offsets are committed, and a replay gives the same alerts with the
same ids. docs/delivery.md lists what happens in each kind of failure, with the test that shows it.
"""
