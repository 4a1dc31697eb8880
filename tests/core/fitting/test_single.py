"""Which windows of a history are those of a disturbance that it holds once."""

import numpy as np
import pytest

from monitor.core.fitting.single import FAR, FEWEST, LONGEST, PARTS, single
from monitor.core.records import Bools

PART = 50  # windows of a part
WINDOWS = PARTS * PART  # of an asset
LEAST = np.full(3, 1e-4, np.float32)


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


def test_what_lasted_is_usual() -> None:
    """A run is left out up to a fifth of the asset's history."""
    assert judged((0, 1, 5, 5 + LONGEST)).sum() == LONGEST * PART
    assert not judged((0, 1, 5, 6 + LONGEST)).any()


def test_short_histories_are_not_judged() -> None:
    """Below FEWEST windows of an asset a part says little."""
    assert judged((0, 1, 0, 1), windows=FEWEST).any()
    assert not judged((0, 1, 0, 1), windows=FEWEST - 1).any()


def test_errors_below_the_least_are_no_news() -> None:
    """A channel that is nearly constant may be many times above most of its parts."""
    quiet = np.full((WINDOWS, 1), 1e-9)
    quiet[:PART] = 1e-5
    assert not single(quiet, np.ones_like(quiet), np.zeros(WINDOWS, np.int64), LEAST[:1]).any()


def test_the_order_of_assets_does_not_matter() -> None:
    """Assets may be interleaved, if the windows of each are in their order."""
    errors = np.random.default_rng(1).gamma(4, 0.25, (WINDOWS, 2, 3))
    errors[: 2 * PART, 1, 0] *= 4 * FAR
    asset = np.tile([0, 1], WINDOWS)
    flat = errors.reshape(-1, 3)
    found = single(flat, np.ones_like(flat), asset, LEAST).reshape(WINDOWS, 2)
    assert found[: 2 * PART, 1].all()
    assert found.sum() == 2 * PART
