"""The same job written the obvious way: one message, one asset, one window at a time; for the twin and the engines.

`Machine` is an asset's state: its last rows, limits of its channels, and alarm scores. It starts with the same past as
the product's snapshot (store.py), so that both score the same windows from the first message on. A window is scored
with the model's own arithmetic, and scores equal the product's within float32.
"""

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.throughput.fleet import CHANNELS, LENGTH, PATTERNS, WARM, Fleet, fleet
from benchmarks.throughput.store import DETECTOR, MEMORY, scores
from monitor.core.model.alarm import alarm_scores
from monitor.core.model.channel_limits import BLOCK, LEAST, MOST, QUANTILE, RATE
from monitor.core.model.errors import window_errors
from monitor.core.model.forecaster import SPANS
from monitor.core.model.model import LEVELS, Model
from monitor.core.model.ranking import LEAST_ALARM, WEIGHTS, spans
from monitor.core.model.scorer import ratios
from monitor.core.model.vae import VAE
from monitor.core.records import Floats
from monitor.store.files import open_blobs
from monitor.store.folder import detector_folder
from monitor.store.models import Models

PERCENTILE, MARGIN, CLIP = 99.0, 1.4, 1.05  # of `monitor.settings.learning.ThresholdSection`
ON_DELAY = 4  # windows above the threshold in a row, 3 s apart from first to last


class Scored(NamedTuple):
    """A window's result, the last four by channel."""

    network: float
    forecast: float
    errors: Floats  # (V, C)
    observed: list[float]
    expected: list[float]
    low: list[float]
    high: list[float]


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
        scaling, calibration, forecaster = self.model.scaling, self.model.calibration, self.model.forecaster
        parts = window_errors(x, (x - reconstruction) ** 2, observed, calibration.error)
        forecast = forecaster.errors(x, observed)
        network = ratios(parts, observed, calibration.limits).max(1)
        errors = np.stack((parts[:, -2] * calibration.error, forecast, parts[:, -1]), 1)
        expected = scaling.inverse(reconstruction[:, :, -1], rows)
        spread = 2 * np.sqrt(calibration.error) * scaling.scale[rows]
        columns = (values[:, :, -1], expected, expected - spread, expected + spread)
        lists = (column.tolist() for column in columns)
        whole = forecaster.over_channels(forecast).tolist()
        return [Scored(*one) for one in zip(network.tolist(), whole, errors, *lists, strict=True)]


class Machine:
    """An asset: a ring of rows, limits of its channels, and a ring of alarm scores."""

    def __init__(self, rows: Sequence[Sequence[float]], limits: Floats, past: Floats) -> None:
        self.rows = deque(rows, LENGTH)
        self.limits = limits.astype(np.float64)  # (V, C)
        self.past = past.copy()  # (MEMORY,) alarm scores
        self.forecasts: deque[float] = deque(maxlen=max(spans(LENGTH)))
        self._above_limit = np.zeros(limits.shape)  # windows of the block
        self._windows = 0
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

    def alarm(self, network: float, errors: Floats) -> float:
        """Return the alarm score of a window with errors (V, C), then learn from the errors."""
        if not len(self.limits):  # the network foresees
            return alarm_of(network, self.limits.astype(np.float32))
        ratios = (errors / self.limits).astype(np.float32)
        self._above_limit += ratios > 1
        self._windows += 1
        if self._windows % BLOCK == 0:
            self.limits *= np.exp(RATE * (self._above_limit - BLOCK * (1 - QUANTILE)))
            self.limits = np.clip(self.limits, LEAST, MOST)
            self._above_limit[:] = 0
        return alarm_of(network, ratios)

    def means(self, forecast: float) -> list[float]:
        """Take the error of a window's forecast. Return the means over the last windows."""
        self.forecasts.append(forecast)
        return [float(np.mean(list(self.forecasts)[-span:])) for span in spans(LENGTH)]

    def judge(self, alarm: float) -> tuple[float, bool]:
        """Return the threshold for this alarm score, and whether an alert is due."""
        base = float(np.percentile(self.past, PERCENTILE))
        self.past[self._place % MEMORY] = min(alarm, CLIP * base)
        self._place += 1
        self._above = self._above + 1 if alarm > MARGIN * base else 0
        return MARGIN * base, self._above == ON_DELAY


class Job:
    """The job for an engine: messages in, machines, the model, records out."""

    def __init__(self, sent: Fleet, model: Model) -> None:
        torch.set_num_threads(1)
        self.fleet, self.scorer = sent, Scorer(model)
        self._past = scores(model, MEMORY)

    def machine(self, asset: str) -> Machine:
        """Return an asset with its past."""
        return Machine(self.warm_rows(asset), self.scorer.model.alarm.starts, self._past[int(asset[-5:]) % PATTERNS])

    def warm_rows(self, asset: str) -> list[list[float]]:
        """Return the rows before the first message."""
        rows: list[list[float]] = self.fleet.values[int(asset[-5:]) % PATTERNS, :WARM].tolist()
        return rows

    def step(self, machine: Machine, body: dict[str, Any]) -> bytes | None:
        """Process one message. Return a score record if a window is complete."""
        if not machine.take(readings(body), self.fleet.channels):
            return None
        scored = self.scorer.score([body["asset"]], [machine.rows])[0]
        return self.judged(machine, body["asset"], body["timestamp"], scored)

    def judged(self, machine: Machine, asset: str, at: int, scored: Scored) -> bytes:
        """Return the record of a window, held against limits and threshold of its machine."""
        alarm = machine.alarm(scored.network, scored.errors)
        score = ranked(self.scorer.model, scored.network, machine.means(scored.forecast), alarm)
        return self.record(asset, at, scored, score, alarm, *machine.judge(alarm))

    def fixed(self, asset: str, at: int, scored: Scored) -> bytes:
        """Return the record of a window, held against fixed limits and threshold, for engines with little state."""
        model = self.scorer.model
        ratios = scored.errors / model.alarm.starts if len(model.alarm.starts) else model.alarm.starts
        alarm, threshold = alarm_of(scored.network, ratios), limit(model)
        score = ranked(model, scored.network, [scored.forecast] * SPANS, alarm)
        return self.record(asset, at, scored, score, alarm, threshold, alarm > threshold)

    def record(  # noqa: PLR0917 - fields of the record
        self, asset: str, at: int, scored: Scored, score: float, alarm: float, threshold: float, alert: bool
    ) -> bytes:
        """Return the record of a window: the product's fields except each channel's share."""
        names = Scored._fields[3:]
        channels = {
            channel: dict(zip(names, cells, strict=True))
            for channel, *cells in zip(self.fleet.channels, *scored[3:], strict=True)
        }
        judged = {"score": score, "alarm": alarm, "threshold": threshold, "alert": alert}
        return json.dumps({"asset": asset, "time": at, **judged, "channels": channels}).encode()


def readings(body: dict[str, Any]) -> dict[str, float]:
    """Return the readings of a message, by channel."""
    found: dict[str, float] = body["values"] if "values" in body else {body["channel"]: body["value"]}
    return found


def alarm_of(network: float, ratios: Floats) -> float:
    """Return the alarm score of a window with a score by the network and ratios (V, C) of errors to limits."""
    return float(alarm_scores(np.array([network], np.float32), ratios[None])[0])


def ranked(model: Model, network: float, means: Sequence[float], alarm: float) -> float:
    """Return the ranking score from the network's score, the means of the forecast's errors, and the alarm score."""
    forecast = max(mean / edge for mean, edge in zip(means, model.forecaster.edges.tolist(), strict=True))
    parts = network, forecast, alarm / max(LEAST_ALARM, model.alarm.edge)
    return math.expm1(sum(weight * math.log1p(part) for weight, part in zip(WEIGHTS, parts, strict=True)))


def limit(model: Model) -> float:
    """Return the fixed threshold from the model's calibration, for engines which cannot keep 10 000 scores."""
    return MARGIN * float(np.interp(PERCENTILE / 100, LEVELS, model.alarm.scores))


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
