"""Channels named without their measurement, where the measurement is the machine."""

import json
from dataclasses import replace
from typing import Any

import pytest

from monitor.core.decode.decode import Format, decode_all
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.names import Names
from monitor.core.decode.select import Globs, Kinds, Select
from monitor.core.records import Count
from tests.core.decode.decoding import LINE, LONG, TELEGRAF, WIDE, message, named
from tests.core.decode.malformed import NOW

BY_FIELD = {
    "line": replace(LINE, asset_tag="asset", channel_name="field"),
    "json": replace(TELEGRAF, asset_tag="asset", channel_name="field"),
}
Part = tuple[str, str, int, dict[str, float | str]]  # measurement, asset, seconds ago, fields


def body(kind: str, *parts: Part) -> bytes:
    """A message of several points."""
    if kind == "json":
        metrics = [
            {"name": name, "tags": {"asset": asset}, "fields": fields, "timestamp": NOW // 1000 - ago}
            for name, asset, ago, fields in parts
        ]
        return json.dumps({"metrics": metrics}).encode()
    lines = []
    for name, asset, ago, fields in parts:
        cells = ",".join(f"{key}={json.dumps(value)}" for key, value in fields.items())
        lines.append(f"{name},asset={asset} {cells} {(NOW - 1000 * ago) * 1_000_000}")
    return "\n".join(lines).encode()


def read(form: Format, *values: bytes) -> tuple[list[tuple[str, str, float]], int]:
    """Asset, channel and value of each reading, and how many were ambiguous."""
    messages = [message(value, offset) for offset, value in enumerate(values)]
    decoded = decode_all(messages, form, NOW, Names())
    assert decoded.rejected == []
    return [(each[1], each[2], each[4]) for each in named(decoded.readings)], decoded.left_out[Count.READINGS_AMBIGUOUS]


@pytest.mark.parametrize("kind", ["line", "json"])
def test_machines_with_measurements_of_their_own_share_channels(kind: str) -> None:
    """The measurement is left out of the name, also in the globs of channels, and texts stay skipped."""
    values = [
        body(kind, ("Pump1", "P1", 0, {"flow": 1.5, "mode": "auto"}), ("Pump2", "P2", 0, {"flow": 2.5, "value": 3.5})),
        body(kind, ("Pump1", "P1", 1, {"temp": 4.5})),
    ]
    expected = [("P1", "flow", 1.5), ("P2", "flow", 2.5), ("P2", "value", 3.5), ("P1", "temp", 4.5)]
    assert read(BY_FIELD[kind], *values) == (expected, 0)
    select = Select(channels=Globs(("flow",)))
    assert read(replace(BY_FIELD[kind], select=select), *values) == (expected[:2], 0)


@pytest.mark.parametrize("kind", ["line", "json"])
def test_states_are_known_by_their_field(kind: str) -> None:
    """The kind of a channel is asked by the name that it has, which is the field alone."""
    value = body(kind, ("Pump1", "P1", 0, {"flow": 1.5, "on": True}), ("Pump2", "P2", 0, {"on": False, "door": True}))
    form = replace(BY_FIELD[kind], kinds=Kinds((("on", "state"), ("Pump*", "ignore"))))
    assert read(form, value) == ([("P1", "flow", 1.5), ("P1", "on", 1.0), ("P2", "on", 0.0)], 0)


@pytest.mark.parametrize("kind", ["line", "json"])
def test_one_field_of_two_measurements_is_not_mixed(kind: str) -> None:
    """Of one asset and time the first measurement's field counts, the other is counted; the rest of it is read."""
    value = body(
        kind,
        ("motor", "P1", 0, {"temp": 1.5}),
        ("bearing", "P1", 0, {"temp": 2.5, "wear": 3.5}),
        ("bearing", "P2", 0, {"temp": 4.5}),
        ("bearing", "P1", 1, {"temp": 5.5}),
        ("motor", "P1", 0, {"temp": 6.5}),
    )
    expected = [("P1", "temp", 1.5), ("P1", "wear", 3.5), ("P2", "temp", 4.5), ("P1", "temp", 5.5), ("P1", "temp", 6.5)]
    assert read(BY_FIELD[kind], value) == (expected, 1)
    assert read(replace(BY_FIELD[kind], channel_name="measurement.field"), value)[1] == 0


@pytest.mark.parametrize("form", [LONG, WIDE])
def test_only_formats_with_measurements_can_leave_them_out(form: Format) -> None:
    """A format without measurements refuses the setting, and names itself."""
    with pytest.raises(ValueError, match=f"channel_name field .* {form.kind}"):
        replace(form, channel_name="field")


def test_a_tag_names_the_channel_of_readings_that_come_one_by_one() -> None:
    """The tag's value stands for the measurement, in both of Telegraf's formats; points without the tag keep theirs."""
    stamp = NOW * 1_000_000
    lines = (
        f"r,asset=P1,sensor=flow value=1.5 {stamp}\nr,asset=P1,sensor=fl\\ ow raw=2.5 {stamp}\nr,asset=P2 a=3.5 {stamp}"
    )
    form = replace(LINE, asset_tag="asset", channel_tag="sensor", channel_name="measurement.field")
    expected = [("P1", "flow", 1.5), ("P1", "fl_ow.raw", 2.5), ("P2", "r.a", 3.5)]
    assert read(form, lines.encode()) == (expected, 0)

    rows: list[tuple[dict[str, str], dict[str, float]]] = [
        ({"asset": "P1", "sensor": "flow"}, {"value": 1.5}),
        ({"asset": "P1", "sensor": "fl ow"}, {"raw": 2.5}),
        ({"asset": "P2"}, {"a": 3.5}),
    ]
    metrics = [{"name": "r", "tags": tags, "fields": fields, "timestamp": NOW // 1000} for tags, fields in rows]
    form = replace(TELEGRAF, asset_tag="asset", channel_tag="sensor", channel_name="measurement.field")
    assert read(form, json.dumps({"metrics": metrics}).encode()) == (expected, 0)


@pytest.mark.parametrize(
    ("form", "options", "culprit"),
    [
        (LONG, {}, "json_long"),
        (LINE, {"channel_name": "field"}, "channel_name field"),
        (LINE, {"asset_tag": "sensor"}, "sensor"),
        (TELEGRAF, {"quality": "sensor"}, "sensor"),
    ],
)
def test_a_channel_tag_that_names_something_else_is_refused(
    form: Format, options: dict[str, str], culprit: str
) -> None:
    """A format without tags, a tag with two meanings, and a measurement that is left out, are refused by name."""
    changed: Any = options
    with pytest.raises(ValueError, match=f"channel_tag .*{culprit}"):
        replace(form, channel_tag="sensor", **changed)


@pytest.mark.parametrize("before", [b"", b"# careful\n"])
def test_a_tag_of_two_measurements_is_one_channel_of_the_first(before: bytes) -> None:
    """Where a tag names the channel, a second measurement with it at one time is ambiguous, and counted."""
    stamp = NOW * 1_000_000
    line = b"m,host=a,id=x value=1 %d\nn,host=a,id=x value=2 %d\nm,host=a,id=x value=3 %d" % (
        stamp,
        stamp,
        stamp - 10**9,
    )
    assert read(replace(LINE, channel_tag="id"), before + line) == ([("a", "x", 1.0), ("a", "x", 3.0)], 1)
    metrics = [
        {"name": name, "tags": {"host": "a", "id": "x"}, "fields": {"value": at}, "timestamp": NOW // 1000}
        for at, name in enumerate("mn")
    ]
    body = json.dumps({"metrics": metrics}).encode()
    assert read(replace(TELEGRAF, channel_tag="id"), body) == ([("a", "x", 0.0)], 1)


@pytest.mark.parametrize(("values", "each"), [("", "[]"), (".", "")])
def test_two_names_that_a_pattern_makes_one_are_one_channel_of_the_first(values: str, each: str) -> None:
    """Where a pattern of kind json gives two names of a message one channel, the second one is counted."""
    pattern = Pattern("name:" if values else "id", r"(?P<asset>P.)\.(?P<channel>.+)$")
    form = Format(
        "json", values=values, each=each, asset="key:", channel="channel" if values else "id", patterns=(pattern,)
    )
    found = {"L1.P1.x": 1, "L2.P1.x": 2, "L1.P2.x": 3}
    items = [{"id": name, "value": value, "timestamp": NOW} for name, value in found.items()]
    for more in ({}, {"extra": {"z": 1}}):
        body = {**found, "timestamp": NOW} if values else [{**item, **more} for item in items]
        assert read(form, json.dumps(body).encode()) == ([("P1", "x", 1.0), ("P2", "x", 3.0)], 1)


@pytest.mark.parametrize("channel_name", ["measurement.field", "field"])
def test_two_fields_that_a_pattern_makes_one_are_one_channel_of_the_first(channel_name: str) -> None:
    """Where a pattern gives two fields of a line one channel, the second one is counted."""
    pattern = Pattern("name:", r"(?P<asset>P.)\.(?P<channel>.+)$")
    form = replace(LINE, channel_name=channel_name, patterns=(pattern,))
    line = b"m,host=a L1.P1.x=1,L2.P1.x=2,L1.P2.x=3 %d" % (NOW * 1_000_000)
    assert read(form, line) == ([("P1", "x", 1.0), ("P2", "x", 3.0)], 1)
