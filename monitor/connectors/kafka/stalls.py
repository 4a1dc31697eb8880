"""Partitions that deliver nothing although every call succeeds, and the reason.

librdkafka reports once that a topic is gone or may not be read, and then retries without another report. So the reason
is kept until a message of the partition comes, or nothing is left to read in it. If the partition was revoked
meanwhile, the reason is kept until the cluster lists its topic again.
"""

import time
from collections.abc import Collection

from confluent_kafka import Consumer, KafkaException, TopicPartition

from monitor.connectors.kafka.positions import Positions
from monitor.core.records import Message, Partition

_ANSWER_S = 1.0  # a round trip if the broker is there
_AGAIN_S = 5.0  # between two checks whether a stall is over


class Stalls:
    """The stalled partitions, each with the client's text."""

    def __init__(self, consumer: Consumer, positions: Positions) -> None:
        self._consumer = consumer
        self._positions = positions
        self._reasons: dict[Partition, str] = {}
        self._check_at = 0.0  # monotonic seconds

    def note(self, partition: Partition, reason: str) -> None:
        """Take the client's complaint about this partition, or about its topic."""
        self._reasons[partition] = reason
        self._check_at = time.monotonic() + _AGAIN_S

    def arrived(self, messages: Collection[Message]) -> None:
        """Forget the reasons of partitions that delivered these messages."""
        if self._reasons:
            for partition in {message.partition for message in messages}:
                self._reasons.pop(partition, None)

    def check(self) -> None:
        """Ask every few seconds, if any partition is stalled, whether the stall is over."""
        if not self._reasons or time.monotonic() < self._check_at:
            return
        try:
            for partition in [part for part in self._reasons if self._over(part)]:
                del self._reasons[partition]
        except KafkaException:  # no answer; the next check asks again
            pass
        self._check_at = time.monotonic() + _AGAIN_S

    def reason(self) -> str:
        """Return why partitions are stalled, in the client's words; empty if none is."""
        return "; ".join(dict.fromkeys(self._reasons.values()))

    def _over(self, partition: Partition) -> bool:
        """Return whether the stall is over. Raises KafkaException without an answer."""
        if partition in self._positions:
            end = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_ANSWER_S)[1]
            return self._positions.next[partition] == end

        topic = self._consumer.list_topics(timeout=_ANSWER_S).topics.get(partition.topic)
        return topic is not None and topic.error is None
