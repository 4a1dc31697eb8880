"""Fits the linear forecaster (model/forecaster.py) in closed form: clean windows -> Forecaster.

Ridge regression (Hoerl & Kennard 1970) of the newest step on its features. The penalty is the one with the smallest
error on windows that were not fitted on. The windows are divided into folds that are contiguous in the order of the
cut, as neighbours are nearly the same window. Usual errors and edges are those of each fold by weights that were
fitted on the other folds: the errors of the fit itself are far too small in short histories.

Edges are those of means over the last windows of an asset, as at work (model/ranking.py). Of a long history, not every
window is fitted on, so these windows may be some steps apart.

A row of the fit is a window. If all channels of the newest step are observed in at least half of the windows, only
these are fitted on. Otherwise all are, and a cell that was not observed has the value that was carried forward to it,
or 0, the center. Errors count observed cells only, in all windows.

The cost is bounded by MOST_FEATURES. With 400 windows of 64 steps a fit takes 16 s of one processor and 0.5 GB at 256
channels, and 21 s and 0.7 GB at 1024 (measured, in addition to the 0.2 GB of the process).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from monitor.core.arrays import Doubles
from monitor.core.fitting.corpus import Cut
from monitor.core.fitting.errors import edges
from monitor.core.model.forecaster import LEAST_USUAL, SPANS, UNITS, Forecaster, feature_count, features, rounded
from monitor.core.model.ranking import Ranking
from monitor.core.model.scaling import Scaling
from monitor.core.records import Bools, Floats, Times

PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
CONSTANT = 1e-6  # of the penalty, for the constant: it only keeps the equations solvable without windows
FOLDS = 5
LEAST_EDGE = 0.01  # times the usual error: where no channel moves, a hundredth of a deviation is no news
UNSEEN = 1.0  # usual error of a channel without an observed cell, scaled units squared: that of a forecast of 0
BATCH = 512  # windows of 38 channels: 5 MB


@dataclass(frozen=True, slots=True)
class FittedForecaster:
    """A forecaster, and the errors of the windows it was made of by weights that were not fitted on them."""

    forecaster: Forecaster
    index: Times  # (m,) of the windows in their `Cut`
    errors: Floats  # (m, C) as of `forecaster.newest_error`; NaN = not observed


class _Sums(NamedTuple):
    """Sums over the rows of one or more folds."""

    gram: Doubles  # (F, F) of the features
    cross: Doubles  # (F, C) of features and targets
    square: float  # of the targets

    def weights(self, penalty: float, without: "_Sums | None" = None) -> Doubles:
        """Return the weights (F, C) of the smallest squared error plus penalty, on the rows that `without` lacks."""
        gram = self.gram.copy() if without is None else self.gram - without.gram
        cross = self.cross if without is None else self.cross - without.cross
        ridge = np.full(len(gram), penalty)
        ridge[-1] *= CONSTANT
        gram[np.diag_indices_from(gram)] += ridge
        return np.linalg.solve(gram, cross).astype(np.float64, copy=False)

    def error(self, weights: Doubles) -> float:
        """Return the squared error that `weights` (F, C) have on these rows."""
        return float(np.sum(weights * (self.gram @ weights - 2 * self.cross))) + self.square


def fit_forecaster(windows: Cut, scaling: Scaling, rows: Times, most: int) -> FittedForecaster:
    """Return a forecaster of at most `most` clean windows, spread over the cut.

    `rows` (assets,) are the scaling's rows of the corpus's assets. The result is finite for any number of windows.
    """
    index = windows.spread(most)
    folds = np.array_split(index, FOLDS if len(index) >= 2 * FOLDS else 2)
    complete: Bools = np.logical_and.reduce(windows.seen[windows.starts + windows.length - 1], axis=1)
    if 2 * np.count_nonzero(complete[index]) < len(index):
        complete = np.ones(len(windows), np.bool_)
    parts = [_sums(windows, fold[complete[fold]], scaling, rows) for fold in folds]
    whole = _Sums(*(sum(terms) for terms in zip(*parts, strict=True)))

    # The weights of each fold are fitted on the others.
    apart, least = [], np.inf
    for penalty in PENALTIES:
        found = [whole.weights(penalty, without=part) for part in parts]
        error = sum(part.error(weights) for part, weights in zip(parts, found, strict=True))
        if error < least:
            apart, least, chosen = found, error, penalty

    C = windows.rows.shape[1]
    one = np.ones(C, np.float32)
    made = Forecaster(rounded(whole.weights(chosen)), one, np.ones(SPANS, np.float32))
    errors = np.concatenate(
        [np.empty((0, C), np.float32)]
        + [
            replace(made, weights=rounded(weights)).errors(x, observed)
            for fold, weights in zip(folds, apart, strict=True)
            for x, observed in _scaled(windows, fold, scaling, rows)
        ]
    )
    assets = windows.asset[windows.starts[index]]
    return FittedForecaster(calibrated(made, errors, assets, windows.length), index, errors)


def calibrated(made: Forecaster, errors: Floats, assets: Times, length: int) -> Forecaster:
    """Return the forecaster with the usual errors and the edges of errors (m, C) of clean windows.

    `assets` (m,) are the codes of their assets. The windows of each asset are in their order.
    """
    cells = np.count_nonzero(~np.isnan(errors), axis=0)
    mean = np.nansum(errors, 0, dtype=np.float64) / np.maximum(1, cells)
    usual = np.where(cells > 0, np.maximum(mean, LEAST_USUAL), UNSEEN).astype(np.float32)

    made = replace(made, usual=usual)
    over = made.over_channels(errors)
    levels = Ranking(length).means(assets.astype(np.int32), over)[~np.isnan(over)]
    if not len(levels):
        return made
    return replace(made, edges=np.maximum(edges(levels), np.float32(LEAST_EDGE)))


def _sums(windows: Cut, index: Times, scaling: Scaling, rows: Times) -> _Sums:
    """Return the sums over the windows at `index` (m,): features and values of the newest step."""
    C = windows.rows.shape[1]
    F = feature_count(C, windows.length)
    gram, cross, square = np.zeros((F, F)), np.zeros((F, C)), 0.0
    for x, _ in _scaled(windows, index, scaling, rows):
        made = features(x)[:, -1] / np.float64(UNITS)
        target = x[:, :, -1].astype(np.float64)
        gram += made.T @ made
        cross += made.T @ target
        square += float(np.sum(target * target))
    return _Sums(gram, cross, square)


def _scaled(windows: Cut, index: Times, scaling: Scaling, rows: Times) -> Iterator[tuple[Floats, Bools]]:
    """Yield the windows at `index` (m,) in scaled units and where they are observed, at most BATCH at a time."""
    for begin in range(0, len(index), BATCH):
        values, observed, asset = windows.take(index[begin : begin + BATCH])
        yield scaling.forward(values, rows[asset]), observed
