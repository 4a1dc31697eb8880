"""A linear forecaster: the newest steps of a window from the steps before them.

A reconstruction sees the window that it explains, so it can follow a fault into it. A forecast has not seen the step
that it is compared with. Linear models with a solution in closed form detect as well as deep ones on public data
(arXiv:2602.00672).

The `newest` n steps of a window are forecast, each from steps of the same window: for a target step t, the LAGS steps
before t of all channels, two exponential means over the L - n steps before t, and a constant. So a forecast is a
function of the window alone, linear in it, and all targets share one matrix of weights. It is fitted in
fitting/forecast.py. From 260 channels on fewer steps count, down to none, so that the fit stays affordable.

The forecast of a window does not depend on which windows share its batch, nor on the machine. The kernels of a matrix
product add in an order that depends on the number of rows and on the place of a row (measured: rows 12 to 15 of 16
differ from the others in the last bit). So all sums are exact: features are rounded to whole UNITS, and weights to a
power of 2 that keeps every sum below 2**24 units, where float32 holds each whole number. That moves usual errors by
less than 0.3 % (measured).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from monitor.core.arrays import Doubles
from monitor.core.model.errors import newest
from monitor.core.records import Bools, Floats

LAGS = 8  # steps before the target; fewer if the window is too short, or with many channels
RATES = (0.1, 0.02)  # of the exponential means
# A fit grows with the cube of the features, and its memory with the square. 2561 features (256 channels) take 16 s of a
# processor and 0.5 GB, 10 241 (1024 channels with all LAGS) would take a quarter of an hour and some 8 GB.
MOST_FEATURES = 2600  # the means and the constant are always there, so more than 1299 channels exceed it
LEAST_USUAL = 0.01  # scaled units squared: a tenth of a deviation is no news in a channel that is forecast better
MOST = 100.0  # times its usual error that a channel counts at most: otherwise one channel would be the whole score
TOGETHER = 128  # windows whose features are made at once: of 38 channels, 0.8 MB
SPANS = 3  # numbers of windows over which errors are averaged (`ranking.spans`)
UNITS = 128  # of a feature in one scaled unit: rounding to them adds 5e-6 to the squared error
_MEAN = 2**14  # sum of the weights of an exponential mean: times CLIP * UNITS it is below 2**24
_SUM = (
    2**14
)  # sum of the weights of a forecast, in the power of 2 that they are rounded to; likewise up to 1900 channels


def lags(channels: int, length: int) -> int:
    """Return how many single steps before a target count, in windows of `channels` and `length` steps; may be 0."""
    fitting = (MOST_FEATURES - 1) // channels - len(RATES)
    return max(0, min(LAGS, length - newest(length), fitting))


def feature_count(channels: int, length: int) -> int:
    """Return the number F of features of a forecast."""
    return channels * (lags(channels, length) + len(RATES)) + 1


@dataclass(frozen=True, slots=True)
class Forecaster:
    """A fitted forecaster. The names of the fields are those of a model file's arrays."""

    weights: Floats  # (F, C) rows in the order of `features`, scaled units
    usual: Floats  # (C,) mean squared error of windows that were not fitted on, at least LEAST_USUAL
    edges: Floats  # (SPANS,) LIMIT quantiles (fitting/errors.py) of `Ranking.means` of windows that were not fitted on

    def forecast(self, x: Floats) -> Floats:
        """Return the forecasts (B, C, n) of the newest n steps of windows x (B, C, L).

        All are in scaled units, which are within CLIP of 0; x is 0 where not known.
        """
        B, C, L = x.shape
        n = newest(L)
        result = np.empty((B, C, n), np.float32)
        for begin in range(0, B, TOGETHER):
            rows = features(x[begin : begin + TOGETHER]).reshape(-1, len(self.weights))
            steps = _product(rows, self.weights).reshape(-1, n, C)
            result[begin : begin + TOGETHER] = steps.transpose(0, 2, 1)
        result /= np.float32(UNITS)
        return result

    def errors(self, x: Floats, observed: Bools) -> Floats:
        """Return the errors (B, C) of the forecasts of windows x (B, C, L), as `newest_error` does."""
        return newest_error(squared(x, self.forecast(x), observed), observed)

    def ratios(self, error: Floats) -> Floats:
        """Return each channel's error (B, C) in units of its usual one, at most MOST; 0 where `error` is NaN."""
        ratio = np.minimum(error / self.usual, np.float32(MOST))
        result: Floats = np.where(np.isnan(error), np.float32(0), ratio)
        return result

    def over_channels(self, error: Floats) -> Floats:
        """Return the mean (B,) of `ratios` of errors (B, C) over the channels that are not NaN; NaN without any."""
        channels = np.count_nonzero(~np.isnan(error), axis=1)
        result: Floats = self.ratios(error).sum(1) / np.maximum(1, channels).astype(np.float32)
        result[channels == 0] = np.nan
        return result

    def check(self, channels: int, length: int) -> None:
        """Raise ValueError unless the arrays fit windows of these sizes, are finite and can be divided by."""
        expected = {
            "weights": ((feature_count(channels, length), channels), "float32"),
            "usual": ((channels,), "float32"),
            "edges": ((SPANS,), "float32"),
        }
        arrays = {name: getattr(self, name) for name in self.__slots__}
        found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        if found != expected:
            raise ValueError(f"the forecaster has arrays of {found}, expected {expected}")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("the forecaster holds a number that is not finite")
        if not ((self.usual > 0).all() and (self.edges > 0).all()):
            raise ValueError("a usual error or an edge of the forecaster is not above 0")


def features(x: Floats) -> Floats:
    """Return the features (B, n, F) of the newest n steps of windows x (B, C, L), in whole UNITS.

    In a row, each with all channels: the steps before the target, oldest first, and the means, in the order of RATES.
    The constant, one scaled unit, is last.
    """
    B, C, L = x.shape
    n, count = newest(L), lags(C, L)
    result = np.empty((B, n, feature_count(C, L)), np.float32)
    units: Floats = x * np.float32(UNITS)
    np.rint(units, out=units)

    # The steps before a target are a part of the newest ones, once these are in order of time.
    steps = np.ascontiguousarray(units[:, :, L - n - count : L - 1].transpose(0, 2, 1)).reshape(B, -1)
    for target in range(n):
        result[:, target, : count * C] = steps[:, target * C : (target + count) * C]

    means = _product(units.reshape(B * C, L), _mean_weights(L))
    means /= np.float32(_MEAN)
    np.rint(means, out=means)
    parts = means.reshape(B, C, len(RATES), n).transpose(0, 3, 2, 1)
    result[:, :, count * C : -1] = parts.reshape(B, n, len(RATES) * C)
    result[:, :, -1] = UNITS
    return result


def rounded(weights: Doubles) -> Floats:
    """Return weights (F, C) rounded for exact sums, each channel's to a power of 2."""
    total = np.maximum(np.abs(weights).sum(0), 1e-6)
    step = 2.0 ** np.ceil(np.log2(total / _SUM))
    result: Floats = (np.rint(weights / step) * step).astype(np.float32)
    return result


def squared(x: Floats, forecast: Floats, observed: Bools) -> Floats:
    """Return the squared error (B, C, n) of each forecast (B, C, n) of windows x (B, C, L), 0 where not observed."""
    n = forecast.shape[2]
    error: Floats = x[:, :, -n:] - forecast
    error *= error
    error *= observed[:, :, -n:]
    return error


def newest_error(error: Floats, observed: Bools) -> Floats:
    """Return the mean (B, C) of squared errors (B, C, n) over the observed cells; NaN where none was observed.

    `observed` is (B, C, L), and errors are 0 where not observed.
    """
    n = error.shape[2]
    seen = observed[:, :, -n:]
    total: Floats = error.sum(2)
    if seen.all():  # the usual case; the count takes as long as the sum
        np.divide(total, n, out=total)
        return total

    cells = seen.sum(2)
    np.divide(total, np.maximum(1, cells), out=total, casting="same_kind")
    total[cells == 0] = np.nan
    return total


def _product(rows: Floats, weights: Floats) -> Floats:
    """Return the matrix product, on as many threads as the network.

    NumPy would use all cores, and wait for them: on a loaded machine with two cores a window took 15 µs more.
    """
    import torch  # noqa: PLC0415 - a model is read, checked and written without torch

    result: Floats = torch.mm(torch.from_numpy(rows), torch.from_numpy(weights)).numpy()
    return result


@cache
def _mean_weights(length: int) -> Floats:
    """Return the weights (L, len(RATES) * n) of a window's steps in the exponential means before each target.

    They are whole numbers with the sum _MEAN; the newest step has what rounding leaves over.
    """
    n = newest(length)
    ago = np.arange(length - n)
    result = np.zeros((length, len(RATES), n), np.float32)
    for place, rate in enumerate(RATES):
        share = (1 - rate) ** ago
        weights = np.rint(share / share.sum() * _MEAN)
        weights[:1] += _MEAN - weights.sum()
        for target in range(n):
            result[length - n + target - 1 - ago, place, target] = weights
    return result.reshape(length, -1)
