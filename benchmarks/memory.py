"""What an asset takes of memory, with its last scores kept in a ring and in a histogram; and whether a worker grows.

    python -m benchmarks.memory [--assets 1000 5000] [--scores 10000] [--json FILE]
    python -m benchmarks.memory --soak MINUTES [--assets 200] [--scores 2000] [--kind ring|histogram] [--rate 1000]

Each row of the first table is a process of its own. It makes the stages of one partition (8 channels, L = 64), notes
its resident memory, lets every asset give readings until all windows and memories of scores are full, and notes it
again; 500 new assets come per batch, as an assignment brings them. "arrays" is the sum of what the stages' arrays take,
idle rows included; what is beyond that in the resident memory are names, and what the allocator keeps of batches that
are gone. "peak" is at the worst moment of the adoption of a model, when the stages exist twice and once as a snapshot.
The sample for training is not in it: it is bounded per partition, whatever the number of assets, and has its own line.

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
from monitor.service.stages import make_history, make_pipeline
from monitor.settings.load import load
from monitor.settings.tree import Settings

CHANNELS = tuple(f"channel-{number}" for number in range(8))
NEW = 500  # assets that come with a batch
BATCH = 5000  # scores of a batch, as `source.batch_messages`: what a batch takes and gives back is part of a process
PARTITION = Partition("readings", 0)
CALIBRATION = np.linspace(0, 1.4, len(LEVELS)).astype(np.float32)


def settings(kind: str, scores: int) -> Settings:
    """The defaults, but for what is measured; the percentile is renewed seldom, which takes time and no memory."""
    given = {"threshold.kind": kind, "threshold.memory": scores, "threshold.refresh": min(1000, scores)}
    return load(None, {}, given)


def fill(pipeline: Pipeline, wanted: Settings, assets: int) -> None:
    """Let that many assets give readings and scores until nothing that is kept of them grows any more."""
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
    """The bytes of all arrays that are reached from a stage, each counted once."""
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
    """Bytes, once garbage is gone."""
    gc.collect()
    return memory_mb("self") * 2**20


def measure(kind: str, assets: int, scores: int) -> dict[str, Any]:
    """A row of the table, measured in this process."""
    wanted = settings(kind, scores)
    fill(make_pipeline(wanted, PARTITION), settings(kind, 1000), 50)  # what comes with the first use of anything

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
    """The sample for training of one partition at its bound, measured in this process."""
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
    """What a fresh process of this program measured."""
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return done


def table(counts: list[int], scores: int) -> dict[str, Any]:
    """All rows, printed as they come."""
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
    parser.add_argument("--rate", type=float, default=1000, help="messages/s of the soak; a core does some 10 000")
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
