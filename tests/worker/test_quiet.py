"""Partitions that bring nothing new, by the worker's clock."""

from pathlib import Path

import structlog
from structlog.testing import capture_logs

from monitor.core.records import Partition
from monitor.observe.metrics import Metrics
from monitor.training.trainer import Status
from monitor.worker.metrics_recorder import MetricsRecorder
from monitor.worker.quiet import Progress, QuietPartitions
from monitor.worker.status import Asset, silent_in_all, worker_status
from tests.core.machines import STEP, rows
from tests.rig import ORIGIN, READINGS, readings, settings
from tests.worker.managing import ManagerRig
from tests.worker.test_status import LOG, gauges

P0, P1, Q0 = Partition("p", 0), Partition("p", 1), Partition("q", 0)


def quiet(silence_s: float = 600.0) -> QuietPartitions:
    return QuietPartitions(silence_s, structlog.stdlib.get_logger("test"))


def test_a_partition_without_news_is_reported_once() -> None:
    """One line names the topic, its silent partitions and why; another one says that all are heard again."""
    watched = quiet()
    with capture_logs() as lines:
        assert watched.note({P0: Progress(100, 5, True), P1: Progress(100, 5, True)}, 0.0) == ((), {"p": 0.0})
        assert watched.note({P0: Progress(100, 5, True), P1: Progress(101, 6, True)}, 599.0) == ((), {"p": 599.0})
        (topic,), waits = watched.note({P0: Progress(100, 5, True), P1: Progress(102, 7, True)}, 601.0)
        watched.note({P0: Progress(100, 5, True), P1: Progress(103, 8, True)}, 900.0)
        assert watched.note({P0: Progress(104, 6, True), P1: Progress(104, 9, True)}, 901.0) == ((), {"p": 0.0})
    assert (topic.partitions, topic.watched, waits) == ((0,), 2, {"p": 601.0})
    assert topic.text() == "p: 1 of 2 partitions have brought no new reading for 10 min; no messages come"
    assert [(line["event"], line["topic"]) for line in lines] == [("source silent", "p"), ("source heard again", "p")]
    assert lines[0]["partitions"] == [0]


def test_a_partition_of_slow_machines_has_more_time() -> None:
    """It is quiet after six steps of the fastest detector that has assets there, if that is later."""
    watched, now = quiet(), {P0: Progress(100, 5, True, 300.0), P1: Progress(100, 5, True, 1.0)}
    watched.note(now, 0.0)
    assert watched.note(now, 700.0)[0][0].partitions == (1,)
    assert watched.note(now, 1801.0)[0][0].partitions == (0, 1)


def test_messages_with_old_readings_are_no_news() -> None:
    """A collector that goes on without its server is told by the messages that come."""
    watched = quiet()
    watched.note({P0: Progress(100, 5, True)}, 0.0)
    ((topic,), _) = watched.note({P0: Progress(100, 605, True)}, 600.0)
    assert topic.text().endswith("messages come, but only with old readings")


def test_time_in_which_the_worker_does_not_read_does_not_count() -> None:
    """A worker that is paused, or was away, finds nobody silent."""
    watched = quiet()
    watched.note({P0: Progress(100, 5, True)}, 0.0)
    watched.note({P0: Progress(100, 5, False)}, 5000.0)
    assert watched.note({P0: Progress(100, 5, True)}, 5500.0)[0] == ()
    watched.note({}, 5600.0)  # revoked
    assert watched.note({P0: Progress(100, 5, True)}, 9000.0) == ((), {"p": 0.0})


def test_a_partition_that_never_had_a_reading_is_not_watched() -> None:
    """Most partitions of a small plant are empty by nature."""
    watched = quiet()
    for now_s in (0.0, 7000.0):
        assert watched.note({Q0: Progress(None, None, True)}, now_s) == ((), {})


def test_without_a_limit_nothing_is_reported() -> None:
    """With 0 the time is still measured."""
    watched = quiet(0.0)
    watched.note({P0: Progress(100, 5, True)}, 0.0)
    assert watched.note({P0: Progress(100, 5, True)}, 7000.0) == ((), {"p": 7000.0})


def test_assets_of_a_silent_partition_are_shown_as_silent(tmp_path: Path) -> None:
    """Page and metrics say silent, no asset has an alert, and learning predicts no end."""
    state = ManagerRig(tmp_path, settings(tmp_path)).manager.assign(READINGS, None, 0.0)
    state.remember(state.process(readings(rows(20)), ORIGIN + 10**9, lambda _: None))
    watched = quiet()
    progress = state.progress(reading=True)
    assert (progress.newest, progress.reading, progress.step_s) == (ORIGIN + 19 * STEP, True, STEP / 1000)
    learning = Status(share=0.2, steps=20, needed=100, eta_s=80.0)
    watched.note({READINGS: progress}, 0.0)
    assert worker_status([state], {"test": learning}, {}).training["test"].eta_s == 80.0

    topics, waits = watched.note({READINGS: progress}, 700.0)
    status = worker_status([state], {"test": learning}, {}, topics)
    assert [(asset.state, asset.reason) for asset in status.assets] == [
        ("silent", "nothing new comes from its whole partition")
    ] * 2
    assert (status.training["test"].eta_s, status.training["test"].steps, status.alerts) == (None, 20, ())
    metrics = Metrics()
    recorder = MetricsRecorder(metrics, LOG)
    recorder.set_gauges(status, {})
    recorder.set_waits(waits, topics)
    assert gauges(metrics, "monitor_assets")['{detector="test",state="silent"}'] == 2
    assert gauges(metrics, "monitor_partitions_silent") == {'{topic="readings"}': 1}
    assert gauges(metrics, "monitor_source_silence_seconds") == {'{topic="readings"}': 700}


def test_an_asset_that_one_detector_finds_silent_is_silent_for_all() -> None:
    """A twin that does not judge silence shows the state of the other; a firing alert and a stop stay shown."""
    silent = Asset("b", "silent", None, "sends nothing", newest=5)
    twins = [Asset("a", "normal", 0.5), silent, Asset("b", "normal", 0.25, newest=4), Asset("b", "firing", 2.0)]
    assert silent_in_all(twins) == [*twins[:2], silent._replace(newest=4), twins[3]]
    assert silent_in_all(twins[:1]) == twins[:1]
    off = Asset("b", "off", None)
    assert silent_in_all([silent, off]) == [silent, off]
