"""What a forecaster is fitted on, and what its usual errors and its edge are."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting import forecast
from monitor.core.fitting.corpus import Cut, cut
from monitor.core.fitting.fit import LEAST_ROWS
from monitor.core.fitting.forecast import LEAST_EDGE, UNSEEN, FittedForecaster, fit_forecaster
from monitor.core.model.errors import newest
from monitor.core.model.forecaster import LAGS, LEAST_USUAL, lags
from monitor.core.model.ranking import Ranking
from monitor.core.model.scaling import Scaling, fit_scaling
from tests.core.machines import CHANNELS, L, corpus

ROWS = np.zeros(1, np.int64)
NOISE = 0.2  # deviations


def walk(steps: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Rows (T, C) of channels that each follow the one before by a step, with NOISE."""
    draw = np.random.default_rng(seed)
    rows, driver = np.zeros((steps, channels)), 0.0
    for t in range(1, steps):
        driver = 0.95 * driver + draw.normal(0, 0.3)
        rows[t] = np.append(driver, 0.8 * rows[t - 1, :-1])
    result: np.ndarray = (rows + draw.normal(0, NOISE, rows.shape)).astype(np.float32)
    return result


def windows(rows: np.ndarray, seen: np.ndarray | None = None, length: int = 64) -> tuple[Cut, Scaling]:
    """Every window of rows (T, C) of one asset, and a scaling of 1."""
    T, C = rows.shape
    observed = np.ones(rows.shape, np.bool_) if seen is None else seen
    starts = np.arange(max(0, T - length + 1))
    return Cut(rows, observed, np.zeros(T, np.int64), starts, length), Scaling((), np.zeros((1, C)), np.ones((1, C)))


def fitted(rows: np.ndarray, seen: np.ndarray | None = None, most: int = 10_000) -> FittedForecaster:
    part, scaling = windows(rows, seen)
    found = fit_forecaster(part, scaling, ROWS, most)
    found.forecaster.check(rows.shape[1], part.length)
    assert found.errors.shape == (len(found.index), rows.shape[1])
    return found


def test_what_follows_from_earlier_steps_is_foreseen() -> None:
    """A channel that follows another is forecast up to its noise; a channel of nothing but noise is not."""
    rows = np.concatenate([walk(4000), np.random.default_rng(1).normal(0, 1, (4000, 1)).astype(np.float32)], 1)
    usual = fitted(rows).forecaster.usual
    assert usual[1] < 0.5 * rows[:, 1].var()
    assert usual[3] == pytest.approx(1, abs=0.15)


def test_one_of_200_clean_windows_is_beyond_the_edge() -> None:
    """Each mean of clean windows is beyond its edge for half a percent of them, and far above with a fault."""
    found = fitted(walk(4000))
    made = found.forecaster
    means = Ranking(64).means(np.zeros(len(found.errors), np.int32), made.over_channels(found.errors))
    np.testing.assert_allclose((means > made.edges).mean(0), 0.005, atol=0.001)
    assert (np.diff(made.edges) < 0).all()  # a mean over more windows varies less

    rows = walk(400, seed=1)
    part, scaling = windows(rows)
    rows[200:, 1] += 3
    values, observed, _ = part.take(np.array([204 - part.length]))
    x = scaling.forward(values, np.zeros(1, np.intp))
    assert made.over_channels(made.errors(x, observed))[0] > 3 * made.edges[0]


def test_errors_are_of_windows_that_were_not_fitted_on() -> None:
    """A short history of noise is not forecast at all, though weights that have seen it would."""
    rows = np.random.default_rng(0).normal(0, 1, (163, 12)).astype(np.float32)
    part, scaling = windows(rows)
    found = fit_forecaster(part, scaling, ROWS, 100)
    values, observed, _ = part.take(found.index)
    x = scaling.forward(values, np.zeros(len(found.index), np.intp))
    seen = found.forecaster.errors(x, observed)
    assert found.errors.mean() > 1.02 * seen.mean()
    np.testing.assert_allclose(found.forecaster.usual, found.errors.mean(0), rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 11, 30, 65])
def test_short_histories_give_a_finite_forecaster(count: int) -> None:
    """However few windows there are, the forecaster is whole, and clean windows are hardly beyond the edge."""
    found = fitted(walk(count + 63) if count else walk(10))
    assert len(found.index) == count
    assert (found.forecaster.usual >= LEAST_USUAL).all()
    assert (found.forecaster.over_channels(found.errors) < 1.5 * found.forecaster.edges[0]).all()


def test_two_blocks_of_each_machine_suffice() -> None:
    """Windows out of two blocks on end of two machines, each in its own scaling, are enough."""
    blocks = corpus(2 * L)
    part = cut(blocks)
    rows = {name: part.rows[part.asset == code] for code, name in enumerate(blocks.assets)}
    scaling = fit_scaling(rows, LEAST_ROWS)
    found = fit_forecaster(part, scaling, scaling.rows(blocks.assets), 1000)
    found.forecaster.check(len(CHANNELS), L)
    assert len(found.index) == len(part) > L
    assert np.isfinite(found.errors).all()


@pytest.mark.parametrize("channels", [300, 900])
def test_many_channels_give_a_finite_forecaster(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer lags, or none, the forecaster is whole and its errors are finite."""
    monkeypatch.setattr(forecast, "PENALTIES", (100.0,))  # each takes seconds
    found = fitted(np.random.default_rng(0).normal(0, 1, (120, channels)).astype(np.float32))
    assert lags(channels, 64) < LAGS
    assert np.isfinite(found.errors).all()


def test_constant_channels_are_forecast_and_have_the_least_usual_error() -> None:
    """A channel that never moves has the usual error LEAST_USUAL, and where none moves the edges are LEAST_EDGE."""
    rows = walk(500)
    rows[:, 1] = 7.5
    part, scaling = windows(rows)
    scaling = replace(scaling, center=np.array([[0.0, 7.5, 0.0]]))
    assert fit_forecaster(part, scaling, ROWS, 1000).forecaster.usual[1] == np.float32(LEAST_USUAL)

    still = fitted(np.zeros((500, 2), np.float32))
    assert (still.forecaster.edges == np.float32(LEAST_EDGE)).all()
    assert (still.errors == 0).all()


def test_cells_that_were_not_observed_do_not_count() -> None:
    """A channel's error is NaN in windows without its newest steps; a channel never seen has the usual error UNSEEN."""
    rows = walk(600)
    rows[300:320, 0] = np.nan
    rows[:, 2] = np.nan
    found = fitted(rows, ~np.isnan(rows))
    end = found.index + 63
    assert np.isnan(found.errors[:, 0]).tolist() == ((end >= 300 + newest(64) - 1) & (end < 320)).tolist()
    assert np.isnan(found.errors[:, 2]).all()
    assert found.forecaster.usual[2] == UNSEEN
    assert np.isfinite(found.forecaster.over_channels(found.errors)).all()


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_windows_with_an_incomplete_newest_step_are_fitted_on_only_if_most_are(share: float) -> None:
    """What stands in cells that were not observed moves the weights only if most windows have such a newest step."""
    rows = walk(1000)
    seen = np.ones(rows.shape, np.bool_)
    seen[-int(share * 937) :, 1] = False
    other = rows.copy()
    other[-1, 1] = 4.0  # a newest step only
    same = np.array_equal(fitted(rows, seen).forecaster.weights, fitted(other, seen).forecaster.weights)
    assert same == (share < 0.5)


def test_at_most_as_many_windows_as_asked_for_are_spread_over_the_cut() -> None:
    """The index is that of `Cut.spread`, and a second fit gives the same bits."""
    found, again = (fitted(walk(1500), most=300) for _ in range(2))
    assert np.array_equal(found.index, windows(walk(1500))[0].spread(300))
    assert all(
        np.array_equal(getattr(found.forecaster, name), getattr(again.forecaster, name))
        for name in ("weights", "usual", "edges")
    )
