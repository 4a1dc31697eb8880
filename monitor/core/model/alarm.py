"""The alarm score: how far a window's few most exceptional channels are beyond their own limits.

An incident shows first, and often only, in a few channels. The mean over 38 channels hides what is exceptional in two
of them: 87 % of the labelled events of SMD are exceptional in a channel that the publisher names, 43 % in the mean.

A window has three errors per channel (`scorer.Scorer`): of the network, of the forecast, and of the level; with modes,
a fourth of the network over the whole window. Each is held against a limit of its own, which follows the asset's
channel (`channel_limits.py`). Of ratios r of error to limit:

    newest steps = mean over the STRONGEST largest channels of 1/2 log(1 + r_network) + 1/2 log(1 + r_forecast)
    level        = mean over the larger half of the channels of log(max(1, (1 + r_level) / 2))
    whole window = log(max(1, (1 + r_whole) / (1 + SURE)))
    alarm score  = newest steps + level + whole window

Network and forecast have to agree: the one reconstructs a window that it sees, the other has not seen the step it is
held against. The level is what is left of a fault that lasts, once both have followed it. It counts beyond its limit
only, and over many channels: a single channel changes its level in sound machines, too (docs/detection.md).

The whole window finds what no newest steps show, such as a batch that heats too slowly: each of its values is one that
the machine often has, and follows from the last. Usual errors of each phase make it a sharp measure. Of machines
without modes it raises false alarms, above all after a short history (docs/decisions/0043-alarm-score.md).

Logarithms, so that a ratio of 1000 in one channel does not hide two channels at 10, and a percentile of the score is
not made by the largest incident.
"""

import numpy as np

from monitor.core.arrays import Index
from monitor.core.records import Bools, Floats

NETWORK, FORECAST, LEVEL, WHOLE = range(4)  # places of the errors
STRONGEST = 3  # channels
SURE = 2.0  # times its limit the whole window begins to count: the edge of a short history is not known better
LEAST_BASE = 0.2  # of a threshold's percentile. Times 1.4 it is one channel alone at 1.3 times its limit


def errors_of(modes: bool) -> int:
    """Return how many errors V a channel has in windows of a model with modes, or without."""
    return WHOLE + 1 if modes else WHOLE


def at_limits(errors: Floats, limits: Floats) -> Floats:
    """Return the alarm scores (B,) of errors (B, V, C) at given limits (V, C) or (B, V, C)."""
    return alarm_scores(np.nan_to_num(errors / limits), ~np.isnan(errors))


def alarm_scores(ratios: Floats, observed: Bools | None = None) -> Floats:
    """Return the alarm scores (B,), 0 or above, of ratios (B, V, C) of errors to limits, 0 where not observed.

    `observed` (B, V, C) are the errors that there are, None = all. Means are over the channels that there are.
    """
    newest = np.float32(0.5) * (np.log1p(ratios[:, NETWORK]) + np.log1p(ratios[:, FORECAST]))
    level = np.log(np.maximum(np.float32(1), np.float32(0.5) * (1 + ratios[:, LEVEL])))
    C = newest.shape[1]
    result = _largest(newest, min(STRONGEST, C)) + _largest(level, (C + 1) // 2)
    if observed is not None and not observed.all():
        # Windows that lack a channel, each by itself: a score does not depend on which windows share its batch.
        place = np.flatnonzero(~observed.all((1, 2)))
        counts = np.maximum(1, np.count_nonzero(observed[place], axis=2))  # (K, V)
        result[place] = _largest_of_each(newest[place], np.minimum(STRONGEST, counts[:, NETWORK]))
        result[place] += _largest_of_each(level[place], (counts[:, LEVEL] + 1) // 2)
    if ratios.shape[1] > WHOLE:
        whole = ratios[:, WHOLE].max(1)  # it is that of the window, in each channel
        result += np.log(np.maximum(np.float32(1), (1 + whole) * np.float32(1 / (1 + SURE))))
    return result


def _largest(x: Floats, count: int) -> Floats:
    """Return the mean (B,) of the `count` largest of x (B, C)."""
    left = x.shape[1] - count
    result: Floats = np.partition(x, left, axis=1)[:, left:].mean(1)
    return result


def _largest_of_each(x: Floats, counts: Index) -> Floats:
    """Return the mean (B,) of the counts[i] largest of each row of x (B, C)."""
    falling = -np.sort(-x, axis=1)
    total = np.cumsum(falling, axis=1)[np.arange(len(x)), counts - 1]
    result: Floats = (total / counts).astype(np.float32)
    return result
