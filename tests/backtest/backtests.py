"""Recordings for the tests of `monitor backtest`, and the daemon's alerts on them."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitor.backtest.replay import FEW
from monitor.service.run import Service
from monitor.settings.load import load
from tests.commands import TRAINING, monitor, sets
from tests.core.machines import ASSETS, CHANNELS, STEP, rows
from tests.rig import ORIGIN, SMALL, values

FIRST, STEPS = 640, 1400  # training steps of the small machines, and all steps
FAULTS = ((0, 900, 930), (1, 1100, 1140))  # asset, first step, first step after
SHAPE: dict[str, Any] = {
    **{key: value for key, value in SMALL.items() if key.partition(".")[0] in {"threshold", "alerting", "name"}},
    **TRAINING,
    "training.first_steps": FIRST,
    "training.guard_s": 16.0,
}


def batch() -> np.ndarray:
    """Return readings (A, T, C) of the small machines with one fault each."""
    made = rows(STEPS + 3)[:, 3:]  # in the first three, temperature has the driver's last values
    for asset, first, last in FAULTS:
        made[asset, first:last, 0] += 3.0 * (1.0, 10.0)[asset]
    return made


def labels() -> np.ndarray:
    """Return the fault labels (A, T)."""
    on = np.zeros((len(ASSETS), STEPS), np.int8)
    for asset, first, last in FAULTS:
        on[asset, first:last] = 1
    return on


def jsonl(folder: Path) -> list[Path]:
    """Write both machines to one file."""
    path = folder / "both.jsonl"
    path.write_bytes(b"".join(value + b"\n" for _, value, _ in values(batch())))
    return [path]


SLOW = 4.0  # seconds: the step of the second detector
TWINS: list[dict[str, Any]] = [
    {"name": "fast"},
    {
        "name": "slow",
        "channels": ["flow", "pressure"],
        "windows": {"step_s": SLOW, "aggregate": ["mean", "max"]},
        "training": {"first_steps": 200, "guard_s": 64.0},
        "threshold": {"margin": 1.2},
        "running": {"when": "speed > 50", "expected": ["Mon-Sun 00:00-24:00"], "expected_delay_s": 60.0},
    },
]
SILENT, OFF = (1160, 1215), (1230, 1400)  # steps in which b sends nothing, and in which it does not run


def eventful(folder: Path) -> list[Path]:
    """Write both machines with their faults and a channel `speed`; b falls silent for a while, and later stops."""
    lines = []
    for place, (_, value, _) in enumerate(values(batch())):
        step, body = place // len(ASSETS), json.loads(value)
        other = body["asset"] == ASSETS[1]
        body["values"]["speed"] = 0.0 if other and OFF[0] <= step < OFF[1] else 100.0 + step % 7
        if not (other and SILENT[0] <= step < SILENT[1]):
            lines.append(json.dumps(body))
    path = folder / "eventful.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return [path]


def npz(folder: Path, *, labelled: bool = True) -> list[Path]:
    """Write a file for each machine, with its labels."""
    paths = [folder / f"{name}.npz" for name in ASSETS]
    for asset, path in enumerate(paths):
        arrays: dict[str, Any] = {"label": labels()[asset]} if labelled else {}
        time = ORIGIN + STEP * np.arange(STEPS)
        np.savez(path, time=time, values=batch()[asset], channels=np.array(CHANNELS), **arrays)
    return paths


def csv(folder: Path) -> list[Path]:
    """Write a file for each machine, with a column `wrong`."""
    paths = [folder / f"{name}.csv" for name in ASSETS]
    for asset, path in enumerate(paths):
        lines = [";".join(("datetime", *CHANNELS, "wrong"))]
        for step, row in enumerate(batch()[asset].tolist()):
            cells = (str(ORIGIN + step * STEP), *(f"{value:.6g}" for value in row), str(labels()[asset, step]))
            lines.append(";".join(cells))
        path.write_text("\n".join(lines) + "\n")
    return paths


def backtest(paths: Sequence[Path], *options: object, **given: object) -> Any:
    """Run the command on these files with the settings of the small machines, and return its result."""
    texts = {key.replace("__", "."): value for key, value in given.items()}
    return monitor("backtest", *paths, *options, *sets(**{**SHAPE, **texts}))


def of_daemon(paths: Sequence[Path], folder: Path, shape: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alert records that a daemon with an empty store publishes when it reads these files."""
    shell = {
        "source.kind": "files",
        "source.format": paths[0].suffix.lstrip("."),
        "source.paths": [str(path) for path in paths],
        # A worker reads so many for each detector. Together FEW of monitor/backtest/replay.py: when training starts.
        "source.batch_messages": FEW // max(1, len(shape.get("detectors", []))),
        "outputs.kind": "files",
        "outputs.directory": str(folder / "published"),
        "store.url": str(folder / "daemon-store"),
        "health.enabled": False,
        "training.interval_s": 0.0,
        "source.poll_s": 0.02,
        "delivery.checkpoint_s": 0.05,
    }
    Service(load(None, {}, {**shape, **shell})).run(threading.Event())
    return read(folder / "published" / "monitor.alerts.jsonl")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the alert records in a file, without the model version, which contains the time of the training."""
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    bodies = [json.loads(body["value"]) if "value" in body and "id" not in body else body for body in bodies]
    return [{key: value for key, value in body.items() if key != "model"} for body in bodies]
