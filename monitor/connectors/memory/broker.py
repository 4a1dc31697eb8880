"""An in-process broker: topics with partitions, groups that rebalance, committed offsets, retention.

Why: the demo and most tests need Kafka's promises without a server, and exact control over faults (`refuse`, `kick`).
It keeps the promises of the contract suites. Where Kafka offers a choice, this is the simplest one:

* A partition is revoked in its owner's next `poll` or `close`, and assigned in its new owner's next poll; all other
  partitions stay. There are no heartbeats: an owner that never polls again keeps its partitions until `kick`.
* The oldest records of a partition are dropped when it holds more than `bound`. A slow reader continues at the oldest
  record left; missed records show as a gap in the offsets.

Nothing here survives the process, and there are no transactions.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple
from zlib import crc32

from monitor.connectors.base import Invalid, Unavailable, is_pattern, subscribes
from monitor.core.records import Partition, Record

_TOPIC = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._-]{1,249}")  # Kafka's rule


def now_ms() -> int:
    """The wall clock, ms UTC."""
    return time.time_ns() // 1_000_000


class Stored(NamedTuple):
    """A record in a partition."""

    offset: int
    record: Record
    timestamp: int  # ms UTC


@dataclass(slots=True)
class _Log:
    begin: int = 0  # offset of the oldest record still kept
    records: deque[tuple[Record, int]] = field(default_factory=deque)

    @property
    def end(self) -> int:
        return self.begin + len(self.records)


@dataclass(slots=True)
class _Group:
    committed: dict[Partition, int] = field(default_factory=dict)
    owner: dict[Partition, str] = field(default_factory=dict)  # the member that may commit
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)  # topics by member, in order of joining
    target: dict[Partition, str] = field(default_factory=dict)  # the member that shall own


class MemoryBroker:
    """Topics, groups and offsets; thread-safe. Every request raises Unavailable while `refuse` is in force."""

    def __init__(
        self,
        partitions: Mapping[str, int] | None = None,
        *,
        default_partitions: int = 1,
        bound: int | None = 100_000,
        max_record_bytes: int = 1_048_576,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._counts = dict(partitions or {})  # partitions by topic
        self._default_partitions = default_partitions  # of a topic created by its first use
        self._bound = bound  # records kept per partition; None = all
        self._max_record_bytes = max_record_bytes  # key and value together; Kafka's default
        self._clock = clock

        # State, guarded by `_changed`.
        self._logs: dict[Partition, _Log] = {}
        self._rotation: dict[str, int] = {}  # next partition for a record without key
        self._groups: dict[str, _Group] = {}
        self._joined = 0
        self._refusing: str | None = None
        self._finished = False
        self._version = 0  # counts changes that may end a wait
        self._changed = threading.Condition(threading.RLock())

    def partitions(self, topic: str) -> list[Partition]:
        """Return the partitions of a topic, and create it if it is new. Raises ValueError for an illegal name."""
        if _TOPIC.fullmatch(topic) is None:
            raise ValueError(f"topic {topic[:250]!r}: expected 1 to 249 of the characters A-Z a-z 0-9 . _ -")
        with self._changed:
            if topic not in self._counts:
                self._counts[topic] = self._default_partitions
                for name, group in self._groups.items():  # a pattern may match the new topic
                    if any(is_pattern(each) for topics in group.members.values() for each in topics):
                        self._share(name)
            return [Partition(topic, n) for n in range(self._counts[topic])]

    def topics(self) -> list[str]:
        """Return the names of all topics, in order."""
        with self._changed:
            return sorted(self._counts)

    def append(
        self, record: Record, partition: int | None = None, timestamp: int | None = None
    ) -> tuple[Partition, int]:
        """Store one record, return its place. `partition` and `timestamp` replace those of the record.

        Raises Invalid if the record will never be accepted.
        """
        with self._changed:
            self.ping()
            if reason := self._fault(record):
                raise Invalid(reason, [(record, reason)])
            return self._store(record, partition, timestamp)

    def extend(self, records: Sequence[Record]) -> None:
        """Store all records in one step, so that a reader sees none or all. Raises Invalid for the rejected ones."""
        with self._changed:
            self.ping()
            rejected = [(record, reason) for record in records if (reason := self._fault(record))]
            left_out = {id(record) for record, _ in rejected}
            for record in records:
                if id(record) not in left_out:
                    self._store(record)
        if rejected:
            raise Invalid(rejected[0][1], rejected)

    def read(self, partition: Partition, start: int = 0, limit: int | None = None) -> list[Stored]:
        """Return up to `limit` records from offset `start` on, or from the oldest one left if that is later."""
        with self._changed:
            self.ping()
            log = self._log(partition)
            first = max(start, log.begin)
            kept = islice(log.records, first - log.begin, None if limit is None else first - log.begin + limit)
            return [Stored(first + n, record, timestamp) for n, (record, timestamp) in enumerate(kept)]

    def begin_offsets(self, topic: str) -> dict[Partition, int]:
        """Return the offset of the oldest record left, by partition."""
        with self._changed:
            return {partition: self._log(partition).begin for partition in self.partitions(topic)}

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        """Return the offset of the next record, by partition."""
        with self._changed:
            return {partition: self._log(partition).end for partition in self.partitions(topic)}

    def committed(self, group: str) -> dict[Partition, int]:
        """Return the offsets that the group has committed."""
        with self._changed:
            return dict(self._group(group).committed)

    def ping(self) -> None:
        """Do nothing; raises Unavailable while `refuse` is in force."""
        if self._refusing is not None:
            raise Unavailable(self._refusing)

    def refuse(self, reason: str | None) -> None:
        """Answer every request with Unavailable from now on; None: serve again. For tests of the callers."""
        with self._changed:
            self._refusing = reason
            self._announce()

    def finish(self) -> None:
        """Declare that no record will be written any more: a source that has delivered everything has then `ended`."""
        with self._changed:
            self._finished = True
            self._announce()

    def finished(self) -> bool:
        """Return whether `finish` was called."""
        return self._finished

    def join(self, group: str, topics: Sequence[str]) -> str:
        """Create a member and return its name."""
        with self._changed:
            self.ping()
            self._joined += 1
            name = f"{group}-{self._joined:06d}"
            self._group(group).members[name] = tuple(topics)
            self._share(group)
            return name

    def kick(self, group: str, member: str) -> None:
        """Take all partitions from a member without a callback: it has left, or is evicted."""
        with self._changed:
            mine = self._group(group)
            mine.members.pop(member, None)
            for partition in [part for part, owner in mine.owner.items() if owner == member]:
                del mine.owner[partition]
            self._share(group)

    def knows(self, group: str, member: str) -> bool:
        """Return whether the member still belongs to the group."""
        with self._changed:
            return member in self._group(group).members

    def target(self, group: str, member: str) -> set[Partition]:
        """Return the partitions that the member shall own; another member may still own them."""
        with self._changed:
            return {part for part, owner in self._group(group).target.items() if owner == member}

    def release(self, group: str, member: str, partitions: Iterable[Partition]) -> None:
        """End the ownership of partitions."""
        with self._changed:
            mine = self._group(group)
            for partition in partitions:
                if mine.owner.get(partition) == member:
                    del mine.owner[partition]
            self._announce()

    def claim(self, group: str, member: str) -> dict[Partition, int | None]:
        """Take the free partitions that the member shall own, and return them with their committed offsets."""
        with self._changed:
            mine = self._group(group)
            free = sorted(part for part in self.target(group, member) if part not in mine.owner)
            mine.owner.update(dict.fromkeys(free, member))
            return {part: mine.committed.get(part) for part in free}

    def commit(self, group: str, member: str, offsets: Mapping[Partition, int]) -> None:
        """Record all offsets, or raise Unavailable and record none if the member does not own every partition."""
        with self._changed:
            self.ping()
            mine = self._group(group)
            foreign = [part for part in offsets if mine.owner.get(part) != member]
            if foreign:
                raise Unavailable(f"{member} does not own {foreign[0].topic}[{foreign[0].number}] any more")
            mine.committed.update(offsets)

    def version(self) -> int:
        """Return a number that changes whenever a `wait` must end."""
        return self._version

    def wait(self, version: int, timeout: float) -> None:
        """Return when `version()` is no longer `version`, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)

    def _announce(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    def _log(self, partition: Partition) -> _Log:
        if partition not in self.partitions(partition.topic):
            raise ValueError(f"{partition.topic} has no partition {partition.number}")
        return self._logs.setdefault(partition, _Log())

    def _fault(self, record: Record) -> str:
        """Return why the record will never be accepted; empty if it is acceptable."""
        size = len(record.key or b"") + len(record.value or b"")
        if size > self._max_record_bytes:
            return f"found {size} bytes of key and value, expected at most {self._max_record_bytes}"
        return "" if _TOPIC.fullmatch(record.topic) else f"found {record.topic[:60]!r}, expected the name of a topic"

    def _store(self, record: Record, number: int | None = None, timestamp: int | None = None) -> tuple[Partition, int]:
        partitions = self.partitions(record.topic)
        timestamp = record.timestamp or self._clock() if timestamp is None else timestamp
        if number is None and record.partition >= 0:
            number = record.partition
        elif number is None and record.key is not None:
            number = crc32(record.key) % len(partitions)
        elif number is None:
            number = self._rotation.get(record.topic, 0) % len(partitions)
            self._rotation[record.topic] = number + 1

        partition = Partition(record.topic, number)
        log = self._log(partition)
        log.records.append((record, timestamp))
        if self._bound is not None and len(log.records) > self._bound:
            log.records.popleft()
            log.begin += 1

        self._announce()
        return partition, log.end - 1

    def _share(self, group: str) -> None:
        """Assign a range of each topic's partitions to each member, in order of joining."""
        mine = self._group(group)
        for topic in {topic for topics in mine.members.values() for topic in topics if not is_pattern(topic)}:
            self.partitions(topic)  # made by its first use

        target: dict[Partition, str] = {}
        for topic in self.topics():
            members = [name for name, topics in mine.members.items() if subscribes(topics, topic)]
            partitions = self.partitions(topic) if members else []
            for partition in partitions:
                target[partition] = members[partition.number * len(members) // len(partitions)]
        mine.target = target

        self._announce()
