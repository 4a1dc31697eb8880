"""Keeps the last steps of every asset and cuts a window at each step that closed.

A ring is a plain buffer of 3L/2 columns per asset, written from left to right. When the ring is full, its last L - 1
columns move to the front. So every window is one contiguous slice, up to L/2 + 1 steps of an asset are written at once,
and each column is copied about twice more than necessary. 2L columns would save one of the copies and cost a third more
memory.

Empty steps between two steps with readings become rows without an observed cell, unless there are more than `max_gap`
of them: then the asset's window restarts. The rows are written when the step after them closes, as only then the hole's
length is known, so no window ends in a hole. A missing cell carries the channel's last observed value for `max_fill`
steps. A cell of a slow channel holds that value for as long as the channel's pace allows (`pace`), and counts as
observed then.

When a step closes is decided by `grid`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.arrays import NEVER, Doubles, Index, extend, first_of_run, last_of_run, run_max
from monitor.core.join import join_windows
from monitor.core.records import Bools, Count, Floats, State, Times, WindowBatch
from monitor.core.state import Column, Columns
from monitor.core.windows.cells import Closed
from monitor.core.windows.options import WindowOptions
from monitor.core.windows.pace import Pace

READ, HELD = 1, 2  # of a cell that counts as observed: a reading, or a value that holds; 0 = not observed

RINGS = {
    "values": Column("f4", ("A", "C", "H"), fill=np.nan),  # H = L - 1 in a saved state, 3L/2 in memory
    "observed": Column("u1", ("A", "C", "H"), high=HELD),
    "newest_step": Column("i8", fill=NEVER),  # step written last; NEVER = none
    "filled": Column("i8"),  # steps since restart
    "skipped_since": Column(
        "i8", fill=NEVER
    ),  # end of the first window since which too little was observed; NEVER = enough
    "carried": Column("f4", ("A", "C"), fill=np.nan),  # value observed last
    "carried_step": Column("i8", ("A", "C"), fill=NEVER),  # and its step; NEVER = none since restart
}

Codes = npt.NDArray[np.uint8]


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
        self.continues = (started & ~long)[run]  # (T,) the run continues the ring's newest step
        self.filled = np.where(self.continues, filled[self.row], 0) + place - self.begin + 1  # (T,) steps since restart

        asset = np.maximum.accumulate(np.where(first, self.ends - hole, 0))[self.source]
        self.ordinal = place - asset  # (T,) how many rows of the same asset come before


class Rings:
    """The windows of every asset of one partition."""

    def __init__(self, options: WindowOptions, counts: dict[str, int]) -> None:
        self._length = options.length
        self._max_gap = options.max_gap
        self._max_fill = options.max_fill
        self._min_observed = options.min_observed
        self._step_ms = options.step_ms
        self._counts = counts
        self._width = options.length + options.length // 2
        self._columns = Columns("windows", RINGS, H=self._width)
        self._pace = Pace()
        self._holds = options.holds
        self._given: Times = np.empty(0, np.int64)  # (C,) steps for which values hold; -1 = learned
        self._cursor: Times = np.empty(0, np.int64)  # (A,) column that the next step is written to

    @property
    def filled(self) -> Times:
        """Steps (A,) since each asset's last restart."""
        filled: Times = self._columns["filled"][: self._columns.rows]
        return filled

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self._columns.reserve(assets)
        self._pace.reserve(assets)
        self._cursor = extend(self._cursor, assets, self._length - 1)

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)
        self._pace.forget(row)
        self._cursor[row] = self._length - 1

    def remap(self, source: Index, names: Sequence[str]) -> None:
        """Take column `source[c]` (-1 = a new, unobserved one) as channel c, of base channel `names[c]`."""
        self._columns.pick(source)
        self._pace.remap(source)
        self._given = self._holds.among(names, self._step_ms)

    def write(self, closed: Closed, position: Times, channels: Times) -> WindowBatch:
        """Write closed steps (K,) and cut their windows.

        `position` (K,) is the offset of the message that closed each step, `channels` (K,) the number of channels known
        at that message.
        """
        newest, filled = self._columns["newest_step"], self._columns["filled"]
        rows = _Rows(closed, newest, filled, self._max_gap)
        values, observed = self._fill(rows, closed.values)
        last = np.flatnonzero(last_of_run(rows.row))
        newest[rows.row[last]] = rows.step[last]
        filled[rows.row[last]] = rows.filled[last]

        # A window ends in each closed step, once L steps have come since the restart.
        warm = rows.filled >= self._length
        ending = np.zeros(len(rows.row), np.bool_)
        ending[rows.ends] = warm[rows.ends]

        # An asset with more rows than fit at once is written in several blocks.
        block = self._width - self._length + 1
        batches = []
        for begin in range(0, int(rows.ordinal.max(initial=0)) + 1, block):
            part = np.flatnonzero((rows.ordinal >= begin) & (rows.ordinal < begin + block))
            column = self._append(rows.row[part], rows.ordinal[part] - begin, values[part], observed[part])
            cut = ending[part]
            at = rows.source[part[cut]]
            batches.append(self._cut(closed, column[cut], at, position[at], channels[at]))

        emitted = sum(map(len, batches))
        self._counts[Count.STEPS_CLOSED] += len(warm)
        self._counts[Count.GAPS] += rows.gaps
        self._counts[Count.WINDOWS_SKIPPED_WARMUP] += int(np.count_nonzero(~warm))
        self._counts[Count.WINDOWS_SKIPPED_UNOBSERVED] += int(np.count_nonzero(warm)) - emitted
        return batches[0] if len(batches) == 1 else _merge(batches)

    def _fill(self, rows: _Rows, closed: Floats) -> tuple[Floats, Codes]:
        """Return values (T, C) with short holes filled and slow channels held, and what each cell counts as."""
        carried, carried_step = self._columns["carried"], self._columns["carried_step"]
        # Only the last row of each closed step has readings, the others are the hole before it.
        values = np.full((len(rows.row), closed.shape[1]), np.nan, np.float32)
        values[rows.ends] = closed
        observed = ~np.isnan(values)
        place = np.arange(len(values))
        last = last_of_run(rows.row)

        # Nearly always each channel has a reading in each step, and had one in the step before.
        before: Times = np.where(rows.continues[:, None], carried_step[rows.row], NEVER)
        heads = place == rows.begin
        gap = rows.step[heads, None] - before[heads]
        if observed.all() and not ((gap > 1) & (before[heads] != NEVER)).any():
            carried[rows.row[last]] = values[last]
            carried_step[rows.row[last]] = rows.step[last, None]
            self._pace.wrote(rows.row[last], rows.ordinal[last] + 1)
            return values, observed.view(np.uint8)

        # The last value of each channel: from the same run, or from before the batch.
        latest = np.maximum.accumulate(np.where(observed, place[:, None], -1), axis=0)
        inside = latest >= rows.begin[:, None]
        origin: Times = np.where(inside, rows.step[latest], before)
        source = np.where(rows.continues[:, None], carried[rows.row], np.float32(np.nan))
        source = np.where(inside, values[latest, np.arange(values.shape[1])], source)

        # The next batch continues with the last value of each channel, however old.
        carried[rows.row[last]] = source[last]
        carried_step[rows.row[last]] = origin[last]

        before[~heads] = origin[:-1][~heads[1:]]  # the step of the last reading before each row
        held = self._held(rows, observed, before, origin)
        self._pace.wrote(rows.row[last], rows.ordinal[last] + 1)
        fresh = rows.step[:, None] - origin <= self._max_fill
        codes = np.where(held, np.uint8(HELD), observed.astype(np.uint8))
        return np.where(fresh | held, source, np.float32(np.nan)), codes

    def _held(self, rows: _Rows, observed: Bools, before: Times, origin: Times) -> Bools:
        """Return which cells (T, C) hold a value that was read in step `origin`, and learn the silences that ended.

        `before` (T, C) is the step of the last reading before each row; NEVER = none since the restart.
        """
        held = np.zeros_like(observed)
        place, channel = np.nonzero(~observed & (origin != NEVER))
        known = self._pace.of(rows.row[place], channel)
        number: Times = self._pace.rows(rows.row) + rows.ordinal  # (T,) of the row among all of its asset

        gap = np.subtract(rows.step[:, None], before, dtype=np.int64)
        at, of = np.nonzero(observed & (before != NEVER) & (gap > 1))
        if len(at):
            learned = self._pace.learn(rows.row[at], of, gap[at, of], number[at])

            # A value holds for as long as the pace allowed when it was read.
            event = np.full(held.shape, -1)
            event[at, of] = np.arange(len(at))
            event = np.maximum.accumulate(event, axis=0)[place, channel]
            since = np.flatnonzero((event >= 0) & (rows.row[at[event]] == rows.row[place]))
            for old, new in zip(known, learned, strict=True):
                old[since] = new[event[since]]

        age = np.subtract(rows.step[place], origin[place, channel], dtype=np.int64)
        given = self._given[channel]
        allowed = np.where(given >= 0, given, known.allows(number[place] - age))
        held[place, channel] = age <= allowed
        return held

    def _append(self, row: Times, ordinal: Times, values: Floats, observed: Codes) -> Times:
        """Write at most L/2 + 1 rows of each asset, and return the column (n,) of each row."""
        history, seen = self._columns["values"], self._columns["observed"]
        last = np.flatnonzero(last_of_run(row))
        assets, more = row[last], ordinal[last] + 1
        full = assets[self._cursor[assets] + more > self._width]

        # Full rings move their last L - 1 columns to the front.
        kept = self._length - 1
        if kept and len(full):
            begin = self._cursor[full] - kept
            history[full, :, :kept] = sliding_window_view(history, kept, axis=2)[full, :, begin]
            seen[full, :, :kept] = sliding_window_view(seen, kept, axis=2)[full, :, begin]
        self._cursor[full] = kept

        # The rows of an asset go to consecutive columns.
        column = self._cursor[row] + ordinal
        history[row, :, column] = values
        seen[row, :, column] = observed
        self._cursor[assets] += more
        return column

    def _cut(self, closed: Closed, column: Times, at: Index, position: Times, channels: Times) -> WindowBatch:
        """Return windows that end in `column` (n,) for closed steps `at` (n,), if enough of them was observed."""
        row, step = closed.row[at], closed.step[at]
        order = np.lexsort((step, row, position))
        row, step, begin = row[order], step[order], column[order] - self._length + 1
        codes = sliding_window_view(self._columns["observed"], self._length, axis=2)[row, :, begin]  # (n, C, L)
        held = codes == HELD if codes.size and codes.max() == HELD else None
        observed = codes.view(np.bool_) if held is None else codes > 0

        # Measured against the channels that were known when the window closed.
        enough = np.count_nonzero(observed, axis=(1, 2)) / (channels[order] * self._length) >= self._min_observed
        self._note_skipped(row, step, enough)
        if not enough.all():
            row, step, begin, order = row[enough], step[enough], begin[enough], order[enough]
            observed, held = observed[enough], None if held is None else held[enough]

        values = sliding_window_view(self._columns["values"], self._length, axis=2)[row, :, begin]
        return WindowBatch(row.astype(np.int32), step * self._step_ms, values, observed, position[order], held=held)

    def _note_skipped(self, row: Times, step: Times, enough: Bools) -> None:
        """Note since when each asset's windows are skipped; `step` (n,) ascends for each asset."""
        since = self._columns["skipped_since"]
        if enough.all():  # nearly always
            since[row] = NEVER
            return

        # After an asset's last scored window, if it has one here, the first skipped one counts.
        order = np.lexsort((step, row))
        row, step, enough = row[order], step[order], enough[order]
        run = np.cumsum(first_of_run(row), dtype=np.int64)
        scored = run_max(run, np.where(enough, np.arange(len(row)), -1))
        last = last_of_run(row)
        scored = scored[last][run - 1]  # (n,) place of the asset's last scored window, -1 = none
        since[row[enough]] = NEVER
        after = np.flatnonzero(np.arange(len(row)) > scored)
        first = after[first_of_run(row[after])]
        first = first[since[row[first]] == NEVER]
        since[row[first]] = step[first]

    def skipped(self, least_ms: int) -> Index:
        """Return the rows whose windows are skipped for at least so long, as too little of them is observed."""
        since, newest = self._columns["skipped_since"], self._columns["newest_step"]
        rows: Index = np.flatnonzero((since != NEVER) & ((newest - since) * self._step_ms >= least_ms))
        return rows

    def measured(self, rows: Index) -> Doubles:
        """Return the share (R, C) of the newest L - 1 steps that each channel of `rows` was observed in."""
        kept = max(1, self._length - 1)
        begin = np.maximum(self._cursor[rows] - kept, 0)
        share: Doubles = (sliding_window_view(self._columns["observed"], kept, axis=2)[rows, :, begin] > 0).mean(2)
        return share

    def save(self) -> State:
        """Return the columns as arrays; of the rings only the L - 1 columns that later windows can contain."""
        A, kept = self._columns.rows, self._length - 1
        columns = self._cursor[:A, None, None] - kept + np.arange(kept)  # (A, 1, L - 1)
        rings = {name: np.take_along_axis(self._columns[name][:A], columns, axis=2) for name in ("values", "observed")}
        return self._pace.save() | self._columns.save(**rings)

    def load(self, state: State, names: Sequence[str]) -> None:
        """Continue from a state that was checked, of base channels `names`."""
        self._columns.load(state)
        self._pace.load(state)
        self._given = self._holds.among(names, self._step_ms)
        self._cursor = np.full(self._columns.rows, self._length - 1)


def empty_windows(channels: int, length: int) -> WindowBatch:
    """Return a batch without windows."""
    values: Floats = np.empty((0, channels, length), np.float32)
    nothing: npt.NDArray[np.int64] = np.empty(0, np.int64)
    return WindowBatch(np.empty(0, np.int32), nothing, values, values.astype(np.bool_), nothing)


def _merge(batches: list[WindowBatch]) -> WindowBatch:
    """Join several batches, in the order that a WindowBatch promises."""
    joined = join_windows(batches)
    return joined.take(np.lexsort((joined.ends, joined.assets, joined.position)))
