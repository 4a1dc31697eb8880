"""Sensor profiles: the learned values of each channel, and the channels that are not checked."""

import numpy as np
import pytest

from monitor.core.fitting.profile import LEAST_PAIRS, learn_profile
from monitor.core.sensors.profile import NOT_JUDGED, SensorProfile
from tests.core.machines import CHANNELS, L, corpus, history, rows

STEPS = 1600


def learned(values: np.ndarray) -> SensorProfile:
    return learn_profile(history(values).normal())


def test_a_profile_is_that_of_all_assets() -> None:
    """Range and largest change cover the readings of all assets, and healthy channels have no rest or silence."""
    made, seen = corpus(STEPS), corpus(STEPS).values
    profile = learn_profile(made)
    assert profile.low.tolist() == pytest.approx(seen.min((0, 2)).tolist())
    assert profile.high.tolist() == pytest.approx(seen.max((0, 2)).tolist())
    runs = rows(STEPS)[:, : STEPS // L * L]
    assert profile.change.tolist() == pytest.approx(np.abs(np.diff(runs, axis=1)).max((0, 1)).tolist())
    assert profile.rest.tolist() == profile.hole.tolist() == [0, 0, 0]


def test_the_longest_rest_and_hole_are_counted_across_blocks() -> None:
    """A rest or a gap that continues into the next block of history is measured at its full length."""
    values = rows(STEPS)
    values[0, 5 * L - 2 : 5 * L + 2, 0] = values[0, 5 * L - 2, 0]  # four equal ones: three repetitions
    values[1, 9 * L - 3 : 9 * L + 1, 1] = np.nan
    profile = learned(values)
    assert (profile.rest.tolist(), profile.hole.tolist()) == ([3, 0, 0], [0, 4, 0])


def test_what_rests_or_is_silent_by_nature_is_not_judged() -> None:
    """A channel that often repeats its value, or is silent or at rest for half a window, is not checked for that."""
    values = rows(STEPS)
    values[0, 50 : 50 + L // 2 + 1, 0] = 1.0
    values[0, 90 : 90 + L // 2, 1] = np.nan
    values[:, :, 2] = np.repeat(values[:, ::2, 2], 2, axis=1)
    profile = learned(values)
    assert profile.rest.tolist() == [NOT_JUDGED, 0, NOT_JUDGED]
    assert profile.hole.tolist() == [0, NOT_JUDGED, 0]


def test_of_a_channel_hardly_measured_nothing_is_known() -> None:
    """Fewer than 256 adjacent readings give no profile, and a constant channel gives no largest change."""
    values = rows(STEPS)
    values[:, :, 0] = np.where(np.arange(STEPS) % 16 == 0, values[:, :, 0], np.nan)
    values[:, :, 1] = 7.0
    profile = learned(values)
    assert 2 * STEPS // 16 < LEAST_PAIRS
    assert (profile.rest[0], profile.hole[0], profile.change[0]) == (NOT_JUDGED,) * 3
    assert (profile.rest[1], profile.change[1]) == (NOT_JUDGED, NOT_JUDGED)
    assert len(CHANNELS) == len(profile.rest)
