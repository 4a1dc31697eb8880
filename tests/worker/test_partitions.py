"""What is state of a partition: begun, restored from a snapshot, given another model, and kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from monitor.core.model.scorer import Scorer
from monitor.service.pipelines import STATE_FORMAT
from monitor.store.atomic import Data
from monitor.store.files import LocalBlobs
from monitor.worker.partition_state import QUIET_S, PartitionState, Phase
from tests.core.machines import L, model, rows
from tests.rig import READINGS, away, notes, only, put_model, readings, settings, stored_models
from tests.worker.managing import NEVER, ManagerRig, committed, equal, process, process_and_keep, same


@pytest.mark.parametrize("behind", [0, 40])
def test_a_partition_continues_from_its_snapshot(tmp_path: Path, behind: int) -> None:
    """From a snapshot at or below the committed offset it reads on from there with the very state, muted up to it."""
    put_model(tmp_path)
    sent = readings(rows(200))
    rig = ManagerRig(tmp_path)
    state = rig.manager.assign(READINGS, None, NEVER)
    process(state, sent[:200])
    rig.manager.write_snapshot(committed(state))

    again = ManagerRig(tmp_path).manager.assign(READINGS, 200 + behind, NEVER)
    assert (again.next, again.committed, again.replay_end) == (200, 200 + behind, 200 + behind)
    assert (again.phase is Phase.REPLAYING) is bool(behind)
    assert not again.replay_done
    assert only(again).model == only(state).model
    assert same(process(again, sent[200:]), process(state, sent[200:]))


def test_a_state_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade that changed the format of states, a detector begins without state, and the reason says so."""
    state = process_and_keep(ManagerRig(tmp_path))
    monkeypatch.setattr("monitor.service.pipelines.STATE_FORMAT", STATE_FORMAT + 1)
    with structlog.testing.capture_logs() as lines:
        again = ManagerRig(tmp_path).manager.assign(READINGS, state.next, NEVER)
    assert not again.has_snapshot
    (refused,) = (line for line in lines if line["event"] == "detector state refused")
    assert (refused["detector"], refused["log_level"]) == ("test", "error")
    assert "another version of the program" in refused["reason"]


def test_margins_of_a_budget_continue_from_a_snapshot(tmp_path: Path) -> None:
    """Under an alarm budget a replay gives the same limits and alerts, and the log says at the start what to expect."""
    put_model(tmp_path)
    sent = readings(rows(400))
    wanted = settings(tmp_path, alerting__alarms_per_day=50.0)
    rig = ManagerRig(tmp_path, wanted)
    state = rig.manager.assign(READINGS, None, NEVER)
    process(state, sent[:401])
    rig.manager.write_snapshot(committed(state))

    with structlog.testing.capture_logs() as lines:
        again = ManagerRig(tmp_path, wanted).manager.assign(READINGS, 401, NEVER)
    (told,) = (line for line in lines if line["event"] == "alarm budget forecast")
    assert (told["assets"], told["needed_asset_days"], told["expected_a_day_and_asset"]) == (2, 0.08, None)
    whole = process(state, sent[401:])
    assert same(process(again, sent[401:]), whole)
    assert equal(only(again).save_state(), only(state).save_state(), "budget.")


def test_a_partition_nobody_has_read_begins_where_the_source_says(tmp_path: Path) -> None:
    """Without a committed offset nothing is muted, the start is left to the source, and the model in use is used."""
    version = put_model(tmp_path)
    state = ManagerRig(tmp_path).manager.assign(READINGS, None, NEVER)
    assert (state.next, state.committed, state.replay_end, state.replay_done) == (None, None, 0, True)
    assert state.phase is Phase.LIVE
    assert only(state).model == version


def test_before_its_first_commit_a_partition_has_a_snapshot(tmp_path: Path) -> None:
    """The state a partition began with is kept before anything of it is committed, so that a restart reads it again."""
    version = put_model(tmp_path)
    sent = readings(rows(40), offset=7)
    rig = ManagerRig(tmp_path)
    state = rig.manager.assign(READINGS, None, NEVER)
    assert rig.manager.ensure_snapshot(state) is False
    whole = process(state, sent)
    assert rig.manager.ensure_snapshot(state)
    assert rig.newest() == (7, version)
    again = ManagerRig(tmp_path).manager.assign(READINGS, 87, NEVER)
    assert (again.next, again.replay_end) == (7, 87)
    assert same(process(again, sent), whole)
    assert ManagerRig(tmp_path).manager.ensure_snapshot(again)


def test_without_a_snapshot_nothing_may_be_committed(tmp_path: Path) -> None:
    """While the store is away a partition that has no snapshot yet stays uncommitted."""
    path = tmp_path / "store"
    rig = ManagerRig(path)
    state = rig.manager.assign(READINGS, None, NEVER)
    process(state, readings(rows(20)))
    with away(path):
        assert not rig.manager.ensure_snapshot(state)
    assert rig.manager.ensure_snapshot(state)
    assert rig.snapshots() == ["00000000000000000000.snap"]


@pytest.mark.parametrize("offset", [None, 39])
def test_a_snapshot_of_a_past_that_was_given_up_is_set_aside(tmp_path: Path, offset: int | None) -> None:
    """A snapshot beyond the committed offset is not used, and is quarantined once a commit proves the ownership."""
    rig = ManagerRig(tmp_path)
    state = process_and_keep(rig)
    assert state.next == 40
    again = rig.manager.assign(READINGS, offset, NEVER)
    assert again.next == offset
    assert not only(again).windows.assets
    assert len(rig.snapshots()) == 1
    rig.manager.quarantine_stale(again)
    assert not rig.snapshots()
    assert len(rig.blobs.names("quarantine")) == 1


def test_no_snapshot_is_ahead_of_its_commit(tmp_path: Path) -> None:
    """To write the state of an offset that was not committed is refused as the fault it is, and nothing is written."""
    rig = ManagerRig(tmp_path)
    state = rig.manager.assign(READINGS, None, NEVER)
    process(state, readings(rows(20)))
    with pytest.raises(AssertionError, match="a snapshot comes after its commit"):
        rig.manager.write_snapshot(state)
    state.committed = 39
    with pytest.raises(AssertionError, match="a snapshot comes after its commit"):
        rig.adopt(state, Scorer(model()))
    assert not rig.snapshots()


def test_the_same_offset_is_written_once(tmp_path: Path) -> None:
    """While nothing new was read, and before anything was, no snapshot is written again."""
    rig = ManagerRig(tmp_path)
    fresh = rig.manager.assign(READINGS, None, NEVER)
    rig.manager.write_snapshot(fresh)
    assert not rig.snapshots()
    state = process_and_keep(rig)
    (name,) = rig.blobs.names("snapshots")
    rig.blobs.delete(name)
    rig.manager.write_snapshot(state)
    assert not rig.snapshots()
    assert b'monitor_snapshots_total{result="done"} 1.0' in rig.metrics.render()


def test_a_store_that_is_away_costs_no_more_than_the_snapshot(tmp_path: Path) -> None:
    """A snapshot and a history that cannot be written are counted and logged, and written the next time."""
    path = tmp_path / "store"
    rig = ManagerRig(path)
    state = rig.manager.assign(READINGS, None, NEVER)
    process(state, readings(rows(20)))
    with away(path), structlog.testing.capture_logs() as lines:
        rig.manager.write_snapshot(committed(state))
        rig.histories.write(state.partition, notes(state).history)
    assert [line["event"] for line in lines] == ["snapshot not written", "history not written"]
    assert state.snapshot_offset is None
    assert b'monitor_snapshots_total{result="unavailable"} 1.0' in rig.metrics.render()
    rig.manager.write_snapshot(state)
    assert rig.newest() == (40, "")
    assert b"monitor_snapshot_bytes " in rig.metrics.render()


class _Witness(LocalBlobs):
    """A store that remembers which model a partition scored with when a snapshot was written."""

    state: PartitionState | None = None
    seen: str | None = None

    def write(self, name: str, data: Data) -> int:
        if self.state is not None and name.startswith("snapshots/"):
            self.seen = only(self.state).model
        return super().write(name, data)


def test_a_model_is_adopted_after_the_snapshot_that_names_it(tmp_path: Path) -> None:
    """The snapshot at the committed offset names the new model before the first window is scored with it."""
    old = put_model(tmp_path)
    blobs = _Witness(tmp_path)
    rig = ManagerRig(tmp_path, blobs=blobs)
    state = process_and_keep(rig)
    assert rig.newest() == (40, old)
    blobs.state = state
    new = replace(model(), version="m-20250102T000000-00000000")
    before = only(state).save_state()
    rig.adopt(state, Scorer(new))
    assert blobs.seen == old
    assert rig.newest() == (40, new.version)
    assert only(state).model == new.version
    after = only(state).save_state()
    assert equal(before, after, "windows")
    assert equal(before, after, "alerting")


def test_no_model_is_adopted_while_the_store_is_away(tmp_path: Path) -> None:
    """If the snapshot cannot be written the old model goes on scoring, with its state as it was."""
    path = tmp_path / "store"
    old = put_model(path)
    rig = ManagerRig(path)
    state = process_and_keep(rig)
    pipeline, saved = only(state), only(state).save_state()
    new = Scorer(replace(model(), version="m-20250102T000000-00000000"))
    with away(path):
        rig.adopt(state, new)
    assert only(state) is pipeline
    assert only(state).model == old
    assert equal(only(state).save_state(), saved)
    rig.adopt(state, new)
    assert only(state).model == "m-20250102T000000-00000000"


def test_the_first_model_is_adopted_before_anything_was_read(tmp_path: Path) -> None:
    """A partition that has read nothing has nothing to keep: it takes the model without a snapshot."""
    rig = ManagerRig(tmp_path)
    state = rig.manager.assign(READINGS, None, NEVER)
    rig.adopt(state, Scorer(model()))
    assert only(state).model == model().version
    assert not rig.snapshots()


def test_a_snapshot_outlives_its_model(tmp_path: Path) -> None:
    """If the model a snapshot names is gone, the state goes on with the model in use, and the log says so."""
    version = put_model(tmp_path)
    sent = readings(rows(60))
    state = ManagerRig(tmp_path).manager.assign(READINGS, None, NEVER)
    process(state, sent[:80])
    ManagerRig(tmp_path).manager.write_snapshot(committed(state))
    (tmp_path / "detectors/test/models" / version / "manifest.json").unlink()
    other = put_model(tmp_path, replace(model(), channels=("flow", "temperature", "pressure")))
    with structlog.testing.capture_logs() as lines:
        again = ManagerRig(tmp_path).manager.assign(READINGS, 80, NEVER)
    assert "snapshot model not found" in [line["event"] for line in lines]
    assert (again.next, only(again).model) == (80, other)
    assert process(again, sent[80:]).scores is not None


def test_a_snapshot_without_any_model_left_begins_anew(tmp_path: Path) -> None:
    """If there is no model at all any more, the detector begins without state where its snapshot is."""
    version = put_model(tmp_path)
    process_and_keep(ManagerRig(tmp_path))
    (tmp_path / "detectors/test/models" / version / "manifest.json").unlink()
    again = ManagerRig(tmp_path).manager.assign(READINGS, 45, NEVER)
    assert (again.next, only(again).model, only(again).windows.assets) == (40, "", [])
    assert again.phase is Phase.REPLAYING


def test_a_state_that_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    """A state that does not fit this program is logged, and the detector starts empty where its snapshot is."""
    process_and_keep(ManagerRig(tmp_path))
    narrow = ManagerRig(tmp_path, settings(tmp_path, windows__max_channels=2))
    with structlog.testing.capture_logs() as lines:
        again = narrow.manager.assign(READINGS, 45, NEVER)
    told = {line["event"]: line for line in lines}
    assert "at most max_channels 2" in told["detector state refused"]["reason"]
    assert told["partition assigned"]["restored"] is False
    assert (again.next, only(again).windows.assets) == (40, [])


def test_a_snapshot_of_other_settings_is_set_aside(tmp_path: Path) -> None:
    """After a change of the window's length the old state is not used."""
    process_and_keep(ManagerRig(tmp_path))
    other = ManagerRig(tmp_path, settings(tmp_path, windows__length=2 * L))
    again = other.manager.assign(READINGS, 45, NEVER)
    assert (again.next, only(again).windows.assets, again.has_snapshot) == (40, [], False)


def test_history_survives_a_restart(tmp_path: Path) -> None:
    """The sample of the past that was saved is there again, block for block."""
    rig = ManagerRig(tmp_path)
    state = rig.manager.assign(READINGS, None, NEVER)
    process(state, readings(rows(170)))
    rig.histories.write(state.partition, notes(state).history)
    again = ManagerRig(tmp_path).manager.assign(READINGS, None, NEVER)
    assert len(notes(again).history) == len(notes(state).history) == 2 * 160 // L
    one, other = notes(again).history.normal(), notes(state).history.normal()
    assert np.array_equal(one.values, other.values)
    assert notes(again).history.steps_seen().tolist() == [160, 160]


@pytest.mark.parametrize("damage", ["torn", "of another length", "with other rates"])
def test_a_damaged_history_is_set_aside(tmp_path: Path, damage: str) -> None:
    """A history that cannot be read, or was kept with other windows or rates, is moved away, and a new one begun."""
    changes: dict[str, Any] = {"of another length": {"windows__length": 2 * L}}.get(damage, {})
    if damage == "with other rates":
        changes = {"channels": {"p*": {"as": "rate"}}}
    rig = ManagerRig(tmp_path, settings(tmp_path, **changes))
    state = rig.manager.assign(READINGS, None, NEVER)
    process(state, readings(rows(160)))
    rig.histories.write(state.partition, notes(state).history)
    (name,) = rig.blobs.names("detectors/test/history")
    if damage == "torn":
        rig.blobs.write(name, rig.blobs.read(name)[:-100])
    other = ManagerRig(tmp_path)
    with structlog.testing.capture_logs() as lines:
        again = other.manager.assign(READINGS, None, NEVER)
    assert len(notes(again).history) == 0
    assert other.blobs.names("detectors/test/history") == []
    (moved,) = [line["moved"] for line in lines if line["event"] == "history quarantined"]
    assert moved in other.blobs.names("detectors/test/quarantine")


def test_the_ratio_shown_is_that_of_the_last_window(tmp_path: Path) -> None:
    """Of several windows of an asset in a batch the last one's ratio stays, and others keep theirs."""
    put_model(tmp_path)
    state = ManagerRig(tmp_path).manager.assign(READINGS, None, NEVER)
    outputs = process(state, readings(rows(40)))
    assert outputs.thresholds is not None
    ratio = outputs.thresholds.alarm / outputs.thresholds.threshold
    for row in (0, 1):
        assert notes(state).ratios[row] == ratio[outputs.windows.assets == row][-1]
    kept = notes(state).ratios[1]
    process(state, [message for message in readings(rows(44)[:, 40:], 40, 80) if message.key == b"a"])
    assert notes(state).ratios[1] == kept
    assert notes(state).ratios[0] != ratio[outputs.windows.assets == 0][-1]


def test_models_in_the_store_are_shared_by_partitions(tmp_path: Path) -> None:
    """Two partitions taken over by one worker score with one scorer, loaded once."""
    put_model(tmp_path)
    rig = ManagerRig(tmp_path)
    one = rig.manager.assign(READINGS, None, NEVER)
    other = rig.manager.assign(READINGS._replace(number=1), None, NEVER)
    assert only(one).scorer is only(other).scorer
    assert stored_models(tmp_path).current() == only(one).model


def test_an_alert_that_ended_after_the_history_was_written_is_over(tmp_path: Path) -> None:
    """Restored with a younger state, a history has no firing alert that is not open in that state."""
    put_model(tmp_path)
    values = rows(400)
    values[0, 100:110, 1] += 8.0
    sent = readings(values.astype(np.float64))
    rig = ManagerRig(tmp_path)
    state = rig.manager.assign(READINGS, None, NEVER)
    process(state, sent[: 2 * 112])
    assert only(state).open_alerts()
    rig.histories.write(state.partition, notes(state).history)
    process(state, sent[2 * 112 : 2 * 200])
    assert not only(state).open_alerts()
    rig.manager.write_snapshot(committed(state))
    again = ManagerRig(tmp_path).manager.assign(READINGS, 400, NEVER)
    process(again, sent[400:])
    later = notes(again).history.normal()
    late = later.end > sent[2 * 300].timestamp
    assert {later.assets[code] for code in later.asset[late].tolist()} == {"a", "b"}


def test_lag_that_nothing_comes_of_is_not_awaited(tmp_path: Path) -> None:
    """A partition with lag is awaited while messages come and QUIET_S longer: a transaction's marker never comes."""
    state = ManagerRig(tmp_path).manager.assign(READINGS, 0, NEVER)

    def awaited(lag: int | None, now: float, reading: bool = True) -> bool:
        return state.expects_more(lag, now, reading=reading)

    assert [awaited(lag, 0.0) for lag in (0, None, 5)] == [False, False, True]
    assert [awaited(5, now) for now in (QUIET_S - 1, QUIET_S)] == [True, False]
    process(state, readings(rows(20)))
    assert [awaited(1, QUIET_S + now) for now in (1, QUIET_S, QUIET_S + 1)] == [True, True, False]
    assert awaited(1, 5 * QUIET_S, reading=False)  # a broker that is away says nothing of what there is
    assert [awaited(1, 5 * QUIET_S + now) for now in (QUIET_S - 1, QUIET_S)] == [True, False]
    assert not awaited(0, 5 * QUIET_S)
