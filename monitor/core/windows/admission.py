"""How many new assets a partition takes in: a bucket of so many a minute, by the time of its own readings.

A broken gateway, or whoever may write to the topic, can invent names without end. The bucket bounds how fast they fill
the room that is left. It starts when the partition does: until its readings have moved on by an opening, as many come
in as there is room for, so that a plant that is up already is taken in at once; from then on the bucket refills by the
minute and holds one minute's worth.

Guaranteed: all time is the readings' own and all arithmetic is of whole numbers, so who is let in is a function of the
sequence of readings, and a replay lets in the same.
"""

import numpy as np

from monitor.core.arrays import NEVER
from monitor.core.records import Bools, Times

MINUTE = 60_000  # ms; also what one asset costs, while the bucket gains `per_minute` a ms


class Admission:
    """The bucket of one partition. `time` is the partition's, ms UTC, as of the readings before; it never decreases."""

    def __init__(self, per_minute: int, opening_ms: int) -> None:
        self._per_minute, self._opening_ms = per_minute, opening_ms
        self._since = NEVER  # the time that the level is of; in the opening, its end; NEVER = no reading yet
        self._level = self._most

    @property
    def _most(self) -> int:
        return self._per_minute * MINUTE

    def begin(self, time: int) -> None:
        """The first reading of the partition is of `time`; what comes later begins nothing."""
        if self._since == NEVER:
            self._since = time + self._opening_ms

    def take(self, time: int) -> bool:
        """Let one asset in, if the bucket holds one."""
        if time < self._since:
            return True
        level = min(self._most, self._level + self._per_minute * min(time - self._since, MINUTE))
        if level < MINUTE:  # who is refused leaves no trace: so it does not matter who asks, and how often
            return False
        self._level, self._since = level - MINUTE, time
        return True

    def due(self, time: int) -> int:
        """The time from which on one asset can be let in, as things stand at `time`; NEVER = now."""
        if time < self._since or self._level >= MINUTE:
            return NEVER
        return self._since - (self._level - MINUTE) // self._per_minute

    def allows(self, times: Times, assets: int) -> Bools:
        """Whether by each of `times` (N,), ascending, `assets` could be let in; it may say so too early, never late."""
        if times[0] < self._since:
            assets = 1  # all others in the opening
        gained = self._per_minute * np.clip(times - self._since, 0, MINUTE)
        return (times < self._since) | (self._level + gained >= assets * MINUTE) | (times - self._since > MINUTE)

    def save(self) -> Times:
        return np.array([self._since, self._level], np.int64)

    def load(self, saved: Times) -> None:
        self._since, self._level = int(saved[0]), min(int(saved[1]), self._most)
