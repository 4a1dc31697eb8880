"""The last scores of each asset, of which the threshold takes a percentile: the interface, and the exact way.

`Ring` keeps every score. `histogram.Histogram` counts scores in buckets: a tenth of the memory, with an error. Both
are columns over all assets of a partition, and an asset's columns are a function of the asset's own scores alone.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from monitor.core.arrays import Doubles, Index, ordinals
from monitor.core.records import Floats, State, Times
from monitor.core.state import Column, Columns, Table, unfit
from monitor.core.threshold.percentile import between, neighbours, ranks

FIRST_COLUMNS = 512  # of a ring; few enough that a small plant stays small
BLOCK = 64  # rings converted at once: at 10 000 scores 2.5 MB
NEAR = 0.8  # times the percentile before: of 99.5 some 4 % of the scores are above that, and it moves less at once
EMPTY = np.inf  # fills the unused cells of a ring

_STAGE = "thresholds"
_STATE = {"ring": Column("f4", ("A", "W"), fill=EMPTY)}  # score n is in column n % memory


class Scores(Protocol):
    """The last scores of all assets of a partition, by row; `count` is how many scores a row has ever entered."""

    table: Table  # of the saved state

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""

    def room(self, count: Times) -> Times:
        """Return how many scores (n,) rows that have entered `count` (n,) can enter at once, at least 1."""

    def enter(self, rows: Index, numbers: Times, count: Times, scores: Floats) -> None:
        """Enter `numbers` (R,) of the `scores`, in this order, into `rows` (R,) that have entered `count` (R,)."""

    def percentiles(self, rows: Index, count: Times, percentile: float, before: Doubles) -> Doubles:
        """Return the percentile (R,) of the scores of `rows` (R,), as `np.percentile` interpolates.

        `before` (R,) is the last result, NaN if there was none: only a hint where to look.
        """

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""

    def rebase(self, assets: int, carry: Callable[[Floats], Floats]) -> None:
        """Replace every score of the rows below `assets` by the result of `carry`, which keeps the scores' order."""

    def save(self, count: Times) -> State:
        """Return the rows in use as arrays; `count` (A,) is how many scores each has ever entered."""

    def check(self, state: State, count: Times) -> None:
        """Raise ValueError if a state that fits `table` does not fit rows that have entered `count` (A,)."""

    def load(self, state: State) -> None:
        """Continue from a state that was checked."""


class Ring:
    """The last `memory` scores of each asset: `Scores` without an error, at 4 bytes a score."""

    def __init__(self, memory: int) -> None:
        self.table: Table = _STATE
        self._memory = memory
        self._columns = Columns(_STAGE, _STATE)

    def reserve(self, assets: int) -> None:
        self._columns.reserve(assets)

    def room(self, count: Times) -> Times:
        return np.full_like(count, self._memory)

    def enter(self, rows: Index, numbers: Times, count: Times, scores: Floats) -> None:
        # All rings are as wide as the fullest one needs, and the width doubles.
        columns, needed = self._columns["ring"].shape[1], self._width(count + numbers)
        if needed > columns:
            wider = min(max(needed, 2 * columns, FIRST_COLUMNS), self._memory)
            source = np.full(wider, -1, np.intp)
            source[:columns] = np.arange(columns)
            self._columns.pick(source, "W")
        which = np.repeat(np.arange(len(rows)), numbers)
        self._columns["ring"][rows[which], (count[which] + ordinals(numbers)) % self._memory] = scores

    def percentiles(self, rows: Index, count: Times, percentile: float, before: Doubles) -> Doubles:
        held = np.minimum(count, self._memory)
        low, _, share = ranks(held, percentile)
        ring = self._columns["ring"]
        each = zip(rows.tolist(), held.tolist(), low.tolist(), (NEAR * before).tolist(), strict=True)
        pairs = [neighbours(ring[row, :number], place, least) for row, number, place, least in each]
        below, above = np.array(pairs, np.float64).reshape(-1, 2).T
        return between(below, above, share)

    def forget(self, row: int) -> None:
        self._columns.clear(row)

    def rebase(self, assets: int, carry: Callable[[Floats], Floats]) -> None:
        for begin in range(0, assets, BLOCK):
            part = self._columns["ring"][begin : min(begin + BLOCK, assets)]
            held = part < EMPTY
            part[held] = carry(part[held])

    def save(self, count: Times) -> State:
        return {"ring": self._columns["ring"][: len(count), : self._width(count)].copy()}

    def check(self, state: State, count: Times) -> None:
        ring, columns = state["ring"], self._width(count)
        if ring.shape[1] != columns:
            raise unfit(_STAGE, "ring", f"of {ring.shape[1]} columns", f"{columns}, as many as scores were entered")
        held = np.isfinite(ring).sum(1)
        wrong = np.flatnonzero((np.isfinite(ring) != (np.arange(columns) < count[:, None])).any(1))
        if len(wrong):
            entered = np.minimum(count, self._memory)
            raise unfit(_STAGE, f"ring[{wrong[0]}]", f"of {held[wrong[0]]} scores", f"the first {entered[wrong[0]]}")

    def load(self, state: State) -> None:
        self._columns.load(state)

    def _width(self, count: Times) -> int:
        """Return the number of columns that rows which have entered `count` (n,) scores use."""
        return min(int(count.max(initial=0)), self._memory)
