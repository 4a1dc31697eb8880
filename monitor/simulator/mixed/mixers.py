"""Batch mixers: twelve batches of about 110 minutes a day, each by one of three recipes.

A recipe has its own temperature, speed and viscosity. A batch is filled, heated, mixed, cooled and drained, then the
mixer waits for the next one. The channel `recipe` has the number of the batch, and keeps it until the next one begins.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from monitor.simulator.mixed.machines import DAY, Channel, gains, noise, white
from monitor.simulator.signals import Doubles, draw


class Recipe(NamedTuple):
    """What a recipe prescribes."""

    temperature: float  # degrees Celsius
    speed: float  # 1/min, while mixing
    torque: float  # Nm at that speed
    weight: float  # kg


CHANNELS = (
    Channel("recipe", 0.0, 0),
    Channel("weight", 2.0, 1),  # kg
    Channel("speed", 1.0, 1),  # 1/min
    Channel("torque", 1.0, 2),  # Nm
    Channel("temperature", 0.3, 2),  # degrees Celsius
    Channel("jacket_temperature", 0.4, 2),  # degrees Celsius
)
RECIPES = {1: Recipe(55, 90, 60, 800), 2: Recipe(70, 140, 85, 950), 3: Recipe(85, 60, 120, 700)}
NEW_RECIPE = 4
SLOT = 120  # steps of a day that a batch has
SLOTS = DAY // SLOT
AMBIENT = 22.0

_KIND = 2
_FILL, _HEAT, _MIX, _COOL, _DRAIN = 12, 25, 75, 95, 106  # steps of a batch at which each phase ends
_ALL = {**RECIPES, NEW_RECIPE: Recipe(40, 185, 40, 1050)}


class Mixers:
    """The mixers. `other` has recipes outside the usual ones, by mixer, day and batch of the day."""

    channels = CHANNELS

    def __init__(self, seed: int, count: int, other: Mapping[tuple[int, int, int], int]) -> None:
        self.names = tuple(f"mixer-{number:02d}" for number in range(1, count + 1))
        self._seed = seed
        self._other = other
        self._gains = gains(seed, _KIND, count, len(CHANNELS))
        self._gains[:, 0] = 1  # the recipe's number

    def recipes(self, machine: int, day: int) -> list[int]:
        """Return the recipes of a day's batches: each of the usual ones equally often, in random order."""
        usual = draw(self._seed, _KIND, 2, machine, day).permutation(np.resize(list(RECIPES), SLOTS))
        return [self._other.get((machine, day, slot), int(recipe)) for slot, recipe in enumerate(usual)]

    def day(self, machine: int, day: int) -> Doubles:
        """See `Machines`. A day begins and ends between two batches."""
        size = draw(self._seed, _KIND, 3, machine, day).uniform(0.97, 1.03, SLOTS)  # of a batch
        batches = [_batch(recipe, size[slot]) for slot, recipe in enumerate(self.recipes(machine, day))]
        unit = white(self._seed, _KIND, machine, day, len(CHANNELS))
        signals: Doubles = np.concatenate(batches) * self._gains[machine] + noise(CHANNELS, unit)
        return signals


def _batch(number: int, size: float) -> Doubles:
    """Return the signals (SLOT, C) of one batch."""
    recipe, step = _ALL[number], np.arange(SLOT, dtype=np.float64)
    weight = recipe.weight * size * np.interp(step, [0, _FILL, _COOL, _DRAIN], [0, 1, 1, 0])
    stir = np.interp(
        step, [_FILL, _FILL + 2, _HEAT, _HEAT + 2, _MIX, _MIX + 2, _COOL, _COOL + 2], [0, 0.3, 0.3, 1, 1, 0.3, 0.3, 0]
    )
    thick = np.interp(step, [_HEAT, _MIX], [0.7, 1.0])  # the product thickens
    torque = recipe.torque * size * stir * thick

    over = recipe.temperature - AMBIENT
    heat = np.interp(step, [0, _FILL, _HEAT, _MIX, _COOL, SLOT], [0, 0.1, 1, 1, 0.15, 0])
    jacket = np.interp(
        step,
        [0, _FILL, _FILL + 3, _HEAT, _HEAT + 6, _MIX, _MIX + 3, _COOL, SLOT],
        [0, 0, 1.3, 1.3, 1.05, 1.05, -0.1, -0.1, 0],
    )
    columns = (
        np.full(SLOT, number),
        weight,
        recipe.speed * stir,
        torque,
        AMBIENT + over * heat,
        AMBIENT + over * jacket,
    )
    return np.stack(columns, 1)
