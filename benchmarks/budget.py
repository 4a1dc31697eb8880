"""Compare actual alarms with the alarm budget, for budgets from 0.05 to 2 a day.

    python -m benchmarks.budget --data DIR --scores FOLDER [--pumps 64] [--steps 43200] [--json FILE]

1. Scores are computed once, with the product's detector, and kept in FOLDER (`benchmarks.budget_scores`).
2. The series of a set with the same period are the assets of one partition and begin together. Threshold, budget and
   alerting process their windows in the order of time, from an empty state, so the learning phase is part of the
   figures. Delays are those of the defaults in steps, as in `benchmarks.detection`. Days follow the period of the
   recording.
3. An alarm is false if no row from its first anomalous window to its last, and none of the 5 before it, is labelled.

Even and odd series are reported separately: constants may have been tuned on the even ones only. The plant is healthy,
so all its alarms are false. It is evaluated with a step of a minute, ten seconds, and a second.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch

from benchmarks.alarm_only import AlarmOnly
from benchmarks.budget_scores import SETS, Scores, plant, recordings
from benchmarks.detection import PARTITION
from benchmarks.quality import GRACE
from monitor.core.records import Alert, Bools, Floats, ScoreBatch, ThresholdBatch, WindowBatch
from monitor.service.pipelines import make_pipeline
from monitor.settings.load import load as load_settings
from monitor.settings.tree import Settings

PIECE = 20_000  # windows
START_MS = 1_750_000_000_000 // 86_400_000 * 86_400_000
PLANT_STEPS_S = (60.0, 10.0, 1.0)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Assets that share a partition."""

    name: str
    step_s: float
    assets: tuple[Scores, ...]

    @property
    def days(self) -> float:
        """Return the number of scored asset-days."""
        return sum(len(asset.score) for asset in self.assets) * self.step_s / 86_400


@dataclass(frozen=True, slots=True)
class Case:
    """One budget or margin to evaluate."""

    name: str
    budget: float  # 0 = none
    share: float = 1.0  # margin relative to the default
    longer: int = 1  # times the default delay before an alert fires


MARGIN = load_settings(None, {}, {}).threshold.margin
BUDGETS = [Case(f"{budget:g} a day", budget) for budget in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)]
CONSTANTS = [Case(f"margin {margin:g}", 0, margin / MARGIN) for margin in (0.5, 0.7, 1.0, MARGIN, 4.0, 16.0, 64.0)]
CONSTANTS += [Case(f"margin {MARGIN:g}, {longer} x the delay", 0, 1.0, longer) for longer in (4, 16)]


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one case."""

    fleet: str
    days: float
    case: str
    budget: float
    false: int
    alarms: int

    def __str__(self) -> str:
        times = f" = {self.false / self.days / self.budget:.2f} x" if self.budget else ""
        return f"{self.false / self.days:.3f}{times} ({self.false} of {self.alarms})"


def fleets(folder: Path) -> Iterator[Fleet]:
    """Load the fleets of a folder."""
    for name in SETS:
        paths = sorted((folder / name).glob("*.npz"))
        for half in (0, 1):
            kept = [_load(path) for path in paths[half::2] if path.stat().st_size]
            for step_s, assets in groupby(sorted(kept, key=attrgetter("step_s")), key=attrgetter("step_s")):
                yield Fleet(f"{name} {'odd' if half else 'even'}, a step {step_s:g} s", step_s, tuple(assets))
    pumps = tuple(_load(path) for path in sorted((folder / "plant").glob("*.npz")))
    for step_s in PLANT_STEPS_S if pumps else ():
        yield Fleet(f"plant, a step {step_s:g} s", step_s, pumps)


def _load(path: Path) -> Scores:
    with np.load(path, allow_pickle=False) as file:
        return Scores(file["score"], file["row"], file["label"], file["calibration"], float(file["step_s"]))


def settings_for(step_s: float, budget: float, longer: int = 1) -> Settings:
    """Return the defaults for another step, with a budget and `longer` times the delay before an alert fires."""
    alerting = load_settings(None, {}, {}).alerting
    given = {
        "windows.step_s": step_s,
        "training.enabled": False,
        "alerting.alarms_per_day": budget,
        "alerting.on_delay_s": min(alerting.on_delay_s * step_s * longer, 86_400),  # limited to a day
        "alerting.off_delay_s": alerting.off_delay_s * step_s,
    }
    return load_settings(None, {}, given)


def run(fleet: Fleet, cases: Sequence[Case]) -> list[Result]:
    """Run each case over the same windows. Limits before the budget are the same for all and computed once."""
    stages = [make_pipeline(settings_for(fleet.step_s, case.budget, case.longer), PARTITION) for case in cases]
    alerts: list[list[Alert]] = [[] for _ in cases]
    names = [f"asset-{number:03d}" for number in range(len(fleet.assets))]
    for windows, scores, given in _pieces(fleet):
        past = AlarmOnly(given.alarm)
        for case, stage, records in zip(cases, stages, alerts, strict=True):
            limit = given.threshold * np.float32(case.share)
            limits = ThresholdBatch(given.alarm, limit, given.alarm > limit, given.warm)
            limited = stage.budget.update(windows.assets, windows.ends, limits)
            records.extend(stage.alerting.update(windows, scores, limited, names, "", lambda _: (), past))
    return [_judge(fleet, case, records) for case, records in zip(cases, alerts, strict=True)]


def _pieces(fleet: Fleet) -> Iterator[tuple[WindowBatch, ScoreBatch, ThresholdBatch]]:
    """Yield the windows of a fleet by time, then asset, with their limits before the budget."""
    each = [_limits(asset, fleet.step_s) for asset in fleet.assets]
    limit, warm = (np.concatenate([one[column] for one in each]) for column in (0, 1))
    score = np.concatenate([asset.score for asset in fleet.assets])
    rows = np.repeat(np.arange(len(each), dtype=np.int32), [len(asset.score) for asset in fleet.assets])
    ends = START_MS + np.concatenate([asset.row for asset in fleet.assets]) * round(fleet.step_s * 1000)
    order = np.argsort(ends, kind="stable")
    for begin in range(0, len(order), PIECE):
        part = order[begin : begin + PIECE]
        nothing, cells = np.empty((len(part), 0), np.float32), np.empty((len(part), 0, 0), np.float32)
        position = np.arange(begin, begin + len(part))
        windows = WindowBatch(rows[part], ends[part], cells, cells.astype(np.bool_), position)
        scores = ScoreBatch(score[part], nothing, nothing, nothing, nothing)
        yield windows, scores, ThresholdBatch(score[part], limit[part], score[part] > limit[part], warm[part])


def _limits(asset: Scores, step_s: float) -> tuple[Floats, Bools]:
    """Return thresholds (B,) of an asset by its model's calibration, and the warm flags (B,)."""
    threshold = make_pipeline(settings_for(step_s, 0), PARTITION).threshold
    given = threshold.update(np.zeros(len(asset.score), np.int32), asset.score, asset.calibration)
    return given.threshold, given.warm


def _judge(fleet: Fleet, case: Case, alerts: Sequence[Alert]) -> Result:
    """Count all alarms and false alarms."""
    spans: dict[str, list[int]] = {}
    for alert in alerts:  # the last record of an alert has its end, if it ended
        number, last = int(alert.asset.removeprefix("asset-")), alert.end or alert.time
        spans[alert.id] = [number, *((end - START_MS) // round(fleet.step_s * 1000) for end in (alert.start, last))]
    false = 0
    for number, begin, end in spans.values():
        false += not fleet.assets[number].label[max(0, begin - GRACE) : end + 1].any()
    return Result(fleet.name, fleet.days, case.name, case.budget, false, len(spans))


def table(found: Sequence[Result]) -> str:
    """Format false alarms per asset-day of each fleet and case, as multiples of the budget, with the alarm counts."""
    rows = [(name, list(group)) for name, group in groupby(found, key=attrgetter("fleet"))]
    lines = ["| fleet | asset-days | " + " | ".join(one.case for one in rows[0][1]) + " |"]
    lines.append("|---|---:|" + "---|" * len(rows[0][1]))
    for name, results in rows:
        lines.append(f"| {name} | {results[0].days:.1f} | " + " | ".join(map(str, results)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--pumps", type=int, default=64)
    parser.add_argument("--steps", type=int, default=43_200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    settings = load_settings(None, {}, {})
    torch.set_num_threads(settings.model.threads)
    recordings(arguments.data, arguments.scores, settings)
    plant(arguments.scores, settings, arguments.pumps, arguments.steps)

    # Budgets first, then constant margins for comparison.
    budgets, constant = list[Result](), list[Result]()
    for fleet in fleets(arguments.scores):
        begin = time.process_time()
        budgets += run(fleet, BUDGETS)
        seconds = time.process_time() - begin
        print(f"{fleet.name}: {len(fleet.assets)} assets, {seconds:.1f} s of processor time", file=sys.stderr)
        constant += run(fleet, CONSTANTS)

    print(table(budgets), table(constant), sep="\n\n")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in budgets + constant], indent=1) + "\n")


if __name__ == "__main__":
    main()
