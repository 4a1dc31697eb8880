"""Turns the readings of one partition into windows: the stage between decoding and scoring.

`Windows` knows the names (asset -> row, channel -> column), counts what it drops, and hands whole batches to `Grid`
(which step closes where) and `Rings` (history, holes, windows). All three work on columns over many assets at once.

Guaranteed: windows, positions, counts and state are a function of the sequence of readings alone. How the sequence is
cut into batches, and when, does not matter, so a replay from a saved state repeats every window bit by bit. One thing
follows the batch: while channels are being learned, a batch's windows all have the channels known at its end, those
not known yet when a window closed being unobserved in it.

It reads no clock, does not evict assets, and holds no reading back beyond `lateness` and `idle`.
"""

import numpy as np
import numpy.typing as npt

from monitor.core.grid import FARTHEST, MOST_ASSETS, NEVER, Arrivals, Grid, Open
from monitor.core.records import ReadingBatch, State, Times, WindowBatch, pack_names, unpack_names
from monitor.core.rings import Rings, empty_windows

COUNTS = (
    "steps_closed",
    "readings_late",
    "readings_duplicate",
    "readings_unknown_channel",
    "readings_refused",
    "windows_skipped_warmup",
    "windows_skipped_unobserved",
    "gaps",
)
_SHAPES = {  # what a saved state holds: dtype, and shape in A assets, C channels, G open steps, H = L - 1
    "assets": ("u1", "*"),
    "channels": ("u1", "*"),
    "settings": ("i8", "3"),  # step_ms, length, frozen
    "counts": ("i8", "8"),
    "clock": ("i8", "1"),
    "newest": ("i8", "A"),
    "seen": ("i8", "A"),
    "frontier": ("i8", "A"),
    "open_row": ("i8", "G"),
    "open_step": ("i8", "G"),
    "open_offset": ("i4", "GC"),
    "open_values": ("f4", "GC"),
    "values": ("f4", "ACH"),
    "observed": ("?", "ACH"),
    "newest_step": ("i8", "A"),
    "filled": ("i8", "A"),
    "carried": ("f4", "AC"),
    "carried_step": ("i8", "AC"),
}


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
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, got {value}")
        self.counts = dict.fromkeys(COUNTS, 0)
        self.assets: list[str] = []
        self.channels: tuple[str, ...] = ()
        self._step_ms, self._length = step_ms, length
        self._max_assets, self._max_channels = max_assets, max_channels
        self._rows: dict[str, int] = {}
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
        row, column, learned = self._admit(readings)
        clock = np.maximum(np.maximum.accumulate(readings.time), self._clock)
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

    def _admit(self, readings: ReadingBatch) -> tuple[Times, Times, Times]:
        """Row and column (N,) of each reading, -1 = none; and the places at which channels were learned (ascending).

        The channel is looked at before the asset, so an asset without a channel we watch takes no row.
        """
        row, column = self._codes(readings)
        most = len(self.channels) if self._grid.frozen else self._max_channels
        learned: list[int] = []
        roomy = (row < 0) & (len(self.assets) < self._max_assets)
        strange = np.flatnonzero(roomy | ((column < 0) & (len(self.channels) < most)))
        full_from = -1 if len(self.channels) == most else len(readings)  # after this place no channel is learned
        if len(strange):
            learned = self._learn(readings, strange, most)
            row, column = self._codes(readings)
            if learned and len(self.channels) == most:
                full_from = learned[-1]
        unknown = (column < 0) & (np.arange(len(readings)) > full_from)
        self.counts["readings_unknown_channel"] += int(np.count_nonzero(unknown))
        self.counts["readings_refused"] += int(np.count_nonzero((row < 0) & ~unknown))
        return row, column, np.array(learned, np.int64)

    def _codes(self, readings: ReadingBatch) -> tuple[Times, Times]:
        """Row and column (N,) of each reading by the names known now; -1 = unknown."""
        known = {name: column for column, name in enumerate(self.channels)}
        rows = np.array([self._rows.get(name, -1) for name in readings.assets], np.int64)
        columns = np.array([known.get(name, -1) for name in readings.channels], np.int64)
        return rows[readings.asset], columns[readings.channel]

    def _learn(self, readings: ReadingBatch, strange: npt.NDArray[np.intp], most: int) -> list[int]:
        """Take in the new names among readings `strange`, in order of arrival; the places that brought a channel."""
        pairs = readings.asset[strange].astype(np.int64) * len(readings.channels) + readings.channel[strange]
        places = strange[np.sort(np.unique(pairs, return_index=True)[1])]
        channels, learned = list(self.channels), []
        for place in places.tolist():
            asset, channel = readings.assets[readings.asset[place]], readings.channels[readings.channel[place]]
            if channel not in channels and len(channels) >= most:
                continue
            if asset not in self._rows:
                if len(self.assets) >= self._max_assets:
                    continue
                self._rows[asset] = len(self.assets)
                self.assets.append(asset)
            if channel not in channels:
                channels.append(channel)
                learned.append(place)
        self._grid.reserve(len(self.assets))
        self._rings.reserve(len(self.assets))
        if learned:
            self.set_channels(channels, frozen=False)
        return learned

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
        assets, channels = _check(state, self._step_ms, self._length)
        if len(channels) > self._max_channels:
            raise ValueError(f"state holds {len(channels)} channels, more than max_channels {self._max_channels}")
        self.assets, self.channels = assets, tuple(channels)
        self._rows = {name: row for row, name in enumerate(assets)}
        self._clock = int(state["clock"][0])
        self.counts.update(zip(COUNTS, state["counts"].tolist(), strict=True))
        grid = self._grid
        grid.frozen = bool(state["settings"][2])
        grid.newest, grid.seen, grid.frontier = (state[name].copy() for name in ("newest", "seen", "frontier"))
        grid.open = Open(*(state[f"open_{name}"].copy() for name in ("row", "step", "offset", "values")))
        self._rings.load(state)


def _check(state: State, step_ms: int, length: int) -> tuple[list[str], list[str]]:
    """Assets and channels of a saved state. Raises ValueError that says what is missing, too much or misshapen."""
    if state.keys() != _SHAPES.keys():
        missing, extra = sorted(_SHAPES.keys() - state.keys()), sorted(state.keys() - _SHAPES.keys())
        raise ValueError(f"state of windows lacks {missing} and has unexpected {extra}")
    for name, (dtype, _) in _SHAPES.items():
        if state[name].dtype != np.dtype(dtype):
            raise ValueError(f"state of windows: {name} is {state[name].dtype}, expected {np.dtype(dtype)}")
    try:
        assets, channels = unpack_names(state["assets"]), unpack_names(state["channels"])
    except RecursionError as deep:
        raise ValueError("state of windows: names are nested deep") from deep
    if len(set(assets)) < len(assets) or len(set(channels)) < len(channels):
        raise ValueError("state of windows names an asset or a channel twice")
    sizes = {"A": len(assets), "C": len(channels), "G": state["open_row"].size, "H": length - 1}
    for name, (_, shape) in _SHAPES.items():
        array = state[name]
        expected = array.shape if shape == "*" else tuple(sizes[axis] if axis in sizes else int(axis) for axis in shape)
        if array.shape != expected:
            raise ValueError(
                f"state of windows: {name} is {array.dtype} {array.shape}, expected {array.dtype} {expected}"
            )
    if state["settings"][:2].tolist() != [step_ms, length]:
        raise ValueError(f"state has (step_ms, length) {state['settings'][:2].tolist()}, expected {[step_ms, length]}")
    if np.any((state["open_row"] < 0) | (state["open_row"] >= len(assets))):
        raise ValueError("state of windows: open_row names an asset that is not there")
    return assets, channels
