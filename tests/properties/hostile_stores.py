"""Hostile targets for data read back from the store and for saved state. See `hostile_targets.py`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import numpy as np

from monitor.core.alerts.lifecycle import AlertOptions
from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.alerts.mode_alerts import ModeAlerts
from monitor.core.alerts.sensor_alerts import SensorAlerts
from monitor.core.alerts.silence_alerts import SilenceAlerts
from monitor.core.fitting.corpus import Corpus
from monitor.core.model.channel_limits import ChannelLimits
from monitor.core.model.model import Model
from monitor.core.model.new_assets import NewAssets
from monitor.core.model.ranking import Ranking
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import State
from monitor.core.rules import ChannelRule, RowRules, Rules
from monitor.core.running.condition import parse
from monitor.core.running.not_running import NotRunningAlerts, NotRunningOptions
from monitor.core.running.running import Running, RunningOptions
from monitor.core.saved import Part, SavedDetectors
from monitor.core.sensors.checks import SensorOptions, Sensors
from monitor.core.sensors.clocks import ClockOptions, Clocks
from monitor.core.threshold.budget import Budget
from monitor.core.threshold.options import BudgetOptions, ThresholdOptions
from monitor.core.threshold.threshold import Threshold
from monitor.core.windows.options import WindowOptions
from monitor.core.windows.windows import Windows
from monitor.store.atomic import Data
from monitor.store.models import FORMAT, ModelInvalid, Models
from monitor.store.snapshots import Snapshot, Snapshots
from monitor.store.tensors import Damaged, pack, unpack
from tests.core.decode.malformed import NOW
from tests.core.machines import ASSETS, CHANNELS, STEP, L, history, model, rows, windows
from tests.properties import hostile
from tests.properties.hostile_targets import Alone, Target, demand
from tests.recorder.test_line_protocol import FIRING
from tests.rig import ORIGIN, READINGS, processed, readings

THRESHOLD = ThresholdOptions(percentile=99.0, margin=1.1, memory=500, warm=100, clip=1.2, refresh=8)
LIMIT = 100.0  # upper limit of the first channel, far above its readings
_START = b'{"__metadata__":{"sha256":"'
_PLACE = {"topic": "readings", "partition": "0", "offset": "2"}
_METADATA = {"format": "2", "detectors": json.dumps({"pumps": {"model": "", "settings": "s"}}), **_PLACE}


class Stage(Alone):
    """A stage's `load_state`: a refusal raises ValueError and changes nothing. A loaded state can be saved again."""

    def __init__(self, name: str, stage: Any, wrong: type[Exception] = ValueError) -> None:
        self.name = f"{name}.load_state"
        self._stage, self._good, self._wrong = stage, stage.save_state(), wrong
        self._before = _bytes(self._good)

    def make(self, draw: Random) -> State:
        return hostile.arrays(draw, self._good)

    def judge(self, given: State) -> tuple[bool, Any]:
        try:
            self._stage.load_state(given)
        except self._wrong:
            demand(_bytes(self._stage.save_state()) == self._before, "a refused state has changed something")
            return False, None
        saved = self._stage.save_state()
        self._stage.load_state(saved)
        demand(_bytes(self._stage.save_state()) == _bytes(saved), "a state changes when it is saved and loaded")
        self._stage.load_state(self._good)
        return True, None


class Packed(Alone):
    """`Corpus.unpack`."""

    name = "Corpus.unpack"

    def __init__(self) -> None:
        self._good = history(rows(6 * L)).normal().pack()

    def make(self, draw: Random) -> State:
        return hostile.arrays(draw, self._good)

    def judge(self, given: State) -> tuple[bool, Any]:
        try:
            made = Corpus.unpack(given)
        except ValueError:
            return False, None
        demand(_bytes(Corpus.unpack(made.pack()).pack()) == _bytes(made.pack()), "a corpus changes as it is packed")
        return True, None


class Tensors(Alone):
    """`tensors.unpack`, with the old checksum and with a recomputed one."""

    name = "tensors.unpack"

    def __init__(self) -> None:
        self._good = b"".join(pack(pipeline().save_state(), {"format": "1", "topic": "readings"}))

    def make(self, draw: Random) -> tuple[bytes, bool]:
        resealed = draw.random() < 0.6
        return _damaged(draw, self._good, resealed=resealed), resealed

    def judge(self, given: tuple[bytes, bool]) -> tuple[bool, Any]:
        data, resealed = given
        try:
            found, metadata = unpack(data)
        except Damaged:
            return False, None
        demand(resealed or data == self._good, "a changed file was accepted")
        demand(sum(array.nbytes for array in found.values()) <= len(data), "more numbers than bytes")
        demand(all(isinstance(text, str) for text in metadata.values()), "metadata is not text")
        return True, None


class DictBlobs:
    """Named bytes in a dict."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)

    def open(self) -> None: ...

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def write(self, name: str, data: Data) -> int:
        self.files[name] = data if isinstance(data, bytes) else b"".join(data)
        return len(self.files[name])

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.files if name.startswith(f"{prefix}/"))

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    def delete(self, name: str) -> None:
        self.files.pop(name, None)


class Kept(Alone):
    """`Snapshots.newest` and the load into a pipeline: either this snapshot is used, or the older one."""

    name = "Snapshots.newest"

    def __init__(self) -> None:
        self._state = pipeline().save_state()
        blobs = DictBlobs({})
        store = Snapshots(blobs, lambda _: None)
        for offset in (1, 2):
            store.save(Snapshot(READINGS, offset, SavedDetectors({}, {"pumps": Part("", "s", self._state)})))
        self._files = blobs.files
        self._newest = max(self._files)
        self._pipeline = pipeline()

    def make(self, draw: Random) -> bytes:
        if draw.random() < 0.5:
            damaged = hostile.arrays(draw, self._state)
            return b"".join(pack({f"pumps/{name}": each for name, each in damaged.items()}, _METADATA))
        return _damaged(draw, self._files[self._newest], resealed=draw.random() < 0.6)

    def judge(self, given: bytes) -> tuple[bool, Any]:
        blobs = DictBlobs({**self._files, self._newest: given})
        notices: list[Any] = []
        found = Snapshots(blobs, notices.append).newest(READINGS, 100)
        demand(found is not None, "the older snapshot did not serve")
        assert found is not None
        if found.offset == 1:
            demand(
                _bytes(found.detectors.parts["pumps"].state) == _bytes(self._state), "the older snapshot has changed"
            )
            demand(
                [blobs.files[notice.quarantined] for notice in notices] == [given], "the newer one was not quarantined"
            )
            return False, None
        try:
            self._pipeline.load_state(found.detectors.parts["pumps"].state)
        except (ValueError, KeyError):
            return False, None
        return True, None


class Stored(Alone):
    """`Models.get`, `Models.current` and `Model.unpack`, followed by scoring."""

    name = "Models.get, Model.unpack"

    def __init__(self) -> None:
        blobs = DictBlobs({})
        models = Models(blobs, lambda _: None)
        self._manifest, self._tensors = model().pack()
        self._version = models.put(self._manifest, self._tensors, ORIGIN)
        models.set_current(self._version)
        self._files = blobs.files
        self._windows = windows(rows(L + 3))

    def make(self, draw: Random) -> tuple[dict[str, bytes], str]:
        """Return files and the version to get."""
        folder, files = f"models/{self._version}", dict(self._files)
        if draw.random() < 0.2:
            name = draw.choice(sorted(files))
            files[name] = hostile.mangled(draw, files[name], list(self._files.values()))
            return files, self._version
        manifest = json.loads(files[f"{folder}/manifest.json"])
        weights = files[f"{folder}/weights.safetensors"]
        if draw.random() < 0.5:
            tensors = hostile.arrays(draw, self._tensors)
            weights = b"".join(pack(tensors, {"format": str(FORMAT)}))
            manifest["weights"]["sha256"] = hashlib.sha256(weights).hexdigest()
            shapes = {name: {"dtype": str(t.dtype), "shape": list(t.shape)} for name, t in sorted(tensors.items())}
            manifest["weights"]["tensors"] = shapes
            text = json.dumps(manifest).encode()
        else:
            part = hostile.misshapen(draw, json.dumps(manifest["model"]).encode())
            text = json.dumps({**manifest, "model": "HERE"}).encode().replace(b'"HERE"', part)
        version = f"{self._version[:-8]}{hashlib.sha256(text).hexdigest()[:8]}"
        return {f"models/{version}/manifest.json": text, f"models/{version}/weights.safetensors": weights}, version

    def judge(self, given: tuple[dict[str, bytes], str]) -> tuple[bool, Any]:
        files, version = given
        models = Models(DictBlobs(files), lambda _: None)
        models.current()
        try:
            stored = models.get(version)
            made = Model.unpack(version, stored.manifest, stored.tensors)
        except (ModelInvalid, ValueError):
            return False, None
        if made.architecture.length == L and len(made.channels) == self._windows.values.shape[1]:
            with np.errstate(all="ignore"):  # numbers at the edge of their type
                scored = Scorer(made).score(self._windows, ASSETS)
            demand(scored.network.shape == (len(self._windows),), "a window has no score")
        return True, None


@cache
def _states() -> State:
    """Return a pipeline's state during an open alert, with a sensor outside its limits."""
    made = new_pipeline()
    values = rows(230, seed=9)
    values[1, 200:, 1] += 8.0
    values[0, 215:, 0] += 2 * LIMIT
    processed(made, readings(values.astype(np.float64)), NOW * 2)
    assert made.alerting.open_alerts()
    assert made.sensor_alerts.open_alerts()
    state = made.save_state()
    assert len(state["sensors.masked_rows"])
    return state


def pipeline() -> Pipeline:
    """Return a pipeline with that state."""
    made = new_pipeline()
    made.load_state(_states())
    return made


def new_pipeline() -> Pipeline:
    delays: dict[str, Any] = {"on_delay_ms": 2000, "off_delay_ms": 5000, "deadband": 0.05, "gap_ms": 60_000}
    options = AlertOptions(critical_ratio=3.0, update_ms=10_000, **delays)
    holes: dict[str, Any] = {"lateness_ms": 0, "max_gap": 8, "max_fill": 2, "idle": 30}
    most: dict[str, Any] = {"max_assets": 100, "max_channels": 8, "new_assets": 100, "forget_ms": 3_600_000}
    expected = NotRunningOptions(None, sisters=True, delay_ms=60_000, wait_ms=31 * STEP, step_ms=STEP)
    rules = Rules(channels=((CHANNELS[0], ChannelRule(high=LIMIT)),))
    made = Pipeline(
        "d",
        "s",
        Windows(WindowOptions(step_ms=STEP, length=L, min_observed=0.5, **most, **holes)),
        ChannelLimits(),
        Ranking(L),
        Threshold(THRESHOLD),
        Budget(BudgetOptions(alarms_per_day=1000.0, margin=1.1, step_ms=STEP, **delays)),
        MachineAlerts("d", READINGS, options),
        Sensors(SensorOptions(length=L, step_ms=STEP, min_observed=0.5, skip=()), rules),
        Clocks(ClockOptions(tolerance_ms=30_000, wait_ms=31 * STEP, step_ms=STEP)),
        SensorAlerts("d", READINGS, options),
        ModeAlerts("d", READINGS, options, window_ms=L * STEP),
        NewAssets(length=L, step_ms=STEP),
        SilenceAlerts("d", READINGS, 60_000),
        Running(
            RunningOptions(
                parse(f"{CHANNELS[0]} > -1e9"),
                learned=False,
                stop_delay_ms=0,
                start_delay_ms=0,
                step_ms=STEP,
                max_gap=8,
            )
        ),
        NotRunningAlerts("d", READINGS, expected),
        rules=RowRules(1.1, 1000.0, rules),
    )
    made.use(Scorer(model()))
    return made


def histogram() -> Threshold:
    """Return a threshold of kind histogram that has some scores."""
    made = Threshold(replace(THRESHOLD, kind="histogram"))
    scores = np.random.default_rng(4).gamma(2, 0.2, 600).astype(np.float32)
    made.update(np.arange(600, dtype=np.int32) % 2, scores, model().alarm.scores)
    return made


def channel_limits() -> ChannelLimits:
    """Return limits of two assets in the middle of a block, and of one that has no windows yet."""
    made, errors = ChannelLimits(), np.random.default_rng(4).gamma(2, 2, (100, 3, len(CHANNELS))).astype(np.float32)
    made.use(np.full((3, len(CHANNELS)), 9.0, np.float32))
    errors[::7, :, 0] = np.nan
    made.update(np.arange(100, dtype=np.int32) % 2 * 2, errors)
    return made


def _bytes(state: State) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in state.items()}


def sealed(data: bytes) -> bytes:
    """Return the file with a valid checksum, as a defective program or an attacker would write it."""
    digits = 8 + len(_START)
    if data[8:digits] != _START:
        return data
    blank = data[:digits] + b"0" * 64 + data[digits + 64 :]
    return data[:digits] + hashlib.sha256(blank).hexdigest().encode() + data[digits + 64 :]


def _damaged(draw: Random, good: bytes, *, resealed: bool) -> bytes:
    """Return a damaged file of tensors. With `resealed` its header may be damaged too, and the checksum is valid."""
    if not resealed:
        return hostile.mangled(draw, good, [good])
    size = int.from_bytes(good[:8], "little")
    header = good[8 : 8 + size]
    header = hostile.misshapen(draw, header) if draw.random() < 0.6 else hostile.mangled(draw, header, [header])
    body = good[8 + size :] if draw.random() < 0.7 else hostile.mangled(draw, good[8 + size :], [good])
    length = len(header) if draw.random() < 0.9 else draw.choice((0, 7, 2**20 + 1, 2**63, 2**64 - 1))
    return sealed(length.to_bytes(8, "little") + header + body)


def store_targets() -> list[Target]:
    """Return one target of each kind."""
    made = pipeline()
    past = history(rows(6 * L))
    past.note([replace(FIRING, asset="a", start=0, end=None), replace(FIRING, asset="b", start=0, end=9)])
    stages = {
        "Windows": made.windows,
        "Threshold": made.threshold,
        "Budget": made.budget,
        "MachineAlerts": made.alerting,
        "Sensors": made.sensors,
        "SensorAlerts": made.sensor_alerts,
        "Clocks": made.clocks,
        "NewAssets": made.new_assets,
        "ChannelLimits": channel_limits(),
        "Ranking": made.ranking,
        "Histogram": histogram(),
        "History": past,
    }
    return [*(Stage(name, stage) for name, stage in stages.items()), Packed(), Tensors(), Kept(), Stored()]
