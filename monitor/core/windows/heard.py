"""What was heard of the assets in one batch, as the stage that finds silent assets needs it."""

from dataclasses import dataclass

import numpy as np

from monitor.core.records import Bools, Stream, Times
from monitor.core.windows.cells import Arrivals, openings

_NONE = np.empty(0, np.int64)
NOTHING = Stream(_NONE, _NONE, _NONE)


@dataclass(frozen=True, slots=True)
class Heard:
    """Readings of known assets and channels (n,) of one batch, and the readings of the whole partition (N,).

    Of readings of one asset and time that follow each other only the first is there: no other can be news.
    """

    row: Times  # (n,) asset
    time: Times  # (n,)
    place: Times  # (n,) ascending, among the N
    passed: Times  # (N,) time of each reading, also of those for other detectors or for none
    offset: Times  # (N,) of the reading's message
    judged: Bools | None = None  # (N,) at which machines are judged by alerts of not running instead; None = never

    def part(self, begin: int, end: int) -> "Heard":
        """Return the readings at places from `begin` to before `end` of the partition."""
        low, high = np.searchsorted(self.place, (begin, end))
        own, all_ = slice(low, high), slice(begin, end)
        judged = None if self.judged is None else self.judged[all_]
        return Heard(
            self.row[own], self.time[own], self.place[own] - begin, self.passed[all_], self.offset[all_], judged
        )

    def unjudged(self, place: int) -> int:
        """Return the first place from `place` on at which no machine is judged by alerts of not running; N = none."""
        if self.judged is None:
            return place
        later = np.flatnonzero(~self.judged[place:])
        return place + int(later[0]) if len(later) else len(self.passed)


def heard_of(arrivals: Arrivals, stream: Stream) -> Heard:
    """Return what is heard in readings of the batch that `stream` describes."""
    place = stream.place[arrivals.index]
    opening = openings(arrivals.row, arrivals.time, place)
    return Heard(arrivals.row[opening], arrivals.time[opening], place[opening], stream.time, stream.offset)


def nothing_heard(stream: Stream) -> Heard:
    """Return a batch of which no reading is of a known asset and channel."""
    return Heard(_NONE, _NONE, _NONE, stream.time, stream.offset)
