"""Where the limits of the alarm score begin: at what the scorer gives for the windows that were learned."""

from dataclasses import replace

import numpy as np

from monitor.core.fitting.corpus import cut
from monitor.core.fitting.fit import fit, prepare
from monitor.core.model.alarm import WHOLE, errors_of
from monitor.core.model.channel_limits import LEAST, QUANTILE
from monitor.core.model.scorer import Scorer
from monitor.core.records import WindowBatch
from tests.core.fitting.test_modes import with_recipe
from tests.core.machines import FAST, model


def test_limits_of_the_whole_window_begin_at_a_quantile_of_the_networks_scores() -> None:
    """They are the scores of the windows that were learned, each held against the errors of its mode."""
    recipe = replace(FAST, mode_channel="recipe", steps=300)
    kept = prepare(with_recipe(0, (1.0, 2.0)), recipe, None)
    made = fit(kept, recipe, None, lambda *_: None).model
    assert len(made.alarm.starts) == errors_of(modes=True)

    all_windows = cut(kept)
    values, observed, asset = all_windows.take(np.arange(len(all_windows)))
    place = np.arange(len(values), dtype=np.int64)
    scores = Scorer(made).score(WindowBatch(asset.astype(np.int32), place, values, observed, place), kept.assets)
    expected = max(LEAST, float(np.quantile(scores.network, QUANTILE)))
    np.testing.assert_allclose(made.alarm.starts[WHOLE], expected, rtol=1e-3)
    assert (scores.errors[:, WHOLE] == scores.network[:, None]).all()


def test_a_model_without_modes_has_no_error_of_the_whole_window() -> None:
    """It has three errors for each channel."""
    assert model().alarm.starts.shape == (errors_of(modes=False), 3)
