"""The mixed plant: four pumps, two mixers and four compressors on one topic, with their faults and labels.

Every message is a function of the seed and its step. Step 0 is on a Monday.
"""

from collections.abc import Iterator

import msgspec

from monitor.evaluation.label import Label
from monitor.simulator.mixed.compressors import Compressors
from monitor.simulator.mixed.faults import EVENTS, changed, late_pumps, other_recipes
from monitor.simulator.mixed.machines import DAY, STEP_MS, Machines, rounded
from monitor.simulator.mixed.mixers import Mixers
from monitor.simulator.mixed.shift_pumps import ShiftPumps
from monitor.simulator.plant import Sent
from monitor.simulator.signals import Doubles

Values = dict[str, float | bool]

START = 1_772_409_600_000  # ms UTC, Monday, 2 March 2026, 00:00
BOOLEANS = {"loaded"}  # channels


class MixedPlant:
    """The plant with its faults."""

    def __init__(self, seed: int) -> None:
        self.kinds: tuple[Machines, ...] = (
            ShiftPumps(seed, 4, late_pumps()),
            Mixers(seed, 2, other_recipes()),
            Compressors(seed, 4),
        )
        self.names = tuple(name for kind in self.kinds for name in kind.names)

    def time(self, step: int) -> int:
        """Return the time of a step, ms UTC."""
        return START + step * STEP_MS

    def labels(self) -> tuple[Label, ...]:
        """Return what goes wrong, by start."""
        return tuple(sorted((event.label(START) for event in EVENTS), key=lambda label: (label.start, label.asset)))

    def readings(self, kind: Machines, machine: int, day: int) -> Doubles:
        """Return a machine's readings (DAY, C) on a day; NaN where it is silent."""
        channels = [channel.name for channel in kind.channels]
        signals = changed(kind.names[machine], channels, kind.day(machine, day), day)
        return rounded(kind.channels, signals)

    def messages(self, days: int) -> Iterator[Sent]:
        """Yield the messages of the first `days` days, one per machine and step unless it is silent."""
        for day in range(days):
            columns = [self._bodies(kind, machine, day) for kind in self.kinds for machine in range(len(kind.names))]
            for step, bodies in enumerate(zip(*columns, strict=True)):
                time = self.time(day * DAY + step)
                for name, values in zip(self.names, bodies, strict=True):
                    if values is not None:
                        yield Sent(
                            name.encode(),
                            msgspec.json.encode({"asset": name, "timestamp": time, "values": values}),
                            time,
                        )

    def _bodies(self, kind: Machines, machine: int, day: int) -> Iterator[Values | None]:
        """Yield the values of each message of a machine's day; None for a step at which it is silent."""
        names = [channel.name for channel in kind.channels]
        for row in self.readings(kind, machine, day).tolist():
            silent = row[0] != row[0]
            yield (
                None
                if silent
                else {name: bool(value) if name in BOOLEANS else value for name, value in zip(names, row, strict=True)}
            )
