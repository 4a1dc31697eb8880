"""`monitor check --connect`: one line for each item, a verdict, and an end in time."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from monitor.connectors.base import Finding
from monitor.connectors.kafka.option_names import NAMES
from monitor.connectors.kafka.options import DENIED
from monitor.connectors.kafka.probe import probe, refused_options
from monitor.service import connect
from monitor.service.backends import probe_points
from monitor.service.connect import try_all, verdict
from monitor.settings.load import load
from tests.brokers import mock_broker, suspended
from tests.commands import monitor, sets
from tests.influx_server import Answer, influx_server

TOPICS = {"readings": 3, "monitor.alerts": 1, "monitor.scores": 1, "monitor.dead-letters": 1}


@pytest.fixture(autouse=True)
def workplace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder, and wait shortly for rights, which the mock cluster does not tell."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("monitor.connectors.kafka.probe._RIGHTS_S", 0.3)


def lines(done: Any) -> dict[str, tuple[str, str]]:
    """The result and the text of each item that the command printed."""
    found = [re.fullmatch(r"(ok|failed) +([^:]+(?::[0-9/][^: ]*)*): (.*)", line) for line in done.stdout.splitlines()]
    return {match[2]: (match[1], match[3]) for match in found if match}


def test_all_that_is_there_is_ok(tmp_path: Path) -> None:
    """With broker, topics, database and store at hand each item is ok, and the exit code is 0."""
    with mock_broker(TOPICS) as broker, influx_server() as server:
        database = {"enabled": True, "url": server.url, "token": server.token, "org": server.org}
        given = {f"recorder__{key}": value for key, value in database.items()}
        done = monitor(
            "check",
            "--connect",
            *sets(kafka__bootstrap_servers=broker.bootstrap, store__url=str(tmp_path / "store"), **given),
        )
    assert done.exit_code == 0, done.output
    shown = lines(done)
    assert shown["topic readings"] == ("ok", "3 partitions; the broker does not tell rights")
    assert {"group monitor", "group monitor-recorder", *(f"topic {topic}" for topic in TOPICS)} <= shown.keys()
    assert any("bucket monitor" in line and line.startswith("ok") for line in done.stdout.splitlines())
    assert server.token not in done.output
    assert not server.points
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert re.fullmatch(r"verdict: all \d+ items are ok", done.stdout.splitlines()[-1])


def test_a_topic_that_is_missing_is_named(tmp_path: Path) -> None:
    """A topic that does not exist fails with names that are close, and is not created by the check."""
    with mock_broker({**TOPICS, "reading": 1}) as broker:
        given = {"kafka.bootstrap_servers": broker.bootstrap, "store.url": str(tmp_path), "source.topics": ["readngs"]}
        for _ in range(2):
            done = monitor("check", "--connect", *sets(**given))
            assert done.exit_code == 1
            result, text = lines(done)["topic readngs"]
            assert result == "failed"
            assert "no such topic; there is reading" in text
    assert done.stdout.splitlines()[-1].endswith("items failed: topic readngs")


def test_a_pattern_stands_for_the_topics_that_match() -> None:
    """Each topic that a pattern matches is tried, and a pattern that matches none is named."""
    with mock_broker({"line1.pumps": 2, "line2.pumps": 1, "other": 1}) as broker:
        _, *found = probe({"bootstrap.servers": broker.bootstrap}, {"^line[0-9]": (), "^hall": ()}, [], 9)
    assert [(finding.item, finding.ok) for finding in found] == [
        ("topics ^hall", False),
        ("topic line1.pumps", True),
        ("topic line2.pumps", True),
    ]


def test_brokers_that_do_not_answer_are_named(tmp_path: Path) -> None:
    """A closed port and a broker that hangs end within the limit, and the store is tried all the same."""
    given = {"kafka.bootstrap_servers": "127.0.0.1:9", "store.url": str(tmp_path)}
    with mock_broker(TOPICS) as broker, suspended(broker):
        for address in ("127.0.0.1:9", broker.bootstrap):
            begin = time.monotonic()
            findings = try_all(load(None, {}, {**given, "kafka.bootstrap_servers": address}), 3.0)
            assert time.monotonic() - begin < 5
            assert [finding.ok for finding in findings] == [False, True]
            assert address in findings[0].item
    assert verdict(findings) == f"verdict: 1 of 2 items failed: {findings[0].item}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(401, "no"), "check the token"),
        (Answer(403, "no"), "may write to bucket"),
        (Answer(404, "no"), "check the names of organisation"),
        (Answer(503, "later"), "503"),
        (Answer(0), "127.0.0.1"),
    ],
)
def test_a_database_that_refuses_is_named(tmp_path: Path, answer: Answer, reason: str) -> None:
    """A wrong token, a missing right, a wrong bucket and an outage are told apart, and the token is not shown."""
    (tmp_path / "in.jsonl").write_text("{}\n")
    with influx_server() as server:
        server.script.append(answer)
        given = {
            "source.kind": "files",
            "source.paths": [str(tmp_path / "in.jsonl")],
            "recorder.enabled": True,
            "recorder.url": server.url,
            "recorder.token": "secret-token",
        }
        findings = probe_points(load(None, {}, given), 5.0)
    ((_, ok, text),) = findings
    assert not ok
    assert reason in text
    assert "secret-token" not in text


def files(tmp_path: Path) -> list[str]:
    """Options that read a file and write to a folder."""
    (tmp_path / "in.jsonl").write_text("{}\n")
    return sets(
        source__kind="files",
        source__paths=[str(tmp_path / "in.jsonl")],
        outputs__kind="files",
        outputs__directory=str(tmp_path / "out"),
    )


def test_files_need_no_broker(tmp_path: Path) -> None:
    """With files on both sides the file, the folder and the store are tried, and no broker."""
    done = monitor("check", "--connect", *files(tmp_path), *sets(store__url=str(tmp_path / "store")))
    assert done.exit_code == 0, done.output
    assert list(lines(done)) == [f"file {tmp_path}/in.jsonl", f"folder {tmp_path}/out", f"store {tmp_path}/store"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_store_that_is_a_file_is_named(tmp_path: Path) -> None:
    """A store in the place of a file fails with the reason, and the verdict names it."""
    (tmp_path / "store").write_text("")
    done = monitor("check", "--connect", *files(tmp_path), *sets(store__url=str(tmp_path / "store")))
    assert done.exit_code == 1
    assert lines(done)[f"store {tmp_path}/store"][0] == "failed"
    assert done.stdout.splitlines()[-1] == f"verdict: 1 of 3 items failed: store {tmp_path}/store"


def test_a_part_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that never answers fails after the limit, and the other items are shown."""

    def hang(*_: object) -> list[Finding]:
        time.sleep(5)
        return []

    monkeypatch.setattr(connect, "_try_store", hang)
    (tmp_path / "in.jsonl").write_text("{}\n")
    given = {"source.kind": "files", "source.paths": [str(tmp_path / "in.jsonl")], "outputs.kind": "files"}
    findings = try_all(load(None, {}, given), 0.5)
    assert [finding.ok for finding in findings] == [True, True, False]
    assert findings[-1].text == "no answer within 0.5 s"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"linger.mss": 5}, ["linger.mss", "did you mean linger.ms?"]),
        (
            {"fetch.min.byte": 1, "socket.keepalive": True},
            ["fetch.min.byte", "did you mean fetch.min.bytes?", "socket"],
        ),
        ({"zzz": 1}, ["zzz: librdkafka has no such option"]),
        ({"linger.ms": "soon"}, ["librdkafka refuses them", "queue.buffering.max.ms"]),
    ],
)
def test_a_misspelt_option_is_found_without_a_broker(options: dict[str, Any], said: list[str]) -> None:
    """`check` names each option that librdkafka does not know, with a close one, and exits with 78."""
    done = monitor("check", *sets(kafka__options=options, kafka__bootstrap_servers="127.0.0.1:9"))
    assert done.exit_code == 78
    assert done.stdout == ""
    assert all(line.startswith("configuration: kafka.options: ") for line in done.stderr.splitlines())
    for text in said:
        assert text in done.stderr


def test_known_options_pass() -> None:
    """Options that librdkafka knows pass, those of consumers and of producers."""
    options = {
        "linger.ms": 5,
        "fetch.min.bytes": 1,
        "compression.type": "lz4",
        "socket.keepalive.enable": True,
        "group.instance.id": "one",
        "max.in.flight": 5,
    }
    done = monitor("check", *sets(kafka__options=options))
    assert done.exit_code == 0, done.output


def test_the_names_proposed_exist() -> None:
    """Every name that may be proposed is one that librdkafka knows and that may be set."""
    assert len(NAMES) > 90
    assert not set(NAMES) & DENIED.keys()
    told = [refused_options({name: "x"}) for name in NAMES]
    assert not [text for text in told if "no such option" in "".join(text)]
