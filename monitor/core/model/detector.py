"""From windows to scores: scale, reconstruct, compare, calibrate.

Score of a window. Squared error per cell, divided by the channel's mean error on clean windows (a channel that is
always hard to reconstruct must not outvote the others), averaged over observed cells of the last h steps and then over
channels, for each horizon h; beside them the level, the squared mean of each channel over the window, averaged over
channels. Each is divided by its own limit on clean windows and the largest wins: short horizons see a spike at once,
the whole window sees a slow drift, the level sees what lies far off yet is reconstructed well, and none hides the
others. 1.0 is thus the edge of what clean windows showed, whatever the asset.

Scores do not depend on which windows share a batch: see reconstruct.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from monitor.core.model.errors import beyond_usual, channels_seen, horizons, moves, newest, over_channels, read_out
from monitor.core.model.forward import Reconstruction
from monitor.core.model.new_assets import WindowScaling
from monitor.core.model.scaling import Scaling
from monitor.core.model.vae import VAE, Architecture
from monitor.core.records import Bools, ChannelShare, Floats, ScoreBatch, State, WindowBatch, pack_names, unpack_names
from monitor.core.sensors.profile import SensorProfile

LARGEST_SIZE = 2**16  # of an architecture as it is read back; 2**12 windows of that length would fill a machine
AT_ONCE = 4096  # windows for `scores`: a few dozen megabytes
ROUNDS = 3  # of imputation
FORESEEN = 10.0  # times its usual error a channel usually moves: 70 to 79 on the simulated plant, 0.3 to 1.6 on servers
LEVELS = np.array([0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0])


@dataclass(frozen=True, slots=True)
class Calibration:
    """What clean windows looked like to the model."""

    error: Floats  # (C,) mean squared error per channel, scaled units
    move: Floats  # (C,) how far a channel usually moves: mean of `readout.moves`, scaled units squared
    limits: Floats  # (H + 1,) LIMIT quantile of `over_channels`, per horizon and, last, of the level
    scores: Floats  # (len(LEVELS),) quantiles of the score


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that is needed to score, as it is stored: see `pack` for the arrays."""

    architecture: Architecture
    channels: tuple[str, ...]
    scaling: Scaling
    calibration: Calibration
    weights: State
    version: str = ""  # given by the model store
    habits: SensorProfile | None = None  # of the sensors; models of older versions have none

    def pack(self) -> tuple[dict[str, Any], State]:
        """Manifest entries and arrays, for the model store."""
        a, c = self.architecture, self.calibration
        manifest = {
            "architecture": {name: getattr(a, name) for name in Architecture.__slots__},
            "channels": list(self.channels),
            "assets": len(self.scaling.assets),
            "calibration": {"levels": LEVELS.tolist(), "scores": [round(float(v), 6) for v in c.scores]},
        }
        tensors = {f"weights.{name}": value for name, value in self.weights.items()}
        tensors |= {"scaling.center": self.scaling.center, "scaling.scale": self.scaling.scale}
        tensors |= {"scaling.assets": pack_names(self.scaling.assets)}
        tensors |= {f"calibration.{name}": getattr(c, name) for name in Calibration.__slots__}
        if self.habits is not None:
            tensors |= {f"habits.{name}": getattr(self.habits, name) for name in SensorProfile.__slots__}
        return manifest, tensors

    @classmethod
    def unpack(cls, version: str, manifest: dict[str, Any], tensors: State) -> "Model":
        """The inverse of `pack`. Raises ValueError naming what is missing or does not fit."""
        try:
            sizes = dict(manifest["architecture"])
            if not all(type(size) is int and size <= LARGEST_SIZE for size in sizes.values()):
                raise ValueError(f"model {version}: sizes are whole numbers up to {LARGEST_SIZE}, found {sizes}")
            architecture, channels = Architecture(**sizes), tuple(manifest["channels"])
            if not all(isinstance(name, str) for name in channels) or len(set(channels)) < len(channels):
                raise ValueError(f"model {version}: channels are different names, found {channels}")
            assets = tuple(unpack_names(tensors["scaling.assets"]))
            model = cls(
                architecture,
                channels,
                Scaling(assets, tensors["scaling.center"], tensors["scaling.scale"]),
                Calibration(*(tensors[f"calibration.{name}"] for name in Calibration.__slots__)),
                {name.removeprefix("weights."): v for name, v in tensors.items() if name.startswith("weights.")},
                version,
                SensorProfile(*(tensors[f"habits.{name}"] for name in SensorProfile.__slots__))
                if "habits.rest" in tensors
                else None,
            )
        except (KeyError, TypeError, RecursionError) as missing:
            raise ValueError(f"model {version}: manifest or weights lack {missing}") from missing
        model.check()
        return model

    def check(self) -> None:
        """Raises ValueError unless the arrays have the architecture's shapes and divisors are above 0."""
        C, A = self.architecture.channels, len(self.scaling.assets)
        limits = len(horizons(self.architecture.length)) + 1
        scaling, calibration = self.scaling, self.calibration
        wanted = {
            "channels": ((C,), "U"),
            "center": ((A + 1, C), "f"),
            "scale": ((A + 1, C), "f"),
            "error": ((C,), "f"),
            "move": ((C,), "f"),
            "limits": ((limits,), "f"),
            "scores": (LEVELS.shape, "f"),
        }
        if self.habits is not None:
            self.habits.check(C)
        divisors = (scaling.scale, calibration.error, calibration.move, calibration.limits)
        arrays = (scaling.center, *divisors, calibration.scores)
        shapes = [((len(self.channels),), "U"), *((array.shape, array.dtype.kind) for array in arrays)]
        found = dict(zip(wanted, shapes, strict=True))
        if wanted != found:
            raise ValueError(f"model {self.version}: expected shapes and kinds {wanted}, found {found}")
        if not all((array > 0).all() for array in divisors):
            raise ValueError(f"model {self.version}: a scale, an error, a move or a limit is not above 0")
        self.network()

    def network(self, device: str = "cpu") -> VAE:
        """A network with these weights on a device, in evaluation mode.

        Raises ValueError if a weight is no float32 or misshapen.
        """
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            network = VAE(self.architecture)
        if not all(value.dtype == np.float32 for value in self.weights.values()):
            raise ValueError(f"model {self.version}: weights are float32")
        try:
            tensors = {name: torch.from_numpy(np.array(value)) for name, value in self.weights.items()}
            network.load_state_dict(tensors, assign=True)
        except RuntimeError as wrong:
            raise ValueError(f"model {self.version}: {wrong}") from wrong
        return network.eval().to(device)


def squared_errors(network: Reconstruction, x: Floats, observed: Bools) -> tuple[Floats, Floats]:
    """Reconstruction (B, C, L) from the latent mean, and squared error per cell (B, C, L), 0 where not observed."""
    reconstruction = network.reconstruct(x, observed)
    error = x - reconstruction
    error *= error
    error *= observed
    return reconstruction, error


def ratios(parts: Floats, observed: Bools, calibration: Calibration) -> Floats:
    """How near each horizon and, last, the level is to its limit (B, H + 1); parts (B, H + 1, C) of `read_out`."""
    result: Floats = over_channels(parts, channels_seen(observed)) / calibration.limits
    return result


def scores(model: Model, values: Floats, observed: Bools, rows: npt.NDArray[np.intp]) -> Floats:
    """The score (B,) of windows (B, C, L) in the model's channels, of assets at `rows` (B,) of its scaling.

    For training, where there are many: a few at a time, since all that is reckoned of them is five times as large.
    """
    network = Reconstruction.of(model.network())
    parts = [np.empty(0, np.float32)]
    for begin in range(0, len(values), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        x = model.scaling.forward(values[part], rows[part])
        _, error = squared_errors(network, x, observed[part])
        read = read_out(x, error, observed[part], model.calibration.error)
        parts.append(ratios(read, observed[part], model.calibration).max(1))
    return np.concatenate(parts)


def impute(network: Reconstruction, x: Floats, observed: Bools, doubted: Bools) -> None:
    """Put in the place of doubted cells, in `x` (B, C, L), what the network makes of the others.

    Left at 0, a missing channel raises the score of healthy windows; after ROUNDS of reconstructing from the last
    reconstruction hardly so (docs/model.md).
    """
    place = np.flatnonzero(doubted.any((1, 2)))
    part, unknown, known = x[place], doubted[place], observed[place] | doubted[place]
    part[unknown] = 0
    for _ in range(ROUNDS):
        reconstruction = network.reconstruct(part, known)
        part[unknown] = reconstruction[unknown]
    x[place] = part


class Detector:
    """Scores windows with one model; holds no state of the assets."""

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self.model = model
        self.network = model.network(device)
        self._reconstruction = Reconstruction.of(self.network)
        self._deviation = np.sqrt(model.calibration.error)  # (C,)
        self._foresees = float(np.median(model.calibration.move / model.calibration.error)) >= FORESEEN

    def score(self, windows: WindowBatch, names: Sequence[str], rulers: WindowScaling | None = None) -> ScoreBatch:
        """Score windows whose `assets` index `names`. Their channels must be the model's, in its order.

        `rulers` may give windows of assets that the model does not know others than the class's.
        """
        (scaling, rows), x, reconstruction, error = self._reconstruct(windows, names, rulers)
        parts = read_out(x, error, windows.observed, self.model.calibration.error)  # (B, H + 1, C)
        ratio = ratios(parts, windows.observed, self.model.calibration)  # (B, H + 1)
        read = windows.observed if windows.doubted is None else windows.observed | windows.doubted  # shown all the same
        newest_step = np.where(read[:, :, -1], windows.values[:, :, -1], np.nan).astype(np.float32)
        return ScoreBatch(
            score=ratio.max(1),
            by_channel=self._causes(x, windows.observed, parts, ratio.argmax(1), 1),
            expected=scaling.inverse(reconstruction[:, :, -1], rows),
            spread=(self._deviation * scaling.scale[rows]).astype(np.float32),
            newest=newest_step,
        )

    def expected(self, windows: WindowBatch, names: Sequence[str], rulers: WindowScaling | None = None) -> Floats:
        """What the model expects at every step of the windows (B, C, L), in each channel's own unit."""
        (scaling, rows), x, reconstruction, _ = self._reconstruct(windows, names, rulers)
        B, C, L = x.shape
        steps = reconstruction.transpose(0, 2, 1).reshape(B * L, C)
        return scaling.inverse(steps, np.repeat(rows, L)).reshape(B, L, C).transpose(0, 2, 1)

    def explain(
        self, window: WindowBatch, names: Sequence[str], rulers: WindowScaling | None = None
    ) -> tuple[ChannelShare, ...]:
        """Channels of ONE window ranked by how much each is the cause of its score.

        Observed and expected are given at the step of the channel's largest error within the winning horizon: at the
        newest step the cause may already be over.
        """
        (scaling, rows), x, reconstruction, error = self._reconstruct(window, names, rulers)
        parts = read_out(x, error, window.observed, self.model.calibration.error)
        winner = ratios(parts, window.observed, self.model.calibration).argmax(1)
        L = window.values.shape[2]
        part = self._causes(x, window.observed, parts, winner, newest(L))[0]  # (C,)
        if not part.any():  # nothing moved: a slow fault
            part = parts[0, winner[0]]
        share = part / max(float(part.sum()), 1e-12)
        h = (*horizons(L), L)[winner[0]]
        worst = L - h + np.where(window.observed[0], error[0], -1.0)[:, -h:].argmax(1)  # (C,) step within the window
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
        self, windows: WindowBatch, names: Sequence[str], rulers: WindowScaling | None
    ) -> tuple[WindowScaling, Floats, Floats, Floats]:
        """The rulers, scaled windows, their reconstruction, and error, (B, C, L) each."""
        if rulers is None:
            rulers = WindowScaling(self.model.scaling, self.model.scaling.rows(names)[windows.assets])
        x = rulers.scaling.forward(windows.values, rulers.rows)
        if windows.doubted is None:
            return rulers, x, *squared_errors(self._reconstruction, x, windows.observed)
        impute(self._reconstruction, x, windows.observed, windows.doubted)
        reconstruction, error = squared_errors(self._reconstruction, x, windows.observed | windows.doubted)
        return rulers, x, reconstruction, error * windows.observed

    def _causes(self, x: Floats, observed: Bools, parts: Floats, winner: npt.NDArray[np.intp], steps: int) -> Floats:
        """How much each channel is the cause (B, C), in units of what is usual for it.

        By its part of the score in the horizon that won, if the network foresees how channels move: then a channel
        that is reconstructed wrongly is one that does what the others do not explain. If it does not, an error says
        little and spreads over all channels, and the cause is the one that has just moved: 0 for those that have not.
        """
        if self._foresees:
            part: Floats = np.take_along_axis(parts, winner[:, None, None], 1)[:, 0]
            return part
        return beyond_usual(moves(x, observed, steps), self.model.calibration.move)
