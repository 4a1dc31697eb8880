"""What is read off a window once it was reconstructed: how far each channel is from usual, over several horizons.

Two questions have two answers. Whether a window is anomalous is judged by its reconstruction (`by_horizon`,
`over_channels`). Which channel is the cause is told by how far each has just moved (`moves`): an error of
reconstruction spreads over all channels, as they share one bottleneck, whereas the channel that moved is the one that
moved. Measured on 175 explained incidents of servers: docs/detection.md.

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


def by_horizon(error: Floats, observed: Bools, usual: Floats) -> Floats:
    """Mean error per horizon and channel (B, H, C) of `error` (B, C, L) over `usual` (C,); 0 where nothing was seen."""
    total = np.nan_to_num(error, nan=0.0)
    H = [total[:, :, -h:].sum(2) / np.maximum(1, observed[:, :, -h:].sum(2)) / usual for h in horizons(error.shape[2])]
    return np.stack(H, 1).astype(np.float32)


def over_channels(parts: Floats, observed: Bools) -> Floats:
    """Mean over the channels observed within each horizon: parts (B, H, C) -> (B, H)."""
    seen = np.stack([observed[:, :, -h:].any(2).sum(1) for h in horizons(observed.shape[2])], 1)
    result: Floats = parts.sum(2) / np.maximum(1, seen)
    return result


def moves(x: Floats, observed: Bools, steps: int) -> Floats:
    """Mean squared distance (B, C) of the last `steps` steps from the mean of those before; x (B, C, L) scaled.

    Only observed cells count; 0 where the last steps hold none. Without any before them, 0, the center, stands for
    their mean.
    """
    seen = np.where(observed, x, np.float32(0))
    before = seen[:, :, :-steps].sum(2) / np.maximum(1, observed[:, :, :-steps].sum(2))
    squared = np.where(observed[:, :, -steps:], (x[:, :, -steps:] - before[:, :, None]) ** 2, np.float32(0))
    result: Floats = squared.sum(2) / np.maximum(1, observed[:, :, -steps:].sum(2))
    return result.astype(np.float32)


def beyond_usual(move: Floats, usual: Floats) -> Floats:
    """By how many times its usual (C,) each channel's move (B, C) exceeds CHATTER times that; 0 if it does not."""
    result: Floats = np.maximum(move / usual - np.float32(CHATTER), 0)
    return result
