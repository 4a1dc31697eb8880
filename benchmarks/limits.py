"""Compare the limits of histogram and ring: difference, time to accept a lasting shift, and cost.

    python -m benchmarks.limits [--assets 200] [--json FILE]

Both kinds of `threshold.kind`, with the defaults, get the same scores, one of each asset at a time. Scores are drawn
from a gamma distribution (shape 2, scale 0.2) whose level differs between assets by a factor of 4 and wanders by a
factor of 2 over 5000 scores; 0.2 % of them are 5 times as high. After 10 000 scores, when all memories are full,
the two limits are compared over the next 10 000. Then the score stays at a multiple of the threshold until it no longer
exceeds it.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from monitor.core.model.model import LEVELS
from monitor.core.records import Floats
from monitor.core.threshold.histogram import ERROR
from monitor.core.threshold.threshold import Threshold
from monitor.settings.load import load

CALIBRATION = np.linspace(0, 1.4, len(LEVELS)).astype(np.float32)
KINDS = ("ring", "histogram")


def stage(kind: str, clip: float) -> Threshold:
    return Threshold(load(None, {}, {"threshold.kind": kind, "threshold.clip": clip}).threshold.options())


def scores(assets: int, begin: int, random: np.random.Generator) -> Floats:
    """Return the scores (A,) of one step."""
    level = 2.0 ** (np.linspace(-1, 1, assets) + 0.5 * np.sin(2 * np.pi * begin / 5000))
    drawn = random.gamma(2, 0.2, assets) * level * np.where(random.random(assets) < 0.002, 5, 1)
    narrow: Floats = drawn.astype(np.float32)
    return narrow


def compare(assets: int, steps: int) -> dict[str, Any]:
    """Return the figures of the comparison."""
    stages = {kind: stage(kind, 1.05) for kind in KINDS}
    random, rows = np.random.default_rng(0), np.arange(assets, dtype=np.int32)
    off, flags, cost = [], dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0.0)

    for step in range(2 * steps):
        drawn, limits = scores(assets, step, random), {}
        for kind in KINDS:
            begin = time.process_time()
            found = stages[kind].update(rows, drawn, CALIBRATION)
            if step >= steps:
                cost[kind] += time.process_time() - begin
                flags[kind] += int(np.count_nonzero(found.anomalous))
            limits[kind] = found.threshold

        if step >= steps:
            off.append(limits["histogram"] / limits["ring"] - 1)

    error = np.abs(np.concatenate(off))
    windows = assets * steps

    return {
        "bound": ERROR,
        "mean": float(error.mean()),
        "p99": float(np.quantile(error, 0.99)),
        "worst": float(error.max()),
        "flagged": {kind: flags[kind] / windows for kind in KINDS},
        "us_per_window": {kind: 1e6 * cost[kind] / windows for kind in KINDS},
    }


def accepted_after(kind: str, clip: float, factor: float) -> int:
    """Return the number of scores at `factor` times the threshold until they no longer exceed it."""
    one, row, random = stage(kind, clip), np.zeros(1, np.int32), np.random.default_rng(1)
    for _ in range(100):
        healthy = random.gamma(2, 0.2, 110).astype(np.float32)
        limit = one.update(np.repeat(row, len(healthy)), healthy, CALIBRATION).threshold[-1]
    shifted, number = np.full(1, factor * limit, np.float32), 0
    while one.update(row, shifted, CALIBRATION).anomalous[0]:
        number += 1
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=200)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    figures = compare(given.assets, 10_000)
    print(f"histogram's limit against the ring's, of {given.assets} assets over 10 000 scores each:")
    print(f"  mean {figures['mean']:.2%}, 99 % within {figures['p99']:.2%}, at most {figures['worst']:.2%}")
    for kind in KINDS:
        flagged, cost = figures["flagged"][kind], figures["us_per_window"][kind]
        print(f"  {kind:10} flags {flagged:.3%} of the windows, {cost:.2f} us of processor time per window")

    print("scores until a lasting shift is accepted:")
    rows = []
    for factor in (2, 5):
        for clip in (1.05, 1.2):
            row: dict[str, Any] = {kind: accepted_after(kind, clip, factor) for kind in KINDS}
            rows.append({"factor": factor, "clip": clip, **row})
            both = ", ".join(f"{kind} {row[kind]}" for kind in KINDS)
            print(f"  {factor} x the threshold, clip {clip}: {both}", flush=True)

    if given.json:
        given.json.write_text(json.dumps({**figures, "accepted": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
