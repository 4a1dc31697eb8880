"""The model as it is stored, as NumPy arrays. Reading, checking and writing a model needs no torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.core.model.alarm import ERRORS
from monitor.core.model.architecture import Architecture
from monitor.core.model.errors import horizons
from monitor.core.model.forecaster import Forecaster
from monitor.core.model.modes import ARRAYS, Modes
from monitor.core.model.scaling import Scaling, pack_states, unpack_states
from monitor.core.records import Floats, State
from monitor.core.running.levels import Levels
from monitor.core.sensors.profile import SensorProfile
from monitor.core.state import pack_names, unpack_names

LARGEST_SIZE = 2**16  # of an architecture as it is read back; 2**12 windows of that length would fill a machine
LEVELS = np.array([0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0])
EDGE = 0.995  # one of LEVELS: quantile of the clean windows' alarm scores that counts as the edge in a ranking
_PROFILE = "habits"  # prefix of the profile's arrays in a model file since there are profiles; it stays readable


@dataclass(frozen=True, slots=True)
class Calibration:
    """Errors and scores of the model on clean windows. The names of the fields are those of a model file's arrays."""

    error: Floats  # (C,) mean squared error per channel, scaled units
    move: Floats  # (C,) how far a channel usually moves: mean of `errors.recent_change`, scaled units squared
    limits: Floats  # (H + 1,) LIMIT quantile of `over_channels`, per horizon and, last, of the level


@dataclass(frozen=True, slots=True)
class AlarmCalibration:
    """Limits and alarm scores of clean windows. The names of the fields are those of a model file's arrays."""

    starts: Floats  # (V, C) limits of each channel's errors at which an asset begins; none if the network foresees
    scores: Floats  # (len(LEVELS),) quantiles of the alarm score

    @property
    def edge(self) -> float:
        """The EDGE quantile of the alarm score."""
        return float(self.scores[LEVELS == EDGE][0])


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that is needed to score. See `pack` for the arrays of a model file."""

    architecture: Architecture
    channels: tuple[str, ...]
    scaling: Scaling
    calibration: Calibration
    weights: State  # float32, by name
    forecaster: Forecaster
    alarm: AlarmCalibration
    version: str = ""  # given by the model store
    profile: SensorProfile | None = None  # models of older versions have none
    levels: Levels | None = None  # of rest and work; None = not asked for, or not found
    modes: Modes | None = None  # None = one mode

    @property
    def foresees(self) -> bool:
        """Whether the network foresees how its channels move, see `alarm.py`."""
        return not len(self.alarm.starts)

    def pack(self) -> tuple[dict[str, Any], State]:
        """Return manifest entries and arrays, for the model store."""
        architecture, calibration = self.architecture, self.calibration
        scores = [round(float(value), 6) for value in self.alarm.scores]
        manifest = {
            "architecture": {name: getattr(architecture, name) for name in Architecture.__slots__},
            "channels": list(self.channels),
            "assets": len(self.scaling.assets),
            "alarm": {"levels": LEVELS.tolist(), "scores": scores},
        }
        if self.levels is not None:
            manifest["running"] = self.levels.manifest()

        tensors = {f"weights.{name}": value for name, value in self.weights.items()}
        tensors["scaling.center"] = self.scaling.center
        tensors["scaling.scale"] = self.scaling.scale
        tensors["scaling.assets"] = pack_names(self.scaling.assets)
        for name in Calibration.__slots__:
            tensors[f"calibration.{name}"] = getattr(calibration, name)
        for name in Forecaster.__slots__:
            tensors[f"forecaster.{name}"] = getattr(self.forecaster, name)
        for name in AlarmCalibration.__slots__:
            tensors[f"alarm.{name}"] = getattr(self.alarm, name)
        if self.profile is not None:
            for name in SensorProfile.__slots__:
                tensors[f"{_PROFILE}.{name}"] = getattr(self.profile, name)
        if self.scaling.states is not None:
            tensors |= pack_states(self.scaling.states)
        if self.modes is not None:
            manifest["modes"] = {"channel": self.modes.channel, "values": self.modes.values.tolist()}
            tensors |= {f"modes.{name}": getattr(self.modes, name) for name in ARRAYS}
        return manifest, tensors

    @classmethod
    def unpack(cls, version: str, manifest: dict[str, Any], tensors: State) -> "Model":
        """Return the model that was packed. Raises ValueError naming what is missing or does not fit."""
        try:
            model = cls._parse(version, manifest, tensors)
        except (KeyError, TypeError, RecursionError) as missing:
            raise ValueError(f"model {version}: manifest or weights lack {missing}") from missing
        model.check()
        return model

    @classmethod
    def _parse(cls, version: str, manifest: dict[str, Any], tensors: State) -> "Model":
        sizes = dict(manifest["architecture"])
        if not all(type(size) is int and size <= LARGEST_SIZE for size in sizes.values()):
            raise ValueError(f"model {version}: sizes are {sizes}, expected whole numbers up to {LARGEST_SIZE}")

        channels = tuple(manifest["channels"])
        if not all(isinstance(name, str) for name in channels) or len(set(channels)) < len(channels):
            raise ValueError(f"model {version}: channels are {channels}, expected distinct names")

        profile = None
        if f"{_PROFILE}.rest" in tensors:
            profile = SensorProfile(*(tensors[f"{_PROFILE}.{name}"] for name in SensorProfile.__slots__))
        modes = None
        if "modes" in manifest:
            modes = Modes(str(manifest["modes"]["channel"]), *(tensors[f"modes.{name}"] for name in ARRAYS))
        assets = tuple(unpack_names(tensors["scaling.assets"]))
        return cls(
            Architecture(**sizes),
            channels,
            Scaling(assets, tensors["scaling.center"], tensors["scaling.scale"], unpack_states(tensors)),
            Calibration(*(tensors[f"calibration.{name}"] for name in Calibration.__slots__)),
            {name.removeprefix("weights."): v for name, v in tensors.items() if name.startswith("weights.")},
            Forecaster(*(tensors[f"forecaster.{name}"] for name in Forecaster.__slots__)),
            AlarmCalibration(*(tensors[f"alarm.{name}"] for name in AlarmCalibration.__slots__)),
            version,
            profile,
            Levels.of_manifest(manifest["running"]) if "running" in manifest else None,
            modes,
        )

    def check(self) -> None:
        """Raise ValueError unless all arrays have the architecture's shapes and divisors are above 0."""
        C, A = self.architecture.channels, len(self.scaling.assets)
        limits = len(horizons(self.architecture.length)) + 1
        scaling, calibration, alarm = self.scaling, self.calibration, self.alarm
        expected = {
            "channels": ((C,), "U"),
            "center": ((A + 1, C), "f"),
            "scale": ((A + 1, C), "f"),
            "error": ((C,), "f"),
            "move": ((C,), "f"),
            "limits": ((limits,), "f"),
            "starts": ((0 if alarm.starts.shape[:1] == (0,) else ERRORS, C), "f"),
            "scores": (LEVELS.shape, "f"),
        }

        divisors = (scaling.scale, calibration.error, calibration.move, calibration.limits, alarm.starts)
        arrays = (scaling.center, *divisors, alarm.scores)
        shapes = [((len(self.channels),), "U"), *((array.shape, array.dtype.kind) for array in arrays)]
        found = dict(zip(expected, shapes, strict=True))
        if expected != found:
            raise ValueError(f"model {self.version}: shapes and kinds are {found}, expected {expected}")
        if not all((array > 0).all() for array in divisors):
            raise ValueError(f"model {self.version}: a scale, an error, a move or a limit is not above 0")

        try:
            self.forecaster.check(C, self.architecture.length)
        except ValueError as wrong:
            raise ValueError(f"model {self.version}: {wrong}") from wrong
        if self.profile is not None:
            self.profile.check(C)
        self._check_modes(C, limits)
        self._check_weights()

    def _check_modes(self, C: int, limits: int) -> None:
        states = self.scaling.states
        if states is not None and (states.dtype.kind != "f" or states.ndim != 2 or len(states) != C):
            raise ValueError(f"model {self.version}: states are {states.dtype} {states.shape}, expected ({C}, states)")
        if self.modes is None:
            return
        if self.modes.channel and self.modes.channel not in self.channels:
            raise ValueError(f"model {self.version}: modes are read from {self.modes.channel}, which is no channel")
        try:
            self.modes.check(self.architecture.latent, C, limits)
        except ValueError as wrong:
            raise ValueError(f"model {self.version}: {wrong}") from wrong

    def _check_weights(self) -> None:
        expected = self.architecture.weight_shapes()
        if self.weights.keys() != expected.keys():
            missing = sorted(expected.keys() - self.weights.keys())
            unknown = sorted(self.weights.keys() - expected.keys())
            raise ValueError(f"model {self.version}: weights {missing} are missing, {unknown} are unknown")

        for name, shape in expected.items():
            weight = self.weights[name]
            if weight.dtype != np.float32 or weight.shape != shape:
                found = f"{weight.dtype} {weight.shape}"
                raise ValueError(f"model {self.version}: weight {name} is {found}, expected float32 {shape}")
