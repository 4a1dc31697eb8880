"""Alerts whose limit rises to the score, each rule by hand on windows that end every second."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.alarm_only import AlarmOnly
from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, ChannelShare, ScoreBatch, ThresholdBatch, WindowBatch
from tests.core.alerts.test_machine_alerts import NAMES, alerting
from tests.core.machines import rows
from tests.properties.hostile_stores import new_pipeline
from tests.rig import processed, readings

Judged = tuple[int, int, float, float]  # asset row, end in s, score, limit; the position is 10 times the end


def feed(stage: MachineAlerts, rows: Sequence[Judged]) -> list[Alert]:
    """One batch of windows with a limit each. Their ranking scores are 0, since no alert depends on them."""
    assets = np.array([row[0] for row in rows], np.int32)
    ends = np.array([1000 * row[1] for row in rows], np.int64)
    alarm, limit = (np.array([row[place] for row in rows], np.float32) for place in (2, 3))
    nothing = np.zeros((len(rows), 1), np.float32)
    windows = WindowBatch(assets, ends, nothing[:, :, None], np.ones((len(rows), 1, 1), np.bool_), ends // 100)
    scores = ScoreBatch(nothing[:, 0], nothing, nothing, nothing, nothing)
    limits = ThresholdBatch(alarm, limit, alarm > limit, np.ones(len(rows), np.bool_))

    def explain(place: int) -> tuple[ChannelShare, ...]:
        return (ChannelShare(f"{NAMES[rows[place][0]]}@{rows[place][1]}", 1.0, None, 1 / 3, 0.1, 0.2, 0),)

    return stage.update(windows, scores, limits, NAMES, "m1", explain, AlarmOnly(alarm))


def one(*levels: tuple[float, float], since: int = 1) -> list[Judged]:
    """Windows of the first asset, second by second: score and limit of each."""
    return [(0, since + second, score, limit) for second, (score, limit) in enumerate(levels)]


def brief(alerts: Sequence[Alert]) -> list[tuple[str, int, int]]:
    """(state, sequence, time in s) of each record."""
    return [(alert.state, alert.sequence, alert.time // 1000) for alert in alerts]


SHIFT = one(*[(2, 1)] * 3, (2, 1.9), *[(2, 4)] * 4)  # fires at 3 s at the limit 1; from 5 s on the limit is 4


def test_an_alert_whose_limit_rises_to_the_score_is_adapted() -> None:
    """Quiet windows that stay above the limit at firing end the alert as adapted, with its id and last channels."""
    stage = alerting()
    fired, adapted = feed(stage, SHIFT)
    assert brief([fired, adapted]) == [("firing", 0, 3), ("adapted", 1, 8)]
    assert (adapted.id, adapted.end, adapted.channels) == (fired.id, 4000, fired.channels)
    assert (adapted.alarm, adapted.threshold, adapted.ratio) == (2.0, 4.0, 0.5)
    assert stage.states() == {0: "adapted"}
    assert stage.open_alerts() == [adapted]


@pytest.mark.parametrize(("score", "resolved"), [(0.5, True), (0.74, True), (0.75, False), (0.9, False), (1.5, False)])
def test_an_adapted_alert_is_resolved_by_scores_below_the_limit_at_firing(score: float, resolved: bool) -> None:
    """The score must be below (1 - deadband) x the limit at firing for the off delay, whatever the limit is now."""
    stage = alerting()
    fired, _ = feed(stage, SHIFT)
    alerts = feed(stage, one(*[(score, 4.0)] * 6, since=9))
    assert brief(alerts) == ([("resolved", 2, 12)] if resolved else [])
    assert stage.states() == ({} if resolved else {0: "adapted"})
    assert all(alert.id == fired.id for alert in alerts)


def test_a_limit_that_rose_under_a_fault_that_ends_resolves_the_alert() -> None:
    """A score that falls below the limit at firing is resolved, although the limit rose meanwhile."""
    assert brief(feed(alerting(), one(*[(2, 1)] * 3, *[(0.5, 1.8)] * 4)))[1:] == [("resolved", 1, 7)]


@pytest.mark.parametrize(("above", "state"), [(2, "resolved"), (3, "adapted")])
def test_most_of_the_quiet_windows_decide(above: int, state: str) -> None:
    """Of the four quiet windows that end an alert, three must be above the limit at firing to make it adapted."""
    levels = [(2, 1)] * 3 + [(1.5, 4)] * above + [(0.5, 4)] * (4 - above)
    assert brief(feed(alerting(), one(*levels)))[1:] == [(state, 1, 7)]


def test_a_further_rise_fires_a_new_alert() -> None:
    """An asset with an adapted alert fires again above its new limit, under an id of its own, and both stay open."""
    stage = alerting()
    first = feed(stage, SHIFT)[0]
    (second,) = feed(stage, one(*[(9, 4)] * 3, since=9))
    assert second.state == "firing"
    assert second.id != first.id
    assert stage.states() == {0: "firing"}
    assert [(alert.id, alert.state) for alert in stage.open_alerts()] == [(second.id, "firing"), (first.id, "adapted")]


def test_a_second_adapted_alert_takes_over_from_the_first() -> None:
    """When a second alert adapts, the first is resolved, and the second stays open down to the lower limit."""
    stage = alerting()
    first = feed(stage, SHIFT)[0]
    second, *records = feed(stage, one(*[(9, 4)] * 3, *[(9, 16)] * 4, since=9))
    assert [(alert.id, *brief([alert])[0]) for alert in records] == [
        (second.id, "adapted", 1, 15),
        (first.id, "resolved", 2, 15),
    ]
    assert feed(stage, one(*[(2, 16)] * 5, since=16)) == []  # below the limit 4, not below 1
    assert brief(feed(stage, one(*[(0.5, 16)] * 4, since=21))) == [("resolved", 2, 24)]
    assert stage.states() == {}


def test_the_limit_at_firing_follows_the_scale_of_another_model() -> None:
    """With a model whose scores are ten times as high, an adapted alert is resolved below ten times the limit."""
    stage = alerting()
    feed(stage, SHIFT)
    stage.rebase(lambda limits: 10 * limits, lambda limits: limits)
    assert feed(stage, one(*[(8, 40)] * 4, since=9)) == []
    assert brief(feed(stage, one(*[(7, 40)] * 4, since=13))) == [("resolved", 2, 16)]


def test_a_model_with_other_channels_drops_the_limit_at_firing() -> None:
    """With a model of other channels every window is back, so an adapted alert is resolved after the off delay."""
    stage = alerting()
    feed(stage, SHIFT)
    stage.rebase(lambda limits: limits, None)
    assert brief(feed(stage, one(*[(2, 4)] * 4, since=9))) == [("resolved", 2, 12)]


def test_a_new_model_converts_the_limit_at_firing() -> None:
    """When a pipeline adopts a model whose clean scores are ten times as high, so is the limit of an open alert."""
    made = new_pipeline()
    values = rows(240, seed=9)
    values[1, 200:, 1] += 8.0
    processed(made, readings(values.astype(float)), 2**50)
    before = limits(made)
    assert len(before) == 1
    old = made.scorer
    assert old is not None
    alarm = replace(old.model.alarm, scores=10 * old.model.alarm.scores)
    made.adopt(Scorer(replace(old.model, alarm=alarm)))
    assert limits(made) == pytest.approx([10 * limit for limit in before], rel=0.01)


def limits(pipeline: Pipeline) -> list[float]:
    """Return the limits at firing of the open alerts of machines."""
    lives = json.loads(pipeline.alerting.save_state()["alerts"].tobytes())
    return [life["limit"] for life in lives if life["limit"]]


def test_an_evicted_row_takes_its_adapted_alert_along() -> None:
    """A cleared row has no adapted alert any more."""
    stage = alerting()
    feed(stage, SHIFT)
    stage.forget(0)
    assert (stage.states(), stage.open_alerts()) == ({}, [])


STORY = [*SHIFT, *one(*[(9, 4)] * 3, *[(9, 16)] * 4, *[(2, 16)] * 3, *[(0.5, 16)] * 4, since=9)]


@pytest.mark.parametrize("cut", range(len(STORY) + 1))
def test_a_restored_stage_goes_on_identically(cut: int) -> None:
    """Saved and loaded in any state, the records are those of a stage that went through."""
    wanted = feed(alerting(), STORY)
    stage, restored = alerting(), alerting()
    before = feed(stage, STORY[:cut])
    restored.load_state(stage.save_state())
    assert (restored.states(), restored.open_alerts()) == (stage.states(), stage.open_alerts())
    assert before + feed(restored, STORY[cut:]) == wanted


def test_an_adapted_alert_of_a_machine_that_is_off_ends() -> None:
    """It ends with the firing one, the older one first, and the row can be given to another asset."""
    stage = alerting()
    fired, adapted = feed(stage, SHIFT)
    feed(stage, one(*[(9, 4)] * 3, since=9))
    ended = stage.end(0, 20_000, 200)
    assert [(alert.id, alert.state, alert.sequence) for alert in ended[:1]] == [(fired.id, "resolved", 2)]
    assert [alert.state for alert in ended] == ["resolved", "resolved"]
    assert stage.states() == {}
    assert stage.open_alerts() == []
    assert adapted.state == "adapted"
