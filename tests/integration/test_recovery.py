"""Recovery from a killed worker and from a database outage, with processes over TCP. Small runs of the benchmarks."""

from pathlib import Path

import pytest

from benchmarks import database_outage, recovery
from benchmarks.live import a_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a model of the plant."""
    return a_model(tmp_path_factory.mktemp("model"))


def test_a_killed_worker_goes_on_from_its_snapshot(store: Path) -> None:
    """A worker killed while the plant runs restores every partition, replays messages, and publishes new scores."""
    found = recovery.recover(recovery.Case(assets=12, static=False, snapshot_s=3.0, session_s=3.0), store)
    assert found["partitions"] == 4
    assert 0 < found["replayed_messages"] < 12 * recovery.LONGEST / 2
    assert found["first_new_score_s"] <= found["as_before_s"] < 60
    parts = sum(found[name] for name in ("start_s", "join_s", "load_s", "replay_s"))
    assert parts == pytest.approx(found["first_new_score_s"], abs=0.1)


def test_a_static_member_goes_on_from_its_snapshot(store: Path) -> None:
    """A killed static member gets its partitions back, although the group would wait a minute for that member."""
    found = recovery.recover(recovery.Case(assets=12, static=True, snapshot_s=3.0, session_s=60.0), store)
    assert found["join_s"] < 30
    assert found["replayed_messages"] > 0


def test_a_database_that_was_away_gets_everything(store: Path) -> None:
    """After a database outage every score and alert record reaches the database, and the outage delays no alert."""
    case = database_outage.Case(down=True, assets=8, backlog=200, rounds=3, speed=64)
    found = database_outage.run(case, store)
    assert found["different"] == 0, found
    assert found["at_turn"]["blocked"]
    assert found["at_turn"]["recorder_lag"] > found["at_turn"]["records_published"] / 2
    for name in ("scores", "alert_records"):
        assert found[name]["database"] == found[name]["topic"] > 0
    assert found["before"]["checkpoint_most_s"] <= 5
    assert found["after"]["alert_delay_most_s"] <= 10
