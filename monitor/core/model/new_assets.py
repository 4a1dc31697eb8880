"""Statistics of assets that the model does not know by name, learned as they run until the next model brings them.

Such an asset begins with the row of the class (`scaling`), taken WIDE times as wide, since machines of a class differ
in level. With each block, the window with which a multiple of the window length is reached, its cells are added to
count, mean and sum of squares per channel; from the next window on the asset is scaled by the class's statistics and
its own together, its own with weight n / (n + CLASS_ROWS) after n cells.

A fault that is on from the first minute cannot be told from a machine that is different. How much of it is taken for
the machine's nature is bounded twice: in speed by that weight, a third after 64 steps; and for good, since cells count
as at most CELLS deviations of the class from its center, and the row keeps within LEVEL deviations and a factor SCALE
of the class. What lies further off is news for as long as it lasts. Cells that are masked or were not measured do not
count. Windows with an alert do: a class row that does not fit is what raises false alarms, and an asset that did not
learn while one is on would never be rid of it (measured: docs/detection.md).

Guaranteed: how a window is scaled is a function of the asset's earlier windows and the model alone, however they are
cut into batches; no score has a part in it. An asset that the model knows is not touched, and costs nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import Index, extend, first_of_run, pick_columns
from monitor.core.model.scaling import Doubles, Scaling
from monitor.core.records import Bools, State, WindowBatch
from monitor.core.state import pack_names, unpack_names
from monitor.core.windows.new_steps import passes

# Chosen on seeds 10 and 11 of benchmarks/cold_start.py, labels in view; its figures are of others (docs/detection.md).
CLASS_ROWS = 128.0  # cells of its own that weigh as much as the class; with 512 alerts stay on twice as long
WIDE = 1.5  # times the class's deviation while nothing is known; at 1 and at 2 half as many false alarms again at first
CELLS = 4.0  # deviations of the class
LEVEL = 2.0  # deviations of the class
SCALE = 2.0  # not less: the deviation of a channel that rarely moves says nothing of how far it moves
_HELD: dict[str, str] = {"count": "i8", "mean": "f8", "squares": "f8"}  # (A, C) each; squares = sum of (x - mean)^2


class WindowScaling(NamedTuple):
    """What each window of a batch is scaled by."""

    scaling: Scaling  # of the model, with rows for its windows of new assets after those it knows by name
    rows: npt.NDArray[np.intp]  # (B,)

    @property
    def unknown(self) -> Bools:
        """Which windows (B,) have rows of their own though the model does not know their asset by name."""
        found: Bools = self.rows > len(self.scaling.assets)
        return found

    def take(self, index: Index) -> "WindowScaling":
        """Of the windows at `index` (K,), in that order."""
        return WindowScaling(self.scaling, self.rows[index])


class NewAssets:
    """The statistics of the new assets of one partition."""

    def __init__(self, *, length: int, step_ms: int) -> None:
        self._length, self._step_ms = length, step_ms
        self._channels: tuple[str, ...] = ()
        self._held: dict[str, npt.NDArray[np.number]] = {name: np.zeros((0, 0), dtype) for name, dtype in _HELD.items()}

    def use(self, channels: tuple[str, ...]) -> None:
        """Learn these channels from the next window on; what is known of them is kept."""
        known = {name: column for column, name in enumerate(self._channels)}
        source = np.array([known.get(name, -1) for name in channels], np.intp)
        self._held = {name: pick_columns(array, source, 0) for name, array in self._held.items()}
        self._channels = channels

    def update(self, windows: WindowBatch, names: Sequence[str], scaling: Scaling) -> WindowScaling:
        """The scalings of windows whose `assets` index `names`; then learn from those that `scaling` has no row for."""
        rows = scaling.rows(names)[windows.assets]
        new = np.flatnonzero(rows == len(scaling.assets))
        if not len(new):
            return WindowScaling(scaling, rows)
        order = new[np.argsort(windows.assets[new], kind="stable")]  # of one asset together, by end
        asset = windows.assets[order].astype(np.intp)
        self._reserve(int(asset[-1]) + 1)
        block = passes(windows, windows.ends[order] // self._step_ms + 1, self._length, order)
        before: Index = np.cumsum(block, dtype=np.intp) - block  # blocks of the batch before each window
        begin = np.flatnonzero(first_of_run(asset))
        before -= np.repeat(before[begin], np.diff(np.append(begin, len(asset))))  # of its own asset
        centers, scales, most = [scaling.center], [scaling.scale], len(scaling.center)
        for number in range(int(before.max()) + 1):  # a round takes each asset to the end of its next block
            place = np.flatnonzero(before == number)
            own = first_of_run(asset[place])
            rows[order[place]] = most + np.cumsum(own) - 1
            center, scale = self._blended(asset[place[own]], scaling)
            centers.append(center)
            scales.append(scale)
            most += len(center)
            learned = place[block[place]]
            self._learn(asset[learned], windows, order[learned], scaling)
        return WindowScaling(Scaling(scaling.assets, np.concatenate(centers), np.concatenate(scales)), rows)

    def current(self, windows: WindowBatch, names: Sequence[str], scaling: Scaling) -> WindowScaling:
        """The same as of now, for windows to be looked at once more; nothing is learned."""
        rows = scaling.rows(names)[windows.assets]
        known = len(self._held["count"])
        place = np.flatnonzero((rows == len(scaling.assets)) & (windows.assets < known))
        if not len(place):
            return WindowScaling(scaling, rows)
        center, scale = self._blended(windows.assets[place].astype(np.intp), scaling)
        rows[place] = len(scaling.center) + np.arange(len(place))
        joined = np.concatenate([scaling.center, center]), np.concatenate([scaling.scale, scale])
        return WindowScaling(Scaling(scaling.assets, *joined), rows)

    def forget(self, row: int) -> None:
        """As if this row had never had a window: it is another asset's now."""
        if row < len(self._held["count"]):
            for array in self._held.values():
                array[row] = 0

    def _blended(self, assets: Index, scaling: Scaling) -> tuple[Doubles, Doubles]:
        """Center and scale (n, C) of assets (n,): class and own ones, by how much is known, near the class."""
        count, mean, squares = (self._held[name][assets].astype(np.float64) for name in _HELD)
        center, scale = scaling.center[-1], scaling.scale[-1]
        weight = count / (count + CLASS_ROWS)
        moved = np.clip(weight * (mean - center), -LEVEL * scale, LEVEL * scale)
        own = squares / np.maximum(count, 1)
        blended = np.sqrt(weight * own + (1 - weight) * (WIDE * scale) ** 2)
        return center + moved, np.clip(blended, scale / SCALE, scale * SCALE)

    def _learn(self, assets: Index, windows: WindowBatch, place: Index, scaling: Scaling) -> None:
        """Add the blocks at `place` (n,) to what is known of different `assets` (n,) (Chan et al. 1983)."""
        if not len(assets):
            return
        center, scale = scaling.center[-1, :, None], scaling.scale[-1, :, None]  # (C, 1)
        observed = np.ascontiguousarray(windows.observed[place])  # sums must not depend on how the batch lies in memory
        values = np.where(observed, windows.values[place], 0).astype(np.float64)
        values = np.ascontiguousarray(np.clip(values, center - CELLS * scale, center + CELLS * scale))
        number = observed.sum(2)  # (n, C)
        mean = np.where(observed, values, 0).sum(2) / np.maximum(number, 1)
        squares = (np.where(observed, values - mean[:, :, None], 0) ** 2).sum(2)
        held, mine, spread = (self._held[name][assets] for name in _HELD)
        total = held + number
        share = number / np.maximum(total, 1)
        apart = mean - mine
        self._held["count"][assets] = total
        self._held["mean"][assets] = mine + share * apart
        self._held["squares"][assets] = spread + squares + share * held * apart**2

    def _reserve(self, assets: int) -> None:
        self._held = {name: extend(array, assets, 0) for name, array in self._held.items()}

    def save_state(self) -> State:
        """Everything a later `load_state` needs to go on exactly from here, as arrays."""
        used = np.flatnonzero(self._held["count"].sum(1))
        A = int(used[-1]) + 1 if len(used) else 0
        return {
            "channels": pack_names(self._channels),
            **{name: array[:A].copy() for name, array in self._held.items()},
        }

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave; from nothing, as in older snapshots. `use` must follow.

        Raises ValueError, and changes nothing, if it does not fit.
        """
        if not state:
            return
        if state.keys() != {"channels", *_HELD}:
            raise ValueError(f"state of new assets holds {sorted(state)}, expected {sorted({'channels', *_HELD})}")
        channels = tuple(unpack_names(state["channels"]))
        if len(set(channels)) < len(channels):
            raise ValueError("state of new assets names a channel twice")
        shape = (len(state["count"]) if state["count"].ndim else 0, len(channels))
        for name, dtype in _HELD.items():
            if state[name].dtype != np.dtype(dtype) or state[name].shape != shape:
                found = f"{state[name].dtype} {state[name].shape}"
                raise ValueError(f"state of new assets: {name} is {found}, expected {np.dtype(dtype)} {shape}")
        if not all(np.isfinite(state[name]).all() for name in _HELD) or np.any(state["squares"] < 0):
            raise ValueError("state of new assets: a mean or a sum of squares is none")
        if np.any(state["count"] < 0):
            raise ValueError("state of new assets: a count is negative")
        self._channels = channels
        self._held = {name: state[name].copy() for name in _HELD}
