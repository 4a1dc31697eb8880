"""The rules of `ChannelLimits`, each by hand, with two errors of three channels."""

from typing import Any

import numpy as np
import pytest

from monitor.core.model.channel_limits import BLOCK, LEAST, MOST, QUANTILE, RATE, ChannelLimits, bytes_per_asset
from monitor.core.records import Floats

STARTS = np.array([[4.0, 9.0, 16.0], [2.0, 3.0, 5.0]], np.float32)
QUIET, LOUD = 0.5, 1e6  # errors below and above every limit


def stage(starts: Floats = STARTS) -> ChannelLimits:
    """Return a new stage that uses a model with these starts."""
    made = ChannelLimits()
    made.use(starts)
    return made


def feed(
    made: ChannelLimits, error: float, windows: int = 1, *, asset: int = 0, shape: tuple[int, ...] = (2, 3)
) -> Floats:
    """Push windows of an asset with the same error in all channels, and return their ratios."""
    return made.update(np.full(windows, asset, np.int32), np.full((windows, *shape), error, np.float32))


def limits(made: ChannelLimits, asset: int = 0) -> Floats:
    """Return the limits (V, C) of an asset."""
    found: Floats = np.exp(made.save_state()["limit"][asset])
    return found


def test_a_new_asset_begins_at_the_starts() -> None:
    """The first ratio is the error over the model's start, and 0 where the channel was not observed."""
    errors = np.array([[[8.0, 9.0, np.nan], [1.0, 0.0, 5.0]]], np.float32)
    ratios = stage().update(np.array([3], np.int32), errors)
    assert ratios.dtype == np.float32
    np.testing.assert_allclose(ratios, np.array([[[2, 1, 0], [0.5, 0, 1]]]), rtol=1e-6)


def test_a_batch_may_be_empty() -> None:
    """No windows have no ratios and leave no state."""
    made = stage()
    assert feed(made, QUIET, 0).shape == (0, 2, 3)
    assert len(made.save_state()["count"]) == 0


def test_limits_change_after_a_block_only() -> None:
    """Whatever the errors, a limit stays for BLOCK windows and then rises by RATE for each window above."""
    made = stage()
    ratios = feed(made, LOUD, 2 * BLOCK)[:, 0, 0]
    assert len(set(ratios[:BLOCK].tolist())) == len(set(ratios[BLOCK:].tolist())) == 1
    assert ratios[BLOCK - 1] / ratios[BLOCK] == pytest.approx(np.exp(RATE * BLOCK * QUANTILE), rel=1e-5)


def test_quiet_windows_lower_a_limit_slowly_and_never_below_the_least() -> None:
    """A quiet block lowers a limit by RATE * (1 - QUANTILE) for each window, down to LEAST."""
    made = stage()
    feed(made, QUIET, BLOCK)
    np.testing.assert_allclose(limits(made), STARTS * np.exp(-RATE * BLOCK * (1 - QUANTILE)), rtol=1e-5)
    feed(made, QUIET, 500 * BLOCK)
    np.testing.assert_array_equal(limits(made), LEAST)


def test_a_limit_is_exceeded_in_the_share_of_its_quantile() -> None:
    """Of errors with one distribution, a share 1 - QUANTILE is above the limit after a while."""
    made, errors = stage(), np.random.default_rng(1).gamma(2, 50, (40_000, 2, 3)).astype(np.float32)
    ratios = made.update(np.zeros(len(errors), np.int32), errors)
    np.testing.assert_allclose((ratios[20_000:] > 1).mean(0), 1 - QUANTILE, rtol=0.1)


def test_a_limit_stays_finite() -> None:
    """Errors that no limit reaches raise the limit to MOST and no further."""
    made = stage()
    feed(made, 1e30, 60 * BLOCK)
    np.testing.assert_allclose(limits(made), MOST, rtol=1e-5)


def test_a_channel_that_is_not_observed_keeps_its_limit() -> None:
    """Only windows in which the channel was observed lower its limit."""
    made, errors = stage(), np.full((BLOCK, 2, 3), QUIET, np.float32)
    errors[:, :, 1], errors[: BLOCK // 2, :, 2] = np.nan, np.nan
    made.update(np.zeros(BLOCK, np.int32), errors)
    moves = np.log(limits(made) / STARTS) / (-RATE * (1 - QUANTILE))
    np.testing.assert_allclose(moves, [[BLOCK, 0, BLOCK / 2]] * 2, atol=0.02)


@pytest.mark.parametrize(("start", "limit"), [(np.nan, LEAST), (0.0, LEAST), (np.inf, MOST)])
def test_a_start_is_within_the_bounds(start: float, limit: float) -> None:
    """A start that is unknown or below LEAST is LEAST, and one above MOST is MOST."""
    made = stage(np.full((2, 3), start, np.float32))
    feed(made, QUIET)
    np.testing.assert_allclose(limits(made), limit, rtol=1e-5)


def test_a_forgotten_row_begins_at_the_starts() -> None:
    """The next asset of a row has neither limits nor the begun block of the one before."""
    made = stage()
    feed(made, LOUD, 3 * BLOCK + 5)
    made.forget(0)
    made.forget(7)  # a row that never had a window
    np.testing.assert_array_equal(feed(made, LOUD, 2 * BLOCK), feed(stage(), LOUD, 2 * BLOCK))


def test_rows_in_between_begin_when_they_have_a_window() -> None:
    """A row without a window begins at the starts of the model of its first window, not of an earlier model."""
    made = stage()
    feed(made, QUIET, asset=2)
    made.use(STARTS * 3)
    feed(made, QUIET, asset=1)
    np.testing.assert_allclose(limits(made, 1), STARTS * 3, rtol=1e-5)
    np.testing.assert_allclose(limits(made, 2), STARTS, rtol=1e-5)


def test_rebase_lowers_limits_in_proportion() -> None:
    """Limits fall by the ratio of the starts, and a row without a window has none to change."""
    made = stage()
    feed(made, LOUD, BLOCK, asset=1)
    before = limits(made, 1)
    made.rebase(STARTS, STARTS / np.float32(2))
    made.use(STARTS / np.float32(2))
    np.testing.assert_allclose(limits(made, 1), np.maximum(before / 2, LEAST), rtol=1e-5)
    assert np.isnan(limits(made, 0)).all()


def test_rebase_does_not_raise_a_limit_that_followed_already() -> None:
    """What an asset's limit has followed and the new model has learned, too, counts once."""
    made = stage()
    feed(made, LOUD, 20 * BLOCK)
    before = limits(made)
    for starts in (before / np.float32(2), before * np.float32(2)):
        made.rebase(STARTS, starts)
        np.testing.assert_allclose(limits(made), np.minimum(np.maximum(before, starts), MOST), rtol=1e-5)


def test_rebase_takes_starts_below_the_least_as_the_least() -> None:
    """An asset at the old start is at the new one afterwards, even if the old start is 0."""
    old, new = np.array([[0.0, 0.1, 8.0]], np.float32), np.array([[3.0, 0.2, 0.0]], np.float32)
    made = stage(old)
    feed(made, QUIET, shape=(1, 3))
    made.rebase(old, new)
    np.testing.assert_allclose(limits(made), np.maximum(new, LEAST), rtol=1e-5)


def test_other_channels_drop_all_limits() -> None:
    """`rebase` leaves limits of another shape alone, and `use` drops them with the begun blocks."""
    made, wider = stage(), np.full((2, 4), 7.0, np.float32)
    feed(made, LOUD, BLOCK + 5)
    before = limits(made)
    made.rebase(STARTS, wider)
    np.testing.assert_array_equal(limits(made), before)
    made.use(wider)
    found = feed(made, LOUD, 2 * BLOCK, shape=(2, 4))
    np.testing.assert_array_equal(found, feed(stage(wider), LOUD, 2 * BLOCK, shape=(2, 4)))


@pytest.mark.parametrize("used", [False, True])
def test_a_state_of_other_channels_is_dropped_by_use(used: bool) -> None:
    """A state may be loaded before or after `use`; limits of another shape than the starts are not used."""
    old, wider = stage(), np.full((2, 4), 7.0, np.float32)
    feed(old, LOUD, BLOCK + 5)
    made = stage(wider) if used else ChannelLimits()
    made.load_state(old.save_state())
    if not used:
        made.use(wider)
    np.testing.assert_allclose(feed(made, 14.0, shape=(2, 4)), 2, rtol=1e-5)


def test_a_state_survives_a_change_of_models_after_loading() -> None:
    """A state that was loaded before `use` of its model goes on to the next model like the one that was saved."""
    made, loaded = stage(), ChannelLimits()
    feed(made, LOUD, BLOCK + 5)
    loaded.load_state(made.save_state())
    loaded.use(STARTS)
    for each in (made, loaded):
        each.rebase(STARTS, STARTS * 2)
        each.use(STARTS * 2)
    np.testing.assert_array_equal(feed(made, LOUD, BLOCK), feed(loaded, LOUD, BLOCK))


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("count", BLOCK, r"count\[0\] is 32, expected 0 to 31"),
        ("limit", -0.1, r"limit\[0, 0, 0\] is -0.1"),
        ("limit", np.inf, r"limit\[0, 0, 0\] is inf"),
        ("above", 6, "above \\+ missed is more than count"),
        ("missed", 255, r"missed\[0, 0, 0\] is 255"),
    ],
)
def test_a_state_out_of_range_is_refused(name: str, value: Any, refusal: str) -> None:
    """A value that no stream leads to is refused with its place, and nothing changes."""
    made = stage()
    feed(made, QUIET, 5)
    before = made.save_state()
    state = {key: array.copy() for key, array in before.items()}
    state[name].flat[0] = value
    with pytest.raises(ValueError, match=refusal):
        made.load_state(state)
    assert all(np.array_equal(array, before[key]) for key, array in made.save_state().items())


def test_a_state_whose_arrays_disagree_is_refused() -> None:
    """Arrays of different shapes, and missing arrays, are refused."""
    made = stage()
    feed(made, QUIET, 5)
    state = made.save_state()
    for changed in ({**state, "above": state["above"][:, :, :2]}, {"count": state["count"]}):
        with pytest.raises(ValueError, match="state of channel limits"):
            made.load_state(changed)


def test_state_of_an_asset_takes_as_many_bytes_as_estimated() -> None:
    """The estimate is the size of a row of all arrays."""
    made = stage()
    feed(made, QUIET)
    state = made.save_state()
    assert sum(array[:1].nbytes for array in state.values()) == bytes_per_asset(2, 3)
    assert bytes_per_asset(3, 8) == 145
