"""Count the false alerts of machines that start and stop every workday, while their model is trained once a day.

    python -m benchmarks.recurring [--when always] [--days 3] [--weeks 2] [--machines 3]

Simulated pumps send a reading a minute, and zeros at night and at weekends. No condition says when they run. The model
is trained after a day, and then each midnight, from what the daemon would keep. `--days` is training.recurs_days; 0
shows what happens without. `--when always` shows what happens if rest is not learned.
"""

import argparse
from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from monitor.core.fitting.fit import fit, levels_of, prepare
from monitor.core.fitting.gate import refusal
from monitor.core.model.scorer import Scorer
from monitor.core.records import Message, Partition
from monitor.service.pipelines import make_detectors, make_history
from monitor.settings.load import load
from monitor.simulator.plant import Plant, PlantSettings, messages

STEP_MS, DAY = 60_000, 1440
ON, OFF = 6 * 60, 22 * 60  # minutes of a workday
PARTITION = Partition("readings", 0)


def run(when: str, days: int, weeks: int, machines: int) -> Counter[int]:
    """Return the number of alerts, all of them false, by day."""
    changes = {"training.recurs_days": days, "alerting.on_delay_s": 240, "alerting.off_delay_s": 600}
    settings = load(None, {}, {"windows.step_s": 60, "running.when": when, **changes})
    plant = Plant(PlantSettings(assets=machines, step_ms=STEP_MS, start=1_772_409_600_000))  # a Monday
    rows = plant.rows(0, weeks * 7 * DAY)
    for asset in range(machines):  # one after another
        day, time = np.divmod(np.arange(rows.shape[1]), DAY)
        runs = (day % 7 < 5) & (time >= ON + 7 * asset) & (time < OFF - 5 * asset)
        rows[asset, ~runs] = 0.0
    stream = [Message(PARTITION, at, s.key, s.value, s.time) for at, s in enumerate(messages(plant, 0, rows))]

    detectors, history = make_detectors([settings], PARTITION), make_history(settings)
    pipeline, alerts = detectors.pipelines[settings.name], Counter[int]()
    for minute in range(0, weeks * 7 * DAY, 60):
        part = stream[minute * machines : (minute + 60) * machines]
        (outputs,) = detectors.process(part, part[-1].timestamp, lambda _: None).detectors.values()
        history.note(outputs.alerts)
        history.add(outputs.windows, outputs.names, pipeline.windows.channels)
        alerts.update(minute // DAY for alert in outputs.alerts if alert.sequence == 0)
        if (minute + 60) % DAY:
            continue

        recipe = settings.recipe()
        old = None if pipeline.scorer is None else pipeline.scorer.model
        levels = levels_of(history.corpus(), recipe, old)
        corpus = prepare(history.corpus(), recipe, old, levels)
        model = fit(corpus, recipe, old, lambda *_: None, levels).model
        if not refusal(model, old, corpus, settings.training.margin):
            pipeline.adopt(Scorer(replace(model, version=f"day {minute // DAY}")))
    return alerts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--when", default="")
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--weeks", type=int, default=2)
    parser.add_argument("--machines", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    alerts = run(arguments.when, arguments.days, arguments.weeks, arguments.machines)
    for week in range(arguments.weeks):
        each = [alerts[7 * week + day] for day in range(7)]
        print(f"week {week + 1}: {sum(each)} false alerts, Monday to Sunday {each}")


if __name__ == "__main__":
    main()
