"""The alarm score: how far a window's few most exceptional channels are beyond their own limits.

An incident shows first, and often only, in a few channels. The mean over 38 channels hides what is exceptional in two
of them: 87 % of the labelled events of SMD are exceptional in a channel that the publisher names, 43 % in the mean.

A window has three errors per channel (`scorer.Scorer`): of the network, of the forecast, and of the level. Each is held
against a limit of its own, which follows the asset's channel (`channel_limits.py`). Of ratios r of error to limit:

    newest steps = mean over the STRONGEST largest channels of 1/2 log(1 + r_network) + 1/2 log(1 + r_forecast)
    level        = mean over the larger half of the channels of log(max(1, (1 + r_level) / 2))
    alarm score  = newest steps + level

Network and forecast have to agree: the one reconstructs a window that it sees, the other has not seen the step it is
held against. The level is what is left of a fault that lasts, once both have followed it. It counts beyond its limit
only, and over many channels: a single channel changes its level in sound machines, too (docs/detection.md).

A network that foresees how its channels move (`foresees`) is a sharper measure than that. Against its usual error, a
hundredth of how far channels move, a fault too small for any channel's limit stands out, and so does a batch that heats
too slowly, each of whose values is one that the machine often has. A model of such a network has no limits of channels:

    alarm score  = root of the score by the network

Scores are squared errors, so the root is a deviation in units of the edge of clean windows. Most recorded machines
cannot be foreseen so, and the same score gives them three to ten times the false alarms
(docs/decisions/0043-alarm-score.md).

Logarithms, so that a ratio of 1000 in one channel does not hide two channels at 10, and a percentile of the score is
not made by the largest incident.
"""

import numpy as np

from monitor.core.arrays import Index
from monitor.core.records import Bools, Floats

NETWORK, FORECAST, LEVEL = range(3)  # places of the errors
ERRORS = 3  # V of a model that does not foresee
STRONGEST = 3  # channels
FORESEEN = 10.0  # times its usual error a channel moves: 0.03 to 8 in recordings, 70 to 97 in simulated machines
LEAST_BASE = (
    0.2  # of a threshold's percentile. Times 1.4 it is one channel alone at 1.3 times its limit, or 8 % of an edge
)


def foresees(move: Floats, error: Floats) -> bool:
    """Return whether a network with usual errors (C,) foresees how its channels usually move (C,)."""
    return float(np.median(move / error)) >= FORESEEN


def at_limits(network: Floats, errors: Floats, limits: Floats) -> Floats:
    """Return the alarm scores (B,) of scores (B,) and errors (B, V, C) at given limits (V, C) or (B, V, C)."""
    return alarm_scores(network, np.nan_to_num(errors / limits), ~np.isnan(errors))


def alarm_scores(network: Floats, ratios: Floats, observed: Bools | None = None) -> Floats:
    """Return the alarm scores (B,), 0 or above.

    They are made of `ratios` (B, V, C) of errors to limits, 0 where not observed; if there are none (V = 0), as the
    network foresees, of its scores `network` (B,). `observed` (B, V, C) are the errors that there are, None = all.
    Means are over the channels that there are.
    """
    if not ratios.shape[1]:
        foreseen: Floats = np.sqrt(network)
        return foreseen
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
