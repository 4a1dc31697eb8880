"""The recognised field map reads every message, whatever its field names, field order and time unit."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.decode.decode import decode
from monitor.core.records import Message, Partition
from monitor.onboard.format.address import _NEITHER as OTHERS
from monitor.onboard.format.clocks import NAMES as TIMES
from monitor.onboard.format.labels import _NEITHER, ASSETS, CHANNELS, plain
from monitor.onboard.format.qualities import is_quality_name
from monitor.onboard.format.recognise import UnknownFormat, recognise
from monitor.onboard.format.shape import CONTAINERS, META, VALUES
from monitor.onboard.survey import survey

NOW = 1_780_000_000_000
FIRST, LAST = 978_307_200_000, NOW - 3_600_000  # ms UTC: 2001, an hour ago
KNOWN = {
    *ASSETS,
    *CHANNELS,
    *_NEITHER,
    *OTHERS,
    *TIMES,
    *META,
    *VALUES,
    *CONTAINERS,
}  # names with a meaning would mislead on purpose
NAMES = st.text("ABCdefgxyz_-.äß '#$[]=", min_size=1, max_size=10).filter(
    lambda name: plain(name) not in KNOWN and name[0] not in "_$@" and not is_quality_name(name)
)
IDS = st.text("abcXYZ019._:/-", min_size=1, max_size=10)
PER = {"s": 0.001, "ms": 1, "us": 1000, "ns": 10**6}


def stamp(at: int, unit: str) -> Any:
    if unit == "iso":
        return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    return at // 1000 if unit == "s" else at * int(PER[unit])


@st.composite
def plants(draw: Callable[..., Any]) -> dict[str, Any]:
    """Return names of fields, assets and channels, a unit, a period, and a random order of fields."""
    names = draw(st.lists(NAMES, min_size=6, max_size=6, unique_by=(plain, str)))
    return {
        "fields": dict(zip(("asset", "channel", "time", "value", "site", "sort"), names, strict=True)),
        # Without a common beginning or end, which is left out of the names.
        "assets": draw(st.lists(IDS, min_size=2, max_size=5, unique_by=(itemgetter(0), itemgetter(-1)))),
        "channels": draw(st.lists(IDS, min_size=3, max_size=5, unique=True)),
        "unit": draw(st.sampled_from(["ms", "s", "us", "ns", "iso"])),
        "start": draw(st.integers(FIRST // 1000, LAST // 1000)) * 1000,
        "step": draw(st.sampled_from([1000, 5000, 60_000])),
        "draw": draw(st.randoms(use_true_random=False)),
    }


def shuffled(body: dict[str, Any], plant: dict[str, Any]) -> bytes:
    pairs = list(body.items())
    plant["draw"].shuffle(pairs)
    return json.dumps(dict(pairs), ensure_ascii=plant["draw"].random() < 0.5).encode()


def value(plant: dict[str, Any], channel: str) -> float:
    """Return a value on the channel's own scale, the same scale for every asset."""
    return float(10.0 ** plant["channels"].index(channel) * (1 + plant["draw"].random() / 10))


def sent(plant: dict[str, Any], body: Callable[[str, int], list[dict[str, Any]]]) -> list[Message]:
    rows = [
        shuffled(each, plant)
        for step in range(6)
        for asset in plant["assets"]
        for each in body(asset, plant["start"] + step * plant["step"])
    ]
    return [Message(Partition("t", 0), n, None, row, 0) for n, row in enumerate(rows)]


@settings(max_examples=60, deadline=None)
@given(plants())
def test_long_messages_of_any_names_are_mapped(plant: dict[str, Any]) -> None:
    """Among six fields with meaningless names, asset, channel, time, unit and value are recognised."""
    f = plant["fields"]

    def body(asset: str, at: int) -> list[dict[str, Any]]:
        return [
            {
                f["asset"]: asset,
                f["channel"]: channel,
                f["time"]: stamp(at, plant["unit"]),
                f["value"]: value(plant, channel),
                f["site"]: "north",
                f["sort"]: "ab"[place % 2],
            }
            for place, channel in enumerate(plant["channels"])
        ]

    messages = sent(plant, body)
    got = recognise([messages], NOW).format
    assert (got.kind, got.asset, got.channel) == ("json_long", f["asset"], f["channel"])
    assert (got.timestamp, got.timestamp_unit, got.value) == (f["time"], plant["unit"], f["value"])
    judge(plant, messages, got)


@settings(max_examples=60, deadline=None)
@given(plants(), st.booleans())
def test_wide_messages_of_any_names_are_mapped(plant: dict[str, Any], by_key: bool) -> None:
    """Asset, time and table are recognised under any names, and so is the key if it contains the asset."""
    f = plant["fields"]

    def body(asset: str, at: int) -> list[dict[str, Any]]:
        table = {channel: value(plant, channel) for channel in plant["channels"]}
        named = {} if by_key else {f["asset"]: asset}
        return [{**named, f["time"]: stamp(at, plant["unit"]), f["value"]: table, f["site"]: "north"}]

    messages = sent(plant, body)
    if by_key:
        keys = [asset.encode() for _ in range(6) for asset in plant["assets"]]
        pairs = zip(messages, keys, strict=True)
        messages = [Message(each.partition, each.offset, key, each.value, 0) for each, key in pairs]
    got = recognise([messages], NOW).format
    assert (got.kind, got.asset_from) == ("json_wide", "key" if by_key else "field")
    assert by_key or got.asset == f["asset"]
    assert (got.timestamp, got.timestamp_unit, got.values) == (f["time"], plant["unit"], f["value"])
    judge(plant, messages, got)


def judge(plant: dict[str, Any], messages: list[Message], got: Any) -> None:
    """With the recognised format every message is decoded, and the figures match the plant."""
    readings, rejected = decode(messages, got, NOW)
    assert not rejected
    assert set(readings.assets) == set(plant["assets"])
    assert set(readings.channels) == set(plant["channels"])
    figures = survey([messages], got, NOW)
    assert figures.step_ms == plant["step"]
    assert (figures.disorder, figures.repeated, figures.colliding) == (0, 0, 0)
    assert np.allclose(figures.observed, 1)


@settings(max_examples=60, deadline=None)
@given(plants(), st.sampled_from(["influx_line", "telegraf_json"]), st.sampled_from(["s", "ms", "us", "ns"]))
def test_tags_of_any_names_are_told_apart(plant: dict[str, Any], kind: str, unit: str) -> None:
    """Among three tags, the one that groups the readings of the same time is recognised as the asset."""
    tags = [plain(name) for name in plant["fields"].values()]

    def body(asset: str, at: int) -> list[dict[str, Any]]:
        fields = {channel: value(plant, channel) for channel in plant["channels"]}
        given = {tags[0]: "gw", tags[1]: asset, tags[2]: "zone-1"}
        return [{"name": "m", "tags": given, "fields": fields, "timestamp": stamp(at, unit)}]

    messages = sent(plant, body)
    if kind == "influx_line":
        messages = [
            Message(each.partition, each.offset, None, line(json.loads(each.value or b"")), 0) for each in messages
        ]
    if len({*tags[:3]}) < 3 or "" in tags[:3]:
        return
    got = recognise([messages], NOW).format
    assert (got.kind, got.asset_tag, got.timestamp_unit) == (kind, tags[1], unit)


def line(metric: dict[str, Any]) -> bytes:
    """Return a metric as line protocol. None of the names needs an escape."""
    tags = ",".join(f"{name}={text}" for name, text in metric["tags"].items())
    fields = ",".join(f"{name}={number}" for name, number in metric["fields"].items())
    return f"{metric['name']},{tags} {fields} {metric['timestamp']}\n".encode()


def refusal(messages: list[Message]) -> str:
    """Return the reason if the messages are not recognised, otherwise an empty text."""
    try:
        recognise([messages], NOW)
    except UnknownFormat as error:
        return str(error)
    return ""


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | st.binary(max_size=30), st.none() | st.binary(max_size=80)), max_size=30))
def test_any_bytes_are_recognised_or_refused(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    """Any bytes are either recognised or refused, without any other error."""
    messages = [Message(Partition("t", 0), n, key, body, 0) for n, (key, body) in enumerate(pairs)]
    assert refusal(messages).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["asset", "time", "values", "metrics", "fields", "tags", "name", "", "é\n"]), JSON),
    st.none() | st.binary(max_size=4),
)
def test_any_object_is_recognised_or_refused(body: dict[str, Any], key: bytes | None) -> None:
    """Any JSON object (nested, empty or almost Telegraf's) is recognised or refused without any other error."""
    messages = [Message(Partition("t", 0), n, key, json.dumps(body).encode(), NOW) for n in range(3)]
    assert refusal(messages).isprintable()
