"""The in-process broker keeps the promises of every source and sink."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import pytest

from monitor.connectors.base import Source
from monitor.connectors.memory.broker import MemoryBroker
from monitor.connectors.memory.client import MemorySink, MemorySource
from monitor.core.records import Partition, Record
from tests.contracts.group_contract import GroupContract
from tests.contracts.sink_contract import PartitionedSinkContract, PlainRecords


class _Harness(PlainRecords):
    patience = 5.0

    def __init__(self) -> None:
        self.names = (f"topic-{number}" for number in count())
        self.broker = MemoryBroker({"topic-0": 3, "topic-1": 3, "topic-2": 3}, max_record_bytes=1_000)

    # As a SinkHarness

    def topic(self) -> str:
        return next(self.names)

    def sink(self, bound: int) -> MemorySink:
        return MemorySink(self.broker, bound)

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.broker.refuse("an outage")
        yield
        self.broker.refuse(None)

    def read(self, topic: str) -> list[Record]:
        return [record for records in self.by_partition(topic) for record in records]

    def by_partition(self, topic: str) -> list[list[Record]]:
        return [[stored.record for stored in self.broker.read(part)] for part in self.broker.partitions(topic)]

    def unacceptable(self, topic: str) -> Record:
        return Record(topic, b"k", b"v" * 1_001)


class _GroupHarness:
    patience = 5.0

    def __init__(self) -> None:
        self.numbers = count()
        self.broker = MemoryBroker({f"topic-{number}-of-{size}": size for number in range(4) for size in range(1, 5)})

    def partitions(self, count: int) -> list[Partition]:
        return self.broker.partitions(f"topic-{next(self.numbers)}-of-{count}")

    def fill(self, partition: Partition, values: Sequence[bytes]) -> None:
        for value in values:
            self.broker.append(Record(partition.topic, None, value), partition.number)

    def source(self, partitions: Sequence[Partition], group: str) -> MemorySource:
        return MemorySource(self.broker, [partitions[0].topic], group)

    def latest(self, partitions: Sequence[Partition], group: str) -> MemorySource:
        return MemorySource(self.broker, [partitions[0].topic], group, reset="latest")

    def produce(self, partition: Partition, key: bytes | None, value: bytes | None, timestamp: int) -> None:
        self.broker.append(Record(partition.topic, key, value), partition.number, timestamp)

    def pattern(self) -> tuple[str, Callable[[], Partition]]:
        word = f"plant-{next(self.numbers)}"
        return f"^{word}-[0-9]+$", lambda: self.broker.partitions(f"{word}-{next(self.numbers)}")[0]

    def subscribed(self, topics: Sequence[str], group: str) -> MemorySource:
        return MemorySource(self.broker, topics, group)

    def evict(self, source: Source) -> None:
        assert isinstance(source, MemorySource)
        self.broker.kick(source.group, source.member)


class TestMemorySource(GroupContract):
    """Members of a group of the in-process broker."""

    @pytest.fixture
    def harness(self) -> _GroupHarness:
        return _GroupHarness()


class TestMemorySink(PartitionedSinkContract):
    """Records into the in-process broker."""

    @pytest.fixture
    def harness(self) -> _Harness:
        return _Harness()
