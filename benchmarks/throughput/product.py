"""The product under load: one worker, or two of a group, with a broker over TCP or the in-process broker.

1. The store is filled (store.py) and the group's offsets are set to 0, so that the worker starts from these snapshots.
2. The worker starts on an empty topic, and waits.
3. All messages are written at once. Processor time counts from before the first to after the last.
4. The worker is stopped. The cost of its last checkpoint, with a snapshot of every partition, is measured separately.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # imported but not exported by admin

from benchmarks.throughput import store
from benchmarks.throughput.fleet import CHANNELS, HEARTBEAT, PARTITIONS, TOPIC, Fleet, produce
from benchmarks.throughput.worker import STAGES, Mark, Worker, drained
from monitor.core.model.model import Model
from monitor.settings.load import load
from tests.brokers import Broker

ALERTS, SCORES, DEAD = "monitor.alerts", "monitor.scores", "monitor.dead-letters"
GROUP = "throughput"
KAFKA, MEMORY = ("monitor", "run", "-c"), ("benchmarks.throughput.memory",)
RETENTION_MS = str(100 * 365 * 86_400_000)  # the readings are years old, which Kafka would delete within a minute
MINUTE = 60.0  # store.snapshot_s by default: one snapshot of every partition in so many seconds


@dataclass(frozen=True)
class Run:
    """Cost of a run. Times are processor time, except those of stages, which are from the loop's clock."""

    broker: str
    kind: str
    assets: int
    workers: int
    scores: bool  # a score record was published per window
    windows: int
    cpu_s: float
    wall_s: float
    snapshot_cpu_s: float
    snapshot_wall_s: float
    snapshot_mb: float
    checkpoint_ms: float
    rss_mb: float
    stage_s: Mapping[str, float]

    @property
    def per_core(self) -> float:
        """Return windows per second of processor time, with a snapshot of every partition per minute of work."""
        return self.windows / self.cpu_s * (1 - self.snapshot_cpu_s / MINUTE / self.workers)

    @property
    def readings(self) -> float:
        return self.per_core * CHANNELS

    def figures(self) -> dict[str, Any]:
        return {**asdict(self), "windows_per_core_s": self.per_core, "readings_per_core_s": self.readings}


@contextmanager
def running(
    fleet: Fleet, base: Model, settings: Mapping[str, Any], command: Sequence[str], workers: int = 1
) -> Iterator[list[Worker]]:
    """Run workers that own all partitions; kill them at the end if they still run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common = store.common(fleet, folder / "store", {"source.group": GROUP, **settings})
        store.fill(load(None, {}, common), base, fleet)
        made = [Worker(folder, common, cpu, command) for cpu in range(workers)]
        try:
            for worker in made:
                worker.start()
            for worker in made:
                worker.wait_for(PARTITIONS // workers)
            yield made
        finally:
            for worker in made:
                worker.kill()


def over_kafka(broker: Broker, fleet: Fleet, base: Model, workers: int = 1, *, scores: bool = True) -> Run:
    """Run over this fresh broker."""
    begin_at_0(broker)
    settings = {**kafka(broker), "outputs.scores_every": int(scores)}
    with running(fleet, base, settings, KAFKA, workers) as made:
        before = [worker.mark() for worker in made]
        produce(broker.bootstrap, fleet)
        after = drained(made, fleet.messages)
        return result(broker.kind, fleet, made, before, after, scores=scores)


def over_memory(fleet: Fleet, base: Model) -> Run:
    """Run with the in-process broker (memory.py), which writes the messages itself before the start."""
    settings = {"source.kind": "memory", "outputs.kind": "memory"}
    with running(fleet, base, settings, (*MEMORY, fleet.text())) as made:
        before = [worker.mark() for worker in made]
        Path(made[0].settings.store.url, "go").touch()
        after = drained(made, fleet.messages)
        return result("memory", fleet, made, before, after, scores=True)


def make_topics(broker: Broker, names: Sequence[str]) -> None:
    """Make topics with a retention: Quix Streams reads it, and Tansu has no default."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    topics = [NewTopic(name, PARTITIONS, 1, config={"retention.ms": RETENTION_MS}) for name in names]
    for future in admin.create_topics(topics, request_timeout=30).values():
        future.result()


def kafka(broker: Broker) -> dict[str, Any]:
    """Return the settings for this broker."""
    return {"kafka.bootstrap_servers": broker.bootstrap, "kafka.options": HEARTBEAT}


def begin_at_0(broker: Broker) -> None:
    """Make the topics, and set the group's offsets to those of store.py's snapshots."""
    make_topics(broker, (TOPIC, ALERTS, SCORES, DEAD))
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": GROUP, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)], asynchronous=False)
    consumer.close()


def result(
    broker: str, fleet: Fleet, workers: Sequence[Worker], before: Sequence[Mark], after: Sequence[Mark], *, scores: bool
) -> Run:
    """Stop the workers and return the result."""
    time.sleep(1.5)  # includes the outputs of the next checkpoint, one a second
    after = [worker.mark() for worker in workers]
    ends = [worker.end() for worker in workers]
    pairs = list(zip(before, after, strict=True))

    def grown(name: str) -> float:
        return sum(late[name] - early[name] for early, late in pairs)

    assert grown("monitor_windows_scored_total") == fleet.windows, "every step was scored"
    directory = Path(workers[0].settings.store.url, "snapshots")
    newest = [max(each.iterdir()) for each in directory.glob("*/*")]
    return Run(
        broker=broker,
        kind=fleet.kind,
        assets=fleet.assets,
        workers=len(workers),
        scores=scores,
        windows=fleet.windows,
        cpu_s=sum(late.cpu_s - early.cpu_s for early, late in pairs),
        wall_s=max(late.at for late in after) - min(early.at for early in before),
        snapshot_cpu_s=sum(cpu for cpu, _ in ends),
        snapshot_wall_s=max(wall for _, wall in ends),
        snapshot_mb=sum(path.stat().st_size for path in newest) / 1e6,
        checkpoint_ms=1e3 * grown("monitor_checkpoint_seconds_sum") / grown("monitor_checkpoint_seconds_count"),
        rss_mb=sum(mark.rss_mb for mark in after),
        stage_s={stage: sum(late.stage(stage) - early.stage(stage) for early, late in pairs) for stage in STAGES},
    )
