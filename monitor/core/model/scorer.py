"""From windows to scores: scale, reconstruct, compare, calibrate.

Score of a window: the squared error per cell is divided by the channel's mean error on clean windows, since a channel
that is always hard to reconstruct must not outvote the others. It is averaged over observed cells of the last h steps
and then over channels, for each horizon h. In addition there is the level: the squared mean of each channel over the
window, averaged over channels. Each of these is divided by its own limit on clean windows, and the largest wins. Short
horizons see a spike at once, the whole window sees a slow drift, the level sees a window that lies far off yet is
reconstructed well, and none hides the others. So 1.0 is the edge of what clean windows showed, for every asset.

Scores do not depend on which windows share a batch: see forward.py.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from monitor.core.model.errors import (
    channels_seen,
    excess_change,
    horizons,
    newest,
    over_channels,
    recent_change,
    window_errors,
)
from monitor.core.model.forward import Reconstruction
from monitor.core.model.model import Calibration, Model
from monitor.core.model.new_assets import WindowScaling
from monitor.core.model.vae import VAE
from monitor.core.records import Bools, ChannelShare, Floats, ScoreBatch, WindowBatch

AT_ONCE = 4096  # windows for `scores`: a few dozen megabytes
ROUNDS = 3  # of imputation
FORESEEN = 10.0  # times its usual error a channel usually moves: 70 to 79 on the simulated plant, 0.3 to 1.6 on servers


def squared_errors(network: Reconstruction, x: Floats, observed: Bools) -> tuple[Floats, Floats]:
    """Return the reconstruction from the latent mean, and the squared error per cell, 0 where not observed.

    All are (B, C, L), in scaled units.
    """
    reconstruction = network.reconstruct(x, observed)
    error = x - reconstruction
    error *= error
    error *= observed
    return reconstruction, error


def ratios(parts: Floats, observed: Bools, calibration: Calibration) -> Floats:
    """Return the ratio (B, H + 1) of each horizon's error, and of the level (last), to its limit.

    `parts` (B, H + 1, C) are the errors of `window_errors`.
    """
    result: Floats = over_channels(parts, channels_seen(observed)) / calibration.limits
    return result


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
        _, error = squared_errors(network, x, observed[part])
        errors = window_errors(x, error, observed[part], model.calibration.error)
        parts.append(ratios(errors, observed[part], model.calibration).max(1))
    return np.concatenate(parts)


def impute(network: Reconstruction, x: Floats, observed: Bools, masked: Bools) -> None:
    """Replace the masked cells of `x` (B, C, L) by their reconstruction from the other cells.

    With 0 in its place, a missing channel raises the score of healthy windows. After ROUNDS of reconstructing from the
    last reconstruction it hardly does (docs/model.md).
    """
    place = np.flatnonzero(masked.any((1, 2)))
    part, unknown, known = x[place], masked[place], observed[place] | masked[place]
    part[unknown] = 0
    for _ in range(ROUNDS):
        reconstruction = network.reconstruct(part, known)
        part[unknown] = reconstruction[unknown]
    x[place] = part


class Scorer:
    """Scores windows with one model; holds no state of the assets."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.network = VAE.of(model)
        self._reconstruction = Reconstruction.of(self.network)
        self._deviation = np.sqrt(model.calibration.error)  # (C,)
        self._foresees = float(np.median(model.calibration.move / model.calibration.error)) >= FORESEEN

    def score(self, windows: WindowBatch, names: Sequence[str], scalings: WindowScaling | None = None) -> ScoreBatch:
        """Return the scores of windows whose `assets` index `names`. Their channels must be the model's, in its order.

        `scalings` may scale windows of assets that the model does not know otherwise than the class.
        """
        (scaling, rows), x, reconstruction, error = self._reconstruct(windows, names, scalings)
        parts = window_errors(x, error, windows.observed, self.model.calibration.error)  # (B, H + 1, C)
        ratio = ratios(parts, windows.observed, self.model.calibration)  # (B, H + 1)

        # A masked reading does not count, and is shown nevertheless.
        read = windows.observed if windows.masked is None else windows.observed | windows.masked
        newest_step = np.where(read[:, :, -1], windows.values[:, :, -1], np.nan).astype(np.float32)
        return ScoreBatch(
            score=ratio.max(1),
            by_channel=self._causes(x, windows.observed, parts, ratio.argmax(1), 1),
            expected=scaling.inverse(reconstruction[:, :, -1], rows),
            spread=(self._deviation * scaling.scale[rows]).astype(np.float32),
            newest=newest_step,
        )

    def expected(self, windows: WindowBatch, names: Sequence[str], scalings: WindowScaling | None = None) -> Floats:
        """Return the expected values (B, C, L) at every step of the windows, in each channel's own unit."""
        (scaling, rows), x, reconstruction, _ = self._reconstruct(windows, names, scalings)
        B, C, L = x.shape
        steps = reconstruction.transpose(0, 2, 1).reshape(B * L, C)
        return scaling.inverse(steps, np.repeat(rows, L)).reshape(B, L, C).transpose(0, 2, 1)

    def explain(
        self, window: WindowBatch, names: Sequence[str], scalings: WindowScaling | None = None
    ) -> tuple[ChannelShare, ...]:
        """Return the channels of ONE window ranked by how much each is the cause of its score.

        Observed and expected values are those of the step of the channel's largest error within the winning horizon:
        at the newest step the cause may already be over.
        """
        (scaling, rows), x, reconstruction, error = self._reconstruct(window, names, scalings)
        parts = window_errors(x, error, window.observed, self.model.calibration.error)
        winner = ratios(parts, window.observed, self.model.calibration).argmax(1)

        L = window.values.shape[2]
        part = self._causes(x, window.observed, parts, winner, newest(L))[0]  # (C,)
        if not part.any():  # nothing moved: a slow fault
            part = parts[0, winner[0]]
        share = part / max(float(part.sum()), 1e-12)

        # The step of the largest error, within the window.
        h = (*horizons(L), L)[winner[0]]
        worst = L - h + np.where(window.observed[0], error[0], -1.0)[:, -h:].argmax(1)  # (C,)
        channel = np.arange(len(share))
        expected = scaling.inverse(reconstruction[:, channel, worst], rows)[0]
        spread = self._deviation * scaling.scale[rows[0]]
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

    def _reconstruct(
        self, windows: WindowBatch, names: Sequence[str], scalings: WindowScaling | None
    ) -> tuple[WindowScaling, Floats, Floats, Floats]:
        """Return the scalings, and scaled windows, reconstruction and squared error, (B, C, L) each."""
        if scalings is None:
            scalings = WindowScaling(self.model.scaling, self.model.scaling.rows(names)[windows.assets])
        x = scalings.scaling.forward(windows.values, scalings.rows)
        if windows.masked is None:
            return scalings, x, *squared_errors(self._reconstruction, x, windows.observed)

        impute(self._reconstruction, x, windows.observed, windows.masked)
        reconstruction, error = squared_errors(self._reconstruction, x, windows.observed | windows.masked)
        return scalings, x, reconstruction, error * windows.observed

    def _causes(self, x: Floats, observed: Bools, parts: Floats, winner: npt.NDArray[np.intp], steps: int) -> Floats:
        """Return how much each channel is the cause (B, C), in units of the usual error or change of the channel.

        If the network foresees how channels move, the error in the winning horizon ranks: a channel that is
        reconstructed wrongly does what the others do not explain. If it does not, an error says little and spreads
        over all channels. Then the recent change ranks: the cause is the channel that has just moved, and channels
        that have not have 0.
        """
        if self._foresees:
            part: Floats = np.take_along_axis(parts, winner[:, None, None], 1)[:, 0]
            return part
        return excess_change(recent_change(x, observed, steps), self.model.calibration.move)
