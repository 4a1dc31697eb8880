"""Measure which slow faults a fast detector and its slow twins find, how soon, and at how many false alarms.

    python -m benchmarks.slow_faults [--quick] [--machines 8] [--seeds 1] [--alarms-per-day 0.1]
                                     [--json FILE]

Simulated pumps send a reading each ten seconds. Production follows the hour, and neither production nor weather is
the same on two days, so the channels drift without a fault. Three detectors watch all of them: `fast` at a step of ten
seconds, `minutes` and `hours` at a minute and an hour with mean and maximum of a step. A window has 64 steps: eleven
minutes, an hour, 2.7 days. Everything else is as without a file, but that `hours` keeps its history for 28 days.

1. Each detector learns from healthy days, as many as its settings keep: 7, of `hours` 28.
2. Healthy days follow. Each alert in them is false, and thresholds reach their usual level.
3. One fault per machine at a time, each from the state at the end of 2: a channel of the machine drifts by a ramp up to
   1, 2, 3 or 5 of its standard deviations in the healthy days, load and weather included. It keeps that for as long as
   the ramp took. All channels and both directions take turns.

A fault is found by an alert of its machine within ramp and plateau, but by none that the same days have without the
fault: so none is found by chance. An alert from one window before such an alert to one after does not count either.
Alerts of twins that are linked are one false alarm, as they are one for a person. Models are not trained again
meanwhile. `--quick` measures ramps of two hours by the first two detectors.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from monitor.core.arrays import Doubles
from monitor.core.detectors import Detectors
from monitor.core.fitting.fit import fit, prepare
from monitor.core.fitting.history import History
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Partition, ReadingBatch, Times
from monitor.service.pipelines import make_detectors, make_history
from monitor.settings.load import load
from monitor.settings.tree import Settings
from monitor.simulator.plant import NAMES, Plant, PlantSettings, read

STEP_MS = 10_000
HOUR = 3_600_000 // STEP_MS  # steps, as is a day
DAY = 24 * HOUR
START = 1_772_409_600_000  # a midnight
PARTITION = Partition("readings", 0)
RAMPS = {"2 h": 2 * HOUR, "12 h": 12 * HOUR, "3 days": 3 * DAY}
SIZES = (1.0, 2.0, 3.0, 5.0)  # standard deviations
TOGETHER = "together"
OPEN = 2**62  # the end of an alert that has none, ms UTC

TWIN = {"aggregate": ["mean", "max"]}
DETECTORS: dict[str, dict[str, Any]] = {
    "fast": {},
    "minutes": {"windows": {"step_s": 60.0, **TWIN}},
    "hours": {"windows": {"step_s": 3600.0, **TWIN}, "training": {"horizon_s": 28 * 86_400.0, "first_steps": 600}},
}


class Plan(NamedTuple):
    """What is measured."""

    detectors: tuple[str, ...]
    ramps: tuple[str, ...]
    healthy: int  # days after learning
    machines: int
    seeds: int
    alarms_per_day: float  # allowed for each detector and machine; 0 = no budget


class Fault(NamedTuple):
    """A ramp of one channel of one machine, and what became of it."""

    ramp: str
    size: float  # standard deviations
    channel: str
    found: dict[str, int]  # steps from the beginning to the first alert, by detector that found it


class Span(NamedTuple):
    """Times from `begin` to `end`, ms UTC."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Result:
    """What one plant showed."""

    faults: list[Fault]
    false: Counter[str]  # alerts in healthy days, by detector
    machine_days: float


class Run:
    """All detectors of one partition, fed with rows."""

    def __init__(self, plant: Plant, settings: Sequence[Settings]) -> None:
        self.plant, self.settings = plant, settings
        self.detectors: Detectors = make_detectors(settings, PARTITION)

    def feed(self, begin: int, rows: Doubles, history: Mapping[str, tuple[History, int]] | None = None) -> list[Alert]:
        """Process the rows (A, T, C) from step `begin` on, an hour at a time, and return the records of alerts.

        A detector with a history keeps its windows from a step on, and gets no readings before.
        """
        records: list[Alert] = []
        for first in range(begin, begin + rows.shape[1], HOUR):
            batch = readings(self.plant, first, rows[:, first - begin :][:, :HOUR])
            alerts: list[Alert] = []
            for name, pipeline in self.detectors.pipelines.items():
                if history is not None and first < history[name][1]:
                    continue
                outputs = pipeline.process(batch, self._timestamps, lambda _: None)
                alerts += outputs.alerts
                if history is not None:
                    history[name][0].add(outputs.windows, outputs.names, pipeline.windows.channels)
            records += self.detectors.links.take(sorted(alerts, key=lambda alert: alert.position))
        return records

    def learn(self, begin: int, end: int) -> None:
        """Learn from the healthy steps, each detector from as many as it keeps."""
        kept = {
            each.name: (make_history(each), max(begin, end - round(each.training.horizon_s * 1000) // STEP_MS))
            for each in self.settings
        }
        for first in range(begin, end, DAY):
            self.feed(first, self.plant.rows(first, first + DAY), kept)
        for each in self.settings:
            recipe = each.training.recipe(each.model)
            corpus = prepare(kept[each.name][0].corpus(), recipe, None)
            model = fit(corpus, recipe, None, lambda *_: None).model
            self.detectors.pipelines[each.name].adopt(Scorer(replace(model, version=each.name)))

    def fork(self) -> "Run":
        """Return detectors in the same state."""
        other = Run(self.plant, self.settings)
        for name, pipeline in self.detectors.pipelines.items():
            assert pipeline.scorer is not None, "it has learned"
            twin: Pipeline = other.detectors.pipelines[name]
            twin.use(pipeline.scorer)
            twin.load_state(pipeline.save_state())
        other.detectors.load_shared(self.detectors.save().shared)
        return other

    def _timestamps(self, offsets: Times) -> Times:
        return START + offsets // len(self.plant.names) * STEP_MS


def readings(plant: Plant, begin: int, rows: Doubles) -> ReadingBatch:
    """Return rows (A, T, C) as decoded readings, a message per machine and step."""
    A, T, C = rows.shape
    message, channel = np.divmod(np.arange(A * T * C), C)
    step, asset = np.divmod(message, A)
    return ReadingBatch(
        assets=plant.names,
        channels=NAMES,
        asset=asset.astype(np.int32),
        channel=channel.astype(np.int32),
        time=plant.time(begin) + step * plant.settings.step_ms,
        value=rows.transpose(1, 0, 2).ravel(),
        offset=begin * A + message,
    )


def drifting(plant: Plant, begin: int, ramp: int, change: Doubles, channel: Sequence[int]) -> Iterator[Doubles]:
    """Yield the rows (A, DAY, C) of machines of which a channel each drifts by `change` (A,), and stays there."""
    for first in range(begin, begin + 2 * ramp, DAY):
        last = min(first + DAY, begin + 2 * ramp)
        share = np.minimum((np.arange(first, last) - begin + 1) / ramp, 1.0)
        signals = np.stack([plant.truth(asset, first, last) for asset in range(len(plant.names))])
        for asset, place in enumerate(channel):
            signals[asset, :, place] += change[asset] * share
        yield read(signals)


def first_alerts(records: Sequence[Alert], usual: Mapping[tuple[str, str], list[Span]]) -> dict[tuple[str, str], int]:
    """Return the time of the first alert by asset and detector, and together, of those that are not usual."""
    times: dict[tuple[str, str], int] = {}
    for alert in records:
        spans = usual.get((alert.asset, alert.detector), [])
        if alert.sequence == 0 and not any(span.begin <= alert.time <= span.end for span in spans):
            for name in (alert.detector, TOGETHER):
                times.setdefault((alert.asset, name), alert.time)
    return times


def usual_spans(records: Sequence[Alert], window_ms: Mapping[str, int]) -> dict[tuple[str, str], list[Span]]:
    """Return when alerts were on, and a window before and after, by asset and detector."""
    ended = {alert.id: alert.time for alert in records if alert.state == "resolved"}
    spans: dict[tuple[str, str], list[Span]] = {}
    for alert in records:
        if alert.sequence == 0:
            around, end = window_ms[alert.detector], ended.get(alert.id, OPEN)
            spans.setdefault((alert.asset, alert.detector), []).append(Span(alert.time - around, end + around))
    return spans


def one_plant(plan: Plan, seed: int) -> Result:
    """Let one plant learn, run and fail."""
    plant = Plant(PlantSettings(plan.machines, STEP_MS, seed, START, day=DAY))
    detectors = [{"name": name, **DETECTORS[name]} for name in plan.detectors]
    given = {"training.seed": seed, "alerting.alarms_per_day": plan.alarms_per_day, "detectors": detectors}
    settings = load(None, {}, given).per_detector()
    run = Run(plant, settings)
    learned = round(max(each.training.horizon_s for each in settings)) * 1000 // STEP_MS
    run.learn(0, learned)

    # The healthy days, of which each alert is false.
    begin = learned + plan.healthy * DAY
    false = Counter[str]()
    for first in range(learned, begin, DAY):
        for alert in run.feed(first, plant.rows(first, first + DAY)):
            if alert.sequence == 0:
                false.update([alert.detector] if alert.linked else [alert.detector, TOGETHER])

    spread = np.concatenate([plant.rows(day, day + DAY) for day in range(begin - 7 * DAY, begin, DAY)], 1).std(1)
    nothing = drifting(
        plant, begin, max(RAMPS[ramp] for ramp in plan.ramps), np.zeros(plan.machines), [0] * plan.machines
    )
    window_ms = {each.name: each.windows.length * each.windows.step_ms for each in settings}
    usual = usual_spans(followed(run.fork(), begin, nothing), window_ms)

    faults: list[Fault] = []
    for turn, (ramp, size) in enumerate((ramp, size) for ramp in plan.ramps for size in SIZES):
        place = [(asset + turn + seed) % len(NAMES) for asset in range(plan.machines)]
        sign = np.array([1.0 if (asset + turn + turn // len(NAMES)) % 2 else -1.0 for asset in range(plan.machines)])
        change = size * sign * spread[np.arange(plan.machines), place]
        records = followed(run.fork(), begin, drifting(plant, begin, RAMPS[ramp], change, place))
        times = first_alerts(records, usual)
        for asset, name in enumerate(plant.names):
            found = {d: (times[name, d] - START) // STEP_MS - begin for d in known(plan) if (name, d) in times}
            faults.append(Fault(ramp, size, NAMES[place[asset]], found))
    return Result(faults, false, plan.machines * plan.healthy)


def followed(run: Run, begin: int, days: Iterator[Doubles]) -> list[Alert]:
    """Return the records of alerts over some days from step `begin` on."""
    records: list[Alert] = []
    for rows in days:
        records += run.feed(begin, rows)
        begin += rows.shape[1]
    return records


def known(plan: Plan) -> tuple[str, ...]:
    """Return the columns of the table."""
    return (*plan.detectors, TOGETHER)


def report(plan: Plan, results: Sequence[Result]) -> str:
    """Return the tables."""
    faults = [fault for result in results for fault in result.faults]
    columns = known(plan)
    lines = ["| ramp | size | " + " | ".join(columns) + " |", "|---" * (2 + len(columns)) + "|"]
    for ramp in plan.ramps:
        for size in SIZES:
            those = [fault for fault in faults if (fault.ramp, fault.size) == (ramp, size)]
            cells = [_cell(those, name, RAMPS[ramp]) for name in columns]
            lines.append(f"| {ramp} | {size:g} | " + " | ".join(cells) + " |")
    days = sum(result.machine_days for result in results)
    rates = [f"{sum(result.false[name] for result in results) / days:.2f}" for name in columns]
    lines.append("| false alarms per machine-day | | " + " | ".join(rates) + " |")

    lines += ["", "| channel | faults | " + " | ".join(columns) + " |", "|---" * (2 + len(columns)) + "|"]
    for channel in NAMES:
        those = [fault for fault in faults if fault.channel == channel and fault.size >= 2]
        counts = [str(sum(name in fault.found for fault in those)) for name in columns]
        lines.append(f"| {channel} | {len(those)} | " + " | ".join(counts) + " |")
    return "\n".join(lines)


def _cell(faults: Sequence[Fault], name: str, ramp: int) -> str:
    """Return how many were found, and of these the median time and share of the ramp."""
    delays = [fault.found[name] for fault in faults if name in fault.found]
    count = f"{len(delays)} of {len(faults)}"
    if not delays:
        return count
    middle = median(delays)
    return f"{count}, {middle / HOUR:.1f} h, {middle / ramp:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--alarms-per-day", type=float, default=0.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(tuple(DETECTORS), tuple(RAMPS), 14, arguments.machines, arguments.seeds, arguments.alarms_per_day)
    if arguments.quick:
        plan = Plan(("fast", "minutes"), ("2 h",), 3, 4, 1, arguments.alarms_per_day)
    begin = time.process_time()
    results = [one_plant(plan, seed) for seed in range(plan.seeds)]
    print(report(plan, results))
    print(f"{time.process_time() - begin:.0f} s of processor time")
    if arguments.json:
        arguments.json.write_text(json.dumps([fault._asdict() for each in results for fault in each.faults]) + "\n")


if __name__ == "__main__":
    main()
