"""Published scores and alerts as points of a time-series database, in InfluxDB's line protocol.

    measurement        tags                             fields
    monitor_scores     asset                            score threshold ratio anomalous warm model
    monitor_channels   asset channel                    observed expected low high share
    monitor_alerts     asset cause detector severity    firing id sequence score threshold ratio peak start end model
                       state, sensor where it is cause  channel observed expected low high text fault

The time of a point is the end of its window, in ms. Measurement, tags and time are a point's identity, so a message
that is recorded twice gives the same points. An alert's state is a tag, so that a resolution can never replace the
firing, and so are cause and sensor, as several sensors may fail at once; `firing` (1 or 0) says the state to databases
that keep numbers only. An alert shows its first channel; the whole ranking stays in the alert topic. One of a
clock has none, and no sensor.

Null is no field. A message with fields unknown here is taken without them, so that the recorder may be older than the
detector. It does not check what a value means: encode.py wrote it.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from monitor.core.decode.format import shown
from monitor.core.records import Message, Record
from monitor.core.sensors.clocks import FAULT as CLOCK
from monitor.core.sensors.clocks import in_words

Value = float | int | bool | str | None

SCORES, CHANNELS, ALERTS = "monitor_scores", "monitor_channels", "monitor_alerts"

_LATEST_MS = 9_223_372_036_854  # year 2262: InfluxDB keeps nanoseconds in 64 bits
_SPECIAL = re.compile(r"([,= ])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a line end would begin another point
_GOT = re.compile(r"Expected (?P<expected>.+), got (?P<found>.+)")
_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`")


class _Band(msgspec.Struct, gc=False):
    observed: float | None
    expected: float | None
    low: float | None
    high: float | None


class _Channel(_Band, gc=False):
    share: float | None


class _Share(_Band, gc=False):
    channel: str


class _Score(msgspec.Struct, gc=False):
    asset: str
    time: int
    score: float | None
    threshold: float | None
    ratio: float | None
    anomalous: bool
    warm: bool
    model: str
    channels: dict[str, _Channel]


class _Alert(msgspec.Struct, gc=False):
    id: str
    asset: str
    state: str
    start: int
    end: int | None
    time: int
    severity: str
    score: float | None
    threshold: float | None
    ratio: float | None
    peak: float | None
    channels: list[_Share]
    model: str
    detector: str
    sequence: int
    cause: str = "machine"  # older messages say neither
    fault: str = ""


_Body = TypeVar("_Body", _Score, _Alert)
_scores = msgspec.json.Decoder(_Score)
_alerts = msgspec.json.Decoder(_Alert)


def score_points(message: Message) -> Record:
    """A line for the window, then one for each channel of which anything is known. Raises ValueError."""
    body = _decoded(_scores, message)
    fields: dict[str, Value] = {
        "score": body.score,
        "threshold": body.threshold,
        "ratio": body.ratio,
        "anomalous": body.anomalous,
        "warm": body.warm,
        "model": body.model,
    }
    lines = [_line(SCORES, {"asset": body.asset}, fields, body.time)]
    for name, channel in body.channels.items():
        known = {**_band(channel), "share": channel.share}
        if any(value is not None for value in known.values()):
            lines.append(_line(CHANNELS, {"asset": body.asset, "channel": name}, known, body.time))
    return Record(SCORES, body.asset.encode(), "\n".join(lines).encode())


def alert_points(message: Message) -> Record:
    """One line. Raises ValueError."""
    body = _decoded(_alerts, message)
    if body.state not in {"firing", "resolved"}:
        raise ValueError(f"state: found {shown(body.state)}, expected firing or resolved")
    top = body.channels[0] if body.channels else None
    names = ("asset", "cause", "detector", "severity", "state")
    tags = {name: str(getattr(body, name)) for name in names}
    if body.cause == "sensor" and top is not None:
        tags |= {"sensor": top.channel}
    fields: dict[str, Value] = {
        "firing": int(body.state == "firing"),
        "id": body.id,
        "sequence": _whole("sequence", body.sequence),
        "score": body.score,
        "threshold": body.threshold,
        "ratio": body.ratio,
        "peak": body.peak,
        "start": _whole("start", body.start),
        "end": None if body.end is None else _whole("end", body.end),
        "model": body.model,
    }
    if top is not None:
        fields |= {"channel": top.channel, **_band(top), "text": _sentence(top, body.fault)}
    elif body.fault == CLOCK and body.score is not None:
        fields |= {"text": in_words(CLOCK, body.score)}
    if body.fault:
        fields |= {"fault": body.fault}
    return Record(ALERTS, body.asset.encode(), _line(ALERTS, tags, fields, body.time).encode())


def _band(band: _Band) -> dict[str, Value]:
    return {"observed": band.observed, "expected": band.expected, "low": band.low, "high": band.high}


def _sentence(top: _Share, fault: str) -> str:
    """For instance: pressure 4.2, expected 2 to 2.9; of a sensor: pressure frozen, 4.2, expected 2 to 2.9."""
    name = f"{top.channel} {fault}," if fault else top.channel
    text = f"{name} {'not measured' if top.observed is None else f'{top.observed:.4g}'}"
    return text if top.low is None or top.high is None else f"{text}, expected {top.low:.4g} to {top.high:.4g}"


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


def _decoded(decoder: msgspec.json.Decoder[_Body], message: Message) -> _Body:
    if message.value is None:
        raise ValueError("value: found none, expected a JSON object")
    try:
        return decoder.decode(message.value)
    except msgspec.ValidationError as error:
        raise ValueError(_explained(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"value: found {shown(message.value)} ({error}), expected a JSON object") from None


def _explained(text: str) -> str:
    """What msgspec says, such as "Expected `float`, got `str` - at `$.score`", in our order."""
    text, _, path = text.partition(" - at `$")
    where = path.strip(".`")
    if match := _MISSING.fullmatch(text):
        return f"{where}{where and '.'}{match['name']}: found none, expected one"
    if match := _GOT.fullmatch(text):
        return f"{where or 'value'}: found {match['found']}, expected {match['expected']}".replace("`", "")
    return f"{where}: found a value refused as {text!r}, expected a number of 64 bits"
