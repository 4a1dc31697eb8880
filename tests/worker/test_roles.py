"""The work shared out: processes that only detect, only record or only train, and who trains in a group of equals."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from monitor.connectors.influx import InfluxSink
from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Record
from monitor.service.run import Service
from monitor.settings.load import ConfigurationError, load
from monitor.settings.tree import Role, Settings
from monitor.training import trainer
from monitor.worker import loop as daemon
from tests.core.machines import ASSETS, rows
from tests.influx_server import Answer, influx_server
from tests.rig import published, put_model, running, settings, stored_models, until, values
from tests.service.test_running import recording

LEARNING = {"training__first_steps": 320, "training__steps": 20, "store__history_s": 1.0}


def plant(steps: int) -> MemoryBroker:
    """A broker with two partitions of readings; each has both machines, under names of its own, for so many steps."""
    broker = MemoryBroker({"readings": 2})
    extend(broker, 0, steps)
    return broker


def extend(broker: MemoryBroker, first: int, steps: int) -> None:
    for number, seed in enumerate((0, 1)):
        for key, value, at in values(rows(steps, seed), first):
            told = json.loads(value)
            told["asset"] = f"{told['asset']}-{number}"
            broker.append(Record("readings", key, json.dumps(told).encode()), number, at)


def trainings(service: Service) -> float:
    return service.metrics.total("monitor_training_runs_total")


@contextmanager
def group(wanted: Settings, broker: MemoryBroker, *roles: Role) -> Iterator[list[Service]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running(wanted, broker, role)) for role in roles]


def test_one_worker_trains_for_the_group(tmp_path: Path) -> None:
    """Of two equal workers the holder of the first partition trains, on the histories of both; both use its model."""
    broker = plant(400)
    with group(settings(tmp_path, **LEARNING), broker, Role.ALL, Role.ALL) as workers:
        until(lambda: all(it.daemon and it.daemon.status.model for it in workers))
        assert sorted(trainings(it) for it in workers) == [0, 1]
        versions = {it.daemon.status.model for it in workers if it.daemon}
        extend(broker, 400, 20)
        until(lambda: len({score["asset"] for score in published(broker, "monitor.scores")}) == 2 * len(ASSETS))
    assert versions == {stored_models(tmp_path).current()}


def test_who_only_detects_gets_its_model_from_who_only_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training process without a topic learns what the detecting one kept in the store, which then scores with it."""
    monkeypatch.setattr(trainer, "LOOK_S", 1.0)
    monkeypatch.setattr(daemon, "LEARNING_S", 1.0)  # much less than store.history_s: the trainer waits for it
    broker = plant(400)
    learning = {**LEARNING, "store__history_s": 600.0}
    with group(settings(tmp_path, **learning), broker, Role.DETECT, Role.TRAIN) as (detecting, training):
        until(lambda: trainings(training) == 1)
        until(lambda: detecting.daemon and detecting.daemon.status.model)
        assert trainings(detecting) == 0
        extend(broker, 400, 20)
        until(lambda: len({score["asset"] for score in published(broker, "monitor.scores")}) == 2 * len(ASSETS))
        assert training.daemon is None
        until(lambda: training.health.ready()[0])
        until(lambda: training.metrics.total("monitor_model_created_timestamp_seconds"))
        assert training.metrics.total("monitor_learning_ratio") == 1
    assert broker._groups.keys() == {"monitor"}, "the training process joined no group"


def test_who_only_records_feeds_the_database(tmp_path: Path) -> None:
    """A recording process writes the points of what a detecting one publishes, which itself writes none."""
    put_model(tmp_path)
    broker = plant(60)
    with influx_server() as server:
        server.script = [Answer(204)]
        wanted = recording(settings(tmp_path), server.url)
        with group(wanted, broker, Role.DETECT, Role.RECORD) as (detecting, recorder):
            until(lambda: recorder.metrics.total("monitor_recorder_points_total"))
            assert detecting.metrics.total("monitor_recorder_points_total") == 0
            until(lambda: recorder.health.ready()[0])
            beat = recorder.health._beat
            until(lambda: recorder.health._beat > beat)


@pytest.mark.parametrize(("role", "setting"), [(Role.RECORD, "recorder.enabled"), (Role.TRAIN, "training.enabled")])
def test_a_role_that_the_settings_switch_off_is_a_mistake(tmp_path: Path, role: Role, setting: str) -> None:
    """A process asked for work that the settings exclude says so and does not idle."""
    wanted = settings(tmp_path, training__enabled=False)
    with pytest.raises(ConfigurationError, match=f"role {role.value}: {setting} is false"):
        Service(wanted, MemoryBroker(), role).run(threading.Event())


def test_an_option_that_the_client_refuses_is_a_mistake_of_a_recording_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that only records ends as one that detects does, not to be started again, and leaves nothing open."""
    url = "http://127.0.0.1:9"
    given = {"recorder.enabled": True, "recorder.url": url, "recorder.org": "o", "recorder.bucket": "b"}
    kafka = {"source.kind": "kafka", "outputs.kind": "kafka", "kafka.options": {"no.such.option": 1}}
    wanted = load(None, {}, {"store.url": str(tmp_path), "health.enabled": False, **given, **kafka})
    closed: list[InfluxSink] = []
    close = InfluxSink.close

    def closing(sink: InfluxSink) -> None:
        closed.append(sink)
        close(sink)

    monkeypatch.setattr(InfluxSink, "close", closing)
    with pytest.raises(ConfigurationError, match=r"no\.such\.option"):
        Service(wanted, role=Role.RECORD).run(threading.Event())
    assert len(closed) == 1
