"""A worker with several detectors: they come and go while it runs."""

from pathlib import Path
from typing import Any

import numpy as np

from monitor.connectors.memory.client import MemoryBroker
from monitor.service.run import Service
from tests.core.machines import rows
from tests.rig import committed, feed, published, put_model, running, settings, until, values

A: dict[str, Any] = {"name": "a", "assets": ["a"]}
B: dict[str, Any] = {"name": "b", "assets": ["b"]}


def faulty() -> np.ndarray:
    """Healthy rows of both machines, and a fault of each at the end."""
    batch = rows(400)
    batch[0, 310:, 1] += 8.0
    batch[1, 310:, 1] += 80.0
    return batch.astype(np.float64)


def test_detectors_come_and_go_while_the_worker_runs(tmp_path: Path) -> None:
    """One that is added scores from a checkpoint on. One that is removed resolves its alerts and scores no more."""
    for name in ("a", "b"):
        put_model(tmp_path, detector=name)
    broker, sent = MemoryBroker(), values(faulty())
    with running(settings(tmp_path, detectors=[A]), broker) as service:
        feed(broker, sent[:400])
        until(lambda: committed(broker) == 400)
        service.apply(settings(tmp_path, detectors=[A, B]))
        until(lambda: models_of(service) == {"a", "b"})
        feed(broker, sent[400:700])
        until(lambda: {"a", "b"} <= {each["detector"] for each in published(broker, "monitor.alerts")})
        service.apply(settings(tmp_path, detectors=[B]))
        until(lambda: models_of(service) == {"b"})
        feed(broker, sent[700:])
        until(lambda: committed(broker) == 800)

    scores = published(broker, "monitor.scores")
    assert {each["detector"] for each in scores if each["time"] < sent[398][2]} == {"a"}
    assert {each["detector"] for each in scores if each["time"] >= sent[700][2]} == {"b"}
    of_a = [each for each in published(broker, "monitor.alerts") if each["detector"] == "a"]
    assert {each["asset"] for each in of_a} == {"a"}
    assert [each["state"] for each in of_a if each["id"] == of_a[-1]["id"]][-1] == "resolved"


def models_of(service: Service) -> set[str]:
    """Return the detectors that score, as the worker shows them."""
    return set() if service.daemon is None else {detector for detector, _ in service.daemon.status.models}
