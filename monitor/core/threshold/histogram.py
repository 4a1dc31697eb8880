"""The last scores of each asset as counts in buckets: a tenth of the memory of a ring, at a stated error.

Buckets of equal ratio, as in DDSketch (Masson, Rim, Lee: PVLDB 12(12), 2019, arXiv:1908.10693): each is GROWTH times as
wide as the one below and stands for a value that no score in it is further from than ERROR, relatively. A percentile
lies between two scores that are each at most ERROR off, so it is itself.

To forget, the scores are counted in BLOCKS blocks one after another, and the oldest block goes as a whole: what is kept
are the last scores, at least 7/8 of `memory` (rounded down to a multiple of 8) and at most all of it. Each block counts
BUCKETS buckets down from its own largest score; what lies lower is counted in the lowest of them. So the error holds
for percentiles that are at least 1 / REACH of the largest score kept; a smaller one is taken for that. Scores enter
clipped at a little above the percentile, so it comes to this only where scores fall by that factor, and ends with the
blocks from before.

When scores are carried over to another model, each bucket goes as a whole to the one its value belongs to. What entered
before may then be off by ERROR twice, stretched as the mapping is, until it is forgotten.

Processor time per window, beside that of the ring: `python -m benchmarks.limits`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import LARGEST, Doubles, Index, extend
from monitor.core.records import Floats, State, Times
from monitor.core.threshold.ring import between, check_arrays, ranks

BLOCKS = 8  # half as many would forget in steps of a quarter; twice as many take 2.6 kB more
BUCKETS = 160  # of a block: 2.6 kB per asset
GROWTH = 1.05**0.5  # of one bucket to the next: the usual clip of 1.05 lifts a score by two, as fast as it lifts a ring
ERROR = (GROWTH - 1) / (GROWTH + 1)  # 1.22 %
REACH = GROWTH ** (BUCKETS - 1)  # 48
LEAST_CLIP = 1.02  # a score clipped at less than 1 / (1 - ERROR) above the base would stay in its bucket for ever
MOST_SCORES = BLOCKS * (2**16 - 1)  # what 16 bits can count in each block
BYTES = BLOCKS * 2 * (BUCKETS + 1)  # of an asset
TOGETHER = 64  # assets whose blocks are added up at once: 81 920 counts stay within a core's cache
# Upper ends of all buckets there are; the first holds what is as good as 0, the last the largest float.
ENDS: Doubles = 1e-9 * GROWTH ** np.arange(np.ceil(np.log(LARGEST / 1e-9) / np.log(GROWTH)) + 1)
VALUES: Doubles = ENDS * 2 / (1 + GROWTH)  # as far from the bucket's lower end as from its upper one, relatively

Counts = npt.NDArray[np.uint16]


class Histogram:
    """The last `memory` scores of each asset, counted: `Scores` within ERROR."""

    def __init__(self, memory: int) -> None:
        """Raises ValueError if `memory` cannot be cut into blocks that 16 bits can count."""
        if not BLOCKS <= memory <= MOST_SCORES:
            raise ValueError(f"memory must lie between {BLOCKS} and {MOST_SCORES}, got {memory}")
        self._block = memory // BLOCKS  # scores of a block; score n stands in block n // _block % BLOCKS
        self._counts: Counts = np.empty((0, BLOCKS, BUCKETS), np.uint16)  # (>= A, BLOCKS, BUCKETS) from low to high
        self._top: Counts = np.empty((0, BLOCKS), np.uint16)  # (>= A, BLOCKS) place in ENDS of the highest bucket

    def reserve(self, assets: int) -> None:
        self._counts = extend(self._counts, assets, 0)
        self._top = extend(self._top, assets, 0)

    def room(self, count: Times) -> Times:
        left: Times = self._block - count % self._block
        return left

    def enter(self, rows: Index, numbers: Times, count: Times, scores: Floats) -> None:
        block = count // self._block % BLOCKS
        fresh = count % self._block == 0
        self._counts[rows[fresh], block[fresh]] = 0
        self._top[rows[fresh], block[fresh]] = 0
        bucket = np.searchsorted(ENDS, scores)
        before = self._top[rows, block].astype(np.int64)
        top = np.maximum(before, np.maximum.reduceat(bucket, np.cumsum(numbers) - numbers))
        higher = np.flatnonzero((top > before) & ~fresh)
        at = rows[higher], block[higher]
        self._counts[at] = _lowered(self._counts[at][:, None], (top - before)[higher, None])
        self._top[rows, block] = top
        which = np.repeat(np.arange(len(rows)), numbers)
        place = np.maximum(bucket - top[which] + BUCKETS - 1, 0)
        np.add.at(self._counts, (rows[which], block[which], place), 1)

    def percentiles(self, rows: Index, count: Times, percentile: float, before: Doubles) -> Doubles:  # noqa: ARG002 - a hint that a ring needs
        gone = np.maximum((count - 1) // self._block - BLOCKS + 1, 0)  # blocks
        low, high, share = ranks(count - gone * self._block, percentile)
        result = np.empty(len(rows))
        for begin in range(0, len(rows), TOGETHER):
            part = slice(begin, begin + TOGETHER)
            top = self._top[rows[part]].astype(np.int64)  # (n, BLOCKS)
            highest = top.max(1)
            upto = _lowered(self._counts[rows[part]], highest[:, None] - top).cumsum(1)  # (n, BUCKETS)
            places = (np.count_nonzero(upto <= rank[part, None], axis=1) for rank in (low, high))
            below, above = (VALUES[np.maximum(highest - BUCKETS + 1 + place, 0)] for place in places)
            result[part] = between(below, above, share[part])
        return result

    def forget(self, row: int) -> None:
        self._counts[row], self._top[row] = 0, 0

    def rebase(self, assets: int, carry: Callable[[Floats], Floats]) -> None:
        carried = np.searchsorted(ENDS, carry(np.minimum(VALUES, LARGEST).astype(np.float32)))
        for begin in range(0, assets, TOGETHER):
            part = slice(begin, min(begin + TOGETHER, assets))
            lowest = self._top[part].astype(np.int64) - BUCKETS + 1  # (n, BLOCKS)
            bucket = carried[np.maximum(lowest[:, :, None] + np.arange(BUCKETS), 0)]  # (n, BLOCKS, BUCKETS)
            top = bucket[:, :, -1]
            place = np.maximum(bucket - top[:, :, None] + BUCKETS - 1, 0)
            place += BUCKETS * np.arange(top.size).reshape(*top.shape, 1)
            counts = np.bincount(place.ravel(), self._counts[part].ravel(), place.size)
            self._counts[part], self._top[part] = counts.reshape(place.shape), top

    def save(self, count: Times) -> State:
        return {"counts": self._counts[: len(count)].copy(), "top": self._top[: len(count)].copy()}

    def check(self, state: State, count: Times) -> None:
        A = len(count)
        check_arrays(state, {"counts": ("u2", (A, BLOCKS, BUCKETS)), "top": ("u2", (A, BLOCKS))})
        number = (count[:, None] - 1) // self._block  # of the block that the newest score is in; -1 = none
        number = number - (number - np.arange(BLOCKS)) % BLOCKS  # of the one that stands in each place
        entered = np.clip(count[:, None] - number * self._block, 0, self._block) * (number >= 0)
        if not np.array_equal(state["counts"].sum(2, dtype=np.int64), entered):
            raise ValueError("state of thresholds: the histograms do not hold as many scores as were entered")
        if np.any(state["top"] >= len(ENDS)):
            raise ValueError("state of thresholds: a histogram begins above every score")

    def load(self, state: State) -> None:
        self._counts, self._top = state["counts"].copy(), state["top"].copy()


def _lowered(counts: Counts, by: Times) -> Times:
    """Blocks (n, K, BUCKETS), each moved down by (n, K) buckets and added up to (n, BUCKETS).

    What falls off at the low end is counted in the lowest bucket.
    """
    n = len(counts)
    place = np.maximum(np.arange(BUCKETS) - by[:, :, None], 0) + BUCKETS * np.arange(n)[:, None, None]
    return np.bincount(place.ravel(), counts.ravel(), n * BUCKETS).astype(np.int64).reshape(n, BUCKETS)
