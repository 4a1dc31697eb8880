"""The rules of `decode`, each checked with a hand-written message. `malformed.py` lists the messages to reject."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from monitor.core.decode.decode import Format, collisions, decode, decode_all
from monitor.core.decode.format import Skip
from monitor.core.decode.names import Names
from monitor.core.decode.select import Kinds
from monitor.core.records import Message, Renamed
from tests.core.decode.decoding import LINE, LONG, TELEGRAF, WIDE, bad, good, message, named
from tests.core.decode.malformed import (
    FORMATS,
    GOOD,
    MALFORMED,
    MEMBERS,
    NANOS,
    NOW,
    SECONDS,
    Member,
    batch,
    long,
    metric,
    wide,
)


@pytest.mark.parametrize(("name", "kind", "key", "value", "error"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_malformed_message_is_rejected_alone(
    name: str, kind: str, key: bytes | None, value: bytes | None, error: str
) -> None:
    """A malformed message is rejected with its error and does not change how its neighbours are decoded."""
    before, after = (message(item, offset, own) for offset, (own, item) in zip((0, 2), GOOD[kind], strict=True))
    expected, rejected = decode([before, after], FORMATS[kind], NOW)
    assert rejected == []
    culprit = message(value, 1, key)
    readings, rejected = decode([before, culprit, after], FORMATS[kind], NOW)
    assert named(readings) == named(expected)
    assert (readings.assets, readings.channels) == (expected.assets, expected.channels)
    assert [(item.error, item.stage) for item in rejected] == [(error, "decode")]
    assert rejected[0].message is culprit


@pytest.mark.parametrize(("name", "kind", "key", "value", "error"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_rejection_can_be_logged_as_it_is(
    name: str, kind: str, key: bytes | None, value: bytes | None, error: str
) -> None:
    """The field and reason of a rejection are at most 200 characters long and contain no control characters."""
    rejected = bad(FORMATS[kind], value, key=key)
    assert rejected.field.isprintable()
    assert rejected.reason.isprintable()
    assert len(rejected.field) <= 200
    assert len(rejected.reason) <= 200
    assert "expected" in rejected.reason


@pytest.mark.parametrize("row", MEMBERS, ids=[row[0] for row in MEMBERS])
def test_a_bad_member_costs_itself_alone(row: Member) -> None:
    """A member that cannot be read is skipped and counted, and the rest of its message and its neighbours are read."""
    _, kind, key, value, channels, reasons = row
    before, after = (message(item, offset, own) for offset, (own, item) in zip((0, 2), GOOD[kind], strict=True))
    expected = decode_all([before, after], FORMATS[kind], NOW, Names())
    decoded = decode_all([before, message(value, 1, key), after], FORMATS[kind], NOW, Names())
    assert decoded.rejected == []
    read = named(decoded.readings)
    assert [each for each in read if each[0] != 1] == named(expected.readings)
    assert tuple(each[2] for each in read if each[0] == 1) == channels
    assert decoded.empty == (0 if channels else 1)
    assert sorted((decoded.skipped - expected.skipped).elements()) == sorted(reasons)


def test_nothing_of_a_clean_stream_is_counted() -> None:
    """Messages of numbers alone have no skipped value, no empty message and no changed name."""
    decoded = decode_all([message(wide('{"c":1,"d":2}'))], WIDE, NOW, Names())
    assert (decoded.empty, decoded.skipped.total(), decoded.renamed) == (0, 0, [])


def states(*globs: str) -> Kinds:
    return Kinds(tuple((glob, "state") for glob in globs))


STATES = dataclasses.replace(WIDE, kinds=states("*.running", "Valve*"))


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        (STATES, wide('{"p.running":true,"Valve 1":false,"other":true,"n":1}'), {"p.running": 1, "Valve_1": 0, "n": 1}),
        (
            Format("json_long", kinds=states("c")),
            long(value="true"),
            {"c": 1},
        ),
        (
            dataclasses.replace(TELEGRAF, kinds=states("m.*")),
            metric('{"f":true,"g":"x","h":2}').encode(),
            {"m.f": 1, "m.h": 2},
        ),
        (dataclasses.replace(LINE, kinds=states("m.f")), b"m,host=a f=t,g=false,h=2", {"m.f": 1, "m.h": 2}),
        (dataclasses.replace(LINE, kinds=states("m.f")), b"#\nm,host=a f=F,g=false,h=2", {"m.f": 0, "m.h": 2}),
    ],
)
def test_booleans_of_states_are_one_and_zero(form: Format, value: bytes, expected: dict[str, float]) -> None:
    """A boolean of a channel that matches a pattern of `states` is 1 or 0; any other one is skipped."""
    assert {row[2]: row[4] for row in good(form, value)} == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.5", 1.5),
        (" -12,5 ", -12.5),
        ("1.234,5", 1234.5),
        ("1,234.5", 1234.5),
        ("1 234", 1234),
        ("1\N{THIN SPACE}234\N{NARROW NO-BREAK SPACE}567,8", 1_234_567.8),
        ("1\N{NO-BREAK SPACE}234", 1234),
        ("1'234.5", 1234.5),
        ("1,234,567", 1_234_567),
        ("1.234.567", 1_234_567),
        ("1,234", 1.234),
        ("\N{MINUS SIGN}5", -5),
        ("2e-3", 0.002),
        ("", None),
        ("Bad", None),
        ("nan", None),
        ("12 34", None),
        ("1,2.3,4", None),
        ("12.5 bar", None),
        ("1_000", None),
        ("0x10", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
        ("9" * 65, None),
    ],
)
def test_numbers_as_people_write_them(text: str, number: float | None) -> None:
    """With `numbers = "texts"` a text that is a number is read, in every format; without it is skipped."""
    forms = [(WIDE, wide(json.dumps({"m.f": text}))), (TELEGRAF, metric(json.dumps({"f": text})).encode())]
    forms.append((LINE, f'm,host=a f="{text}" {NANOS}'.encode()))
    for form, value in forms:
        rows = good(dataclasses.replace(form, numbers="texts"), value)
        assert [row[4] for row in rows] == ([] if number is None else [number])
        assert good(form, value) == []


def test_a_changed_name_belongs_to_the_first_that_became_it() -> None:
    """Two names never become one id: the first keeps it over batches, and a name that needs no change goes before."""
    names = Names()

    def read(*channels: str) -> tuple[list[float], list[Renamed]]:
        values = [wide(json.dumps({channel: place})) for place, channel in enumerate(channels)]
        decoded = decode_all([message(value, offset) for offset, value in enumerate(values)], WIDE, NOW, names)
        assert decoded.skipped[Skip.NAME_TAKEN] == len(channels) - len(decoded.readings) == decoded.empty
        return decoded.readings.value.tolist(), decoded.renamed

    changed = Renamed("channel", "a b", "a_b")
    assert read("a b", "a,b", "a b") == ([0, 2], [changed, Renamed("channel", "a,b", "a_b", owner="a b")])
    assert read("a b") == ([0], [])
    assert read("a b", "a_b", "a b") == ([0, 1], [Renamed("channel", "a b", "a_b", owner="a_b")])
    assert read("a b") == ([], [Renamed("channel", "a b", "a_b", owner="a_b")])
    assert read("a_b") == ([0], [])


def test_two_assets_never_become_one() -> None:
    """Readings of a second machine whose name becomes that of the first are skipped, and claim no channel."""
    values = [wide('{"c c":1}', '"P 1"'), wide('{"d d":2}', '"P,1"'), wide('{"d,d":3}', '"P2"')]
    decoded = decode_all([message(value, offset) for offset, value in enumerate(values)], WIDE, NOW, names := Names())
    assert [row[1:3] for row in named(decoded.readings)] == [("P_1", "c_c"), ("P2", "d_d")]
    assert names.assets == {"P_1": "P 1"}
    assert names.channels == {"c_c": "c c", "d_d": "d,d"}


def test_memory_for_changed_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit further names with other characters are skipped; ids and names that are known are read."""
    monkeypatch.setattr("monitor.core.decode.names.MOST", 2)
    names = Names()
    decoded = decode_all([message(wide('{"a a":1,"b b":2,"c c":3,"d":4}'))], WIDE, NOW, names)
    assert decoded.readings.channels == ("a_a", "b_b", "d")
    assert decoded.skipped[Skip.NAME] == 1
    assert len(names.channels) == 2


@pytest.mark.parametrize("kind", FORMATS)
def test_every_malformed_message_of_one_batch_keeps_its_error(kind: str) -> None:
    """In a batch of valid and malformed messages, each rejection keeps its error and the order of the batch."""
    rows = [row for row in MALFORMED if row[1] == kind]
    messages: list[Message] = []
    fine = []
    for row in rows:
        for own, value in GOOD[kind]:
            fine.append(message(value, len(messages), own))
            messages.append(fine[-1])
        messages.append(message(row[3], len(messages), row[2]))
    readings, rejected = decode(messages, FORMATS[kind], NOW)
    assert [item.error for item in rejected] == [row[4] for row in rows]
    assert named(readings) == named(decode(fine, FORMATS[kind], NOW)[0])


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [
        ("json_long", long(timestamp='"x"'), "timestamp"),
        ("json_wide", wide("[]"), "values"),
        ("influx_line", b"m,host=a f=1\n\n# note\nm,host=a f=1,g=on", "line 4"),
        ("influx_line", b'm,host=a f=1,s="two\nlines"\nm f=1', "line 3: tags.host"),
        ("influx_line", f"m,host=a f=1\n\nm,host=a f=1 {NOW}".encode(), "line 3: timestamp"),
        ("telegraf_json", metric(tags="{}").encode(), "tags.host"),
        ("telegraf_json", batch(metric(), metric("[]")), "metrics[1].fields"),
        ("telegraf_json", batch(metric(), metric(tags='{"host":""}')), "metrics[1].tags.host"),
    ],
)
def test_rejection_names_the_place(kind: str, value: bytes, field: str) -> None:
    """The field of a rejection is the path to the invalid value, with the line or metric number if needed."""
    assert bad(FORMATS[kind], value).field == field


def test_reason_says_what_was_found_and_expected() -> None:
    """A reason is a sentence with the culprit cut to a readable length."""
    assert bad(LONG, long(timestamp='"hot"')).reason == "found '\"hot\"', expected a whole number"
    assert bad(LONG, b"x" * 30_000).reason == "found 30000 bytes, expected at most 20000"
    assert len(bad(LONG, long(f'"{"x" * 9000}"')).reason) < 150


def test_no_messages_give_no_readings() -> None:
    """An empty batch decodes to empty columns of the right types in every format."""
    for form in FORMATS.values():
        readings, rejected = decode([], form, NOW)
        assert (len(readings), readings.assets, readings.channels, rejected) == (0, (), (), [])
        kinds = [column.dtype for column in (readings.asset, readings.channel, readings.time)]
        assert kinds == [np.int32, np.int32, np.int64]
        assert [readings.value.dtype, readings.offset.dtype] == [np.float64, np.int64]


def test_batch_names_only_what_it_reads_in_order_of_appearance() -> None:
    """Assets and channels without a reading are not named: not those of null, of texts or of rejected messages."""
    values = [wide('{"x":1}', '""'), wide('{"z":1,"n":null}', '"b"'), wide('{"y":1,"z":1}', '"a"')]
    readings, _ = decode([message(value) for value in values], WIDE, NOW)
    assert (readings.assets, readings.channels) == (("b", "a"), ("z", "y"))
    readings, _ = decode([message(batch(metric('{"s":"t"}', '{"host":"z"}'), metric()))], TELEGRAF, NOW)
    assert (readings.assets, readings.channels) == (("a",), ("m.f",))


def test_field_map_renames_what_is_read() -> None:
    """The JSON formats read the fields named by the format's field map."""
    form = Format("json_long", asset="Machine ID", channel="tag", timestamp="t", value="v")
    assert good(form, f'{{"Machine ID":"a","tag":"c","t":{NOW},"v":1}}'.encode()) == [(0, "a", "c", NOW, 1.0)]
    form = Format("json_wide", asset="id", timestamp="t", values="v")
    assert good(form, f'{{"id":"a","t":{NOW},"v":{{"c":1}}}}'.encode()) == [(0, "a", "c", NOW, 1.0)]


def test_other_fields_are_ignored_and_the_last_of_two_counts() -> None:
    """Unknown fields may hold any value, and the last occurrence of a repeated field is used."""
    assert good(LONG, long(more=',"x":{"y":[1e999,"z"]},"value":7')) == [(0, "a", "c", NOW, 7.0)]
    assert good(WIDE, wide('{"c":1,"c":2}')) == [(0, "a", "c", NOW, 2.0)]
    assert good(LINE, b"m,host=a f=1,f=2") == [(0, "a", "m.f", NOW, 2.0)]


BY_KEY = [
    Format(kind, asset_from="key", timestamp_unit=unit)
    for kind, unit in (("json_long", "ms"), ("json_wide", "ms"), ("influx_line", "ns"), ("telegraf_json", "s"))
]


@pytest.mark.parametrize("form", BY_KEY, ids=lambda form: form.kind)
def test_asset_may_be_the_key(form: Format) -> None:
    """With asset_from = key every format takes the asset from the message key and needs none in the value."""
    values = {
        "json_long": long("7"),
        "json_wide": wide('{"c":1.5}', "null"),
        "influx_line": f"c value=1.5 {NANOS}".encode(),
        "telegraf_json": metric('{"value":1.5}', name='"c"', tags="7").encode(),
    }
    assert good(form, values[form.kind], key=b"plant/press:1") == [(0, "plant/press:1", "c", NOW, 1.5)]


def test_telegraf_channel_is_measurement_and_field() -> None:
    """A channel is measurement.field, or the measurement alone if the field is called value, in both formats."""
    assert [row[2] for row in good(LINE, b"m,host=a value=1,f=2")] == ["m", "m.f"]
    assert [row[2] for row in good(TELEGRAF, metric('{"value":1,"f":2}').encode())] == ["m", "m.f"]
    assert [row[2] for row in good(LINE, b"a,host=a b.c=1", b"a.b,host=a c=2")] == ["a.b.c", "a.b.c"]


def test_texts_and_booleans_of_telegraf_are_skipped() -> None:
    """Non-numeric fields are skipped as long as one numeric field remains, and null means not measured."""
    expected = [(0, "a", "m.f", NOW, 1.0)]
    assert good(TELEGRAF, metric('{"s":"on","f":1,"b":true,"n":null}').encode()) == expected
    assert good(LINE, b'm,host=a s="on",f=1,b=true') == expected
    assert good(TELEGRAF, batch(metric('{"s":"on"}'), metric())) == expected
    assert good(LINE, b'm,host=a s="on"\nm,host=a f=1') == expected
    assert good(WIDE, wide('{"c":1,"bad id":null,"d":2}')) == [(0, "a", "c", NOW, 1.0), (0, "a", "d", NOW, 2.0)]


@pytest.mark.parametrize(
    ("unit", "text", "time"),
    [
        ("ms", "1700000000123", 1_700_000_000_123),
        ("us", "1700000000123999", 1_700_000_000_123),
        ("ns", "1700000000123999999", 1_700_000_000_123),
        ("s", "1700000000", 1_700_000_000_000),
        ("s", "1700000000.123", 1_700_000_000_123),
        ("s", "1700000000.1239", 1_700_000_000_123),
        ("s", "1.700000000123e9", 1_700_000_000_123),
        ("iso", '"2023-11-14T22:13:20Z"', 1_700_000_000_000),
        ("iso", '"2023-11-14 23:13:20.1+01:00"', 1_700_000_000_100),
        ("iso", '"2023-11-14t22:13:20.123999999999z"', 1_700_000_000_123),
        ("iso", '"2023-11-14T16:43:20.12-05:30"', 1_700_000_000_120),
    ],
)
def test_times_are_floored_to_milliseconds(unit: str, text: str, time: int) -> None:
    """Every unit is converted to ms UTC and floored, with or without other readings in the batch."""
    form = Format("json_wide", timestamp_unit=unit)
    other = (
        '"2023-11-14T22:13:20Z"' if unit == "iso" else str({"s": 1, "us": 10**6, "ns": 10**9}.get(unit, 1000) * SECONDS)
    )
    assert [row[3] for row in good(form, wide('{"c":1}', timestamp=text))] == [time]
    assert good(form, wide('{"c":1}', timestamp=text), wide('{"c":1}', timestamp=other))[0][3] == time


def test_every_millisecond_survives_as_seconds() -> None:
    """Seconds with three decimals are converted to exactly that millisecond, though few are exact in binary."""
    times = np.random.default_rng(0).integers(LONG.oldest_ms, NOW, 2000).tolist()
    values = [wide('{"c":1}', timestamp=f"{time // 1000}.{time % 1000:03}") for time in times]
    assert [row[3] for row in good(Format("json_wide", timestamp_unit="s"), *values)] == times


def test_time_limits_include_their_ends() -> None:
    """A reading may be as old as `oldest_ms` and at most `max_future_ms` ahead of its message."""
    assert good(LONG, long(timestamp=str(LONG.oldest_ms)), long(timestamp=str(NOW + LONG.max_future_ms)))
    assert bad(LONG, long(timestamp=str(LONG.oldest_ms - 1))).error == "TimeTooOld"
    assert bad(LONG, long(timestamp=str(NOW + LONG.max_future_ms + 1))).error == "TimeInFuture"


def test_future_is_measured_from_the_message() -> None:
    """The future limit depends on the message's own timestamp, at most `now`, so a later replay gives the same."""
    ahead = long(timestamp=str(NOW + 400_000))
    month = 30 * 86_400_000
    for now in (NOW, NOW + month):
        _, rejected = decode([message(ahead)], LONG, now)
        assert [item.error for item in rejected] == ["TimeInFuture"]
    _, rejected = decode([message(ahead, timestamp=NOW + month)], LONG, NOW)
    assert [item.error for item in rejected] == ["TimeInFuture"]
    assert len(decode([message(ahead, timestamp=-1)], LONG, NOW + 100_000)[0]) == 1
    assert len(decode([message(ahead, timestamp=0)], LONG, NOW)[0]) == 0


def test_sizes_may_reach_their_limits() -> None:
    """A message of exactly `max_message_bytes`, an id of 128 characters and exactly `max_channels` are accepted."""
    value = long(f'"{"a" * 128}"')
    assert good(dataclasses.replace(LONG, max_message_bytes=len(value)), value)
    assert bad(dataclasses.replace(LONG, max_message_bytes=len(value) - 1), value).error == "TooLarge"
    assert len(good(WIDE, wide('{"a":1,"b":1,"c":1,"d":1,"e":null}'))) == 4
    assert len(good(LINE, b"\n".join([b"m,host=a a=1,b=1,c=1,d=1"] * 100))) == 400


def test_ids_may_hold_all_permitted_characters() -> None:
    """Ids may contain letters, digits and . _ : / - characters."""
    assert good(LONG, long('"Az09._:/-"', '"-/:_.90zA"'))[0][1:3] == ("Az09._:/-", "-/:_.90zA")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "xml"}, "kind"),
        ({"kind": "csv"}, "must be key"),
        ({"kind": "json_long", "timestamp_unit": "min"}, "timestamp_unit"),
        ({"kind": "json_long", "asset_from": "tag"}, "field or key"),
        ({"kind": "json_wide", "asset_from": "tag"}, "field or key"),
        ({"kind": "influx_line"}, "tag or key"),
        ({"kind": "telegraf_json"}, "tag or key"),
        ({"kind": "influx_line", "asset_from": "key", "timestamp_unit": "iso"}, "iso"),
        ({"kind": "json_long", "channel": "asset"}, "twice"),
    ],
)
def test_contradictory_format_is_refused(settings: dict[str, Any], words: str) -> None:
    """A contradictory format is refused when it is constructed, and the error names the setting."""
    with pytest.raises(ValueError, match=words):
        Format(**settings)


def test_fields_that_are_not_read_may_share_a_name() -> None:
    """The field map is checked only for the fields that the kind reads."""
    assert Format("json_wide", asset_from="key", asset="values", channel="values").mapped() == ["timestamp", "values"]


def test_collisions_counts_readings_that_share_their_place() -> None:
    """Every reading that shares asset, channel and time with another is counted, and no other reading is."""
    fast = [metric(timestamp=str(SECONDS - second)) for second in (0, 0, 0, 1, 2, 2)]
    readings, _ = decode([message(value.encode()) for value in fast], TELEGRAF, NOW)
    assert collisions(readings) == 5
    other = [metric(), metric(tags='{"host":"b"}'), metric('{"g":1}'), metric(timestamp=str(SECONDS - 1))]
    assert collisions(decode([message(batch(*other))], TELEGRAF, NOW)[0]) == 0
    assert collisions(decode([], TELEGRAF, NOW)[0]) == 0
