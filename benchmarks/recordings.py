"""Labelled recordings for benchmarks: a folder of npz files with `x` (T, C), `label` (T,), `t` (T,) ms UTC.

A `manifest.json` beside the folder names for each series its columns and where its training part ends. Nothing of it is
part of the project; benchmarks take the folder as an argument.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Recording:
    """One series."""

    name: str
    channels: tuple[str, ...]
    time: npt.NDArray[np.int64]  # (T,) ms
    values: npt.NDArray[np.float64]  # (T, C)
    label: npt.NDArray[np.bool_]  # (T,) True = anomalous
    train_end: int  # rows before it are normal and may be learned from


def load(folder: Path) -> list[Recording]:
    """All series of a set, by name. Raises FileNotFoundError, and KeyError if the manifest lacks the set."""
    about = json.loads((folder.parent / "manifest.json").read_text())[folder.name]["series"]
    found = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            x, label = file["x"].astype(np.float64), file["label"] > 0
            time = file["t"] if "t" in file else np.arange(len(x)) * 1000
        columns = about[path.stem].get("columns") or [f"c{number:02d}" for number in range(x.shape[1])]
        channels = tuple(re.sub(r"[^A-Za-z0-9._:/-]", "_", name) for name in columns)
        found.append(Recording(path.stem, channels, time.astype(np.int64), x, label, about[path.stem]["train_end"]))
    if not found:
        raise FileNotFoundError(f"no npz file in {folder}")
    return found


def save(recording: Recording, rows: slice, path: Path) -> None:
    """Rows of a series as an npz file that `monitor train` and the source kind "files" read."""
    np.savez(path, time=recording.time[rows], values=recording.values[rows], channels=np.array(recording.channels))
