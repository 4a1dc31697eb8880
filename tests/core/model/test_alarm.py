"""The alarm score against its definition, channel by channel."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model.alarm import FORECAST, LEVEL, NETWORK, STRONGEST, SURE, WHOLE, alarm_scores, errors_of
from monitor.core.records import Floats
from tests.examples import examples


def naive(ratios: Floats, observed: np.ndarray) -> float:
    """Return the alarm score of one window (V, C) as docs/model.md defines it."""

    def largest(values: list[float], count: int) -> float:
        kept = sorted(values, reverse=True)[: max(1, count)]
        return sum(kept) / len(kept) if kept else 0.0

    channels = range(ratios.shape[1])
    newest = [0.5 * math.log1p(ratios[NETWORK, c]) + 0.5 * math.log1p(ratios[FORECAST, c]) for c in channels]
    level = [math.log(max(1.0, (1 + ratios[LEVEL, c]) / 2)) for c in channels]
    strongest = largest(newest, min(STRONGEST, int(observed[NETWORK].sum())))
    half = largest(level, (max(1, int(observed[LEVEL].sum())) + 1) // 2)
    whole = math.log(max(1.0, (1 + ratios[WHOLE].max()) / (1 + SURE))) if len(ratios) > WHOLE else 0.0
    return strongest + half + whole


@settings(max_examples=examples(100), deadline=None)
@given(st.booleans(), st.integers(1, 7), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_it_is_as_defined(modes: bool, C: int, B: int, seed: int) -> None:
    """Means are over the channels that there are, and each window is scored by itself."""
    source = np.random.default_rng(seed)
    V = errors_of(modes)
    observed = source.random((B, 1, C)) < 0.8
    observed = np.repeat(observed, V, axis=1)
    ratios = np.where(observed, source.gamma(0.5, 4, (B, V, C)), 0).astype(np.float32)
    if modes:  # it is that of the window, in each channel that there is
        ratios[:, WHOLE] = np.where(observed[:, WHOLE], source.gamma(0.5, 4, (B, 1)), 0)

    expected = [naive(*window) for window in zip(ratios, observed, strict=True)]
    np.testing.assert_allclose(alarm_scores(ratios, observed), expected, rtol=1e-5, atol=1e-6)
    one = np.concatenate([alarm_scores(ratios[[place]], observed[[place]]) for place in range(B)])
    np.testing.assert_array_equal(one, alarm_scores(ratios, observed))


def test_only_a_model_with_modes_has_an_error_of_the_whole_window() -> None:
    """Up to twice its limit the whole window says nothing, and fourteen times the limit adds log 5."""
    newest = np.full((1, errors_of(modes=False), 4), 0.5, np.float32)
    assert newest.shape[1] == WHOLE
    for ratio, added in ((2.0, 0.0), (14.0, math.log(5))):
        whole = np.full((1, 1, 4), ratio, np.float32)
        score = alarm_scores(np.concatenate([newest, whole], 1))
        assert score[0] == pytest.approx(alarm_scores(newest)[0] + added, rel=1e-6)
