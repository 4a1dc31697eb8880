"""What every implementation of `Source` promises, a broker or files.

A test file subclasses `SourceContract` and gives the fixture `harness`. What a broker promises beyond it, when several
members share a group, is `GroupContract` in `group_contract.py`, which contains this one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pytest

from monitor.connectors.base import Committed, Source
from monitor.core.records import Partition
from tests.contracts.member import Member, Starts, commit, numbered, until


class SourceHarness(Protocol):
    """What a test file provides. Every call of `partitions` gives names not used before."""

    patience: float  # seconds within which anything that should happen has happened; 30 for a broker over TCP

    def partitions(self, count: int) -> list[Partition]:
        """Make `count` empty partitions."""

    def fill(self, partition: Partition, values: Sequence[bytes]) -> None:
        """Append messages; they are there on return. In `SourceContract` only called before a source is opened."""

    def source(self, partitions: Sequence[Partition], group: str) -> Source:
        """A new source, not opened, of exactly these partitions; `reset` is "earliest". Commits outlive it."""


class SourceContract:
    """Subclasses give the fixture `harness`, a `SourceHarness`."""

    @pytest.fixture
    def members(self) -> Iterator[Callable[..., Member]]:
        """Opens a member of a source, and closes it after the test."""
        opened: list[Member] = []

        def member(source: Source, starts: Callable[[Committed], Starts] = dict, **options: bool) -> Member:
            opened.append(Member(source, starts, **options))
            return opened[-1].open()

        yield member
        for each in opened:
            each.commit_when_revoked = False
            each.close()

    def test_messages_come_in_order(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """Every partition is delivered from its first message to its last in the order written."""
        one, two = harness.partitions(2)
        harness.fill(one, numbered(40))
        harness.fill(two, numbered(25, 100))
        member = members(harness.source([one, two], "g"))
        until(lambda: len(member.messages) >= 65, harness.patience, member)
        assert member.values(one) == numbered(40)
        assert member.values(two) == numbered(25, 100)
        assert {message.offset for message in member.messages if message.partition == one} == set(range(40))

    def test_a_poll_keeps_to_its_limit(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """No poll returns more than it was asked for, and asking for little loses nothing."""
        one, two = harness.partitions(2)
        harness.fill(one, numbered(7))
        harness.fill(two, numbered(7))
        member = members(harness.source([one, two], "g"))
        until(lambda: len(member.messages) >= 14, harness.patience, member, limit=3)
        assert member.values(one) == member.values(two) == numbered(7)

    def test_an_empty_poll_takes_its_timeout(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """A poll that finds nothing comes back empty, after its timeout and not much later."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(1))
        member = members(harness.source([partition], "g"))
        until(lambda: len(member.messages) == 1, harness.patience, member)
        begin = time.monotonic()
        assert member.poll(timeout=0.3) == []
        assert 0.25 < time.monotonic() - begin < 5.0

    def test_nothing_committed_is_told_as_none(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """A group that never committed gets None for every partition, and None starts at the first message."""
        one, two = harness.partitions(2)
        harness.fill(one, numbered(2))
        harness.fill(two, numbered(2))
        member = members(harness.source([one, two], "g"))
        until(lambda: len(member.messages) == 4, harness.patience, member)
        assert member.committed == {one: None, two: None}
        assert sorted(message.offset for message in member.messages) == [0, 0, 1, 1]

    def test_a_group_goes_on_where_it_committed(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """The next member gets the committed offsets, also of a partition that was committed at its start."""
        one, two = harness.partitions(2)
        harness.fill(one, numbered(10))
        harness.fill(two, numbered(10))
        first = members(harness.source([one, two], "g"))
        until(lambda: len(first.messages) == 20, harness.patience, first)
        commit(first, {one: 6, two: 0}, harness.patience)
        first.close()
        second = members(harness.source([one, two], "g"))
        until(lambda: len(second.messages) == 14, harness.patience, second)
        assert second.committed == {one: 6, two: 0}
        assert second.values(one) == numbered(4, 6)

    def test_a_later_commit_may_be_lower(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """The last commit counts, not the highest: an operator may send a group back."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(5))
        first = members(harness.source([partition], "g"))
        until(lambda: len(first.messages) == 5, harness.patience, first)
        commit(first, {partition: 5}, harness.patience)
        commit(first, {partition: 2}, harness.patience)
        first.close()
        second = members(harness.source([partition], "g"))
        until(lambda: len(second.messages) == 3, harness.patience, second)
        assert second.committed == {partition: 2}

    def test_the_answer_to_an_assignment_decides(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """Reading starts at the offset that `on_assign` answers, not at the one committed; None means `reset`."""
        one, two = harness.partitions(2)
        harness.fill(one, numbered(10))
        harness.fill(two, numbered(10))
        first = members(harness.source([one, two], "g"))
        until(lambda: len(first.messages) == 20, harness.patience, first)
        commit(first, {one: 6, two: 6}, harness.patience)
        first.close()
        second = members(harness.source([one, two], "g"), lambda _: {one: 3, two: None})
        until(lambda: len(second.messages) == 17, harness.patience, second)
        assert second.committed == {one: 6, two: 6}
        assert second.values(one) == numbered(7, 3)
        assert second.values(two) == numbered(10)

    def test_starting_does_not_commit(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """Reading, closing and starting elsewhere leave the committed offset alone: only `commit` moves it."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(4))
        first = members(harness.source([partition], "g"), lambda _: {partition: 1})
        until(lambda: len(first.messages) == 3, harness.patience, first)
        first.close()
        second = members(harness.source([partition], "g"))
        until(lambda: len(second.messages) == 4, harness.patience, second)
        assert second.committed == {partition: None}

    def test_a_paused_partition_waits(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """Nothing comes of a paused partition while the others run on; resumed, it goes on where it stopped."""
        one, two = harness.partitions(2)
        harness.fill(one, numbered(60))
        harness.fill(two, numbered(60))
        member = members(harness.source([one, two], "g"))
        until(lambda: member.assigned == {one, two} and len(member.messages) > 0, harness.patience, member, limit=5)
        member.pause(one)
        before = len(member.values(one))
        until(lambda: len(member.values(two)) == 60, harness.patience, member)
        assert member.poll(timeout=0.2) == []
        assert len(member.values(one)) == before
        member.resume(one)
        until(lambda: len(member.values(one)) == 60, harness.patience, member)
        assert member.values(one) == member.values(two) == numbered(60)

    def test_a_pause_outlives_a_commit(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """With everything paused nothing comes, but commits work; after `resume` nothing is missing."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(30))
        member = members(harness.source([partition], "g"))
        until(lambda: len(member.messages) > 0, harness.patience, member, limit=4)
        member.pause(partition)
        commit(member, member.offsets(), harness.patience)
        assert member.poll(timeout=0.2) == []
        member.resume(partition)
        until(lambda: len(member.messages) == 30, harness.patience, member)
        assert member.values(partition) == numbered(30)

    def test_the_lag_is_what_was_not_delivered(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """The lag of each assigned partition is its messages not delivered yet, down to zero."""
        one, two = harness.partitions(2)
        harness.fill(one, numbered(9))
        harness.fill(two, numbered(1))
        member = members(harness.source([one, two], "g"))

        def right() -> bool:
            left = {one: 9 - len(member.values(one)), two: 1 - len(member.values(two))}
            return 0 < left[one] < 9 and member.source.lag() == left

        until(right, harness.patience, member, limit=1)
        until(lambda: member.source.lag() == {one: 0, two: 0}, harness.patience, member)
        assert len(member.messages) == 10

    def test_closing_gives_the_partitions_back(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """`close` calls `on_revoke` for every assigned partition, never `on_lost`; a commit inside it counts."""
        one, two = harness.partitions(2)
        harness.fill(one, numbered(5))
        harness.fill(two, numbered(5))
        first = members(harness.source([one, two], "g"), commit_when_revoked=True)
        until(lambda: len(first.messages) == 10, harness.patience, first)
        first.close()
        assert sorted(first.revoked) == sorted([one, two])
        assert first.lost == []
        second = members(harness.source([one, two], "g"))
        until(lambda: second.assigned == {one, two}, harness.patience, second)
        assert second.committed == {one: 5, two: 5}

    def test_closing_again_does_nothing(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """A second `close` calls nothing back, and a source that was never opened can be closed."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(1))
        member = members(harness.source([partition], "g"))
        until(lambda: len(member.messages) == 1, harness.patience, member)
        member.close()
        member.close()
        assert member.revoked == [partition]
        harness.source([partition], "g").close()

    def test_groups_do_not_touch_one_another(self, harness: SourceHarness, members: Callable[..., Member]) -> None:
        """Two groups read everything each, and a commit of one is not told to the other."""
        (partition,) = harness.partitions(1)
        harness.fill(partition, numbered(5))
        one = members(harness.source([partition], "one"))
        until(lambda: len(one.messages) == 5, harness.patience, one)
        commit(one, {partition: 5}, harness.patience)
        two = members(harness.source([partition], "two"))
        until(lambda: len(two.messages) == 5, harness.patience, two)
        assert two.committed == {partition: None}
