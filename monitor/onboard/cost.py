"""Estimates the cost of a topic: a short run of the real stages on its own sample, and sums from the settings.

1. The decoder reads the sample's longest run repeatedly.
2. The stages after the decoder and the encoding of scores take its readings, lap after lap, each lap later in time by
   the run's length: untimed until the windows are full, then for RUN_S of processor time. The model is untrained and
   has the shape of the settings: a step costs the same for any weights.
3. A few gradient steps of a training run on noise of that shape.

Not included: the broker's client and the writing of outputs.
"""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from monitor.core.decode.decode import decode
from monitor.core.model import channel_limits, ranking
from monitor.core.model.alarm import ERRORS
from monitor.core.model.errors import horizons
from monitor.core.model.forecaster import SPANS, Forecaster, feature_count
from monitor.core.model.model import LEVELS, AlarmCalibration, Calibration, Model
from monitor.core.model.scaling import Scaling
from monitor.core.model.scorer import Scorer
from monitor.core.model.vae import VAE
from monitor.core.pipeline import Pipeline
from monitor.core.publish import scores_of
from monitor.core.records import Message, ReadingBatch, Times
from monitor.core.routing import Router
from monitor.core.threshold.histogram import BYTES
from monitor.core.windows.aggregates import channels_of
from monitor.onboard.survey import Survey
from monitor.service.pipelines import make_pipeline
from monitor.settings.tree import Settings

RUN_S = 1.0  # of processor time; laps of 0.1 s differ by a tenth
_WALL_S = 30.0  # for filling the windows and for running; a run of one step needs `length` laps
_TRAININGS = 5  # gradient steps that are timed, after one that is not
_QUIET = 1e6  # limit of the untrained model: nothing it says is an anomaly
_CELL = 5  # bytes of a float32 and its mark "observed"


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured speeds, per core."""

    readings_per_s: float
    windows_per_s: float
    training_step_s: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate for one topic."""

    measured: Measured
    base_mb: float  # the program at work: peak memory of this process, which holds the sample
    assets_mb: float  # windows, scores and limits of the assets seen
    history_mb: float  # per partition, when it is full
    load: float  # cores, at the plant's rate of readings
    reading_s: float  # to read the messages that the first model needs, as far as the topic holds them
    waiting_s: float  # until the topic holds enough for the first model; 0 = it does
    training_s: float  # at most, of the first model
    warm_s: float  # from an asset's first score until it has a threshold of its own


def peak_mb() -> float:
    """Return the peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def estimate(settings: Settings, figures: Survey, measured: Measured, held: int) -> Estimate:
    """Return the estimate for a topic that holds `held` messages."""
    windows, training = settings.windows, settings.training
    channels, assets = len(figures.channels), len(figures.assets)
    needed = training.first_steps * windows.step_s
    there = figures.span_ms / 1000
    scores = 4 * settings.threshold.memory if settings.threshold.kind == "ring" else BYTES  # of an asset
    state = channel_limits.bytes_per_asset(ERRORS, channels) + ranking.bytes_per_asset(windows.length)
    backlog = held * figures.weight * min(1.0, needed / max(there, windows.step_s))
    return Estimate(
        measured,
        peak_mb(),
        assets * (scores + 1.5 * windows.length * channels * _CELL + state) / 2**20,
        training.history_windows * windows.length * channels * _CELL / 2**20,
        figures.rate / measured.readings_per_s,
        backlog / measured.readings_per_s,
        max(0.0, needed - there),
        training.steps * measured.training_step_s,
        settings.threshold.warm * windows.step_s,
    )


def total(parts: Sequence[Estimate], figures: Sequence[Survey]) -> Estimate:
    """Return the estimate for several detectors of one process, whose trainings run one after another."""
    load = sum(each.load for each in parts)
    windows = sum(each.load * each.measured.windows_per_s for each in parts)
    speeds = Measured(
        sum(each.rate for each in figures) / load, windows / load, max(each.measured.training_step_s for each in parts)
    )
    return Estimate(
        speeds,
        max(each.base_mb for each in parts),
        sum(each.assets_mb for each in parts),
        sum(each.history_mb for each in parts),
        load,
        max(each.reading_s for each in parts),
        max(each.waiting_s for each in parts),
        sum(each.training_s for each in parts),
        max(each.warm_s for each in parts),
    )


def measure(settings: Settings, runs: Sequence[Sequence[Message]], figures: Survey, now: int) -> Measured:
    """Run the stages for a while; `now` is ms UTC."""
    torch.set_num_threads(settings.model.threads)
    form, router = settings.message_format(), Router({settings.name: settings.route()})

    def own(messages: Sequence[Message]) -> ReadingBatch:
        return router.route(decode(messages, form, now)[0]).readings[0]

    run = max(runs, key=lambda each: len(own(each)))  # an old run may have had another format
    batch = settings.source.batch_messages
    parts = [run[begin : begin + batch] for begin in range(0, len(run), batch)]
    begin, decoded = time.process_time(), 0
    while time.process_time() - begin < RUN_S / 4:
        decoded += sum(len(decode(part, form, now)[0]) for part in parts)
    decoding = (time.process_time() - begin) / decoded  # s per reading
    readings = [own(part) for part in parts]
    pipeline = make_pipeline(settings, run[0].partition)
    bases = tuple(figures.channels)[: settings.windows.max_channels]
    scorer = untrained(
        settings, tuple(name for base in bases for name in channels_of(base, settings.windows.aggregate))
    )
    pipeline.use(scorer)
    stages, windows = _laps(settings, pipeline, run, [each for each in readings if len(each)])
    per_s = 1 / (decoding + stages)
    return Measured(per_s, per_s * windows, _training_step(settings, len(scorer.model.channels)))


def _laps(
    settings: Settings, pipeline: Pipeline, run: Sequence[Message], readings: Sequence[ReadingBatch]
) -> tuple[float, float]:
    """Return processor seconds, and windows, per reading once windows are full."""
    step = settings.windows.step_ms
    times = np.concatenate([each.time for each in readings])
    span = (int(np.ptp(times)) // step + 1) * step
    offsets = run[-1].offset - run[0].offset + 1
    laps, done, scored, begin = 0, 0, 0, 0.0
    filling = -(-(settings.windows.length + 1) * step // span)
    deadline = time.monotonic() + _WALL_S
    while not done or (time.process_time() - begin < RUN_S and time.monotonic() < deadline):
        timed = laps > filling or time.monotonic() >= deadline
        begin = begin or time.process_time() if timed else 0.0
        for each in readings:
            later = replace(each, time=each.time + laps * span, offset=each.offset + laps * offsets)
            count = _step(settings, pipeline, later)
            done, scored = (done + len(each), scored + count) if timed else (0, 0)
        laps += 1
    return (time.process_time() - begin) / done, scored / done


def _step(settings: Settings, pipeline: Pipeline, readings: ReadingBatch) -> int:
    """Take readings through the stages after decoding, encode their scores, and return the number of windows."""

    def timestamps(offsets: Times) -> Times:  # of messages that are sent as they are read
        return readings.time[np.searchsorted(readings.offset, offsets)]

    outputs = pipeline.step(readings, timestamps, lambda _: None)
    topics = settings.outputs
    if topics.scores_every:
        scores_of(pipeline, outputs, topics.scores, topics.scores_every)
    return len(outputs.windows)


def untrained(settings: Settings, channels: tuple[str, ...]) -> Scorer:
    """Return an untrained scorer of the settings' shape; its limits are so high that it finds nothing."""
    count, length = len(channels), settings.windows.length
    architecture = settings.model.architecture(count, length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = {name: tensor.numpy().copy() for name, tensor in VAE(architecture).state_dict().items()}
    one, usual = np.ones((1, count)), np.ones(count, np.float32)
    limits = np.full(len(horizons(length)) + 1, _QUIET, np.float32)
    scaling, calibration = Scaling((), 0 * one, one), Calibration(usual, usual, limits)
    weights_forecast = np.zeros((feature_count(count, length), count), np.float32)
    forecaster = Forecaster(weights_forecast, usual, np.ones(SPANS, np.float32))
    starts = np.full((ERRORS, count), _QUIET, np.float32)
    alarm = AlarmCalibration(starts, np.linspace(0.1, 1, len(LEVELS), dtype=np.float32))
    return Scorer(Model(architecture, channels, scaling, calibration, weights, forecaster, alarm))


def _training_step(settings: Settings, channels: int) -> float:
    """Return the seconds of one gradient step."""
    architecture = settings.model.architecture(channels, settings.windows.length)
    noise = torch.Generator().manual_seed(0)
    x = torch.randn((settings.training.batch, channels, settings.windows.length), generator=noise)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VAE(architecture)
    optimizer = torch.optim.AdamW(network.parameters())
    begin = 0.0
    for count in range(_TRAININGS + 1):
        optimizer.zero_grad()
        network.loss(x, torch.ones_like(x, dtype=torch.bool), 1.0, noise).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        begin = time.perf_counter() if not count else begin
    return (time.perf_counter() - begin) / _TRAININGS
