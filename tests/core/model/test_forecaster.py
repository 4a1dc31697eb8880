"""Forecasts of a window's newest steps, their errors and the score."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.model.errors import newest
from monitor.core.model.forecaster import (
    LAGS,
    LEAST_USUAL,
    MOST,
    MOST_FEATURES,
    SPANS,
    TOGETHER,
    UNITS,
    Forecaster,
    feature_count,
    features,
    lags,
    newest_error,
    rounded,
    squared,
)
from monitor.core.model.scaling import CLIP

C, L, N = 3, 64, 4


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(seed).normal(0, 1, shape).clip(-CLIP, CLIP).astype(np.float32)
    return found


def forecaster(channels: int = C, length: int = L) -> Forecaster:
    weights = rounded(draw(feature_count(channels, length), channels, seed=1).astype(np.float64))
    return Forecaster(weights, np.full(channels, 0.5, np.float32), np.array([2.0, 1.5, 1.2], np.float32))


def test_weight_of_the_last_step_forecasts_no_change() -> None:
    """With a weight of 1 on each channel's last step before the target, the forecast is that step."""
    weights = np.zeros((feature_count(C, L), C), np.float32)
    weights[(LAGS - 1) * C : LAGS * C] = np.eye(C)
    x = draw(5, C, L)
    wanted = np.rint(x[:, :, -N - 1 : -1] * UNITS) / UNITS
    assert np.array_equal(replace(forecaster(), weights=weights).forecast(x), wanted)


def test_means_weigh_recent_steps_most_and_sum_to_1() -> None:
    """A level that never changes is its own mean, and a recent step moves the fast mean more than the slow one."""
    weights = np.zeros((feature_count(C, L), C), np.float32)
    fast, slow = (weights.copy() for _ in range(2))
    fast[LAGS * C : (LAGS + 1) * C] = np.eye(C)
    slow[(LAGS + 1) * C : (LAGS + 2) * C] = np.eye(C)
    level = np.full((1, C, L), 3.0, np.float32)
    moved = level.copy()
    moved[:, :, -N - 3 : -N] = 4.0
    for means in (fast, slow):
        np.testing.assert_allclose(replace(forecaster(), weights=means).forecast(level), 3.0)
    change = [replace(forecaster(), weights=means).forecast(moved)[0, 0, 0] - 3.0 for means in (fast, slow)]
    assert change[0] > 2 * change[1] > 0


@pytest.mark.parametrize("step", range(1, N + 1))
def test_forecast_knows_only_steps_before_it(step: int) -> None:
    """A change of a step changes the forecasts of later steps, and not those of it and of earlier ones."""
    x = draw(2, C, L)
    changed = x.copy()
    changed[:, :, -step] += 1
    same = (forecaster().forecast(x) == forecaster().forecast(changed)).all((0, 1))
    assert same.tolist() == [N - place >= step for place in range(N)]


@pytest.mark.parametrize("channels", [1, 8, 38])
def test_a_window_alone_is_forecast_and_compared_as_in_any_batch(channels: int) -> None:
    """Forecasts and errors of a window have the same bits in every batch and at every place in it."""
    made, count = forecaster(channels), 2 * TOGETHER + 5
    x, observed = draw(count, channels, L), np.random.default_rng(2).random((count, channels, L)) < 0.95
    forecasts, errors = made.forecast(x), made.errors(x, observed)
    over = made.over_channels(errors)
    for begin, end in [(0, 1), (7, 24), (40, 41), (TOGETHER - 1, count), (3, TOGETHER + 4), (count - 16, count)]:
        part = slice(begin, end)
        assert np.array_equal(made.forecast(x[part]), forecasts[part])
        alone = made.errors(x[part], observed[part])
        assert np.array_equal(alone, errors[part], equal_nan=True)
        assert np.array_equal(made.over_channels(alone), over[part], equal_nan=True)
    assert made.forecast(x[:0]).shape == (0, channels, N)
    assert made.over_channels(made.errors(x[:0], observed[:0])).shape == (0,)


@pytest.mark.parametrize("channels", [1, 8, 38, 200])
def test_sums_are_exact(channels: int) -> None:
    """Forecasts in float32 equal those in float64, for windows as far off as can be, in every order of the features."""
    weights = rounded(np.random.default_rng(0).standard_t(2, (feature_count(channels, L), channels)))
    made = Forecaster(weights, np.ones(channels, np.float32), np.ones(SPANS, np.float32))
    x = np.where(draw(40, channels, L) > 0, np.float32(CLIP), np.float32(-CLIP))
    x[0] = CLIP
    units = features(x)
    wanted = units.astype(np.float64) @ weights.astype(np.float64) / UNITS
    assert np.array_equal(made.forecast(x), wanted.transpose(0, 2, 1))
    assert (np.abs(units) <= CLIP * UNITS).all()
    assert (units == np.rint(units)).all()


def test_rounded_weights_are_close() -> None:
    """Rounding moves a weight by less than a ten thousandth of its channel's sum, and leaves zeros."""
    weights = np.random.default_rng(0).normal(0, 1, (41, 4)) * [1e-3, 1, 50, 0]
    moved = np.abs(rounded(weights) - weights)
    assert (moved <= 1e-4 * np.abs(weights).sum(0)).all()


@pytest.mark.parametrize("length", [1, 2, 5, 8, 16, 17, 128])
def test_windows_of_any_length_are_forecast(length: int) -> None:
    """Short windows have fewer steps before the target as features, down to none, and finite forecasts."""
    made = forecaster(length=length)
    made.check(C, length)
    found = made.forecast(draw(20, C, length))
    assert lags(C, length) == min(LAGS, length - newest(length))
    assert found.shape == (20, C, newest(length))
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("channels", "expected"), [(259, LAGS), (260, LAGS - 1), (300, 6), (866, 1), (867, 0), (1024, 0), (3000, 0)]
)
def test_with_many_channels_fewer_steps_count(channels: int, expected: int) -> None:
    """As many steps count as fit into MOST_FEATURES beside the means and the constant, down to none."""
    assert lags(channels, L) == expected
    assert feature_count(channels, L) == channels * (expected + 2) + 1
    assert feature_count(channels, L) <= MOST_FEATURES or expected == 0
    assert channels * (expected + 3) + 1 > MOST_FEATURES or expected == LAGS
    assert features(draw(2, channels, L)).shape == (2, N, feature_count(channels, L))


def test_only_observed_cells_count() -> None:
    """The error is the mean over observed cells of the newest steps, and NaN for a channel without any."""
    x, forecast = np.zeros((1, 2, L), np.float32), np.array([[[1, 2, 3, 4], [5, 5, 5, 5]]], np.float32)
    observed = np.ones((1, 2, L), np.bool_)
    observed[0, 0, -1] = observed[0, 1, -N:] = False
    error = squared(x, forecast, observed)
    assert error.tolist() == [[[1, 4, 9, 0], [0, 0, 0, 0]]]
    np.testing.assert_allclose(newest_error(error, observed), [[14 / 3, np.nan]], rtol=1e-6)
    assert newest_error(error, np.ones_like(observed)).tolist() == [[3.5, 0]]


def test_channels_that_were_observed_count_in_units_of_their_usual_error() -> None:
    """No channel counts for more than MOST, one not observed does not count, and without any the mean is NaN."""
    nan = float("nan")
    error = np.array([[1, 2, 3], [1e6, 0, 0], [1, nan, 2], [nan, nan, nan]], np.float32)
    wanted = np.array([(2 + 4 + 6) / 3, MOST / 3, (2 + 4) / 2, nan])
    np.testing.assert_allclose(forecaster().over_channels(error), wanted, rtol=1e-6)
    np.testing.assert_allclose(forecaster().ratios(error[1:3]), np.array([[MOST, 0, 0], [2, 0, 4]]), rtol=1e-6)


def test_fields_are_the_arrays_of_a_model_file() -> None:
    """The names of the arrays are part of the format of model files."""
    assert Forecaster.__slots__ == ("weights", "usual", "edges")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("weights", np.zeros((5, C), np.float32), "expected"),
        ("weights", np.zeros((feature_count(C, L), C)), "expected"),
        ("usual", np.ones(C + 1, np.float32), "expected"),
        ("edges", np.ones(2, np.float32), "expected"),
        ("weights", np.full((feature_count(C, L), C), np.nan, np.float32), "not finite"),
        ("edges", np.array([1, np.inf, 1], np.float32), "not finite"),
        ("usual", np.array([1, 0, 1], np.float32), "not above 0"),
        ("edges", np.array([1, 1, 0], np.float32), "not above 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(field: str, value: np.ndarray, told: str) -> None:
    """Arrays of other shapes or kinds, numbers that are not finite and divisors of 0 are refused with the reason."""
    forecaster().check(C, L)
    made = {name: getattr(forecaster(), name) for name in Forecaster.__slots__} | {field: value}
    with pytest.raises(ValueError, match=told):
        Forecaster(**made).check(C, L)


def test_least_usual_error_is_a_tenth_of_a_deviation() -> None:
    """The floor of usual errors is in scaled units squared."""
    assert np.sqrt(LEAST_USUAL) == pytest.approx(0.1)
