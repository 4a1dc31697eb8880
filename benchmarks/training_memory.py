"""Measure the peak memory of the child process of a training, for a corpus of a given size.

    python -m benchmarks.training_memory [--blocks 40000] [--channels 8] [--assets 400]

A first training and a retraining run as child processes, as in the daemon, with default settings but few gradient
steps, because their number does not change the memory. The corpus is noise.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from monitor.core.fitting.corpus import Corpus
from monitor.settings.tree import Settings
from monitor.store.tensors import pack
from monitor.training.trainer import Job

STEPS = 50
PLENTY_MB = 2**20


def corpus(blocks: int, channels: int, assets: int, length: int) -> Corpus:
    """Return noise of this many assets, each with consecutive blocks."""
    each = blocks // assets
    asset = np.repeat(np.arange(assets), each)
    end = np.tile((np.arange(each) + 1) * length - 1, assets) * 1000
    values = np.random.default_rng(0).normal(size=(len(asset), channels, length)).astype(np.float32)
    names = tuple(f"channel-{number}" for number in range(channels)), tuple(f"asset-{n}" for n in range(assets))
    return Corpus(*names, 1000, asset, end, values, np.ones(values.shape, np.bool_), np.zeros(len(end), np.bool_))


def main() -> None:
    """Train twice and print a row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("blocks", 40_000), ("channels", 8), ("assets", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()

    settings = Settings()
    made = corpus(given.blocks, given.channels, given.assets, settings.windows.length)
    size = (made.values.nbytes + made.observed.nbytes) / 2**20

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "corpus.safetensors").open("wb") as file:
            file.writelines(pack(made.pack(), {}))
        del made

        recipe = replace(settings.training.recipe(settings.model), steps=STEPS)
        job = Job(str(folder / "store"), settings.name, recipe, "", settings.training.margin, 1, 0, PLENTY_MB, 3600)
        print(f"corpus {size:.0f} MB")

        for what in ("first training", "retraining"):
            peak, version = run(folder, job)
            print(f"{what}: at most {peak:.0f} MB resident, {peak / size:.1f} times the corpus")
            job = replace(job, incumbent=version)


def run(folder: Path, job: Job) -> tuple[float, str]:
    """Run the child and return its peak memory, MB, and its model version."""
    (folder / "job.json").write_text(json.dumps({**asdict(job), "parent": os.getpid()}))
    child = subprocess.Popen([sys.executable, "-m", "monitor.training.child", str(folder)])
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, f"the training ended with {status}"
    return usage.ru_maxrss / 1024, json.loads((folder / "result.json").read_text())["version"]


if __name__ == "__main__":
    main()
