"""How the readings of each channel behave while its sensor is healthy, learned from the same history as the model.

A sensor that sticks, falls silent or spikes is recognised by comparison with its own past: a setpoint rests for hours
and is well, a pressure that reads the same six times is not. One profile holds for the whole class, so a new machine
is judged from its first window on. `fitting.profile` learns profiles, `checks` judges by them.

With an incumbent model its profile stays, as its scaling does. Faults found since then are masked in the history, so a
new profile would take the masked cells for the channel's nature.
"""

from dataclasses import dataclass

import numpy as np

from monitor.core.records import Bools, Floats

NOT_JUDGED = -1.0


@dataclass(frozen=True, slots=True)
class SensorProfile:
    """Limits of healthy behaviour per channel, in its own unit; NOT_JUDGED where the history shows none."""

    rest: Floats  # (C,) most repetitions of one value in a row
    hole: Floats  # (C,) most steps in a row without a reading while other channels of the asset had one
    change: Floats  # (C,) largest change from one step to the next
    low: Floats  # (C,) smallest reading
    high: Floats  # (C,) largest reading

    @classmethod
    def unknown(cls, channels: int) -> "SensorProfile":
        """Return the profile of `channels` of which nothing is known, so that none is judged."""
        nothing = np.full(channels, NOT_JUDGED, np.float32)
        return cls(nothing, nothing, nothing, nothing, nothing)

    def without(self, channels: Bools) -> "SensorProfile":
        """Return the profile that does not judge the marked `channels` (C,)."""
        return SensorProfile(*(np.where(channels, np.float32(NOT_JUDGED), getattr(self, n)) for n in self.__slots__))

    def check(self, channels: int) -> None:
        """Raise ValueError unless every array has a float32 for each of `channels`."""
        for name in self.__slots__:
            array = getattr(self, name)
            if array.shape != (channels,) or array.dtype != np.float32:
                found = f"{array.dtype} {array.shape}"
                raise ValueError(f"sensor profile: {name} is {found}, expected float32 ({channels},)")
