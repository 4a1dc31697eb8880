"""Windows: readings of one partition become windows of equal steps, at most one per asset and step.

The door is `windows.Windows`. Its parts work on columns over all assets at once:

    admission    how fast new assets are admitted
    rates        counters become changes a second
    grid         which step closes at which reading
    cells        readings on their way to the grid
    frontiers    where in a batch a step was first passed
    density      assets with several readings a step: such a step waits for all of them
    aggregates   several readings of a step to one value, or to mean, smallest, largest
    pace         for how many steps a channel holds its value
    rings        the history of each asset: holes are filled, and windows cut
    heard        the readings, for the stage that finds silent assets
    new_steps    for later stages that count something once per step
    options      settings of all of them

Promised: windows, positions, counts and state are a function of the sequence of readings alone, however the sequence
is cut into batches. A replay from a saved state repeats every window bit by bit. No clock is read.
"""
