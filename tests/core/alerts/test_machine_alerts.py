"""The rules of `MachineAlerts`, each by hand on windows that end every second."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.alarm_only import AlarmOnly
from monitor.core.alerts.lifecycle import AlertOptions
from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.records import Alert, ChannelShare, Partition, ScoreBatch, ThresholdBatch, WindowBatch

Row = tuple[int, int, float]  # asset row, end in s, ratio; the position is 10 times the end

NAMES = ["pump", "fan", "press", "mill"]
PARTITION = Partition("plant", 3)
LIMIT = 0.5  # of every window; a power of two, so that ratios are exact


def alerting(detector: str = "line-1", partition: Partition = PARTITION, **changes: Any) -> MachineAlerts:
    """A stage that fires after 2 s and resolves after 3 s of ratios below 0.75; 4.0 is critical."""
    options = {
        "on_delay_ms": 2000,
        "off_delay_ms": 3000,
        "deadband": 0.25,
        "critical_ratio": 4.0,
        "update_ms": 10_000,
        "gap_ms": 60_000,
    }
    return MachineAlerts(detector, partition, AlertOptions(**options | changes))


def feed(stage: MachineAlerts, rows: Sequence[Row], model: str = "m1", limit: float = LIMIT) -> list[Alert]:
    """One batch; the explanation of a window names its asset and end. No alert depends on the scores, which are 0."""
    assets = np.array([row for row, _, _ in rows], np.int32)
    ends = np.array([1000 * end for _, end, _ in rows], np.int64)
    alarm = np.array([ratio * limit for _, _, ratio in rows], np.float32)
    threshold = np.full(len(rows), limit, np.float32)
    nothing = np.zeros((len(rows), 1), np.float32)
    windows = WindowBatch(assets, ends, nothing[:, :, None], np.ones((len(rows), 1, 1), np.bool_), ends // 100)
    scores = ScoreBatch(nothing[:, 0], nothing, nothing, nothing, nothing)
    thresholds = ThresholdBatch(alarm, threshold, alarm > threshold, np.ones(len(rows), np.bool_))

    def explain(place: int) -> tuple[ChannelShare, ...]:
        name = f"{NAMES[rows[place][0]]}@{rows[place][1]}"
        return (ChannelShare(name, 1.0, None, 1 / 3, 0.1, 0.2, 0),)

    return stage.update(windows, scores, thresholds, NAMES, model, explain, AlarmOnly(alarm))


def one(*ratios: float, since: int = 1) -> list[Row]:
    """Windows of the first asset, second by second."""
    return [(0, since + second, ratio) for second, ratio in enumerate(ratios)]


def brief(alerts: Sequence[Alert]) -> list[tuple[str, int, int, str]]:
    """(state, sequence, time in s, severity) of each record."""
    return [(alert.state, alert.sequence, alert.time // 1000, alert.severity) for alert in alerts]


def test_fires_when_anomalous_for_the_on_delay() -> None:
    """The first anomalous window makes an asset pending, the one `on_delay` later fires."""
    stage = alerting()
    assert feed(stage, one(0.5, 2, 2)) == []
    assert stage.states() == {0: "pending"}
    assert brief(feed(stage, one(3, since=4))) == [("firing", 0, 4, "warning")]
    assert stage.states() == {0: "firing"}


def test_the_firing_record_says_where_it_began_and_what_caused_it() -> None:
    """Start and offset are of the opening window, the numbers of the causing one, and the peak of all between."""
    (alert,) = feed(alerting(), one(2, 3, 2.5), model="m7")
    assert alert == Alert(
        id=alert.id,
        asset="pump",
        state="firing",
        start=1000,
        end=None,
        time=3000,
        severity="warning",
        alarm=1.25,
        threshold=0.5,
        ratio=2.5,
        peak=3.0,
        channels=(ChannelShare("pump@3", 1.0, None, 1 / 3, 0.1, 0.2, 0),),
        model="m7",
        detector="line-1",
        partition=PARTITION,
        offset=10,
        position=30,
        sequence=0,
    )


def test_without_on_delay_the_first_window_fires() -> None:
    """An `on_delay` of 0 fires at once, critical if the ratio says so."""
    assert brief(feed(alerting(on_delay_ms=0), one(5))) == [("firing", 0, 1, "critical")]


def test_a_spike_shorter_than_on_delay_is_dropped_silently() -> None:
    """One window at or below the limit ends pending, and the next anomalous one opens another."""
    stage = alerting()
    assert feed(stage, one(2, 2, 1.0)) == []
    assert stage.states() == {}
    assert [alert.start for alert in feed(stage, one(2, 2, 2, since=4))] == [4000]


def test_resolves_when_quiet_for_the_off_delay() -> None:
    """After `off_delay` of quiet windows a last record closes the alert; its end is the last anomalous window."""
    stage = alerting()
    (fired,) = feed(stage, one(2, 3, 2))
    (resolved,) = feed(stage, one(2, 0.9, 0.5, 0.5, 0.5, 0.25, 0.25, since=4), model="m2")
    assert brief([resolved]) == [("resolved", 1, 9, "warning")]
    assert (resolved.id, resolved.start, resolved.offset) == (fired.id, fired.start, fired.offset)
    assert (resolved.end, resolved.position, resolved.model) == (4000, 90, "m2")
    assert (resolved.alarm, resolved.ratio, resolved.peak) == (0.125, 0.25, 3.0)
    assert resolved.channels == fired.channels
    assert (stage.states(), stage.open_alerts()) == ({}, [])


def test_without_off_delay_the_first_quiet_window_resolves() -> None:
    """An `off_delay` of 0 resolves at the first quiet window, not at one within the deadband."""
    assert brief(feed(alerting(off_delay_ms=0), one(2, 2, 2, 0.8, 0.7)))[1:] == [("resolved", 1, 5, "warning")]


@pytest.mark.parametrize("ratio", [0.75, 0.9, 1.0, 1.5])
def test_a_window_that_is_not_quiet_restarts_the_off_delay(ratio: float) -> None:
    """A ratio at the deadband's edge or above starts the wait for quiet again."""
    stage = alerting()
    feed(stage, one(2, 2, 2))
    alerts = feed(stage, one(0.5, 0.5, 0.5, ratio, 0.5, 0.5, 0.5, 0.5, since=4))
    assert brief(alerts) == [("resolved", 1, 11, "warning")]
    assert alerts[0].end == (7000 if ratio > 1 else 3000)


def test_flapping_around_the_limit_is_one_alert() -> None:
    """A score that swings between just above the limit and just below it fires once and stays."""
    stage = alerting(on_delay_ms=0)
    assert brief(feed(stage, one(*[1.1, 0.9] * 50))) == [("firing", 0, 1, "warning")]
    assert stage.states() == {0: "firing"}


def test_without_deadband_the_limit_itself_is_not_quiet() -> None:
    """With a deadband of 0 every ratio below 1 is quiet, and 1 is neither quiet nor anomalous."""
    stage = alerting(deadband=0.0, off_delay_ms=0)
    assert brief(feed(stage, one(2, 2, 2, 1.0, 0.99))) == [("firing", 0, 3, "warning"), ("resolved", 1, 5, "warning")]


def test_a_gap_in_time_neither_resolves_nor_counts_as_quiet() -> None:
    """An asset that was silent while firing goes on firing; quiet is counted from the first quiet window."""
    stage = alerting()
    feed(stage, one(2, 2, 2))
    assert feed(stage, one(2, since=5000)) == []
    assert feed(stage, one(0.5, since=9000)) == []
    assert brief(feed(stage, one(0.5, since=9003))) == [("resolved", 1, 9003, "warning")]


def test_becoming_critical_is_published_at_once() -> None:
    """The window that lifts the peak to the critical ratio publishes an update without waiting for `update_ms`."""
    stage = alerting()
    alerts = feed(stage, one(2, 2, 2, 3.5, 4.0, 5, 3))
    assert brief(alerts) == [("firing", 0, 3, "warning"), ("firing", 1, 5, "critical")]
    assert (alerts[1].ratio, alerts[1].peak, alerts[1].position) == (4.0, 4.0, 50)
    assert alerts[1].channels[0].channel == "pump@5"
    assert alerts[1].end is None


def test_severity_never_falls_back() -> None:
    """Severity goes by the peak, so a critical alert resolves as critical."""
    stage = alerting(off_delay_ms=0)
    assert brief(feed(stage, one(9, 2, 2, 2, 0.5))) == [("firing", 0, 3, "critical"), ("resolved", 1, 5, "critical")]


def test_growth_is_published_at_most_every_update_ms() -> None:
    """A peak grown by half is published once `update_ms` have passed since the last record, by an anomalous window."""
    stage = alerting(critical_ratio=1000)
    alerts = feed(stage, one(2, 2, 2, 8, *[2] * 8, 0.9, 1.5, 2, 2))
    assert brief(alerts) == [("firing", 0, 3, "warning"), ("firing", 1, 14, "warning")]
    assert (alerts[1].ratio, alerts[1].peak, alerts[1].channels[0].channel) == (1.5, 8.0, "pump@14")


@pytest.mark.parametrize(("peak", "updates"), [(2.99, 0), (3.0, 1)])
def test_growth_by_less_than_half_is_no_news(peak: float, updates: int) -> None:
    """Only a peak of at least 1.5 times the last published one is worth an update."""
    stage = alerting(update_ms=0)
    assert len(feed(stage, one(2, 2, 2, peak))) == 1 + updates


def test_each_update_raises_the_bar() -> None:
    """Growth is measured from the peak of the last record, not of the first."""
    stage = alerting(update_ms=0, critical_ratio=1000)
    assert [alert.peak for alert in feed(stage, one(2, 2, 2, 3, 4, 4.5, 6, 7))] == [2, 3, 4.5, 7]


def test_ids_stay_through_an_alert_and_differ_between_alerts() -> None:
    """All records of an alert share its id and count up; the asset's next alert has another."""
    stage = alerting(off_delay_ms=0)
    alerts = feed(stage, one(2, 2, 2, 5, 0.1, 2, 2, 2, 0.1))
    assert [alert.sequence for alert in alerts] == [0, 1, 2, 0, 1]
    ids = [alert.id for alert in alerts]
    assert ids[0] == ids[1] == ids[2] != ids[3] == ids[4]


def test_the_id_names_the_opening_window() -> None:
    """The id is a hash of detector, topic, partition, offset, asset and end only."""
    (alert,) = feed(alerting(on_delay_ms=0), one(2))
    origin = json.dumps(["line-1", "plant", 3, 10, "pump", 1000])
    assert alert.id == hashlib.sha256(origin.encode()).hexdigest()[:32]
    other = feed(alerting(on_delay_ms=0, critical_ratio=1.0), one(8), model="other", limit=0.25)
    assert other[0].id == alert.id


@pytest.mark.parametrize(
    "change",
    [{"detector": "line-2"}, {"partition": Partition("plant", 4)}, {"partition": Partition("plant2", 3)}],
)
def test_ids_differ_between_detectors_and_partitions(change: dict[str, Any]) -> None:
    """The same window of another detector, topic or partition opens an alert with another id."""
    (alert,) = feed(alerting(on_delay_ms=0), one(2))
    (other,) = feed(alerting(on_delay_ms=0, **change), one(2))
    assert other.id != alert.id


def test_assets_are_independent_and_records_come_in_order() -> None:
    """Interleaved assets fire, get worse and resolve each on its own, in the order of their windows."""
    stage = alerting(on_delay_ms=1000, off_delay_ms=0)
    rows = [(0, 1, 2.0), (1, 1, 0.2), (2, 1, 2.0), (2, 2, 2.0), (0, 2, 0.2), (1, 2, 3.0), (2, 3, 0.2), (1, 3, 3.0)]
    alerts = feed(stage, rows)
    assert [(alert.asset, alert.state, alert.time // 1000) for alert in alerts] == [
        ("press", "firing", 2),
        ("press", "resolved", 3),
        ("fan", "firing", 3),
    ]
    assert stage.states() == {1: "firing"}


def test_only_firing_explains() -> None:
    """Healthy and pending windows are not explained, since that costs a pass through the model."""
    stage = alerting()
    batch = np.zeros(3, np.int32), np.array([1, 2, 3], np.int64)
    values = np.zeros((3, 1, 1), np.float32)
    windows = WindowBatch(*batch, values, values > 0, batch[1])
    alarm = np.array([0, 2, 2], np.float32)
    scores = ScoreBatch(alarm, values[:, 0], values[:, 0], values[:, 0], values[:, 0])
    thresholds = ThresholdBatch(alarm, np.ones(3, np.float32), np.array([False, True, True]), np.ones(3, np.bool_))
    explained: list[int] = []

    def explain(place: int) -> tuple[ChannelShare, ...]:
        explained.append(place)
        return ()

    assert stage.update(windows, scores, thresholds, NAMES, "m", explain, AlarmOnly(alarm)) == []
    assert explained == []


def test_open_alerts_are_the_records_published_last() -> None:
    """A restart publishes again exactly the last record of each firing alert, id and sequence included."""
    stage = alerting(on_delay_ms=0)
    alerts = feed(stage, [(2, 1, 2.0), (0, 1, 2.0), (0, 2, 9.0), (1, 2, 0.1), (2, 3, 2.5)])
    assert stage.open_alerts() == [alerts[2], alerts[0]]
    restored = alerting(on_delay_ms=0)
    restored.load_state(stage.save_state())
    assert restored.open_alerts() == stage.open_alerts()


def test_an_empty_batch_changes_nothing() -> None:
    """No windows cause no record and leave every state."""
    stage = alerting()
    assert feed(stage, []) == []
    feed(stage, one(2))
    assert feed(stage, []) == []
    assert stage.states() == {0: "pending"}


def test_a_gap_drops_a_pending_alert() -> None:
    """Two lone anomalies further apart than the gap are not one that lasted: the second opens another alert."""
    stage = alerting(gap_ms=5000)
    assert feed(stage, [(0, 1, 2.0), (0, 7, 2.0)]) == []
    assert stage.states() == {0: "pending"}
    (fired,) = feed(stage, [(0, 9, 2.0)])
    assert fired.start == 7000
    assert feed(stage, [(0, 100, 2.0)]) == []
    assert stage.states() == {0: "firing"}


def test_dropped_pending_alerts_are_counted() -> None:
    """Each time that pending ends without an alert is counted under its reason, and an alert that fires is not."""
    stage = alerting(gap_ms=5000)
    assert feed(stage, [(0, 1, 2.0), (0, 2, 0.5), (1, 1, 2.0), (1, 9, 2.0), (0, 9, 2.0), (0, 10, 0.1)]) == []
    assert stage.suppressed == {"suppressed_short": 2, "suppressed_gap": 1}
    feed(stage, [(1, 11, 2.0), (1, 60, 0.1), (1, 100, 0.1)])
    assert stage.suppressed == {"suppressed_short": 2, "suppressed_gap": 1}


def test_windows_no_further_apart_than_the_gap_belong_together() -> None:
    """Anomalies exactly the gap apart are one."""
    (fired,) = feed(alerting(gap_ms=5000), [(0, 1, 2.0), (0, 6, 2.0)])
    assert fired.start == 1000


def test_a_state_with_records_of_an_earlier_version_is_refused() -> None:
    """A saved record without `alarm`, which was called `score` before, is refused with the name of the field."""
    stage = alerting(on_delay_ms=0)
    feed(stage, [(0, 1, 2.0)])
    older = stage.save_state()["alerts"].tobytes().replace(b'"alarm"', b'"score"')
    with pytest.raises(
        ValueError, match=r"state of machine alerts: alerts is unreadable .*missing required field `alarm`"
    ):
        alerting(on_delay_ms=0).load_state({"alerts": np.frombuffer(older, np.uint8)})
