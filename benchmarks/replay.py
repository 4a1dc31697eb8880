"""Replay recordings through a real broker, a daemon process, and a real time-series database.

    python -m benchmarks.replay --data DIR/SKAB [--broker tansu|apache|mock] [--json FILE]

1. `monitor train` makes a model from the training parts.
2. The rest of every recording is written to a topic as if all machines ran at once, each message to a chosen partition.
3. `monitor run` reads it over TCP and publishes to Kafka; its recorder writes to VictoriaMetrics through the official
   InfluxDB client. The daemon is stopped after both have committed all messages.
4. The same messages go through the in-process broker with the same model.
5. The results are compared: alerts by id, scores by asset and time, on all three sides.

Exits 1 if anything is missing or differs by more than float32 allows.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.brokers import KINDS, real_broker
from benchmarks.recordings import Recording, load, save
from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Partition, Record
from monitor.service.run import Service
from monitor.settings.load import load as load_settings
from tests.brokers import Broker, MockBroker, mock_broker
from tests.victoria import VictoriaMetrics, victoria_metrics

PARTITIONS = 3
TOPIC, GROUP, DETECTOR = "readings", "replay", "replay"
ALERTS, SCORES, DEAD = "monitor.alerts", "monitor.scores", "monitor.dead-letters"
PATIENCE_S = 180.0
TOLERANCE = 1e-4  # of scores: seven published digits, through JSON and the database
Sent = tuple[int, bytes, bytes, int]  # partition, key, value, time


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one path."""

    alerts: dict[tuple[str, int], dict[str, Any]]  # by id and sequence
    scores: dict[tuple[str, int], float]  # by asset and time


def messages(recordings: Sequence[Recording]) -> list[Sent]:
    """Return the test parts as json_wide messages of all machines, in the order of time."""
    sent: list[Sent] = []
    origin = 1_700_000_000_000
    for number, each in enumerate(recordings):
        time = (
            origin + each.time[each.train_end :] - (each.time[each.train_end] if each.train_end < len(each.time) else 0)
        )
        for at, row in zip(time.tolist(), each.values[each.train_end :].tolist(), strict=True):
            values = {name: value for name, value in zip(each.channels, row, strict=True) if value == value}  # noqa: PLR0124
            body = msgspec.json.encode({"asset": each.name, "timestamp": at, "values": values})
            sent.append((number % PARTITIONS, each.name.encode(), body, at))
    return sorted(sent, key=lambda message: message[3])


def configuration(folder: Path, lines: str = "") -> Path:
    """Write a configuration file for this replay."""
    text = f"""
name = "{DETECTOR}"
[source]
topics = ["{TOPIC}"]
group = "{GROUP}"
poll_s = 0.1
[windows]
max_gap = 16
[training]
interval_s = 0
[store]
url = "{folder / "store"}"
{lines}
"""

    path = folder / "replay.toml"
    path.write_text(text)
    return path


def train(config: Path, recordings: Sequence[Recording]) -> str:
    """Run `monitor train` on the training parts and return its output."""
    folder = config.parent / "training"
    folder.mkdir()
    for each in recordings:
        save(each, slice(0, each.train_end), folder / f"{each.name}.npz")
    command = [sys.executable, "-m", "monitor", "train", "-c", str(config), *map(str, sorted(folder.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def through_kafka(config: Path, sent: Sequence[Sent], broker: Broker, database: VictoriaMetrics) -> Result:
    """Replay over TCP with a daemon process. Return the topics' records once the database has them, too."""
    make_topics(config, broker)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5, "log_level": 0})
    for part, key, value, at in sent:
        while True:
            try:
                producer.produce(TOPIC, value, key, part, timestamp=at)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(PATIENCE_S) == 0
    environment = {**os.environ, "MONITOR_RECORDER__URL": database.url, "MONITOR_RECORDER__ENABLED": "true"}
    command = [sys.executable, "-m", "monitor", "run", "-c", str(config)]
    with (config.parent / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, stdout=log, env=environment)

        def alive() -> None:
            assert daemon.poll() is None, f"the daemon ended with {daemon.returncode}"

        try:
            wait(broker, GROUP, {Partition(TOPIC, n): sum(s[0] == n for s in sent) for n in range(PARTITIONS)}, alive)
            bodies = {topic: read(broker, topic) for topic in (ALERTS, SCORES)}
            wait(broker, f"{GROUP}-recorder", ends(bodies), alive)
        finally:
            daemon.send_signal(signal.SIGTERM)
            code = daemon.wait(60)
    assert code == 0, f"the daemon ended with {code}: {(config.parent / 'daemon.log').read_text()[-2000:]}"
    return result(bodies[ALERTS], bodies[SCORES])


def through_memory(config: Path, sent: Sequence[Sent]) -> Result:
    """Replay in this process."""
    overrides = {"source.kind": "memory", "outputs.kind": "memory", "health.enabled": "false"}
    settings = load_settings(config, {}, overrides)
    broker = MemoryBroker({TOPIC: PARTITIONS}, bound=None)
    for part, key, value, at in sent:
        broker.append(Record(TOPIC, key, value), part, at)
    broker.finish()
    Service(settings, broker).run(threading.Event())

    def bodies(topic: str) -> list[dict[str, Any]]:
        return [json.loads(s.record.value or b"") for part in broker.partitions(topic) for s in broker.read(part)]

    return result(bodies(ALERTS), bodies(SCORES))


def from_database(database: VictoriaMetrics) -> Result:
    """Return the database's points. It keeps only numbers, so alerts are identified by asset and time."""
    scores = {
        (series.labels["asset"], at): value
        for series in database.series("monitor_scores_score")
        for at, value in series.samples.items()
    }
    alerts = {
        (f"{series.labels['asset']}/{series.labels['state']}/{at}", 0): {"alarm": value}
        for series in database.series("monitor_alerts_alarm")
        for at, value in series.samples.items()
    }
    return Result(alerts, scores)


def result(alerts: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]) -> Result:
    return Result(
        {(alert["id"], alert["sequence"]): dict(alert) for alert in alerts},
        {(score["asset"], score["time"]): score["score"] for score in scores},
    )


def alarm_scores(side: Result) -> dict[tuple[str, int], float]:
    return {key: alert["alarm"] for key, alert in side.alerts.items()}


def differences(one: Mapping[Any, float], two: Mapping[Any, float]) -> int:
    """Count keys of only one side, and values that differ by more than TOLERANCE, relative."""
    both = one.keys() & two.keys()
    wrong = sum(abs(one[key] - two[key]) > TOLERANCE * max(abs(one[key]), 1e-3) for key in both)
    return len(one.keys() ^ two.keys()) + wrong


def make_topics(config: Path, broker: Broker) -> None:
    if isinstance(broker, MockBroker):
        for name in (TOPIC, ALERTS, SCORES, DEAD):
            broker.create_topic(name, PARTITIONS)
    else:
        command = [
            sys.executable,
            "-m",
            "monitor",
            "topics",
            "-c",
            str(config),
            "--partitions",
            str(PARTITIONS),
        ]

        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def read(broker: Broker, topic: str) -> list[dict[str, Any]]:
    """Return the bodies of all durable records in a topic, each with its `_partition`."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "log_level": 0})
    found = []
    for number in range(PARTITIONS):
        consumer.assign([TopicPartition(topic, number, 0)])
        empty = 0
        while empty < 20:  # two seconds without a message, because some brokers report a wrong end
            batch = consumer.consume(10_000, 0.1)
            empty = 0 if batch else empty + 1
            bodies = [json.loads(message.value() or b"") for message in batch if not message.error()]
            found += [{**body, "_partition": number} for body in bodies]
    consumer.close()
    return found


def ends(bodies: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[Partition, int]:
    """Return the end offset of each non-empty partition."""
    parts = [Partition(topic, body["_partition"]) for topic, found in bodies.items() for body in found]
    return {part: parts.count(part) for part in set(parts)}


def wait(broker: Broker, group: str, wanted: Mapping[Partition, int], alive: Callable[[], None]) -> None:
    """Wait until the group has committed these offsets. `alive` raises AssertionError once its process has ended."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "log_level": 0})
    deadline = time.monotonic() + PATIENCE_S
    parts = [TopicPartition(*part) for part in wanted]
    while True:
        found = {Partition(p.topic, p.partition): p.offset for p in consumer.committed(parts, timeout=10)}
        if all(found[part] >= offset for part, offset in wanted.items() if offset):
            break
        alive()
        assert time.monotonic() < deadline, f"{group} committed {found} of {wanted} within {PATIENCE_S} s"
        time.sleep(0.2)
    consumer.close()


def brokers(kind: str) -> AbstractContextManager[Broker]:
    return mock_broker() if kind == "mock" else real_broker(kind)


def replay(recordings: Sequence[Recording], kind: str) -> dict[str, Any]:
    """Run the whole comparison and return counts by name."""
    with tempfile.TemporaryDirectory() as name, brokers(kind) as broker:
        folder = Path(name)
        (folder / "database").mkdir()
        config = configuration(folder, f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"')
        model = train(config, recordings)
        sent = messages(recordings)

        with victoria_metrics(folder / "database") as database:
            kafka = through_kafka(config, sent, broker, database)
            stored = from_database(database)
        memory = through_memory(config, sent)

    # The database keeps no ids, so its alerts are compared by asset, state and time.
    by_time = {
        (f"{alert['asset']}/{alert['state']}/{alert['time']}", 0): alert["alarm"] for alert in kafka.alerts.values()
    }

    return {
        "model": model,
        "machines": len(recordings),
        "messages": len(sent),
        "readings": sum(np.isfinite(each.values[each.train_end :]).sum().item() for each in recordings),
        "scores": {"kafka": len(kafka.scores), "memory": len(memory.scores), "database": len(stored.scores)},
        "alerts": len({alert["id"] for alert in kafka.alerts.values()}),
        "alert_records": {
            "kafka": len(kafka.alerts), "memory": len(memory.alerts), "database": len(stored.alerts),
        },
        "different": {
            "scores, kafka and memory": differences(kafka.scores, memory.scores),
            "scores, kafka and database": differences(kafka.scores, stored.scores),
            "alert ids, kafka and memory": len(kafka.alerts.keys() ^ memory.alerts.keys()),
            "alarm scores of alerts, kafka and memory": differences(alarm_scores(kafka), alarm_scores(memory)),
            "alerts, kafka and database": differences(by_time, alarm_scores(stored)),
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--broker", choices=(*KINDS, "mock"), default="tansu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = replay(load(arguments.data), arguments.broker)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    sys.exit(int(any(figures["different"].values())))


if __name__ == "__main__":
    main()
