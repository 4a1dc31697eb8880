"""From windows to scores: scale, reconstruct, compare, calibrate.

Score of a window: the squared error per cell is divided by the channel's mean error on clean windows, since a channel
that is always hard to reconstruct must not outvote the others. It is averaged over observed cells of the last h steps
and then over channels, for each horizon h. In addition there is the level: the squared mean of each channel over the
window, averaged over channels. Each of these is divided by its own limit on clean windows, and the largest wins. Short
horizons see a spike at once, the whole window sees a slow drift, the level sees a window that lies far off yet is
reconstructed well, and none hides the others. So 1.0 is the edge of what clean windows showed, for every asset.

Deviations may be left out of the score by their sign or size, see tolerance.py. Large ones are also masked, as cells of
a faulty sensor are, since the network spreads a deviation over the other channels.

With modes (modes.py), usual errors, limits and the width of the expected band are those of the window's mode.

Scores do not depend on which windows share a batch: see forward.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.angles import pairs
from monitor.core.arrays import Index
from monitor.core.model.alarm import FORECAST, LEVEL, NETWORK, at_limits
from monitor.core.model.errors import (
    channels_seen,
    excess_change,
    horizons,
    newest,
    over_channels,
    recent_change,
    window_errors,
    window_mean,
)
from monitor.core.model.forecaster import newest_error, squared
from monitor.core.model.forward import Reconstruction
from monitor.core.model.model import LEVELS, Model
from monitor.core.model.new_assets import WindowScaling
from monitor.core.model.scaling import CLIP
from monitor.core.model.tolerance import Tolerance, disturbing
from monitor.core.model.vae import VAE
from monitor.core.records import Bools, ChannelShare, Floats, ModeBatch, ModelScores, WindowBatch

AT_ONCE = 4096  # windows for `scores`: a few dozen megabytes
ROUNDS = 3  # of imputation
EDGE = 1.0  # score of a clean window at most: one below it needs no second look (all windows: 2.5 to 6 times the time)
CALM = 0.9  # share of clean windows whose alarm score needs no second look


def squared_errors(network: Reconstruction, x: Floats, observed: Bools) -> tuple[Floats, Floats]:
    """Return the reconstruction from the latent mean, and the squared error per cell, 0 where not observed.

    All are (B, C, L), in scaled units.
    """
    reconstruction = network.reconstruct(x, observed)
    return reconstruction, _squared(x, reconstruction, observed)


def latent_errors(network: Reconstruction, x: Floats, observed: Bools) -> tuple[Floats, Floats]:
    """Return the mean of the latent (B, Z), and the squared error as `squared_errors` does."""
    reconstruction, latent = network.reconstruct_latent(x, observed)
    return latent, _squared(x, reconstruction, observed)


def _squared(x: Floats, reconstruction: Floats, observed: Bools) -> Floats:
    error = x - reconstruction
    error *= error
    error *= observed
    return error


def ratios(parts: Floats, observed: Bools, limits: Floats) -> Floats:
    """Return the ratio (B, H + 1) of each horizon's error, and of the level (last), to its limit.

    `parts` (B, H + 1, C) are the errors of `window_errors`, `limits` (H + 1,) or (B, H + 1).
    """
    result: Floats = over_channels(parts, channels_seen(observed)) / limits
    return result


class _Usual(NamedTuple):
    """Usual errors and limits, of all windows or, with modes, of each window in its mode."""

    error: Floats  # (C,) or (B, C)
    limits: Floats  # (H + 1,) or (B, H + 1)


def _usual(model: Model, modes: ModeBatch | None) -> _Usual:
    """Return the usual errors and limits in the modes of windows; those of all modes in an unknown mode."""
    if model.modes is None or modes is None:
        return _Usual(model.calibration.error, model.calibration.limits)
    return _Usual(model.modes.error[modes.mode], model.modes.limits[modes.mode])  # UNKNOWN is the last row


def modes_of(model: Model, values: Floats, latent: Floats) -> ModeBatch | None:
    """Return the modes of windows (B, C, L) in the model's channels, with latent means (B, Z); None = one mode."""
    if model.modes is None:
        return None
    column = model.channels.index(model.modes.channel) if model.modes.channel else -1
    return model.modes.of_windows(values, column, latent)


def scores(model: Model, values: Floats, observed: Bools, rows: npt.NDArray[np.intp]) -> Floats:
    """Return the scores (B,) of windows (B, C, L) in the model's channels.

    `rows` (B,) are the rows of the windows' assets in the model's scaling. For training, where windows are many: they
    are scored AT_ONCE at a time, since the arrays in between are five times as large.
    """
    network = Reconstruction.of(VAE.of(model))
    parts = [np.empty(0, np.float32)]
    for begin in range(0, len(values), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        x = model.scaling.forward(values[part], rows[part])
        latent, squared = latent_errors(network, x, observed[part])
        usual = _usual(model, modes_of(model, values[part], latent))
        errors = window_errors(x, squared, observed[part], usual.error)
        parts.append(ratios(errors, observed[part], usual.limits).max(1))
    return np.concatenate(parts)


def impute(network: Reconstruction, x: Floats, observed: Bools, masked: Bools) -> None:
    """Replace the masked cells of `x` (B, C, L) by their reconstruction from the other cells.

    With 0 in its place, a missing channel raises the score of healthy windows. After ROUNDS of reconstructing from the
    last reconstruction it hardly does (docs/model.md). Where few channels are left, plain rounds may lead away, so each
    round is a step of Anderson's method, and the values are taken with which observed cells have the smallest error.
    """
    place = np.flatnonzero(masked.any((1, 2)))
    part, unknown, seen = x[place], masked[place], observed[place]
    part[unknown] = 0
    best, least = part.copy(), np.full(len(place), np.inf, np.float32)
    before, change_before = part, np.zeros_like(part)
    for number in range(ROUNDS + 1):
        reconstruction, error = squared_errors(network, part, seen | unknown)
        now = (error * seen).sum((1, 2))
        better = now < least
        best[better], least[better] = part[better], now[better]

        # The next values, from the last two changes of the masked cells.
        change = (reconstruction - part) * unknown
        after = part + change
        if number:
            turn = change - change_before
            weight = (change * turn).sum((1, 2)) / np.maximum((turn * turn).sum((1, 2)), np.float32(1e-12))
            after -= weight[:, None, None] * (part - before + turn)
        before, change_before, part = part, change, np.clip(after, -CLIP, CLIP)
    x[place] = best


@dataclass(frozen=True, slots=True)
class _Errors:
    """Windows and their reconstruction by the network. Each array has a row for each window."""

    x: Floats  # (B, C, L) scaled; masked cells are imputed
    observed: Bools  # (B, C, L)
    reconstruction: Floats  # (B, C, L) scaled
    error: Floats  # (B, C, L) squared, of cells that are observed and count
    parts: Floats  # (B, H + 1, C) errors of `window_errors`
    ratio: Floats  # (B, H + 1) to the limits
    forecast: Floats  # (B, C) mean squared error of the forecast, as of `forecaster.newest_error`
    modes: ModeBatch | None

    def with_windows(self, place: Index, other: "_Errors", which: Index) -> "_Errors":
        """Return the same with the windows `which` (n,) of `other` in place of those at `place` (n,)."""
        modes = self.modes
        if modes is not None and other.modes is not None:
            modes = ModeBatch(**_replaced(modes, ModeBatch.__slots__, place, other.modes, which))
        return _Errors(**_replaced(self, self.__slots__[:-1], place, other, which), modes=modes)


def _replaced(batch: object, names: Sequence[str], place: Index, other: object, which: Index) -> dict[str, Any]:
    """Return copies of the arrays `names` of a batch, with rows `which` of the other's at `place`."""
    columns = {name: getattr(batch, name).copy() for name in names}
    for name, column in columns.items():
        column[place] = getattr(other, name)[which]
    return columns


class _Tolerated(NamedTuple):
    """What is needed to leave out deviations that do not count."""

    tolerance: Tolerance
    levels: Bools  # (B, K) that count
    scalings: WindowScaling


class Scorer:
    """Scores windows with one model; holds no state of the assets."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.network = VAE.of(model)
        self._reconstruction = Reconstruction.of(self.network)
        self._angles = pairs(model.channels)
        self._calm = float(np.interp(CALM, LEVELS, model.alarm.scores))

    def score(
        self,
        windows: WindowBatch,
        names: Sequence[str],
        scalings: WindowScaling | None = None,
        tolerance: Tolerance | None = None,
    ) -> ModelScores:
        """Return the scores of windows whose `assets` index `names`. Their channels must be the model's, in its order.

        `scalings` may scale windows of assets that the model does not know otherwise than the class. Deviations that
        `tolerance` does not count are left out.
        """
        scalings = self._scalings(windows, names, scalings)
        found = self._errors(windows, scalings, tolerance)
        scaling, rows = scalings
        usual = _usual(self.model, found.modes)

        # A masked reading does not count, and is shown nevertheless.
        read = windows.observed if windows.masked is None else windows.observed | windows.masked
        newest_step = np.where(read[:, :, -1], windows.values[:, :, -1], np.nan).astype(np.float32)
        return ModelScores(
            network=found.ratio.max(1),
            forecast=self.model.forecaster.over_channels(found.forecast),
            errors=self._channel_errors(found, usual),
            by_channel=self._causes(found, found.ratio.argmax(1), 1, tolerance),
            expected=scaling.inverse(found.reconstruction[:, :, -1], rows),
            spread=(np.sqrt(usual.error) * scaling.scale[rows]).astype(np.float32),
            newest=newest_step,
            modes=found.modes,
        )

    def expected(self, windows: WindowBatch, names: Sequence[str], scalings: WindowScaling | None = None) -> Floats:
        """Return the expected values (B, C, L) at every step of the windows, in each channel's own unit."""
        scaling, rows = scalings = self._scalings(windows, names, scalings)
        x, reconstruction, *_ = self._reconstruct(windows, scalings)
        B, C, L = x.shape
        steps = reconstruction.transpose(0, 2, 1).reshape(B * L, C)
        return scaling.inverse(steps, np.repeat(rows, L)).reshape(B, L, C).transpose(0, 2, 1)

    def explain(
        self,
        window: WindowBatch,
        names: Sequence[str],
        scalings: WindowScaling | None = None,
        tolerance: Tolerance | None = None,
        weights: Floats | None = None,
    ) -> tuple[ChannelShare, ...]:
        """Return the channels of ONE window ranked by how much each is the cause of its score.

        The part of each channel counts as often as `weights` (C,) has it: a channel whose limit has followed its errors
        is above its usual error, and yet no cause.
        Observed and expected values are those of the step of the channel's largest error within the winning horizon:
        at the newest step the cause may already be over.
        """
        scaling, rows = scalings = self._scalings(window, names, scalings)
        found = self._errors(window, scalings, tolerance)
        winner = found.ratio.argmax(1)

        L = window.values.shape[2]
        part = self._causes(found, winner, newest(L), tolerance)[0]  # (C,)
        if not part.any():  # nothing moved: a slow fault
            part = found.parts[0, winner[0]]
        if weights is not None:
            part = part * weights
        share = part / max(float(part.sum()), 1e-12)

        # The step of the largest error, within the window.
        h = (*horizons(L), L)[winner[0]]
        worst = L - h + np.where(window.observed[0], found.error[0], -1.0)[:, -h:].argmax(1)  # (C,)
        for pair in self._angles:  # one step for both, that of the larger part
            worst[list(pair)] = worst[max(pair, key=lambda place: part[place])]
        channel = np.arange(len(share))
        expected = scaling.inverse(found.reconstruction[:, channel, worst], rows)[0]
        spread = np.sqrt(_usual(self.model, found.modes).error).reshape(-1) * scaling.scale[rows[0]]
        return tuple(
            ChannelShare(
                channel=self.model.channels[c],
                contribution=float(share[c]),
                observed=float(window.values[0, c, worst[c]]) if window.observed[0, c, worst[c]] else None,
                expected=float(expected[c]),
                low=float(expected[c] - 2 * spread[c]),
                high=float(expected[c] + 2 * spread[c]),
                steps_ago=int(L - 1 - worst[c]),
            )
            for c in np.argsort(-share, kind="stable")
        )

    def _scalings(self, windows: WindowBatch, names: Sequence[str], scalings: WindowScaling | None) -> WindowScaling:
        """Return the scaling of each window, by default the model's own."""
        return scalings or WindowScaling(self.model.scaling, self.model.scaling.rows(names)[windows.assets])

    def _reconstruct(
        self, windows: WindowBatch, scalings: WindowScaling
    ) -> tuple[Floats, Floats, Floats, ModeBatch | None]:
        """Return the scaled windows, their reconstruction and the squared error, (B, C, L) each, and the modes."""
        x = scalings.scaling.forward(windows.values, scalings.rows)
        known = windows.observed
        if windows.masked is not None:
            impute(self._reconstruction, x, windows.observed, windows.masked)
            known = windows.observed | windows.masked

        reconstruction, latent = self._reconstruction.reconstruct_latent(x, known)
        modes = modes_of(self.model, windows.values, latent)
        return x, reconstruction, _squared(x, reconstruction, windows.observed), modes

    def _errors(self, windows: WindowBatch, scalings: WindowScaling, tolerance: Tolerance | None) -> _Errors:
        """Return the errors of windows, without deviations that do not count."""
        if tolerance is None:
            x, reconstruction, error, modes = self._reconstruct(windows, scalings)
            return self._rated(windows, x, reconstruction, error, modes=modes)
        found, cells = self._tolerant(windows, scalings, tolerance)
        scores = self._scores(found)
        place = np.flatnonzero(cells.any((1, 2)) & self._odd(scores))

        # Again without the cells of large deviations that do not count, until none is left. Scores may only fall.
        part, cells = windows.take(place), cells[place]
        for _ in range(ROUNDS):
            if not len(place):
                break
            part = part.without(cells)
            again, cells = self._tolerant(part, scalings.take(place), tolerance)
            after = self._scores(again)
            better = np.flatnonzero((after <= scores[place]).all(1))
            found = found.with_windows(place[better], again, better)
            scores[place[better]] = after[better]
            left = np.flatnonzero(cells.any((1, 2)) & self._odd(after))
            place, part, cells = place[left], part.take(left), cells[left]
        return found

    def _tolerant(self, windows: WindowBatch, scalings: WindowScaling, tolerance: Tolerance) -> tuple[_Errors, Bools]:
        """Return the errors of cells that count, and the cells (B, C, L) that do not and disturb the others."""
        x, reconstruction, error, modes = self._reconstruct(windows, scalings)
        counted = np.ones_like(windows.observed)
        counted[:, tolerance.at] = tolerance.cells(windows.values, reconstruction, *scalings)
        levels = tolerance.levels(window_mean(x, windows.observed), *scalings)
        tolerated = _Tolerated(tolerance, levels, scalings)
        found = self._rated(windows, x, reconstruction, error * counted, modes=modes, tolerated=tolerated)
        return found, ~counted & disturbing(error, self.model.calibration.error)

    def _rated(
        self,
        windows: WindowBatch,
        x: Floats,
        reconstruction: Floats,
        error: Floats,
        *,
        modes: ModeBatch | None,
        tolerated: _Tolerated | None = None,
    ) -> _Errors:
        """Return the errors of windows, and their ratios to the limits."""
        usual = _usual(self.model, modes)
        forecast = self.model.forecaster.forecast(x)
        missed = squared(x, forecast, windows.observed)  # (B, C, n)
        parts = window_errors(x, error, windows.observed, usual.error)  # (B, H + 1, C)
        if tolerated is not None:
            tolerance, n = tolerated.tolerance, forecast.shape[2]
            missed[:, tolerance.at] *= tolerance.cells(windows.values[:, :, -n:], forecast, *tolerated.scalings)
            parts[:, -1, tolerance.at] *= tolerated.levels
        return _Errors(
            x=x,
            observed=windows.observed,
            reconstruction=reconstruction,
            error=error,
            parts=parts,
            ratio=ratios(parts, windows.observed, usual.limits),
            forecast=newest_error(missed, windows.observed),
            modes=modes,
        )

    def _score(self, found: _Errors) -> Floats:
        """Return how anomalous the windows are by themselves (B,), to compare readings of the same window."""
        forecaster = self.model.forecaster
        forecast = np.nan_to_num(forecaster.over_channels(found.forecast)) / forecaster.edges[0]
        result: Floats = np.sqrt((1 + found.ratio.max(1)) * (1 + forecast)) - 1
        return result

    def _scores(self, found: _Errors) -> Floats:
        """Return the ranking score and, at the limits that the model begins with, the alarm score (B, 2)."""
        errors = self._channel_errors(found, _usual(self.model, found.modes))
        alarm = at_limits(found.ratio.max(1), errors, self.model.alarm.starts)
        return np.stack([self._score(found), alarm], 1)

    def _odd(self, scores: Floats) -> Bools:
        """Return which windows (B,), with `_scores` (B, 2), may be no clean ones."""
        odd: Bools = np.logical_or.reduce(scores > (EDGE, self._calm), axis=1)
        return odd

    def _channel_errors(self, found: _Errors, usual: _Usual) -> Floats:
        """Return the errors (B, V, C) of the newest steps and of the level. NaN where not observed.

        There are none (V = 0) if the network foresees.
        In a mode, errors are those of all modes that are as far from usual: a channel has one limit for all modes.
        """
        result = np.empty((len(found.x), *self.model.alarm.starts.shape), np.float32)
        if self.model.foresees:
            return result
        result[:, NETWORK] = found.parts[:, -2] * self.model.calibration.error
        result[:, FORECAST] = found.forecast
        result[:, LEVEL] = found.parts[:, -1]
        if found.modes is not None:
            result[:, LEVEL] *= (self.model.calibration.limits[-1] / usual.limits[:, -1])[:, None]

        if not found.observed.all():
            steps = newest(found.x.shape[2])
            result[:, NETWORK][~found.observed[:, :, -steps:].any(2)] = np.nan
            result[:, LEVEL][~found.observed.any(2)] = np.nan
        return result

    def _causes(self, found: _Errors, winner: npt.NDArray[np.intp], steps: int, tolerance: Tolerance | None) -> Floats:
        """Return how much each channel is the cause (B, C), in units of the usual error or change of the channel.

        If the network foresees how channels move, the error in the winning horizon ranks: a channel that is
        reconstructed wrongly does what the others do not explain. If it does not, an error says little and spreads
        over all channels. Then the recent change ranks: the cause is the channel that has just moved, and channels
        that have not have 0. A channel whose deviations do not count is no cause.
        """
        part: Floats = np.take_along_axis(found.parts, winner[:, None, None], 1)[:, 0]
        if self.model.foresees:
            return part
        change = excess_change(recent_change(found.x, found.observed, steps), self.model.calibration.move)
        return change if tolerance is None else change * (part > 0)
