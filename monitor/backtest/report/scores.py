"""The report's part about scores: how they are distributed, how they separate labels, and where windows lie."""

from collections.abc import Sequence

import numpy as np

from monitor.backtest.judge import Judged, firing, labelled
from monitor.backtest.latent_map import flat_map
from monitor.backtest.report.charts import curve, distribution, dots
from monitor.backtest.report.html import key, number, text


def scores_part(judged: Judged) -> str:
    """Distribution, curves where there are labels, and the map."""
    tracks = judged.tracks
    score = np.concatenate([track.score for track in tracks])
    on = np.concatenate([labelled(track, judged.labels) for track in tracks])
    limits = np.concatenate([track.threshold for track in tracks])
    three = (float(limits.min()), float(np.median(limits)), float(limits.max()))
    chart, axis = distribution(score, on, three, "distribution of scores")
    words = (number(10**axis.low), "score, logarithmic", number(10**axis.high))
    ends = f'<div class="axis">{"".join(f"<span>{word}</span>" for word in words)}</div>'
    legend = [
        ("seen", "windows"),
        ("limit", f"threshold: {number(three[1])}, from {number(three[0])} to {number(three[2])}"),
    ]
    legend += [("label", "labelled windows")] if on.any() else []
    below = f"{100 * float(np.mean(score <= limits)):.3f} % of all windows lie at or below their threshold."
    about = f'<p class="soft">{below} Bars grow with the square root of the number.</p>'
    return (
        f'<h2>Scores</h2><div class="card wide-chart">{chart}{ends}{key(legend)}{about}</div>'
        f'<div class="square">{_curves(judged)}{_map(judged)}</div>'
    )


def _curves(judged: Judged) -> str:
    found, best = judged.curves, judged.suggestion
    if found is None or best is None:
        return ""
    place = found.best()
    recall, precision, false = found.recall, found.precision, found.false_positive
    over = curve(recall, precision, (recall[place], precision[place]), "precision over recall")
    roc = curve(
        np.append(0, false), np.append(0, recall), (false[place], recall[place]), "true over false positive rate"
    )
    advice = (
        f"The dot is the limit with the highest F1 ({best.f1:.2f}): a score of {number(best.level)}, which "
        f"threshold.percentile = {best.percentile:.3f} gives with threshold.margin = "
        f"{number(judged.replay.settings.threshold.margin)}."
    )
    if not best.possible:
        advice += " That lies outside of what threshold.percentile accepts, so turn threshold.margin instead."
    caveat = (
        "Each window counts as one, with one limit for all. Alerts also wait for alerting.on_delay_s, and limits "
        "follow their asset."
    )
    area = f"Area {found.area:.3f}; 0.5 would be chance."
    average = f"Average precision {found.average_precision:.3f}."
    return _card("Precision (up) over recall", over, average, advice) + _card(
        "True (up) over false positive rate: ROC", roc, area, caveat
    )


def _map(judged: Judged) -> str:
    places = judged.places
    flat, shares = flat_map(places.means)
    groups = _groups(judged)
    picture = dots(flat, groups, "map of the latent space")
    legend = [("seen", "windows"), ("alert", "while an alert was on")]
    legend += [("label", "labelled, no alert")] if judged.labels else []
    about = (
        f"{len(flat)} windows by the model's mean, on the two axes along which they differ most: {shares[0]:.0%} and "
        f"{shares[1]:.0%} of the variance."
    )
    return _card("Map of the latent space", picture + key(legend), "", about)


def _card(title: str, picture: str, figure: str, about: str) -> str:
    """A square picture, the figure that sums it up, and what is to be known of it."""
    figure = f"<p>{text(figure)}</p>" if figure else ""
    return f'<div class="card"><h3>{text(title)}</h3>{picture}{figure}<p class="soft">{text(about)}</p></div>'


def _groups(judged: Judged) -> Sequence[tuple[str, np.ndarray]]:
    """Sampled windows (S,) that were calm, labelled without an alert, and within an alert."""
    fired = np.zeros(len(judged.places.ends), np.bool_)
    known = np.zeros(len(fired), np.bool_)
    for track in judged.tracks:
        own = np.array([asset == track.asset for asset in judged.places.asset], np.bool_)
        row = np.searchsorted(track.ends, judged.places.ends[own])
        fired[own] = firing(track, judged.told)[row]
        known[own] = labelled(track, judged.labels)[row]
    return (("calm", ~fired & ~known), ("known", known & ~fired), ("fired", fired))
