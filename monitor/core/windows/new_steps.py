"""New steps: the steps that windows have in addition to the asset's window before, as rows, and counts along these.

A window shares all but its newest steps with the window before it. A stage that counts something exactly once per step,
however windows come, finds here each asset's new steps, oldest first, with the state before them. State can be
continued only at an asset's first new step of a batch: after a gap, a second run of steps would have to continue the
first run. For a batch with such runs, `cuts` says where to cut the batch, and each part is processed by itself.
"""

import numpy as np

from monitor.core.arrays import NEVER, Index, first_of_run, last_of_run
from monitor.core.records import Bools, Floats, Times, WindowBatch
from monitor.core.state import Columns

Rows = Index | slice


class NewSteps:
    """New steps (T,) of windows (B,), ordered by asset, then step."""

    def __init__(self, windows: WindowBatch, end: Times, step_ms: int) -> None:
        """`end` (A,) is the step of each asset's newest window so far; NEVER = none."""
        L = windows.values.shape[2]
        self.order = np.argsort(windows.assets, kind="stable")  # (B,) windows by asset, then step
        asset, last = windows.assets[self.order].astype(np.int64), windows.ends[self.order] // step_ms
        first = first_of_run(asset)
        before = np.append(NEVER, last[:-1])
        before[first] = end[asset[first]]

        # One row for each new step.
        number = np.clip(last - before, 1, L)  # (B,) of new steps
        self.tail = np.cumsum(number) - 1  # (B,) newest step of each window, in `order`
        which = np.repeat(np.arange(len(asset)), number)  # (T,)
        back = self.tail[which] - np.arange(len(which))
        self.row = asset[which]
        self.step = last[which] - back
        self.window = self.order[which]
        self.column = L - 1 - back

        # A run begins with an asset, and where steps in between were in no window.
        starts = first | (last - before > L)
        again = np.flatnonzero(starts & ~first)
        self.cuts = _cuts(self.order[again - 1], self.order[again])
        segment = np.maximum.accumulate(np.where(starts, np.arange(len(asset)), 0))
        self.begin = (self.tail - number + 1)[segment][which]  # (T,) first step of the step's run
        self.continues = (first & (last - before <= L))[segment][which]  # (T,) the run continues the asset's state

        self.newest = np.flatnonzero(last_of_run(self.row))  # of each asset
        self.values: Floats = windows.values[self.window, :, self.column]  # (T, C)
        self.seen: Bools = windows.observed[self.window, :, self.column]  # (T, C)
        self.read = self.seen  # (T, C) without values that hold
        if windows.held is not None:
            self.read = self.seen & ~windows.held[self.window, :, self.column]

    def shifted(self, flags: Bools, held: Bools) -> Bools:
        """Return `flags` (T, C) as they were one step before; `held` (A, C) before the first step."""
        before: Bools = np.roll(flags, 1, axis=0)
        heads = self.begin[first_of_run(self.begin)]
        before[heads] = held[self.row[heads]] & self.continues[heads, None]
        return before


def passes(windows: WindowBatch, steps: Times, every: int, index: Rows = slice(None)) -> Bools:
    """Return whether each window at `index` (K,), of newest step `steps` (K,), reaches a multiple of `every` steps.

    A multiple is reached, too, by the first step with a reading after it: an asset that is read at odd steps only
    passes even multiples.
    """
    seen = windows.observed[index]
    if windows.masked is not None:  # readings of a faulty sensor count, too; without a reading the value is NaN
        seen = seen | (windows.masked[index] & ~np.isnan(windows.values[index]))
    before = np.pad(seen[:, :, -2::-1].max(1), ((0, 0), (0, 1)), constant_values=True)  # (K, L) newest first
    passed: Bools = steps // every > (steps - 1 - before.argmax(1)) // every
    return passed


def _cuts(before: Index, after: Index) -> list[int]:
    """Return the fewest places that separate each window of `after` (n,) from the earlier one of `before` (n,)."""
    cuts: list[int] = []
    for number in np.argsort(after, kind="stable").tolist():
        if not cuts or cuts[-1] <= before[number]:
            cuts.append(int(after[number]))
    return cuts


class StepCounts:
    """Counts along new steps, (T, C) each, that continue the columns `held` (A, C) of each asset."""

    def __init__(self, steps: NewSteps, held: Columns) -> None:
        self._steps = steps
        self._held = held
        self._begin = steps.begin[:, None]
        seen, place = steps.seen, np.arange(len(steps.row))[:, None]

        # The newest reading up to each step, and the one before it.
        if seen.all():  # nearly always, and a third of the work
            self._seen = np.broadcast_to(place, seen.shape)
            earlier, known = self._seen - 1, np.roll(steps.values, 1, axis=0)
        else:
            self._seen = np.maximum.accumulate(np.where(seen, place, -1), axis=0)
            earlier = np.vstack((np.full((1, seen.shape[1]), -1), self._seen[:-1]))
            known = np.take_along_axis(steps.values, np.maximum(earlier, 0), axis=0)
        self.prior: Floats = np.where(earlier >= self._begin, known, held["value"][steps.row])  # value read before

        same = seen & (steps.values == self.prior)
        self._changed = np.maximum.accumulate(np.where(seen & ~same, place, -1), axis=0)
        self.value: Floats = np.where(seen, steps.values, self.prior)
        self.repeats = self._since(self._changed, steps.read, "repeats")
        measured = np.count_nonzero(steps.read, axis=1) > 0  # (T,)
        self.silent = self._since(self._seen, ~seen & measured[:, None], "silent")

        # Steps since the newest reading in which its value held.
        self.holding = np.zeros(seen.shape, np.int64)
        if steps.read is not seen or held["holding"].any():
            read = np.maximum.accumulate(np.where(steps.read, place, -1), axis=0)
            self.holding = self._since(read, seen & ~steps.read, "holding")

    def since(self, rows: Rows) -> Times:
        """Return the step at which each channel's value was read first, at `rows` (n,) of the steps."""
        unknown = self._steps.step[self._steps.begin] - 1
        known = np.where(self._steps.continues[:, None], self._held["since"][self._steps.row], unknown[:, None])
        return self._step_of(self._changed, known, rows)

    def seen_at(self, rows: Rows) -> Times:
        """Return the step of the newest reading of each channel, at `rows` (n,) of the steps."""
        return self._step_of(self._seen, self._held["seen"][self._steps.row], rows)

    def latest(self, marks: Bools, step: Times, name: str) -> Times:
        """Return the `step` (T,) of the newest of `marks` (T, C) so far; before the first mark, column `name`."""
        held: Times = self._held[name][self._steps.row]
        if not marks.any():
            return held
        last = np.maximum.accumulate(np.where(marks, np.arange(len(marks))[:, None], -1), axis=0)
        return np.where(last >= self._begin, step[last], held)

    def in_this_rest(self, marks: Bools, name: str) -> Bools:
        """Return whether (T, C) one of `marks` came since the value was first read; from before, column `name`."""
        last = np.maximum.accumulate(np.where(marks, np.arange(len(marks))[:, None], -1), axis=0)
        held = self._held[name][self._steps.row] & self._steps.continues[:, None] & (self._changed < self._begin)
        found: Bools = (last >= np.maximum(self._changed, self._begin)) | held
        return found

    def _step_of(self, last: Times, before: Times, rows: Rows) -> Times:
        found: Times = np.where(last[rows] >= self._begin[rows], self._steps.step[last[rows]], before[rows])
        return found

    def _since(self, last: Times, add: Bools, name: str) -> Times:
        """Return how many of `add` (T, C) came after step `last` (T, C), plus column `name` where the run continues."""
        steps, place = self._steps, np.arange(len(add))[:, None]
        held = np.where(steps.continues[:, None], self._held[name][steps.row], 0)
        if not add.any():
            return np.where(last >= self._begin, 0, held)
        if add.all():
            return place - np.where(last >= self._begin, last, self._begin - 1 - held)

        total = np.cumsum(add, axis=0)
        before = total[steps.begin] - add[steps.begin] - held
        return total - np.where(last >= self._begin, np.take_along_axis(total, np.maximum(last, 0), axis=0), before)
