"""A worker process that is killed between the first trainings of its detectors, with a backlog to read."""

import json
import time
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
from tests.crash.test_exactly_once import progress, until

STEPS, FEED_S = 1500, 4.0  # in many small batches, which the broker delivers partition by partition
FAST, SLOW = ("pumps", "fans"), "slow"
ALONE = Scenario("start", ())  # on the mock broker, as in the chaos runs
IN_TURN = {"max.partition.fetch.bytes": 8192}  # partitions are read in turn, not one after another
LEARNING = {
    "training.enabled": True,
    "training.first_steps": 320,  # of the slow detector three times as many steps of the others
    "training.steps": 300,  # seconds, so that it can be killed meanwhile
    "model.hidden": 8,
    "model.latent": 3,
    "model.layers": 2,
    "source.batch_messages": 100,
}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_between_first_trainings_no_reading_passes_unscored(tmp_path: Path) -> None:
    """After each restart partitions pause for detectors without a model, so each scores all from its pause on."""
    with open_broker(ALONE, tmp_path) as broker:
        for topic in (TOPIC, ALERTS, SCORES):
            make_topic(broker, topic, plant.PARTITIONS)
        with feeding(broker.bootstrap, TOPIC, list(plant.readings(STEPS, seed=6)), FEED_S):
            pass
        places = {"kafka.bootstrap_servers": broker.bootstrap, "store.url": str(tmp_path / "store")}
        (worker,) = make_workers(tmp_path, {**chaos._SETTINGS, **LEARNING, **places}, [{**ALONE.member(0), **IN_TURN}])
        try:
            worker.start()
            until(lambda: said(worker, "training ended") and len(said(worker, "training started")) > 1)
            worker.kill()
            paused = positions(broker)
            assert max(paused.values()) < 2 * STEPS

            worker.start()
            until(lambda: SLOW in said(worker, "training started"))
            time.sleep(2.0)  # beyond the checkpoint of the pause
            worker.kill()
            paused_later = positions(broker)
            assert max(paused.values()) < max(paused_later.values()) < 2 * STEPS

            worker.start()
            until(lambda: progress(broker) == STEPS * len(plant.ASSETS))
            worker.stop()
            assert worker.surprises == []
        finally:
            worker.end()
        unscored = {name: missing(broker, name, 1, paused) for name in FAST}
        unscored[SLOW] = missing(broker, SLOW, 3, paused_later)
        print("unscored readings:", sum(unscored.values()))
        assert unscored == dict.fromkeys([*FAST, SLOW], 0)


def said(worker: Worker, event: str) -> list[str]:
    """Return the detectors that the present process has logged this event of."""
    return [line["detector"] for line in lines(worker._file) if line["event"] == event]


def positions(broker: Broker) -> dict[int, int]:
    return committed(broker.bootstrap, GROUP, TOPIC, plant.PARTITIONS)


def missing(broker: Broker, detector: str, every: int, paused: dict[int, int]) -> int:
    """Return how many steps from the pause on have no score, over all assets of the detector."""
    scored: dict[str, set[int]] = {}
    for message in read_topic(broker.bootstrap, SCORES):
        body = json.loads(message.value or b"")
        if body["detector"] == detector:
            scored.setdefault(body["asset"], set()).add((body["time"] - plant.ORIGIN) // plant.STEP_MS)
    assert len(scored) == (len(plant.ASSETS) if detector == SLOW else len(plant.ASSETS) // 2)

    count = 0
    for number, asset in enumerate(plant.ASSETS):
        if asset in scored:
            last = max(scored[asset])
            assert last >= STEPS - 4 * every  # the newest steps wait for later readings
            begin = paused[number % plant.PARTITIONS] // 2 + every  # two assets in turn; the step that is closed next
            count += len(set(range(last, begin, -every)) - scored[asset])
    return count
