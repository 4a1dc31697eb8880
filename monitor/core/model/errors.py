"""What is read off a window once it was reconstructed: how far each channel is from usual, over several horizons.

Whether a window is anomalous (`read_out`, `over_channels`) is judged by its reconstruction and by its level: what is
far from where it was in training, however well it is reconstructed. How far a channel has just moved (`moves`) helps to
tell which one is the cause: `monitor.core.model.detector.Detector` says when.

Everything here is a function of one window, so a row does not depend on which windows share its batch.
"""

import numpy as np

from monitor.core.records import Bools, Floats

CHATTER = 3.0  # times its usual move, in squares: a healthy channel is beyond it in one step of twelve if Gaussian


def horizons(length: int) -> tuple[int, ...]:
    """Numbers of newest steps over which errors are averaged: the whole window, a quarter, a sixteenth."""
    return tuple(sorted({length, max(1, length // 4), newest(length)}, reverse=True))


def newest(length: int) -> int:
    """The shortest horizon, a sixteenth of the window: 4 of 64 steps, as many as an alert lasts before it fires."""
    return max(1, length // 16)


def read_out(x: Floats, error: Floats, observed: Bools, usual: Floats) -> Floats:
    """Parts (B, H + 1, C) of each channel; x and `error` (B, C, L) in scaled units, the latter 0 where not observed.

    For each horizon the mean error over the channel's `usual` (C,), and last the level: the squared mean of x over the
    window. 0 where a channel was not observed in the horizon.
    """
    parts = [error[:, :, -h:].sum(2) / _cells(observed[:, :, -h:]) / usual for h in horizons(x.shape[2])]
    level = (_seen(x, observed).sum(2) / _cells(observed)) ** 2
    return np.stack([*parts, level], 1).astype(np.float32)


def channels_seen(observed: Bools) -> Floats:
    """Number of channels (B, H + 1) observed at all in each horizon and, for the level, in the window; at least 1."""
    B, C, L = observed.shape
    spans = (*horizons(L), L)
    if observed.all():
        return np.full((B, len(spans)), C, np.float32)
    seen: Floats = np.stack([observed[:, :, -h:].any(2).sum(1) for h in spans], 1).astype(np.float32)
    return np.maximum(1, seen)


def over_channels(parts: Floats, seen: Floats) -> Floats:
    """Mean of parts (B, H + 1, C) over the channels seen (B, H + 1)."""
    result: Floats = parts.sum(2) / seen
    return result


def moves(x: Floats, observed: Bools, steps: int) -> Floats:
    """Mean squared distance (B, C) of the last `steps` steps from the mean of those before; x (B, C, L) scaled.

    Only observed cells count; 0 where the last steps hold none. Without any before them, 0, the center, stands for
    their mean.
    """
    seen, last = _seen(x, observed), observed[:, :, -steps:]
    before = seen[:, :, :-steps].sum(2) / _cells(observed[:, :, :-steps])
    squared = (seen[:, :, -steps:] - before[:, :, None]) ** 2 * last
    result: Floats = squared.sum(2) / _cells(last)
    return result.astype(np.float32)


def beyond_usual(move: Floats, usual: Floats) -> Floats:
    """By how many times its usual (C,) each channel's move (B, C) exceeds CHATTER times that; 0 if it does not."""
    result: Floats = np.maximum(move / usual - np.float32(CHATTER), 0)
    return result


def _seen(x: Floats, observed: Bools) -> Floats:
    """Values (B, C, L), 0 where not observed; `x` itself where all were, which is the rule and saves the copy."""
    result: Floats = x if observed.all() else np.where(observed, x, np.float32(0))
    return result


def _cells(observed: Bools) -> Floats:
    """Number of cells observed (B, C), at least 1."""
    if observed.all():
        return np.full(observed.shape[:2], max(1, observed.shape[2]), np.float32)
    cells: Floats = observed.sum(2).astype(np.float32)
    return np.maximum(1, cells)
