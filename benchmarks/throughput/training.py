"""Measure the time of a first training: the daemon's training job, in its own process, on the daemon's history.

The history of a partition is bounded by `training.history_windows` (20 000 windows, one window length apart; beyond
that every second window is dropped), so a large fleet costs no more than that per partition. Windows are cut at every
step of consecutive blocks.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.throughput.fleet import LENGTH, PARTITIONS, PATTERNS
from monitor.core.fitting.corpus import Corpus, join
from monitor.core.model.model import Model
from monitor.core.records import Floats, WindowBatch
from monitor.service.pipelines import make_history
from monitor.settings.load import load
from monitor.settings.tree import Settings
from monitor.simulator.plant import NAMES, Plant, PlantSettings
from monitor.store.files import open_blobs
from monitor.store.folder import detector_folder
from monitor.store.models import Models
from monitor.store.tensors import pack
from monitor.training.trainer import Job

STEPS = 1024  # of each asset; the daemon trains its first model when the median asset has 1000


@dataclass(frozen=True)
class Trained:
    """Cost of a training and its model, or the reason of its failure."""

    figures: dict[str, Any]
    model: Model | None  # None if the job failed


def history(settings: Settings, assets: int, steps: int = STEPS) -> Corpus:
    """Return the daemon's histories of all partitions after this many steps of every asset."""
    plant = Plant(PlantSettings(assets=min(assets, PATTERNS)))
    rows = plant.rows(0, steps).astype(np.float32)
    return join([_part(settings, rows, np.arange(number, assets, PARTITIONS), plant) for number in range(PARTITIONS)])


def _part(settings: Settings, rows: Floats, mine: npt.NDArray[np.intp], plant: Plant) -> Corpus:
    """Return the history of one partition, with the assets `mine` (A,); rows (PATTERNS, T, C)."""
    kept, names = make_history(settings), [f"pump-{number:05d}" for number in mine]
    row = np.arange(len(mine), dtype=np.int32)
    first = plant.time(0) // (1000 * LENGTH) * LENGTH * 1000  # blocks end on multiples of LENGTH
    for end in range(LENGTH, rows.shape[1] + 1, LENGTH):
        values = rows[mine % PATTERNS, end - LENGTH : end].transpose(0, 2, 1)
        ends = np.full(len(mine), first + (end - 1) * 1000)
        kept.add(WindowBatch(row, ends, values, np.ones(values.shape, np.bool_), row.astype(np.int64)), names, NAMES)
    return kept.normal()


def train(assets: int, overrides: dict[str, Any]) -> Trained:
    """Train a first model of this many assets, like the daemon's child process."""
    settings = load(None, {}, overrides)
    corpus = history(settings, assets)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = Job(
            store=str(folder / "store"),
            detector=settings.name,
            recipe=settings.training.recipe(settings.model),
            incumbent="",
            margin=settings.training.margin,
            threads=settings.model.threads,
            nice=settings.training.nice,
            memory_mb=settings.training.memory_mb,
            timeout_s=settings.training.timeout_s,
        )
        (folder / "job.json").write_text(json.dumps({**asdict(job), "parent": os.getpid()}))
        with (folder / "corpus.safetensors").open("wb") as file:
            file.writelines(pack(corpus.pack(), {}))

        begin, before = time.monotonic(), os.times()
        done = subprocess.run(
            [sys.executable, "-m", "monitor.training.child", name], stderr=subprocess.PIPE, text=True, check=False
        )
        wall, after = time.monotonic() - begin, os.times()
        if done.returncode:
            return Trained(
                {"assets": assets, "history_windows": len(corpus), "failed": done.stderr.splitlines()[-1]}, None
            )

        answer = json.loads((folder / "result.json").read_text())
        assert answer["version"], answer
        stored = Models(detector_folder(open_blobs(job.store), job.detector), print).get(answer["version"])

    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    found = answer["figures"]
    seen = found["steps"] * settings.training.batch  # windows of the gradient steps, without the held-out evaluations

    return Trained(
        {
            "assets": assets,
            "history_windows": len(corpus),
            "history_bound": settings.training.history_windows,
            "windows": found["windows"],
            "steps": found["steps"],
            "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1),
            "windows_per_cpu_s": round(seen / cpu),
        },
        Model.unpack(answer["version"], stored.manifest, stored.tensors),
    )
