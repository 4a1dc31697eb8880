"""What [select] leaves out: measurements, assets and channels, counted and never a dead letter."""

import fnmatch
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.decode.decode import Format, decode, decode_all
from monitor.core.decode.names import Names
from monitor.core.decode.select import Globs, Kinds, Select
from monitor.core.records import FILTERED
from tests.core.decode.decoding import LINE, LONG, TELEGRAF, WIDE, Named, message, named
from tests.core.decode.malformed import NOW

TAGGED = {"line": replace(LINE, asset_tag="asset"), "json": replace(TELEGRAF, asset_tag="asset")}
GLOBS = ("*", "P*", "P?", "p*", "P[13]", "flow", "*flow", "pumps.*", "x")
_globs = st.lists(st.sampled_from(GLOBS), max_size=3).map(tuple)
_some = st.builds(Globs, _globs, _globs)


def selected(form: Format, *values: bytes) -> tuple[list[Named], list[str], list[int]]:
    """The readings, the classes of the errors, and the numbers left out by measurement, asset and channel."""
    messages = [message(value, offset) for offset, value in enumerate(values)]
    decoded = decode_all(messages, form, NOW, Names())
    left_out = [decoded.left_out.get(name, 0) for name in FILTERED]
    return named(decoded.readings), [each.error for each in decoded.rejected], left_out


def point(kind: str, measurement: str, asset: str | None, **fields: float) -> bytes:
    """One point of Telegraf, with the collector's own tag and perhaps the asset's."""
    tags = {"host": "edge01"} | ({"asset": asset} if asset is not None else {})
    if kind == "json":
        return json.dumps({"name": measurement, "tags": tags, "fields": fields, "timestamp": NOW // 1000}).encode()
    head = ",".join([measurement, *(f"{name}={value}" for name, value in tags.items())])
    return f"{head} {','.join(f'{name}={value}' for name, value in fields.items())} {NOW * 1_000_000}".encode()


@pytest.mark.parametrize("kind", ["line", "json"])
def test_collector_s_own_measurements_need_no_asset(kind: str) -> None:
    """A topic that also holds the collector's cpu and mem, without the asset's tag, is read without a dead letter."""
    form = replace(TAGGED[kind], select=Select(measurements=Globs(("pumps",))))
    values = (
        point(kind, "cpu", None, usage=3.5, idle=1),
        point(kind, "pumps", "P1", flow=2.5),
        point(kind, "mem", None, free=8),
        point(kind, "pumps", None, flow=2.5),
    )
    readings, errors, left_out = selected(form, *values)
    assert [row[:3] for row in readings] == [(1, "P1", "pumps.flow")]
    assert errors == ["MissingField"]  # the pump without its tag
    assert left_out == [3, 0, 0]

    assert selected(TAGGED[kind], *values)[1] == ["MissingField"] * 3


def test_lines_of_one_message_are_selected_one_by_one() -> None:
    """A message of several lines or metrics keeps the wanted ones, whichever way the decoder takes."""
    globs = Select(measurements=Globs(exclude=("cpu", "win_*")))
    cpu, pump = point("line", "cpu", None, a=1, b=2), point("line", "pumps", "P1", flow=2.5)
    for odd in (b"", b"# a comment\n", b'win_mem text="a b",n=5i\n'):  # the second needs the whole grammar
        readings, errors, left_out = selected(replace(TAGGED["line"], select=globs), odd + cpu + b"\n" + pump)
        assert ([row[1:3] for row in readings], errors) == ([("P1", "pumps.flow")], [])
        assert left_out == [3 if b"n=5i" in odd else 2, 0, 0]

    metrics = [json.loads(point("json", name, asset, flow=1)) for name, asset in (("cpu", None), ("pumps", "P1"))]
    batch = json.dumps({"metrics": metrics}).encode()
    readings, errors, left_out = selected(replace(TAGGED["json"], select=globs), batch)
    assert ([row[1:3] for row in readings], errors, left_out) == ([("P1", "pumps.flow")], [], [1, 0, 0])


def test_place_of_a_missing_asset_is_named_in_a_batch() -> None:
    """A wanted metric without the asset's tag makes the message a dead letter that names the metric."""
    form = replace(TAGGED["json"], select=Select(measurements=Globs(("pumps",))))
    metrics = [json.loads(point("json", name, None, flow=1)) for name in ("cpu", "pumps")]
    _, (rejected,) = decode([message(json.dumps({"metrics": metrics}).encode())], form, NOW)
    assert (rejected.error, rejected.field) == ("MissingField", "metrics[1].tags.asset")


def test_what_is_left_out_is_not_judged() -> None:
    """An asset or a channel that no filter wants may have any name and time: it is counted, not rejected."""
    form = replace(WIDE, select=Select(assets=Globs(("P*",)), channels=Globs(exclude=("*hours", "bad name"))))
    values = (
        {"asset": "a name", "timestamp": 5, "values": {"flow": 1, "temp": 2}},
        {"asset": "P1", "timestamp": NOW, "values": {"flow": 1, "bad name": 2}},
        {"asset": "P2", "timestamp": 5, "values": {"hours": 1}},
        {"asset": "P3", "timestamp": 5, "values": {"hours": 1, "flow": 2}},
    )
    readings, errors, left_out = selected(form, *(json.dumps(value).encode() for value in values))
    assert [row[:3] for row in readings] == [(1, "P1", "flow")]
    assert errors == ["TimeTooOld"]  # P3's flow is wanted
    assert left_out == [0, 2, 2]  # readings of a dead letter are not counted here, too


def test_long_messages_are_selected_by_channel() -> None:
    """A message with one reading is left out with its channel."""
    form = replace(LONG, select=Select(channels=Globs(("flow", "t*"))))
    values = [{"asset": "P1", "channel": name, "timestamp": NOW, "value": 1} for name in ("flow", "hours", "temp")]
    readings, errors, left_out = selected(form, *(json.dumps(value).encode() for value in values))
    assert ([row[2] for row in readings], errors, left_out) == (["flow", "temp"], [], [0, 0, 1])


def test_ignored_channels_are_left_out_as_excluded_ones() -> None:
    """The first glob that matches a channel counts, and what is ignored is counted as left out by channel."""
    kinds = Kinds((("hours.main", "rate"), ("hours*", "ignore"), ("*", "measurement"), ("flow", "ignore")))
    values = [
        {"asset": "P1", "channel": name, "timestamp": NOW, "value": 1} for name in ("flow", "hours", "hours.main")
    ]
    readings, errors, left_out = selected(replace(LONG, kinds=kinds), *(json.dumps(value).encode() for value in values))
    assert ([row[2] for row in readings], errors, left_out) == (["flow", "hours.main"], [], [0, 0, 1])


@given(
    st.lists(st.tuples(st.sampled_from(["a*", "?b", "ab", "*", "[ab]", "c"]), st.sampled_from(["rate", "ignore"]))),
    st.sampled_from(["a", "ab", "bb", "c", "x y", ""]),
)
def test_the_first_glob_decides(globs: list[tuple[str, str]], name: str) -> None:
    """The kind equals that of the first glob that matches, tried one by one."""
    naive_kind = next((kind for glob, kind in globs if fnmatch.fnmatchcase(name, glob)), "measurement")
    assert Kinds(tuple(globs)).of(name) == naive_kind


@settings(max_examples=200, deadline=None)
@given(st.data(), _some, _some, _some)
def test_selection_equals_a_naive_filter_of_the_readings(
    data: st.DataObject, measurements: Globs, assets: Globs, channels: Globs
) -> None:
    """The readings are those without filters that pass each filter, and the rest is counted by the first one."""
    kind = data.draw(st.sampled_from(["line", "json"]))
    one = st.tuples(
        st.sampled_from(["pumps", "P2", "cpu"]),
        st.sampled_from(["P1", "P2", "p3", "PX1"]),
        st.dictionaries(st.sampled_from(["flow", "temp", "value"]), st.integers(0, 9), min_size=1),
    )
    points = data.draw(st.lists(one, max_size=8))
    values = [point(kind, name, asset, **fields) for name, asset, fields in points]

    everything, _, _ = selected(TAGGED[kind], *values)
    wanted: list[Named] = []
    left_out = [0, 0, 0]
    for row in everything:
        by = [(measurements, points[row[0]][0]), (assets, row[1]), (channels, row[2])]
        stopped = [at for at, (globs, name) in enumerate(by) if not naive(globs, name)]
        if stopped:
            left_out[stopped[0]] += 1
        else:
            wanted.append(row)

    form = replace(TAGGED[kind], select=Select(measurements, assets, channels))
    assert selected(form, *values) == (wanted, [], left_out)


def naive(globs: Globs, name: str) -> bool:
    """Whether a name is wanted, glob by glob."""
    included = not globs.include or any(fnmatch.fnmatchcase(name, glob) for glob in globs.include)
    return included and not any(fnmatch.fnmatchcase(name, glob) for glob in globs.exclude)


def test_measurements_belong_to_telegraf() -> None:
    """A format without measurements refuses to select by them."""
    with pytest.raises(ValueError, match="json_wide"):
        replace(WIDE, select=Select(measurements=Globs(("pumps",))))
