"""Compressors that load and unload: a valve state, a counter of energy, and readings that follow both.

The demand of air follows the hours of the day. A valve loads the compressor for a share of each cycle of about two
hours. The counter begins at zero each midnight, so a reading depends on the steps of its day alone.
"""

import numpy as np

from monitor.simulator.mixed.machines import DAY, HOUR, Channel, gains, noise, two_days
from monitor.simulator.signals import Doubles, draw, lagged, smooth

CHANNELS = (
    Channel("loaded", 0.0, 0),  # a boolean
    Channel("pressure", 0.03, 3),  # bar
    Channel("flow", 0.15, 2),  # m3/min
    Channel("current", 1.0, 1),  # A
    Channel("outlet_temperature", 2.0, 2),  # degrees Celsius; single readings scatter, as the flow is turbulent
    Channel("energy", 0.0, 2),  # kWh since midnight
)
LOADED, OUTLET, ENERGY = 0, 4, 5  # places in CHANNELS

_KIND = 3
_CYCLE = 120  # steps, and some more or less
_EARLY = 15  # steps
_KW = 0.6  # per ampere


class Compressors:
    """The compressors, which run day and night."""

    channels = CHANNELS

    def __init__(self, seed: int, count: int) -> None:
        self.names = tuple(f"compressor-{number:02d}" for number in range(1, count + 1))
        self._seed = seed
        self._gains = gains(seed, _KIND, count, len(CHANNELS))
        self._gains[:, LOADED] = 1

    def day(self, machine: int, day: int) -> Doubles:
        """See `Machines`."""
        unit = two_days(self._seed, _KIND, machine, day, len(CHANNELS) + 1)
        hour = np.arange(DAY) / HOUR
        demand = 0.6 + 0.12 * np.sin(2 * np.pi * (hour - 8) / 24) + 0.04 * np.clip(smooth(unit[:, -1], 60), -2, 2)

        # The outlet follows the loads of the day before, too. Demand repeats daily, apart from its fluctuation.
        loads = [self._loads(machine, each, demand) for each in (day - 1, day)]
        loaded, phase = loads[1]
        heat = lagged(np.concatenate([loads[0][0], loaded]), 20)
        current = 38 + 62 * loaded
        columns = (
            loaded,
            7.0 + 0.4 * phase,
            12 * demand,
            current,
            21 + 3 * np.sin(2 * np.pi * (hour - 9) / 24) + 55 + 10 * heat,
            np.cumsum(_KW * (current + 0.8 * unit[DAY:, ENERGY]) / HOUR),
        )
        spread = noise(CHANNELS, unit[DAY:, : len(CHANNELS)])
        signals: Doubles = np.stack(columns, 1) * self._gains[machine] + spread
        return signals

    def _loads(self, machine: int, day: int, demand: Doubles) -> tuple[Doubles, Doubles]:
        """Return for each step (DAY,) whether the valve loads, and the pressure's place within its band, 0 to 1."""
        # A day begins and ends between two cycles, so that midnight shows nowhere but in the counter.
        edges = np.arange(0, DAY + 1, _CYCLE)
        edges[1:-1] += draw(self._seed, _KIND, 2, machine, day + 1).integers(-_EARLY, _EARLY + 1, len(edges) - 2)
        step = np.arange(DAY)
        cycle = np.searchsorted(edges, step, side="right") - 1
        share = (step - edges[cycle] + 0.5) / np.diff(edges)[cycle]  # of the cycle, 0 to 1

        loaded = share < demand
        phase = np.where(loaded, share / demand, (1 - share) / (1 - demand))
        return loaded.astype(np.float64), phase
