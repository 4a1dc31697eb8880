"""A sample of a topic, read without a trace: it joins no group, commits nothing and creates no topic.

Partitions are assigned by hand, so no coordinator is involved and no member of any group loses one. The sample consists
of runs. Half of it is the newest messages of each partition. The other half is spread evenly over the rest, the oldest
messages included, so that machines that are silent today and formats of last week are seen, too. A partition with fewer
messages than its share is read as a whole.
"""

import time
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from monitor.connectors.base import Sample
from monitor.connectors.kafka.client import QUIET, Config, Trouble, known
from monitor.core.records import Message, Partition

_ANSWER_S = 10.0  # for the list of topics, and for the ends of a partition
_POLL_S = 0.1  # a poll waits for a thousand messages, or so long
_QUIET_S = 10.0  # without a message for so long, the missing ones are not waited for
_OLDER = 3  # runs before the newest one
_MOST_BYTES = 256 * 2**20  # of the sample; 50 000 messages of the largest size that brokers take would be 50 GB
FORCED: Config = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",  # retention may delete a run's beginning meanwhile
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}

Span = tuple[int, int]  # first offset, and the one behind the last


class _Bound:
    """How many more bytes may be read."""

    def __init__(self) -> None:
        self.bytes_left = _MOST_BYTES
        self.cut = ""  # why the sample is smaller than asked for


def sample_topic(config: Config, topic: str, group: str, limit: int) -> Sample:
    """Read about `limit` messages of `topic`. The client demands a `group`; it is not joined.

    Raises ValueError if the client refuses the configuration or there is no such topic, Unavailable if no broker
    answers.
    """
    trouble = Trouble(lambda _: None)  # its last complaint is part of the exception
    try:
        consumer = Consumer({**QUIET, **config, **FORCED, "group.id": group, "error_cb": trouble.heard})
    except KafkaException as fault:
        raise ValueError(f"kafka configuration: {fault.args[0]}") from fault

    try:
        spans = spans_of(consumer, topic)
        each = max(1, limit // len(spans))
        bound, runs = _Bound(), []
        for chosen in _rounds(spans, each):
            runs += _read(consumer, chosen, bound, trouble)
    except KafkaException as fault:
        consumer.poll(0)  # only there the client gives the reason: the certificate, the password, the address
        raise trouble.judge(fault.args[0], f"topic {topic}") from fault
    finally:
        consumer.close()

    held = {part: stop - start for part, (start, stop) in spans.items()}
    return Sample(tuple(tuple(run) for run in runs if run), held, bound.cut)


def spans_of(consumer: Consumer, topic: str) -> dict[Partition, Span]:
    """Return the offsets of each partition. Raises ValueError if there is no such topic."""
    topics = consumer.list_topics(timeout=_ANSWER_S).topics  # all of them: asking for one by name may create it
    if topic not in topics:
        names = sorted(name for name in topics if not name.startswith("__"))
        close = get_close_matches(topic, names, 3, 0.6) or names[:10]
        there = f"there is {', '.join(close)}" if close else "this user can see no topic"
        raise ValueError(f"no topic {topic!r}; {there}")
    if (error := topics[topic].error) is not None:
        raise KafkaException(error)

    parts = [Partition(topic, number) for number in sorted(topics[topic].partitions)]
    return {part: consumer.get_watermark_offsets(TopicPartition(*part), timeout=_ANSWER_S) for part in parts}


def _rounds(spans: Mapping[Partition, Span], each: int) -> list[dict[Partition, Span]]:
    """Return the spans to read in each round, oldest first: `each` messages of a partition over all rounds."""
    rounds: list[dict[Partition, Span]] = [{} for _ in range(_OLDER + 1)]
    for part, (low, high) in spans.items():
        if high - low <= each:
            rounds[-1][part] = (low, high)
            continue

        # Half of the share from the end.
        newest = each - each // 2
        rounds[-1][part] = (high - newest, high)

        # The other half in runs at equal distances, the first at the oldest message.
        size = each // 2 // _OLDER
        for number in range(_OLDER if size else 0):
            begin = low + (high - newest - size - low) * number // (_OLDER - 1)
            rounds[number][part] = (begin, begin + size)
    return [chosen for chosen in rounds if any(stop > start for start, stop in chosen.values())]


def _read(consumer: Consumer, chosen: Mapping[Partition, Span], bound: _Bound, trouble: Trouble) -> list[list[Message]]:
    """Read a run of each partition."""
    runs: dict[Partition, list[Message]] = {part: [] for part, (start, stop) in chosen.items() if stop > start}
    left = set(runs)
    consumer.assign([TopicPartition(*part, chosen[part][0]) for part in runs])

    last = time.monotonic()
    while left and not bound.cut:
        polled: Iterable[Any] = consumer.consume(1000, _POLL_S)
        for raw in polled:
            part = Partition(raw.topic(), raw.partition())
            if (error := raw.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
                    raise trouble.judge(error, part.topic or "read")
                left.discard(part)  # control records and compaction make a run shorter than its span
            elif part in left:
                last = time.monotonic()
                if raw.offset() < chosen[part][1]:
                    headers = known(raw.headers() or ())
                    message = Message(part, raw.offset(), raw.key(), raw.value(), raw.timestamp()[1], headers)
                    runs[part].append(message)
                    bound.bytes_left -= len(message.value or b"") + len(message.key or b"")
                if raw.offset() + 1 >= chosen[part][1]:
                    left.discard(part)
                    consumer.pause([TopicPartition(*part)])

        # Stop early when the sample is too large, or nothing comes any more.
        if bound.bytes_left <= 0:
            bound.cut = f"it was cut at {_MOST_BYTES // 2**20} MiB"
        elif left and time.monotonic() - last > _QUIET_S:
            bound.cut = f"nothing came for {_QUIET_S:g} s" + (f" ({trouble.last})" if trouble.last else "")

    consumer.resume([TopicPartition(*part) for part in runs])  # or the client would remember the pause
    consumer.unassign()
    return list(runs.values())
