"""The windows of a batch at other limits of the channels than those that applied to them.

Limits follow the errors of a channel (`channel_limits.py`). Whether a fault is over is a matter of the limits as they
were before it, and which channel is its cause one of how far a limit has followed already.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.model.alarm import NETWORK, at_limits
from monitor.core.model.channel_limits import within
from monitor.core.records import Floats


@dataclass(frozen=True, slots=True)
class PastLimits:
    """Errors and limits of the windows of a batch. Limits in a list are those of (V, C), flattened."""

    network: Floats  # (B,) scores by the network
    errors: Floats  # (B, V, C) as of `ModelScores`, NaN where not observed
    ratios: Floats  # (B, V, C) to the limits that applied, 0 where not observed
    starts: Floats  # (V, C) limits at which the model begins

    def limits(self, place: int) -> list[float]:
        """Return the limits that applied to the window at a place; of a channel without a ratio, its start."""
        limits: list[float] = self._limits(place).ravel().tolist()
        return limits

    def alarm_at(self, place: int, limits: Sequence[float]) -> float:
        """Return the alarm score of the window at a place at other limits, or 0 if they are of other channels."""
        errors = self.errors[place]
        if len(limits) != errors.size:  # of a model with other channels: they say nothing about this window
            return 0.0
        given = np.array(limits, np.float32).reshape(errors.shape)
        return float(at_limits(self.network[[place]], errors[None], given)[0])

    def weights(self, place: int) -> Floats:
        """Return by how much each channel (C,) counts as a cause: 1, or less as far as its limit has followed."""
        if not len(self.starts):
            return np.ones(self.starts.shape[1], np.float32)
        weights: Floats = np.minimum(within(self.starts[NETWORK]) / self._limits(place)[NETWORK], np.float32(1))
        return weights

    def _limits(self, place: int) -> Floats:
        """Return the limits (V, C) that applied to the window at a place."""
        ratios = self.ratios[place]
        starts = np.broadcast_to(within(self.starts), ratios.shape)
        return within(np.divide(self.errors[place], ratios, out=starts.copy(), where=ratios > 0))
