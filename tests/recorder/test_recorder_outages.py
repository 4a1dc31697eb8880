"""A recorder while the database, the broker or the dead-letter topic is away: waits, retries and recovery."""

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
import structlog

from monitor.connectors.base import Unavailable
from monitor.connectors.influx import InfluxSink
from monitor.connectors.memory.client import MemoryBroker, MemorySink
from monitor.core.records import Partition, Record
from monitor.observe.metrics import Metrics
from monitor.recorder import recorder as module
from monitor.recorder.recorder import MAX_RETRY_AFTER_S
from monitor.service.backends import make_points
from monitor.settings.load import load
from tests.influx_server import Answer, InfluxServer, influx_server
from tests.recorder.recording import ALERTS, DEAD, SCORES, Rig, score, send, times
from tests.rig import Clock, until


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


def test_an_outage_costs_nothing_but_lag(server: InfluxServer) -> None:
    """Through an outage in the middle every score is written, once and in order, and its end is told."""
    rig = Rig(MemoryBroker(), server, batch=10)
    with rig.running(), structlog.testing.capture_logs() as lines:
        send(rig.broker, 20)
        until(lambda: rig.committed() == 20)
        server.down()
        send(rig.broker, 200, 20)
        until(lambda: rig.gauge("monitor_recorder_blocked") == 1)
        rig.turns()
        assert rig.committed() == 20
        assert rig.gauge("monitor_recorder_lag_messages") == 200
        assert not rig.health.ready()[0]
        server.up()
        until(lambda: rig.committed() == 220)
        assert rig.gauge("monitor_recorder_blocked") == 0
    assert times(server) == list(range(220))
    assert rig.points("written") == 220
    told = [line["event"] for line in lines]
    assert told == ["recorder blocked", "recorder resumed"]


def test_dead_letters_come_before_the_commit(server: InfluxServer) -> None:
    """While a dead letter is not acknowledged nothing is committed, and its point is not counted as written after."""
    dead = MemoryBroker()
    rig = Rig(MemoryBroker(), server, dead=MemorySink(dead))
    server.script = [Answer(400, "bad"), Answer(400, "bad")]
    with rig.running():
        dead.refuse("away")
        send(rig.broker, 2)
        until(lambda: rig.gauge("monitor_recorder_blocked") == 1)
        rig.turns()
        assert rig.committed() == 0
        dead.refuse(None)
        until(lambda: rig.committed() == 2)
    assert len(dead.read(Partition(DEAD, 0))) == 1
    assert (rig.points("written"), rig.points("rejected")) == (1, 1)


@pytest.mark.parametrize(("asked", "waits"), [(7, 7.0), (100_000, MAX_RETRY_AFTER_S)])
def test_the_database_may_ask_for_patience(server: InfluxServer, asked: int, waits: float) -> None:
    """Retry-After is kept, up to MAX_RETRY_AFTER_S, and not shortened by messages that arrive meanwhile."""
    clock = Clock()
    rig = Rig(MemoryBroker(), server, monotonic=clock, batch=5)
    server.script = [Answer(503, "busy", {"Retry-After": str(asked)})]
    send(rig.broker, 5)
    with rig.running():
        until(lambda: rig.gauge("monitor_recorder_blocked") == 1)
        send(rig.broker, 20, 5)
        clock.now += waits - 0.5
        rig.turns()
        assert server.answers == [503]
        clock.now += 1
        until(lambda: rig.committed() >= 5)
        clock.now += 1
        until(lambda: rig.committed() == 25)
    assert server.answers[:2] == [503, 204]


def test_an_end_of_the_source_does_not_shorten_the_wait(server: InfluxServer) -> None:
    """When nothing more will come, a database that asked for patience gets it, and the recorder ends when all is in."""
    clock = Clock()
    rig = Rig(MemoryBroker(), server, monotonic=clock)
    server.script = [Answer(429, "busy", {"Retry-After": "60"})]
    send(rig.broker, 5)
    rig.broker.finish()
    with rig.running():
        until(lambda: rig.gauge("monitor_recorder_blocked") == 1)
        rig.turns()
        assert server.answers == [429]
        clock.now += 61
        until(lambda: not rig.recorder._source.member)  # type: ignore[attr-defined]
    assert rig.committed() == 5


class _Watched(InfluxSink):
    """Points for a server that is down; `attempts` are the times of the attempts by `clock`."""

    def __init__(self, server: InfluxServer, clock: Clock) -> None:
        super().__init__(server.url, lambda: server.token, server.org, server.bucket)
        self.attempts: list[float] = []
        self._clock = clock

    def flush(self, timeout: float) -> None:
        self.attempts.append(self._clock.now)
        super().flush(timeout)


def test_waits_grow_and_have_a_bound(server: InfluxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts come less and less often, and never further apart than MAX_DELAY_S."""
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.5)
    monkeypatch.setattr(module, "MAX_DELAY_S", 30.0)
    server.down()
    clock, stop = Clock(), threading.Event()

    def monotonic() -> float:
        clock.now += 0.5
        if clock.now > 1500:
            stop.set()
        return clock.now

    points = _Watched(server, clock)
    rig = Rig(MemoryBroker(), server, points=points, monotonic=monotonic, poll_s=0.0001)
    send(rig.broker, 1)
    rig.recorder.open()
    rig.recorder.run(stop)
    gaps = [later - earlier for earlier, later in pairwise(points.attempts[:-1])]
    assert max(gaps) <= 31
    assert sum(gaps[-10:]) > 10 * sum(gaps[:3]) / 3
    assert 15 <= len(gaps) <= 120


def test_a_blocked_recorder_recovers_without_what_it_lost(server: InfluxServer) -> None:
    """If all it had taken goes to another recorder while the database is away, it goes on with the rest afterwards."""
    broker = MemoryBroker({SCORES: 2, ALERTS: 2})
    one, other = Rig(broker, server), Rig(broker, server)
    server.down()
    broker.append(score(0), partition=1)
    with one.running():
        until(lambda: one.gauge("monitor_recorder_blocked") == 1)
        with other.running():
            until(lambda: not one.recorder._next)
            until(lambda: other.gauge("monitor_recorder_blocked") == 1)
            broker.append(score(1), partition=0)
            server.up()
            until(lambda: one.committed() == 2)
            until(lambda: one.health.ready()[0])
    assert sorted(times(server)) == [0, 1]
    assert one.gauge("monitor_recorder_blocked") == 0


def test_an_unreachable_broker_is_waited_for(server: InfluxServer) -> None:
    """While the broker is away it says so and tries again, and goes on where it was."""
    rig = Rig(MemoryBroker(), server)
    with rig.running():
        send(rig.broker, 2)
        until(lambda: rig.committed() == 2)
        rig.broker.refuse("no broker")
        until(lambda: not rig.health.ready()[0])
        assert "recorder source: no broker" in rig.health.ready()[1]
        rig.broker.refuse(None)
        send(rig.broker, 2, 2)
        until(lambda: rig.committed() == 4)
        until(lambda: rig.health.ready()[0])
    assert times(server) == [0, 1, 2, 3]


def test_a_recorder_that_cannot_begin_says_so(server: InfluxServer) -> None:
    """A broker that is not there at the start is the caller's to know."""
    broker = MemoryBroker()
    broker.refuse("no broker")
    with pytest.raises(Unavailable, match="no broker"), Rig(broker, server).running():
        pass


def test_requests_are_counted_by_status(server: InfluxServer) -> None:
    """Writes of a worker's recorder are counted under the status of the response."""
    metrics = Metrics()
    given = {"recorder.url": server.url, "recorder.org": "plant", "recorder.bucket": "monitor"}
    points = make_points(load(None, {}, {**given, "recorder.token": "right-token"}), metrics)
    points.open()
    points.write([Record("m", b"k", b"m,key=k v=1i 1")])
    points.flush(10)
    points.close()
    assert b'monitor_recorder_writes_total{code="204"} 1.0' in metrics.render()
