"""Which windows of a history are no measure of what is usual: those of a disturbance that the history holds once.

An incident in a first history is learned like everything else, as nobody has excluded it. The network hardly suffers
from that. What is computed of its errors does: an incident of 2 deviations in 2 % of the history took the usual error
of its channel to seven times, and the edge of the whole window to eight times what they are without, and shifts of one
deviation were not found any more (measured: docs/detection.md).

The windows of each asset are divided into PARTS, in the order of time. A channel is conspicuous in a part if its mean
error there is more than FAR times that of most parts, and a run is of parts of an asset that follow each other, each
with a conspicuous channel. A run is told by the channels that are at least NEARLY as conspicuous in it as the one that
is so most. It is single if no other run, of any asset, is told by one of its channels. So what came back is usual, in
the same asset or in another one: a start in each morning, a valve that opens now and then. Usual is, too, what lasted:
single runs of an asset count as they are if they are more than LONGEST parts together.

A channel that was measured in fewer than half of the parts is not judged: there is no usual error to hold it against.
"""

import numpy as np

from monitor.core.arrays import Doubles, Index, first_of_run
from monitor.core.records import Bools, Times

PARTS = 20  # of an asset's windows
FEWEST = 20 * PARTS  # windows of an asset that is divided
MOST = 0.8  # of the parts
FAR = 5.0
NEARLY = 0.5
LONGEST = 3  # parts: 15 % of the asset's history


def single(squares: Doubles, cells: Doubles, asset: Times, least: float) -> Bools:
    """Return which windows (n,) belong to single disturbances.

    `squares` (n, C) are sums of squared errors over `cells` (n, C), `asset` (n,) the codes of the assets, whose windows
    are in their order, and `least` an error of a channel of which no smaller one is news.
    """
    part, owner = _parts(asset)
    if not len(owner):
        return np.zeros(len(asset), np.bool_)
    ratio = _ratios(part, len(owner), squares, cells, least)
    found = np.append(_single(owner, ratio), False)  # the last one for windows without a part
    result: Bools = found[part]
    return result


def _parts(asset: Times) -> tuple[Index, Times]:
    """Return the part of each window (n,), -1 of an asset with too few, and the asset of each part (P,)."""
    part, owner = np.full(len(asset), -1), list[int]()
    for code in np.unique(asset).tolist():
        own = np.flatnonzero(asset == code)
        if len(own) >= FEWEST:
            part[own] = len(owner) + np.arange(len(own)) * PARTS // len(own)
            owner += [code] * PARTS
    return part, np.array(owner, np.int64)


def _ratios(part: Index, P: int, squares: Doubles, cells: Doubles, least: float) -> Doubles:
    """Return the mean error of each channel in each part over that of most parts (P, C); 0 where it is not judged."""
    judged = np.flatnonzero(part >= 0)
    error, seen = np.zeros((2, P, squares.shape[1]))
    np.add.at(error, part[judged], squares[judged])
    np.add.at(seen, part[judged], cells[judged])
    often = 2 * np.count_nonzero(seen, axis=0) >= P  # (C,)
    mean = np.where(seen > 0, error / np.maximum(1, seen), np.nan)
    mean[:, ~often] = 0
    result: Doubles = np.nan_to_num(mean / np.maximum(np.nanquantile(mean, MOST, axis=0), least))
    return result


def _single(owner: Times, ratio: Doubles) -> Bools:
    """Return which parts (P,), each of its owner, belong to single runs."""
    high = ratio.max(1) > FAR
    run = np.cumsum(first_of_run(owner) | first_of_run(high.astype(np.int64))) - 1
    numbers = np.unique(run[high])
    top = np.stack([ratio[run == number].max(0) for number in numbers.tolist()] or [np.zeros(ratio.shape[1])])
    telling = (top > FAR) & (top >= NEARLY * top.max(1, keepdims=True))  # (runs, C)
    alone = numbers[~(telling & (telling.sum(0) > 1)).any(1)[: len(numbers)]]

    found: Bools = np.isin(run, alone)
    for code in np.unique(owner).tolist():
        if np.count_nonzero(found & (owner == code)) > LONGEST:
            found[owner == code] = False
    return found
