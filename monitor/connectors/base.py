"""The protocols between the monitor and the outside: sources of messages, sinks of records, and committers.

Every call that may wait takes a timeout in seconds, except `open` and `close`: each implementation names its own limit.
One contract suite per protocol (tests/contracts) runs against every implementation.

Exceptions tell the caller how to react. `Unavailable`: wait and try again, nothing is lost. `Invalid`: these records
will never be accepted, write them to the dead letters and go on. Any other exception is a bug and stops the process.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from monitor.core.records import Message, Partition, Record


class Unavailable(Exception):  # noqa: N818 - reads as the state it reports
    """The other side cannot be reached or refuses for now. Retry after `retry_after` seconds if it is given."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Invalid(Exception):  # noqa: N818 - reads as the state it reports
    """Records that will never be accepted; every other record of the same call was written."""

    def __init__(self, reason: str, rejected: Sequence[tuple[Record, str]] = ()) -> None:
        super().__init__(reason)
        self.rejected = tuple(rejected)


Committed = Mapping[Partition, int | None]  # next offset to read as committed by the group, None = never committed
OnAssign = Callable[[Committed], Mapping[Partition, int | None]]  # offset to start from, None = the source's `reset`
OnRevoke = Callable[[Sequence[Partition]], None]


# Of POSIX and of Python different things, or of one of them nothing: \d, (?:…), a lazy or possessive +?, [[:alpha:]].
_DIALECT = re.compile(r"\\[A-Za-z0-9]|\(\?|[*+?}][*+?{]|\[\[[:.=]")


def is_pattern(topic: str) -> bool:
    """Return whether a subscription is a regular expression, which begins with `^`, as in librdkafka."""
    return topic.startswith("^")


def pattern_fault(pattern: str) -> str:
    """Return why a pattern is refused; empty if clients of Kafka and this program read it alike."""
    if found := _DIALECT.search(pattern):
        return f'"{found[0]}" does not mean the same to every client; use . [ ] ( ) | * + ? {{ }} $ and \\.'
    try:
        re.compile(pattern)
    except re.error as error:
        return f"no regular expression: {error}"
    return ""


def subscribes(topics: Sequence[str], topic: str) -> bool:
    """Return whether a subscription to `topics`, names and patterns, includes `topic`."""
    return any(re.search(each, topic) is not None if is_pattern(each) else each == topic for each in topics)


@dataclass(frozen=True, slots=True)
class Sample:
    """Some messages of a source, read without leaving a trace in it."""

    runs: tuple[tuple[Message, ...], ...]  # each of one partition and without a gap
    held: Mapping[Partition, int]  # number of messages in each partition
    cut: str  # why it is smaller than asked for; empty = it is not


class Finding(NamedTuple):
    """What came of trying one item of the other side."""

    item: str
    ok: bool
    text: str  # what was found, or why it failed


class Source(Protocol):
    """Messages of the partitions that the group assigns to this member.

    Callbacks run inside `poll` and `close`, on the caller's thread. `on_assign` returns the offset to start from for
    each partition. Within `on_revoke` the partitions may still be committed; within `on_lost` they may not.
    """

    def open(self, on_assign: OnAssign, on_revoke: OnRevoke, on_lost: OnRevoke) -> None:
        """Join the group; return before any partition is assigned. Raises Unavailable."""

    def poll(self, limit: int, timeout: float) -> list[Message]:
        """Return up to `limit` messages, in offset order within a partition; none after `timeout` seconds without any.

        Raises Unavailable; the next poll tries again.
        """

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Keep the partitions, but deliver none of their messages until `resume`."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Deliver again from where `pause` stopped."""

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """Commit the next offset to read of each partition for the group; returning means durable.

        Raises Unavailable if refused for now, also when a rebalance has taken a partition away.
        """

    def lag(self) -> dict[Partition, int]:
        """Return the number of undelivered messages per assigned partition, as last known; never waits."""

    def stalled(self) -> str:
        """Return why an assigned partition delivers nothing although `poll` succeeds; empty if no reason is known."""

    def first_match(self) -> str:
        """Return the first topic by name that a subscribed pattern matches; empty if none is known.

        All members of a group get the same answer soon after a topic is made or deleted.
        """

    def ended(self) -> bool:
        """Return whether no message will ever come again (all files are read to their ends)."""

    def close(self) -> None:
        """Call `on_revoke` for the assigned partitions and leave the group. A second close does nothing."""


class Sink(Protocol):
    """Records out. `write` may buffer within a stated bound; `flush` returning means every record is durable."""

    def open(self) -> None:
        """Connect as far as needed to write. Raises Unavailable."""

    def write(self, records: Sequence[Record]) -> None:
        """Accept the records in order; never waits. Raises Unavailable when the buffer's bound is reached."""

    def flush(self, timeout: float) -> None:
        """Wait until every written record is acknowledged.

        Raises Unavailable if that takes longer than `timeout` or fails for now; unacknowledged records stay in the
        buffer for the next flush. Raises Invalid naming the records that will never be accepted.
        """

    def close(self) -> None:
        """Release resources; records that were not flushed may be lost. A second close does nothing."""


class Committer(Protocol):
    """Makes the progress through the messages final, after the sink's `flush` has returned."""

    once: bool  # whether flushed records become final together with the offsets, and not before

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """See `Source.commit`. If `once`, the offsets must cover all messages whose records were flushed."""

    def discard(self) -> None:
        """If `once`, forget the records that are not final; their messages are processed again."""


class BySource:
    """At least once: the source commits; flushed records were final before."""

    once = False

    def __init__(self, source: Source) -> None:
        self._source = source

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """See `Source`."""
        self._source.commit(offsets, timeout)

    def discard(self) -> None:
        """Do nothing: reprocessing gives identical records, and duplicates are allowed."""
