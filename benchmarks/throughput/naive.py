"""The same job written the obvious way: one message, one asset, one window at a time; for the twin and the engines.

`Machine` is an asset's state: its last rows and scores. It starts with the same past as the product's snapshot
(store.py), so that both score the same windows from the first message on. A window is scored with the model's own
arithmetic, and scores equal the product's within float32.
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.throughput.fleet import CHANNELS, LENGTH, PATTERNS, WARM, Fleet, fleet
from benchmarks.throughput.store import DETECTOR, MEMORY, scores
from monitor.core.model.errors import window_errors
from monitor.core.model.model import Model
from monitor.core.model.scorer import ratios
from monitor.core.model.vae import VAE
from monitor.core.records import Floats
from monitor.store.files import open_blobs
from monitor.store.folder import detector_folder
from monitor.store.models import Models

PERCENTILE, MARGIN, CLIP = 99.5, 1.6, 1.05  # of `monitor.settings.learning.ThresholdSection`
ON_DELAY = 4  # windows above the threshold in a row, 3 s apart from first to last


Scored = tuple[float, list[float], list[float], list[float], list[float]]  # score; by channel as read, expected, band


class Scorer:
    """Scores windows with the model, one or more at a time."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._network = VAE.of(model)
        self._rows = {name: row for row, name in enumerate(model.scaling.assets)}

    def score(self, assets: Sequence[str], windows: Sequence[Any]) -> list[Scored]:
        """Score windows (LENGTH, C)."""
        rows = np.array([self._rows[asset] for asset in assets])
        values = np.array(windows, np.float32).transpose(0, 2, 1)  # (B, C, L)
        x = self.model.scaling.forward(values, rows)
        observed = np.ones(x.shape, np.bool_)
        with torch.inference_mode():
            mu, _ = self._network.encode(torch.from_numpy(x), torch.from_numpy(observed))
            reconstruction = self._network.decode(mu).numpy()
        scaling, calibration = self.model.scaling, self.model.calibration
        parts = window_errors(x, (x - reconstruction) ** 2, observed, calibration.error)
        score = ratios(parts, observed, calibration.limits).max(1)
        expected = scaling.inverse(reconstruction[:, :, -1], rows)
        spread = 2 * np.sqrt(calibration.error) * scaling.scale[rows]
        columns = (score, values[:, :, -1], expected, expected - spread, expected + spread)
        return list(zip(*(column.tolist() for column in columns), strict=True))


class Machine:
    """An asset: a ring of rows and a ring of scores."""

    def __init__(self, rows: Sequence[Sequence[float]], past: Floats) -> None:
        self.rows = deque(rows, LENGTH)
        self.past = past.copy()  # (MEMORY,) scores
        self._place = 0
        self._above = 0
        self._row: dict[str, float] = {}

    def take(self, values: dict[str, float], names: Sequence[str]) -> bool:
        """Take readings of the newest step. Return whether they complete a window."""
        self._row.update(values)
        if len(self._row) < len(names):
            return False
        self.rows.append([self._row[name] for name in names])
        self._row = {}
        return True

    def judge(self, score: float) -> tuple[float, bool]:
        """Return the threshold for this score, and whether an alert is due."""
        base = float(np.percentile(self.past, PERCENTILE))
        self.past[self._place % MEMORY] = min(score, CLIP * base)
        self._place += 1
        self._above = self._above + 1 if score > MARGIN * base else 0
        return MARGIN * base, self._above == ON_DELAY


class Job:
    """The job for an engine: messages in, machines, the model, records out."""

    def __init__(self, sent: Fleet, model: Model) -> None:
        torch.set_num_threads(1)
        self.fleet, self.scorer = sent, Scorer(model)
        self._past = scores(model, MEMORY)

    def machine(self, asset: str) -> Machine:
        """Return an asset with its past."""
        return Machine(self.warm_rows(asset), self._past[int(asset[-5:]) % PATTERNS])

    def warm_rows(self, asset: str) -> list[list[float]]:
        """Return the rows before the first message."""
        rows: list[list[float]] = self.fleet.values[int(asset[-5:]) % PATTERNS, :WARM].tolist()
        return rows

    def step(self, machine: Machine, body: dict[str, Any]) -> bytes | None:
        """Process one message. Return a score record if a window is complete."""
        if not machine.take(readings(body), self.fleet.channels):
            return None
        scored = self.scorer.score([body["asset"]], [machine.rows])[0]
        return self.record(body["asset"], body["timestamp"], scored, *machine.judge(scored[0]))

    def record(self, asset: str, at: int, scored: Scored, threshold: float, alert: bool) -> bytes:
        """Return the record of a window: the product's fields except each channel's share."""
        score, *columns = scored
        names = ("observed", "expected", "low", "high")
        channels = {
            channel: dict(zip(names, cells, strict=True))
            for channel, *cells in zip(self.fleet.channels, *columns, strict=True)
        }
        whole = {"asset": asset, "time": at, "score": score, "threshold": threshold, "alert": alert}
        return json.dumps({**whole, "channels": channels}).encode()


def readings(body: dict[str, Any]) -> dict[str, float]:
    """Return the readings of a message, by channel."""
    found: dict[str, float] = body["values"] if "values" in body else {body["channel"]: body["value"]}
    return found


def limit(model: Model) -> float:
    """Return the fixed threshold from the model's calibration, for engines which cannot keep 10 000 scores."""
    return MARGIN * float(np.quantile(model.calibration.scores, PERCENTILE / 100))


class Meter:
    """Processor time of this process from the first window to the last, printed on standard output."""

    def __init__(self, windows: int) -> None:
        self._windows, self._done = windows, 0
        self._cpu, self._wall = 0.0, 0.0

    def count(self, windows: int = 1) -> None:
        """Count scored windows."""
        if self._done == 0:
            self._cpu, self._wall = time.process_time(), time.monotonic()
        before, self._done = self._done, self._done + windows
        if before < self._windows <= self._done:
            took = {"windows": self._done - windows, "cpu_s": time.process_time() - self._cpu}
            line = json.dumps({**took, "wall_s": time.monotonic() - self._wall})
            os.write(1, f"{line}\n".encode())  # Faust replaces sys.stdout by a log


class Call:
    """Command line of the twin and the engines: BOOTSTRAP STORE FLEET OUTPUT WINDOWS."""

    def __init__(self) -> None:
        self.bootstrap, store, text, self.output, windows = sys.argv[1:6]
        self.fleet = fleet(text)
        models = Models(detector_folder(open_blobs(str(Path(store))), DETECTOR), print)
        version = models.current()
        assert version is not None, "the store has a model"
        stored = models.get(version)
        self.model = Model.unpack(version, stored.manifest, stored.tensors)
        self.job, self.meter = Job(self.fleet, self.model), Meter(int(windows))
        self.windows = int(windows)
        assert len(self.fleet.channels) == CHANNELS
