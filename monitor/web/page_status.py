"""What /status.json holds: a dictionary made of an Overview. Pure; NaN stands where the text has null.

Its size is bounded whatever the worker holds: LIMIT assets, ALERTS alerts with CHANNELS channels each, PARTITIONS lags.
What is left out is the least urgent, and the totals say how much that is.

    name, version       of the detector, of the program
    time, seen          ms UTC: now, and when the loop last showed itself; seen is null before its first turn
    ready, wrong        as /readyz has it, a text for each condition that does not hold
    assets              total; found = of these the search fits; states = of the found ones by state;
                        shown = name, state, ratio, trail: the asset's ratio over the last minutes, null = not scored
    alerts              total; shown = id, asset, severity, cause, start, ratio, peak, times (ms UTC), of each channel
                        observed, low, high, contribution as the alert says them, and course, which may be null:
                        observed and expected at `times`, and width, half of the band around what is expected
    learning            as the trainer says it: share, steps, needed, eta_s, running, progress, result
    models              version, and how many partitions score with it
    partitions, lag     how many are held; messages not read yet, the partitions with most of them first
"""

from collections import Counter as Tally
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from heapq import nlargest, nsmallest
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from monitor.core.arrays import Doubles
from monitor.core.records import Alert, ChannelShare
from monitor.core.sensors.clocks import in_words
from monitor.worker.alert_charts import AlertChart
from monitor.worker.status import STATES, Asset, WorkerStatus

LIMIT = 1000  # assets in an answer at most: 400 kB
ALERTS = 10
CHANNELS = 3
PARTITIONS = 10
_SEARCH = 128  # characters, the longest name
_URGENT = {state: place for place, state in enumerate(reversed(STATES))}
_DIGITS = 5  # of a reading: finer than a chart can show

Trails = Callable[[str], list[float]]  # of an asset, by name


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which assets are asked for."""

    search: str = ""  # part of the name, in small letters
    state: str = ""  # empty = all
    limit: int = 200


def read_query(query: str) -> Wanted:
    """What a URL asks for after its "?". Raises ValueError for anything that does not fit."""
    given = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=3) if query else []
    values = dict(given)
    if len(values) < len(given) or values.keys() - {"search", "state", "limit"}:
        raise ValueError("search, state and limit can be asked for, once each")
    search, state, limit = values.get("search", ""), values.get("state", ""), values.get("limit", "200")
    if len(search) > _SEARCH or state not in {"", *STATES}:
        raise ValueError(f"a search has at most {_SEARCH} characters, a state is one of {STATES}")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4 and 1 <= int(limit) <= LIMIT):
        raise ValueError(f"limit is a whole number from 1 to {LIMIT}")
    return Wanted(search.lower(), state, int(limit))


def status(now: WorkerStatus, trails: Trails, wanted: Wanted) -> dict[str, Any]:
    """What the worker says of itself; see the module. The rest of the keys the page adds."""
    lags = nlargest(PARTITIONS, now.lag.items(), key=lambda item: item[1])
    return {
        "assets": _assets(now.assets, trails, wanted),
        "alerts": _alerts(now),
        "learning": asdict(now.training),
        "models": [{"version": version, "partitions": count} for version, count in sorted(now.models.items())],
        "partitions": now.partitions,
        "lag": {
            "messages": sum(now.lag.values()),
            "partitions": [{"topic": part.topic, "number": part.number, "messages": lag} for part, lag in lags if lag],
        },
    }


def _assets(assets: tuple[Asset, ...], trails: Trails, wanted: Wanted) -> dict[str, Any]:
    found = [asset for asset in assets if wanted.search in asset.name.lower()] if wanted.search else assets
    tally = Tally(asset.state for asset in found)
    fitting = [asset for asset in found if asset.state == wanted.state] if wanted.state else found
    shown = nsmallest(wanted.limit, fitting, key=lambda asset: (_URGENT[asset.state], -(asset.ratio or 0.0)))
    # By name among those that are not urgent: nobody can read what changes places every two seconds.
    shown.sort(key=lambda asset: (_URGENT[asset.state], asset.name))
    return {
        "total": len(assets),
        "found": len(found),
        "states": {state: tally[state] for state in reversed(STATES)},
        "shown": [
            {
                "name": asset.name,
                "state": asset.state,
                "ratio": None if asset.ratio is None else round(asset.ratio, 3),
                "trail": trails(asset.name),
            }
            for asset in shown
        ],
    }


def _alerts(now: WorkerStatus) -> dict[str, Any]:
    """Critical ones first, then those that came last."""
    shown = nsmallest(ALERTS, now.alerts, key=lambda alert: (alert.severity != "critical", -alert.start, alert.id))
    ratios = {asset.name: asset.ratio for asset in now.assets} if shown else {}
    return {
        "total": len(now.alerts),
        "shown": [_alert(alert, ratios.get(alert.asset), now.charts) for alert in shown],
    }


def _alert(alert: Alert, ratio: float | None, charts: Mapping[str, AlertChart]) -> dict[str, Any]:
    chart = charts.get(alert.asset)
    present = alert.ratio if ratio is None or alert.cause != "machine" else ratio
    return {
        "id": alert.id,
        "asset": alert.asset,
        "severity": alert.severity,
        "cause": alert.cause,
        "fault": in_words(alert.fault, alert.score),
        "start": alert.start,
        "ratio": round(present, 3),
        "peak": round(max(alert.peak, present), 3),  # the record is of when the alert was last published
        "times": [] if chart is None else chart.ends.tolist(),
        "channels": [_channel(share, chart) for share in alert.channels[:CHANNELS]],
    }


def _channel(share: ChannelShare, chart: AlertChart | None) -> dict[str, Any]:
    said = {name: getattr(share, name) for name in ("channel", "contribution", "observed", "low", "high")}
    if chart is None or share.channel not in chart.channels:
        return {**said, "course": None}
    column = chart.channels.index(share.channel)
    width = 2 * float(chart.spread[column])
    observed, expected = (part[:, column].astype(float) for part in (chart.observed, chart.expected))
    finest = _finest(observed, expected)
    return {
        **said,
        "course": {
            "observed": np.round(observed, finest).tolist(),
            "expected": np.round(expected, finest).tolist(),
            "width": width,
        },
    }


def _finest(*columns: Doubles) -> int:
    """Decimals that give the largest number _DIGITS digits."""
    largest = max(float(np.nanmax(np.abs(column), initial=1e-9)) for column in columns)
    return _DIGITS - 1 - int(np.floor(np.log10(largest)))
