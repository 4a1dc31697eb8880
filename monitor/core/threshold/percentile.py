"""The percentile of a set of scores, interpolated linearly as in `numpy.percentile` (method 7 of Hyndman and Fan 1996).

Both kinds of memory use it: the ring on sorted scores, the histogram on the bounds of its buckets.
"""

import numpy as np
import numpy.typing as npt

from monitor.core.records import Floats, Times

Doubles = npt.NDArray[np.float64]


def ranks(held: Times, percentile: float) -> tuple[Times, Times, Doubles]:
    """Return the two ranks around the percentile of `held` (n,) scores, and the share of the way; rank 0 is lowest."""
    position = (held - 1) * (percentile / 100)
    low = np.floor(position).astype(np.int64)
    return low, np.minimum(low + 1, held - 1), position - low


def between(below: Doubles, above: Doubles, share: Doubles) -> Doubles:
    """Return the values (n,) at `share` of the way from `below` to `above`."""
    # The nearer end is the starting point, as in NumPy: the result then never leaves the interval by rounding.
    nearer: Doubles = np.where(share < 0.5, below + (above - below) * share, above - (above - below) * (1 - share))
    return nearer


def neighbours(scores: Floats, place: int, least: float) -> tuple[float, float]:
    """Return the score at `place` of the sorted scores (n,), and the next one, or the last twice.

    Only scores of at least `least` are sorted, if they suffice: few scores of a ring are that near to the base.
    """
    top = scores[scores >= least]  # none if `least` is NaN
    if len(scores) - len(top) > place:
        top = scores.copy()
    low = place - (len(scores) - len(top))
    high = min(low + 1, len(top) - 1)
    top.partition((low, high))
    return float(top[low]), float(top[high])
