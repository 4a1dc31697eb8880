"""Workers that deliver exactly once, on Apache Kafka, killed and replaced while others read committed records."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.core.model.scorer import Scorer
from monitor.core.records import Message
from monitor.settings.load import load
from tests.apache import apache_kafka
from tests.brokers import Broker
from tests.contracts.kafka_harness import make_topic
from tests.crash import chaos
from tests.crash import chaos_plant as plant
from tests.crash.chaos import ALERTS, GROUP, SCORES, TOPIC
from tests.crash.chaos_check import Expected, reference
from tests.crash.chaos_group import Worker, lines, make_workers
from tests.crash.chaos_scenarios import ONCE, SCENARIOS
from tests.crash.chaos_topics import committed, feeding, read_topic
from tests.rig import stored_models

STEPS, FEED_S = 200, 25.0
SESSION_S = 3.0
PATIENCE_S = 90.0
AGAIN = 75  # exit code: the supervisor starts it again


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_workers_publish_everything_once(tmp_path: Path) -> None:
    """Workers are killed and stopped at odd moments; a reader of what is committed sees each alert and score once."""
    (scenario,) = (each for each in SCENARIOS if each.name == "once")
    row = chaos.run(scenario, seed=3, duration_s=45.0, folder=tmp_path)
    assert not chaos.broken(row), row
    assert row["expected"] >= 50
    assert row["faults"] >= 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_that_was_replaced_publishes_nothing(tmp_path: Path) -> None:
    """A worker that sleeps while another one of its name takes over ends with 75 on waking; all is published once."""
    with apache_kafka(tmp_path / "broker") as broker, pair(broker, tmp_path) as (sleeper, successor):
        with feeding(broker.bootstrap, TOPIC, list(plant.readings(STEPS, seed=4)), FEED_S):
            sleeper.start()
            until(lambda: progress(broker) > 0)
            sleeper.freeze()
            asleep = time.monotonic()
            successor.start()
            until(successor.ready)

            before = progress(broker)
            until(lambda: progress(broker) > before and time.monotonic() > asleep + SESSION_S)
            sleeper.thaw()
            process = sleeper._opened()
            until(lambda: process.poll() is not None)

        assert process.poll() == AGAIN
        assert not [line for line in lines(sleeper._file) if line.get("committed") and line["event"] != TAKEN]
        until(lambda: progress(broker) == STEPS * len(plant.ASSETS))
        successor.stop()
        assert successor.surprises == []
        for topic, expected in zip((ALERTS, SCORES), wanted(broker, tmp_path), strict=True):
            assert Counter(message.value for message in read_topic(broker.bootstrap, topic)) == Counter(
                expected.values.values()
            )


TAKEN = "partition assigned"


@contextmanager
def pair(broker: Broker, folder: Path) -> Iterator[tuple[Worker, Worker]]:
    """Make topics, a model and two workers of the same name, not started."""
    for topic in (TOPIC, ALERTS, SCORES):
        make_topic(broker, topic, plant.PARTITIONS)
    chaos.set_current(folder / "store", chaos.put_models(folder / "store")[0])
    places = {"kafka.bootstrap_servers": broker.bootstrap, "store.url": str(folder / "store")}
    member = {"group.instance.id": "worker", "session.timeout.ms": round(SESSION_S * 1000)}
    workers = make_workers(folder, {**chaos._SETTINGS, **ONCE, **places}, [member, member])
    try:
        yield workers[0], workers[1]
    finally:
        for worker in workers:
            worker.end()


def wanted(broker: Broker, folder: Path) -> tuple[Expected, Expected]:
    """Return the alerts and scores of one process without faults."""
    readings: dict[int, list[Message]] = defaultdict(list)
    for message in read_topic(broker.bootstrap, TOPIC):
        readings[message.partition.number].append(message)
    settings = load(folder / "worker-0.toml", {}, {})
    version = stored_models(folder / "store", settings.per_detector()[0].name).current()
    assert version is not None
    scorer = Scorer(replace(plant.models()[0], version=version))
    return reference(settings, readings, (scorer, scorer), {})


def progress(broker: Broker) -> int:
    """Return the number of readings that the group has committed."""
    return sum(committed(broker.bootstrap, GROUP, TOPIC, plant.PARTITIONS).values())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(0.2)
