"""The limit of each asset's scores: a rolling percentile of the asset's own recent scores, times a margin.

Each asset's last `memory` scores are kept, exactly (`Ring`) or counted in buckets (`histogram.Histogram`). `base` is
the percentile of the kept scores. A score enters as at most `clip` times the base: keeping flagged scores whole blinds
the monitor after an incident, leaving flagged scores out runs away under drift (measured: 4 times the false alarms at
equal recall). The clip also bounds how fast a lasting shift is accepted: by a factor `clip` for each (1 - percentile)
share of the memory that the shift fills.

Until an asset has entered `warm` scores, its base is borrowed from the quantiles of the model's calibration. For an
asset that the model does not know, a share of the base stays borrowed, as if LENT scores had been: the first scores of
such an asset have a scale that does not fit yet, and would hide faults for as long as the scores are kept (measured:
docs/detection.md).

Scores that leave out deviations by a rule (model/tolerance.py) may all be 0 on a sound machine. Their base is at least
KEPT of the borrowed one. Without that, the limit would fall to nothing, and the first deviation that counts would be a
million times its limit.

Guaranteed: an asset's limits are a function of its scores alone. The base is renewed when the number of scores that the
asset has ever entered reaches `warm`, and after that whenever the number equals the asset's row modulo `refresh`. So
neither the cut into batches nor other assets matter, and assets that started together are not all due in one batch.

Measured with 1250 full rings of 10 000 scores and a refresh of 32, on one core: 1.1 µs per window (`python -m
benchmarks.stages`), half of it for the percentile of a ring (14 µs, once in 32 windows; 75 µs if all scores of the ring
are partitioned, not only those near the base before). Such a ring takes 40 kB. Rows and columns double as they fill,
and for that moment the matrix exists twice.

Names, evicting assets and judging how long a limit was exceeded are the tasks of `windows` and `alerting`.
"""

import numpy as np

from monitor.core.arrays import LARGEST, Doubles, Index, first_of_run, ordinals
from monitor.core.model.model import LEVELS
from monitor.core.records import Bools, Floats, Ints, State, ThresholdBatch, Times
from monitor.core.rules import RowRules
from monitor.core.state import FINITE, Column, Columns, check_state, unfit
from monitor.core.threshold.histogram import Histogram
from monitor.core.threshold.options import ThresholdOptions
from monitor.core.threshold.ring import Ring, Scores

LENT = 512.0  # scores that the calibration weighs for an unknown asset; with 2048 the results are much the same
FLOOR = 1e-9  # a base is never 0, so that score / threshold is finite
KEPT = 0.5  # share of the borrowed base that is the least one, of scores that leave deviations out

_STAGE = "thresholds"
_STATE = {
    "count": Column("i8", low=0),  # scores ever entered
    "base": Column("f8", fill=np.nan, low=FLOOR, high=FINITE, nan=True),  # NaN until warm
    "memory": Column("i8", (1,)),
}


class Threshold:
    """The limits of all assets of one partition."""

    def __init__(self, options: ThresholdOptions, rules: RowRules | None = None, least: float = FLOOR) -> None:
        """`rules` may give an asset another margin than `options`. No base is below `least`."""
        self._rules = rules or RowRules(options.margin)
        self._least = least
        self._percentile = options.percentile
        self._memory = options.memory
        self._warm = options.warm
        self._clip = options.clip
        self._refresh = options.refresh
        self._columns = Columns(_STAGE, _STATE)
        self._scores: Scores = Histogram(options.memory) if options.kind == "histogram" else Ring(options.memory)

    def update(
        self,
        assets: Ints,
        score: Floats,
        calibration: Floats,
        unknown: Bools | None = None,
        *,
        tolerant: bool = False,
    ) -> ThresholdBatch:
        """Return the limits for scores (B,) of rows `assets` (B,), in the order of scoring, then enter the scores.

        `calibration` (len(LEVELS),) holds the quantiles of the model's score on clean windows. Scores are finite.
        `unknown` (B,) is True for assets that the model does not know, for all of an asset's scores or for none. None
        means that the model knows all assets. `tolerant` scores leave out deviations that the calibration's have.
        """
        borrowed = max(float(np.interp(self._percentile / 100, LEVELS, calibration)), self._least)
        least = max(self._least, KEPT * borrowed if tolerant else 0.0)

        # Sorted by asset: from here on the scores of one asset lie together, in their order.
        order = np.argsort(assets, kind="stable")
        run, entering = assets[order], score[order]
        at = np.flatnonzero(first_of_run(run))
        ends = np.append(at[1:], len(run))[: len(at)]
        rows, lent = run[at].astype(np.int64), np.zeros(len(at))
        if unknown is not None:
            lent[unknown[order][at]] = LENT
        self._reserve(int(run[-1]) + 1 if len(run) else 0)  # rows ascend

        # A round takes each asset to the score after which its base changes, so `current` applies to the whole round.
        base, warm = np.empty(len(run)), np.empty(len(run), np.bool_)
        while len(rows):
            stop = np.minimum(at + self._at_once(rows), ends)
            own = self._columns["count"][rows] >= self._warm
            current = np.where(own, self._columns["base"][rows], borrowed)
            if lent.any():
                share = lent / (lent + np.minimum(self._renewed(rows), self._memory))
                current = np.where(own, share * borrowed + (1 - share) * current, borrowed)
            current = np.maximum(current, least)
            which = np.repeat(np.arange(len(rows)), stop - at)
            place = at[which] + ordinals(stop - at)
            base[place] = current[which]
            warm[place] = own[which]
            self._enter(rows, stop - at, np.minimum(entering[place], _narrow(self._clip * current)[which]))
            going = stop < ends
            rows, at, ends, lent = rows[going], stop[going], ends[going], lent[going]

        # Back into the order of the batch.
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        threshold = _narrow(self._rules.margin(run) * base)[back]
        return ThresholdBatch(score, threshold, score > threshold, warm[back])

    def borrowed(self, assets: Ints, calibration: Floats) -> Floats:
        """Return the limits of rows `assets` (B,) by the quantiles of the model's score on clean windows alone."""
        base = max(float(np.interp(self._percentile / 100, LEVELS, calibration)), self._least)
        return _narrow(self._rules.margin(assets.astype(np.intp)) * base)

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)
        self._scores.forget(row)

    def rebase(self, old: Floats, new: Floats) -> None:
        """Convert the kept scores to the scale of another model.

        `old` and `new` are the quantiles of both models' scores at LEVELS. Between two quantiles scores are mapped
        linearly, above the largest and below the smallest in proportion.
        """
        rows = self._columns.rows
        self._scores.rebase(rows, lambda scores: carry_over(scores, old, new))
        own = np.flatnonzero(self._columns["count"][:rows] >= self._warm)
        self._columns["base"][own] = self._percentiles(own)

    def warm_up(self) -> Times:
        """Return how many scores (A,) each asset needs until its own percentile is used; A = largest row seen + 1."""
        left: Times = np.maximum(self._warm - self._columns["count"][: self._columns.rows], 0)
        return left

    def _at_once(self, rows: Index) -> Times:
        """Return how many scores each row takes until its base is renewed or its scores are full, at least 1."""
        count = self._columns["count"][rows]
        regular = self._refresh - (count - rows) % self._refresh
        renewal = np.where(count < self._warm, self._warm - count, regular)
        return np.minimum(renewal, self._scores.room(count))

    def _renewed(self, rows: Index) -> Times:
        """Return how many scores each row had entered when its base was renewed last."""
        count = self._columns["count"][rows]
        return np.maximum(count - (count - rows) % self._refresh, self._warm)

    def _enter(self, rows: Index, numbers: Times, scores: Floats) -> None:
        """Enter `numbers[i]` scores of `rows[i]`, at most up to the row's next renewal, and renew due bases."""
        counts = self._columns["count"]
        self._scores.enter(rows, numbers, counts[rows], scores)
        counts[rows] += numbers

        # Renew at `warm`, and after that at a phase of the row's own, so that rows come due one after another.
        count = counts[rows]
        regular = (count > self._warm) & ((count - rows) % self._refresh == 0)
        due = rows[(count == self._warm) | regular]
        self._columns["base"][due] = self._percentiles(due)

    def _percentiles(self, rows: Index) -> Doubles:
        """Return the percentile of each row's scores, at least FLOOR."""
        count, base = self._columns["count"][rows], self._columns["base"][rows]
        return np.maximum(self._scores.percentiles(rows, count, self._percentile, base), FLOOR)

    def _reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self._columns.reserve(assets)
        self._scores.reserve(assets)

    def save_state(self) -> State:
        """Return all that `load_state` needs to continue exactly from here."""
        own = self._columns.save(memory=np.array([self._memory], np.int64))
        return own | self._scores.save(own["count"])

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError, and changes nothing, if the state does not fit."""
        check_state(_STAGE, state, {**_STATE, **self._scores.table})
        if state["memory"][0] != self._memory:
            raise unfit(_STAGE, "memory", state["memory"][0], self._memory)
        self._scores.check(state, state["count"])

        self._columns.load(state)
        self._scores.load(state)

        # `warm` may be lower than when the state was saved: rows that have enough scores now get their base.
        count, base = self._columns["count"], self._columns["base"]
        due = np.flatnonzero((count >= self._warm) & np.isnan(base))
        base[due] = self._percentiles(due)


def _narrow(values: Doubles) -> Floats:
    """Return `values` as finite float32."""
    return np.minimum(values, LARGEST).astype(np.float32)


def carry_over(scores: Floats, old: Floats, new: Floats) -> Floats:
    """Convert scores of a model with quantiles `old` to the scale of a model with quantiles `new`."""
    x, y = (np.maximum.accumulate(np.maximum(quantiles.astype(np.float64), FLOOR)) for quantiles in (old, new))
    last = np.append(x[1:] > x[:-1], True)  # of equal quantiles the last: the higher limit is the safer one
    x, y = x[last], y[last]

    # np.interp would hold the last quantile beyond both ends.
    mapped = np.interp(scores, x, y)
    mapped = np.where(scores > x[-1], scores * (y[-1] / x[-1]), mapped)
    return _narrow(np.where(scores < x[0], scores * (y[0] / x[0]), mapped))
