"""Brokers for benchmarks: Apache Kafka if KAFKA_HOME is set, and Tansu from a Python package.

Tansu supports members of any kind and groups that grow and shrink (docs/decisions/0003-test-brokers.md).
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.apache import apache_kafka
from tests.brokers import Broker, tansu_broker

KINDS = ("tansu", "apache")


@contextmanager
def real_broker(kind: str) -> Iterator[Broker]:
    """Run a broker of one of the KINDS. Its data is deleted at the end."""
    if kind == "tansu":
        with tansu_broker() as broker:
            yield broker
    else:
        with tempfile.TemporaryDirectory() as name, apache_kafka(Path(name)) as apache:
            yield apache
