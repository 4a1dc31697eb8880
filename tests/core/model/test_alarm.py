"""The alarm score against its definition, channel by channel."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model.alarm import ERRORS, FORECAST, LEVEL, NETWORK, STRONGEST, alarm_scores, foresees
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
    return strongest + half


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_it_is_as_defined(C: int, B: int, seed: int) -> None:
    """Means are over the channels that there are, and each window is scored by itself."""
    source = np.random.default_rng(seed)
    observed = source.random((B, 1, C)) < 0.8
    observed = np.repeat(observed, ERRORS, axis=1)
    ratios = np.where(observed, source.gamma(0.5, 4, (B, ERRORS, C)), 0).astype(np.float32)
    network = source.gamma(0.5, 4, B).astype(np.float32)  # says nothing where channels have limits

    expected = [naive(*window) for window in zip(ratios, observed, strict=True)]
    np.testing.assert_allclose(alarm_scores(network, ratios, observed), expected, rtol=1e-5, atol=1e-6)
    one = np.concatenate([alarm_scores(network[[place]], ratios[[place]], observed[[place]]) for place in range(B)])
    np.testing.assert_array_equal(one, alarm_scores(network, ratios, observed))


def test_without_limits_by_channel_it_is_the_root_of_the_networks_score() -> None:
    """Of a network that foresees, the score alone counts."""
    score = alarm_scores(np.array([0.0, 1.0, 9.0], np.float32), np.empty((3, 0, 4), np.float32))
    np.testing.assert_allclose(score, [0, 1, 3], rtol=1e-6)


def test_a_network_foresees_if_channels_usually_move_ten_times_as_far_as_it_errs() -> None:
    """The median over the channels decides, so a few that it does not foresee do not."""
    error = np.ones(5, np.float32)
    assert foresees(np.array([0.1, 0.1, 10, 99, 99], np.float32), error)
    assert not foresees(np.array([0.1, 0.1, 9.9, 99, 99], np.float32), error)
