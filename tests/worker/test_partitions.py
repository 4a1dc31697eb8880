"""What is held of a partition: begun, restored from a snapshot, given another model, and kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog

from monitor.core.model.detector import Detector
from monitor.store.atomic import Data
from monitor.store.files import LocalBlobs
from monitor.store.models import Models
from monitor.worker.partitions import QUIET_S, PartitionState, Phase
from tests.core.machines import L, model, rows
from tests.rig import READINGS, away, put_model, readings, settings
from tests.worker.keeping import NEVER, Shelf, committed, equal, process, process_and_keep, same


@pytest.mark.parametrize("behind", [0, 40])
def test_a_partition_continues_from_its_snapshot(tmp_path: Path, behind: int) -> None:
    """From a snapshot at or below the committed offset it reads on from there with the very state, muted up to it."""
    put_model(tmp_path)
    sent = readings(rows(200))
    shelf = Shelf(tmp_path)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    process(held, sent[:200])
    shelf.keeper.write_snapshot(committed(held))

    again = Shelf(tmp_path).keeper.assign(READINGS, 200 + behind, NEVER)
    assert (again.next, again.committed, again.replay_end) == (200, 200 + behind, 200 + behind)
    assert (again.phase is Phase.REPLAYING) is bool(behind)
    assert not again.replay_done
    assert again.pipeline.model == held.pipeline.model
    assert same(process(again, sent[200:]), process(held, sent[200:]))


def test_margins_of_a_budget_continue_from_a_snapshot(tmp_path: Path) -> None:
    """Under an alarm budget a replay gives the same limits and alerts, and the log says at the start what to expect."""
    put_model(tmp_path)
    sent = readings(rows(400))
    wanted = settings(tmp_path, alerting__alarms_per_day=50.0)
    shelf = Shelf(tmp_path, wanted)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    process(held, sent[:401])
    shelf.keeper.write_snapshot(committed(held))

    with structlog.testing.capture_logs() as lines:
        again = Shelf(tmp_path, wanted).keeper.assign(READINGS, 401, NEVER)
    (told,) = (line for line in lines if line["event"] == "alarm budget forecast")
    assert (told["assets"], told["needed_asset_days"], told["expected_a_day_and_asset"]) == (2, 0.08, None)
    whole = process(held, sent[401:])
    assert same(process(again, sent[401:]), whole)
    assert equal(again.pipeline.save_state(), held.pipeline.save_state(), "budget.")


def test_a_partition_nobody_has_read_begins_where_the_source_says(tmp_path: Path) -> None:
    """Without a committed offset nothing is muted, the start is left to the source, and the model in use is used."""
    version = put_model(tmp_path)
    held = Shelf(tmp_path).keeper.assign(READINGS, None, NEVER)
    assert (held.next, held.committed, held.replay_end, held.replay_done) == (None, None, 0, True)
    assert held.phase is Phase.LIVE
    assert held.pipeline.model == version


def test_before_its_first_commit_a_partition_has_a_snapshot(tmp_path: Path) -> None:
    """The state a partition began with is kept before anything of it is committed, so that a restart reads it again."""
    version = put_model(tmp_path)
    sent = readings(rows(40), offset=7)
    shelf = Shelf(tmp_path)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    assert shelf.keeper.ensure_snapshot(held) is False
    whole = process(held, sent)
    assert shelf.keeper.ensure_snapshot(held)
    assert shelf.newest() == (7, version)
    again = Shelf(tmp_path).keeper.assign(READINGS, 87, NEVER)
    assert (again.next, again.replay_end) == (7, 87)
    assert same(process(again, sent), whole)
    assert Shelf(tmp_path).keeper.ensure_snapshot(again)


def test_without_a_snapshot_nothing_may_be_committed(tmp_path: Path) -> None:
    """While the store is away a partition that has no snapshot yet stays uncommitted."""
    path = tmp_path / "store"
    shelf = Shelf(path)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    process(held, readings(rows(20)))
    with away(path):
        assert not shelf.keeper.ensure_snapshot(held)
    assert shelf.keeper.ensure_snapshot(held)
    assert shelf.snapshots() == ["00000000000000000000.snap"]


@pytest.mark.parametrize("offset", [None, 39])
def test_a_snapshot_of_a_past_that_was_given_up_is_set_aside(tmp_path: Path, offset: int | None) -> None:
    """A snapshot beyond the committed offset is not used, and set aside once a commit shows whose partition it is."""
    shelf = Shelf(tmp_path)
    held = process_and_keep(shelf)
    assert held.next == 40
    again = shelf.keeper.assign(READINGS, offset, NEVER)
    assert again.next == offset
    assert not again.pipeline.windows.assets
    assert len(shelf.snapshots()) == 1
    shelf.keeper.quarantine_stale(again)
    assert not shelf.snapshots()
    assert len(shelf.blobs.names("quarantine")) == 1


def test_no_snapshot_is_ahead_of_its_commit(tmp_path: Path) -> None:
    """To write the state of an offset that was not committed is refused as the fault it is, and nothing is written."""
    shelf = Shelf(tmp_path)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    process(held, readings(rows(20)))
    with pytest.raises(AssertionError, match="a snapshot comes after its commit"):
        shelf.keeper.write_snapshot(held)
    held.committed = 39
    with pytest.raises(AssertionError, match="a snapshot comes after its commit"):
        shelf.keeper.adopt(held, Detector(model()))
    assert not shelf.snapshots()


def test_the_same_offset_is_written_once(tmp_path: Path) -> None:
    """While nothing new was read, and before anything was, no snapshot is written again."""
    shelf = Shelf(tmp_path)
    fresh = shelf.keeper.assign(READINGS, None, NEVER)
    shelf.keeper.write_snapshot(fresh)
    assert not shelf.snapshots()
    held = process_and_keep(shelf)
    (name,) = shelf.blobs.names("snapshots")
    shelf.blobs.delete(name)
    shelf.keeper.write_snapshot(held)
    assert not shelf.snapshots()
    assert b'monitor_snapshots_total{result="done"} 1.0' in shelf.metrics.render()


def test_a_store_that_is_away_costs_no_more_than_the_snapshot(tmp_path: Path) -> None:
    """A snapshot and a history that cannot be written are counted and told, and written the next time."""
    path = tmp_path / "store"
    shelf = Shelf(path)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    process(held, readings(rows(20)))
    with away(path), structlog.testing.capture_logs() as lines:
        shelf.keeper.write_snapshot(committed(held))
        shelf.histories.write(held.partition, held.history)
    assert [line["event"] for line in lines] == ["snapshot not written", "history not written"]
    assert held.snapshot_offset is None
    assert b'monitor_snapshots_total{result="unavailable"} 1.0' in shelf.metrics.render()
    shelf.keeper.write_snapshot(held)
    assert shelf.newest() == (40, "")
    assert b"monitor_snapshot_bytes " in shelf.metrics.render()


class _Witness(LocalBlobs):
    """A store that remembers which model a partition scored with when a snapshot was written."""

    held: PartitionState | None = None
    seen: str | None = None

    def write(self, name: str, data: Data) -> int:
        if self.held is not None and name.startswith("snapshots/"):
            self.seen = self.held.pipeline.model
        return super().write(name, data)


def test_a_model_is_adopted_after_the_snapshot_that_names_it(tmp_path: Path) -> None:
    """The snapshot at the committed offset names the new model before the first window is scored with it."""
    old = put_model(tmp_path)
    blobs = _Witness(tmp_path)
    shelf = Shelf(tmp_path, blobs=blobs)
    held = process_and_keep(shelf)
    assert shelf.newest() == (40, old)
    blobs.held = held
    new = replace(model(), version="m-20250102T000000-00000000")
    before = held.pipeline.save_state()
    shelf.keeper.adopt(held, Detector(new))
    assert blobs.seen == old
    assert shelf.newest() == (40, new.version)
    assert held.pipeline.model == new.version
    after = held.pipeline.save_state()
    assert equal(before, after, "windows")
    assert equal(before, after, "alerting")


def test_no_model_is_adopted_while_the_store_is_away(tmp_path: Path) -> None:
    """If the snapshot cannot be written the old model goes on scoring, with its state as it was."""
    path = tmp_path / "store"
    old = put_model(path)
    shelf = Shelf(path)
    held = process_and_keep(shelf)
    pipeline, state = held.pipeline, held.pipeline.save_state()
    new = Detector(replace(model(), version="m-20250102T000000-00000000"))
    with away(path):
        shelf.keeper.adopt(held, new)
    assert held.pipeline is pipeline
    assert held.pipeline.model == old
    assert equal(held.pipeline.save_state(), state)
    shelf.keeper.adopt(held, new)
    assert held.pipeline.model == "m-20250102T000000-00000000"


def test_the_first_model_is_adopted_before_anything_was_read(tmp_path: Path) -> None:
    """A partition that has read nothing has nothing to keep: it takes the model without a snapshot."""
    shelf = Shelf(tmp_path)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    shelf.keeper.adopt(held, Detector(model()))
    assert held.pipeline.model == model().version
    assert not shelf.snapshots()


def test_a_snapshot_outlives_its_model(tmp_path: Path) -> None:
    """If the model a snapshot names is gone, the state goes on with the model in use, and the log says so."""
    version = put_model(tmp_path)
    sent = readings(rows(60))
    held = Shelf(tmp_path).keeper.assign(READINGS, None, NEVER)
    process(held, sent[:80])
    Shelf(tmp_path).keeper.write_snapshot(committed(held))
    (tmp_path / "models" / version / "manifest.json").unlink()
    other = put_model(tmp_path, replace(model(), channels=("flow", "temperature", "pressure")))
    with structlog.testing.capture_logs() as lines:
        again = Shelf(tmp_path).keeper.assign(READINGS, 80, NEVER)
    assert "snapshot model not found" in [line["event"] for line in lines]
    assert (again.next, again.pipeline.model) == (80, other)
    assert process(again, sent[80:]).scores is not None


def test_a_snapshot_without_any_model_left_begins_anew(tmp_path: Path) -> None:
    """If there is no model at all any more, the partition begins at the committed offset, as at the first start."""
    version = put_model(tmp_path)
    process_and_keep(Shelf(tmp_path))
    (tmp_path / "models" / version / "manifest.json").unlink()
    again = Shelf(tmp_path).keeper.assign(READINGS, 45, NEVER)
    assert (again.next, again.pipeline.model, again.pipeline.windows.assets) == (45, "", [])
    assert again.phase is not Phase.REPLAYING


def test_a_state_that_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    """A state this program cannot take is told, and the partition begins anew at the committed offset."""
    process_and_keep(Shelf(tmp_path))
    narrow = Shelf(tmp_path, settings(tmp_path, windows__max_channels=2))
    with structlog.testing.capture_logs() as lines:
        again = narrow.keeper.assign(READINGS, 45, NEVER)
    told = {line["event"]: line for line in lines}
    assert "at most max_channels 2" in told["snapshot refused"]["reason"]
    assert told["partition assigned"]["restored"] is False
    assert (again.next, again.pipeline.windows.assets) == (45, [])


def test_a_snapshot_of_other_settings_is_set_aside(tmp_path: Path) -> None:
    """After a change of the window's length the old state is not used."""
    process_and_keep(Shelf(tmp_path))
    other = Shelf(tmp_path, settings(tmp_path, windows__length=2 * L))
    assert other.keeper.assign(READINGS, 45, NEVER).next == 45
    assert not other.snapshots()


def test_history_survives_a_restart(tmp_path: Path) -> None:
    """The sample of the past that was saved is there again, block for block."""
    shelf = Shelf(tmp_path)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    process(held, readings(rows(170)))
    shelf.histories.write(held.partition, held.history)
    again = Shelf(tmp_path).keeper.assign(READINGS, None, NEVER)
    assert len(again.history) == len(held.history) == 2 * 160 // L
    one, other = again.history.normal(), held.history.normal()
    assert np.array_equal(one.values, other.values)
    assert again.history.steps_seen().tolist() == [160, 160]


@pytest.mark.parametrize("damage", ["torn", "of another length"])
def test_a_damaged_history_is_set_aside(tmp_path: Path, damage: str) -> None:
    """A history that cannot be read, or was kept with other windows, is moved away, and a new one begun."""
    shelf = Shelf(tmp_path, settings(tmp_path, windows__length=2 * L) if damage != "torn" else None)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    process(held, readings(rows(160)))
    shelf.histories.write(held.partition, held.history)
    (name,) = shelf.blobs.names("history")
    if damage == "torn":
        shelf.blobs.write(name, shelf.blobs.read(name)[:-100])
    other = Shelf(tmp_path)
    with structlog.testing.capture_logs() as lines:
        again = other.keeper.assign(READINGS, None, NEVER)
    assert len(again.history) == 0
    assert other.blobs.names("history") == []
    (moved,) = [line["moved"] for line in lines if line["event"] == "history quarantined"]
    assert moved in other.blobs.names("quarantine")


def test_the_ratio_shown_is_that_of_the_last_window(tmp_path: Path) -> None:
    """Of several windows of an asset in a batch the last one's score over threshold stays, and others keep theirs."""
    put_model(tmp_path)
    held = Shelf(tmp_path).keeper.assign(READINGS, None, NEVER)
    outputs = process(held, readings(rows(40)))
    assert outputs.scores is not None
    assert outputs.thresholds is not None
    ratio = outputs.scores.score / outputs.thresholds.threshold
    for row in (0, 1):
        assert held.ratios[row] == ratio[outputs.windows.assets == row][-1]
    kept = held.ratios[1]
    process(held, [message for message in readings(rows(44)[:, 40:], 40, 80) if message.key == b"a"])
    assert held.ratios[1] == kept
    assert held.ratios[0] != ratio[outputs.windows.assets == 0][-1]


def test_models_in_the_store_are_shared_by_partitions(tmp_path: Path) -> None:
    """Two partitions taken over by one worker score with one detector, loaded once."""
    put_model(tmp_path)
    shelf = Shelf(tmp_path)
    one = shelf.keeper.assign(READINGS, None, NEVER)
    other = shelf.keeper.assign(READINGS._replace(number=1), None, NEVER)
    assert one.pipeline.detector is other.pipeline.detector
    assert Models(shelf.blobs, lambda _: None).current() == one.pipeline.model


def test_an_alert_that_ended_after_the_history_was_written_is_over(tmp_path: Path) -> None:
    """Restored beside a younger state, a history holds no alert as firing that is not open by that state."""
    put_model(tmp_path)
    values = rows(400)
    values[0, 100:110, 1] += 8.0
    sent = readings(values.astype(np.float64))
    shelf = Shelf(tmp_path)
    held = shelf.keeper.assign(READINGS, None, NEVER)
    process(held, sent[: 2 * 112])
    assert held.pipeline.open_alerts()
    shelf.histories.write(held.partition, held.history)
    process(held, sent[2 * 112 : 2 * 200])
    assert not held.pipeline.open_alerts()
    shelf.keeper.write_snapshot(committed(held))
    again = Shelf(tmp_path).keeper.assign(READINGS, 400, NEVER)
    process(again, sent[400:])
    later = again.history.normal()
    late = later.end > sent[2 * 300].timestamp
    assert {later.assets[code] for code in later.asset[late].tolist()} == {"a", "b"}


def test_lag_that_nothing_comes_of_is_not_awaited(tmp_path: Path) -> None:
    """A partition with lag is awaited while messages come and QUIET_S longer: a transaction's marker never comes."""
    held = Shelf(tmp_path).keeper.assign(READINGS, 0, NEVER)

    def awaited(lag: int | None, now: float, reading: bool = True) -> bool:
        return held.expects_more(lag, now, reading=reading)

    assert [awaited(lag, 0.0) for lag in (0, None, 5)] == [False, False, True]
    assert [awaited(5, now) for now in (QUIET_S - 1, QUIET_S)] == [True, False]
    process(held, readings(rows(20)))
    assert [awaited(1, QUIET_S + now) for now in (1, QUIET_S, QUIET_S + 1)] == [True, True, False]
    assert awaited(1, 5 * QUIET_S, reading=False)  # a broker that is away says nothing of what there is
    assert [awaited(1, 5 * QUIET_S + now) for now in (QUIET_S - 1, QUIET_S)] == [True, False]
    assert not awaited(0, 5 * QUIET_S)
