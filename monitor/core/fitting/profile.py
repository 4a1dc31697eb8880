"""Learns sensor profiles: how each channel behaves while its sensor is healthy.

A limit of a profile is only used if the history really shows it. A channel is not judged if it
- rested or was silent for half a window anywhere in the history: by nature, or for longer than blocks can show;
- repeated its value in more than RARE of its readings: it comes in coarse steps, and how long it rests depends on what
  the machine does (measured on SMD and JS2: rests of 94 and 37 steps where the history's longest were 12 and 2);
- gave fewer than LEAST_PAIRS readings next to one another: nothing is known.
"""

import numpy as np

from monitor.core.fitting.corpus import Corpus
from monitor.core.records import Bools, Floats, Times
from monitor.core.sensors.profile import NOT_JUDGED, SensorProfile

LEAST_PAIRS = 256  # of readings next to one another; as many as an asset needs for statistics of its own
RARE = 0.01


def learn_profile(corpus: Corpus) -> SensorProfile:
    """Return the profile of the corpus's channels, over all its assets."""
    L = corpus.values.shape[2]
    order = np.lexsort((corpus.end, corpus.asset))
    asset, end = corpus.asset[order], corpus.end[order]

    # A run is a sequence of blocks without a hole. Nothing is counted across its ends.
    joins = (asset[1:] == asset[:-1]) & (np.diff(end) == L * corpus.step_ms)
    begins = np.flatnonzero(np.append(True, ~joins)) * L
    begin = np.repeat(begins, np.diff(np.append(begins, len(end) * L)))  # (T,) first row of the run a row is in

    # One channel at a time: a corpus in 64-bit indices would not fit into memory.
    measured = corpus.observed[order].any(1).ravel()  # (T,)
    found = []
    for channel in range(len(corpus.channels)):
        values, seen = corpus.values[order, channel].ravel(), corpus.observed[order, channel].ravel()
        found.append(_of_channel(values, seen, measured, begin, L))
    return SensorProfile(*np.array(found, np.float32).reshape(-1, 5).T.copy())


def _of_channel(values: Floats, seen: Bools, measured: Bools, begin: Times, length: int) -> tuple[float, ...]:
    """Return the limits of one channel in the order of `SensorProfile`.

    `values` (T,) count where `seen`, in runs that begin at `begin` (T,).
    """
    place = np.arange(len(values))
    latest = np.maximum.accumulate(np.where(seen, place, -1))
    before = np.append(-1, latest[:-1])
    known = before >= begin  # an earlier reading of the same run
    pair = seen & known
    if np.count_nonzero(pair) < LEAST_PAIRS:
        return (NOT_JUDGED, NOT_JUDGED, NOT_JUDGED, 0.0, 0.0)

    # A run of blocks holds few readings of a slow channel: longer rests than half of them may not have been seen whole.
    same = pair & (values == values[before])
    rest = int(_since(seen & ~same, same, begin).max())
    most = int(_since(np.zeros_like(seen), pair, begin).max())
    fine = np.count_nonzero(same) <= RARE * np.count_nonzero(pair)

    hole = int(_since(seen, measured & ~seen & known, begin).max())

    neighbours = pair & (before == place - 1)
    steps = np.abs(values[neighbours].astype(np.float64) - values[before[neighbours]])
    change = float(steps.max()) if len(steps) >= LEAST_PAIRS else 0.0
    return (
        rest if fine and 2 * rest < min(most, length) else NOT_JUDGED,
        hole if 2 * hole < length else NOT_JUDGED,
        change if change > 0 else NOT_JUDGED,  # of a channel that never moved, any move would be impossible
        float(values[seen].min()),
        float(values[seen].max()),
    )


def _since(reset: Bools, add: Bools, begin: Times) -> Times:
    """Return how many of `add` (T,) came since the last of `reset` (T,), or since the run began."""
    total = np.cumsum(add)
    last = np.maximum.accumulate(np.where(reset, np.arange(len(add)), -1))
    first = begin[: len(add)]
    count: Times = total - np.where(last >= first, total[last], total[first] - add[first])
    return count
