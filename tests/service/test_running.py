"""A worker as a whole: what is opened and closed in which order, and what ends it."""

import signal
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from monitor.connectors.base import Unavailable
from monitor.connectors.memory.client import MemoryBroker, MemorySink, MemorySource
from monitor.core.model.scorer import Scorer
from monitor.core.records import Partition
from monitor.recorder.recorder import Recorder
from monitor.service.run import Service, run_service
from monitor.service.signals import AGAIN
from monitor.settings.tree import Settings
from monitor.store.files import open_blobs
from monitor.web.app import make_app
from monitor.web.server import WebServer
from tests.core.machines import L, rows
from tests.influx_server import Answer, influx_server
from tests.rig import away, committed, feed, published, put_model, running, settings, until, values

ROOT = Path(__file__).parents[2]


def recording(wanted: Settings, url: str = "http://127.0.0.1:9") -> Settings:
    """With the recorder in the worker; a file cannot ask for that without Kafka."""
    recorder = wanted.recorder.model_copy(update={"enabled": True, "url": url})
    return wanted.model_copy(update={"recorder": recorder})


def with_health(wanted: Settings) -> Settings:
    return wanted.model_copy(update={"health": wanted.health.model_copy(update={"enabled": True, "port": 0})})


def test_what_is_opened_last_is_closed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Health, outputs, source, recorder are opened in this order; the source leaves first, while all it needs is up."""
    seen: list[str] = []

    def watch(kind: type, name: str, word: str) -> None:
        method = getattr(kind, name)

        def watched(self: Any, *given: Any) -> Any:
            if not (kind is MemorySource and self.group != "monitor") and threading.current_thread().name != "recorder":
                seen.append(word)
            return method(self, *given)

        monkeypatch.setattr(kind, name, watched)

    for kind, word in ((WebServer, "health"), (MemorySink, "outputs"), (MemorySource, "source")):
        watch(kind, "open", f"open {word}")
        watch(kind, "close", f"close {word}")
    run = Recorder.run

    def recorded(self: Recorder, stop: threading.Event) -> None:
        seen.append("open recorder")
        run(self, stop)
        seen.append("close recorder")

    monkeypatch.setattr(Recorder, "run", recorded)
    with running(recording(with_health(settings(tmp_path))), MemoryBroker()) as service:
        until(lambda: service.metrics.total("monitor_checkpoints_total"))
    names = ["health", "outputs", "source", "recorder"]
    assert seen[:4] == [f"open {name}" for name in names]
    assert seen[4:] == [f"close {name}" for name in ("source", "recorder", "outputs", "health")]


def test_a_start_that_fails_closes_what_was_open(tmp_path: Path) -> None:
    """If the group cannot be joined the failure is the caller's, and neither port nor thread is left."""
    broker = MemoryBroker()
    broker.refuse("no broker")
    before = threading.active_count()
    with pytest.raises(Unavailable, match="no broker"), running(with_health(settings(tmp_path)), broker):
        pass
    assert threading.active_count() == before


def test_the_worker_ends_when_its_source_does(tmp_path: Path) -> None:
    """When no message will come any more, everything is settled and committed, and `run` returns."""
    put_model(tmp_path)
    broker = MemoryBroker()
    feed(broker, values(rows(100)))
    broker.finish()
    Service(settings(tmp_path, store__snapshot_s=3600.0), broker).run(threading.Event())
    assert committed(broker) == 200
    assert len(published(broker, "monitor.scores")) == 2 * (100 - L + 1)
    assert open_blobs(str(tmp_path)).names("snapshots")[-1] == "snapshots/readings/0/00000000000000000200.snap"


class _Deadly(MemoryBroker):
    """A broker on which the recorder's commit hits a fault of the program."""

    def commit(self, group: str, member: str, offsets: Mapping[Partition, int]) -> None:
        if group == "monitor-recorder":
            raise RuntimeError("the recorder broke")
        super().commit(group, member, offsets)


def test_a_recorder_that_dies_ends_the_worker(tmp_path: Path) -> None:
    """Half a service is not one: the worker stops in order and gives the recorder's failure to its caller."""
    put_model(tmp_path)
    broker = _Deadly()
    feed(broker, values(rows(30)))
    with influx_server() as server:
        server.script = [Answer(204)]
        wanted = recording(settings(tmp_path), server.url)
        left: list[bool] = []
        with pytest.raises(RuntimeError, match="the recorder broke"), running(wanted, broker) as it:
            until(lambda: any(_noted(left, it.failure and not broker._groups["monitor"].members)))
    assert any(left)  # before anybody asked it to
    assert committed(broker) == 60


def test_a_fault_in_the_middle_of_a_batch_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that a fault of the program left half done is neither committed nor kept, and the next start repeats it."""
    put_model(tmp_path)
    broker, sent = MemoryBroker(), values(rows(140))
    feed(broker, sent[:200])
    wanted, score = settings(tmp_path), Scorer.score

    def break_down(*_: object) -> None:
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError, match="a fault of the program"), running(wanted, broker):
        _break(broker, sent[200:], monkeypatch, break_down)
    monkeypatch.setattr(Scorer, "score", score)
    assert committed(broker) == 200
    with running(wanted, broker):
        until(lambda: committed(broker) == 280)
    assert len(published(broker, "monitor.scores")) == 2 * (140 - L + 1)


def _noted(seen: list[bool], now: object) -> list[bool]:
    seen.append(bool(now))
    return seen


def _break(
    broker: MemoryBroker,
    sent: list[tuple[bytes, bytes, int]],
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[..., None],
) -> None:
    until(lambda: committed(broker) == 200)
    monkeypatch.setattr(Scorer, "score", how)
    feed(broker, sent)
    until(lambda: not broker._groups["monitor"].members)


def test_a_port_that_is_taken_is_tried_again(tmp_path: Path) -> None:
    """What a restart may cure ends with 75 and a sentence, without a trace."""
    (tmp_path / "in.jsonl").write_text("")
    wanted = settings(
        tmp_path / "store",
        source__kind="files",
        source__paths=[str(tmp_path / "in.jsonl")],
        outputs__kind="files",
        outputs__directory=str(tmp_path / "out"),
        health__enabled=True,
    )
    server = WebServer(make_app(()), "127.0.0.1", 0)
    server.open()
    taken = wanted.model_copy(update={"health": wanted.health.model_copy(update={"port": server.port})})
    threads = threading.active_count()
    try:
        with structlog.testing.capture_logs() as lines:
            assert run_service(taken, lambda: taken) == AGAIN
    finally:
        server.close()
    assert lines[-1]["event"] == "service stopped"
    assert "in use" in lines[-1]["reason"]
    assert "exc_info" not in lines[-1]
    assert threading.active_count() == threads - 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_store_that_is_away_at_the_start_is_tried_again(tmp_path: Path) -> None:
    """Without its store a worker does not begin: it ends with 75, for the supervisor to start it again."""
    put_model(tmp_path / "store")
    wanted = settings(tmp_path / "store")
    with away(tmp_path / "store"), structlog.testing.capture_logs() as lines:
        assert run_service(wanted, lambda: wanted) == AGAIN
    assert [line["event"] for line in lines] == ["service stopped"]


def test_settings_that_nothing_reads_are_logged_at_the_start(tmp_path: Path) -> None:
    """Before anything is opened, the log names settings of another kind of source."""
    put_model(tmp_path / "store")
    wanted = settings(tmp_path / "store", source__decimal="comma")
    with away(tmp_path / "store"), structlog.testing.capture_logs() as lines:
        run_service(wanted, lambda: wanted)
    assert (lines[0]["event"], lines[0]["note"].split(":")[0]) == ("configuration note", "source.decimal")


def test_a_store_that_is_away_delays_a_take_over(tmp_path: Path) -> None:
    """A partition assigned while the store is away is not read before it can be restored; then nothing is missing."""
    store = tmp_path / "store"
    put_model(store)
    broker, sent = MemoryBroker(), values(rows(140))
    feed(broker, sent[:200])
    with running(settings(store), broker) as service:
        until(lambda: committed(broker) == 200)
        with away(store):
            for member in list(broker._groups["monitor"].members):
                broker.kick("monitor", member)
            until(lambda: "source: " in service.health.ready()[1])
            feed(broker, sent[200:])
            assert str(store) in service.health.ready()[1]
            assert committed(broker) == 200
        until(lambda: committed(broker) == 280)
    records = {(score["asset"], score["time"]) for score in published(broker, "monitor.scores")}
    assert len(records) == 2 * (140 - L + 1)


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    """Where something else listens already the error names the address by its settings."""
    wanted = with_health(settings(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = wanted.model_copy(update={"health": wanted.health.model_copy(update={"port": port})})
        with pytest.raises(OSError, match="in use") as raised:
            Service(taken, MemoryBroker()).run(threading.Event())
        assert "health.host '127.0.0.1'" in str(raised.value)
        assert f"health.port {port}" in str(raised.value)
