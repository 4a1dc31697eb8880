"""Published scores and alerts become points; all other messages are refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from monitor.core.publish import alert_record, score_records
from monitor.core.records import (
    Alert,
    ChannelShare,
    Message,
    Outputs,
    Partition,
    Record,
    ScoreBatch,
    ThresholdBatch,
    WindowBatch,
)
from monitor.recorder.line_protocol import alert_points, score_points
from tests.influx_server import Point, Value, parse

START = 1_735_689_600_000
PRESSURE = ChannelShare("pressure", 0.75, observed=4.2, expected=2.45, low=2.0, high=2.9, steps_ago=3)
FIRING = Alert(
    id="a1b2",
    asset="pump-1",
    state="firing",
    start=START,
    end=None,
    time=START + 5_000,
    severity="warning",
    alarm=3.0,
    threshold=2.5,
    ratio=1.2,
    peak=1.3,
    channels=(PRESSURE, ChannelShare("flow", 0.25, None, 1.0, 0.5, 1.5, 0)),
    model="m-7",
    detector="plant",
    partition=Partition("readings", 3),
    offset=17,
    position=22,
    sequence=0,
)

names = st.text(st.characters(codec="utf-8", exclude_characters="\\", exclude_categories=["Cc"]), min_size=1)
numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)
times = st.integers(0, 9_223_372_036_854)


def _message(record: Record) -> Message:
    return Message(Partition("t", 0), 5, record.key, record.value, 0)


def _points(record: Record) -> list[Point]:
    return [parse(line) for line in (record.value or b"").decode().split("\n")]


def _alert_point(alert: Alert) -> Point:
    (point,) = _points(alert_points(_message(alert_record("alerts", alert))))
    return point


def _scores(
    values: tuple[float, ...], channels: tuple[str, ...] = ("pressure", "flow"), asset: str = "pump-1"
) -> Record:
    """The score record of one window: alarm score, threshold, then newest, expected and spread by channel."""
    alarm, threshold, *rest = (np.array([value], np.float32) for value in values)
    newest, expected, spread = np.array(rest, np.float32).reshape(3, 1, len(channels))  # (1, C) each
    ends, cells = np.array([START], np.int64), np.zeros((1, len(channels), 1), np.float32)
    outputs = Outputs(
        WindowBatch(np.zeros(1, np.int32), ends, cells, cells > 0, np.zeros(1, np.int64)),
        ScoreBatch(
            score=alarm / np.float32(2),
            by_channel=np.ones((1, len(channels)), np.float32),
            expected=expected,
            spread=spread,
            newest=newest,
        ),
        ThresholdBatch(alarm, threshold, alarm > threshold, np.array([True])),
    )
    (record,) = score_records(
        "scores", outputs, names=[asset], channels=channels, model="m-7", detector="plant", every_steps=1, step_ms=1000
    )
    return record


def _present(fields: dict[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in fields.items() if value is not None}


def test_a_score_is_a_point_of_its_window_and_one_of_each_channel() -> None:
    """Score, threshold and flags are a point of the asset at the window's end; each band is a point of its channel."""
    record = score_points(_message(_scores((1.5, 1.0, 4.0, 0.25, 2.0, 0.5, 0.25, 0.125))))
    assert (record.topic, record.key, record.headers) == ("monitor_scores", b"pump-1", ())
    window, pressure, flow = _points(record)
    fields: dict[str, Value] = {
        "score": 0.75,
        "alarm": 1.5,
        "threshold": 1.0,
        "ratio": 1.5,
        "anomalous": True,
        "warm": True,
        "model": "m-7",
    }
    assert window == Point("monitor_scores", {"asset": "pump-1", "detector": "plant"}, fields, START)
    band: dict[str, Value] = {"observed": 4.0, "expected": 2.0, "low": 1.5, "high": 2.5, "share": 0.5}
    assert pressure == Point(
        "monitor_channels", {"asset": "pump-1", "channel": "pressure", "detector": "plant"}, band, START
    )
    band = {"observed": 0.25, "expected": 0.5, "low": 0.25, "high": 0.75, "share": 0.5}
    assert flow == Point("monitor_channels", {"asset": "pump-1", "channel": "flow", "detector": "plant"}, band, START)


def test_the_score_of_an_older_version_has_no_detector() -> None:
    """A score record without a detector gives the same points without that tag."""
    message = _message(_scores((1.5, 1.0, 4.0, 0.25, 2.0, 0.5, 0.25, 0.125)))
    body = json.loads(message.value or b"")
    del body["detector"]
    old = _points(score_points(structs.replace(message, value=json.dumps(body).encode())))
    assert [point.tags.keys() for point in old] == [{"asset"}, {"asset", "channel"}, {"asset", "channel"}]


def test_what_was_not_measured_is_no_field() -> None:
    """A channel without a reading has its band alone, and one of which nothing is known no point."""
    nan = math.nan
    message = _message(_scores((1.5, 1.0, nan, nan, 2.0, nan, 0.25, nan)))
    _, pressure, flow = _points(score_points(message))
    assert set(pressure.fields) == {"expected", "low", "high", "share"}
    assert set(flow.fields) == {"share"}
    body = json.loads(message.value or b"")
    body["channels"]["flow"]["share"] = None
    assert len(_points(score_points(structs.replace(message, value=json.dumps(body).encode())))) == 2


@given(st.tuples(numbers, st.floats(0.5, 8.0, width=32), *[st.floats(-1e6, 1e6, width=32)] * 6), names, names)
def test_scores_come_back_as_they_were_encoded(values: tuple[float, ...], asset: str, channel: str) -> None:
    """Every number, flag and name of a score message is in the points, equal; null is in none."""
    message = _message(_scores(values, (channel, channel + "2"), asset))
    body = json.loads(message.value or b"")
    window, *channels = _points(score_points(message))
    expected = {name: body[name] for name in ("score", "alarm", "threshold", "ratio", "anomalous", "warm", "model")}
    assert window == Point("monitor_scores", {"asset": asset, "detector": "plant"}, _present(expected), START)
    found = {point.tags["channel"]: point.fields for point in channels}
    assert found == {name: _present(fields) for name, fields in body["channels"].items()}


def test_a_firing_says_what_and_why() -> None:
    """An alert's point has its state in tags and as a number, and its first channel with a sentence on it."""
    assert _alert_point(FIRING) == Point(
        "monitor_alerts",
        {"asset": "pump-1", "cause": "machine", "detector": "plant", "severity": "warning", "state": "firing"},
        {
            "firing": 1,
            "id": "a1b2",
            "sequence": 0,
            "alarm": 3.0,
            "threshold": 2.5,
            "ratio": 1.2,
            "peak": 1.3,
            "start": START,
            "model": "m-7",
            "channel": "pressure",
            "observed": 4.2,
            "expected": 2.45,
            "low": 2.0,
            "high": 2.9,
            "text": "pressure 4.2, expected 2 to 2.9",
        },
        START + 5_000,
    )


def test_a_resolution_replaces_no_firing() -> None:
    """A resolution is another point than the firing, even at the same window, and says 0 and the end."""
    resolved = replace(FIRING, state="resolved", end=START + 4_000, sequence=1)
    point = _alert_point(resolved)
    assert point.identity != _alert_point(FIRING).identity
    assert (point.fields["firing"], point.fields["end"], point.fields["sequence"]) == (0, START + 4_000, 1)


def test_sensors_that_fail_at_once_are_points_of_their_own() -> None:
    """An alert of a sensor names it in its tags and its fault in text and fields; an older message is of a machine."""
    frozen = replace(FIRING, cause="sensor", fault="frozen", channels=(PRESSURE,))
    point = _alert_point(frozen)
    assert (point.tags["cause"], point.tags["sensor"], point.fields["fault"]) == ("sensor", "pressure", "frozen")
    assert point.fields["text"] == "pressure frozen, 4.2, expected 2 to 2.9"
    other = _alert_point(replace(frozen, channels=(replace(PRESSURE, channel="flow"),)))
    assert len({point.identity, other.identity, _alert_point(FIRING).identity}) == 3
    message = _message(alert_record("alerts", FIRING))
    old = {name: each for name, each in json.loads(message.value or b"").items() if name not in {"cause", "fault"}}
    assert alert_points(structs.replace(message, value=json.dumps(old).encode())) == alert_points(message)


def test_a_clock_is_a_point_without_a_sensor() -> None:
    """An alert of a clock names no channel, has the clock's error in its text, and is a point of its own."""
    clock = replace(FIRING, cause="sensor", fault="clock", channels=(), alarm=-75.5, threshold=-36.0)
    point = _alert_point(clock)
    assert {"sensor", "channel"}.isdisjoint({*point.tags, *point.fields})
    assert (point.fields["text"], point.fields["fault"]) == ("clock 75.5 s behind", "clock")
    frozen = replace(FIRING, cause="sensor", fault="frozen", channels=(PRESSURE,))
    assert len({point.identity, _alert_point(frozen).identity, _alert_point(FIRING).identity}) == 3


@pytest.mark.parametrize(
    ("channels", "text"),
    [
        ((replace(PRESSURE, observed=None),), "pressure not measured, expected 2 to 2.9"),
        ((replace(PRESSURE, observed=1234.56, low=math.nan),), "pressure 1235"),
        ((), None),
    ],
)
def test_the_sentence_says_only_what_is_known(channels: tuple[ChannelShare, ...], text: str | None) -> None:
    """Without a reading, a band or a channel the sentence is shorter or absent."""
    assert _alert_point(replace(FIRING, channels=channels)).fields.get("text") == text


@given(names, names, st.tuples(*[numbers] * 8), times, st.integers(0, 10**6))
def test_alerts_come_back_as_they_were_encoded(
    asset: str, channel: str, values: tuple[float, ...], time: int, sequence: int
) -> None:
    """Every number, text and name of an alert message is in the point, equal; null is not."""
    numbers = dict(zip(("alarm", "threshold", "ratio", "peak"), values, strict=False))
    band = dict(zip(("observed", "expected", "low", "high"), values[4:], strict=True))
    share = replace(PRESSURE, channel=channel, **band)  # type: ignore[arg-type]
    alert = replace(FIRING, asset=asset, channels=(share,), time=time, sequence=sequence, **numbers)  # type: ignore[arg-type]
    body = json.loads(alert_record("alerts", alert).value or b"")
    point = _alert_point(alert)
    del point.fields["text"]  # type: ignore[attr-defined]
    expected = {name: body[name] for name in ("id", "sequence", "start", "end", "model", *numbers)}
    expected |= {"firing": 1, **{name: body["channels"][0][name] for name in ("channel", *band)}}
    assert point.fields == _present(expected)
    assert (point.tags["asset"], point.time) == (asset, time)


BROKEN = [
    ({"alarm": "3"}, "alarm: found str, expected float | null"),
    ({"model": None}, "model: found null, expected str"),
    ({"alarm": ...}, "alarm: found none, expected one"),
    ({"asset": ""}, "asset: found '', expected a name without backslash and control characters"),
    ({"asset": "a\nb"}, r"asset: found 'a\\nb', expected"),
    ({"asset": "a\\"}, "asset: found .*, expected"),
    ({"model": "m\x00"}, "model: found .*, expected text without control characters"),
    ({"time": -1}, "time: found -1, expected 0 to 9223372036854"),
    ({"time": 9_223_372_036_855}, "time: found 9223372036855, expected 0 to 9223372036854"),
    ({"time": 1.5}, "time: found float, expected int"),
    ({"time": 10**30}, "time: found 10+, expected 0 to"),
]
SCORE = _scores((1.5, 1.0, 4.0, 0.25, 2.0, 0.5, 0.25, 0.125))
OF_SCORES = [
    ({"score": ...}, "score: found none, expected one"),
    ({"warm": 1}, "warm: found int, expected bool"),
    ({"channels": {"p": {"low": 1}}}, r"channels\[...\].observed: found none, expected one"),
    ({"channels": [1]}, "channels: found array, expected object"),
]
OF_ALERTS = [
    ({"state": "pending"}, "state: found 'pending', expected firing or resolved"),
    ({"severity": "a\\b"}, "severity: found .*, expected a name"),
    ({"sequence": -1}, "sequence: found -1, expected"),
    ({"end": 10**19}, "end: found 10+, expected"),
    ({"start": True}, "start: found bool, expected int"),
    ({"channels": [{}]}, r"channels\[0\].channel: found none, expected one"),
]


@pytest.mark.parametrize(
    ("record", "change", "words"),
    [(SCORE, *case) for case in BROKEN + OF_SCORES]
    + [(alert_record("alerts", FIRING), *case) for case in BROKEN + OF_ALERTS],
)
def test_what_was_not_published_is_refused(record: Record, change: dict[str, object], words: str) -> None:
    """A message with one wrong or missing field is refused with the field, the value found and the one expected."""
    body = {**json.loads(record.value or b""), **change}
    message = _message(Record("t", b"k", json.dumps({n: v for n, v in body.items() if v is not ...}).encode()))
    with pytest.raises(ValueError, match=f"^{words}"):
        (score_points if record is SCORE else alert_points)(message)


@pytest.mark.parametrize("value", [None, b"", b"[1]", b"{", b"\xff", b'{"alarm":NaN}', b'{"x":' + b"[" * 9_000, b"{}"])
def test_what_is_no_object_is_refused(value: bytes | None) -> None:
    """Bytes that hold no such object are a ValueError too, with bounded words."""
    for points in (score_points, alert_points):
        with pytest.raises(ValueError, match=r".+: found .+, expected") as caught:
            points(Message(Partition("t", 0), 5, None, value, 0))
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400])
def test_a_number_beyond_64_bits_is_refused(number: str) -> None:
    """JSON can write numbers that no float64 holds; they never become infinity."""
    body = json.loads(SCORE.value or b"")
    text = json.dumps({**body, "score": "HERE"}).replace('"HERE"', number)
    with pytest.raises(ValueError, match=r"^score: found .*, expected a number of 64 bits"):
        score_points(_message(Record("t", b"k", text.encode())))


def test_a_newer_message_is_taken() -> None:
    """Fields that this version does not know change nothing."""
    for record, points in ((SCORE, score_points), (alert_record("alerts", FIRING), alert_points)):
        newer = json.dumps({**json.loads(record.value or b""), "added": {"later": 1}}).encode()
        assert points(_message(structs.replace(record, value=newer))) == points(_message(record))
