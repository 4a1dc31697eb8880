"""The child process of a training: read a history and a job from a folder, fit, judge, store, write the result.

    python -m monitor.training.child FOLDER

It reads FOLDER/job.json and FOLDER/corpus.safetensors, and writes FOLDER/progress (a number from 0 to 1) and at the end
FOLDER/result.json. A candidate that does not pass the gate is not stored. The child ends when its parent does, and then
removes the folder, since the parent cannot.
"""

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monitor.core.fitting import poor_fit
from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.fit import Fitted, Progress, fit, levels_of
from monitor.core.fitting.gate import refusal
from monitor.core.fitting.recipe import Recipe
from monitor.core.fitting.selection import select, summary
from monitor.core.model.model import Model
from monitor.store.files import open_blobs
from monitor.store.folder import detector_folder
from monitor.store.models import Models
from monitor.store.tensors import unpack


@dataclass(frozen=True, slots=True)
class Trained:
    """Result of a training: a stored version, or the reason of the gate. One of the two texts is empty."""

    fitted: Fitted
    version: str
    refused: str
    report: dict[str, Any]  # Selection.report, with the spans that the model fits worst


def train(
    corpus: Corpus, recipe: Recipe, models: Models, *, incumbent: str, margin: float, progress: Progress, wall_ms: int
) -> Trained:
    """Fit a candidate, judge it, and store it if it passes the gate.

    Raises ValueError if the history does not suffice, ModelInvalid or StoreUnavailable.
    """
    old = None
    if incumbent:
        stored = models.get(incumbent)
        old = Model.unpack(incumbent, stored.manifest, stored.tensors)

    levels = levels_of(corpus, recipe, old)
    selection = select(corpus, recipe, old, levels)
    if too_few := selection.too_few():
        raise ValueError(too_few)
    corpus, report = selection.corpus, selection.report()
    del selection  # with the blocks that are left out
    fitted = fit(corpus, recipe, old, progress, levels)
    report["fits_worst"] = [span.line() for span in fitted.poor]
    reason = refusal(fitted.model, old, corpus, margin)
    if reason:
        return Trained(fitted, "", reason, report)

    manifest, tensors = fitted.model.pack()
    manifest["training"] = {
        "parent": incumbent or None,
        "from_ms": int(corpus.end.min()),
        "to_ms": int(corpus.end.max()),
        "windows": fitted.windows,
        "held_out": fitted.held_out,
        "steps": fitted.steps,
        "held_out_loss": round(fitted.loss, 6),
        "hours": report["hours"],
        "dropped_channels": report["dropped_channels"],
    }
    return Trained(fitted, models.put(manifest, tensors, wall_ms, report), "", report)


def main(folder: Path) -> None:
    """Do the job in the folder."""
    job: dict[str, Any] = json.loads((folder / "job.json").read_text())

    # Limits first: training must never cost the plant its monitoring.
    os.nice(job["nice"])
    size = job["memory_mb"] * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    torch.set_num_threads(job["threads"])

    blobs = detector_folder(open_blobs(job["store"]), job["detector"])
    models = Models(blobs, lambda notice: print(notice, file=sys.stderr))
    begin = time.monotonic()
    trained = train(
        # Unpacked in the call, so that `prepare` can free the corpus: memory is limited.
        Corpus.unpack(unpack((folder / "corpus.safetensors").read_bytes())[0]),
        Recipe(**job["recipe"]),
        models,
        incumbent=job["incumbent"],
        margin=job["margin"],
        progress=_reporter(folder, job["parent"]),
        wall_ms=time.time_ns() // 1_000_000,
    )

    fitted = trained.fitted
    figures = {
        "windows": fitted.windows,
        "held_out": fitted.held_out,
        "steps": fitted.steps,
        "loss": round(fitted.loss, 4),
        "seconds": round(time.monotonic() - begin, 1),
    }
    learned = summary(trained.report) | {"fits_worst": poor_fit.summary(trained.report["fits_worst"])}
    result = {"version": trained.version, "refused": trained.refused, "figures": figures, "learned": learned}
    (folder / "result.json").write_text(json.dumps(result))


def _reporter(folder: Path, parent: int) -> Callable[[int, int, float], None]:
    """Return the callback that writes the progress, and that ends the child after its parent."""

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
