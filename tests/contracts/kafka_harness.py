"""Kafka as the contract suites want it: sources, sinks and a look at the other side, for any of the test brokers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from typing import Any, Literal

from confluent_kafka import Consumer, Producer, TopicPartition

from monitor.connectors.base import Source
from monitor.connectors.kafka.client import Config
from monitor.connectors.kafka.sink import KafkaSink, create_topics
from monitor.connectors.kafka.source import KafkaSource
from monitor.core.records import Partition, Record
from tests.brokers import Broker, MockBroker, evict, evict_by_heartbeat
from tests.contracts.sink_contract import PlainRecords

FAST: Config = {  # so that a test need not wait for what takes its time in a plant
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "fetch.wait.max.ms": 50,
    "topic.metadata.refresh.interval.ms": 500,
}
MEMBER: Config = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 100}  # 6 s is the least a real broker accepts
MOCK_MEMBER: Config = {**MEMBER, "session.timeout.ms": 2000}  # the mock lets every rebalance last 1 s less than this
PARTITIONS = 3  # of a topic that a sink writes to


class GroupHarness:
    """A `GroupHarness` of tests/contracts/group_contract.py."""

    def __init__(self, broker: Broker, options: Config, patience: float) -> None:
        self.patience = patience
        self._broker = broker
        self._options: Config = {"bootstrap.servers": broker.bootstrap, **FAST, **options}
        alone: Config = {"batch.num.messages": 1} if broker.kind == "tansu" else {}  # it counts a batch as one message
        self._producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0, "log_level": 0, **alone})
        self._numbers = count()

    def partitions(self, count: int) -> list[Partition]:
        topic = f"topic-{next(self._numbers)}"
        make_topic(self._broker, topic, count)
        return [Partition(topic, number) for number in range(count)]

    def fill(self, partition: Partition, values: Sequence[bytes]) -> None:
        for value in values:
            self._producer.produce(partition.topic, value, partition=partition.number)
        assert self._producer.flush(self.patience) == 0

    def produce(self, partition: Partition, key: bytes | None, value: bytes | None, timestamp: int) -> None:
        self._producer.produce(partition.topic, value, key, partition.number, timestamp=timestamp)
        assert self._producer.flush(self.patience) == 0

    def source(self, partitions: Sequence[Partition], group: str) -> KafkaSource:
        return self._source(partitions, group, "earliest")

    def latest(self, partitions: Sequence[Partition], group: str) -> KafkaSource:
        return self._source(partitions, group, "latest")

    def evict(self, source: Source) -> None:
        assert isinstance(source, KafkaSource)
        leave = evict_by_heartbeat if self._options.get("group.protocol") == "consumer" else evict
        leave(self._broker.bootstrap, source._group, source._opened().memberid())

    def _source(self, partitions: Sequence[Partition], group: str, reset: Literal["earliest", "latest"]) -> KafkaSource:
        return KafkaSource(self._options, [partitions[0].topic], group, reset, on_error=ignore)


class SinkHarness(PlainRecords):
    """A `PartitionedSinkHarness` of tests/contracts/sink_contract.py."""

    def __init__(
        self, broker: Broker, outage: Callable[[], AbstractContextManager[None]], patience: float = 30.0
    ) -> None:
        self.patience = patience
        self.outage = outage
        self._broker = broker
        self._numbers = count()

    def topic(self) -> str:
        topic = f"topic-{next(self._numbers)}"
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
    if isinstance(broker, MockBroker):
        broker.create_topic(name, partitions)
    else:
        assert create_topics({"bootstrap.servers": broker.bootstrap}, {name: partitions}, 10.0) == {name: "created"}


def reader(broker: Broker) -> Consumer:
    """A client for `read`."""
    return Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", **FAST, "log_level": 0})


def read(consumer: Consumer, partition: Partition) -> list[Record]:
    """Every record that is durable in the partition at the time of the call."""
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
    """For complaints of the client that the test itself caused."""
