"""The promises of Kafka's source and sink, with the other kinds of group and on Apache Kafka itself."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from monitor.connectors.kafka.client import Config, KafkaFatal
from tests.apache import ApacheKafka
from tests.brokers import mock_broker, suspended
from tests.contracts.group_contract import GroupContract
from tests.contracts.kafka_harness import MEMBER, GroupHarness, SinkHarness
from tests.contracts.member import Member, commit, numbered, until
from tests.contracts.sink_contract import PartitionedSinkContract

PATIENCE_S = 90.0  # a request without an answer times out after 60 s (socket.timeout.ms), and sent again


class TestConsumerProtocol(GroupContract):
    """Members of a group that the broker itself shares out (KIP-848), in the mock cluster."""

    @pytest.fixture
    def harness(self) -> Iterator[GroupHarness]:
        with mock_broker() as broker:
            broker.do("set_group_consumer_heartbeat_interval_ms", 100)
            yield GroupHarness(broker, {"group.protocol": "consumer"}, PATIENCE_S)


@pytest.mark.slow
class TestCooperativeOnApache(GroupContract):
    """Members of a group that rebalances cooperatively."""

    @pytest.fixture
    def harness(self, apache: ApacheKafka) -> GroupHarness:
        return GroupHarness(apache, MEMBER, PATIENCE_S)


@pytest.mark.slow
class TestRangeOnApache(GroupContract):
    """Members of a group of the range assignor, which revokes everything at every rebalance."""

    @pytest.fixture
    def harness(self, apache: ApacheKafka) -> GroupHarness:
        return GroupHarness(apache, {**MEMBER, "partition.assignment.strategy": "range"}, PATIENCE_S)


@pytest.mark.slow
class TestConsumerProtocolOnApache(GroupContract):
    """Members of a group that the broker itself shares out (KIP-848)."""

    @pytest.fixture
    def harness(self, apache: ApacheKafka) -> GroupHarness:
        return GroupHarness(apache, {"group.protocol": "consumer"}, PATIENCE_S)


@pytest.mark.slow
class TestSinkOnApache(PartitionedSinkContract):
    """Records into a broker that checks the sequence numbers of an idempotent producer, and that can be frozen."""

    @pytest.fixture
    def harness(self, apache: ApacheKafka) -> SinkHarness:
        return SinkHarness(apache, partial(suspended, apache))


class Members:
    """Named members (`group.instance.id`) of one group, which has two partitions with five messages each."""

    def __init__(self, apache: ApacheKafka, member: Config) -> None:
        self._member = member
        self._harness = GroupHarness(apache, {}, PATIENCE_S)
        self.parts = self._harness.partitions(2)
        for part in self.parts:
            self._harness.fill(part, numbered(5))
        self._opened: list[Member] = []

    def join(self, name: str) -> Member:
        """Open a member of this name."""
        options = {**self._member, "group.instance.id": name}
        self._opened.append(Member(self._harness.with_options(options).source(self.parts, "g")).open())
        return self._opened[-1]

    def close(self) -> None:
        for member in self._opened:
            member.close()


@pytest.mark.slow
class TestStaticMembership:
    """Members with names of their own keep what they had."""

    @pytest.fixture(params=["classic", "consumer"])
    def members(self, apache: ApacheKafka, request: pytest.FixtureRequest) -> Iterator[Members]:
        protocols: dict[str, Config] = {"classic": MEMBER, "consumer": {"group.protocol": "consumer"}}
        with closing(Members(apache, protocols[request.param])) as made:
            yield made

    def test_a_member_that_comes_back_gets_its_partitions(self, members: Members) -> None:
        """A member that leaves and returns within the session has the same partitions; the other is not disturbed."""
        first, second = members.join("one"), members.join("two")
        until(lambda: sorted([*first.assigned, *second.assigned]) == members.parts, PATIENCE_S, first, second)
        until(lambda: bool(first.assigned and second.assigned), PATIENCE_S, first, second)
        had, kept = set(first.assigned), set(second.assigned)
        second.revoked.clear()
        first.close()
        again = members.join("one")
        until(lambda: again.assigned == had, PATIENCE_S, again, second)
        assert second.assigned == kept
        assert second.revoked == second.lost == []

    @pytest.mark.parametrize("members", ["classic"], indirect=True)
    def test_a_second_member_of_a_name_fences_the_first(self, members: Members) -> None:
        """The newcomer reads on from the committed offset; the replaced member's client is dead and says why."""
        first = members.join("one")
        until(lambda: len(first.messages) == 10, PATIENCE_S, first)
        commit(first, dict.fromkeys(members.parts, 3), PATIENCE_S)
        second = members.join("one")
        until(lambda: second.assigned == set(members.parts), PATIENCE_S, second)
        assert second.committed == dict.fromkeys(members.parts, 3)
        with pytest.raises(KafkaFatal, match="fenced"):
            until(lambda: False, PATIENCE_S, first)
        until(lambda: len(second.messages) == 4, PATIENCE_S, second)

    @pytest.mark.parametrize("members", ["consumer"], indirect=True)
    def test_with_kip_848_a_second_member_of_a_name_is_refused(self, members: Members) -> None:
        """While the first is alive it keeps everything; the newcomer's client is dead and says why."""
        first = members.join("one")
        until(lambda: len(first.messages) == 10, PATIENCE_S, first)
        second = members.join("one")
        with pytest.raises(KafkaFatal, match="instance"):
            until(lambda: False, PATIENCE_S, second)
        assert first.assigned == set(members.parts)
        commit(first, dict.fromkeys(members.parts, 5), PATIENCE_S)
