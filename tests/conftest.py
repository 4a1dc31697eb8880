"""Setup of every test: one thread for torch, how many examples Hypothesis tries, and a broker for all."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.apache import ApacheKafka, apache_kafka
from tests.examples import FAST, FULL

torch.set_num_threads(1)  # several threads on small nets are slower, and tests run beside brokers

# Times are not judged: tests share the cores with brokers and with one another.
settings.register_profile(FAST, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(FULL, settings.get_profile(FAST), print_blob=True)
settings.load_profile(FAST)  # `--hypothesis-profile full` loads the other one


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One node of Apache Kafka for all tests that leave it as they found it, with names of their own."""
    with apache_kafka(tmp_path_factory.mktemp("apache")) as broker:
        yield broker
