"""How to fit a model. Known without torch: settings build it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to fit."""

    hidden: int = 32
    latent: int = 12
    layers: int = 3
    kernel: int = 5
    steps: int = 800
    batch: int = 128
    learning_rate: float = 2e-3
    patience: int = 8  # looks at the held-out windows without improvement before it stops
    worst: float = 0.02  # share of blocks left out that the incumbent scores highest
    seed: int = 0
