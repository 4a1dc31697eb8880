"""What is read off a window: each figure against the same written as loops."""

import numpy as np
import pytest

from monitor.core.model.errors import (
    channels_seen,
    excess_change,
    horizons,
    over_channels,
    recent_change,
    window_errors,
)

L, C = 32, 3


def batch(seed: int, seen: float) -> tuple[np.ndarray, np.ndarray]:
    """Windows (7, C, L) in scaled units and which cells were seen; what was not seen holds another value."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(7, C, L)).astype(np.float32), draw.random((7, C, L)) < seen


def seen_of(x: np.ndarray, observed: np.ndarray, steps: slice) -> list[float]:
    return [float(value) for value, seen in zip(x[steps], observed[steps], strict=True) if seen]


@pytest.mark.parametrize("steps", [1, 2, 8])
@pytest.mark.parametrize("seen", [1.0, 0.3])
def test_a_move_is_the_distance_of_the_last_steps_from_those_before(steps: int, seen: float) -> None:
    """Moves are the mean squared distance of the observed last steps from the mean of those observed before."""
    x, observed = batch(1, seen)
    for b, c in np.ndindex(7, C):
        before = seen_of(x[b, c], observed[b, c], slice(0, L - steps)) or [0.0]
        last = seen_of(x[b, c], observed[b, c], slice(L - steps, L))
        wanted = np.mean([(value - np.mean(before)) ** 2 for value in last]) if last else 0.0
        assert recent_change(x, observed, steps)[b, c] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_a_channel_that_was_never_seen_has_not_moved() -> None:
    """A channel without readings has moved by 0, and one that was only read in the last steps by its level."""
    x, observed = np.full((1, 2, L), 3.0, np.float32), np.zeros((1, 2, L), np.bool_)
    observed[0, 1, -1] = True
    assert recent_change(x, observed, 2).tolist() == [[0.0, 9.0]]


@pytest.mark.parametrize("seen", [1.0, 0.05])
def test_parts_are_errors_over_the_usual_and_a_level(seen: float) -> None:
    """Parts are mean errors of the cells seen in a horizon over the usual, and last the squared mean of the window."""
    x, observed = batch(2, seen)
    error, usual = np.where(observed, x**2, 0).astype(np.float32), np.array([0.5, 1, 2], np.float32)
    parts = window_errors(x, error, observed, usual)
    for b, c in np.ndindex(7, C):
        for number, h in enumerate(horizons(L)):
            cells = seen_of(error[b, c], observed[b, c], slice(L - h, L))
            assert parts[b, number, c] == pytest.approx(np.mean(cells) / usual[c] if cells else 0.0, rel=1e-4)
        cells = seen_of(x[b, c], observed[b, c], slice(0, L))
        assert parts[b, -1, c] == pytest.approx(np.mean(cells) ** 2 if cells else 0.0, rel=1e-3, abs=1e-6)


def test_only_channels_seen_in_a_horizon_count() -> None:
    """The mean over channels leaves out those that were not observed in the horizon's steps."""
    _, observed = batch(3, 0.05)
    parts = np.ones((7, len(horizons(L)) + 1, C), np.float32)
    for b in range(7):
        known = [int(observed[b, :, -h:].any(1).sum()) for h in (*horizons(L), L)]
        wanted = [C / max(1, count) for count in known]
        np.testing.assert_allclose(over_channels(parts, channels_seen(observed))[b], wanted, rtol=1e-6)


def test_chatter_is_no_cause() -> None:
    """What is below three times the usual move counts nothing; beyond it the excess counts in units of the usual."""
    usual = np.array([0.5, 1, 2], np.float32)
    assert excess_change(np.array([[1.4, 3, 10]], np.float32), usual).tolist() == [[0, 0, 2]]
