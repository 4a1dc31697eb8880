"""How far the error of each channel is above the limit that the asset's own errors in that channel rarely exceed.

A window has V errors per channel, one for each way to expect the channel's values, in scaled units squared, or none if
the network foresees (`alarm.py`). For each asset, error and channel ONE number is kept: the log of its limit, a
quantile that follows the asset's own errors. After each block of BLOCK windows of the asset:

    log limit += RATE * (windows above the limit - windows in which the channel was observed * (1 - QUANTILE))

In equilibrium an error exceeds its limit in a share 1 - QUANTILE of the windows. Each window above raises the limit by
RATE, 2 %. Each other window lowers it by RATE * (1 - QUANTILE), 0.02 %. So a channel that was constant in training and
moves every hour since then raises its limit once, and is normal after that. Against a fixed limit it would stay odd.

A limit is at least LEAST, one deviation of training squared, however still the channel is. It is at most MOST, which no
error reaches for long.

What a limit has followed it forgives for a while: after 230 windows at an error of 100 it is at 61, and 11 500 windows
at rest take it below 10. Otherwise a fault that comes and goes would be new each time.

Guaranteed: an asset's limits are a function of its own windows in their order, and of the models in use. They change
only after each BLOCK-th window of the asset. So neither the cut into batches nor other assets matter.

Logs are float32. They are below 28, where float32 has steps of 2e-6, and a block in which a channel was observed moves
them by at least RATE * (1 - QUANTILE) = 2e-4, so no limit gets stuck. An asset takes 6 bytes for each error of a
channel, and one more: 145 bytes with 3 errors of 8 channels, 685 with 3 errors of 38 channels.
"""

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import Doubles, Index, first_of_run, ordinals
from monitor.core.records import Bools, Floats, Ints, State, Times
from monitor.core.state import Column, Columns, Table, unfit

QUANTILE = 0.99
RATE = 0.02  # of a limit's log, for each window above
BLOCK = 32  # windows of an asset
LEAST = 1.0  # scaled units squared
MOST = 1e5  # a value is within 5 (scaling.CLIP), and a forecast is bounded, too

LOWEST, HIGHEST = float(np.log(LEAST)), float(np.float32(np.log(MOST)))  # logs; both are exact in float32

_STAGE = "channel limits"
_TABLE: Table = {
    "count": Column("u1", low=0, high=BLOCK - 1),  # windows of the block so far
    "limit": Column("f4", ("A", "V", "C"), fill=np.nan, low=LOWEST, high=HIGHEST, nan=True),  # log; NaN = not begun
    "above": Column("u1", ("A", "V", "C"), low=0, high=BLOCK - 1),  # windows of the block above the limit
    "missed": Column("u1", ("A", "V", "C"), low=0, high=BLOCK - 1),  # windows of the block without the channel
}


def bytes_per_asset(errors: int, channels: int) -> int:
    """Return how many bytes of state an asset takes."""
    return 6 * errors * channels + 1


class ChannelLimits:
    """The limits of all assets of one partition."""

    def __init__(self) -> None:
        self._starts: Floats = np.empty((0, 0), np.float32)  # (V, C) logs
        self._columns = Columns(_STAGE, _TABLE)

    def use(self, starts: Floats) -> None:
        """Begin new assets at the limits `starts` (V, C) of the model in use; a NaN counts as LEAST.

        Limits of known assets are kept if they have that shape, and are dropped otherwise.
        """
        self._starts = _logs(starts).astype(np.float32)
        self._fit()

    def rebase(self, old: Floats, new: Floats) -> None:
        """Convert the limits of known assets from a model with starts `old` (V, C) to one with starts `new` (V, C).

        A limit falls in proportion to its start, and is at least the new start where that rose: the asset's own limit
        may have followed already what the new model has learned. Starts below LEAST count as LEAST. No-op if the
        shapes differ, since `use` will drop the limits.
        """
        limits = self._columns["limit"]
        if not old.shape == new.shape == limits.shape[1:]:
            return
        change = _logs(new) - _logs(old)
        moved = np.where(change < 0, limits + change, np.maximum(limits, _logs(new)))
        limits[:] = np.where(np.isnan(limits), limits, _bounded(moved))

    def update(self, assets: Ints, errors: Floats) -> Floats:
        """Return the ratios (B, V, C) of errors to limits, then learn from the errors.

        `errors` (B, V, C) are of rows `assets` (B,), in the order of each asset. They are finite and at least 0, or NaN
        where the channel was not observed. The ratio is 0 there.
        """
        self._fit()
        if not errors.size:
            return np.empty(errors.shape, np.float32)
        missed = np.isnan(errors)
        whole = not missed.any()
        errors = errors if whole else np.where(missed, np.float32(0), errors)
        ratios = np.empty(errors.shape, np.float32)

        # Sorted by asset: the windows of one asset follow each other, in their order.
        order = np.argsort(assets, kind="stable")
        run = assets[order]
        at = np.flatnonzero(first_of_run(run))
        ends = np.append(at[1:], len(run))[: len(at)]
        rows = run[at].astype(np.intp)
        self._begin(rows)

        # A round takes each asset to the end of its block at most, so one limit applies to the whole round.
        while len(rows):
            counts = self._columns["count"][rows]
            stop = np.minimum(at + (BLOCK - counts), ends)
            numbers = stop - at
            which = np.repeat(np.arange(len(rows)), numbers)
            place = order[at[which] + ordinals(numbers)]
            limits = np.exp(self._columns["limit"][rows])
            found = errors[place] / limits[which]
            ratios[place] = found

            self._columns["count"][rows] += numbers.astype(np.uint8)
            self._columns["above"][rows] += _sums(found > 1, numbers)
            if not whole:
                self._columns["missed"][rows] += _sums(missed[place], numbers)
            self._learn(rows[counts + numbers == BLOCK])
            going = stop < ends
            rows, at, ends = rows[going], stop[going], ends[going]
        return ratios

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def _fit(self) -> None:
        """Drop all limits if they have another shape than the starts."""
        if self._columns["limit"].shape[1:] == self._starts.shape:
            return
        self._columns = Columns(_STAGE, _TABLE)
        for axis, size in zip("VC", self._starts.shape, strict=True):
            self._columns.pick(np.full(size, -1), axis)

    def _begin(self, rows: Index) -> None:
        """Set the limits of `rows` (n,) to the starts if the asset is new. Rows ascend."""
        if not len(rows):
            return
        self._columns.reserve(int(rows[-1]) + 1)
        limits = self._columns["limit"][rows]
        new = np.isnan(limits)
        if new.any():
            self._columns["limit"][rows] = np.where(new, self._starts, limits)

    def _learn(self, rows: Index) -> None:
        """Move the limits of `rows` (n,), each at the end of its block, and start the next block."""
        if not len(rows):
            return
        limit, above, missed = (self._columns[name][rows] for name in ("limit", "above", "missed"))
        move = RATE * (above - (BLOCK - missed) * (1 - QUANTILE))
        self._columns["limit"][rows] = _bounded(limit + move)
        for name in ("count", "above", "missed"):
            self._columns[name][rows] = 0

    def save_state(self) -> State:
        """Return all that `load_state` needs to continue exactly from here."""
        return self._columns.save()

    def load_state(self, state: State) -> None:
        """Continue from a saved state, before or after `use` of the model that it was saved with.

        Raises ValueError, and changes nothing, if the state does not fit.
        """
        self._columns.check(state)
        counted = state["above"] + state["missed"]
        if (counted > state["count"][:, None, None]).any():
            raise unfit(_STAGE, "above + missed", "more than count", "at most count")
        self._columns.load(state)


def within(limits: Floats) -> Floats:
    """Return limits between LEAST and MOST; a NaN counts as LEAST."""
    result: Floats = np.fmin(np.fmax(limits, np.float32(LEAST)), np.float32(MOST))
    return result


def converted(limits: Floats, old: Floats, new: Floats) -> Floats:
    """Return limits of a model with starts `old` as those of one with starts `new`, as `rebase` does. All are (n,).

    Limits of another shape are of other channels: none is returned.
    """
    if not limits.shape == old.shape == new.shape:
        return limits[:0]
    return within((limits * np.exp(_logs(new) - _logs(old))).astype(np.float32))


def _logs(limits: Floats) -> Doubles:
    """Return the logs of limits, between LEAST and MOST."""
    logs: Doubles = np.log(np.fmin(np.fmax(limits.astype(np.float64), LEAST), MOST))
    return logs


def _bounded(logs: Doubles) -> Floats:
    """Return logs of limits within their bounds, as they are kept; NaN stays NaN."""
    return np.clip(logs, LOWEST, HIGHEST).astype(np.float32)


def _sums(cells: Bools, numbers: Times) -> npt.NDArray[np.uint8]:
    """Return how often cells (K, V, C) are True in each group of windows, as (n, V, C).

    Groups follow each other, group i with `numbers[i]` windows, at least 1. There are two ways to the same sums, each
    several times slower where the other one is used.
    """
    ones, first = cells.view(np.uint8), np.cumsum(numbers) - numbers
    if numbers.max() > len(numbers):  # few long groups: assets that catch up
        summed: npt.NDArray[np.uint8] = np.add.reduceat(ones, first, 0, dtype=np.uint8)
        return summed
    sums: npt.NDArray[np.uint8] = ones[first]
    for ordinal in range(1, int(numbers.max())):
        going = np.flatnonzero(numbers > ordinal)
        sums[going] += ones[first[going] + ordinal]
    return sums
