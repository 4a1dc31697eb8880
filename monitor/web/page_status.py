"""The content of /status.json, made from a `WorkerStatus`. Pure; NaN is written as null.

Its size is bounded for any worker: LIMIT assets, ALERTS alerts with CHANNELS channels each, PARTITIONS lags. The least
urgent are left out, and the totals count them.

    name, version       name of the configuration, version of the program
    time, seen          ms UTC: now, and the last change of the worker's status; seen is null until the loop starts
    ready, reasons      as in /readyz, one text for each condition that does not hold
    assets              one of each detector of an asset: total; names = number of distinct assets; found = assets that
                        match search and detector; states = of the found assets by state; shown = name, detector, state,
                        reason (why it is silent or not scored), newest (ms UTC, time of its newest reading), ratio, and
                        sparkline: the asset's recent ratios, null = not scored
    alerts              total; shown = id, asset, detector, severity, cause, fault, mode, start, ratio, peak, times (ms
                        UTC), and for each channel observed, low, high, contribution and texts as published (empty = it
                        has none), and chart, which may be null: observed and expected at `times`, and width, half of
                        the band around the expected values
    adapted             alerts whose limit rose to the alarm score: total; shown = id, asset, label, detector, severity,
                        start, time (ms UTC, when it adapted), peak, and channel with most of the score, or null
    learning            for each detector: detector, the trainer's status (share, steps, needed, eta_s, running,
                        progress, result), and scores: true with a model
    models              detector, version, and number of partitions that score with it
    quiet               a text for each topic of which whole partitions bring nothing new
    unwanted            readings since the start of assets without a detector: group and readings, the most first
    partitions, lag     number of assigned partitions; messages not read yet, largest lags first
"""

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from heapq import nlargest, nsmallest
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from monitor.core.alerts.words import in_words
from monitor.core.arrays import Doubles
from monitor.core.decode.names import Names
from monitor.core.records import MACHINE, Alert, ChannelShare
from monitor.worker.alert_charts import AlertChart
from monitor.worker.status import STATES, Asset, WorkerStatus

LIMIT = 1000  # assets in a response: 400 kB
ALERTS = 10
CHANNELS = 3
PARTITIONS = 10
GROUPS = 10

_SEARCH_CHARS = 128  # the longest name
_URGENCY = {state: place for place, state in enumerate(reversed(STATES))}  # 0 = most urgent
_SHARE = ("channel", "contribution", "observed", "observed_text", "expected_text", "low", "high", "unit")
_DIGITS = 5  # of a reading, finer than a chart can show


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Assets that a client asks for."""

    search: str = ""  # part of the name, in lower case
    state: str = ""  # empty = all
    detector: str = ""  # empty = all
    limit: int = 200


def read_query(query: str) -> AssetFilter:
    """Parse the query string of a URL. Raises ValueError for unknown, repeated or invalid keys."""
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=4) if query else []
    values = dict(pairs)
    if len(values) < len(pairs) or values.keys() - {"search", "state", "detector", "limit"}:
        raise ValueError("a query has search, state, detector and limit, at most once each")

    search = values.get("search", "")
    state = values.get("state", "")
    detector = values.get("detector", "")
    limit = values.get("limit", "200")

    if len(search) > _SEARCH_CHARS:
        raise ValueError(f"search has {len(search)} characters, at most {_SEARCH_CHARS} are allowed")
    if len(detector) > _SEARCH_CHARS:
        raise ValueError(f"detector has {len(detector)} characters, at most {_SEARCH_CHARS} are allowed")
    if state not in {"", *STATES}:
        raise ValueError(f"state is {state!r}, expected one of {', '.join(STATES)}")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and 1 <= int(limit) <= LIMIT):
        raise ValueError(f"limit is {limit!r}, expected 1 to {LIMIT}")
    return AssetFilter(search.lower(), state, detector, int(limit))


def status(now: WorkerStatus, sparkline: Callable[[str, str], list[float]], wanted: AssetFilter) -> dict[str, Any]:
    """Return the worker's part of /status.json. `sparkline` returns the recent ratios of a detector's asset."""
    lags = nlargest(PARTITIONS, now.lag.items(), key=lambda item: item[1])

    return {
        "assets": _assets(now, sparkline, wanted),
        "alerts": _alerts(now),
        "adapted": _adapted(now),
        "learning": [
            {"detector": name, **asdict(training), "scores": now.scores(name)}
            for name, training in now.training.items()
        ],
        "models": [
            {"detector": detector, "version": version, "partitions": count}
            for (detector, version), count in sorted(now.models.items())
        ],
        "quiet": [each.text() for each in now.quiet[:PARTITIONS]],
        "unwanted": [
            {"group": group, "readings": count}
            for group, count in nlargest(GROUPS, now.unwanted.items(), key=lambda item: item[1])
        ],
        "partitions": now.partitions,
        "lag": {
            "messages": sum(now.lag.values()),
            "partitions": [{"topic": part.topic, "number": part.number, "messages": lag} for part, lag in lags if lag],
        },
    }


def _assets(now: WorkerStatus, sparkline: Callable[[str, str], list[float]], wanted: AssetFilter) -> dict[str, Any]:
    assets, label = now.assets, now.names.asset_name
    found: Sequence[Asset] = assets
    if wanted.search:
        found = [each for each in found if wanted.search in f"{each.name}\n{label(each.name)}".lower()]
    if wanted.detector:
        found = [each for each in found if each.detector == wanted.detector]

    tally = Tally(asset.state for asset in found)
    matching = [asset for asset in found if asset.state == wanted.state] if wanted.state else found

    # The most urgent ones are chosen by ratio and then sorted by name: rows that swap places every two seconds
    # cannot be read.
    shown = nsmallest(wanted.limit, matching, key=lambda asset: (_URGENCY[asset.state], -(asset.ratio or 0.0)))
    shown.sort(key=lambda asset: (_URGENCY[asset.state], asset.name, asset.detector))

    return {
        "total": len(assets),
        "names": len({asset.name for asset in assets}),
        "found": len(found),
        "states": {state: tally[state] for state in reversed(STATES)},
        "shown": [
            {
                "name": asset.name,
                "label": label(asset.name),
                "detector": asset.detector,
                "state": asset.state,
                "reason": asset.reason,
                "newest": asset.newest,
                "ratio": None if asset.ratio is None else round(asset.ratio, 3),
                "sparkline": sparkline(asset.detector, asset.name),
            }
            for asset in shown
        ],
    }


def _alerts(now: WorkerStatus) -> dict[str, Any]:
    """Return the alerts to show: critical ones first, then the newest."""
    shown = nsmallest(ALERTS, now.alerts, key=lambda alert: (alert.severity != "critical", -alert.start, alert.id))
    ratios = {(asset.detector, asset.name): asset.ratio for asset in now.assets} if shown else {}

    return {
        "total": len(now.alerts),
        "shown": [_alert(alert, ratios.get((alert.detector, alert.asset)), now) for alert in shown],
    }


def _adapted(now: WorkerStatus) -> dict[str, Any]:
    """Return the adapted alerts to show, the newest first."""
    shown = nsmallest(ALERTS, now.adapted, key=lambda alert: (-alert.time, alert.id))

    return {
        "total": len(now.adapted),
        "shown": [
            {
                "id": alert.id,
                "asset": alert.asset,
                "label": now.names.asset_name(alert.asset),
                "detector": alert.detector,
                "severity": alert.severity,
                "start": alert.start,
                "time": alert.time,
                "peak": round(alert.peak, 3),
                "channel": now.names.channel_name(alert.channels[0].channel) if alert.channels else None,
            }
            for alert in shown
        ],
    }


def _alert(alert: Alert, ratio: float | None, now: WorkerStatus) -> dict[str, Any]:
    chart = now.charts.get((alert.detector, alert.asset))
    # The record has the values of its last publication, which may be older than the asset's ratio.
    current = alert.ratio if ratio is None or alert.cause != MACHINE else ratio

    return {
        "id": alert.id,
        "asset": alert.asset,
        "label": now.names.asset_name(alert.asset),
        "detector": alert.detector,
        "severity": alert.severity,
        "cause": alert.cause,
        "fault": in_words(alert.fault, alert.alarm),
        "mode": alert.mode,
        "start": alert.start,
        "ratio": round(current, 3),
        "peak": round(max(alert.peak, current), 3),
        "times": [] if chart is None else chart.ends.tolist(),
        "channels": [_channel(share, chart, now.names) for share in alert.channels[:CHANNELS]],
    }


def _channel(share: ChannelShare, chart: AlertChart | None, names: Names) -> dict[str, Any]:
    published = {name: getattr(share, name) for name in _SHARE}
    published["label"] = share.label(names.channel_name(share.channel))
    if chart is None or share.channel not in chart.channels:
        return {**published, "chart": None}

    column = chart.channels.index(share.channel)
    observed = chart.observed[:, column].astype(float)
    expected = chart.expected[:, column].astype(float)
    decimals = _decimals(observed, expected)

    return {
        **published,
        "chart": {
            "observed": np.round(observed, decimals).tolist(),
            "expected": np.round(expected, decimals).tolist(),
            "width": 2 * float(chart.spread[column]),
        },
    }


def _decimals(*columns: Doubles) -> int:
    """Return the number of decimals that gives the largest value _DIGITS digits."""
    largest = max(float(np.nanmax(np.abs(column), initial=1e-9)) for column in columns)
    return _DIGITS - 1 - int(np.floor(np.log10(largest)))
