"""Channels outside the values: tags, fields at the top level, places in JSON; and what is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest

from monitor.core.decode.decode import Format, decode_all
from monitor.core.decode.names import Names
from monitor.core.decode.select import Kinds
from monitor.core.records import Count, Message, Partition
from tests.core.decode.decoding import LINE, LONG, TELEGRAF, WIDE, message, named
from tests.core.decode.malformed import NOW

TEXTS = Kinds((("*recipe", "state"),), (("*recipe", ("A", "B")),))
RECIPE: dict[str, Any] = {"extra_channels": ("recipe",), "kinds": TEXTS}
Readings = list[tuple[str, str, float]]


def read(form: Format, *values: bytes | Message) -> Readings:
    """Return asset, channel and value of each reading; no message is rejected."""
    sent = [value if isinstance(value, Message) else message(value, at) for at, value in enumerate(values)]
    decoded = decode_all(sent, form, NOW, Names())
    assert decoded.rejected == []
    return [(asset, channel, value) for _, asset, channel, _, value in named(decoded.readings)]


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("quality", ["", "status"])
def test_a_tag_of_a_line_is_read_as_a_field(careful: bool, quality: str) -> None:
    """A line has its tag as a reading more, in the quick way and the careful one; a field of that name wins."""
    form = replace(LINE, asset_tag="host", quality=quality, **RECIPE)
    lines = [
        f"m,host=a,recipe=B v=1 {NOW}000000",
        f'm,host=b,recipe=B v=2,recipe="A" {NOW}000000',
        f"n,host=c v=3 {NOW}000000",
    ]
    found = read(form, "\n".join(["# note"] * careful + lines).encode())
    assert found == [
        ("a", "m.v", 1.0),
        ("a", "m.recipe", 1.0),
        ("b", "m.v", 2.0),
        ("b", "m.recipe", 0.0),
        ("c", "n.v", 3.0),
    ]


def test_a_tag_of_bad_quality_is_not_read() -> None:
    """A bad point has no channel, of tags neither."""
    lines = f'm,host=a,recipe=B v=1,status="Bad" {NOW}000000\nm,host=b,recipe=C v=1,status="Good" {NOW}000000'
    assert read(replace(LINE, asset_tag="host", quality="status", **RECIPE), lines.encode()) == [("b", "m.v", 1.0)]


@pytest.mark.parametrize("batch", [False, True])
def test_a_tag_of_a_metric_is_read_as_a_field(batch: bool) -> None:
    """Of Telegraf's JSON, single and in a batch; what is no text rejects nothing."""
    tags: list[dict[str, Any]] = [{"host": "a", "recipe": "A"}, {"host": "b", "recipe": [1]}, {"host": "c"}]
    metrics = [{"name": "m", "tags": each, "fields": {"v": 1.0}, "timestamp": NOW // 1000} for each in tags]
    bodies = [{"metrics": metrics}] if batch else metrics
    form = replace(TELEGRAF, asset_tag="host", channel_name="field", **RECIPE)
    found = read(form, *(json.dumps(body).encode() for body in bodies))
    assert found == [("a", "v", 1.0), ("a", "recipe", 0.0), ("b", "v", 1.0), ("c", "v", 1.0)]


@pytest.mark.parametrize(
    ("member", "value"), [('"B"', 1.0), ('"C"', None), ("true", 1.0), ("7", 7.0), ("null", None), ("[1]", None)]
)
def test_a_field_at_the_top_level_is_a_channel(member: str, value: float | None) -> None:
    """It is read as a value would be, beside a reading or a table; without it nothing is missing."""
    expected = [("a", "v", 1.0), *([("a", "recipe", value)] if value is not None else []), ("a", "v", 2.0)]
    for form, own in ((LONG, '"channel": "v", "value": {}'), (WIDE, '"values": {{"v": {}}}')):
        head = f'{{"asset": "a", "timestamp": {NOW}, '
        first, second = f'{head}"recipe": {member}, {own.format(1)}}}', f"{head}{own.format(2)}}}"
        assert read(replace(form, **RECIPE), first.encode(), second.encode()) == expected


@pytest.mark.parametrize("form", [WIDE, Format("json"), Format("json", values="", channel="name", value="is")])
def test_a_value_of_that_name_wins(form: Format) -> None:
    """A message that has the channel itself keeps its own value, also an item of one reading."""
    own: dict[str, Any] = {"name": "recipe", "is": "A"} if not form.values else {"values": {"recipe": "A"}}
    bodies = [{"asset": asset, "timestamp": NOW, "recipe": "B", **own} for asset in "ab"]
    own["values"] = {} if form.values else None
    bodies.append({"asset": "a", "timestamp": NOW + 1, "recipe": "B", **own, "name": "v", "is": 2})
    found = read(replace(form, **RECIPE), *(json.dumps(body).encode() for body in bodies))
    assert found[:2] == [("a", "recipe", 0.0), ("b", "recipe", 0.0)]
    assert found[-1] == ("a", "recipe", 1.0)


def test_a_tag_of_several_measurements_is_not_ambiguous() -> None:
    """Channels named by their field have a message's tag once, and only another value of it is counted."""
    form = replace(LINE, asset_tag="host", channel_name="field", **RECIPE)
    lines = [f"{name},host=a,recipe={tag} {name}v=1 {NOW}000000" for name, tag in (("m", "A"), ("n", "A"), ("o", "B"))]
    decoded = decode_all([message("\n".join(lines).encode())], form, NOW, Names())
    assert [row[2] for row in named(decoded.readings)] == ["mv", "recipe", "nv", "ov"]
    assert decoded.left_out[Count.READINGS_AMBIGUOUS] == 1


def test_places_in_json_are_channels_by_their_last_name() -> None:
    """Items have the channels of the objects around them, once for each asset and time."""
    form = Format(
        "json", each="items[]", values="", **{**RECIPE, "extra_channels": ("meta.recipe|item_recipe", "header:shift")}
    )
    items = [{"asset": "a", "timestamp": NOW, "channel": name, "value": 1} for name in ("v", "w")]
    items.append({"asset": "b", "timestamp": NOW, "channel": "v", "value": 1})
    body = json.dumps({"meta": {"recipe": "B"}, "items": items}).encode()
    sent = Message(Partition("t", 0), 0, None, body, NOW, (("shift", b"2"),))
    assert read(replace(form, numbers="texts"), sent) == [
        ("a", "v", 1.0),
        ("a", "recipe", 1.0),
        ("a", "shift", 2.0),
        ("a", "w", 1.0),
        ("b", "v", 1.0),
        ("b", "recipe", 1.0),
        ("b", "shift", 2.0),
    ]


def test_a_place_within_the_table_is_read_once() -> None:
    """A flat object whose member is named as an extra channel has it once, whatever else it holds."""
    form = Format("json", values=".", **{**RECIPE, "extra_channels": ("meta.recipe",)})
    body = {"asset": "a", "timestamp": NOW, "v": 1, "meta": {"recipe": "A", "x": 2}}
    assert read(form, json.dumps(body).encode()) == [("a", "v", 1.0), ("a", "recipe", 0.0), ("a", "meta.x", 2.0)]


@pytest.mark.parametrize(
    ("form", "extra", "named_"),
    [
        (LINE, ("host",), "host"),
        (LINE, ("x", "x"), "x"),
        (LINE, ("",), "an empty name"),
        (WIDE, ("timestamp",), "timestamp"),
        (TELEGRAF, ('a"b',), 'a"b'),
        (Format("json"), ("topic:2",), "'topic:2'"),
        (Format("json"), ("a.b", "c.b"), "b"),
        (Format("json"), ("a..b",), "'a..b'"),
        (Format("csv", asset_from="key"), ("recipe",), "column"),
    ],
)
def test_what_is_no_channel_is_refused(form: Format, extra: tuple[str, ...], named_: str) -> None:
    """A name that means something else, comes twice, or is none is refused with the setting."""
    with pytest.raises(ValueError, match=r"extra_channels|names") as refused:
        replace(form, extra_channels=extra)
    assert named_ in str(refused.value)
