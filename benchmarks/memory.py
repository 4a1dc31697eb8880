"""Measure the memory of an asset, with scores in a ring or a histogram, and the growth of a worker over time.

    python -m benchmarks.memory [--assets 1000 5000] [--scores 10000] [--json FILE]
    python -m benchmarks.memory --soak MINUTES [--assets 200] [--scores 2000] [--kind ring|histogram] [--rate 1000]

Each row of the first table is a process of its own. It makes the stages of one partition (8 channels, L = 64) and
measures its resident memory before and after filling all windows and score memories; 500 new assets arrive per batch,
as in an assignment. "arrays" is the size of the stages' arrays, including idle rows. The rest of the resident memory
are names and freed batches that the allocator keeps. "peak" is the maximum during the adoption of a model, when the
stages exist twice and once as a snapshot. The history for training is not included: it is bounded per partition and has
its own line.

The soak is described in benchmarks/soak.py.
"""

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.footprint import memory_mb
from benchmarks.soak import soak
from monitor.core.model.model import LEVELS
from monitor.core.pipeline import Pipeline
from monitor.core.records import Partition, ReadingBatch, WindowBatch
from monitor.service.pipelines import make_history, make_pipeline
from monitor.settings.load import load
from monitor.settings.tree import Settings

CHANNELS = tuple(f"channel-{number}" for number in range(8))
NEW = 500  # new assets per batch
BATCH = 5000  # scores per batch, as `source.batch_messages`, because the memory of a batch is part of a process
PARTITION = Partition("readings", 0)
CALIBRATION = np.linspace(0, 1.4, len(LEVELS)).astype(np.float32)


def settings(kind: str, scores: int) -> Settings:
    """Return the defaults with this kind and memory. The percentile is renewed rarely, which saves time, not memory."""
    given = {"threshold.kind": kind, "threshold.memory": scores, "threshold.refresh": min(1000, scores)}
    return load(None, {}, given)


def fill(pipeline: Pipeline, wanted: Settings, assets: int) -> None:
    """Fill the windows and score memories of all assets."""
    random, names = np.random.default_rng(0), tuple(f"asset-{number:05d}" for number in range(assets))
    count, C = 2 * wanted.windows.length, len(CHANNELS)

    # Windows: assets arrive NEW at a time, as an assignment brings them.
    for step in range(count):
        for first in range(0, assets, NEW):
            some = np.arange(first, min(first + NEW, assets), dtype=np.int32)
            n = len(some) * C
            batch = ReadingBatch(
                names,
                CHANNELS,
                np.repeat(some, C),
                np.tile(np.arange(C, dtype=np.int32), len(some)),
                np.full(n, 1_750_000_000_000 + step * wanted.windows.step_ms),
                random.normal(50, 5, n),
                np.repeat(np.arange(len(some), dtype=np.int64), C),
            )
            pipeline.windows.push(batch)

    # Thresholds: enough scores to fill every memory.
    each = max(1, BATCH // assets)
    rows = np.repeat(np.arange(assets, dtype=np.int32), each)
    for _ in range(wanted.threshold.memory // each + 1):
        pipeline.threshold.update(rows, random.gamma(2, 0.2, len(rows)).astype(np.float32), CALIBRATION)


def array_bytes(part: Any, seen: set[int]) -> int:
    """Return the size of all arrays reachable from a stage, each counted once."""
    if id(part) in seen:
        return 0
    seen.add(id(part))
    if isinstance(part, np.ndarray):
        return part.nbytes if part.base is None else array_bytes(part.base, seen)
    if isinstance(part, dict):
        return sum(array_bytes(each, seen) for each in part.values())
    if isinstance(part, list | tuple):
        return sum(array_bytes(each, seen) for each in part)
    if type(part).__module__.startswith("monitor."):
        fields = [*getattr(part, "__dict__", {}).values()]
        fields += [getattr(part, name) for name in getattr(part, "__slots__", ()) if hasattr(part, name)]
        return sum(array_bytes(each, seen) for each in fields)
    return 0


def resident() -> float:
    """Return the resident bytes after a garbage collection."""
    gc.collect()
    return memory_mb("self") * 2**20


def measure(kind: str, assets: int, scores: int) -> dict[str, Any]:
    """Measure a row of the table in this process."""
    wanted = settings(kind, scores)
    fill(make_pipeline(wanted, PARTITION), settings(kind, 1000), 50)  # excludes one-time allocations

    before, pipeline = resident(), make_pipeline(wanted, PARTITION)
    fill(pipeline, wanted, assets)
    after, arrays = resident(), array_bytes([pipeline.windows, pipeline.threshold, pipeline.alerting], set())

    # Loading a snapshot into new stages is the peak of an adoption.
    state = pipeline.save_state()
    make_pipeline(wanted, PARTITION).load_state(state)

    return {
        "kind": kind,
        "assets": assets,
        "resident": round((after - before) / assets),
        "arrays": round(arrays / assets),
        "snapshot": round(sum(array.nbytes for array in state.values()) / assets),
        "peak": round((memory_mb("self", "VmHWM") * 2**20 - before) / assets),
    }


def measure_history() -> dict[str, Any]:
    """Measure the full training history of one partition in this process."""
    wanted = load(None, {}, {})
    training, L = wanted.training, wanted.windows.length
    before, history, step = resident(), make_history(wanted), wanted.windows.step_ms
    count, observed = 0, np.ones((100, len(CHANNELS), L), np.bool_)
    while len(history) < training.history_windows:
        assets = np.arange(100, dtype=np.int32)
        ends = np.full(100, (1_750_000_000_000 // (step * L) + count) * step * L - step)
        values = np.random.default_rng(count).normal(size=(100, len(CHANNELS), L)).astype(np.float32)
        history.add(WindowBatch(assets, ends, values, observed, ends), [f"a{n}" for n in assets], CHANNELS)
        count += 1
    return {"windows": len(history), "resident_mb": round((resident() - before) / 2**20, 1)}


def in_process(*arguments: str) -> dict[str, Any]:
    """Run a measurement in a fresh process and return its result."""
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return done


def table(counts: list[int], scores: int) -> dict[str, Any]:
    """Measure and print all rows."""
    print(f"bytes per asset, {len(CHANNELS)} channels, {scores} scores")
    print(f"{'kind':10} {'assets':>7} {'resident':>9} {'arrays':>8} {'snapshot':>9} {'peak':>8}")
    rows = []
    for kind in ("ring", "histogram"):
        for assets in counts:
            row = in_process("--one", kind, "--assets", str(assets), "--scores", str(scores))
            numbers = " ".join(f"{row[name]:{width}}" for name, width in _COLUMNS.items())
            print(f"{kind:10} {numbers}", flush=True)
            rows.append(row)
    history = in_process("--one", "history")
    print(f"history for training: {history['resident_mb']} MB per partition, at {history['windows']} windows")
    return {"rows": rows, "history": history}


_COLUMNS = {"assets": 7, "resident": 9, "arrays": 8, "snapshot": 9, "peak": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, nargs="+")
    parser.add_argument("--scores", type=int)
    parser.add_argument("--kind", choices=("ring", "histogram"), default="ring")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument(
        "--rate", type=float, default=1000, help="messages/s of the soak; one core reaches about 10 000"
    )
    parser.add_argument("--one", choices=("ring", "histogram", "history"), help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    if given.one == "history":
        print(json.dumps(measure_history()))
        return
    if given.one:
        print(json.dumps(measure(given.one, given.assets[0], given.scores)))
        return

    if given.soak:
        result = soak(given.soak, given.rate, (given.assets or [200])[0], given.scores or 2000, given.kind)
    else:
        result = table(given.assets or [1000, 5000], given.scores or 10_000)

    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
