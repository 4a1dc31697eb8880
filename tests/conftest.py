"""What holds for every test."""

from collections.abc import Iterator

import pytest
import torch

from tests.apache import ApacheKafka, apache_kafka

torch.set_num_threads(1)  # several threads on small nets are slower, and tests run beside brokers


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One node of Apache Kafka for all tests that leave it as they found it, with names of their own."""
    with apache_kafka(tmp_path_factory.mktemp("apache")) as broker:
        yield broker
