"""Measure readings per second and core from a real broker, and compare with a naive twin, other engines and the floor.

    python -m benchmarks.throughput [--quick] [--broker tansu|apache] [--json FILE] [--engines PYTHON]

Everything runs at the defaults: every step scored, a score record with all channels per window, thresholds that hold
10 000 scores, alerts, checkpoints. The broker is Tansu or Apache Kafka, over TCP, or the one inside the process. The
worker has core 0 exclusively, as with `taskset`; broker, load and measurement use the others. "Per core" is per second
of the worker's processor time, including client threads and a snapshot of every partition in each minute of work.

--quick takes four minutes with small fleets, mostly for starting processes. It shows that everything works, not its
speed. --engines names an interpreter whose environment has the engines (`pip install '.[benchmarks]'`), which need
other versions of packages than the tests. Tables are printed as Markdown.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.brokers import KINDS as BROKERS
from benchmarks.brokers import real_broker
from benchmarks.throughput import engines, product, report
from benchmarks.throughput.engines import Race
from benchmarks.throughput.fleet import KINDS, Fleet
from benchmarks.throughput.floor import floor
from benchmarks.throughput.latency import latency
from benchmarks.throughput.product import Run
from benchmarks.throughput.training import train
from monitor.core.model.model import Model

LOAD = 0.5  # of the measured rate, for the latency


@dataclass(frozen=True)
class Plan:
    """Sizes of all measurements."""

    kinds: tuple[str, ...]  # of messages
    windows: int  # of a run, at least five steps of every asset
    fleets: tuple[int, ...]  # assets, each with every kind of message; the others are compared on the first
    growth: tuple[int, ...]  # smaller fleets
    engine_windows: int  # windows for each engine, at least three of its batches, because the first is not timed
    floor_s: float  # of forward passes per batch size
    latency_steps: int
    most_live: int  # assets, for the latency
    training: tuple[int, ...]  # assets; the first number is that of the pumps, whose model all runs use
    recipe: Mapping[str, Any]  # settings of the training
    broker: str = "tansu"

    def fleet(self, assets: int, kind: str) -> Fleet:
        return Fleet(assets, max(5, self.windows // assets), kind)


FULL = Plan(KINDS, 62_500, (1250, 12_500), (13, 125), 4000, 1.0, 40, 12_500, (100, 10_000), {})
QUICK = Plan(("json_long", "json_wide"), 5000, (125,), (13,), 800, 0.2, 15, 500, (100,), {"training.steps": 200})


def measure(plan: Plan, python: str) -> dict[str, Any]:
    """Measure all figures."""
    trained = [train(assets, dict(plan.recipe)) for assets in plan.training]
    base = trained[0].model
    assert base is not None, trained[0].figures["failed"]
    figures: dict[str, Any] = {
        "training": [each.figures for each in trained],
        "compared": [],
        "others": [],
        "floors": [],
    }

    fleets = [plan.fleet(assets, kind) for assets in plan.fleets for kind in plan.kinds]
    runs = [run for fleet in fleets for run in both(plan, fleet, base, python, figures)]
    runs.append(alone(plan, plan.fleet(plan.fleets[0], "json_wide"), base, scores=False))

    wide = [run for run in runs if run.broker != "memory" and run.kind == "json_wide" and run.scores]
    figures["growth"] = [*(alone(plan, plan.fleet(assets, "json_wide"), base) for assets in plan.growth), *wide]
    figures["runs"], figures["one"] = runs, wide[0]
    figures["two"] = alone(plan, plan.fleet(plan.fleets[0], "json_wide"), base, workers=2)

    live = min(plan.most_live, round(LOAD * wide[0].per_core))
    with real_broker(plan.broker) as broker:
        figures["latency"] = latency(broker, base, live, plan.latency_steps)

    return figures


def both(plan: Plan, fleet: Fleet, base: Model, python: str, figures: dict[str, Any]) -> list[Run]:
    """Run a fleet over both brokers. For the first fleet, run all others on the same messages, too."""
    with real_broker(plan.broker) as broker:
        runs = [reported(product.over_kafka(broker, fleet, base))]
        if fleet.assets == plan.fleets[0] and fleet.kind != "influx_line":
            figures["compared"] += runs
            others = engines.ENGINES if fleet.kind == "json_wide" else ()
            figures["others"] += engines.side_by_side(Race(broker, fleet, base, plan.engine_windows, python), others)
            figures["floors"].append(floor(broker, fleet, base, plan.floor_s))
    return [*runs, reported(product.over_memory(fleet, base))]


def alone(plan: Plan, fleet: Fleet, base: Model, workers: int = 1, *, scores: bool = True) -> Run:
    """Run a fleet over its own broker."""
    with real_broker(plan.broker) as broker:
        return reported(product.over_kafka(broker, fleet, base, workers, scores=scores))


def reported(run: Run) -> Run:
    """Print the progress."""
    about = f"{run.broker} {run.kind}, {run.assets} assets, {run.workers} workers"
    print(f"{about}: {run.readings:,.0f} readings/s per core", file=sys.stderr, flush=True)
    return run


def plain(value: Any) -> Any:
    """Convert a value for JSON."""
    return value.figures() if isinstance(value, Run) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--broker", choices=BROKERS, default="tansu", help="apache needs KAFKA_HOME")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--engines", default=sys.executable, metavar="PYTHON")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers and brokers are stopped, too
    others = os.sched_getaffinity(0) - {0}
    if others:
        os.sched_setaffinity(0, others)  # inherited by child processes; a worker gets its own core

    plan = replace(QUICK if arguments.quick else FULL, broker=arguments.broker)
    figures = measure(plan, arguments.engines)
    print(report.page(figures))

    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2, default=plain) + "\n")


if __name__ == "__main__":
    main()
