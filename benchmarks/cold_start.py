"""Compare the first day of machines unknown to the model with that of known machines.

    python -m benchmarks.cold_start [--assets 8] [--seeds 0,1,2] [--hours 24] [--apart 0,1] [--json FILE]

For each seed there is a plant of twice `--assets` pumps, with a step of STEP_S. The model is trained on the first half,
and knows these pumps by name. The second half starts with the day. Each group has its own pipeline:

    old            known to the model, from an empty state
    warm           the same, after the pipeline has scored the training data
    new            not known to the model
    new, no lent   the same, with limits that leave the calibration as fast as those of known machines
    new, class     the same, without a scale of their own: the class statistics scale them all day

The day is run three times: healthy, where every alert is false; with one labelled fault per pump in every 480 steps;
and with a fault that is on from its first step to its last, one channel LASTING deviations higher.

Pumps of one plant differ in their gains by 6 %, which is up to 0.4 standard deviations of level. `--apart 1` makes them
differ more: each channel of each pump gets a level up to one standard deviation of the class higher or lower, and a
gain of 0.8 to 1.25. `--apart 0` leaves them unchanged.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from monitor.core.detectors import Detectors
from monitor.core.fitting.fit import fit, prepare
from monitor.core.model.model import Model
from monitor.core.model.new_assets import NewAssets, WindowScaling
from monitor.core.model.scaling import Scaling
from monitor.core.model.scorer import Scorer
from monitor.core.records import Alert, Bools, Message, Outputs, Partition, WindowBatch
from monitor.evaluation.label import Label
from monitor.evaluation.matching import AlertSpan, match
from monitor.service.pipelines import make_detectors, make_history
from monitor.settings.load import load
from monitor.settings.tree import Settings
from monitor.simulator.demo_plants import CLEAN, CONFIG
from monitor.simulator.faults import ROUND, SPREAD_STEPS, fault_schedule, faulty_rows
from monitor.simulator.plant import NAMES, Plant, PlantSettings, messages
from monitor.simulator.signals import Doubles

STEP_S = 10  # a day is 8640 steps, 18 rounds of faults
DELAYS = {"alerting.on_delay_s": 3.0 * STEP_S, "alerting.off_delay_s": 10.0 * STEP_S, "windows.lateness_s": 20.0}
PARTITION = Partition("readings", 0)
BATCH = 2000
GAINS = (0.8, 1.25)
HOUR_MS = 3_600_000
LASTING = 3.0
GROUPS = ("old", "warm", "new", "new, no lent", "new, class")


@dataclass(frozen=True, slots=True)
class Run:
    """Result of one group of assets in one stream."""

    assets: tuple[str, ...]
    alerts: tuple[AlertSpan, ...]
    first: tuple[int, ...]  # ms from the day's begin to each asset's first score, as windows end


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; `+` sums over seeds."""

    assets: int = 0
    hours: float = 0.0  # of one asset
    false_hour: int = 0  # false alarms in the first hour, healthy stream
    false_day: int = 0  # in the whole stream
    on_ms: int = 0  # alert time while all machines were healthy
    faults: int = 0
    found: int = 0  # by an alert that fired during the fault
    stood: int = 0  # only by an alert that was already on
    delays: tuple[int, ...] = ()  # ms, of those found
    first: tuple[int, ...] = ()  # ms to the first score, by asset
    lasting: int = 0  # assets whose lasting fault had an alert in the first hour
    lasting_ms: int = 0  # alert time during lasting faults

    def __add__(self, other: "Row") -> "Row":
        mine, others = asdict(self), asdict(other)
        summed = {name: mine[name] + others[name] for name in mine if name != "hours"}
        return Row(**summed, hours=max(self.hours, other.hours))


def row_of(runs: Sequence[Run], faults: Sequence[Label], begin: int, end: int, grace_ms: int) -> Row:
    """Evaluate the three streams of a group; the day is [begin, end) ms UTC."""
    healthy, faulty, lasting = runs
    own = [fault for fault in faults if fault.asset in faulty.assets]
    rows = match(faulty.alerts, own, grace_ms).rows
    fresh = [each for each in rows if each.found and not each.already]

    return Row(
        assets=len(healthy.assets),
        hours=(end - begin) / HOUR_MS,
        false_hour=len(_early(healthy, begin)),
        false_day=len(healthy.alerts),
        on_ms=_on_ms(healthy, end),
        faults=len(own),
        found=len(fresh),
        stood=sum(each.already for each in rows),
        delays=tuple(each.delay_ms for each in fresh if each.delay_ms is not None),
        first=healthy.first,
        lasting=len({alert.asset for alert in _early(lasting, begin)}),
        lasting_ms=_on_ms(lasting, end),
    )


def _early(run: Run, begin: int) -> list[AlertSpan]:
    return [alert for alert in run.alerts if alert.start < begin + HOUR_MS]


def _on_ms(run: Run, end: int) -> int:
    """Return the total alert time; overlapping alerts of one asset count once."""
    total = 0
    for asset in run.assets:
        until = 0
        for alert in sorted((each for each in run.alerts if each.asset == asset), key=lambda each: each.start):
            last = end if alert.end is None else alert.end
            total += max(0, last - max(alert.start, until))
            until = max(until, last)
    return total


def spans_of(alerts: Iterable[Alert]) -> tuple[AlertSpan, ...]:
    """Return alert records as spans, in the order of firing."""
    spans: dict[str, AlertSpan] = {}
    for alert in alerts:
        channel = alert.channels[0].channel if alert.channels else None
        if alert.id not in spans:
            spans[alert.id] = AlertSpan(alert.id, alert.asset, alert.time, None, channel, alert.cause)
        begun = spans[alert.id]
        if alert.state != "firing" and begun.end is None:
            spans[alert.id] = AlertSpan(begun.id, begun.asset, begun.start, alert.time, begun.channel, begun.cause)
    return tuple(spans.values())


def set_apart(values: Doubles, usual: Doubles, seed: int, apart: float) -> Doubles:
    """Return values (A, T, C) of machines that differ more, drawn from seed and asset; NaN stays.

    Their levels lie up to `apart` deviations of `usual` (A, n, C) off, their gains within GAINS.
    """
    if not apart:
        return values
    middle, deviation = usual.mean((0, 1)), usual.std(1).mean(0)  # (C,)
    A, _, C = values.shape
    low, high = (float(np.log(gain)) for gain in GAINS)
    draws = [np.random.default_rng((seed, asset, 77)) for asset in range(A)]
    level = np.stack([draw.uniform(-apart, apart, C) for draw in draws])[:, None]
    gain = np.exp(np.stack([draw.uniform(low, high, C) for draw in draws]) * min(1.0, apart))[:, None]
    moved: Doubles = middle + gain * (values - middle) + level * deviation
    return moved


class Unlent(WindowScaling):
    """Scalings that do not mark the windows of machines that the model does not know."""

    __slots__ = ()

    @property
    def unknown(self) -> Bools:
        return np.zeros(len(self.rows), np.bool_)


class OwnScale(NewAssets):
    """New assets with their own scale, whose limits do not keep the calibration longer."""

    def update(self, windows: WindowBatch, names: Sequence[str], scaling: Scaling) -> WindowScaling:
        return Unlent(*super().update(windows, names, scaling))


class ClassOnly(NewAssets):
    """New assets without their own scale: the class statistics scale them."""

    def update(self, windows: WindowBatch, names: Sequence[str], scaling: Scaling) -> WindowScaling:
        return WindowScaling(scaling, scaling.rows(names)[windows.assets])


LEARNERS = {"new, no lent": OwnScale, "new, class": ClassOnly}


def sent_by(plant: Plant, begin: int, values: Doubles) -> list[Message]:
    """Return the messages of the pumps, in one partition."""
    all_sent = messages(plant, begin, values)
    return [Message(PARTITION, at, sent.key, sent.value, sent.time) for at, sent in enumerate(all_sent)]


def processed(detectors: Detectors, part: Sequence[Message]) -> Outputs:
    """Process a batch and return the outputs of the only detector."""
    (outputs,) = detectors.process(part, part[-1].timestamp, lambda _: None).detectors.values()
    return outputs


def run(detectors: Detectors, sent: Sequence[Message], group: Sequence[str], begin: int) -> Run:
    """Process the messages of the group's assets. Return the result from `begin` on, ms UTC."""
    alerts: list[Alert] = []
    first: dict[str, int] = {}
    keys = {name.encode() for name in group}
    own = [message for message in sent if message.key in keys]
    for at in range(0, len(own), BATCH):
        part = own[at : at + BATCH]
        outputs = processed(detectors, part)
        alerts += outputs.alerts
        ends, rows = outputs.windows.ends, outputs.windows.assets
        for row in np.unique(rows).tolist():
            first.setdefault(outputs.names[row], int(ends[rows == row].min()) - begin)
    found = tuple(span for span in spans_of(alerts) if span.start >= begin)
    return Run(tuple(group), found, tuple(first[name] for name in group if name in first))


def learned(settings: Settings, past: Sequence[Message], old: Sequence[str]) -> Model:
    """Train a model on the past of the `old` assets."""
    detectors, history = make_detectors([settings], PARTITION), make_history(settings)
    pipeline = detectors.pipelines[settings.name]
    own = [message for message in past if message.key is not None and message.key.decode() in old]
    for at in range(0, len(own), BATCH):
        part = own[at : at + BATCH]
        windows = processed(detectors, part).windows
        history.add(windows, pipeline.windows.assets, pipeline.windows.channels)
    recipe = settings.training.recipe(settings.model)
    return fit(prepare(history.normal(), recipe, None), recipe, None, lambda *_: None).model


def lasting_faults(plant: Plant, begin: int, end: int) -> list[Label]:
    """Return one fault per pump over the steps [begin, end), each in another channel than the previous pump's."""
    faults = []
    for asset, name in enumerate(plant.names):
        channel = asset % len(NAMES)
        size = LASTING * float(plant.truth(asset, 0, SPREAD_STEPS)[:, channel].std())
        faults.append(Label(name, "step", (NAMES[channel],), plant.time(begin), plant.time(end), size))
    return faults


def measure(seed: int, assets: int, hours: float, apart: float, groups: Sequence[str]) -> dict[str, Row]:
    """Return a row per group, for one seed."""
    settings = load(CONFIG, {}, {"windows.step_s": float(STEP_S), **DELAYS})
    plant = Plant(PlantSettings(assets=2 * assets, step_ms=1000 * STEP_S, seed=seed))
    old, new = plant.names[:assets], plant.names[assets:]
    steps = round(hours * 3600 / STEP_S)

    faults = fault_schedule(plant, CLEAN, max(1, steps // ROUND))
    end = CLEAN + steps
    streams = [
        plant.rows(0, end),
        *(faulty_rows(plant, each, 0, end) for each in (faults, lasting_faults(plant, CLEAN, end))),
    ]

    # Machines differ more with a larger `apart`.
    usual = streams[0][:, :CLEAN]
    streams = [set_apart(values, usual, seed, apart) for values in streams]

    past = sent_by(plant, 0, streams[0][:, :CLEAN])
    scorer = Scorer(learned(settings, past, old))
    begin, grace = plant.time(CLEAN), settings.windows.step_ms * settings.windows.length

    # Every group takes every stream from an empty state.
    runs: dict[str, list[Run]] = {name: [] for name in groups}
    for values in streams:
        sent = sent_by(plant, CLEAN, values[:, CLEAN:])
        for name in groups:
            detectors = make_detectors([settings], PARTITION)
            pipeline = detectors.pipelines[settings.name]
            if name in LEARNERS:
                pipeline.new_assets = LEARNERS[name](length=settings.windows.length, step_ms=settings.windows.step_ms)
            pipeline.use(scorer)
            if name == "warm":
                run(detectors, past, old, begin)
            runs[name].append(run(detectors, sent, old if name in {"old", "warm"} else new, begin))

    return {name: row_of(each, faults, begin, plant.time(end), grace) for name, each in runs.items()}


def figures(row: Row) -> dict[str, Any]:
    """Return the printed figures of a row: per asset, times in seconds."""
    return {
        "false, 1st hour": round(row.false_hour / row.assets, 2),
        "false, day": round(row.false_day / row.assets, 2),
        "alert on, healthy": f"{row.on_ms / (row.assets * row.hours * HOUR_MS):.2%}",
        "faults": row.faults,
        "found": f"{row.found / row.faults:.1%}" if row.faults else "",
        "on before": row.stood,
        "delay s": median(row.delays) / 1000 if row.delays else None,
        "first score s": median(row.first) / 1000 if row.first else None,
        "lasting, 1st hour": f"{row.lasting / row.assets:.0%}",
        "lasting, alert on": f"{row.lasting_ms / (row.assets * row.hours * HOUR_MS):.1%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=8)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--apart", default="0,1")
    parser.add_argument("--groups", default=";".join(GROUPS), help="groups to run, separated by semicolons")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    for apart in map(float, arguments.apart.split(",")):
        total = dict.fromkeys(arguments.groups.split(";"), Row())
        for seed in map(int, arguments.seeds.split(",")):
            for name, row in measure(seed, arguments.assets, arguments.hours, apart, list(total)).items():
                total[name] += row

        for name, row in total.items():
            found[f"apart {apart:g}, {name}"] = figures(row)
            print(f"apart {apart:g} {name:12}", *(f"{key}: {value};" for key, value in figures(row).items()))

    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
