"""Joins the outputs of parts of a batch of which some have no windows."""

import numpy as np

from monitor.core.join import join_outputs
from monitor.core.model.scorer import Scorer
from monitor.core.records import Outputs, ThresholdBatch, nothing_scored
from tests.core.machines import ASSETS, CHANNELS, L, model, rows, windows


def test_a_part_without_windows_changes_nothing() -> None:
    """The scores and limits of the parts that have windows stay as they are, wherever the empty part is."""
    batch = windows(rows(L + 3))
    ones = np.ones(len(batch), np.float32)
    scores = Scorer(model()).score(batch, ASSETS).ranked(ones)
    full = Outputs(batch, scores, ThresholdBatch(ones, 2 * ones, ones > 2, ones > 0), names=ASSETS)
    empty = Outputs(batch.take(np.arange(0)), *nothing_scored(len(CHANNELS)), names=ASSETS)
    for parts in ((empty, full), (full, empty), (empty, full, empty)):
        joined = join_outputs(parts)
        assert joined.scores is not None
        assert joined.thresholds is not None
        assert np.array_equal(joined.scores.score, scores.score)
        assert np.array_equal(joined.thresholds.threshold, 2 * ones)
