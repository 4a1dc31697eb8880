"""Evaluates a replay: each detector by itself, and all of them together.

Together, alerts that are linked count as one, as for a person: twins that see the same fault raise one alarm (see
core/alerts/links.py). Such an alarm is false if none of its alerts overlaps a label. A label is found if any detector
has found it, with the shortest delay, and counts if it counts for any detector. The scored time of an asset is that of
the detector that scored it longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.backtest.alerts import AlertHistory, alert_histories, first_alerts
from monitor.backtest.evaluate import EvaluatedDetector, evaluate
from monitor.backtest.figures import DAY_MS, Figures, figures
from monitor.backtest.replay import Replay
from monitor.evaluation.label import Label
from monitor.evaluation.matching import Evaluation, LabelRow


@dataclass(frozen=True, slots=True)
class EvaluatedReplay:
    """A replay with the figures of its detectors."""

    replay: Replay
    detectors: tuple[EvaluatedDetector, ...]
    together: Figures
    alerts: list[AlertHistory]  # of all detectors, by the time of firing
    evaluation: Evaluation | None  # of all detectors together; None = no labels were given
    labels: tuple[Label, ...]  # that count
    before: int  # labels that lie before the first score
    after: int  # labels that lie after the last score
    others: int  # labels of assets that no detector watches
    unseen: tuple[Label, ...]  # of `labels`, those in whose time their asset was not scored

    @property
    def scored(self) -> list[EvaluatedDetector]:
        """The detectors that scored windows."""
        return [each for each in self.detectors if each.tracks]


def evaluate_all(replay: Replay, labels: Sequence[Label] | None) -> EvaluatedReplay:
    """Evaluate a replay; `labels` is None where none were given."""
    alerts = alert_histories(replay.alerts)
    detectors = tuple(
        evaluate(name, replay, [each for each in alerts if each.span.detector == name], labels)
        for name in replay.detectors
    )
    end = max((int(track.ends[-1]) for each in detectors for track in each.tracks), default=0)

    # A label counts if it counts for any detector.
    counting, early, late = (
        set().union(*(getattr(each, key) for each in detectors)) for key in ("labels", "before", "after")
    )
    counted = tuple(label for label in labels or () if label in counting)
    rest = [label for label in labels or () if label not in counting]
    before = sum(label in early for label in rest)
    after = sum(label in late for label in rest if label not in early)
    seen = set().union(*(set(each.labels).difference(each.unseen) for each in detectors))
    evaluation = None if labels is None else _joined(detectors, alerts, counted)

    return EvaluatedReplay(
        replay=replay,
        detectors=detectors,
        together=figures(alerts, evaluation, _days(detectors), end),
        alerts=alerts,
        evaluation=evaluation,
        labels=counted,
        before=before,
        after=after,
        others=len(rest) - before - after,
        unseen=tuple(label for label in counted if label not in seen),
    )


def _joined(
    detectors: Sequence[EvaluatedDetector], alerts: Sequence[AlertHistory], labels: Sequence[Label]
) -> Evaluation:
    """Return the evaluation of all detectors: the best row of each label, and alarms that no label expects."""
    each = [detector.evaluation for detector in detectors if detector.evaluation is not None]
    rows: dict[Label, LabelRow] = {}
    for row in (row for one in each for row in one.rows if row.found):
        best = rows.get(row.label)
        if best is None or (row.delay_ms or 0) < (best.delay_ms or 0):
            rows[row.label] = row

    first = first_alerts(alerts)
    apart = {span.id for one in each for span in (*one.false, *one.silent)}
    expected = {first[alert.span.id] for alert in alerts if alert.span.id not in apart}
    false = {span.id for one in each for span in one.false if first[span.id] not in expected}
    silent = {span.id for one in each for span in one.silent}
    return Evaluation(
        tuple(rows.get(label, LabelRow(label)) for label in labels),
        false=tuple(alert.span for alert in alerts if alert.span.id in false),
        silent=tuple(alert.span for alert in alerts if alert.span.id in silent),
    )


def _days(detectors: Sequence[EvaluatedDetector]) -> float:
    longest: dict[str, float] = {}
    for each in detectors:
        for track in each.tracks:
            days = len(track.ends) * each.replay.settings.windows.step_ms / DAY_MS
            longest[track.asset] = max(days, longest.get(track.asset, 0.0))
    return sum(longest.values())
