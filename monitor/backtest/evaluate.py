"""Evaluates a replay: alerts against labels, scores against labels, and one replay against another.

Alerts are matched as everywhere (evaluation/matching.py): a label is found if an alert fires within it or within a
window's length after it. Labels before the first score, in the stretch that the model learned from, do not count, nor
do labels after the last score of the recording; both are named. A label of an asset that was not scored then, though
others were, counts as missed. Alerts per day are per asset, over the scored time. Alerts of silence are counted apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from monitor.backtest.replay import Replay
from monitor.backtest.tracks import LatentSample, Track
from monitor.core.publish import alert_record
from monitor.core.records import SILENCE, Alert, Bools
from monitor.evaluation.curves import Curves, curves
from monitor.evaluation.label import Label
from monitor.evaluation.matching import AlertSpan, Evaluation, alert_spans, match

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class AlertHistory:
    """An alert with its first and its last published record."""

    span: AlertSpan
    first: Alert  # the record at firing
    last: Alert  # the record published last

    @property
    def begin(self) -> int:
        """End of the first anomalous window, ms UTC."""
        return self.first.start

    @property
    def end(self) -> int | None:
        """End of the last anomalous window; None = still firing at the end of the recording."""
        return self.last.end


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The limit that separates labelled windows best, as a setting."""

    level: float  # of the score
    f1: float
    percentile: float  # that gives this level with the margin in force
    possible: bool  # whether it lies in the range of `threshold.percentile`


@dataclass(frozen=True, slots=True)
class EvaluatedReplay:
    """A replay with its figures."""

    replay: Replay
    tracks: list[Track]
    sample: LatentSample
    alerts: list[AlertHistory]  # by the time of firing
    days: float  # scored, summed over assets
    labels: tuple[Label, ...]  # within the scored time
    before: int  # labels that lie before the first score
    after: int  # labels that lie after the last score
    others: int  # labels of assets that the detector does not watch
    unseen: tuple[Label, ...]  # of `labels`, those in whose time their asset was not scored
    evaluation: Evaluation | None  # None = no labels were given
    curves: Curves | None  # None = no window is labelled, or every window is
    suggestion: Suggestion | None

    @property
    def silences(self) -> int:
        """Number of alerts of silence, which say nothing about a machine."""
        return sum(each.span.cause == SILENCE for each in self.alerts)

    @property
    def per_day(self) -> float | None:
        """Alerts per asset and day, without those of silence; None if nothing was scored."""
        return (len(self.alerts) - self.silences) / self.days if self.days else None

    @property
    def delay_ms(self) -> float | None:
        """Median time from a label's start to its alert, over the labels found; None if none was found."""
        rows = self.evaluation.rows if self.evaluation else ()
        delays = [row.delay_ms for row in rows if row.delay_ms is not None]
        return median(delays) if delays else None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names (C,) of the model's channels."""
        scorer = self.replay.scorer
        return scorer.model.channels if scorer else ()


def evaluate(replay: Replay, labels: Sequence[Label] | None) -> EvaluatedReplay:
    """Evaluate a replay; `labels` is None where none were given."""
    settings = replay.settings
    tracks = replay.collector.tracks()
    alerts = alert_histories(replay)

    # Labels outside the scored time or of other detectors' assets do not count. Those of assets not scored in it do.
    scored = {track.asset: (int(track.ends[0]), int(track.ends[-1])) for track in tracks}
    first = min((begin for begin, _ in scored.values()), default=0)
    last = max((end for _, end in scored.values()), default=-1)
    others = replay.intake.unwanted - scored.keys()
    own = [label for label in labels or () if label.asset not in others]
    before = [label for label in own if label.end <= scored.get(label.asset, (first, last))[0]]
    after = [label for label in own if label not in before and label.start > last]
    counted = tuple(label for label in own if label not in before and label not in after)
    grace_ms = settings.windows.length * settings.windows.step_ms
    evaluation = None if labels is None else match([each.span for each in alerts], counted, grace_ms)

    # Curves need labelled windows and others.
    found = None
    if counted:
        on = np.concatenate([labelled(track, counted) for track in tracks])
        if 0 < np.count_nonzero(on) < len(on):
            found = curves(np.concatenate([track.score for track in tracks]), on)

    return EvaluatedReplay(
        replay=replay,
        tracks=tracks,
        sample=replay.collector.sample(),
        alerts=alerts,
        days=sum(len(track.ends) for track in tracks) * settings.windows.step_ms / DAY_MS,
        labels=counted,
        before=len(before),
        after=len(after),
        others=len(labels or ()) - len(own),
        unseen=tuple(label for label in counted if not _within(label, scored)),
        evaluation=evaluation,
        curves=found,
        suggestion=None if found is None else _suggest(found, tracks, counted, settings.threshold.margin),
    )


def alert_histories(replay: Replay) -> list[AlertHistory]:
    """Group a replay's alert records by alert, ordered by the time of firing."""
    records: dict[str, list[Alert]] = {}
    for alert in replay.alerts:
        records.setdefault(alert.id, []).append(alert)

    bodies = (alert_record("alerts", alert).value or b"" for alert in replay.alerts)
    return [AlertHistory(span, records[span.id][0], records[span.id][-1]) for span in alert_spans(bodies)]


def labelled(track: Track, labels: Sequence[Label]) -> Bools:
    """Return a mask (T,) of an asset's windows that end within a label."""
    on = np.zeros(len(track.ends), np.bool_)
    for label in labels:
        if label.asset == track.asset:
            on[np.searchsorted(track.ends, label.start) : np.searchsorted(track.ends, label.end)] = True
    return on


def firing(track: Track, alerts: Sequence[AlertHistory]) -> Bools:
    """Return a mask (T,) of an asset's windows within an alert, from the first anomalous window to the last."""
    on = np.zeros(len(track.ends), np.bool_)
    for each in alerts:
        if each.span.asset == track.asset and each.span.cause != SILENCE:
            end = track.ends[-1] if each.end is None else each.end
            on[np.searchsorted(track.ends, each.begin) : np.searchsorted(track.ends, end, side="right")] = True
    return on


def _within(label: Label, scored: dict[str, tuple[int, int]]) -> bool:
    if label.asset not in scored:
        return False
    first, last = scored[label.asset]
    return label.end > first and label.start <= last


def _suggest(found: Curves, tracks: Sequence[Track], labels: Sequence[Label], margin: float) -> Suggestion:
    """Express the best limit as the percentile of unlabelled scores that gives it with this margin.

    Labelled scores are left out: a recording of faults has many more of them than the plant will have, and they enter
    an asset's ring clipped.
    """
    best = found.best()
    level = float(found.level[best])
    normal = np.concatenate([track.score[~labelled(track, labels)] for track in tracks])
    percentile = 100 * float(np.mean(normal < level / margin))
    return Suggestion(level, float(found.f1[best]), percentile, 50 <= percentile <= 99.999)


@dataclass(frozen=True, slots=True)
class Pair:
    """An alert of one replay and its counterpart in the other; at least one of them is present."""

    here: AlertHistory | None
    there: AlertHistory | None

    @property
    def either(self) -> AlertHistory:
        """Return the alert here, otherwise the alert there."""
        found = self.here or self.there
        assert found is not None, "one of them is present"
        return found

    @property
    def shift_ms(self) -> int | None:
        """Return how much later the alert fires here; negative = earlier; None if only one side has the alert."""
        if self.here is None or self.there is None:
            return None
        return self.here.span.start - self.there.span.start

    @property
    def kind(self) -> str:
        """Return gained (only here), lost (only there), earlier, later or same (by the time of firing here)."""
        if self.here is None:
            return "lost"
        if self.shift_ms is None:
            return "gained"
        if self.shift_ms == 0:
            return "same"
        return "earlier" if self.shift_ms < 0 else "later"


def compare(here: Sequence[AlertHistory], there: Sequence[AlertHistory]) -> list[Pair]:
    """Pair alerts of an asset that fired at the same time; each alert is used once, the rest stand alone."""
    left = list(there)
    pairs = []

    for each in here:
        partner = next((other for other in left if _overlap(each, other)), None)
        if partner is not None:
            left.remove(partner)
        pairs.append(Pair(each, partner))

    pairs += [Pair(None, other) for other in left]
    return sorted(pairs, key=lambda pair: (pair.either.span.start, pair.either.span.asset))


def _overlap(one: AlertHistory, two: AlertHistory) -> bool:
    far = 2**62
    apart = (one.end or far) < two.begin or (two.end or far) < one.begin
    return one.span.asset == two.span.asset and not apart
