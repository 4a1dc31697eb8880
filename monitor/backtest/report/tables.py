"""The report's tables and key figures: alerts, labels, the comparison with another replay, counts and settings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from monitor.backtest.alerts import AlertHistory
from monitor.backtest.compare import Pair
from monitor.backtest.report.words import NONE, at, lasting, number
from monitor.backtest.together import EvaluatedReplay
from monitor.core.alerts.words import in_words
from monitor.core.decode.names import Names
from monitor.core.records import NEW_MODE
from monitor.evaluation.matching import LabelRow
from monitor.settings.load import render
from monitor.settings.tree import Settings

ROWS = 200  # of a table; more alerts than this call for another threshold, not for a longer table
LEAST_SHARE = 0.01  # of an alert's score, for a channel to be named in the table
CHANNELS = 3  # named in the table, at most
_DETECTOR = 2  # its column in the table of alerts
# Sections of settings that affect alerts.
SECTIONS = {"format", "select", "windows", "model", "training", "threshold", "alerting"}

_FALSE = Markup('<span class="bad">false</span>')
_MISSED = Markup('<span class="bad">missed</span>')


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as texts; `total` counts the rows before the table was cut."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    classes: Sequence[str] = ()  # of the columns; empty = none
    total: int = 0


def head_part(replay: EvaluatedReplay) -> dict[str, Any]:
    """Return the scored time, the model, the key figures and what went wrong while reading."""
    made, together = replay.replay, replay.together
    tracks = [track for each in replay.detectors for track in each.tracks]
    tiles = [
        (number(together.alerts), "alerts"),
        (number(together.per_day), "alerts per asset and day"),
        (number(len({track.asset for track in tracks})), "assets scored"),
        (number(sum(len(track.ends) for track in tracks)), "windows scored"),
        (number(made.intake.counts.get("readings", 0)), "readings"),
    ]

    if together.labels is not None:
        tiles += [
            (f"{together.found} of {together.labels}", "labels found"),
            (number(together.labels - together.found), "labels missed"),
            (number(together.false), "false alerts"),
            (number(together.false_per_day), "false alerts per asset and day"),
            (lasting(together.delay_ms), "median delay"),
        ]
    tiles.append((lasting(together.alarm_ms), "in alarm"))
    if together.silences:
        tiles.append((number(together.silences), "alerts of silence"))

    problems = [f"{part.topic}[{part.number}] stopped: {reason}" for part, reason in made.stopped.items()]
    problems += [f"{each.name}: nothing was scored: {each.unscored}" for each in replay.detectors if each.unscored]
    if made.intake.rejected or made.intake.skipped:
        problems.append(made.intake.said())

    return {
        "begin": at(int(min(track.ends[0] for track in tracks))),
        "end": at(int(max(track.ends[-1] for track in tracks))),
        "model": replay.detectors[0].model if len(replay.detectors) == 1 else "",
        "tiles": tiles,
        "problems": problems,
    }


def alerts_table(replay: EvaluatedReplay) -> Table:
    """Return a row for each alert, and with labels whether the alert is false."""
    head = ["fired", "asset", "severity", "cause", "lasted", "peak", "channels"]
    classes = ["time", "name", "", "name", "", "", "wide"]
    rows = [_alert_row(each, replay.replay.names) for each in replay.alerts[:ROWS]]

    if len(replay.detectors) > 1:
        head.insert(_DETECTOR, "detector")
        classes.insert(_DETECTOR, "name")
        for row, each in zip(rows, replay.alerts[:ROWS], strict=True):
            row.insert(_DETECTOR, f"{each.span.detector}{', linked' if each.first.linked else ''}")
    if replay.evaluation is not None:
        words = {span.id: _FALSE for span in replay.evaluation.false}
        words |= dict.fromkeys((span.id for span in replay.evaluation.silent), Markup("silence"))
        head.append("label")
        classes.append("")
        rows = [[*row, words.get(each.span.id, "yes")] for row, each in zip(rows, replay.alerts[:ROWS], strict=True)]
    return Table(head, rows, classes, len(replay.alerts))


def _alert_row(each: AlertHistory, names: Names) -> list[str]:
    shares = [share for share in each.first.channels[:CHANNELS] if share.contribution >= LEAST_SHARE]
    channels = ", ".join(
        f"{share.label(names.channel_name(share.channel))} {share.contribution:.0%}" for share in shares
    )
    lasted = "to the end" if each.end is None else lasting(each.end - each.begin)
    fault = each.first.fault
    cause = f"{each.first.cause}, {in_words(fault, each.first.alarm)}" if fault else each.first.cause
    if each.first.cause == NEW_MODE:
        cause = f"new mode {each.first.mode}".rstrip()
    asset, peak = names.asset_name(each.span.asset), number(each.last.peak)
    return [at(each.span.start), asset, each.last.severity, cause, lasted, peak, channels]


def labels_part(replay: EvaluatedReplay) -> dict[str, Any] | None:
    """Return a row for each label, found or missed; None where no labels were given."""
    if replay.evaluation is None:
        return None

    several = len(replay.detectors) > 1
    rows = [
        [
            at(row.label.start),
            lasting(row.label.end - row.label.start),
            row.label.asset,
            row.label.kind or NONE,
            _outcome(row),
            lasting(row.delay_ms),
            *([row.detector] if several else []),
        ]
        for row in replay.evaluation.rows[:ROWS]
    ]
    head = ("from", "lasts", "asset", "kind", "", "delay", *(["detector"] if several else []))
    table = Table(head, rows, ("time", "time", "name", "", "", "", "name")[: len(head)], len(replay.evaluation.rows))
    apart = {"before": replay.before, "after": replay.after, "others": replay.others, "unseen": len(replay.unseen)}
    return {"table": table, **apart}


def _outcome(row: LabelRow) -> str:
    if not row.found:
        return _MISSED
    return "already firing" if row.already else "found"


def comparison_part(here: EvaluatedReplay, name: str, there: EvaluatedReplay, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return both sides' figures, the settings that differ, and the alerts that only one side has or has earlier."""
    counts = Counter(pair.kind for pair in pairs)
    changed = [pair for pair in pairs if pair.kind != "same"]
    sides = Table(
        ("", "alerts", "per asset and day", "labels found", "false"),
        [_side("here", here), _side(name, there)],
        ("name", "", "", "", ""),
    )
    shifted = Table(
        ("", "fired", "asset", "by", "peak", "channel"),
        [_pair_row(pair) for pair in changed[:ROWS]],
        ("", "time", "name", "", "", ""),
        len(changed),
    )
    return {
        "name": name,
        "tiles": [(number(counts[kind]), kind) for kind in ("gained", "lost", "earlier", "later", "same")],
        "sides": sides,
        "settings": _differences(here, there),
        "pairs": shifted,
    }


def _side(name: str, replay: EvaluatedReplay) -> list[str]:
    figures = replay.together
    hits = NONE if figures.labels is None else f"{figures.found} of {figures.labels}"
    false = NONE if figures.labels is None else number(figures.false)
    return [name, number(figures.alerts), number(figures.per_day), hits, false]


def _pair_row(pair: Pair) -> list[str]:
    each = pair.either
    shift = NONE if pair.shift_ms is None else lasting(pair.shift_ms)
    return [
        pair.kind,
        at(each.span.start),
        each.span.asset,
        shift,
        number(each.last.peak),
        each.span.channel or NONE,
    ]


def _differences(here: EvaluatedReplay, there: EvaluatedReplay) -> Table:
    """Return the settings that affect alerts and differ, of each detector that both sides have, or of the only ones."""
    mine, other = ({each.name: each.replay.settings for each in side.detectors} for side in (here, there))
    both = [(f"{name}: ", mine[name], other[name]) for name in mine if name in other]
    if len(mine) == len(other) == 1:
        both = [("", next(iter(mine.values())), next(iter(other.values())))]
    rows = []
    for lead, one, two in both:
        values = dict(_lines(two))
        rows += [[f"{lead}{key}", value, values[key]] for key, value in _lines(one) if value != values.get(key)]
    return Table(("setting", "here", "there"), rows)


def _lines(settings: Settings) -> list[tuple[str, str]]:
    """Return key and value of every setting that affects alerts."""
    section = ""
    found = []
    for line in render(settings).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section in SECTIONS and " = " in line:
            name, _, value = line.partition(" = ")
            found.append((f"{section}.{name}", value))
    return found


def made_part(replay: EvaluatedReplay) -> dict[str, Any]:
    """Return durations, counts and settings of the replay."""
    made = replay.replay
    rate = made.intake.counts.get("readings", 0) / max(made.seconds - made.training_s, 1e-9)
    counts = [[name, number(count)] for name, count in made.intake.counts.items() if count]
    return {
        "seconds": f"{made.seconds:.1f}",
        "training_s": f"{made.training_s:.1f}",
        "rate": f"{rate:,.0f}",
        "counts": Table(("count", "number"), counts),
        "settings": [
            (each.name if len(replay.detectors) > 1 else "", Table(("setting", "value"), _lines(each.replay.settings)))
            for each in replay.detectors
        ],
    }
