"""`kind = "json"`: places, items, tables, patterns, and what becomes of items that cannot be read."""

import json
from typing import Any

import pytest

from monitor.core.decode.decode import Decoded, Format, decode_all
from monitor.core.decode.format import Skip
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.mapped.presets import PRESETS, filled
from monitor.core.decode.names import Names
from monitor.core.decode.select import Kinds
from monitor.core.records import Message, Partition
from monitor.settings.stages import FormatSection
from tests.core.decode.decoding import Named, named
from tests.core.decode.malformed import NOW

T = NOW - 1000


def mapped(*values: Any, topic: str = "plant/P1.flow", key: bytes | None = b"umh/acme/P7", **form: Any) -> Decoded:
    """Decode messages, given as objects or bytes, by a map."""
    texts = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    headers = (("unit", b"P9"), ("bad", b"\xff"))
    messages = [Message(Partition(topic, 0), n, key, text, NOW, headers) for n, text in enumerate(texts)]
    return decode_all(messages, Format("json", **form), NOW, Names())


def read(*values: Any, **form: Any) -> list[Named]:
    """Return the readings of messages of which none is rejected."""
    decoded = mapped(*values, **form)
    assert decoded.rejected == []
    return named(decoded.readings)


def skipped(decoded: Decoded) -> dict[str, int]:
    return {str(reason): count for reason, count in decoded.skipped.items() if count}


@pytest.mark.parametrize(
    ("form", "message", "expected"),
    [
        ({}, {"asset": "a", "timestamp": T, "values": {"c": 1, "d": 2.5}}, [("a", "c", 1), ("a", "d", 2.5)]),
        ({"values": "."}, {"asset": "a", "timestamp": T, "c": 1, "m": {"x": 2}}, [("a", "c", 1), ("a", "m.x", 2)]),
        ({"values": ""}, {"asset": 7, "channel": 3, "timestamp": T, "value": 1}, [("7", "3", 1)]),
        (
            {"each": "payload", "values": ".", "asset": "machine", "timestamp": "ts"},
            {"schema": {"type": "struct"}, "payload": {"machine": "a", "ts": T, "c": 1}},
            [("a", "c", 1)],
        ),
        (
            {"values": "after", "asset": "after.machine", "timestamp": "after.at"},
            {"after": {"machine": "a", "at": T, "c": 1}, "source": {"x": 3}},
            [("a", "c", 1)],
        ),
        (
            {"each": "[]", "values": "", "asset": 'meta."a.b"[-1]'},
            [{"meta": {"a.b": ["x", "y"]}, "channel": "c", "timestamp": T, "value": 1}],
            [("y", "c", 1)],
        ),
        (
            {"each": "data{}", "values": ".", "asset": "name:-1"},
            {"timestamp": T, "data": {"P1": {"c": 1}, "P2": {"c": 2}}},
            [("P1", "c", 1), ("P2", "c", 2)],
        ),
        (
            {"each": "data{}", "values": "", "channel": "name:", "asset": "unit|header:unit"},
            {"timestamp": T, "data": {"c": {"value": 1}, "d": {"value": 2, "unit": "P8"}}},
            [("P9", "c", 1), ("P8", "d", 2)],
        ),
        ({"asset": "key:"}, {"timestamp": T, "values": {"c": 1}}, [("umh/acme/P7", "c", 1)]),
        ({"asset": "key:-1"}, {"timestamp": T, "values": {"c": 1}}, [("P7", "c", 1)]),
        ({"asset": "topic:2"}, {"timestamp": T, "values": {"c": 1}}, [("P1", "c", 1)]),
        ({"asset": "header:bad|header:none|key:9|key:1"}, {"timestamp": T, "values": {"c": 1}}, [("umh", "c", 1)]),
        (
            {"ignore": ("_*", "m.*")},
            {"asset": "a", "timestamp": T, "values": {"_x": 1, "m": {"y": 2}, "c": 3}},
            [("a", "c", 3)],
        ),
        (
            {"value": "v.Body|v", "timestamp": "ts|timestamp"},
            {"asset": "a", "timestamp": T - 5, "values": {"c": {"v": {"Body": 1}, "ts": T}, "d": {"v": 2, "ts": T}}},
            [("a", "c", 1), ("a", "d", 2)],
        ),
        (
            {"each": "B[].R[]", "values": ""},
            {
                "asset": "a",
                "B": [
                    {"timestamp": T, "R": [{"channel": "c", "value": 1}]},
                    {"R": {"channel": "d", "timestamp": T, "value": 2}},
                ],
            },
            [("a", "c", 1), ("a", "d", 2)],
        ),
    ],
)
def test_a_map_reads_any_layout(form: dict[str, Any], message: Any, expected: list[tuple[str, str, float]]) -> None:
    """Items, tables and places are found by the map; a place of an outer object serves all items."""
    assert read(message, **form) == [(0, asset, channel, T, value) for asset, channel, value in expected]


def test_patterns_take_names_apart() -> None:
    """Groups of patterns win over the place of their name; an item that no pattern fits has the place's."""
    form = {
        "each": "values[]",
        "values": "",
        "asset": "topic:1",
        "channel": "id",
        "value": "v",
        "timestamp": "t|timestamp",
        "patterns": (Pattern("id", r"^Line\.(?P<asset>P\d+)\.(?P<channel>.+)$"), Pattern("id", "(?P<channel>[a-z]+)$")),
    }
    items = [{"id": "Line.P2.flow.x", "v": 1, "t": T}, {"id": "Line.T.temp", "v": 2}, {"id": "L" * 300, "v": 3}]
    assert read({"timestamp": T, "values": items}, **form) == [
        (0, "P2", "flow.x", T, 1),
        (0, "plant", "temp", T, 2),
    ]  # the last one has too long a name


def test_patterns_take_members_of_a_table_apart() -> None:
    """The members of one flat object may belong to several machines."""
    form = {"values": ".", "asset": "site", "patterns": (Pattern("name:", r"^(?P<asset>P\d)_(?P<channel>\w+)$"),)}
    assert read({"site": "S", "timestamp": T, "P1_flow": 1, "P2_flow": 2, "total": 3}, **form) == [
        (0, "P1", "flow", T, 1),
        (0, "P2", "flow", T, 2),
        (0, "S", "total", T, 3),
    ]


def test_an_item_without_time_or_asset_costs_itself() -> None:
    """An item that lacks its time or asset, or has an absurd one, is counted, and the others are read."""
    good = {"asset": "a", "channel": "c", "timestamp": T, "value": 1}
    bad = [
        {**good, "timestamp": None},
        {**good, "asset": ["a"]},
        {**good, "timestamp": -62_135_596_800_000},
        {**good, "timestamp": "yesterday"},
        {**good, "asset": "a" * 129},
    ]
    form: dict[str, Any] = {"each": "[]", "values": ""}
    for item in bad:
        decoded = mapped([item, good, 5, "Bad", [1]], **form)
        assert named(decoded.readings) == [(0, "a", "c", T, 1)]
        assert skipped(decoded) == {Skip.ITEM: 1, Skip.NAME: 1, Skip.TEXT: 1, Skip.NESTED: 1}
        assert len(mapped([item], **form).rejected) == 1
        assert mapped([item], **form).skipped[Skip.ITEM] == 0


@pytest.mark.parametrize(
    ("form", "message", "error", "field", "reason"),
    [
        ({}, [{"asset": "a"}], "WrongType", "", 'format.each to begin with "[]"'),
        ({"each": "[]"}, 5, "WrongType", "", "expected an object"),
        ({}, {"timestamp": T, "values": {"c": 1}}, "MissingField", "asset", "'asset', expected the asset's name"),
        ({}, {"asset": "a", "values": {"c": 1}}, "MissingField", "timestamp", "expected a time (ms)"),
        ({}, {"asset": "a", "timestamp": T, "values": 5}, "WrongType", "values", "found 5, expected an object of"),
        (
            {"each": "r[]", "values": ""},
            {"r": [{"channel": "c", "value": 1, "asset": ""}]},
            "MissingField",
            "item 0: timestamp",
            "",
        ),
        ({}, {"asset": "", "timestamp": T, "values": {"c": 1}}, "BadId", "asset", "1 to 128"),
        ({}, b'{"asset":"a"', "NotJson", "", "complete JSON"),
        ({}, b"", "Empty", "", ""),
        ({}, b'{"a":' * 3000, "TooDeep", "", ""),
    ],
)
def test_what_rejects_a_message(form: dict[str, Any], message: Any, error: str, field: str, reason: str) -> None:
    """Syntax, time and asset reject a message, and a table that is none; the reason has place, found and expected."""
    (rejected,) = mapped(message, **form).rejected
    assert (rejected.error, rejected.field) == (error, field)
    assert reason in rejected.reason
    assert "expected" in rejected.reason


@pytest.mark.parametrize(
    ("form", "message", "reasons"),
    [
        ({}, {"asset": "a"}, {}),
        ({}, {"asset": "a", "timestamp": T, "values": None}, {}),
        ({"each": "data[]"}, {"MessageType": "keepalive"}, {}),
        ({"values": ""}, {"asset": "a", "channel": "c", "timestamp": T}, {"null": 1}),
        ({"values": ""}, {"asset": "a", "timestamp": T, "value": 1}, {"name": 1}),
        ({"values": ""}, {"asset": "a", "channel": "c", "timestamp": T, "value": "Bad"}, {"text": 1}),
        (
            {"values": "."},
            {"asset": "a", "timestamp": T, "c": [1], "d": True, "e": None},
            {"nested": 1, "boolean": 1, "null": 1},
        ),
        ({}, b'{"asset":"a","timestamp":%d,"values":{"c":NaN,"d":1e999,"e":-Infinity}}' % T, {"not_finite": 3}),
        ({}, b'{"asset":"a","timestamp":%d,"values":{"c":1%s}}' % (T, b"0" * 400), {"not_finite": 1}),
    ],
)
def test_what_is_absent_was_not_measured(form: dict[str, Any], message: Any, reasons: dict[str, int]) -> None:
    """A message without items, table or readable values is empty, and what was skipped is counted."""
    decoded = mapped(message, **form)
    assert (decoded.rejected, decoded.empty, len(decoded.readings)) == ([], 1, 0)
    assert skipped(decoded) == reasons


def test_a_bad_member_of_a_message_costs_itself() -> None:
    """Members that are no JSON leave their neighbours as they are, at any depth."""
    first = '{"asset":"a","timestamp":%d,"values":{"c":%s,"m":{"d":%s,"e":2}}}'
    body = f'[{first},{{"asset":"b","timestamp":%d,"values":{{"c":3}}}}]'
    kept = [(0, "a", "m.e", T, 2), (0, "b", "c", T, 3)]
    for bad in ("NaN", "-Infinity", '"Bad"', "null", "true", "[1]", "1e999", "1" + "0" * 400):
        found = read((body % (T, bad, bad, T)).encode(), each="[]")
        assert found == kept, bad


def test_states_and_numbers_in_texts_are_read_as_elsewhere() -> None:
    """`kinds` and `numbers` rule the values of every map."""
    body = {"asset": "a", "timestamp": T, "on": True, "x": "1 234,5", "n": 7}
    assert read(body, values=".", kinds=Kinds((("on", "state"),)), numbers="texts") == [
        (0, "a", "on", T, 1),
        (0, "a", "x", T, 1234.5),
        (0, "a", "n", T, 7),
    ]


def test_an_item_at_time_0_is_not_merged_with_one_of_the_broker() -> None:
    """The message's own time serves the items without one, and no item whose time is bad."""
    items = [{"asset": "a", "channel": "c", "value": 1}, {"asset": "a", "channel": "c", "value": 2, "timestamp": 0}]
    decoded = mapped(items, items[::-1], each="[]", values="", timestamp="timestamp|broker:")
    assert [(each[3], each[4]) for each in named(decoded.readings)] == [(NOW, 1.0)] * 2
    assert skipped(decoded) == {"item": 2}


def test_the_text_of_a_pattern_is_no_channel_of_a_flat_table() -> None:
    """A member that a pattern is searched in is used, and not counted as skipped."""
    form: dict[str, Any] = {"values": ".", "asset": "site", "patterns": (Pattern("dev", "(?P<asset>P.)"),)}
    decoded = mapped({"dev": "x/P1", "timestamp": T, "c": 1}, **form)
    assert [each[1:3] for each in named(decoded.readings)] == [("P1", "c")]
    assert skipped(decoded) == {}


@pytest.mark.parametrize("place", ["id", "topic:", "name:-1"])
def test_a_pattern_that_would_give_all_members_one_channel_is_refused(place: str) -> None:
    """In a table only the member's own name can be its channel; an asset may lie elsewhere."""
    with pytest.raises(ValueError, match="one channel"):
        Format("json", patterns=(Pattern(place, "(?P<channel>.+)"),))
    Format("json", patterns=(Pattern(place, "(?P<asset>.+)"), Pattern("name:", "(?P<channel>.+)")))


def test_a_key_with_a_schema_is_no_text_for_a_pattern() -> None:
    """A key that begins with the number of a schema is refused where a pattern is searched in it."""
    form: dict[str, Any] = {"patterns": (Pattern("key:", "(?P<asset>P.)"),)}
    body = {"asset": "a", "timestamp": T, "values": {"c": 1}}
    assert [each.error for each in mapped(body, key=b"\0\0\0\0\x05 P1", **form).rejected] == ["EncodedKey"]
    assert mapped(body, key=b"P1", **form).rejected == []


def test_values_of_the_reversible_encoding_are_read() -> None:
    """The preset of PubSub reads a value with its type, and a bare one."""
    fields = {"c": {"Value": {"Type": 11, "Body": 2.5}}, "d": {"Value": 3}}
    body = {"Messages": [{"DataSetWriterName": "P1", "Timestamp": "2023-11-14T22:13:20Z", "Payload": fields}]}
    form = {name: value for name, value in PRESETS["opcua-pubsub"].items() if name != "kind"}
    found = read(body, **form)
    assert [(each[1], each[2], each[4]) for each in found] == [("P1", "c", 2.5), ("P1", "d", 3.0)]


def test_groups_of_tags_are_not_mixed() -> None:
    """Tags of the same name in two groups of the United Manufacturing Hub are two assets' channels."""
    form = FormatSection(**filled({"preset": "umh"})).build()
    head, tail, plain = ("umh.v1.acme.P1._historian" + end for end in (".head", ".tail", ""))
    messages = [
        Message(Partition("t", 0), at, key.encode(), json.dumps({"timestamp_ms": T, "x": at}).encode(), T)
        for at, key in enumerate((head, tail, plain))
    ]
    readings = named(decode_all(messages, form, NOW, Names()).readings)
    found = [(asset, channel, value) for _, asset, channel, _, value in readings]
    assert found == [("acme.P1._historian.head", "x", 0), ("acme.P1._historian.tail", "x", 1), ("acme.P1", "x", 2)]
