"""What a replay is worth: alerts against labels, scores against labels, and one replay against another.

Alerts are judged as everywhere else (verdict.py): found if an alert is on within the label or a window's length after
it. Only labels in the time that was scored count; what lies in the stretch that the model was learned on is not held
against it. Alarms per day are per asset, of the time that was scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from monitor.backtest.replay import Replay
from monitor.backtest.tracks import Places, Track
from monitor.core.publish import alert_record
from monitor.core.records import Alert, Bools
from monitor.evaluation.curves import Curves, curves
from monitor.evaluation.label import Label
from monitor.evaluation.matching import AlertSpan, Evaluation, alert_spans, match

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class AlertHistory:
    """An alert with all that was published of it."""

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
class Judged:
    """A replay and what can be said of it."""

    replay: Replay
    tracks: list[Track]
    places: Places
    told: list[AlertHistory]
    days: float  # scored, summed over assets
    labels: tuple[Label, ...]  # within the time that was scored
    skipped: int  # labels outside of it
    verdict: Evaluation | None  # None = no label was given
    curves: Curves | None  # None = no label in the time that was scored, or nothing else in it
    suggestion: Suggestion | None

    @property
    def per_day(self) -> float | None:
        """Alarms per asset and day."""
        return len(self.told) / self.days if self.days else None

    @property
    def delay_ms(self) -> float | None:
        """Median from a label's start to the alert, of those found; None if none was."""
        delays = [row.delay_ms for row in self.verdict.rows if row.delay_ms is not None] if self.verdict else []
        return median(delays) if delays else None


def judge_replay(replay: Replay, labels: Sequence[Label] | None) -> Judged:
    """Judge it; `labels` is None where none were given."""
    tracks = replay.collector.tracks()
    step_ms, grace_ms = (
        replay.settings.windows.step_ms,
        replay.settings.windows.length * replay.settings.windows.step_ms,
    )
    reach = {track.asset: (int(track.ends[0]), int(track.ends[-1])) for track in tracks}
    counted = tuple(label for label in labels or () if _within(label, reach))
    told = told_of(replay)
    verdict = None if labels is None else match([each.span for each in told], counted, grace_ms)
    found = None
    if counted:
        on = np.concatenate([labelled(track, counted) for track in tracks])
        if 0 < np.count_nonzero(on) < len(on):
            found = curves(np.concatenate([track.score for track in tracks]), on)
    return Judged(
        replay,
        tracks,
        replay.collector.places(),
        told,
        sum(len(track.ends) for track in tracks) * step_ms / DAY_MS,
        counted,
        len(labels or ()) - len(counted),
        verdict,
        found,
        None if found is None else _suggest(found, tracks, counted, replay.settings.threshold.margin),
    )


def told_of(replay: Replay) -> list[AlertHistory]:
    """The alerts by the time of firing."""
    records: dict[str, list[Alert]] = {}
    for alert in replay.alerts:
        records.setdefault(alert.id, []).append(alert)
    bodies = (alert_record("alerts", alert).value or b"" for alert in replay.alerts)
    return [AlertHistory(span, records[span.id][0], records[span.id][-1]) for span in alert_spans(bodies)]


def labelled(track: Track, labels: Sequence[Label]) -> Bools:
    """Which windows (T,) of an asset end within a label."""
    on = np.zeros(len(track.ends), np.bool_)
    for label in labels:
        if label.asset == track.asset:
            on[np.searchsorted(track.ends, label.start) : np.searchsorted(track.ends, label.end)] = True
    return on


def firing(track: Track, told: Sequence[AlertHistory]) -> Bools:
    """Which windows (T,) of an asset belong to an alert: from the first anomalous to the last."""
    on = np.zeros(len(track.ends), np.bool_)
    for each in told:
        if each.span.asset == track.asset:
            end = track.ends[-1] if each.end is None else each.end
            on[np.searchsorted(track.ends, each.begin) : np.searchsorted(track.ends, end, side="right")] = True
    return on


def _within(label: Label, reach: dict[str, tuple[int, int]]) -> bool:
    return label.asset in reach and label.end > reach[label.asset][0] and label.start <= reach[label.asset][1]


def _suggest(found: Curves, tracks: Sequence[Track], labels: Sequence[Label], margin: float) -> Suggestion:
    """The best limit of all, as the percentile of the scores without a label that gives it with the margin put on it.

    A recording of faults has many more of them than the plant will have, and those enter an asset's memory clipped.
    """
    best = found.best()
    level = float(found.level[best])
    normal = np.concatenate([track.score[~labelled(track, labels)] for track in tracks])
    percentile = 100 * float(np.mean(normal < level / margin))
    return Suggestion(level, float(found.f1[best]), percentile, 50 <= percentile <= 99.999)


@dataclass(frozen=True, slots=True)
class Pair:
    """An alert of one replay beside that of the other; at least one is there."""

    here: AlertHistory | None
    there: AlertHistory | None

    @property
    def either(self) -> AlertHistory:
        """The one here, or else the one there."""
        found = self.here or self.there
        assert found is not None, "at least one is there"
        return found

    @property
    def shift_ms(self) -> int | None:
        """How much later it fires here than there; negative = earlier; None if only one side has it."""
        return None if self.here is None or self.there is None else self.here.span.start - self.there.span.start

    @property
    def kind(self) -> str:
        """One of: gained (only here), lost (only there), earlier, later or same (time of firing here)."""
        if self.here is None:
            return "lost"
        if self.shift_ms is None:
            return "gained"
        return "same" if self.shift_ms == 0 else "earlier" if self.shift_ms < 0 else "later"


def compare(here: Sequence[AlertHistory], there: Sequence[AlertHistory]) -> list[Pair]:
    """Alerts of an asset that were on at the same time are the same alarm; each is taken once, the rest alone."""
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
