"""The report of a backtest: one HTML file that needs nothing else, neither a network nor a script."""

from collections import Counter
from dataclasses import dataclass
from importlib.resources import files

from monitor.backtest.judge import AlertHistory, Judged, Pair
from monitor.backtest.report.assets import assets_part
from monitor.backtest.report.html import NONE, Html, at, lasting, number, table, text, tile
from monitor.backtest.report.scores import scores_part
from monitor.core.sensors.clocks import in_words
from monitor.settings.load import render
from monitor.settings.tree import Settings

ROWS = 200  # of a table; a person who has so many alerts to look at needs another threshold first


@dataclass(frozen=True, slots=True)
class Compared:
    """The other replay of the same recording."""

    name: str  # what was given as --against
    judged: Judged
    pairs: list[Pair]


def page(title: str, judged: Judged, against: Compared | None) -> str:
    """The whole file. Everything in it that comes from a recording or a configuration is escaped."""
    style = files("monitor.backtest.report").joinpath("report.css").read_text(encoding="utf-8")
    parts = [_head(title, judged), _alerts(judged)]
    parts += [_verdict(judged)] if judged.verdict else []
    parts += [_comparison(against, judged)] if against else []
    parts += [scores_part(judged), assets_part(judged), _how(judged)]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Backtest: {text(title)}</title><style>{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _head(title: str, judged: Judged) -> str:
    replay, verdict = judged.replay, judged.verdict
    begin, end = (f(track.ends[-i] for track in judged.tracks) for f, i in ((min, 0), (max, 1)))
    tiles = [
        tile(number(len(judged.told)), "alerts"),
        tile(number(judged.per_day), "alerts per asset and day"),
        tile(number(len(judged.tracks)), "assets scored"),
        tile(number(sum(len(track.ends) for track in judged.tracks)), "windows scored"),
        tile(number(replay.counts.get("readings", 0)), "readings"),
    ]
    if verdict:
        found = sum(row.found for row in verdict.rows)
        tiles += [
            tile(f"{found} of {len(verdict.rows)}", "labels found"),
            tile(number(len(verdict.rows) - found), "labels missed"),
            tile(number(len(verdict.false)), "false alerts"),
            tile(lasting(judged.delay_ms), "median delay"),
        ]
    model = replay.learned or (replay.detector.model.version if replay.detector else "")
    trouble = "".join(
        f'<p class="bad">{text(part.topic)}[{part.number}] stopped: {text(reason)}</p>'
        for part, reason in replay.poisoned.items()
    )
    if replay.rejected:
        trouble += (
            f'<p class="bad">{number(replay.rejected)} messages could not be read; the first: {text(replay.reason)}</p>'
        )
    return (
        f"<h1>Backtest: {text(title)}</h1>"
        f'<p class="soft">Scored from {at(int(begin))} to {at(int(end))} UTC. Model: {text(model)}.</p>'
        f'<div class="tiles">{"".join(tiles)}</div>{trouble}'
    )


def _alerts(judged: Judged) -> str:
    if not judged.told:
        return "<h2>Alerts</h2><p>None.</p>"
    false = {span.id for span in judged.verdict.false} if judged.verdict else set()
    head = ["fired", "asset", "severity", "cause", "lasted", "peak", "channels"]
    rows = [[*_alert_row(each), *_judgement(each, false, judged)] for each in judged.told[:ROWS]]
    classes = ["time", "name", "", "", "", "", "wide"]
    if judged.verdict:
        head, classes = [*head, "label"], [*classes, ""]
    more = f"<p>The first {ROWS} of {len(judged.told)}.</p>" if len(judged.told) > ROWS else ""
    return (
        f"<h2>Alerts</h2><p class=soft>peak: highest score / threshold. channels: what the alert names.</p>{more}"
        + table(head, rows, classes)
    )


def _alert_row(each: AlertHistory) -> list[str]:
    shares = [share for share in each.first.channels[:3] if share.contribution >= 0.01]
    named = ", ".join(f"{share.channel} {share.contribution:.0%}" for share in shares)
    lasted = "to the end" if each.end is None else lasting(each.end - each.begin)
    cause = f"sensor, {in_words(each.first.fault, each.first.score)}" if each.first.fault else each.first.cause
    return [at(each.span.start), each.span.asset, each.last.severity, cause, lasted, number(each.last.peak), named]


def _judgement(each: AlertHistory, false: set[str], judged: Judged) -> list[str]:
    return [Html('<span class="bad">false</span>') if each.span.id in false else "yes"] if judged.verdict else []


def _verdict(judged: Judged) -> str:
    assert judged.verdict is not None, "the caller looks"
    rows = [
        [
            at(row.label.start),
            lasting(row.label.end - row.label.start),
            row.label.asset,
            row.label.kind or NONE,
            Html('<span class="bad">missed</span>') if not row.found else "already firing" if row.already else "found",
            lasting(row.delay_ms),
        ]
        for row in judged.verdict.rows[:ROWS]
    ]
    more = f"<p>The first {ROWS} of {len(judged.verdict.rows)}.</p>" if len(judged.verdict.rows) > ROWS else ""
    skipped = f" {judged.skipped} lie outside of what was scored and do not count." if judged.skipped else ""
    return (
        "<h2>Labels</h2><p class=soft>Found: an alert was on within the label, or within a window's length after it."
        f" Delay: from the label's start to the alert.{skipped}</p>{more}"
        + table(["from", "lasts", "asset", "kind", "", "delay"], rows, ("time", "time", "name", "", "", ""))
    )


def _comparison(against: Compared, judged: Judged) -> str:
    counts = Counter(pair.kind for pair in against.pairs)
    tiles = "".join(tile(number(counts[kind]), kind) for kind in ("gained", "lost", "earlier", "later", "same"))
    changed = [pair for pair in against.pairs if pair.kind != "same"]
    rows = []
    for pair in changed[:ROWS]:
        each = pair.either
        shift = NONE if pair.shift_ms is None else lasting(pair.shift_ms)
        rows.append(
            [pair.kind, at(each.span.start), each.span.asset, shift, number(each.last.peak), each.span.channel or NONE]
        )
    sides = table(
        ["", "alerts", "per asset and day", "labels found", "false"],
        [_side("here", judged), _side(against.name, against.judged)],
        ("name", "", "", "", ""),
    )
    more = f"<p>The first {ROWS} of {len(changed)}.</p>" if len(changed) > ROWS else ""
    detail = (
        table(["", "fired", "asset", "by", "peak", "channel"], rows, ("", "time", "name", "", "", "")) if rows else ""
    )
    about = (
        "Gained: only here. Lost: only there. Earlier, later: fires so here. Alerts of an asset that were on at the "
        "same time are taken as the same."
    )
    return (
        f'<h2>Against {text(against.name)}</h2><p class="soft">{about}</p><div class="tiles">{tiles}</div>'
        f"{sides}{_differences(judged.replay.settings, against.judged.replay.settings)}{more}{detail}"
    )


def _side(name: str, judged: Judged) -> list[str]:
    verdict = judged.verdict
    found = f"{sum(row.found for row in verdict.rows)} of {len(verdict.rows)}" if verdict else NONE
    false = number(len(verdict.false)) if verdict else NONE
    return [name, number(len(judged.told)), number(judged.per_day), found, false]


def _differences(here: Settings, there: Settings) -> str:
    """The settings that differ, where they bear on alerts."""
    mine, other = (dict(_lines(settings)) for settings in (here, there))
    rows = [[name, mine[name], other[name]] for name in mine if mine[name] != other.get(name)]
    return "<h3>Settings that differ</h3>" + table(["setting", "here", "there"], rows) if rows else ""


def _lines(settings: Settings) -> list[tuple[str, str]]:
    section, found = "", []
    for line in render(settings).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section in {"format", "windows", "model", "training", "threshold", "alerting"} and " = " in line:
            name, _, value = line.partition(" = ")
            found.append((f"{section}.{name}", value))
    return found


def _how(judged: Judged) -> str:
    replay = judged.replay
    rate = replay.counts.get("readings", 0) / max(replay.seconds - replay.training_s, 1e-9)
    counts = table(["count", "number"], [[name, number(count)] for name, count in replay.counts.items() if count])
    settings = table(["setting", "value"], _lines(replay.settings))
    return (
        "<h2>How this came about</h2><p>The stages are those of <code>monitor run</code>, in the same order. Later "
        "retrainings, which come by the clock, are left out. "
        f"Replayed in {replay.seconds:.1f} s, of which {replay.training_s:.1f} s were training; without it, "
        f"{rate:,.0f} readings a second.</p><details><summary>Counts</summary>{counts}</details>"
        f"<details><summary>Settings that bear on alerts</summary>{settings}</details>"
    )
