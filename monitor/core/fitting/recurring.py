"""Patterns that come back: starts, stops, cleanings. What recurs belongs to the machine, and is learned.

Doubted blocks are those within alerts and those that the current model finds anomalous. Consecutive doubted blocks of
an asset are an episode. A doubted block recurs if its pattern occurred in episodes with an alert that began on `days`
different days (UTC), its own episode included. An episode that lasts for days began once, so a lasting fault does not
recur. Nor does a fault that never gave an alert.

A window has the pattern of a block if, in every channel, the two differ by at most LEVEL deviations (root mean square),
and if the model's error is at least 1 / FACTOR of the block's in every channel in which the block's error is more than
NOISE times the usual one. The first alone would take a small fault for one of the many windows of normal operation that
look like it. The second alone would take any two faults of a channel for the same. A pattern may lie at another step of
the block on another day, so a block is compared with all windows within the episodes and the blocks next to them.

Measured on machines that start and stop once a workday (`python -m benchmarks.recurring`): all 118 doubted blocks of
the first week recur from the third day on. Differences of residuals, relative to the residuals, find none of the
starts: what the model makes of a pattern that it does not know depends on the load.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.arrays import Doubles, Index
from monitor.core.fitting.corpus import Corpus
from monitor.core.model.forward import BATCH, Reconstruction
from monitor.core.model.model import Model
from monitor.core.model.scorer import squared_errors
from monitor.core.model.vae import VAE
from monitor.core.records import Bools, Floats, Times

LEVEL = 0.75
FACTOR = 4.0
NOISE = 4.0
MOST, LEAST = 2000, 20  # doubted blocks that are compared: of all assets, but at least of each; the newest ones
DAY_MS = 86_400_000


def recurring(corpus: Corpus, doubted: Bools, days: int, model: Model) -> Bools:
    """Return which blocks (K,) are doubted, but recur. The corpus has the channels of `model`; 0 days = none."""
    found = np.zeros(len(corpus), np.bool_)
    codes = np.unique(corpus.asset[doubted & corpus.alerted]).tolist()
    if not days or not codes:
        return found

    network, most = Reconstruction.of(VAE.of(model)), max(LEAST, MOST // len(codes))
    scaling_rows = model.scaling.rows(corpus.assets)
    for code in codes:
        own = np.flatnonzero(corpus.asset == code)
        own = own[np.argsort(corpus.end[own], kind="stable")]
        x = model.scaling.forward(corpus.values[own], np.full(len(own), scaling_rows[code]))
        end, marked = corpus.end[own], doubted[own]
        day = first_days(end, marked, corpus.alerted[own], corpus.values.shape[2] * corpus.step_ms)
        day[np.flatnonzero(day >= 0)[:-most]] = -1  # 2000 with each other take 10 s at 8 channels, 4000 take 40 s
        wanted = np.flatnonzero(day >= 0)
        if len(np.unique(day[wanted])) < days:
            continue
        past = _Past(x, corpus.observed[own], end, day, corpus.values.shape[2] * corpus.step_ms)
        found[own[wanted]] = past.days_of(wanted, network, model.calibration.error) >= days
    return found


def first_days(end: Times, doubted: Bools, alerted: Bools, block_ms: int) -> Times:
    """Return the day (K,) on which the episode of each block began; -1 = it is in no episode with an alert.

    Blocks are those of one asset, in the order of time, at least one.
    """
    # A block that is not doubted counts to the run before it, and is left out at the end.
    begins = np.append(True, ~doubted[:-1] | (np.diff(end) > block_ms))
    episode = np.cumsum(begins) - 1
    with_alert = np.zeros(len(end), np.bool_)
    with_alert[episode[doubted & alerted]] = True
    first = np.flatnonzero(begins)[episode]
    day: Times = np.where(doubted & with_alert[episode], end[first] // DAY_MS, -1)
    return day


@dataclass(frozen=True, slots=True)
class _Past:
    """The blocks of one asset, in the order of time."""

    x: Floats  # (K, C, L) scaled
    observed: Bools  # (K, C, L)
    end: Times  # (K,)
    day: Times  # (K,) on which the block's episode began; -1 = in none
    block_ms: int

    def days_of(self, wanted: Index, network: Reconstruction, usual: Floats) -> Times:
        """Return on how many days (n,) the pattern of each wanted block occurred."""
        error = _errors(network, self.x[wanted], self.observed[wanted], usual)  # (n, C)
        alike: dict[int, Bools] = {}
        for place in self._places():
            windows, observed = self._windows(place)
            day = int(self.day[max(place - 1, 0) : place + 2].max())  # of the episode that it is in or next to
            near = _differences(windows, self.x[wanted]) <= LEVEL  # (W, n)
            some = np.flatnonzero(near.any(1))
            if not len(some):
                continue
            theirs = _errors(network, windows[some], observed[some], usual)  # (W', C)
            off = (theirs[:, None] >= error / FACTOR) | (error <= NOISE)  # (W', n, C)
            same = (near[some] & off.all(2)).any(0)
            alike[day] = alike.get(day, np.zeros(len(wanted), np.bool_)) | same
        return np.sum(list(alike.values()), axis=0, dtype=np.int64) if alike else np.zeros(len(wanted), np.int64)

    def _places(self) -> list[int]:
        """Return the places of blocks in episodes and next to one."""
        inside = self.day >= 0
        near = inside | np.append(inside[1:], False) | np.append(False, inside[:-1])
        return np.flatnonzero(near).tolist()

    def _windows(self, place: int) -> tuple[Floats, Bools]:
        """Return the windows (W, C, L) that begin in the block at `place`, and where they are observed."""
        L = self.x.shape[2]
        follows = place + 1 < len(self.end) and self.end[place + 1] - self.end[place] == self.block_ms
        x, observed = self.x[place], self.observed[place]
        if follows:
            x = np.concatenate((x, self.x[place + 1, :, :-1]), 1)
            observed = np.concatenate((observed, self.observed[place + 1, :, :-1]), 1)
        cut = (sliding_window_view(each, L, axis=1).swapaxes(0, 1) for each in (x, observed))
        windows, seen = (np.ascontiguousarray(each) for each in cut)
        return windows, seen


def _differences(windows: Floats, blocks: Floats) -> Doubles:
    """Return the root mean square difference (W, n) of windows (W, C, L) and blocks (n, C, L), of the worst channel."""
    L = blocks.shape[2]
    result = np.zeros((len(windows), len(blocks)))
    for channel in range(blocks.shape[1]):
        w, b = windows[:, channel].astype(np.float64), blocks[:, channel].astype(np.float64)
        square = (w * w).sum(1)[:, None] + (b * b).sum(1) - 2 * (w @ b.T)
        np.maximum(result, np.sqrt(np.maximum(square, 0) / L), out=result)
    return result


def _errors(network: Reconstruction, x: Floats, observed: Bools, usual: Floats) -> Doubles:
    """Return the mean squared error (n, C) of each channel in units of the usual one, over its observed cells."""
    parts = []
    for begin in range(0, len(x), BATCH):
        seen = observed[begin : begin + BATCH]
        _, squared = squared_errors(network, x[begin : begin + BATCH].copy(), seen)
        parts.append(squared.sum(2, dtype=np.float64) / np.maximum(seen.sum(2), 1) / usual)
    return np.concatenate(parts)
