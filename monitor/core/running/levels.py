"""Levels of rest and work as a rule: which amounts of a machine's channels mean that it rests.

`monitor.core.fitting.rest` learns them from history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.core.arrays import LARGEST
from monitor.core.records import Bools, Floats
from monitor.core.running.condition import Truth

LEAST_CHANNELS = 2


@dataclass(frozen=True, slots=True)
class Levels:
    """A rule that was learned: a machine rests if most of its channels are within their limits."""

    channels: tuple[str, ...]
    limits: tuple[float, ...]  # largest amount at rest, by channel, in the channel's own unit
    settle_ms: int = 0  # after a start its channels are not yet as in usual work for this time

    def judge(self, values: Floats) -> Truth:
        """Return whether the machine runs at each step, from `values` (K, E) of `channels`, NaN = never measured."""
        measured = np.count_nonzero(~np.isnan(values), axis=1)
        resting = np.count_nonzero(np.abs(values) <= np.array(self.limits, np.float32), axis=1)
        false: Bools = 2 * resting > measured
        return Truth((measured > 0) & ~false, false)

    def text(self) -> str:
        """Return the rule as an operator reads it."""
        return ", ".join(f"{name} {limit:.3g}" for name, limit in zip(self.channels, self.limits, strict=True))

    def manifest(self) -> dict[str, Any]:
        """Return the rule for a model's manifest."""
        return {"rest": dict(zip(self.channels, self.limits, strict=True)), "settle_ms": self.settle_ms}

    @classmethod
    def of_manifest(cls, found: Any) -> "Levels":
        """Return the levels of a manifest. Raises ValueError if they are none."""
        rest, settle = (found.get(key) if isinstance(found, Mapping) else None for key in ("rest", "settle_ms"))
        if not isinstance(rest, Mapping) or len(rest) < LEAST_CHANNELS or not all(map(_is_limit, rest.values())):
            raise ValueError(f"levels of activity are {found!r}, expected limits above 0 of two channels or more")
        if not isinstance(settle, int) or settle < 0:
            raise ValueError(f"levels of activity are {found!r}, expected settle_ms of 0 or more")
        return cls(tuple(map(str, rest)), tuple(map(float, rest.values())), settle)


def _is_limit(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value <= LARGEST
