"""Patterns of Telegraf's formats: machines in names of fields, in measurements and in tags."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.decode.decode import Format, decode, decode_all
from monitor.core.decode.format import Skip
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.names import Names
from monitor.core.decode.select import Kinds
from monitor.core.records import Message, Partition
from tests.core.decode.decoding import named
from tests.core.decode.malformed import NANOS, NOW

BOTH = r"^(?P<asset>[^.]+)\.(?P<channel>.+)$"
SLASH = r"^plant/(?P<asset>[^/]+)/(?P<channel>.+)$"


def read(*lines: str, place: str = "name:", pattern: str = BOTH, **form: Any) -> list[tuple[str, str, float]]:
    """Return asset, channel and value of the readings of lines."""
    messages = [Message(Partition("t", 0), n, b"k.P9", f"{line} {NANOS}".encode(), NOW) for n, line in enumerate(lines)]
    options = {"asset_from": "tag", "timestamp_unit": "ns", **form}
    readings, rejected = decode(messages, Format("influx_line", patterns=(Pattern(place, pattern),), **options), NOW)
    assert rejected == []
    return [(asset, channel, value) for _, asset, channel, _, value in named(readings)]


def test_a_field_holds_asset_and_channel() -> None:
    """A line with fields of two machines gives readings of both, and what does not match stays with the tag's asset."""
    assert read("opcua,host=e P1.flow=1,P2.flow=2,load=3") == [
        ("P1", "flow", 1.0),
        ("P2", "flow", 2.0),
        ("e", "opcua.load", 3.0),
    ]


def test_a_measurement_is_the_asset() -> None:
    """The channel's name without patterns has the measurement."""
    assert read("P1,host=e flow=1", "P2,host=e value=2", place="channel:") == [("P1", "flow", 1.0), ("e", "P2", 2.0)]


def test_a_tag_holds_asset_and_channel() -> None:
    """A channel out of a tag stands alone for the field `value`, and before the name of any other field."""
    line = "mqtt,host=e,topic=plant/P1/flow value=1,raw=2"
    found = read(line, place="tag:topic", pattern=SLASH, asset_tag="topic")
    assert found == [("P1", "flow", 1.0), ("P1", "flow.raw", 2.0)]


def test_a_key_holds_the_asset() -> None:
    """With the asset in the key, the pattern is searched there."""
    found = read("m flow=1", place="key:", pattern=r"^k\.(?P<asset>.+)$", asset_from="key")
    assert found == [("P9", "m.flow", 1.0)]


def test_states_are_known_by_the_name_that_the_pattern_gives() -> None:
    """True and false of a channel that is a state by its short name are 1 and 0."""
    found = read("opcua,host=e P1.on=true,P1.off=false", kinds=Kinds((("on", "state"),)))
    assert found == [("P1", "on", 1.0)]


def test_states_are_known_by_the_name_that_a_tag_gives() -> None:
    """The same field is a state of one topic and none of another, in line protocol and in JSON."""
    form: dict[str, Any] = {"asset_tag": "topic", "kinds": Kinds((("on", "state"),))}
    lines = ("mqtt,topic=plant/P1/on value=true", "mqtt,topic=plant/P1/off value=true")
    assert read(*lines, place="tag:topic", pattern=SLASH, **form) == [("P1", "on", 1.0)]

    metrics = [
        {"name": "mqtt", "tags": {"topic": f"plant/P1/{name}"}, "fields": {"value": True}, "timestamp": NOW // 1000}
        for name in ("on", "off")
    ]
    message = Message(Partition("t", 0), 0, None, json.dumps({"metrics": metrics}).encode(), NOW)
    options: dict[str, Any] = {
        "asset_from": "tag",
        "timestamp_unit": "s",
        "patterns": (Pattern("tag:topic", SLASH),),
        **form,
    }
    decoded = decode_all([message], Format("telegraf_json", **options), NOW, Names())
    assert [(asset, channel, value) for _, asset, channel, _, value in named(decoded.readings)] == [("P1", "on", 1.0)]
    assert decoded.skipped[Skip.BOOLEAN] == 1


@pytest.mark.parametrize(
    ("place", "pattern", "reason"),
    [
        ("tag:other", BOTH, "searched in name:"),
        ("name:", "x", "must have the groups"),
        ("name:", "(?P<asset>", "patterns"),
    ],
)
def test_a_pattern_that_finds_nothing_is_refused(place: str, pattern: str, reason: str) -> None:
    """Another tag than the asset's, no group, and no regular expression are refused."""
    with pytest.raises(ValueError, match=reason):
        Format("influx_line", asset_from="tag", patterns=(Pattern(place, pattern),))


def test_a_channel_without_its_measurement_is_searched_by_no_pattern() -> None:
    """With channel_name field there is no name that channel: could be."""
    with pytest.raises(ValueError, match="channel_name field leaves out"):
        Format("influx_line", asset_from="tag", channel_name="field", patterns=(Pattern("channel:", BOTH),))


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["P1.x", "P2.x", "P1.y", "z"])), min_size=1, max_size=20)
)
def test_the_cut_into_batches_does_not_matter(lines: list[tuple[str, str]]) -> None:
    """Each message has the same readings alone as among others."""
    form = Format("influx_line", asset_from="tag", timestamp_unit="ns", patterns=(Pattern("name:", BOTH),))
    messages = [
        Message(Partition("t", 0), n, None, f"m,host={host} {field}={n},f=1 {NANOS + n}".encode(), NOW)
        for n, (host, field) in enumerate(lines)
    ]
    whole = named(decode_all(messages, form, NOW, Names()).readings)
    alone = [each for message in messages for each in named(decode_all([message], form, NOW, Names()).readings)]
    assert whole == alone
