"""`Budget` against a plain twin: a `MachineAlerts` for every margin, and every rate computed separately."""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.alarm_only import AlarmOnly
from monitor.core.alerts.lifecycle import AlertOptions
from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.records import Partition, ScoreBatch, ThresholdBatch, WindowBatch
from monitor.core.rules import AssetRule, RowRules, Rules
from monitor.core.threshold.budget import (
    AIM,
    COUNTED,
    DAY_MS,
    EPOCH,
    MARGINS,
    MEMORY_DAYS,
    PRIOR_ALARMS,
    PRIOR_RATE,
    PRIOR_SCALE,
    Budget,
)
from monitor.core.threshold.options import BudgetOptions
from tests.examples import examples

STEP = 60_000
GIVEN, LIMIT = 2.0, 1.0  # margin and limit of every window: the percentile is 0.5, so that multiples are exact

Row = tuple[int, int, float, bool]  # asset row, end in steps, multiple of the percentile, warm


def fired(options: dict[str, Any], margin: float, stream: list[Row]) -> list[tuple[int, int]]:
    """Return asset row and stream position of each alarm at a margin, computed by `MachineAlerts` itself."""
    own = [place for place, row in enumerate(stream) if row[3]]
    assets = np.array([stream[place][0] for place in own], np.int32)
    ends = np.array([stream[place][1] * STEP for place in own], np.int64)
    alarm = np.array([stream[place][2] * LIMIT / GIVEN for place in own])
    limit = np.full(len(own), margin * LIMIT / GIVEN)
    nothing = np.zeros((len(own), 1), np.float32)
    windows = WindowBatch(assets, ends, nothing[:, :, None], np.ones((len(own), 1, 1), np.bool_), np.array(own))
    scores = ScoreBatch(nothing[:, 0], nothing, nothing, nothing, nothing)
    limits = ThresholdBatch(alarm, limit, alarm > limit, np.ones(len(own), np.bool_))
    stage = MachineAlerts("d", Partition("p", 0), AlertOptions(critical_ratio=1000.0, update_ms=10**12, **options))
    names = [str(row) for row in range(9)]
    alerts = stage.update(windows, scores, limits, names, "", lambda _: (), AlarmOnly(alarm))
    return [(int(alert.asset), alert.position) for alert in alerts if alert.sequence == 0]


@dataclass
class NaiveBudget:
    """Twin of `Budget` over a whole stream, with the same settings and meaning."""

    budgets: list[float]  # of each asset; 0 = none
    given: list[float]  # margins
    options: dict[str, Any]
    days: dict[int, float] = field(default_factory=dict)
    alarms: dict[int, list[float]] = field(default_factory=dict)
    margins: dict[int, float] = field(default_factory=dict)

    def limits(self, stream: list[Row]) -> list[float]:
        """Return the margin of each window."""
        counts = [self.counted(margin, stream) for margin in MARGINS]
        found, scored, known, time = list[float](), dict[int, int](), 0, None
        common = list[float]()
        for place, (asset, end, _, warm) in enumerate(stream):
            now = end if time is None else max(time, end)
            if time is None or now // EPOCH != time // EPOCH:
                common = self.renew(scored, known)
            time = now
            known = max(known, asset + 1)
            if not self.budgets[asset]:
                found.append(self.given[asset])
                continue
            found.append(self.margins.setdefault(asset, self.solve(common, self.budgets[asset])))
            if warm:
                scored[asset] = scored.get(asset, 0) + 1
            for level, of_level in enumerate(counts):
                self.alarms.setdefault(asset, [0.0] * len(MARGINS))[level] += place in of_level
        return found

    def counted(self, margin: float, stream: list[Row]) -> set[int]:
        """Return the stream positions of the alarms that count at a margin."""
        last: dict[int, int] = {}
        places = set()
        for asset, place in fired(self.options, margin, stream):
            end = stream[place][1]
            if not self.budgets[asset]:
                continue
            if asset not in last or (end - last[asset]) * STEP >= DAY_MS / (COUNTED * self.budgets[asset]):
                places.add(place)
                last[asset] = end
        return places

    def renew(self, scored: dict[int, int], known: int) -> list[float]:
        """Apply the decay, then set the margins. Return the rates of an asset without alarms."""
        for asset in range(known):
            days = scored.pop(asset, 0) * STEP / DAY_MS
            left = math.exp(-days / MEMORY_DAYS)
            self.days[asset] = self.days.get(asset, 0.0) * left + days
            self.alarms[asset] = [count * left for count in self.alarms.get(asset, [0.0] * len(MARGINS))]
        at_one = PRIOR_RATE * DAY_MS / STEP
        weight = PRIOR_ALARMS / at_one
        common = [
            (sum(alarms[level] for alarms in self.alarms.values()) + weight * at_one * margin ** (-1 / PRIOR_SCALE))
            / (sum(self.days.values()) + weight)
            for level, margin in enumerate(MARGINS)
        ]
        for asset in range(known):
            if not self.budgets[asset]:
                continue
            alarms, strength = self.alarms[asset], 1 / self.budgets[asset]
            rates = [
                (own + strength * all_) / (self.days[asset] + strength)
                for own, all_ in zip(alarms, common, strict=True)
            ]
            self.margins[asset] = self.solve(rates, self.budgets[asset])
        return common

    @staticmethod
    def solve(rates: list[float], budget: float) -> float:
        """Return the smallest margin from which on no rate exceeds the budget."""
        falling = [max(rates[level:]) for level in range(len(rates))]
        high = next((level for level, rate in enumerate(falling) if rate <= AIM * budget), None)
        return float(MARGINS[-1 if high is None else high])


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    """Return windows of up to four assets in runs of similar ratios, with faults, gaps and out-of-order windows."""
    heights = st.sampled_from([0.25, 0.75, 0.9, 1.0, 1.3, 2.0, 3.0, 7.0, 60.0, 500.0])
    pauses = st.sampled_from([1, 1, 1, 2, 40])
    runs = st.tuples(st.integers(0, 3), heights, st.integers(1, 8), pauses, st.integers(0, 9))
    ends = [0, 0, 0, 0]
    windows: list[tuple[int, Row]] = []
    for row, height, length, pause, late in draw(st.lists(runs, max_size=50)):
        for _ in range(length):
            ends[row] += pause
            windows.append((ends[row] + 3 * row, (row, ends[row], height, late > 0)))
    return [window for _, window in sorted(windows, key=lambda pair: pair[0])]


OPTIONS = st.fixed_dictionaries(
    {
        "on_delay_ms": st.sampled_from([0, STEP, 3 * STEP]),
        "off_delay_ms": st.sampled_from([0, 2 * STEP, 4 * STEP]),
        "deadband": st.sampled_from([0.0, 0.25, 0.5]),
        "gap_ms": st.sampled_from([0, STEP, 60 * STEP]),
    }
)
BUDGETS = st.sampled_from([0.05, 2.0, 20.0, 100.0])
CUTS = st.lists(st.sampled_from([1, 2, 3, 7, 20, 500]), min_size=1, max_size=4)  # sizes of the batches, repeated


def batches(stream: list[Row], cuts: list[int]) -> list[list[Row]]:
    """Return the stream in batches."""
    places = itertools.takewhile(lambda place: place < len(stream), itertools.accumulate(itertools.cycle(cuts)))
    return [stream[begin:end] for begin, end in itertools.pairwise([0, *places, len(stream)])]


ASSETS = [str(row) for row in range(4)]
OWN = st.lists(st.tuples(st.sampled_from([None, 0.0, 0.05, 20.0]), st.sampled_from([None, 1.5])), max_size=4)
Own = list[tuple[float | None, float | None]]  # budget and margin of some assets, in place of those of all


def rules(budget: float, own: Own) -> RowRules:
    """Return the rules of the four assets by row."""
    each = [(name, AssetRule(margin, alarms)) for name, (alarms, margin) in zip(ASSETS, own, strict=False)]
    made = RowRules(GIVEN, budget, Rules(tuple(each)))
    made.update(ASSETS, ())
    return made


def twin(budget: float, own: Own, options: dict[str, Any]) -> NaiveBudget:
    """Return the twin with the same rules."""
    filled = [*own, *[(None, None)] * (4 - len(own))]
    budgets = [budget if alarms is None else alarms for alarms, _ in filled]
    return NaiveBudget(budgets, [GIVEN if margin is None else margin for _, margin in filled], options)


def made(budget: float, own: Own, options: dict[str, Any]) -> Budget:
    """Return a new stage."""
    return Budget(BudgetOptions(alarms_per_day=budget, margin=GIVEN, step_ms=STEP, **options), rules(budget, own))


def push(stage: Budget, stream: list[Row]) -> list[tuple[float, bool, bool]]:
    """Push one batch. Return threshold, anomalous and warm of each window."""
    alarm = np.array([height * LIMIT / GIVEN for _, _, height, _ in stream], np.float32)
    warm = np.array([warm for *_, warm in stream], np.bool_)
    rows, ends = np.array([row for row, *_ in stream], np.int32), np.array([end * STEP for _, end, *_ in stream])
    limit = (stage._rules.margin(rows) * LIMIT / GIVEN).astype(np.float32)
    limits = stage.update(rows, ends.astype(np.int64), ThresholdBatch(alarm, limit, alarm > limit, warm))
    return list(zip(limits.threshold.tolist(), limits.anomalous.tolist(), limits.warm.tolist(), strict=True))


@settings(max_examples=examples(150), deadline=None)
@given(BUDGETS, OWN, OPTIONS, streams(), CUTS)
def test_limits_match_the_twin(
    budget: float, own: Own, options: dict[str, Any], stream: list[Row], cuts: list[int]
) -> None:
    """Limits equal the twin's, in order, however the stream is cut; assets may have a budget or margin of their own."""
    wanted = twin(budget, own, options).limits(stream)
    stage = made(budget, own, options)
    found = [row for part in batches(stream, cuts) for row in push(stage, part)]
    np.testing.assert_allclose([limit for limit, _, _ in found], np.array(wanted) * LIMIT / GIVEN, rtol=1e-6)
    for (limit, anomalous, warm), (_, _, height, given_warm) in zip(found, stream, strict=True):
        assert (anomalous, warm) == (bool(np.float32(height * LIMIT / GIVEN) > np.float32(limit)), given_warm)


@settings(max_examples=examples(150), deadline=None)
@given(BUDGETS, OWN, OPTIONS, streams(), CUTS)
def test_state_does_not_depend_on_cuts_or_on_moving(
    budget: float, own: Own, options: dict[str, Any], stream: list[Row], cuts: list[int]
) -> None:
    """A stage saved and loaded at every cut ends with the same state, bit by bit, as one that saw a single batch."""
    whole, moving = made(budget, own, options), made(budget, own, options)
    wanted, found = push(whole, stream), []
    for part in batches(stream, cuts):
        found += push(moving, part)
        loaded = made(budget, own, options)
        loaded.load_state(moving.save_state())
        moving = loaded
    assert found == wanted
    saved, expected = moving.save_state(), whole.save_state()
    assert {name: array.tobytes() for name, array in saved.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
    assert moving.outlook() == whole.outlook()
