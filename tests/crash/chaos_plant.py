"""The machines of the chaos runs, their faults, and two models.

Three detectors watch them: two share the machines by class, a slow one has all of them at a longer step.

Twelve machines, two to a partition, give three channels each. From step 80 on every machine is faulty about half of the
time, in faults of 15 to 90 steps, some of which grow: so whenever a worker is killed several alerts are open, some
about to be updated or resolved. Time in the readings runs faster than the clock; the monitor goes by the former.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.fit import fit
from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.fitting.recipe import Recipe
from monitor.core.model.model import Model
from monitor.core.records import WindowBatch

STEP_MS, LENGTH = 1000, 16
CHANNELS = ("flow", "pressure", "temperature")
ASSETS = tuple(f"machine-{number:02d}" for number in range(12))
PARTITIONS = 6
ORIGIN = 1_700_000_000_000 // (LENGTH * STEP_MS) * LENGTH * STEP_MS  # ms UTC of step 0
RECIPE = Recipe(hidden=8, latent=3, layers=2, kernel=3, steps=300, batch=64, learning_rate=5e-3)
_FANS = ["machine-0[6-9]", "machine-1*"]  # one of the two machines of each partition
DETECTORS: list[dict[str, Any]] = [
    {"name": "pumps", "assets_exclude": _FANS},
    {"name": "fans", "assets": _FANS},
    {"name": "slow", "windows": {"step_s": 3.0}, "alerting": {"on_delay_s": 6.0}},
]
_CLEAN = 80  # steps before the first fault
_TAUGHT = 1000  # steps of each machine that a model learns from
_NOISE = 0.03


@dataclass(frozen=True, slots=True)
class Reading:
    """A message to be produced."""

    partition: int
    key: bytes
    value: bytes


def readings(steps: int, seed: int) -> Iterator[Reading]:
    """Yield the readings of all machines step by step, in json_wide."""
    values = _normal(steps, seed) + _faults(steps, seed)
    for step in range(steps):
        for number, asset in enumerate(ASSETS):
            row = dict(zip(CHANNELS, values[number, step].round(5).tolist(), strict=True))
            body = {"asset": asset, "timestamp": ORIGIN + step * STEP_MS, "values": row}
            yield Reading(number % PARTITIONS, asset.encode(), json.dumps(body).encode())


@cache
def models() -> tuple[Model, Model]:
    """Return the first model of a run, and the model that some scenarios adopt."""
    first = fit(_corpus(1), RECIPE, None, lambda *_: None).model
    return first, fit(_corpus(2), RECIPE, first, lambda *_: None).model


def _corpus(seed: int) -> Corpus:
    history = History(HistoryOptions(budget=2000, length=LENGTH, step_ms=STEP_MS, horizon_ms=10**9, guard_ms=0))
    history.add(_windows(_normal(_TAUGHT, seed).astype(np.float32)), ASSETS, CHANNELS)
    return history.normal()


def _windows(values: np.ndarray) -> WindowBatch:
    """Cut every window out of rows (A, T, C)."""
    assets, _, channels = values.shape
    cut = np.lib.stride_tricks.sliding_window_view(values, LENGTH, axis=1)  # (A, n, C, L)
    n = cut.shape[1]
    flat = cut.transpose(1, 0, 2, 3).reshape(n * assets, channels, LENGTH).copy()
    ends = ORIGIN + (np.repeat(np.arange(n), assets) + LENGTH - 1) * STEP_MS
    rows = np.tile(np.arange(assets, dtype=np.int32), n)
    return WindowBatch(rows, ends, flat, np.ones(flat.shape, np.bool_), np.arange(n * assets))


def _normal(steps: int, seed: int) -> np.ndarray:
    """Return readings (A, T, C): flow and pressure follow one driver, temperature lags behind."""
    draw = np.random.default_rng(seed)
    time, phase = np.arange(steps), np.arange(len(ASSETS))[:, None]
    driver = np.sin(time / 9 + phase) + 0.3 * np.sin(time / 4 + 2 * phase)  # (A, T)
    base = np.stack([driver, 0.5 * driver + 2, np.roll(driver, 3, 1)], 2)
    noisy: np.ndarray = base + draw.normal(0, _NOISE, base.shape)
    return noisy


def _faults(steps: int, seed: int) -> np.ndarray:
    """Return the faults to add (A, T, C): shifts of one channel, of which every third grows."""
    draw = np.random.default_rng([seed, 1])
    added = np.zeros((len(ASSETS), steps, len(CHANNELS)))
    for asset in range(len(ASSETS)):
        begin = _CLEAN + int(draw.integers(0, 60))
        while begin < steps:
            end = min(steps, begin + int(draw.integers(15, 90)))
            size = draw.choice([-1, 1]) * draw.uniform(0.3, 1.5)
            growth = np.linspace(0.3, 3.0, end - begin) if draw.random() < 1 / 3 else 1.0
            added[asset, begin:end, draw.integers(len(CHANNELS))] = size * growth
            begin = end + int(draw.integers(25, 80))
    return added
