"""How the readings of each channel behave while its sensor is healthy, learned from the same history as the model.

A sensor that sticks, falls silent or spikes is told from a healthy one by how it behaved before: a setpoint rests for
hours and is well, a pressure that reads the same six times is not. One profile holds for the whole class, so that a new
machine is judged from its first window on. `fitting.profile` learns profiles, `sensors.checks` judges by them.

With an incumbent its profile stays, as its scaling does: what was found faulty since is masked in the history, so a
new profile would take the masked cells for the channel's nature.
"""

from dataclasses import dataclass

import numpy as np

from monitor.core.records import Floats

NOT_JUDGED = -1.0


@dataclass(frozen=True, slots=True)
class SensorProfile:
    """Of each channel, in its own unit; NOT_JUDGED where nothing can be said."""

    rest: Floats  # (C,) most repetitions of one value in a row
    hole: Floats  # (C,) most steps in a row without a reading while other channels of the asset had one
    change: Floats  # (C,) largest change from one step to the next
    low: Floats  # (C,) smallest reading
    high: Floats  # (C,) largest reading

    def check(self, channels: int) -> None:
        """Raises ValueError unless there is a number for each of `channels`."""
        for name in self.__slots__:
            array = getattr(self, name)
            if array.shape != (channels,) or array.dtype != np.float32:
                raise ValueError(f"habits: {name} is {array.dtype} {array.shape}, expected float32 ({channels},)")
