"""Results of the detection benchmark: evaluates each series, sums up per method and set, formats the figures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from benchmarks.quality import (
    Attribution,
    Bools,
    Doubles,
    Found,
    acf_period,
    attribute,
    auc_pr,
    best_static,
    judge,
    on_share,
    vus_pr,
)
from benchmarks.recordings import Recording

PRODUCT = "product"
HOUR_S = 3600
ROWS_AN_HOUR = 60  # if the period is unknown
TSB = "TSB-AD-M"
KNOWN = "+spans"  # after the name of a set: with the spans of its channels, and in no sum over sets
TITLES = (
    *(
        "series",
        "VUS-PR",
        "AUC-PR",
        "events",
        "recall",
        "prec.",
        "F1",
        "best F1",
        "false/day",
        "distinct",
        "on %",
        "delay",
    ),
    *("hit@100", "hit@150", "top-1", "fit s", "windows/s", "sensors", "s. false"),
)


@dataclass(frozen=True, slots=True)
class Scored:
    """A detector's result for the rows of a test part."""

    score: Doubles  # (T,) NaN = not scored
    firing: Bools  # (T,)
    parts: Doubles | None  # (T, C) each channel's part, NaN = not scored
    train_s: float
    score_s: float
    windows: int
    sensors: Bools | None = None  # (T,) alerts with a sensor as their cause; None = the method has none


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one method on one series."""

    method: str
    set: str
    series: str
    listed: bool  # in TSB-AD-M
    days: float  # 0 = the period is unknown
    vus: float | None  # None = no labels
    auc: float | None
    found: Found
    on: float  # share of unlabelled rows in alarm
    sensors: Found  # by alerts with a sensor as their cause
    best: Found  # with the best constant threshold, chosen by the labels
    attributions: tuple[Attribution, ...]
    train_s: float
    score_s: float
    windows: int


def outcome(method: str, name: str, recording: Recording, listed: bool, scored: Scored) -> Outcome:
    """Evaluate the result of a method on a series."""
    label, period = recording.label[recording.train_end :], recording.period_s
    lowest = np.nanmin(scored.score) if np.isfinite(scored.score).any() else 0.0
    score = np.where(np.isnan(scored.score), lowest, scored.score)

    # An alert that stays on counts again after an hour.
    again = max(1, round(HOUR_S / period)) if period else ROWS_AN_HOUR
    first = recording.values[recording.train_end :, 0]

    return Outcome(
        method=method,
        set=name,
        series=recording.name,
        listed=listed,
        days=len(label) * (period or 0) / 86_400,
        vus=vus_pr(label, score, acf_period(first)) if label.any() else None,
        auc=auc_pr(label, score) if label.any() else None,
        found=judge(label, scored.firing, again),
        on=on_share(label, scored.firing),
        sensors=Found() if scored.sensors is None else judge(label, scored.sensors, again),
        best=best_static(label, score, again),
        attributions=_attributions(recording, scored.parts),
        train_s=scored.train_s,
        score_s=scored.score_s,
        windows=scored.windows,
    )


def _attributions(recording: Recording, parts: Doubles | None) -> tuple[Attribution, ...]:
    """Evaluate the ranking by mean part over each segment. Segments without scores are left out."""
    if parts is None:
        return ()
    found = []
    for each in recording.explained:
        inside = parts[each.first : each.last + 1]
        inside = inside[~np.isnan(inside).any(1)]
        if len(inside):
            found.append(attribute(inside.mean(0), each.channels))
    return tuple(found)


def report(outcomes: Sequence[Outcome]) -> tuple[str, str]:
    """Return a text table, and JSON with every series."""
    methods = list(dict.fromkeys(each.method for each in outcomes))
    summary = {method: _by_set([each for each in outcomes if each.method == method]) for method in methods}
    lines = []
    for method, sets in summary.items():
        width = max(map(len, sets))
        lines += ["", method, " ".join([" " * width, *(f"{title:>9}" for title in TITLES)])]
        lines += [
            " ".join([f"{name:{width}}", *(f"{_shown(value):>9}" for value in row.values())])
            for name, row in sets.items()
        ]
    series = [_flat(each) for each in outcomes]
    return "\n".join(lines[1:]), json.dumps({"summary": summary, "series": series}, indent=1)


def _by_set(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Return figures per set, their means over all sets, and their means over the series of TSB-AD-M."""
    rows, listed = {}, {}
    for name in dict.fromkeys(each.set for each in outcomes):
        rows[name] = _row([each for each in outcomes if each.set == name])
        if some := [each for each in outcomes if each.set == name and each.listed]:
            listed[name] = _row(some)
    found = dict(rows)
    if summed := [row for name, row in rows.items() if not name.endswith(KNOWN)]:
        found["macro"] = _macro(summed)
    if listed:
        found |= {f"{name} in {TSB}": row for name, row in listed.items()}
        found[f"macro in {TSB}"] = _macro(list(listed.values()))
    return found


def _row(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return one line of the table."""
    found, best, sensors = (
        reduce(add, (getattr(each, name) for each in outcomes)) for name in ("found", "best", "sensors")
    )
    named = [part for each in outcomes for part in each.attributions]
    days, seconds = sum(each.days for each in outcomes), sum(each.score_s for each in outcomes)

    values = (
        len(outcomes),
        _mean([each.vus for each in outcomes], 100),
        _mean([each.auc for each in outcomes], 100),
        found.events,
        _mean([found.recall], 100),
        _mean([found.precision], 100),
        _mean([found.f1], 100) if found.events else None,
        _mean([best.f1], 100) if found.events else None,
        found.false / days if days else None,
        found.distinct / days if days else None,
        _mean([each.on for each in outcomes], 100),
        float(np.median(found.delays)) if found.delays else None,
        _mean([each.hit_100 for each in named]),
        _mean([each.hit_150 for each in named]),
        _mean([each.top_1 for each in named]),
        _mean([each.train_s for each in outcomes]),
        sum(each.windows for each in outcomes) / seconds if seconds else None,
        sensors.alarms,
        sensors.false,
    )

    return dict(zip(TITLES, values, strict=True))


def _macro(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over sets; counts are summed."""
    counted = {"series", "events", "sensors", "s. false"}
    return {
        title: sum(row[title] for row in rows) if title in counted else _mean([row[title] for row in rows])
        for title in TITLES
    }


def _mean(values: Sequence[float | None], factor: float = 1) -> float | None:
    known = [value for value in values if value is not None]
    return factor * float(np.mean(known)) if known else None


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _flat(each: Outcome) -> dict[str, Any]:
    """Return a series for JSON, without derived figures."""
    names = ("method", "set", "series", "vus", "auc", "on", "train_s")
    counts = ("events", "found", "alarms", "false", "distinct")
    sensors = {"sensor_alarms": each.sensors.alarms, "sensor_false": each.sensors.false}
    return (
        {name: getattr(each, name) for name in names} | {name: getattr(each.found, name) for name in counts} | sensors
    )
