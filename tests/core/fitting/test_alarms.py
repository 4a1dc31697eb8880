"""Where the limits of the alarm score begin, and which models have limits by channel."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.corpus import cut
from monitor.core.fitting.fit import fit, prepare
from monitor.core.model.alarm import ERRORS, NETWORK
from monitor.core.model.channel_limits import LEAST, QUANTILE
from monitor.core.model.model import LEVELS
from monitor.core.model.scorer import Scorer
from monitor.core.records import WindowBatch
from tests.core.fitting.test_modes import with_recipe
from tests.core.machines import ASSETS, CHANNELS, FAST, corpus, model, rows, unforeseen, windows


def test_limits_begin_at_a_quantile_of_the_errors_of_the_windows_that_were_learned() -> None:
    """They are those that the scorer gives, and at least LEAST."""
    made, all_windows = unforeseen(), cut(corpus())
    values, observed, asset = all_windows.take(np.arange(len(all_windows)))
    place = np.arange(len(values), dtype=np.int64)
    found = Scorer(made).score(WindowBatch(asset.astype(np.int32), place, values, observed, place), ASSETS)
    expected = np.maximum(LEAST, np.quantile(found.errors[:, NETWORK], QUANTILE, axis=0))
    assert made.alarm.starts.shape == (ERRORS, len(CHANNELS))
    np.testing.assert_allclose(made.alarm.starts[NETWORK], expected, rtol=1e-3)


def test_a_network_that_foresees_has_no_limits_by_channel() -> None:
    """Its clean alarm scores are the roots of its own scores, and windows have no errors by channel."""
    made, fresh = model(), windows(rows(1600, seed=5))
    scores = Scorer(made).score(fresh, ASSETS)
    assert made.alarm.starts.shape == (0, len(CHANNELS))
    assert scores.errors.shape == (len(fresh), 0, len(CHANNELS))
    expected = np.quantile(np.sqrt(scores.network), LEVELS[5])
    assert made.alarm.scores[5] == pytest.approx(expected, abs=0.1)


def test_with_modes_clean_alarm_scores_are_those_of_each_windows_own_mode() -> None:
    """They are the roots of the scores of the windows that were learned, each held against the errors of its mode."""
    recipe = replace(FAST, mode_channel="recipe", steps=300)
    kept = prepare(with_recipe(0, (1.0, 2.0)), recipe, None)
    made = fit(kept, recipe, None, lambda *_: None).model
    assert made.modes is not None
    assert made.foresees

    all_windows = cut(kept)
    values, observed, asset = all_windows.take(np.arange(len(all_windows)))
    place = np.arange(len(values), dtype=np.int64)
    scores = Scorer(made).score(WindowBatch(asset.astype(np.int32), place, values, observed, place), kept.assets)
    np.testing.assert_allclose(made.alarm.scores, np.quantile(np.sqrt(scores.network), LEVELS), rtol=1e-3)
