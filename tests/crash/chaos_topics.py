"""The outside world of a chaos run: feed readings at a pace, and read topics back at the end."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from confluent_kafka import Consumer, Producer, TopicPartition

from monitor.core.records import Message, Partition
from tests.contracts.kafka_harness import FAST
from tests.crash.chaos_plant import Reading

_PATIENCE_S = 60.0
_ROUND_S = 0.05  # between two handfuls of readings


@contextmanager
def feeding(bootstrap: str, topic: str, readings: Sequence[Reading], duration_s: float) -> Iterator[threading.Thread]:
    """Produce the readings, spread over a time, in a thread."""
    failures: list[str] = []
    thread = threading.Thread(target=_feed, args=(bootstrap, topic, readings, duration_s, failures), daemon=True)
    thread.start()
    yield thread
    thread.join(_PATIENCE_S)
    assert not thread.is_alive(), "the readings could not be produced"
    assert not failures, failures[:3]


def _feed(bootstrap: str, topic: str, readings: Sequence[Reading], duration_s: float, failures: list[str]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, **FAST, "enable.idempotence": True, "log_level": 0})

    begin, sent = time.monotonic(), 0
    while sent < len(readings):
        due = min(len(readings), int((time.monotonic() - begin) / duration_s * len(readings)) + 1)
        for reading in readings[sent:due]:
            producer.produce(
                topic,
                reading.value,
                reading.key,
                reading.partition,
                on_delivery=lambda error, _: failures.append(str(error)) if error is not None else None,
            )

        sent = due
        producer.poll(_ROUND_S)
    if left := producer.flush(_PATIENCE_S):
        failures.append(f"{left} readings were not delivered")


def read_topic(bootstrap: str, topic: str) -> list[Message]:
    """Read a whole topic, partition by partition, once no transaction is open in it.

    A reader of committed records meets the end of a partition at the oldest open transaction. That of a killed worker
    stays open until the broker's timeout, and hides the committed records behind it.
    """
    options = {"bootstrap.servers": bootstrap, "group.id": "chaos-reader", **FAST, "log_level": 0}
    everything = {**options, "isolation.level": "read_uncommitted"}
    found: list[Message] = []
    with (
        closing(Consumer({**options, "enable.partition.eof": True, "enable.auto.commit": False})) as consumer,
        closing(Consumer(everything)) as uncommitted,
    ):
        for number in sorted(consumer.list_topics(topic, _PATIENCE_S).topics[topic].partitions):
            place = TopicPartition(topic, number, 0)
            _, end = uncommitted.get_watermark_offsets(place, timeout=_PATIENCE_S)
            consumer.assign([place])
            found += _read(consumer, Partition(topic, number), end)
    return found


def _read(consumer: Consumer, partition: Partition, end: int) -> Iterator[Message]:
    """Yield the committed records below `end`, the offset behind the newest record of any kind."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for message in consumer.consume(1000, 1.0):
            offset = message.offset()
            assert offset is not None
            if (error := message.error()) is not None:
                assert error.name() == "_PARTITION_EOF", error
                if offset >= end:
                    return
                continue
            yield Message(partition, offset, message.key(), message.value(), message.timestamp()[1])
    raise AssertionError(f"{partition} was not readable up to {end} within {_PATIENCE_S} s")


def committed(bootstrap: str, group: str, topic: str, partitions: int, timeout: float = _PATIENCE_S) -> dict[int, int]:
    """Return the group's committed offset of each partition, 0 if there is none.

    The broker does not tell an offset that an open transaction may still change. Raises KafkaException after `timeout`.
    """
    with closing(Consumer({"bootstrap.servers": bootstrap, "group.id": group, **FAST, "log_level": 0})) as consumer:
        asked = [TopicPartition(topic, number) for number in range(partitions)]
        return {part.partition: max(0, part.offset) for part in consumer.committed(asked, timeout=timeout)}
