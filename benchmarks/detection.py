"""Measure detection quality of the product's code on labelled recordings, causally, with one configuration.

    python -m benchmarks.detection --data DIR --scores OUT [--sets SMD,MSL] [--every 2 --offset 0] [--seed 0]
                                   [--jobs 2] [--baselines [NAME,NAME]] [--ablation] [--json FILE]

For each series:
1. Its training part becomes history as in the daemon, and `monitor.core.fitting.fit.fit` makes a model of it. The
   training part is the part before `train_end`. For series of TSB-AD-M, it is the first `train_rows` of the test part,
   as for the published figures.
2. The test part goes through windows, scorer, threshold and alerting as in `monitor run`, from an empty
   state. A row's score is that of the window that ends with it. An alert is on from the row that made it fire.
   Alerts with a sensor as their cause are counted separately: "sensors", and "s. false" outside labels.
   "distinct" are false alarms a day, each counted once, and "on %" is the share of unlabelled rows in alarm.
3. Score and alert of every row are written to OUT/SET/SERIES.npz, those of a baseline to OUT/baselines/NAME/SET/.
   With --baselines, all of `benchmarks.baselines`, or those named, get the same rows, scaling, threshold, alerting.
   With --ablation, the network and the forecaster of the same model are also evaluated alone: the ranking is that of
   the one, and so are the ratios to its limits in place of both. The level counts as in the product.
   A set named SMD+spans is SMD with what its publisher says of its channels, that they move between 0 and 1, as their
   [channels.NAME] span. It is a set of its own, and counts for none of the sums over sets.

The configuration is that of `monitor.settings.load` without a file. Its delays are in seconds, for one reading a
second. Here the clock of every recording is scaled to a period of a second, so that a delay has the same number of
steps everywhere. The origin of the clock is chosen so that the last blocks of the training part are held out, for any
length. No label is read before a series is evaluated. Seconds are processor time.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.alarm_only import AlarmOnly
from benchmarks.baselines import Fit, available
from benchmarks.detection_table import KNOWN, PRODUCT, Outcome, Scored, outcome, report
from benchmarks.quality import Bools
from benchmarks.recordings import Recording, load, published
from monitor.core.fitting.corpus import Corpus, held_out
from monitor.core.fitting.fit import fit, prepare
from monitor.core.model.alarm import FORECAST, NETWORK, alarm_scores
from monitor.core.model.forward import BATCH
from monitor.core.model.model import LEVELS, Model
from monitor.core.model.scaling import fit_scaling
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import (
    Alert,
    ChannelShare,
    Floats,
    ModelScores,
    Partition,
    ReadingBatch,
    ScoreBatch,
    WindowBatch,
)
from monitor.core.threshold.threshold import Threshold
from monitor.service.pipelines import make_history, make_pipeline
from monitor.settings.load import load as load_settings
from monitor.settings.tree import Settings

SETS = ("SKAB", "TEP", "SMD", "JS2", "MSL", "SMAP", "NAB")
SPANS = {"SMD": 1.0}  # of all channels, as published
STEP_MS = 1000
PLACES = (9, 8)  # training holds out blocks 8 and 9 of each ten; of two blocks only one may be held out
PARTITION = Partition("readings", 0)
Times = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Explain = Callable[[int], tuple[ChannelShare, ...]]
ALONE = {"VAE alone": NETWORK, "forecaster alone": FORECAST}  # places of the errors


@dataclass(frozen=True, slots=True)
class Task:
    """A series to evaluate."""

    set: str
    recording: Recording
    train: slice  # rows for training
    listed: bool  # in TSB-AD-M

    @property
    def test(self) -> slice:
        return slice(self.recording.train_end, len(self.recording.time))


def tasks(data: Path, name: str, every: int, offset: int) -> list[Task]:
    """Return every `every`-th series of a set, of those with a test part."""
    listed = published(data)
    found = []
    for recording in load(data / name.removesuffix(KNOWN)):
        begin, row = recording.train_end, listed.get((name.removesuffix(KNOWN), recording.name))
        train = slice(begin, begin + int(row["train_rows"])) if row else slice(0, begin)
        if begin < len(recording.time):
            found.append(Task(name, recording, train, row is not None and not name.endswith(KNOWN)))
    return found[offset::every]


def clock(task: Task, length: int, place: int = PLACES[0]) -> Times:
    """Return row times (T,) with a period of a second, such that training ends with block `place` of every ten."""
    step = np.floor(task.recording.time / (1000 * (task.recording.period_s or 1))).astype(np.int64)
    moved: Times = step - step[task.train.stop - 1] - 1 + length * (place + 1_000_000)
    return moved * STEP_MS


def readings(recording: Recording, when: Times, rows: slice) -> ReadingBatch:
    """Return rows as decoded readings, one message each."""
    values = recording.values[rows]
    row, channel = np.nonzero(np.isfinite(values))
    return ReadingBatch(
        assets=(recording.name,),
        channels=recording.channels,
        asset=np.zeros(len(row), np.int32),
        channel=channel.astype(np.int32),
        time=when[rows][row],
        value=values[row, channel],
        offset=(row + rows.start).astype(np.int64),
    )


def windows_of(pipeline: Pipeline, task: Task, when: Times, rows: slice) -> Iterator[WindowBatch]:
    """Yield the windows that rows close, batch by batch."""
    for begin in range(rows.start, rows.stop, BATCH):
        part = slice(begin, min(begin + BATCH, rows.stop))
        windows = pipeline.windows.push(readings(task.recording, when, part))
        if len(windows):
            yield windows


def history(task: Task, when: Times, settings: Settings) -> Corpus:
    """Return the history of the training part, as in the daemon."""
    pipeline, kept = make_pipeline(settings, PARTITION), make_history(settings)
    pipeline.windows.set_channels(task.recording.channels, frozen=True)
    for windows in windows_of(pipeline, task, when, task.train):
        kept.add(windows, pipeline.windows.assets, pipeline.windows.channels)
    return kept.normal()


def placed(task: Task, settings: Settings) -> tuple[Times, Corpus] | None:
    """Return clock and history with blocks to train on and to hold out. Return None if there are too few."""
    for place in PLACES:
        when = clock(task, settings.windows.length, place)
        corpus = history(task, when, settings)
        if set(held_out(corpus).tolist()) == {True, False}:
            return when, corpus
    return None


def alerted(
    pipeline: Pipeline, windows: WindowBatch, alarm: Floats, calibration: Floats, explain: Explain
) -> list[Alert]:
    """Run threshold and alerting on alarm scores (B,)."""
    names = pipeline.windows.assets or ["asset"]
    thresholds = pipeline.threshold.update(windows.assets, alarm, calibration)
    nothing = np.empty((len(alarm), 0), np.float32)
    scores = ScoreBatch(alarm, nothing, nothing, nothing, nothing)  # no alert depends on them
    return pipeline.alerting.update(windows, scores, thresholds, names, pipeline.model, explain, AlarmOnly(alarm))


def firing(alerts: Sequence[Alert], rows: slice) -> Bools:
    """Return the alert state at each of `rows`, as known at that row."""
    change, open_ids = np.zeros(rows.stop - rows.start + 1, np.int64), set[str]()
    for alert in alerts:
        if alert.sequence == 0:
            open_ids.add(alert.id)
            change[alert.position - rows.start] += 1
        elif alert.state != "firing" and alert.id in open_ids:
            open_ids.remove(alert.id)
            change[alert.position - rows.start] -= 1
    return np.cumsum(change)[:-1] > 0


@dataclass(slots=True)
class _Track:
    """Threshold, alerting and results of one way to score."""

    pipeline: Pipeline  # whose stages up to the scorer are not used
    calibration: Floats  # (len(LEVELS),)
    score: Doubles  # (T,) NaN = not scored
    alerts: list[Alert]


def product(task: Task, settings: Settings) -> Scored:
    """Evaluate the product."""
    return products(task, settings, (PRODUCT,))[PRODUCT]


def products(task: Task, settings: Settings, names: Sequence[str]) -> dict[str, Scored]:
    """Train on the training part, then run the test part through the stages of one partition.

    `names` are of the product and of ALONE. All have the same model.
    """
    T, place = task.test.stop - task.test.start, placed(task, settings)
    if place is None:  # no model, no scores, no alerts
        return dict.fromkeys(names, Scored(np.zeros(T), np.zeros(T, np.bool_), None, 0.0, 0.0, 0))
    when, corpus = place

    begin = time.process_time()
    recipe = replace(settings.training.recipe(settings.model), spans=_spans(task))
    model = fit(prepare(corpus, recipe, None), recipe, None, lambda *_: None).model
    trained = time.process_time() - begin

    # The test part begins from an empty state.
    pipeline = make_pipeline(settings, PARTITION)
    pipeline.use(scorer := Scorer(model))
    assets, parts = pipeline.windows.assets, np.full((T, len(model.channels)), np.nan)
    sensors, seconds, count = list[Alert](), 0.0, 0
    tracks = {
        name: _Track(make_pipeline(settings, PARTITION), calibration, np.full(T, np.nan), [])
        for name, calibration in _calibrations(task, settings, when, scorer, names).items()
    }

    for raw in windows_of(pipeline, task, when, task.test):
        begin = time.process_time()
        windows, findings = pipeline.sensors.update(raw)
        found = scorer.score(windows, assets)
        seconds, count = seconds + time.process_time() - begin, count + len(windows)
        if not len(windows):
            continue
        ratios = pipeline.channel_limits.update(windows.assets, found.errors)
        explain = _explain(scorer, windows, assets)
        observed = ~np.isnan(found.errors)
        alarm = alarm_scores(found.network, ratios, observed)
        score = pipeline.ranking.update(windows.assets, found.network, found.forecast, alarm)
        scores = found.ranked(score)
        columns = pipeline.sensors.sensors, model.channels
        sensors += pipeline.sensor_alerts.update(windows, findings, {}, scores, assets, *columns, pipeline.model)

        # Rows get the score of the window that ends with them.
        at = np.searchsorted(windows.ends, when[task.test])
        known = np.flatnonzero(windows.ends[np.minimum(at, len(windows) - 1)] == when[task.test])
        parts[known] = scores.by_channel[at[known]]
        for name, track in tracks.items():
            track.alerts += alerted(
                track.pipeline, windows, _alarm(name, found.network, ratios, observed), track.calibration, explain
            )
            own = _alone(name, track, model, windows, found) if name in ALONE else scores.score
            track.score[known] = own[at[known]]

    cost, sensing = (trained, seconds, count), firing(sensors, task.test)
    return {
        name: Scored(track.score, firing(track.alerts, task.test), parts, *cost, sensing)
        for name, track in tracks.items()
    }


def _spans(task: Task) -> tuple[tuple[str, float], ...]:
    """Return what the set's publisher says of its channels, if that is asked for."""
    name = task.set.removesuffix(KNOWN)
    return (("*", SPANS[name]),) if name != task.set else ()


def _alarm(name: str, network: Floats, ratios: Floats, observed: Bools | None = None) -> Floats:
    """Return the alarm scores (B,) of scores (B,) and ratios (B, V, C). Alone, an error counts in place of both.

    Where the network foresees, its score alone is the alarm score of the product, and of either alone.
    """
    if name in ALONE and ratios.shape[1]:
        ratios = ratios.copy()
        ratios[:, [NETWORK, FORECAST]] = ratios[:, [ALONE[name]]]
    return alarm_scores(network, ratios, observed)


def _alone(name: str, track: _Track, model: Model, windows: WindowBatch, found: ModelScores) -> Floats:
    """Return the scores (B,) of the network alone, or of the forecaster."""
    if ALONE[name] == NETWORK:
        return found.network
    result: Floats = (track.pipeline.ranking.means(windows.assets, found.forecast) / model.forecaster.edges).max(1)
    return result


def _calibrations(
    task: Task, settings: Settings, when: Times, scorer: Scorer, names: Sequence[str]
) -> dict[str, Floats]:
    """Return the quantiles of clean alarm scores, by name.

    Those alone are the model's, times how much higher or lower the windows of the training part score alone.
    """
    usual = scorer.model.alarm.scores
    if not ALONE.keys() & set(names):
        return dict.fromkeys(names, usual)
    pipeline = make_pipeline(settings, PARTITION)
    pipeline.use(scorer)
    scored = [
        (each.network, pipeline.channel_limits.update(windows.assets, each.errors))
        for windows in windows_of(pipeline, task, when, task.train)
        for each in [scorer.score(windows, pipeline.windows.assets)]
    ]
    network, ratios = (np.concatenate(column) for column in zip(*scored, strict=True))
    found = {name: np.maximum(np.quantile(_alarm(name, network, ratios), LEVELS), 1e-6) for name in {PRODUCT, *names}}
    return {name: (usual * (found[name] / found[PRODUCT])).astype(np.float32) for name in names}


def _explain(scorer: Scorer, windows: WindowBatch, names: Sequence[str]) -> Explain:
    return lambda place: scorer.explain(windows.take(np.array([place], np.intp)), names)


def baseline(task: Task, settings: Settings, method: Fit) -> Scored:
    """Evaluate a baseline on rows in the product's scaling."""
    rows, test = task.recording.values.astype(np.float32), task.test
    scaling = fit_scaling({"asset": rows[task.train]}, 1)
    scaled = scaling.forward(rows[:, :, None], np.zeros(len(rows), np.intp))[:, :, 0].astype(np.float64)

    draw = np.random.default_rng(settings.training.seed)
    begin = time.process_time()
    scorer = method(scaled[task.train], draw)
    trained = time.process_time() - begin

    # The calibration comes from the training rows, as for the product.
    clean, _ = scorer(scaled[task.train])
    calibration = np.nanquantile(clean, LEVELS).astype(np.float32)
    begin = time.process_time()
    score, parts = scorer(scaled[test])
    seconds = time.process_time() - begin

    known = np.flatnonzero(np.isfinite(score))
    pipeline = make_pipeline(settings, PARTITION)
    pipeline.threshold = Threshold(settings.threshold.options())  # without the product's least limit
    windows = _bare(known + test.start, clock(task, settings.windows.length))
    alerts = alerted(pipeline, windows, score[known].astype(np.float32), calibration, lambda _: ())
    return Scored(score, firing(alerts, test), parts, trained, seconds, len(known))


def _bare(position: Times, when: Times) -> WindowBatch:
    """Return windows with only the fields that threshold and alerting use."""
    B = len(position)
    cells = np.empty((B, 0, 0), np.float32)
    return WindowBatch(np.zeros(B, np.int32), when[position], cells, cells.astype(np.bool_), position)


def judge_series(
    task: Task, settings: Settings, folder: Path, baselines: Sequence[str], *, ablation: bool = False
) -> list[Outcome]:
    """Evaluate one series with the product and the selected baselines."""
    torch.set_num_threads(settings.model.threads)
    found = products(task, settings, (PRODUCT, *ALONE) if ablation else (PRODUCT,))
    found |= {name: baseline(task, settings, available()[name]) for name in baselines}
    outcomes = []
    for name, scored in found.items():
        place = folder if name == PRODUCT else folder / "baselines" / name.replace(" ", "-")
        path = place / task.set / f"{task.recording.name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, score=scored.score, alert=scored.firing)
        outcomes.append(outcome(name, task.set, task.recording, task.listed, scored))
    print(f"{task.set} {task.recording.name}: trained for {outcomes[0].train_s:.1f} s", file=sys.stderr)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--baselines", nargs="?", const=",".join(available()), default="")
    parser.add_argument("--ablation", action="store_true", help="network and forecaster alone, too")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    settings = load_settings(None, {}, {"training.seed": arguments.seed})
    chosen = [
        task
        for name in arguments.sets.split(",")
        for task in tasks(arguments.data, name, arguments.every, arguments.offset)
    ]

    names = [name for name in arguments.baselines.split(",") if name]
    if unknown := sorted(set(names) - set(available())):
        parser.error(f"unknown baselines {', '.join(unknown)}; available: {', '.join(available())}")

    one = partial(
        judge_series,
        settings=settings,
        folder=arguments.scores,
        baselines=names,
        ablation=arguments.ablation,
    )
    if arguments.jobs == 1:
        judged = [one(task) for task in chosen]
    else:
        with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
            judged = list(pool.map(one, chosen))

    text, figures = report([each for outcomes in judged for each in outcomes])
    print(text)
    if arguments.json:
        arguments.json.write_text(figures + "\n")


if __name__ == "__main__":
    main()
