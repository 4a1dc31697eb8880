"""Measure the time from a message to its alert in the topic, at a share of the worker's full load.

A step is a second. A tenth of the pumps have faults. Messages are spread over each second and stamped with their send
time. All channels of a step are in one message, so a step closes when its message arrives. A consumer of the topic
receives the alert after the broker's acknowledgement. Latency is that time minus the stamp.
"""

import json
import time
from typing import Any

import numpy as np
from confluent_kafka import Message, Producer

from benchmarks.live import followed
from benchmarks.throughput.fleet import CHANNELS, PARTITIONS, PATIENCE_S, PATTERNS, Fleet, put
from benchmarks.throughput.product import ALERTS, KAFKA, begin_at_0, kafka, running
from benchmarks.throughput.worker import drained
from monitor.core.model.model import Model
from tests.brokers import Broker

FAULTY = 10  # of the PATTERNS pumps
SLICES = 20  # of a second; an asset's message is always in the same slice
AFTER_S = 3.0  # for the last alerts to arrive

Key = tuple[str, int]  # asset, end of the window


def latency(broker: Broker, base: Model, assets: int, steps: int) -> dict[str, Any]:
    """Return the figures of this many assets and seconds, on a fresh broker."""
    fleet = Fleet(assets, steps, faulty=FAULTY)
    begin_at_0(broker)
    seen: dict[Key, float] = {}  # arrival time of each record, ms UTC

    def take(message: Message, now: float) -> None:
        body = json.loads(message.value() or b"")
        seen.setdefault((body["asset"], body["time"]), now * 1000)

    following = followed(broker.bootstrap, ALERTS, PARTITIONS, take)
    with running(fleet, base, kafka(broker), KAFKA) as (worker,), following:
        before = worker.mark()
        sent = feed(broker.bootstrap, fleet)
        after = worker.mark()
        drained([worker], fleet.messages)
        time.sleep(AFTER_S)
        worker.end()
    took = np.array([at - sent[key] for key, at in seen.items() if key in sent])  # not of pumps without faults
    assert len(took), "there were alerts"
    wall_s = after.at - before.at
    return {
        "assets": assets,
        "channels": assets * CHANNELS,
        "steps": steps,
        "load": (after.cpu_s - before.cpu_s) / wall_s,
        "behind": fleet.messages - after["monitor_messages_total"],
        "alerts": len(took),
        "p50_ms": float(np.percentile(took, 50)),
        "p99_ms": float(np.percentile(took, 99)),
        "most_ms": float(took.max()),
    }


def feed(bootstrap: str, fleet: Fleet) -> dict[Key, float]:
    """Write a step a second. Return the send times, ms UTC, of messages that may raise an alert."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0, "linger.ms": 5})
    times: dict[Key, float] = {}

    begin = time.monotonic()
    for step in range(fleet.steps):
        sent = list(fleet.step(step))
        size = -(-len(sent) // SLICES)

        for number in range(SLICES):
            time.sleep(max(0.0, begin + step + number / SLICES - time.monotonic()))
            for part, key, value in sent[number * size : (number + 1) * size]:
                now = time.time() * 1000
                put(producer, part, key, value, int(now))
                if int(key[-5:]) % PATTERNS < FAULTY:
                    times[key.decode(), fleet.time(step)] = now
            producer.poll(0)

    assert producer.flush(PATIENCE_S) == 0
    return times
