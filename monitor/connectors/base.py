"""The seams to the outside: where messages come from, where records go, and who makes both final.

Every call that may wait takes a timeout in seconds. One contract suite per protocol (tests/contracts) is run against
every implementation. Exceptions say what the caller does next: `Unavailable` - wait and try again, nothing is lost;
`Invalid` - this record will never be accepted, dead-letter it and go on; anything else is a bug and stops the process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class Sample:
    """Some messages of a source, read without any trace in it."""

    runs: tuple[tuple[Message, ...], ...]  # each of one partition and without a gap
    held: Mapping[Partition, int]  # messages that each partition holds
    cut: str  # why it is smaller than asked for; empty = it is not


class Source(Protocol):
    """Messages of the partitions that the group gives to this member.

    Callbacks run inside `poll` and `close`, on the caller's thread. `on_assign` answers where to start reading each
    partition. Within `on_revoke` the partitions may still be committed; within `on_lost` they may not.
    """

    def open(self, on_assign: OnAssign, on_revoke: OnRevoke, on_lost: OnRevoke) -> None:
        """Join the group; returns before any partition is assigned. Raises Unavailable."""

    def poll(self, limit: int, timeout: float) -> list[Message]:
        """Up to `limit` messages, in offset order within a partition; empty after `timeout` seconds without any.

        Raises Unavailable; the next poll tries again.
        """

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Keep the partitions but deliver nothing of them until `resume`."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Deliver again from where `pause` stopped."""

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """Record the next offset to read of each partition for the group; returning means durable.

        Raises Unavailable if refused for now, also when a rebalance has taken a partition away.
        """

    def lag(self) -> dict[Partition, int]:
        """Messages not yet delivered per assigned partition, as last known; never waits."""

    def held_up(self) -> str:
        """Why something it holds is not delivered for now although `poll` succeeds; empty = nothing is known."""

    def ended(self) -> bool:
        """True when no message will ever come again (the files are read to their ends)."""

    def close(self) -> None:
        """Leave the group, after `on_revoke` for what is still assigned. A second close does nothing."""


class Sink(Protocol):
    """Records out. `write` may buffer within a stated bound; `flush` returning means every record is durable."""

    def open(self) -> None:
        """Connect as far as needed to write. Raises Unavailable."""

    def write(self, records: Sequence[Record]) -> None:
        """Accept the records in order. Raises Unavailable when the buffer's bound is reached."""

    def flush(self, timeout: float) -> None:
        """Wait until everything written is acknowledged.

        Raises Unavailable if that takes longer than `timeout` or fails for now: everything not acknowledged stays
        buffered for the next flush. Raises Invalid naming the records that will never be accepted.
        """

    def close(self) -> None:
        """Release resources; what was not flushed may be lost. A second close does nothing."""


class Committer(Protocol):
    """Makes final how far messages were processed, after the sink's `flush` has returned."""

    once: bool  # whether what was flushed becomes final together with the offsets, and not before

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """As `Source.commit`. Where `once` holds, the offsets are of all messages whose records were flushed."""

    def discard(self) -> None:
        """Where `once` holds, forget what is not final: it will be computed anew."""


class BySource:
    """At least once: the source commits, and what was flushed was final before."""

    once = False

    def __init__(self, source: Source) -> None:
        self._source = source

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """See `Source`."""
        self._source.commit(offsets, timeout)

    def discard(self) -> None:
        """Nothing: what is computed anew is the same, and may be there twice."""
