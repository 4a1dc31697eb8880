"""Outputs between the pipelines and the sink: order, outages, refusals, and the time until they are acknowledged."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from monitor.connectors.base import Unavailable
from monitor.connectors.memory.client import MemoryBroker, MemorySink
from monitor.core.detectors import Detectors
from monitor.core.model.scorer import Scorer
from monitor.core.records import Alert, Message, PartitionOutputs, Record, Rejected
from monitor.observe.metrics import Metrics
from monitor.service.pipelines import make_detectors
from monitor.worker.publisher import Publisher, Topics
from tests.core.machines import L, model, rows
from tests.observing import observer
from tests.rig import ORIGIN, READINGS, readings, settings

TOPICS = Topics("alerts", "scores", "dead", scores_every=0)
Scored = tuple[Detectors, PartitionOutputs]


class Box(Publisher):
    """An outbox with what it is made of."""

    def __init__(self, broker: MemoryBroker, sink: MemorySink | None = None, topics: Topics = TOPICS) -> None:
        self.broker, self.metrics, self.clock = broker, Metrics(), ORIGIN
        self.sink = sink or MemorySink(broker)
        super().__init__(self.sink, topics, observer(self.metrics, wall_ms=lambda: self.clock))


def stored(broker: MemoryBroker, topic: str) -> list[Record]:
    return [each.record for part in broker.partitions(topic) for each in broker.read(part)]


def alert(number: int, asset: str = "a") -> Alert:
    return Alert(
        id=f"id-{number}",
        asset=asset,
        state="firing",
        start=ORIGIN,
        end=None,
        time=ORIGIN,
        severity="warning",
        alarm=2.0,
        threshold=1.0,
        ratio=2.0,
        peak=2.0,
        channels=(),
        model="m",
        detector="d",
        partition=READINGS,
        offset=number,
        position=number,
        sequence=0,
    )


def numbers(broker: MemoryBroker, topic: str = "alerts") -> list[int]:
    """Which alerts are in the topic, in its order."""
    return [int(dict(record.headers)["ce_id"].decode().partition(".")[0][3:]) for record in stored(broker, topic)]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """The only detector of a partition, and what it made of 20 steps of two machines and one message that is none."""
    detectors = make_detectors([settings(tmp_path_factory.mktemp("store"))], READINGS)
    detectors.pipelines["test"].use(Scorer(model()))
    bad = Message(READINGS, 40, b"a", b"{", ORIGIN)
    return detectors, detectors.process([*readings(rows(20)), bad], ORIGIN + 10**6, lambda _: None)


def test_everything_a_batch_gave_is_written(scored: Scored) -> None:
    """Scores, alerts and dead letters of a batch go to their topics, and are there once they are settled."""
    detectors, outputs = scored
    box = Box(MemoryBroker(), topics=replace(TOPICS, scores_every=1))
    box.publish(detectors, replace(outputs, alerts=[alert(1)]), [])
    assert not stored(box.broker, "scores")
    box.flush(1)
    assert len(stored(box.broker, "scores")) == 2 * (20 - L + 1)
    assert numbers(box.broker) == [1]
    (dead,) = stored(box.broker, "dead")
    assert (dead.key, dead.value) == (b"a", b"{")
    assert dict(dead.headers)["__connect.errors.stage"] == b"decode"


def test_scores_are_published_as_often_as_asked(scored: Scored) -> None:
    """With every second step only scores whose time is a multiple of two steps go out, and none with 0."""
    for every, count in ((2, 2), (0, 0)):
        box = Box(MemoryBroker(), topics=replace(TOPICS, scores_every=every))
        box.publish(*scored, [])
        box.flush(1)
        assert len(stored(box.broker, "scores")) == 2 * count


def test_order_is_kept_while_the_sink_takes_nothing() -> None:
    """What comes after outputs the sink did not take waits behind them, though the sink had room for it."""
    box = Box(MemoryBroker(), MemorySink(broker := MemoryBroker(), bound=3))
    box.publish_again([alert(0), alert(1)])
    assert not box.blocked
    box.publish_again([alert(2), alert(3)])
    assert "records wait to be flushed" in box.blocked
    box.publish_again([alert(4)])
    box.flush(1)
    assert numbers(broker) == [0, 1, 2, 3, 4]
    assert not box.blocked


def test_an_outage_is_told_and_its_end_too() -> None:
    """While nothing is acknowledged `blocked` says why and the metric is 1; afterwards it is 0."""
    box = Box(MemoryBroker())
    box.publish_again([alert(0)])
    box.broker.refuse("the disk is full")
    with pytest.raises(Unavailable, match="the disk is full"):
        box.flush(1)
    assert box.blocked == "the disk is full"
    assert b"monitor_output_blocked 1.0" in box.metrics.render()
    box.broker.refuse(None)
    box.flush(1)
    assert not box.blocked
    assert b"monitor_output_blocked 0.0" in box.metrics.render()
    assert numbers(box.broker) == [0]


@given(
    st.lists(st.one_of(st.integers(0, 4), st.sampled_from(["settle", "refuse", "serve"])), max_size=25),
    st.integers(1, 5),
)
def test_nothing_is_lost_or_doubled_over_outages(steps: list[int | str], bound: int) -> None:
    """Whatever is handed over between outages, with a sink of any bound, arrives once and in its order."""
    box = Box(broker := MemoryBroker(), MemorySink(broker, bound=bound))
    count = 0
    for step in steps:
        if step == "settle":
            try:
                box.flush(1)
            except Unavailable:
                assert box.blocked
        elif isinstance(step, str):
            broker.refuse("away" if step == "refuse" else None)
        else:
            box.publish_again([alert(number) for number in range(count, count + step)])
            count += step
    broker.refuse(None)
    box.flush(1)
    assert numbers(broker) == list(range(count))


def test_a_refused_output_becomes_a_dead_letter_whole() -> None:
    """A record its topic will never take goes to the dead letters with key, value, headers, topic and the reason."""
    box = Box(MemoryBroker(), topics=replace(TOPICS, alerts="no topic"))
    box.publish_again([alert(7)])
    box.flush(1)
    (dead,) = stored(box.broker, "dead")
    headers = dict(dead.headers)
    assert dead.key == b"a"
    assert b'"id":"id-7"' in (dead.value or b"")
    assert headers["ce_id"] == b"id-7.0"
    assert headers["__connect.errors.topic"] == b"no topic"
    assert headers["__connect.errors.stage"] == b"output"
    assert headers["__connect.errors.exception.message"] == b"found 'no topic', expected the name of a topic"


def test_the_others_of_a_call_are_written_when_one_is_refused() -> None:
    """One alert that is too large costs its neighbours nothing, and is settled in the same call."""
    box = Box(MemoryBroker(max_record_bytes=400))
    box.publish_again([alert(0), alert(1, "a" * 400), alert(2)])
    box.flush(1)
    assert numbers(box.broker) == [0, 2]


@pytest.mark.parametrize("size", [401, 5000])
def test_a_dead_letter_that_is_too_large_goes_without_value(scored: Scored, size: int) -> None:
    """A record too large even as a dead letter is published with its key and headers, without the value."""
    detectors, outputs = scored
    message = Message(READINGS, 41, b"key", b"x" * size, ORIGIN)
    box = Box(MemoryBroker(max_record_bytes=400))
    box.publish(detectors, replace(outputs, rejected=[Rejected(message, "decode", "value", "NotJson", "found x")]), [])
    box.flush(1)
    (dead,) = stored(box.broker, "dead")
    assert (dead.key, dead.value) == (b"key", None)
    assert dict(dead.headers)["__connect.errors.offset"] == b"41"
    assert dict(dead.headers)["value"] == b"too large to be kept"


def test_settling_ends_though_everything_is_refused() -> None:
    """A sink that refuses records, their dead letters and those without value is done with, and the log says so."""
    box = Box(MemoryBroker(max_record_bytes=0))
    box.publish_again([alert(0), alert(1)])
    with capture_logs() as lines:
        box.flush(1)
    assert not box.blocked
    assert [line["topic"] for line in lines] == ["alerts", "alerts", "dead", "dead", "dead", "dead"]
    assert [line["size"] for line in lines][-2:] == [0, 0]


class _Slow(MemorySink):
    """A sink that needs its time, and remembers how much it was given."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.given: list[float] = []

    def flush(self, timeout: float) -> None:
        self.given.append(timeout)
        time.sleep(0.05)
        super().flush(timeout)


def test_settling_has_one_deadline() -> None:
    """However many rounds refusals cost, together they are given the time that was asked for."""
    broker = MemoryBroker(max_record_bytes=0)
    sink = _Slow(broker)
    box = Box(broker, sink)
    box.publish_again([alert(0)])
    box.flush(0.12)
    assert len(sink.given) == 4
    assert sink.given[0] > 0.1
    assert sink.given[1] < 0.08
    assert sink.given[3] == 0


def test_the_delay_of_an_alert_ends_with_its_acknowledgement(scored: Scored) -> None:
    """The delay runs from the message behind the alert until the sink acknowledged it, through an outage; once."""
    detectors, outputs = scored
    box = Box(MemoryBroker())
    messages = [Message(READINGS, number, None, b"", ORIGIN - 1000 * number) for number in range(5)]
    box.publish(detectors, replace(outputs, alerts=[alert(1), alert(3)], rejected=()), messages)
    box.broker.refuse("away")
    with pytest.raises(Unavailable):
        box.flush(1)
    assert b"monitor_alert_delay_seconds_count 0.0" in box.metrics.render()
    box.broker.refuse(None)
    box.clock += 10_000
    for _ in range(2):
        box.flush(1)
        assert b"monitor_alert_delay_seconds_count 2.0" in box.metrics.render()
        assert b"monitor_alert_delay_seconds_sum 24.0" in box.metrics.render()


def test_alerts_that_are_published_again_have_no_delay() -> None:
    """What is repeated after a replay says nothing about how fast alerts are."""
    box = Box(MemoryBroker())
    box.publish_again([alert(1)])
    box.flush(1)
    assert numbers(box.broker) == [1]
    assert b"monitor_alert_delay_seconds_count 0.0" in box.metrics.render()


def test_the_log_tells_an_outage_once() -> None:
    """An outage over many checkpoints is one warning at its beginning and one line at its end."""
    box = Box(MemoryBroker())
    box.publish_again([alert(0)])
    with capture_logs() as lines:
        box.broker.refuse("away")
        for _ in range(3):
            with pytest.raises(Unavailable):
                box.flush(1)
        box.broker.refuse(None)
        box.flush(1)
    assert [line["log_level"] for line in lines] == ["warning", "info"]
