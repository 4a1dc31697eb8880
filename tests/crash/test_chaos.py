"""Workers that are killed at the worst moments, and by a seeded schedule. `make chaos` runs all schedules."""

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.connectors.base import Unavailable
from monitor.connectors.memory.client import MemoryBroker, MemorySource
from monitor.core.fitting.fit import fit
from monitor.worker.loop import Daemon
from tests.core.machines import FAST, corpus
from tests.crash import chaos
from tests.rig import committed, feed, published, put_model, running, settings, until, values
from tests.worker.test_daemon import alerts, faulty, scores


class _KilledError(BaseException):
    """Stands for SIGKILL: no handler runs, and nothing is written after it."""


def test_killed_between_the_first_commit_and_the_first_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed without a snapshot is replayed: all scores, thresholds and alerts are as without the crash."""
    whole, cut = MemoryBroker(), MemoryBroker()
    for name, broker in (("whole", whole), ("cut", cut)):
        put_model(tmp_path / name)
        feed(broker, values(faulty()))

    def killed(_: Daemon) -> None:
        if committed(cut):
            raise _KilledError

    small = {"source__batch_messages": 430, "delivery__checkpoint_messages": 430}  # in the middle of the alert
    with monkeypatch.context() as patch:
        patch.setattr(Daemon, "_housekeep", killed)  # the first thing after a checkpoint
        with pytest.raises(_KilledError), running(settings(tmp_path / "cut", **small), cut):
            until(lambda: committed(cut))
    assert 0 < committed(cut) < 600
    for name, broker in (("whole", whole), ("cut", cut)):
        with running(settings(tmp_path / name), broker):
            until(lambda broker=broker: committed(broker) == 600)  # type: ignore[misc]
    assert scores(cut) == scores(whole)
    assert list(dict.fromkeys(alerts(cut))) == alerts(whole)
    assert published(whole, "monitor.alerts")


def test_what_a_killed_worker_published_is_repeated_with_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records published but not committed come again unchanged, though the model in use is another one by then."""
    put_model(tmp_path)
    broker, sent = MemoryBroker(), values(faulty())
    feed(broker, sent[:300])
    with running(settings(tmp_path), broker):
        until(lambda: committed(broker) == 300)

    def refused(*_: object) -> None:
        raise Unavailable("the group is rebalancing")

    feed(broker, sent[300:450])
    with monkeypatch.context() as patch:
        patch.setattr(MemorySource, "commit", refused)
        with running(settings(tmp_path), broker):
            until(lambda: len(published(broker, "monitor.scores")) == 450 - 2 * 15)
    assert committed(broker) == 300

    second = put_model(tmp_path, fit(corpus(seed=4), FAST, None, lambda *_: None).model)
    small = {"source__batch_messages": 10, "delivery__checkpoint_messages": 10}  # checkpoints among what is repeated
    with running(settings(tmp_path, **small), broker) as service:
        until(lambda: service.daemon is not None and service.daemon.status.model == second)
        feed(broker, sent[450:])
        until(lambda: committed(broker) == 600)
    copies: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for body in published(broker, "monitor.scores"):
        copies.setdefault((body["asset"], body["time"]), []).append(body)
    assert sorted(map(len, copies.values())) == [1] * (600 - 2 * 15 - 150) + [2] * 150
    assert all(body == bodies[0] for bodies in copies.values() for body in bodies)
    assert {bodies[0]["model"] for bodies in copies.values()} > {second}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_fault_loses_or_changes_an_alert() -> None:
    """Through kills, freezes, outages, errors and an adoption each alert and score has its reference value."""
    assert chaos.main(["--quick"]) == 0
    rows = json.loads(chaos.RESULT.read_text())
    assert len(rows) >= 3
    assert all(row["expected"] >= 50 for row in rows)
    assert sum(row["faults"] for row in rows) >= 12
    assert any(row["adopted"] for row in rows)
