"""How to fit a model. Known without torch, so that settings can build it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.arrays import Doubles
from monitor.core.decode.ids import legal
from monitor.core.decode.select import STATE, Kinds, of_first
from monitor.core.fitting.exclude import Span
from monitor.core.records import Bools
from monitor.core.windows.aggregates import LAST, STD, base_of


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
    rest_days: int | None = None  # days on which rest must have begun to be learned and left out; None = learn none
    exclude: str = ""  # condition under which history is left out
    exclude_spans: tuple[Span, ...] = ()  # times that are left out
    seed: int = 0
    kinds: tuple[tuple[str, str], ...] = ()  # globs and kinds of channels, as of `select.Kinds`
    texts: tuple[tuple[str, tuple[str, ...]], ...] = ()  # globs and texts of channels, as of `select.Kinds`
    spans: tuple[tuple[str, float], ...] = ()  # globs and spans of channels in their units, 0 = not known
    aggregates: tuple[str, ...] = (LAST,)  # of the readings of a step
    mode_channel: str = ""  # channel that modes are read from
    learn_modes: bool = False  # without such a channel

    def channel_kinds(self) -> Kinds:
        """Return what channels are read as."""
        texts = tuple((glob, tuple(texts)) for glob, texts in self.texts)
        return Kinds(tuple((glob, kind) for glob, kind in self.kinds), texts)  # lists, after a way through JSON

    def states(self, channels: Sequence[str]) -> Bools:
        """Return which of the channels (C,) are states. The channel of the modes is one."""
        of_modes = np.array([name == self.mode_channel for name in channels], np.bool_)
        return self.channel_kinds().among(channels, STATE) | of_modes

    def known_spans(self, channels: Sequence[str]) -> Doubles:
        """Return the spans (C,) that are known of the channels, 0 = not known.

        They are those of base channels. A standard deviation within a step has none.
        """
        return np.array([self._span(name) for name in channels], np.float64)

    def _span(self, channel: str) -> float:
        base = base_of(channel, tuple(self.aggregates))
        if channel != base and channel.endswith(f".{STD}"):
            return 0.0
        return of_first(
            self.spans, *(each for name in (channel, base) for each in (name, legal(name) or name)), otherwise=0.0
        )
