"""Checks of sensors and clocks: faults of the measurement, as opposed to faults of the machine.

`checks.Sensors` is the door. Per window and channel it finds frozen sensors, dropouts, jumps and readings outside the
limits, and masks the cells of faulty sensors: they count as not observed, for the score and for training.
`clocks.Clocks` finds assets whose clock is wrong. It masks nothing, since the values are right.

    profile   how a channel behaves while its sensor is healthy; learned with the model (`fitting.profile`)
    checks    the faults of each window, by the profile
    mask      which cells are masked, and the record of the faults found
    clocks    times of readings compared with the timestamps of their messages

Guaranteed: every result is a function of the sequence of windows (and timestamps), however the sequence is cut into
batches. A score has no influence on any check. Alerts are the business of `core.alerts.sensor_alerts`.
"""
