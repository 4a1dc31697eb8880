"""The brokers that benchmarks run on: Apache Kafka where KAFKA_HOME names it, and one from a package for everyone.

The package's is Tansu: of the two that there are it takes members of any kind, and a group that grows and shrinks
(docs/decisions/0003-test-brokers.md).
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
    """A broker of one of the KINDS; it forgets everything at the end."""
    if kind == "tansu":
        with tansu_broker() as broker:
            yield broker
    else:
        with tempfile.TemporaryDirectory() as name, apache_kafka(Path(name)) as apache:
            yield apache
