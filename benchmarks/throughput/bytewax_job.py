"""The job as a Bytewax dataflow: keyed by asset, `stateful_map` with the asset's rows and scores as its state.

    python -m benchmarks.throughput.bytewax_job BOOTSTRAP STORE FLEET OUTPUT WINDOWS [one|batched]

one: a score per item, as in Bytewax's own example of an anomaly detector. batched: windows of all assets are collected,
BATCH at a time, before they go through the model, which is the best that the engine's operators allow.
"""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from benchmarks.throughput.fleet import TOPIC
from benchmarks.throughput.naive import Call, Machine, readings

BATCH = 256
Item = tuple[str, dict[str, Any]]


def parse(message: Any) -> Item:
    body = json.loads(message.value)
    return body["asset"], body


def one_by_one(call: Call, items: Any) -> Any:
    """Score each window in its asset's step."""

    def step(machine: Machine | None, body: dict[str, Any]) -> tuple[Machine, bytes | None]:
        machine = machine or call.job.machine(body["asset"])
        found = call.job.step(machine, body)
        if found is not None:
            call.meter.count()
        return machine, found

    return op.stateful_map("score", items, step)


def batched(call: Call, items: Any) -> Any:
    """Score BATCH windows of any assets together, and compare each with its asset's threshold."""

    def window(machine: Machine | None, body: dict[str, Any]) -> tuple[Machine, tuple[Any, ...] | None]:
        machine = machine or call.job.machine(body["asset"])
        complete = machine.take(readings(body), call.fleet.channels)
        return machine, (machine, body["asset"], body["timestamp"], list(machine.rows)) if complete else None

    def score(batch: tuple[str, list[Any]]) -> list[tuple[str, bytes]]:
        machines, assets, times, rows = zip(*batch[1], strict=True)
        found = zip(assets, times, call.job.scorer.score(assets, rows), machines, strict=True)
        call.meter.count(len(assets))
        return [(asset, call.job.judged(machine, asset, at, each)) for asset, at, each, machine in found]

    windows = op.stateful_map("window", items, window)
    complete = op.filter_map("complete", windows, lambda pair: pair[1])
    together = op.key_on("together", complete, lambda _: "all")
    collected = op.collect("collect", together, timedelta(seconds=0.5), BATCH)
    return op.flat_map("score", collected, score)


def main() -> None:
    call = Call()
    flow = Dataflow("benchmark")
    messages = op.input("in", flow, KafkaSource([call.bootstrap], [TOPIC], tail=True))
    items = op.map("parse", messages, parse)
    scored = (batched if sys.argv[6:] == ["batched"] else one_by_one)(call, items)
    known = op.filter("scored", scored, lambda pair: pair[1] is not None)
    records = op.map("record", known, lambda pair: KafkaSinkMessage(pair[0].encode(), pair[1]))
    op.output("out", records, KafkaSink([call.bootstrap], call.output))
    start: Callable[[Dataflow], None] = run_main  # the library has no annotations
    start(flow)


if __name__ == "__main__":
    main()
