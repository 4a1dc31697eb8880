"""Silent assets through all stages of a partition, and as the worker shows them."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest

from monitor.core.decode.decode import decode
from monitor.core.detectors import timestamps_of
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Message
from monitor.observe.metrics import Metrics
from monitor.service.pipelines import make_pipeline
from monitor.training.trainer import Status
from monitor.worker.metrics_recorder import MetricsRecorder
from monitor.worker.status import Asset, worker_status
from tests.core.machines import STEP, model, rows
from tests.rig import ORIGIN, READINGS, WIDE, only, processed, settings
from tests.worker.managing import ManagerRig
from tests.worker.test_floods import course, messages, small
from tests.worker.test_status import LOG, gauges

DELAY = 60  # steps of a second
VALUES = rows(400)


def take(pipeline: Pipeline, sent: Sequence[Message], size: int = 10**6) -> list[Alert]:
    """Process messages in batches of `size`."""
    alerts: list[Alert] = []
    for begin in range(0, len(sent), size):
        alerts += processed(pipeline, sent[begin : begin + size], ORIGIN + 10**9).alerts
    return alerts


def silences(alerts: Sequence[Alert]) -> list[tuple[str, str, int]]:
    """Return asset, state and step of the records of silence."""
    found = [alert for alert in alerts if alert.cause == "silence"]
    return [(alert.asset, str(alert.state), (alert.time - ORIGIN) // STEP) for alert in found]


def stopping(steps: int = 400) -> list[Message]:
    """Return two machines, of which b sends nothing from step 200 to 300."""
    b = [sent for sent in course("b", 0, VALUES[1, :steps]) if not 200 <= sent[1] < 300]
    return messages([*course("a", 0, VALUES[0, :steps]), *b])


@pytest.mark.parametrize("scored", [False, True], ids=["without a model", "with a model"])
def test_a_machine_that_stops_has_an_alert(tmp_path: Path, scored: bool) -> None:
    """Silence is found at the same message with and without a model, however the stream is cut, and after a restore."""
    wanted = settings(tmp_path, alerting__silence_s=float(DELAY), threshold__margin=9.0)
    sent, found = stopping(), []
    for size in (7, 97, 10**6):
        pipeline = make_pipeline(wanted, READINGS)
        if scored:
            pipeline.use(Scorer(model()))
        found.append(take(pipeline, sent[:550], size))
        moved = make_pipeline(wanted, READINGS)
        if scored:
            moved.use(Scorer(model()))
        moved.load_state(pipeline.save_state())
        found[-1] += take(moved, sent[550:], size)
    assert silences(found[0]) == [("b", "firing", 199 + DELAY), ("b", "resolved", 300)]
    assert found[0] == found[1] == found[2]


def test_an_alert_of_the_machine_outlasts_its_silence(tmp_path: Path) -> None:
    """While an asset is silent its open alert stays as it is, and neither of the two records repeats the other's id."""
    wanted = settings(tmp_path, alerting__silence_s=float(DELAY), alerting__on_delay_s=0.0)
    values = VALUES.copy()
    values[1, 190:200, 1] += 80.0
    sent = messages([*course("a", 0, values[0, :300]), *course("b", 0, values[1, :200])])
    pipeline = make_pipeline(wanted, READINGS)
    pipeline.use(Scorer(model()))
    alerts = take(pipeline, sent)
    assert silences(alerts) == [("b", "firing", 199 + DELAY)]
    assert [alert.cause for alert in pipeline.open_alerts()] == ["machine", "silence"]
    assert len({alert.id for alert in pipeline.open_alerts()}) == 2


def test_a_silent_machine_gives_way_and_its_alert_ends(tmp_path: Path) -> None:
    """An alert of silence does not keep an asset in memory: its end comes with the message that takes the place."""
    wanted = small(tmp_path, alerting__silence_s=30.0)
    sent = messages(
        [*course("a", 0, VALUES[0, :300]), *course("b", 0, VALUES[1, :100]), *course("c", 250, VALUES[1, :50])]
    )
    found = []
    for size in (7, 1000):
        pipeline = make_pipeline(wanted, READINGS)
        found.append(take(pipeline, sent, size))
    assert silences(found[0]) == [("b", "firing", 129), ("b", "resolved", 250)]
    assert found[0] == found[1]
    assert pipeline.windows.assets == ["a", "c"]
    assert pipeline.open_alerts() == []


def test_the_partition_goes_on_for_the_only_asset_of_a_detector(tmp_path: Path) -> None:
    """A detector with one asset finds it silent by the readings of others, at the same message for any cut."""
    wanted = settings(tmp_path, alerting__silence_s=float(DELAY))
    found = []
    for size in (7, 97, 10**6):
        pipeline, sent = make_pipeline(wanted, READINGS), stopping()
        alerts: list[Alert] = []
        for begin in range(0, len(sent), size):
            alerts += some(pipeline, sent[begin : begin + size], {"b"})
        found.append(alerts)
    assert silences(found[0]) == [("b", "firing", 199 + DELAY), ("b", "resolved", 300)]
    assert found[0] == found[1] == found[2]
    assert found[0][0].position == 400 + DELAY - 1  # a message of a


def test_places_of_a_detector_survive_an_eviction(tmp_path: Path) -> None:
    """Where a batch is cut for an eviction, each part has the readings of others up to the next own one."""
    wanted = small(tmp_path, alerting__silence_s=30.0)
    own = [*course("a", 0, VALUES[0, :300]), *course("b", 0, VALUES[1, :100]), *course("c", 250, VALUES[1, :20])]
    sent, found = messages([*own, *course("other", 0, VALUES[0])]), []
    for size in (7, 50, 10**6):
        pipeline = make_pipeline(wanted, READINGS)
        alerts: list[Alert] = []
        for begin in range(0, len(sent), size):
            alerts += some(pipeline, sent[begin : begin + size], {"a", "b", "c"})
        found.append(alerts)
    evicted = [("b", "firing", 129), ("b", "resolved", 250)]
    assert silences(found[0]) == [*evicted, ("c", "firing", 299), ("a", "firing", 329)]
    assert found[0] == found[1] == found[2]


def some(pipeline: Pipeline, sent: Sequence[Message], assets: Collection[str]) -> Sequence[Alert]:
    """Let a pipeline process the readings of `assets` only, as a detector's pipeline does."""
    readings, _ = decode(sent, WIDE, ORIGIN + 10**9)
    wanted = np.isin(readings.asset, [code for code, name in enumerate(readings.assets) if name in assets])
    part = readings.take(np.flatnonzero(wanted), readings.moving())
    return pipeline.process(part, timestamps_of(sent), lambda _: None).alerts


def test_a_backlog_after_a_standstill_makes_nobody_silent(tmp_path: Path) -> None:
    """A worker that was away reads on where it stopped; the time of the messages decides, not its own."""
    wanted = settings(tmp_path, alerting__silence_s=float(DELAY))
    pipeline = make_pipeline(wanted, READINGS)
    sent = messages([*course("a", 0, VALUES[0]), *course("b", 0, VALUES[1])])
    alerts = [*processed(pipeline, sent[:100], ORIGIN).alerts]
    alerts += processed(pipeline, sent[100:], ORIGIN + 30 * 86_400_000).alerts
    assert alerts == []


def shown(rig: ManagerRig, sent: Sequence[Message], *, scored: bool) -> tuple[Asset, ...]:
    """Return the assets of a worker that has read the messages."""
    state = rig.manager.assign(READINGS, None, 0.0)
    if scored:
        only(state).use(Scorer(model()))
    outputs = state.process(sent, ORIGIN + 10**9, lambda _: None)
    state.remember(outputs)
    status = worker_status([state], {"test": Status()}, {})
    metrics = Metrics()
    MetricsRecorder(metrics, LOG).set_gauges(status, {})
    assert gauges(metrics, "monitor_assets")['{detector="test",state="silent"}'] == sum(
        each.state == "silent" for each in status.assets
    )
    return status.assets


@pytest.mark.parametrize("scored", [False, True], ids=["learning", "scored"])
def test_a_silent_machine_is_shown_as_such(tmp_path: Path, scored: bool) -> None:
    """It has neither the ratio of its last window nor the state of learning, but the time of its newest reading."""
    wanted = settings(tmp_path, alerting__silence_s=float(DELAY), threshold__margin=9.0)
    a, b = shown(ManagerRig(tmp_path, wanted), stopping(290), scored=scored)
    assert (b.state, b.ratio, b.reason, b.cause) == ("silent", None, "sends nothing", "")
    assert b.newest == ORIGIN + 199 * STEP
    assert (a.state, a.reason, a.newest) == ("normal" if scored else "learning", "", ORIGIN + 289 * STEP)
    assert (a.ratio is not None) == scored


def test_frozen_times_are_silence(tmp_path: Path) -> None:
    """A machine whose driver repeats its last reading is silent while others go on, and the reason says so."""
    wanted = settings(tmp_path, alerting__silence_s=float(DELAY))
    frozen = [
        (name, min(step, 99) if name == "b" else step, row) for name, step, row in course("b", 0, VALUES[1, :200])
    ]
    a = course("a", 0, VALUES[0, :200])
    # messages() sorts by time: the repetitions are put behind the readings of the other machine by hand.
    sent = [
        message
        for one, two in zip(messages(a), [messages([each])[0] for each in frozen], strict=True)
        for message in (one, two)
    ]
    sent = [Message(m.partition, n, m.key, m.value, m.timestamp) for n, m in enumerate(sent)]
    repeated = shown(ManagerRig(tmp_path, wanted), sent, scored=False)
    assert [(each.state, each.reason) for each in repeated] == [("learning", ""), ("silent", "sends only old readings")]
