"""The figures of a sample match its messages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.decode.format import Format
from monitor.core.decode.select import Globs, Kinds, Select
from monitor.core.records import Message, Partition
from monitor.onboard.kinds import ChannelKind
from monitor.onboard.survey import Survey, non_numeric, survey

NOW = 1_780_000_000_000
START = 1_700_000_000_000
LONG = Format("json_long")
Row = tuple[str, str, int, float]  # asset, channel, time, value


def run(rows: Sequence[Row], lag: int = 0, first: int = 0, step: int = 1) -> list[Message]:
    """Return a contiguous run of readings in that order. The timestamp of each message is `lag` after its reading."""
    made = []
    for place, (asset, channel, at, value) in enumerate(rows):
        body = json.dumps({"asset": asset, "channel": channel, "timestamp": at, "value": value}).encode()
        made.append(Message(Partition("t", 0), first + step * place, None, body, at + lag))
    return made


def grid(
    assets: Sequence[str] = ("a", "b"), channels: Sequence[str] = ("x", "y"), steps: int = 50, period: int = 1000
) -> list[Row]:
    return [(a, c, START + t * period, float(t * 37 % 101)) for t in range(steps) for a in assets for c in channels]


def of(*rows: Sequence[Row], **more: Any) -> Survey:
    return survey([run(each, first=10_000 * n, **more) for n, each in enumerate(rows)], LONG, NOW)


def test_a_tidy_sample_has_nothing_to_tell() -> None:
    """Readings in order at one period give that period, no disorder, no repetition and full cells."""
    figures = of(grid(), lag=5)
    assert (figures.step_ms, figures.regular, figures.late_ms, figures.latest_ms) == (1000, 1.0, 0, 0)
    assert (figures.disorder, figures.repeated, figures.colliding) == (0, 0, 0)
    assert figures.observed.tolist() == [1, 1]
    assert (figures.messages, figures.readings, figures.weight) == (200, 200, 1)
    assert figures.rate == pytest.approx(4)
    assert figures.span_ms == 49_000
    assert figures.skew_ms == {"a": 0, "b": 0}
    assert {name: (each.readings, each.assets, each.period_ms) for name, each in figures.channels.items()} == {
        "x": (100, 2, 1000),
        "y": (100, 2, 1000),
    }


def test_channels_of_a_step_may_come_one_after_the_other() -> None:
    """The step is the period of each channel, not the time between the channels of a step."""
    rows = [(a, c, at + 30 * "xy".index(c), v) for a, c, at, v in grid()]
    assert of(rows).step_ms == 1000


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([10, 100, 250, 1000, 5000, 60_000, 1234]),
    st.floats(0, 0.04),
    st.floats(0, 0.3),
    st.integers(0, 10**6),
)
def test_jitter_and_holes_do_not_hide_the_step(period: int, jitter: float, lost: float, seed: int) -> None:
    """With 4 % timer jitter and 30 % of the readings lost, the period is found."""
    draw = np.random.default_rng(seed)
    rows = [
        (a, c, at + round(float(draw.uniform(-jitter, jitter)) * period), v)
        for a, c, at, v in grid(steps=80, period=period)
        if draw.random() >= lost
    ]
    assert of(rows).step_ms == pytest.approx(period, rel=0.05)


def test_a_few_slow_or_fast_channels_do_not_set_the_step() -> None:
    """The period fits three quarters of the channels, so a slower one has gaps and a faster one collides."""
    slow = [*grid(channels="abcd"), *grid(channels="s", steps=5, period=10_000)]
    figures = of(sorted(slow, key=lambda row: row[2]))
    assert figures.step_ms == 1000
    assert figures.channels["s"].period_ms == 10_000
    assert figures.channels["s"].missing == pytest.approx(0.9)
    assert figures.channels["a"].missing == 0
    fast = [*grid(channels="abcd"), *grid(channels="f", steps=250, period=200)]
    assert of(sorted(fast, key=lambda row: row[2])).step_ms == 1000


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=100, max_size=100), st.integers(1, 5000))
def test_disorder_is_how_far_a_reading_lies_behind(delays: list[int], period: int) -> None:
    """For readings several steps late, the maximum and the share of lateness equal those of a plain loop."""
    rows = grid(("a", "b"), ("x",), 50, period)
    order = sorted(range(len(rows)), key=lambda place: place + 2 * delays[place])
    arrived = [rows[place] for place in order]
    newest: dict[str, int] = {}
    behind = []
    for asset, _, at, _ in arrived:
        newest[asset] = max(at, newest.get(asset, at))
        behind.append(newest[asset] - at)
    figures = of(arrived)
    assert figures.latest_ms == max(behind)
    assert figures.disorder == pytest.approx(np.mean(np.array(behind) > 0))
    assert figures.late_ms == np.quantile(behind, 0.999, method="higher")


def test_runs_are_judged_by_themselves() -> None:
    """An older run after a newer one is no disorder, and the gap between runs does not count as missing readings."""
    early, late = grid(steps=20), [(a, c, at + 10**7, v) for a, c, at, v in grid(steps=20)]
    figures = of(late, early)
    assert (figures.disorder, figures.step_ms) == (0, 1000)
    assert figures.observed.tolist() == [1, 1]
    assert figures.rate == pytest.approx(4)
    assert figures.span_ms == 10**7 + 19_000


def test_repetition_and_contradiction_are_told_apart() -> None:
    """A reading sent twice is a repetition, and another value for the same second is a collision."""
    rows = grid(("a",), ("x",), 100)
    figures = of([*rows, *rows[:10]])
    assert figures.repeated == pytest.approx(10 / 110)
    assert (figures.disorder, figures.latest_ms) == (0, 0)
    other = [(a, c, at, v + 1) for a, c, at, v in rows[:20]]
    figures = of(sorted([*rows, *other], key=lambda row: row[2]))
    assert figures.colliding == pytest.approx(20 / 120)
    assert figures.repeated == 0


def test_a_clock_that_is_off_is_named() -> None:
    """An asset whose times are a minute further ahead of its messages than the others' has that skew."""
    rows = grid(("a", "b", "c"))
    messages = [
        Message(
            each.partition,
            each.offset,
            None,
            each.value,
            each.timestamp - (60_000 if b'"c"' in (each.value or b"") else 0),
        )
        for each in run(rows, lag=100)
    ]
    assert survey([messages], LONG, NOW).skew_ms == {"a": 0, "b": 0, "c": 60_000}
    blank = [Message(each.partition, each.offset, None, each.value, 0) for each in messages]
    assert survey([blank], LONG, NOW).skew_ms == {}


def test_assets_of_different_kinds_have_half_of_the_cells() -> None:
    """If two assets share no channel, each has half of the cells measured."""
    rows = [*grid(("a",), ("x",)), *grid(("b",), ("y",))]
    figures = of(sorted(rows, key=lambda row: row[2]))
    assert figures.observed.tolist() == [0.5, 0.5]
    assert [each.assets for each in figures.channels.values()] == [1, 1]
    assert [each.missing for each in figures.channels.values()] == [0, 0]


def test_too_little_is_no_survey() -> None:
    """With one reading of each channel, the period is unknown."""
    with pytest.raises(ValueError, match="at two different times"):
        of(grid(steps=1))


def test_what_is_rejected_is_handed_on() -> None:
    """Unreadable messages are counted separately, and the figures cover the others."""
    bad = Message(Partition("t", 0), 10**6, None, b"{}", NOW)
    figures = survey([[*run(grid()), bad]], LONG, NOW)
    assert [each.message for each in figures.rejected] == [bad]
    assert (figures.messages, figures.readings, figures.weight) == (201, 200, 1)


def wide(number: int) -> bytes:
    values = {"x": number, "y": None if number % 4 else 1.0}
    return json.dumps({"asset": "a", "timestamp": START, "values": values}).encode()


def telegraf(number: int) -> bytes:
    fields = {"x": number, "y": "t" if number % 4 else 1, "z": True}
    return json.dumps({"name": "m", "tags": {"host": "a"}, "fields": fields, "timestamp": START}).encode()


def line(number: int) -> bytes:
    text = '"t"' if number % 4 else "1"
    return f"m,host=a x={number},y={text},z=true {START}".encode()


FIELDS: dict[str, tuple[Format, Callable[[int], bytes]]] = {
    "json_wide": (Format("json_wide"), wide),
    "telegraf_json": (Format("telegraf_json", asset_from="tag", timestamp_unit="ms"), telegraf),
    "influx_line": (Format("influx_line", asset_from="tag", timestamp_unit="ms"), line),
}


@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_what_is_no_number_is_counted_by_field(kind: str) -> None:
    """Nulls, texts and booleans are reported as shares of their field, and numeric fields are not reported."""
    form, write = FIELDS[kind]
    messages = [Message(Partition("t", 0), n, None, write(n), NOW) for n in range(8)]
    empty = Message(Partition("t", 0), 8, None, None, NOW)
    got = non_numeric([*messages, empty], form)
    assert {name.rpartition(".")[2]: share for name, share in got.items() if not name.endswith("z")} == {"y": 0.75}
    assert [share for name, share in got.items() if name.endswith("z")] == ([] if kind == "json_wide" else [1.0])


def test_counters_are_in_no_figure() -> None:
    """A counter is named with its kind, and channels, cells and rate are those of the others."""
    rows = [*grid(), *((asset, "n", START + t * 1000, 10.0 + t) for t in range(50) for asset in "ab")]
    figures = of(sorted(rows, key=lambda row: row[2]))
    assert (figures.kinds["n"].kind, figures.kinds["n"].read_as) == ("counter", "ignore")
    assert list(figures.channels) == ["x", "y"]
    assert (figures.observed.tolist(), figures.readings) == ([1, 1], 200)
    assert figures.rate == pytest.approx(4)


def test_where_only_counters_are_their_rates_are_read() -> None:
    """A topic of nothing but counters keeps them, as rates."""
    rows = [(asset, name, START + t * 1000, 10.0 + t) for t in range(50) for asset in "ab" for name in ("n", "m")]
    figures = of(rows)
    assert {name: (kind.kind, kind.read_as) for name, kind in figures.kinds.items()} == {
        "n": ("counter", "rate"),
        "m": ("counter", "rate"),
    }
    assert list(figures.channels) == ["n", "m"]


def test_kinds_that_are_given_stay() -> None:
    """A channel with a section of its own, or selected by name, is not left out."""
    rows = sorted(
        [*grid(), *((a, "n", START + t * 1000, 10.0 + t) for t in range(50) for a in "ab")], key=lambda row: row[2]
    )
    rated = replace(LONG, kinds=Kinds((("n", "rate"),)))
    assert survey([run(rows)], rated, NOW).kinds["n"].read_as == "rate"
    wanted = replace(LONG, select=Select(channels=Globs(("x", "n"))))
    assert list(survey([run(rows)], wanted, NOW).channels) == ["x", "n"]


def test_texts_and_booleans_are_told() -> None:
    """True and false make a state, a field of texts is left out, and a field of nulls is neither."""
    texts = {"mode": "AUTO", "gone": None}
    values = [{"x": n * 37 % 101, "on": n % 7 > 3, "ready": True, "alarm": n > 55, **texts} for n in range(60)]
    bodies = [{"asset": "a", "timestamp": START + 1000 * n, "values": each} for n, each in enumerate(values)]
    made = [Message(Partition("t", 0), n, None, json.dumps(body).encode(), NOW) for n, body in enumerate(bodies)]
    figures = survey([made], Format("json_wide"), NOW)
    assert {name: (kind.kind, kind.read_as) for name, kind in figures.kinds.items()} == {
        "x": ("measurement", "measurement"),
        "on": ("state", "state"),
        "ready": ("state", "ignore"),  # nothing to learn from
        "alarm": ("state", "ignore"),
        "mode": ("text", "ignore"),
    }
    assert list(figures.channels) == ["x", "on"]
    assert figures.observed.tolist() == [1]


TEXTS: dict[
    str, tuple[Callable[[int, int], str], tuple[str, str, int]]
] = {  # of step and machine; kind, read as, texts
    "states": (lambda n, _: ("RUN", "STOP", "SETUP")[n // 20 % 3], ("state", "state", 3)),
    "machines that change together, once": (lambda n, _: "AUTO" if n < 90 else "MAN", ("state", "ignore", 2)),
    "a text that hardly comes": (lambda n, _: "OK" if n % 100 else "ALARM", ("state", "ignore", 2)),
    "twenty": (lambda n, _: f"R-{n // 3 % 20}", ("state", "state", 20)),
    "more than twenty": (lambda n, _: f"R-{n // 2 % 21}", ("text", "ignore", 0)),
    "numbers of batches": (lambda n, machine: f"B-{machine}-{n // 60}", ("text", "ignore", 0)),
    "models of machines": (lambda _, machine: f"X-{machine % 2}", ("text", "ignore", 0)),
    "one text": (lambda _, __: "AUTO", ("text", "ignore", 0)),
    "a different text each time": (lambda n, machine: f"{n} {machine}", ("text", "ignore", 0)),
    "words for truth": (lambda n, _: ("true", "false")[n // 20 % 2], ("text", "ignore", 0)),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("numbers", ["numbers", "texts"])
def test_few_texts_that_come_back_are_a_state(name: str, numbers: str) -> None:
    """2 to 20 texts that come back are proposed with these texts, and read unless one came seldom; others are texts."""
    text, (kind, read_as, texts) = TEXTS[name]
    made: list[Message] = []
    for n in range(180):
        for machine in range(3):
            values = {"x": n * 37 % 101, "s": text(n, machine)}
            body = {"asset": f"m{machine}", "timestamp": START + 1000 * n, "values": values}
            made.append(Message(Partition("t", 0), len(made), None, json.dumps(body).encode(), NOW))
    figures = survey([made], Format("json_wide", numbers=numbers), NOW)
    found = figures.kinds["s"]
    assert (found.kind, found.read_as, len(found.texts)) == (kind, read_as, texts)
    assert ("s" in figures.channels) == (read_as == "state")
    assert figures.observed.tolist() == [1, 1, 1]


def test_texts_of_telegraf_are_left_out() -> None:
    """A field of texts in line protocol or Telegraf's JSON is named as a text."""
    for kind in ("telegraf_json", "influx_line"):
        form, write = FIELDS[kind]
        made = []
        for n in range(40):
            value = write(n).replace(b'"t"', b"1").replace(str(START).encode(), str(START + 1000 * n).encode())
            value = value.replace(b'"z": true', b'"z": "AUTO"').replace(b"z=true", b'z="AUTO"')
            made.append(Message(Partition("t", 0), n, None, value, NOW))
        assert {name: kind.kind for name, kind in survey([made], form, NOW).kinds.items()}["m.z"] == "text"


def test_channels_that_speak_on_change_do_not_set_the_step() -> None:
    """Of six channels five speak every ten minutes, and the step is the second of the fast one."""
    slow = [("a", f"s{c}", START + 600_000 * t, float(t * 37 % 101)) for t in range(12) for c in range(5)]
    figures = of(sorted([*grid(("a",), ("x",), 7200), *slow], key=lambda row: row[2]))
    assert figures.step_ms == 1000
    assert figures.kinds["s0"] == ChannelKind("rare", "ignore", "rare: a reading every 600 s, and a window has 64 s")
    assert list(figures.channels) == ["x"]


def test_one_very_fast_channel_does_not_set_the_step() -> None:
    """Beside three channels of a second, one of twenty milliseconds leaves the step at a second."""
    fast = grid(("a",), ("f",), 5000, 20)
    assert of(sorted([*grid(("a",), "xyz", 100), *fast], key=lambda row: row[2])).step_ms == 1000


def scattered(*runs: Sequence[Row]) -> dict[str, tuple[int, ...]]:
    """Return the assets in several partitions; each run is of a partition of its own."""
    made = [
        [Message(Partition("t", number), each.offset, None, each.value, each.timestamp) for each in run(rows)]
        for number, rows in enumerate(runs)
    ]
    return dict(survey(made, LONG, NOW).scattered)


def test_an_asset_in_two_partitions_is_named() -> None:
    """Messages of an asset that come by turns in two partitions are scattered; a move from one to another is not."""
    rows = grid()
    assert scattered(rows[::2], rows[1::2]) == {"a": (0, 1), "b": (0, 1)}
    by_asset = [[row for row in rows if row[0] == name] for name in "ab"]
    assert scattered(*by_asset) == {}
    assert scattered(rows[: len(rows) // 2], rows[len(rows) // 2 :]) == {}


def test_values_sent_on_change_have_the_pace_of_their_asset() -> None:
    """Without a period, the step is the time between readings of a machine, and channels hold meanwhile."""
    draw = np.random.default_rng(1)
    times = {c: np.cumsum(draw.integers(1, 80, 200)) for c in "xyz"}
    rows = sorted((("a", c, START + 1000 * int(t), float(t % 97)) for c in "xyz" for t in times[c]), key=lambda r: r[2])
    figures = of(rows)
    assert figures.step_ms == 10_000
    assert {each.hold_ms for each in figures.channels.values()} <= {180_000, 210_000, 240_000}
    assert float(figures.observed.min()) > 0.95


def test_slow_channels_hold_for_their_silences_but_for_an_outage() -> None:
    """A channel of half a minute holds for three of them, whatever one outage says; a fast one holds nothing."""
    slow = [("a", "s", START + 30_000 * n + (n > 60) * 3_600_000, float(n * 7 % 31)) for n in range(120)]
    fast = grid(("a",), "xyz", 7200)
    figures = of(sorted([*fast, *slow], key=lambda row: row[2]))
    assert (figures.step_ms, figures.channels["s"].hold_ms, figures.channels["x"].hold_ms) == (1000, 90_000, 0)
