"""The last scores of each asset as counts in buckets: a tenth of the memory of a ring, at a stated error.

Buckets have equal ratio, as in DDSketch (Masson, Rim, Lee: PVLDB 12(12), 2019, arXiv:1908.10693): each is GROWTH times
as wide as the one below. The value of a bucket is at most ERROR, relatively, from any score in the bucket. A percentile
lies between two scores that are each at most ERROR off, and so is the percentile.

Scores are counted in BLOCKS blocks one after another, and the oldest block is dropped as a whole. So the last scores
are kept, at least 7/8 of `memory` (rounded down to a multiple of 8) and at most all of it. Each block counts BUCKETS
buckets down from the block's own largest score. Lower scores are counted in the lowest bucket. So the error holds for
percentiles that are at least 1 / REACH of the largest kept score, and a smaller percentile is taken for that. Scores
enter clipped at a little above the percentile, so this happens only where scores fall by that factor, and ends with the
blocks from before.

When scores are converted to the scale of another model, each bucket goes as a whole to the bucket that its value
belongs to. Earlier scores may then be off by ERROR twice, stretched as the mapping is, until they are dropped.

Processor time per window, compared with the ring: `python -m benchmarks.limits`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import LARGEST, Doubles, Index
from monitor.core.records import Floats, State, Times
from monitor.core.state import Column, Columns, Table, unfit
from monitor.core.threshold.percentile import between, ranks

BLOCKS = 8  # half as many would forget in steps of a quarter; twice as many take 2.6 kB more
BUCKETS = 160  # of a block: 2.6 kB per asset
GROWTH = 1.05**0.5  # of one bucket to the next: the usual clip of 1.05 lifts a score by two, as fast as it lifts a ring
ERROR = (GROWTH - 1) / (GROWTH + 1)  # 1.22 %
REACH = GROWTH ** (BUCKETS - 1)  # 48
LEAST_CLIP = 1.02  # a score clipped at less than 1 / (1 - ERROR) above the base would never leave its bucket
MOST_SCORES = BLOCKS * (2**16 - 1)  # what 16 bits can count in each block
BYTES = BLOCKS * 2 * (BUCKETS + 1)  # of an asset
TOGETHER = 64  # assets whose blocks are added up at once: 81 920 counts stay within a core's cache
# Upper ends of all buckets. The first bucket counts scores near 0, the last one contains the largest float.
ENDS: Doubles = 1e-9 * GROWTH ** np.arange(np.ceil(np.log(LARGEST / 1e-9) / np.log(GROWTH)) + 1)
VALUES: Doubles = ENDS * 2 / (1 + GROWTH)  # as far from the bucket's lower end as from its upper one, relatively

_STATE = {
    "counts": Column("u2", ("A", BLOCKS, BUCKETS)),  # from low to high
    "top": Column("u2", ("A", BLOCKS), high=len(ENDS) - 1),  # place in ENDS of the highest bucket
}

Counts = npt.NDArray[np.uint16]


class Histogram:
    """The last `memory` scores of each asset, counted: `Scores` within ERROR."""

    def __init__(self, memory: int) -> None:
        """`memory` lies between BLOCKS and MOST_SCORES."""
        self.table: Table = _STATE
        self._block = memory // BLOCKS  # scores of a block; score n is in block n // _block % BLOCKS
        self._columns = Columns("thresholds", _STATE)

    def reserve(self, assets: int) -> None:
        self._columns.reserve(assets)

    def room(self, count: Times) -> Times:
        left: Times = self._block - count % self._block
        return left

    def enter(self, rows: Index, numbers: Times, count: Times, scores: Floats) -> None:
        counts, tops = self._columns["counts"], self._columns["top"]
        # The first score of a block replaces the oldest block.
        block = count // self._block % BLOCKS
        fresh = count % self._block == 0
        counts[rows[fresh], block[fresh]] = 0
        tops[rows[fresh], block[fresh]] = 0

        # A score above a block's highest bucket moves all counts of the block down.
        bucket = np.searchsorted(ENDS, scores)
        before = tops[rows, block].astype(np.int64)
        top = np.maximum(before, np.maximum.reduceat(bucket, np.cumsum(numbers) - numbers))
        higher = np.flatnonzero((top > before) & ~fresh)
        at = rows[higher], block[higher]
        counts[at] = _lowered(counts[at][:, None], (top - before)[higher, None])
        tops[rows, block] = top

        # Scores below the block's lowest bucket count in that bucket.
        which = np.repeat(np.arange(len(rows)), numbers)
        place = np.maximum(bucket - top[which] + BUCKETS - 1, 0)
        np.add.at(counts, (rows[which], block[which], place), 1)

    def percentiles(self, rows: Index, count: Times, percentile: float, before: Doubles) -> Doubles:  # noqa: ARG002 - a hint that a ring needs
        gone = np.maximum((count - 1) // self._block - BLOCKS + 1, 0)  # blocks
        low, high, share = ranks(count - gone * self._block, percentile)
        result = np.empty(len(rows))
        for begin in range(0, len(rows), TOGETHER):
            part = slice(begin, begin + TOGETHER)
            # All blocks of an asset, aligned at the highest one, add up to one histogram.
            top = self._columns["top"][rows[part]].astype(np.int64)  # (n, BLOCKS)
            highest = top.max(1)
            upto = _lowered(self._columns["counts"][rows[part]], highest[:, None] - top).cumsum(1)  # (n, BUCKETS)
            places = (np.count_nonzero(upto <= rank[part, None], axis=1) for rank in (low, high))
            below, above = (VALUES[np.maximum(highest - BUCKETS + 1 + place, 0)] for place in places)
            result[part] = between(below, above, share[part])
        return result

    def forget(self, row: int) -> None:
        self._columns.clear(row)

    def rebase(self, assets: int, carry: Callable[[Floats], Floats]) -> None:
        carried = np.searchsorted(ENDS, carry(np.minimum(VALUES, LARGEST).astype(np.float32)))
        for begin in range(0, assets, TOGETHER):
            part = slice(begin, min(begin + TOGETHER, assets))
            lowest = self._columns["top"][part].astype(np.int64) - BUCKETS + 1  # (n, BLOCKS)
            bucket = carried[np.maximum(lowest[:, :, None] + np.arange(BUCKETS), 0)]  # (n, BLOCKS, BUCKETS)
            top = bucket[:, :, -1]

            # Add up the counts of each asset and block by their new place.
            place = np.maximum(bucket - top[:, :, None] + BUCKETS - 1, 0)
            place += BUCKETS * np.arange(top.size).reshape(*top.shape, 1)
            counts = np.bincount(place.ravel(), self._columns["counts"][part].ravel(), place.size)
            self._columns["counts"][part] = counts.reshape(place.shape)
            self._columns["top"][part] = top

    def save(self, count: Times) -> State:  # noqa: ARG002 - a ring is as wide as its scores
        return self._columns.save()

    def check(self, state: State, count: Times) -> None:
        # The newest score is in block `newest`, -1 = no score yet; each place holds the last block that has it.
        newest = (count[:, None] - 1) // self._block
        number = newest - (newest - np.arange(BLOCKS)) % BLOCKS
        entered = np.clip(count[:, None] - number * self._block, 0, self._block) * (number >= 0)
        held = state["counts"].sum(2, dtype=np.int64)
        wrong = np.argwhere(held != entered)
        if len(wrong):
            row, block = wrong[0].tolist()
            raise unfit("thresholds", f"counts[{row}, {block}]", f"of {held[row, block]} scores", entered[row, block])

    def load(self, state: State) -> None:
        self._columns.load(state)


def _lowered(counts: Counts, by: Times) -> Times:
    """Return blocks (n, K, BUCKETS), each moved down by (n, K) buckets and added up to (n, BUCKETS).

    Counts that fall off at the low end are added to the lowest bucket.
    """
    n = len(counts)
    place = np.maximum(np.arange(BUCKETS) - by[:, :, None], 0) + BUCKETS * np.arange(n)[:, None, None]
    return np.bincount(place.ravel(), counts.ravel(), n * BUCKETS).astype(np.int64).reshape(n, BUCKETS)
