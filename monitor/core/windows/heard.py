"""Who was heard: the readings of one batch as the stage that finds silent assets needs them."""

from dataclasses import dataclass

import numpy as np

from monitor.core.records import Times


@dataclass(frozen=True, slots=True)
class Heard:
    """Readings of known assets and channels (n,) of one batch, and the readings of the whole partition (N,)."""

    row: Times  # (n,) asset
    time: Times  # (n,)
    place: Times  # (n,) ascending, among the N
    clock: Times  # (N,) the partition's time at each reading
    offset: Times  # (N,) of the reading's message

    def part(self, begin: int, end: int) -> "Heard":
        """Return the readings at places from `begin` to before `end` of the partition."""
        low, high = np.searchsorted(self.place, (begin, end))
        own, all_ = slice(low, high), slice(begin, end)
        return Heard(self.row[own], self.time[own], self.place[own] - begin, self.clock[all_], self.offset[all_])


def nothing_heard() -> Heard:
    """Return a batch without readings."""
    nothing = np.empty(0, np.int64)
    return Heard(nothing, nothing, nothing, nothing, nothing)
