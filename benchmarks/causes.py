"""Measure how often the top channel is the cause, on the simulated plant, for both rankings and the scorer's choice.

    python -m benchmarks.causes [--seeds 0,1,2] [--rounds 6]

For each seed, eight pumps run healthy for as long as in `monitor demo`, and a model is trained with the demo's
settings. Then faults of eight kinds follow in each round. For every alert that fires during a fault of its asset, or up
to a window after it, the first channel is compared with the changed channels. Alerts do not depend on the ranking, so
every row counts the same ones. `foresees` is the figure by which the scorer chooses its ranking.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from monitor.core.detectors import Detectors
from monitor.core.fitting.fit import fit
from monitor.core.model.scorer import Scorer
from monitor.core.records import Message, Outputs, Partition, WindowBatch
from monitor.evaluation.label import Label
from monitor.service.pipelines import make_detectors, make_history
from monitor.settings.load import load
from monitor.simulator.demo_plants import CLEAN, CONFIG
from monitor.simulator.faults import fault_schedule, faulty_rows
from monitor.simulator.plant import Plant, PlantSettings, messages

ASSETS, BATCH = 8, 2000
PARTITION = Partition("readings", 0)
# Factors on the usual changes: the scorer trusts errors always, never, or by its own choice.
ALWAYS, NEVER = np.float32(1e6), np.float32(1e-6)
RANKINGS = {"part of the score": ALWAYS, "move": NEVER, "as it chooses": np.float32(1)}


def judge(seed: int, rounds: int) -> tuple[dict[str, list[bool]], str]:
    """Return hits of each ranking, alert by alert, and a summary line of the seed."""
    settings = load(CONFIG, {}, {})
    plant = Plant(PlantSettings(assets=ASSETS, step_ms=1000, seed=seed))
    faults = fault_schedule(plant, CLEAN, rounds)
    rows = faulty_rows(plant, faults, 0, max(plant.step(fault.end) for fault in faults) + 200)
    stream = [Message(PARTITION, at, s.key, s.value, s.time) for at, s in enumerate(messages(plant, 0, rows))]

    # The healthy stretch, from which the model is learned.
    detectors, history = make_detectors([settings], PARTITION), make_history(settings)
    pipeline = detectors.pipelines[settings.name]
    for begin in range(0, CLEAN * ASSETS, BATCH):
        part = stream[begin : min(begin + BATCH, CLEAN * ASSETS)]
        windows = _processed(detectors, part).windows
        history.add(windows, pipeline.windows.assets, pipeline.windows.channels)
    model = fit(history.normal(), settings.training.recipe(settings.model), None, lambda *_: None).model
    pipeline.adopt(Scorer(model))

    # One scorer per ranking, on the same alerts.
    calibration = model.calibration
    scorers = {
        name: Scorer(replace(model, calibration=replace(calibration, move=calibration.move * factor)))
        for name, factor in RANKINGS.items()
    }

    named: dict[str, list[bool]] = defaultdict(list)
    false = 0
    for begin in range(CLEAN * ASSETS, len(stream), BATCH):
        part = stream[begin : begin + BATCH]
        outputs = _processed(detectors, part)
        for alert in (each for each in outputs.alerts if each.state == "firing" and each.sequence == 0):
            fault = next((f for f in faults if _fits(f, alert.asset, alert.time, settings.windows.length)), None)
            if fault is None:
                false += 1
                continue
            window = _window(outputs.windows, alert.position, pipeline.windows.assets.index(alert.asset))
            for name, scorer in scorers.items():
                first = scorer.explain(window, pipeline.windows.assets)[0].channel
                named[name].append(first in fault.channels)

    foresees = float(np.median(calibration.move / calibration.error))
    return named, f"seed {seed}: {len(faults)} faults, {false} false alerts, foresees {foresees:.0f}"


def _processed(detectors: Detectors, part: Sequence[Message]) -> Outputs:
    """Process a batch and return the outputs of the only detector."""
    (outputs,) = detectors.process(part, part[-1].timestamp, lambda _: None).detectors.values()
    return outputs


def _fits(fault: Label, asset: str, time: int, length: int) -> bool:
    return fault.asset == asset and fault.start <= time <= fault.end + 1000 * length


def _window(windows: WindowBatch, position: int, asset: int) -> WindowBatch:
    return windows.take(np.flatnonzero((windows.position == position) & (windows.assets == asset))[-1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    total: dict[str, list[bool]] = defaultdict(list)
    for seed in map(int, arguments.seeds.split(",")):
        named, summary = judge(seed, arguments.rounds)
        print(summary)
        for name, each in named.items():
            total[name] += each
    for name, each in total.items():
        print(f"{name:18} {sum(each)} of {len(each)} alerts, {np.mean(each):.0%}")


if __name__ == "__main__":
    main()
