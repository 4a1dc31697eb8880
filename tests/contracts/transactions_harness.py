"""Transactions as tests want them: members and sinks that share a group, and a look at what became final."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from monitor.connectors.base import Committed
from monitor.connectors.kafka.client import Config
from monitor.connectors.kafka.source import KafkaSource
from monitor.connectors.kafka.transactions import KafkaTransactions
from monitor.core.records import Partition, Record
from tests.brokers import Broker
from tests.contracts.kafka_harness import FAST, ignore, make_topic

GROUP, READINGS = "group", Partition("readings", 0)
ALERT = Record("alerts", b"k", b"v")
PATIENCE_S = 30.0


@contextmanager
def joined(broker: Broker, member: Config) -> Iterator[KafkaSource]:
    """A member of the group that has partition 0 of the readings."""
    make_topic(broker, READINGS.topic, 1)
    source = KafkaSource({**options(broker), **member}, [READINGS.topic], GROUP, "earliest", ignore)
    assigned: list[Partition] = []

    def on_assign(committed: Committed) -> Committed:
        assigned.extend(committed)
        return committed

    source.open(on_assign, lambda _: None, lambda _: None)
    until(lambda: source.poll(10, 0.1), assigned)
    yield source
    source.close()


@contextmanager
def transactions(broker: Broker, membership: Callable[[], object]) -> Iterator[KafkaTransactions]:
    sink = KafkaTransactions(options(broker), "id", membership, PATIENCE_S, ignore)
    sink.open()
    yield sink
    sink.close()


def until(turn: Callable[[], object], seen: Sequence[object]) -> None:
    """Take turns until something was seen."""
    deadline = time.monotonic() + PATIENCE_S
    while not seen:
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        turn()


def alerts(broker: Broker, isolation: str = "read_committed") -> list[Record]:
    return committed_records(broker, "alerts", isolation)[0]


def offset(broker: Broker) -> int | None:
    """What the group has committed."""
    with closing(Consumer({**options(broker), "group.id": GROUP, "log_level": 0})) as consumer:
        (found,) = consumer.committed([TopicPartition(*READINGS)], timeout=PATIENCE_S)
        return found.offset if found.offset >= 0 else None


@contextmanager
def suspended(broker: Broker) -> Iterator[None]:
    """A broker that accepts connections and answers nothing."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def options(broker: Broker) -> dict[str, str | int | float | bool]:
    return {"bootstrap.servers": broker.bootstrap, **FAST}


def committed_records(broker: Broker, topic: str, isolation: str = "read_committed") -> list[list[Record]]:
    """What is in a topic, partition by partition, to its very end: ends of transactions take up offsets, too."""
    wanted = {"group.id": "reader", "enable.partition.eof": True, "isolation.level": isolation, "log_level": 0}
    with closing(Consumer({**options(broker), **wanted})) as consumer:
        numbers = sorted(consumer.list_topics(topic, PATIENCE_S).topics[topic].partitions)
        return [_to_the_end(consumer, Partition(topic, number)) for number in numbers]


def _to_the_end(consumer: Consumer, partition: Partition) -> list[Record]:
    consumer.assign([TopicPartition(*partition, 0)])
    records: list[Record] = []
    while True:
        (message,) = consumer.consume(1, PATIENCE_S)
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error
            return records
        headers: Any = tuple(message.headers() or ())
        records.append(Record(partition.topic, message.key(), message.value(), headers))
