"""What is learned of modes: how many, which errors, and that ids stay."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.fit import fit, prepare
from monitor.core.fitting.modes import LEAST_WINDOWS, grouped, regrouped
from monitor.core.model.modes import MOST_MODES, Modes, nearest
from tests.core.machines import FAST, corpus, model

NOTHING = lambda *_: None  # noqa: E731 - nobody watches the progress


def latents(n: int, groups: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Latent means (n, 3) in that many groups far from one another, and the group of each."""
    draw = np.random.default_rng(seed)
    group = np.arange(n) % groups
    angle = 2 * np.pi * group / groups
    center = 8 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    return (center + draw.normal(0, 0.5, (n, 3))).astype(np.float32), group


def errors_of(group: np.ndarray, ratio: float) -> np.ndarray:
    """Errors (n, 2) that are `ratio` times as large from one group to the next."""
    draw = np.random.default_rng(1)
    return (draw.chisquare(4, (len(group), 2)) * 0.01 * ratio ** group[:, None]).astype(np.float32)


@pytest.mark.parametrize(("ratio", "number"), [(1.0, 1), (3.0, 4)])
def test_modes_are_as_many_as_explain_the_errors(ratio: float, number: int) -> None:
    """Groups whose errors differ are modes; groups that look different and err alike are one."""
    n = 8000
    latent, group = latents(n, 4)
    found = grouped(latent, errors_of(group, ratio), np.arange(n) * 50 // n % 5 == 4, 0)
    if number == 1:
        assert found is None
        return
    assert found is not None
    mode, distance = nearest(found.center, found.whiten, latent)
    assert len(found.values) == number
    assert len({(a, b) for a, b in zip(mode.tolist(), group.tolist(), strict=True)}) == number
    assert distance.max() < found.reach[0]


def test_with_few_windows_there_is_one_mode() -> None:
    """Less than LEAST_WINDOWS for each of two groups is no reason for modes."""
    latent, group = latents(2 * LEAST_WINDOWS - 2, 2)
    assert grouped(latent, errors_of(group, 9.0), np.arange(len(group)) % 5 == 4, 0) is None


def test_ids_stay_when_the_latent_space_is_another() -> None:
    """After a retraining, a window has the id that the incumbent gave it, though the latent space was turned."""
    latent, group = latents(4000, 4)
    first = grouped(latent, errors_of(group, 3.0), np.arange(4000) * 50 // 4000 % 5 == 4, 0)
    assert first is not None
    usual = np.ones((5, 2), np.float32)
    before, _ = nearest(first.center, first.whiten, latent)
    turned = (-2 * latent[:, [1, 2, 0]]).astype(np.float32)
    again = regrouped(turned, before, Modes("", *first, usual, usual))
    assert np.mean(nearest(again.center, again.whiten, turned)[0] == before) > 0.98
    assert np.array_equal(again.values, first.values)


def with_recipe(seed: int, recipes: tuple[float, ...]) -> Corpus:
    """The machines' history with a channel recipe; with each recipe, the pressure is noisier."""
    made = corpus(seed=seed)
    number = np.repeat(np.arange(len(made)) // 4 % len(recipes), 16).reshape(len(made), 16)
    recipe = np.array(recipes, np.float32)[number]
    values = np.concatenate([made.values, recipe[:, None]], 1)
    noise = np.random.default_rng(seed).normal(0, 0.2, recipe.shape) * (recipe - min(recipes))
    values[:, 1] += noise.astype(np.float32) * np.where(made.asset[:, None] == 0, 1, 10)
    observed = np.concatenate([made.observed, np.ones_like(made.observed[:, :1])], 1)
    return replace(made, channels=(*made.channels, "recipe"), values=values, observed=observed)


def test_each_value_of_the_channel_is_a_mode_with_its_own_errors() -> None:
    """A recipe that makes the pressure noisy has a larger usual error of it; clean windows stay within the limit."""
    history = with_recipe(0, (1.0, 2.0))
    recipe = replace(FAST, mode_channel="recipe", steps=150)
    made = fit(prepare(history, recipe, None), recipe, None, NOTHING).model
    assert made.modes is not None
    assert made.modes.values.tolist() == [1.0, 2.0]
    assert made.modes.error[1, 1] > 1.5 * made.modes.error[0, 1]
    assert np.array_equal(made.modes.error[2], made.calibration.error)
    assert made.scaling.is_state().tolist() == [False, False, False, True]
    assert 0 < made.alarm.scores[-4] < np.log(2)  # that of a window with all errors at their limits

    # A retraining on other recipes learns the new one, and knows the old one still.
    again = fit(prepare(with_recipe(1, (1.0, 3.0)), recipe, made), recipe, made, NOTHING).model
    assert again.modes is not None
    assert again.modes.values.tolist() == [1.0, 2.0, 3.0]
    assert np.array_equal(again.modes.error[1], again.calibration.error)  # without windows: those of all modes


def test_a_channel_that_is_no_mode_is_refused() -> None:
    """A channel that is missing, or has more values than modes may be, is refused with its name."""
    recipe = replace(FAST, mode_channel="flow", steps=10)
    with pytest.raises(ValueError, match=f"flow has .* values in the history, expected 1 to {MOST_MODES}"):
        fit(corpus(), recipe, None, NOTHING)
    with pytest.raises(ValueError, match="the history has no channel speed, expected one of"):
        fit(corpus(), replace(recipe, mode_channel="speed"), None, NOTHING)


def test_without_modes_a_model_has_none() -> None:
    """Nobody who did not ask for modes gets arrays of them."""
    _, tensors = model().pack()
    assert not [name for name in tensors if name.startswith("modes") or name == "scaling.states"]
