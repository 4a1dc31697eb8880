"""The record format of published alerts, scores and dead letters."""

import json
import math
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.decode.names import Names
from monitor.core.publish import alert_record, dead_letter, score_records
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

NAN, INF = math.nan, math.inf
TIME = 1_735_689_605_123  # 2025-01-01T00:00:05.123Z
ALERT = Alert(
    id="0123456789abcdef0123456789abcdef",
    asset="line/pump-1",
    state="firing",
    start=TIME - 4_000,
    end=None,
    time=TIME,
    severity="critical",
    alarm=4.5,
    threshold=1.5,
    ratio=3.0,
    peak=5.25,
    channels=(
        ChannelShare("pressure", 0.75, 4.0, 2.5, 2.0, 3.0, 3),
        ChannelShare("flow", 0.25, None, 1.0, 0.5, 1.5, 0),
    ),
    model="m-7",
    detector="plant",
    partition=Partition("readings", 3),
    offset=17,
    position=22,
    sequence=2,
)


def body(record: Record) -> dict[str, Any]:
    """Return a record's value, which must be strict JSON without NaN or Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    decoded = json.loads(record.value or b"", parse_constant=refuse)
    assert isinstance(decoded, dict)
    return decoded


def outputs(ends: list[int], **changes: Any) -> Outputs:
    """Return windows of assets 0, 1, 0, 1, … that end at `ends`, with two channels and alarm scores 1.5, 2.5 and so on.

    Scores are half of the alarm scores.
    """
    B = len(ends)
    assets = (np.arange(B) % 2).astype(np.int32)
    values = np.zeros((B, 2, 4), np.float32)
    alarm = np.arange(B).astype(np.float32) + 1.5
    columns: dict[str, Any] = {
        "score": alarm / 2,
        "by_channel": np.tile(np.array([3, 1], np.float32), (B, 1)),
        "expected": np.tile(np.array([2, 10], np.float32), (B, 1)),
        "spread": np.tile(np.array([0.25, 1], np.float32), (B, 1)),
        "newest": np.tile(np.array([2.25, NAN], np.float32), (B, 1)),
    }
    limit = np.full(B, 2, np.float32)
    return Outputs(
        WindowBatch(assets, np.array(ends, np.int64), values, values == 0, np.arange(B, dtype=np.int64)),
        ScoreBatch(**columns | changes),
        ThresholdBatch(alarm, limit, alarm > limit, assets == 0),
    )


def published(given: Outputs, every_steps: int = 1) -> list[Record]:
    """Return the score records on a grid of 500 ms."""
    return score_records(
        "scores",
        given,
        names=["pump", "fan"],
        channels=("pressure", "flow"),
        model="m-7",
        detector="plant",
        every_steps=every_steps,
        step_ms=500,
    )


def test_an_alert_is_a_cloud_event_in_binary_mode() -> None:
    """CloudEvents attributes are UTF-8 headers with the prefix `ce_`, the value is JSON, and the key is the asset."""
    record = alert_record("alerts", ALERT)
    assert (record.topic, record.key) == ("alerts", b"line/pump-1")
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"0123456789abcdef0123456789abcdef.2",
        "ce_source": b"/monitor/plant",
        "ce_type": b"monitor.alert.firing",
        "ce_subject": b"line/pump-1",
        "ce_time": b"2025-01-01T00:00:05.123+00:00",
        "content-type": b"application/json",
    }
    assert len(record.headers) == 7


def test_the_alert_itself_is_the_value() -> None:
    """Every alert field is published under its own name, the partition as two fields, without the causing offset."""
    found = body(alert_record("alerts", ALERT))
    names = {field.name for field in fields(Alert)} - {"position", "mode", "linked"} | {"topic"}
    assert found.keys() == names
    assert (found["topic"], found["partition"], found["offset"]) == ("readings", 3, 17)
    assert (found["start"], found["end"], found["time"]) == (TIME - 4_000, None, TIME)
    assert (found["alarm"], found["threshold"], found["ratio"], found["peak"]) == (4.5, 1.5, 3.0, 5.25)
    assert found["channels"] == [
        {
            "channel": "pressure",
            "contribution": 0.75,
            "observed": 4.0,
            "expected": 2.5,
            "low": 2.0,
            "high": 3.0,
            "steps_ago": 3,
        },
        {
            "channel": "flow",
            "contribution": 0.25,
            "observed": None,
            "expected": 1.0,
            "low": 0.5,
            "high": 1.5,
            "steps_ago": 0,
        },
    ]


def test_names_as_they_came_are_published_where_they_differ() -> None:
    """An alert has the names that became its ids, and is the same byte for byte where nothing was changed."""
    plain = alert_record("alerts", ALERT)
    assert alert_record("alerts", ALERT, Names({"other": "Other"}, {"x": "X"})) == plain
    assert alert_record("alerts", ALERT, Names({ALERT.asset: ALERT.asset}, {"flow": "flow"})) == plain

    named = alert_record("alerts", ALERT, Names({ALERT.asset: "Pumpe №1"}, {"flow": "Durchfluss [m³/h]"}))
    found = body(named)
    assert found.pop("asset_name") == "Pumpe №1"
    assert [channel.pop("name", "") for channel in found["channels"]] == ["", "Durchfluss [m³/h]"]
    assert found == body(plain)
    assert (named.key, named.headers) == (plain.key, plain.headers)


def test_records_of_one_alert_are_different_events() -> None:
    """Firing, update and resolution share the alert id, not the `ce_id`, and the type says which state it is."""
    resolved = alert_record("alerts", replace(ALERT, state="resolved", end=TIME, sequence=3))
    assert dict(resolved.headers)["ce_id"] == b"0123456789abcdef0123456789abcdef.3"
    assert dict(resolved.headers)["ce_type"] == b"monitor.alert.resolved"
    assert body(resolved)["id"] == ALERT.id


@given(st.integers(-(2**45), 2**45))
def test_the_event_time_is_exact(time: int) -> None:
    """`ce_time` is the window's end in ms, in RFC 3339 with a zone, for every valid time."""
    text = dict(alert_record("alerts", replace(ALERT, time=time)).headers)["ce_time"].decode()
    assert text.endswith("+00:00")
    parsed = datetime.fromisoformat(text)
    assert (parsed - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) == time


def test_numbers_have_the_digits_they_were_measured_with() -> None:
    """A float32 is published with seven significant digits, without the extra digits of its float64 form."""
    alert = replace(ALERT, alarm=float(np.float32(0.1)), threshold=float(np.float32(1e-9)), ratio=1 / 3)
    assert b'"alarm":0.1,"threshold":1e-9,"ratio":0.3333333,' in (alert_record("alerts", alert).value or b"")


@pytest.mark.parametrize("number", [NAN, INF, -INF])
def test_an_alert_holds_no_nan(number: float) -> None:
    """A number that JSON cannot represent is null."""
    share = ChannelShare("pressure", number, number, number, number, number, 0)
    alert = replace(ALERT, alarm=number, threshold=number, ratio=number, peak=number, channels=(share,))
    found = body(alert_record("alerts", alert))
    assert [found[name] for name in ("alarm", "threshold", "ratio", "peak")] == [None] * 4
    assert set(found["channels"][0].values()) == {"pressure", None, 0}


def test_a_score_record_says_score_limit_and_bands() -> None:
    """A score record has both scores and the limit and, for each channel, the reading and the model's band."""
    (record,) = published(outputs([1500]))
    assert (record.topic, record.key, record.headers) == ("scores", b"pump", (("content-type", b"application/json"),))
    assert body(record) == {
        "asset": "pump",
        "time": 1500,
        "score": 0.75,
        "alarm": 1.5,
        "threshold": 2.0,
        "ratio": 0.75,
        "anomalous": False,
        "warm": True,
        "model": "m-7",
        "detector": "plant",
        "channels": {
            "pressure": {"observed": 2.25, "expected": 2.0, "low": 1.5, "high": 2.5, "share": 0.75},
            "flow": {"observed": None, "expected": 10.0, "low": 8.0, "high": 12.0, "share": 0.25},
        },
    }


@given(st.lists(st.floats(width=32, allow_infinity=False, allow_nan=False), min_size=4, max_size=4))
def test_a_score_record_has_seven_digits_of_each_number(numbers: list[float]) -> None:
    """Many numbers rounded at once are the nearest numbers with seven significant digits."""
    rows = np.array(numbers, np.float32).reshape(2, 1, 2)
    (record,) = published(outputs([0], newest=rows[0], expected=rows[1]))
    channels = body(record)["channels"].values()
    found = [band["observed"] for band in channels] + [band["expected"] for band in channels]
    assert found == [float(f"{number:.7g}") for number in found]
    assert found == pytest.approx(numbers, rel=5.1e-7, abs=0)


@pytest.mark.parametrize(
    ("every", "ends"), [(1, [-1500, 0, 500, 1000, 1500, 3000]), (2, [0, 1000, 3000]), (3, [-1500, 0, 1500, 3000])]
)
def test_scores_are_published_every_nth_step_of_the_grid(every: int, ends: list[int]) -> None:
    """Windows are selected by their position on the grid, so a replay selects the same windows and numbers."""
    found = [body(record) for record in published(outputs([-1500, 0, 500, 1000, 1500, 3000]), every)]
    assert [record["time"] for record in found] == ends
    everything = [body(record) for record in published(outputs([-1500, 0, 500, 1000, 1500, 3000]))]
    assert found == [record for record in everything if record["time"] in ends]
    assert [record["alarm"] for record in everything] == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert [record["asset"] for record in everything] == ["pump", "fan"] * 3


@given(
    read=st.lists(st.booleans(), min_size=20, max_size=120),
    every=st.integers(2, 12),
    masked=st.booleans(),
)
def test_an_asset_that_is_not_read_at_every_step_has_its_turns(read: list[bool], every: int, masked: bool) -> None:
    """For any pattern of readings, only an asset's first window after each multiple of the interval is published."""
    steps = np.flatnonzero(read)
    windows = sliding_window_view(np.concatenate((np.zeros(15, bool), read)), 16)[steps]  # (B, 16)
    cells = np.zeros((len(steps), 2, 16), bool)
    cells[:, 1] = windows  # the other channel has no readings
    made = outputs((steps * 500).tolist())
    values = np.where(cells, 0, np.float32(NAN))
    batch = replace(made.windows, assets=np.zeros(len(steps), np.int32), values=values)
    faulty = np.ones(cells.shape, np.bool_)  # a faulty sensor is masked at steps without a reading, too
    batch = replace(batch, observed=cells & (not masked), masked=faulty if masked else None)
    found = [body(record)["time"] // 500 for record in published(replace(made, windows=batch), every)]
    assert found == [step for before, step in pairwise([-every, *steps.tolist()]) if before // every < step // every]


def test_scores_hold_no_nan() -> None:
    """A non-finite number is null, and the shares of a window without error are 0."""
    nothing = np.zeros((1, 2), np.float32)
    unknown = np.full((1, 2), NAN, np.float32)
    infinite = np.array([INF], np.float32)
    made = outputs([0], score=infinite, by_channel=nothing, expected=unknown, newest=unknown)
    limits = ThresholdBatch(infinite, np.array([2], np.float32), infinite > 2, infinite > 2)
    (record,) = published(replace(made, thresholds=limits))
    found = body(record)
    names = ("score", "alarm", "ratio", "threshold")
    assert [found[name] for name in names] == [None, None, None, 2.0]
    band = {"observed": None, "expected": None, "low": None, "high": None, "share": 0.0}
    assert found["channels"] == {"pressure": band, "flow": band}


def test_a_band_around_the_largest_number_does_not_overflow() -> None:
    """Expected values near the float32 limit give a finite band beyond that limit."""
    largest = np.finfo(np.float32).max
    limits = np.full((1, 2), largest, np.float32)
    with np.errstate(all="raise"):
        (record,) = published(outputs([0], expected=limits, spread=limits))
    assert body(record)["channels"]["flow"]["high"] == pytest.approx(3 * float(largest))


def test_without_a_model_no_score_is_published() -> None:
    """Windows without a score give no record."""
    assert published(Outputs(outputs([0]).windows, None, None)) == []
    assert published(outputs([])) == []


@pytest.mark.parametrize(("key", "value"), [(b"pump", b"\xff{not json"), (None, None), (b"", b"")])
def test_a_dead_letter_keeps_the_message_and_says_why(key: bytes | None, value: bytes | None) -> None:
    """Key and value are forwarded unchanged, with source and error in the headers that Kafka Connect's tools read."""
    message = Message(Partition("readings", 3), 17, key, value, TIME)
    record = dead_letter("dead", message, "decode", "WrongType", "found 'heiß', expected a number")
    assert (record.topic, record.key, record.value) == ("dead", key, value)
    assert dict(record.headers) == {
        "__connect.errors.topic": b"readings",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"17",
        "monitor.timestamp": str(TIME).encode(),
        "__connect.errors.stage": b"decode",
        "__connect.errors.exception.class.name": b"WrongType",
        "__connect.errors.exception.message": "found 'heiß', expected a number".encode(),
    }


def test_a_dead_letter_keeps_headers_but_no_forged_reason() -> None:
    """The message's own headers go along, except those that would pretend to be the dead letter's."""
    own = (("traceparent", b"00-1"), ("__connect.errors.topic", b"secrets"), ("monitor.timestamp", b"1"))
    message = Message(Partition("readings", 3), 17, None, b"{", TIME, own)
    headers = dead_letter("dead", message, "decode", "NotJson", "found '{'").headers
    assert headers[0] == own[0]
    assert dict(headers)["__connect.errors.topic"] == b"readings"
    assert len({name for name, _ in headers}) == len(headers)
