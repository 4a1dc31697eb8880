"""A running plant for benchmarks: a feed at a steady rate, the daemon as a process, and its published records.

The broker is librdkafka's mock cluster, over real TCP, or Apache Kafka for static members, which the mock does not
support. The mock keeps at most 5 MB and 100 000 messages of a partition. Hence both sides use lz4, which makes readings
and scores three to five times smaller, and enough partitions.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from benchmarks.footprint import make_model
from benchmarks.replay import ALERTS, DEAD, DETECTOR, SCORES, TOPIC, wait
from benchmarks.replay import configuration as replay_configuration
from monitor.connectors.kafka.sink import create_topics
from monitor.core.records import Partition
from monitor.settings.load import load, render
from monitor.simulator.plant import Plant, messages
from monitor.simulator.signals import Doubles
from tests.apache import apache_kafka
from tests.brokers import Broker, free_port, mock_broker

PATIENCE_S = 300.0
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}


class _Seen(msgspec.Struct, gc=False):
    time: int  # ms UTC, end of the window


@contextmanager
def a_broker(partitions: int, files: Path | None = None) -> Iterator[Broker]:
    """Run a broker with every topic of the monitor: Apache Kafka with its `files`, or the mock."""
    topics = dict.fromkeys((TOPIC, ALERTS, SCORES, DEAD), partitions)
    with mock_broker(topics) if files is None else apache_kafka(files) as broker:
        if files is not None:
            create_topics({"bootstrap.servers": broker.bootstrap}, topics, PATIENCE_S)
        yield broker


def a_model(folder: Path) -> Path:
    """Return a store with a model of the plant, trained once for many runs."""
    make_model(replay_configuration(folder))
    return folder / "store"


def ends(broker: Broker, topic: str, partitions: int) -> int:
    """Return the number of messages in a topic. Raise AssertionError if the broker has dropped any."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "log_level": 0})
    total = 0
    for number in range(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
        assert low == 0, f"{topic}[{number}] begins at {low}"
        total += high
    consumer.close()
    return total


def published(broker: Broker, topic: str, partitions: int) -> list[dict[str, Any]]:
    """Return the bodies of all records in a topic."""
    total = ends(broker, topic, partitions)
    found: list[dict[str, Any]] = []
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "log_level": 0})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    while len(found) < total:
        found += [json.loads(message.value() or b"") for message in consumer.consume(total - len(found), 1.0)]
    consumer.close()
    return found


class Feed:
    """Writes the plant's readings, `values` (A, T, C) from step 0 on; `step` is the next step."""

    def __init__(self, broker: Broker, plant: Plant, values: Doubles, partitions: int) -> None:
        self.step = 0
        self.sent = 0  # messages
        self._plant, self._values, self._partitions = plant, values, partitions
        self._producer = Producer(
            {"bootstrap.servers": broker.bootstrap, "linger.ms": 5, "compression.type": "lz4", "log_level": 0}
        )
        self._stop = threading.Event()

    def at_once(self, steps: int) -> None:
        """Write the next steps at full speed, and wait until they are in the topic."""
        self._write(steps)
        assert self._producer.flush(PATIENCE_S) == 0

    @contextmanager
    def steadily(self, per_s: float) -> Iterator[None]:
        """Write in a thread, at this number of steps a second."""
        thread = threading.Thread(target=self._go_on, args=(1 / per_s,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            assert self._producer.flush(PATIENCE_S) == 0

    def wait_for(self, step: int) -> None:
        """Wait until this step was written."""
        until(lambda: self.step > step, f"step {step}")

    def wait_for_end(self) -> None:
        """Wait until the last step was written."""
        self.wait_for(self._values.shape[1] - 1)

    def _go_on(self, period_s: float) -> None:
        due = time.monotonic()
        while self.step < self._values.shape[1] and not self._stop.wait(max(0.0, due - time.monotonic())):
            self._write(1)
            due += period_s

    def _write(self, steps: int) -> None:
        for each in messages(self._plant, self.step, self._values[:, self.step : self.step + steps]):
            number = int(each.key.decode().rpartition("-")[2]) % self._partitions
            while True:
                with suppress(BufferError):  # the queue is full
                    self._producer.produce(TOPIC, each.value, each.key, number)
                    break
                self._producer.poll(0.1)
            self.sent += 1
        self._producer.poll(0)
        self.step += steps


@contextmanager
def followed(bootstrap: str, topic: str, partitions: int, take: Callable[[Message, float], None]) -> Iterator[None]:
    """Read a growing topic in a thread. `take` gets each message and its arrival time (s)."""
    over = threading.Event()

    def read() -> None:
        consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "tail", "log_level": 0, "fetch.wait.max.ms": 10}
        )
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        while not over.is_set():
            batch = [*consumer.consume(1, 0.1), *consumer.consume(20_000, 0)]
            now = time.time()
            for message in batch:
                if message.error() is None:
                    take(message, now)
        consumer.close()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Tail:
    """The newest published scores: `newest` is the time of the last one by partition."""

    def __init__(self, partitions: int) -> None:
        self.newest = dict.fromkeys(range(partitions), 0)  # ms UTC
        self.seen: dict[int, float] = {}  # its arrival time, seconds since the epoch
        self._decoder = msgspec.json.Decoder(_Seen)

    def take(self, message: Message, now: float) -> None:
        """Take a message of `followed`."""
        number, value = message.partition(), message.value()
        if number is None or value is None:
            return
        at = self._decoder.decode(value).time
        if at > self.newest[number]:
            self.seen[number], self.newest[number] = now, at  # in this order, because other threads read them


class Daemon:
    """`monitor run` as a process that can be restarted on the same store."""

    def __init__(self, folder: Path, store: Path, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.store = folder / "store"
        self.began = 0.0  # seconds since the epoch
        self._environment = {**_ENVIRONMENT, **environment}
        self._config, self._log = folder / "live.toml", folder / "log"
        shutil.copytree(store, self.store)
        own = {
            "name": DETECTOR,  # whose model the store has
            "store.url": str(self.store),
            "health.port": self.port,
            "training.interval_s": 0.0,
            "log.format": "json",
        }
        self._config.write_text(render(load(None, {}, {**settings, **own})))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.began = time.time()
        command = [sys.executable, "-m", "monitor", "run", "-c", str(self._config)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process with this signal, unless it has ended already."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of this event; `at` is the time in seconds since the epoch."""
        found = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [
            {**line, "at": datetime.fromisoformat(line["timestamp"]).timestamp()}
            for line in found
            if line["event"] == event
        ]

    def read_to_the_end(self, broker: Broker, group: str, topics: Sequence[str], partitions: int) -> None:
        """Wait until the group has committed the current end of these topics; the lag metric may be 0 too early."""
        reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "log_level": 0})
        parts = [Partition(topic, number) for topic in topics for number in range(partitions)]
        end = {part: reader.get_watermark_offsets(TopicPartition(*part), timeout=10)[1] for part in parts}
        reader.close()
        wait(broker, group, end, self.alive)

    def alive(self) -> None:
        """Raise AssertionError with the end of the log if the process has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-3000:]


def until(condition: Any, what: str) -> float:
    """Wait for a condition and return the seconds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < PATIENCE_S, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.02)
    return time.monotonic() - begin
