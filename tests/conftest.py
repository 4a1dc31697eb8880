"""Setup of every test: one thread for torch, how many examples Hypothesis tries, and a broker for all."""

import os
from collections.abc import Generator, Iterator
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.apache import ApacheKafka, apache_kafka
from tests.examples import FAST, FULL

torch.set_num_threads(1)  # several threads on small nets are slower, and tests run beside brokers

# Times are not judged: tests share the cores with brokers and with one another. CI repeats its examples, so that a
# change is not refused for an example that has nothing to do with it. Everywhere else each run draws new ones.
settings.register_profile(
    FAST, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.register_profile(FULL, settings.get_profile(FAST), print_blob=True)
settings.load_profile(FAST)  # `--hypothesis-profile full` loads the other one


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One node of Apache Kafka for all tests that leave it as they found it, with names of their own."""
    with apache_kafka(tmp_path_factory.mktemp("apache")) as broker:
        yield broker


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
    """Escape lone surrogates in reports: pytest-xdist sends UTF-8 only, and property tests log and show any text."""
    report = yield
    return None if report is None else cast("dict[str, Any]", _sendable(report))


def _sendable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_sendable(key): _sendable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_sendable(each) for each in value)
    return value
