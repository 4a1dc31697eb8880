"""docs/troubleshooting.md quotes what the program says: each sentence of its section on commands is produced here."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.backtest.command import labels_line
from monitor.backtest.figures import figures
from monitor.backtest.replay import DetectorReplay, Replay
from monitor.backtest.together import EvaluatedReplay
from monitor.backtest.tracks import Collector
from monitor.connectors.base import Finding
from monitor.connectors.kafka.probe import probe, refused_options
from monitor.connectors.memory.client import MemoryBroker, MemorySource
from monitor.connectors.schemas.registry import Registry, RegistryOptions
from monitor.connectors.schemas.resolver import Resolver
from monitor.connectors.schemas.source import SchemaSource
from monitor.core.decode.decode import decode
from monitor.core.decode.format import Format
from monitor.core.records import Count, Message, Partition, PartitionOutputs, Record, Rejected
from monitor.evaluation.label import Label
from monitor.evaluation.matching import Evaluation, LabelRow
from monitor.onboard.format.recognise import DetectedFormat
from monitor.onboard.report import scattered
from monitor.onboard.survey import survey
from monitor.service.backends import probe_points, probe_registry
from monitor.service.connect import try_all, verdict
from monitor.service.intake import Intake
from monitor.service.no_windows import not_assigned, why_no_windows, why_not_scored
from monitor.service.offline import ASSIGN_S
from monitor.settings.load import ConfigurationError, load
from monitor.worker.dead_letter_limit import DeadLetterLimit
from tests.backtest.backtests import backtest, npz
from tests.brokers import mock_broker
from tests.connectors.schemas.producers import AVRO, writer
from tests.influx_server import Answer, influx_server
from tests.registry_server import RegistryServer, registry_server
from tests.service.test_no_windows import PART, WINDOWS, every, intake

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
HEADING = "## What commands say"


def quoted(heading: str) -> list[str]:
    """The sentences in a section, one for each line of its blocks of text."""
    section = PAGE.read_text().partition(f"\n{heading}\n")[2]
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    blocks = re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def without_windows() -> Iterator[str]:
    """The reasons why there was no window."""
    yield why_no_windows(intake(*every(90, 50)), WINDOWS)
    yield why_no_windows(intake(*(("P1", b * 100 + place, ["a"]) for b in range(4) for place in range(10))), WINDOWS)
    yield why_no_windows(intake(*every(1, 10)), WINDOWS)

    own = [[f"{asset}.{channel}" for channel in ("flow", "pressure")] for asset in ("P1", "P2", "P3")]
    rows = [(f"P{place + 1}", second, own[place]) for second in range(60) for place in range(3)]
    yield why_no_windows(intake(*rows), WINDOWS)
    sparse = [("P1", second, ["a"] if second % 10 else ["a", "b", "c", "d"]) for second in range(100)]
    yield why_no_windows(intake(*sparse), WINDOWS)

    refused = Intake(
        messages=500, rejected=500, reason="values.flow: found a text, expected a number", partitions=[PART]
    )
    yield why_no_windows(refused, WINDOWS)
    for count in (Count.READINGS_LATE, Count.READINGS_UNKNOWN_CHANNEL, Count.READINGS_REFUSED):
        yield why_no_windows(intake(*every(1, 50), counts={count: 80}), WINDOWS)

    yield why_not_scored(intake(*every(1, 50), *every(60, 5, "P4")), WINDOWS, (), {"P1"})
    yield why_no_windows(Intake(500, counts={Count.READINGS_FILTERED_ASSET: 4000}, partitions=[PART]), WINDOWS)

    yield why_no_windows(Intake(partitions=[PART]), WINDOWS)
    yield why_no_windows(Intake(outside=500, partitions=[PART]), WINDOWS)
    yield not_assigned(["readings"], "monitor-train", ASSIGN_S)


def labels() -> str:
    """The line about labels of which some could not be seen."""
    rows = (LabelRow(Label("P1", "", (), 0, 1), alert="a"), LabelRow(Label("P2", "", (), 0, 1)))
    one = load(None, {}, {})
    replay = Replay({one.name: DetectorReplay(one, Collector(1000), None)})
    made = EvaluatedReplay(
        replay=replay,
        detectors=(),
        together=figures([], Evaluation(rows, ()), 0.0, 0),
        alerts=[],
        evaluation=Evaluation(rows, ()),
        labels=tuple(row.label for row in rows),
        before=3,
        after=0,
        others=0,
        unseen=(rows[1].label,),
    )
    only_before = replace(made, labels=(), unseen=(), evaluation=Evaluation((), ()))
    return f"{labels_line(made, Evaluation(rows, ()))}\n{labels_line(only_before, Evaluation((), ()))}"


def refused_settings() -> Iterator[str]:
    """What the settings say of topics and filters that cannot work."""
    wrong: tuple[dict[str, object], ...] = (
        {"source.topics": ["^mon.*"]},
        {"source.topics": [r"^plant\d+"]},
        {"select.measurements": ["pumps"]},
        {"select.assets": ["P*"], "select.assets_exclude": ["P*"]},
        {"channels": {"*.energy": {"as": "counter"}}},
        {"channels": {"*": {"as": "ignore"}, "flow": {"as": "measurement"}}},
    )
    for given in wrong:
        with pytest.raises(ConfigurationError) as refused:
            load(None, {}, given)
        yield from map(str, refused.value.problems)


def in_partitions() -> Iterator[str]:
    """What onboard says of machines whose messages lie in several partitions."""
    rows = [{"asset": "P1", "channel": "flow", "timestamp": 10**12 + 1000 * n, "value": n * 37 % 11} for n in range(40)]
    bodies = [json.dumps(row).encode() for row in rows]
    runs = [
        [Message(Partition("plant", part), n, None, body, 0) for n, body in enumerate(bodies[part::2])]
        for part in (0, 1)
    ]
    long = Format("json_long")
    figures = survey(runs, long, 2 * 10**12)
    for form in (replace(long, kind="telegraf_json", asset_from="tag", asset_tag="asset"), long):
        yield scattered(figures, DetectedFormat(form, {}, ""))


def stopped() -> str:
    """The reason of a partition that is stopped."""
    limit = DeadLetterLimit(2, 1.0)
    messages = [Message(Partition("readings", 0), offset, None, b"{}", 0) for offset in range(3)]
    rejected = [
        Rejected(each, "decode", "values", "Missing", "values: not there, expected a table") for each in messages
    ]
    return limit.check(messages, PartitionOutputs({}, rejected=rejected))


def with_schemas(server: RegistryServer) -> Iterator[str]:
    """What the program says of messages with schemas, and of a registry that cannot be asked."""
    registry = Registry(RegistryOptions(server.url))
    write = writer(server, "AVRO", AVRO)
    whole = write({"asset": "p", "timestamp": 1_700_000_000_000, "values": {}}).value or b""
    server.register(
        "node", '{"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}'
    )
    values = [b"\0\0\0\x03\xe7x", whole[:8], b"\0\0\0\0\x02\0", b"\x0cpump-1"]
    for value in values:
        (message,) = Resolver(registry, None).resolved([Message(PART, 0, None, value, 0)])
        yield decode([message], Format("json_wide"), 0)[1][0].reason
    keyed = Message(PART, 0, b"\0\0\0\0\x09\x0cpump-1", b"{}", 0)
    yield decode([keyed], Format("json_wide", asset_from="key"), 0)[1][0].reason

    server.login = ("monitor", "secret")
    broker = MemoryBroker({"readings": 1})
    broker.append(Record("readings", None, whole))
    source = SchemaSource(MemorySource(broker, ["readings"], "g"), Resolver(registry, None), lambda _: None)
    source.open(dict.fromkeys, lambda _: None, lambda _: None)
    while not source.stalled():
        source.poll(10, 0.1)
    yield source.stalled()
    source.close()
    registry.close()

    server.login, server.answer = None, (404, "<html>")
    (finding,) = probe_registry(load(None, {}, {"schemas.registry_url": server.url}), 5.0)
    yield line(finding)


def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the settings say if libraries are missing."""
    with monkeypatch.context() as patch:
        patch.setattr("monitor.settings.checks.schemas._is_installed", lambda _: False)
        with pytest.raises(ConfigurationError) as refused:
            load(None, {}, {"schemas.registry_url": "http://registry:8081"})
    yield from refused.value.problems


def connected(folder: Path) -> Iterator[str]:
    """Lines of `monitor check --connect`."""
    (folder / "in.jsonl").write_text("{}\n")
    files = {"source.kind": "files", "source.paths": [str(folder / "in.jsonl")], "outputs.kind": "files"}
    with mock_broker({"readings": 4}) as broker:
        _, good, missing = probe(
            {"bootstrap.servers": broker.bootstrap}, dict.fromkeys(["readings", "readngs"], ()), [], 9
        )
    yield line(missing)
    yield line(good)
    with influx_server() as server:
        server.script.append(Answer(401, "unauthorized access"))
        given = {"recorder.enabled": True, "recorder.url": server.url, "recorder.token": "secret"}
        (refused,) = probe_points(load(None, {}, given), 5.0)
        yield line(refused).replace(server.url, "http://influxdb:8086")

    (folder / "store").write_text("")
    given = {**files, "store.url": str(folder / "store"), "outputs.directory": str(folder / "out")}
    findings = try_all(load(None, {}, given), 5.0)
    yield line(findings[-1]).replace(str(folder), "/var/lib/monitor")
    yield verdict(findings).replace(str(folder), "/var/lib/monitor")


def line(finding: Finding) -> str:
    return f"{'ok' if finding.ok else 'failed':<8}{finding.item}: {finding.text}"


def test_the_page_quotes_what_commands_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sentence in the section is one that the program says, and every one that it says is in the section."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("monitor.connectors.kafka.probe._RIGHTS_S", 0.3)
    short = backtest(npz(tmp_path), training__first_steps=5000).stderr
    with registry_server() as server:
        schemas = [text.replace(server.url, "http://registry:8081") for text in with_schemas(server)]
    said = [
        *schemas,
        *without_the_extra(monkeypatch),
        *without_windows(),
        re.findall(r"monitor: (.*)", short)[0],
        *labels().splitlines(),
        *refused_settings(),
        *in_partitions(),
        stopped(),
        *connected(tmp_path),
        *(f"configuration: kafka.options: {text}" for text in refused_options({"linger.mss": 5})),
    ]
    assert sorted(quoted(HEADING)) == sorted(said), json.dumps(said, indent=1)
