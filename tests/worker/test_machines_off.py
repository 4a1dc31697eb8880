"""Machines that do not run, through all stages of a partition, and as the worker shows them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monitor.core.decode.decode import decode
from monitor.core.detectors import timestamps_of
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Message
from monitor.core.running.levels import Levels
from monitor.service.pipelines import make_pipeline
from monitor.training.trainer import Status
from monitor.worker.status import worker_status
from tests.core.machines import STEP, model, rows
from tests.rig import ORIGIN, READINGS, WIDE, only, processed, settings
from tests.worker.managing import ManagerRig
from tests.worker.test_floods import course, messages

VALUES = rows(400)
OFF = slice(150, 250)  # steps
WHEN = "pressure > 0.8 or flow > 5"  # a runs between 0.9 and 3.1, b ten times that


def resting(steps: int = 400) -> np.ndarray:
    """Return readings (A, T, C) of two machines, of which a rests for a hundred steps."""
    values = VALUES[:, :steps].copy()
    values[0, OFF] = 0.0
    return values


def sent(values: np.ndarray) -> list[Message]:
    return messages([*course("a", 0, values[0]), *course("b", 0, values[1])])


def scoring(store: Path, **overrides: object) -> Pipeline:
    pipeline = make_pipeline(settings(store, running__when=WHEN, **overrides), READINGS)
    pipeline.use(Scorer(model()))
    return pipeline


def ends(pipeline: Pipeline, told: Sequence[Message], row: int = 0) -> list[int]:
    """Return the steps in which windows of a machine ended that were scored."""
    windows = processed(pipeline, told, ORIGIN + 10**9).windows
    found: list[int] = ((windows.ends[windows.assets == row] - ORIGIN) // STEP).tolist()
    return found


@pytest.mark.parametrize("delay", [0, 20])
def test_nothing_is_scored_from_the_stop_until_windows_after_the_start(tmp_path: Path, delay: int) -> None:
    """No window ends in a stop or holds steps of it, and after the start the delay and a whole window pass."""
    pipeline = scoring(tmp_path, running__start_delay_s=float(delay))
    length = settings(tmp_path).windows.length
    found = ends(pipeline, sent(resting()))
    assert max(each for each in found if each < OFF.stop) == OFF.start - 1
    assert min(each for each in found if each >= OFF.start) == OFF.stop + delay + length - 1


def test_without_a_condition_rest_and_delay_are_those_of_the_model(tmp_path: Path) -> None:
    """Learned rest is not scored, and after the start the model's delay passes; always = all of it is scored."""
    learned = replace(model(), levels=Levels(("pressure", "flow"), (0.8, 5.0), 20 * STEP))
    length = settings(tmp_path).windows.length
    for given, delay in (("0", 20), ("30", 30)):
        pipeline = make_pipeline(settings(tmp_path, running__start_delay_s=given), READINGS)
        pipeline.use(Scorer(learned))
        found = ends(pipeline, sent(resting()))
        assert max(each for each in found if each < OFF.stop) == OFF.start - 1
        assert min(each for each in found if each >= OFF.start) == OFF.stop + delay + length - 1
        pipeline.use(Scorer(model()))
        assert pipeline.running.rule is None

    pipeline = make_pipeline(settings(tmp_path, running__when="always"), READINGS)
    pipeline.use(Scorer(learned))
    assert ends(pipeline, sent(resting())) == list(range(length - 1, 400))


def test_an_alert_outlasts_the_stop_of_its_machine(tmp_path: Path) -> None:
    """An alert that is firing when the machine stops stays, and ends when the machine is well after the start."""
    values = resting()
    values[0, 130:150, 0] += 8.0
    pipeline = scoring(tmp_path, alerting__on_delay_s=0.0, alerting__off_delay_s=5.0)
    told = sent(values)
    alerts = list(processed(pipeline, told[: 2 * 240], ORIGIN + 10**9).alerts)
    assert [(alert.asset, alert.state) for alert in pipeline.open_alerts()] == [("a", "firing")]
    alerts += processed(pipeline, told[2 * 240 :], ORIGIN + 10**9).alerts
    last = [alert for alert in alerts if alert.asset == "a"][-1]
    assert (last.state, last.id) == ("resolved", alerts[0].id)
    assert last.time >= ORIGIN + OFF.stop * STEP


def test_the_worker_shows_machines_that_are_off(tmp_path: Path) -> None:
    """A machine that rests is off, without a ratio; a channel that never came is named, and its machine runs."""
    unknown = ("warming", "running.when is unknown, as speed never came")
    for when, values, shown in ((WHEN, resting(200), ("off", "")), ("speed > 5", VALUES[:, :200], unknown)):
        rig = ManagerRig(tmp_path, settings(tmp_path, running__when=when))
        held = rig.manager.assign(READINGS, None, 0.0)
        only(held).use(Scorer(model()))
        held.remember(held.process(sent(values), ORIGIN + 10**9, lambda _: None))
        asset = worker_status([held], {"test": Status()}, {}).assets[0]
        assert (asset.name, (asset.state, asset.reason)) == ("a", shown)
        assert (asset.ratio is None) == (asset.state == "off")


def test_a_machine_alone_in_its_detector_is_missed_by_the_time_of_others(tmp_path: Path) -> None:
    """By a calendar a machine that sends nothing should run, also if only other detectors have readings."""
    wanted = settings(tmp_path, running__expected='["Mon-Sun 00:00-24:00"]', running__expected_delay_s="60")
    values = VALUES[:, :100]
    told = messages([*course("a", 0, values[0]), *course("other", 0, VALUES[1])])
    readings, _ = decode(told, WIDE, ORIGIN + 10**9)
    own = readings.take(np.flatnonzero(readings.asset == 0), readings.moving())
    found = []
    for cut in (0, 50, len(own)):
        pipeline = make_pipeline(wanted, READINGS)
        parts = [own.part(0, cut), own.part(cut, len(own))] if 0 < cut < len(own) else [own]
        alerts = [
            alert for part in parts for alert in pipeline.process(part, timestamps_of(told), lambda _: None).alerts
        ]
        found.append([(alert.asset, alert.cause, alert.fault, alert.state, alert.time) for alert in alerts])
        assert pipeline.open_alerts() == alerts
    assert [each[:4] for each in found[0]] == [("a", "not_running", "silent", "firing")]
    assert found[0] == found[1] == found[2]


def test_sisters_that_fall_silent_together_have_alerts_of_silence(tmp_path: Path) -> None:
    """A gateway that stops takes all sisters with it, so none should run, and each is silent while others go on."""
    names = [f"m{number}" for number in range(4)]
    wanted = settings(tmp_path, running__expected="sisters", running__expected_delay_s="60", alerting__silence_s="120")
    values = rows(900)
    stopped = [told for name in names for told in course(name, 0, values[0, :400])]
    readings, _ = decode(messages([*stopped, *course("other", 0, values[1])]), WIDE, ORIGIN + 10**9)
    own = readings.take(np.flatnonzero(np.isin(readings.asset, range(4))), readings.moving())
    found = []
    for size in (len(own), 97, 7):
        pipeline = make_pipeline(wanted, READINGS)
        alerts: list[Alert] = []
        for begin in range(0, len(own), size):
            part = own.part(begin, min(len(own), begin + size))
            alerts += pipeline.process(part, lambda offsets: offsets, lambda _: None).alerts
        found.append(alerts)
    assert [(alert.asset, alert.cause, alert.state) for alert in found[0]] == [
        (name, "silence", "firing") for name in names
    ]
    assert all(400 + 120 <= (alert.time - ORIGIN) / STEP <= 400 + 180 for alert in found[0])
    assert found[0] == found[1] == found[2]


def test_without_its_settings_nothing_of_running_is_left(tmp_path: Path) -> None:
    """After a restart without [running], no machine is off, and alerts of not running end with the next reading."""
    told = sent(resting())[:480]  # a rests
    wanted = {"running__expected": '["Mon-Sun 00:00-24:00"]', "running__expected_delay_s": "60"}
    before = scoring(tmp_path, **wanted)
    alerts = processed(before, told, ORIGIN + 10**9).alerts
    assert [(alert.asset, alert.cause, alert.state) for alert in alerts] == [("a", "not_running", "firing")]
    assert before.running.off().tolist() == [0]

    after = make_pipeline(settings(tmp_path), READINGS)
    after.load_state(before.save_state())
    after.use(Scorer(model()))
    assert after.running.off().tolist() == []
    assert after.open_alerts() == alerts
    (ended,) = processed(after, sent(resting())[480:481], ORIGIN + 10**9).alerts
    assert (ended.id, ended.state, ended.position) == (alerts[0].id, "resolved", 480)
    assert after.open_alerts() == []
    assert after.not_running.save_state() == {}
