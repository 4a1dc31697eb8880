"""Bounds how many new assets a partition admits: a token bucket by the time of the partition's own readings.

A broken gateway, or any producer with access to the topic, can invent names without end. The bucket bounds how fast
such names fill the free rows. The bucket starts with the partition. Until the readings have moved on by an opening, as
many assets are admitted as there is room for, so that a plant that is running already is admitted at once. After that
the bucket refills by the minute and holds one minute's worth.

Guaranteed: all time is the readings' own and all arithmetic is of whole numbers, so admission is a function of the
sequence of readings, and a replay admits the same assets.
"""

import numpy as np

from monitor.core.arrays import FARTHEST, MOST_ASSETS, NEVER
from monitor.core.records import Bools, Times
from monitor.core.state import Column

MINUTE = 60_000  # ms; also the cost of one asset, while the bucket gains `per_minute` a ms
ADMISSION = {"admission": Column("i8", (2,), low=NEVER, high=max(2 * FARTHEST, MOST_ASSETS * MINUTE))}


class Admission:
    """The bucket of one partition. `time` is the partition's, ms UTC, before the reading; it never decreases."""

    def __init__(self, per_minute: int, opening_ms: int) -> None:
        self._per_minute = per_minute
        self._opening_ms = opening_ms
        self._since = NEVER  # the time of the level; in the opening, the opening's end; NEVER = no reading yet
        self._level = self._most

    @property
    def _most(self) -> int:
        return self._per_minute * MINUTE

    def begin(self, time: int) -> None:
        """Start the opening at `time`, the first reading of the partition; later calls change nothing."""
        if self._since == NEVER:
            self._since = time + self._opening_ms

    def take(self, time: int) -> bool:
        """Admit one asset, if the bucket holds one."""
        if time < self._since:
            return True
        level = min(self._most, self._level + self._per_minute * min(time - self._since, MINUTE))
        if level < MINUTE:  # a refusal changes nothing, so retries cannot drain the bucket
            return False
        self._level = level - MINUTE
        self._since = time
        return True

    def due(self, time: int) -> int:
        """Return the time from which one asset can be admitted, as of `time`; NEVER = now."""
        if time < self._since or self._level >= MINUTE:
            return NEVER
        return self._since - (self._level - MINUTE) // self._per_minute

    def allows(self, times: Times, assets: int) -> Bools:
        """Return whether `assets` could be admitted by each of `times` (N,), ascending.

        The answer may be too early, never too late.
        """
        if times[0] < self._since:
            assets = 1  # all others in the opening
        gained = self._per_minute * np.clip(times - self._since, 0, MINUTE)
        return (times < self._since) | (self._level + gained >= assets * MINUTE) | (times - self._since > MINUTE)

    def save(self) -> Times:
        """Return time and level as an array."""
        return np.array([self._since, self._level], np.int64)

    def load(self, saved: Times) -> None:
        """Continue from a saved array; a bucket that became smaller holds as much as it can."""
        self._since = int(saved[0])
        self._level = min(max(int(saved[1]), 0), self._most)
