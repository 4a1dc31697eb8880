"""Scores for the alarm-budget benchmark, computed once with the product's scorer and kept for all later runs.

Recordings are learned and scored as in `benchmarks.detection`. The plant's model learns from eight pumps and scores all
pumps, without faults, so that every alert is false.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.detection import PARTITION, Task, placed, tasks, windows_of
from monitor.core.fitting.fit import fit, prepare
from monitor.core.model.alarm import alarm_scores
from monitor.core.model.scorer import Scorer
from monitor.core.records import Bools, Floats, ReadingBatch, Times
from monitor.service.pipelines import make_history, make_pipeline
from monitor.settings.tree import Settings
from monitor.simulator.plant import NAMES, Plant, PlantSettings

SETS = ("TEP", "SMD", "JS2", "NAB")  # MSL and SMAP have no period; SKAB has only four hours
LEARNED = 2000  # training steps of LEARNERS pumps
LEARNERS = 8
PIECE = 512  # steps scored at once


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one asset with their labels."""

    score: Floats  # (B,)
    row: Times  # (B,) step of each window's end, counted from the first evaluated row
    label: Bools  # (T,) by row, True = anomalous
    calibration: Floats  # (len(LEVELS),)
    step_s: float  # NaN = not known


def of_task(task: Task, settings: Settings) -> Scores | None:
    """Train on and score a series. Return None if its history is too short."""
    found = placed(task, settings)
    if found is None:
        return None
    when, corpus = found

    recipe = settings.training.recipe(settings.model)
    model = fit(prepare(corpus, recipe, None), recipe, None, lambda *_: None).model
    pipeline, scorer = make_pipeline(settings, PARTITION), Scorer(model)
    pipeline.use(scorer)

    score, ends = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for windows in windows_of(pipeline, task, when, task.test):
        scored = scorer.score(windows, pipeline.windows.assets)
        ratios = pipeline.channel_limits.update(windows.assets, scored.errors)
        score.append(alarm_scores(scored.network, ratios, ~np.isnan(scored.errors)))
        ends.append(windows.ends)

    row = np.searchsorted(when[task.test], np.concatenate(ends))
    label = task.recording.label[task.test]
    period = task.recording.period_s or np.nan
    return Scores(np.concatenate(score), row, label, model.alarm.scores, period)


def recordings(data: Path, folder: Path, settings: Settings) -> None:
    """Score every series of the sets that is not in the folder yet."""
    for name in SETS:
        for task in tasks(data, name, 1, 0):
            path = folder / name / f"{task.recording.name}.npz"
            if not path.exists():
                keep(path, of_task(task, settings))


def plant(folder: Path, settings: Settings, assets: int, steps: int) -> None:
    """Score a healthy plant in pieces."""
    path = folder / "plant"
    if path.exists():
        return

    # The model learns from LEARNERS healthy pumps.
    made = Plant(PlantSettings(assets=assets))
    pipeline, kept = make_pipeline(settings, PARTITION), make_history(settings)
    kept.add(pipeline.windows.push(_readings(made, 0, LEARNED, LEARNERS)), pipeline.windows.assets, NAMES)
    recipe = settings.training.recipe(settings.model)
    model = fit(prepare(kept.normal(), recipe, None), recipe, None, lambda *_: None).model

    # A fresh pipeline scores all pumps in pieces, which bounds the memory.
    pipeline, scorer = make_pipeline(settings, PARTITION), Scorer(model)
    pipeline.use(scorer)
    score = np.full((assets, steps), np.nan, np.float32)
    for begin in range(LEARNED, LEARNED + steps, PIECE):
        windows = pipeline.windows.push(_readings(made, begin, min(begin + PIECE, LEARNED + steps), assets))
        place = np.array([made.names.index(name) for name in pipeline.windows.assets])[windows.assets]
        column = (windows.ends - made.time(LEARNED)) // made.settings.step_ms
        found = scorer.score(windows, pipeline.windows.assets)
        ratios = pipeline.channel_limits.update(windows.assets, found.errors)
        score[place, column] = alarm_scores(found.network, ratios, ~np.isnan(found.errors))

    for name, line in zip(made.names, score, strict=True):
        row = np.flatnonzero(np.isfinite(line))
        label = np.zeros(steps, np.bool_)
        keep(path / f"{name}.npz", Scores(line[row], row, label, model.alarm.scores, 1.0))


def _readings(made: Plant, begin: int, end: int, assets: int) -> ReadingBatch:
    values = np.stack([made.truth(asset, begin, end) for asset in range(assets)], 1).reshape(-1)  # step, asset, channel
    step, asset, channel = (index.reshape(-1) for index in np.indices((end - begin, assets, len(NAMES))))
    time = made.time(begin) + step * made.settings.step_ms
    return ReadingBatch(
        made.names[:assets], NAMES, asset.astype(np.int32), channel.astype(np.int32), time, values, step + begin
    )


def keep(path: Path, scores: Scores | None) -> None:
    """Write scores. A series without a model gets an empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if scores is None:
        path.touch()
    else:
        np.savez(path, **{name: getattr(scores, name) for name in Scores.__slots__})
