"""The pure stages of the monitor: bytes to readings to windows to scores to limits to alerts.

The door is `pipeline.Pipeline`, the stages of one partition in their order. `records` are the batches that stages pass
to each other, `state` is the table by which a stage keeps, saves and loads its arrays, `arrays` are shared helpers,
`publish` and `published` turn results into records of topics. Each other package is one stage or one subject:

    decode      bytes to readings               threshold   scores to limits
    windows     readings to windows             alerts      limits to alerts
    sensors     checks of sensors and clocks    fitting     history to a model
    model       windows to scores

Promised: no clock, log, thread, socket, file or global randomness. Results are a function of the messages and of the
adopted models, however the messages are cut into batches, so a replay from a snapshot is exact. Work is done on columns
over many assets; no object per reading exists.
"""
