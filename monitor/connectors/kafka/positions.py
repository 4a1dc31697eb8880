"""Which partitions a consumer fetches, and from where.

The position, one behind the last delivered message, is kept here. The client's own position runs ahead of what a call
returned. A group rebalances either cooperatively, where partitions come and go one by one, or eagerly, where the client
must be given the whole assignment each time; no other module knows the difference.
"""

import time
from collections.abc import Collection, Iterator

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from monitor.connectors.kafka.client import KafkaFatal
from monitor.core.records import Partition

_END_S = 1.0  # a round trip if the broker is there
_AGAIN_S = 5.0  # between two requests for the ends of paused partitions


class Positions:
    """Next offset to deliver by partition; OFFSET_BEGINNING or OFFSET_END before the first message."""

    def __init__(self, consumer: Consumer, *, cooperative: bool) -> None:
        self.next: dict[Partition, int] = {}
        self._consumer = consumer
        self._cooperative = cooperative
        self._paused: set[Partition] = set()
        self._ends: dict[Partition, int] = {}  # as last asked for; the client learns an end only from a fetch
        self._ask_at = 0.0  # monotonic seconds

    def __contains__(self, partition: object) -> bool:
        return partition in self.next

    def __iter__(self) -> Iterator[Partition]:
        return iter(sorted(self.next))

    def add(self, starts: dict[Partition, int]) -> None:
        """Fetch these partitions, too. Waits for their ends, at most `_END_S` for a partition without an answer."""
        self._ask_for_ends(starts)
        self.next.update(starts)
        self._fetch(starts.keys())

    def move(self, partition: Partition, offset: int) -> None:
        """Fetch a partition from another offset; a paused partition stays paused."""
        if self._cooperative:
            self._call("incremental_unassign", [partition])
        self.next[partition] = offset
        self._fetch([partition])

    def drop(self, partitions: Collection[Partition]) -> None:
        """Stop fetching these partitions. Call it without any, too, when the group revokes what was never added."""
        self.resume(partitions)  # or the client would remember the pause until it gets the partition again
        for partition in partitions:
            del self.next[partition]
            self._ends.pop(partition, None)

        # An eager client gets the rest of its assignment; an empty rest is a call of its own.
        if self._cooperative:
            self._call("incremental_unassign", partitions)
        elif self.next:
            self._fetch(())
        else:
            self._consumer.unassign()

    def pause(self, partitions: Collection[Partition]) -> None:
        mine = self.next.keys() & set(partitions)
        self._consumer.pause([TopicPartition(*part) for part in mine])
        self._paused |= mine

    def resume(self, partitions: Collection[Partition]) -> None:
        mine = self._paused & set(partitions)
        self._consumer.resume([TopicPartition(*part) for part in mine])
        self._paused -= mine

    def refresh_ends(self) -> None:
        """Ask for the ends of paused partitions every few seconds; otherwise their lag would not grow."""
        if self._paused and time.monotonic() >= self._ask_at:
            self._ask_for_ends(self._paused)
            self._ask_at = time.monotonic() + _AGAIN_S

    def lag(self) -> dict[Partition, int]:
        """Return the number of undelivered messages, without the partitions whose end is unknown."""
        lags = {}
        for part, position in self.next.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*part), cached=True)
            high = max(high, self._ends.get(part, high))
            if high >= 0:
                start = {OFFSET_BEGINNING: max(low, 0), OFFSET_END: high}.get(position, position)
                lags[part] = max(0, high - start)
        return lags

    def _ask_for_ends(self, partitions: Collection[Partition]) -> None:
        for part in partitions:
            try:
                self._ends[part] = self._consumer.get_watermark_offsets(TopicPartition(*part), timeout=_END_S)[1]
            except (
                KafkaException
            ):  # no leader, for example, and likely the same for the rest; the first fetch will tell
                return

    def _fetch(self, partitions: Collection[Partition]) -> None:
        mine = partitions if self._cooperative else self.next.keys()
        self._call("incremental_assign" if self._cooperative else "assign", mine)
        self._consumer.pause([TopicPartition(*part) for part in self._paused.intersection(mine)])

    def _call(self, method: str, partitions: Collection[Partition]) -> None:
        """Call a method of the client with the positions. Raises KafkaFatal: otherwise nothing of them would come."""
        places = [TopicPartition(*part, self.next.get(part, OFFSET_BEGINNING)) for part in partitions]
        try:
            getattr(self._consumer, method)(places)
        except KafkaException as fault:
            raise KafkaFatal(f"{method}: {fault.args[0]}") from fault
