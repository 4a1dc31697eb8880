"""Which windows of a history are those of a disturbance that it holds once."""

import numpy as np
import pytest

from monitor.core.fitting.single import FAR, FEWEST, LONGEST, PARTS, single
from monitor.core.records import Bools

PART = 50  # windows of a part
WINDOWS = PARTS * PART  # of an asset
LEAST = 1e-4


def judged(*disturbances: tuple[int, int, int, int], assets: int = 2, windows: int = WINDOWS) -> Bools:
    """Return the result (A, n) for disturbances of an asset and channel, from a part to another one."""
    errors = np.random.default_rng(0).gamma(4, 0.25, (assets, windows, 3))
    for number, channel, first, last in disturbances:
        errors[number, first * PART : last * PART, channel] *= 4 * FAR
    asset = np.repeat(np.arange(assets), windows)
    flat = errors.reshape(-1, 3)
    return single(flat * 64, np.full_like(flat, 64), asset, LEAST).reshape(assets, windows)


def test_healthy_windows_are_usual() -> None:
    """Errors that come and go with chance are no disturbance."""
    assert not judged().any()


def test_a_disturbance_that_came_once_is_found_and_nothing_else() -> None:
    """Its windows are no measure, and those of each asset are found for themselves."""
    found = judged((0, 1, 7, 9), (1, 2, 3, 4))
    assert found[0, 7 * PART : 9 * PART].all()
    assert found[1, 3 * PART : 4 * PART].all()
    assert found.sum() == 3 * PART


@pytest.mark.parametrize("again", [(0, 1, 14, 15), (1, 1, 7, 9)], ids=["later", "another asset"])
def test_what_came_back_is_usual(again: tuple[int, int, int, int]) -> None:
    """A channel that is disturbed twice, in the same asset or another one, counts as it is."""
    assert not judged((0, 1, 7, 9), again).any()


@pytest.mark.parametrize("assets", [1, 2])
def test_what_lasted_is_usual(assets: int) -> None:
    """Runs of an asset are left out up to LONGEST parts together, whatever else there is to compare with."""
    assert judged((0, 1, 5, 5 + LONGEST), assets=assets).sum() == LONGEST * PART
    assert not judged((0, 1, 5, 6 + LONGEST), assets=assets).any()
    assert not judged((0, 1, 5, 7), (0, 2, 7, 9), assets=assets).any()
    assert not judged((0, 1, 1, 3), (0, 2, 7, 9), assets=assets).any()


def test_what_came_back_is_known_though_another_channel_is_loudest() -> None:
    """Both channels tell a disturbance if one is nearly as conspicuous as the other."""
    errors = np.random.default_rng(0).gamma(400, 0.0025, (2, WINDOWS, 3))
    for number, loud in ((0, 1), (1, 2)):
        errors[number, 4 * PART : 5 * PART, loud] *= 21
        errors[number, 4 * PART : 5 * PART, 3 - loud] *= 20
    flat = errors.reshape(-1, 3)
    asset = np.repeat([0, 1], WINDOWS)
    assert not single(flat, np.ones_like(flat), asset, LEAST).any()
    flat[asset == 1] /= 20
    assert single(flat, np.ones_like(flat), asset, LEAST).sum() == PART


@pytest.mark.parametrize("seen", [3, 9])
def test_a_channel_that_was_seldom_measured_is_not_judged(seen: int) -> None:
    """A sensor that came late is no disturbance, nor does it hide one."""
    errors = np.random.default_rng(0).gamma(4, 0.25, (WINDOWS, 2))
    errors[5 * PART : 6 * PART, 0] *= 4 * FAR
    cells = np.ones_like(errors)
    cells[: WINDOWS - seen * PART, 1] = 0
    found = single(errors * cells, cells, np.zeros(WINDOWS, np.int64), LEAST)
    assert np.flatnonzero(found).tolist() == list(range(5 * PART, 6 * PART))


def test_short_histories_are_not_judged() -> None:
    """Below FEWEST windows of an asset a part says little."""
    assert judged((0, 1, 0, 1), windows=FEWEST).any()
    assert not judged((0, 1, 0, 1), windows=FEWEST - 1).any()


def test_errors_below_the_least_are_no_news() -> None:
    """A channel that is nearly constant may be many times above most of its parts."""
    quiet = np.full((WINDOWS, 1), 1e-9)
    quiet[:PART] = 1e-5
    assert not single(quiet, np.ones_like(quiet), np.zeros(WINDOWS, np.int64), LEAST).any()


def test_the_order_of_assets_does_not_matter() -> None:
    """Assets may be interleaved, if the windows of each are in their order."""
    errors = np.random.default_rng(1).gamma(4, 0.25, (WINDOWS, 2, 3))
    errors[: 2 * PART, 1, 0] *= 4 * FAR
    asset = np.tile([0, 1], WINDOWS)
    flat = errors.reshape(-1, 3)
    found = single(flat, np.ones_like(flat), asset, LEAST).reshape(WINDOWS, 2)
    assert found[: 2 * PART, 1].all()
    assert found.sum() == 2 * PART
