"""Steps of the wall clock while a worker runs."""

from pathlib import Path

import pytest

from monitor.connectors.memory.client import MemoryBroker
from monitor.service import wiring as assembly
from tests.core.machines import L, rows
from tests.rig import ORIGIN, committed, feed, published, put_model, running, settings, until, values

DAY = 86_400_000  # ms


@pytest.mark.parametrize("step", [-DAY, -ORIGIN, DAY, 400 * DAY], ids=["day back", "1970", "day ahead", "year ahead"])
def test_a_step_of_the_clock_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Whether the clock is set back or ahead in the middle of a stream, no reading is refused and no output differs."""
    now = [ORIGIN + 200_000]
    monkeypatch.setattr(assembly, "wall_ms", lambda: now[0])
    told = []
    for name, jump in (("steady", 0), ("stepped", step)):
        store, broker = tmp_path / name, MemoryBroker()
        put_model(store)
        now[0] = ORIGIN + 200_000
        with running(settings(store), broker) as service:
            feed(broker, values(rows(60)))
            until(lambda: committed(broker) == 120)  # noqa: B023 - of this round
            now[0] += jump
            feed(broker, values(rows(60), 60))
            until(lambda: committed(broker) == 240)  # noqa: B023 - as above
            assert service.metrics.total("monitor_messages_rejected_total") == 0
        told.append((published(broker, "monitor.scores"), published(broker, "monitor.alerts")))
    assert told[0] == told[1]
    assert len(told[0][0]) == 2 * (120 - L + 1)
