"""A detector that is added to a plant that has models: it learns at once from what others kept, beside the stream."""

from pathlib import Path

import pytest
import structlog

from monitor.connectors.memory.client import MemoryBroker
from tests.core.machines import rows
from tests.rig import committed, feed, published, running, settings, stored_models, until, values

STEPS = 1700


@pytest.mark.slow
def test_a_new_detector_learns_from_what_others_kept(tmp_path: Path) -> None:
    """It inherits the history of its assets, is trained without pausing the others, and then scores next to them."""
    broker, learn = MemoryBroker(), {"training__first_steps": 1200, "source__batch_messages": 500}
    sent = values(rows(STEPS + 100, seed=1))
    feed(broker, sent[: 2 * STEPS])
    with running(settings(tmp_path, **learn), broker) as service:
        until(lambda: committed(broker) == 2 * STEPS)
        until(lambda: service.daemon is not None and service.daemon.status.model)

    both = [{"name": "test"}, {"name": "of-a", "assets": ["a"], "channels": ["flow", "pressure"]}]
    with (
        structlog.testing.capture_logs() as lines,
        running(settings(tmp_path, **learn, detectors=both), broker) as service,
    ):
        until(lambda: service.daemon is not None and service.daemon.status.training["of-a"].running)
        assert service.daemon is not None
        assert not service.daemon._trainers.pausing
        feed(broker, sent[2 * STEPS : 2 * STEPS + 60])
        until(lambda: committed(broker) == 2 * STEPS + 60)  # the others go on meanwhile
        until(lambda: service.daemon is not None and service.daemon.status.scores("of-a"))
        feed(broker, sent[2 * STEPS + 60 :])
        until(lambda: committed(broker) == len(sent))

    (line,) = [line for line in lines if line["event"] == "history inherited"]
    assert (line["detector"], line["origin"].keys()) == ("of-a", {"test"})
    version = stored_models(tmp_path, "of-a").current()
    scores = [each for each in published(broker, "monitor.scores") if each["detector"] == "of-a"]
    assert {(each["asset"], each["model"], *each["channels"]) for each in scores} == {
        ("a", version, "flow", "pressure")
    }
    times: dict[str, list[int]] = {name: [] for name in "ab"}
    for each in published(broker, "monitor.scores"):
        if each["detector"] == "test":
            times[each["asset"]].append(each["time"])
    assert all(len(each) == len(set(each)) == (max(each) - min(each)) // 1000 + 1 for each in times.values())
