"""Operating modes of machines: which mode a window is in, and the usual errors of each mode.

A mode comes from a channel, such as the number of a recipe, or is learned: a group of windows whose latent means lie
together, described by a Gaussian. The mode of a window is that of its newest step, or the learned mode that is nearest.

Scores of all modes are on one scale, since the errors of a window are divided by those that are usual in its own mode.
So thresholds and alerts need no memory for each mode. A mode with too few windows in training has the usual errors of
all modes together.

A window is in an unknown mode if a step of it has a value of the channel that training has not seen, or if its latent
mean is further from every learned mode than any in training was, by a factor REACH (fitting/modes.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.arrays import Doubles, Index
from monitor.core.records import Floats, Ints, ModeBatch
from monitor.core.texts import text_at

TOGETHER = 256  # latent means whose distances are computed at once
BLOCK = 16  # latent means multiplied at once: the last bits of a product depend on the number of its rows
UNKNOWN = -1  # mode of a window; a window without any value of the channel has the errors of all modes, OTHER
MOST_MODES = 64  # of a channel
ARRAYS = ("values", "center", "whiten", "reach", "error", "limits")


@dataclass(frozen=True, slots=True)
class Modes:
    """The modes that training has seen. The names of the fields are those of a model file's arrays, but the first."""

    channel: str  # that the mode is read from; empty = learned
    values: Doubles  # (M,) of the channel, ascending; of learned modes their ids, which stay when a model is retrained
    center: Floats  # (M, Z) of learned modes: mean of the latent; Z = 0 with a channel
    whiten: Floats  # (M, Z, Z) of learned modes: latent distances -> deviations
    reach: Floats  # (1,) deviations from the nearest learned mode, beyond which a window is in none
    error: Floats  # (M + 1, C) usual error of each channel, as of `Calibration`; last, of all modes
    limits: Floats  # (M + 1, H + 1), as of `Calibration`; last, of all modes

    def of_windows(self, values: Floats, column: int, latent: Floats) -> ModeBatch:
        """Return the modes of windows (B, C, L) with latent means (B, Z); `column` is that of the channel, if any."""
        return self.of_channel(values[:, column]) if self.channel else self.of_latent(latent)

    def of_channel(self, x: Floats) -> ModeBatch:
        """Return the modes of windows by the values x (B, L) of the channel; the newest value counts.

        A window without any value has the place after the last mode, which has the errors of all modes.
        """
        value = x[:, -1].copy()
        mode = self._places(value).astype(np.int32)
        new = mode == UNKNOWN

        # In nearly all windows every step has the newest value.
        mixed = np.flatnonzero((x != x[:, -1:]).any(1))
        if len(mixed):
            part = x[mixed]
            measured = ~np.isnan(part)
            newest = np.arange(len(part)), x.shape[1] - 1 - measured[:, ::-1].argmax(1)
            known = self._places(part)
            value[mixed] = part[newest]
            new[mixed] = known[newest] == UNKNOWN
            mode[mixed] = np.where((known == UNKNOWN).any(1), UNKNOWN, known[newest])
        return ModeBatch(mode, value, new)

    def _places(self, x: Floats) -> Index:
        """Return the place (B, L) of each value in `values`, the place after the last for NaN; UNKNOWN = it is none."""
        known = self.values.astype(np.float32)
        place = np.minimum(np.searchsorted(known, x), len(known) - 1)
        return np.where(np.isnan(x), len(known), np.where(known[place] == x, place, UNKNOWN))

    def of_latent(self, latent: Floats) -> ModeBatch:
        """Return the modes of windows by their latent means (B, Z): the nearest one, if that is within reach."""
        mode, distance = nearest(self.center, self.whiten, latent)
        value = self.values.astype(np.float32)[mode]
        new = distance > self.reach[0]
        mode[new], value[new] = UNKNOWN, np.nan
        return ModeBatch(mode, value, new)

    def check(self, latent: int, channels: int, limits: int) -> None:
        """Raise ValueError unless the arrays fit a model of these sizes and can be divided by."""
        M = len(self.values)
        Z = 0 if self.channel else latent
        expected = {
            "values": (M,),
            "center": (M, Z),
            "whiten": (M, Z, Z),
            "reach": (1,),
            "error": (M + 1, channels),
            "limits": (M + 1, limits),
        }
        found = {name: getattr(self, name).shape for name in ARRAYS}

        if not M or found != expected:
            raise ValueError(f"modes have arrays of {found}, expected {expected} and at least one mode")
        if not all(np.isfinite(getattr(self, name)).all() for name in ("values", "center", "whiten")):
            raise ValueError("modes hold a number that is not finite")
        if (np.diff(self.values) <= 0).any():
            raise ValueError(f"modes have the values {self.values.tolist()}, expected ascending ones")
        if not ((self.error > 0).all() and (self.limits > 0).all() and (self.reach > 0).all()):
            raise ValueError("a usual error, a limit or the reach of modes is not above 0")


def nearest(center: Floats, whiten: Floats, latent: Floats) -> tuple[Ints, Floats]:
    """Return the nearest of modes (M, Z) for latent means (B, Z), and its distance (B,) in the mode's deviations."""
    M, Z = center.shape
    padded = np.zeros((-(-len(latent) // BLOCK) * BLOCK, Z), np.float32)
    padded[: len(latent)] = latent

    # The maps of all modes make one matrix. A few windows at a time stay within a core's cache.
    together = np.ascontiguousarray(whiten.reshape(M * Z, Z).T)
    shift = np.einsum("mij,mj->mi", whiten, center).reshape(M * Z)
    distance = np.empty((len(padded), M), np.float32)
    for begin in range(0, len(padded), TOGETHER):
        part = padded[begin : begin + TOGETHER].reshape(-1, BLOCK, Z)
        apart = (part @ together).reshape(-1, M * Z)
        apart -= shift
        apart *= apart
        distance[begin : begin + TOGETHER] = apart.reshape(-1, M, Z).sum(2)
    distance = distance[: len(latent)]
    mode = distance.argmin(1).astype(np.int32)
    return mode, np.sqrt(distance[np.arange(len(latent)), mode])


def label(value: float, texts: Sequence[str] = ()) -> str:
    """Return the name of a mode as people see it; empty = none.

    That is the channel's value, its text if the channel has `texts`, or the id of a learned mode.
    """
    return "" if np.isnan(value) else text_at(value, texts) or f"{value:.7g}"
