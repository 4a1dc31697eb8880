"""Events of one batch that raise a step of an asset, and where in the batch a step was first passed."""

import numpy as np

from monitor.core.arrays import FARTHEST, last_of_run, run_max
from monitor.core.records import Times


class Frontiers:
    """Events (E,) of one batch that raise an asset's frontier: at a place in the batch, to a step."""

    def __init__(self, row: Times, index: Times, step: Times, size: int) -> None:
        order = np.argsort(row * size + index, kind="stable")
        self._row = row[order]
        self._index = index[order]
        self.size = size
        self._step = run_max(self._row, step[order])
        self._low = self._step.min(initial=FARTHEST)
        self._span = self._step.max(initial=self._low) - self._low + 1
        self._keys = self._row * self._span + (self._step - self._low)

    def reach(self, row: Times, step: Times) -> Times:
        """Return the place in the batch at which the frontier of `row` (n,) first passes `step` (n,); `size` = none."""
        if not len(self._keys):
            return np.full(len(row), self.size)
        wanted = row * self._span + np.clip(step + 1 - self._low, 0, self._span)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where((self._row[at] == row) & (self._step[at] > step), self._index[at], self.size)

    def raise_to(self, frontier: Times) -> None:
        """Raise each asset's frontier (A,), in place, to where the batch left it."""
        last = last_of_run(self._row)
        frontier[self._row[last]] = np.maximum(frontier[self._row[last]], self._step[last])
