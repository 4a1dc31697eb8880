"""The report's part about each asset: a table of all, and charts of as many as the file has room for.

The assets with most to see come first: labels missed, false alerts, alerts, then the highest ratio. Assets beyond ROOM
bytes of charts are in the table only, and the report says so.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Template
from markupsafe import Markup

from monitor.backtest.alerts import AlertHistory
from monitor.backtest.evaluate import EvaluatedDetector, firing, labelled
from monitor.backtest.figures import DAY_MS
from monitor.backtest.report.charts import BINS, alarm_chart, bins, channel_chart, marks
from monitor.backtest.report.tables import Table
from monitor.backtest.report.words import at, number
from monitor.backtest.tracks import Track
from monitor.settings.live import live_settings, rules_of

ROOM = 3_800_000  # bytes of charts: with the rest of the report it stays below 5 MB, which a phone still opens
OPEN = 12  # channels shown at once; more are folded away
AXIS = 3  # times below the charts: begin, middle, end
STRIP = 10  # height of the labels' strip at the top of a chart

LEGEND = (
    ("seen", "read, or alarm score"),
    ("band", "expected ± 2 spreads"),
    ("limit", "threshold"),
    ("alert", "alert"),
    ("label", "label (strip at the top)"),
)


def assets_part(detector: EvaluatedDetector, section: Template, place: int = 0, of: int = 1) -> dict[str, Any]:
    """Return the table of all assets and the rendered charts; `section` is the template of one asset.

    It is the detector at this place of so many, which share the room.
    """
    order = sorted(detector.tracks, key=lambda track: _interest(detector, track), reverse=True)

    sections: list[Markup] = []
    left = ROOM // of
    anchor = "asset" if of == 1 else f"detector-{place}-asset"
    for index, track in enumerate(order):
        rendered = section.render(_charts(detector, track, f"{anchor}-{index}"))
        if len(rendered) > left and sections:
            break
        left -= len(rendered)
        sections.append(Markup(rendered))  # noqa: S704 - the template has escaped it

    longest = max(len(track.ends) for track in order)
    return {
        "table": _table(detector, order, anchor, len(sections)),
        "sections": sections,
        "left_out": len(order) - len(sections),
        "thinned": f"{longest / BINS:.1f}" if longest > BINS else "",
        "legend": LEGEND,
    }


def _interest(detector: EvaluatedDetector, track: Track) -> tuple[float, ...]:
    alerts = len(_alerts(detector, track))
    return _missed(detector, track), _false(detector, track), alerts, track.highest_ratio


def _alerts(detector: EvaluatedDetector, track: Track) -> list[AlertHistory]:
    return [each for each in detector.alerts if each.span.asset == track.asset]


def _missed(detector: EvaluatedDetector, track: Track) -> int:
    rows = detector.evaluation.rows if detector.evaluation else ()
    return sum(row.label.asset == track.asset and not row.found for row in rows)


def _false(detector: EvaluatedDetector, track: Track) -> int:
    return detector.evaluation.false_by_asset().get(track.asset, 0) if detector.evaluation else 0


def _table(detector: EvaluatedDetector, order: Sequence[Track], anchor: str, shown: int) -> Table:
    """Return a row for each asset; the first `shown` are links to their charts."""
    head = ["asset", "scored steps", "alerts", "a day", "highest ratio"]
    head += ["labels", "found", "false"] if detector.evaluation else []

    rows = []
    for index, track in enumerate(order):
        name = detector.names.asset_name(track.asset)
        link = Markup('<a href="#{}">{}</a>').format(f"{anchor}-{index}", name)
        rows.append([link if index < shown else name, *_figures(detector, track)])
    return Table(head, rows, ("name", *[""] * (len(head) - 1)))


def _figures(detector: EvaluatedDetector, track: Track) -> list[str]:
    days = len(track.ends) * detector.replay.settings.windows.step_ms / DAY_MS
    alerts = len(_alerts(detector, track))
    cells = [number(len(track.ends)), number(alerts), number(alerts / days), number(track.highest_ratio)]

    if detector.evaluation:
        own = [row for row in detector.evaluation.rows if row.label.asset == track.asset]
        cells += [number(len(own)), number(sum(row.found for row in own)), number(_false(detector, track))]
    return cells


def _charts(detector: EvaluatedDetector, track: Track, anchor: str) -> dict[str, Any]:
    """Return the values of the template for one asset; `anchor` is the id of its section."""
    begin, end = int(track.ends[0]), int(track.ends[-1])
    place = bins(track.ends, begin, end)
    own = _alerts(detector, track)

    # Alerts cover the whole height, labels are a strip at the top.
    spans = marks(firing(track, own), place, "alert")
    spans += marks(labelled(track, detector.labels), place, "label", height=STRIP)

    channels = [_channel(detector, track, column, place, spans) for column in _order(detector, own)]
    name = detector.names.asset_name(track.asset)
    return {
        "anchor": anchor,
        "alerts": len(own),
        "name": name,
        "ratio": number(track.highest_ratio),
        "alarm": alarm_chart(place, track.alarm, track.threshold, spans, f"alarm score and threshold of {name}"),
        "channels": channels[:OPEN],
        "folded": channels[OPEN:],
        "axis": [at(begin + (end - begin) * part // (AXIS - 1)) for part in range(AXIS)],
    }


def _order(detector: EvaluatedDetector, own: Sequence[AlertHistory]) -> list[int]:
    """Return the columns of channels; where some are folded away, by their part in the asset's alerts."""
    names = detector.channels
    part = dict.fromkeys(names, 0.0)
    for each in own:
        for share in each.first.channels:
            part[share.channel] = part.get(share.channel, 0.0) + share.contribution

    if len(names) <= OPEN:
        return list(range(len(names)))
    return sorted(range(len(names)), key=lambda column: -part[names[column]])


def _channel(
    detector: EvaluatedDetector, track: Track, column: int, place: np.ndarray, spans: Markup
) -> dict[str, Any]:
    """Return name, range and chart of one channel."""
    rule = rules_of(live_settings(detector.replay.settings)).channel(detector.channels[column])
    name = detector.names.channel_name(detector.channels[column])
    name = f"{rule.title} ({name})" if rule.title else name
    expected, spread = track.expected[:, column], track.spread[column]
    newest = track.newest[:, column]
    band = (expected - 2 * spread, expected + 2 * spread)
    picture = channel_chart(place, newest, band, spans, f"{name}, read and expected")

    measured = newest[~np.isnan(newest)]
    about = "not measured"
    if len(measured):
        about = f"{number(float(measured.min()), 4)} … {number(float(measured.max()), 4)} {rule.unit}".rstrip()
    return {"name": name, "about": about, "picture": picture}
