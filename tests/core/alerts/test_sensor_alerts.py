"""The life of a sensor's alert: opening, firing, resolution, records and saved state."""

import json
from dataclasses import replace

import numpy as np
import pytest

from monitor.core.alerts.lifecycle import AlertOptions
from monitor.core.alerts.sensor_alerts import SensorAlerts
from monitor.core.records import Alert, Partition, ScoreBatch, WindowBatch
from monitor.core.sensors.checks import FAULTS
from monitor.core.sensors.clocks import Skew
from monitor.core.sensors.mask import SensorFaults

PARTITION = Partition("readings", 1)
NAMES, CHANNELS = ("a", "b"), ("flow", "pressure")
STEP = 1000


def stage(on_delay_ms: int = 2000, off_delay_ms: int = 3000, detector: str = "d") -> SensorAlerts:
    options = AlertOptions(
        on_delay_ms=on_delay_ms,
        off_delay_ms=off_delay_ms,
        deadband=0.1,
        critical_ratio=2.0,
        update_ms=0,
        gap_ms=0,  # for machines only
    )
    return SensorAlerts(detector, PARTITION, options)


def feed(made: SensorAlerts, story: str, *, since: int = 0, cut: int = 100) -> list[Alert]:
    """Windows of asset a, one a second: each letter says the fault of flow, "." none; of b there are sound ones.

    c is a clock that is 90 s behind, and C is that and a frozen flow.
    """
    alerts = []
    for begin in range(0, len(story), cut):
        part = story[begin : begin + cut]
        fault = np.zeros((2 * len(part), 2), np.int8)
        fault[::2, 0] = [
            next((n for n, name in enumerate(FAULTS) if name[:1] == each.replace("C", "f")), 0) for each in part
        ]
        fault[::2, 0][np.array(list(part)) == "."] = 0
        ends = np.repeat((np.arange(len(part)) + since + begin) * STEP, 2)
        position = np.repeat(np.arange(len(part)) + since + begin, 2) * 10
        cells = np.zeros((len(ends), 2, 1), np.float32)
        windows = WindowBatch(np.tile([0, 1], len(part)).astype(np.int32), ends, cells, cells == 0, position)
        both = np.tile(np.array([[4.0, 2.0]], np.float32), (len(ends), 1))
        newest = np.where([True, False], both + 1, np.nan).astype(np.float32)
        scores = ScoreBatch(both[:, 0], both, both, both / np.float32(4), newest)
        found = SensorFaults(
            fault, 9 * np.ones_like(both), 6 * np.ones_like(both), ends[:, None] - 5 * STEP + 0 * fault
        )
        skews = {2 * at: Skew(-90.0, -36.0, -60_000) for at, each in enumerate(part) if each in "cC"}
        alerts += made.update(windows, found if fault.any() else None, skews, scores, NAMES, CHANNELS, CHANNELS, "m-1")
    return alerts


def test_a_fault_that_lasts_fires_and_is_resolved() -> None:
    """An alert fires after the on delay, once, and is resolved when the fault has been away for the off delay."""
    firing, resolved = feed(stage(), "..ffffff..f....")
    assert (firing.state, firing.time, firing.end, firing.sequence) == ("firing", 4000, None, 0)
    assert (firing.cause, firing.fault, firing.severity, firing.detector) == ("sensor", "frozen", "warning", "d")
    assert (firing.alarm, firing.threshold, firing.ratio, firing.peak) == (9.0, 6.0, 1.5, 1.5)
    assert firing.start == 2000 - 5 * STEP  # since when the sensor is at fault, not since it was found
    (share,) = firing.channels
    assert (share.channel, share.observed, share.expected, share.low, share.high) == ("flow", 5.0, 4.0, 2.0, 6.0)
    assert resolved == replace(firing, state="resolved", end=10_000, time=13_000, position=130, sequence=1)


def test_a_short_fault_gives_no_alert() -> None:
    """A fault that lasts for less than the on delay leaves nothing behind."""
    made = stage()
    assert feed(made, ".ff.ff.") == []
    assert made.states() == {}


def test_an_alert_is_named_after_what_opened_it() -> None:
    """A channel has one alert, of the fault that opened it; its id names offset, asset, time, channel and fault."""
    (firing,) = feed(stage(), "dddfff")
    assert firing.fault == "dropout"
    (other,) = feed(stage(), "fffddd")
    (later,) = feed(stage(), "ddd", since=1)
    (foreign,) = feed(stage(detector="e"), "ddd")
    assert len({firing.id, other.id, later.id, foreign.id}) == 4
    assert feed(stage(), "ddd")[0].id == firing.id


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_restored_stage_goes_on_identically(cut: int) -> None:
    """Saved and loaded in any state, however batches are cut, the records are those of a stage that went through."""
    story = "..fffff..fC...cddd....jjjj"
    wanted = feed(stage(), story)
    made, restored = stage(), stage()
    before = feed(made, story[:cut], cut=2)
    restored.load_state(made.save_state())
    assert (restored.states(), restored.open_alerts()) == (made.states(), made.open_alerts())
    assert before + feed(restored, story[cut:], since=cut, cut=3) == wanted


def test_a_clock_has_an_alert_of_its_own() -> None:
    """A wrong clock fires in addition to sensors, names no channel, and counts seconds ahead, negative when behind."""
    clock, frozen, *resolved = feed(stage(), "..CCCC......")
    assert (clock.fault, clock.cause, clock.channels, clock.state) == ("clock", "sensor", (), "firing")
    assert (clock.alarm, clock.threshold, clock.ratio, clock.peak) == (-90.0, -36.0, 2.5, 2.5)
    assert (clock.start, clock.time, frozen.fault, frozen.time) == (-60_000, 4000, "frozen", 4000)
    assert clock.id != frozen.id
    assert resolved[0] == replace(clock, state="resolved", end=5000, time=8000, position=80, sequence=1)
    assert feed(stage(), "..ccc")[0].id == clock.id
    assert feed(stage(), ".cccc")[0].id != clock.id


def test_states_tell_the_most_urgent_sensor() -> None:
    """An asset is pending, then firing, and a restart publishes the last record again."""
    made = stage()
    feed(made, "f")
    assert (made.states(), made.open_alerts()) == ({0: "pending"}, [])
    alerts = feed(made, "fff", since=1)
    assert (made.states(), made.open_alerts()) == ({0: "firing"}, alerts)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"row": -1}, "Expected `int` >= 0"),
        ({"offset": 7}, "of another detector, partition or window"),
        ({"fault": "jump"}, "of another detector, partition or window"),
        ({"alert": None, "peak": None}, "Expected `float`"),
        ({"alert": {}}, "missing required field"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, object], words: str) -> None:
    """A life that is malformed or of another detector is refused, and nothing is changed."""
    made = stage()
    feed(made, "ffff")
    (life,) = json.loads(made.save_state()["alerts"].tobytes())
    packed = np.frombuffer(json.dumps([{**life, **change}]).encode(), np.uint8)
    fresh = stage()
    with pytest.raises(ValueError, match=words):
        fresh.load_state({"alerts": packed})
    assert fresh.states() == {}


def test_a_channel_is_watched_once() -> None:
    """Two lives of a channel, an array of another kind, or a record of another alert are refused."""
    made = stage()
    feed(made, "ffff")
    (life,) = json.loads(made.save_state()["alerts"].tobytes())
    twice = np.frombuffer(json.dumps([life, life]).encode(), np.uint8)
    foreign = {**life, "alert": {**life["alert"], "id": "x"}}
    for state in ({"alerts": twice}, {"alerts": np.zeros(1)}, {"other": twice}):
        with pytest.raises(ValueError, match=r"\(0, 'flow'\), \(0, 'flow'\)|alerts is float64|alerts is missing"):
            stage().load_state(state)
    with pytest.raises(ValueError, match=r"alerts\[0\].alert is x"):
        stage().load_state({"alerts": np.frombuffer(json.dumps([foreign]).encode(), np.uint8)})


def test_a_sensor_with_several_channels_has_one_alert() -> None:
    """Faults of aggregates of one channel are one alert, with the first of them, until none is left."""
    made, alerts = stage(), list[Alert]()
    steps = ((0, 0), (1, 1), (1, 1), (1, 1), (0, 1), (0, 1), *[(0, 0)] * 20)
    for step, (first, second) in enumerate(steps):
        fault = np.array([[first * 3, second * 3]], np.int8)
        one = np.ones((1, 2), np.float32)
        windows = WindowBatch(
            np.zeros(1, np.int32),
            np.array([step * 1000]),
            one[:, :, None],
            np.ones((1, 2, 1), np.bool_),
            np.array([step]),
        )
        scores = ScoreBatch(one[:, 0], one, one, one, one)
        faults = SensorFaults(fault, 9 * one, one, np.full((1, 2), step * 1000)) if fault.any() else None
        alerts += made.update(windows, faults, {}, scores, NAMES, ("flow", "flow"), ("flow.mean", "flow.max"), "m")
    assert [(alert.state, alert.channels[0].channel) for alert in alerts] == [
        ("firing", "flow.mean"),
        ("resolved", "flow.mean"),
    ]
    assert len({alert.id for alert in alerts}) == 1
