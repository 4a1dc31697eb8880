"""Which partitions a consumer fetches, and from where.

The position is kept here, one behind the last message that was delivered, and not asked of the client, whose own runs
ahead of what a call returned. A group rebalances either cooperatively, where partitions come and go one by one, or
eagerly, where the client must be told the whole assignment each time; that difference ends in this module.
"""

import time
from collections.abc import Collection, Iterator

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from monitor.connectors.kafka.client import KafkaFatal
from monitor.core.records import Partition

_END_S = 1.0  # a round trip if the broker is there
_AGAIN_S = 5.0  # between two looks at the ends of what is paused


class Positions:
    """Next offset to deliver by partition, or OFFSET_BEGINNING or OFFSET_END while no message has come yet."""

    def __init__(self, consumer: Consumer, *, cooperative: bool) -> None:
        self.next: dict[Partition, int] = {}
        self._consumer = consumer
        self._cooperative = cooperative
        self._paused: set[Partition] = set()
        self._ends: dict[
            Partition, int
        ] = {}  # as last asked for; the client by itself hears of an end only as it fetches
        self._look_at = 0.0  # monotonic seconds

    def __contains__(self, partition: object) -> bool:
        return partition in self.next

    def __iter__(self) -> Iterator[Partition]:
        return iter(sorted(self.next))

    def add(self, starts: dict[Partition, int]) -> None:
        """Fetch these too. Waits for the ends of the partitions, at most `_END_S` for one that is not to be had."""
        self._look_for_ends(starts)
        self.next.update(starts)
        self._fetch(starts.keys())

    def move(self, partition: Partition, offset: int) -> None:
        """Fetch a partition from another offset; if it is paused it stays so."""
        if self._cooperative:
            self._tell("incremental_unassign", [partition])
        self.next[partition] = offset
        self._fetch([partition])

    def drop(self, partitions: Collection[Partition]) -> None:
        """Fetch these no more. To be called with none, too, when the group takes away what was never added."""
        self.resume(partitions)  # or the client would remember the pause until it gets the partition again
        for partition in partitions:
            del self.next[partition]
            self._ends.pop(partition, None)
        if self._cooperative:
            self._tell("incremental_unassign", partitions)
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

    def look(self) -> None:
        """Ask for the ends of what is paused, and so is not fetched, every few seconds; else its lag would not grow."""
        if self._paused and time.monotonic() >= self._look_at:
            self._look_for_ends(self._paused)
            self._look_at = time.monotonic() + _AGAIN_S

    def lag(self) -> dict[Partition, int]:
        """Messages not delivered yet as of the last fetch or look; without the partitions whose end nobody has told."""
        lags = {}
        for part, position in self.next.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*part), cached=True)
            high = max(high, self._ends.get(part, high))
            if high >= 0:
                start = {OFFSET_BEGINNING: max(low, 0), OFFSET_END: high}.get(position, position)
                lags[part] = max(0, high - start)
        return lags

    def _look_for_ends(self, partitions: Collection[Partition]) -> None:
        for part in partitions:
            try:
                self._ends[part] = self._consumer.get_watermark_offsets(TopicPartition(*part), timeout=_END_S)[1]
            except KafkaException:  # no leader, for example; then the first fetch will tell, and of the others likewise
                return

    def _fetch(self, partitions: Collection[Partition]) -> None:
        mine = partitions if self._cooperative else self.next.keys()
        self._tell("incremental_assign" if self._cooperative else "assign", mine)
        self._consumer.pause([TopicPartition(*part) for part in self._paused.intersection(mine)])

    def _tell(self, method: str, partitions: Collection[Partition]) -> None:
        places = [TopicPartition(*part, self.next.get(part, OFFSET_BEGINNING)) for part in partitions]
        try:
            getattr(self._consumer, method)(places)
        except KafkaException as fault:  # to go on would be to deliver nothing of them, in silence
            raise KafkaFatal(f"{method}: {fault.args[0]}") from fault
