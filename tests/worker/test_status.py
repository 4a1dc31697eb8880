"""What a worker shows of itself: states of assets, counts, and the line of log that sums up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.decode.select import Globs, Select
from monitor.core.model.scorer import Scorer
from monitor.core.records import Count, Message, Partition, PartitionOutputs, Unwanted
from monitor.observe.metric_table import TABLE
from monitor.observe.metrics import Metrics
from monitor.service.wiring import make_daemon, make_observer
from monitor.store.files import open_blobs
from monitor.training.trainer import Status
from monitor.worker.metrics_recorder import BY_DETECTOR, COUNTERS, UNMATCHED_AFTER, MetricsRecorder
from monitor.worker.partition_state import PartitionState
from monitor.worker.status import STATES, Asset, WorkerStatus, worker_status
from monitor.worker.unscored import LINES, UnscoredAssets
from tests.core.machines import STEP, L, model, rows
from tests.rig import ORIGIN, READINGS, notes, only, own, readings, settings

LOG = structlog.stdlib.get_logger("test")
NOTHING = WorkerStatus({"test": Status(needed=100)}, (), 0)


@pytest.fixture
def state(tmp_path: Path) -> PartitionState:
    """A partition without a model, of which nothing was read."""
    wanted = settings(tmp_path, threshold__warm=200, alerting__on_delay_s=2.0, alerting__off_delay_s=5.0)
    blobs = open_blobs(wanted.store.url)
    daemon, _ = make_daemon(wanted, blobs, make_observer(wanted), MemoryBroker())
    return daemon._partitions.assign(READINGS, None, 0.0)


def push(state: PartitionState, batch: np.ndarray, first: int) -> PartitionOutputs:
    outputs = state.process(readings(batch, first), ORIGIN + 10**9, lambda _: None)
    state.remember(outputs)
    return outputs


def states(state: PartitionState) -> dict[str, str]:
    return {asset.name: asset.state for asset in worker_status([state], {"test": Status()}, {}).assets}


def gauges(metrics: Metrics, name: str) -> dict[str, float]:
    """What a gauge is set to, by its labels as they are rendered."""
    lines = [line for line in metrics.render().decode().splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return {head.removeprefix(name): float(value) for head, _, value in (line.rpartition(" ") for line in lines)}


def test_an_asset_goes_through_its_states(state: PartitionState) -> None:
    """Without a model it learns, with one it warms up until window and threshold are full, and an alert shows."""
    assert worker_status([state], {"test": Status()}, {}).assets == ()
    batch = rows(400)
    batch[1, 300:330, 1] += 8.0
    push(state, batch[:, :10], 0)
    assert states(state) == {"a": "learning", "b": "learning"}

    only(state).use(Scorer(model()))
    push(state, batch[:, 10:14], 10)
    (first, _) = worker_status([state], {"test": Status()}, {}).assets
    assert first == Asset("a", "warming", None, newest=ORIGIN + 13 * STEP, detector="test")
    push(state, batch[:, 14:100], 14)
    (first, _) = worker_status([state], {"test": Status()}, {}).assets
    assert first.state == "warming"
    assert first.ratio == notes(state).ratios[0]
    push(state, batch[:, 100:300], 100)
    assert states(state) == {"a": "normal", "b": "normal"}
    push(state, batch[:, 300:301], 300)
    assert states(state) == {"a": "normal", "b": "pending"}
    push(state, batch[:, 301:310], 301)
    assert states(state) == {"a": "normal", "b": "firing"}
    assert worker_status([state], {"test": Status()}, {}).assets[1].ratio == notes(state).ratios[1] > 1
    push(state, batch[:, 310:], 310)
    assert states(state) == {"a": "normal", "b": "normal"}


def test_with_a_new_model_an_asset_warms_up(state: PartitionState) -> None:
    """An asset whose window is full but which the first model has not scored yet warms up; it is not called normal."""
    push(state, rows(100), 0)
    only(state).use(Scorer(model()))
    assert not only(state).windows.rows_until_full().any()
    assert states(state) == {"a": "warming", "b": "warming"}


def test_an_asset_that_just_came_is_not_scored_yet(state: PartitionState) -> None:
    """An asset that joins later warms up, without a ratio, while others are scored."""
    only(state).use(Scorer(model()))
    batch = rows(240)
    alone = [message for message in readings(batch) if message.key == b"a"]
    state.remember(state.process(alone, ORIGIN + 10**9, lambda _: None))
    assert states(state) == {"a": "normal"}
    push(state, rows(241)[:, 240:], 240)
    known = worker_status([state], {"test": Status()}, {}).assets
    assert [(asset.name, asset.state) for asset in known] == [("a", "normal"), ("b", "warming")]
    assert known[0].ratio is not None
    assert known[1].ratio is None


def test_partitions_are_shown_together(state: PartitionState) -> None:
    """The picture holds the assets of all partitions, how many these are, and the model they score with."""
    status = {"test": Status(steps=7)}
    push(state, rows(10), 0)
    only(state).use(Scorer(model()))
    picture = worker_status([state, state], status, {})
    assert (picture.model, picture.training, picture.partitions) == (model().version, status, 2)
    assert [asset.name for asset in picture.assets] == ["a", "b", "a", "b"]
    assert worker_status([], status, {}) == WorkerStatus(status, (), 0)


def test_gauges_follow_the_picture() -> None:
    """Assets by state, partitions, lag, learning, training and model are as the latest picture says, and no older."""
    metrics = Metrics()
    counter = MetricsRecorder(metrics, LOG)
    learning = replace(NOTHING, training={"test": Status(share=0.25, running=True)}, partitions=3)
    counter.set_gauges(learning, {Partition("r", 0): 5, Partition("r", 1): 0})
    assert gauges(metrics, "monitor_learning_ratio") == {'{detector="test"}': 0.25}
    assert gauges(metrics, "monitor_training_running") == {'{detector="test"}': 1}
    assert gauges(metrics, "monitor_partitions_assigned") == {"": 3}
    assert gauges(metrics, "monitor_lag_messages") == {
        '{partition="0",topic="r"}': 5,
        '{partition="1",topic="r"}': 0,
    }
    assert gauges(metrics, "monitor_model_info") == {}

    given = (("a", "normal", 0.5), ("b", "firing", 2.0), ("c", "normal", 0.1))
    assets = tuple(Asset(*each, detector="test") for each in given)
    for version in ("m1", "m2"):
        now = WorkerStatus({"test": Status()}, assets, 1, models={("test", version): 1})
        counter.set_gauges(now, {Partition("r", 1): 2})
    assert gauges(metrics, "monitor_assets") == {
        f'{{detector="test",state="{state}"}}': {"normal": 2.0, "firing": 1.0}.get(state, 0.0) for state in STATES
    }
    assert gauges(metrics, "monitor_lag_messages") == {'{partition="1",topic="r"}': 2}
    assert gauges(metrics, "monitor_learning_ratio") == {'{detector="test"}': 1}
    assert gauges(metrics, "monitor_training_running") == {'{detector="test"}': 0}
    assert gauges(metrics, "monitor_model_info") == {'{detector="test",version="m2"}': 1}


def test_gauges_are_those_of_each_detector() -> None:
    """Twins have their own states, models and progress; those of a detector that is gone are no longer rendered."""
    metrics = Metrics()
    counter = MetricsRecorder(metrics, LOG)
    assets = Asset("a", "normal", 0.5, detector="fast"), Asset("a", "firing", 2.0, detector="slow")
    training = {"fast": Status(share=1.0), "slow": Status(share=0.25, running=True)}
    both = WorkerStatus(training, assets, 1, models={("fast", "m1"): 2})
    counter.set_gauges(both, {})
    states = gauges(metrics, "monitor_assets")
    assert (states['{detector="fast",state="firing"}'], states['{detector="slow",state="firing"}']) == (0, 1)
    assert gauges(metrics, "monitor_learning_ratio") == {'{detector="fast"}': 1.0, '{detector="slow"}': 0.25}
    assert gauges(metrics, "monitor_training_running") == {'{detector="fast"}': 0, '{detector="slow"}': 1}
    assert gauges(metrics, "monitor_windows_scored_total") == {'{detector="fast"}': 0, '{detector="slow"}': 0}

    counter.set_gauges(replace(both, training={"slow": Status()}, assets=assets[1:], models={("slow", "m2"): 2}), {})
    assert all('detector="slow"' in labels for labels in gauges(metrics, "monitor_assets"))
    assert gauges(metrics, "monitor_learning_ratio") == {'{detector="slow"}': 1.0}
    assert gauges(metrics, "monitor_model_info") == {'{detector="slow",version="m2"}': 1}


def test_what_passes_by_is_counted(state: PartitionState) -> None:
    """Messages, readings, windows and rejections of a batch are added up under their reasons."""
    metrics = Metrics()
    counter = MetricsRecorder(metrics, LOG)
    bad = Message(READINGS, 999, b"a", b"{", ORIGIN)
    sent = [*readings(rows(20)), bad]
    outputs = state.process(sent, ORIGIN + 10**9, counter.stopwatch())
    counter.count(sent, outputs)
    assert metrics.total("monitor_messages_total") == 41
    assert metrics.total("monitor_readings_total") == 20 * 2 * 3
    assert metrics.total("monitor_messages_rejected_total") == 1
    assert metrics.total("monitor_windows_scored_total") == 0
    skipped = gauges(metrics, "monitor_windows_skipped_total")
    assert skipped['{detector="test",reason="no_model"}'] == len(own(outputs).windows) > 0
    assert skipped['{detector="test",reason="warmup"}'] == 2 * (L - 1)
    assert gauges(metrics, "monitor_stage_seconds_total")['{stage="decode"}'] > 0

    only(state).use(Scorer(model()))
    late = readings(rows(1), first=-600, offset=70)
    more = state.process([*readings(rows(30)[:, 20:], 20, 50), *late], ORIGIN + 10**9, counter.stopwatch())
    counter.count(late, more)
    assert metrics.total("monitor_windows_scored_total") == len(own(more).windows) > 0
    assert gauges(metrics, "monitor_readings_dropped_total")['{reason="late"}'] == 6
    assert gauges(metrics, "monitor_stage_seconds_total")['{stage="score"}'] > 0


def test_every_count_of_the_stages_is_a_declared_metric() -> None:
    """Each name that a stage counts by has a row in the table of metrics, with the reason among the label's values."""
    assert COUNTERS.keys() == set(Count)
    rows_by_name = {row.name: row for row in TABLE}
    for metric, labels in COUNTERS.values():
        assert rows_by_name[metric].labels.keys() - {"detector"} == labels.keys()
        assert ("detector" in rows_by_name[metric].labels) is (metric in BY_DETECTOR)
        assert all(value in (rows_by_name[metric].labels[name] or [""]) for name, value in labels.items())


def test_filters_that_leave_nothing_are_told(state: PartitionState) -> None:
    """What [select] leaves out is counted by filter, and a summary warns if nothing else came."""
    metrics = Metrics()
    counter = MetricsRecorder(metrics, LOG)
    state.detectors.format = replace(state.detectors.format, select=Select(channels=Globs(("flwo",))))
    sent = readings(rows(20))
    counter.count(sent, state.process(sent, ORIGIN + 10**9, counter.stopwatch()))
    with capture_logs() as lines:
        summary = counter.summary(NOTHING, {})
        counter.summary(NOTHING, {})

    assert (summary["filtered"], summary["readings"], summary["rejected"]) == (120, 0, 0)
    assert gauges(metrics, "monitor_readings_filtered_total")['{by="channel"}'] == 120
    assert [(line["event"], line["readings"]) for line in lines] == [("all readings filtered", 120)]
    assert only(state).windows.assets == []


def test_what_is_muted_is_not_counted_as_new(state: PartitionState) -> None:
    """Outputs of a replay go into one counter and none of the others."""
    metrics = Metrics()
    only(state).use(Scorer(model()))
    outputs = push(state, rows(20), 0)
    MetricsRecorder(metrics, LOG).count_muted(outputs)
    assert metrics.total("monitor_muted_records_total") == len(own(outputs).windows) == 2 * (20 - L + 1)
    assert metrics.total("monitor_windows_scored_total") == 0


def test_a_summary_tells_what_happened_since_the_last(state: PartitionState) -> None:
    """Counts are those since the summary before; while there is no model it tells how far learning is."""
    metrics = Metrics()
    counter = MetricsRecorder(metrics, LOG)
    sent = readings(rows(20))
    counter.count(sent, state.process(sent, ORIGIN + STEP, counter.stopwatch()))
    learning = replace(NOTHING, training={"test": Status(steps=20, needed=100, eta_s=79.6)})
    first = counter.summary(learning, {READINGS: 3})
    assert (first["messages"], first["readings"], first["lag"], first["model"]) == (40, 120, 3, None)
    assert (first["learning"], first["learning_eta_s"]) == ("20 of 100 steps", 80)
    both = Asset("a", "firing", 2.0), Asset("b", "normal", 0.1)
    second = counter.summary(WorkerStatus({"test": Status()}, both, 1, models={("test", "m1"): 1}), {})
    assert (second["messages"], second["assets"], second["firing"], second["model"]) == (0, 2, 1, "m1")
    assert "learning" not in second


def test_alerts_that_came_to_nothing_are_counted(state: PartitionState) -> None:
    """A batch in which an asset is pending and then normal again adds one to the suppressed, and no alert."""
    only(state).use(Scorer(model()))
    metrics = Metrics()
    batch = rows(400)
    batch[1, 300:301, 1] += 8.0
    push(state, batch[:, :300], 0)
    only(state).alerting._lifecycle._on_delay_ms = 60_000
    MetricsRecorder(metrics, LOG).count([], push(state, batch[:, 300:], 300))
    suppressed = gauges(metrics, "monitor_alerts_suppressed_total")
    assert suppressed['{detector="test",reason="short"}'] >= 1
    assert suppressed['{detector="test",reason="gap"}'] == 0
    assert metrics.total("monitor_alerts_total") == 0


def test_an_asset_without_most_of_its_channels_says_why(state: PartitionState) -> None:
    """With a model, an asset of which channels never came is unscored after three minutes, with the reason."""
    only(state).use(Scorer(model()))
    batch = rows(400)
    batch[0, :, 1:] = np.nan
    state.remember(state.process(readings(batch[:, :120]), ORIGIN + 10**9, lambda _: None))
    assert states(state)["a"] == "warming"
    state.remember(state.process(readings(batch[:, 120:], 120), ORIGIN + 10**9, lambda _: None))

    (first, second) = worker_status([state], {"test": Status()}, {}).assets
    assert (first.state, first.cause, second.state, second.reason) == ("unscored", "missing", "normal", "")
    assert first.reason.startswith("2 of 3 channels have never come")
    metrics = Metrics()
    MetricsRecorder(metrics, LOG).set_gauges(worker_status([state], {"test": Status()}, {}), {})
    assert gauges(metrics, "monitor_assets_unscored")['{detector="test",reason="missing"}'] == 1

    restored = only(state).save_state()
    only(state).load_state(restored)
    assert worker_status([state], {"test": Status()}, {}).assets[0] == first


def test_an_asset_that_is_not_scored_is_told_once() -> None:
    """The log names an asset when its trouble begins and ends, not in a replay, and few a minute."""
    troubled = [
        Asset(f"m{n}", "unscored", None, "2 of 3 channels have never come", "missing") for n in range(LINES + 2)
    ]
    sound = [Asset(each.name, "normal", 0.5) for each in troubled]
    told = UnscoredAssets(LOG)
    with capture_logs() as lines:
        told.note(troubled[:1], {"m0"}, 0.0)
        assert lines == []
        told.note(troubled[:1], (), 1.0)
        told.note(troubled[:1], (), 2.0)
        told.note((), (), 3.0)
        told.note(troubled[:1], (), 4.0)
        told.note(sound[:1], {"m0"}, 5.0)
        told.note(sound[:1], (), 6.0)
        assert [(line["event"], line["asset"]) for line in lines] == [
            ("asset not scored", "m0"),
            ("asset scored again", "m0"),
        ]
        assert "never come" in lines[0]["reason"]

        lines.clear()
        told.note(troubled, (), 61.0)
        told.note(troubled, (), 122.0)
        told.note(troubled, (), 183.0)
    assert [line["event"] for line in lines] == ["asset not scored"] * LINES + ["more assets not scored"]
    assert (lines[-1]["more"], lines[-1]["again"], lines[-1]["assets"]) == (2, 0, LINES + 2)


def test_sections_without_an_asset_are_logged_once() -> None:
    """A section of [assets] that matches no asset is logged after three minutes with assets, and only once."""
    counter = MetricsRecorder(Metrics(), LOG)
    now = replace(NOTHING, assets=(Asset("a", "normal", 0.5),), unmatched=frozenset({"pump-7", "pump-8"}))
    with structlog.testing.capture_logs() as lines:
        counter.summary(replace(now, assets=()), {})
        for _ in range(2 * UNMATCHED_AFTER):
            counter.summary(now, {})
        counter.summary(replace(now, unmatched=frozenset({"pump-8", "pump-9"})), {})
    told = [line["sections"] for line in lines if line["event"] == "assets not seen"]
    assert told == [["pump-7", "pump-8"], ["pump-9"]]


def test_readings_without_a_detector_are_counted_by_group() -> None:
    """The log names each asset and group once; of many groups the last ones are counted together."""
    metrics = Metrics()
    counter = MetricsRecorder(metrics, LOG)
    first = [Unwanted("cpu0", "cpu", 3), Unwanted("x", "", 2)]
    many = [Unwanted("m", f"g{number}", 1) for number in range(60)]
    with capture_logs() as lines:
        for unwanted in (first, first, many):
            counter.count([], PartitionOutputs({}, unwanted=unwanted))
    told = [(line["asset"], line["group"]) for line in lines if line["event"] == "asset unwanted"]
    assert told == [("cpu0", "cpu"), ("x", ""), *(("m", f"g{number}") for number in range(60))]

    (family,) = [each for each in metrics.collect() if each.name == "monitor_readings_unwanted"]
    counted = {sample.labels["group"]: sample.value for sample in family.samples if sample.labels["by"] == "asset"}
    assert counted == dict(counter.unwanted)
    assert (counted["cpu"], counted[""], counted["g47"], counted["(others)"], len(counted)) == (6, 4, 1, 12, 51)
    assert worker_status([], {}, {}, unwanted=counter.unwanted).unwanted == counted
