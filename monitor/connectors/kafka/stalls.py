"""What keeps partitions from being delivered although every call succeeds, and whether it still does.

librdkafka tells once that a topic is gone or may not be read, and then goes on trying without a word. So what it told
is kept until a message of the partition comes, nothing more of it is left to read, or, where the partition was taken
away meanwhile, the cluster names its topic again.
"""

import time
from collections.abc import Collection

from confluent_kafka import Consumer, KafkaException, TopicPartition

from monitor.connectors.kafka.positions import Positions
from monitor.core.records import Message, Partition

_ANSWER_S = 1.0  # a round trip if the broker is there
_AGAIN_S = 5.0  # between two looks whether it is over


class Stalls:
    """The partitions that are held up, each with the client's words."""

    def __init__(self, consumer: Consumer, positions: Positions) -> None:
        self._consumer, self._positions = consumer, positions
        self._told: dict[Partition, str] = {}
        self._look_at = 0.0  # monotonic seconds

    def note(self, partition: Partition, text: str) -> None:
        """The client complained of this partition, or of its topic."""
        self._told[partition] = text
        self._look_at = time.monotonic() + _AGAIN_S

    def arrived(self, messages: Collection[Message]) -> None:
        """These were delivered."""
        if self._told:
            for partition in {message.partition for message in messages}:
                self._told.pop(partition, None)

    def look(self) -> None:
        """Ask every few seconds, if anything is held up, whether it is over."""
        if not self._told or time.monotonic() < self._look_at:
            return
        try:
            for partition in [part for part in self._told if self._over(part)]:
                del self._told[partition]
        except KafkaException:  # no answer: it is asked again
            pass
        self._look_at = time.monotonic() + _AGAIN_S

    def text(self) -> str:
        """What is wrong, in the client's words; empty = nothing."""
        return "; ".join(dict.fromkeys(self._told.values()))

    def _over(self, partition: Partition) -> bool:
        """Raises KafkaException without an answer."""
        if partition in self._positions:
            end = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_ANSWER_S)[1]
            return self._positions.next[partition] == end
        topic = self._consumer.list_topics(timeout=_ANSWER_S).topics.get(partition.topic)
        return topic is not None and topic.error is None
