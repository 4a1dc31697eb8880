"""Units of the model's input: the same whatever unit a channel is given in, and never from a handful of readings."""

import numpy as np
import pytest

from monitor.core.model.scaling import FLOOR, SHARE, fit_scaling

NAN = np.nan


def readings(count: int = 1000) -> np.ndarray:
    """A channel of level 50 and deviation 5, one that rarely moves, a constant one (n, 3)."""
    draw = np.random.default_rng(3)
    rare = np.where(np.arange(count) % 200 == 0, 41.0, 40.0)
    return np.stack([draw.normal(50, 5, count), rare, np.full(count, 30.0)], 1)


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e-3, 1e3, 1e6])
def test_the_unit_does_not_matter(unit: float) -> None:
    """Given in another unit, every channel has the same scaled values."""
    rows, none = readings(), np.zeros(1, np.intp)
    one, other = (fit_scaling({"a": part.astype(np.float32)}, 1) for part in (rows, rows * unit))
    moved = rows[:64] + np.array([20.0, 1.0, 0.3])
    scaled = one.forward(moved.T[None], none)
    assert np.abs(scaled).min() > 0.1
    np.testing.assert_allclose(other.forward((moved * unit).T[None], none), scaled, rtol=2e-3)


def test_a_channel_at_zero_for_ever_has_a_floor() -> None:
    """Without any level to go by a constant channel is scaled as one of level 1."""
    assert fit_scaling({"a": np.zeros((300, 1), np.float32)}, 1).scale.tolist() == [[FLOOR], [FLOOR]]


def test_a_channel_with_a_handful_of_readings_is_scaled_as_the_class() -> None:
    """An asset's own statistics count channel by channel, from as many readings on as an asset needs."""
    few = readings()
    few[3:, 0] = NAN
    made = fit_scaling({"a": readings().astype(np.float32), "b": few.astype(np.float32)}, 256)
    assert made.assets == ("a", "b")
    assert (made.center[1, 0], made.scale[1, 0]) == (made.center[2, 0], made.scale[2, 0])
    assert made.center[1, 1] == pytest.approx(np.nanmean(few[:, 1]))


def test_a_known_span_is_a_floor_of_the_deviation() -> None:
    """A deviation is at least a tenth of the span, in the rows of the asset and of the class; 0 says nothing."""
    rows = readings().astype(np.float32)
    plain = fit_scaling({"a": rows}, 256)
    wide = fit_scaling({"a": rows}, 256, spans=np.array([20.0, 100.0, 0.0]))
    assert wide.scale[:, 0].tolist() == plain.scale[:, 0].tolist()
    assert wide.scale[:, 1].tolist() == [SHARE * 100] * 2
    assert wide.scale[:, 2].tolist() == plain.scale[:, 2].tolist()
    assert wide.center.tolist() == plain.center.tolist()
