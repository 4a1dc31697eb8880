"""Places readings on each asset's grid of steps and says which steps close, and where in the stream.

A step closes when it and every earlier step of its asset are ready. Ready means complete (all channels arrived), or
passed by the asset's frontier. The frontier is the first step a reading may still fall into; three things raise it:
the asset's own watermark (largest time seen - lateness), the closing of a complete step, and silence (the rest of the
partition moved on by `idle` steps without a reading of this asset). An asset's frontier begins at the step of its
first reading: what lies before it is late.

Why so: all of this is decided by the order of the readings alone. No wall clock takes part, so a replay of the same
offsets closes the same steps at the same offsets, however the stream is cut into batches. The price is that a wholly
silent partition waits for its next message.

A batch is judged at once, not reading by reading. Each step's ready index is computed as if no reading were late; the
running maximum over an asset's steps gives the closing index; what arrived after it is late. Counting late readings in
at first does no harm: a reading that arrives after the frontier passed its step cannot make that step ready sooner.

It does not fill holes, keep history or know names: see `rings` and `windows`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import (
    FARTHEST,
    LARGEST,
    NEVER,
    Index,
    extend,
    first_of_run,
    last_of_run,
    pick_columns,
    run_max,
)
from monitor.core.records import Floats, Times


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Readings of known assets and channels (N,), in the order of their arrival."""

    row: Times  # (N,) asset
    column: Times  # (N,) channel
    time: Times  # (N,)
    value: npt.NDArray[np.float64]  # (N,)
    index: Times  # (N,) place in the batch they came in


@dataclass(frozen=True, slots=True)
class Closed:
    """Steps with at least one reading that closed, ordered by asset row, then step."""

    row: Times  # (K,)
    step: Times  # (K,)
    index: Times  # (K,) place in the batch of the reading that closed the step
    values: Floats  # (K, C) NaN = no reading


@dataclass(frozen=True, slots=True)
class Open:
    """Steps that still wait, ordered by asset row, then step."""

    row: Times  # (G,)
    step: Times  # (G,)
    offset: npt.NDArray[np.int32]  # (G, C) ms from the step's start of the reading that stands; -1 = none
    values: Floats  # (G, C)


class Grid:
    """The open steps of every asset of one partition."""

    def __init__(self, *, step_ms: int, lateness_ms: int, idle: int, counts: dict[str, int]) -> None:
        self.step_ms = step_ms
        self.lateness_ms = lateness_ms
        self.silence_ms = idle * step_ms
        self.frozen = False
        self.open = no_steps(0)
        self.newest: Times = np.empty(0, np.int64)  # (A,) largest time seen
        self.seen: Times = np.empty(0, np.int64)  # (A,) the partition's time when the asset's last reading arrived
        self.frontier: Times = np.empty(0, np.int64)  # (A,) first step that is not closed; NEVER = no reading yet
        self._counts = counts

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self.newest = extend(self.newest, assets, NEVER)
        self.seen = extend(self.seen, assets, NEVER)
        self.frontier = extend(self.frontier, assets, NEVER)

    def forget(self, row: int) -> None:
        """As if this row had never had a reading."""
        self.newest[row] = self.seen[row] = self.frontier[row] = NEVER
        keep = self.open.row != row
        self.open = Open(self.open.row[keep], self.open.step[keep], self.open.offset[keep], self.open.values[keep])

    def remap(self, source: Index) -> None:
        """Take column `source[c]` (-1 = a new, empty one) as column c. Steps left without a reading are forgotten."""
        offset, values = pick_columns(self.open.offset, source, -1), pick_columns(self.open.values, source, np.nan)
        keep = (offset >= 0).any(1)
        self.open = Open(self.open.row[keep], self.open.step[keep], offset[keep], values[keep])

    def push(self, arrivals: Arrivals, clock: Times) -> Closed:
        """Take a batch's readings; `clock` (N,) is the partition's time at each place of the batch, N >= 1."""
        frontiers = self._frontiers(arrivals, clock)
        step = arrivals.time // self.step_ms
        timely = np.flatnonzero(step >= self.frontier[arrivals.row])
        table, group = self._table(arrivals.row[timely], step[timely])
        columns = table.offset.shape[1]
        cell = group * columns + arrivals.column[timely]
        order = np.argsort(cell, kind="stable")  # arrivals of one cell lie together, in the order of arrival
        cell, timely = cell[order], timely[order]
        index = arrivals.index[timely]
        closing = self._closing(table, frontiers, cell, index, len(clock))
        accepted = index <= closing[cell // columns] if columns else np.ones(0, np.bool_)
        self._counts["readings_late"] += len(step) - int(np.count_nonzero(accepted))
        timely = timely[accepted]
        self._write(table, cell[accepted], arrivals.time[timely] - step[timely] * self.step_ms, arrivals.value[timely])
        frontiers.raise_to(self.frontier)
        return self._split(table, closing, len(clock))

    def _frontiers(self, arrivals: Arrivals, clock: Times) -> "_Frontiers":
        """What raises each asset's frontier by time in this batch; updates `newest`, `seen`, begins new frontiers."""
        order = np.argsort(arrivals.row.astype(np.uint16), kind="stable")
        row, time, index = arrivals.row[order], arrivals.time[order], arrivals.index[order]
        heads = np.flatnonzero(first_of_run(row))
        running = np.maximum(run_max(row, time), self.newest[row])
        new = heads[self.frontier[row[heads]] == NEVER]
        self.frontier[row[new]] = time[new] // self.step_ms
        # An asset is silent from an arrival until its next one: `until` is the place of that, or the batch's end.
        until = np.append(index[1:], len(clock))[: len(index)]
        until[heads[1:] - 1] = len(clock)
        # Also those whose open steps a change of channels emptied: else how the stream is cut into batches would tell.
        waiting = np.flatnonzero((self.frontier != NEVER) & (self.frontier <= self.newest // self.step_ms))
        first = np.full(len(self.frontier), len(clock))
        first[row[heads]] = index[heads]
        rows = np.concatenate((row, waiting))
        due = np.concatenate((clock[index], self.seen[waiting])) + self.silence_ms
        until = np.concatenate((until, first[waiting]))
        silent = np.flatnonzero((until > 0) & (clock[until - 1] >= due))
        newest = np.concatenate((running, self.newest[waiting]))[silent]
        tails = np.append(heads[1:], len(row))[: len(heads)] - 1
        self.newest[row[tails]] = running[tails]
        self.seen[row[tails]] = clock[index[tails]]
        return _Frontiers(
            np.concatenate((row, rows[silent])),
            np.concatenate((index, np.searchsorted(clock, due[silent]))),
            np.concatenate(((running - self.lateness_ms) // self.step_ms, newest // self.step_ms + 1)),
            len(clock),
        )

    def _table(self, row: Times, step: Times) -> tuple[Open, Index]:
        """The open steps together with those of readings (n,), and the place (n,) of each reading's step in it."""
        waiting = len(self.open.row)
        rows, steps = np.concatenate((self.open.row, row)), np.concatenate((self.open.step, step))
        low = steps.min(initial=FARTHEST)
        span = steps.max(initial=low) - low + 1
        keys, group = np.unique(rows * span + (steps - low), return_inverse=True)
        columns = self.open.offset.shape[1]
        offset, values = no_cells(len(keys), columns)
        offset[group[:waiting]], values[group[:waiting]] = self.open.offset, self.open.values
        return Open(keys // span, keys % span + low, offset, values), group[waiting:]

    def _closing(self, table: Open, frontiers: "_Frontiers", cell: Index, index: Times, size: int) -> Times:
        """Place in the batch (G,) at which each step of the table closes; `size` = not in this batch."""
        passed = frontiers.reach(table.row, table.step)  # (G,)
        ready = np.minimum(passed, self._complete(table, cell, index, size)) if self.frozen else passed
        before = self.frontier[table.row] - 1
        same = np.flatnonzero(table.row[1:] == table.row[:-1])
        before[same + 1] = table.step[same]
        hole = np.flatnonzero(table.step > before + 1)  # the empty steps before this one close by the frontier only
        ready[hole] = np.maximum(ready[hole], frontiers.reach(table.row[hole], table.step[hole] - 1))
        # A change of channels may complete a step between two readings: it closes with the next one, at place 0.
        return np.maximum(run_max(table.row, ready), 0)

    def _complete(self, table: Open, cell: Index, index: Times, size: int) -> Times:
        """Place in the batch (G,) at which all channels had arrived: -1 = before it, `size` = not in it."""
        columns = table.offset.shape[1]
        first = first_of_run(cell)
        first[first] = table.offset.reshape(-1)[cell[first]] < 0
        group = cell[first] // columns if columns else cell[first]
        have = np.count_nonzero(table.offset >= 0, axis=1) + np.bincount(group, minlength=len(table.row))
        last = np.full(len(table.row), -1)
        np.maximum.at(last, group, index[first])
        return np.where(have == columns, last, size)

    def _write(self, table: Open, cell: Index, offset: Times, value: npt.NDArray[np.float64]) -> None:
        """Write readings, ordered by cell, then arrival: the latest time stands, of equal times the last arrival."""
        stands = table.offset.reshape(-1)[cell].astype(np.int64)
        running = np.maximum(run_max(np.cumsum(first_of_run(cell)), offset), stands)
        same = np.flatnonzero(cell[1:] == cell[:-1])
        stands[same + 1] = running[same]
        self._counts["readings_duplicate"] += int(np.count_nonzero(offset == stands))
        winner = np.flatnonzero(offset >= stands)
        winner = winner[last_of_run(cell[winner])]
        table.offset.reshape(-1)[cell[winner]] = offset[winner]
        table.values.reshape(-1)[cell[winner]] = np.clip(value[winner], -LARGEST, LARGEST)

    def _split(self, table: Open, closing: Times, size: int) -> Closed:
        """Hand out the steps that closed, keep the others open."""
        closes = closing < size
        np.maximum.at(self.frontier, table.row[closes], table.step[closes] + 1)
        keep = ~closes
        self.open = Open(table.row[keep], table.step[keep], table.offset[keep], table.values[keep])
        closes &= (table.offset >= 0).any(1)  # a step that only late readings named was an empty one
        return Closed(table.row[closes], table.step[closes], closing[closes], table.values[closes])


class _Frontiers:
    """Events (E,) of one batch that raise an asset's frontier: at a place in the batch, to a step."""

    def __init__(self, row: Times, index: Times, step: Times, size: int) -> None:
        order = np.argsort(row * size + index, kind="stable")
        self._row, self._index, self._size = row[order], index[order], size
        self._step = run_max(self._row, step[order])
        self._low = self._step.min(initial=FARTHEST)
        self._span = self._step.max(initial=self._low) - self._low + 1
        self._keys = self._row * self._span + (self._step - self._low)

    def reach(self, row: Times, step: Times) -> Times:
        """Place in the batch at which the frontier of `row` (n,) first lies beyond `step` (n,); `size` = nowhere."""
        if not len(self._keys):
            return np.full(len(row), self._size)
        wanted = row * self._span + np.clip(step + 1 - self._low, 0, self._span)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where((self._row[at] == row) & (self._step[at] > step), self._index[at], self._size)

    def raise_to(self, frontier: Times) -> None:
        """Write where the batch left each asset's frontier into `frontier` (A,)."""
        last = last_of_run(self._row)
        frontier[self._row[last]] = np.maximum(frontier[self._row[last]], self._step[last])


def check_ranges(limits: Mapping[str, tuple[float, float, float]]) -> None:
    """Raises ValueError unless of each name the value, given first, lies between the two numbers after it."""
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must lie between {low} and {high}, got {value}")


def no_cells(rows: int, columns: int) -> tuple[npt.NDArray[np.int32], Floats]:
    """Offsets and values (rows, columns) of cells without a reading."""
    return np.full((rows, columns), -1, np.int32), np.full((rows, columns), np.nan, np.float32)


def no_steps(columns: int) -> Open:
    """No open step."""
    return Open(np.empty(0, np.int64), np.empty(0, np.int64), *no_cells(0, columns))
