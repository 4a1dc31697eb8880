"""The report's part about each asset: a table of all, and charts of as many as the file has room for.

The charts of those with most to see come first: labels missed, false alarms, alerts, then the highest ratio. What does
not fit into ROOM bytes is in the table only, and the report says so.
"""

from collections.abc import Sequence

import numpy as np

from monitor.backtest.judge import DAY_MS, AlertHistory, Judged, firing, labelled
from monitor.backtest.report.charts import BINS, bins, channel_chart, marks, score_chart
from monitor.backtest.report.html import Html, anchor, at, key, number, table, text
from monitor.backtest.tracks import Track

ROOM = 3_800_000  # bytes of charts: with the rest of the report it stays below 5 MB, which a phone still opens
OPEN = 12  # channels shown at once; more are folded away

_LEGEND = (
    ("seen", "read, or score"),
    ("band", "expected ± 2 spreads"),
    ("limit", "threshold"),
    ("alert", "alert"),
    ("label", "label (strip at the top)"),
)


def assets_part(judged: Judged) -> Html:
    """The table and the charts."""
    order = sorted(judged.tracks, key=lambda track: _interest(judged, track), reverse=True)
    charts: list[str] = []
    shown: set[str] = set()
    left = ROOM
    for index, track in enumerate(order):
        section = _section(judged, track, index)
        if len(section) > left and charts:
            break
        left -= len(section)
        charts.append(section)
        shown.add(track.asset)
    rest = len(order) - len(charts)
    more = f"<p>Charts of the {len(charts)} assets with most to see; {rest} more have no room here.</p>" if rest else ""
    longest = max(len(track.ends) for track in order)
    thinned = (
        f"<p class=soft>Thinned for drawing: of each {longest / BINS:.1f} steps, the least and the greatest value.</p>"
        if longest > BINS
        else ""
    )
    return Html(
        f"<h2>Assets</h2>{_table(judged, order, shown)}<h2>Charts</h2>{more}{thinned}{key(_LEGEND)}{''.join(charts)}"
    )


def _interest(judged: Judged, track: Track) -> tuple[float, ...]:
    missed, false = _missed(judged, track), _false(judged, track)
    alerts = sum(each.span.asset == track.asset for each in judged.told)
    return missed, false, alerts, float((track.score / track.threshold).max())


def _missed(judged: Judged, track: Track) -> int:
    rows = judged.verdict.rows if judged.verdict else ()
    return sum(row.label.asset == track.asset and not row.found for row in rows)


def _false(judged: Judged, track: Track) -> int:
    return judged.verdict.false_by_asset().get(track.asset, 0) if judged.verdict else 0


def _table(judged: Judged, order: Sequence[Track], shown: set[str]) -> Html:
    step_ms, verdict = judged.replay.settings.windows.step_ms, judged.verdict
    head = [
        "asset",
        "scored steps",
        "alerts",
        "a day",
        "highest ratio",
        *(("labels", "found", "false") if verdict else ()),
    ]
    rows = []
    for index, track in enumerate(order):
        told = sum(each.span.asset == track.asset for each in judged.told)
        days = len(track.ends) * step_ms / DAY_MS
        name = text(track.asset)
        link = Html(f'<a href="#{anchor(index)}">{name}</a>') if track.asset in shown else name
        cells = [
            link,
            number(len(track.ends)),
            number(told),
            number(told / days),
            number(float((track.score / track.threshold).max())),
        ]
        if verdict:
            own = [row for row in verdict.rows if row.label.asset == track.asset]
            found = sum(row.found for row in own)
            cells += [number(len(own)), number(found), number(_false(judged, track))]
        rows.append(cells)
    return table(head, rows, ("name", *[""] * (len(head) - 1)))


def _section(judged: Judged, track: Track, index: int) -> str:
    begin, end = int(track.ends[0]), int(track.ends[-1])
    place = bins(track.ends, begin, end)
    own = [each for each in judged.told if each.span.asset == track.asset]
    spans = _spans(judged, track, own, place)
    ratio = float((track.score / track.threshold).max())
    name = text(track.asset)
    score = score_chart(place, track.score, track.threshold, spans, f"score and threshold of {name}")
    about = (
        f'<p>score and threshold<br><span class="soft">logarithmic; at most {number(ratio)} times the limit</span></p>'
    )
    parts = [
        f'<section class="card" id="{anchor(index)}" data-alerts="{len(own)}"><h3>{name}</h3>',
        f'<div class="chart score">{about}<div>{score}</div></div>',
    ]
    charts = [_channel(judged, track, c, place, spans) for c in _order(judged, own)]
    middle = [at(begin + (end - begin) * part // 2) for part in range(3)]
    axis = (
        f'<div class="chart"><p></p><div class="axis">{"".join(f"<span>{when}</span>" for when in middle)}</div></div>'
    )
    folded = charts[OPEN:]
    more = f"<details><summary>{len(folded)} more channels</summary>{''.join(folded)}</details>" if folded else ""
    return "".join([*parts, *charts[:OPEN], axis, more, "</section>"])


def _spans(judged: Judged, track: Track, own: Sequence[AlertHistory], place: np.ndarray) -> str:
    """Alerts over the whole height, labels as a strip at the top."""
    alerts = marks(firing(track, own), place, "alert")
    return alerts + marks(labelled(track, judged.labels), place, "label", height=10)


def _order(judged: Judged, own: Sequence[AlertHistory]) -> list[int]:
    """Channels by their part in the asset's alerts, the others after them as the model has them."""
    detector = judged.replay.detector
    names = detector.model.channels if detector else ()
    part = dict.fromkeys(names, 0.0)
    for each in own:
        for share in each.first.channels:
            part[share.channel] = part.get(share.channel, 0.0) + share.contribution
    if len(names) <= OPEN:
        return list(range(len(names)))
    return sorted(range(len(names)), key=lambda c: -part[names[c]])


def _channel(judged: Judged, track: Track, c: int, place: np.ndarray, spans: str) -> str:
    assert judged.replay.detector is not None, "there are scores, so there is a detector"
    name = text(judged.replay.detector.model.channels[c])
    expected, spread = track.expected[:, c], track.spread[c]
    newest = track.newest[:, c]
    chart = channel_chart(
        place, newest, (expected - 2 * spread, expected + 2 * spread), spans, f"{name}, read and expected"
    )
    measured = newest[~np.isnan(newest)]
    if not len(measured):
        return f'<div class="chart"><p>{name}<br><span class="soft">not measured</span></p><div>{chart}</div></div>'
    reach = f"{number(float(measured.min()), 4)} … {number(float(measured.max()), 4)}"
    return f'<div class="chart"><p>{name}<br><span class="soft">{reach}</span></p><div>{chart}</div></div>'
