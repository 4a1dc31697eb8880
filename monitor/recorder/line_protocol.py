"""Published scores and alerts as points of a time-series database, in InfluxDB's line protocol.

    measurement        tags                             fields
    monitor_scores     asset detector                   score alarm threshold ratio anomalous warm model
    monitor_channels   asset channel detector           observed expected low high share
    monitor_alerts     asset cause detector severity    firing id sequence alarm threshold ratio peak start end model
                       state, sensor if one is faulty   channel observed expected low high text fault

The time of a point is the end of its window, in ms. Measurement, tags and time identify a point, so a message that is
recorded twice gives the same points, and detectors of one asset do not overwrite each other's. The score of an older
version has no detector, and its points have no such tag. State (firing, adapted, resolved) is a tag of an alert, so a
resolution can never replace the firing. Cause and sensor are tags, too, since several sensors may fail at once.
`firing` (1 or 0) repeats the state for databases that keep numbers only. An alert's point has its first channel; the
whole ranking stays in the alert topic. The alert of a clock has no channel and no sensor.

A null gives no field. Fields that this version does not know are ignored, so the recorder may be older than the
detector. The meaning of values is not checked; `core/publish.py` wrote them.
"""

import re
from collections.abc import Mapping

from monitor.core.alerts.words import WHOLE, in_words
from monitor.core.decode.format import shown
from monitor.core.published import PublishedBand, PublishedChannel, decode_alert, decode_score
from monitor.core.records import SENSOR, Message, Record

Value = float | int | bool | str | None

SCORES, CHANNELS, ALERTS = "monitor_scores", "monitor_channels", "monitor_alerts"

_LATEST_MS = 9_223_372_036_854  # year 2262: InfluxDB keeps nanoseconds in 64 bits
_ADDED = {"adapted": ": no longer above its limit because the limit rose to it"}  # to the text, by state
_SPECIAL = re.compile(r"([,= ])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a line end would begin another point


def score_points(message: Message) -> Record:
    """Return a line for the window and one for each channel with a known value. Raises ValueError."""
    score = decode_score(message.value)
    fields: dict[str, Value] = {
        "score": score.score,
        "alarm": score.alarm,
        "threshold": score.threshold,
        "ratio": score.ratio,
        "anomalous": score.anomalous,
        "warm": score.warm,
        "model": score.model,
    }
    detector = {"detector": score.detector} if score.detector else {}
    lines = [_line(SCORES, {"asset": score.asset, **detector}, fields, score.time)]

    # A channel of which nothing is known gives no line, because a point needs at least one field.
    for name, band in score.channels.items():
        known = {**_band(band), "share": band.share}
        if any(value is not None for value in known.values()):
            lines.append(_line(CHANNELS, {"asset": score.asset, "channel": name, **detector}, known, score.time))
    return Record(SCORES, score.asset.encode(), "\n".join(lines).encode())


def alert_points(message: Message) -> Record:
    """Return one line. Raises ValueError."""
    alert = decode_alert(message.value)
    top = alert.channels[0] if alert.channels else None

    tags = {
        "asset": alert.asset,
        "cause": alert.cause,
        "detector": alert.detector,
        "severity": alert.severity,
        "state": str(alert.state),
    }
    # Several sensors of an asset may fail in the same window, so the sensor is part of the point's identity.
    if alert.cause == SENSOR and top is not None:
        tags |= {"sensor": top.channel}

    # Fields that are None are left out in `_line`.
    fields: dict[str, Value] = {
        "firing": int(alert.state == "firing"),
        "id": alert.id,
        "sequence": _whole("sequence", alert.sequence),
        "alarm": alert.alarm,
        "threshold": alert.threshold,
        "ratio": alert.ratio,
        "peak": alert.peak,
        "start": _whole("start", alert.start),
        "end": None if alert.end is None else _whole("end", alert.end),
        "model": alert.model,
    }

    # The first channel only: dashboards show one, and the ranking stays in the topic.
    if top is not None:
        fields |= {
            "channel": top.channel,
            **_band(top),
            "text": _sentence(top, alert.fault) + _ADDED.get(alert.state, ""),
        }
    elif alert.fault in WHOLE and alert.alarm is not None:
        fields |= {"text": in_words(alert.fault, alert.alarm)}
    if alert.fault:
        fields |= {"fault": alert.fault}
    if alert.mode:
        fields |= {"mode": alert.mode}
    return Record(ALERTS, alert.asset.encode(), _line(ALERTS, tags, fields, alert.time).encode())


def _band(band: PublishedBand | PublishedChannel) -> dict[str, Value]:
    return {"observed": band.observed, "expected": band.expected, "low": band.low, "high": band.high}


def _sentence(top: PublishedChannel, fault: str) -> str:
    """Return a text such as "pressure 4.2, expected 2 to 2.9", of a sensor "pressure frozen, 4.2, expected ..."."""
    name = f"{top.label()} {fault}," if fault else top.label()
    return f"{name} {top.reading()}"


def _line(measurement: str, tags: Mapping[str, str], fields: Mapping[str, Value], time: int) -> str:
    head = ",".join(f"{name}={_tag(name, value)}" for name, value in tags.items())
    body = ",".join(f"{name}={_field(name, value)}" for name, value in fields.items() if value is not None)
    return f"{measurement},{head} {body} {_whole('time', time)}"


def _tag(name: str, value: str) -> str:
    if not value or "\\" in value or _CONTROL.search(value):  # a backslash has no escape in a tag
        raise ValueError(f"{name}: found {shown(value)}, expected a name without backslash and control characters")
    return _SPECIAL.sub(r"\\\1", value)


def _field(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, str):
        if _CONTROL.search(value):
            raise ValueError(f"{name}: found {shown(value)}, expected text without control characters")
        text = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    return repr(value)


def _whole(name: str, value: int) -> int:
    if not 0 <= value <= _LATEST_MS:
        raise ValueError(f"{name}: found {shown(value)}, expected 0 to {_LATEST_MS}")
    return value
