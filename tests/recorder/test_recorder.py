"""From the topics of scores and alerts into the database, through everything that can go wrong between the two."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.connectors.memory.client import MemoryBroker, MemorySource
from monitor.core.records import Partition, Record
from monitor.recorder import recorder as module
from monitor.service.run import Service
from tests.core.machines import rows
from tests.influx_server import Answer, InfluxServer, influx_server
from tests.recorder.recording import ALERTS, DEAD, SCORES, Rig, score, send, times
from tests.rig import committed, feed, published, put_model, running, settings, until, values


@pytest.fixture
def server() -> Iterator[InfluxServer]:
    with influx_server() as made:
        yield made


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are a tenth as long."""
    monkeypatch.setattr(module, "GATHER_S", 0.1)
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(module, "MAX_DELAY_S", 0.2)


def recording(wanted: Any, server: InfluxServer) -> Any:
    """Settings with the recorder in the worker; a file cannot ask for that without Kafka."""
    recorder = wanted.recorder.model_copy(
        update={
            "enabled": True,
            "url": server.url,
            "org": server.org,
            "bucket": server.bucket,
            "token": type(wanted.recorder.token)(server.token),
        }
    )
    return wanted.model_copy(update={"recorder": recorder})


def faulty(broker: MemoryBroker) -> int:
    """Readings with a fault of asset b, and how many messages they are."""
    made = rows(300, seed=9)
    made[1, 200:230, 1] += 8.0
    feed(broker, values(made))
    return 600


def test_everything_published_becomes_points(tmp_path: Path, server: InfluxServer) -> None:
    """Each score, each of its channels and each alert record of a worker stands once in the database."""
    put_model(tmp_path)
    broker = MemoryBroker({"readings": 2, SCORES: 3, ALERTS: 2})
    count = faulty(broker)
    with running(recording(settings(tmp_path), server), broker):
        until(lambda: committed(broker) == count)
        ends = {**broker.end_offsets(SCORES), **broker.end_offsets(ALERTS)}
        until(lambda: broker.committed("monitor-recorder") == {part: end for part, end in ends.items() if end})
    scores, alerts = published(broker, SCORES), published(broker, ALERTS)
    by_kind: dict[str, set[tuple[str, int]]] = {}
    for point in server.points.values():
        by_kind.setdefault(point.measurement, set()).add((point.tags["asset"], point.time))
    assert by_kind["monitor_scores"] == {(body["asset"], body["time"]) for body in scores}
    assert by_kind["monitor_alerts"] == {(body["asset"], body["time"]) for body in alerts}
    assert [point.measurement for point in server.points.values()].count("monitor_scores") == len(scores) == 570
    assert [point.measurement for point in server.points.values()].count("monitor_channels") == 3 * len(scores)
    states = {point.tags["state"] for point in server.points.values() if point.measurement == "monitor_alerts"}
    assert states == {"firing", "resolved"}


def test_the_detector_does_not_wait_for_the_database(tmp_path: Path, server: InfluxServer) -> None:
    """While the database is away the worker goes on and commits, and says that recording lags; then all is written."""
    put_model(tmp_path)
    broker = MemoryBroker()
    server.down()
    count = faulty(broker)
    with running(recording(settings(tmp_path), server), broker) as service:
        until(lambda: committed(broker) == count)
        until(lambda: b"monitor_recorder_blocked 1.0" in service.metrics.render())
        assert not broker.committed("monitor-recorder")
        until(lambda: _lag(service) == 570 + len(published(broker, ALERTS)))
        ready, why = service.health.ready()
        assert not ready
        assert why.startswith("recorder: ")
        server.up()
        until(lambda: sum(broker.committed("monitor-recorder").values()) == 570 + len(published(broker, ALERTS)))
        until(lambda: b"monitor_recorder_blocked 0.0" in service.metrics.render() and _lag(service) == 0)
        until(lambda: service.health.ready()[0])
    assert len(times(server)) == 570


def _lag(service: Service) -> float:
    text = service.metrics.render().decode().partition("\nmonitor_recorder_lag_messages ")[2]
    return float(text.partition("\n")[0] or -1)


def test_an_idle_recorder_is_ready(server: InfluxServer) -> None:
    """Before anything was published there is nothing wrong: it is ready, and not blocked."""
    rig = Rig(MemoryBroker(), server)
    with rig.running():
        until(lambda: rig.health.ready()[0])
        assert rig.gauge("monitor_recorder_blocked") == 0
    assert not server.answers


def test_points_are_gathered(server: InfluxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points of GATHER_S go in one request; a full batch does not wait for that."""
    monkeypatch.setattr(module, "GATHER_S", 3600.0)
    rig = Rig(MemoryBroker(), server)
    with rig.running():
        send(rig.broker, 99)
        until(lambda: rig.gauge("monitor_recorder_lag_messages") == 99)
        rig.turns()
        assert not server.answers
        send(rig.broker, 1, 99)
        until(lambda: rig.committed() == 100)
    assert server.answers == [204]


def test_buffered_points_are_written_at_the_end(server: InfluxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped recorder writes and commits its buffered points before it leaves the group."""
    monkeypatch.setattr(module, "GATHER_S", 3600.0)
    rig = Rig(MemoryBroker(), server)
    with rig.running():
        send(rig.broker, 5)
        until(lambda: rig.gauge("monitor_recorder_lag_messages") == 5)
        assert not server.answers
    assert times(server) == [0, 1, 2, 3, 4]
    assert rig.committed() == 5


def test_buffered_points_are_written_before_a_revocation(server: InfluxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another recorder joins, the points taken are written and committed first, so that it begins behind them."""
    monkeypatch.setattr(module, "GATHER_S", 3600.0)
    broker = MemoryBroker({SCORES: 2})
    one, other = Rig(broker, server), Rig(broker, server)
    for number in range(10):
        broker.append(score(number), partition=1)
    with one.running():
        until(lambda: one.gauge("monitor_recorder_lag_messages") == 10)
        assert not server.answers
        with other.running():
            until(lambda: one.committed() == 10)
            assert times(server) == list(range(10))
            until(lambda: other.health.ready()[0])
            broker.append(score(10), partition=1)
    assert times(server) == list(range(11))
    assert other.points("written") == 1


def test_offsets_are_committed_after_the_acknowledgement(server: InfluxServer) -> None:
    """While the database has not answered, nothing is committed."""
    rig = Rig(MemoryBroker(), server)
    server.going_on.clear()
    with rig.running():
        send(rig.broker, 3)
        time.sleep(0.4)
        assert rig.committed() == 0
        server.going_on.set()
        until(lambda: rig.committed() == 3)
    assert rig.points("written") == 3


class _Dying(MemorySource):
    """A source whose process dies between acknowledgement and commit."""

    def commit(self, *_: object) -> None:
        raise RuntimeError("killed")


def test_points_written_twice_are_stored_once(server: InfluxServer) -> None:
    """After a death between acknowledgement and commit the points are written again, which changes nothing."""
    broker = MemoryBroker()
    send(broker, 5)
    rig = Rig(broker, server, source=_Dying(broker, [ALERTS, SCORES], "recorder"))
    with pytest.raises(RuntimeError, match="killed"), rig.running():
        until(lambda: times(server) == [0, 1, 2, 3, 4])
    before = dict(server.points)
    assert rig.committed() == 0
    again = Rig(broker, server)
    with again.running():
        until(lambda: again.committed() == 5)
    assert server.points == before
    assert len(server.answers) >= 2


def test_a_point_that_is_refused_becomes_a_dead_letter(server: InfluxServer) -> None:
    """Of points refused with 400 the bad one goes to the dead letters with the server's words, the rest is written."""
    rig = Rig(MemoryBroker(), server)
    bad = Answer(400, json.dumps({"code": "invalid", "message": "unable to parse 'it'"}))
    server.script = [bad, bad]  # of all three, then of the first alone
    send(rig.broker, 3)
    with rig.running():
        until(lambda: rig.committed() == 3)
    assert times(server) == [1, 2]
    (dead,) = [stored.record for stored in rig.broker.read(Partition(DEAD, 0))]
    headers = dict(dead.headers)
    assert dead.key == b"a"
    assert (dead.value or b"").startswith(b"monitor_scores,asset=a ")
    assert b"unable to parse 'it'" in headers["__connect.errors.exception.message"]
    assert headers["__connect.errors.stage"] == b"record"
    assert (rig.points("written"), rig.points("rejected")) == (2, 1)


@pytest.mark.parametrize("value", [None, b"{", b'{"asset": "a"}'])
def test_a_message_that_gives_no_point_becomes_a_dead_letter(server: InfluxServer, value: bytes | None) -> None:
    """A message that is no score becomes a dead letter with origin and reason; those around it are recorded."""
    rig = Rig(MemoryBroker(), server)
    send(rig.broker, 1)
    rig.broker.append(Record(SCORES, b"key", value))
    send(rig.broker, 1, 1)
    with rig.running():
        until(lambda: rig.committed() == 3)
    assert times(server) == [0, 1]
    (dead,) = [stored.record for stored in rig.broker.read(Partition(DEAD, 0))]
    headers = dict(dead.headers)
    assert (dead.key, dead.value) == (b"key", value)
    assert (headers["__connect.errors.topic"], headers["__connect.errors.offset"]) == (SCORES.encode(), b"1")
    assert headers["__connect.errors.exception.message"]
