"""Count false alarms of healthy pumps, and the shifts found, at different margins, on the simulated plant.

    python -m benchmarks.shifts [--seed 0] [--steps 9000] [--json FILE]

The pumps have a reading a second, and alerts the delays of the settings:

1. A model is trained on TRAINED steps of ASSETS healthy pumps, as at work.
2. The same pumps run on, healthy, from an empty state. Every alert is false.
3. In each of the last pieces of these steps, one channel is shifted: each of the first PUMPS pumps runs SHIFTED more
   steps with that channel higher by a multiple of its own standard deviation, from the state of the healthy run. So
   there is one run for each channel, pump and size. A shift is found if an alert fires during it. Its delay is the
   number of steps from the first shifted one to the alert.

Scores and limits of the channels do not depend on the margin, so all margins get the same alarm scores. Only alerts
with the machine as their cause count.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.alarm_only import AlarmOnly
from benchmarks.slow_faults import readings
from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.fitting.fit import fit, prepare
from monitor.core.model.model import Model
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Outputs, Partition, ThresholdBatch
from monitor.service.pipelines import make_history, make_pipeline
from monitor.settings.load import load
from monitor.settings.tree import Settings
from monitor.simulator.demo_plants import CONFIG
from monitor.simulator.faults import SPREAD_STEPS
from monitor.simulator.plant import NAMES, Plant, PlantSettings, read
from monitor.simulator.signals import Doubles

ASSETS, PUMPS = 8, 7
TRAINED = 7200  # steps: two hours
SHIFTED = 60  # steps
SIZES = (0.5, 1.0, 1.5, 2.0, 3.0)  # deviations of the channel
MARGINS = (1.3, 1.4, 1.5, 1.6, 1.8, 2.0)
PIECE = 500  # steps processed at once
PARTITION = Partition("readings", 0)


@dataclass(frozen=True, slots=True)
class Row:
    """Result at one margin."""

    margin: float
    false: int  # alerts of healthy pumps
    healthy: int  # steps of all pumps
    shifts: int  # of each size
    found: dict[str, int]  # by size
    delay: dict[str, float | None]  # median steps of those found, by size; None = none was found


class Stages:
    """The product's stages on one partition, and alerts at each margin."""

    def __init__(self, plant: Plant, settings: Settings, model: Model, margins: Sequence[float]) -> None:
        self.plant, self.settings, self.model, self.margins = plant, settings, model, tuple(margins)
        self.pipeline: Pipeline = make_pipeline(settings, PARTITION)
        self.pipeline.use(Scorer(model))
        self._alerting: list[MachineAlerts] = [make_pipeline(settings, PARTITION).alerting for _ in self.margins]

    def feed(self, begin: int, rows: Doubles) -> tuple[list[Alert], list[list[Alert]]]:
        """Process rows (A, T, C) from step `begin` on.

        Return the product's alert records, and the alerts that fire at each margin.
        """
        own: list[Alert] = []
        fired: list[list[Alert]] = [[] for _ in self.margins]
        for first in range(0, rows.shape[1], PIECE):
            outputs = processed(self.pipeline, self.plant, begin + first, rows[:, first : first + PIECE])
            own += outputs.alerts
            for at, (margin, alerting) in enumerate(zip(self.margins, self._alerting, strict=True)):
                fired[at] += self._alerts(alerting, outputs, margin)
        return own, fired

    def _alerts(self, alerting: MachineAlerts, outputs: Outputs, margin: float) -> list[Alert]:
        """Return the alerts that fire at this margin."""
        scores, given = outputs.scores, outputs.thresholds
        assert scores is not None, "there is a model"
        assert given is not None, "there is a model"
        limit = given.threshold * np.float32(margin / self.settings.threshold.margin)
        limits = ThresholdBatch(given.alarm, limit, given.alarm > limit, given.warm)
        only = AlarmOnly(given.alarm)  # decides how an alert ends, not when one fires
        records = alerting.update(
            outputs.windows, scores, limits, outputs.names, self.model.version, lambda _: (), only
        )
        return [alert for alert in records if alert.sequence == 0]

    def fork(self) -> "Stages":
        """Return stages in the same state."""
        other = Stages(self.plant, self.settings, self.model, self.margins)
        other.pipeline.load_state(self.pipeline.save_state())
        for twin, alerting in zip(other._alerting, self._alerting, strict=True):
            twin.load_state(alerting.save_state())
        return other


def processed(pipeline: Pipeline, plant: Plant, begin: int, rows: Doubles) -> Outputs:
    """Process rows (A, T, C) from step `begin` on as one batch."""
    step = plant.settings.step_ms
    return pipeline.process(
        readings(plant, begin, rows), lambda offsets: plant.time(0) + offsets // len(rows) * step, lambda _: None
    )


def learned(plant: Plant, settings: Settings, steps: int) -> Model:
    """Return a model trained on the first steps."""
    pipeline, history = make_pipeline(settings, PARTITION), make_history(settings)
    for begin in range(0, steps, PIECE):
        outputs = processed(pipeline, plant, begin, plant.rows(begin, min(begin + PIECE, steps)))
        history.add(outputs.windows, outputs.names, pipeline.windows.channels)
    recipe = settings.training.recipe(settings.model)
    return fit(prepare(history.normal(), recipe, None), recipe, None, lambda *_: None).model


def shifted(plant: Plant, begin: int, channel: int, size: float) -> Doubles:
    """Return the rows (A, SHIFTED, C) from step `begin` on, with a channel of the first PUMPS pumps shifted."""
    signals = np.stack([plant.truth(asset, begin, begin + SHIFTED) for asset in range(len(plant.names))])
    for asset in range(min(PUMPS, len(signals))):
        deviation = plant.truth(asset, 0, SPREAD_STEPS)[:, channel].std()
        signals[asset, :, channel] += size * deviation
    return read(signals)


def pieces(begin: int, steps: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield begin and end of each piece of the healthy run, and the channel that is shifted after it, if any is."""
    begins = range(begin, begin + steps, PIECE)
    for place, first in enumerate(begins):
        channel = place - (len(begins) - len(NAMES))
        yield first, min(first + PIECE, begin + steps), channel if channel >= 0 else None


def measure(stages: Stages, begin: int, steps: int) -> list[Row]:
    """Run the healthy steps from `begin` on, and the shifts."""
    plant, number = stages.plant, len(stages.margins)
    false = [0] * number
    delays: list[dict[float, list[int]]] = [{size: [] for size in SIZES} for _ in range(number)]
    shifts = 0

    for first, end, channel in pieces(begin, steps):
        _, fired = stages.feed(first, plant.rows(first, end))
        for at, alerts in enumerate(fired):
            false[at] += len(alerts)
        if channel is None:
            continue

        shifts += min(PUMPS, len(plant.names))
        for size in SIZES:
            _, fired = stages.fork().feed(end, shifted(plant, end, channel, size))
            for at, alerts in enumerate(fired):
                delays[at][size] += delays_of(alerts, plant, end)

    return [
        Row(
            margin=margin,
            false=false[at],
            healthy=steps * len(plant.names),
            shifts=shifts,
            found={f"{size:g}": len(each) for size, each in delays[at].items()},
            delay={f"{size:g}": median(each) if each else None for size, each in delays[at].items()},
        )
        for at, margin in enumerate(stages.margins)
    ]


def delays_of(alerts: Sequence[Alert], plant: Plant, begin: int) -> list[int]:
    """Return the steps from `begin` to the first alert of each shifted pump that has one."""
    first: dict[str, int] = {}
    for alert in alerts:
        if alert.asset in plant.names[:PUMPS]:
            first.setdefault(alert.asset, plant.step(alert.time) - begin)
    return list(first.values())


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text: shifts found of each size, and the median delay in steps."""
    sizes = "".join(f"{f'{size:g} dev.':>10}{'delay':>7}" for size in SIZES)
    lines = [f"{'margin':>7}{'false':>7}{'per day':>9}{sizes}"]
    for row in rows:
        days = row.healthy / 86_400  # of one pump
        cells = [
            f"{row.found[size]:>7}/{row.shifts:<2}{'-' if delay is None else f'{delay:g}':>7}"
            for size, delay in row.delay.items()
        ]
        lines.append(f"{row.margin:7.1f}{row.false:7}{row.false / days:9.1f}" + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=9000, help="healthy steps of each pump")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    settings = load(CONFIG, {}, {"training.seed": arguments.seed})
    plant = Plant(PlantSettings(assets=ASSETS, seed=arguments.seed))
    model = learned(plant, settings, TRAINED)
    rows = measure(Stages(plant, settings, model, MARGINS), TRAINED, arguments.steps)

    print(f"{ASSETS} healthy pumps for {arguments.steps} steps, then {rows[0].shifts} shifts of each size:")
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
