"""A recorder on the in-process broker and the stand-in for the database, and records for its topics."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from monitor.connectors.influx import InfluxLimits, InfluxSink
from monitor.connectors.memory.client import MemoryBroker, MemorySink, MemorySource
from monitor.core.records import Record
from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.recorder.recorder import Recorder, RecorderOptions
from tests.influx_server import InfluxServer
from tests.observing import observer

ALERTS, SCORES, DEAD = "monitor.alerts", "monitor.scores", "monitor.dead-letters"
TIME = 1_700_000_000_000


class Rig:
    """A recorder on a broker and a server, to be run in a thread."""

    def __init__(self, broker: MemoryBroker, server: InfluxServer, **given: Any) -> None:
        self.metrics, self.broker = Metrics(), broker
        self.health = Health(60, ("recorder source", "recorder"))
        parts: dict[str, Any] = {
            "source": MemorySource(broker, [ALERTS, SCORES], "recorder"),
            "points": InfluxSink(server.url, lambda: server.token, server.org, server.bucket, InfluxLimits(timeout=5)),
            "dead": MemorySink(broker),
        }
        parts = {name: given.pop(name, part) for name, part in parts.items()}
        observing = observer(self.metrics, self.health, monotonic=given.pop("monotonic", time.monotonic))
        options = RecorderOptions(alerts=ALERTS, dead_letters=DEAD, batch=100, poll_s=0.01, timeout_s=5.0)
        self.recorder = Recorder(**parts, options=replace(options, **given), observer=observing)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Open and run the recorder in a thread, and raise its exception at the end. Enter when it is open."""
        stop, opened = threading.Event(), threading.Event()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self.recorder.open()
                opened.set()
                self.recorder.run(stop)
            except BaseException as failure:  # noqa: BLE001 - raised below
                failures.append(failure)
            finally:
                opened.set()

        thread = threading.Thread(target=work)
        thread.start()
        opened.wait(30)
        try:
            yield
        finally:
            stop.set()
            thread.join(30)
            if failures:
                raise failures[0]
        assert not thread.is_alive()

    def committed(self) -> int:
        return sum(self.broker.committed("recorder").values())

    def gauge(self, name: str) -> float:
        line = self.metrics.render().decode().partition(f"\n{name} ")[2]
        return float(line.partition("\n")[0] or -1)

    def points(self, result: str) -> int:
        line = self.metrics.render().decode().partition(f'monitor_recorder_points_total{{result="{result}"}} ')[2]
        return int(float(line.partition("\n")[0]))

    def turns(self) -> None:
        """Let the recorder poll a few times."""
        time.sleep(0.15)


def score(number: int, asset: str = "a") -> Record:
    band = {"observed": 1.0, "expected": 1.0, "low": 0.5, "high": 1.5, "share": 1.0}
    body: Mapping[str, object] = {
        "asset": asset,
        "time": TIME + 1000 * number,
        "score": 0.25,
        "alarm": 0.5,
        "threshold": 1.0,
        "ratio": 0.5,
        "anomalous": False,
        "warm": True,
        "model": "m",
        "channels": {"flow": band},
    }
    return Record(SCORES, asset.encode(), json.dumps(body).encode())


def send(broker: MemoryBroker, count: int, first: int = 0, asset: str = "a") -> None:
    for number in range(first, first + count):
        broker.append(score(number, asset))


def times(server: InfluxServer, measurement: str = "monitor_scores") -> list[int]:
    """Return the numbers of the scores in the database, in order of arrival."""
    return [(point.time - TIME) // 1000 for point in server.points.values() if point.measurement == measurement]
