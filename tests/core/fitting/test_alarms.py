"""Where the limits of the alarm score begin: at what the scorer gives for the windows that were learned."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.corpus import Corpus, cut
from monitor.core.fitting.fit import fit, prepare
from monitor.core.fitting.recipe import Recipe
from monitor.core.model.alarm import WHOLE
from monitor.core.model.channel_limits import LEAST, QUANTILE
from monitor.core.model.scorer import Scorer
from monitor.core.records import WindowBatch
from tests.core.fitting.test_modes import with_recipe
from tests.core.machines import FAST, corpus


@pytest.mark.parametrize(
    ("history", "recipe"),
    [(corpus(), FAST), (with_recipe(0, (1.0, 2.0)), replace(FAST, mode_channel="recipe", steps=300))],
    ids=["one mode", "two modes"],
)
def test_limits_of_the_whole_window_begin_at_a_quantile_of_the_networks_scores(history: Corpus, recipe: Recipe) -> None:
    """In each mode, they are the scores of the windows that were learned, held against that mode's errors."""
    kept = prepare(history, recipe, None)
    made = fit(kept, recipe, None, lambda *_: None).model
    assert made.calibration.foresees
    assert (made.modes is not None) == bool(recipe.mode_channel)

    all_windows = cut(kept)
    values, observed, asset = all_windows.take(np.arange(len(all_windows)))
    place = np.arange(len(values), dtype=np.int64)
    scores = Scorer(made).score(WindowBatch(asset.astype(np.int32), place, values, observed, place), kept.assets)
    expected = max(LEAST, float(np.quantile(scores.network, QUANTILE)))
    np.testing.assert_allclose(made.alarm.starts[WHOLE], expected, rtol=1e-3)
    assert (scores.errors[:, WHOLE] == scores.network[:, None]).all()
