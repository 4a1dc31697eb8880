"""How well the product detects: its own code, one configuration, causal, over labelled recordings.

    python -m benchmarks.detection --data DIR --scores OUT [--sets SMD,MSL] [--every 2 --offset 0] [--seed 0]
                                   [--jobs 2] [--baselines] [--json FILE]

For each series:
1. Its training part becomes history as in the daemon, and `monitor.core.training.fit` makes a model of it. The training
   part is what lies before `train_end`; for series that TSB-AD-M lists, the first `train_rows` of the test part, as its
   published figures had no more.
2. The test part goes through windows, detector, threshold and alerting as `monitor run` would take it, from an empty
   state. A row's score is that of the window that ends with it. An alert is on from the row that made it fire.
3. Score and alert of every row are written to OUT/SET/SERIES.npz, those of baselines to OUT/baselines/NAME/SET/.
   With --baselines, each of `benchmarks.baselines` gets the same rows, scaling, threshold and alerting.

The configuration is that of `monitor.service.configuration` without a file. Its delays are in seconds and meant for a
reading a second; here the clock of every recording is scaled so that its period is a second, so that a delay is the
same number of steps everywhere. The origin of the clock is put such that the last blocks of the training part are
among those that training holds out, whatever its length. No label is read before a series is judged.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.baselines import available
from benchmarks.quality import Bools, Doubles
from benchmarks.recordings import Recording, load, published
from benchmarks.verdict import Outcome, outcome, report
from monitor.core.alerting import Alerting
from monitor.core.corpus import Corpus
from monitor.core.detector import BATCH, LEVELS, Detector, Model
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, ChannelShare, Partition, ReadingBatch, ScoreBatch, WindowBatch
from monitor.core.scaling import fit_scaling
from monitor.core.threshold import Threshold
from monitor.core.training import fit
from monitor.service.assembly import make_history, make_pipeline
from monitor.service.configuration import load as load_settings
from monitor.service.settings import Settings

STEP_MS = 1000
TENTH = 10  # of so many blocks training holds out the last two
PARTITION = Partition("readings", 0)
PRODUCT = "product"
Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Task:
    """A series to be judged."""

    recording: Recording
    set: str
    train: slice  # rows that may be learned from
    listed: bool  # in TSB-AD-M


@dataclass(frozen=True, slots=True)
class Scored:
    """What a detector says of the rows of a test part."""

    score: Doubles  # (T,) NaN = not scored
    firing: Bools  # (T,)
    parts: Doubles | None  # (T, C) each channel's part, NaN = not scored
    seconds: float = 0.0  # of scoring
    windows: int = 0


def tasks(data: Path, name: str, every: int, offset: int) -> list[Task]:
    """Of the series of a set that have a test part, every `every`-th."""
    listed = published(data)
    found = []
    for recording in load(data / name):
        begin, row = recording.train_end, listed.get((name, recording.name))
        train = slice(begin, begin + int(row["train_rows"])) if row else slice(0, begin)
        if begin < len(recording.time):
            found.append(Task(recording, name, train, row is not None))
    return found[offset::every]


def clock(task: Task, length: int) -> Times:
    """The time (T,) of each row in steps of a second, training ending with the last or last but one held-out block."""
    recording = task.recording
    step = np.floor(recording.time / (1000 * (recording.period_s or 1))).astype(np.int64)
    first, last = step[task.train.start], step[task.train.stop - 1]
    # Two blocks alone must not both be held out: with an end one block earlier only the second is.
    place = TENTH - 1 if last - first + 1 >= 3 * length else TENTH - 2
    return (step - last - 1 + length * (place + 100_000 * TENTH)) * STEP_MS


def readings(recording: Recording, when: Times, rows: slice) -> ReadingBatch:
    """Rows as the decoder would hand them on, a message per row."""
    values = recording.values[rows]
    row, channel = np.nonzero(np.isfinite(values))
    return ReadingBatch(
        assets=(recording.name,),
        channels=recording.channels,
        asset=np.zeros(len(row), np.int32),
        channel=channel.astype(np.int32),
        time=when[rows][row],
        value=values[row, channel],
        offset=row + rows.start,
    )


def chunks(rows: slice) -> list[slice]:
    return [slice(begin, min(begin + BATCH, rows.stop)) for begin in range(rows.start, rows.stop, BATCH)]


def history(task: Task, when: Times, settings: Settings) -> Corpus:
    """The training part as the daemon keeps it."""
    windows, kept = make_pipeline(settings, PARTITION).windows, make_history(settings)
    windows.set_channels(task.recording.channels, frozen=True)
    for rows in chunks(task.train):
        kept.add(windows.push(readings(task.recording, when, rows)), windows.assets, windows.channels)
    return kept.normal()


def stream(task: Task, when: Times, settings: Settings, model: Model) -> Scored:
    """The test part through the stages of one partition."""
    pipeline = make_pipeline(settings, PARTITION)
    pipeline.use(Detector(model))
    recording, begin = task.recording, task.recording.train_end
    test = slice(begin, len(when))
    ends, scores, parts, alerts, seconds = [], [], [], list[Alert](), 0.0
    for rows in chunks(test):
        windows = pipeline.windows.push(readings(recording, when, rows))
        if not len(windows):
            continue
        before = time.perf_counter()
        scored = Detector.score(_detector(pipeline), windows, pipeline.windows.assets)
        seconds += time.perf_counter() - before
        alerts += alerted(pipeline.threshold, pipeline.alerting, windows, scored, model, _explain(pipeline, windows))
        ends.append(windows.ends)
        scores.append(scored.score)
        parts.append(scored.by_channel)
    if not ends:
        return Scored(np.full(len(when) - begin, np.nan), np.zeros(len(when) - begin, np.bool_), None)
    end = np.concatenate(ends)
    at = np.minimum(np.searchsorted(end, when[test]), len(end) - 1)
    known = end[at] // STEP_MS == when[test] // STEP_MS
    score = np.where(known, np.concatenate(scores)[at], np.nan)
    shares = np.where(known[:, None], np.concatenate(parts)[at], np.nan) if recording.explained else None
    return Scored(score, firing(alerts, begin, len(when)), shares, seconds, len(end))
