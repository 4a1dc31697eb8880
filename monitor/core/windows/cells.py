"""Readings on their way to the grid, and the steps that hold them: open ones, and those that closed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import LARGEST, Doubles, Index
from monitor.core.records import Floats, Times

NONE = -1  # offset of a cell without a reading
HELD = -2  # and of such a cell whose channel's value was repeated


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Readings of known assets and channels (N,), in the order of their arrival."""

    row: Times  # (N,) asset
    column: Times  # (N,) channel
    time: Times  # (N,)
    value: npt.NDArray[np.float64]  # (N,)
    index: Times  # (N,) place in the batch they came in

    def at(self, places: npt.NDArray[np.bool_] | Index) -> "Arrivals":
        """Return the readings at `places`."""
        return Arrivals(
            self.row[places], self.column[places], self.time[places], self.value[places], self.index[places]
        )


@dataclass(frozen=True, slots=True)
class Closed:
    """Steps with at least one reading that closed, ordered by asset row, then step."""

    row: Times  # (K,)
    step: Times  # (K,)
    index: Times  # (K,) place in the batch of the reading that closed the step
    values: Floats  # (K, C) NaN = no reading; C aggregates of base channels


@dataclass(frozen=True, slots=True)
class Open:
    """Steps that are not closed yet, ordered by asset row, then step."""

    row: Times  # (G,)
    step: Times  # (G,)
    offset: npt.NDArray[np.int32]  # (G, base) ms from the step's start of the newest reading; NONE or HELD
    values: Floats  # (G, base)
    sums: Doubles  # (sums, G, base) of the readings before the newest; no sums where readings are not aggregated

    def at(self, places: npt.NDArray[np.bool_] | Index) -> "Open":
        """Return the steps at `places`."""
        sums = np.ascontiguousarray(self.sums[:, places])  # cells are written to by their place in memory
        return Open(self.row[places], self.step[places], self.offset[places], self.values[places], sums)


def nothing_closed(columns: int) -> Closed:
    """Return no steps, of so many columns."""
    nothing = np.empty(0, np.int64)
    return Closed(nothing, nothing, nothing, np.empty((0, columns), np.float32))


def openings(row: Times, time: Times, place: Times) -> Index:
    """Return which readings (n,) open a message: all but those that follow one of the same asset and time at once.

    Only these can move a clock. `place` (n,) ascends; where it skips one, a reading of something else came between.
    """
    opens = np.ones(len(row), np.bool_)
    opens[1:] = (row[1:] != row[:-1]) | (time[1:] != time[:-1]) | (place[1:] != place[:-1] + 1)
    return np.flatnonzero(opens)


def as_stored(value: npt.NDArray[np.float64]) -> Floats:
    """Return values as a window has them."""
    stored: Floats = np.clip(value, -LARGEST, LARGEST).astype(np.float32)
    return stored
