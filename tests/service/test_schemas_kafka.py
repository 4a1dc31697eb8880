"""Messages with schemas on Apache Kafka, with a registry that is killed in the middle."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from monitor.core.records import Record
from tests.apache import ApacheKafka
from tests.connectors.schemas.producers import AVRO, PROTO, writer
from tests.contracts.kafka_harness import FAST, MEMBER, Names, make_topic
from tests.core.machines import L
from tests.registry_server import RegistryServer, registry_server
from tests.rig import put_model, running, settings, until, values
from tests.service.test_dead_letters import stored, write
from tests.worker.test_daemon import faulty

STEPS = 400
NEWER = json.dumps(json.loads(AVRO) | {"doc": "the next version"})


def encoded(server: RegistryServer, topic: str, rows: Sequence[tuple[bytes, bytes, int]]) -> list[Record]:
    """Return Avro of both machines, each in a partition of its own.

    From the half on a has another version of its schema, named in a header. From three quarters on b is Protobuf.
    """
    first, newer = writer(server, "AVRO", AVRO), writer(server, "AVRO", NEWER, header=True)
    proto = writer(server, "PROTOBUF", PROTO)
    records = []
    for index, (key, value, at) in enumerate(rows):
        later = {b"a": newer, b"b": proto}[key]
        write_ = later if index >= len(rows) * {b"a": 2, b"b": 3}[key] // 4 else first
        sent = write_(json.loads(value))
        records.append(Record(topic, key, sent.value, sent.headers, int(key == b"b"), at))
    return records


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", ["at_least_once", "exactly_once"])
def test_nothing_is_lost_while_the_registry_is_killed(mode: str, apache: ApacheKafka, tmp_path: Path) -> None:
    """The partition with a new schema waits, the other one is scored on; afterwards each reading is scored once."""
    names = Names()
    readings, dead, alerts, scores = (names.own(word) for word in ("readings", "dead", "alerts", "scores"))
    for name in (readings, dead, alerts, scores):
        make_topic(apache, name, 2)
    put_model(tmp_path / "store")

    with registry_server() as server:
        wanted = settings(
            tmp_path / "store",
            source__kind="kafka",
            source__topics=[readings],
            source__group=names.own("group"),
            outputs__kind="kafka",
            outputs__alerts=alerts,
            outputs__scores=scores,
            outputs__dead_letters=dead,
            kafka__bootstrap_servers=apache.bootstrap,
            kafka__options={**FAST, **MEMBER},
            delivery__mode=mode,
            schemas__registry_url=server.url,
            format__kind="json",
            format__timestamp_unit="auto",
        )
        sent = encoded(server, readings, values(faulty(STEPS)))
        half = len(sent) // 2
        write(apache.bootstrap, sent[:half])

        def scored(asset: str) -> int:
            return sum(json.loads(each.value or b"")["asset"] == asset for each in stored(apache.bootstrap, scores))

        with running(wanted, None) as service:
            until(lambda: scored("a") == scored("b") == STEPS // 2 - L + 1)

            # Killed: a waits, and b, whose schema is known, goes on.
            server.down()
            write(apache.bootstrap, [each for each in sent[half:] if each.key == b"a"])
            until(lambda: f"{readings}[0] waits: schema registry {server.url}" in service.health.ready()[1])
            write(apache.bootstrap, [each for each in sent[half : half + half // 2] if each.key == b"b"])
            until(lambda: scored("b") == 3 * STEPS // 4 - L + 1)

            # Up again, but out of order: b waits, too.
            server.up()
            server.answer = (503, "")
            write(apache.bootstrap, [each for each in sent[half + half // 2 :] if each.key == b"b"])
            until(lambda: f"{readings}[0] and 1 more wait: " in service.health.ready()[1])
            assert scored("a") == STEPS // 2 - L + 1

            server.answer = None
            until(lambda: scored("a") == scored("b") == STEPS - L + 1)
            until(lambda: service.health.ready()[0])
            until(lambda: stored(apache.bootstrap, alerts))

    assert stored(apache.bootstrap, dead) == []
    assert {json.loads(each.value or b"")["asset"] for each in stored(apache.bootstrap, alerts)} == {"b"}
