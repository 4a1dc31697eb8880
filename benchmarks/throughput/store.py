"""A store as after weeks of work: a model, and a snapshot of each partition with full windows and rings.

Thresholds with 10 000 scores cost more memory and time than new ones, and a benchmark cannot wait for 10 000 steps. So
they are filled with alarm scores drawn from the model's calibration.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.throughput.fleet import LENGTH, PARTITIONS, PATTERNS, Fleet, partition
from monitor.core.model.alarm import ERRORS
from monitor.core.model.channel_limits import LEAST
from monitor.core.model.model import LEVELS, AlarmCalibration, Model
from monitor.core.model.scaling import Scaling
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Floats
from monitor.core.saved import Part, SavedDetectors
from monitor.service.pipelines import make_pipeline
from monitor.settings.tree import Settings
from monitor.store.files import open_blobs
from monitor.store.folder import detector_folder
from monitor.store.models import Models
from monitor.store.snapshots import Snapshot, Snapshots

MEMORY = 10_000  # scores of a full threshold, as by default
DETECTOR = "throughput"  # in whose folder of the store the model is


def model_of(base: Model, fleet: Fleet) -> Model:
    """Return the pumps' model for this fleet: each asset has the scaling of its pump."""
    pump = np.arange(fleet.assets) % PATTERNS
    center, scale = base.scaling.center, base.scaling.scale
    assert len(center) == PATTERNS + 1, "a row for every pump and one for the class"
    rows = np.append(pump, PATTERNS)
    scaling = Scaling(tuple(fleet.names), center[rows], scale[rows])
    return by_channel(replace(base, channels=fleet.channels, scaling=scaling))


def by_channel(model: Model) -> Model:
    """Return the model with limits for each channel, as those of recorded machines have.

    The network foresees simulated ones, which costs less. Alarm scores are like those of healthy machines.
    """
    starts = np.full((ERRORS, len(model.channels)), LEAST, np.float32)
    return replace(model, alarm=AlarmCalibration(starts, np.linspace(0.1, 0.4, len(LEVELS), dtype=np.float32)))


def scores(model: Model, count: int) -> Floats:
    """Return alarm scores (PATTERNS, count) like those of healthy windows."""
    draw = np.random.default_rng(0).random((PATTERNS, count))
    return np.interp(draw, LEVELS, model.alarm.scores).astype(np.float32)


def fill(settings: Settings, base: Model, fleet: Fleet) -> Model:
    """Fill the store of these settings and return its model."""
    blobs = open_blobs(settings.store.url)
    model = model_of(base, fleet)
    manifest, tensors = model.pack()
    models = Models(detector_folder(blobs, settings.name), print)
    version = models.put({**manifest, "training": {}}, tensors, fleet.first)
    models.set_current(version)
    snapshots = Snapshots(blobs, print)
    for number in range(PARTITIONS):
        pipeline = warmed(settings, model, fleet, number)
        part = Part(version, pipeline.fingerprint, pipeline.save_state())
        snapshots.save(Snapshot(partition(number), 0, SavedDetectors({}, {settings.name: part})))
    return model


def warmed(settings: Settings, model: Model, fleet: Fleet, number: int) -> Pipeline:
    """Return full stages of a partition: an asset's next step completes a window, its threshold has MEMORY scores."""
    pipeline = make_pipeline(settings, partition(number))
    pipeline.use(Scorer(model))
    for readings in fleet.warm(number):
        windows = pipeline.windows.push(readings)
        assert not len(windows), "no window is complete yet"
    pipeline.threshold.load_state(thresholds(settings, model, np.arange(number, fleet.assets, PARTITIONS)))
    return pipeline


def thresholds(settings: Settings, model: Model, assets: Any) -> dict[str, Any]:
    """Return the state of full thresholds of these assets (A,)."""
    drawn = scores(model, MEMORY)
    base = np.percentile(drawn.astype(np.float64), settings.threshold.percentile, axis=1)
    pump = np.asarray(assets) % PATTERNS
    return {
        "memory": np.array([settings.threshold.memory], np.int64),
        "count": np.full(len(pump), MEMORY, np.int64),
        "base": base[pump],
        "ring": drawn[pump],
    }


def common(fleet: Fleet, directory: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of every run; all others are the defaults."""
    assert LENGTH == 64, "the default length of a window"
    return {
        "name": DETECTOR,
        "store.url": str(directory),
        "store.snapshot_s": 3600.0,  # none during the measurement; the cost of one is measured when the worker ends
        "training.interval_s": 0.0,
        **fleet.settings(),
        **more,
    }
