"""Deviations that do not count: of the sign that is no fault of a channel, or too small to matter.

A deviation is the reading less the expected value, in the channel's own unit. The error of a cell whose deviation does
not count is 0, and so is the error of the level if the level's deviation from the center does not count. So scores,
threshold, contributions and explanation agree. The calibration stays that of clean windows in which all deviations
count.

That alone is not enough: the network spreads a large deviation over the other channels and steps, which then seem to
deviate (measured: a shift that does not count kept a third of its score). Windows with such a deviation
are therefore reconstructed and forecast again with the cells of the deviation masked, if the ranking score or the alarm
score is above that of most clean windows. Both scores can only fall.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from monitor.core.arrays import Doubles, Index
from monitor.core.model.scaling import Scaling
from monitor.core.records import Bools, Floats
from monitor.core.rules import Rules

DISTURBING = 9.0  # times the channel's usual squared error: a cell that disturbs the reconstruction of others
NEAR = 0.25  # of the channel's largest squared error: cells below it may only seem to deviate because of that one


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The channels of a model of which some deviations do not count."""

    at: Index  # (K,) columns of the channels
    above: Bools  # (K,) deviations above the expected value count
    below: Bools  # (K,)
    least: Doubles  # (K,) smallest deviation that counts, in the channel's own unit
    share: Doubles  # (K,) or as a share of the expected value

    @classmethod
    def of(cls, rules: Rules, channels: Sequence[str]) -> Self | None:
        """Return the tolerance of a model's channels; None if all deviations count."""
        found = {
            place: rule
            for place, rule in enumerate(map(rules.channel, channels))
            if (rule.direction, rule.least, rule.least_share) != ("both", 0.0, 0.0)
        }
        if not found:
            return None
        return cls(
            np.array(list(found), np.intp),
            np.array([rule.direction != "below" for rule in found.values()]),
            np.array([rule.direction != "above" for rule in found.values()]),
            np.array([rule.least for rule in found.values()]),
            np.array([rule.least_share for rule in found.values()]),
        )

    def cells(self, values: Floats, reconstruction: Floats, scaling: Scaling, rows: Index) -> Bools:
        """Return which cells (B, K, L) count, of windows `values` (B, C, L) with a `reconstruction` in scaled units."""
        expected = scaling.inverse_steps(reconstruction[:, self.at], rows, self.at)
        return self._count(values[:, self.at].astype(np.float64) - expected, expected)

    def levels(self, mean: Floats, scaling: Scaling, rows: Index) -> Bools:
        """Return which levels (B, K) count; `mean` (B, C) is that of the window in scaled units, 0 the center."""
        level = scaling.inverse_steps(mean[:, self.at, None], rows, self.at)
        center = scaling.center[rows][:, self.at, None]
        return self._count(level - center, center)[:, :, 0]

    def _count(self, deviation: Doubles, expected: Floats | Doubles) -> Bools:
        """Return which deviations (B, K, n) count. One that is NaN does not."""
        signed = (self.above[:, None] & (deviation > 0)) | (self.below[:, None] & (deviation < 0))
        size = np.abs(deviation)
        counts: Bools = signed & (size >= self.least[:, None]) & (size >= self.share[:, None] * np.abs(expected))
        return counts


def disturbing(error: Floats, usual: Floats) -> Bools:
    """Return the cells (B, C, L) whose deviation disturbs the reconstruction of the others.

    `error` (B, C, L) are squared errors, `usual` (C,) is that of each channel.
    """
    found: Bools = error > np.maximum(DISTURBING * usual[:, None], NEAR * error.max(2, keepdims=True, initial=0))
    return found
