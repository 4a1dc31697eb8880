"""Incidents in the first history: what a model learns of them, whether it names them, and what it finds afterwards.

    python -m benchmarks.contamination [--seed 0] [--steps 4500] [--json FILE]

Each of the simulated pumps has one incident in the history that the first model is learned from: a channel of its own
is SIZE of its standard deviations too high for a share of the history. Nobody excludes it, and no alert marks it, as
there is no model yet. Then the same pumps run on, healthy; all their alerts are false. After that, each channel in turn
is shifted for SHIFTED steps by a multiple of its standard deviation, in all pumps, from the state of the healthy run.

`left out`: incidents of which at least half was no part of the training, as blocks that hardly any other is like.
`named`: incidents that are among the spans that the model fits worst, or were left out.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from monitor.core.fitting.fit import fit
from monitor.core.fitting.poor_fit import PoorFit
from monitor.core.fitting.selection import REASONS, RECURRING, Selection, select
from monitor.core.model.model import Model
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Outputs, Partition, ReadingBatch
from monitor.service.pipelines import make_history, make_pipeline
from monitor.settings.load import load
from monitor.settings.tree import Settings
from monitor.simulator.demo_plants import CONFIG
from monitor.simulator.faults import SPREAD_STEPS
from monitor.simulator.plant import NAMES, Plant, PlantSettings, read
from monitor.simulator.signals import Doubles

ASSETS = 8
TRAINED = 7200  # steps: two hours
SHARES = (0.0, 0.02, 0.05, 0.1)  # of the history of each pump
SIZE = 2.0  # deviations of the channel
SHIFTED = 60  # steps
SIZES = (0.5, 1.0, 1.5, 2.0, 3.0)  # deviations of the channel
PIECE = 500  # steps processed at once
PARTITION = Partition("readings", 0)


@dataclass(frozen=True, slots=True)
class Incident:
    """Steps of a pump in which a channel is too high."""

    asset: str
    channel: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one share."""

    share: float
    incidents: int
    left_out: int
    named: int
    false: int  # alerts of healthy pumps
    shifts: int  # of each size
    found: dict[str, int]  # of these, by size


def incidents(plant: Plant, share: float) -> list[Incident]:
    """Return one incident of each pump, none if the share is 0. They begin at different times."""
    length = round(share * TRAINED)
    draw = np.random.default_rng((plant.settings.seed, 1))
    begins = draw.integers(TRAINED // 10, TRAINED - length - TRAINED // 10, len(plant.names))
    return [
        Incident(name, place % len(NAMES), int(begin), int(begin) + length)
        for place, (name, begin) in enumerate(zip(plant.names, begins, strict=True))
        if length
    ]


def history(plant: Plant, settings: Settings, planned: list[Incident]) -> Selection:
    """Return what is learned of the first steps, with the incidents in them."""
    signals = np.stack([plant.truth(asset, 0, TRAINED) for asset in range(len(plant.names))])
    for one in planned:
        asset = plant.names.index(one.asset)
        deviation = plant.truth(asset, 0, SPREAD_STEPS)[:, one.channel].std()
        signals[asset, one.begin : one.end, one.channel] += SIZE * deviation
    rows = read(signals)

    pipeline, kept = make_pipeline(settings, PARTITION), make_history(settings)
    for begin in range(0, TRAINED, PIECE):
        outputs = processed(pipeline, plant, begin, rows[:, begin : begin + PIECE])
        kept.add(outputs.windows, outputs.names, pipeline.windows.channels)
    return select(kept.normal(), settings.training.recipe(settings.model), None, None)


def left_out(plant: Plant, one: Incident, chosen: Selection) -> bool:
    """Return whether at least half of the blocks that an incident touches are not learned from."""
    given, L = chosen.given, chosen.given.values.shape[2]
    own = given.asset == given.assets.index(one.asset)
    touched = own & (given.end >= plant.time(one.begin)) & (given.end - (L - 1) * given.step_ms < plant.time(one.end))
    out = chosen.reason[touched] > REASONS.index(RECURRING)
    return bool(out.mean() >= 0.5)


def among(plant: Plant, one: Incident, spans: tuple[PoorFit, ...]) -> bool:
    """Return whether one of the spans touches the incident."""
    return any(
        each.asset == one.asset
        and milliseconds(each.start) < plant.time(one.end)
        and milliseconds(each.end) > plant.time(one.begin)
        for each in spans
    )


def milliseconds(text: str) -> int:
    """Return a time in ISO 8601 as ms UTC."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def outcomes(plant: Plant, settings: Settings, steps: int) -> Iterator[Outcome]:
    """Yield the outcome of each share."""
    for share in SHARES:
        planned = incidents(plant, share)
        chosen = history(plant, settings, planned)
        fitted = fit(chosen.corpus, settings.training.recipe(settings.model), None, lambda *_: None)
        out = [left_out(plant, one, chosen) for one in planned]
        named = [gone or among(plant, one, fitted.poor) for one, gone in zip(planned, out, strict=True)]
        false, found = measured(plant, settings, fitted.model, steps)
        yield Outcome(share, len(planned), sum(out), sum(named), false, len(plant.names) * len(NAMES), found)


def measured(plant: Plant, settings: Settings, model: Model, steps: int) -> tuple[int, dict[str, int]]:
    """Return the false alarms of the healthy steps after the history, and how many shifts of each size are found."""
    pipeline = running(settings, model)
    false = 0
    for begin in range(TRAINED, TRAINED + steps, PIECE):
        false += len(fired(processed(pipeline, plant, begin, plant.rows(begin, min(begin + PIECE, TRAINED + steps)))))

    state, found = pipeline.save_state(), {f"{size:g}": 0 for size in SIZES}
    truth = np.stack([plant.truth(asset, TRAINED + steps, TRAINED + steps + SHIFTED) for asset in range(ASSETS)])
    spread = np.stack([plant.truth(asset, 0, SPREAD_STEPS).std(0) for asset in range(ASSETS)])  # (A, C)
    for channel in range(len(NAMES)):
        for size in SIZES:
            shifted = truth.copy()
            shifted[:, :, channel] += size * spread[:, None, channel]
            twin = running(settings, model)
            twin.load_state(state)
            found[f"{size:g}"] += len(fired(processed(twin, plant, TRAINED + steps, read(shifted))))
    return false, found


def running(settings: Settings, model: Model) -> Pipeline:
    """Return the product's stages with a model, from an empty state."""
    pipeline = make_pipeline(settings, PARTITION)
    pipeline.use(Scorer(model))
    return pipeline


def fired(outputs: Outputs) -> set[str]:
    """Return the alerts of machines that began."""
    return {alert.asset for alert in outputs.alerts if alert.cause == "machine" and alert.sequence == 0}


def processed(pipeline: Pipeline, plant: Plant, begin: int, rows: Doubles) -> Outputs:
    """Process rows (A, T, C) from step `begin` on as one batch, a message per machine and step."""
    A, T, C = rows.shape
    message, channel = np.divmod(np.arange(A * T * C), C)
    step, asset = np.divmod(message, A)
    batch = ReadingBatch(
        assets=plant.names,
        channels=NAMES,
        asset=asset.astype(np.int32),
        channel=channel.astype(np.int32),
        time=plant.time(begin) + step * plant.settings.step_ms,
        value=rows.transpose(1, 0, 2).ravel(),
        offset=begin * A + message,
    )
    return pipeline.process(
        batch, lambda offsets: plant.time(0) + offsets // A * plant.settings.step_ms, lambda _: None
    )


def table(found: list[Outcome]) -> str:
    """Return the outcomes as text."""
    sizes = [*found[0].found]
    lines = ["share  incidents  left out  named  false alarms" + "".join(f"{f'{size} dev.':>10}" for size in sizes)]
    for each in found:
        cells = "".join(f"{each.found[size]:>7}/{each.shifts}" for size in sizes)
        counts = f"{each.incidents:>11}{each.left_out:>10}{each.named:>7}{each.false:>14}"
        lines.append(f"{each.share:>5.0%}{counts}{cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4500, help="healthy steps of each pump afterwards")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    settings = load(CONFIG, {}, {"training.seed": arguments.seed})
    plant = Plant(PlantSettings(assets=ASSETS, seed=arguments.seed))
    found = list(outcomes(plant, settings, arguments.steps))
    print(f"{ASSETS} pumps, {TRAINED} steps of history; then {arguments.steps} healthy steps and shifts of each size:")
    print(table(found))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
