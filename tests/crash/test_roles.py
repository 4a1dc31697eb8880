"""Processes that only detect, only train and only record, on a broker over TCP; the trainer is killed at work."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.kafka_harness import make_topic
from tests.crash import chaos
from tests.crash import chaos_plant as plant
from tests.crash.chaos import ALERTS, SCORES, TOPIC
from tests.crash.chaos_group import make_workers
from tests.crash.chaos_scenarios import Scenario, open_broker
from tests.crash.chaos_topics import feeding, read_topic
from tests.crash.test_exactly_once import until
from tests.influx_server import influx_server
from tests.rig import stored_models

LEARNED, WATCHED = 400, 60  # steps
SHARED = Scenario("roles", ())  # a group on the mock broker, as in the chaos runs
ROLES = ("detect", "detect", "train", "record")
LEARNING: Mapping[str, Any] = {
    "detectors": [],
    "training.enabled": True,
    "training.first_steps": 320,
    "training.steps": 400,  # seconds, so that it can be killed meanwhile
    "store.history_s": 1.0,
}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_trainer_killed_at_work_makes_the_model_after_all(tmp_path: Path) -> None:
    """Started again, it learns from what those that detect keep; they score with it, and the other one records."""
    readings = list(plant.readings(LEARNED + WATCHED, seed=5))
    split = LEARNED * len(plant.ASSETS)
    with open_broker(SHARED, tmp_path) as broker, influx_server() as server:
        for topic in (TOPIC, ALERTS, SCORES):
            make_topic(broker, topic, plant.PARTITIONS)
        places = {
            "kafka.bootstrap_servers": broker.bootstrap,
            "store.url": str(tmp_path / "store"),
            "recorder.enabled": True,
            "recorder.url": server.url,
            "recorder.org": server.org,
            "recorder.bucket": server.bucket,
        }

        members = [SHARED.member(number) for number in range(len(ROLES))]
        workers = make_workers(tmp_path, {**chaos._SETTINGS, **LEARNING, **places}, members)
        for number in range(len(ROLES)):
            config = tmp_path / f"worker-{number}.toml"
            config.write_text(config.read_text().replace('\ntoken = ""', f'\ntoken = "{server.token}"'))

        try:
            for worker, role in zip(workers, ROLES, strict=True):
                worker.role = role
                worker.start()
            trainer = workers[ROLES.index("train")]
            with feeding(broker.bootstrap, TOPIC, readings[:split], 5.0):
                until(lambda: trainer.told("training started"))

            trainer.kill()
            models = stored_models(tmp_path / "store", "chaos")
            assert models.current() is None
            trainer.start()
            until(lambda: all(worker.told("model adopted") for worker in workers[:2]))
            with feeding(broker.bootstrap, TOPIC, readings[split:], 5.0):
                pass

            scored = f"{models.current()}".encode()
            until(lambda: set(assets(broker.bootstrap)) == set(plant.ASSETS))
            assert all(scored in (message.value or b"") for message in read_topic(broker.bootstrap, SCORES))
            until(lambda: len(server.points) >= len(read_topic(broker.bootstrap, SCORES)))
            for worker in workers:
                worker.stop()
        finally:
            for worker in workers:
                worker.end()
        assert [worker.surprises for worker in workers] == [[]] * len(workers)


def assets(bootstrap: str) -> list[str]:
    return [json.loads(message.value or b"")["asset"] for message in read_topic(bootstrap, SCORES)]
