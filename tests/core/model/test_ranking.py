"""The rules of `Ranking`, each by hand, with windows of 64 steps: spans of 1, 13 and 61 windows."""

from typing import Any

import numpy as np
import pytest

from monitor.core.model.forecaster import SPANS
from monitor.core.model.ranking import LEAST_ALARM, WEIGHTS, Ranking, bytes_per_asset, spans
from monitor.core.records import Floats

L = 64
EDGES = np.array([4.0, 2.0, 1.0], np.float32)
ALARM = 0.5


def stage() -> Ranking:
    """Return a new stage that uses a model."""
    made = Ranking(L)
    made.use(EDGES, ALARM)
    return made


def means(made: Ranking, values: list[float], asset: int = 0) -> list[list[float]]:
    """Push windows of an asset, and return the means of each."""
    found = made.means(np.full(len(values), asset, np.int32), np.array(values, np.float32))
    return [[round(float(mean), 6) for mean in row] for row in found]


def scores(made: Ranking, network: float, forecast: float, alarm: float, windows: int = 1) -> Floats:
    """Push equal windows of an asset, and return their ranking scores."""
    each = (np.full(windows, value, np.float32) for value in (network, forecast, alarm))
    return made.update(np.zeros(windows, np.int32), *each)


@pytest.mark.parametrize(
    ("length", "wanted"), [(64, (1, 13, 61)), (128, (1, 25, 121)), (16, (1, 4, 16)), (2, (1, 1, 2)), (1, (1, 1, 1))]
)
def test_spans_are_those_of_the_horizons(length: int, wanted: tuple[int, ...]) -> None:
    """A span has the windows whose newest steps lie within the newest steps, a quarter, or the whole window."""
    assert spans(length) == wanted
    assert len(wanted) == SPANS


def test_means_are_over_the_last_windows_of_the_asset() -> None:
    """A single large value leaves the means after 1, 13 and 61 windows."""
    found = means(stage(), [61.0] + [0.0] * 61)
    assert found[0] == [61, 61, 61]
    assert found[1] == [0, 30.5, 30.5]
    assert found[12] == [0, round(61 / 13, 6), round(61 / 13, 6)]
    assert found[13] == [0, 0, round(61 / 14, 6)]
    assert found[60] == [0, 0, 1]
    assert found[61] == [0, 0, 0]


def test_windows_without_an_observed_channel_do_not_count() -> None:
    """NaN is in no mean, and a mean without any value is 0."""
    assert means(stage(), [np.nan, 3.0, np.nan, 5.0]) == [[0, 0, 0], [3, 3, 3], [0, 3, 3], [5, 4, 4]]


def test_assets_do_not_mix() -> None:
    """Means of one asset do not depend on windows of another one in between."""
    found = stage().means(np.array([1, 0, 1, 0], np.int32), np.array([2.0, 10.0, 4.0, 30.0], np.float32))
    np.testing.assert_allclose(found[:, 2], [2, 10, 3, 20])


def test_a_window_at_all_edges_scores_one() -> None:
    """1.0 is the edge in all three, and 0 in all three is 0."""
    # All means of a first window are equal, so the lowest edge decides.
    np.testing.assert_allclose(scores(stage(), 1, float(EDGES[2]), ALARM), 1, rtol=1e-6)
    assert scores(stage(), 0, 0, 0) == 0
    assert sum(WEIGHTS) == pytest.approx(1)


@pytest.mark.parametrize("place", range(3))
def test_each_part_raises_the_score_by_its_weight(place: int) -> None:
    """1 + score is a product of powers, whose exponents are the weights."""
    parts = [0.0, 0.0, 0.0]
    parts[place] = 7.0
    found = scores(stage(), parts[0], parts[1] * float(EDGES[2]), parts[2] * ALARM)
    np.testing.assert_allclose(1 + found, 8 ** WEIGHTS[place], rtol=1e-6)


def test_what_lasts_scores_by_the_longest_span() -> None:
    """An error below the edge of single windows scores more once the longer means have left their edges behind."""
    made = stage()
    means(made, [0.0] * 100)
    found = scores(made, 0, 3.0, 0, 100)
    assert (np.diff(found[:61]) >= 0).all()
    np.testing.assert_allclose(1 + found[0], (1 + 3 / 4) ** WEIGHTS[1], rtol=1e-6)
    np.testing.assert_allclose(1 + found[60:], (1 + 3) ** WEIGHTS[1], rtol=1e-6)


def test_the_edge_of_the_alarm_score_has_a_floor() -> None:
    """Clean windows that all have the alarm score 0 do not make every other window infinitely anomalous."""
    made = Ranking(L)
    made.use(EDGES, 0.0)
    np.testing.assert_allclose(1 + scores(made, 0, 0, LEAST_ALARM), 2 ** WEIGHTS[2], rtol=1e-6)


def test_a_batch_may_be_empty() -> None:
    """No windows have no scores and leave no state."""
    made = stage()
    assert scores(made, 1, 1, 1, 0).shape == (0,)
    assert len(made.save_state()["place"]) == 0


def test_a_forgotten_row_begins_anew() -> None:
    """The next asset of a row has no windows of the one before."""
    made = stage()
    means(made, [90.0] * 70)
    made.forget(0)
    made.forget(7)  # a row that never had a window
    assert means(made, [1.0, 2.0]) == [[1, 1, 1], [2, 1.5, 1.5]]


def test_another_model_keeps_the_values() -> None:
    """Values are in units of the usual error, so only the edges change."""
    made = stage()
    means(made, [8.0] * 61)
    made.use(2 * EDGES, ALARM)
    np.testing.assert_allclose(1 + scores(made, 0, 8.0, 0), (1 + 8 / 2) ** WEIGHTS[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("place", np.array([61], np.int32), r"place\[0\] is 61, expected 0 to 60"),
        ("sum", np.zeros((1, 60), np.int64), r"sum is int64 \(1, 60\), expected int64 \(1, 61\)"),
        ("sum", np.zeros((2, 61), np.int64), r"state of ranking"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, value: Any, refusal: str) -> None:
    """A state of other windows, or out of range, is refused, and nothing changes."""
    made = stage()
    means(made, [1.0] * 5)
    before = made.save_state()
    with pytest.raises(ValueError, match=refusal):
        made.load_state({**before, name: value})
    assert all(np.array_equal(array, before[key]) for key, array in made.save_state().items())


def test_state_of_an_asset_takes_as_many_bytes_as_estimated() -> None:
    """The estimate is the size of a row of all arrays."""
    made = stage()
    means(made, [1.0])
    state = made.save_state()
    assert sum(array[:1].nbytes for array in state.values()) == bytes_per_asset(L) == 492
