"""Measure what several detectors cost: machines split among 1, 4 and 16 of them, and a slow twin of one.

    python -m benchmarks.detectors [--assets 12500] [--rounds 60] [--backlogs 5]

Every variant gets the same messages through decoding, routing, all stages and the encoding of scores. The variants take
turns in one process, so that only their ratios count, which the last line has: processor time to that of one detector.

    live       a step of all machines at once, as they send it. The sum over the rounds: the twin closes a step, with a
               window of each machine, in one round of 60.
    backlog    STEPS steps of all machines in the full batches of a worker that catches up. The median over the rounds.

The models are untrained, since their cost does not depend on the weights.
"""

import argparse
import json
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec
import numpy as np
import torch

from monitor.core.decode.decode import decode
from monitor.core.detectors import Detectors
from monitor.core.publish import scores_of
from monitor.core.records import Message, Partition
from monitor.core.windows.aggregates import channels_of
from monitor.onboard.cost import untrained
from monitor.service.pipelines import make_detectors
from monitor.settings.load import load
from monitor.settings.tree import Settings

CHANNELS = tuple(f"channel-{number}" for number in range(8))
PARTITION = Partition("readings", 0)
BATCH = 5000  # messages for each detector, as a worker reads by default
SETTLED = 4  # steps, in which the twin has its first windows
STEPS = 8  # of a backlog: more than the largest batch
ORIGIN = 1_700_000_040_000  # ms UTC, on the grid of a minute


def split(parts: int) -> list[dict[str, Any]]:
    """Return detectors that share the machines evenly, by the beginnings of their names."""
    return [{"name": f"d{part}", "assets": [f"p{part:02d}-*"]} for part in range(parts)]


SLOW: dict[str, Any] = {"name": "slow", "windows": {"step_s": 60.0, "aggregate": ["mean", "max"]}}
TWIN: list[dict[str, Any]] = [{"name": "d0"}, SLOW]
VARIANTS: dict[str, list[dict[str, Any]]] = {"1": split(1), "4": split(4), "16": split(16), "twin": TWIN}


def names(assets: int, parts: int) -> list[str]:
    """Return names of machines, of which neighbours belong to different detectors."""
    return [f"p{number % parts:02d}-{number:05d}" for number in range(assets)]


class Variant:
    """One set of detectors with its own messages, ready to score."""

    def __init__(self, detectors: Sequence[dict[str, Any]], assets: int) -> None:
        given: dict[str, Any] = {"detectors": detectors, "threshold.memory": 1000, "windows.max_assets": 65_536}
        self.settings: Settings = load(None, {}, given)
        parts = 1 if detectors is TWIN else len(detectors)
        self.names = names(assets, parts)
        self.detectors: Detectors = make_detectors(self.settings.per_detector(), PARTITION)
        for name, pipeline in self.detectors.pipelines.items():
            own = self.settings.of_detector(name)
            channels = tuple(part for base in CHANNELS for part in channels_of(base, own.windows.aggregate))
            pipeline.use(untrained(own, channels))
        self.step = 0
        self.seconds: list[float] = []
        draw = np.random.default_rng(0)
        rows = draw.normal(0, 1, (assets, len(CHANNELS))).round(3).tolist()
        self.values = [dict(zip(CHANNELS, row, strict=True)) for row in rows]

    def messages(self, step: int, step_ms: int = 1000) -> list[Message]:
        """Return a step of all machines."""
        at, offset = ORIGIN + step_ms * step, step * len(self.names)
        encode = msgspec.json.encode
        return [
            Message(PARTITION, offset + place, None, encode({"asset": name, "timestamp": at, "values": row}), at)
            for place, (name, row) in enumerate(zip(self.names, self.values, strict=True))
        ]

    def warm(self) -> None:
        """Fill the windows of each detector at its own step."""
        for place, pipeline in enumerate(self.detectors.pipelines.values()):
            for step in range(-self.settings.windows.length, 0):
                readings, _ = decode(self.messages(step, pipeline.windows.step_ms), self.detectors.format, ORIGIN)
                pipeline.windows.push(self.detectors.router.route(readings).readings[place])

    def walk(self, steps: int) -> None:
        """Process the next steps of all machines, and note the processor time."""
        sent = [message for step in range(steps) for message in self.messages(self.step + step)]
        self.step += steps
        begin = time.process_time()
        batch = BATCH * len(self.detectors.pipelines)
        for at in range(0, len(sent), batch):
            outputs = self.detectors.process(sent[at : at + batch], ORIGIN + 10**9, lambda _: None)
            for name, each in outputs.detectors.items():
                scores_of(self.detectors.pipelines[name], each, "scores", 1)
        self.seconds.append(time.process_time() - begin)


def measure(assets: int, rounds: int, backlogs: int) -> dict[str, Any]:
    """Return microseconds per machine and step of one detector, and the ratios of the others to it."""
    torch.set_num_threads(1)
    variants = {name: Variant(detectors, assets) for name, detectors in VARIANTS.items()}
    for each in variants.values():
        each.warm()
        each.walk(SETTLED)
    split_only = {name: each for name, each in variants.items() if each is not variants["twin"]}

    live, backlog = _seconds(variants, rounds, 1), _seconds(split_only, backlogs, STEPS)
    return {
        "assets": assets,
        "us": round(median(live["1"]) / assets * 1e6, 1),
        "live": {name: round(sum(own) / sum(live["1"]), 3) for name, own in live.items()},
        "backlog": {
            name: round(median(a / b for a, b in zip(own, backlog["1"], strict=True)), 3)
            for name, own in backlog.items()
        },
    }


def _seconds(variants: dict[str, Variant], rounds: int, steps: int) -> dict[str, list[float]]:
    """Return the processor time of each round by variant."""
    for each in variants.values():
        each.seconds = []
    for turn in range(rounds):
        order = list(variants.values())
        for each in order if turn % 2 else reversed(order):
            each.walk(steps)
    return {name: each.seconds for name, each in variants.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detectors")
    parser.add_argument("--assets", type=int, default=12_500)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--backlogs", type=int, default=5)
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.assets, chosen.rounds, chosen.backlogs)))
