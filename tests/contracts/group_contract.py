"""What a broker's `Source` promises beyond `SourceContract`: a group's members share the partitions of a topic."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import pytest

from monitor.connectors.base import Source, Unavailable
from monitor.core.records import Partition
from tests.contracts.member import Member, commit, numbered, until
from tests.contracts.source_contract import SourceContract, SourceHarness


class GroupHarness(SourceHarness, Protocol):
    """`partitions` makes one topic with the numbers 0, 1, …; a source of any of them subscribes to the topic."""

    def produce(self, partition: Partition, key: bytes | None, value: bytes | None, timestamp: int) -> None:
        """Append one message; it is there on return."""

    def latest(self, partitions: Sequence[Partition], group: str) -> Source:
        """As `source`, but `reset` is "latest"."""

    def pattern(self) -> tuple[str, Callable[[], Partition]]:
        """Return a pattern, and a function that makes one more topic that matches, with one partition."""

    def subscribed(self, topics: Sequence[str], group: str) -> Source:
        """As `source`, of topics by name or pattern."""

    def evict(self, source: Source) -> None:
        """Make the group evict this member without a callback, as after a missed deadline.

        On return or soon after, others may be given its partitions; the member learns of it in its next polls.
        """


class GroupContract(SourceContract):
    """Subclasses give the fixture `harness`, a `GroupHarness`."""

    def test_messages_come_as_they_were_written(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """Key, value and timestamp arrive byte for byte; no key is not an empty key, no value not an empty one."""
        (partition,) = harness.partitions(1)
        now = int(time.time() * 1000)  # brokers may refuse or correct times far from the present
        sent = [(b"k", b"v", now), (None, b"\x00\xff", now - 5), (b"", b"", now + 5), (b"tomb", None, now)]
        for key, value, timestamp in sent:
            harness.produce(partition, key, value, timestamp)
        member = members(harness.source([partition], "g"))
        until(lambda: len(member.messages) == 4, harness.patience, member)
        assert [(m.key, m.value, m.timestamp) for m in member.messages] == sent

    def test_a_new_message_ends_the_wait(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """A poll that waits returns when a message comes, long before its timeout."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(1))
        member = members(harness.source([partition], "g"))
        until(lambda: len(member.messages) == 1, harness.patience, member)
        writer = threading.Timer(0.2, harness.fill, (partition, numbered(1, 1)))
        writer.start()
        begin = time.monotonic()
        got = member.poll(timeout=2 * harness.patience)
        writer.join()
        assert [message.value for message in got] == numbered(1, 1)
        assert time.monotonic() - begin < harness.patience

    def test_a_pattern_takes_topics_that_come_later(
        self, harness: GroupHarness, members: Callable[..., Member]
    ) -> None:
        """A pattern subscribes to the topics that match, also to those made afterwards, and to no other."""
        pattern, another = harness.pattern()
        first, (other,) = another(), harness.partitions(1)
        harness.fill(first, numbered(2))
        harness.fill(other, numbered(5))
        member = members(harness.subscribed([pattern], "g"))
        until(lambda: len(member.messages) == 2, harness.patience, member)
        assert member.source.first_match() == first.topic

        later = another()
        harness.fill(later, numbered(2, 2))
        until(lambda: len(member.messages) == 4, harness.patience, member)
        assert member.assigned == {first, later}
        commit(member, {first: 2, later: 2}, harness.patience)

    def test_latest_leaves_out_what_was_there(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """With reset "latest" a group that never committed sees only what comes after it; one that did, all since."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(3))
        first = members(harness.latest([partition], "g"))
        until(lambda: first.assigned == {partition}, harness.patience, first)
        deadline = time.monotonic() + harness.patience
        while not first.messages and time.monotonic() < deadline:  # the end is looked up some time after the assignment
            harness.fill(partition, [b"new"])
            first.poll(timeout=0.2)
        assert first.messages[0].offset >= 3
        commit(first, {partition: 1}, harness.patience)
        first.close()
        second = members(harness.latest([partition], "g"))
        until(lambda: len(second.messages) > 0, harness.patience, second)
        assert second.messages[0].offset == 1

    def test_it_never_ends_by_itself(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """A broker's topic that has been read to its end may go on at any time, so it has not ended."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(1))
        member = members(harness.source([partition], "g"))
        until(lambda: len(member.messages) == 1, harness.patience, member)
        assert not member.source.ended()

    def test_two_members_share_the_partitions(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """A second member takes over a part, at what the first committed when revoked, and gives it back on leaving."""
        parts = harness.partitions(4)
        for partition in parts:
            harness.fill(partition, numbered(10))
        first = members(harness.source(parts, "g"), commit_when_revoked=True)
        until(lambda: len(first.messages) == 40, harness.patience, first)
        second = members(harness.source(parts, "g"), commit_when_revoked=True)
        until(lambda: self._shared(parts, first, second), harness.patience, first, second)
        assert first.lost == second.lost == []
        assert all(second.committed[partition] == 10 for partition in second.assigned)
        for partition in parts:
            harness.fill(partition, numbered(10, 10))
        until(lambda: len(first.messages + second.messages) >= 80, harness.patience, first, second)
        moved = set(second.assigned)
        second.close()
        until(lambda: first.assigned == set(parts), harness.patience, first)
        assert all(first.committed[partition] == 20 for partition in moved)
        for partition in parts:
            harness.fill(partition, numbered(10, 20))
        until(lambda: len(first.messages + second.messages) >= 120, harness.patience, first)
        for partition in parts:
            assert sorted(first.values(partition) + second.values(partition), key=self._number) == numbered(30)

    def test_without_a_commit_the_next_member_reads_again(
        self, harness: GroupHarness, members: Callable[..., Member]
    ) -> None:
        """What was delivered but not committed goes to whoever gets the partition next: nothing is skipped."""
        parts = harness.partitions(2)
        for partition in parts:
            harness.fill(partition, numbered(10))
        first = members(harness.source(parts, "g"))
        until(lambda: len(first.messages) == 20, harness.patience, first)
        commit(first, dict.fromkeys(parts, 4), harness.patience)
        second = members(harness.source(parts, "g"))
        until(lambda: self._shared(parts, first, second), harness.patience, first, second)
        (moved,) = second.assigned
        until(lambda: len(second.values(moved)) == 6, harness.patience, first, second)
        assert second.committed[moved] == 4
        assert second.values(moved) == numbered(6, 4)

    def test_a_pause_ends_with_the_assignment(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """A partition paused by its member is not paused when another gets it, nor when it comes back."""
        parts = harness.partitions(2)
        first = members(harness.source(parts, "g"))
        until(lambda: first.assigned == set(parts), harness.patience, first)
        first.pause(*parts)
        second = members(harness.source(parts, "g"))
        until(lambda: self._shared(parts, first, second), harness.patience, first, second)
        (moved,) = second.assigned
        harness.fill(moved, numbered(3))
        until(lambda: len(second.values(moved)) == 3, harness.patience, first, second)
        second.close()
        until(lambda: first.assigned == set(parts), harness.patience, first)
        until(lambda: len(first.values(moved)) == 3, harness.patience, first)

    def test_the_lag_of_a_paused_partition_grows(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """Messages written to a paused partition count in its lag before any of them is read."""
        (part,) = harness.partitions(1)
        harness.fill(part, numbered(3))
        member = members(harness.source([part], "g"))
        until(lambda: len(member.messages) == 3, harness.patience, member)
        member.pause(part)
        harness.fill(part, numbered(7))
        until(lambda: member.source.lag() == {part: 7}, harness.patience, member)

    def test_more_members_than_partitions(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """A member that gets no partition waits, and takes over when the other leaves."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(3))
        first = members(harness.source([partition], "g"))
        until(lambda: len(first.messages) == 3, harness.patience, first)
        second = members(harness.source([partition], "g"))
        until(lambda: second.poll() == [] and len(first.assigned | second.assigned) == 1, harness.patience, first)
        holder, waiting = (first, second) if first.assigned else (second, first)
        commit(holder, {partition: 3}, harness.patience)  # tried again while the group rebalances
        holder.close()
        until(lambda: waiting.assigned == {partition}, harness.patience, waiting)
        assert waiting.committed == {partition: 3}

    def test_a_lost_partition_cannot_be_committed(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """Once another member has them, a commit by the old one is `Unavailable` and moves nothing."""
        parts = harness.partitions(2)
        for partition in parts:
            harness.fill(partition, numbered(5))
        first = members(harness.source(parts, "g"))
        until(lambda: len(first.messages) == 10, harness.patience, first)
        harness.evict(first.source)
        second = members(harness.source(parts, "g"))
        until(lambda: second.assigned == set(parts), harness.patience, second)
        with pytest.raises(Unavailable):
            first.source.commit(dict.fromkeys(parts, 5), 10.0)
        second.close()
        first.close()
        third = members(harness.source(parts, "g"))
        until(lambda: third.assigned == set(parts), harness.patience, third)
        assert third.committed == dict.fromkeys(parts)

    def test_a_lost_member_is_told_and_comes_back(self, harness: GroupHarness, members: Callable[..., Member]) -> None:
        """An evicted member gets `on_lost`, not `on_revoke`, and joins again with its next polls."""
        parts = harness.partitions(2)
        for partition in parts:
            harness.fill(partition, numbered(5))
        member = members(harness.source(parts, "g"))
        until(lambda: len(member.messages) == 10, harness.patience, member)
        commit(member, dict.fromkeys(parts, 3), harness.patience)
        harness.evict(member.source)
        until(lambda: sorted(member.lost) == sorted(parts), harness.patience, member)
        assert member.revoked == []
        until(lambda: member.assigned == set(parts) and len(member.messages) == 14, harness.patience, member)
        assert member.committed == dict.fromkeys(parts, 3)
        commit(member, dict.fromkeys(parts, 5), harness.patience)

    @staticmethod
    def _shared(parts: Sequence[Partition], first: Member, second: Member) -> bool:
        """Whether each of two members has half of the partitions and knows it."""
        half = len(parts) // 2
        return len(first.assigned) == half and second.assigned == set(parts) - first.assigned

    @staticmethod
    def _number(value: bytes | None) -> int:
        return int((value or b"").strip(b'{"n:}'))
