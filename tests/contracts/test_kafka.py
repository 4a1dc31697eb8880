"""Kafka's source and sink keep the promises of every source and sink, shown with librdkafka's mock cluster."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.brokers import mock_broker
from tests.contracts.group_contract import GroupContract
from tests.contracts.kafka_harness import MOCK_MEMBER, GroupHarness, SinkHarness, mock_outage
from tests.contracts.sink_contract import PartitionedSinkContract


class TestKafkaSource(GroupContract):
    """Members of a group that rebalances cooperatively, as is the default."""

    @pytest.fixture
    def harness(self) -> Iterator[GroupHarness]:
        with mock_broker() as broker:
            yield GroupHarness(broker, MOCK_MEMBER, 60.0)  # a commit in `on_revoke` may take 10 s


class TestKafkaSink(PartitionedSinkContract):
    """Records into a broker that can be cut off."""

    @pytest.fixture
    def harness(self) -> Iterator[SinkHarness]:
        with mock_broker() as broker:
            yield SinkHarness(broker, partial(mock_outage, broker))
