"""Pumps in two shifts: they run from about 06:00 to 22:00 on workdays, and rest at night and on weekends.

The load wanders, flow and pressure follow it by the affinity laws, and the bearing needs an hour to become warm. A
resting pump sends readings near zero. Pumps start and stop some minutes after each other.
"""

from collections.abc import Mapping

import numpy as np

from monitor.simulator.mixed.machines import DAY, HOUR, Channel, gains, noise, two_days
from monitor.simulator.signals import Doubles, lagged, smooth

CHANNELS = (
    Channel("speed", 8.0, 0),  # 1/min
    Channel("flow", 0.8, 2),  # m3/h
    Channel("pressure", 0.04, 3),  # bar
    Channel("current", 0.5, 2),  # A
    Channel("vibration", 0.05, 3),  # mm/s
    Channel("bearing_temperature", 0.3, 2),  # degrees Celsius
)
SHIFT = (6 * HOUR, 22 * HOUR)  # of the plant
APART = (7, 5)  # steps between two pumps at the start, and at the stop
WORKDAYS = 5  # of a week that begins on Monday

_KIND = 1
_REST = 0.002  # of the usual noise of a channel that rests, in its unit; the temperature keeps its own


class ShiftPumps:
    """The pumps. `late` has the steps by which a pump starts late, by pump and day."""

    channels = CHANNELS

    def __init__(self, seed: int, count: int, late: Mapping[tuple[int, int], int]) -> None:
        self.names = tuple(f"pump-{number:02d}" for number in range(1, count + 1))
        self._seed = seed
        self._late = late
        self._gains = gains(seed, _KIND, count, len(CHANNELS))

    def runs(self, machine: int, day: int) -> Doubles:
        """Return 1 for each step (DAY,) of a day at which a pump runs, 0 for the others."""
        start = SHIFT[0] + APART[0] * machine + self._late.get((machine, day), 0)
        step = np.arange(DAY)
        on = (start <= step) & (step < SHIFT[1] - APART[1] * machine)
        return np.where(day % 7 < WORKDAYS, on, False).astype(np.float64)

    def day(self, machine: int, day: int) -> Doubles:
        """See `Machines`."""
        unit = two_days(self._seed, _KIND, machine, day, len(CHANNELS) + 1)
        run = np.concatenate([self.runs(machine, each) for each in (day - 1, day)])

        # The load's fluctuation needs the day before, and the temperature the load of that day.
        wander = np.concatenate([np.zeros(DAY), smooth(unit[:, -1], 45)])
        wander[:DAY] = wander[DAY]
        load = run * (0.78 + 0.07 * np.clip(wander, -2.5, 2.5))
        heat = lagged(load, 15)

        load, run = load[DAY:], run[DAY:]
        outside = 19 + 3 * np.sin(2 * np.pi * (np.arange(DAY) / HOUR - 9) / 24)
        columns = (
            1000 * run + 2000 * load,
            120 * load,
            7.5 * load**2,
            12 * run + 70 * load**2.5,
            0.9 * run + 1.6 * load**2,
            outside + 45 * heat,
        )
        spread = noise(CHANNELS, unit[DAY:, : len(CHANNELS)])
        spread[:, :-1] *= np.where(run > 0, 1, _REST)[:, None]
        signals: Doubles = np.stack(columns, 1) * self._gains[machine] + spread
        return signals
