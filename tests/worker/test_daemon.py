"""The loop on the in-process broker: from messages to alerts, through outages, restarts and the first model."""

from pathlib import Path

import numpy as np
import pytest

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.fitting.fit import fit
from monitor.core.records import Record
from monitor.observe.watchdog import Notifier
from monitor.store.files import open_blobs
from monitor.training.history_store import HistoryStore
from tests.core.machines import ASSETS, FAST, corpus, rows
from tests.rig import committed, feed, published, put_model, running, settings, stored_models, until, values


def faulty(steps: int = 300) -> np.ndarray:
    """Rows with a fault of asset b from step 200 to 229."""
    made = rows(steps, seed=9)
    made[1, 200:230, 1] += 8.0
    return made


def run_through(store: Path, broker: MemoryBroker, **overrides: object) -> None:
    """A worker that reads all there is and ends by itself."""
    with running(settings(store, **overrides), broker) as service:
        until(lambda: service.daemon is not None and committed(broker) == sum(broker.end_offsets("readings").values()))


def scores(broker: MemoryBroker) -> dict[tuple[str, int], tuple[float, float, float]]:
    found = {}
    for body in published(broker, "monitor.scores"):
        assert (body["asset"], body["time"]) not in found
        found[body["asset"], body["time"]] = body["score"], body["alarm"], body["threshold"]
    return found


def alerts(broker: MemoryBroker) -> list[tuple[object, ...]]:
    keys = ("id", "asset", "state", "sequence", "start", "end", "alarm", "threshold")
    return [tuple(body[key] for key in keys) for body in published(broker, "monitor.alerts")]


def test_a_fault_fires_and_resolves_with_the_channel_named(tmp_path: Path) -> None:
    """A shifted channel gives one alert of its asset, firing and resolved, led by that channel; each window a score."""
    put_model(tmp_path)
    broker = MemoryBroker()
    feed(broker, values(faulty()))
    run_through(tmp_path, broker)
    bodies = published(broker, "monitor.alerts")
    assert [(body["asset"], body["state"]) for body in bodies if body["sequence"] == 0] == [("b", "firing")]
    assert bodies[-1]["state"] == "resolved"
    assert {body["id"] for body in bodies} == {bodies[0]["id"]}
    top = bodies[0]["channels"][0]
    assert top["channel"] == "pressure"
    assert top["observed"] > top["high"]
    assert len(scores(broker)) == 2 * (300 - 16 + 1)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_restart_continues_as_if_nothing_had_happened(tmp_path: Path, partitions: int) -> None:
    """Scores, thresholds and alerts of a run with restarts, one during the alert, are those of a run without."""
    sent = values(faulty())
    whole, parts = (MemoryBroker({"readings": partitions}) for _ in range(2))
    for store in ("whole", "parts"):
        put_model(tmp_path / store)
    feed(whole, sent)
    run_through(tmp_path / "whole", whole)
    for begin, end in ((0, 150), (150, 420), (420, 425), (425, 600)):
        feed(parts, sent[begin:end])
        run_through(tmp_path / "parts", parts)
    assert scores(parts) == scores(whole)
    assert list(dict.fromkeys(alerts(parts))) == alerts(whole)


def test_outputs_that_are_not_acknowledged_stop_the_commit(tmp_path: Path) -> None:
    """While the sink refuses nothing is committed and nothing lost; afterwards all comes, each once."""
    put_model(tmp_path)
    broker, sink = MemoryBroker(), MemoryBroker()
    feed(broker, values(faulty()))
    sink.refuse("the disk is full")
    with running(settings(tmp_path), _Split(broker, sink)) as service:
        until(lambda: service.metrics.total("monitor_checkpoints_total") > 3)
        assert committed(broker) == 0
        sink.refuse(None)
        until(lambda: committed(broker) == 600)
    assert len(scores(sink)) == 2 * (300 - 16 + 1)
    assert published(sink, "monitor.alerts")[0]["state"] == "firing"


class _Split(MemoryBroker):
    """A broker for readings, with another one behind it for what is written: a sink can then fail alone."""

    def __init__(self, readings: MemoryBroker, outputs: MemoryBroker) -> None:
        self.__dict__ = readings.__dict__  # the same broker
        self._outputs = outputs

    def extend(self, records: object) -> None:
        self._outputs.extend(records)  # type: ignore[arg-type]


def test_the_first_model_is_learned_from_the_stream(tmp_path: Path) -> None:
    """Without a model the worker learns one from what it reads, and scores what came after the history it needed."""
    broker = MemoryBroker()
    feed(broker, values(rows(1700, seed=1)))
    wanted = settings(tmp_path, training__first_steps=1200, source__batch_messages=500)
    with running(wanted, broker) as service:
        until(lambda: committed(broker) == 3400)
        until(lambda: service.daemon is not None and service.daemon.status.model)
        assert service.daemon is not None
        version = service.daemon.status.model
    assert stored_models(tmp_path).current() == version
    found = scores(broker)
    assert len(found) >= 2 * 300
    assert {body["model"] for body in published(broker, "monitor.scores")} == {version}
    assert not published(broker, "monitor.alerts")


def test_the_first_model_knows_the_machines_of_every_partition(tmp_path: Path) -> None:
    """With a backlog in several partitions the first model waits until each of them has given enough."""
    broker = MemoryBroker({"readings": 2})
    for asset in (0, 1):  # all of one machine in one partition, and far more than one poll takes
        for key, value, at in values(rows(1700, seed=1))[asset::2]:
            broker.append(Record("readings", key, value), asset, at)
    wanted = settings(tmp_path, training__first_steps=1200, source__batch_messages=3000)
    with running(wanted, broker) as service:
        until(lambda: service.daemon is not None and service.daemon.status.model)
    models = stored_models(tmp_path)
    assert models.get(str(models.current())).manifest["assets"] == 2


def test_a_later_model_is_adopted_and_named(tmp_path: Path) -> None:
    """A model made current by somebody else is adopted at a checkpoint, and each score names the model it is from."""
    first = put_model(tmp_path)
    broker, sent = MemoryBroker(), values(rows(400, seed=2))
    feed(broker, sent[:400])
    run_through(tmp_path, broker)

    second = put_model(tmp_path, fit(corpus(seed=4), FAST, None, lambda *_: None).model)
    with running(settings(tmp_path), broker) as service:
        until(lambda: service.daemon is not None and service.daemon.status.model == second)
        feed(broker, sent[400:])
        until(lambda: committed(broker) == 800)
    bodies = published(broker, "monitor.scores")
    models = [body["model"] for body in bodies if body["asset"] == "a"]
    assert set(models) == {first, second}
    assert models == sorted(models, key=[first, second].index)
    assert len(scores(broker)) == 2 * 385


def test_a_worker_that_joins_takes_over_with_state(tmp_path: Path) -> None:
    """When a second worker joins, partitions move with their state: all scores and thresholds as from one worker."""
    sent = values(faulty())
    alone, shared = (MemoryBroker({"readings": 4}) for _ in range(2))
    for store in ("alone", "shared"):
        put_model(tmp_path / store)
    feed(alone, sent)
    run_through(tmp_path / "alone", alone)
    feed(shared, sent[:300])
    with running(settings(tmp_path / "shared"), shared):
        until(lambda: committed(shared) == 300)
        with running(settings(tmp_path / "shared"), shared):
            feed(shared, sent[300:])
            until(lambda: committed(shared) == 600)
    assert scores(shared) == scores(alone)
    assert sorted(set(alerts(shared))) == sorted(alerts(alone))
    assert {asset for asset, _ in scores(shared)} == set(ASSETS)


def test_snapshots_of_a_topic_made_anew_are_set_aside_with_the_first_commit(tmp_path: Path) -> None:
    """Once the new topic's offsets pass those of the old one, no snapshot of the old is left that could be taken."""
    put_model(tmp_path)
    old = MemoryBroker()
    feed(old, values(rows(60)))
    with running(settings(tmp_path), old):
        until(lambda: committed(old) == 120)
    new = MemoryBroker()
    feed(new, values(rows(20)))
    with running(settings(tmp_path), new) as service:
        until(lambda: committed(new) == 40)
        until(lambda: service.metrics.total("monitor_store_notices_total"))
    names = [Path(name).stem for name in open_blobs(str(tmp_path)).names("snapshots")]
    assert max(map(int, names)) == 40


def test_a_partition_that_cannot_be_read_does_not_hold_up_the_first_model(tmp_path: Path) -> None:
    """What is left unread of a poisoned partition is not waited for: the others get their model."""
    broker = MemoryBroker({"readings": 2})
    for key, value, at in values(rows(400)):
        broker.append(Record("readings", key, value), 0, at)
    for _ in range(300):
        broker.append(Record("readings", b"c", b"{}"), 1)
    limits = {"delivery__dead_letters_in_a_row": 50, "source__batch_messages": 20, "training__first_steps": 320}
    with running(settings(tmp_path, **limits), broker) as service:
        until(lambda: service.daemon is not None and service.daemon.status.model)


def test_each_history_that_is_kept_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories of many partitions take long to write, at their time and at a stop; after each the loop is alive."""
    put_model(tmp_path)
    seen: list[str] = []

    def watch(kind: type, name: str) -> None:
        method = getattr(kind, name)

        def watched(*given: object) -> object:
            seen.append(name)
            return method(*given)

        monkeypatch.setattr(kind, name, watched)

    watch(HistoryStore, "write")
    watch(Notifier, "alive")
    broker = MemoryBroker({"readings": 3})
    feed(broker, values(rows(100)))
    with running(settings(tmp_path, store__history_s=1.0), broker):
        until(lambda: seen.count("write") == 3)
    writes = [place for place, word in enumerate(seen) if word == "write"]
    assert len(writes) == 6
    assert {seen[place + 1] for place in writes} == {"alive"}
