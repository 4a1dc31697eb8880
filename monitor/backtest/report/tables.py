"""The report's tables and key figures: alerts, labels, the comparison with another replay, counts and settings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from monitor.backtest.evaluate import AlertHistory, EvaluatedReplay, Pair
from monitor.backtest.report.words import NONE, at, lasting, number
from monitor.core.alerts.words import in_words
from monitor.core.decode.names import Names
from monitor.core.records import NEW_MODE
from monitor.evaluation.matching import LabelRow
from monitor.settings.load import render
from monitor.settings.tree import Settings

ROWS = 200  # of a table; more alerts than this call for another threshold, not for a longer table
LEAST_SHARE = 0.01  # of an alert's score, for a channel to be named in the table
CHANNELS = 3  # named in the table, at most
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
    made, found = replay.replay, replay.evaluation
    tiles = [
        (number(len(replay.alerts) - replay.silences), "alerts"),
        (number(replay.per_day), "alerts per asset and day"),
        (number(len(replay.tracks)), "assets scored"),
        (number(sum(len(track.ends) for track in replay.tracks)), "windows scored"),
        (number(made.intake.counts.get("readings", 0)), "readings"),
    ]

    if found is not None:
        hits = sum(row.found for row in found.rows)
        tiles += [
            (f"{hits} of {len(found.rows)}", "labels found"),
            (number(len(found.rows) - hits), "labels missed"),
            (number(len(found.false)), "false alerts"),
            (lasting(replay.delay_ms), "median delay"),
        ]

    if replay.silences:
        tiles.append((number(replay.silences), "alerts of silence"))

    problems = [f"{part.topic}[{part.number}] stopped: {reason}" for part, reason in made.stopped.items()]
    if made.intake.rejected or made.intake.skipped:
        problems.append(made.intake.said())

    return {
        "begin": at(int(min(track.ends[0] for track in replay.tracks))),
        "end": at(int(max(track.ends[-1] for track in replay.tracks))),
        "model": made.learned or (made.scorer.model.version if made.scorer else ""),
        "tiles": tiles,
        "problems": problems,
    }


def alerts_table(replay: EvaluatedReplay) -> Table:
    """Return a row for each alert, and with labels whether the alert is false."""
    head = ["fired", "asset", "severity", "cause", "lasted", "peak", "channels"]
    classes = ["time", "name", "", "", "", "", "wide"]
    rows = [_alert_row(each, replay.replay.names) for each in replay.alerts[:ROWS]]

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
    cause = f"{each.first.cause}, {in_words(fault, each.first.score)}" if fault else each.first.cause
    if each.first.cause == NEW_MODE:
        cause = f"new mode {each.first.mode}".rstrip()
    asset, peak = names.asset_name(each.span.asset), number(each.last.peak)
    return [at(each.span.start), asset, each.last.severity, cause, lasted, peak, channels]


def labels_part(replay: EvaluatedReplay) -> dict[str, Any] | None:
    """Return a row for each label, found or missed; None where no labels were given."""
    if replay.evaluation is None:
        return None

    rows = [
        [
            at(row.label.start),
            lasting(row.label.end - row.label.start),
            row.label.asset,
            row.label.kind or NONE,
            _outcome(row),
            lasting(row.delay_ms),
        ]
        for row in replay.evaluation.rows[:ROWS]
    ]
    head = ("from", "lasts", "asset", "kind", "", "delay")
    table = Table(head, rows, ("time", "time", "name", "", "", ""), len(replay.evaluation.rows))
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
        "settings": _differences(here.replay.settings, there.replay.settings),
        "pairs": shifted,
    }


def _side(name: str, replay: EvaluatedReplay) -> list[str]:
    found = replay.evaluation
    hits = NONE if found is None else f"{sum(row.found for row in found.rows)} of {len(found.rows)}"
    false = NONE if found is None else number(len(found.false))
    return [name, number(len(replay.alerts) - replay.silences), number(replay.per_day), hits, false]


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


def _differences(here: Settings, there: Settings) -> Table:
    """Return the settings that affect alerts and differ."""
    mine, other = (dict(_lines(settings)) for settings in (here, there))
    rows = [[name, mine[name], other[name]] for name in mine if mine[name] != other.get(name)]
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
        "settings": Table(("setting", "value"), _lines(made.settings)),
    }
