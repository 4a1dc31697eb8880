"""The forecaster and its fit against a twin in plain loops and float64, which keeps every window and every fold."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.fitting.corpus import Cut
from monitor.core.fitting.forecast import FOLDS, LEAST_EDGE, PENALTIES, UNSEEN, fit_forecaster
from monitor.core.model.forecaster import LEAST_USUAL, MOST, SPANS, Forecaster, feature_count, rounded
from monitor.core.model.scaling import Scaling
from tests.examples import examples


def twin_features(window: np.ndarray, target: int, n: int) -> np.ndarray:
    """Return the features of step `target` of a window (C, L), one number after another."""
    C, L = window.shape
    units = [[round(value * 128) for value in channel] for channel in window.tolist()]
    found = [units[c][target - ago] for ago in range(min(8, L - n), 0, -1) for c in range(C)]
    for rate in (0.1, 0.02):
        shares = [rate * (1 - rate) ** k for k in range(L - n)]
        weights = [round(2**14 * share / sum(shares)) for share in shares]
        weights[0] += 2**14 - sum(weights)
        means = [sum(weight * units[c][target - 1 - k] for k, weight in enumerate(weights)) / 2**14 for c in range(C)]
        found += [round(mean) for mean in means]
    return np.array([*found, 128]) / 128


def twin_error(window: np.ndarray, seen: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean squared error (C,) over the observed of the newest n steps; NaN without any."""
    C, L = window.shape
    n = max(1, L // 16)
    cells: list[list[float]] = [[] for _ in range(C)]
    for target in range(L - n, L):
        forecast = twin_features(window, target, n) @ weights
        for c in range(C):
            if seen[c, target]:
                cells[c].append((window[c, target] - forecast[c]) ** 2)
    return np.array([np.mean(each) if each else np.nan for each in cells])


def twin_over(error: np.ndarray, usual: np.ndarray) -> float:
    """Return the mean over the observed channels of one window's errors (C,)."""
    parts = [min(e / u, MOST) for e, u in zip(error, usual, strict=True) if not np.isnan(e)]
    return float(np.mean(parts)) if parts else np.nan


def twin_weights(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Return ridge weights as the least squares of rows to which the roots of the penalties were added."""
    root = np.sqrt(np.append(np.full(x.shape[1] - 1, penalty), penalty * 1e-6))
    wide = np.concatenate([x, np.diag(root)])
    found: np.ndarray = np.linalg.lstsq(wide, np.concatenate([y, np.zeros((len(root), y.shape[1]))]), rcond=None)[0]
    return found


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 4), st.sampled_from([2, 5, 16, 33, 64]))
def test_errors_and_scores_are_the_twins(seed: int, count: int, channels: int, length: int) -> None:
    """Errors and scores equal the twin's, whatever was observed."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 1, (count, channels, length)).clip(-5, 5).astype(np.float32)
    observed = draw.random(x.shape) < draw.choice([0.3, 0.9, 1.0])
    x[~observed] = 0
    weights = rounded(draw.normal(0, 0.3, (feature_count(channels, length), channels)))
    usual = draw.uniform(0.01, 1, channels).astype(np.float32)
    made = Forecaster(weights, usual, np.ones(SPANS, np.float32))
    wanted = np.array([twin_error(one, seen, weights) for one, seen in zip(x.astype(float), observed, strict=True)])
    found = made.errors(x, observed)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        made.over_channels(found), [twin_over(error, usual) for error in wanted], rtol=1e-4, atol=1e-2
    )


@settings(max_examples=examples(30), deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 3), st.sampled_from([0.0, 0.05, 0.4]))
def test_fit_is_the_twins(seed: int, count: int, channels: int, missing: float) -> None:
    """Weights, usual errors, edges and errors equal those of a twin that solves each fold and penalty by itself."""
    draw = np.random.default_rng(seed)
    L, T = 16, count + 15
    rows = np.cumsum(draw.normal(0, 0.3, (T, channels)), 0).astype(np.float32)
    seen = draw.random(rows.shape) >= missing
    rows[~seen] = np.nan
    scaling = Scaling((), np.zeros((1, channels)), np.ones((1, channels)))
    most = int(draw.choice([count, 1000]))
    found = fit_forecaster(
        Cut(rows, seen, np.zeros(T, np.int64), np.arange(count), L), scaling, np.zeros(1, np.int64), most
    )

    scaled = scaling.forward(rows.T[None], np.zeros(1, np.intp))[0].T.astype(float)
    x = np.array([twin_features(scaled[at : at + L].T, L - 1, 1) for at in range(count)])
    y = scaled[L - 1 :]
    complete = np.array([bool(row.all()) for row in seen[L - 1 :]])
    if 2 * complete.sum() < count:
        complete[:] = True
    parts = np.array_split(np.arange(count), FOLDS if count >= 2 * FOLDS else 2)
    totals, errors = [], []
    for penalty in PENALTIES:
        total, each = 0.0, []
        for part in parts:
            fitted = np.array([at for at in range(count) if complete[at] and at not in part], np.intp)
            weights = twin_weights(x[fitted], y[fitted], penalty)
            total += sum(float(((x[at] @ weights - y[at]) ** 2).sum()) for at in part if complete[at])
            each += [twin_error(scaled[at : at + L].T, seen[at : at + L].T, weights) for at in part]
        totals.append(total)
        errors.append(np.array(each))

    # Of penalties that are as good, either may be chosen. The tolerance is that of rounded weights.
    near = [at for at in range(len(PENALTIES)) if totals[at] <= min(totals) * (1 + 1e-3) + 1e-3]
    fits = [x @ twin_weights(x[complete], y[complete], PENALTIES[at]) for at in near]
    assert any(
        np.allclose(found.errors, errors[at], rtol=0.01, atol=0.02, equal_nan=True)
        and np.allclose(x @ found.forecaster.weights, fit, rtol=0.01, atol=0.01)
        for at, fit in zip(near, fits, strict=True)
    )

    columns = [column[~np.isnan(column)] for column in found.errors.astype(float).T]
    usual = np.array([max(column.mean(), LEAST_USUAL) if len(column) else UNSEEN for column in columns])
    np.testing.assert_allclose(found.forecaster.usual, usual, rtol=1e-5)
    over = np.array([twin_over(error, usual) for error in found.errors.astype(float)])
    for edge, span in zip(found.forecaster.edges, (1, 4, 16), strict=True):
        means = [np.nanmean(over[max(0, at - span + 1) : at + 1]) for at in np.flatnonzero(~np.isnan(over))]
        wanted = max(np.quantile(means, 0.995), LEAST_EDGE) if means else 1.0
        np.testing.assert_allclose(edge, wanted, rtol=1e-4)
