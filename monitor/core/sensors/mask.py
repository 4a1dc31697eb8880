"""Which cells of windows are masked, and the record of the faults that masked them.

A masked cell counts as not observed. A cell is masked at some step, mostly its own. A fault is found only after it has
lasted, and then the cells back to its beginning are masked, too. A window is masked by what was found up to its own
end and by nothing later, so windows do not depend on which others share their batch.

Masks are kept for as long as a later window can hold the cell: for L - 1 steps, of the few assets that have any.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.arrays import Index, pick_columns
from monitor.core.records import Bools, Floats, State, Times, WindowBatch
from monitor.core.state import Column, Table, unfit
from monitor.core.windows.new_steps import NewSteps

TABLE: Table = {  # of the saved state; P = L - 1 steps
    "masked_rows": Column("i8", ("K",), below="A"),  # rows that have masked cells
    "masked": Column("?", ("K", "C", "P")),
}
_HEALTHY = 2**62  # a cell that was never found faulty
Reach = tuple[Bools, Callable[[Index], Times]]  # where (T, C) faults are found; the step (n, C) before their beginning


@dataclass(frozen=True, slots=True)
class SensorFaults:
    """The faults of each window and channel, as of the window's newest step."""

    fault: npt.NDArray[np.int8]  # (B, C) number in `checks.FAULTS`, 0 = none
    score: Floats  # (B, C) repetitions, steps of silence, or masked steps in the window
    threshold: Floats  # (B, C) from which score on it is a fault
    begin: Times  # (B, C) ms UTC: since when

    def take(self, index: Index) -> "SensorFaults":
        """Return the windows at `index` (K,), in that order."""
        return SensorFaults(self.fault[index], self.score[index], self.threshold[index], self.begin[index])


def join_faults(windows: Sequence[WindowBatch], parts: Sequence[SensorFaults | None]) -> SensorFaults | None:
    """Return the faults of several batches of windows as one; None if all are None."""
    if all(part is None for part in parts):
        return None

    known = [_no_faults(batch) if part is None else part for batch, part in zip(windows, parts, strict=True)]
    names = SensorFaults.__slots__
    return SensorFaults(*(np.concatenate([getattr(part, name) for part in known]) for name in names))


def hide(windows: WindowBatch, unread: Bools) -> WindowBatch:
    """Return the windows with all cells of the channels `unread` (B, C) masked."""
    if not unread.any():
        return windows
    return windows.without(np.repeat(unread[:, :, None], windows.values.shape[2], axis=2))


def _no_faults(windows: WindowBatch) -> SensorFaults:
    shape = windows.values.shape[:2]
    begin = np.broadcast_to(windows.ends[:, None], shape)
    return SensorFaults(np.zeros(shape, np.int8), np.zeros(shape, np.float32), np.ones(shape, np.float32), begin)


class CellMask:
    """The masked cells of the last L - 1 steps, of the assets that have any."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._cells: dict[int, Bools] = {}  # asset row -> (C, L - 1)

    def pick(self, source: Index) -> None:
        """Take column `source[c]` (-1 = a new one) as channel c."""
        self._cells = {row: pick_columns(cells[None], source, False)[0] for row, cells in self._cells.items()}

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._cells.pop(row, None)

    def affects(self, steps: NewSteps) -> bool:
        """Return whether an asset with masked cells has new steps."""
        return bool(self._cells) and not self._cells.keys().isdisjoint(steps.row[steps.newest].tolist())

    def update(self, steps: NewSteps, marks: Bools, reach: Sequence[Reach], jumps: Bools) -> tuple[Bools, int]:
        """Return the masked cells of each window (B, C, L), and how many cells were masked by these steps.

        `marks` (T, C) are masked at their own step. Cells before `jumps` (T, C) are masked one step later. A fault of
        `reach` masks the cells back to the step after the one that its function gives.
        """
        faulty = marks.any(1) | jumps.any(1)
        affected = set(np.unique(steps.row[faulty]).tolist())
        affected |= self._cells.keys() & set(steps.row[steps.newest].tolist())

        B, C, L = len(steps.order), marks.shape[1], self._length
        masked, found = np.zeros((B, C, L), np.bool_), 0
        backs = sorted(_backs(steps, reach, jumps))  # by place, so that an asset goes through its own only
        places = [place for place, *_ in backs]
        assets = steps.row[steps.tail]

        for row in sorted(affected):
            low, high = np.searchsorted(steps.row, (row, row + 1))
            known = self._timeline(row, marks[low:high])

            # Mask in retrospect, from the oldest cell on that a window from here on can hold.
            for place, channel, begin, end in backs[bisect_left(places, low) : bisect_left(places, high)]:
                oldest = max(place, begin + L - 1) - low
                part = known[oldest : end - low + L - 1, channel]
                np.minimum(part, place - low + L - 1, out=part)
            found += int(np.count_nonzero((known >= 0) & (known < _HEALTHY)))

            # A window knows of the faults that were found up to its own newest step.
            first, last = np.searchsorted(assets, (row, row + 1))
            tails = steps.tail[first:last] - low + L - 1
            cells = sliding_window_view(known, L, axis=0)[tails - L + 1]  # (n, C, L)
            masked[steps.order[first:last]] = cells <= tails[:, None, None]
            self._keep(row, known)
        return masked, found

    def _timeline(self, row: int, marks: Bools) -> Times:
        """Return at which place each cell (L - 1 + n, C) of an asset was found faulty; -1 = before these steps."""
        kept = self._length - 1
        known = np.full((kept + len(marks), marks.shape[1]), _HEALTHY)
        if row in self._cells:
            known[:kept][self._cells[row].T] = -1
        known[kept:] = np.where(marks, np.arange(kept, len(known))[:, None], _HEALTHY)
        return known

    def _keep(self, row: int, known: Times) -> None:
        cells = (known[len(known) - self._length + 1 :] < _HEALTHY).T
        if cells.any():
            self._cells[row] = cells.copy()
        else:
            self._cells.pop(row, None)

    def save(self, channels: int) -> State:
        """Return the arrays of `TABLE`."""
        rows = sorted(self._cells)
        cells = np.zeros((len(rows), channels, self._length - 1), np.bool_)
        for place, row in enumerate(rows):
            cells[place] = self._cells[row]
        return {"masked_rows": np.array(rows, np.int64), "masked": cells}

    @staticmethod
    def check(stage: str, state: State) -> None:
        """Raise ValueError if a state that fits `TABLE` names a row twice."""
        rows = state["masked_rows"].tolist()
        if len(set(rows)) < len(rows):
            raise unfit(stage, "masked_rows", rows[:10], "distinct rows")

    def load(self, state: State) -> None:
        """Continue from a state that was checked."""
        self._cells = {row: state["masked"][place].copy() for place, row in enumerate(state["masked_rows"].tolist())}


def _backs(steps: NewSteps, reach: Sequence[Reach], jumps: Bools) -> Iterator[tuple[int, int, int, int]]:
    """Yield the place that finds a fault, its channel, and the places [begin, end) that are masked in retrospect."""
    for marks, since in reach:
        rows = np.flatnonzero(marks.any(1))
        begin = since(rows)
        for number, channel in np.argwhere(marks[rows]).tolist():
            place = int(rows[number])
            yield place, channel, place - int(steps.step[place] - begin[number, channel]) + 1, place

    for place, channel in np.argwhere(jumps).tolist():
        yield place, channel, place - 1, place
