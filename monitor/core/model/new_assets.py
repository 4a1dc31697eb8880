"""Statistics of assets that the model does not know by name, learned as they run until the next model knows them.

Such an asset begins with the row of the class (`scaling`), taken WIDE times as wide, since machines of a class differ
in level. A block is the window with which a multiple of the window length is reached. With each block its cells are
added to count, mean and sum of squares per channel. From the next window on, the asset is scaled by the class's
statistics and its own together, its own with weight n / (n + CLASS_ROWS) after n cells.

A fault that is on from the first minute cannot be told from a machine that is different. Two bounds limit how much of
it is taken for the machine's nature. That weight limits the speed, to a third after 64 steps. The other bound holds
for good: cells count as at most CELLS deviations of the class from its center, and the row keeps within LEVEL
deviations and a factor SCALE of the class. Anything further off stays anomalous for as long as it lasts.

Cells that are masked or were not measured do not count. Windows with an alert do: a class row that does not fit is what
raises false alarms, and an asset that did not learn during an alert would never be rid of it (measured:
docs/detection.md).

Guaranteed: how a window is scaled is a function of the asset's earlier windows and the model alone, however they are
cut into batches; no score has a part in it. An asset that the model knows is not touched, and costs nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import Doubles, Index, first_of_run, places
from monitor.core.model.scaling import Scaling
from monitor.core.records import Bools, State, WindowBatch
from monitor.core.state import FINITE, Column, Columns, Table, pack_names, unfit, unpack_distinct
from monitor.core.windows.new_steps import passes

# Chosen on seeds 10 and 11 of benchmarks/cold_start.py, labels in view; its figures are of others (docs/detection.md).
CLASS_ROWS = 128.0  # cells of its own that weigh as much as the class; with 512 alerts stay on twice as long
WIDE = 1.5  # times the class's deviation while nothing is known; at 1 and at 2 half as many false alarms again at first
CELLS = 4.0  # deviations of the class
LEVEL = 2.0  # deviations of the class
SCALE = 2.0  # not less: the deviation of a channel that rarely moves says nothing of how far it moves

_STAGE = "new assets"
_STATISTICS = ("count", "mean", "squares")
_TABLE: Table = {
    "channels": Column("u1", ("bytes",)),
    "count": Column("i8", ("A", "C"), low=0),  # cells
    "mean": Column("f8", ("A", "C"), low=-FINITE, high=FINITE),
    "squares": Column("f8", ("A", "C"), low=0, high=FINITE),  # sum of (x - mean)^2
}


class WindowScaling(NamedTuple):
    """The scaling of each window of a batch."""

    scaling: Scaling  # of the model, with rows for windows of new assets after those of the assets it knows
    rows: npt.NDArray[np.intp]  # (B,)

    @property
    def unknown(self) -> Bools:
        """Return which windows (B,) have rows of their own because the model does not know their asset."""
        found: Bools = self.rows > len(self.scaling.assets)
        return found

    def take(self, index: Index) -> "WindowScaling":
        """Return the scaling of the windows at `index` (K,), in that order."""
        return WindowScaling(self.scaling, self.rows[index])


class NewAssets:
    """The statistics of the new assets of one partition."""

    def __init__(self, *, length: int, step_ms: int) -> None:
        self._length = length
        self._step_ms = step_ms
        self._channels: tuple[str, ...] = ()
        self._columns = Columns(_STAGE, _TABLE)

    def use(self, channels: tuple[str, ...]) -> None:
        """Learn these channels from the next window on; statistics of known channels are kept."""
        self._columns.pick(places(channels, self._channels))
        self._channels = channels

    def update(self, windows: WindowBatch, names: Sequence[str], scaling: Scaling) -> WindowScaling:
        """Return the scaling of windows whose `assets` index `names`, then learn from those of new assets.

        An asset is new if `scaling` has no row for it.
        """
        rows = scaling.rows(names)[windows.assets]
        new = np.flatnonzero(rows == len(scaling.assets))
        if not len(new):
            return WindowScaling(scaling, rows)

        order = new[np.argsort(windows.assets[new], kind="stable")]  # by asset, then end
        asset = windows.assets[order].astype(np.intp)
        self._columns.reserve(int(asset[-1]) + 1)

        # How many blocks of its asset the batch holds before each window.
        block = passes(windows, windows.ends[order] // self._step_ms + 1, self._length, order)
        before: Index = np.cumsum(block, dtype=np.intp) - block
        begin = np.flatnonzero(first_of_run(asset))
        before -= np.repeat(before[begin], np.diff(np.append(begin, len(asset))))

        # A round takes each asset to the end of its next block: scale all windows up to it, then learn it.
        centers, scales, most = [scaling.center], [scaling.scale], len(scaling.center)
        for number in range(int(before.max()) + 1):
            place = np.flatnonzero(before == number)
            own = first_of_run(asset[place])
            rows[order[place]] = most + np.cumsum(own) - 1
            center, scale = self._blended(asset[place[own]], scaling)
            centers.append(center)
            scales.append(scale)
            most += len(center)

            learned = place[block[place]]
            self._learn(asset[learned], windows, order[learned], scaling)
        center, scale = np.concatenate(centers), np.concatenate(scales)
        return WindowScaling(replace(scaling, center=center, scale=scale), rows)

    def current(self, windows: WindowBatch, names: Sequence[str], scaling: Scaling) -> WindowScaling:
        """Return the scaling that windows would have now, if they were scored once more. Nothing is learned."""
        rows = scaling.rows(names)[windows.assets]
        place = np.flatnonzero((rows == len(scaling.assets)) & (windows.assets < self._columns.rows))
        if not len(place):
            return WindowScaling(scaling, rows)

        center, scale = self._blended(windows.assets[place].astype(np.intp), scaling)
        rows[place] = len(scaling.center) + np.arange(len(place))
        centers = np.concatenate([scaling.center, center])
        scales = np.concatenate([scaling.scale, scale])
        return WindowScaling(replace(scaling, center=centers, scale=scales), rows)

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def _blended(self, assets: Index, scaling: Scaling) -> tuple[Doubles, Doubles]:
        """Return center and scale (n, C) of assets (n,): the class's and their own, by how many cells are known."""
        count, mean, squares = (self._columns[name][assets].astype(np.float64) for name in _STATISTICS)
        center, scale = scaling.center[-1], scaling.scale[-1]

        weight = count / (count + CLASS_ROWS)
        moved = np.clip(weight * (mean - center), -LEVEL * scale, LEVEL * scale)
        own = squares / np.maximum(count, 1)
        blended = np.sqrt(weight * own + (1 - weight) * (WIDE * scale) ** 2)
        blended = np.clip(blended, scale / SCALE, scale * SCALE)
        if scaling.states is None:
            return center + moved, blended
        shared = scaling.is_state()
        return center + np.where(shared, 0, moved), np.where(shared, scale, blended)

    def _learn(self, assets: Index, windows: WindowBatch, place: Index, scaling: Scaling) -> None:
        """Add the blocks at `place` (n,) to the statistics of different `assets` (n,).

        Means and sums of squares are combined pairwise (Chan, Golub, LeVeque 1983: Algorithms for Computing the Sample
        Variance).
        """
        if not len(assets):
            return

        # Contiguous, since sums must not depend on how the batch lies in memory.
        center, scale = scaling.center[-1, :, None], scaling.scale[-1, :, None]  # (C, 1)
        observed = np.ascontiguousarray(windows.observed[place])
        values = np.where(observed, windows.values[place], 0).astype(np.float64)
        values = np.ascontiguousarray(np.clip(values, center - CELLS * scale, center + CELLS * scale))

        number = observed.sum(2)  # (n, C)
        mean = np.where(observed, values, 0).sum(2) / np.maximum(number, 1)
        squares = (np.where(observed, values - mean[:, :, None], 0) ** 2).sum(2)

        count, own_mean, own_squares = (self._columns[name][assets] for name in _STATISTICS)
        total = count + number
        share = number / np.maximum(total, 1)
        apart = mean - own_mean
        self._columns["count"][assets] = total
        self._columns["mean"][assets] = own_mean + share * apart
        self._columns["squares"][assets] = own_squares + squares + share * count * apart**2

    def save_state(self) -> State:
        """Return everything that `load_state` needs to continue exactly from here, as arrays."""
        return self._columns.save(channels=pack_names(self._channels))

    def load_state(self, state: State) -> None:
        """Continue from a saved state; `use` must follow.

        Raises ValueError, and changes nothing, if the state does not fit.
        """
        sizes = self._columns.check(state)
        channels = unpack_distinct(_STAGE, "channels", state["channels"])
        if len(channels) != sizes["C"]:
            raise unfit(_STAGE, "channels", f"{len(channels)} names", sizes["C"])
        self._columns.load(state)
        self._channels = tuple(channels)
