"""Keeps the last steps of every asset and cuts a window at each step that closed.

A ring is a plain buffer of 3L/2 columns per asset, written from left to right; when it is full its last L - 1 columns
move to the front. So every window is one contiguous slice, up to L/2 + 1 steps of an asset are written at once, and
each column is copied about twice more than it must be. 2L would save one of the copies and cost a third more memory.

Empty steps between two steps with readings become rows without an observed cell, unless there are more than `max_gap`
of them: then the asset's window restarts. They are written when the step after them closes, as only then is the hole's
length known; no window ends in one. A missing cell carries the channel's last observed value for `max_fill` steps.

It does not decide when a step closes (see `grid`).
"""

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.arrays import NEVER, Index, extend, first_of_run, last_of_run, pick_columns
from monitor.core.records import Bools, Floats, State, Times, WindowBatch
from monitor.core.windows.grid import Closed


class _Rows:
    """Closed steps (K,) and the empty ones before them laid out as rows (T,) to be written, asset by asset."""

    def __init__(self, closed: Closed, newest: Times, filled: Times, max_gap: int) -> None:
        first = first_of_run(closed.row)  # (K,)
        before = np.append(NEVER, closed.step[:-1])
        before[first] = newest[closed.row[first]]
        started = before != NEVER
        hole = np.where(started, closed.step - before - 1, 0)
        long = started & (hole > max_gap)
        begins = first | long  # a run of rows without a break begins
        hole[long] = 0
        self.gaps = int(np.count_nonzero(long))
        self.ends = np.cumsum(hole + 1) - 1  # (K,) row of each closed step
        self.source = np.repeat(np.arange(len(hole)), hole + 1)  # (T,) closed step the row belongs to
        place = np.arange(len(self.source))
        self.row = closed.row[self.source]
        self.step = closed.step[self.source] - (self.ends[self.source] - place)
        run = np.maximum.accumulate(np.where(begins, np.arange(len(hole)), 0))[self.source]
        self.begin = (self.ends - hole)[run]  # (T,) first row of the run
        self.continues = (started & ~long)[run]  # (T,) the run goes on from what the ring holds
        self.filled = np.where(self.continues, filled[self.row], 0) + place - self.begin + 1  # (T,) steps since restart
        asset = np.maximum.accumulate(np.where(first, self.ends - hole, 0))[self.source]
        self.ordinal = place - asset  # (T,) how many rows of the same asset come before


class Rings:
    """The windows of every asset of one partition."""

    def __init__(
        self, *, length: int, max_gap: int, max_fill: int, min_observed: float, step_ms: int, counts: dict[str, int]
    ) -> None:
        self.length = length
        self._columns = length + length // 2
        self.max_gap = max_gap
        self.max_fill = max_fill
        self.min_observed = min_observed
        self.step_ms = step_ms
        self._counts = counts
        self._values: Floats = np.empty((0, 0, self._columns), np.float32)  # (A, C, 3L/2)
        self._observed: Bools = np.empty((0, 0, self._columns), np.bool_)  # (A, C, 3L/2)
        self._cursor: Times = np.empty(0, np.int64)  # (A,) column the next step is written to
        self._newest: Times = np.empty(0, np.int64)  # (A,) step written last; NEVER = none
        self._carried: Floats = np.empty((0, 0), np.float32)  # (A, C) value observed last
        self._carried_step: Times = np.empty((0, 0), np.int64)  # (A, C) and its step; NEVER = none since restart
        self.filled: Times = np.empty(0, np.int64)  # (A,) steps since restart

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self._values = extend(self._values, assets, np.nan)
        self._observed = extend(self._observed, assets, False)
        self._cursor = extend(self._cursor, assets, self.length - 1)
        self._newest = extend(self._newest, assets, NEVER)
        self._carried = extend(self._carried, assets, np.nan)
        self._carried_step = extend(self._carried_step, assets, NEVER)
        self.filled = extend(self.filled, assets, 0)

    def forget(self, row: int) -> None:
        """As if this row had never had a step."""
        self._values[row], self._observed[row], self._cursor[row] = np.nan, False, self.length - 1
        self._newest[row], self.filled[row] = NEVER, 0
        self._carried[row], self._carried_step[row] = np.nan, NEVER

    def remap(self, source: Index) -> None:
        """Take column `source[c]` (-1 = a new, unobserved one) as channel c."""
        self._values = pick_columns(self._values, source, np.nan)
        self._observed = pick_columns(self._observed, source, False)
        self._carried = pick_columns(self._carried, source, np.nan)
        self._carried_step = pick_columns(self._carried_step, source, NEVER)

    def write(self, closed: Closed, position: Times, channels: Times) -> WindowBatch:
        """Write closed steps (K,), cut their windows; `position` (K,) and number of `channels` (K,) known there."""
        rows = _Rows(closed, self._newest, self.filled, self.max_gap)
        values, observed = self._fill(rows, closed.values)
        last = np.flatnonzero(last_of_run(rows.row))
        self._newest[rows.row[last]], self.filled[rows.row[last]] = rows.step[last], rows.filled[last]
        warm = rows.filled >= self.length
        ending = np.zeros(len(rows.row), np.bool_)
        ending[rows.ends] = warm[rows.ends]
        block = self._columns - self.length + 1
        batches = []
        for begin in range(0, int(rows.ordinal.max(initial=0)) + 1, block):
            part = np.flatnonzero((rows.ordinal >= begin) & (rows.ordinal < begin + block))
            column = self._append(rows.row[part], rows.ordinal[part] - begin, values[part], observed[part])
            cut = ending[part]
            at = rows.source[part[cut]]
            batches.append(self._cut(closed, column[cut], at, position[at], channels[at]))
        self._counts["steps_closed"] += len(warm)
        self._counts["gaps"] += rows.gaps
        self._counts["windows_skipped_warmup"] += int(np.count_nonzero(~warm))
        emitted = sum(map(len, batches))
        self._counts["windows_skipped_unobserved"] += int(np.count_nonzero(warm)) - emitted
        return batches[0] if len(batches) == 1 else _merge(batches)

    def _fill(self, rows: _Rows, closed: Floats) -> tuple[Floats, Bools]:
        """Values (T, C) with short holes filled, and which of them were observed."""
        values = np.full((len(rows.row), closed.shape[1]), np.nan, np.float32)
        values[rows.ends] = closed
        observed = ~np.isnan(values)
        place = np.arange(len(values))
        latest = np.maximum.accumulate(np.where(observed, place[:, None], -1), axis=0)
        inside = latest >= rows.begin[:, None]
        before = rows.continues[:, None]
        origin = np.where(before, self._carried_step[rows.row], NEVER)
        origin = np.where(inside, rows.step[latest], origin)
        source = np.where(before, self._carried[rows.row], np.float32(np.nan))
        source = np.where(inside, values[latest, np.arange(values.shape[1])], source)
        last = last_of_run(rows.row)
        self._carried[rows.row[last]], self._carried_step[rows.row[last]] = source[last], origin[last]
        fresh = rows.step[:, None] - origin <= self.max_fill
        return np.where(fresh, source, np.float32(np.nan)), observed

    def _append(self, row: Times, ordinal: Times, values: Floats, observed: Bools) -> Times:
        """Write at most L/2 + 1 rows of each asset; the column (n,) each was written to."""
        last = np.flatnonzero(last_of_run(row))
        assets, more = row[last], ordinal[last] + 1
        full = assets[self._cursor[assets] + more > self._columns]
        kept = self.length - 1
        if kept and len(full):
            begin = self._cursor[full] - kept
            self._values[full, :, :kept] = sliding_window_view(self._values, kept, axis=2)[full, :, begin]
            self._observed[full, :, :kept] = sliding_window_view(self._observed, kept, axis=2)[full, :, begin]
        self._cursor[full] = kept
        column = self._cursor[row] + ordinal
        self._values[row, :, column] = values
        self._observed[row, :, column] = observed
        self._cursor[assets] += more
        return column

    def _cut(self, closed: Closed, column: Times, at: Index, position: Times, channels: Times) -> WindowBatch:
        """Windows that end in `column` (n,) for closed steps `at` (n,), those with too little observed left out."""
        row, step = closed.row[at], closed.step[at]
        order = np.lexsort((step, row, position))
        row, step, begin = row[order], step[order], column[order] - self.length + 1
        observed = sliding_window_view(self._observed, self.length, axis=2)[row, :, begin]  # (n, C, L)
        seen = np.count_nonzero(observed, axis=(1, 2))
        enough = seen / (channels[order] * self.length) >= self.min_observed
        if not enough.all():
            row, step, begin, order = row[enough], step[enough], begin[enough], order[enough]
            observed = observed[enough]
        values = sliding_window_view(self._values, self.length, axis=2)[row, :, begin]
        return WindowBatch(row.astype(np.int32), step * self.step_ms, values, observed, position[order])

    def save(self, assets: int) -> State:
        """The first `assets` rows as arrays; of the rings only what later windows can hold, L - 1 columns."""
        kept = self.length - 1
        columns = self._cursor[:assets, None, None] - kept + np.arange(kept)  # (A, 1, L - 1)
        return {
            "values": np.take_along_axis(self._values[:assets], columns, axis=2),
            "observed": np.take_along_axis(self._observed[:assets], columns, axis=2),
            "newest_step": self._newest[:assets].copy(),
            "filled": self.filled[:assets].copy(),
            "carried": self._carried[:assets].copy(),
            "carried_step": self._carried_step[:assets].copy(),
        }

    def load(self, state: State) -> None:
        """Take over what `save` gave."""
        kept = self.length - 1
        A, C, _ = state["values"].shape
        self._values = np.full((A, C, self._columns), np.nan, np.float32)
        self._observed = np.zeros((A, C, self._columns), np.bool_)
        self._values[:, :, :kept], self._observed[:, :, :kept] = state["values"], state["observed"]
        self._cursor = np.full(A, kept)
        self._newest, self.filled = state["newest_step"].copy(), state["filled"].copy()
        self._carried, self._carried_step = state["carried"].copy(), state["carried_step"].copy()


def empty_windows(channels: int, length: int) -> WindowBatch:
    """No window."""
    values: Floats = np.empty((0, channels, length), np.float32)
    nothing: npt.NDArray[np.int64] = np.empty(0, np.int64)
    return WindowBatch(np.empty(0, np.int32), nothing, values, values.astype(np.bool_), nothing)


def _merge(batches: list[WindowBatch]) -> WindowBatch:
    """Several batches as one, in the order a WindowBatch promises."""
    names = ("assets", "ends", "values", "observed", "position")
    joined = WindowBatch(*(np.concatenate([getattr(batch, name) for batch in batches]) for name in names))
    return joined.take(np.lexsort((joined.ends, joined.assets, joined.position)))
