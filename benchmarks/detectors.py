"""Measure what several detectors cost: machines split among 1, 4 and 16 of them, and a slow twin of one.

    python -m benchmarks.detectors [--assets 12500] [--rounds 5]

Every variant gets the same messages, in the batches of a worker, through decoding, routing, all stages and the encoding
of scores. The variants take turns in one process, so that only their ratios count, which the last line has: the median
over the rounds of each variant's processor time to that of one detector in the same round. The model is untrained,
since its cost does not depend on its weights.
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
from monitor.core.publish import score_records
from monitor.core.records import Message, Partition
from monitor.onboard.cost import untrained
from monitor.service.pipelines import make_detectors
from monitor.settings.load import load
from monitor.settings.tree import Settings

CHANNELS = tuple(f"channel-{number}" for number in range(8))
PARTITION = Partition("readings", 0)
BATCH = 5000  # messages for each detector, as a worker reads by default
ORIGIN = 1_700_000_040_000  # ms UTC, on the grid of a minute


def split(parts: int) -> list[dict[str, Any]]:
    """Return detectors that share the machines evenly, by the beginnings of their names."""
    return [{"name": f"d{part}", "assets": [f"p{part:02d}-*"]} for part in range(parts)]


TWIN: list[dict[str, Any]] = [{"name": "d0"}, {"name": "slow", "windows": {"step_s": 60.0}}]
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
            pipeline.use(untrained(self.settings.of_detector(name), CHANNELS))
        self.step = 0
        self.seconds: list[float] = []
        draw = np.random.default_rng(0)
        rows = draw.normal(0, 1, (assets, len(CHANNELS))).round(3).tolist()
        self.values = [dict(zip(CHANNELS, row, strict=True)) for row in rows]

    def messages(self) -> list[Message]:
        """Return the next step of all machines."""
        at, offset = ORIGIN + 1000 * self.step, self.step * len(self.names)
        self.step += 1
        encode = msgspec.json.encode
        return [
            Message(PARTITION, offset + place, None, encode({"asset": name, "timestamp": at, "values": row}), at)
            for place, (name, row) in enumerate(zip(self.names, self.values, strict=True))
        ]

    def warm(self) -> None:
        """Fill the windows."""
        for _ in range(self.settings.windows.length):
            readings, _ = decode(self.messages(), self.detectors.format, ORIGIN + 10**9)
            routed = self.detectors.router.route(readings)
            for pipeline, own in zip(self.detectors.pipelines.values(), routed.readings, strict=True):
                pipeline.windows.push(own)

    def walk(self) -> None:
        """Process one step of all machines, and note its processor time."""
        sent = self.messages()
        begin = time.process_time()
        batch = BATCH * len(self.detectors.pipelines)
        for at in range(0, len(sent), batch):
            outputs = self.detectors.process(sent[at : at + batch], ORIGIN + 10**9, lambda _: None)
            for name, each in outputs.detectors.items():
                pipeline = self.detectors.pipelines[name]
                score_records(
                    "scores",
                    each,
                    names=each.names,
                    channels=pipeline.windows.channels,
                    model=pipeline.model,
                    detector=name,
                    every_steps=1,
                    step_ms=pipeline.windows.step_ms,
                )
        self.seconds.append(time.process_time() - begin)


def measure(assets: int, rounds: int) -> dict[str, Any]:
    """Return microseconds per machine and step of one detector, and the ratios of the others to it."""
    torch.set_num_threads(1)
    variants = {name: Variant(detectors, assets) for name, detectors in VARIANTS.items()}
    for each in variants.values():
        each.warm()
        each.walk()
        each.seconds.clear()
    for turn in range(rounds):
        order = list(variants.values())
        for each in order if turn % 2 else reversed(order):
            each.walk()
    one = variants["1"].seconds
    ratios = {
        name: round(median(own / base for own, base in zip(each.seconds, one, strict=True)), 3)
        for name, each in variants.items()
    }
    return {"assets": assets, "us": round(median(one) / assets * 1e6, 1), "ratio": ratios}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detectors")
    parser.add_argument("--assets", type=int, default=12_500)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.assets, chosen.rounds)))
