"""A consumer group of the in-process broker under any sequence of actions of its members."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.connectors.memory.broker import MemoryBroker
from monitor.connectors.memory.client import MemorySource
from monitor.core.records import Message, Record
from tests.contracts.member import Member
from tests.examples import examples


def member_name(member: Member) -> str:
    assert isinstance(member.source, MemorySource)
    return member.source.member


class _Plant:
    """A broker, its changing members, and all records delivered to them."""

    def __init__(self) -> None:
        self.broker = MemoryBroker({"t": 4})
        self.members: list[Member] = []
        self.left: list[Member] = []
        self.written = 0

    def act(self, action: str, number: int) -> None:
        if action == "join" and len(self.members) < 4:
            source = MemorySource(self.broker, ["t"], "g")
            self.members.append(Member(source, commit_when_revoked=number % 2 == 0).open())
        elif action == "write":
            self.broker.append(Record("t", None, b"%d" % self.written), number % 4)
            self.written += 1
        elif action != "join" and self.members:
            self._let(self.members[number % len(self.members)], action)

    def _let(self, member: Member, action: str) -> None:
        if action == "leave":
            self.members.remove(member)
            self.left.append(member)
            member.close()
        elif action == "kick":
            self.broker.kick("g", member_name(member))
        elif action == "poll":
            member.poll(2, 0)
        elif self.knows(member):
            member.source.commit(member.offsets(), 1)

    def knows(self, member: Member) -> bool:
        return self.broker.knows("g", member_name(member))

    def delivered(self) -> list[Message]:
        return [message for member in self.members + self.left for message in member.messages]


ACTIONS = st.tuples(st.sampled_from(("join", "leave", "kick", "write", "commit", "poll")), st.integers(0, 7))


@given(actions=st.lists(ACTIONS, min_size=10, max_size=60))
@settings(max_examples=examples(100), deadline=None)
def test_whatever_the_members_do_nothing_is_skipped(actions: Sequence[tuple[str, int]]) -> None:
    """When members join, leave and are evicted at random, no partition has two owners and every record is delivered."""
    plant = _Plant()
    for action, number in [*actions, ("join", 0)]:
        plant.act(action, number)
        assigned = [part for member in plant.members if plant.knows(member) for part in member.assigned]
        assert len(assigned) == len(set(assigned)), "a partition has two owners"
    for _ in range(3 * plant.written + 3):
        for member in plant.members:
            member.poll(2, 0)
    assert {int(message.value or b"") for message in plant.delivered()} == set(range(plant.written))
    assert sorted(part for member in plant.members for part in member.assigned) == plant.broker.partitions("t")
    for partition, next_offset in plant.broker.committed("g").items():
        offsets = {message.offset for message in plant.delivered() if message.partition == partition}
        assert offsets.issuperset(range(next_offset)), "committed before it was delivered"
