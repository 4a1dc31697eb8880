"""The metrics of detection quality, checked against slow twins and, if available, an independent implementation.

REFEREE may name a Python file with functions vus_pr, period, auc_pr and events of the same definitions.
"""

import math
import os
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality import (
    GRACE,
    LEVELS,
    Bools,
    Doubles,
    Found,
    acf_period,
    attribute,
    auc_pr,
    best_static,
    judge,
    on_share,
    vus_pr,
)

TOLERANCE = 1e-9


def example(seed: int) -> tuple[Bools, Doubles, Bools]:
    """Return labels with at least one segment, a score with ties that correlates with the labels, and alerts (T,)."""
    draw = np.random.default_rng(seed)
    T = int(draw.integers(20, 400))
    label, firing = np.zeros(T, np.bool_), np.zeros(T, np.bool_)
    for on, most in ((label, 6), (firing, 12)):
        for begin in draw.integers(0, T, draw.integers(1, most)):
            on[begin : begin + int(draw.integers(1, 40))] = True
    score: Doubles = np.round(draw.normal(size=T) + 2 * label, int(draw.integers(0, 4))).astype(np.float64)
    return label, score, firing


def segments(on: Bools) -> list[list[int]]:
    """Return the rows of each run of True."""
    found: list[list[int]] = []
    for row in np.flatnonzero(on).tolist():
        if found and found[-1][-1] == row - 1:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def naive_vus(label: Bools, score: Doubles, buffer: int) -> float:
    """Compute VUS-PR by its definition, one row, level and width at a time."""
    ranked = sorted(score.tolist(), reverse=True)
    levels = [ranked[int(place)] for place in np.linspace(0, len(score) - 1, LEVELS)]
    volume = 0.0
    for width in range(buffer + 1):
        soft = [float(x) for x in label]
        reached: list[set[int]] = []
        for segment in segments(label):
            for row in range(len(soft)):
                away = max(segment[0] - row, row - segment[-1])
                if 0 < away <= width // 2:
                    soft[row] += math.sqrt(1 - away / width)
            near = {row for row in range(len(soft)) if segment[0] - width // 2 <= row <= segment[-1] + width // 2}
            if reached and max(reached[-1]) >= segment[0] - width // 2:
                reached[-1] |= near
            else:
                reached.append(near)
        soft = [min(1.0, x) for x in soft]
        before, area = 0.0, 0.0
        for level in levels:
            flagged = [row for row in range(len(soft)) if score[row] >= level]
            hits, inside = sum(soft[row] for row in flagged), sum(bool(label[row]) for row in flagged)
            exist = sum(any(score[row] >= level for row in near) for near in reached) / len(reached)
            recall = min(1.0, hits / ((2 * int(label.sum()) + hits - inside) / 2)) * exist
            area += (recall - before) * hits / len(flagged)
            before = recall
        volume += area / (buffer + 1)
    return volume


def naive_judge(label: Bools, firing: Bools, again: int) -> Found:
    """Compare every alarm with every segment."""
    alarms = [run[at : at + again] for run in segments(firing) for at in range(0, len(run), again)]
    touch = [(run[0], min(run[-1] + GRACE, len(label) - 1)) for run in segments(label)]
    delays = []
    for first, reach in touch:
        hits = [row - first for alarm in alarms for row in alarm if first <= row <= reach]
        if hits:
            delays.append(min(hits))
    false, distinct = (
        sum(not any(first <= row <= reach for row in alarm for first, reach in touch) for alarm in some)
        for some in (alarms, segments(firing))
    )
    return Found(len(touch), len(delays), len(alarms), false, distinct, tuple(delays))


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_vus_is_the_definition(seed: int) -> None:
    """VUS-PR equals its definition summed up row by row."""
    label, score, _ = example(seed)
    label, score = label[:60], score[:60]
    label[7] = True
    assert vus_pr(label, score, 9) == pytest.approx(naive_vus(label, score, 9), abs=TOLERANCE)


@given(st.integers(0, 2**32))
def test_auc_is_average_precision(seed: int) -> None:
    """AUC-PR equals the mean precision over labelled rows, each at the level of its own score."""
    label, score, _ = example(seed)
    precision = [float(label[score >= score[row]].mean()) for row in np.flatnonzero(label)]
    assert auc_pr(label, score) == pytest.approx(np.mean(precision), abs=TOLERANCE)


@given(st.integers(0, 2**32), st.integers(1, 70))
def test_alarms_are_counted_like_one_by_one(seed: int, again: int) -> None:
    """Events found, alarms, false and distinct alarms and delays equal a comparison of each alarm with each segment."""
    label, _, firing = example(seed)
    assert judge(label, firing, again) == naive_judge(label, firing, again)


def test_a_perfect_score_is_worth_everything() -> None:
    """A score equal to the label has AUC-PR 1, and its best constant threshold finds all without a false alarm."""
    label, _, _ = example(5)
    assert auc_pr(label, label.astype(np.float64)) == 1
    found = best_static(label, label + np.linspace(0, 0.1, len(label)), 10_000)
    assert (found.recall, found.precision, found.f1) == (1, 1, 1)


def test_no_alarm_has_no_precision() -> None:
    """Without an alarm precision is unknown, not zero or one, and recall is zero."""
    found = judge(np.array([False, True, True]), np.zeros(3, np.bool_), 60)
    assert (found.precision, found.recall, found.f1) == (None, 0, 0)


def test_an_alarm_that_stays_on_counts_again() -> None:
    """An alarm longer than the limit counts as several, and those that touch no segment are false, but not distinct."""
    label, firing = np.zeros(100, np.bool_), np.ones(100, np.bool_)
    label[5:8] = True
    assert judge(label, firing, 25) == Found(1, 1, 4, 3, 0, (0,))
    firing[20] = False
    assert judge(label, firing, 25) == Found(1, 1, 5, 4, 1, (0,))


def test_the_share_of_time_in_alarm_leaves_labels_out() -> None:
    """Only unlabelled rows count, and a series without any has a share of 0."""
    label, firing = np.zeros(10, np.bool_), np.zeros(10, np.bool_)
    label[:6], firing[5:7] = True, True
    assert on_share(label, firing) == 0.25
    assert on_share(np.ones(3, np.bool_), np.ones(3, np.bool_)) == 0


def test_a_late_alarm_is_still_in_time_within_the_grace() -> None:
    """An alarm that begins at most GRACE rows after a segment finds it, and a later one is false."""
    label = np.zeros(40, np.bool_)
    label[10:15] = True
    late = np.zeros(40, np.bool_)
    late[14 + GRACE] = True
    assert judge(label, late, 60) == Found(1, 1, 1, 0, 0, (4 + GRACE,))
    assert judge(label, np.roll(late, 1), 60) == Found(1, 0, 1, 1, 1, ())


@given(st.integers(6, 120))
def test_the_period_of_a_wave_is_found(period: int) -> None:
    """The buffer for a clean oscillation is its period within one row."""
    found = acf_period(np.sin(2 * np.pi * np.arange(40 * period) / period))
    assert abs(found - period) <= 1


def test_channels_are_ranked_by_contribution() -> None:
    """With two true channels of five, the two and three top-ranked channels are compared with them."""
    result = attribute(np.array([0.1, 0.5, 0.3, 0.05, 0.05]), (1, 0))
    assert (result.hit_100, result.hit_150, result.top_1) == (0.5, 1.0, 1.0)


@pytest.fixture(scope="module")
def referee() -> ModuleType:
    path = os.environ.get("REFEREE")
    if not path:
        pytest.skip("REFEREE names no file")
    spec = spec_from_file_location("referee", Path(path))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(20))
def test_the_referee_agrees(referee: ModuleType, seed: int) -> None:
    """All metrics equal those of an independent implementation."""
    label, score, firing = example(seed)
    buffer = acf_period(score)
    assert buffer == referee.period(score)
    assert vus_pr(label, score, buffer) == pytest.approx(referee.vus_pr(label, score, buffer), abs=TOLERANCE)
    assert auc_pr(label, score) == pytest.approx(referee.auc_pr(label, score), abs=TOLERANCE)
    found, theirs = judge(label, firing, 60), referee.events(label, firing)
    for name in ("events", "found", "alarms", "false", "distinct"):
        assert getattr(found, name) == theirs[name]
    assert on_share(label, firing) == pytest.approx(theirs["on"], abs=TOLERANCE)
    assert list(found.delays) == theirs["delays"]
