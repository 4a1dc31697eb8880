"""Curves over all limits, and the map of the latent space."""

import numpy as np
import pytest

from monitor.backtest.latent_map import flat_map, latent_means
from monitor.core.model.scorer import Scorer
from monitor.evaluation.curves import curves
from tests.core.machines import ASSETS, model, rows, windows


def test_a_score_that_separates_has_full_areas() -> None:
    """Where labelled windows score above all others, both areas are 1 and the best limit is the lowest of them."""
    score, label = np.array([0.1, 0.2, 5, 0.3, 4], np.float32), np.array([0, 0, 1, 0, 1], np.bool_)
    found = curves(score, label)
    assert (found.average_precision, found.area) == (1.0, 1.0)
    assert found.level[found.best()] == 4.0
    assert found.f1[found.best()] == 1.0


def test_curves_are_as_counted_by_hand() -> None:
    """Four windows, one misplaced: precision, recall and false positives at every limit are the counts."""
    found = curves(np.array([4, 3, 2, 1], np.float32), np.array([1, 0, 1, 0], np.bool_))
    assert found.level.tolist() == [4, 3, 2, 1]
    assert np.allclose(found.precision, [1, 1 / 2, 2 / 3, 1 / 2])
    assert found.recall.tolist() == [0.5, 0.5, 1, 1]
    assert found.false_positive.tolist() == [0, 0.5, 0.5, 1]
    assert np.isclose(found.average_precision, 0.5 + 0.5 * 2 / 3)
    assert np.isclose(found.area, 0.75)


def test_equal_scores_say_nothing() -> None:
    """Windows of one and the same score make a single limit, no better than chance."""
    found = curves(np.ones(6, np.float32), np.arange(6) < 2)
    assert len(found.level) == 1
    assert found.area == 0.5
    assert np.isclose(found.average_precision, 1 / 3)


@pytest.mark.parametrize("label", [[False, False], [True, True]])
def test_curves_need_both_kinds(label: list[bool]) -> None:
    """Without a labelled window, or without another one, there is no curve."""
    with pytest.raises(ValueError, match="labelled windows and others"):
        curves(np.ones(2, np.float32), np.array(label))


def test_the_map_has_the_widest_axis_first() -> None:
    """Points along one direction of many lie on the first axis, at their distances, and the shares say so."""
    along = np.outer(np.arange(-5, 6), [3.0, 0, 4.0]).astype(np.float32) + 7
    flat, shares = flat_map(along)
    assert np.allclose(np.abs(flat[:, 0]), 5 * np.abs(np.arange(-5, 6)), atol=1e-4)
    assert np.allclose(flat[:, 1], 0, atol=1e-4)
    assert shares[0] == pytest.approx(1)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (5, 1)])
def test_a_map_of_next_to_nothing_is_a_map(shape: tuple[int, int]) -> None:
    """No window, one window, or a latent of one number give places all the same."""
    flat, _ = flat_map(np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape))
    assert flat.shape == (shape[0], 2)
    assert np.isfinite(flat).all()


def test_means_are_the_networks_own() -> None:
    """A window's place does not depend on which others are asked for with it."""
    scorer, batch = Scorer(model()), windows(rows(80))
    means = latent_means(scorer, batch, ASSETS)
    assert means.shape == (len(batch), model().architecture.latent)
    alone = latent_means(scorer, batch.take(np.array([7])), ASSETS)
    assert np.allclose(alone[0], means[7], atol=1e-5)
    assert np.ptp(means, axis=0).max() > 0.1
