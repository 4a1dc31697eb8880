"""A caller of a source that checks the source's promises, and ways to wait for it.

Brokers answer late, so nothing here sleeps for a fixed time: members are polled until a condition holds or the
patience is over. A member also watches, at every step of every test, the promises that have no test of their own:
offsets run on without gap or repetition, nothing arrives of a partition that is paused or not assigned, and callbacks
come inside `poll` and `close` on the caller's thread.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from monitor.connectors.base import Committed, Source, Unavailable
from monitor.core.records import Message, Partition

Starts = Mapping[Partition, int | None]


class Member:
    """The least that a caller does around a source: keep its messages, commit its offsets."""

    def __init__(
        self, source: Source, starts: Callable[[Committed], Starts] = dict, *, commit_when_revoked: bool = False
    ) -> None:
        self.source = source
        self.assigned: set[Partition] = set()
        self.committed: dict[Partition, int | None] = {}  # as told when last assigned
        self.revoked: list[Partition] = []
        self.lost: list[Partition] = []
        self.paused: set[Partition] = set()
        self.messages: list[Message] = []
        self.next: dict[Partition, int | None] = {}  # None = wherever the first message is
        self.commit_when_revoked = commit_when_revoked
        self._starts = starts
        self._inside: int | None = None  # the thread that is inside poll or close

    def __str__(self) -> str:
        seen = f"{len(self.messages)} messages, next {self.next}, assigned {self.assigned}, lost {self.lost}"
        return f"{seen}, lag {self.source.lag()}"  # of a stuck source above 0, of messages that are not there 0

    def open(self) -> "Member":
        self.source.open(self._on_assign, self._on_revoke, self._on_lost)
        assert not self.assigned, "open returns before any partition is assigned"
        return self

    def poll(self, limit: int = 100, timeout: float = 0.05) -> list[Message]:
        with self._watched():
            messages = self.source.poll(limit, timeout)
        assert len(messages) <= limit
        for message in messages:
            assert message.partition in self.assigned - self.paused
            assert self.next[message.partition] in (None, message.offset), "an offset was left out or repeated"
            self.next[message.partition] = message.offset + 1
        self.messages += messages
        return messages

    def close(self) -> None:
        with self._watched():
            self.source.close()

    def pause(self, *partitions: Partition) -> None:
        self.source.pause(partitions)
        self.paused.update(partitions)

    def resume(self, *partitions: Partition) -> None:
        self.source.resume(partitions)
        self.paused.difference_update(partitions)

    def offsets(self) -> dict[Partition, int]:
        """Return the next offset of every assigned partition with at least one message."""
        seen = {message.partition for message in self.messages}
        return {part: at for part in self.assigned & seen if (at := self.next[part]) is not None}

    def values(self, partition: Partition) -> list[bytes | None]:
        return [message.value for message in self.messages if message.partition == partition]

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._inside = threading.get_ident()
        try:
            yield
        finally:
            self._inside = None

    def _on_assign(self, committed: Committed) -> Starts:
        assert self._inside == threading.get_ident()
        assert self.assigned.isdisjoint(committed), "a partition was assigned twice"
        self.assigned.update(committed)
        self.committed.update(committed)
        starts = self._starts(committed)
        self.next.update(starts)
        return starts

    def _on_revoke(self, partitions: Sequence[Partition]) -> None:
        assert self._inside == threading.get_ident()
        assert self.assigned.issuperset(partitions), "what was never given cannot be taken"
        mine = {part: at for part, at in self.offsets().items() if part in partitions}
        self.revoked += partitions
        self._drop(partitions)
        if self.commit_when_revoked:
            self.source.commit(mine, 10.0)  # may raise: of a member that was too slow, the broker takes none

    def _on_lost(self, partitions: Sequence[Partition]) -> None:
        assert self._inside == threading.get_ident()
        assert self.assigned.issuperset(partitions), "what was never given cannot be lost"
        self.lost += partitions
        self._drop(partitions)

    def _drop(self, partitions: Sequence[Partition]) -> None:
        self.assigned.difference_update(partitions)
        self.paused.difference_update(partitions)


def until(condition: Callable[[], bool], patience: float, *members: Member, limit: int = 100) -> None:
    """Poll the members in turn until the condition holds. Poll again after an `Unavailable`."""
    deadline = time.monotonic() + patience
    outage = ""
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience} s: {[*map(str, members)]} {outage}"
        for member in members:
            try:
                member.poll(limit)
            except Unavailable as fault:
                outage = f"last unavailable: {fault}"
                time.sleep(0.05)


def commit(member: Member, offsets: Mapping[Partition, int], patience: float) -> None:
    """Commit. Try again after an `Unavailable`, with polls in between, in which a rebalance can end."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return member.source.commit(offsets, 10.0)
        except Unavailable:
            assert time.monotonic() < deadline, f"not within {patience} s"
            member.poll()


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b'{"n":%d}' % number for number in range(first, first + count)]
