"""Field maps: no item or member changes how another is read, and all ways through the decoder agree."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.decode.decode import Decoded, Format, decode_all
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.names import Names
from monitor.core.decode.select import Kinds
from tests.core.decode.decoding import message, named
from tests.core.decode.malformed import NOW

SCALARS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**20), 10**20),
    st.sampled_from([NOW, NOW - 1, str(NOW), 10**400, "", "a", "b", "Bad", "1,5", "m1.c", 192, 0, "a" * 129]),
    st.none(),
    st.booleans(),
)
KEYS = st.sampled_from(["asset", "channel", "timestamp", "value", "values", "q", "id", "m", "t"])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS | st.text("ab.", max_size=2), inner, max_size=4),
    max_leaves=6,
)
READINGS = st.fixed_dictionaries(
    {"asset": st.just("a") | SCALARS, "channel": st.just("c") | SCALARS, "timestamp": st.just(NOW) | SCALARS},
    optional={"value": st.just(1.5) | TREES, "q": TREES, "id": st.just("m1.d") | SCALARS, "t": SCALARS},
)
ITEMS = st.one_of(READINGS, READINGS, st.dictionaries(KEYS, TREES, max_size=6), TREES)
ARRAYS: list[dict[str, Any]] = [
    {"values": ""},
    {"values": "", "timestamp": "t|timestamp", "asset": "m|asset"},
    {"values": "", "quality": "q|is_null", "timestamp_unit": "auto"},
    {"values": "", "quality": "q", "patterns": (Pattern("topic:", "(?P<asset>r.*)"),)},
    {"values": "", "patterns": (Pattern("id", r"^(?P<asset>m\d)\.(?P<channel>.+)$"),)},
    {"values": ".", "asset": "asset|id", "timestamp_nanos": "t"},
    {"values": ".", "ignore": ("m*",), "numbers": "texts", "kinds": Kinds((("*", "state"),))},
    {"values": "values", "value": "value.value|value", "quality": "q"},
    {"values": ".", "asset": "name:|asset"},
]


def decoded(form: Format, *trees: Any) -> Decoded:
    values = [tree if isinstance(tree, bytes) else json.dumps(tree).encode() for tree in trees]
    return decode_all([message(value, at) for at, value in enumerate(values)], form, NOW, Names())


def readings(outcome: Decoded) -> list[tuple[Any, ...]]:
    return [row[1:] for row in named(outcome.readings)]


@pytest.mark.parametrize("number", range(len(ARRAYS)))
@given(st.lists(ITEMS, max_size=5))
def test_an_item_is_read_as_if_alone(number: int, items: list[Any]) -> None:
    """The readings of an array are those of its items in arrays of their own, in their order."""
    # Names that become one id are told apart by their order in a partition; see test_members_twin.py.
    form = Format("json", each="[]", **ARRAYS[number])
    whole, parts = decoded(form, items), decoded(form, *([item] for item in items))
    assert readings(whole) == readings(parts)
    lost = whole.skipped - parts.skipped
    assert set(lost) <= {"item"}
    if whole.rejected:
        assert not readings(parts)
        assert whole.rejected[0].error in {each.error for each in parts.rejected}


@pytest.mark.parametrize("number", range(len(ARRAYS)))
@given(st.lists(ITEMS, max_size=5), st.sampled_from(["", "[]"]))
def test_a_glance_and_a_closer_look_agree(number: int, items: list[Any], each: str) -> None:
    """A map that is looked up place by place reads the same as the same map at a glance, and rejects the same."""
    quick = Format("json", each=each, **ARRAYS[number])
    slow = dataclasses.replace(quick, timestamp_nanos=quick.timestamp_nanos or '"not there"')
    for trees in (items, [items]):
        one, other = decoded(quick, *trees), decoded(slow, *trees)
        assert readings(one) == readings(other)
        assert [item.reason for item in one.rejected] == [item.reason for item in other.rejected]
        assert (one.empty, +one.skipped, one.renamed) == (other.empty, +other.skipped, other.renamed)


@pytest.mark.parametrize("number", range(len(ARRAYS)))
@given(st.lists(ITEMS, max_size=5))
def test_a_member_that_is_no_json_leaves_the_others_alone(number: int, items: list[Any]) -> None:
    """With NaN behind all items, which no JSON decoder takes, the readings, counts and rejections are the same."""
    form = Format("json", each="r[]", **ARRAYS[number])
    text = json.dumps({"r": items})
    clean, dirty = decoded(form, text.encode()), decoded(form, f'{text[:-1]},"zz":NaN}}'.encode())
    assert readings(clean) == readings(dirty)
    assert [item.reason for item in clean.rejected] == [item.reason for item in dirty.rejected]
    assert (clean.empty, +clean.skipped) == (dirty.empty, +dirty.skipped)


NAMES = st.text("ab .\N{DEGREE SIGN}_", max_size=3)
PLAIN = SCALARS | st.lists(st.floats(allow_nan=False), max_size=2) | st.sampled_from([float("nan"), float("-inf")])


def alike(one: Decoded, other: Decoded) -> None:
    """Check that two formats have read the same."""
    assert named(one.readings) == named(other.readings)
    assert (one.empty, +one.skipped, one.renamed) == (other.empty, +other.skipped, other.renamed)
    assert [item.message.offset for item in one.rejected] == [item.message.offset for item in other.rejected]


@given(st.lists(st.dictionaries(NAMES, PLAIN, max_size=6), max_size=5), st.sampled_from(["numbers", "texts"]))
def test_tables_are_read_as_json_wide_reads_them(tables: Sequence[dict[str, Any]], numbers: str) -> None:
    """Kind json reads what json_wide reads; only objects in a table are read otherwise."""
    values = [json.dumps({"asset": "a", "timestamp": NOW, "values": table}).encode() for table in tables]
    options: dict[str, Any] = {"numbers": numbers, "max_channels": 5, "kinds": Kinds((("a*", "state"),))}
    alike(decoded(Format("json", **options), *values), decoded(Format("json_wide", **options), *values))

    flat = [json.dumps({"asset": "a", "timestamp": NOW} | table).encode() for table in tables]
    alike(decoded(Format("json", values=".", **options), *flat), decoded(Format("json_wide", **options), *values))


@given(st.lists(st.tuples(NAMES, PLAIN, st.sampled_from([NOW, NOW + 10**9, 0, -1])), max_size=6))
def test_readings_are_read_as_json_long_reads_them(rows: list[tuple[str, Any, int]]) -> None:
    """Kind json reads what json_long reads."""
    bodies = [{"asset": "a", "channel": name, "timestamp": time, "value": value} for name, value, time in rows]
    values = [json.dumps(body).encode() for body in bodies]
    one, other = decoded(Format("json", values=""), *values), decoded(Format("json_long"), *values)
    assert named(one.readings) == named(other.readings)
    assert +one.skipped == +other.skipped


def alone(item: Any) -> tuple[Any, ...] | None:
    """One reading by the naive rules: asset and channel a name or whole number, time a number or digits, one value."""

    def name(found: Any) -> str | None:
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            return None
        if isinstance(found, str):
            return found.replace(",", "_")
        return str(int(found)) if abs(found) < 2**64 and float(found).is_integer() else None

    if not isinstance(item, dict):
        return None
    asset, channel, value, time = (item.get(key) for key in ("asset", "channel", "value", "timestamp"))
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1.8e308:
        return None
    if isinstance(time, str) and time.isdecimal():
        time = int(time)
    if isinstance(time, bool) or not isinstance(time, int | float) or not 946_684_800_000 <= time <= NOW + 300_000:
        return None
    asset, channel = name(asset), name(channel)
    if not asset or not channel or len(asset) > 128 or len(channel) > 128:
        return None
    return asset, channel, int(time), float(value)


@given(st.lists(ITEMS, max_size=5))
def test_items_agree_with_a_naive_twin(items: list[Any]) -> None:
    """An array of readings gives what a few lines of Python read of each item."""
    assert readings(decoded(Format("json", each="[]", values=""), items)) == [
        reading for item in items if (reading := alone(item)) is not None
    ]
