"""Which windows of a history are no measure of what is usual: those of a disturbance that the history holds once.

An incident in a first history is learned like everything else, as nobody has excluded it. The network hardly suffers
from that. What is computed of its errors does: an incident of 2 deviations in 2 % of the history took the usual error
of its channel to seven times, and the edge of the whole window to eight times what they are without, and shifts of one
deviation were not found any more (measured: docs/detection.md).

The windows of each asset are divided into PARTS, in the order of time. A part is conspicuous if the mean error of a
channel in it is more than FAR times that of most parts, and it is told by the channel where it is so most. Conspicuous
parts that follow each other are a run, if the same channel tells them. A run counts as single if no other run of the
history is told by its channel, and if it is no longer than LONGEST parts. So what came back is usual, in the same asset
or in another one, and so is what lasted: a start in each morning, a valve that opens now and then, another product.
"""

import numpy as np

from monitor.core.arrays import Doubles, Index, first_of_run
from monitor.core.records import Bools, Floats, Times

PARTS = 20  # of an asset's windows
FEWEST = 20 * PARTS  # windows of an asset that is divided
MOST = 0.8  # of the parts
FAR = 5.0
LONGEST = 4  # parts, a fifth of the asset's history


def single(squares: Doubles, cells: Doubles, asset: Times, least: Floats) -> Bools:
    """Return which windows (n,) belong to single disturbances.

    `squares` (n, C) are sums of squared errors over `cells` (n, C), `asset` (n,) the codes of the assets, whose windows
    are in their order, and `least` (C,) errors of which no smaller one is news.
    """
    result = np.zeros(len(asset), np.bool_)
    part, owner = _parts(asset)
    if not len(owner):
        return result
    error, seen = np.zeros((len(owner), len(least))), np.zeros((len(owner), len(least)))
    judged = np.flatnonzero(part >= 0)
    np.add.at(error, part[judged], squares[judged])
    np.add.at(seen, part[judged], cells[judged])
    mean = error / np.maximum(1, seen)
    ratio = mean / np.maximum(np.quantile(mean, MOST, axis=0), least)
    found = np.zeros(len(owner), np.bool_)
    for run in _single_runs(owner, np.where(ratio.max(1) > FAR, ratio.argmax(1), -1)):
        found[run] = True
    result[judged] = found[part[judged]]
    return result


def _parts(asset: Times) -> tuple[Index, Times]:
    """Return the part of each window (n,), -1 of an asset with too few, and the asset of each part."""
    part, owner = np.full(len(asset), -1), list[int]()
    for code in np.unique(asset).tolist():
        own = np.flatnonzero(asset == code)
        if len(own) >= FEWEST:
            part[own] = len(owner) + np.arange(len(own)) * PARTS // len(own)
            owner += [code] * PARTS
    return part, np.array(owner, np.int64)


def _single_runs(owner: Times, channel: Index) -> list[slice]:
    """Return the single runs of parts (P,), each told by a channel; -1 = not conspicuous."""
    begin = np.flatnonzero(first_of_run(owner) | first_of_run(channel))
    end = np.append(begin[1:], len(owner))
    told = channel[begin]
    once = [np.count_nonzero(told == each) == 1 for each in told.tolist()]
    return [
        slice(first, last)
        for first, last, which, alone in zip(begin.tolist(), end.tolist(), told.tolist(), once, strict=True)
        if which >= 0 and alone and last - first <= LONGEST
    ]
