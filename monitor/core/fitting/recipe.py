"""How to fit a model. Known without torch, so that settings can build it."""

from dataclasses import dataclass

from monitor.core.fitting.exclude import Span


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes of the network, and how it is trained. The settings check the ranges."""

    hidden: int = 32
    latent: int = 12
    layers: int = 3
    kernel: int = 5
    steps: int = 800
    batch: int = 128
    learning_rate: float = 2e-3
    patience: int = 8  # checks of the held-out windows without improvement before it stops
    worst: float = 0.02  # share of blocks left out that the incumbent scores highest
    recurs_days: int = 3  # on which an alert's pattern must have come back to be learned; 0 = never
    rest: bool = False  # learn levels of rest and work, and leave rest out
    exclude: str = ""  # condition under which history is left out
    exclude_spans: tuple[Span, ...] = ()  # times that are left out
    seed: int = 0
