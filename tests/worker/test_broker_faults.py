"""A worker at a broker that has deleted what it wants, or does not allow it any more: rows of docs/delivery.md."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from monitor.connectors.kafka import stalls
from monitor.service.run import Service
from monitor.settings.tree import Settings
from tests.brokers import FETCH, OFFSET_COMMIT, PRODUCE, MockBroker, mock_broker
from tests.contracts.kafka_harness import FAST, MOCK_MEMBER
from tests.core.machines import L, rows
from tests.rig import put_model, running, settings, until, values
from tests.service.test_process import count_of, offset_of, produce

ENDLESS = 10_000  # requests that are refused; more than any test makes


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MockBroker]:
    """A broker with 60 steps of both machines, and a store with a model of them."""
    monkeypatch.setattr(stalls, "_AGAIN_S", 0.2)
    put_model(tmp_path)
    with mock_broker({"readings": 1, "monitor.scores": 4, "monitor.alerts": 4}) as it:
        produce(it, values(rows(60)))
        yield it


def on(broker: MockBroker, store: Path, **overrides: object) -> Settings:
    return settings(
        store,
        source__kind="kafka",
        outputs__kind="kafka",
        kafka__bootstrap_servers=broker.bootstrap,
        kafka__options={**FAST, **MOCK_MEMBER},
        **overrides,
    )


def wrong(service: Service) -> str:
    """What /readyz says; empty = ready."""
    ready, text = service.health.ready()
    return "" if ready else text


def scores(steps: int) -> int:
    """Records of two machines that were watched for so many steps without a gap."""
    return 2 * (steps - L + 1)


def test_what_retention_took_is_counted_and_passed(tmp_path: Path, broker: MockBroker) -> None:
    """Messages deleted beyond the committed offset are counted as lost, and reading goes on with the oldest one."""
    with running(on(broker, tmp_path), None):
        until(lambda: offset_of(broker) == 120)
    produce(broker, values(rows(40), 60))
    broker.delete_records("readings", 0, 150)
    with running(on(broker, tmp_path), None) as service:
        until(lambda: offset_of(broker) == 200)
        assert service.metrics.total("monitor_messages_lost_total") == 30
        assert service.metrics.total("monitor_messages_total") == 50
        assert wrong(service) == ""


def test_a_deleted_topic_is_waited_for_and_begun_anew(tmp_path: Path, broker: MockBroker) -> None:
    """While its topic is gone a worker waits, not ready and with the reason; the new one is read from its start."""
    with running(on(broker, tmp_path), None) as service:
        until(lambda: offset_of(broker) == 120)
        broker.delete_topic("readings")
        until(lambda: service.daemon is not None and service.daemon._states == {})
        until(lambda: "readings[0]: UNKNOWN_TOPIC_OR_PART" in wrong(service))
        _stays(service, "UNKNOWN_TOPIC_OR_PART")
        broker.create_topic("readings", 1)
        produce(broker, values(rows(30), 60))
        until(lambda: offset_of(broker) == 60)
        until(lambda: wrong(service) == "")
        assert service.metrics.total("monitor_messages_total") == 120 + 60
        until(lambda: count_of(broker, "monitor.scores") == scores(60) + scores(30))


def test_a_topic_made_anew_while_the_worker_was_away_is_read_from_its_start(tmp_path: Path, broker: MockBroker) -> None:
    """A committed offset, and snapshots, beyond the topic's end are of an earlier topic and are not gone back to."""
    with running(on(broker, tmp_path), None):
        until(lambda: offset_of(broker) == 120)
    broker.delete_topic("readings")
    broker.create_topic("readings", 1)
    produce(broker, values(rows(30), 60))
    client = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "again"})
    client.commit(offsets=[TopicPartition("readings", 0, 120)], asynchronous=False)  # the mock forgot the first group's
    client.close()
    with running(on(broker, tmp_path, source__group="again"), None) as service:
        until(lambda: count_of(broker, "monitor.scores") == scores(60) + scores(30))
        assert service.metrics.total("monitor_messages_total") == 60
        assert service.metrics.total("monitor_messages_lost_total") == 0
        assert wrong(service) == ""
    kept = sorted(path.name for path in (tmp_path / "snapshots/readings/0").iterdir())
    assert kept[-1] == "00000000000000000060.snap"


def test_a_group_whose_offsets_have_expired_begins_anew(tmp_path: Path, broker: MockBroker) -> None:
    """Without a committed offset the topic is read from its start, nothing is muted, no snapshot is gone back to."""
    with running(on(broker, tmp_path), None):
        until(lambda: offset_of(broker) == 120)
    assert count_of(broker, "monitor.scores") == scores(60)
    with running(on(broker, tmp_path, source__group="another"), None) as service:  # it has none
        until(lambda: count_of(broker, "monitor.scores") == 2 * scores(60))
        assert service.metrics.total("monitor_messages_total") == 120
        assert service.metrics.total("monitor_messages_lost_total") == 0
        assert wrong(service) == ""


def test_a_right_to_read_that_was_taken_is_waited_for(tmp_path: Path, broker: MockBroker) -> None:
    """A worker that may not read stays, not ready and with the reason, until it may again; nothing is lost."""
    with running(on(broker, tmp_path), None) as service:
        until(lambda: offset_of(broker) == 120)
        broker.fail_requests(FETCH, [KafkaError.TOPIC_AUTHORIZATION_FAILED] * ENDLESS)
        produce(broker, values(rows(30), 60))
        until(lambda: "source: readings[0]: TOPIC_AUTHORIZATION_FAILED" in wrong(service))
        _stays(service, "TOPIC_AUTHORIZATION_FAILED")
        broker.fail_no_more(FETCH)
        until(lambda: offset_of(broker) == 180)
        until(lambda: wrong(service) == "")
        assert service.metrics.total("monitor_messages_total") == 180
    assert count_of(broker, "monitor.scores") == scores(90)


def test_a_topic_that_may_not_be_seen_any_more_is_waited_for(tmp_path: Path, broker: MockBroker) -> None:
    """As above, where the broker does not even name the topic: the partition is lost, and comes back with its state."""
    with running(on(broker, tmp_path), None) as service:
        until(lambda: offset_of(broker) == 120)
        broker.do("topic_set_error", "readings", KafkaError.TOPIC_AUTHORIZATION_FAILED)
        until(lambda: service.daemon is not None and service.daemon._states == {})
        _stays(service, "TOPIC_AUTHORIZATION_FAILED")
        broker.do("topic_set_error", "readings", KafkaError.NO_ERROR)
        produce(broker, values(rows(30), 60))
        until(lambda: offset_of(broker) == 180)
        until(lambda: wrong(service) == "")
    assert count_of(broker, "monitor.scores") == scores(90)


def test_a_right_to_write_that_was_taken_is_waited_for(tmp_path: Path, broker: MockBroker) -> None:
    """A worker that may not write commits nothing, not ready and with the reason; then all is written, once."""
    broker.fail_requests(PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED] * ENDLESS)
    with running(on(broker, tmp_path, delivery__flush_timeout_s=1.0), None) as service:
        until(lambda: "outputs: " in wrong(service) and "TOPIC_AUTHORIZATION_FAILED" in wrong(service))
        assert service.metrics.total("monitor_messages_total") > 0
        assert offset_of(broker) < 0
        broker.fail_no_more(PRODUCE)
        until(lambda: offset_of(broker) == 120)
        until(lambda: wrong(service) == "")
    assert count_of(broker, "monitor.scores") == scores(60)


@pytest.mark.parametrize("error", ["GROUP_AUTHORIZATION_FAILED", "TOPIC_AUTHORIZATION_FAILED"])
def test_a_right_to_commit_that_was_taken_is_waited_for(tmp_path: Path, broker: MockBroker, error: str) -> None:
    """A worker that may not commit says so in /readyz, reads no more than it may hold, and commits once it may."""
    with running(on(broker, tmp_path, delivery__checkpoint_messages=20, source__batch_messages=10), None) as service:
        until(lambda: offset_of(broker) == 120)
        broker.fail_requests(OFFSET_COMMIT, [getattr(KafkaError, error)] * ENDLESS)
        produce(broker, values(rows(60), 60))
        until(lambda: f"outputs: the commit was refused: {error}" in wrong(service))
        assert offset_of(broker) == 120
        assert service.metrics.total("monitor_messages_total") <= 120 + 20 + 10
        broker.fail_no_more(OFFSET_COMMIT)
        until(lambda: offset_of(broker) == 240)
        until(lambda: wrong(service) == "")
    assert count_of(broker, "monitor.scores") == scores(120)


def test_a_handshake_that_fails_is_told_by_readyz(tmp_path: Path, broker: MockBroker) -> None:
    """A TLS client at a listener that speaks none is not ready, and /readyz repeats what its client complains of."""
    backoff = {**FAST, **MOCK_MEMBER, "reconnect.backoff.ms": 200}
    wanted = on(broker, tmp_path, kafka__security_protocol="ssl").model_copy()
    kafka = wanted.kafka.model_copy(update={"options": backoff})
    with running(wanted.model_copy(update={"kafka": kafka}), None) as service:
        until(lambda: "source: " in wrong(service) and "state SSL_HANDSHAKE" in wrong(service))


def _stays(service: Service, reason: str) -> None:
    """The source looks whether it is over a few times, and the worker is not ready for this reason all the while."""
    end = time.monotonic() + 5 * stalls._AGAIN_S
    while time.monotonic() < end:
        assert reason in wrong(service)
        time.sleep(0.01)
