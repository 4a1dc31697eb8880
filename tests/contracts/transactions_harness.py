"""Members and transactional sinks of one group, and readers of their output."""

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
from tests.contracts.kafka_harness import FAST, Names, ignore, make_topic

PATIENCE_S = 30.0


class Stage:
    """One test's topics, group and transactional id, on a broker that other tests may use, too."""

    def __init__(self, broker: Broker) -> None:
        names = Names()
        self.broker = broker
        self.group = names.own("group")
        self.id = names.own("id")
        self.readings = Partition(names.own("readings"), 0)
        self.topic = names.own("alerts")  # that a sink writes to
        self.alert = Record(self.topic, b"k", b"v")
        make_topic(broker, self.topic, 1)

    @contextmanager
    def joined(self, member: Config) -> Iterator[KafkaSource]:
        """A member of the group that has partition 0 of the readings."""
        make_topic(self.broker, self.readings.topic, 1)
        config = {**options(self.broker), **member}
        source = KafkaSource(config, [self.readings.topic], self.group, "earliest", ignore)
        assigned: list[Partition] = []

        def on_assign(committed: Committed) -> Committed:
            assigned.extend(committed)
            return committed

        source.open(on_assign, lambda _: None, lambda _: None)
        until(lambda: source.poll(10, 0.1), assigned)
        yield source
        source.close()

    @contextmanager
    def transactions(self, membership: Callable[[], object]) -> Iterator[KafkaTransactions]:
        """An open sink; each of the stage has the same transactional id."""
        sink = KafkaTransactions(options(self.broker), self.id, membership, PATIENCE_S, ignore)
        sink.open()
        yield sink
        sink.close()

    def record(self, value: bytes) -> Record:
        return Record(self.topic, b"k", value)

    def alerts(self, isolation: str = "read_committed") -> list[Record]:
        """Return the records in the sink's topic."""
        return committed_records(self.broker, self.topic, isolation)[0]

    def offset(self) -> int | None:
        """Return the group's committed offset, if there is one."""
        with closing(Consumer({**options(self.broker), "group.id": self.group, "log_level": 0})) as consumer:
            (found,) = consumer.committed([TopicPartition(*self.readings)], timeout=PATIENCE_S)
            return found.offset if found.offset >= 0 else None


def until(turn: Callable[[], object], seen: Sequence[object]) -> None:
    """Repeat `turn` until `seen` is not empty."""
    deadline = time.monotonic() + PATIENCE_S
    while not seen:
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        turn()


def options(broker: Broker) -> dict[str, str | int | float | bool]:
    return {"bootstrap.servers": broker.bootstrap, **FAST}


def committed_records(broker: Broker, topic: str, isolation: str = "read_committed") -> list[list[Record]]:
    """Read a topic to its end, partition by partition. Ends of transactions take up offsets, too."""
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
