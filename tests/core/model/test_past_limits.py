"""Windows at other limits of the channels than those that applied, and limits carried to another model."""

import numpy as np
import pytest

from monitor.core.model.alarm import ERRORS, NETWORK, alarm_scores
from monitor.core.model.channel_limits import ChannelLimits, converted
from monitor.core.model.past_limits import PastLimits

C = 4
V = ERRORS
STARTS = np.full((V, C), 2.0, np.float32)


def windows(cut: int) -> PastLimits:
    """Return 200 windows of an asset in two batches. Its first channel is never seen, and its last is high."""
    errors = np.random.default_rng(1).gamma(2, 0.5, (200, V, C)).astype(np.float32)
    errors[:, :, 0] = np.nan
    errors[:, :, 3] *= 100
    stage = ChannelLimits()
    stage.use(STARTS)
    parts = np.split(errors, [cut])
    ratios = np.concatenate([stage.update(np.zeros(len(part), np.int32), part) for part in parts])
    return PastLimits(np.zeros(200, np.float32), errors, ratios, STARTS)


@pytest.mark.parametrize("cut", [0, 1, 77])
def test_limits_do_not_depend_on_batches(cut: int) -> None:
    """Limits of the newest window follow the high channel, are the start of an unseen one, and give its own alarm."""
    past = windows(cut)
    limits = past.limits(199)
    assert limits == windows(128).limits(199)
    by_channel = np.reshape(limits, (V, C))
    assert (by_channel[:, 0] == STARTS[:, 0]).all()
    assert (by_channel[:, 3] > 10 * STARTS[:, 3]).all()
    assert past.alarm_at(199, limits) == pytest.approx(alarm_scores(past.network[199:], past.ratios[199:])[0], rel=1e-5)
    assert past.alarm_at(199, past.limits(0)) > past.alarm_at(199, limits)


def test_channels_count_as_far_as_their_limits_have_not_followed() -> None:
    """A channel whose limit rose counts by start / limit, and one whose limit fell in full."""
    past = windows(0)
    network = np.reshape(past.limits(199), (V, C))[NETWORK]
    np.testing.assert_allclose(past.weights(199), np.minimum(1, STARTS[NETWORK] / network), rtol=1e-6)
    assert past.weights(199)[3] < 0.1


def test_limits_of_other_channels_give_no_alarm() -> None:
    """Limits of another length belong to another model, so at these no window is anomalous."""
    assert windows(0).alarm_at(199, []) == 0.0
    assert windows(0).alarm_at(199, [1.0] * (V * (C + 1))) == 0.0


def test_kept_limits_move_with_the_starts_of_a_model() -> None:
    """An asset at the start of one model is at that of the next, and limits of other channels are dropped."""
    old, new = STARTS.ravel(), 5 * STARTS.ravel()
    np.testing.assert_allclose(converted(old, old, new), new, rtol=1e-6)
    assert len(converted(old[:3], old, new)) == 0


def test_a_network_that_foresees_needs_no_limits() -> None:
    """Its alarm score is that of its own score at any time, and every channel counts in full."""
    none = np.empty((2, 0, C), np.float32)
    past = PastLimits(np.array([1.0, 3.0], np.float32), none, none, none[0])
    assert past.limits(1) == []
    assert past.alarm_at(1, []) == pytest.approx(np.sqrt(3))
    assert past.alarm_at(1, [1.0]) == 0.0
    assert past.weights(0).tolist() == [1.0] * C
