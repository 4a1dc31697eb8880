"""A worker process that is killed at exactly one point of the protocol, on a broker over TCP; the next one goes on."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.brokers import Broker
from tests.contracts.kafka_harness import make_topic
from tests.crash import chaos
from tests.crash import chaos_plant as plant
from tests.crash.chaos import ALERTS, GROUP, SCORES, TOPIC
from tests.crash.chaos_group import Worker, lines, make_workers
from tests.crash.chaos_scenarios import Scenario, open_broker
from tests.crash.chaos_topics import committed, feeding, read_topic
from tests.crash.test_exactly_once import progress, until, wanted
from tests.rig import stored_models

STEPS = 200  # the first alerts are open from about the 90th on
ALONE = Scenario("points", ())  # on the mock broker, as in the chaos runs
# One detector, so that a batch has a number of scores that follows from its offsets
SMALL = {"detectors": [], "source.batch_messages": 50, "delivery.checkpoint_messages": 150}
DIED = -signal.SIGKILL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_killed_before_the_flush(tmp_path: Path) -> None:
    """Outputs that were handed over, but neither waited for nor committed, are published after all, and unchanged."""
    with worker(tmp_path) as (broker, one):
        dies(one, "flush")
        assert 0 < progress(broker) < STEPS * len(plant.ASSETS)
        finish(broker, one)
        compare(broker, tmp_path)


def test_killed_between_flush_and_commit(tmp_path: Path) -> None:
    """Outputs that are out but not committed come again, equal in every byte."""
    assert len(plant.ASSETS) == 2 * plant.PARTITIONS  # in turn, so an offset tells how far each of the two is
    with worker(tmp_path) as (broker, one):
        dies(one, "commit")
        offsets = committed(broker.bootstrap, GROUP, TOPIC, plant.PARTITIONS).values()
        settled = sum(max(0, (offset + each) // 2 - (plant.LENGTH - 1)) for offset in offsets for each in (0, 1))
        out = len(read_topic(broker.bootstrap, SCORES))
        assert 0 < settled < out
        finish(broker, one)
        _, scores = compare(broker, tmp_path)
        assert scores == out - settled


def test_killed_between_commit_and_snapshot(tmp_path: Path) -> None:
    """All since an older snapshot is computed again and muted, and the newest record of each open alert is repeated."""
    with worker(tmp_path) as (broker, one):
        dies(one, "snapshot")
        finish(broker, one)
        alerts, scores = compare(broker, tmp_path)
        assert scores == 0
        assert 0 < alerts <= len(plant.ASSETS)


def test_killed_during_the_replay(tmp_path: Path) -> None:
    """A replay that was broken off starts over: it has published nothing, and the snapshots are as they were."""
    with worker(tmp_path) as (broker, one):
        dies(one, "snapshot")
        before, out = progress(broker), len(read_topic(broker.bootstrap, SCORES))
        dies(one, "replay")
        assert (progress(broker), len(read_topic(broker.bootstrap, SCORES))) == (before, out)
        finish(broker, one)
        alerts, scores = compare(broker, tmp_path)
        assert scores == 0
        assert 0 < alerts <= len(plant.ASSETS)


@contextmanager
def worker(folder: Path) -> Iterator[tuple[Broker, Worker]]:
    """One worker, not started, with a model, and topics whose readings are there."""
    with open_broker(ALONE, folder) as broker:
        for topic in (TOPIC, ALERTS, SCORES):
            make_topic(broker, topic, plant.PARTITIONS)
        with feeding(broker.bootstrap, TOPIC, list(plant.readings(STEPS, seed=6)), 0.1):
            pass
        models = stored_models(folder / "store", "chaos")
        models.set_current(models.put(*plant.models()[0].pack(), plant.ORIGIN))
        places = {"kafka.bootstrap_servers": broker.bootstrap, "store.url": str(folder / "store")}
        (one,) = make_workers(folder, {**chaos._SETTINGS, **SMALL, **places}, [ALONE.member(0)])
        try:
            yield broker, one
        finally:
            one.end()


def dies(one: Worker, point: str) -> None:
    """Start it, with a trap at a point; it is dead when this returns."""
    one.program = ("tests.crash.dies_at", point)
    one.start()
    process = one._opened()
    until(lambda: process.poll() is not None)
    assert one._ended() == DIED


def finish(broker: Broker, one: Worker) -> None:
    """Start it as it is, and stop it when all is committed."""
    one.program = ("monitor",)
    one.start()
    until(lambda: progress(broker) == STEPS * len(plant.ASSETS))
    one.stop()
    assert one.surprises == []
    assert any(line["event"] == "partition assigned" and line["restored"] for line in lines(one.logs()[-1]))


def compare(broker: Broker, folder: Path) -> tuple[int, int]:
    """Every alert and score is there with its bytes, and nothing else; how many copies there are beyond the first."""
    copies = []
    for topic, expected in zip((ALERTS, SCORES), wanted(broker, folder), strict=True):
        found = Counter(message.value for message in read_topic(broker.bootstrap, topic))
        assert set(found) == set(expected.values.values())
        assert expected.values
        copies.append(found.total() - len(found))
    return copies[0], copies[1]
