"""The model as it is stored, as NumPy arrays. Reading, checking and writing a model needs no torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.core.model.architecture import Architecture
from monitor.core.model.errors import horizons
from monitor.core.model.scaling import Scaling
from monitor.core.records import Floats, State
from monitor.core.sensors.profile import SensorProfile
from monitor.core.state import pack_names, unpack_names

LARGEST_SIZE = 2**16  # of an architecture as it is read back; 2**12 windows of that length would fill a machine
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
    profile: SensorProfile | None = None  # of the sensors; models of older versions have none

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
        if self.profile is not None:
            tensors |= {f"habits.{name}": getattr(self.profile, name) for name in SensorProfile.__slots__}
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
        if self.profile is not None:
            self.profile.check(C)
        divisors = (scaling.scale, calibration.error, calibration.move, calibration.limits)
        arrays = (scaling.center, *divisors, calibration.scores)
        shapes = [((len(self.channels),), "U"), *((array.shape, array.dtype.kind) for array in arrays)]
        found = dict(zip(wanted, shapes, strict=True))
        if wanted != found:
            raise ValueError(f"model {self.version}: expected shapes and kinds {wanted}, found {found}")
        if not all((array > 0).all() for array in divisors):
            raise ValueError(f"model {self.version}: a scale, an error, a move or a limit is not above 0")
        self._check_weights()

    def _check_weights(self) -> None:
        expected = self.architecture.weight_shapes()
        if self.weights.keys() != expected.keys():
            missing = sorted(expected.keys() - self.weights.keys())
            unknown = sorted(self.weights.keys() - expected.keys())
            raise ValueError(f"model {self.version}: weights {missing} are missing, {unknown} are unknown")

        for name, shape in expected.items():
            found = self.weights[name]
            if found.dtype != np.float32 or found.shape != shape:
                raise ValueError(
                    f"model {self.version}: weight {name} is {found.dtype} {found.shape}, expected float32 {shape}"
                )
