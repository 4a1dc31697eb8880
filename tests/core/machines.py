"""A small class of machines for tests of what learns: two that move together, and what the stages make of them."""

import math
from dataclasses import replace
from functools import cache
from unittest import mock

import numpy as np

from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.fit import fit
from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.fitting.recipe import Recipe
from monitor.core.model import alarm
from monitor.core.model.model import Model
from monitor.core.records import WindowBatch

STEP, L, CHANNELS = 1000, 16, ("flow", "pressure", "temperature")
ASSETS = ("a", "b")
FAST = Recipe(hidden=8, latent=3, layers=2, kernel=3, steps=300, batch=64, learning_rate=5e-3)


def rows(steps: int, seed: int = 0) -> np.ndarray:
    """Readings (A, T, C): flow and pressure follow one driver, temperature lags behind; b is larger than a."""
    draw = np.random.default_rng(seed)
    time = np.arange(steps)
    driver = np.sin(time / 9)[None] + 0.3 * np.sin(time / 4 + np.arange(2)[:, None])
    base = np.stack([driver, 0.5 * driver + 2, np.roll(driver, 3, 1)], 2)
    noisy: np.ndarray = (base + draw.normal(0, 0.03, base.shape)) * np.array([1.0, 10.0])[:, None, None]
    return noisy.astype(np.float32)


def windows(values: np.ndarray, first_step: int = 0) -> WindowBatch:
    """Every window of rows (A, T, C), by end, then asset; NaN is not observed."""
    A, _, C = values.shape
    cut = np.lib.stride_tricks.sliding_window_view(values, L, axis=1)  # (A, n, C, L)
    n = cut.shape[1]
    flat = cut.transpose(1, 0, 2, 3).reshape(n * A, C, L).copy()
    steps = np.repeat(np.arange(n) + L - 1 + first_step, A)
    assets = np.tile(np.arange(A, dtype=np.int32), n)
    return WindowBatch(assets, steps * STEP, flat, ~np.isnan(flat), steps * A + assets)


def history(values: np.ndarray, budget: int = 1000, guard_ms: int = 0) -> History:
    """A history that was given every window of rows (A, T, C)."""
    made = History(HistoryOptions(budget=budget, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=guard_ms))
    made.add(windows(values), ASSETS, CHANNELS)
    return made


def corpus(steps: int = 1600, seed: int = 0) -> Corpus:
    """Normal history of both machines."""
    return history(rows(steps, seed)).normal()


@cache
def model() -> Model:
    """A model of them; made once, as it takes a second."""
    return replace(fit(corpus(), FAST, None, lambda *_: None).model, version="m-20250101T000000-00000000")


@cache
def unforeseen() -> Model:
    """The same network as one that foresees too little, so that each channel has limits of its own."""
    with mock.patch.object(alarm, "FORESEEN", math.inf):
        made = fit(corpus(), FAST, None, lambda *_: None).model
    assert model().foresees
    assert not made.foresees
    return replace(made, version=model().version)
