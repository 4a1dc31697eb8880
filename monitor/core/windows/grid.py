"""Places readings on each asset's grid of steps, and decides which steps close at which reading.

A step closes when this step and every earlier step of its asset are ready. A step is ready if it is complete (all
channels arrived), or if the asset's frontier has passed it. No step is complete while channels are learned, where steps
hold several readings of a channel (`density`), or where a step's readings are aggregated: such a step waits for all of
its readings. The frontier is the first step that a reading may still
fall into. Three things raise the frontier: the asset's own watermark (largest time seen - lateness), the closing of a
complete step, and silence (the rest of the partition moved on by `idle` steps without a reading of this asset). An
asset's frontier begins at the step of the asset's first reading: readings before that step are late.

Guaranteed: closing depends on the order of the readings alone. No wall clock takes part, so a replay of the same
offsets closes the same steps at the same offsets, however the stream is cut into batches. The price is that a silent
partition waits for its next message.

A batch is processed at once, not reading by reading. Each step's ready index is computed as if no reading were late.
The running maximum over an asset's steps gives the closing index, and readings that arrived after it are late. Counting
late readings in at first does no harm: a reading that arrives after the frontier passed its step cannot make that step
ready sooner.

A reading that repeats the channel's newest one, time and value alike, is no arrival: it says that the value still
holds. Where the asset's newest step is open and has no reading of the channel, the cell holds the repeated value until
a reading comes (docs/decisions/0023-repeated-readings.md). A repetition never completes a step.

Holes, history and names are the tasks of `rings` and `windows`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import FARTHEST, NEVER, Doubles, Index, first_of_run, last_of_run, pick_columns, run_max
from monitor.core.records import Count, Floats, State, Times
from monitor.core.state import Column, Columns
from monitor.core.windows.aggregates import Aggregates, fold_earlier, no_sums
from monitor.core.windows.cells import HELD, NONE, Arrivals, Closed, Open, as_stored, nothing_closed, openings
from monitor.core.windows.density import Density
from monitor.core.windows.frontiers import Frontiers
from monitor.core.windows.options import WindowOptions

GRID = {  # D = channels of the windows, and watched ones that no window has
    "newest": Column("i8", fill=NEVER),  # largest time seen
    "seen": Column("i8", fill=NEVER),  # the partition's time when the asset's last reading arrived
    "frontier": Column("i8", fill=NEVER),  # first step that is not closed; NEVER = no reading yet
    "known_time": Column("i8", ("A", "base"), fill=NEVER),  # of the channel's newest reading outside of the open steps
    "known_value": Column("f4", ("A", "base"), fill=np.nan),  # and its value
    "open_row": Column("i8", ("G",), below="A"),
    "open_step": Column("i8", ("G",)),
    "open_offset": Column("i4", ("G", "base")),
    "open_values": Column("f4", ("G", "base")),
    "open_sums": Column("f8", ("sums", "G", "base")),
}


class Grid:
    """The open steps of every asset of one partition."""

    def __init__(self, options: WindowOptions, counts: dict[str, int]) -> None:
        self._step_ms = options.step_ms
        self._lateness_ms = options.lateness_ms
        self._silence_ms = options.idle * options.step_ms
        self._counts = counts
        self._columns = Columns("windows", GRID)
        self._density = Density()
        self._aggregates = Aggregates.of((), options.aggregates)
        self._open = self._no_steps(0)
        self.frozen = False

    @property
    def seen(self) -> Times:
        """The partition's time (A,) when each asset's last reading arrived."""
        seen: Times = self._columns["seen"][: self._columns.rows]
        return seen

    def known(self, rows: Index) -> npt.NDArray[np.bool_]:
        """Return whether each channel (R, C) of `rows` has ever come, except in steps that are still open."""
        known: npt.NDArray[np.bool_] = self._columns["known_time"][rows] != NEVER
        return known

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self._columns.reserve(assets)
        self._density.reserve(assets)

    def notice(self, row: Times, clock: Times) -> None:
        """Note when assets without any arrival yet were heard: `clock` (n,) ascends and is the partition's time."""
        new = self._columns["frontier"][row] == NEVER
        self._columns["seen"][row[new]] = clock[new]

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)
        self._density.forget(row)
        keep = np.flatnonzero(self._open.row != row)
        self._open = self._open.at(keep)

    def remap(self, source: Index, aggregates: Aggregates) -> None:
        """Take base channel `source[c]` (-1 = a new, empty one) as channel c. Drop steps that are left without reading.

        Closed steps have `aggregates` from now on.
        """
        self._aggregates = aggregates
        self._columns.pick(source, "base")
        opened = self._open
        offset, values = pick_columns(opened.offset, source, NONE), pick_columns(opened.values, source, np.nan)
        sums = no_sums(len(opened.sums), len(opened.row), len(source))
        sums[:, :, source >= 0] = opened.sums[:, :, source[source >= 0]]
        filled = np.flatnonzero((offset >= 0).any(1))
        self._open = Open(opened.row, opened.step, offset, values, sums).at(filled)

    def push(self, arrivals: Arrivals, clock: Times) -> Closed:
        """Take a batch's readings; `clock` (N,) is the partition's time at each place of the batch, N >= 1."""
        self._begin(arrivals)
        placed = self._place(arrivals)

        # Only a reading of a closed step, or one of a time that its cell has already, can be a repetition.
        suspects = np.concatenate((placed.untimely, placed.timely[placed.offset == placed.held]))
        again = self._repeats(arrivals, suspects) if len(suspects) else np.empty(0, np.intp)
        repeated = arrivals.at(again)
        if len(again):
            arrivals = arrivals.at(np.delete(np.arange(len(arrivals.row)), again))
            placed = self._place(arrivals)
        waiting = self._waiting(arrivals, placed, len(clock))
        frontiers, newest = self._frontiers(arrivals, clock, repeated)
        frontier = self._columns["frontier"]
        table, columns = placed.table, placed.table.offset.shape[1]

        # A reading that arrived after its step closed is late.
        index = arrivals.index[placed.timely]
        closing = self._closing(table, frontiers, waiting, placed.cell, index)
        accepted = index <= closing[placed.cell // columns] if columns else np.ones(0, np.bool_)
        late = np.concatenate((placed.untimely, placed.timely[~accepted]))
        self._counts[Count.READINGS_LATE] += len(late)
        self._counts[Count.READINGS_REPEATED] += len(again)

        if len(again):
            began = self._began(placed, index, len(clock))
        written = placed if accepted.all() else placed.at(accepted)
        self._write(table, written, arrivals.value[written.timely])
        if len(again):
            self._hold(table, repeated, newest, began, closing)
        frontiers.raise_to(frontier)
        closed = self._split(table, closing, len(clock))
        if len(late):
            self._know(arrivals.at(np.sort(late)))
        return closed

    def _begin(self, arrivals: Arrivals) -> None:
        """Let the frontier of each new asset begin at the step of its first reading."""
        frontier = self._columns["frontier"]
        new = np.flatnonzero(frontier[arrivals.row] == NEVER)
        if len(new):
            rows, first = np.unique(arrivals.row[new], return_index=True)
            frontier[rows] = arrivals.time[new[first]] // self._step_ms

    def _place(self, arrivals: Arrivals) -> "_Placed":
        """Return the readings on the table of open steps."""
        step = arrivals.time // self._step_ms
        open_ = step >= self._columns["frontier"][arrivals.row]
        timely = np.flatnonzero(open_)
        table, group = self._table(arrivals.row[timely], step[timely])
        columns = table.offset.shape[1]

        # Sorted by cell: arrivals of one cell lie together, in the order of arrival.
        cell = group * columns + arrivals.column[timely]
        if (cell[1:] < cell[:-1]).any():
            order = np.argsort(cell, kind="stable")
            cell, timely = cell[order], timely[order]
        offset = arrivals.time[timely] - step[timely] * self._step_ms

        # Held: the offset that counts before each reading.
        held = table.offset.reshape(-1)[cell].astype(np.int64)
        same = np.flatnonzero(cell[1:] == cell[:-1])
        if len(same):
            running = np.maximum(run_max(np.cumsum(first_of_run(cell)), offset), held)
            held[same + 1] = running[same]
        return _Placed(table, timely, np.flatnonzero(~open_), cell, offset, held)

    def _repeats(self, arrivals: Arrivals, suspects: Index) -> Index:
        """Return the places, ascending, of those readings that repeat time and value of their channel's newest one.

        The newest one is the reading of the largest time that came before, also if it was late; of equal times the last
        arrival. All repetitions must be among `suspects`.
        """
        places, before, held = self._before(arrivals, suspects)
        same = (arrivals.time[places] == before) & (as_stored(arrivals.value[places]) == held)
        again: Index = np.sort(places[same])
        return again

    def _waiting(self, arrivals: Arrivals, placed: "_Placed", size: int) -> Times:
        """Return the place in the batch (G,) from which on each step of the table waits for all its readings.

        -1 = before the batch, `size` = not in the batch.
        """
        table = placed.table
        if self._aggregates.sums:  # all steps wait, so nothing needs to be known
            return np.full(len(table.row), -1)
        until = self._density.until(table.row)
        waiting = np.where(until >= table.step, -1, size)
        second = placed.timely[(placed.held >= 0) & (placed.offset != placed.held)]
        if not len(second) and not len(placed.untimely):
            return waiting

        # Readings of the step of their channel's newest one, at another time.
        places, before, _ = self._before(arrivals, np.concatenate((placed.untimely, second)))
        step, time = arrivals.time[places] // self._step_ms, arrivals.time[places]
        at = np.flatnonzero((before != NEVER) & (before != time) & (before // self._step_ms == step))
        at = at[np.argsort(arrivals.index[places[at]], kind="stable")]
        if len(at):
            events = self._density.note(arrivals.row[places[at]], step[at], arrivals.index[places[at]], size)
            waiting = np.minimum(waiting, events.reach(table.row, table.step))
        return waiting

    def _before(self, arrivals: Arrivals, wanted: Index) -> tuple[Index, Times, Floats]:
        """Return the places (n,) of all readings of the channels of `wanted`, ordered by channel, then arrival.

        Return also time and value (n,) of the channel's newest reading before each; NEVER = none.
        """
        width = self._columns["known_time"].shape[1]
        pair = arrivals.row * width + arrivals.column
        asked = np.unique(pair[wanted])
        places = np.flatnonzero(np.isin(pair, asked))
        places = places[np.argsort(pair[places], kind="stable")]
        known_time, known_value = self._newest(asked // width, asked % width)

        # What was known of each channel before each reading.
        run = np.searchsorted(asked, pair[places])
        time, value = arrivals.time[places], as_stored(arrivals.value[places])
        first = first_of_run(run)
        before = np.maximum(run_max(run, time), known_time[run])
        before = np.where(first, known_time[run], np.append(NEVER, before[:-1]))
        newest = np.maximum.accumulate(np.where(time >= before, np.arange(len(run)), -1))  # the last winner so far
        newest = np.append(-1, newest[:-1])
        begin = np.maximum.accumulate(np.where(first, np.arange(len(run)), 0))
        return places, before, np.where(newest >= begin, value[newest], known_value[run])

    def _newest(self, row: Times, column: Times) -> tuple[Times, Floats]:
        """Return time and value (n,) of the newest reading of each channel before this batch, NEVER = none."""
        assets, at = np.unique(row, return_inverse=True)
        time, value = self._columns["known_time"][assets], self._columns["known_value"][assets]  # copies (R, C)
        waiting = np.flatnonzero(np.isin(self._open.row, assets))
        owner = np.searchsorted(assets, self._open.row[waiting])
        place, cell = np.nonzero(self._open.offset[waiting] >= 0)

        # Steps of an asset ascend, so of several readings the newest is written last.
        starts = self._open.step[waiting[place]] * self._step_ms
        time[owner[place], cell] = starts + self._open.offset[waiting[place], cell]
        value[owner[place], cell] = self._open.values[waiting[place], cell]
        return time[at, column], value[at, column]

    def _began(self, placed: "_Placed", index: Times, size: int) -> Times:
        """Return the place in the batch (G,) from which on each step of the table has a reading; -1 = before it."""
        table, columns = placed.table, placed.table.offset.shape[1]
        began = np.where((table.offset >= 0).any(1), -1, size)
        np.minimum.at(began, placed.cell // columns, index)
        return began

    def _hold(self, table: Open, repeated: Arrivals, newest: Times, began: Times, closing: Times) -> None:
        """Hold the repeated values in the newest step of their assets, where that is open and lacks a reading.

        `newest` (n,) is the asset's newest time when the repetition came.
        """
        low = table.step.min(initial=FARTHEST)
        span = table.step.max(initial=low) - low + 1
        keys = table.row * span + (table.step - low)  # (G,) ascending
        step = newest // self._step_ms
        within = (step >= low) & (step < low + span)
        group = np.minimum(np.searchsorted(keys, repeated.row * span + (step - low)), max(0, len(keys) - 1))
        held = np.flatnonzero(within)
        held = held[keys[group[held]] == repeated.row[held] * span + (step[held] - low)]
        held = held[(began[group[held]] < repeated.index[held]) & (repeated.index[held] <= closing[group[held]])]

        group, column = group[held], repeated.column[held]
        empty = table.offset[group, column] < 0
        group, column, held = group[empty], column[empty], held[empty]
        table.offset[group, column] = HELD
        table.values[group, column] = as_stored(repeated.value[held])  # of several the last one counts

    def _know(self, late: Arrivals) -> None:
        """Remember late readings that are the newest of their channel: they, too, may be repeated."""
        known_time, known_value = self._columns["known_time"], self._columns["known_value"]
        pair = late.row * known_time.shape[1] + late.column
        order = np.lexsort((late.time, pair))  # stable: of equal times the last arrival comes last
        last = order[last_of_run(pair[order])]
        row, column, time = late.row[last], late.column[last], late.time[last]

        # A step that is still open may have a newer one, which takes this one's place when the step closes.
        newer = time >= known_time[row, column]
        known_time[row[newer], column[newer]] = time[newer]
        known_value[row[newer], column[newer]] = as_stored(late.value[last[newer]])

    def _frontiers(self, arrivals: Arrivals, clock: Times, repeated: Arrivals) -> tuple[Frontiers, Times]:
        """Return the events of this batch that raise a frontier by time, and the newest time (n,) at each repetition.

        Update `newest` and `seen`.
        """
        newest, seen, frontier = (self._columns[name] for name in ("newest", "seen", "frontier"))
        opening = openings(arrivals.row, arrivals.time, arrivals.index)
        order = opening[np.argsort(arrivals.row[opening].astype(np.uint16), kind="stable")]
        row, time, index = arrivals.row[order], arrivals.time[order], arrivals.index[order]
        heads = np.flatnonzero(first_of_run(row))
        running = np.maximum(run_max(row, time), newest[row])
        at_repeats = newest[repeated.row]
        if len(at_repeats):
            size = len(clock)
            last = np.searchsorted(row * size + index, repeated.row * size + repeated.index) - 1
            own = np.flatnonzero((last >= 0) & (row[last] == repeated.row)) if len(row) else np.empty(0, np.intp)
            at_repeats[own] = running[last[own]]

        # An asset is silent from an arrival until its next one: `until` is the place of that, or the batch's end.
        until = np.append(index[1:], len(clock))[: len(index)]
        until[heads[1:] - 1] = len(clock)
        first = np.full(len(frontier), len(clock))
        first[row[heads]] = index[heads]

        # Assets without open steps count, too: a change of channels may have emptied the steps, and otherwise the cut
        # of the stream into batches would show.
        waiting = np.flatnonzero((frontier != NEVER) & (frontier <= newest // self._step_ms))
        rows = np.concatenate((row, waiting))
        due = np.concatenate((clock[index], seen[waiting])) + self._silence_ms
        until = np.concatenate((until, first[waiting]))
        silent = np.flatnonzero((until > 0) & (clock[until - 1] >= due))
        passed = np.concatenate((running, newest[waiting]))[silent]

        # Each asset's last arrival of the batch.
        tails = np.append(heads[1:], len(row))[: len(heads)] - 1
        newest[row[tails]] = running[tails]
        seen[row[tails]] = clock[index[tails]]
        frontiers = Frontiers(
            np.concatenate((row, rows[silent])),
            np.concatenate((index, np.searchsorted(clock, due[silent]))),
            np.concatenate(((running - self._lateness_ms) // self._step_ms, passed // self._step_ms + 1)),
            len(clock),
        )
        return frontiers, at_repeats

    def _table(self, row: Times, step: Times) -> tuple[Open, Index]:
        """Return the open steps together with those of readings (n,), and each reading's place (n,) in that table."""
        waiting = len(self._open.row)
        begins = first_of_run(row) | first_of_run(step)  # readings of a message lie together
        rows = np.concatenate((self._open.row, row[begins]))
        steps = np.concatenate((self._open.step, step[begins]))
        low = steps.min(initial=FARTHEST)
        span = steps.max(initial=low) - low + 1
        keys, group = np.unique(rows * span + (steps - low), return_inverse=True)
        of_readings = group[waiting:][np.cumsum(begins) - 1]
        if len(keys) == waiting:
            return self._open, of_readings

        # Cells that were open before keep their readings.
        cells = offset, values, sums = self._no_cells(len(keys), self._open.offset.shape[1])
        offset[group[:waiting]] = self._open.offset
        values[group[:waiting]] = self._open.values
        sums[:, group[:waiting]] = self._open.sums
        return Open(keys // span, keys % span + low, *cells), of_readings

    def _closing(self, table: Open, frontiers: Frontiers, waiting: Times, cell: Index, index: Times) -> Times:
        """Return the place in the batch (G,) at which each step of the table closes; the batch's size = not in it.

        A step that is complete closes if it does not wait for all its readings by then; see `_waiting`. `cell` and
        `index` (n,) are those of the readings.
        """
        passed = frontiers.reach(table.row, table.step)  # (G,)
        if self.frozen and not self._aggregates.sums:
            ready = np.minimum(passed, self._complete(table, cell, index, frontiers.size))
        elif passed.min(initial=frontiers.size) == frontiers.size:  # nearly always, of long steps
            return passed
        else:
            ready = passed.copy()

        # The empty steps before a step close by the frontier only.
        before = self._columns["frontier"][table.row] - 1
        same = np.flatnonzero(table.row[1:] == table.row[:-1])
        before[same + 1] = table.step[same]
        hole = np.flatnonzero(table.step > before + 1)
        filled = frontiers.reach(table.row[hole], table.step[hole] - 1)
        while True:
            ready[hole] = np.maximum(ready[hole], filled)
            # A change of channels may complete a step between two readings: it closes with the next one, at place 0.
            closing = np.maximum(run_max(table.row, ready), 0)

            # A complete step that must wait is passed over. That may hold later ones back, so they are looked at again.
            early = (closing >= waiting) & (ready < passed)
            if not early.any():
                return closing
            ready[early] = passed[early]

    def _complete(self, table: Open, cell: Index, index: Times, size: int) -> Times:
        """Return the place in the batch (G,) at which all channels had arrived: -1 = before it, `size` = not in it."""
        columns = table.offset.shape[1]
        # The first reading of a cell that was empty completes a channel of the step.
        first = first_of_run(cell)
        first[first] = table.offset.reshape(-1)[cell[first]] < 0
        group = cell[first] // columns if columns else cell[first]
        have = np.count_nonzero(table.offset >= 0, axis=1) + np.bincount(group, minlength=len(table.row))
        last = np.full(len(table.row), -1)
        np.maximum.at(last, group, index[first])
        return np.where(have == columns, last, size)

    def _write(self, table: Open, placed: "_Placed", value: npt.NDArray[np.float64]) -> None:
        """Write readings with values (n,). The latest time counts, of equal times the last arrival."""
        cell, offset, held = placed.cell, placed.offset, placed.held
        self._counts[Count.READINGS_DUPLICATE] += int(np.count_nonzero(offset == held))

        stored = as_stored(value)
        if self._aggregates.sums:
            fold_earlier(table, cell, offset, held, stored)

        # The last reading that is at least as late as all earlier ones of its cell.
        winner = np.flatnonzero(offset >= held)
        winner = winner[last_of_run(cell[winner])]
        table.offset.reshape(-1)[cell[winner]] = offset[winner]
        table.values.reshape(-1)[cell[winner]] = stored[winner]

    def _split(self, table: Open, closing: Times, size: int) -> Closed:
        """Return the steps that closed, and keep the others open."""
        closes = closing < size
        if not closes.any():
            self._open = table
            return nothing_closed(len(self._aggregates.base))
        np.maximum.at(self._columns["frontier"], table.row[closes], table.step[closes] + 1)
        self._open = table.at(~closes)
        closes &= (table.offset >= 0).any(1)  # a step that has late readings only was an empty one
        done = table.at(closes)
        self._remember(done.row, done.step, done.offset, done.values)
        return Closed(done.row, done.step, closing[closes], self._aggregates.values(done.values, done.sums))

    def _remember(self, row: Times, step: Times, offset: npt.NDArray[np.int32], values: Floats) -> None:
        """Remember the readings of closed steps (K,), which ascend for each asset, as those that may be repeated."""
        known_time, known_value = self._columns["known_time"], self._columns["known_value"]
        time = (step * self._step_ms)[:, None] + offset
        has = offset >= 0
        if has.all():  # nearly always; of several steps of an asset the last one is written last
            known_time[row] = time
            known_value[row] = values
            return
        place, column = np.nonzero(has)
        known_time[row[place], column] = time[place, column]
        known_value[row[place], column] = values[place, column]

    def _no_cells(self, rows: int, columns: int) -> tuple[npt.NDArray[np.int32], Floats, Doubles]:
        """Return offsets and values (rows, columns) and sums of cells without a reading."""
        offset, values = np.full((rows, columns), NONE, np.int32), np.full((rows, columns), np.nan, np.float32)
        return offset, values, no_sums(self._aggregates.sums, rows, columns)

    def _no_steps(self, columns: int) -> Open:
        return Open(np.empty(0, np.int64), np.empty(0, np.int64), *self._no_cells(0, columns))

    def save(self) -> State:
        """Return the columns and the open steps as arrays."""
        return self._density.save() | self._columns.save(
            open_row=self._open.row.copy(),
            open_step=self._open.step.copy(),
            open_offset=self._open.offset.copy(),
            open_values=self._open.values.copy(),
            open_sums=self._open.sums.copy(),
        )

    def load(self, state: State, aggregates: Aggregates) -> None:
        """Continue from a state that was checked, whose closed steps have `aggregates`."""
        self._aggregates = aggregates
        self._columns.load(state)
        self._density.load(state)
        self._open = Open(*(state[f"open_{name}"].copy() for name in ("row", "step", "offset", "values", "sums")))


@dataclass(frozen=True, slots=True)
class _Placed:
    """Readings on the table of open steps; `timely` are ordered by cell, then arrival."""

    table: Open
    timely: Index  # (n,) places of the readings whose step was open when the batch began
    untimely: Index  # places of the others
    cell: Index  # (n,) place of the reading's cell in the table
    offset: Times  # (n,) ms from the start of the step
    held: Times  # (n,) the offset that counts before each reading

    def at(self, places: npt.NDArray[np.bool_]) -> "_Placed":
        """Return the timely readings at `places` alone."""
        parts = self.timely[places], self.cell[places], self.offset[places], self.held[places]
        return _Placed(self.table, parts[0], self.untimely, *parts[1:])
