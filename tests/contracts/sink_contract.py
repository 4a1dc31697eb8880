"""What every implementation of `Sink` promises.

`SinkContract` holds for files, brokers and databases alike, over records that the harness makes, since a database takes
no bytes but its own; `ByteSinkContract` adds that any bytes are kept, `PartitionedSinkContract` what the partitions of
a topic promise. A test file subclasses one of them and gives the fixture `harness`. What is "durable" is judged by
reading the other side while the sink is still open, through the harness, never by asking the sink.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pytest

from monitor.connectors.base import Invalid, Sink, Unavailable
from monitor.core.records import Record


class SinkHarness(Protocol):
    """What a test file provides."""

    patience: float  # seconds within which a healthy other side has answered; 30 for a broker over TCP

    def topic(self) -> str:
        """A topic that nothing was written to; of several partitions where there are partitions."""

    def records(self, topic: str, count: int, first: int = 0, key: bytes = b"k") -> list[Record]:
        """`count` acceptable records, those numbered from `first` on; each number gives another, always the same."""

    def sink(self, bound: int) -> Sink:
        """A new sink, not opened, that buffers about `bound` records and refuses more until a flush."""

    def outage(self) -> AbstractContextManager[None]:
        """While it lasts, no sink gets a record acknowledged; after it, all is well again, as soon as may be."""

    def read(self, topic: str) -> Sequence[Record]:
        """Everything durable in the topic, each key's records in order. What was acknowledged is never missing."""

    def unacceptable(self, topic: str) -> Record:
        """A record that the other side will never accept, for instance because it is too large."""


class PartitionedSinkHarness(SinkHarness, Protocol):
    def by_partition(self, topic: str) -> Sequence[Sequence[Record]]:
        """As `read`, but partition by partition; there are at least two."""


class PlainRecords:
    """The records of a harness whose sink takes any bytes."""

    def records(self, topic: str, count: int, first: int = 0, key: bytes = b"k") -> list[Record]:
        return [Record(topic, key, b"v%d" % number) for number in range(first, first + count)]


def outlast(harness: SinkHarness, topic: str, sink: Sink) -> None:
    """Write records 0 to 2 before an outage, up to 22 in it, each flush of which fails, and up to 25 after it."""
    sink.write(harness.records(topic, 3))
    sink.flush(harness.patience)
    with harness.outage():
        sink.write(harness.records(topic, 20, 3))
        for _ in range(2):
            begin = time.monotonic()
            with pytest.raises(Unavailable):
                sink.flush(0.5)
            assert time.monotonic() - begin < 10.0
        sink.write(harness.records(topic, 2, 23))
    sink.write(harness.records(topic, 1, 25))
    flush(sink, harness.patience)


def flush(sink: Sink, patience: float) -> None:
    """Flush until the other side is back."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return sink.flush(patience)
        except Unavailable:
            assert time.monotonic() < deadline, f"not within {patience} s"
            time.sleep(0.05)


def accepted(sink: Sink, records: Sequence[Record]) -> bool:
    try:
        sink.write(records)
    except Unavailable:
        return False
    return True


class SinkContract:
    """Subclasses give the fixture `harness`, a `SinkHarness`."""

    @pytest.fixture
    def opened(self, harness: SinkHarness) -> Iterator[Callable[..., Sink]]:
        """Makes a sink, opens it, and closes it after the test."""
        sinks: list[Sink] = []

        def sink(bound: int = 10_000) -> Sink:
            sinks.append(harness.sink(bound))
            sinks[-1].open()
            return sinks[-1]

        yield sink
        for each in sinks:
            each.close()

    def test_what_was_flushed_is_there(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """After `flush` every record can be read, each once, those of a key in the order written."""
        topic = harness.topic()
        sink = opened()
        for number in range(30):
            sink.write(harness.records(topic, 1, number, b"a") + harness.records(topic, 1, number, b"b"))
        sink.flush(harness.patience)
        found = harness.read(topic)
        assert len(found) == 60
        for key in (b"a", b"b"):
            assert [record for record in found if record.key == key] == harness.records(topic, 30, 0, key)

    def test_flushing_nothing_is_nothing(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """A flush without records returns at once, before, between and after others, and repeats none."""
        topic = harness.topic()
        sink = opened()
        sink.flush(harness.patience)
        sink.write([])
        sink.flush(harness.patience)
        sink.write(harness.records(topic, 2))
        sink.flush(harness.patience)
        sink.flush(harness.patience)
        assert harness.read(topic) == harness.records(topic, 2)

    def test_topics_are_kept_apart(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """Records of one call may go to different topics and arrive in their own only."""
        one, two = harness.topic(), harness.topic()
        sink = opened()
        sink.write([*harness.records(one, 2), *harness.records(two, 3), *harness.records(one, 2, 2)])
        sink.flush(harness.patience)
        assert harness.read(one) == harness.records(one, 4)
        assert harness.read(two) == harness.records(two, 3)

    def test_a_second_sink_adds_to_the_first(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """What an earlier sink wrote stays, and a later one continues behind it."""
        topic = harness.topic()
        first = opened()
        first.write(harness.records(topic, 2))
        first.flush(harness.patience)
        first.close()
        second = opened()
        second.write(harness.records(topic, 2, 2))
        second.flush(harness.patience)
        assert harness.read(topic) == harness.records(topic, 4)

    def test_closing_without_a_flush_is_harmless(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """`close` raises nothing with records in the buffer, nor a second time, nor before `open`."""
        topic = harness.topic()
        sink = opened()
        sink.write(harness.records(topic, 2))
        sink.flush(harness.patience)
        sink.write(harness.records(topic, 2, 2))
        sink.close()
        sink.close()
        harness.sink(10).close()
        assert harness.read(topic)[:2] == harness.records(topic, 2)

    def test_an_outage_loses_and_doubles_nothing(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """A flush that fails is `Unavailable`, in about its timeout; a later one brings each record once, in order."""
        topic = harness.topic()
        outlast(harness, topic, opened())
        assert harness.read(topic) == harness.records(topic, 26)

    def test_the_buffer_has_a_bound(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """A write beyond the bound is `Unavailable` and takes nothing of its call; after a flush it is accepted."""
        topic = harness.topic()
        sink = opened(10)
        written = 0
        with harness.outage():
            while accepted(sink, harness.records(topic, 3, written)):
                written += 3
                assert written < 100
            assert written >= 9
            assert not accepted(sink, harness.records(topic, 3, written))
        flush(sink, harness.patience)
        assert harness.read(topic) == harness.records(topic, written)
        sink.write(harness.records(topic, 3, written))
        sink.flush(harness.patience)
        assert harness.read(topic) == harness.records(topic, written + 3)

    def test_one_call_may_exceed_the_bound(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """An empty buffer takes a call of any length, so that no batch is rejected permanently for its size."""
        topic = harness.topic()
        sink = opened(10)
        sink.write(harness.records(topic, 50))
        sink.flush(harness.patience)
        assert harness.read(topic) == harness.records(topic, 50)

    def test_what_is_never_accepted_is_named(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """`flush` raises `Invalid` with exactly the records rejected permanently; the others are written once."""
        topic = harness.topic()
        bad = harness.unacceptable(topic)
        sink = opened()
        sink.write([*harness.records(topic, 2), bad, *harness.records(topic, 2, 2)])
        with pytest.raises(Invalid) as caught:
            sink.flush(harness.patience)
        assert [record for record, _ in caught.value.rejected] == [bad]
        assert all(reason for _, reason in caught.value.rejected)
        assert harness.read(topic) == harness.records(topic, 4)
        sink.flush(harness.patience)
        sink.write(harness.records(topic, 1, 4))
        sink.flush(harness.patience)
        assert harness.read(topic) == harness.records(topic, 5)


class ByteSinkContract(SinkContract):
    """Subclasses give the fixture `harness`, a `SinkHarness` with `PlainRecords`."""

    def test_every_part_of_a_record_is_kept(self, harness: SinkHarness, opened: Callable[..., Sink]) -> None:
        """Key, value and headers come back byte for byte, in order; none is not the same as empty."""
        topic = harness.topic()
        records = [
            Record(topic, b"k", b"text\nof two lines \xc3\xa4", (("h", b"1"), ("h", b"2"), ("g", b"\xff\x00"))),
            Record(topic, b"k", None, (("why", b"a tombstone"),)),
            Record(topic, b"k", b""),
            Record(topic, b"k", b"\x00\xff\xfe"),
        ]
        keyless = [Record(topic, None, b"no key"), Record(topic, b"", b"empty key"), Record(topic, b"\xff", b"bytes")]
        sink = opened()
        sink.write(records + keyless)
        sink.flush(harness.patience)
        found = harness.read(topic)
        assert [record for record in found if record.key == b"k"] == records
        assert Counter(record for record in found if record.key != b"k") == Counter(keyless)


class PartitionedSinkContract(ByteSinkContract):
    """Subclasses give the fixture `harness`, a `PartitionedSinkHarness`."""

    def test_a_key_stays_in_its_partition(self, harness: PartitionedSinkHarness, opened: Callable[..., Sink]) -> None:
        """All records of a key go to one partition, from every sink; many keys use more than one."""
        topic = harness.topic()
        keys = [b"asset-%d" % number for number in range(40)]
        for _ in range(2):
            sink = opened()
            sink.write([Record(topic, key, b"v") for key in keys])
            sink.flush(harness.patience)
            sink.close()
        used = [{record.key for record in records} for records in harness.by_partition(topic)]
        assert sum(len(each) for each in used) == len(set[bytes | None]().union(*used)) == len(keys)
        assert sum(1 for each in used if each) >= 2
