"""The sink for InfluxDB keeps the promises of every sink, shown with InfluxDB itself and with a stand-in for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from monitor.connectors.influx import InfluxLimits, InfluxSink
from monitor.core.records import Record
from tests.contracts.sink_contract import SinkContract
from tests.influx_server import InfluxServer, influx_server
from tests.influxd import Influxd, influxd


class _Harness:
    """A topic is a measurement, a key the only tag, a number the time."""

    patience = 5.0

    def __init__(self, server: InfluxServer | Influxd) -> None:
        self._place = server
        self._numbers = count()

    def topic(self) -> str:
        return f"measurement-{next(self._numbers)}"

    def records(self, topic: str, count: int, first: int = 0, key: bytes = b"k") -> list[Record]:
        return [_record(topic, key, number) for number in range(first, first + count)]

    def sink(self, bound: int) -> InfluxSink:
        place = self._place
        return InfluxSink(place.url, lambda: place.token, place.org, place.bucket, InfluxLimits(records=bound))

    def unacceptable(self, topic: str) -> Record:
        return Record(topic, b"k", b"%s,key=k a line without fields" % topic.encode())


class _StandIn(_Harness):
    def __init__(self, server: InfluxServer) -> None:
        super().__init__(server)
        self._server = server

    @contextmanager
    def outage(self) -> Iterator[None]:
        self._server.down()
        yield
        self._server.up()

    def read(self, topic: str) -> list[Record]:
        points = zip(self._server.points.values(), self._server.lines.values(), strict=True)
        return [Record(topic, point.tags["key"].encode(), line) for point, line in points if point.measurement == topic]


class _Database(_Harness):
    def __init__(self, database: Influxd) -> None:
        super().__init__(database)
        self._database = database

    @contextmanager
    def outage(self) -> Iterator[None]:
        self._database.kill()
        yield
        self._database.up()

    def read(self, topic: str) -> list[Record]:
        found = []
        for series in self._database.influxql(f'SELECT "v" FROM "{topic}" GROUP BY "key"'):
            key = series["tags"]["key"].encode()
            assert all(time == number for time, number in series["values"])
            found += [_record(topic, key, number) for _, number in series["values"]]
        return found


def _record(topic: str, key: bytes, number: int) -> Record:
    return Record(topic, key, b"%s,key=%s v=%di %d" % (topic.encode(), key, number, number))


class TestStandIn(SinkContract):
    """Points into a stand-in that can be stopped."""

    @pytest.fixture
    def harness(self) -> Iterator[_StandIn]:
        with influx_server() as server:
            yield _StandIn(server)


@pytest.mark.slow
class TestInfluxDb(SinkContract):
    """Points into InfluxDB, which is killed and started again."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[_Database]:
        with influxd(tmp_path) as database:
            yield _Database(database)
