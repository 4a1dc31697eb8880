"""Errors of clean windows by a network, and what counts as their edge. Calibration and modes are made of them."""

from dataclasses import dataclass

import numpy as np

from monitor.core.arrays import Doubles, Index
from monitor.core.model.errors import over_channels
from monitor.core.records import Bools, Floats, Times

LIMIT = 0.995  # quantile of the clean windows' errors that counts as the edge, 1.0, of each horizon


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of n clean windows."""

    index: Times  # (n,) of the windows in their `Cut`
    parts: Floats  # (n, H + 1, C) of `window_errors`, with a usual error of 1
    seen: Floats  # (n, H + 1) channels
    squares: Doubles  # (n, C) squared errors, sum over the window
    cells: Doubles  # (n, C) observed
    latent: Floats  # (n, Z) means
    least: Floats  # (C,) least usual error
    forecast: Floats  # (n, C) errors of the forecast by weights that were not fitted on the window; NaN = not observed
    newest: Bools  # (n, C) observed in the newest steps
    asset: Times  # (n,) codes of the assets
    usual: Bools  # (n,) of which usual errors, edges and limits are made: not of a single disturbance (single.py)
    move: Floats  # (n, C) of `recent_change`

    def levels(self, places: Index, usual: Floats) -> Floats:
        """Return the errors (m, H + 1) over channels of the windows at `places` (m,), at usual errors (C,)."""
        part = self.parts[places]
        part[:, :-1] /= usual  # all but the level
        return over_channels(part, self.seen[places])


def edges(levels: Floats | Doubles) -> Floats:
    """Return the limits (k,) of errors over channels (n, k)."""
    result: Floats = np.maximum(np.quantile(levels, LIMIT, axis=0), 1e-6).astype(np.float32)
    return result
