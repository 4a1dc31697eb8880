"""`Windows` in plain Python, one reading at a time: the twin of the property tests."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from monitor.core.decode.select import ALL_MEASURED, Kinds
from monitor.core.windows.pace import LEARNED, Holds

NAN = float("nan")
_AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "last": lambda values: values[-1],
    "mean": lambda values: sum(values) / len(values),
    "min": min,
    "max": max,
    "std": lambda values: float(np.std(values)),
}
Cell = tuple[float, bool, bool]  # value, whether it counts as observed, whether it holds


class Reading(NamedTuple):
    """One reading and its message's offset."""

    asset: str
    channel: str
    time: int
    value: float
    offset: int


class NaiveWindow(NamedTuple):
    """One window; rows[step][channel] is a cell."""

    position: int
    asset: int
    end: int
    rows: list[dict[str, Cell]]


@dataclass
class NaiveAsset:
    """State of one asset."""

    row: int
    frontier: int  # first step that is not closed
    newest: int  # largest time seen
    seen: int = 0  # the partition's time when the last reading arrived
    open: dict[int, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)  # step -> channel -> readings
    last: int | None = None  # step written last
    skipped_since: int | None = None  # first window since which too little was observed
    rows: list[dict[str, Cell]] = field(default_factory=list)  # since restart
    carried: dict[str, tuple[int, float, int]] = field(default_factory=dict)  # channel -> step, value, steps it holds
    silences: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # channel -> first and last row of each
    written: int = 0  # rows so far
    dense: tuple[int | None, int, int | None] = (None, 0, None)  # last step with a second time, level, until which step
    latest: dict[str, tuple[int, float]] = field(default_factory=dict)  # channel -> (time, value), late ones included
    held: dict[int, dict[str, float]] = field(default_factory=dict)  # step -> channel -> value repeated in it
    started: bool = False  # whether a reading was placed yet: a counter's first one is not
    counters: dict[str, tuple[int, float]] = field(default_factory=dict)  # counter -> newest time, and its value


class NaiveWindows:
    """Twin of `Windows` with the same settings and meaning."""

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
        kept: Collection[int] = (),
        kinds: Kinds = ALL_MEASURED,
        aggregates: tuple[str, ...] = ("last",),
        holds: Holds = LEARNED,
    ) -> None:
        self.step_ms, self.length, self.lateness_ms, self.idle = step_ms, length, lateness_ms, idle
        self.max_gap, self.max_fill, self.min_observed = max_gap, max_fill, min_observed
        self.max_assets, self.max_channels = max_assets, max_channels
        self.new_assets, self.forget_ms, self.kept = new_assets, forget_ms, kept
        self.counters = {glob for glob, kind in kinds.globs if kind == "rate"}
        self.aggregates = () if aggregates == ("last",) else aggregates
        self.holds = {glob: ms // step_ms for glob, ms in holds.globs if ms}
        self.level = Fraction(new_assets)  # assets that can be admitted
        self.since: int | None = None  # the time of the level
        self.channels: list[str] = []  # aggregates of the base channels
        self.bases: list[str] = []
        self.frozen = False
        self.assets: dict[str, NaiveAsset] = {}
        self.clock: int | None = None
        self.windows: list[NaiveWindow] = []
        self.counts = dict.fromkeys(
            [
                "steps_closed",
                "readings_late",
                "readings_duplicate",
                "readings_repeated",
                "readings_unknown_channel",
                "readings_refused",
                "readings_flood",
                "windows_skipped_warmup",
                "windows_skipped_unobserved",
                "gaps",
                "assets_forgotten",
            ],
            0,
        )

    def set_channels(self, names: list[str], *, frozen: bool) -> None:
        """Drop the channels that are not in `names`."""
        self.channels, self.frozen = list(names), frozen
        self.bases = list(dict.fromkeys(self.base(name) for name in names))
        for asset in self.assets.values():
            for cells in asset.open.values():
                for channel in set(cells) - set(self.bases):
                    del cells[channel]
            asset.open = {step: cells for step, cells in asset.open.items() if cells}
            asset.counters = {channel: cell for channel, cell in asset.counters.items() if channel in self.bases}
            asset.latest = {channel: cell for channel, cell in asset.latest.items() if channel in self.bases}
            asset.held = {
                step: {channel: value for channel, value in cells.items() if channel in self.bases}
                for step, cells in asset.held.items()
                if step in asset.open
            }
            asset.carried = {channel: cell for channel, cell in asset.carried.items() if channel in names}
            asset.silences = {channel: each for channel, each in asset.silences.items() if channel in names}
            asset.rows = [{name: cell for name, cell in row.items() if name in names} for row in asset.rows]

    def base(self, channel: str) -> str:
        """Return the channel that `channel` is an aggregate of."""
        return channel.partition(".")[0] if self.aggregates else channel

    def push(self, reading: Reading) -> None:
        """Take one reading, then close the steps that this reading made ready."""
        before, self.clock = self.clock, reading.time if self.clock is None else max(self.clock, reading.time)
        if self.since is None:
            self.since = reading.time + self.length * self.step_ms
        if self.admit(reading, before):
            rated = self.rate(reading) if reading.channel in self.counters else reading
            asset = self.assets[reading.asset]
            if rated is not None:
                self.place(rated)
            elif not asset.started:
                asset.seen = self.clock
        for asset in self.assets.values():
            self.close_ready(asset, reading.offset)

    def admit(self, reading: Reading, before: int | None) -> bool:
        """Learn the reading's channel and asset if allowed. Return whether both are known."""
        new_channel = reading.channel not in self.bases
        if new_channel and (self.frozen or len(self.bases) == self.max_channels):
            self.counts["readings_unknown_channel"] += 1
            return False
        if reading.asset not in self.assets:
            row = self.admit_asset(before)
            if row is None:
                return False
            first_step = reading.time // self.step_ms
            self.assets[reading.asset] = NaiveAsset(row, first_step, reading.time)
        if new_channel:
            self.bases.append(reading.channel)
            self.channels += [f"{reading.channel}.{each}" for each in self.aggregates] or [reading.channel]
        return True

    def admit_asset(self, before: int | None) -> int | None:
        """Return the row of a new asset, at the partition's time `before`; None if the asset is refused."""
        assert self.since is not None
        opening = before is None or before < self.since
        if before is not None and not opening:
            gained = Fraction((before - self.since) * self.new_assets, 60_000)
            self.level, self.since = min(Fraction(self.new_assets), self.level + gained), before
        if not opening and self.level < 1:
            self.counts["readings_flood"] += 1
            return None
        row = len(self.assets)
        if row == self.max_assets:
            free = [(asset.seen, asset.row, name) for name, asset in self.assets.items() if asset.row not in self.kept]
            if not free or before is None or before - min(free)[0] < self.forget_ms:
                self.counts["readings_refused"] += 1
                return None
            _, row, name = min(free)
            del self.assets[name]
            self.counts["assets_forgotten"] += 1
        if not opening:
            self.level -= 1
        return row

    def not_scored(self, least: int) -> set[int]:
        """The rows of assets whose windows are skipped for at least `least` steps."""
        return {
            asset.row
            for asset in self.assets.values()
            if asset.last is not None and asset.skipped_since is not None and asset.last - asset.skipped_since >= least
        }

    def names(self) -> list[str]:
        """Return the assets by row."""
        return sorted(self.assets, key=lambda name: self.assets[name].row)

    def rate(self, reading: Reading) -> Reading | None:
        """Return the reading with the rate since the counter's newest one, or None."""
        counters = self.assets[reading.asset].counters
        time, value = counters.get(reading.channel, (None, NAN))
        if time is not None and reading.time <= time:
            kind = "late" if reading.time < time else "repeated" if reading.value == value else "duplicate"
            self.counts[f"readings_{kind}"] += 1
            return None
        counters[reading.channel] = reading.time, reading.value
        if time is None or reading.value < value:
            return None
        return reading._replace(value=(reading.value - value) / ((reading.time - time) / 1000))

    def place(self, reading: Reading) -> None:
        """Write the reading into its step, unless the step is closed or has a later reading."""
        assert self.clock is not None
        asset = self.assets[reading.asset]
        reading = reading._replace(value=float(np.float32(reading.value)))
        if not asset.started:
            asset.started, asset.frontier, asset.newest = True, reading.time // self.step_ms, reading.time
        latest = asset.latest.get(reading.channel)
        if latest == (reading.time, reading.value):
            self.counts["readings_repeated"] += 1
            newest_step = asset.newest // self.step_ms
            if newest_step in asset.open:
                asset.held.setdefault(newest_step, {})[reading.channel] = reading.value
            return
        step = reading.time // self.step_ms
        if latest is not None and latest[0] // self.step_ms == step and latest[0] != reading.time:
            self.crowd(asset, step)
        if latest is None or reading.time >= latest[0]:
            asset.latest[reading.channel] = (reading.time, reading.value)
        asset.newest = max(asset.newest, reading.time)
        asset.seen = self.clock
        if step < asset.frontier:
            self.counts["readings_late"] += 1
            return
        written = asset.open.setdefault(step, {}).setdefault(reading.channel, [])  # the newest is the last one
        if not written or reading.time > written[-1][0]:
            written.append((reading.time, reading.value))
        elif reading.time == written[-1][0]:
            self.counts["readings_duplicate"] += 1
            written[-1] = (reading.time, reading.value)
        else:
            written.insert(-1, (reading.time, reading.value))

    def crowd(self, asset: NaiveAsset, step: int) -> None:
        """Note that a second time of a channel came in `step`."""
        last, level, until = asset.dense
        if last is not None and step <= last:
            return
        level = min(8, max(0, level - min(4, step - last if last is not None else 4)) + 2)
        asset.dense = step, level, step + 16 if level >= 4 else until

    def aggregated(self, cells: dict[str, list[tuple[int, float]]]) -> dict[str, float]:
        """Return the value of each channel of a step."""
        found = {}
        for channel in self.channels:
            values = [value for _, value in cells.get(self.base(channel), [])]
            if values:
                kind = channel.partition(".")[2] if self.aggregates else "last"
                found[channel] = _AGGREGATES[kind](values)
        return found

    def close_ready(self, asset: NaiveAsset, offset: int) -> None:
        """Close steps in order while the next step is ready."""
        assert self.clock is not None
        if not asset.started:
            return
        silent = self.clock - asset.seen >= self.idle * self.step_ms
        while asset.open:
            cells = asset.open.get(asset.frontier)
            passed = (asset.frontier + 1) * self.step_ms <= asset.newest - self.lateness_ms
            whole = asset.dense[2] is not None and asset.frontier <= asset.dense[2]
            complete = self.frozen and cells is not None and len(cells) == len(self.bases)
            complete &= not whole and not self.aggregates
            if not (passed or complete or silent):
                return
            if cells is not None:
                held = asset.held.pop(asset.frontier, {})
                cells = {channel: [(0, value)] for channel, value in held.items()} | asset.open.pop(asset.frontier)
                self.close(asset, asset.frontier, self.aggregated(cells), offset)
            asset.frontier += 1
        reached = (asset.newest - self.lateness_ms) // self.step_ms
        asset.frontier = max(asset.frontier, asset.newest // self.step_ms + 1 if silent else reached)

    def close(self, asset: NaiveAsset, step: int, cells: dict[str, float], offset: int) -> None:
        """Append the step, and any gap before it, to the asset's rows. Cut a window if there is one."""
        if asset.last is not None and step - asset.last - 1 > self.max_gap:
            self.counts["gaps"] += 1
            asset.rows, asset.carried, asset.last = [], {}, None
        for empty in range(asset.last + 1 if asset.last is not None else step, step):
            self.append(asset, empty, {})
            warm = len(asset.rows) >= self.length
            self.counts["windows_skipped_unobserved" if warm else "windows_skipped_warmup"] += 1
        self.append(asset, step, cells)
        asset.last = step
        self.cut(asset, step, offset)

    def append(self, asset: NaiveAsset, step: int, cells: dict[str, float]) -> None:
        """Append one row of readings, otherwise held or carried values, otherwise NaN."""
        self.counts["steps_closed"] += 1
        row: dict[str, Cell] = {}
        for channel in self.channels:
            if channel in cells:
                before = asset.carried.get(channel)
                if before is not None and step - before[0] > 1:
                    silence = asset.written - (step - before[0]), asset.written
                    asset.silences[channel] = [*asset.silences.get(channel, []), silence][-16:]
                asset.carried[channel] = (step, cells[channel], self.hold(asset, channel))
            since, value, hold = asset.carried.get(channel, (step - self.max_fill - 1, NAN, 0))
            held = channel in asset.carried and channel not in cells and step - since <= hold
            value = value if held or step - since <= self.max_fill else NAN
            row[channel] = (value, channel in cells or held, held)
        asset.rows.append(row)
        asset.written += 1

    def hold(self, asset: NaiveAsset, channel: str) -> int:
        """Return for how many steps a value that is read in the next row holds."""
        if self.base(channel) in self.holds:
            return self.holds[self.base(channel)]
        silences = asset.silences.get(channel, [])
        if len(silences) < 4:
            return 0
        gaps = sorted(end - begin for begin, end in silences)
        if 2 * sum(gap - 1 for gap in gaps) < asset.written - silences[0][0]:
            return 0
        return 3 * gaps[-1 - max(1, len(gaps) // 8)]

    def cut(self, asset: NaiveAsset, step: int, offset: int) -> None:
        """Return a window of the newest rows if there are enough rows and enough observed cells."""
        if len(asset.rows) < self.length:
            self.counts["windows_skipped_warmup"] += 1
            return
        rows = asset.rows[-self.length :]
        seen = sum(observed for row in rows for _, observed, _ in row.values())
        if seen / (len(self.channels) * self.length) < self.min_observed:
            self.counts["windows_skipped_unobserved"] += 1
            asset.skipped_since = step if asset.skipped_since is None else asset.skipped_since
            return
        asset.skipped_since = None
        self.windows.append(NaiveWindow(offset, asset.row, step * self.step_ms, rows))

    def arrays(self, window: NaiveWindow) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return values, observed and held (C, L) of a window, over the channels known now."""
        cells = [[row.get(channel, (NAN, False, False)) for row in window.rows] for channel in self.channels]
        shape = (len(self.channels), self.length)
        values = np.array([[cell[0] for cell in line] for line in cells], np.float32).reshape(shape)
        observed, held = (np.array([[c[n] for c in line] for line in cells], np.bool_).reshape(shape) for n in (1, 2))
        return values, observed, held
