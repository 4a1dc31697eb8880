"""Which cells of windows are masked, kept for as long as a later window can hold them.

A cell becomes masked at some step, mostly its own, but a fault is found only after it has lasted: then the cells back
to its beginning become masked, too. A window knows what was found up to its own end and nothing later, so windows do
not depend on which others share their batch.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.arrays import Index, pick_columns
from monitor.core.records import Bools, Floats, State, Times, WindowBatch
from monitor.core.windows.new_steps import NewSteps

_SOUND = 2**62  # found never
Reach = tuple[Bools, Callable[[Index], Times]]  # where (T, C) faults are found; the step (n, C) each lasts since


@dataclass(frozen=True, slots=True)
class SensorFaults:
    """What was found of each window and channel, as of the window's newest step."""

    fault: npt.NDArray[np.int8]  # (B, C) number in `sensors.FAULTS`
    score: Floats  # (B, C) repetitions, steps of silence, or masked steps in the window
    threshold: Floats  # (B, C) what is tolerated of that
    begin: Times  # (B, C) ms UTC: since when

    def take(self, index: Index) -> "SensorFaults":
        """The windows at `index` (K,), in that order."""
        return SensorFaults(self.fault[index], self.score[index], self.threshold[index], self.begin[index])


class CellMask:
    """The masked cells of the last L - 1 steps, of the assets that have any."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._cells: dict[int, Bools] = {}  # asset row -> (C, L - 1)

    def remap(self, source: Index) -> None:
        """Take column `source[c]` (-1 = a new one) as channel c."""
        self._cells = {row: pick_columns(cells[None], source, False)[0] for row, cells in self._cells.items()}

    def forget(self, row: int) -> None:
        """No cell of this row is masked: it is another asset's now."""
        self._cells.pop(row, None)

    def touch(self, steps: NewSteps) -> bool:
        """Whether an asset with masked cells is among those of the steps."""
        return bool(self._cells) and not self._cells.keys().isdisjoint(steps.row[steps.newest].tolist())

    def update(self, steps: NewSteps, marks: Bools, reach: Sequence[Reach], jumps: Bools) -> tuple[Bools, int]:
        """The masked cells of each window (B, C, L), and how many have become so.

        `marks` (T, C) are masked at their own step, those before `jumps` (T, C) one step later, and those of `reach`
        back to the step after the one that the fault lasts since.
        """
        any_mark = marks.any(1) | jumps.any(1)
        affected = set(np.unique(steps.row[any_mark]).tolist())
        affected |= self._cells.keys() & set(steps.row[steps.newest].tolist())
        B, C, L = len(steps.order), marks.shape[1], self._length
        masked, found = np.zeros((B, C, L), np.bool_), 0
        backs = sorted(_backs(steps, reach, jumps))  # by place, so that each asset looks at no more than its own
        places = [place for place, *_ in backs]
        assets = steps.row[steps.tail]
        for row in sorted(affected):
            low, high = np.searchsorted(steps.row, (row, row + 1))
            known = self._timeline(row, marks[low:high])
            for place, channel, begin, end in backs[bisect_left(places, low) : bisect_left(places, high)]:
                oldest = max(place, begin + L - 1) - low  # that a window from here on can hold
                part = known[oldest : end - low + L - 1, channel]
                np.minimum(part, place - low + L - 1, out=part)
            found += int(np.count_nonzero((known >= 0) & (known < _SOUND)))
            first, last = np.searchsorted(assets, (row, row + 1))
            tails = steps.tail[first:last] - low + L - 1
            cells = sliding_window_view(known, L, axis=0)[tails - L + 1]  # (n, C, L)
            masked[steps.order[first:last]] = cells <= tails[:, None, None]
            self._keep(row, known)
        return masked, found

    def _timeline(self, row: int, marks: Bools) -> Times:
        """When each cell of an asset was found to be masked: (L - 1 + n, C), places in itself; -1 = before."""
        kept = self._length - 1
        known = np.full((kept + len(marks), marks.shape[1]), _SOUND)
        if row in self._cells:
            known[:kept][self._cells[row].T] = -1
        known[kept:] = np.where(marks, np.arange(kept, len(known))[:, None], _SOUND)
        return known

    def _keep(self, row: int, known: Times) -> None:
        cells = (known[len(known) - self._length + 1 :] < _SOUND).T
        if cells.any():
            self._cells[row] = cells.copy()
        else:
            self._cells.pop(row, None)

    def save_state(self) -> State:
        """As arrays: rows (K,) and cells (K, C, L - 1)."""
        rows = sorted(self._cells)
        cells = np.array([self._cells[row] for row in rows], np.bool_)
        return {"masked_rows": np.array(rows, np.int64), "masked": cells}

    def load_state(self, state: State, assets: int, channels: int) -> None:
        """Go on from what `save_state` gave. Raises ValueError, and changes nothing, if it does not fit."""
        if state.keys() != {"masked_rows", "masked"}:
            raise ValueError(f"state of doubts holds {sorted(state)}, expected masked and masked_rows")
        rows, cells = state["masked_rows"], state["masked"]
        if rows.dtype != np.int64 or rows.ndim != 1 or len(set(rows.tolist())) < len(rows):
            raise ValueError("state of doubts: expected different rows")
        if np.any((rows < 0) | (rows >= assets)):
            raise ValueError("state of doubts names an asset that is not there")
        shape = (len(rows), channels, self._length - 1)
        if cells.dtype != np.bool_ or (len(rows) and cells.shape != shape):
            raise ValueError(f"state of doubts: cells are {cells.dtype} {cells.shape}, expected bool {shape}")
        self._cells = {row: cells[place].copy() for place, row in enumerate(rows.tolist())}


def join_faults(windows: Sequence[WindowBatch], parts: Sequence[SensorFaults | None]) -> SensorFaults | None:
    """The findings of several batches of windows as one; None if nothing was found of any."""
    if all(part is None for part in parts):
        return None
    known = [_nothing(batch) if part is None else part for batch, part in zip(windows, parts, strict=True)]
    names = SensorFaults.__slots__
    return SensorFaults(*(np.concatenate([getattr(part, name) for part in known]) for name in names))


def _nothing(windows: WindowBatch) -> SensorFaults:
    shape = windows.values.shape[:2]
    begin = np.broadcast_to(windows.ends[:, None], shape)
    return SensorFaults(np.zeros(shape, np.int8), np.zeros(shape, np.float32), np.ones(shape, np.float32), begin)


def _backs(steps: NewSteps, reach: Sequence[Reach], jumps: Bools) -> Iterator[tuple[int, int, int, int]]:
    """Place that finds it, channel, and the places [begin, end) that are masked in retrospect."""
    for marks, since in reach:
        rows = np.flatnonzero(marks.any(1))
        begin = since(rows)
        for number, channel in np.argwhere(marks[rows]).tolist():
            place = int(rows[number])
            yield place, channel, place - int(steps.step[place] - begin[number, channel]) + 1, place
    for place, channel in np.argwhere(jumps).tolist():
        yield place, channel, place - 1, place
