"""Quality codes of all kinds, and formats that skip values of bad quality."""

import json
from typing import Any

import pytest

from monitor.core.decode.decode import Format, decode_all
from monitor.core.decode.format import Skip
from monitor.core.decode.names import Names
from monitor.core.decode.quality import Qualities, quality_of
from tests.core.decode.decoding import message, named
from tests.core.decode.malformed import NANOS, NOW, SECONDS

GOOD: tuple[Any, ...] = (
    *(0, 192, 216, 255, 0x0030_0000, 0x400, 0x480, True, 192.0),
    *("Good", "good", "OK", "ok (0x0)", "OK (0x0)", "Good, non-specific", "GOOD_LOCAL_OVERRIDE", "GoodClamped", "192"),
    *("The operation succeeded. StatusGood (0x0)", "0x00300000", "true", " valid ", "0", "GUT", "192.0"),
    *({"Code": 0}, {"Code": 0, "Symbol": "Good"}, {"type": "Int32", "value": 192}, {}, None, "", " "),
)
UNCERTAIN: tuple[Any, ...] = (
    *(64, 80, 127, 0x4080_0000, "Uncertain", "Uncertain (0x40000000)", "UncertainLastUsableValue", "questionable"),
    {"Code": 0x4090_0000, "Symbol": "UncertainLastUsableValue"},
)
BAD: tuple[Any, ...] = (
    *(1, 24, 63, 128, 191, 500, 600, 0x8000_0000, 2_156_331_008, -2_147_483_136, 1e300, 10**30, False),
    *("Bad", "BadNoCommunication", "Bad (0x80000000)", "StatusBadNodeIDUnknown (0x80340000)", "24", "-2147483136"),
    *("stale", "nonsense", "false", "x" * 5000, "Not Good", [0], [], {"Code": 2_147_483_648}, {"Symbol": "BadX"}),
    *({"other": 1}, {"value": [192]}, {"value": {"value": 192}}, Skip.TEXT),
)


@pytest.mark.parametrize("found", [*GOOD, *UNCERTAIN])
def test_good_and_uncertain_qualities_count(found: Any) -> None:
    """OPC UA, OPC DA, Sparkplug and words: a good or uncertain value counts, also one without a quality."""
    assert Qualities().counts(found)
    assert Qualities().counts(found)  # remembered


@pytest.mark.parametrize("found", BAD)
def test_bad_and_unknown_qualities_do_not_count(found: Any) -> None:
    """A bad code, an unknown word and a thing that is no quality do not count."""
    assert not Qualities().counts(found)
    assert not Qualities(uncertain="missing").counts(found)


@pytest.mark.parametrize("found", UNCERTAIN)
def test_uncertain_values_count_by_choice(found: Any) -> None:
    """With `uncertain` = missing an uncertain value does not count, and a good one does."""
    assert not Qualities(uncertain="missing").counts(found)
    assert Qualities(uncertain="missing").counts("Good")


def test_own_words_win() -> None:
    """A plant's own table is asked first, by text, whatever the case and whether a number or a text."""
    qualities = Qualities((("0", "bad"), ("Gestoert", "bad"), ("7", "good"), ("true", "bad"), ("maybe", "uncertain")))
    assert [qualities.counts(each) for each in (0, "0", 0.0, " gestoert", 7, "7", True, "maybe", 192, {"Code": 0})] == [
        *(False, False, False, False, True, True, False, True, True, False)
    ]
    assert Qualities((("1", "good"),)).counts(1)
    assert not Qualities((("", "bad"),)).counts(" ")


def test_own_words_win_at_a_glance() -> None:
    """An own word for true rules arrays of ordinary readings, too."""
    form = Format("json", each="[]", values="", quality="q", qualities=(("true", "bad"),))
    items = [item(True), item(False), item(192)]
    decoded = decode_all([message(json.dumps(items).encode())], form, NOW, Names())
    assert (len(decoded.readings), decoded.skipped[Skip.QUALITY]) == (1, 2)


def test_a_header_of_quality_is_no_member() -> None:
    """Where a header holds the quality, a member with an empty name is none."""
    form = Format("json", each="[]", values="", quality="header:q")
    items = [item(None) | {"": "Bad"}]
    decoded = decode_all([message(json.dumps(items).encode())], form, NOW, Names())
    assert (len(decoded.readings), decoded.skipped[Skip.QUALITY]) == (1, 0)
    assert not Qualities((("1", "good"),)).counts(False)
    assert Qualities((("1", "good"),)).counts(True)


def test_numbers_in_texts_are_the_numbers() -> None:
    """A code in a text has the quality of the number, for all codes of OPC DA."""
    assert all(quality_of(str(code)) == quality_of(code) for code in range(-2, 300))


def item(quality: Any, **more: Any) -> dict[str, Any]:
    return {"asset": "a", "channel": "c", "timestamp": NOW, "value": 1, "q": quality} | more


@pytest.mark.parametrize(
    ("form", "body", "read", "skipped"),
    [
        ({"values": "", "quality": "q"}, item("Good"), 1, 0),
        ({"values": "", "quality": "q"}, item(24), 0, 1),
        ({"values": "", "quality": "q"}, item("Bad", timestamp=None, asset=None), 0, 1),
        ({"values": "", "quality": "q", "uncertain": "missing"}, item(64), 0, 1),
        ({"values": "", "quality": "q", "qualities": (("0", "bad"),)}, item(0), 0, 1),
        ({"values": "", "quality": "is_null"}, item(0, is_null=True), 0, 1),
        ({"values": "", "quality": "is_null|p.Quality"}, item(0, is_null=False, p={"Quality": {"value": 500}}), 0, 1),
        ({"values": "", "quality": "is_null|q"}, item(192, is_null=False), 1, 0),
        ({"values": ".", "quality": "q"}, {"asset": "a", "timestamp": NOW, "c": 1, "d": 2, "q": 0}, 2, 0),
        ({"values": ".", "quality": "q"}, {"asset": "a", "timestamp": NOW, "c": 1, "d": None, "q": False}, 0, 1),
        ({"quality": "s"}, {"asset": "a", "timestamp": NOW, "values": {"c": {"value": 1, "s": "Bad"}, "d": 2}}, 1, 1),
        ({"quality": "s"}, {"asset": "a", "timestamp": NOW, "values": {"c": {"s": {"Code": 2**31}}, "d": 2}}, 1, 0),
    ],
)
def test_values_of_bad_quality_are_skipped(form: dict[str, Any], body: Any, read: int, skipped: int) -> None:
    """The quality of an item, a table or a member decides; a bad value needs neither time nor asset."""
    decoded = decode_all([message(json.dumps(body).encode())], Format("json", **form), NOW, Names())
    assert (len(decoded.readings), decoded.skipped[Skip.QUALITY], decoded.rejected) == (read, skipped, [])


LINES = [
    (b'm,host=a Quality="OK (0x0)",f=1', ["m.f"], 0),
    (b'm,host=a f=1,Quality="Bad (0x80000000)",g=2i', [], 2),
    (b'm,host=a f=1,Quality="StatusGood (0x0)",s="x,Quality=\\"Bad\\""', ["m.f"], 0),
    (b"m,host=a,Quality=Bad f=1", [], 1),
    (b"m,host=a,Quality=Good f=1", ["m.f"], 0),
    (b'm,host=a,Quality="Good" f=1', [], 1),  # with its quotes it is another word
    (b"m,host=a f=1,Quality=192i", ["m.f"], 0),
    (b"m,host=a f=1,Quality=24", [], 1),
    (b"m,host=a f=1,Quality=f", [], 1),
    (b'm,host=a f=1,Quality=""', ["m.f"], 0),
    (b"m,host=a f=1,Quality=1e300", [], 1),
    (b"m,host=a f=1,Quality=10E299", [], 1),
    (b'm,host=a note="x,Quality=",flow=5,b="y"', ["m.flow"], 0),
    (b'm,host=a my\\ Quality="Bad",f=1', ["m.f"], 0),
    (b'm,host=a f=1,Quality="a\\"Good"', [], 1),
    (b'm,host=a f=2\nm,host=a g=3,Quality="Bad"', ["m.f"], 1),
]


@pytest.mark.parametrize("before", [b"", b"# careful\n"])
@pytest.mark.parametrize(("line", "channels", "skipped"), LINES)
def test_a_field_or_tag_of_a_point_rules_its_fields(
    before: bytes, line: bytes, channels: list[str], skipped: int
) -> None:
    """In line protocol the quality rules all fields of its point and is none of them, in both ways of reading."""
    form = Format("influx_line", asset_from="tag", timestamp_unit="ns", quality="Quality")
    decoded = decode_all([message(before + line + f" {NANOS}".encode())], form, NOW, Names())
    assert decoded.rejected == []
    assert [each[2] for each in named(decoded.readings)] == channels
    assert decoded.skipped[Skip.QUALITY] == skipped


@pytest.mark.parametrize("asset_from", ["tag", "key"])
@pytest.mark.parametrize("tag", [None, "Good", "Bad"])
@pytest.mark.parametrize("field", [None, "OK (0x0)", 192, "Bad", 24, False])
def test_a_field_or_tag_of_a_metric_rules_its_fields(asset_from: str, tag: str | None, field: Any) -> None:
    """In Telegraf's JSON the quality rules the fields of its metric alone; the worse of field and tag counts."""
    tags = {"host": "a"} | ({} if tag is None else {"Quality": tag})
    fields = {"f": 1.5} | ({} if field is None else {"Quality": field})
    metrics = [{"name": "m", "tags": each, "fields": own, "timestamp": SECONDS} for each, own in (
        (tags, fields), ({"host": "a"}, {"g": 2}),
    )]  # fmt: skip
    form = Format("telegraf_json", asset_from=asset_from, timestamp_unit="s", quality="Quality")
    decoded = decode_all([message(json.dumps({"metrics": metrics}).encode(), key=b"a")], form, NOW, Names())
    good = tag != "Bad" and field in {None, "OK (0x0)", 192}
    assert [each[2] for each in named(decoded.readings)] == (["m.f", "m.g"] if good else ["m.g"])
    assert decoded.skipped[Skip.QUALITY] == (0 if good else 1)


def test_a_metric_without_tags_has_no_quality_of_its_own() -> None:
    """Where the key names the asset, tags may be absent or null."""
    form = Format("telegraf_json", asset_from="key", timestamp_unit="s", quality="Quality")
    for tags in ("", '"tags":null,'):
        value = f'{{"name":"m",{tags}"fields":{{"f":1}},"timestamp":{SECONDS}}}'.encode()
        decoded = decode_all([message(value, key=b"a")], form, NOW, Names())
        assert [each[2] for each in named(decoded.readings)] == ["m.f"]
