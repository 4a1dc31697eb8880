"""Simple detectors and library detectors to compare with, on the same rows, scaling, threshold and alerting.

Each detector is fitted on training rows (n, C) in scaled units. It returns a function from rows (T, C) to a score (T,)
and, if available, the part of each channel (T, C). All are causal: a row's score depends only on rows up to it.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Doubles = npt.NDArray[np.float64]
Judged = tuple[Doubles, Doubles | None]
Scorer = Callable[[Doubles], Judged]
Fit = Callable[[Doubles, np.random.Generator], Scorer]

AVERAGE = 20  # rows of the moving average
ALPHA = 0.1  # of the EWMA
EXPLAINED = 0.9  # share of the variance that the principal components of single rows keep
LENGTH, LATENT = 64, 12  # of window-PCA: same as the product, so it corresponds to a linear network
SHORT, CENTRES = 20, 20  # rows of a window and clusters of KMeansAD, as in TSB-AD
MOST = 1500  # training windows for a decomposition; more only cost time
LEAST = 1e-4  # floor of a mean error, as in the product's calibration


def moving_z(train: Doubles, _: np.random.Generator) -> Scorer:
    """Squared deviation from the training mean, averaged over the last AVERAGE rows."""
    return lambda rows: _summed(_moving_mean(rows**2), np.ones(train.shape[1]))


def ewma(train: Doubles, _: np.random.Generator) -> Scorer:
    """Squared distance of a row from the exponentially weighted mean of those before it."""
    usual = (_ewma_residual(train) ** 2).mean(0)
    return lambda rows: _summed(_ewma_residual(rows) ** 2, usual)


def pca(train: Doubles, _: np.random.Generator) -> Scorer:
    """Squared residual of a row outside the first principal components."""
    center = train.mean(0)
    s, v = np.linalg.svd(train - center, full_matrices=False)[1:]
    share = np.cumsum(s**2) / max(float((s**2).sum()), 1e-12)
    basis = v[: min(int(np.searchsorted(share, EXPLAINED)) + 1, len(v))]

    def squared(rows: Doubles) -> Doubles:
        x = rows - center
        error: Doubles = (x - x @ basis.T @ basis) ** 2
        return error

    usual = squared(train).mean(0)
    return lambda rows: _summed(squared(rows), usual)


def window_pca(train: Doubles, _: np.random.Generator) -> Scorer:
    """Squared residual of the last LENGTH rows outside the first LATENT principal components of such windows."""
    sample = _windows(train, LENGTH)
    sample = sample[np.linspace(0, len(sample) - 1, min(MOST, len(sample))).astype(int)].reshape(-1, sample[0].size)
    center = sample.mean(0)
    basis = np.linalg.svd(sample - center, full_matrices=False)[2][:LATENT]

    def squared(rows: Doubles) -> Doubles:
        """Return the mean over the window, per channel (T, C); NaN before the first window."""
        parts = np.full(rows.shape, np.nan)
        windows = _windows(rows, LENGTH)
        for begin in range(0, len(windows), MOST):
            x = windows[begin : begin + MOST].reshape(-1, len(center)) - center
            error = (x - x @ basis.T @ basis) ** 2
            at = begin + LENGTH - 1
            parts[at : at + len(x)] = error.reshape(len(x), -1, LENGTH).mean(2)
        return parts

    usual = np.nanmean(squared(train), 0)
    return lambda rows: _summed(squared(rows), usual)


def kmeans(train: Doubles, draw: np.random.Generator) -> Scorer:
    """Distance of the last SHORT rows from the nearest of CENTRES cluster means of such windows (KMeansAD)."""
    flat = _windows(train, SHORT).reshape(-1, SHORT * train.shape[1])
    sample = flat[np.linspace(0, len(flat) - 1, min(4 * MOST, len(flat))).astype(int)]
    centres = sample[draw.choice(len(sample), min(CENTRES, len(sample)), replace=False)]
    for _ in range(20):
        nearest = _distances(sample, centres).argmin(1)
        centres = np.array(
            [sample[nearest == k].mean(0) if np.any(nearest == k) else centres[k] for k in range(len(centres))]
        )

    def score(rows: Doubles) -> Judged:
        result = np.full(len(rows), np.nan)
        windows = _windows(rows, SHORT)
        for begin in range(0, len(windows), MOST):
            x = windows[begin : begin + MOST].reshape(-1, centres.shape[1])
            at = begin + SHORT - 1
            result[at : at + len(x)] = np.sqrt(_distances(x, centres).min(1))
        return result, None

    return score


def isolation_forest(train: Doubles, draw: np.random.Generator) -> Scorer:
    """Number of random cuts that isolate a row (scikit-learn)."""
    forest = import_module("sklearn.ensemble").IsolationForest(random_state=int(draw.integers(2**31)))
    forest.fit(train)
    return lambda rows: (-forest.score_samples(rows), None)


def pyod_vae(train: Doubles, draw: np.random.Generator) -> Scorer:
    """Reconstruction error of the last SHORT rows under PyOD's fully connected VAE with its defaults."""
    flat = _windows(train, SHORT).reshape(-1, SHORT * train.shape[1])
    sample = flat[np.linspace(0, len(flat) - 1, min(MOST, len(flat))).astype(int)]
    network = import_module("pyod.models.vae").VAE(verbose=0, random_state=int(draw.integers(2**31)))
    network.fit(sample)

    def score(rows: Doubles) -> Judged:
        result = np.full(len(rows), np.nan)
        windows = _windows(rows, SHORT)
        for begin in range(0, len(windows), MOST):
            x = windows[begin : begin + MOST].reshape(-1, sample.shape[1])
            at = begin + SHORT - 1
            result[at : at + len(x)] = network.decision_function(x)
        return result, None

    return score


def available() -> dict[str, Fit]:
    """Return the installed baselines by name. The forest needs scikit-learn, the fully connected VAE needs PyOD."""
    found: dict[str, Fit] = {
        "moving z": moving_z,
        "EWMA residual": ewma,
        "PCA residual": pca,
        "window-PCA": window_pca,
        "KMeans": kmeans,
    }
    found |= {"IsolationForest": isolation_forest} if find_spec("sklearn") else {}
    return found | ({"PyOD VAE": pyod_vae} if find_spec("pyod") else {})


def _summed(parts: Doubles, usual: Doubles) -> Judged:
    """Return parts (T, C) in units of each channel's usual error, and their mean (T,)."""
    calibrated = parts / np.maximum(usual, LEAST)
    return calibrated.mean(1), calibrated


def _windows(rows: Doubles, length: int) -> Doubles:
    """Return windows (n, C, length) of rows (T, C)."""
    return sliding_window_view(rows, length, axis=0)


def _moving_mean(x: Doubles) -> Doubles:
    """Return the mean of the last AVERAGE rows of x (T, C), or of fewer rows at the beginning."""
    total = np.cumsum(x, 0)
    total[AVERAGE:] = total[AVERAGE:] - total[:-AVERAGE]
    counted = np.minimum(np.arange(1, len(x) + 1), AVERAGE)
    mean: Doubles = np.maximum(total, 0) / counted[:, None]
    return mean


def _ewma_residual(rows: Doubles) -> Doubles:
    """Return rows (T, C) minus the exponentially weighted mean of the rows before each."""
    residual, mean = np.zeros(rows.shape), rows[0].copy()
    for at, row in enumerate(rows):
        residual[at] = row - mean
        mean += ALPHA * residual[at]
    return residual


def _distances(x: Doubles, centres: Doubles) -> Doubles:
    """Return the squared distance (n, K) of x (n, D) from centres (K, D)."""
    squared = (x**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * x @ centres.T
    positive: Doubles = np.maximum(squared, 0)
    return positive
