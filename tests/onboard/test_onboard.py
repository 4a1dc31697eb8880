"""`monitor onboard`: the configuration it writes, its report, its refusals, and its invisibility to consumer groups."""

import itertools
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from monitor.connectors.kafka import sample as kafka_sample
from monitor.connectors.kafka.sample import sample_topic
from monitor.core.decode.format import Format
from monitor.core.records import Message, Partition
from monitor.observe.metric_table import TABLE
from monitor.onboard import cost as onboard_load
from monitor.onboard.command import rules_text
from monitor.onboard.cost import Measured, estimate, measure
from monitor.onboard.format.recognise import DetectedFormat, recognise
from monitor.onboard.report import remarks
from monitor.onboard.settings import decide, written
from monitor.onboard.survey import ChannelFigures, Survey, survey
from monitor.settings.load import load
from monitor.settings.rules import ChannelSection
from monitor.settings.sections import fields
from tests.brokers import MockBroker, mock_broker
from tests.commands import monitor
from tests.plants import TOPICS, messages
from tests.settings.test_reference import flat

STEPS = 80
NOW = 1_780_000_000_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shorten the measurement and run in an empty folder."""
    monkeypatch.setattr(onboard_load, "RUN_S", 0.05)
    monkeypatch.chdir(tmp_path)


def lines(kind: str, steps: int = STEPS) -> Path:
    """Write a topic's messages to a file."""
    path = Path(f"{kind}.jsonl")
    path.write_bytes(b"".join(value.rstrip(b"\n") + b"\n" for _, value, _ in messages(kind, steps)))
    return path


def kept(kind: str, steps: int = STEPS) -> list[Message]:
    """Return a topic's messages as one run."""
    return [Message(Partition("t", 0), n, key, value, at) for n, (key, value, at) in enumerate(messages(kind, steps))]


@pytest.fixture(scope="module")
def figures() -> Survey:
    run = kept("json_long")
    return survey([run], recognise([run], NOW).format, NOW)


def test_filters_that_are_given_hold_for_the_sample_and_are_kept() -> None:
    """Assets that the given filters leave out are not counted, and the filters are in the file."""
    run = kept("json_long")
    first, *others = survey([run], recognise([run], NOW).format, NOW).assets
    result = monitor("onboard", "--file", lines("json_long"), "--set", f"select.assets_exclude={json.dumps([first])}")
    assert result.exit_code == 0, result.output
    assert f"assets    {len(others)}: " in result.output
    assert load(Path("monitor.toml"), {}, {}).select.assets_exclude == (first,)


@pytest.mark.parametrize("kind", ["influx_line", "json_long", "telegraf_json"])
def test_a_file_becomes_a_configuration(kind: str) -> None:
    """The written file passes the check, matches the topic, and sets no key to its default."""
    result = monitor("onboard", "--file", lines(kind))
    assert result.exit_code == 0, result.output
    assert monitor("check", "-c", "monitor.toml").exit_code == 0
    settings = load(Path("monitor.toml"), {}, {})
    assert {key: settings.value(key) for key in TOPICS[kind].found} == TOPICS[kind].found
    assert settings.source.paths == (f"{kind}.jsonl",)
    content = flat(Path("monitor.toml"))
    assert not [key for key, value in content.items() if value == fields()[key].default]
    assert re.search(rf"^assets    {TOPICS[kind].assets}: pump-01", result.stdout, re.MULTILINE)
    assert re.search(
        r"^load      [\d.]+% of a core; measured on the sample: [\d,]+ readings/s", result.stdout, re.MULTILINE
    )
    assert "more must pass" in result.stdout


def test_a_csv_file_becomes_a_configuration() -> None:
    """Rows of csv need no field map: the source's settings describe the columns."""
    rows = (f"{1_750_000_000 + n},{n % 7},{n % 5}" for n in range(STEPS))
    Path("pump-07.csv").write_text("\n".join(["Zeit,flow,pressure", *rows]))
    result = monitor("onboard", "--file", "pump-07.csv", "-s", "source.format=csv", "-s", "source.time_column=Zeit")
    assert result.exit_code == 0, result.output
    settings = load(Path("monitor.toml"), {}, {})
    assert (settings.source.format, settings.source.time_column) == ("csv", "Zeit")
    assert not [key for key in flat(Path("monitor.toml")) if key.startswith("format.")]
    assert re.search(r"^assets    1: pump-07", result.stdout, re.MULTILINE)
    assert re.search(r"^format    csv: .*(?<!ms)$", result.stdout, re.MULTILINE)
    assert monitor("check", "-c", "monitor.toml").exit_code == 0


def pumps(members: dict[str, Callable[[int], object]]) -> Path:
    """Write wide messages of two pumps with a flow and the given members, by step."""
    path = Path("pumps.jsonl")
    with path.open("w") as out:
        for n, asset in itertools.product(range(120), ("P1", "P2")):
            values = {"flow": n * 37 % 101 / 10, **{name: make(n) for name, make in members.items()}}
            out.write(json.dumps({"asset": asset, "timestamp": 1_750_000_000_000 + 1000 * n, "values": values}) + "\n")
    return path


def test_counters_and_texts_are_left_out_with_their_reasons() -> None:
    """Each name in select.channels_exclude has a comment with its figures, states have sections, and all loads."""
    members: dict[str, Callable[[int], object]] = {"energy.kwh": lambda n: 5000 + n / 10, "mode": lambda _: "AUTO"}
    members |= {"word": lambda _: 4, "running": lambda n: n % 40 > 5, "ready": lambda _: True}
    result = monitor("onboard", "--file", pumps(members), "-s", 'select.channels_exclude=["spare"]')
    assert result.exit_code == 0, result.output
    text = Path("monitor.toml").read_text()
    assert re.search(r'    # counter: 238 of 238 steps rise and none falls.*\n(    # .*\n)*    "energy.kwh",', text)
    assert re.search(r'    # text: never a number.*\n    "mode",', text)
    assert re.search(r'    # constant: 4 in all 240 readings.*\n(    # .*\n)*    "word",', text)
    assert re.search(r'\[channels.running\]\n# state: true or false in 240 readings.*\nas = "state"', text)

    settings = load(Path("monitor.toml"), {}, {})
    assert settings.select.channels_exclude == ("spare", "energy.kwh", "word", "ready", "mode")
    assert settings.channel_kinds().globs == (("running", "state"), ("ready", "state"))
    assert "channels  2\n" in result.stdout
    assert "left out  4 channels" in result.stdout
    assert monitor("check", "-c", "monitor.toml").exit_code == 0


def test_kinds_that_were_given_are_kept() -> None:
    """A counter with a section is no longer left out, and the section is written again."""
    path = pumps({"energy.kwh": lambda n: 5000 + n / 10})
    result = monitor("onboard", "--file", path, "-s", 'channels={"energy.*": {"as": "rate"}}')
    assert result.exit_code == 0, result.output
    panel = json.loads(Path("monitor.dashboard.json").read_text())["panels"][-1]
    assert (panel["title"], panel["fieldConfig"]["defaults"]["unit"]) == ("energy.kwh, change a second", "none")
    settings = load(Path("monitor.toml"), {}, {})
    assert (settings.channel_kinds().globs, settings.select.channels_exclude) == ((("energy.*", "rate"),), ())
    assert '[channels."energy.*"]\nas = "rate"' in Path("monitor.toml").read_text()


def test_a_topic_of_counters_becomes_their_rates() -> None:
    """Where nothing but counters is sent, each of them gets a section that reads its rate."""
    path = Path("counters.jsonl")
    rows = [
        {"asset": a, "timestamp": 1_750_000_000_000 + 1000 * n, "values": {"n": n}} for n in range(90) for a in "ab"
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    result = monitor("onboard", "--file", path)
    assert result.exit_code == 0, result.output
    assert load(Path("monitor.toml"), {}, {}).channel_kinds().globs == (("n", "rate"),)
    assert "note      n: counter: 178 of 178 steps rise" in result.stdout


@pytest.mark.parametrize("language", ["flux", "influxql"])
def test_a_dashboard_comes_with_it(language: str) -> None:
    """The report names the dashboard, which is valid JSON in the chosen language with the sample's channels."""
    result = monitor(
        "onboard", "--file", lines("json_long"), "--out", "hall.toml", "-s", "name=hall-3", "--grafana", language
    )
    assert result.exit_code == 0, result.output
    assert "written   hall.toml, hall.rules.yml, hall.dashboard.json" in result.stdout
    page = json.loads(Path("hall.dashboard.json").read_text())
    assert (page["title"], page["uid"]) == ("hall-3", f"plant-hall-3-{language}")
    assert "pump-01,pump-02,pump-03" in [each["query"] for each in page["templating"]["list"]]
    seen = survey([kept("json_long")], recognise([kept("json_long")], NOW).format, NOW)
    assert [panel["title"] for panel in page["panels"][4:]] == list(seen.channels)
    assert {panel["datasource"]["uid"] for panel in page["panels"]} == {f"monitor-{language}"}


def test_every_line_has_its_reason() -> None:
    """A comment with the measured figure precedes each detected setting."""
    assert monitor("onboard", "--file", lines("influx_line")).exit_code == 0
    text = Path("monitor.toml").read_text().split("[source]")[1].splitlines()
    bare = [line for before, line in pairwise(text) if " = " in line and not before.startswith("#")]
    assert bare == ['kind = "files"']  # set by the command line
    assert any(line.startswith("# 8 different ones") for line in text)


def test_what_was_set_before_is_kept_and_no_secret_copied() -> None:
    """Everything in a partial configuration is kept except secrets, and the file names their variables."""
    Path("base.toml").write_text(
        'name = "hall-3"\n[kafka]\noptions = { "client.id" = "x" }\n[recorder]\ntoken = "hunter2"\n'
        '[training]\nfirst_steps = 500\n[format]\nkind = "influx_line"\nasset_from = "tag"\n'
    )
    file = lines("json_long")
    assert monitor("onboard", "-c", "base.toml", "--file", file, "--out", "it.toml").exit_code == 0
    text = Path("it.toml").read_text()
    assert "hunter2" not in text
    assert "MONITOR_RECORDER__TOKEN" in text
    settings = load(Path("it.toml"), {"MONITOR_RECORDER__TOKEN": "hunter2"}, {})
    assert (settings.name, settings.training.first_steps, settings.format.kind) == (
        "hall-3",
        500,
        "json",
    )  # has a quality
    assert settings.kafka.options == {"client.id": "x"}
    assert "recorder.group" not in flat(Path("it.toml"))
    assert 'job="hall-3"' in Path("it.rules.yml").read_text()


def test_secrets_in_files_stay_there() -> None:
    """A secret in a file stays there, and its path is kept."""
    Path("token").write_text("hunter2\n")
    result = monitor("onboard", "--file", lines("json_long"), "-s", "recorder.token_file=token")
    assert result.exit_code == 0
    assert 'token_file = "token"' in Path("monitor.toml").read_text()
    assert load(Path("monitor.toml"), {}, {}).recorder.token.get_secret_value() == "hunter2"
    assert "hunter2" not in Path("monitor.toml").read_text() + result.output


def test_nothing_is_overwritten_unasked() -> None:
    """An existing file is kept and named in the error, and --force replaces all files."""
    file = lines("json_long")
    Path("monitor.toml").write_text("mine")
    result = monitor("onboard", "--file", file)
    assert (result.exit_code, Path("monitor.toml").read_text()) == (1, "mine")
    assert "monitor.toml" in result.stderr
    assert "--force" in result.stderr
    assert monitor("onboard", "--file", file, "--force").exit_code == 0
    assert monitor("check", "-c", "monitor.toml").exit_code == 0
    Path("monitor.toml").unlink()
    assert "monitor.rules.yml" in monitor("onboard", "--file", file).stderr


def test_what_is_not_understood_is_refused_with_examples() -> None:
    """An unknown format gives exit code 1, the reason, at most three messages, no secrets and no file."""
    body = json.dumps({"asset": "a", "temp": 1.5, "flow": 2.5, "at": "today", "password": "hunter2", "note": "\u001b"})
    Path("flat.jsonl").write_text(f"{body}\n" * 30)
    result = monitor("onboard", "--file", "flat.jsonl")
    assert result.exit_code == 1
    first, *shown = result.stderr.splitlines()
    assert first.startswith("monitor: format unknown")
    assert "temp (number), flow (number)" in first
    assert len(shown) == 3
    assert all(line.startswith("  flat[0]@") for line in shown)
    assert "hunter2" not in result.output
    assert result.stdout == ""
    assert sorted(path.name for path in Path().iterdir()) == ["flat.jsonl"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [("", "no message"), ("1\n", "1 of 1 are other text")],
)
def test_a_file_without_readings_is_refused(body: str, reason: str) -> None:
    """A file that is empty or contains other text is refused with the reason."""
    Path("x.jsonl").write_text(body)
    result = monitor("onboard", "--file", "x.jsonl")
    assert result.exit_code == 1
    assert reason in result.stderr


def test_a_sample_too_short_for_a_step_is_refused() -> None:
    """A sample with one reading per channel has no known step, and the error suggests a larger sample."""
    result = monitor("onboard", "--file", lines("json_long", 1))
    assert result.exit_code == 1
    assert "the step is unknown" in result.stderr
    assert "--messages 50000" in result.stderr


def test_what_cannot_be_set_is_told() -> None:
    """A step outside the allowed range ends with the settings' error message and leaves no file."""
    rows = [{"asset": "a", "timestamp": NOW - day * 10 * 86_400_000, "values": {"x": 1.5}} for day in range(20)]
    Path("slow.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = monitor("onboard", "--file", "slow.jsonl")
    assert result.exit_code == 1
    assert "windows.step_s = 864000.0: expected a number from" in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["slow.jsonl"]


@pytest.mark.parametrize("arguments", [[], ["--topic", "x", "--file", "y"]], ids=["neither", "both"])
def test_there_is_one_thing_to_look_at(arguments: list[str]) -> None:
    """Exactly one of a topic and a file must be named."""
    result = monitor("onboard", *arguments)
    assert result.exit_code == 2
    assert "--topic or --file" in re.sub(r"[\s│]+", " ", result.output)


def test_a_broker_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker the command exits with 1 and prints the client's reason."""
    monkeypatch.setattr(kafka_sample, "_ANSWER_S", 1.0)
    result = monitor("onboard", "--topic", "t", "--bootstrap", "127.0.0.1:9")
    assert result.exit_code == 1
    assert "Connection refused" in result.stderr


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    """Yield a broker with a topic of three partitions, of which one is empty."""
    with mock_broker({"plant": 3}) as made:
        producer = Producer({"bootstrap.servers": made.bootstrap})
        for key, value, at in messages("json_wide", 400):
            producer.produce("plant", value, key, int((key or b"")[-1:]) % 2, timestamp=at)
            producer.poll(0)
        assert producer.flush(20) == 0
        yield made


def test_a_topic_becomes_a_configuration(broker: MockBroker) -> None:
    """For a broker over TCP, the file has brokers, topic, format and step, and the report lists the next commands."""
    result = monitor("onboard", "--topic", "plant", "--bootstrap", broker.bootstrap, "--out", "p.toml")
    assert result.exit_code == 0, result.output
    assert "read      3200 of 3200 messages in 3 partitions" in result.stdout
    assert "monitor topics -c p.toml" in result.stdout
    content = tomllib.loads(Path("p.toml").read_text())
    assert content["kafka"] == {"bootstrap_servers": broker.bootstrap}
    assert content["source"] == {"topics": ["plant"]}
    settings = load(Path("p.toml"), {}, {})
    assert {key: settings.value(key) for key in TOPICS["json_wide"].found} == TOPICS["json_wide"].found


def test_the_file_tells_of_machines_in_several_partitions(broker: MockBroker) -> None:
    """Messages without a key that go round the partitions are told in the report and in the written file."""
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for n, line in enumerate(pumps({}).read_bytes().splitlines()):
        producer.produce("round", line, partition=n // 2 % 2)
    assert producer.flush(30) == 0
    result = monitor("onboard", "--topic", "round", "--bootstrap", broker.bootstrap)
    assert result.exit_code == 0, result.output
    assert "look at   the messages of 2 assets lie in several partitions, as those of P1 in 0 and 1" in result.stdout
    assert "# the topic of the sample; the messages of 2 assets" in Path("monitor.toml").read_text()


def test_a_look_is_not_noticed(broker: MockBroker) -> None:
    """Members of the daemon's group and of one named like the sampler keep all, and nothing is committed."""
    revoked: list[str] = []
    members = []
    for group in ("monitor", "monitor-onboard"):
        member = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False})
        member.subscribe(["plant"], on_revoke=lambda *_: revoked.append("revoked"))
        members.append(member)
    try:
        while not all(len(member.assignment()) == 3 for member in members):
            for member in members:
                member.poll(0.1)
        assert monitor("onboard", "--topic", "plant", "--bootstrap", broker.bootstrap).exit_code == 0
        for _ in range(30):
            for member in members:
                member.poll(0.05)
        assert revoked == []
        for member in members:
            assert len(member.assignment()) == 3
            committed = member.committed([TopicPartition("plant", number) for number in range(3)], 10)
            assert [part.offset for part in committed] == [-1001] * 3
    finally:
        for member in members:
            member.close()


def test_a_sample_spans_what_the_topic_holds(broker: MockBroker) -> None:
    """From a larger topic half of the sample is the newest messages, and the rest are runs from the whole topic."""
    sample = sample_topic({"bootstrap.servers": broker.bootstrap}, "plant", "x", 600)
    assert {part.number: count for part, count in sample.held.items()} == {0: 1600, 1: 1600, 2: 0}
    assert sample.cut == ""
    for number in (0, 1):
        runs = [run for run in sample.runs if run[0].partition.number == number]
        assert [len(run) for run in runs] == [33, 33, 33, 100]
        assert all([each.offset for each in run] == list(range(run[0].offset, run[-1].offset + 1)) for run in runs)
        assert (runs[0][0].offset, runs[-1][-1].offset) == (0, 1599)
        assert all(left[-1].offset < right[0].offset for left, right in pairwise(runs))
    assert len(sample_topic({"bootstrap.servers": broker.bootstrap}, "plant", "x", 3).runs) == 2


def test_an_unknown_topic_is_not_made(broker: MockBroker) -> None:
    """An unknown topic is refused with similar names and is not created."""
    for _ in range(2):
        result = monitor("onboard", "--topic", "plan", "--bootstrap", broker.bootstrap)
        assert result.exit_code == 1
        assert "no topic 'plan'; there is plant" in result.stderr


def test_a_sample_has_a_bound_in_bytes(broker: MockBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends at a number of bytes, whatever the number of messages requested, and the report says so."""
    monkeypatch.setattr(kafka_sample, "_MOST_BYTES", 100_000)
    sample = sample_topic({"bootstrap.servers": broker.bootstrap}, "plant", "x", 10_000)
    assert "it was cut at" in sample.cut
    assert sum(map(len, sample.runs)) < 3200


def section(**given: object) -> ChannelSection:
    """Return the section of a channel."""
    return ChannelSection.model_validate(given)


def found(figures: Survey, **more: object) -> dict[str, object]:
    """Return the decided settings that differ from their defaults."""
    base = load(None, {}, {key.replace("__", "."): value for key, value in more.items()})
    chosen = decide(base, DetectedFormat(Format("json_wide"), {}, ""), figures)
    return {key: value for key, (value, *_) in chosen.items() if value != fields()[key].default}


def test_late_readings_are_waited_for(figures: Survey) -> None:
    """The lateness is raised to the observed one in whole steps, and idle is at least as long."""
    late = replace(figures, late_ms=7300)
    assert found(late) == {"windows.lateness_s": 8.0, "windows.idle": 8}
    assert found(figures) == {}
    assert found(late, windows__lateness_s=10.0, windows__idle=10) == {"windows.lateness_s": 10.0}


def test_a_fast_topic_waits_less(figures: Survey) -> None:
    """At ten readings a second, the default lateness would exceed idle and is lowered."""
    fast = replace(figures, step_ms=100)
    assert found(fast) == {"windows.step_s": 0.1, "windows.lateness_s": 0.2}


def test_values_hold_until_the_next_one(figures: Survey) -> None:
    """A slow channel gets the time for which it holds, unless one was given, and the asset's gap is within a window."""
    name, each = next(iter(figures.channels.items()))
    slow = replace(figures, channels={**figures.channels, name: replace(each, hold_ms=9500)})
    assert found(slow)["channels"] == {name: section(hold_s=9.5)}
    rate, given = {name: {"as": "rate"}}, {name: {"as": "rate", "hold_s": 5}}
    assert found(slow, channels=rate)["channels"] == {name: section(**rate[name], hold_s=9.5)}
    assert "channels" not in found(slow, channels=given)  # as it was given
    assert found(replace(figures, hole_ms=20_000)) == {"windows.max_gap": 20}
    assert found(replace(figures, hole_ms=10**9)) == {"windows.max_gap": 63}


def test_a_slow_topic_is_remembered_longer(figures: Survey) -> None:
    """At one reading per hour, the horizon is extended to twice the time of a thousand steps."""
    slow = found(replace(figures, step_ms=3_600_000))
    assert slow == {"windows.step_s": 3600.0, "training.horizon_s": 7_200_000.0}


def test_a_wide_plant_gets_room(figures: Survey) -> None:
    """With more channels and assets than the defaults allow, the limits have 25 % reserve, and the history fits."""
    channels = {f"c{n}": ChannelFigures(9, 1, 1000, 1000, 0.0) for n in range(800)}
    wide = replace(figures, channels=channels, assets=tuple(f"a{n}" for n in range(9000)), observed=np.ones(9000))
    got = found(wide)
    assert (got["windows.max_channels"], got["windows.max_assets"]) == (1000, 11_250)
    assert got["training.history_windows"] == 4096 * 2**20 // (64 * 1000 * 10)


def test_sparse_windows_are_scored(figures: Survey) -> None:
    """If assets have less than half of the cells measured, min_observed is lowered."""
    sparse = replace(figures, observed=np.array([0.4] * 10), assets=tuple("abcdefghij"))
    assert found(sparse) == {"windows.min_observed": 0.32}


@examples(max_examples=150, deadline=None)
@given(
    step_ms=st.integers(1, 15_000_000),
    late_ms=st.integers(0, 80_000_000),
    channels=st.integers(1, 4096),
    assets=st.integers(1, 65_536),
    observed=st.floats(0.001, 1),
)
@example(step_ms=14_400_001, late_ms=72_000_006, channels=1, assets=1, observed=1.0)  # six steps exceed a day
def test_whatever_is_found_loads(step_ms: int, late_ms: int, channels: int, assets: int, observed: float) -> None:
    """Any step, lateness, sparseness and number of channels and assets give a valid configuration."""
    names = tuple(f"a{n}" for n in range(assets))
    seen = {f"c{n}": ChannelFigures(9, 1, 1000, 1000, 0.0) for n in range(channels)}
    late_ms = min(late_ms, 80_000 * step_ms)
    some = np.full(assets, observed)
    nothing: dict[str, Any] = {
        "hole_ms": step_ms,
        "kinds": {},
        "scattered": {},
        "taken": 0,
        "refused": (),
        "skew_ms": {},
        "repeated": 0.0,
        "colliding": 0.0,
        "disorder": 0.1,
        "rate": 1.0,
    }
    figures = Survey(
        messages=9,
        rejected=(),
        readings=9,
        assets=names,
        channels=seen,
        step_ms=step_ms,
        regular=1.0,
        late_ms=late_ms,
        latest_ms=late_ms,
        observed=some,
        span_ms=1000,
        weight=1.0,
        **nothing,
    )
    base = load(None, {}, {})
    form = Format("json_wide", asset_from="key", timestamp="Zeit\u00e4 #'", values="x y")
    text = written(base, decide(base, DetectedFormat(form, {"kind": "because\n[x]"}, ""), figures), "head\nx = 1")
    path = Path("any.toml")
    path.write_text(text, encoding="utf-8")
    settings = load(path, {}, {})
    assert (settings.windows.step_ms, settings.format.timestamp) == (step_ms, "Zeit\u00e4 #'")
    assert settings.windows.lateness_s * 1000 >= figures.late_ms - 1


def test_the_rule_of_missing_assets_fires(figures: Survey, tmp_path: Path) -> None:
    """A silent asset counts as missing, although the daemon still knows it: the alert fires after 15 minutes."""
    (tmp_path / "r.yml").write_text(rules_text(load(None, {}, {}), {"monitor": figures}))
    total = len(figures.assets)
    series = {"normal": f"{total}x10 {total - 1}x30", "silent": "0x10 1x30"}
    alert = {
        "exp_labels": {"severity": "warning"},
        "exp_annotations": {"summary": f"{total - 1} of {total} assets send. The status page lists the silent ones."},
    }
    story = {
        "interval": "1m",
        "input_series": [
            {"series": f'monitor_assets{{job="monitor", detector="monitor", state="{state}"}}', "values": values}
            for state, values in series.items()
        ],
        "alert_rule_test": [
            {"eval_time": "20m", "alertname": "MonitorAssetsMissing"},
            {"eval_time": "30m", "alertname": "MonitorAssetsMissing", "exp_alerts": [alert]},
        ],
    }
    (tmp_path / "t.yml").write_text(json.dumps({"rule_files": ["r.yml"], "tests": [story]}))
    tool = shutil.which("promtool")
    if tool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is not installed (Debian package prometheus)")
    command = [tool or "promtool", "test", "rules", "t.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_machines_that_are_off_are_not_missing(figures: Survey, tmp_path: Path) -> None:
    """No rule fires at night, when two of three machines are off and send nothing."""
    (tmp_path / "r.yml").write_text(rules_text(load(None, {}, {}), {"monitor": figures}))
    third = figures.rate / 3 * 60
    story = {
        "interval": "1m",
        "input_series": [
            {"series": 'monitor_assets{job="monitor", detector="monitor", state="normal"}', "values": "1x40"},
            {"series": 'monitor_assets{job="monitor", detector="monitor", state="off"}', "values": "2x40"},
            {"series": 'monitor_readings_total{job="monitor"}', "values": f"0+{third}x40"},
            {"series": 'monitor_windows_scored_total{job="monitor", detector="monitor"}', "values": "0+60x40"},
            {"series": 'monitor_model_info{job="monitor", detector="monitor"}', "values": "1x40"},
        ],
        "alert_rule_test": [
            {"eval_time": "40m", "alertname": f"Monitor{name}Missing"} for name in ("Assets", "Readings", "Scores")
        ],
    }
    (tmp_path / "t.yml").write_text(json.dumps({"rule_files": ["r.yml"], "tests": [story]}))
    tool = shutil.which("promtool")
    if tool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is not installed (Debian package prometheus)")
    command = [tool or "promtool", "test", "rules", "t.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_name_what_the_daemon_writes(figures: Survey) -> None:
    """Every metric in the rules is in the table of metrics, and promtool finds no error in them."""
    text = rules_text(load(None, {}, {}), {"monitor": figures})
    assert set(re.findall(r"\b(monitor_\w+)\{", text)) <= {each.name for each in TABLE}
    assert 'sum(monitor_assets{job="monitor", detector="monitor", state!="silent"}) < 3' in text
    tool = shutil.which("promtool")
    if tool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is not installed (Debian: prometheus)")
    assert tool is not None, "promtool is missing in CI"
    Path("r.yml").write_text(text)
    done = subprocess.run([tool, "check", "rules", "r.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 rules found" in done.stdout


@pytest.mark.parametrize("steps", [1, 200])
def test_the_load_is_measured_on_the_sample(steps: int, figures: Survey) -> None:
    """The number of windows per reading is the same whether or not the sample fills a window."""
    settings = load(None, {}, {"format.kind": "json_long", **TOPICS["json_long"].found})
    measured = measure(settings, [kept("json_long", steps)], figures, NOW)
    assert measured.windows_per_s / measured.readings_per_s == pytest.approx(1 / 8, rel=0.05)
    assert measured.readings_per_s > 100
    assert 0 < measured.training_step_s < 10


def test_the_start_is_reckoned_from_what_is_there(figures: Survey) -> None:
    """Missing first steps are estimated as waiting time, and available ones as reading time."""
    settings, measured = load(None, {}, {}), Measured(1000.0, 100.0, 0.02)
    short = estimate(settings, replace(figures, span_ms=400_000, weight=2.0), measured, 5000)
    assert (short.waiting_s, short.reading_s) == (600, 10)
    enough = estimate(settings, replace(figures, span_ms=4_000_000, weight=2.0), measured, 40_000)
    assert (enough.waiting_s, enough.reading_s, enough.training_s) == (0, 20, 16)
    assert short.load == pytest.approx(figures.rate / 1000)
    state = (6 * 3 * 8 + 1) + (8 * 61 + 4)  # limits of channels, and sums of the ranking
    assert short.assets_mb == pytest.approx(3 * (40_000 + 1.5 * 64 * 8 * 5 + state) / 2**20)


def test_what_is_odd_is_remarked(figures: Survey) -> None:
    """Collisions, skew, texts, gaps and different machines are reported, and a clean topic has no remarks."""
    form = DetectedFormat(Format("telegraf_json", asset_from="tag", timestamp_unit="s"), {}, "")
    base = load(None, {}, {"recorder.enabled": True})
    assert list(remarks(base, figures, {}, form)) == []
    assert "[recorder]" in "".join(remarks(load(None, {}, {}), figures, {}, form))
    channels = {
        "x": ChannelFigures(9, 1, 1000, 0, 0.3),
        "y": ChannelFigures(9, 3, 1000, 0, 0.0),
        "z": ChannelFigures(9, 3, 60_000, 180_000, 0.9),
    }
    odd = replace(figures, colliding=0.2, repeated=0.1, skew_ms={"a": 90_000, "b": 0}, regular=0.2, channels=channels)
    text = "\n".join(remarks(base, odd, {"state": 1.0, "y": 0.1}, form))
    for part in (
        "20.0% of the readings contradict another",
        'json_timestamp_units = "1ms"',
        "10.0% of the readings repeat time and value",
        "left out: state",
        "1 asset differ from the others by a step or more: a by +90 s",
        "no steady period",
        "1 channel without readings for more than 2% of the steps, x for 30%",
        "1 channel slower than the step: a value holds until the next one, of z for 180 s at most",
        "1 of 3 channels exist on some assets only",
    ):
        assert part in text


def test_names_that_become_one_id_are_told() -> None:
    """Machines that differ by an umlaut are all read, and those that differ by another character are remarked."""
    rows = [
        {"asset": name, "timestamp": 1_750_000_000_000 + 1000 * step, "values": {"flow": step % 7 + 0.5}}
        for step in range(100)
        for name in ("Ofen Ä", "Ofen Ö", "Ofen Ü", "Ofen #1", "Ofen %1")
    ]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = monitor("onboard", "--file", "in.jsonl")
    assert result.exit_code == 0, result.output
    assert "assets    4: Ofen_Ae, Ofen_Oe, Ofen_Ue, Ofen__1" in result.output
    (told,) = [line for line in result.output.splitlines() if "another name" in line]
    assert told.startswith("look at   100 readings of 1 name skipped")
    assert "the asset 'Ofen %1' would be Ofen__1, as 'Ofen #1' is" in told


@pytest.mark.parametrize(
    ("form", "repair"),
    [
        (Format("telegraf_json", asset_from="tag", asset_tag="machine"), 'routing_tag = "machine"'),
        (Format("json_wide"), "as the key of each message"),
    ],
)
def test_machines_that_lie_in_several_partitions_are_told(figures: Survey, form: Format, repair: str) -> None:
    """The number of such assets, an example, the consequence and the repair are told."""
    odd = replace(figures, scattered={"P1": (0, 2), "P2": (0, 1)})
    text = "\n".join(remarks(load(None, {}, {}), odd, {}, DetectedFormat(form, {}, "")))
    for part in ("2 assets lie in several partitions", "P1 in 0 and 2", "windows of its own", repair):
        assert part in text


def test_a_format_under_which_machines_are_merged_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many readings contradict others of their asset, channel and time, onboard names share and assets."""
    monkeypatch.chdir(tmp_path)
    begin = 1_764_500_000 * 10**9
    lines = [
        f"pump,line={line},machine={machine} flow={t + number / 2} {begin + t * 10**9}"
        for t in range(60)
        for number, (line, machine) in enumerate((("L1", "P1"), ("L1", "P2"), ("L2", "P1")))
    ]
    Path("lines.jsonl").write_text("\n".join(lines) + "\n")
    result = monitor("onboard", "--file", "lines.jsonl")
    assert result.exit_code == 1
    assert "33.3% of the readings contradict" in result.stderr
    assert "P1, P2" in result.stderr
    assert not Path("monitor.toml").exists()


def test_one_asset_whose_channels_hold_machines_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table in which the columns' names hold machines is one asset, and a remark names them and the cure."""
    monkeypatch.chdir(tmp_path)
    head = "time," + ",".join(f"PU{n}_{channel}" for n in (1, 2, 3) for channel in ("flow", "temp", "vib"))
    rows = [
        f"2026-03-01T00:{t // 60:02}:{t % 60:02}Z," + ",".join(f"{t % 7 + n}.5" for n in range(9)) for t in range(90)
    ]
    Path("wide.csv").write_text("\n".join([head, *rows]) + "\n")
    result = monitor("onboard", "--file", "wide.csv", "--out", "wide.toml")
    assert result.exit_code == 0, result.output
    assert "may be machines: PU1, PU2, PU3" in result.output
