"""Metrics of detection quality: of a score against labels, of alerts against labels, of a ranking against causes.

VUS-PR is the volume under the precision-recall surface (Paparrizos et al., VLDB 15(11), 2022): the area under precision
over recall, averaged over label ramps of width 0 to `buffer` around every segment, so that a score that rises shortly
before or after the label counts partly. The variant is that of TSB-AD 1.5 with its buffer, `acf_period` of the first
channel, so that figures are comparable with those published with it.

Alerts are counted from an operator's view. A segment is found if an alert is on in it or within GRACE rows after it. A
run of firing rows that touches no segment is a false alarm. An alert still on after an hour counts again. Otherwise one
endless alert would find every segment with one alarm. Distinct false alarms are the runs themselves, however long, and
`on_share` is the time that they take.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GRACE = 5  # rows
LEVELS = 250  # of the score at which precision and recall are taken for VUS-PR
LONGEST, SHORTEST, UNKNOWN = 300, 3, 125  # rows: range of a period, and the default if none was found

Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


def runs(on: Bools) -> tuple[Index, Index]:
    """Return first and last row (S,) of each run of True in `on` (T,)."""
    edges = np.diff(np.concatenate(([0], on.astype(np.int8), [0])))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1


def vus_pr(label: Bools, score: Doubles, buffer: int) -> float:
    """Return the volume under the precision-recall surface; label (T,) has a segment, score (T,) is finite."""
    T, positives = len(score), np.count_nonzero(label)
    first, last = runs(label)

    # Levels are quantiles of the score, so that each flags a different share of rows.
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    level = falling[np.linspace(0, T - 1, LEVELS).astype(int)]  # (LEVELS,)
    flagged = np.searchsorted(-falling, -level, side="right")  # (LEVELS,) rows at or above each level
    inside = np.cumsum(label[order])[flagged - 1]

    areas = np.empty(buffer + 1)
    for width in range(buffer + 1):
        hits = np.cumsum(_soften(label, first, last, width)[order])[flagged - 1]
        recall = np.minimum(hits / (positives + (hits - inside) / 2), 1)

        begin, end = _widen(first, last, width // 2, T)
        peak = np.array([score[a : b + 1].max() for a, b in zip(begin, end, strict=True)])
        recall *= (peak[:, None] >= level).mean(0)  # segments without a flagged row lower the recall
        areas[width] = np.sum(np.diff(recall, prepend=0) * hits / flagged)

    return float(areas.mean())


def _soften(label: Bools, first: Index, last: Index, width: int) -> Doubles:
    """Return labels (T,) in 0..1, with ramps of half of `width` rows at both sides of each segment."""
    soft, half = label.astype(np.float64), width // 2
    if half:
        ramp = np.sqrt(1 - np.arange(1, half + 1) / width)
        for a, b in zip(first, last, strict=True):
            before, after = soft[max(a - half, 0) : a], soft[b + 1 : b + 1 + half]
            before += ramp[: len(before)][::-1]
            after += ramp[: len(after)]
    return np.minimum(soft, 1)


def _widen(first: Index, last: Index, half: int, T: int) -> tuple[Index, Index]:
    """Widen segments by `half` rows at both sides and join touching ones."""
    begin, end = np.maximum(first - half, 0), np.minimum(last + half, T - 1)
    apart = last[:-1] + half < first[1:] - half
    return begin[np.concatenate(([True], apart))], end[np.concatenate((apart, [True]))]


def acf_period(x: Doubles) -> int:
    """Return the lag of the highest local peak of the autocorrelation of `x` (T,), as in TSB-AD."""
    head = x[:20_000] - x[:20_000].mean()
    spectrum = np.fft.rfft(head, 2 ** int(np.ceil(np.log2(2 * len(head)))))
    correlation = np.fft.irfft(spectrum * np.conj(spectrum))[: min(400, len(head) - 1) + 1]
    if not correlation[0] > 0:
        return UNKNOWN
    shifted = (correlation / correlation[0])[SHORTEST:]
    peaks = np.flatnonzero((shifted[1:-1] > shifted[:-2]) & (shifted[1:-1] > shifted[2:])) + 1
    if not len(peaks):
        return UNKNOWN
    highest = int(peaks[len(peaks) - 1 - np.argmax(shifted[peaks][::-1])])
    return highest + SHORTEST if SHORTEST <= highest <= LONGEST else UNKNOWN


def auc_pr(label: Bools, score: Doubles) -> float:
    """Return the average precision: the mean precision at every labelled row; equal scores count together."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    hits = np.cumsum(label[order])[last_of_tie]
    gained = np.diff(hits, prepend=0) / max(1, np.count_nonzero(label))
    return float(np.sum(gained * hits / (last_of_tie + 1)))


@dataclass(frozen=True, slots=True)
class Found:
    """Counts of found segments and alarms; `+` sums over series."""

    events: int = 0  # labelled segments
    found: int = 0
    alarms: int = 0
    false: int = 0
    distinct: int = 0  # false alarms, each counted once
    delays: tuple[int, ...] = ()  # rows from a segment's first row to its alert, of those found

    def __add__(self, other: "Found") -> "Found":
        return Found(
            self.events + other.events,
            self.found + other.found,
            self.alarms + other.alarms,
            self.false + other.false,
            self.distinct + other.distinct,
            self.delays + other.delays,
        )

    @property
    def recall(self) -> float | None:
        return self.found / self.events if self.events else None

    @property
    def precision(self) -> float | None:
        return (self.alarms - self.false) / self.alarms if self.alarms else None

    @property
    def f1(self) -> float:
        recall, precision = self.recall or 0.0, self.precision or 0.0
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def judge(label: Bools, firing: Bools, again: int) -> Found:
    """Count alerts against labelled segments. An alert counts again after every `again` rows."""
    whole = runs(firing)
    begin, end = _pieces(*whole, again)
    first, last = runs(label)
    reach = np.minimum(last + GRACE, len(label) - 1)
    alarm = np.searchsorted(end, first)  # (S,) the first alarm that is still on when the segment begins, or later
    hit = alarm < len(begin)
    hit[hit] = begin[alarm[hit]] <= reach[hit]
    delays = np.maximum(begin[alarm[hit]] - first[hit], 0)
    return Found(
        events=len(first),
        found=int(hit.sum()),
        alarms=len(begin),
        false=_outside(begin, end, first, reach),
        distinct=_outside(*whole, first, reach),
        delays=tuple(delays.tolist()),
    )


def on_share(label: Bools, firing: Bools) -> float:
    """Return the share of unlabelled rows in which an alert is on; 0 if all rows are labelled."""
    return float(firing[~label].mean()) if not label.all() else 0.0


def _outside(begin: Index, end: Index, first: Index, reach: Index) -> int:
    """Count the alarms from `begin` to `end` that touch no segment from `first` to `reach`."""
    touched = np.searchsorted(first, end, side="right") - np.searchsorted(reach, begin)  # segments of each alarm
    return int((touched <= 0).sum())


def _pieces(begin: Index, end: Index, longest: int) -> tuple[Index, Index]:
    """Cut runs into pieces of at most `longest` rows."""
    number = (end - begin) // longest + 1
    which = np.repeat(np.arange(len(begin)), number)
    ordinal = np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number)
    starts = begin[which] + ordinal * longest
    return starts, np.minimum(starts + longest - 1, end[which])


def best_static(label: Bools, score: Doubles, again: int, levels: int = 60) -> Found:
    """Return the result of the best of `levels` constant thresholds, chosen by F1 with the labels."""
    shares = 1 - np.geomspace(1 / len(score), 0.5, levels)
    return max((judge(label, score > level, again) for level in np.quantile(score, shares)), key=lambda found: found.f1)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Quality of a channel ranking on one segment."""

    hit_100: float  # share of the n true channels among the first n
    hit_150: float  # among the first 1.5 n, rounded down
    top_1: float  # 1 if the first one is a true one


def attribute(contribution: Doubles, truth: Sequence[int]) -> Attribution:
    """Compare channels ranked by contribution (C,) with the true ones."""
    ranked, n = np.argsort(-contribution, kind="stable"), len(truth)
    hits = np.cumsum(np.isin(ranked, truth))
    reach = min(n * 3 // 2, len(ranked))
    return Attribution(float(hits[n - 1] / n), float(hits[reach - 1] / n), float(hits[0]))
