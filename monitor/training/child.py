"""The child process of a training: reads a history and a job from a folder, fits, judges, stores, answers.

    python -m monitor.training.child FOLDER

FOLDER/job.json and FOLDER/corpus.safetensors are read; FOLDER/progress (a number from 0 to 1) and at the end
FOLDER/result.json are written. A candidate that does not pass the gate is not stored. It ends when its parent does, and
then removes the folder, as nobody else will.
"""

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.fit import Fitted, Progress, fit, prepare
from monitor.core.fitting.gate import refusal
from monitor.core.fitting.recipe import Recipe
from monitor.core.model.model import Model
from monitor.store.files import open_blobs
from monitor.store.models import Models
from monitor.store.tensors import unpack


def train(
    corpus: Corpus, recipe: Recipe, models: Models, *, incumbent: str, margin: float, progress: Progress, wall_ms: int
) -> tuple[Fitted, str, str]:
    """Fit, judge and store: what was fitted, its version, and why it was refused; one of the two texts is empty.

    Raises ValueError if the history does not suffice, ModelInvalid or StoreUnavailable.
    """
    old = None
    if incumbent:
        stored = models.get(incumbent)
        old = Model.unpack(incumbent, stored.manifest, stored.tensors)
    corpus = prepare(corpus, recipe, old)
    fitted = fit(corpus, recipe, old, progress)
    reason = refusal(fitted.model, old, corpus, margin)
    if reason:
        return fitted, "", reason
    manifest, tensors = fitted.model.pack()
    begin, end = int(corpus.end.min()), int(corpus.end.max())
    manifest["training"] = {
        "parent": incumbent or None,
        "from_ms": begin,
        "to_ms": end,
        "windows": fitted.windows,
        "held_out": fitted.held_out,
        "steps": fitted.steps,
        "held_out_loss": round(fitted.loss, 6),
    }
    return fitted, models.put(manifest, tensors, wall_ms), ""


def main(folder: Path) -> None:
    """Do the job in the folder."""
    job: dict[str, Any] = json.loads((folder / "job.json").read_text())
    os.nice(job["nice"])
    size = job["memory_mb"] * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    torch.set_num_threads(job["threads"])
    models = Models(open_blobs(job["store"]), lambda notice: print(notice, file=sys.stderr))
    begin = time.monotonic()
    fitted, version, reason = train(
        Corpus.unpack(unpack((folder / "corpus.safetensors").read_bytes())[0]),  # not held here: memory
        Recipe(**job["recipe"]),
        models,
        incumbent=job["incumbent"],
        margin=job["margin"],
        progress=_reporter(folder, job["parent"]),
        wall_ms=time.time_ns() // 1_000_000,
    )
    figures = {
        "windows": fitted.windows,
        "held_out": fitted.held_out,
        "steps": fitted.steps,
        "loss": round(fitted.loss, 4),
        "seconds": round(time.monotonic() - begin, 1),
    }
    (folder / "result.json").write_text(json.dumps({"version": version, "refused": reason, "figures": figures}))


def _reporter(folder: Path, parent: int) -> Callable[[int, int, float], None]:
    def report(step: int, steps: int, _: float) -> None:
        if os.getppid() != parent:
            shutil.rmtree(folder, ignore_errors=True)
            sys.exit("the process that asked for the training is gone")
        new = folder / "progress.new"
        new.write_text(f"{step / steps:.3f}")
        new.replace(folder / "progress")

    return report


if __name__ == "__main__":
    main(Path(sys.argv[1]))
