"""Names that are invented without end, and machines that come for good when there is no room left."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.publish import scores_of
from monitor.core.records import Alert, Message, Outputs, PartitionOutputs
from monitor.observe.metrics import Metrics
from monitor.service.pipelines import make_pipeline
from monitor.settings.tree import Settings
from monitor.training.trainer import Status
from monitor.worker.metrics_recorder import MetricsRecorder
from monitor.worker.partition_state import PartitionState
from monitor.worker.status import worker_status
from tests.core.machines import CHANNELS, STEP, L, model, rows
from tests.rig import ORIGIN, READINGS, notes, only, processed, settings
from tests.worker.managing import ManagerRig
from tests.worker.test_status import LOG

Sent = tuple[str, int, np.ndarray]  # asset, step, row


def small(store: Path, **overrides: object) -> Settings:
    """Room for two machines; one that is silent for a minute gives way; two new ones a minute."""
    limits = {"windows__max_assets": 2, "windows__forget_s": 60.0, "windows__new_assets": 2}
    return settings(store, **limits | {"alerting__on_delay_s": 0.0, **overrides})


def messages(sent: Sequence[Sent]) -> list[Message]:
    """In the order of their steps; the offset is the place."""
    told = []
    for offset, (asset, step, row) in enumerate(sorted(sent, key=lambda each: each[1])):
        at = ORIGIN + step * STEP
        body = {"asset": asset, "timestamp": at, "values": dict(zip(CHANNELS, map(float, row), strict=True))}
        told.append(Message(READINGS, offset, asset.encode(), json.dumps(body).encode(), at))
    return told


def course(asset: str, first: int, values: np.ndarray) -> list[Sent]:
    return [(asset, first + step, row) for step, row in enumerate(values)]


def scoring(wanted: Settings) -> Pipeline:
    pipeline = make_pipeline(wanted, READINGS)
    pipeline.use(Scorer(model()))
    return pipeline


def take(pipeline: Pipeline, sent: Sequence[Message]) -> Outputs:
    return processed(pipeline, sent, ORIGIN + 10**9)


def told(pipeline: Pipeline, parts: Sequence[Outputs]) -> tuple[dict[str, list[bytes]], list[Alert]]:
    """The score records of each asset as they are published, and all alerts."""
    scores: dict[str, list[bytes]] = {}
    for outputs in parts:
        for record in scores_of(pipeline, outputs, "s", 1):
            assert record.key is not None
            assert record.value is not None
            scores.setdefault(record.key.decode(), []).append(record.value)
    return scores, [alert for outputs in parts for alert in outputs.alerts]


def shift() -> list[Message]:
    """One (a) stops, b goes on, c takes the place of a and has a fault, a comes back when b has stopped for good."""
    a, b = rows(300)
    faulty = rows(180, 1)[0]
    faulty[80:100, 1] += 8.0
    sent = [*course("a", 0, a[:50]), *course("b", 0, b[:220]), *course("c", 130, faulty), *course("a", 290, a[:60])]
    return messages(sent)


def test_a_machine_that_left_gives_way_and_leaves_no_trace(tmp_path: Path) -> None:
    """A new machine in an evicted machine's row is scored as in an empty plant, and so is one that returns."""
    pipeline = scoring(small(tmp_path))
    outputs = take(pipeline, shift())
    scores, alerts = told(pipeline, [outputs])
    assert outputs.counts["assets_forgotten"] == 2
    assert sorted(pipeline.windows.assets) == ["a", "c"]
    assert {alert.asset for alert in alerts} == {"c"}
    for asset, row in (("c", 0), ("a", 1)):
        alone = scoring(small(tmp_path))
        last = [m for m in shift() if m.key == asset.encode() and (asset == "c" or m.timestamp >= ORIGIN + 290 * STEP)]
        stranger = messages(course("other", 0, rows(1)[1]))
        expected, _ = told(alone, [take(alone, [*stranger[:row], *last])])
        assert scores[asset][-len(expected[asset]) :] == expected[asset]
        assert len(expected[asset]) == len(last) - L + 1
    assert len(scores["a"]) == (50 - L + 1) + (60 - L + 1)


def test_what_sensors_and_budget_knew_of_a_machine_goes_with_it(tmp_path: Path) -> None:
    """Repeated values and alarms count from zero for the row's new asset, even if it begins with the same value."""
    a, b = rows(300)
    wanted = small(tmp_path, alerting__alarms_per_day=1000.0, threshold__warm=60, threshold__percentile=98.0)
    newcomer = course("c", 200, np.repeat(a[84:85], 60, 0))
    pipeline, alone = scoring(wanted), scoring(wanted)
    take(pipeline, messages([*course("a", 0, a[:85]), *course("b", 0, b[:260]), *newcomer]))
    assert pipeline.windows.assets == ["c", "b"]
    take(alone, messages(newcomer))
    ours, theirs = pipeline.save_state(), alone.save_state()
    kept = [name for name in ours if name.split(".")[0] in {"sensors", "budget"} and len(ours[name]) == 2]
    kept = [name for name in kept if name not in {"budget.margin", "sensors.counts"}]  # those of the partition
    assert {"sensors.repeats", "sensors.value", "budget.days", "budget.alarms", "budget.scored"} <= set(kept)
    assert [name for name in kept if not np.array_equal(ours[name][0], theirs[name][0], equal_nan=True)] == []


@pytest.mark.parametrize("size", [1, 7, 100])
def test_batches_do_not_matter_where_machines_give_way(tmp_path: Path, size: int) -> None:
    """Scores, alerts and state are the same however the stream is cut, with a move to another worker at each cut."""
    sent, wanted = shift(), small(tmp_path)
    whole, moving = scoring(wanted), scoring(wanted)
    expected = told(whole, [take(whole, sent)])
    parts = []
    for begin in range(0, len(sent), size):
        parts.append(take(moving, sent[begin : begin + size]))
        state, moving = moving.save_state(), scoring(wanted)
        moving.load_state(state)
    assert told(moving, parts) == expected
    ours, theirs = whole.save_state(), moving.save_state()
    assert all(np.array_equal(ours[name], theirs[name], equal_nan=ours[name].dtype.kind == "f") for name in ours)


def test_a_machine_with_an_alert_does_not_give_way(tmp_path: Path) -> None:
    """However long it is silent, a machine whose alert is firing keeps its row, and the alert its end."""
    a, b = rows(300)
    a[40:50, 1] += 8.0
    calm = rows(300)[0][50:90]
    sent = [*course("a", 0, a[:50]), *course("b", 0, b), *course("c", 250, rows(40, 1)[0]), *course("a", 300, calm)]
    pipeline = scoring(small(tmp_path))
    scores, alerts = told(pipeline, [take(pipeline, messages(sent))])
    assert set(scores) == {"a", "b"}
    assert [alert.state for alert in alerts if alert.asset == "a"][-1] == "resolved"
    assert pipeline.windows.counts["readings_refused"] == 40 * 3


def test_a_machine_that_fell_silent_before_its_alert_fired_gives_way(tmp_path: Path) -> None:
    """What was anomalous but never fired keeps no row, and the machine that comes into it begins without a past."""
    a, b = rows(300)
    wanted = small(tmp_path, alerting__on_delay_s=20.0)
    last = [*course("b", 0, b), *course("c", 250, a[100:150])]
    calm, ill = scoring(wanted), scoring(wanted)
    expected = take(calm, messages([*course("a", 0, a[:50]), *last])).alerts
    a[45:50, 1] += 8.0
    first = messages([*course("a", 0, a[:50]), *last])
    take(ill, first[:100])
    assert ill.alerting.states() == {0: "pending"}
    assert take(ill, first[100:]).alerts == expected
    assert ill.windows.assets == ["c", "b"]


def test_a_machine_with_a_faulty_sensor_does_not_give_way(tmp_path: Path) -> None:
    """A firing sensor alert also keeps its machine's row; masked cells are reported whichever asset was evicted."""
    a, b = rows(300)
    lowest = float(min(a[:, 1].min(), b[:, 1].min())) - 1.0
    a[45:50, 1] = lowest - 1.0
    wanted = small(tmp_path, channels={CHANNELS[1]: {"low": lowest}})
    first = messages([*course("a", 0, a[:50]), *course("b", 0, b[:180]), *course("c", 130, a[100:150])])
    pipeline = scoring(wanted)
    outputs = take(pipeline, first)
    assert pipeline.windows.assets == ["a", "b"]
    of_sensors = [alert for alert in outputs.alerts if alert.cause == "sensor"]
    assert [(alert.asset, alert.state) for alert in of_sensors] == [("a", "firing")]
    cured = [
        *course("a", 0, a[:50]),
        *course("a", 50, a[50:90]),
        *course("b", 0, b[:260]),
        *course("c", 200, a[100:150]),
    ]
    pipeline = scoring(wanted)
    outputs = take(pipeline, messages(cured))
    assert pipeline.windows.assets == ["c", "b"]
    assert outputs.windows.masked is not None
    assert np.count_nonzero(outputs.windows.masked[:, 1]) == 5 * L
    assert np.count_nonzero(outputs.windows.masked) == 5 * L


def test_a_flood_of_names_changes_nothing_for_the_machines(tmp_path: Path) -> None:
    """Among thousands of invented names machines are scored as ever; room, and what is let in a minute, are bounded."""
    pair = rows(240)
    plant = [*course("a", 0, pair[0]), *course("b", 0, pair[1])]
    flood = [(f"x-{number}", 1 + number % 239, pair[0, 0]) for number in range(5000)]
    wanted = small(tmp_path, windows__max_assets=100, windows__new_assets=6)
    calm, flooded = scoring(wanted), scoring(wanted)
    expected, _ = told(calm, [take(calm, messages(plant))])
    with_flood = messages([*plant, *((name, max(step, L + 1), row) for name, step, row in flood)])
    outputs = take(flooded, with_flood)
    scores, _ = told(flooded, [outputs])
    assert {name: scores[name] for name in "ab"} == {name: expected[name] for name in "ab"}
    minutes = (239 - L) / 60
    assert 2 + 6 <= len(flooded.windows.assets) <= 2 + 6 + 6 * minutes
    assert outputs.counts["readings_flood"] == 3 * (5000 - (len(flooded.windows.assets) - 2))
    assert outputs.refused_asset.startswith("x-")


def test_a_plant_of_ten_thousand_comes_in_at_once(tmp_path: Path) -> None:
    """With the settings as they are, every machine of a large plant has its row after one step."""
    pipeline = make_pipeline(settings(tmp_path), READINGS)
    row = rows(1)[0, 0]
    take(pipeline, messages([(f"m-{number}", 0, row) for number in range(10_000)]))
    assert len(pipeline.windows.assets) == 10_000
    assert pipeline.windows.counts["readings_flood"] == pipeline.windows.counts["readings_refused"] == 0


def test_who_was_refused_is_told_once_a_minute(tmp_path: Path) -> None:
    """A summary names one of the assets that were refused since the last, and how many readings; then it is silent."""
    metrics = Metrics()
    counter = MetricsRecorder(metrics, LOG)
    pipeline = scoring(small(tmp_path))
    sent = messages([(name, 0, rows(1)[0, 0]) for name in ("a", "b", "c", "d")])
    counter.count(sent, PartitionOutputs({"test": take(pipeline, sent)}))
    nothing = worker_status((), {"test": Status()}, {})
    with capture_logs() as lines:
        counter.summary(nothing, {})
        counter.summary(nothing, {})
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("new assets refused", "warning")
    assert (line["readings"], line["example"]) == (6, "d")
    assert metrics.total("monitor_readings_dropped_total") == 6


def test_nothing_is_shown_of_who_gave_way(tmp_path: Path) -> None:
    """The picture has the machines that are there now, and no ratio of another one; the history counts only these."""
    rig = ManagerRig(tmp_path, small(tmp_path))
    held: PartitionState = rig.manager.assign(READINGS, None, 0.0)
    only(held).use(Scorer(model()))
    sent = [message for message in shift() if message.timestamp < ORIGIN + 135 * STEP]
    held.remember(PartitionOutputs({"test": take(only(held), sent)}))
    picture = {asset.name: asset.ratio for asset in worker_status([held], {"test": Status()}, {}).assets}
    assert set(picture) == {"c", "b"}
    assert picture["c"] is None
    assert picture["b"] is not None
    assert len(notes(held).history.steps_seen()) == 1
