"""Turns the readings of one partition into windows: the stage between decoding and scoring.

`Windows` knows the names (asset -> row, channel -> column; see `aggregates`), counts dropped readings, and passes
whole batches to `Grid` (which step closes where) and `Rings` (history, holes, windows). All three work on columns over
many assets at once.

Guaranteed: windows, positions, counts and state are a function of the sequence of readings alone. How and when the
sequence is cut into batches does not matter, so a replay from a saved state repeats every window bit by bit. One thing
follows the batch: while channels are being learned, a batch's windows all have the channels known at the batch's end.
Channels that were not known when a window closed are unobserved in that window.

Between the two, after `close` and before `cut`, a caller may take out steps, which then count as steps without a
reading: those in which a machine does not run (`monitor.core.running`). The condition for that may need channels that
no window has. They are columns of the grid after those of the windows, so a step waits for them, too.

New assets are admitted as long as there is room and `Admission` has one to give. Without room, `room` and `evict` say
whether, and before which reading, the asset that was seen least recently loses its row. The caller then clears the row
in the later stages, which know an asset by its row only.

No clock is read, and no reading is buffered beyond `lateness` and `idle`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import FARTHEST, NEVER, places
from monitor.core.decode.select import RATE
from monitor.core.records import Bools, Count, Floats, ReadingBatch, State, Times, WindowBatch
from monitor.core.state import Column, check_state, pack_names, unfit, unpack_distinct
from monitor.core.windows.admission import ADMISSION, Admission
from monitor.core.windows.aggregates import LAST, Aggregates, channels_of
from monitor.core.windows.cells import Arrivals, Closed, nothing_closed
from monitor.core.windows.density import DENSITY
from monitor.core.windows.grid import GRID, Grid
from monitor.core.windows.heard import NOTHING, heard_of, nothing_heard
from monitor.core.windows.options import WindowOptions
from monitor.core.windows.pace import PACE
from monitor.core.windows.rates import RATES, Rates
from monitor.core.windows.rings import RINGS, Rings, empty_windows

COUNTS = (
    Count.STEPS_CLOSED,
    Count.READINGS_LATE,
    Count.READINGS_DUPLICATE,
    Count.READINGS_REPEATED,
    Count.READINGS_UNKNOWN_CHANNEL,
    Count.READINGS_REFUSED,
    Count.READINGS_FLOOD,
    Count.WINDOWS_SKIPPED_WARMUP,
    Count.WINDOWS_SKIPPED_UNOBSERVED,
    Count.GAPS,
    Count.ASSETS_FORGOTTEN,
)
NOT_SCORED = ("missing", "silent", "sparse")  # channels never came, stopped, or come too seldom
_STAGE = "windows"
_STATE = {
    **GRID,
    **DENSITY,
    **RINGS,
    **PACE,
    **RATES,
    **ADMISSION,
    "assets": Column("u1", ("bytes of assets",)),
    "channels": Column("u1", ("bytes of channels",)),
    "watched": Column("u1", ("bytes of watched",)),
    "settings": Column("i8", (3,)),  # step_ms, length, whether the channels are frozen
    "counts": Column("i8", (len(COUNTS),)),
    "clock": Column("i8", (1,)),
}


class NotScored(NamedTuple):
    """Why an asset that sends is not scored."""

    cause: str  # one of NOT_SCORED
    text: str


@dataclass(frozen=True, slots=True)
class ClosedSteps:
    """Steps with at least one reading that closed, ordered by asset row, then step."""

    names: tuple[str, ...]  # (C + E,) channels of the windows, then watched channels that no window has
    row: Times  # (K,)
    step: Times  # (K,)
    index: Times  # (K,) place in the batch of the reading that closed the step
    position: Times  # (K,) offset of the message of that reading
    channels: Times  # (K,) channels of windows that were known then
    values: Floats  # (K, C + E) NaN = no reading

    def __len__(self) -> int:
        return len(self.row)

    def at(self, keep: Bools) -> "ClosedSteps":
        """Return the steps marked in `keep` (K,)."""
        if keep.all():
            return self
        row, step, index = self.row[keep], self.step[keep], self.index[keep]
        return ClosedSteps(self.names, row, step, index, self.position[keep], self.channels[keep], self.values[keep])


class Windows:
    """Windows of all assets of one partition. `counts` is cumulative, by the names in COUNTS."""

    def __init__(self, options: WindowOptions) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.assets: list[str] = []
        self.channels: tuple[str, ...] = ()
        self._aggregates = Aggregates.of((), options.aggregates)  # of the channels
        self.refused_asset = ""  # the name that was refused last, for the log
        self._options = options

        self._idle_ms = options.idle * options.step_ms
        self.heard = nothing_heard(NOTHING)  # of the last readings, for the stage that finds silent assets
        self._admission = Admission(options.new_assets, options.length * options.step_ms)
        self._rows: dict[str, int] = {}
        self._free_row = -1  # the row that `evict` has freed for the next reading's asset
        self._clock = NEVER  # largest time of any reading of the partition

        self._grid = Grid(options, self.counts)
        self._rings = Rings(options, self.counts)
        self._rates = Rates(self.counts)
        self._watched: tuple[str, ...] = ()  # channels of options.watched that are none of `channels`
        if options.watched:
            self.set_channels((), frozen=False)

    @property
    def bases(self) -> tuple[str, ...]:
        """The channels as they are read, without aggregates, and after them watched ones."""
        return self._aggregates.bases

    def set_channels(self, names: tuple[str, ...] | list[str], *, frozen: bool) -> None:
        """Carry all state over to channels `names`: same name, same data; new ones unobserved; others dropped.

        Frozen: other channels are ignored and a step closes as soon as all have arrived. Otherwise new channels are
        added as they appear and steps close by the watermark only. A step that this change completes closes with the
        next reading of the partition. Raises ValueError if a name occurs twice or there are more than `max_channels`
        base channels.
        """
        most = self._options.max_channels
        watched = tuple(name for name in self._options.watched if name not in names)
        new = Aggregates.of(names, self._options.aggregates, watched)
        if len(set(names)) < len(names) or new.own > most:
            raise ValueError(f"expected at most {most} different channels, got {new.own}: {names}")
        source = places(new.bases, self._aggregates.bases)
        self._grid.remap(source, new)
        self._rates.remap(source, self._options.kinds.among(new.bases, RATE))
        self._rings.remap(places(names, self.channels), new.bases_of(len(names)))
        self._aggregates = new
        self._grid.frozen = frozen
        self.channels, self._watched = tuple(names), watched

    def push(self, readings: ReadingBatch) -> WindowBatch:
        """Return the windows (B, C, L) that these readings close, ordered by position, asset row, end.

        Raises ValueError if a time lies further from the epoch than FARTHEST; the decoder rejects such readings.
        """
        return self.cut(self.close(readings))

    def cut(self, closed: ClosedSteps) -> WindowBatch:
        """Return the windows (B, C, L) that end in closed steps, ordered by position, asset row, end."""
        if self._watched:
            measured: Bools = ~np.isnan(closed.values[:, : len(self.channels)])
            closed = closed.at(np.logical_or.reduce(measured, axis=1))
        if not len(closed):
            return empty_windows(len(self.channels), self._options.length)
        values = closed.values[:, : len(self.channels)]
        steps = Closed(closed.row, closed.step, closed.index, values)
        return self._rings.write(steps, closed.position, closed.channels)

    def close(self, readings: ReadingBatch) -> ClosedSteps:
        """Return the steps that these readings close.

        Raises ValueError if a time lies further from the epoch than FARTHEST; the decoder rejects such readings.
        """
        self.heard = nothing_heard(readings.stream)
        if not len(readings):
            return self._closed(nothing_closed(len(self.channels) + len(self._watched)), readings, [])
        if readings.time.max() > FARTHEST or readings.time.min() < -FARTHEST:
            raise ValueError(f"times must lie within {FARTHEST} ms of the epoch, got {readings.time.max()}")

        # The partition's time is the largest time of any reading so far, dropped readings included.
        clock = np.maximum(np.maximum.accumulate(readings.time), self._clock)
        row, column, learned = self._admit(readings, clock)
        self._clock = int(clock[-1])

        arrivals = Arrivals(row, column, readings.time, readings.value, np.arange(len(row)))
        known = (row >= 0) & (column >= 0)
        if not known.all():
            arrivals = arrivals.at(known)
        self.heard = heard_of(arrivals, readings.stream)
        arrivals, without = self._rates.take(arrivals)
        self._grid.notice(without.row, clock[without.index])
        return self._closed(self._grid.push(arrivals, clock), readings, learned)

    def _closed(self, closed: Closed, readings: ReadingBatch, learned: Times | list[int]) -> ClosedSteps:
        # A window that closed before a channel was learned is not short of that channel.
        later = len(learned) - np.searchsorted(learned, closed.index, side="right")
        channels = len(self.channels) - later * len(self._options.aggregates)
        names, position = (*self.channels, *self._watched), readings.offset[closed.index]
        return ClosedSteps(names, closed.row, closed.step, closed.index, position, channels, closed.values)

    @property
    def step_ms(self) -> int:
        """The period of the grid."""
        return self._options.step_ms

    def rows_until_full(self) -> Times:
        """Return how many steps (A,) each asset needs until its first full window since its last restart."""
        left: Times = np.maximum(self._options.length - self._rings.filled, 0)
        return left

    def not_scored(self, least_ms: int) -> dict[int, NotScored]:
        """Return the rows whose windows are skipped for at least so long, by the asset's own time, and why."""
        rows = self._rings.skipped(least_ms)
        if not self.channels:
            return dict.fromkeys(rows.tolist(), NotScored("missing", "no channel is known"))
        measured = self._rings.measured(rows)
        never = (measured == 0) & ~self._grid.known(rows)[:, self._aggregates.base[: len(self.channels)]]
        counts = zip(never.sum(1), (measured == 0).sum(1), never.argmax(1), measured.argmin(1), strict=True)
        return {
            row: self._why_not(share, *map(int, numbers))
            for row, share, numbers in zip(rows.tolist(), measured.mean(1).tolist(), counts, strict=True)
        }

    def _why_not(self, share: float, never: int, absent: int, example_never: int, example: int) -> NotScored:
        """Return the reason: channels that never came, or channels that stopped, or too few readings of all."""
        total = len(self.channels)
        needed = f"{share:.0%} of the window is measured, {self._options.min_observed:.0%} is needed"
        if never:
            verb = "has" if never == 1 else "have"
            text = f"{never} of {total} channels {verb} never come, such as {self.channels[example_never]}"
            return NotScored("missing", f"{text}: {needed}")
        if absent:
            text = f"{absent} of {total} channels did not come lately, such as {self.channels[example]}"
            return NotScored("silent", f"{text}: {needed}")
        return NotScored("sparse", f"all {total} channels come, but seldom: {needed}")

    def room(self, readings: ReadingBatch, kept: Collection[int]) -> int:
        """Return how many of these readings can be pushed before an asset must be evicted; 0 = at the first reading.

        Rows `kept` are not evicted. The number may be too small, never too large: a batch may be cut anywhere.
        """
        free = max(0, self._options.max_assets - len(self.assets))  # a saved state may have more than max_assets
        if len(readings.assets) <= free:
            return len(readings)

        # Readings of new assets, and where each new asset comes first.
        row, column = self._codes(readings)
        learns = not self._grid.frozen and self._aggregates.own < self._options.max_channels
        unknown = np.flatnonzero((row < 0) & ((column >= 0) | learns))
        names = unknown[np.sort(np.unique(readings.asset[unknown], return_index=True)[1])]
        if len(names) <= free:
            return len(readings)

        # Evict now, if the first reading is of a new asset that the bucket admits.
        clock = np.maximum(np.maximum.accumulate(readings.time), self._clock)
        before = np.append(self._clock, clock[:-1])
        if not free and unknown[0] == 0 and self._oldest(kept) >= 0 and self._admission.due(self._clock) <= self._clock:
            return 0

        # A kept asset may lose that once its last steps have closed. An asset of this batch may be the oldest, too.
        seen = self._grid.seen
        may = seen + self._idle_ms > self._clock
        may[[row for row in range(len(seen)) if row not in kept]] = True
        oldest = seen[may].min(initial=clock[0] if free else FARTHEST)
        possible = self._admission.allows(before, free + 1) & (before - oldest >= self._options.forget_ms)
        place = unknown[(unknown >= max(names[free], 1)) & possible[unknown]]
        return int(place[0]) if len(place) else len(readings)

    def evict(self, kept: Collection[int]) -> int:
        """Evict the asset seen least recently, to make room for the next reading's asset, and return its row."""
        row = self._oldest(kept)
        assert row >= 0, "room() says that there is one"
        del self._rows[self.assets[row]]
        self.assets = [*self.assets]  # earlier outputs refer to the old list, and still need the old name
        self._grid.forget(row)
        self._rings.forget(row)
        self._rates.forget(row)
        self.counts[Count.ASSETS_FORGOTTEN] += 1
        self._free_row = row
        return row

    def _oldest(self, kept: Collection[int]) -> int:
        """Return the row to evict if one must be; -1 = no asset has been silent for long enough."""
        seen = self._grid.seen.copy()
        seen[list(kept)] = FARTHEST
        row = int(seen.argmin())
        return row if self._clock - seen[row] >= self._options.forget_ms else -1

    def _admit(self, readings: ReadingBatch, clock: Times) -> tuple[Times, Times, Times]:
        """Return row and column (N,) of each reading, -1 = none, and the places of readings that added a channel.

        `clock` (N,) is the partition's time at each reading. The channel is checked before the asset, so an asset
        without a known channel takes no row.
        """
        self._admission.begin(int(readings.time[0]))
        row, column = self._codes(readings)
        if row.min() >= 0 and column.min() >= 0:  # nearly always
            return row, column, np.empty(0, np.int64)
        before = np.append(self._clock, clock[:-1])
        place, known = np.arange(len(readings)), len(self.assets)
        bases = self._aggregates.own
        most = bases if self._grid.frozen else self._options.max_channels
        learned: list[int] = []
        entered: list[int] = []

        # Take in new names, if any reading has one and there is room.
        roomy = (row < 0) & (known < self._options.max_assets or self._free_row >= 0)
        unknown = np.flatnonzero(roomy | ((column < 0) & (bases < most)))
        full_from = -1 if bases == most else len(readings)  # after this place no channel is learned
        if len(unknown):
            learned, entered = self._learn(readings, unknown, most, before)
            # Names are known from their entry on, so codes are looked up once more.
            row, column = self._codes(readings)
            new = np.flatnonzero(row >= known)
            row[new[new < np.array(entered, np.int64)[row[new] - known]]] = -1  # they came before their asset's entry
            if learned and self._aggregates.own == most:
                full_from = learned[-1]

        if self._watched:
            column = np.where((column < 0) & (row >= 0), self._watched_codes(readings), column)
        self._count_dropped(readings, row, (column < 0) & (place > full_from), before, entered)
        return row, column, np.array(learned, np.int64)

    def _count_dropped(
        self, readings: ReadingBatch, row: Times, unknown: npt.NDArray[np.bool_], before: Times, entered: list[int]
    ) -> None:
        """Count readings without a channel, and those whose asset found no room or came too early."""
        refused = (row < 0) & ~unknown
        full_from = len(readings)  # after this place there is no room for another asset
        if len(self.assets) >= self._options.max_assets:
            full_from = entered[-1] if entered else -1
        full = refused & (np.arange(len(readings)) > full_from) & (before >= self._admission.due(int(before[-1])))

        self.counts[Count.READINGS_UNKNOWN_CHANNEL] += int(np.count_nonzero(unknown))
        self.counts[Count.READINGS_REFUSED] += int(np.count_nonzero(full))
        self.counts[Count.READINGS_FLOOD] += int(np.count_nonzero(refused & ~full))
        if refused.any():
            self.refused_asset = readings.assets[readings.asset[np.flatnonzero(refused)[-1]]]

    def _codes(self, readings: ReadingBatch) -> tuple[Times, Times]:
        """Return row and column (N,) of each reading by the names known now; -1 = unknown."""
        rows = np.array(list(map(self._rows.get, readings.assets, repeat(-1))), np.int64)
        columns = places(readings.channels, self._aggregates.bases[: self._aggregates.own])
        return rows[readings.asset], columns[readings.channel]

    def _watched_codes(self, readings: ReadingBatch) -> Times:
        """Return the column (N,) of each reading of a watched channel that no window has; -1 = of another one."""
        columns = places(readings.channels, self._aggregates.bases).astype(np.int64)
        return columns[readings.channel]

    def _learn(
        self, readings: ReadingBatch, unknown: npt.NDArray[np.intp], most: int, before: Times
    ) -> tuple[list[int], list[int]]:
        """Take in the new names among readings `unknown`, in order of arrival.

        Return the places that added a channel, and the places at which an asset got a new row.
        """
        channels = list(self._aggregates.bases[: self._aggregates.own])
        learned: list[int] = []
        entered: list[int] = []
        pairs = readings.asset.astype(np.int64) * len(readings.channels) + readings.channel
        while len(unknown):
            # No asset is admitted before time `due`; from place `again` on refused names are tried once more.
            due, again = NEVER, len(readings)
            for place in unknown[np.sort(np.unique(pairs[unknown], return_index=True)[1])].tolist():
                if place >= again:
                    break
                asset, channel = readings.assets[readings.asset[place]], readings.channels[readings.channel[place]]
                if channel not in channels and (len(channels) >= most or channel in self._options.hidden):
                    continue
                if asset not in self._rows:
                    if before[place] < due or (self._free_row < 0 and len(self.assets) >= self._options.max_assets):
                        continue
                    if not self._admission.take(int(before[place])):
                        due = self._admission.due(int(before[place]))
                        again = int(np.searchsorted(before, due))
                        continue
                    self._enter(asset, place, entered)
                if channel not in channels:
                    channels.append(channel)
                    learned.append(place)
            unknown = unknown[unknown >= again]

        # Rows before channels: new rows have the channels known so far, and grow with the others.
        self._grid.reserve(len(self.assets))
        self._rings.reserve(len(self.assets))
        self._rates.reserve(len(self.assets))
        if learned:
            new = channels[self._aggregates.own :]
            options = self._options
            kept = [(LAST,) if base == options.mode else options.aggregates for base in new]
            names = [name for base, each in zip(new, kept, strict=True) for name in channels_of(base, each)]
            self.set_channels([*self.channels, *names], frozen=False)
        return learned, entered

    def _enter(self, asset: str, place: int, entered: list[int]) -> None:
        """Give the asset the row of the evicted one, or a new row, whose place is added to `entered`."""
        row, self._free_row = self._free_row, -1
        if row >= 0:
            self.assets[row] = asset
        else:
            row = len(self.assets)
            self.assets.append(asset)
            entered.append(place)
        self._rows[asset] = row

    def save_state(self) -> State:
        """Return all that `load_state` needs to continue exactly from here."""
        options = self._options
        return {
            "assets": pack_names(self.assets),
            "channels": pack_names(self.channels),
            "watched": pack_names(self._watched),
            "settings": np.array([options.step_ms, options.length, self._grid.frozen], np.int64),
            "counts": np.array([self.counts[name] for name in COUNTS], np.int64),
            "clock": np.array([self._clock], np.int64),
            "admission": self._admission.save(),
            **self._grid.save(),
            **self._rings.save(),
            **self._rates.save(),
        }

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError, and changes nothing, if the state does not fit."""
        assets, channels, watched = self._check(state)
        self.assets = assets
        self.channels, self._watched = tuple(channels), tuple(watched)
        self._aggregates = Aggregates.of(channels, self._options.aggregates, watched)
        self._rows = {name: row for row, name in enumerate(assets)}
        self._clock = int(state["clock"][0])
        self._admission.load(state["admission"])
        self.counts.update(zip(COUNTS, state["counts"].tolist(), strict=True))
        self._grid.frozen = bool(state["settings"][2])
        self._grid.load(state, self._aggregates)
        self._rings.load(state, self._aggregates.bases_of(len(channels)))
        self._rates.load(state, len(self._aggregates.bases))
        self.set_channels(channels, frozen=self._grid.frozen)  # other channels may be watched now

    def _check(self, state: State) -> tuple[list[str], list[str], list[str]]:
        """Return assets, channels and watched channels of a saved state. Raises ValueError if it does not fit."""
        options = self._options
        sizes = check_state(_STAGE, state, _STATE, H=options.length - 1)
        if state["settings"][:2].tolist() != [options.step_ms, options.length]:
            expected = [options.step_ms, options.length]
            raise unfit(_STAGE, "(step_ms, length)", state["settings"][:2].tolist(), expected)

        assets = unpack_distinct(_STAGE, "assets", state["assets"])
        channels = unpack_distinct(_STAGE, "channels", state["channels"])
        watched = unpack_distinct(_STAGE, "watched", state["watched"])
        columns, found = [*channels, *watched], Aggregates.of(channels, options.aggregates, watched)
        rates = np.flatnonzero(options.kinds.among(found.bases, RATE)).tolist()
        if state["rate_channels"].tolist() != rates:
            raise unfit(_STAGE, "rate_channels", state["rate_channels"].tolist(), rates)
        if (len(assets), len(channels), len(found.bases)) != (sizes["A"], sizes["C"], sizes["base"]):
            names = f"{len(assets)} assets, {len(channels)} channels and {len(watched)} watched"
            sizes_found = f"{sizes['A']}, {sizes['C']} and {sizes['base'] - found.own}, as its arrays have"
            raise unfit(_STAGE, "number of names", names, sizes_found)
        if len(set(columns)) < len(columns):
            raise unfit(_STAGE, "watched", watched, "none of the channels")
        if found.own > options.max_channels:
            raise unfit(_STAGE, "channels", f"a list of {found.own}", f"at most max_channels {options.max_channels}")
        return assets, channels, watched
