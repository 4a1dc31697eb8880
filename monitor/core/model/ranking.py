"""The ranking score: how anomalous a window is, to be shown and sorted by.

Alerts are decided by the alarm score (`alarm.py`), which follows each channel and forgives what lasts. A ranking must
not forgive: the window in the middle of an incident is as anomalous as the first one.

The network's score is the largest of several horizons. The forecast of a window covers its newest n steps only, so its
longer horizons are means over the last windows of the asset: over those whose newest steps lie within the horizon. Each
mean is divided by its own edge on clean windows, and the largest is the score of the forecast. Holes in time between
windows are ignored, and windows without an observed channel do not count.

    1 + score = (1 + network)^0.4 * (1 + forecast)^0.4 * (1 + alarm / edge of the alarm score)^0.2

Guaranteed: a score is a function of the asset's own windows in their order, and of the model in use. Values are summed
as whole numbers, so neither the cut into batches nor other assets matter.

For each asset the running sums of its values at its last M windows are kept, M being the longest span. The sum over a
span is a difference of two. A running sum counts values, too: it grows by _COUNT and the value in whole units. It may
wrap, since the difference of two does not. An asset takes 8 bytes for each window: 492 with windows of 64 steps.
"""

import numpy as np

from monitor.core.arrays import Doubles, first_of_run, ordinals
from monitor.core.model.errors import newest
from monitor.core.model.forecaster import SPANS
from monitor.core.records import Floats, Ints, State, Times
from monitor.core.state import Column, Columns, Table

# Of network, forecast and alarm score. Logs of three scores whose tails differ in length: an arithmetic mean would be
# the one with the longest tail. The quality of the ranking hardly depends on the weights (measured on labelled sets).
WEIGHTS = (0.4, 0.4, 0.2)
LEAST_ALARM = 0.01  # edge of the alarm score at least: clean windows in which no channel moves score 0

_UNITS = 2**24  # of a value, in a running sum
_COUNT_BITS = 47
_COUNT = 2**_COUNT_BITS  # of a value that counts: above MOST * _UNITS * 2**16 windows

_STAGE = "ranking"
_TABLE: Table = {
    "place": Column("i4", below="M"),  # of the newest window in "sum"
    "sum": Column("i8", ("A", "M")),  # (A, M) running sums, in a ring; 0 before an asset's first window
}


def spans(length: int) -> tuple[int, ...]:
    """Return how many windows (SPANS,) each mean is over: those whose newest steps lie within a horizon."""
    n = newest(length)
    return 1, max(1, length // 4) - n + 1, length - n + 1


def bytes_per_asset(length: int) -> int:
    """Return how many bytes of state an asset takes, with windows of `length` steps."""
    return 8 * max(spans(length)) + 4


class Ranking:
    """The ranking scores of windows, and the last forecast errors of all assets of one partition."""

    def __init__(self, length: int) -> None:
        """Start without assets, for windows of `length` steps."""
        self.length = length
        self._edges: Doubles = np.ones(SPANS)
        self._alarm_edge = 1.0
        self._spans = spans(length)
        self._longest = max(self._spans)  # M
        self._columns = Columns(_STAGE, _TABLE, M=self._longest)

    def use(self, forecast_edges: Floats, alarm_edge: float) -> None:
        """Score by the edges of a model's clean windows: `forecast_edges` (SPANS,) of the means, and of the alarm."""
        self._edges = forecast_edges.astype(np.float64)
        self._alarm_edge = max(LEAST_ALARM, alarm_edge)

    def update(self, assets: Ints, network: Floats, forecast: Floats, alarm: Floats) -> Floats:
        """Return the ranking scores (B,) of windows of rows `assets` (B,), in the order of each asset.

        `network` (B,) are the network's scores, `forecast` (B,) the errors as `means` takes them, and `alarm` (B,) the
        alarm scores.
        """
        highest = (self.means(assets, forecast) / self._edges).max(1)
        parts = network.astype(np.float64), highest, alarm.astype(np.float64) / self._alarm_edge
        total = np.zeros(len(assets))
        for weight, part in zip(WEIGHTS, parts, strict=True):
            total += weight * np.log1p(part)
        return np.expm1(total).astype(np.float32)

    def means(self, assets: Ints, forecast: Floats) -> Doubles:
        """Return the means (B, SPANS) over the last windows of each asset, then keep their sums.

        `forecast` (B,) are values of `Forecaster.over_channels`, of rows `assets` (B,) in the order of each asset. A
        mean is over fewer windows at an asset's beginning. NaN does not count, and a mean without any value is 0.
        """
        result = np.zeros((len(assets), SPANS))
        if not len(assets):
            return result

        # Sorted by asset: the windows of one asset follow each other, in their order.
        order = np.argsort(assets, kind="stable")
        run = assets[order].astype(np.intp)
        at = np.flatnonzero(first_of_run(run))
        rows, numbers = run[at], np.diff(at, append=len(run))
        ordinal = ordinals(numbers)
        self._columns.reserve(int(rows[-1]) + 1)

        # The running sums go on from the newest ones.
        value = _packed(forecast[order])
        place, sums = self._columns["place"][rows], self._columns["sum"]
        total = np.cumsum(value)
        total += np.repeat(sums[rows, place] - (total[at] - value[at]), numbers)

        # The sum at a span's beginning is in the batch, or is a kept one.
        now = np.repeat(place, numbers) + ordinal + 1
        for number, span in enumerate(self._spans):
            before = sums[run, (now - span) % self._longest]
            inside = np.flatnonzero(ordinal >= span)
            before[inside] = total[inside - span]
            result[order, number] = _mean(total - before)

        newest_ones = np.flatnonzero(ordinal >= np.repeat(numbers - self._longest, numbers))
        sums[run[newest_ones], now[newest_ones] % self._longest] = total[newest_ones]
        self._columns["place"][rows] = (place + numbers) % self._longest
        return result

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def save_state(self) -> State:
        """Return all that `load_state` needs to continue exactly from here, with `use` of the same model."""
        return self._columns.save()

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError, and changes nothing, if the state does not fit."""
        self._columns.check(state, M=self._longest)
        self._columns.load(state)


def _packed(values: Floats) -> Times:
    """Return by how much each of values (n,) raises a running sum; 0 where NaN."""
    seen = ~np.isnan(values)
    units = np.rint(np.where(seen, values, np.float32(0)) * np.float64(_UNITS))
    packed: Times = units.astype(np.int64)
    packed[seen] += _COUNT
    return packed


def _mean(sums: Times) -> Doubles:
    """Return the mean of the values in each of differences (n,) of running sums; 0 without any value."""
    count = np.maximum(1, sums >> _COUNT_BITS)
    result: Doubles = (sums & (_COUNT - 1)) / (count * float(_UNITS))
    return result
