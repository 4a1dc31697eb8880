"""Evaluates one detector's part of a replay: its alerts against labels, and its scores against labels.

Alerts are matched as everywhere (evaluation/matching.py): a label is found if an alert fires within it or within a
window's length after it. Labels before the first score, in the stretch that the model learned from, do not count, nor
do labels after the last score of the recording; both are named. A label of an asset that was not scored then, though
others were, counts as missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.backtest.alerts import AlertHistory
from monitor.backtest.figures import DAY_MS, Figures, figures
from monitor.backtest.replay import DetectorReplay, Replay
from monitor.backtest.tracks import LatentSample, Track
from monitor.core.decode.names import Names
from monitor.core.records import SILENCE, Bools
from monitor.evaluation.curves import Curves, curves
from monitor.evaluation.label import Label
from monitor.evaluation.matching import Evaluation, match
from monitor.service.intake import Intake
from monitor.service.no_windows import why_no_windows


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The limit of the alarm score that separates labelled windows best, as a setting."""

    level: float  # of the alarm score
    f1: float
    percentile: float  # that gives this level with the margin in force
    possible: bool  # whether it lies in the range of `threshold.percentile`


@dataclass(frozen=True, slots=True)
class EvaluatedDetector:
    """One detector's part of a replay, with its figures."""

    replay: DetectorReplay
    names: Names  # of assets and channels, as they came
    tracks: list[Track]
    sample: LatentSample
    alerts: list[AlertHistory]  # by the time of firing
    figures: Figures
    labels: tuple[Label, ...]  # within the scored time
    before: tuple[Label, ...]  # those before the first score
    after: tuple[Label, ...]  # those after the last score
    others: tuple[Label, ...]  # those of assets that the detector does not watch
    unseen: tuple[Label, ...]  # of `labels`, those in whose time their asset was not scored
    evaluation: Evaluation | None  # None = no labels were given
    curves: Curves | None  # of the score, by which windows are ranked; None = no window is labelled, or every window is
    suggestion: Suggestion | None
    unscored: str  # why nothing was scored; empty = something was

    @property
    def name(self) -> str:
        """Name of the detector."""
        return self.replay.settings.name

    @property
    def model(self) -> str:
        """How the model came about, or its version; empty without one."""
        scorer = self.replay.scorer
        return self.replay.learned or ("" if scorer is None else scorer.model.version)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names (C,) of the model's channels."""
        scorer = self.replay.scorer
        return scorer.model.channels if scorer else ()


def evaluate(
    detector: str, replay: Replay, alerts: list[AlertHistory], labels: Sequence[Label] | None
) -> EvaluatedDetector:
    """Evaluate a detector's part of a replay, with its alerts; `labels` is None where none were given."""
    own = replay.detectors[detector]
    settings = own.settings
    tracks = own.collector.tracks()

    # Labels outside the scored time or of other detectors' assets do not count. Those of assets not scored in it do.
    scored = {track.asset: (int(track.ends[0]), int(track.ends[-1])) for track in tracks}
    first = min((begin for begin, _ in scored.values()), default=0)
    last = max((end for _, end in scored.values()), default=-1)
    came = replay.intake.unwanted.union(*(each.watched for each in replay.detectors.values()))

    def watched(asset: str) -> bool:
        return asset in own.watched if asset in came else settings.route().wants(asset)

    mine = [label for label in labels or () if watched(label.asset)]
    before = tuple(label for label in mine if label.end <= scored.get(label.asset, (first, last))[0])
    after = tuple(label for label in mine if label not in before and label.start > last)
    counted = tuple(label for label in mine if label not in before and label not in after)
    grace_ms = settings.windows.length * settings.windows.step_ms
    evaluation = None if labels is None else match([each.span for each in alerts], counted, grace_ms)

    days = sum(len(track.ends) for track in tracks) * settings.windows.step_ms / DAY_MS

    # Curves need labelled windows and others.
    found = suggestion = None
    if counted and tracks:
        on = np.concatenate([labelled(track, counted) for track in tracks])
        if 0 < np.count_nonzero(on) < len(on):
            found = curves(np.concatenate([track.score for track in tracks]), on)
            suggestion = _suggest(tracks, on, settings.threshold.margin)

    return EvaluatedDetector(
        replay=own,
        names=replay.names,
        tracks=tracks,
        sample=own.collector.sample(),
        alerts=alerts,
        figures=figures(alerts, evaluation, days, last),
        labels=counted,
        before=before,
        after=after,
        others=tuple(label for label in labels or () if not watched(label.asset)),
        unseen=tuple(label for label in counted if not _within(label, scored)),
        evaluation=evaluation,
        curves=found,
        suggestion=suggestion,
        unscored="" if tracks else _why_unscored(own, replay.intake),
    )


def _why_unscored(detector: DetectorReplay, intake: Intake) -> str:
    """Return why a detector has no score."""
    if detector.scorer is None:
        return detector.unlearned
    if detector.learned:
        rest = intake.messages - detector.learned_after
        return (
            f"the model was learned from the first {detector.learned_after} of {intake.messages} messages, and in the "
            f"other {rest} no window was complete; give a longer recording, or lower training.first_steps"
        )
    windows = detector.settings.windows
    reasons = why_no_windows(intake.of(detector.settings.name), windows, detector.scorer.model.channels)
    return f"{intake.messages} messages gave no window of {windows.length} steps of {windows.step_s:g} s: {reasons}"


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


def _suggest(tracks: Sequence[Track], on: Bools, margin: float) -> Suggestion:
    """Express the best limit as the percentile of unlabelled alarm scores that gives it with this margin.

    `on` (B,) marks the labelled windows of all tracks in their order. They are left out: a recording of faults has many
    more of them than the plant will have, and their alarm scores enter an asset's ring clipped.
    """
    alarm = np.concatenate([track.alarm for track in tracks])
    found = curves(alarm, on)
    best = found.best()
    level = float(found.level[best])
    percentile = 100 * float(np.mean(alarm[~on] < level / margin))
    return Suggestion(level, float(found.f1[best]), percentile, 50 <= percentile <= 99.999)
