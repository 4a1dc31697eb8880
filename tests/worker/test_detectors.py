"""Detectors of a partition over restarts and reloads: those that stay go on as if nothing had changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from monitor.core.fitting.fit import fit
from monitor.core.model.scorer import Scorer
from monitor.core.records import Alert, Message, PartitionOutputs
from monitor.service.wiring import DetectorMaker
from monitor.settings.tree import Settings
from monitor.store.base import StoreUnavailable
from monitor.worker.partition_state import PartitionState, Phase
from tests.core.machines import FAST, STEP, corpus, model, rows
from tests.rig import ORIGIN, READINGS, away, readings, settings
from tests.worker.managing import NEVER, ManagerRig
from tests.worker.test_floods import course, messages

A: dict[str, Any] = {"name": "a", "assets": ["a"]}
B: dict[str, Any] = {"name": "b", "assets": ["b"]}
SLOW: dict[str, Any] = {"name": "slow", "windows": {"step_s": 2.0}}


def wanted(path: Path, *detectors: dict[str, Any], **overrides: object) -> Settings:
    return settings(path, detectors=list(detectors), **overrides)


def site(path: Path, *detectors: dict[str, Any]) -> ManagerRig:
    rig = ManagerRig(path, wanted(path, *detectors))
    with_model(rig)
    return rig


def with_model(rig: ManagerRig) -> None:
    for factory in rig.manager.wanted().values():
        factory.registry._in_use = Scorer(model())
        factory.registry._scorers[model().version] = Scorer(model())
        factory.registry._checked = float("inf")


def take(state: PartitionState, sent: Sequence[Message]) -> PartitionOutputs:
    outputs = state.process(sent, ORIGIN + 10**9, lambda _: None)
    state.remember(outputs)
    return outputs


def faulty() -> list[Message]:
    """Both machines, and a fault of each from step 230 on."""
    batch = rows(400)
    batch[0, 230:, 1] += 8.0
    batch[1, 235:, 1] += 80.0
    return readings(batch.astype(np.float64))


def restarted(
    path: Path, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]], at: int
) -> PartitionOutputs:
    """Return the outputs from message `at` on, where a restart with other detectors was."""
    first = site(path, *before)
    state = first.manager.assign(READINGS, None, NEVER)
    take(state, faulty()[:at])
    state.committed = state.next
    first.manager.write_snapshot(state)
    return take(site(path, *after).manager.assign(READINGS, at, NEVER), faulty()[at:])


def same(one: PartitionOutputs, other: PartitionOutputs, name: str) -> bool:
    ours, theirs = one.detectors[name], other.detectors[name]
    assert ours.scores is not None
    assert theirs.scores is not None
    assert len(ours.windows) > 0
    return ours.scores.score.tobytes() == theirs.scores.score.tobytes() and list(ours.alerts) == list(theirs.alerts)


@pytest.mark.parametrize(
    ("before", "after", "kept", "events"),
    [
        ((A, B), (A, B, SLOW), "ab", {"detector added": "slow"}),
        ((A, B, SLOW), (A, B), "ab", {"detector removed": "slow"}),
        ((A, B), (B,), "b", {"detector removed": "a"}),
        ((A, B), ({**A, "threshold": {"memory": 5000}}, B), "b", {"detector state refused": "a"}),
        ((A, B), ({**A, "windows": {"step_s": 2.0}}, B), "b", {"detector state refused": "a"}),
        ((A, B), ({**A, "assets": ["a", "c"]}, B), "ab", {}),
        ((A, B), ({**A, "channels": ["flow", "pressure"]}, B), "b", {}),
        ((), ({"name": "test"}, A), ("test",), {"detector added": "a"}),
        (({"name": "test"}, A), (), ("test",), {"detector removed": "a"}),
        ((A, B), (B, A), "ab", {}),
    ],
)
def test_over_a_restart_the_others_go_on(
    tmp_path: Path,
    before: Sequence[dict[str, Any]],
    after: Sequence[dict[str, Any]],
    kept: Sequence[str],
    events: dict[str, str],
) -> None:
    """Records of detectors that stay are those of an uninterrupted run, and the log names what has changed."""
    with structlog.testing.capture_logs() as lines:
        broken = restarted(tmp_path / "one", before, after, 440)
    whole = restarted(tmp_path / "two", before, before, 440)
    for name in kept:
        assert same(broken, whole, name)
    assert {line["event"]: line["detector"] for line in lines if line["event"].startswith("detector ")} == events


def closed(alerts: Sequence[Alert], detector: str) -> list[Alert]:
    return [alert for alert in alerts if alert.detector == detector]


def test_an_alert_of_a_detector_that_is_gone_is_resolved(tmp_path: Path) -> None:
    """Its watchers get one more record, resolved; a restart before the next commit gives the same record again."""
    first = site(tmp_path, A, B)
    state = first.manager.assign(READINGS, None, NEVER)
    opened = closed(take(state, faulty()[:500]).alerts, "a")
    assert [alert.state for alert in opened] == ["firing"]
    state.committed = state.next
    first.manager.write_snapshot(state)

    records = []
    for complete in (False, True):  # the first one writes the snapshot that the second one finds
        again = site(tmp_path, B)
        state = again.manager.assign(READINGS, 500, NEVER)
        assert state.has_snapshot is complete
        records.append(closed(take(state, faulty()[500:520]).alerts, "a"))
        assert again.manager.ensure_snapshot(state)
    assert records[0] == records[1]
    (record,) = records[0]
    assert (record.id, record.state, record.sequence, record.position) == (opened[0].id, "resolved", 1, 500)
    assert closed(take(state, faulty()[520:]).alerts, "a") == []

    # Read again below a later commit, the record comes with the same message, and the replay mutes it.
    replayed = site(tmp_path, B).manager.assign(READINGS, 520, NEVER)
    assert (replayed.next, replayed.phase) == (500, Phase.REPLAYING)
    assert closed(take(replayed, faulty()[500:520]).alerts, "a") == records[0]


def test_alerts_since_the_last_snapshot_are_closed_beyond_the_replay(tmp_path: Path) -> None:
    """After a crash the record comes with the first message that no earlier owner has committed."""
    first = site(tmp_path, A, B)
    state = first.manager.assign(READINGS, None, NEVER)
    take(state, faulty()[:500])
    state.committed = state.next
    first.manager.write_snapshot(state)
    state = site(tmp_path, B).manager.assign(READINGS, 520, NEVER)
    assert closed(take(state, faulty()[500:520]).alerts, "a") == []
    assert [alert.position for alert in closed(take(state, faulty()[520:]).alerts, "a")] == [520]


def test_detectors_are_adopted_with_a_snapshot(tmp_path: Path) -> None:
    """One that comes and one that goes are adopted at a checkpoint; without the snapshot nothing changes."""
    path = tmp_path / "store"
    rig = site(path, A, B)
    state = rig.manager.assign(READINGS, None, NEVER)
    take(state, faulty()[:500])
    state.committed = state.next
    kept = state.detectors.pipelines["b"]
    assert rig.manager.up_to_date(state)

    maker = rig.manager._factory.wanted
    assert isinstance(maker, DetectorMaker)
    after = wanted(path, B, SLOW)
    maker._wanted = lambda: after
    with_model(rig)
    assert not rig.manager.up_to_date(state)
    with away(path), pytest.raises(StoreUnavailable):
        rig.manager.adopt(state)
    assert list(state.detectors.pipelines) == ["a", "b"]

    rig.manager.adopt(state)
    assert rig.manager.up_to_date(state)
    assert list(state.detectors.pipelines) == list(state.notes) == ["b", "slow"]
    assert state.detectors.pipelines["b"] is kept
    outputs = take(state, faulty()[500:])
    assert [alert.state for alert in closed(outputs.alerts, "a")] == ["resolved"]

    again = site(path, B, SLOW).manager.assign(READINGS, 500, NEVER)
    assert again.has_snapshot
    assert take(again, faulty()[500:]).alerts == outputs.alerts


def test_a_first_model_is_adopted_where_a_later_one_waits(tmp_path: Path) -> None:
    """While a partition catches up, a detector that had no model gets one; another one keeps the model that it has."""
    rig = ManagerRig(tmp_path, wanted(tmp_path, A, B))
    first, later = model(), fit(corpus(seed=4), FAST, None, lambda *_: None).model
    registry = rig.manager.wanted()["a"].registry
    registry._in_use, registry._checked = Scorer(first), float("inf")
    registry._scorers[first.version] = Scorer(first)
    rig.manager.wanted()["b"].registry._checked = float("inf")
    state = rig.manager.assign(READINGS, None, NEVER)
    take(state, faulty()[:100])
    state.committed = state.next
    rig.manager.write_snapshot(state)

    state = rig.manager.assign(READINGS, 100, NEVER)
    state.note_lag(700)
    assert state.phase is Phase.CATCHING_UP
    registry._in_use = Scorer(later)
    rig.manager.wanted()["b"].registry._in_use = Scorer(first)
    rig.manager.adopt_first_models(state)
    models = {name: pipeline.model for name, pipeline in state.detectors.pipelines.items()}
    assert models == {"a": first.version, "b": first.version}
    rig.manager.wanted()["b"].registry._scorers[first.version] = Scorer(first)
    again = rig.manager.assign(READINGS, 100, NEVER)
    assert {name: pipeline.model for name, pipeline in again.detectors.pipelines.items()} == models


def test_a_backlog_says_how_far_a_partition_was_read(tmp_path: Path) -> None:
    """It has the time of the median asset, since single clocks are wrong, and the detectors that found no asset yet."""
    none = {"name": "none", "assets": ["c"]}
    state = site(tmp_path, {"name": "all"}, none).manager.assign(READINGS, None, NEVER)
    assert state.backlog().newest_ms is None
    sent = messages([*course("a", 0, rows(100)[0]), *course("b", 0, rows(100)[1]), *course("d", 86_400, rows(2)[0])])
    take(state, sent)
    backlog = state.backlog()
    assert backlog.newest_ms == ORIGIN + 99 * STEP
    assert backlog.absent.keys() == {"none"}
    assert 99 * STEP <= backlog.absent["none"] < 86_400 * STEP


def test_live_settings_of_one_detector_leave_the_others(tmp_path: Path) -> None:
    """Only the detector whose margin changes gets a second pipeline."""
    rig = site(tmp_path, A, B)
    state = rig.manager.assign(READINGS, None, NEVER)
    take(state, faulty()[:100])
    state.committed = state.next
    before = dict(state.detectors.pipelines)
    maker = rig.manager._factory.wanted
    assert isinstance(maker, DetectorMaker)
    after = wanted(tmp_path, {**A, "threshold": {"margin": 9.0}}, B)
    maker._wanted = lambda: after
    rig.manager.adopt(state)
    assert state.detectors.pipelines["b"] is before["b"]
    assert state.detectors.pipelines["a"].live["threshold.margin"] == 9.0
    assert state.detectors.pipelines["b"].live["threshold.margin"] == 1.4


def test_alerts_of_an_asset_that_is_taken_away_are_resolved(tmp_path: Path) -> None:
    """A detector whose globs no longer match an asset resolves the asset's alerts and keeps all else."""
    both: dict[str, Any] = {"name": "ab", "assets": ["a", "b"]}
    first = site(tmp_path, both)
    state = first.manager.assign(READINGS, None, NEVER)
    take(state, faulty()[:500])
    assert {alert.asset for alert in state.detectors.open_alerts()} == {"a", "b"}
    state.committed = state.next
    first.manager.write_snapshot(state)

    state = site(tmp_path, {"name": "ab", "assets": ["b"]}).manager.assign(READINGS, 500, NEVER)
    assert {alert.asset for alert in state.detectors.open_alerts()} == {"b"}
    later = take(state, faulty()[500:]).alerts
    assert [(alert.asset, alert.state, alert.position) for alert in later if alert.asset == "a"] == [
        ("a", "resolved", 500)
    ]
    whole = take(first.manager.assign(READINGS, 500, NEVER), faulty()[500:])
    assert [alert for alert in later if alert.asset == "b"] == [alert for alert in whole.alerts if alert.asset == "b"]
