"""Windows: readings of one partition become windows of equal steps, at most one per asset and step.

The door is `windows.Windows`. Its parts work on columns over all assets at once: `admission` bounds how fast new assets
are admitted, `grid` decides which step closes at which reading, `rings` keep the history, fill holes and cut windows.
`new_steps` serves later stages that count something once per step. `options` holds the settings of all of them.

Promised: windows, positions, counts and state are a function of the sequence of readings alone, however the sequence
is cut into batches. A replay from a saved state repeats every window bit by bit. No clock is read.
"""
