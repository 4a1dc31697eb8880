"""A real run of the daemon for the queries of dashboards and rules.

The daemon scores, alerts, rejects, records into a stand-in for InfluxDB and serves /metrics.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from monitor.connectors.memory.client import MemoryBroker
from monitor.recorder.line_protocol import ALERTS, CHANNELS, SCORES
from monitor.service.run import Service
from tests.core.machines import ASSETS
from tests.influx_server import Point, influx_server
from tests.rig import committed, feed, put_model, running, settings, until, values
from tests.service.test_running import recording, with_health
from tests.worker.test_daemon import faulty

SCRAPES = 5


class Run(NamedTuple):
    scrapes: list[str]  # /metrics, in order of time
    written: Mapping[str, set[str]]  # measurement -> its tags and fields
    points: Sequence[Point]
    lines: bytes  # the points as the recorder wrote them


def scrape_at(service: Service, broker: MemoryBroker, offset: int) -> str:
    """Return /metrics once everything below the offset is read and recorded."""
    until(lambda: committed(broker) == offset)
    until(lambda: b"monitor_recorder_lag_messages 0.0" in service.metrics.render())
    return service.metrics.render().decode()


def real_run(folder: Path) -> Run:
    """Feed a worker with a model, a fault, unreadable messages and an unwanted asset, in batches, each then scraped."""
    put_model(folder / "store")
    broker, sent, texts = MemoryBroker(), values(faulty()), []
    written: dict[str, set[str]] = defaultdict(set)
    with influx_server() as server:
        routes = {"name": "test", "assets": list(ASSETS)}
        wanted = settings(folder / "store", store__snapshot_s=1.0, recorder__batch_points=50, detectors=[routes])
        wanted = with_health(recording(wanted, server.url))
        place = {"org": server.org, "bucket": server.bucket, "token": SecretStr(server.token)}
        wanted = wanted.model_copy(update={"recorder": wanted.recorder.model_copy(update=place)})
        with running(wanted, broker) as service:
            until(lambda: service.metrics.total("monitor_checkpoints_total"))
            size = -(-len(sent) // SCRAPES)
            for begin in range(0, len(sent), size):
                unwanted = json.dumps({"asset": "spare", "timestamp": sent[begin][2], "values": {"flow": 1.0}}).encode()
                extra = [(b"a", b"{}", sent[begin][2]), (b"spare", unwanted, sent[begin][2])]
                feed(broker, [*sent[begin : begin + size], *extra])
                due = min(begin + size, len(sent)) + (begin // size + 1) * len(extra)
                texts.append(scrape_at(service, broker, due))
            until(lambda: {ALERTS, CHANNELS, SCORES} <= {point.measurement for point in server.points.values()})
        for point in server.points.values():
            written[point.measurement] |= {*point.tags, *point.fields}
    return Run(texts, written, list(server.points.values()), b"\n".join(server.lines.values()))
