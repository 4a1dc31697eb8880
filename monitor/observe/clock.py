"""The wall clock, in ms UTC. The core takes the time as an argument and never reads a clock."""

import time
from collections.abc import Callable


def wall_ms() -> int:
    """Return the wall clock, ms UTC."""
    return time.time_ns() // 1_000_000


class MonotonicWallClock:
    """A wall clock that never goes back.

    A reading far ahead of the clock is rejected. Otherwise a clock set back by a day would make the worker reject that
    day's readings.
    """

    def __init__(self, clock: Callable[[], int] = wall_ms) -> None:
        self._clock = clock
        self._latest = 0

    def __call__(self) -> int:
        """Return the latest time that the clock has shown, ms UTC."""
        self._latest = max(self._latest, self._clock())
        return self._latest
