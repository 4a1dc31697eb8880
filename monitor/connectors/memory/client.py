"""Source and sink of the in-process broker; `broker.py` says what it is for and what it leaves out.

A callback runs inside the `poll` or `close` of its own member, with no lock held, so it may commit, read and write. The
sink hands over its buffer in one step: a reader sees all records of a flush or none.
"""

import time
from collections.abc import Mapping, Sequence

from monitor.connectors.base import Invalid, OnAssign, OnRevoke, Unavailable, is_pattern, subscribes
from monitor.connectors.memory.broker import MemoryBroker
from monitor.core.records import Message, Partition, Record

__all__ = ["MemoryBroker", "MemorySink", "MemorySource"]


class MemorySource:
    """Messages of the broker's topics, as a member of a group, used by one thread. See `base.Source`."""

    def __init__(self, broker: MemoryBroker, topics: Sequence[str], group: str, reset: str = "earliest") -> None:
        if reset not in ("earliest", "latest"):
            raise ValueError(f"reset must be earliest or latest, got {reset!r}")
        self.member = ""  # its name in the group, for `MemoryBroker.kick`; empty = not open
        self.group = group
        self._broker = broker
        self._topics = tuple(topics)
        self._reset = reset
        self._positions: dict[Partition, int] = {}  # next offset to deliver, by assigned partition
        self._paused: set[Partition] = set()
        self._turn = 0  # the partition that the next poll begins with, so that a busy one cannot starve the others

    def open(self, on_assign: OnAssign, on_revoke: OnRevoke, on_lost: OnRevoke) -> None:
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._on_lost = on_lost
        self.member = self._broker.join(self.group, self._topics)

    def poll(self, limit: int, timeout: float) -> list[Message]:
        deadline = time.monotonic() + timeout
        while True:
            version = self._broker.version()  # read first, so that no change between read and wait is missed
            self._rebalance()
            if messages := self._take(limit):
                return messages

            left = deadline - time.monotonic()
            if left <= 0:
                return []
            self._broker.wait(version, left)

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(self._positions.keys() & set(partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:  # noqa: ARG002 - never has to wait
        self._broker.commit(self.group, self.member, offsets)

    def lag(self) -> dict[Partition, int]:
        return {part: self._end(part) - position for part, position in self._positions.items()}

    def stalled(self) -> str:
        """See `base.Source`. Always empty: a fault of the broker raises."""
        return ""

    def first_match(self) -> str:
        patterns = [topic for topic in self._topics if is_pattern(topic)]
        return next((topic for topic in self._broker.topics() if subscribes(patterns, topic)), "")

    def ended(self) -> bool:
        """Return whether `MemoryBroker.finish` was called and this member has delivered all its messages.

        Another member that leaves later without a commit may still leave messages to this one.
        """
        if not self.member or not self._broker.finished():
            return False
        settled = self._broker.target(self.group, self.member) == self._positions.keys()
        return settled and not any(self.lag().values())

    def close(self) -> None:
        if not self.member:
            return
        member, known = self.member, self._broker.knows(self.group, self.member)
        try:
            if self._positions:
                self._drop(self._on_revoke if known else self._on_lost, list(self._positions))
        finally:
            self._broker.kick(self.group, member)
            self.member = ""

    def _rebalance(self) -> None:
        """Follow the group's assignment since the last poll."""
        self._broker.ping()

        # Evicted: everything is lost, and the source joins as a new member.
        if not self._broker.knows(self.group, self.member):
            if self._positions:
                self._drop(self._on_lost, list(self._positions))
            self.member = self._broker.join(self.group, self._topics)

        # Revoke before claiming: another member may wait for these partitions.
        revoked = self._positions.keys() - self._broker.target(self.group, self.member)
        if revoked:
            self._drop(self._on_revoke, sorted(revoked))
            self._broker.release(self.group, self.member, revoked)

        if committed := self._broker.claim(self.group, self.member):
            try:
                starts = self._on_assign(committed)
                self._positions.update({part: self._start(part, starts[part]) for part in committed})
            except BaseException:  # the partitions are not taken over; the next poll offers them again
                self._broker.release(self.group, self.member, committed)
                raise

    def _drop(self, callback: OnRevoke, partitions: Sequence[Partition]) -> None:
        callback(partitions)
        for partition in partitions:
            del self._positions[partition]
            self._paused.discard(partition)

    def _start(self, partition: Partition, offset: int | None) -> int:
        if offset is None and self._reset == "earliest":
            return self._broker.begin_offsets(partition.topic)[partition]
        if offset is None:
            return self._end(partition)
        if offset > self._end(partition):
            raise ValueError(f"{partition.topic}[{partition.number}] has no offset {offset} yet")
        return offset

    def _end(self, partition: Partition) -> int:
        return self._broker.end_offsets(partition.topic)[partition]

    def _take(self, limit: int) -> list[Message]:
        """Return up to `limit` messages, beginning with another partition each time."""
        messages: list[Message] = []
        parts = sorted(self._positions.keys() - self._paused)
        self._turn += 1

        for turn in range(len(parts)):
            part = parts[(self._turn + turn) % len(parts)]
            for offset, record, timestamp in self._broker.read(part, self._positions[part], limit - len(messages)):
                messages.append(Message(part, offset, record.key, record.value, timestamp, record.headers))
                self._positions[part] = offset + 1
        return messages


class MemorySink:
    """Records into the broker's topics; the key determines the partition. See `base.Sink`."""

    def __init__(self, broker: MemoryBroker, bound: int = 100_000) -> None:
        self._broker = broker
        self._bound = bound  # records buffered between two flushes; an empty buffer takes one call of any length
        self._buffer: list[Record] = []

    def open(self) -> None:
        self._broker.ping()

    def write(self, records: Sequence[Record]) -> None:
        """Accept all records, or raise Unavailable and accept none of them."""
        if self._buffer and len(self._buffer) + len(records) > self._bound:
            raise Unavailable(f"{len(self._buffer)} records wait to be flushed, at most {self._bound} may")
        self._buffer += records

    def flush(self, timeout: float) -> None:  # noqa: ARG002 - never has to wait
        try:
            self._broker.extend(self._buffer)
        except Invalid:
            self._buffer.clear()  # all others were written
            raise
        self._buffer.clear()

    def close(self) -> None:
        self._buffer.clear()
