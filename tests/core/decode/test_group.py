"""The group of a reading: where messages name it, what is none, and what is refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from monitor.core.decode.decode import Format, decode
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.select import Globs, Select
from monitor.core.records import Message, Partition
from tests.core.decode.decoding import LINE, LONG, TELEGRAF, WIDE, message, named
from tests.core.decode.malformed import NOW

Groups = dict[tuple[str, str], str]  # of asset and channel
MAPPED = Format("json", values="")


def groups(form: Format, *values: bytes | Message) -> Groups:
    """Decode messages, and return the group of each asset's channel."""
    sent = [value if isinstance(value, Message) else message(value, at) for at, value in enumerate(values)]
    readings, rejected = decode(sent, form, NOW)
    assert rejected == []
    assert readings.group is not None
    assert sorted(set(readings.group.tolist())) == list(range(len(readings.groups)))
    names = [readings.groups[code] for code in readings.group.tolist()]
    return {(asset, channel): name for (_, asset, channel, *_), name in zip(named(readings), names, strict=True)}


def line(head: str, field: str = "v=1") -> bytes:
    return f"{head} {field} {NOW}000000".encode()


def telegraf(name: str, tags: dict[str, Any]) -> bytes:
    return json.dumps({"name": name, "tags": tags, "fields": {"v": 1.0}, "timestamp": NOW // 1000}).encode()


LINES = replace(LINE, asset_tag="host")
METRICS = replace(TELEGRAF, asset_tag="host")


@pytest.mark.parametrize(("kind", "name"), [("drying", "drying"), (r"dry\ ing", "dry_ing")])
def test_a_tag_or_the_measurement_of_a_line_is_its_group(kind: str, name: str) -> None:
    """Each line of a message has its own group, none without the tag; escapes need the careful way."""
    both = b"\n".join([line("m,host=a,kind=pump"), line("n,host=b"), line(f"m,host=c,kind={kind}")])
    names = groups(replace(LINES, group="tag:kind"), both)
    assert names == {("a", "m.v"): "pump", ("b", "n.v"): "", ("c", "m.v"): name}
    names = groups(replace(LINES, group="measurement:"), both)
    assert names == {("a", "m.v"): "m", ("b", "n.v"): "n", ("c", "m.v"): "m"}


def test_a_tag_or_the_measurement_of_a_metric_is_its_group() -> None:
    """Of Telegraf's JSON, single and in a batch; a tag that is no text is none, and rejects nothing."""
    single = [telegraf("m", {"host": "a", "kind": "pump"}), telegraf("n", {"host": "b", "kind": [1]})]
    batch = b'{"metrics":[' + telegraf("m", {"host": "c"}) + b"," + telegraf("n", {"host": "d", "kind": "fan"}) + b"]}"
    names = groups(replace(METRICS, group="tag:kind"), *single, batch)
    assert {asset: name for (asset, _), name in names.items()} == {"a": "pump", "b": "", "c": "", "d": "fan"}
    names = groups(replace(METRICS, group="measurement:"), *single, batch)
    assert {asset: name for (asset, _), name in names.items()} == {"a": "m", "b": "n", "c": "m", "d": "n"}


def test_groups_follow_points_through_filters_and_patterns() -> None:
    """Points that are left out, rejected, or split into machines by a pattern leave each reading its own group."""
    form = replace(LINES, group="tag:kind", select=Select(measurements=Globs(("m",)), assets=Globs((), ("x",))))
    sent = b"\n".join(line(each) for each in ["cpu,kind=no", "m,host=x,kind=y", "m,host=b,kind=fan", "m,host=c,kind=z"])
    assert set(groups(form, sent).values()) == {"fan", "z"}

    split = replace(LINES, group="tag:kind", patterns=(Pattern("name:", r"^(?P<asset>P\d)_(?P<channel>.+)"),))
    fields = [line("m,host=h,kind=pump", "P1_q=1,P2_q=2"), line("m,host=h,kind=fan", "P3_q=3")]
    assert groups(split, *fields) == {("P1", "q"): "pump", ("P2", "q"): "pump", ("P3", "q"): "fan"}

    bad = line("m,host=,kind=late")
    readings, rejected = decode([message(bad), message(fields[0], 1)], replace(LINES, group="tag:kind"), NOW)
    assert len(rejected) == 1
    assert readings.groups == ("pump",)


OF_JSON: Sequence[tuple[Any, str]] = [("pump", "pump"), (7, "7"), (7.0, "7"), ("a b", "a_b"), ("", "")]
NONE: Sequence[Any] = [None, True, 1.5, {"a": 1}, ["x"], "x" * 129]


@pytest.mark.parametrize("form", [LONG, WIDE, MAPPED, replace(MAPPED, values="values"), replace(MAPPED, values=".")])
@pytest.mark.parametrize(("found", "name"), [*OF_JSON, *((each, "") for each in NONE)])
def test_a_member_of_json_is_the_group_and_never_a_channel(form: Format, found: Any, name: str) -> None:
    """Texts and whole numbers are names, and all else is none; a message without the member is read, too."""
    base = {"asset": "a", "channel": "c", "timestamp": NOW, "value": 1.5, "values": {"c": 1.5}}
    if form.values == ".":
        base = {"asset": "a", "timestamp": NOW, "c": 1.5}
    sent = json.dumps({**base, "kind": found}).encode(), json.dumps({**base, "asset": "b"}).encode()
    assert groups(replace(form, group="kind"), *sent) == {("a", "c"): name, ("b", "c"): ""}


def test_an_item_takes_the_nearest_group_around_it() -> None:
    """Items of an array have their own group or that of the message, also two of one asset and time."""
    item = {"asset": "a", "timestamp": NOW, "value": 1.0}
    items = [{**item, "channel": "c", "kind": "pump"}, {**item, "channel": "d"}, {**item, "channel": "e", "value": "x"}]
    items += [{**item, "channel": "f", "timestamp": str(NOW)}]
    form = replace(MAPPED, each="data[]", group="kind", timestamp_unit="auto")
    names = groups(form, json.dumps({"kind": "fan", "data": items}).encode())
    assert names == {("a", "c"): "pump", ("a", "d"): "fan", ("a", "f"): "fan"}


def test_the_name_of_a_member_around_the_values_is_the_group() -> None:
    """A field map reads it at name:, as it does the asset."""
    form = Format("json", each="{}.{}", values=".", asset="name:-1", group="name:-2")
    tree = {"pumps": {"P1": {"timestamp": NOW, "q": 1.0}}, "fans": {"F1": {"timestamp": NOW, "n": 2.0}}}
    assert groups(form, json.dumps(tree).encode()) == {("P1", "q"): "pumps", ("F1", "n"): "fans"}


@pytest.mark.parametrize("form", [LONG, WIDE, LINES, METRICS, replace(MAPPED, values="values")])
@pytest.mark.parametrize(
    ("place", "name"), [("topic:", "plant/pumps"), ("topic:2", "pumps"), ("topic:-1", "pumps"), ("key:", "k")]
)
def test_topic_key_and_header_name_a_group_in_every_format(form: Format, place: str, name: str) -> None:
    """They hold for all readings of the message; a header that is not there is no group."""
    values = {"values": {"v": 1.0}, "channel": "v", "value": 1.0}
    value = json.dumps({"asset": "a", "timestamp": NOW, **values}).encode()
    value = {"influx_line": line("m,host=a"), "telegraf_json": telegraf("m", {"host": "a"})}.get(form.kind, value)
    sent = Message(Partition("plant/pumps", 0), 0, b"k", value, NOW, (("class", b"pump"),))
    assert set(groups(replace(form, group=place), sent).values()) == {name}
    assert set(groups(replace(form, group="header:class"), sent).values()) == {"pump"}
    assert set(groups(replace(form, group="header:other"), sent).values()) == {""}


@pytest.mark.parametrize("form", [LONG, WIDE, LINES, METRICS, MAPPED])
def test_without_a_place_there_are_no_groups(form: Format) -> None:
    """A batch then has no column of groups."""
    readings, _ = decode([message(line("m,host=a"))], form, NOW)
    assert readings.group is None
    assert readings.groups == ()


REFUSED = [
    (LINES, "kind", "group of influx_line is tag:NAME, measurement:, or of the message topic:, key: or header:NAME"),
    (METRICS, "tag:", "no place"),
    (METRICS, "name:", "group of telegraf_json is tag:NAME"),
    (LINES, "tag:host", "names a tag that names something else, too: host"),
    (replace(LINES, channel_tag="sensor"), "tag:sensor", "something else, too: sensor"),
    (replace(METRICS, quality="q"), "tag:q", "something else, too: q"),
    (LONG, "asset", "names a field that is something else, too: asset"),
    (
        WIDE,
        "a.b",
        "at the top level, or of the message topic:, key: or header:NAME; got 'a.b'. Set kind to json",
    ),
    (LONG, "a|b", "a name at the top level"),
    (MAPPED, "broker:", "only timestamp can be it"),
    (MAPPED, "a[", "no place"),
    (MAPPED, "name:", "needs named members"),
    (MAPPED, ".", "is the item itself"),
    (Format("csv", asset_from="key"), "kind", "rows of tables name no group"),
    (WIDE, 'a"b', "no place"),
    (METRICS, 'tag:a"b', "names with a quote"),
]


@pytest.mark.parametrize(("form", "place", "sentence"), REFUSED)
def test_a_place_that_the_messages_do_not_have_is_refused(form: Format, place: str, sentence: str) -> None:
    """The sentence says what is possible, and names what was given."""
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(").replace("|", r"\|")):
        replace(form, group=place)
