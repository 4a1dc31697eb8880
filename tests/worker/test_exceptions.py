"""Exceptions for one machine in a worker: what they keep from alerts, and how they change while it runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.core.model.model import LEVELS
from monitor.core.publish import alert_record
from monitor.core.published import decode_alert
from monitor.core.records import Message, Outputs
from monitor.core.threshold.threshold import KEPT
from monitor.service import pipelines
from monitor.service.budget_outlook import beforehand
from monitor.settings.load import ConfigurationError, load
from monitor.settings.tree import Settings
from monitor.training.trainer import Status
from monitor.worker.partition_state import PartitionState
from monitor.worker.status import worker_status
from tests.core.machines import model, rows
from tests.rig import READINGS, notes, only, put_model, readings, settings
from tests.worker.managing import NEVER, ManagerRig, committed, equal, process

FAULTY = 200  # step from which the temperature of machine b is off
CUT = 2 * (FAULTY + 40)  # message at which a live change is adopted; the alert of the fault is firing then


def faulty(steps: int = 300) -> Any:
    """Return the messages of both machines, of which b has a fault that lasts."""
    batch = rows(steps)
    batch[1, FAULTY:, 2] += 12.0
    return readings(batch)


def rig(path: Path, **sections: Mapping[str, Mapping[str, Any]]) -> ManagerRig:
    return ManagerRig(path, settings(path, **sections))


def run(path: Path, sent: Any, **sections: Mapping[str, Mapping[str, Any]]) -> tuple[PartitionState, Outputs]:
    """Return a partition of a worker with these sections after the messages, and their outputs."""
    put_model(path)
    state = rig(path, **sections).manager.assign(READINGS, None, NEVER)
    return state, process(state, sent)


def fired(outputs: Outputs) -> set[tuple[str, str, str]]:
    return {(alert.asset, alert.cause, alert.channels[0].channel) for alert in outputs.alerts if alert.sequence == 0}


@pytest.mark.parametrize(
    "sections",
    [
        {"assets": {"b": {"off": True}}},
        {"assets": {"[b-z]*": {"margin": 50.0}}},
        {"assets": {"b": {"channels_exclude": ["temperature"]}}},
        {"assets": {"b": {"channels": ["flow", "press*"]}, "*": {"off": False}}},
        {"channels": {"temperature": {"direction": "below"}}},
        {"channels": {"temp*": {"least": 50.0}, "temperature": {"least": 0}}},
    ],
)
def test_an_exception_keeps_a_fault_from_alerting(tmp_path: Path, sections: Any) -> None:
    """Without it the temperature of b alerts; with it no alert comes, and machine a has the same scores and limits."""
    sent = faulty()
    _, whole = run(tmp_path / "as-all", sent)
    assert fired(whole) == {("b", "machine", "temperature")}
    _, kept = run(tmp_path / "kept", sent, **sections)
    assert fired(kept) == set()
    if "assets" in sections:
        assert same_of_row(whole, kept, 0)


def same_of_row(one: Outputs, other: Outputs, row: int) -> bool:
    """Return whether score and limit of each window of an asset are the same."""
    pairs = []
    for outputs in (one, other):
        assert outputs.scores is not None
        assert outputs.thresholds is not None
        own = outputs.windows.assets == row
        pairs.append((outputs.scores.score[own], outputs.thresholds.threshold[own]))
    return all(np.array_equal(*columns) for columns in zip(*pairs, strict=True))


@pytest.mark.parametrize(
    "sections",
    [
        {"assets": {"a": {"off": True, "margin": 50.0}, "c*": {"off": True}}},
        {"assets": {"b": {"channels_exclude": ["flow"]}}},
        {"channels": {"temperature": {"direction": "above", "least": "5%"}}},
        {"channels": {"flow": {"least": 100.0}, "pressure": {"direction": "below"}}},
    ],
)
def test_other_faults_are_found(tmp_path: Path, sections: Any) -> None:
    """An exception for another machine or channel, or for smaller deviations, leaves the alert of the fault."""
    _, outputs = run(tmp_path, faulty(), **sections)
    assert ("b", "machine", "temperature") in fired(outputs)


def test_where_nothing_counts_on_a_sound_machine_limits_do_not_vanish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a least deviation for all channels scores of a sound machine are 0, and limits stay those of sound ones."""
    monkeypatch.setattr(pipelines, "LEAST_BASE", 0.0)  # these machines are so calm that it would be their limit
    _, outputs = run(tmp_path, faulty(), channels={"*": {"least": 100.0, "direction": "above"}})
    assert outputs.scores is not None
    assert outputs.thresholds is not None
    sound = outputs.windows.assets == 0
    assert (outputs.scores.score[sound] < 0.01).mean() > 0.9
    usual = np.interp(0.99, LEVELS, model().alarm.scores)
    assert outputs.thresholds.threshold[sound].min() == pytest.approx(1.4 * KEPT * usual)


def test_a_machine_that_is_off_is_not_scored_and_learned(tmp_path: Path) -> None:
    """No window of it is scored or kept for training; it is known, and its state is shown as off."""
    state, outputs = run(tmp_path, faulty(), assets={"b": {"off": True}})
    assert set(outputs.windows.assets.tolist()) == {0}
    assert notes(state).history.normal().assets == ("a",)
    assert [(asset.name, asset.state) for asset in worker_status([state], {"test": Status()}, {}).assets] == [
        ("a", "normal"),
        ("b", "off"),
    ]


def test_a_machine_that_is_switched_off_ends_its_alerts(tmp_path: Path) -> None:
    """Its firing alert is resolved with its next window, under the same id, and the fault alerts again later."""
    sent = faulty(steps=400)
    state, before = run(tmp_path, sent[:CUT])
    (firing,) = only(state).open_alerts()
    rig(tmp_path, assets={"b": {"off": True}}).adopt(committed(state), only(state).scorer)
    off = process(state, sent[CUT : CUT + 40])
    (ended,) = off.alerts
    assert (ended.id, ended.state, ended.sequence) == (firing.id, "resolved", firing.sequence + 1)
    assert only(state).open_alerts() == []
    rig(tmp_path).adopt(committed(state), only(state).scorer)
    assert fired(process(state, sent[CUT + 40 :])) == {("b", "machine", "temperature")}
    assert fired(before) == {("b", "machine", "temperature")}


def test_alerts_of_a_machine_that_was_dismantled_end(tmp_path: Path) -> None:
    """Switched off after its last reading, it has its alert resolved with the next reading of another machine."""
    sent = faulty(steps=400)
    state, _ = run(tmp_path, sent[:CUT])
    (firing,) = only(state).open_alerts()
    rig(tmp_path, assets={"b": {"off": True}}).adopt(committed(state), only(state).scorer)
    (ended,) = process(state, sent[CUT : CUT + 1]).alerts
    assert sent[CUT].key == b"a"
    assert (ended.id, ended.state, ended.position, ended.time) == (firing.id, "resolved", CUT, sent[CUT - 1].timestamp)
    assert only(state).open_alerts() == []


def test_silence_of_a_machine_that_is_off_counts_for_nothing(tmp_path: Path) -> None:
    """Its alert ends when it is switched off, and it may speak then. Silent when it is on again, it has a new one."""
    batch = rows(300)
    batch[1, 60:120] = batch[1, 130:] = np.nan

    def part(begin: int, end: int) -> list[Message]:
        return readings(batch)[2 * begin : 2 * end]

    def switched(**sections: Mapping[str, Mapping[str, Any]]) -> None:
        ManagerRig(tmp_path, settings(tmp_path, alerting__silence_s=20.0, **sections)).adopt(committed(state))

    state = ManagerRig(tmp_path, settings(tmp_path, alerting__silence_s=20.0)).manager.assign(READINGS, None, NEVER)
    silent = process(state, part(0, 100)).alerts
    assert [(alert.asset, alert.cause, alert.state) for alert in silent] == [("b", "silence", "firing")]
    switched(assets={"b": {"off": True}})
    ended = process(state, part(100, 250)).alerts
    assert [(alert.id, alert.state) for alert in ended] == [(silent[0].id, "resolved")]
    assert only(state).silence.states() == {}
    switched()
    again = process(state, part(250, 260)).alerts
    assert [(alert.asset, alert.cause, alert.state) for alert in again] == [("b", "silence", "firing")]
    assert again[0].start == readings(batch)[2 * 129].timestamp


@pytest.mark.parametrize(
    "sections",
    [
        {"assets": {"b": {"off": True}}},
        {"assets": {"b": {"margin": 50.0}, "*": {"alarms_per_day": 5.0}}},
        {"assets": {"*": {"channels_exclude": ["temperature"]}}},
        {"channels": {"temperature": {"direction": "below", "least": "5%", "title": "Pressure", "unit": "bar"}}},
        {"channels": {"flow": {"low": -0.5}, "temperature": {"high": 11}}},
    ],
)
def test_a_change_while_it_runs_is_adopted_and_replayed(tmp_path: Path, sections: Any) -> None:
    """Exceptions are adopted with a snapshot; a replay from it by a worker without them gives the same outputs."""
    sent = faulty()
    state, _ = run(tmp_path, sent[:CUT])
    changed = rig(tmp_path, **sections)
    assert not changed.manager.up_to_date(state)
    changed.adopt(committed(state), only(state).scorer)
    assert changed.manager.up_to_date(state)
    whole = process(state, sent[CUT:])
    assert whole.scores is not None

    again = rig(tmp_path).manager.assign(READINGS, len(sent), NEVER)  # another worker, not told yet
    repeated = process(again, sent[CUT:])
    assert repeated.alerts == whole.alerts
    assert repeated.scores is not None
    assert np.array_equal(repeated.scores.score, whole.scores.score)
    assert equal(only(again).save_state(), only(state).save_state())


@pytest.mark.parametrize("size", [7, 40])
def test_batches_do_not_matter(tmp_path: Path, size: int) -> None:
    """However messages are cut into batches, alerts and state are the same."""
    sent = faulty(steps=240)
    sections: Any = {
        "assets": {"a": {"channels_exclude": ["flow"], "alarms_per_day": 3.0}, "b": {"margin": 2.0}},
        "channels": {"temperature": {"direction": "above", "least": "5%"}, "flow": {"high": 12}},
    }
    state, whole = run(tmp_path / "whole", sent, **sections)
    put_model(tmp_path / "cut")
    cut = rig(tmp_path / "cut", **sections).manager.assign(READINGS, None, NEVER)
    alerts = [a for at in range(0, len(sent), size) for a in process(cut, sent[at : at + size]).alerts]
    assert alerts == list(whole.alerts)
    assert equal(only(cut).save_state(), only(state).save_state())


def written(path: Path, text: str) -> Settings:
    path.write_text(text)
    return load(path, {}, {})


def test_sections_are_read_from_a_file(tmp_path: Path) -> None:
    """Sections of assets and channels keep their order; limits of sensors in their old place are refused."""
    found = written(
        tmp_path / "a.toml",
        '[assets."pump-07"]\nmargin = 2.5\n[assets."pump-*"]\noff = true\n[channels.flow]\nleast = "2.5 %"\nlow = 0\n',
    )
    assert [(glob, section.off) for glob, section in found.assets.items()] == [("pump-07", False), ("pump-*", True)]
    assert found.channels["flow"].rule().least_share == 0.025
    with pytest.raises(ConfigurationError, match=r"sensors\.low: is given for each channel now: \[channels\.flow\]"):
        written(tmp_path / "b.toml", "[sensors]\nlow = { flow = 0 }\n")


def test_titles_and_units_are_in_alerts(tmp_path: Path) -> None:
    """A firing alert, its copy after a restart and its record name the channel's title and unit; others have none."""
    state, outputs = run(tmp_path, faulty(), channels={"temp*": {"title": "Bearing", "unit": "°C"}})
    for alert in (outputs.alerts[0], only(state).open_alerts()[0]):
        assert [(share.title, share.unit) for share in alert.channels if share.channel == "temperature"] == [
            ("Bearing", "°C")
        ]
    record = decode_alert(alert_record("alerts", outputs.alerts[0]).value or b"")
    assert record.channels[0].label() == "Bearing (temperature)"
    assert record.channels[0].reading().count(" °C") == 2
    assert {each.label() for each in record.channels[1:]} == {"flow", "pressure"}


def test_sections_that_match_no_asset_are_in_the_status(tmp_path: Path) -> None:
    """The status names sections whose machines have not come, and those that an earlier section takes all from."""
    state, _ = run(tmp_path, faulty(steps=20), assets={"[ab]": {"margin": 2.0}, "b": {"off": True}, "c": {"off": True}})
    assert worker_status([state], {}, {}).unmatched == {"b", "c"}


def test_check_tells_exceptions_from_the_budget(tmp_path: Path) -> None:
    """`monitor check` prints what sections change of budget and margin."""
    wanted = settings(
        tmp_path,
        assets={"a": {"margin": 2.5}, "b": {"alarms_per_day": 0.5}, "c": {"off": True}, "d": {"channels": ["x"]}},
    )
    text = beforehand(wanted)
    assert '[assets."a"]: margin 2.5 in place of 1.4.' in text
    assert '[assets."b"]: alarm budget 0.5 a day; it can be held once 8 asset-days were scored.' in text
    assert '[assets."c"]: off' in text
    assert '"d"' not in text
    assert beforehand(settings(tmp_path)) == ""
