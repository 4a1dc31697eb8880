"""A worker and the commands on messages with schemas, with a registry that comes and goes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.connectors.base import Unavailable
from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Partition, Record
from monitor.observe.metrics import Metrics
from monitor.service.backends import make_sample, make_source
from monitor.service.intake import Intake
from monitor.service.offline import collect
from tests.brokers import mock_broker
from tests.commands import monitor, sets
from tests.connectors.schemas.producers import AVRO, PROTO, writer
from tests.core.machines import rows
from tests.registry_server import RegistryServer, registry_server
from tests.rig import ORIGIN, committed, feed, published, put_model, running, settings, until, values

NEWER = json.dumps(json.loads(AVRO) | {"doc": "the next version"})


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as made:
        yield made


def encoded(
    server: RegistryServer, schema: str, sent: list[tuple[bytes, bytes, int]]
) -> list[tuple[bytes, bytes, int]]:
    """Return messages of the rig as a producer with this schema writes them."""
    write = writer(server, "AVRO", schema)
    return [(key, write(json.loads(value)).value or b"", at) for key, value, at in sent]


def dead(broker: MemoryBroker) -> list[Record]:
    parts = broker.partitions("monitor.dead-letters")
    return [stored.record for part in parts for stored in broker.read(part)]


def test_no_reading_is_lost_while_the_registry_is_away(server: RegistryServer, tmp_path: Path) -> None:
    """While its registry is away a partition with a new schema waits, visibly: nothing is lost, nothing is refused."""
    broker = MemoryBroker({"readings": 1})
    put_model(tmp_path)
    every = values(rows(120))
    first, second = encoded(server, AVRO, every[:80]), encoded(server, NEWER, every[80:])
    wanted = settings(tmp_path, schemas__registry_url=server.url, format__timestamp_unit="iso")
    feed(broker, first)
    with running(wanted, broker) as service:
        until(lambda: committed(broker) == len(first))
        server.down()
        feed(broker, second)
        until(lambda: not service.health.ready()[0])
        until(lambda: f"readings[0] waits: schema registry {server.url} cannot be reached" in service.health.ready()[1])
        assert committed(broker) == len(first)

        server.up()
        until(lambda: committed(broker) == len(every))
        until(lambda: service.health.ready()[0])
    assert dead(broker) == []
    assert {each["asset"] for each in published(broker, "monitor.scores")}
    count = sum(len(json.loads(value)["values"]) for _, value, _ in every)
    assert service.metrics.total("monitor_readings_total") == count
    assert service.metrics.total("monitor_complaints_total") == 1


def test_a_restart_during_the_outage_repeats_what_waited(server: RegistryServer, tmp_path: Path) -> None:
    """A worker that stops while messages wait commits none of them, and the next one reads them."""
    broker = MemoryBroker({"readings": 1})
    every = values(rows(40))
    sent = encoded(server, AVRO, every)
    wanted = settings(tmp_path, schemas__registry_url=server.url, format__timestamp_unit="iso", training__enabled=False)
    feed(broker, sent[:10])
    with running(wanted, broker):
        until(lambda: committed(broker) == 10)
    server.down()
    feed(broker, sent[10:])
    with running(wanted, broker) as service:
        until(lambda: "waits: schema registry" in service.health.ready()[1])
    assert committed(broker) == 10
    server.up()
    with running(wanted, broker):
        until(lambda: committed(broker) == len(sent))
    assert dead(broker) == []


def test_rejected_messages_keep_their_bytes(server: RegistryServer, tmp_path: Path) -> None:
    """A number that the registry does not have and a body that is cut are dead letters with the bytes as sent."""
    broker = MemoryBroker({"readings": 1})
    sent = encoded(server, AVRO, values(rows(20)))
    bad = [b"\x00\x00\x00\x03\xe7" + sent[0][1][5:], sent[0][1][:-4]]
    feed(broker, [*sent, *((None, value, ORIGIN) for value in bad)])
    wanted = settings(tmp_path, schemas__registry_url=server.url, format__timestamp_unit="iso", training__enabled=False)
    with running(wanted, broker):
        until(lambda: committed(broker) == len(sent) + 2)
    assert [each.value for each in dead(broker)] == bad
    unknown, cut = (dict(each.headers)["__connect.errors.exception.message"].decode() for each in dead(broker))
    assert unknown.startswith(f"found schema 999, which the registry {server.url} does not have")
    assert "found a body that is no plant.Reading" in cut


def test_a_training_does_not_end_early_without_its_registry(
    server: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that reads to the end says that the registry is away; it does not learn from half of the readings."""
    monkeypatch.setattr("monitor.service.offline.QUIET_S", 0.3)
    broker = MemoryBroker({"readings": 1})
    every = values(rows(100))
    feed(broker, [*encoded(server, AVRO, every[:100]), *encoded(server, NEWER, every[100:])])
    wanted = settings(tmp_path, schemas__registry_url=server.url, format__timestamp_unit="iso")

    source = make_source(wanted, None, Metrics(), broker)
    assert len(collect(wanted, source, lambda *_: None, Intake())) > 0
    server.down()
    with pytest.raises(Unavailable, match="waits: schema registry"):
        collect(wanted, make_source(wanted, None, Metrics(), broker), lambda *_: None, Intake())


def test_dead_letters_are_replayed_once_the_schema_is_there(server: RegistryServer, tmp_path: Path) -> None:
    """`monitor dead-letters replay` reads the schemas, too, and writes back the bytes that were sent."""
    (sent, *_) = encoded(server, AVRO, values(rows(1)))
    with mock_broker({"readings": 1, "monitor.dead-letters": 1}) as broker:
        from tests.service.test_dead_letters import rejected, stored, write  # noqa: PLC0415 - its own helpers

        write(broker.bootstrap, [rejected(0, 3, sent[1]), rejected(0, 4, b"\x00\x00\x00\x03\xe7x")])
        options = sets(
            kafka__bootstrap_servers=broker.bootstrap,
            schemas__registry_url=server.url,
            format__timestamp_unit="iso",
        )
        done = monitor("dead-letters", "replay", *options)
        assert done.exit_code == 0, done.output
        assert "1 replayed, 1 still unreadable" in done.output
        assert [each.value for each in stored(broker.bootstrap)] == [sent[1]]

        server.down()
        done = monitor("dead-letters", "replay", "--again", *options)
        assert done.exit_code == 1
        assert f"schema registry {server.url} cannot be reached" in done.stderr


def test_onboard_reads_the_schemas_of_the_sample(server: RegistryServer) -> None:
    """A sample of Avro or Protobuf is recognised as the JSON of its records; without a registry it names the option."""
    with mock_broker({"readings": 1, "proto": 1}) as broker:
        from tests.service.test_dead_letters import write  # noqa: PLC0415 - as above

        every = values(rows(300))
        avro = [Record("readings", key, value, timestamp=at) for key, value, at in encoded(server, AVRO, every)]
        proto = writer(server, "PROTOBUF", PROTO)
        records = [Record("proto", key, proto(json.loads(value)).value, timestamp=at) for key, value, at in every]
        write(broker.bootstrap, [*avro, *records])
        for topic, unit in (("readings", "iso"), ("proto", "ms")):
            arguments = ("onboard", "--topic", topic, "--bootstrap", broker.bootstrap, "--out", Path(f"{topic}.toml"))
            refused = monitor(*arguments)
            assert refused.exit_code == 1
            assert "behind the number of a schema in a registry (number" in refused.stderr
            assert "--registry" in refused.stderr

            done = monitor(*arguments, "--registry", server.url)
            assert done.exit_code == 0, done.output
            written = Path(f"{topic}.toml").read_text()
            assert f'registry_url = "{server.url}"' in written
            assert (f'timestamp_unit = "{unit}"' in written) == (unit != "ms")
            assert "assets    2" in done.stdout


def test_onboard_names_the_option_for_schemas_in_headers(server: RegistryServer) -> None:
    """Schemas in headers are refused with the option that reads them, schemas that are not there with their number."""
    with mock_broker({"readings": 1}) as broker:
        from tests.service.test_dead_letters import write  # noqa: PLC0415 - as above

        sent = [writer(server, "AVRO", AVRO, header=True)(json.loads(value)) for _, value, _ in values(rows(30))]
        write(broker.bootstrap, [Record("readings", None, each.value, each.headers) for each in sent])
        refused = monitor("onboard", "--topic", "readings", "--bootstrap", broker.bootstrap)
        broker.create_topic("strange", 1)
        write(broker.bootstrap, [Record("strange", None, b"\x00\x00\x00\x03\xe7x")] * 20)
        arguments = ("--bootstrap", broker.bootstrap, "--registry", server.url)
        strange = monitor("onboard", "--topic", "strange", *arguments)
    assert strange.exit_code == 1
    assert (
        "no message of the sample can be read by its schema; the first: found schema 999, which the" in strange.stderr
    )
    assert refused.exit_code == 1
    assert (
        "they name a schema in the header __value_schema_id: give the registry's address by --registry"
        in refused.stderr
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_check_asks_the_registry(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`monitor check --connect` says whether the registry answers, and whether it takes the credentials."""
    monkeypatch.setattr("monitor.connectors.kafka.probe._RIGHTS_S", 0.3)
    topics = {"readings": 1, "monitor.alerts": 1, "monitor.scores": 1, "monitor.dead-letters": 1}
    server.register("readings-value", AVRO)
    server.login = ("monitor", "planted-secret")
    login = {"schemas__username": "monitor", "schemas__password": "planted-secret"}
    with mock_broker(topics) as broker:
        given = {"kafka__bootstrap_servers": broker.bootstrap, "schemas__registry_url": server.url}
        done = monitor("check", "--connect", *sets(**given, **login))
        assert done.exit_code == 0, done.output
        assert f"ok      schema registry {server.url}: it answers; it has 1 subject\n" in done.stdout
        assert "planted" not in done.output

        done = monitor("check", "--connect", *sets(**given))
        assert done.exit_code == 1
        assert (
            f"failed  schema registry {server.url}: refuses the credentials (401): set schemas.username" in done.stdout
        )
        server.down()
        done = monitor("check", "--connect", *sets(**given, **login))
        assert f"failed  schema registry {server.url}: cannot be reached: " in done.stdout
        assert done.stdout.splitlines()[-1].endswith(f"items failed: schema registry {server.url}")


def test_check_finds_mistakes_in_schema_files(tmp_path: Path) -> None:
    """`monitor check` reads the files with schemas, and exits with 78 for one that is none."""
    (tmp_path / "a.proto").write_text("message {")
    done = monitor("check", *sets(schemas__files=["a.proto"]))
    assert done.exit_code == 78
    assert done.stderr == "configuration: schemas.files, schemas.message: line 1: found {, expected a name\n"


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, settings for schemas are refused with the command that installs it."""
    monkeypatch.setattr("monitor.settings.checks.schemas._is_installed", lambda _: False)
    done = monitor("check", *sets(schemas__registry_url="http://127.0.0.1:8081"))
    assert done.exit_code == 78
    assert "fastavro, which reads Avro, is missing: pip install 'plant-monitor[schemas]'" in done.stderr
    assert monitor("check").exit_code == 0


def test_messages_of_files_need_no_registry(tmp_path: Path) -> None:
    """Recordings are JSON, CSV or arrays; a training on them does not ask the registry of the topics."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"asset": "p", "timestamp": ORIGIN, "values": {"x": 1.0}}) + "\n")
    wanted = settings(
        tmp_path,
        source__kind="files",
        source__paths=["a.jsonl"],
        outputs__kind="files",
        schemas__registry_url="http://127.0.0.1:9",
    )
    sample = make_sample(wanted, 10, lambda _: None)
    assert [len(run) for run in sample.runs] == [1]
    assert Partition("a.jsonl", 0)
