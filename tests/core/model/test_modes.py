"""Which mode a window is in: by hand, and against a plain twin."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.model.alarm import FORECAST, LEVEL, NETWORK
from monitor.core.model.forward import Reconstruction
from monitor.core.model.model import Model
from monitor.core.model.modes import Modes, label
from monitor.core.model.scaling import MOST_STATES, fit_scaling, unpack_states
from monitor.core.model.scorer import Scorer
from monitor.core.model.vae import VAE
from tests.core.machines import ASSETS, rows, unforeseen, windows

NAN = np.nan


def of_channel(*values: float) -> Modes:
    """Modes of the channel recipe with these values."""
    none = np.zeros((len(values), 0, 0), np.float32)
    usual = np.ones((len(values) + 1, 3), np.float32)
    return Modes("flow", np.array(values), none.reshape(len(values), 0), none, np.ones(1, np.float32), usual, usual)


def learned(seed: int, number: int = 4, latent: int = 3) -> Modes:
    """Learned modes at random places."""
    draw = np.random.default_rng(seed)
    center = draw.normal(0, 3, (number, latent)).astype(np.float32)
    whiten = draw.normal(0, 1, (number, latent, latent)).astype(np.float32)
    usual = np.ones((number + 1, 3), np.float32)
    return Modes("", np.arange(1.0, number + 1), center, whiten, np.array([4.0], np.float32), usual, usual)


@given(st.lists(st.lists(st.sampled_from([1.0, 2.0, 5.0, 9.0, NAN]), min_size=6, max_size=6), min_size=1, max_size=8))
def test_the_newest_value_is_the_mode_and_any_unknown_one_makes_it_unknown(table: list[list[float]]) -> None:
    """A window has the mode of its newest value, is unknown if it holds an unknown one, and has none without values."""
    found = of_channel(1.0, 2.0, 5.0).of_channel(np.array(table, np.float32))
    for place, values in enumerate(table):
        measured = [value for value in values if not np.isnan(value)]
        mode = -1 if 9.0 in measured else [1.0, 2.0, 5.0].index(measured[-1]) if measured else 3
        newest = measured[-1] if measured else NAN
        assert found.mode[place] == mode
        assert np.array_equal(found.value[place], np.float32(newest), equal_nan=True)
        assert found.new[place] == (newest == 9.0)


@given(st.integers(0, 10), st.integers(1, 70))
def test_the_nearest_mode_is_the_same_in_any_batch(seed: int, cut: int) -> None:
    """A learned mode is the nearest by its own deviations, bit by bit the same however windows are cut into batches."""
    modes = learned(seed)
    latent = np.random.default_rng(seed + 100).normal(0, 4, (70, 3)).astype(np.float32)
    whole = modes.of_latent(latent)
    for place, z in enumerate(latent):
        apart = [np.linalg.norm(w @ (z - c)) for w, c in zip(modes.whiten, modes.center, strict=True)]
        if abs(min(apart) - 4.0) > 1e-3:
            assert whole.new[place] == (min(apart) > 4.0)
        if not whole.new[place]:
            assert apart[whole.mode[place]] <= min(apart) + 1e-3
    parts = [modes.of_latent(latent[begin : begin + cut]) for begin in range(0, 70, cut)]
    assert np.array_equal(np.concatenate([part.mode for part in parts]), whole.mode)
    assert np.array_equal(np.concatenate([part.value for part in parts]), whole.value, equal_nan=True)


def with_modes() -> Model:
    """The model of the machines with two learned modes, of which the second has a hundred times the usual errors."""
    made = unforeseen()
    batch = windows(rows(200, seed=3))
    x = made.scaling.forward(batch.values, made.scaling.rows(ASSETS)[batch.assets])
    _, latent = Reconstruction.of(VAE.of(made)).reconstruct_latent(x, batch.observed)
    far = np.square(latent - latent[0]).sum(1).argmax()
    two = replace(learned(1, 2), center=latent[[0, far]], whiten=np.stack([np.eye(3, dtype=np.float32)] * 2))
    error = np.stack([made.calibration.error, 100 * made.calibration.error, made.calibration.error])
    limits = np.stack([made.calibration.limits] * 3)
    return replace(made, modes=replace(two, reach=np.array([1e6], np.float32), error=error, limits=limits))


def test_each_window_is_compared_with_its_own_mode() -> None:
    """A mode with larger usual errors gives smaller scores and a wider band, and the others stay as they were."""
    batch = windows(rows(200, seed=3))
    plain, own = (Scorer(each).score(batch, ASSETS) for each in (unforeseen(), with_modes()))
    assert own.modes is not None
    second = own.modes.mode == 1
    assert second.any()
    assert not second.all()
    assert np.array_equal(own.network[~second], plain.network[~second])
    assert (own.network[second] <= plain.network[second]).all()
    np.testing.assert_allclose(own.spread[second], 10 * plain.spread[second], rtol=1e-5)

    # Of the alarm score's errors, those of the network are in units of all modes: limits are the same in each mode.
    np.testing.assert_allclose(own.errors[second, NETWORK], plain.errors[second, NETWORK] / 100, rtol=1e-4)
    for place in (FORECAST, LEVEL):
        assert np.array_equal(own.errors[:, place], plain.errors[:, place])


def test_a_model_with_modes_and_states_comes_back_from_its_arrays() -> None:
    """Modes and states survive the way through a model file, and scores stay the same."""
    made = with_modes()
    states = np.array([[0.0, 1.0], [NAN, NAN], [NAN, NAN]])
    made = replace(made, scaling=replace(made.scaling, states=states))
    manifest, tensors = made.pack()
    again = Model.unpack("v", manifest, tensors)
    np.testing.assert_array_equal(again.scaling.states, states)
    assert all(np.isfinite(array).all() for array in tensors.values())  # a store accepts no other numbers
    batch = windows(rows(60, seed=4))
    assert np.array_equal(Scorer(again).score(batch, ASSETS).network, Scorer(made).score(batch, ASSETS).network)
    assert again.modes is not None
    assert again.modes.channel == ""


def test_counts_of_states_that_do_not_fit_are_refused() -> None:
    """A model file whose counts of states do not add up to its states is refused, with the counts."""
    tensors = {"scaling.states": np.array([0.0, 1.0]), "scaling.state_counts": np.array([1, 0])}
    with pytest.raises(ValueError, match=r"\[1, 0\], expected whole numbers with the sum 2"):
        unpack_states(tensors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.array([2.0, 1.0])}, "ascending"),
        ({"reach": np.zeros(1, np.float32)}, "reach"),
        ({"center": np.zeros((2, 7), np.float32)}, "center"),
        ({"whiten": np.full((2, 3, 3), np.nan, np.float32)}, "not finite"),
        ({"channel": "speed"}, "speed"),
    ],
)
def test_modes_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    """Modes with wrong shapes, order or numbers make a model unreadable, with the reason."""
    made = with_modes()
    assert made.modes is not None
    with pytest.raises(ValueError, match=message):
        replace(made, modes=replace(made.modes, **changes)).check()  # type: ignore[arg-type]


def test_a_state_is_read_as_the_nearest_one_that_was_seen() -> None:
    """A state that training has not seen cannot be further away than those that it has seen."""
    seen = np.array([[1.0, 0.0], [2.0, 0.5], [4.0, 1.0]] * 100, np.float32)
    scaling = fit_scaling({"a": seen, "b": seen}, 256, states=[0])
    x = np.array([[[1, 2, 3.5, 8000, NAN]], [[0.25] * 5]], np.float32).transpose(1, 0, 2)
    z = scaling.forward(x, np.array([0]))
    assert np.array_equal(z[0, 0, 3], scaling.forward(np.full_like(x, 4), np.array([0]))[0, 0, 3])
    assert z[0, 0, 2] == z[0, 0, 3]
    assert z[0, 0, 4] == 0
    assert np.array_equal(scaling.is_state(), [True, False])
    assert (np.diff(scaling.center[:, 0]) == 0).all()  # all assets share the scale of a state


def test_of_many_states_evenly_spaced_ones_are_kept() -> None:
    """A state with more values than MOST_STATES keeps the first, the last, and as many between."""
    many = np.arange(2000, dtype=np.float32)[:, None]
    states = fit_scaling({"a": many}, 256, states=[0]).states
    assert states is not None
    assert states.shape == (1, MOST_STATES)
    assert states[0, 0] == 0
    assert states[0, -1] == 1999


def test_names_of_modes() -> None:
    """A mode is named by its value without a superfluous fraction."""
    assert [label(value) for value in (3.0, 2.5, NAN)] == ["3", "2.5", ""]
