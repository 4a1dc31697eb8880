"""The floor: the least cost of reading these messages and running every window through this model.

It is a bare `consume()` of the topic and bare forward passes at the best batch size, in processor time, without
decoding, windows, thresholds or records.
"""

import time
from typing import Any

import torch
from confluent_kafka import Consumer, TopicPartition

from benchmarks.throughput.fleet import CHANNELS, LENGTH, PARTITIONS, PATIENCE_S, TOPIC, Fleet
from monitor.core.model.model import Model
from monitor.core.model.vae import VAE
from tests.brokers import Broker

POLL = 5000  # messages, as `source.batch_messages`
BATCHES = (64, 128, 256, 512, 1024)


def floor(broker: Broker, sent: Fleet, model: Model, seconds: float) -> dict[str, Any]:
    """Return windows per second of processor time of reading and forward passes; `seconds` per batch size."""
    consume_s = consume(broker, sent.messages)
    forward_s, batch = min((forward(model, batch, seconds), batch) for batch in BATCHES)
    rate = 1 / (consume_s * sent.messages_per_window + forward_s)
    return {
        "kind": sent.kind,
        "consume_us": 1e6 * consume_s * sent.messages_per_window,
        "forward_us": 1e6 * forward_s,
        "batch": batch,
        "windows_per_core_s": rate,
        "readings_per_core_s": rate * CHANNELS,
    }


def consume(broker: Broker, messages: int) -> float:
    """Return processor seconds per message of reading the topic, client threads included."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "floor", "log_level": 0})
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
    cpu, begin, read = time.process_time(), time.monotonic(), 0
    while read < messages:
        read += sum(message.error() is None for message in consumer.consume(POLL, 0.2))
        assert time.monotonic() - begin < PATIENCE_S, f"{read} of {messages} messages"
    took = time.process_time() - cpu
    consumer.close()
    return took / read


def forward(model: Model, batch: int, seconds: float) -> float:
    """Return processor seconds per window of the network."""
    torch.set_num_threads(1)
    network = VAE.of(model)
    values, observed = torch.randn(batch, CHANNELS, LENGTH), torch.ones(batch, CHANNELS, LENGTH, dtype=torch.bool)
    with torch.inference_mode():
        network.decode(network.encode(values, observed)[0])
        cpu, done = time.process_time(), 0
        while time.process_time() - cpu < seconds:
            network.decode(network.encode(values, observed)[0])
            done += batch
    return (time.process_time() - cpu) / done
