"""A fleet of any size for load: many assets that each behave as one of PATTERNS simulated pumps, and their messages.

An asset has the readings of pump `asset % PATTERNS`, so a fleet of 12 500 is made in a second, while every asset has
its own name, window and threshold. Messages are joined from pieces that are encoded once per pump and step.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Producer

from monitor.core.records import Partition, ReadingBatch
from monitor.simulator.plant import NAMES, Plant, PlantSettings
from monitor.simulator.signals import Doubles

TOPIC = "readings"
PARTITIONS = 2
PATTERNS = 100  # different pumps; also the training assets
LENGTH = 64  # steps of a window; the first message completes each asset's first window
WARM = LENGTH - 1  # steps of every asset before the first message
CHANNELS = len(NAMES)
KINDS = ("json_long", "json_wide", "influx_line")
FAULT, EVERY = 12, 90  # steps of a fault, and from one fault to the next
FIRST = 1_750_000_000_000  # ms UTC of step 0 by default
PATIENCE_S = 300.0
# Tansu forms a group in 27 s at the default heartbeat of 3 s, and in 7 s with this.
HEARTBEAT = {"heartbeat.interval.ms": 300, "session.timeout.ms": 20_000}

Sent = tuple[int, bytes, bytes]  # partition, key, value


@dataclass(frozen=True)
class Fleet:
    """Assets over a number of steps; `faulty` of the PATTERNS pumps have a fault every EVERY steps."""

    assets: int
    steps: int  # with messages, after WARM steps without
    kind: str = "json_wide"
    faulty: int = 1
    first: int = FIRST

    @property
    def windows(self) -> int:
        return self.assets * self.steps

    @property
    def messages(self) -> int:
        return self.windows * self.messages_per_window

    @property
    def messages_per_window(self) -> int:
        return CHANNELS if self.kind == "json_long" else 1

    @property
    def names(self) -> list[str]:
        return [f"pump-{number:05d}" for number in range(self.assets)]

    @property
    def channels(self) -> tuple[str, ...]:
        """Return the channel names of the decoder."""
        return tuple(f"pump.{name}" for name in NAMES) if self.kind == "influx_line" else NAMES

    def partition(self, number: int) -> list[str]:
        """Return the assets of this partition."""
        return self.names[number::PARTITIONS]

    def time(self, step: int) -> int:
        """Return the time of a step with messages, ms UTC."""
        return self.first + (WARM + step) * 1000

    @cached_property
    def values(self) -> Doubles:
        """Return the pumps' readings (PATTERNS or fewer, WARM + steps, C)."""
        plant = Plant(PlantSettings(assets=min(self.assets, PATTERNS)))
        rows = plant.rows(0, WARM + self.steps)
        step = np.arange(self.steps)
        for pump in range(min(self.faulty, len(rows))):
            wrong = WARM + step[(step - 5 - 3 * pump) % EVERY < FAULT]
            for channel in ("flow", "vibration", "outlet_pressure"):
                rows[pump, wrong, NAMES.index(channel)] *= 3
        return rows

    def warm(self, number: int) -> Iterator[ReadingBatch]:
        """Yield the readings of a partition before the first message, step by step."""
        names = self.partition(number)
        pump = np.arange(number, self.assets, PARTITIONS) % PATTERNS
        asset = np.repeat(np.arange(len(names), dtype=np.int32), CHANNELS)
        channel = np.tile(np.arange(CHANNELS, dtype=np.int32), len(names))
        for step in range(WARM):
            time = np.full(len(asset), self.first + step * 1000)
            value = self.values[pump, step].reshape(-1)
            yield ReadingBatch(tuple(names), self.channels, asset, channel, time, value, np.zeros_like(time))

    def step(self, step: int) -> Iterator[Sent]:
        """Yield the messages of a step, asset by asset."""
        tails = [self._tails(step, row) for row in self.values[:, WARM + step].tolist()]
        for number, (name, head) in enumerate(self._heads):
            for tail in tails[number % PATTERNS]:
                yield number % PARTITIONS, name, head + tail

    @cached_property
    def _heads(self) -> list[tuple[bytes, bytes]]:
        """Return name and message prefix of each asset."""
        form = {
            "json_long": '{{"asset":"{}","channel":"',
            "json_wide": '{{"asset":"{}","timestamp":',
            "influx_line": "pump,host={} ",
        }[self.kind]
        return [(name.encode(), form.format(name).encode()) for name in self.names]

    def _tails(self, step: int, row: list[float]) -> list[bytes]:
        """Return the message suffix of each pump."""
        at = self.time(step)
        if self.kind == "json_long":
            pairs = zip(NAMES, row, strict=True)
            return [f'{name}","timestamp":{at},"value":{value}}}'.encode() for name, value in pairs]
        if self.kind == "json_wide":
            values = msgspec.json.encode(dict(zip(NAMES, row, strict=True))).decode()
            return [f'{at},"values":{values}}}'.encode()]
        fields = ",".join(f"{name}={value}" for name, value in zip(NAMES, row, strict=True))
        return [f"{fields} {at}000000".encode()]

    def settings(self) -> dict[str, Any]:
        """Return the monitor's settings for these messages."""
        if self.kind == "influx_line":
            return {"format.kind": self.kind, "format.asset_from": "tag", "format.timestamp_unit": "ns"}
        return {"format.kind": self.kind}

    def text(self) -> str:
        """Format the fleet for the command line of another process; `fleet` parses it."""
        return msgspec.json.encode(asdict(self)).decode()


def fleet(text: str) -> Fleet:
    """Parse the text of `Fleet.text`."""
    return Fleet(**msgspec.json.decode(text))


def produce(bootstrap: str, sent: Fleet) -> None:
    """Write all messages of a fleet at full speed. Return when they are in the topic."""
    many = {"linger.ms": 20, "batch.size": 1_000_000, "queue.buffering.max.messages": 1_000_000}
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0, **many})
    for step in range(sent.steps):
        at = sent.time(step)
        for number, key, value in sent.step(step):
            put(producer, number, key, value, at)
    assert producer.flush(PATIENCE_S) == 0


def put(producer: Producer, number: int, key: bytes, value: bytes, at: int) -> None:
    """Produce one message. Wait while the client's queue is full."""
    while True:
        try:
            producer.produce(TOPIC, value, key, number, timestamp=at)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def partition(number: int) -> Partition:
    return Partition(TOPIC, number)
