"""Turns the readings of one partition into windows: the stage between decoding and scoring.

`Windows` knows the names (asset -> row, channel -> column), counts what it drops, and hands whole batches to `Grid`
(which step closes where) and `Rings` (history, holes, windows). All three work on columns over many assets at once.

Guaranteed: windows, positions, counts and state are a function of the sequence of readings alone. How the sequence is
cut into batches, and when, does not matter, so a replay from a saved state repeats every window bit by bit. One thing
follows the batch: while channels are being learned, a batch's windows all have the channels known at its end, those
not known yet when a window closed being unobserved in it.

New assets are let in as long as there is room and `Admission` has one to give. When there is none, `room` and `forget`
say whether, and before which reading, the asset that was seen least recently gives way; the caller then tells the later
stages, too, which know it by its row only.

It reads no clock and holds no reading back beyond `lateness` and `idle`.
"""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import FARTHEST, MOST_ASSETS, NEVER
from monitor.core.records import ReadingBatch, State, Times, WindowBatch
from monitor.core.state import pack_names
from monitor.core.windows.admission import Admission
from monitor.core.windows.grid import Arrivals, Grid, Open, check_ranges
from monitor.core.windows.rings import Rings, empty_windows
from monitor.core.windows.state import COUNTS, check_windows


class Windows:
    """Windows of all assets of one partition. `counts` is cumulative, by the names in COUNTS."""

    def __init__(
        self,
        *,
        step_ms: int,
        length: int,
        lateness_ms: int,
        max_gap: int,
        max_fill: int,
        min_observed: float,
        idle: int,
        max_assets: int,
        max_channels: int,
        new_assets: int,
        forget_ms: int,
    ) -> None:
        """Raises ValueError if a setting lies outside the range the arithmetic is exact in."""
        limits = {
            "step_ms": (step_ms, 1, 2**31 - 1),
            "length": (length, 1, 2**20),
            "lateness_ms": (lateness_ms, 0, 2**40),
            "max_gap": (max_gap, 0, 2**31),
            "max_fill": (max_fill, 0, 2**31),
            "min_observed": (min_observed, 0, 1),
            "idle": (idle, 1, 2**31),
            "max_assets": (max_assets, 1, MOST_ASSETS),
            "max_channels": (max_channels, 1, 2**16),
            "new_assets": (new_assets, 1, MOST_ASSETS),
            "forget_ms": (forget_ms, idle * step_ms, 2**45),  # before, the steps of a silent asset are still open
        }
        check_ranges(limits)
        self.counts = dict.fromkeys(COUNTS, 0)
        self.assets: list[str] = []
        self.channels: tuple[str, ...] = ()
        self._step_ms, self._length = step_ms, length
        self._max_assets, self._max_channels = max_assets, max_channels
        self._forget_ms, self._idle_ms = forget_ms, idle * step_ms
        self._admission = Admission(new_assets, length * step_ms)
        self.stranger = ""  # the asset that was refused last, for show
        self._rows: dict[str, int] = {}
        self._given_up = -1  # the row that `forget` has freed for the next reading's asset
        self._clock = NEVER  # largest time of any reading of the partition
        self._grid = Grid(step_ms=step_ms, lateness_ms=lateness_ms, idle=idle, counts=self.counts)
        self._rings = Rings(
            length=length,
            max_gap=max_gap,
            max_fill=max_fill,
            min_observed=min_observed,
            step_ms=step_ms,
            counts=self.counts,
        )

    def set_channels(self, names: tuple[str, ...] | list[str], *, frozen: bool) -> None:
        """Carry all state over to channels `names`: same name, same data; new ones unobserved; others dropped.

        Frozen: other channels are ignored and a step closes as soon as all have arrived. Otherwise new channels are
        added as they appear and steps close by the watermark only. A step this change completes closes with the next
        reading of the partition. Raises ValueError for a name given twice or more names than `max_channels`.
        """
        if len(set(names)) < len(names) or len(names) > self._max_channels:
            raise ValueError(f"expected at most {self._max_channels} different channels, got {len(names)}: {names}")
        known = {name: column for column, name in enumerate(self.channels)}
        source = np.array([known.get(name, -1) for name in names], np.intp)
        self._grid.remap(source)
        self._rings.remap(source)
        self._grid.frozen = frozen
        self.channels = tuple(names)

    def push(self, readings: ReadingBatch) -> WindowBatch:
        """The windows (B, C, L) that these readings close, ordered by position, asset row, end.

        Raises ValueError if a time lies further from the epoch than FARTHEST; the decoder lets none through.
        """
        if not len(readings):
            return empty_windows(len(self.channels), self._length)
        if readings.time.max() > FARTHEST or readings.time.min() < -FARTHEST:
            raise ValueError(f"times must lie within {FARTHEST} ms of the epoch, got {readings.time.max()}")
        clock = np.maximum(np.maximum.accumulate(readings.time), self._clock)
        row, column, learned = self._admit(readings, np.append(self._clock, clock[:-1]))
        self._clock = int(clock[-1])
        kept = np.flatnonzero((row >= 0) & (column >= 0))
        arrivals = Arrivals(row[kept], column[kept], readings.time[kept], readings.value[kept], kept)
        closed = self._grid.push(arrivals, clock)
        if not len(closed.row):
            return empty_windows(len(self.channels), self._length)
        channels = len(self.channels) - len(learned) + np.searchsorted(learned, closed.index, side="right")
        return self._rings.write(closed, readings.offset[closed.index], channels)

    def rows_until_full(self) -> Times:
        """Steps (A,) each asset still needs for its first full window since its last restart."""
        return np.maximum(self._length - self._rings.filled[: len(self.assets)], 0)

    def room(self, readings: ReadingBatch, kept: Collection[int]) -> int:
        """How many of these readings can be pushed before an asset gives way to a new one; 0 = at the first of them.

        Rows `kept` do not give way. It may be too few, never too many: a batch may be cut anywhere.
        """
        free = max(0, self._max_assets - len(self.assets))  # more than max_assets come from a state of before
        if len(readings.assets) <= free:
            return len(readings)
        row, column = self._codes(readings)
        learns = not self._grid.frozen and len(self.channels) < self._max_channels
        strange = np.flatnonzero((row < 0) & ((column >= 0) | learns))
        names = strange[np.sort(np.unique(readings.asset[strange], return_index=True)[1])]
        if len(names) <= free:
            return len(readings)
        clock = np.maximum(np.maximum.accumulate(readings.time), self._clock)
        before = np.append(self._clock, clock[:-1])
        if not free and strange[0] == 0 and self._oldest(kept) >= 0 and self._admission.due(self._clock) <= self._clock:
            return 0
        # An asset that is kept may be so no more once its last steps have closed.
        seen = self._grid.seen[: len(self.assets)]
        may = seen + self._idle_ms > self._clock
        may[[row for row in range(len(seen)) if row not in kept]] = True
        oldest = seen[may].min(initial=clock[0] if free else FARTHEST)  # or one that is let in by this batch
        possible = self._admission.allows(before, free + 1) & (before - oldest >= self._forget_ms)
        place = strange[(strange >= max(names[free], 1)) & possible[strange]]
        return int(place[0]) if len(place) else len(readings)

    def forget(self, kept: Collection[int]) -> int:
        """Give up the asset seen least recently, so that the next reading's finds room; its row."""
        row = self._oldest(kept)
        assert row >= 0, "room() says that there is one"
        del self._rows[self.assets[row]]
        self.assets = [*self.assets]  # who holds the old list still finds the old name
        self._grid.forget(row)
        self._rings.forget(row)
        self.counts["assets_forgotten"] += 1
        self._given_up = row
        return row

    def _oldest(self, kept: Collection[int]) -> int:
        """The row that gives way if one must; -1 = none has been silent for long enough."""
        seen = self._grid.seen[: len(self.assets)].copy()
        seen[list(kept)] = FARTHEST
        row = int(seen.argmin())
        return row if self._clock - seen[row] >= self._forget_ms else -1

    def _admit(self, readings: ReadingBatch, before: Times) -> tuple[Times, Times, Times]:
        """Row and column (N,) of each reading, -1 = none; and the places at which channels were learned (ascending).

        `before` (N,) is the partition's time as of the readings before each. The channel is looked at before the asset,
        so an asset without a channel we watch takes no row.
        """
        self._admission.begin(int(readings.time[0]))
        row, column = self._codes(readings)
        place, known = np.arange(len(readings)), len(self.assets)
        most = len(self.channels) if self._grid.frozen else self._max_channels
        learned: list[int] = []
        entered: list[int] = []
        roomy = (row < 0) & (known < self._max_assets or self._given_up >= 0)
        strange = np.flatnonzero(roomy | ((column < 0) & (len(self.channels) < most)))
        full_from = -1 if len(self.channels) == most else len(readings)  # after this place no channel is learned
        if len(strange):
            learned, entered = self._learn(readings, strange, most, before)
            row, column = self._codes(readings)
            new = np.flatnonzero(row >= known)
            row[new[new < np.array(entered, np.int64)[row[new] - known]]] = -1  # they came before it was let in
            if learned and len(self.channels) == most:
                full_from = learned[-1]
        unknown = (column < 0) & (place > full_from)
        refused = (row < 0) & ~unknown
        packed_from = len(readings) if len(self.assets) < self._max_assets else entered[-1] if entered else -1
        packed = refused & (place > packed_from) & (before >= self._admission.due(int(before[-1])))
        self.counts["readings_unknown_channel"] += int(np.count_nonzero(unknown))
        self.counts["readings_refused"] += int(np.count_nonzero(packed))
        self.counts["readings_flood"] += int(np.count_nonzero(refused & ~packed))
        if refused.any():
            self.stranger = readings.assets[readings.asset[np.flatnonzero(refused)[-1]]]
        return row, column, np.array(learned, np.int64)

    def _codes(self, readings: ReadingBatch) -> tuple[Times, Times]:
        """Row and column (N,) of each reading by the names known now; -1 = unknown."""
        known = {name: column for column, name in enumerate(self.channels)}
        rows = np.array([self._rows.get(name, -1) for name in readings.assets], np.int64)
        columns = np.array([known.get(name, -1) for name in readings.channels], np.int64)
        return rows[readings.asset], columns[readings.channel]

    def _learn(
        self, readings: ReadingBatch, strange: npt.NDArray[np.intp], most: int, before: Times
    ) -> tuple[list[int], list[int]]:
        """Take in the new names among readings `strange`, in order of arrival.

        The places that brought a channel, and those at which an asset was let in that has a new row.
        """
        channels = list(self.channels)
        learned: list[int] = []
        entered: list[int] = []
        pairs = readings.asset.astype(np.int64) * len(readings.channels) + readings.channel
        while len(strange):
            due, again = NEVER, len(readings)  # nobody is let in before this time, and from this place on all may ask
            for place in strange[np.sort(np.unique(pairs[strange], return_index=True)[1])].tolist():
                if place >= again:
                    break
                asset, channel = readings.assets[readings.asset[place]], readings.channels[readings.channel[place]]
                if channel not in channels and len(channels) >= most:
                    continue
                if asset not in self._rows:
                    if before[place] < due or (self._given_up < 0 and len(self.assets) >= self._max_assets):
                        continue
                    if not self._admission.take(int(before[place])):
                        due = self._admission.due(int(before[place]))
                        again = int(np.searchsorted(before, due))
                        continue
                    self._enter(asset, place, entered)
                if channel not in channels:
                    channels.append(channel)
                    learned.append(place)
            strange = strange[strange >= again]
        self._grid.reserve(len(self.assets))
        self._rings.reserve(len(self.assets))
        if learned:
            self.set_channels(channels, frozen=False)
        return learned, entered

    def _enter(self, asset: str, place: int, entered: list[int]) -> None:
        """Give the asset the row that was given up, or a new one, which is noted in `entered`."""
        row, self._given_up = self._given_up, -1
        if row >= 0:
            self.assets[row] = asset
        else:
            row = len(self.assets)
            self.assets.append(asset)
            entered.append(place)
        self._rows[asset] = row

    def save_state(self) -> State:
        """Everything a later `load_state` needs to go on exactly from here, as arrays."""
        A = len(self.assets)
        grid = self._grid
        return {
            "assets": pack_names(self.assets),
            "channels": pack_names(self.channels),
            "settings": np.array([self._step_ms, self._length, grid.frozen], np.int64),
            "counts": np.array([self.counts[name] for name in COUNTS], np.int64),
            "clock": np.array([self._clock], np.int64),
            "admission": self._admission.save(),
            "newest": grid.newest[:A].copy(),
            "seen": grid.seen[:A].copy(),
            "frontier": grid.frontier[:A].copy(),
            "open_row": grid.open.row.copy(),
            "open_step": grid.open.step.copy(),
            "open_offset": grid.open.offset.copy(),
            "open_values": grid.open.values.copy(),
            **self._rings.save(A),
        }

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave. Raises ValueError, and changes nothing, if it does not fit."""
        assets, channels = check_windows(state, self._step_ms, self._length)
        if len(channels) > self._max_channels:
            raise ValueError(f"state holds {len(channels)} channels, more than max_channels {self._max_channels}")
        self.assets, self.channels = assets, tuple(channels)
        self._rows = {name: row for row, name in enumerate(assets)}
        self._clock = int(state["clock"][0])
        self._admission.load(state["admission"])
        self.counts.update(zip(COUNTS, state["counts"].tolist(), strict=True))
        grid = self._grid
        grid.frozen = bool(state["settings"][2])
        grid.newest, grid.seen, grid.frontier = (state[name].copy() for name in ("newest", "seen", "frontier"))
        grid.open = Open(*(state[f"open_{name}"].copy() for name in ("row", "step", "offset", "values")))
        self._rings.load(state)
