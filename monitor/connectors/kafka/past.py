"""The records of a topic up to its current end, in about the order in which they were written, read without a trace.

It joins no group and commits nothing, as in `sample.py`. The partitions are merged by the records' timestamps: a round
holds all records that are older than what any partition may still deliver. A partition that runs ahead of the others is
paused, so memory is bounded, however large the topic is.

A topic whose timestamps fall within a partition is merged by the newest timestamp so far.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from monitor.connectors.base import Unavailable
from monitor.connectors.kafka.client import QUIET, Config, Trouble, known
from monitor.connectors.kafka.sample import FORCED, Span, spans_of
from monitor.core.records import Message, Partition

_ANSWER_S = 10.0  # for the offsets of a time
_POLL_S = 0.1  # a poll waits for POLLED messages, or so long
_POLLED = 1000
_QUIET_S = 10.0  # without a message for so long, the missing ones are not waited for
_WAIT_S = 60.0  # for messages, all waits together
_LANE = 1000  # messages, and bytes, at which a partition that runs ahead is paused
_LANE_BYTES = 4 * 2**20
_QUEUE: Config = {"queued.max.messages.kbytes": 16_384}  # that the client fetches ahead


@dataclass(slots=True)
class _Lane:
    """One partition: what is read and not yet handed on."""

    stop: int  # offset behind the last message
    waiting: deque[tuple[int, Message]] = field(default_factory=deque)  # with the newest timestamp so far
    size: int = 0  # bytes
    newest: int = -1  # ms UTC; nothing older can follow
    ended: bool = False
    paused: bool = False

    def add(self, message: Message) -> None:
        """Take the next message."""
        self.newest = max(self.newest, message.timestamp)
        self.waiting.append((self.newest, message))
        self.size += _size(message)

    def take(self, before: int | None) -> list[Message]:
        """Return the messages before a time; None = all."""
        taken = []
        while self.waiting and (before is None or self.waiting[0][0] < before):
            taken.append(self.waiting.popleft()[1])
        self.size -= sum(map(_size, taken))
        return taken

    def full(self) -> bool:
        """Return whether the partition shall wait for the others."""
        return len(self.waiting) >= _LANE or self.size >= _LANE_BYTES


def read_past(config: Config, topic: str, group: str, since: int) -> Iterator[list[Message]]:
    """Yield rounds of the messages from `since` (ms UTC; 0 = all) to the current end.

    What is in a round was written before what is in the next one; within a round only the messages of one partition are
    in order. The client demands a `group`; it is not joined.

    Raises ValueError if the client refuses the configuration or there is no such topic, Unavailable if no broker
    answers or messages that exist do not come.
    """
    trouble = Trouble(lambda _: None)  # its last complaint is part of the exception
    try:
        consumer = Consumer({**QUIET, **config, **FORCED, **_QUEUE, "group.id": group, "error_cb": trouble.heard})
    except KafkaException as fault:
        raise ValueError(f"kafka configuration: {fault.args[0]}") from fault

    try:
        spans = spans_of(consumer, topic)
        yield from _rounds(consumer, _later(consumer, spans, since) if since else spans, trouble)
    except KafkaException as fault:
        consumer.poll(0)  # only there the client gives the reason: the certificate, the password, the address
        raise trouble.judge(fault.args[0], f"topic {topic}") from fault
    finally:
        consumer.close()


def _later(consumer: Consumer, spans: Mapping[Partition, Span], since: int) -> dict[Partition, Span]:
    """Return the parts of the spans from a time on."""
    wanted = [TopicPartition(*part, since) for part in spans]
    later = {}
    for found in consumer.offsets_for_times(wanted, timeout=_ANSWER_S):
        if found.error is not None:
            raise KafkaException(found.error)
        part = Partition(found.topic, found.partition)
        low, high = spans[part]
        later[part] = (high if found.offset < 0 else max(low, found.offset), high)  # below 0: there is none
    return later


def _rounds(consumer: Consumer, spans: Mapping[Partition, Span], trouble: Trouble) -> Iterator[list[Message]]:
    lanes = {part: _Lane(stop) for part, (start, stop) in spans.items() if stop > start}
    consumer.assign([TopicPartition(*part, spans[part][0]) for part in lanes])

    waited = quiet = 0.0
    while any(not lane.ended for lane in lanes.values()):
        begin = time.monotonic()
        arrived = _arrive(consumer.consume(_POLLED, _POLL_S), lanes, trouble)
        gone = time.monotonic() - begin

        # Paused partitions do not wait for a broker, but one that is not paused does.
        quiet, waited = (0.0, waited) if arrived else (quiet + gone, waited + gone)
        if quiet > _QUIET_S or waited > _WAIT_S:
            text = f"messages up to the end were waited for in vain, {waited:.0f} s in all"
            raise Unavailable(f"{text} ({trouble.last})" if trouble.last else text)

        before = min((lane.newest for lane in lanes.values() if not lane.ended), default=None)
        if ready := [message for lane in lanes.values() for message in lane.take(before)]:
            yield ready
        _balance(consumer, lanes, before)


def _arrive(polled: Iterable[Any], lanes: Mapping[Partition, _Lane], trouble: Trouble) -> bool:
    """Put messages into their lanes; return whether anything came."""
    came = False
    for raw in polled:
        part = Partition(raw.topic(), raw.partition())
        if (error := raw.error()) is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
            raise trouble.judge(error, part.topic or "read")

        came = True
        lane = lanes[part]
        if error is not None:  # control records and compaction make a partition shorter than its span
            lane.ended = True
        elif not lane.ended:
            if raw.offset() < lane.stop:
                headers = known(raw.headers() or ())
                lane.add(Message(part, raw.offset(), raw.key(), raw.value(), raw.timestamp()[1], headers))
            lane.ended = raw.offset() + 1 >= lane.stop
    return came


def _balance(consumer: Consumer, lanes: Mapping[Partition, _Lane], before: int | None) -> None:
    """Pause the partitions that are ended or run ahead; resume those that the others wait for."""
    for part, lane in lanes.items():
        ahead = lane.full() and before is not None and lane.newest > before
        if (lane.ended or ahead) != lane.paused:
            lane.paused = not lane.paused
            (consumer.pause if lane.paused else consumer.resume)([TopicPartition(*part)])


def _size(message: Message) -> int:
    return len(message.value or b"") + len(message.key or b"") + sum(len(text) for _, text in message.headers)
