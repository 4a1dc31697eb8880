"""The promises of Kafka's source and sink, with the other kinds of group and with brokers not made by librdkafka.

A test that a broker cannot pass for a fault of its own is left out with the reason; docs/decisions/0003-test-brokers.md
says how each fault shows with a bare client.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.brokers import Broker, mock_broker, noida_broker, tansu_broker
from tests.contracts.group_contract import GroupContract
from tests.contracts.kafka_harness import MEMBER, GroupHarness, SinkHarness
from tests.contracts.sink_contract import PartitionedSinkContract

_NOIDA_REFUSES = pytest.mark.skip(reason="noida refuses the commits of members that a rebalance waits for")


@contextmanager
def _suspended(broker: Broker) -> Iterator[None]:
    """A broker that accepts connections and answers nothing."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


class TestConsumerProtocol(GroupContract):
    """Members of a group that the broker itself shares out (KIP-848), in the mock cluster."""

    @pytest.fixture
    def harness(self) -> Iterator[GroupHarness]:
        with mock_broker() as broker:
            broker.do("set_group_consumer_heartbeat_interval_ms", 100)
            yield GroupHarness(broker, {"group.protocol": "consumer"}, 30.0)


@pytest.mark.slow
class TestCooperativeOnTansu(GroupContract):
    """Members of a group that rebalances cooperatively; Tansu takes 3 s and more for every rebalance."""

    @pytest.fixture
    def harness(self) -> Iterator[GroupHarness]:
        with tansu_broker() as broker:
            yield GroupHarness(broker, MEMBER, 60.0)

    @pytest.mark.skip(reason="Tansu's group is stuck for ever when a member leaves while another joins")
    def test_more_members_than_partitions(self) -> None:  # type: ignore[override]
        """A member that gets no partition waits, and takes over when the other leaves."""


@pytest.mark.slow
class TestEagerOnNoida(GroupContract):
    """Members of a group of the range assignor, everything given back at every rebalance."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[GroupHarness]:
        with noida_broker(tmp_path) as broker:
            yield GroupHarness(broker, {**MEMBER, "partition.assignment.strategy": "range"}, 30.0)

    @_NOIDA_REFUSES
    def test_two_members_share_the_partitions(self) -> None:  # type: ignore[override]
        """A second member takes over a part, at what the first committed when revoked, and gives it back on leaving."""

    @_NOIDA_REFUSES
    def test_more_members_than_partitions(self) -> None:  # type: ignore[override]
        """A member that gets no partition waits, and takes over when the other leaves."""


@pytest.mark.slow
class TestSinkOnNoida(PartitionedSinkContract):
    """Records into a broker that checks the sequence numbers of an idempotent producer."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[SinkHarness]:
        with noida_broker(tmp_path) as broker:
            yield SinkHarness(broker, partial(_suspended, broker))
