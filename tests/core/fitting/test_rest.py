"""Levels of rest and work: found where machines rest, and not in what only looks like it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.rest import find_levels, without_rest
from monitor.core.running.levels import Levels

L = 16
STEPS = 960  # of each machine; 60 blocks
CHANNELS = ("flow", "pressure", "current", "temp")
Draw = np.random.Generator
Signals = Callable[[Draw, np.ndarray, int], np.ndarray]  # of steps (T,) and the machine's number: values (T, C)


def corpus(signals: Signals, machines: int = 3, step_ms: int = 1000) -> Corpus:
    """Return the blocks of machines, whose readings are (T, C) each."""
    draw, steps = np.random.default_rng(3), np.arange(STEPS)
    rows = np.stack([signals(draw, steps, machine) for machine in range(machines)])
    values = rows.reshape(machines * STEPS // L, L, -1).transpose(0, 2, 1).astype(np.float32)
    each = STEPS // L
    ends = np.tile((np.arange(each) + 1) * L - 1, machines) * step_ms
    names = CHANNELS[: values.shape[1]]
    assets = tuple(f"m{machine}" for machine in range(machines))
    owner, calm = np.repeat(np.arange(machines), each), np.zeros(machines * each, np.bool_)
    return Corpus(names, assets, step_ms, owner, ends, values, ~np.isnan(values), calm)


def working(draw: Draw, steps: np.ndarray) -> np.ndarray:
    """Return flow, pressure, current and temp (T, 4) of a pump that runs all the time."""
    load = np.sin(steps / 40)
    clean = np.stack([120 + 15 * load, 6 - 0.5 * load, 30 + 6 * load, 45 + 3 * load], 1)
    return np.asarray(clean + draw.normal(0, [1, 0.03, 0.3, 0.1], clean.shape))


def resting(draw: Draw, steps: np.ndarray, machine: int, *, period: int = 240, share: float = 0.4) -> np.ndarray:
    """Return a pump that rests for a share of each period; its temperature stays."""
    values = working(draw, steps)
    rest = (steps + 7 * machine) % period < share * period
    values[rest, :3] = np.abs(draw.normal(0, [0.1, 0.02, 0.0], (int(rest.sum()), 3)))
    return values


def test_a_machine_that_rests_for_whole_windows_has_levels() -> None:
    """Three of four channels fall to nothing for a hundred steps, so they are the levels, within their ranges."""
    found = find_levels(corpus(resting))
    assert found is not None
    assert found.channels == ("flow", "pressure", "current")
    for limit, work in zip(found.limits, (105, 5.4, 23), strict=True):
        assert 0.1 < limit < work / 2


def test_machines_that_only_work_or_only_rest_fit_the_levels_of_the_others() -> None:
    """Of three machines one works and one rests all the time; the third one shows both levels."""
    shares = (0.4, 0.0, 1.0)
    found = find_levels(corpus(lambda draw, steps, machine: resting(draw, steps, machine, share=shares[machine])))
    assert found is not None
    assert found.channels == ("flow", "pressure", "current")


def _valve(draw: Draw, steps: np.ndarray, machine: int) -> np.ndarray:
    values = working(draw, steps)
    values[steps % 240 < 100, 0] = 0.0  # closed: no flow, and the pump goes on
    return values


def _positions(draw: Draw, steps: np.ndarray, machine: int) -> np.ndarray:
    return np.asarray(np.where(steps[:, None] % 240 < 100, 0.4, 1.0) * working(draw, steps))


def _recipes(draw: Draw, steps: np.ndarray, machine: int) -> np.ndarray:
    values = working(draw, steps)
    values[steps // 120 % 2 == 1] *= [0.6, 1.5, 0.7, 1.4]
    return values


def _load_curve(draw: Draw, steps: np.ndarray, machine: int) -> np.ndarray:
    return np.asarray(np.maximum(0, np.sin(steps / 38))[:, None] * working(draw, steps))


def _strokes(draw: Draw, steps: np.ndarray, machine: int) -> np.ndarray:
    return resting(draw, steps, machine, period=20, share=0.5)


def _rare_work(draw: Draw, steps: np.ndarray, machine: int) -> np.ndarray:
    return resting(draw, steps, machine, period=120, share=0.93)


def _sizes(draw: Draw, steps: np.ndarray, machine: int) -> np.ndarray:
    return resting(draw, steps, machine) * 10.0**machine


def _shifted(draw: Draw, steps: np.ndarray, machine: int) -> np.ndarray:
    """Channels that go to nothing one after another."""
    values = working(draw, steps)
    for column in range(3):
        values[(steps + 60 * column) % 240 < 100, column] = 0.0
    return values


@pytest.mark.parametrize(
    "signals",
    [
        lambda draw, steps, machine: working(draw, steps),  # noqa: ARG005
        *(_valve, _positions, _recipes, _load_curve, _strokes, _rare_work, _sizes, _shifted),
    ],
    ids=["work", "valve", "positions", "recipes", "load curve", "strokes", "rare work", "sizes", "one by one"],
)
def test_what_only_looks_like_rest_gives_no_levels(signals: Signals) -> None:
    """No rest: a closed valve, two positions, recipes, a load curve, strokes within a window, machines of all sizes."""
    assert find_levels(corpus(signals)) is None


@pytest.mark.parametrize(
    ("step_s", "days", "found"),
    [
        (360, 4, True),  # a period of 240 steps is a day; the machine rests from midnight on, four times
        (360, 5, False),
        (60, 1, False),  # six times a day: batches
        (60, 0, True),  # which does not matter where a person says that machines rest
    ],
)
def test_rest_recurs_where_it_began_on_several_days_and_not_too_often(step_s: int, days: int, *, found: bool) -> None:
    """Levels need rest that began on as many different days as asked, and at most three times a day."""
    made = corpus(lambda draw, steps, machine: resting(draw, steps + 120, machine), step_ms=1000 * step_s)
    assert (find_levels(made, days) is not None) is found


def test_one_outage_of_all_machines_does_not_recur() -> None:
    """Where all machines rested once, the same hours, there are levels only if a person says that they rest."""
    made = corpus(lambda draw, steps, machine: resting(draw, steps, machine, period=960, share=0.2), step_ms=360_000)
    made = replace(made, end=made.end + 400 * 360_000)
    assert find_levels(made) is not None
    assert find_levels(made, 2) is None


def test_rest_is_left_out_of_the_history() -> None:
    """Steps of rest are not observed, and blocks with less than half of their cells are gone."""
    made = corpus(resting)
    levels = find_levels(made)
    assert levels is not None
    left = without_rest(made, levels)
    assert 0.4 < len(left) / len(made) < 0.7
    assert left.observed.mean((1, 2)).min() >= 0.5
    flow = left.values[:, 0][left.observed[:, 0]]
    assert flow.min() > 90
    assert np.isnan(left.values[~left.observed]).all()


def test_levels_judge_by_most_channels() -> None:
    """A machine rests if more than half of the channels that were measured are within their limits."""
    levels = Levels(("a", "b", "c"), (1.0, 2.0, 3.0))
    nan = np.nan
    values = [[0, 0, 9], [0, 9, 9], [-0.5, nan, 9], [-5, -5, -5], [nan, nan, nan], [nan, nan, 0]]
    truth = levels.judge(np.array(values, np.float32))
    assert truth.false.tolist() == [True, False, False, False, False, True]
    assert truth.true.tolist() == [False, True, True, True, False, False]


def test_levels_survive_a_manifest() -> None:
    """Levels come back from a manifest's numbers, and others are refused with what was found."""
    levels = Levels(("a", "b"), (1.0, 2.5), 60_000)
    assert Levels.of_manifest(levels.manifest()) == levels
    rests: list[Any] = [None, [], {"a": 1.0}, {"a": 1.0, "b": 0}, {"a": 1.0, "b": "2"}, {"a": 1.0, "b": float("inf")}]
    others = [{"rest": rest, "settle_ms": 0} for rest in rests]
    for found in [None, {}, *others, {"rest": {"a": 1.0, "b": 1.0}}, {**levels.manifest(), "settle_ms": -1}]:
        with pytest.raises(ValueError, match="levels of activity"):
            Levels.of_manifest(found)
