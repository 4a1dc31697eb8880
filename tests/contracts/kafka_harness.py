"""Harnesses of the contract suites for Kafka: sources, sinks and readers on any of the test brokers.

Several tests may share a broker, so a harness makes names for topics and groups that no other harness has.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from typing import Any, Literal
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from monitor.connectors.base import Source, Unavailable
from monitor.connectors.kafka.client import Config
from monitor.connectors.kafka.sink import KafkaSink, create_topics
from monitor.connectors.kafka.source import KafkaSource
from monitor.core.records import Partition, Record
from tests.brokers import Broker, MockBroker, evict, evict_by_heartbeat
from tests.contracts.sink_contract import PlainRecords

FAST: Config = {  # a plant is not in such a hurry
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "fetch.wait.max.ms": 50,
    "topic.metadata.refresh.interval.ms": 500,
}
MEMBER: Config = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 100}  # 6 s is the least a real broker accepts
# The mock lets every rebalance last 1 s less than this. A member that is not back by then has left the group: 1 s was
# too short on two busy cores.
MOCK_MEMBER: Config = {**MEMBER, "session.timeout.ms": 4000}
PARTITIONS = 3  # of a topic that a sink writes to
_TOPIC_S = 30.0  # for a topic to be made and to have leaders; a broker that has just been started refuses for a while


class Names:
    """Unique names on a broker: `next` never gives a name twice, `own` gives one name per word."""

    def __init__(self) -> None:
        self._mark = uuid4().hex[:8]
        self._numbers = count()

    def next(self, word: str) -> str:
        return f"{word}-{self._mark}-{next(self._numbers)}"

    def own(self, word: str) -> str:
        return f"{word}-{self._mark}"


class GroupHarness:
    """A `GroupHarness` of tests/contracts/group_contract.py."""

    def __init__(self, broker: Broker, options: Config, patience: float) -> None:
        self.patience = patience
        self._broker = broker
        self._options: Config = {"bootstrap.servers": broker.bootstrap, **FAST, **options}
        # Idempotent, since otherwise a record that a broker refuses for a moment is sent again behind its successors.
        quick: Config = {"linger.ms": 0, "enable.idempotence": True, "log_level": 0}
        self._producer = Producer({"bootstrap.servers": broker.bootstrap, **quick})
        self._names = Names()

    def with_options(self, options: Config) -> "GroupHarness":
        """Return a harness of the same topics and groups whose members have other options."""
        other = GroupHarness(self._broker, options, self.patience)
        other._names = self._names
        return other

    def partitions(self, count: int) -> list[Partition]:
        topic = self._names.next("topic")
        make_topic(self._broker, topic, count)
        return [Partition(topic, number) for number in range(count)]

    def fill(self, partition: Partition, values: Sequence[bytes]) -> None:
        delivered = Delivered()
        for value in values:
            self._producer.produce(partition.topic, value, partition=partition.number, on_delivery=delivered)
        self._flush(delivered, len(values))

    def produce(self, partition: Partition, key: bytes | None, value: bytes | None, timestamp: int) -> None:
        delivered = Delivered()
        self._producer.produce(
            partition.topic, value, key, partition.number, timestamp=timestamp, on_delivery=delivered
        )
        self._flush(delivered, 1)

    def source(self, partitions: Sequence[Partition], group: str) -> KafkaSource:
        return self._source(partitions, group, "earliest")

    def latest(self, partitions: Sequence[Partition], group: str) -> KafkaSource:
        return self._source(partitions, group, "latest")

    def pattern(self) -> tuple[str, Callable[[], Partition]]:
        word = self._names.next("plant")

        def another() -> Partition:
            topic = self._names.next(word)
            make_topic(self._broker, topic, 1)
            return Partition(topic, 0)

        return f"^{word}-.*", another

    def subscribed(self, topics: Sequence[str], group: str) -> KafkaSource:
        return KafkaSource(self._options, topics, self._names.own(group), "earliest", on_error=ignore)

    def evict(self, source: Source) -> None:
        assert isinstance(source, KafkaSource)
        leave = evict_by_heartbeat if self._options.get("group.protocol") == "consumer" else evict
        leave(self._broker.bootstrap, source._group, source._opened().memberid())

    def _flush(self, delivered: "Delivered", count: int) -> None:
        assert self._producer.flush(self.patience) == 0
        assert delivered.errors == [], "the broker refused a record of the test"
        assert delivered.count == count

    def _source(self, partitions: Sequence[Partition], group: str, reset: Literal["earliest", "latest"]) -> KafkaSource:
        own = self._names.own(group)
        return KafkaSource(self._options, [partitions[0].topic], own, reset, on_error=ignore)


class Delivered:
    """Delivery reports of a producer: a flush counts a record that was refused as done, too."""

    def __init__(self) -> None:
        self.count = 0
        self.errors: list[str] = []

    def __call__(self, error: KafkaError | None, _: object) -> None:
        if error is None:
            self.count += 1
        else:
            self.errors.append(str(error))


class SinkHarness(PlainRecords):
    """A `PartitionedSinkHarness` of tests/contracts/sink_contract.py."""

    def __init__(
        self, broker: Broker, outage: Callable[[], AbstractContextManager[None]], patience: float = 30.0
    ) -> None:
        self.patience = patience
        self.outage = outage
        self._broker = broker
        self._names = Names()

    def topic(self) -> str:
        topic = self._names.next("topic")
        make_topic(self._broker, topic, PARTITIONS)
        return topic

    def sink(self, bound: int) -> KafkaSink:
        return KafkaSink({"bootstrap.servers": self._broker.bootstrap, **FAST}, on_error=ignore, bound=bound)

    def read(self, topic: str) -> list[Record]:
        return [record for records in self.by_partition(topic) for record in records]

    def by_partition(self, topic: str) -> list[list[Record]]:
        with closing(reader(self._broker)) as consumer:  # the garbage collector may take 45 s to end one
            return [read(consumer, Partition(topic, number)) for number in range(PARTITIONS)]

    def unacceptable(self, topic: str) -> Record:
        return Record(topic, b"k", b"v" * 2_000_001)  # message.max.bytes is 2,000,000 unless it is set


def make_topic(broker: Broker, name: str, partitions: int) -> None:
    """Make a topic and wait until each partition has a leader."""
    if isinstance(broker, MockBroker):
        broker.create_topic(name, partitions)
        return

    config: Config = {"bootstrap.servers": broker.bootstrap}
    deadline = time.monotonic() + _TOPIC_S
    while True:
        try:
            create_topics(config, {name: partitions}, 10.0)
            break
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)

    # A broker answers before it has heard of the leaders; records sent meanwhile would be refused and sent again.
    admin = AdminClient({**config, "log_level": 0})
    while True:
        found = admin.list_topics(name, 10.0).topics[name].partitions
        if len(found) == partitions and all(part.leader >= 0 for part in found.values()):
            return
        assert time.monotonic() < deadline, f"{name} has no leaders within {_TOPIC_S} s"
        time.sleep(0.05)


def reader(broker: Broker) -> Consumer:
    """Make a client for `read`."""
    return Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", **FAST, "log_level": 0})


def read(consumer: Consumer, partition: Partition) -> list[Record]:
    """Return every record that is durable in the partition at the time of the call."""
    _, end = consumer.get_watermark_offsets(TopicPartition(*partition), 30.0)
    consumer.assign([TopicPartition(*partition, 0)])
    records: list[Record] = []
    while len(records) < end:
        (message,) = consumer.consume(1, 30.0)
        assert message.error() is None, message.error()
        headers: Any = tuple(message.headers() or ())  # the client's stub allows for texts, too
        records.append(Record(partition.topic, message.key(), message.value(), headers))
    return records


@contextmanager
def mock_outage(broker: MockBroker) -> Iterator[None]:
    broker.down()
    yield
    broker.up()


def ignore(text: str) -> None:
    """Drop errors that the test itself caused."""
