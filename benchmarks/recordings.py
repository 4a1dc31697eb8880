"""Labelled recordings for benchmarks: a folder of npz files with `x` (T, C), `label` (T,), `t` (T,) ms UTC.

A `manifest.json` next to the folder has for each series its columns, its period, the end of its training part and, if
known, the channels that explain each labelled segment. The recordings are not part of the project; benchmarks take the
folder as an argument.
"""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Explained:
    """A labelled segment of the test part and the channels that explain it."""

    first: int  # row within the test part
    last: int
    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """One series."""

    name: str
    channels: tuple[str, ...]
    time: npt.NDArray[np.int64]  # (T,) ms
    values: npt.NDArray[np.float64]  # (T, C)
    label: npt.NDArray[np.bool_]  # (T,) True = anomalous
    train_end: int  # earlier rows are normal and used for training
    period_s: float | None = None  # of the rows; None = unknown
    explained: tuple[Explained, ...] = ()


def load(folder: Path) -> list[Recording]:
    """Load all series of a set, by name. Raise FileNotFoundError, or KeyError if the manifest lacks the set."""
    about = json.loads((folder.parent / "manifest.json").read_text())[folder.name]["series"]
    found = [_read(path, about[path.stem]) for path in sorted(folder.glob("*.npz"))]
    if not found:
        raise FileNotFoundError(f"no npz file in {folder}")
    return found


def _read(path: Path, about: dict[str, Any]) -> Recording:
    period = about.get("period_s")
    with np.load(path, allow_pickle=False) as file:
        x, label = file["x"].astype(np.float64), file["label"] > 0
        time = file["t"] if "t" in file else np.arange(len(x)) * round(1000 * (period or 1))
    columns = about.get("columns") or [f"c{number:02d}" for number in range(x.shape[1])]
    channels = tuple(re.sub(r"[^A-Za-z0-9._:/-]", "_", name) for name in columns)
    explained = tuple(
        Explained(first, last, tuple(number - 1 for number in numbers))  # numbered from 1 by the publisher
        for first, last, numbers in about.get("interpretation") or []
    )
    return Recording(path.stem, channels, time.astype(np.int64), x, label, about["train_end"], period, explained)


def published(data: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Load published figures by set and series from `tsb_ad_m_published.csv`; empty without that file."""
    path = data / "tsb_ad_m_published.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {(row["set"], row["series"]): row for row in csv.DictReader(file)}


def save(recording: Recording, rows: slice, path: Path) -> None:
    """Write rows of a series as an npz file for `monitor train` and the source kind "files"."""
    np.savez(path, time=recording.time[rows], values=recording.values[rows], channels=np.array(recording.channels))
