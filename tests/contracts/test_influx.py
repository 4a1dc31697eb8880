"""The sink for InfluxDB keeps the promises of every sink, shown with a stand-in for the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from monitor.connectors.influx import InfluxSink
from monitor.core.records import Record
from tests.contracts.sink_contract import SinkContract
from tests.influx_server import InfluxServer, influx_server


class _Harness:
    """A topic is a measurement, a key the only tag, a number the time."""

    patience = 5.0

    def __init__(self, server: InfluxServer) -> None:
        self.server = server
        self.names = count()

    def topic(self) -> str:
        return f"measurement-{next(self.names)}"

    def records(self, topic: str, count: int, first: int = 0, key: bytes = b"k") -> list[Record]:
        numbers = range(first, first + count)
        return [Record(topic, key, b"%s,key=%s v=%di %d" % (topic.encode(), key, n, n)) for n in numbers]

    def sink(self, bound: int) -> InfluxSink:
        return InfluxSink(self.server.url, lambda: self.server.token, "plant", "monitor", bound=bound)

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.server.down()
        yield
        self.server.up()

    def read(self, topic: str) -> list[Record]:
        points = zip(self.server.points.values(), self.server.lines.values(), strict=True)
        return [Record(topic, point.tags["key"].encode(), line) for point, line in points if point.measurement == topic]

    def unacceptable(self, topic: str) -> Record:
        return Record(topic, b"k", b"%s,key=k a line without fields" % topic.encode())


class TestInfluxSink(SinkContract):
    """Points into a database that can be stopped."""

    @pytest.fixture
    def harness(self) -> Iterator[_Harness]:
        with influx_server() as server:
            yield _Harness(server)
