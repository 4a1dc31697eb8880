"""Measure the cost of a database outage: delay for the recorder, none for the detector.

    python -m benchmarks.database_outage [--json FILE]

1. A broker, and `monitor run` with its recorder, run as processes. A stand-in for InfluxDB 2 (tests/influx_server.py)
   runs in this process. The simulated plant is processed twice: once with the database up, once with it down from the
   start.
2. First a backlog is read at full speed, in readings/s. Then the plant runs at 16 steps a second, with faults.
3. In the second run the database starts after a good half of that time, and the recorder catches up while alerts are
   still raised. "Before" and "after" are the times before and after this turn, in both runs.
4. At the end the database must have every score and every alert record of the topics, with equal values.

Exits 1 on any difference.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from benchmarks.live import Daemon, Feed, a_broker, a_model, ends, published, until
from benchmarks.replay import ALERTS, GROUP, SCORES, TOPIC
from monitor.recorder.line_protocol import ALERTS as ALERT_POINTS
from monitor.recorder.line_protocol import SCORES as SCORE_POINTS
from monitor.simulator.faults import QUIET, ROUND, fault_schedule, faulty_rows
from monitor.simulator.plant import NAMES, Plant, PlantSettings
from tests.brokers import Broker
from tests.influx_server import InfluxServer, influx_server

PARTITIONS = 8
SCORES_EVERY = 4  # steps: the stand-in keeps everything, nine points per score
DELAY, CHECKPOINT = "monitor_alert_delay_seconds", "monitor_checkpoint_seconds"

Samples = Mapping[str, float]  # of /metrics, by name and labels


class Sample(NamedTuple):
    """State of the recorder at one moment."""

    at: float  # monotonic seconds
    lag: float
    blocked: bool


class Watch:
    """Reads /metrics of a daemon ten times a second, in a thread, and on request."""

    def __init__(self, port: int) -> None:
        self.history: list[Sample] = []
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def samples(self) -> Samples:
        """Return the metrics, or nothing while the daemon does not listen."""
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def count(self, name: str) -> float:
        return self.samples().get(name, 0)

    def _go_on(self) -> None:
        while not self._stop.wait(0.1):
            now = self.samples()
            if "monitor_recorder_lag_messages" in now:
                blocked = now["monitor_recorder_blocked"] == 1
                self.history.append(Sample(time.monotonic(), now["monitor_recorder_lag_messages"], blocked))


@dataclass(frozen=True, slots=True)
class Case:
    """A run: steps of `backlog`, then `rounds` of faults at `speed` steps a second."""

    down: bool
    assets: int = 64
    backlog: int = 600
    rounds: int = 3
    speed: float = 16.0

    @property
    def steps(self) -> int:
        return self.backlog + self.rounds * ROUND

    @property
    def turn(self) -> int:
        """Return the step of the database's start, where the faults of the last round but one may begin."""
        return self.backlog + (self.rounds - 2) * ROUND + QUIET


def run(case: Case, store: Path) -> dict[str, Any]:
    """Return the figures of a run; `store` has the model."""
    plant = Plant(PlantSettings(assets=case.assets, start=(time.time_ns() // 1_000_000_000 - case.steps) * 1000))
    values = faulty_rows(plant, fault_schedule(plant, case.backlog, case.rounds), 0, case.steps)

    with tempfile.TemporaryDirectory() as name, a_broker(PARTITIONS) as broker, influx_server() as database:
        if case.down:
            database.down()
        daemon = Daemon(Path(name), store, settings(broker, database), {"MONITOR_RECORDER__TOKEN": database.token})

        feed, watch = Feed(broker, plant, values, PARTITIONS), Watch(daemon.port)
        feed.at_once(case.backlog)
        watch.open()

        try:
            daemon.start()
            figures: dict[str, Any] = {"database": "down, then up" if case.down else "up"}
            figures["readings_per_s"] = read_backlog(watch, feed.sent)
            figures |= live(case, feed, watch, broker, database)
            daemon.read_to_the_end(broker, GROUP, (TOPIC,), PARTITIONS)
            daemon.read_to_the_end(broker, f"{GROUP}-recorder", (ALERTS, SCORES), PARTITIONS)
            figures |= compared(broker, database)
        finally:
            watch.close()
            daemon.end()

        return figures | {"load_average": round(os.getloadavg()[0], 1)}


def settings(broker: Broker, database: InfluxServer) -> dict[str, Any]:
    return {
        "source.group": GROUP,
        "kafka.bootstrap_servers": broker.bootstrap,
        "kafka.options": {"compression.type": "lz4"},
        "outputs.scores_every": SCORES_EVERY,
        "recorder.enabled": True,
        "recorder.url": database.url,
        "recorder.org": database.org,
        "recorder.bucket": database.bucket,
    }


def read_backlog(watch: Watch, messages: int) -> int:
    """Return readings per second."""
    until(lambda: watch.count("monitor_messages_total") > 0, "the first messages")
    begin, first = time.monotonic(), watch.count("monitor_messages_total")
    until(lambda: watch.count("monitor_messages_total") >= messages, "the backlog")
    return round((messages - first) * len(NAMES) / (time.monotonic() - begin))


def settled(watch: Watch) -> Samples:
    """Return the metrics after the next checkpoint, because an alert's delay is counted at its acknowledgement."""
    before = watch.count(f"{CHECKPOINT}_count")
    until(lambda: watch.count(f"{CHECKPOINT}_count") > before, "a checkpoint")
    return watch.samples()


def live(case: Case, feed: Feed, watch: Watch, broker: Broker, database: InfluxServer) -> dict[str, Any]:
    """Run the plant to its end. Start the database at the turn if it was down."""
    begin = settled(watch)
    with feed.steadily(case.speed):
        feed.wait_for(case.turn)
        middle = settled(watch)
        published, shown, turned = records(broker), watch.history[-1], time.monotonic()
        if case.down:
            database.up()
        feed.wait_for_end()

    until(lambda: watch.count("monitor_messages_total") >= feed.sent, "all messages")
    end = settled(watch)
    until(lambda: watch.history[-1].lag == 0 and not watch.history[-1].blocked, "the recorder at the end")

    later = [sample for sample in watch.history if sample.at > turned and not sample.blocked]
    return {
        "before": costs(begin, middle),
        "after": costs(middle, end),
        "at_turn": {"records_published": published, "recorder_lag": round(shown.lag), "blocked": shown.blocked},
        "recorder_writes_after_s": round(later[0].at - turned, 1),
        "recorder_lag_0_after_s": round(next(sample.at for sample in later if sample.lag == 0) - turned, 1),
    }


def records(broker: Broker) -> int:
    """Return the number of records in both topics of the recorder."""
    return sum(ends(broker, topic, PARTITIONS) for topic in (ALERTS, SCORES))


def costs(begin: Samples, end: Samples) -> dict[str, Any]:
    """Return the detector's histograms between two samples of the metrics."""

    def grown(name: str) -> float:
        return end.get(name, 0) - begin.get(name, 0)

    alerts, checkpoints = grown(f"{DELAY}_count"), grown(f"{CHECKPOINT}_count")
    return {
        "alert_records": round(alerts),
        "alert_delay_mean_s": round(grown(f"{DELAY}_sum") / alerts, 3),
        "alert_delay_most_s": reached(DELAY, begin, end, alerts),
        "checkpoint_mean_s": round(grown(f"{CHECKPOINT}_sum") / checkpoints, 4),
        "checkpoint_most_s": reached(CHECKPOINT, begin, end, checkpoints),
    }


def reached(name: str, begin: Samples, end: Samples, count: float) -> float:
    """Return the upper bound of the bucket with the largest observation."""
    start = f'{name}_bucket{{le="'
    edges = {float(key[len(start) : -2]): end[key] - begin[key] for key in end if key.startswith(start)}
    return min(edge for edge, below in edges.items() if below == count)


def compared(broker: Broker, database: InfluxServer) -> dict[str, Any]:
    """Compare the topics with the database."""
    topics: dict[str, dict[Any, Any]] = {
        "scores": {
            (body["asset"], body["time"]): (body["score"], body["alarm"], body["threshold"])
            for body in published(broker, SCORES, PARTITIONS)
        },
        "alert_records": {
            (body["asset"], body["time"], body["state"]): (body["alarm"], body["threshold"])
            for body in published(broker, ALERTS, PARTITIONS)
        },
    }

    recorded: dict[str, dict[Any, Any]] = {name: {} for name in topics}
    for point in list(database.points.values()):
        judged = point.fields.get("alarm"), point.fields.get("threshold")
        if point.measurement == SCORE_POINTS:
            recorded["scores"][point.tags["asset"], point.time] = point.fields.get("score"), *judged
        elif point.measurement == ALERT_POINTS:
            recorded["alert_records"][point.tags["asset"], point.time, point.tags["state"]] = judged

    counts = {name: {"topic": len(topics[name]), "database": len(recorded[name])} for name in topics}
    return {**counts, "different": sum(topics[name] != recorded[name] for name in topics)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = a_model(Path(name))
        runs = [run(Case(down), store) for down in (False, True)]
    text = json.dumps(runs, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    sys.exit(int(any(each["different"] for each in runs)))


if __name__ == "__main__":
    main()
