"""Starts of machines in a history, and how long channels take after them until they are as in usual work.

A machine starts with its first step of work after rest, or after a hole of more than a block. After that it warms up,
and a model that has seen a few starts cannot know how: windows are taken from `settle_ms` after a start on only.
Measured: docs/decisions/0034-running.md.
"""

from dataclasses import dataclass

import numpy as np

from monitor.core.arrays import Index
from monitor.core.fitting.corpus import Corpus
from monitor.core.records import Bools, Floats
from monitor.core.running.levels import Levels

LEAST_STARTS = 5  # fewer say nothing about what a start is like
MOST_COMPARED = 40  # starts, evenly spaced
LONGEST_MS = 4 * 3_600_000  # after a start; what takes longer is no start
FINER = 1.5  # a model still sees what the median of a few starts no longer shows
MOST = 1 / 6  # of the usual time from a start to the next rest: what changes more slowly is a pattern of the day
_SAMPLE = 20_000  # rows of usual work


@dataclass(frozen=True, slots=True)
class Starts:
    """The steps (K * L,) of a history, by asset and then by time."""

    corpus: Corpus
    order: Index  # (K,) of the blocks
    rest: Bools  # (K * L,)
    follows: Bools  # (K * L,) whether a step is the one after the step before it
    places: Index  # of the starts
    silent: bool  # nothing tells rest: machines start after holes only

    @classmethod
    def of(cls, corpus: Corpus, levels: Levels | None) -> "Starts":
        """Return the starts of a history; without levels, a machine never rests while it sends."""
        order = np.lexsort((corpus.end, corpus.asset))
        L = corpus.values.shape[2]
        asset, apart = corpus.asset[order], np.diff(corpus.end[order])
        same = np.append(False, asset[1:] == asset[:-1])[: len(order)]
        follows = np.ones(len(order) * L, np.bool_)
        follows[::L] = same & np.append(False, apart == L * corpus.step_ms)[: len(order)]
        starts = np.zeros(len(follows), np.bool_)
        starts[::L] = same & np.append(False, apart > 2 * L * corpus.step_ms)[: len(order)]

        rest = np.zeros(len(follows), np.bool_)
        if levels is not None:
            columns = [corpus.channels.index(name) for name in levels.channels]
            rest = levels.judge(corpus.values[order][:, columns].transpose(0, 2, 1).reshape(-1, len(columns))).false
            starts |= follows & np.append(False, rest[:-1])
        return cls(corpus, order, rest, follows, np.flatnonzero(~rest & starts), levels is None)

    def settle_ms(self) -> int:
        """Return how long the slowest channel takes after a start until it is as in usual work; 0 = too few starts."""
        # Only starts after which the machine works on without a hole.
        most = LONGEST_MS // self.corpus.step_ms
        broken = np.append(0, np.cumsum(self.rest | ~self.follows))
        begins = self.places[self.places + most <= len(self.rest)]
        whole = begins[broken[begins + most] == broken[begins + 1]]
        if most < 2 or len(whole) < LEAST_STARTS:
            return 0
        whole = whole[:: -(-len(whole) // MOST_COMPARED)]

        # Without channels that no window has, and those that never move.
        work = np.flatnonzero(~self.rest)
        usual = self._values(work[:: max(1, len(work) // _SAMPLE)])
        usual[:, np.isnan(usual).all(0)] = 0.0
        middle = np.nanmedian(usual, axis=0)
        spread = 1.4826 * np.nanmedian(np.abs(usual - middle), axis=0)
        varied = np.flatnonzero(spread > 0)

        after = np.stack([self._values(np.arange(at, at + most))[:, varied] for at in whole.tolist()])
        after = (after - middle[varied]) / spread[varied]
        after = after[:, :, ~np.isnan(after).all(0).any(0)]  # (S, T, C): channels of other machines have no values
        if not after.shape[2]:
            return 0
        apart = np.abs(np.nanmedian(after, axis=0))  # (T, C)
        first = int((apart <= apart[most // 2 :].max(0)).all(1).argmax())
        if not first:
            return 0

        # After silence the first block ends on a multiple of its length: half of one is lost in the mean.
        steps = FINER * (first + (self.corpus.values.shape[2] / 2 if self.silent else 0))
        ends = np.append(np.flatnonzero(self.rest | ~self.follows), len(self.rest))
        lasts = float(np.median(ends[np.searchsorted(ends, self.places, side="right")] - self.places))
        return round(min(steps, MOST * lasts) * self.corpus.step_ms)

    def _values(self, rows: Index) -> Floats:
        """Return the values (n, C) of steps."""
        block, step = np.divmod(rows, self.corpus.values.shape[2])
        values: Floats = self.corpus.values[self.order[block], :, step]
        return values
