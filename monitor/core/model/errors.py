"""Window errors: how far each channel of a reconstructed window is from usual, over several horizons.

Reconstruction and level decide whether a window is anomalous (`window_errors`, `over_channels`). The level catches a
window that lies far from the training data and is reconstructed well nevertheless. The recent change of a channel
(`recent_change`) helps to find the cause: `scorer.Scorer` says when.

Everything here is a function of one window, so a row does not depend on which windows share its batch.
"""

import numpy as np

from monitor.core.records import Bools, Floats

CHATTER = 3.0  # times its usual change, in squares: a healthy channel is beyond it in one step of twelve if Gaussian


def horizons(length: int) -> tuple[int, ...]:
    """Return over how many newest steps errors are averaged: the whole window, a quarter, a sixteenth."""
    return tuple(sorted({length, max(1, length // 4), newest(length)}, reverse=True))


def newest(length: int) -> int:
    """Return the shortest horizon, a sixteenth of the window: 4 of 64 steps, as long as an alert takes to fire."""
    return max(1, length // 16)


def window_errors(x: Floats, error: Floats, observed: Bools, usual: Floats) -> Floats:
    """Return the errors (B, H + 1, C) of each channel, per horizon and, last, of the level.

    `x` and `error` (B, C, L) are in scaled units, `error` is 0 where not observed. The error of a horizon is the mean
    over its observed cells, divided by the channel's `usual` error (C,). The error of the level is the squared mean of
    `x` over the window. A channel that was not observed in a horizon has 0 there.
    """
    parts = [error[:, :, -h:].sum(2) / _cells(observed[:, :, -h:]) / usual for h in horizons(x.shape[2])]
    level = window_mean(x, observed) ** 2
    return np.stack([*parts, level], 1).astype(np.float32)


def window_mean(x: Floats, observed: Bools) -> Floats:
    """Return the mean (B, C) of `x` (B, C, L) over its observed cells; 0 without any."""
    result: Floats = _seen(x, observed).sum(2) / _cells(observed)
    return result


def channels_seen(observed: Bools) -> Floats:
    """Return how many channels (B, H + 1) were observed in each horizon and, for the level, in the window; at least 1.

    `observed` is (B, C, L).
    """
    B, C, L = observed.shape
    spans = (*horizons(L), L)
    if observed.all():
        return np.full((B, len(spans)), C, np.float32)

    seen: Floats = np.stack([observed[:, :, -h:].any(2).sum(1) for h in spans], 1).astype(np.float32)
    return np.maximum(1, seen)


def over_channels(parts: Floats, seen: Floats) -> Floats:
    """Return the mean (B, H + 1) of `parts` (B, H + 1, C) over the number of channels `seen` (B, H + 1)."""
    result: Floats = parts.sum(2) / seen
    return result


def recent_change(x: Floats, observed: Bools, steps: int) -> Floats:
    """Return the mean squared distance (B, C) of the last `steps` steps from the mean of the steps before them.

    `x` (B, C, L) is scaled. Only observed cells count. The change is 0 where no cell of the last steps was observed.
    Where no cell before them was, 0, the center of the scaling, stands for their mean.
    """
    seen, last = _seen(x, observed), observed[:, :, -steps:]
    before = seen[:, :, :-steps].sum(2) / _cells(observed[:, :, :-steps])
    squared = (seen[:, :, -steps:] - before[:, :, None]) ** 2 * last
    result: Floats = squared.sum(2) / _cells(last)
    return result.astype(np.float32)


def excess_change(change: Floats, usual: Floats) -> Floats:
    """Return each channel's change (B, C) in units of its usual one (C,), less CHATTER; 0 if it is below CHATTER."""
    result: Floats = np.maximum(change / usual - np.float32(CHATTER), 0)
    return result


def _seen(x: Floats, observed: Bools) -> Floats:
    """Return `x` (B, C, L) with 0 where not observed; `x` itself if all was, the usual case, to save the copy."""
    result: Floats = x if observed.all() else np.where(observed, x, np.float32(0))
    return result


def _cells(observed: Bools) -> Floats:
    """Return the number of observed cells (B, C), at least 1."""
    if observed.all():
        return np.full(observed.shape[:2], max(1, observed.shape[2]), np.float32)

    cells: Floats = observed.sum(2).astype(np.float32)
    return np.maximum(1, cells)
