"""Per-asset, per-channel scaling into the units that the network sees.

Measured while planning: the scaling matters more for detection than the network. There are three rules beyond mean and
standard deviation. A channel that rarely moves is scaled by its range: its deviation is nearly zero, and any move would
look infinite. A constant channel gets a floor, a share of its level, so that the unit does not matter. Values are
clipped smoothly at CLIP deviations, so that one absurd value does not drown the others but a larger one still scores
higher.

A channel may have been quiet for as long as training lasted, and any move then looks like an incident. Whoever knows
its span, from the smallest to the largest value that it takes in normal operation, can give it: a deviation is then at
least SHARE of the span. The range seen in training is no substitute (measured: docs/detection.md).

The numbers of a state (a mode, an alarm word, a set point) are names: nothing lies between two, and a larger one is not
further off. So a state is read as the nearest of the values that training has seen, and a value that was never
seen cannot make a score explode. All assets share the scale of a state. Only a channel that is declared a state is one:
a pressure that never moved and moves now is news.

An asset seen in training has its own row of statistics. Any other asset of the class begins with the class row, which
`new_assets` blends into the asset's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import LARGEST, Doubles, Index
from monitor.core.records import Bools, Floats, State

CLIP = 5.0  # deviations; tanh is within 1 % of linear up to 0.17 * CLIP and saturates beyond 2 * CLIP
FLOOR = 0.02  # of the channel's level: below 2 % of its level a constant channel's first move is not yet news
RARE = 0.02  # a channel is rarely moving if its 2 % and 98 % quantiles coincide
SHARE = 0.1  # of a channel's span
MOST_STATES = 256  # of a channel; of more, as many evenly spaced ones are kept


@dataclass(frozen=True, slots=True)
class Scaling:
    """Statistics of a class: one row per asset seen in training and, last, the row of the class."""

    assets: tuple[str, ...]
    center: Doubles  # (A + 1, C)
    scale: Doubles  # (A + 1, C) > 0
    states: Doubles | None = (
        None  # (C, S) values of the channels that are states, ascending, then NaN; None = no states
    )

    def rows(self, names: Sequence[str]) -> npt.NDArray[np.intp]:
        """Return the row (n,) of each of n names; of assets unknown to the model the class row."""
        number = len(self.assets)
        known = dict(zip(self.assets, range(number), strict=True))
        return np.array(list(map(known.get, names, repeat(number))), np.intp)

    def forward(self, values: npt.NDArray[np.floating], rows: npt.NDArray[np.intp]) -> Floats:
        """Return values (B, C, L) of assets at `rows` (B,) in scaled units; NaN becomes 0, the center."""
        # Only the difference needs float64, where a level is large compared with the scale. The rest is faster without.
        z = np.empty(values.shape, np.float32)
        np.subtract(self.nearest_states(values), self.center[rows, :, None], out=z, casting="same_kind")
        z /= (CLIP * self.scale[rows, :, None]).astype(np.float32)
        np.tanh(z, out=z)
        z *= np.float32(CLIP)
        z[np.isnan(z)] = 0
        return z

    def nearest_states(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return values (B, C, L) in which each state is the nearest one that training has seen; NaN stays NaN."""
        if self.states is None:
            return values
        result = values.copy()
        for channel in np.flatnonzero(self.is_state()).tolist():
            known = self.states[channel][~np.isnan(self.states[channel])]
            x = values[:, channel]
            nearest = known[np.searchsorted((known[1:] + known[:-1]) / 2, x)]
            result[:, channel] = np.where(np.isnan(x), x, nearest)
        return result

    def is_state(self) -> Bools:
        """Return which channels (C,) are states."""
        if self.states is None:
            return np.zeros(self.center.shape[1], np.bool_)
        found: Bools = ~np.isnan(self.states[:, 0])
        return found

    def inverse(self, z: npt.NDArray[np.floating], rows: npt.NDArray[np.intp]) -> Floats:
        """Return scaled values (B, C) in each channel's own unit, clipped a little inside the open interval of tanh."""
        return _unscaled(z, self.center[rows], self.scale[rows])

    def inverse_steps(self, z: npt.NDArray[np.floating], rows: Index, at: Index) -> Floats:
        """Return scaled values (B, K, L) of the channels `at` (K,) as `inverse` does."""
        return _unscaled(z, self.center[rows][:, at, None], self.scale[rows][:, at, None])


def fit_scaling(
    rows_by_asset: Mapping[str, Floats], least: int, states: Sequence[int] = (), spans: Doubles | None = None
) -> Scaling:
    """Return the statistics of rows (n, C) per asset, NaN = not measured. Columns `states` are states.

    `spans` (C,) are those that are known of the channels, 0 = not known.

    An asset with fewer than `least` rows gets no row of its own. In an asset's row, a channel with fewer readings has
    the statistics of the class. Raises ValueError if a channel was never measured.
    """
    silent = np.logical_and.reduce([np.isnan(rows).all(0) for rows in rows_by_asset.values()])
    if silent.any():
        raise ValueError(f"channels {np.flatnonzero(silent).tolist()} have no readings to fit a scale on")

    class_center, class_scale = _pooled(list(rows_by_asset.values()))
    centers, scales, names = [], [], []
    for name, rows in sorted(rows_by_asset.items()):
        if len(rows) >= least:
            center, scale = _statistics(rows)
            few = np.count_nonzero(~np.isnan(rows), axis=0) < least
            names.append(name)
            centers.append(np.where(few, class_center, center))
            scales.append(np.where(few, class_scale, scale))

    center, scale = np.array([*centers, class_center]), np.array([*scales, class_scale])
    if spans is not None:
        scale = np.maximum(scale, SHARE * spans)
    if not states:
        return Scaling(tuple(names), center, scale)
    seen = [_distinct(list(rows_by_asset.values()), column) for column in states]
    for column, values in zip(states, seen, strict=True):
        center[:, column] = (values[0] + values[-1]) / 2
        scale[:, column] = (values[-1] - values[0]) / 2 if len(values) > 1 else class_scale[column]
    return Scaling(tuple(names), center, scale, state_table(dict(zip(states, seen, strict=True)), len(class_center)))


def state_table(values: Mapping[int, Doubles], channels: int) -> Doubles | None:
    """Return the values by channel as `Scaling.states`; None if there are none."""
    if not values:
        return None
    kept = {channel: each if len(each) <= MOST_STATES else _spread(each) for channel, each in values.items()}
    table = np.full((channels, max(map(len, kept.values()))), np.nan)
    for channel, each in kept.items():
        table[channel, : len(each)] = each
    return table


def pack_states(states: Doubles) -> State:
    """Return states (C, S) as arrays of a model file, which holds finite numbers only: without the NaN at the ends."""
    known = ~np.isnan(states)
    return {"scaling.states": states[known], "scaling.state_counts": known.sum(1)}


def unpack_states(tensors: State) -> Doubles | None:
    """Return the states (C, S) of a model file; None if it has none. Raises ValueError for counts that do not fit."""
    if "scaling.states" not in tensors:
        return None
    values, counts = tensors["scaling.states"], tensors["scaling.state_counts"]
    if counts.ndim != 1 or counts.dtype.kind != "i" or counts.min(initial=0) < 0 or counts.sum() != values.size:
        raise ValueError(f"counts of states are {counts.tolist()}, expected whole numbers with the sum {values.size}")

    states = np.full((len(counts), counts.max(initial=0)), np.nan)
    states[np.arange(states.shape[1]) < counts[:, None]] = values.ravel()
    return states


def _spread(values: Doubles) -> Doubles:
    """Return MOST_STATES of the values, evenly spaced by rank, with the first and the last."""
    return values[np.linspace(0, len(values) - 1, MOST_STATES).round().astype(np.intp)]


def _distinct(parts: Sequence[Floats], column: int) -> Doubles:
    """Return the distinct values of a column of parts (n, C), ascending."""
    values = np.unique(np.concatenate([np.unique(rows[:, column]) for rows in parts]).astype(np.float64))
    return values[~np.isnan(values)]


def _pooled(parts: Sequence[Floats]) -> tuple[Doubles, Doubles]:
    """Return `_statistics` of all rows of parts (n, C); two channels at a time, as it takes ten times their memory."""
    C = parts[0].shape[1]
    groups = np.array_split(np.arange(C), max(1, C // 2))
    found = [_statistics(np.concatenate([rows[:, group[0] : group[-1] + 1] for rows in parts])) for group in groups]
    return np.concatenate([center for center, _ in found]), np.concatenate([scale for _, scale in found])


def _statistics(rows: Floats) -> tuple[Doubles, Doubles]:
    """Return center and scale (C,) of rows (n, C); 0 and FLOOR where a channel was not measured at all."""
    x = rows.astype(np.float64)
    x[:, np.isnan(x).all(0)] = 0
    center, deviation = np.nanmean(x, 0), np.nanstd(x, 0)
    spread, level = np.nanmax(x, 0) - np.nanmin(x, 0), np.nanmax(np.abs(x), 0)

    low, high = np.nanquantile(x, [RARE, 1 - RARE], axis=0)
    rare = (high - low <= 1e-9 * level) & (spread > 0)
    scale = np.where(rare, np.maximum(deviation, spread), deviation)

    # A channel that moved at all keeps a far lower floor, 0.1 % of the constant one's: enough against division by 0.
    floor = FLOOR * np.where(level > 0, level, 1.0)
    return center, np.maximum(scale, np.where(spread > 0, 1e-3 * floor, floor))


def _unscaled(z: npt.NDArray[np.floating], center: Doubles, scale: Doubles) -> Floats:
    bounded = np.clip(z / CLIP, -0.999, 0.999)
    values: Doubles = CLIP * np.arctanh(bounded) * scale + center
    return np.clip(values, -LARGEST, LARGEST).astype(np.float32)
