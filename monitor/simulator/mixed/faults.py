"""What goes wrong in the mixed plant, each with its label: a schedule of times, sizes and machines.

The first week is healthy. In the second week each kind of machine has faults, a pump does not start, a mixer makes a
new recipe, a gateway dies, and a compressor's cooler fouls so slowly that only the mean of many readings shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.records import NEW_MODE, NOT_RUNNING, SILENCE
from monitor.evaluation.label import Label
from monitor.simulator.mixed.machines import DAY, HOUR, STEP_MS
from monitor.simulator.mixed.mixers import NEW_RECIPE, SLOT
from monitor.simulator.signals import Doubles

HEALTHY = 7 * DAY  # steps
STEPS = HEALTHY + 6 * DAY  # Monday to Saturday of the second week


@dataclass(frozen=True, slots=True)
class Event:
    """A label in steps. Events that are no faults have the cause of their alerts as kind."""

    asset: str
    kind: str
    channels: tuple[str, ...]
    start: int  # step
    steps: int
    size: float = 0.0  # as the kind says

    def label(self, begin: int) -> Label:
        """Return the label in a plant whose step 0 is at `begin`, ms UTC."""
        start, end = begin + self.start * STEP_MS, begin + (self.start + self.steps) * STEP_MS
        return Label(self.asset, self.kind, self.channels, start, end, self.size)


def _at(day: int, hour: float) -> int:
    """Return the step of an hour of a day of the second week; Monday is 0."""
    return HEALTHY + day * DAY + round(hour * HOUR)


LATE = 150  # steps by which the pump that does not start is late
EVENTS = (
    Event("pump-02", "blockage", ("flow",), _at(1, 10), 2 * HOUR, 0.85),  # factor
    Event("compressor-01", "leak", ("energy",), _at(1, 13), 3 * HOUR, 1.25),  # factor of the counter's speed
    Event("mixer-01", NEW_MODE, ("recipe",), _at(2, 8), SLOT, NEW_RECIPE),
    Event("pump-01", "bearing", ("bearing_temperature",), _at(2, 10), 3 * HOUR, 10.0),  # K at the end
    Event("pump-03", NOT_RUNNING, (), _at(3, 6.25), LATE),
    Event("mixer-02", "wear", ("torque",), _at(3, 12), 2 * SLOT, 1.3),  # factor
    Event("compressor-02", "valve", ("loaded",), _at(3, 16), 2 * HOUR),
    Event("compressor-01", "fouling", ("outlet_temperature",), _at(3, 0), 2 * DAY, 6.0),  # K at the end
    Event("compressor-03", SILENCE, (), _at(4, 2), 4 * HOUR),
    Event("compressor-04", SILENCE, (), _at(4, 2), 4 * HOUR),  # behind the same gateway
)


def _machine(asset: str) -> int:
    """Return the place of a machine among those of its kind."""
    return int(asset.rpartition("-")[2]) - 1


def late_pumps() -> dict[tuple[int, int], int]:
    """Return the steps by which a pump starts late, by pump and day."""
    return {(_machine(each.asset), each.start // DAY): each.steps for each in EVENTS if each.kind == NOT_RUNNING}


def other_recipes() -> dict[tuple[int, int, int], int]:
    """Return recipes outside the usual ones, by mixer, day and batch of the day."""
    return {
        (_machine(each.asset), each.start // DAY, each.start % DAY // SLOT): round(each.size)
        for each in EVENTS
        if each.kind == NEW_MODE
    }


def changed(asset: str, names: Sequence[str], signals: Doubles, day: int) -> Doubles:
    """Return an asset's signals (DAY, C) of a day, with the channels `names`, as its faults change them.

    NaN where the asset is silent. Late pumps and new recipes are in the machines' own schedules.
    """
    signals = signals.copy()
    for event in EVENTS:
        first, last = event.start - day * DAY, event.start + event.steps - day * DAY  # steps of the day
        if event.asset == asset and event.kind not in {NOT_RUNNING, NEW_MODE} and first < DAY and last > 0:
            columns = [names.index(channel) for channel in event.channels]
            _change(event, columns, signals, first)
    return signals


def _change(event: Event, columns: Sequence[int], signals: Doubles, first: int) -> None:
    """Change the signals of a day in place; `first` is the event's start in steps of the day, negative if earlier."""
    within = slice(max(first, 0), first + event.steps)
    match event.kind:
        case kind if kind == SILENCE:
            signals[within] = np.nan
        case "blockage" | "wear":
            signals[within, columns] *= event.size
        case "valve":
            signals[within, columns] = 0
        case "bearing" | "fouling":
            grown = (np.arange(len(signals))[within] - first + 1) / event.steps
            signals[within, columns] += event.size * grown[:, None]
        case "leak":
            # The counter's speed changes; what it has counted stays counted until midnight.
            counted = np.diff(signals[:, columns], axis=0, prepend=0)
            extra = np.zeros_like(counted)
            extra[within] = (event.size - 1) * counted[within]
            signals[:, columns] += np.cumsum(extra, axis=0)
        case _:
            raise ValueError(f"no change is known for the kind {event.kind!r}")
