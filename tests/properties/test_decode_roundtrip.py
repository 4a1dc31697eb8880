"""decode(encode(readings)) == readings in every format and any split into messages, and no bytes make it raise."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.decode.decode import Format, collisions, decode, decode_all
from monitor.core.decode.names import Names
from monitor.core.records import Message, Rejected
from tests.core.decode.decoding import Named, message, named
from tests.core.decode.malformed import FORMATS, GOOD, MALFORMED, MEMBERS, NANOS, NOW
from tests.core.decode.mapped.maps import MAPS, MAPS_GOOD, MAPS_ODD

ALL = FORMATS | MAPS

IDS = st.text("abcXYZ019._:/-", min_size=1, max_size=12)
VALUES = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.integers(946_684_800_000, NOW)
UNITS = {"ms": 1, "us": 1000, "ns": 1_000_000}
TEXTS = st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace").decode())


class Point(NamedTuple):
    """The content of one message or line: values by field of a measurement."""

    asset: str
    measurement: str
    time: int
    values: dict[str, float]


POINTS = st.lists(
    st.builds(Point, IDS, IDS, TIMES, st.dictionaries(IDS, VALUES, min_size=1, max_size=5)), min_size=1, max_size=6
)


def expected(points: Sequence[Point], *, telegraf: bool, together: bool = False) -> list[Named]:
    """Return the readings of points, each in its own message or all in one."""
    rows = []
    for index, point in enumerate(points):
        for field, value in point.values.items():
            channel = field if not telegraf else point.measurement + (f".{field}" if field != "value" else "")
            rows.append((0 if together else index, point.asset, channel, point.time, value))
    return rows


def readings(form: Format, values: Sequence[bytes]) -> list[Named]:
    """Decode messages, check that none is rejected, and return the readings."""
    batch, rejected = decode([message(value, offset) for offset, value in enumerate(values)], form, NOW)
    assert rejected == []
    return named(batch)


@given(POINTS, st.sampled_from(sorted(UNITS)))
def test_json_round_trip(points: list[Point], unit: str) -> None:
    """Readings written as long or wide JSON, in any unit finer than a second, are decoded exactly."""
    wide = [{"asset": point.asset, "timestamp": point.time * UNITS[unit], "values": point.values} for point in points]
    assert readings(Format("json_wide", timestamp_unit=unit), [json.dumps(item).encode() for item in wide]) == expected(
        points, telegraf=False
    )
    long = [
        {"asset": asset, "channel": channel, "timestamp": time * UNITS[unit], "value": value}
        for _, asset, channel, time, value in expected(points, telegraf=False)
    ]
    rows = readings(Format("json_long", timestamp_unit=unit), [json.dumps(item).encode() for item in long])
    assert [row[1:] for row in rows] == [row[1:] for row in expected(points, telegraf=False)]


@given(POINTS, st.booleans(), st.dictionaries(st.text("tuv"), TEXTS | st.booleans() | st.none(), max_size=3))
def test_telegraf_json_round_trip(points: list[Point], together: bool, skipped: dict[str, str | bool | None]) -> None:
    """Telegraf metrics, single or in a batch, are decoded exactly, without their texts and booleans."""
    metrics = [
        {
            "name": point.measurement,
            "tags": {"host": point.asset, "line": "x"},
            "fields": skipped | point.values,
            "timestamp": point.time / 1000,
        }
        for point in points
    ]
    form = Format("telegraf_json", asset_from="tag", timestamp_unit="s")
    values = [{"metrics": metrics}] if together else metrics
    found = readings(form, [json.dumps(value).encode() for value in values])
    assert sorted(found) == sorted(expected(points, telegraf=True, together=together))


def escaped(text: str, marks: str) -> str:
    for mark in marks:
        text = text.replace(mark, f"\\{mark}")
    return text


# No control characters, and no backslash at the end, where it would escape the separator.
TAGS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8).map(
    lambda text: text.rstrip("\\") + "x"
)


@given(POINTS, st.booleans(), st.dictionaries(TAGS, TAGS, max_size=2), st.dictionaries(TAGS, TEXTS, max_size=2))
def test_line_protocol_round_trip(
    points: list[Point], together: bool, tags: dict[str, str], texts: dict[str, str]
) -> None:
    """Lines with any tags and texts between fields, one or many per message, are decoded exactly."""
    quoted = [
        escaped(name, ", =") + '="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for name, text in texts.items()
    ]
    lines = []
    for point in points:
        others = "".join(f",{escaped(name, ', =')}={escaped(text, ', =')}" for name, text in tags.items())
        fields = [f"{field}={value!r}" for field, value in point.values.items()] + quoted
        lines.append(f"{point.measurement}{others},host={point.asset} {','.join(fields)} {point.time * 1_000_000}\n")
    form = Format("influx_line", asset_from="tag", timestamp_unit="ns")
    values = ["".join(lines)] if together else lines
    assert readings(form, [value.encode() for value in values]) == expected(points, telegraf=True, together=together)


def fields_of(rejected: Sequence[Rejected]) -> list[tuple[int, str, str, str]]:
    return [(item.message.offset, item.field, item.error, item.reason) for item in rejected]


@given(st.sampled_from(sorted(ALL)), st.data())
def test_cut_into_batches_does_not_matter(kind: str, data: st.DataObject) -> None:
    """Good, odd and malformed messages in any order, cut anywhere, give the same readings, counts and rejections."""
    rows = [row[2:4] for row in MALFORMED if row[1] == kind]
    odd = [row[2:4] for row in MEMBERS if row[1] == kind]
    pool: list[tuple[bytes | None, bytes | None]] = [*(GOOD | MAPS_GOOD)[kind] * 2, *rows, *odd]
    pool += [(None, value) for value in MAPS_ODD.get(kind, ())]
    chosen = data.draw(st.lists(st.sampled_from(pool), max_size=12))
    messages = [message(value, offset, key) for offset, (key, value) in enumerate(chosen)]
    whole = decode_all(messages, ALL[kind], NOW, one := Names())
    cuts = sorted(data.draw(st.sets(st.integers(0, len(messages)), max_size=4)) | {0, len(messages)})
    names = Names()
    parts = [decode_all(messages[begin:end], ALL[kind], NOW, names) for begin, end in itertools.pairwise(cuts)]
    assert list(itertools.chain.from_iterable(named(part.readings) for part in parts)) == named(whole.readings)
    assert list(itertools.chain.from_iterable(fields_of(part.rejected) for part in parts)) == fields_of(whole.rejected)
    assert sum((part.skipped for part in parts), Counter()) == +whole.skipped
    assert sum(part.empty for part in parts) == whole.empty
    assert names == one


PIECES = [
    "a",
    "b",
    "host",
    "=",
    "=",
    ",",
    ",",
    " ",
    " ",
    "\n",
    "\\",
    '"',
    "#",
    "\r",
    "\t",
    "1",
    ".5",
    "i",
    "u",
    "e9",
    "-",
]
PIECES += ["t", "null", "nan", "[", "\x01", "\x02", "\x00", "\N{LATIN SMALL LETTER O WITH DIAERESIS}", str(NANOS)]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.integers(0, 60), st.integers(0, 8))
def test_both_ways_through_line_protocol_agree(piece: str, at: int, cut: int) -> None:
    """A line with any inserted text is decoded equally by the plain path and, behind a comment, by the scanner."""
    line = f'm,host=a,x=y f=1,g=2i,s="t" {NANOS}\nm,host=b f=3'
    line = line[:at] + piece + line[at + cut :]
    plain, refused = decode([message(line.encode())], FORMATS["influx_line"], NOW)
    careful, again = decode([message(b"#\n" + line.encode())], FORMATS["influx_line"], NOW)
    assert named(plain) == named(careful)
    assert [(item.error, item.reason) for item in refused] == [(item.error, item.reason) for item in again]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("asset", "channel", "timestamp", "value", "values", "name", "tags", "fields", "metrics", "r", "M", "P", "q")


def dumped(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields).encode()


ANYTHING: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(st.sampled_from(FIELDS), JSON | st.just(NOW), max_size=6).map(dumped),
    st.lists(st.sampled_from([*PIECES, "{", "}", ":", "]"]), max_size=20).map(lambda pieces: "".join(pieces).encode()),
)


@given(st.sampled_from(sorted(ALL)), st.lists(st.tuples(st.none() | st.binary(max_size=5), st.none() | ANYTHING)))
def test_no_bytes_make_it_raise(kind: str, pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    """Whatever the bytes, each message is read, to finite values and permitted names, or rejected, or empty."""
    messages: list[Message] = [message(value, offset, key) for offset, (key, value) in enumerate(pairs)]
    batch, rejected, empty, *_ = decode_all(messages, ALL[kind], NOW, Names())
    read, refused = set(batch.offset.tolist()), {item.message.offset for item in rejected}
    assert len(read | refused) == len(messages) - empty
    assert not read & refused
    permitted: Callable[[str], bool] = lambda name: name.isascii() and name.isprintable() and " " not in name  # noqa: E731
    assert all(map(permitted, batch.assets + batch.channels))
    assert all(item.reason.isprintable() and item.field.isprintable() for item in rejected)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("cd"), st.integers(NOW - 2, NOW)), max_size=12))
def test_collisions_agree_with_counting(keys: list[tuple[str, str, int]]) -> None:
    """The number of collisions equals a count of the positions one by one."""
    values = [
        dumped({"asset": asset, "channel": channel, "timestamp": time, "value": 1}) for asset, channel, time in keys
    ]
    batch, _ = decode([message(value) for value in values], Format("json_long"), NOW)
    assert collisions(batch) == sum(1 for key in keys if keys.count(key) > 1)
