"""Reads labels: the times at which a machine was known to be faulty.

Labels come from a file of spans, from a column of CSV recordings, or from an array of npz recordings:

- JSON lines, `{"asset": "pump-04", "start": 1750001962000, "end": 1750001964000}`; `channels` and `kind` are
  optional; `monitor simulate --labels` writes this form.
- CSV with the columns `asset`, `start`, `end`; times as in CSV recordings.
- A CSV column that is 0 where the machine was normal (`--label-column`; `anomaly` in SKAB).
- An npz array `label` (N,), or (A, N) where `values` has three axes; 0 where the machine was normal.

A span begins with its first row and ends before the first row after it. Labels are only compared with
alerts and scores; no model learns from them.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitor.core.records import Times
from monitor.evaluation.label import Label
from monitor.service.backends import file_asset, file_flags, file_time
from monitor.settings.tree import Settings


def spans_in(path: Path) -> list[Label]:
    """Read a file of spans. Raises OSError, and ValueError naming the line that holds no span."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows: Iterator[Any] = (
            csv.DictReader(file) if path.suffix == ".csv" else map(json.loads, filter(str.strip, file))
        )
        found: list[Label] = []
        try:
            found.extend(map(_span, rows))  # keeps the spans before the faulty line, so that it can be numbered
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: label {len(found) + 1}: expected asset, start and end: {error}") from error
    return found


def _span(row: dict[str, Any]) -> Label:
    start, end = (file_time(str(row[key])) for key in ("start", "end"))
    if end < start:
        raise ValueError(f"the end {end} lies before the start {start}")
    channels = row.get("channels") or ()
    named = () if isinstance(channels, str) else tuple(map(str, channels))
    return Label(str(row["asset"]), str(row.get("kind") or ""), named, start, end)


def spans_of(paths: Sequence[Path], settings: Settings, column: str) -> list[Label]:
    """Read the spans inside recordings: the column of CSV, or the array of npz.

    Raises ValueError if a CSV lacks the column or an array does not fit, OSError.
    """
    found: list[Label] = []
    for path in paths:
        if settings.source.format == "npz":
            found += _npz(path, file_asset(settings.source.asset, path))
        elif settings.source.format in {"csv", "parquet"} and column:
            for asset, (time, on) in file_flags(settings, path, column).items():
                found += _runs(asset, np.array(time, np.int64), np.array(on, np.bool_))
    return found


def _npz(path: Path, asset: str) -> list[Label]:
    """Read the label array of an npz recording; an array without labels gives no span."""
    with np.load(path, allow_pickle=False) as file:
        if "label" not in file:
            return []
        label, time = np.atleast_2d(file["label"] > 0), file["time"].astype(np.int64)
        many = file["values"].ndim == 3
        names = [file_asset(name, path) for name in file["assets"].tolist()] if many else [asset]

    if label.shape != (len(names), len(time)):
        raise ValueError(f"{path}: label has the shape {label.shape}, expected {(len(names), len(time))}")
    return [span for name, on in zip(names, label, strict=True) for span in _runs(name, time, on)]


def _runs(asset: str, time: Times, on: np.ndarray) -> list[Label]:
    """Return runs of True in `on` (N,) as spans."""
    edges = np.diff(np.concatenate(([0], on.astype(np.int8), [0])))
    period = int(np.median(np.diff(time))) if len(time) > 1 else 1
    after = np.append(time, (time[-1] if len(time) else 0) + period)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [Label(asset, "", (), int(time[a]), int(after[b])) for a, b in zip(starts, ends, strict=True)]
