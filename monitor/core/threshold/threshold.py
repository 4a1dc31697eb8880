"""The limit each asset's scores are held against: a rolling percentile of its own recent scores, times a margin.

Each asset's last `memory` scores are kept, as they are (`Ring`) or counted in buckets (`histogram.Histogram`); `base`
is the percentile of what is kept. A score enters as at most `clip` times the base: letting flagged scores in whole
blinds the monitor after an incident, leaving them out runs away under drift (measured: 4 times the false alarms at
equal recall). The clip also bounds how fast a lasting shift is accepted: by a factor `clip` for each (1 - percentile)
share of the memory it fills. Until an asset has entered `warm` scores, its base is borrowed from the quantiles of the
model's calibration. Of an asset that the model does not know, a share of it stays borrowed, as if LENT scores had been:
its first scores are of a scale that does not fit yet, and would hide faults for as long as they are remembered
(measured: docs/detection.md).

Guaranteed: an asset's limits are a function of its scores alone. The base is computed anew when the number of scores
the asset has ever entered reaches `warm` and whenever it then equals the asset's row modulo `refresh`, so neither the
cut into batches nor the other assets matter, and assets that started together do not all come due in one batch.

Measured with 1250 full rings of 10 000 scores and a refresh of 32, on one core: 1.1 µs per window (`python -m
benchmarks.stages`), half of it for the percentile of a ring (14 µs, once in 32 windows; 75 µs if all its scores are
partitioned, not only those near the base before). Such a ring takes 40 kB; rows and columns double as they fill, and
for that moment the matrix exists twice.

It does not know names, choose whom to forget or judge how long a limit was exceeded: see `windows` and `alerting`.
"""

from typing import Literal

import numpy as np

from monitor.core.arrays import LARGEST, Doubles, Index, extend, first_of_run, ordinals
from monitor.core.model.model import LEVELS
from monitor.core.records import Bools, Floats, Ints, State, ThresholdBatch, Times
from monitor.core.threshold.histogram import LEAST_CLIP, Histogram
from monitor.core.threshold.ring import Ring, Scores, check_arrays
from monitor.core.windows.grid import check_ranges

LENT = 512.0  # scores that the calibration counts as beside an unknown asset's own; with 2048 much the same is found
FLOOR = 1e-9  # a base is never 0, so that score / threshold is finite


class Threshold:
    """The limits of all assets of one partition."""

    def __init__(
        self,
        *,
        percentile: float,
        margin: float,
        memory: int,
        warm: int,
        clip: float,
        refresh: int,
        kind: Literal["ring", "histogram"] = "ring",
    ) -> None:
        """Raises ValueError if a setting is out of range."""
        least_clip = LEAST_CLIP if kind == "histogram" else 1.01
        limits: dict[str, tuple[float, float, float]] = {
            "percentile": (percentile, 0, 100),
            "margin": (margin, 0.001, 1000),
            "memory": (memory, 1, 2**24),
            "warm": (warm, 1, memory),  # an own percentile over more scores than the ring holds cannot be
            "clip": (clip, least_clip, 1000),  # at 1 the base could never rise, and a lasting shift never be accepted
            "refresh": (refresh, 1, memory),
        }
        check_ranges(limits)
        self._percentile = percentile
        self._margin = margin
        self._memory = memory
        self._warm = warm
        self._clip = clip
        self._refresh = refresh
        self._assets = 0  # rows in use, A
        self._scores: Scores = Histogram(memory) if kind == "histogram" else Ring(memory)
        self._count: Times = np.empty(0, np.int64)  # (>= A,) scores ever entered
        self._base: Doubles = np.empty(0)  # (>= A,) NaN until warm

    def update(self, assets: Ints, score: Floats, calibration: Floats, strange: Bools | None = None) -> ThresholdBatch:
        """The limits for scores (B,) of rows `assets` (B,), in the order in which they were taken; then enter them.

        `calibration` (len(LEVELS),) holds the quantiles of the model's score on clean windows. Scores are finite.
        `strange` (B,) tells which are of assets that the model does not know, all of an asset or none; None = no one.
        """
        borrowed = max(float(np.interp(self._percentile / 100, LEVELS, calibration)), FLOOR)
        order = np.argsort(assets, kind="stable")  # from here on the scores of one asset lie together
        run, entering = assets[order], score[order]
        at = np.flatnonzero(first_of_run(run))
        ends = np.append(at[1:], len(run))[: len(at)]
        rows, lent = run[at].astype(np.int64), np.zeros(len(at))
        if strange is not None:
            lent[strange[order][at]] = LENT
        self._reserve(int(run[-1]) + 1 if len(run) else 0)  # rows ascend
        base, warm = np.empty(len(run)), np.empty(len(run), np.bool_)
        while len(rows):  # a round takes each asset to where its base changes
            stop = np.minimum(at + self._at_once(rows), ends)
            own = self._count[rows] >= self._warm
            held = np.where(own, self._base[rows], borrowed)
            if lent.any():
                share = lent / (lent + np.minimum(self._renewed(rows), self._memory))
                held = np.where(own, share * borrowed + (1 - share) * held, borrowed)
            which = np.repeat(np.arange(len(rows)), stop - at)
            place = at[which] + ordinals(stop - at)
            base[place], warm[place] = held[which], own[which]
            self._enter(rows, stop - at, np.minimum(entering[place], _narrow(self._clip * held)[which]))
            going = stop < ends
            rows, at, ends, lent = rows[going], stop[going], ends[going], lent[going]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        threshold = _narrow(self._margin * base)[back]
        return ThresholdBatch(threshold, score > threshold, warm[back])

    def forget(self, row: int) -> None:
        """As if this row had never had a score: it is another asset's now."""
        if row < self._assets:
            self._scores.forget(row)
            self._count[row], self._base[row] = 0, np.nan

    def rebase(self, old: Floats, new: Floats) -> None:
        """Carry the scores over to another model, whose score has quantiles `new` at LEVELS where `old` were before.

        Between two quantiles scores are mapped linearly, beyond the largest and below the smallest in proportion.
        """
        self._scores.rebase(self._assets, lambda scores: _carry_over(scores, old, new))
        own = np.flatnonzero(self._count[: self._assets] >= self._warm)
        self._base[own] = self._percentiles(own)

    def warm_up(self) -> Times:
        """Scores (A,) each asset still needs before its own percentile is used; A = largest row seen + 1."""
        return np.maximum(self._warm - self._count[: self._assets], 0)

    def _at_once(self, rows: Index) -> Times:
        """How many scores each row takes until its base is computed anew or there is no more room, at least 1."""
        count = self._count[rows]
        regular = self._refresh - (count - rows) % self._refresh
        renewal = np.where(count < self._warm, self._warm - count, regular)
        return np.minimum(renewal, self._scores.room(count))

    def _renewed(self, rows: Index) -> Times:
        """Scores each row had entered when its base was computed last, if it ever was."""
        count = self._count[rows]
        return np.maximum(count - (count - rows) % self._refresh, self._warm)

    def _enter(self, rows: Index, numbers: Times, scores: Floats) -> None:
        """Enter `numbers[i]` scores of `rows[i]`, at most up to its next renewal, and renew what is due."""
        self._scores.enter(rows, numbers, self._count[rows], scores)
        self._count[rows] += numbers
        count = self._count[rows]
        regular = (count > self._warm) & ((count - rows) % self._refresh == 0)
        due = rows[(count == self._warm) | regular]
        self._base[due] = self._percentiles(due)

    def _percentiles(self, rows: Index) -> Doubles:
        """The percentile of each row's scores, at least FLOOR."""
        found = self._scores.percentiles(rows, self._count[rows], self._percentile, self._base[rows])
        return np.maximum(found, FLOOR)

    def _reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self._assets = max(self._assets, assets)
        self._count = extend(self._count, self._assets, 0)
        self._base = extend(self._base, self._assets, np.nan)
        self._scores.reserve(self._assets)

    def save_state(self) -> State:
        """Everything a later `load_state` needs to go on exactly from here, as arrays."""
        A = self._assets
        return {
            "memory": np.array([self._memory], np.int64),
            "count": self._count[:A].copy(),
            "base": self._base[:A].copy(),
            **self._scores.save(self._count[:A]),
        }

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave. Raises ValueError, and changes nothing, if it does not fit."""
        _check(state, self._memory, self._warm, self._scores)
        self._assets = len(state["count"])
        self._count, self._base = state["count"].copy(), state["base"].copy()
        self._scores.load(state)
        due = np.flatnonzero((self._count >= self._warm) & np.isnan(self._base))  # `warm` was higher when it was saved
        self._base[due] = self._percentiles(due)


def _narrow(values: Doubles) -> Floats:
    """As float32, finite."""
    return np.minimum(values, LARGEST).astype(np.float32)


def _carry_over(scores: Floats, old: Floats, new: Floats) -> Floats:
    """Scores of a model with quantiles `old` on the scale of a model with quantiles `new`."""
    x, y = (np.maximum.accumulate(np.maximum(quantiles.astype(np.float64), FLOOR)) for quantiles in (old, new))
    last = np.append(x[1:] > x[:-1], True)  # of equal quantiles the last: the higher limit is the safer one
    x, y = x[last], y[last]
    mapped = np.interp(scores, x, y)
    mapped = np.where(scores > x[-1], scores * (y[-1] / x[-1]), mapped)
    return _narrow(np.where(scores < x[0], scores * (y[0] / x[0]), mapped))


def _check(state: State, memory: int, warm: int, scores: Scores) -> None:
    """Raises ValueError that says what is missing, too much, misshapen or not a score in a saved state."""
    names = {"memory", "count", "base", *scores.save(np.empty(0, np.int64))}
    if state.keys() != names:
        missing, extra = sorted(names - state.keys()), sorted(state.keys() - names)
        raise ValueError(f"state of thresholds lacks {missing} and has unexpected {extra}")
    count: Times = state["count"]
    if count.dtype != np.int64:
        raise ValueError(f"state of thresholds: count is {count.dtype}, expected int64")
    A = count.size
    check_arrays(state, {"memory": ("i8", (1,)), "count": ("i8", (A,)), "base": ("f8", (A,))})
    if state["memory"][0] != memory:
        raise ValueError(f"state of thresholds has a memory of {state['memory'][0]} scores, expected {memory}")
    if np.any(count < 0):
        raise ValueError("state of thresholds: a count is negative")
    own: Bools = count >= warm
    base = state["base"][own & ~np.isnan(state["base"])]
    if not np.all((base >= FLOOR) & (base < np.inf)):
        raise ValueError("state of thresholds: a base is not a positive number")
    scores.check(state, count)
