"""The last scores of each asset, of which the threshold takes a percentile: what keeps them offers, and the exact way.

`Ring` keeps every score as it is. `histogram.Histogram` counts them in buckets: a tenth of the memory, with an error.
Both are columns over all assets of a partition, and what they hold of an asset is a function of its own scores alone.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from monitor.core.arrays import Doubles, Index, extend, ordinals
from monitor.core.records import Floats, State, Times

FIRST_COLUMNS = 512  # of a ring; few enough that a small plant stays small
BLOCK = 64  # rings carried over together: at 10 000 scores 2.5 MB
NEAR = 0.8  # times the percentile before: of 99.5 some 4 % of the scores are above that, and it moves less at once
EMPTY = np.inf  # fills the unused cells of a ring


class Scores(Protocol):
    """The last scores of all assets of a partition, by row; `count` is how many a row has ever entered."""

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""

    def room(self, count: Times) -> Times:
        """How many scores (n,) rows that have entered `count` (n,) can enter at once, at least 1."""

    def enter(self, rows: Index, numbers: Times, count: Times, scores: Floats) -> None:
        """Enter `numbers` (R,) of the `scores`, in this order, into `rows` (R,) that have entered `count` (R,)."""

    def percentiles(self, rows: Index, count: Times, percentile: float, before: Doubles) -> Doubles:
        """The percentile (R,) of what `rows` (R,) hold, as `np.percentile` interpolates.

        `before` (R,) is what it was last, NaN if not known: only a hint where to look.
        """

    def forget(self, row: int) -> None:
        """As if this row had never entered a score."""

    def rebase(self, assets: int, carry: Callable[[Floats], Floats]) -> None:
        """Replace every score of the rows below `assets` by what `carry`, which keeps their order, makes of it."""

    def save(self, count: Times) -> State:
        """The first rows as arrays, as many as there are in `count` (A,)."""

    def check(self, state: State, count: Times) -> None:
        """Raises ValueError that says what of a saved state does not fit rows that have entered `count` (A,)."""

    def load(self, state: State) -> None:
        """Go on from a state that was checked."""


class Ring:
    """The last `memory` scores of each asset as they are: `Scores` without an error, at 4 bytes a score."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._ring: Floats = np.empty((0, 0), np.float32)  # (>= A, up to memory); score n stands in column n % memory

    def reserve(self, assets: int) -> None:
        self._ring = extend(self._ring, assets, EMPTY)

    def room(self, count: Times) -> Times:
        return np.full_like(count, self._memory)

    def enter(self, rows: Index, numbers: Times, count: Times, scores: Floats) -> None:
        columns, needed = self._ring.shape[1], min(int((count + numbers).max(initial=0)), self._memory)
        if needed > columns:
            wider = min(max(needed, 2 * columns, FIRST_COLUMNS), self._memory)
            ring = np.full((len(self._ring), wider), EMPTY, np.float32)
            ring[:, :columns] = self._ring
            self._ring = ring
        which = np.repeat(np.arange(len(rows)), numbers)
        self._ring[rows[which], (count[which] + ordinals(numbers)) % self._memory] = scores

    def percentiles(self, rows: Index, count: Times, percentile: float, before: Doubles) -> Doubles:
        held = np.minimum(count, self._memory)
        low, _, share = ranks(held, percentile)
        each = zip(rows.tolist(), held.tolist(), low.tolist(), (NEAR * before).tolist(), strict=True)
        pairs = [_neighbours(self._ring[row, :number], place, least) for row, number, place, least in each]
        below, above = np.array(pairs, np.float64).reshape(-1, 2).T
        return between(below, above, share)

    def forget(self, row: int) -> None:
        self._ring[row] = EMPTY

    def rebase(self, assets: int, carry: Callable[[Floats], Floats]) -> None:
        for begin in range(0, assets, BLOCK):
            part = self._ring[begin : min(begin + BLOCK, assets)]
            held = part < EMPTY
            part[held] = carry(part[held])

    def save(self, count: Times) -> State:
        columns = min(int(count.max(initial=0)), self._memory)
        return {"ring": self._ring[: len(count), :columns].copy()}

    def check(self, state: State, count: Times) -> None:
        columns = min(int(count.max(initial=0)), self._memory)
        check_arrays(state, {"ring": ("f4", (len(count), columns))})
        held = np.arange(columns) < count[:, None]
        if not np.array_equal(np.isfinite(state["ring"]), held):
            raise ValueError("state of thresholds: the rings do not hold as many scores as were entered")

    def load(self, state: State) -> None:
        self._ring = state["ring"].copy()


def ranks(held: Times, percentile: float) -> tuple[Times, Times, Doubles]:
    """The two ranks that the percentile of `held` (n,) scores lies between, and how far along; rank 0 is the least."""
    position = (held - 1) * (percentile / 100)
    low = np.floor(position).astype(np.int64)
    return low, np.minimum(low + 1, held - 1), position - low


def between(below: Doubles, above: Doubles, share: Doubles) -> Doubles:
    """The value (n,) that lies by `share` of the way from `below` to `above`."""
    # The nearer end is the starting point, as in NumPy: the result then never leaves the interval by rounding.
    nearer: Doubles = np.where(share < 0.5, below + (above - below) * share, above - (above - below) * (1 - share))
    return nearer


def _neighbours(scores: Floats, place: int, least: float) -> tuple[float, float]:
    """The one of scores (n,) that stands at `place` when they are sorted, and the next one, or the last twice.

    Only those of at least `least` are sorted any further, if that suffices: of a ring few are that near to the base.
    """
    top = scores[scores >= least]  # none if `least` is NaN
    if len(scores) - len(top) > place:
        top = scores.copy()
    low = place - (len(scores) - len(top))
    high = min(low + 1, len(top) - 1)
    top.partition((low, high))
    return float(top[low]), float(top[high])


def check_arrays(state: State, wanted: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Raises ValueError that names the array of a saved state whose dtype or shape is not the one `wanted`."""
    for name, (dtype, shape) in wanted.items():
        array = state[name]
        if array.dtype != np.dtype(dtype) or array.shape != shape:
            found = f"{array.dtype} {array.shape}"
            raise ValueError(f"state of thresholds: {name} is {found}, expected {np.dtype(dtype)} {shape}")
