"""The pure stages of the monitor: bytes to readings to windows to scores to limits to alerts.

The door is `detectors.Detectors`: the messages of one partition are decoded once, `routing` gives each detector its
readings, and its `pipeline.Pipeline` takes them through the stages in their order. `records` are the batches that
stages pass to each other, and `join` puts parts of them together. `state` is the table by which a stage keeps, saves
and loads its arrays, `saved` what a snapshot holds of a partition. `rules` are exceptions for one machine or channel.
`angles` and `texts` are channels that are read as something else than shown, `arrays` shared helpers. `publish` and
`published` turn results into records of topics. Each package is one stage or one subject:

    decode      bytes to readings               model       windows to scores and modes
    windows     readings to windows             threshold   scores to limits
    running     machines at rest                alerts      limits, faults and silence to alerts
    sensors     checks of sensors and clocks    fitting     history to a model

Promised: no clock, log, thread, socket, file or global randomness. Results are a function of the messages and of the
adopted models, however the messages are cut into batches, so a replay from a snapshot is exact. Work is done on columns
over many assets; no object per reading exists.
"""
