"""The report's part about scores: distribution, separation of labelled windows, and a map of the latent space."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from monitor.backtest.evaluate import EvaluatedDetector, firing, labelled
from monitor.backtest.latent_map import flat_map
from monitor.backtest.report.charts import curve, distribution, dots
from monitor.backtest.report.words import number


@dataclass(frozen=True, slots=True)
class Card:
    """A square chart with its figure and its explanation."""

    title: str
    picture: Markup
    figure: str
    about: str
    legend: Sequence[tuple[str, str]] = ()


def scores_part(detector: EvaluatedDetector) -> dict[str, Any]:
    """Return the distribution, the curves where there are labels, and the map."""
    return {"distribution": _distribution(detector), "cards": [*_curves(detector), _map(detector)]}


def _distribution(detector: EvaluatedDetector) -> dict[str, Any]:
    tracks = detector.tracks
    alarm = np.concatenate([track.alarm for track in tracks])
    on = np.concatenate([labelled(track, detector.labels) for track in tracks])
    limits = np.concatenate([track.threshold for track in tracks])

    least, middle, most = float(limits.min()), float(np.median(limits)), float(limits.max())
    picture, axis = distribution(alarm, on, (least, middle, most), "distribution of alarm scores")

    legend = [("seen", "windows"), ("limit", f"threshold: {number(middle)}, from {number(least)} to {number(most)}")]
    legend += [("label", "labelled windows")] if on.any() else []
    below = 100 * float(np.mean(alarm <= limits))
    return {
        "picture": picture,
        "axis": (number(10**axis.low), "alarm score, logarithmic", number(10**axis.high)),
        "legend": legend,
        "about": f"{below:.3f} % of all windows lie at or below their threshold. "
        "Bars grow with the square root of the number.",
    }


def _curves(detector: EvaluatedDetector) -> list[Card]:
    """Return precision over recall and ROC; nothing where no window is labelled."""
    found, best = detector.curves, detector.suggestion
    if found is None or best is None:
        return []

    place = found.best()
    recall, precision, false = found.recall, found.precision, found.false_positive
    over = curve(recall, precision, (recall[place], precision[place]), "precision over recall")
    roc = curve(
        np.append(0, false), np.append(0, recall), (false[place], recall[place]), "true over false positive rate"
    )

    margin = number(detector.replay.settings.threshold.margin)
    advice = (
        f"The dot is the limit of the score with the highest F1 ({found.f1[place]:.2f}). Of the alarm score it is "
        f"{number(best.level)} (F1 {best.f1:.2f}), which threshold.percentile = {best.percentile:.3f} gives with "
        f"threshold.margin = {margin}."
    )
    if not best.possible:
        advice += " threshold.percentile does not accept this value. Change threshold.margin instead."
    caveat = (
        "Each window counts as one, with one limit for all. Alerts also wait for alerting.on_delay_s, and limits "
        "follow their asset."
    )
    return [
        Card("Precision (up) over recall", over, f"Average precision {found.average_precision:.3f}.", advice),
        Card("True (up) over false positive rate: ROC", roc, f"Area {found.area:.3f}; 0.5 would be chance.", caveat),
    ]


def _map(detector: EvaluatedDetector) -> Card:
    flat, shares = flat_map(detector.sample.means)
    picture = dots(flat, _groups(detector), "map of the latent space")
    legend = [("seen", "windows"), ("alert", "during an alert")]
    legend += [("label", "labelled, no alert")] if detector.labels else []
    about = (
        f"{len(flat)} windows by the model's mean, on the two axes along which they differ most: {shares[0]:.0%} and "
        f"{shares[1]:.0%} of the variance."
    )
    return Card("Map of the latent space", picture, "", about, legend)


def _groups(detector: EvaluatedDetector) -> Sequence[tuple[str, np.ndarray]]:
    """Return masks (S,) of sampled windows: calm, labelled without an alert, and within an alert."""
    sample = detector.sample
    fired = np.zeros(len(sample.ends), np.bool_)
    known = np.zeros(len(fired), np.bool_)

    for track in detector.tracks:
        own = np.array([asset == track.asset for asset in sample.asset], np.bool_)
        row = np.searchsorted(track.ends, sample.ends[own])
        fired[own] = firing(track, detector.alerts)[row]
        known[own] = labelled(track, detector.labels)[row]
    return (("calm", ~fired & ~known), ("known", known & ~fired), ("fired", fired))
