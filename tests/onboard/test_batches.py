"""What onboard proposes for machines that work in batches."""

import json
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from monitor.core.records import Message, Partition
from monitor.onboard.batches import batches
from monitor.onboard.rest import history, resting
from monitor.onboard.settings import Chosen
from monitor.settings.load import load
from monitor.settings.tree import Settings

STEP, NOW = 10_000, 1_772_409_600_000
BATCH = 300  # steps, and up to 30 more until the next one
LONG = 10**12  # ms that the topic holds: no bound
Values = dict[str, float]
Signals = Callable[[np.random.Generator, int, int], Values]  # of the step of a batch, and of all


def given(**more: str) -> Settings:
    sets = {"source.topics": '["t"]', "windows.step_s": "10", "windows.length": "16", "windows.max_gap": "8"}
    return load(None, {}, {**sets, "training.first_steps": "100", **more})


def batch(draw: np.random.Generator, step: int, at: int) -> Values:
    """Return a reactor that fills and stirs for two thirds of a batch; a valve pulses within a window."""
    full = step < 2 * BATCH // 3
    values = {
        "weight": 800.0 if full else 60.0,
        "stir": 120.0 if full else 30.0,
        "temp": 60 - 35 * math.exp(-step / 50),
    }
    return values | {"valve": float(at % 6 < 3), "room": 20 + 3 * math.sin(at / 1300)}


def load_curve(draw: np.random.Generator, step: int, at: int) -> Values:
    return {name: 50 + 20 * math.sin(2 * math.pi * at / BATCH + shift) for shift, name in enumerate(("a", "b", "c"))}


def one_valve(draw: np.random.Generator, step: int, at: int) -> Values:
    return {"valve": float(step < 150), "flow": 50 + draw.normal(), "level": 9 + draw.normal()}


def strokes(draw: np.random.Generator, step: int, at: int) -> Values:
    return {"valve": float(at % 12 < 6), "flow": 50.0 * (at % 12 < 6), "level": 9 + draw.normal()}


def noise(draw: np.random.Generator, step: int, at: int) -> Values:
    return {name: float(draw.normal()) for name in ("a", "b", "c")}


@cache
def sample(signals: Signals, count: int = 12, machines: int = 2) -> list[Message]:
    """Return messages of machines with `count` batches each."""
    draw, messages = np.random.default_rng(1), list[Message]()
    for machine in range(machines):
        at = 0
        for length in draw.integers(BATCH, BATCH + 30, count).tolist():
            for step in range(length):
                values = {name: value + draw.normal() * 0.01 for name, value in signals(draw, step, at).items()}
                text, time = {"asset": f"m{machine}", "values": values}, NOW + at * STEP
                body = json.dumps({**text, "timestamp": time}).encode()
                messages.append(Message(Partition("t", 0), len(messages), None, body, time))
                at += 1
    return messages


def proposed(signals: Signals, settings: Settings, held_ms: int = LONG, count: int = 12) -> dict[str, Chosen]:
    return batches(settings, history(settings, [sample(signals, count)], NOW + 10**10), held_ms)


def test_machines_that_work_in_batches_get_modes_a_step_and_a_history_of_many_batches() -> None:
    """A window is then about a third of a batch, and the first model has seen forty of each machine."""
    chosen = proposed(batch, given())
    assert chosen["modes.learned"].value is True
    assert "weight, stir rise and fall again each 54 min" in chosen["modes.learned"].reason
    step = chosen["windows.step_s"].value
    assert step % 10 == 0
    assert 0.25 * BATCH <= 16 * step / 10 <= 0.36 * 1.1 * BATCH
    assert 38 * BATCH <= chosen["training.first_steps"].value * step / 10 <= 44 * BATCH
    assert resting(given(), history(given(), [sample(batch)], NOW + 10**10)) == {}


def test_an_alert_waits_until_the_first_step_of_a_phase_is_past() -> None:
    """An alert takes as many windows as the newest steps are: three steps more than the first; a longer delay stays."""
    chosen = proposed(batch, given(**{"windows.length": "64"}))
    step_s = chosen["windows.step_s"].value if "windows.step_s" in chosen else given().windows.step_s
    assert chosen["alerting.on_delay_s"].value == 3 * step_s
    longer = given(**{"windows.length": "64", "alerting.on_delay_s": "3000"})
    assert "alerting.on_delay_s" not in proposed(batch, longer)


def test_a_topic_that_holds_less_gives_a_shorter_history_and_nothing_below_half_of_the_batches() -> None:
    """Three fifths of what the topic holds are learned; fewer than twenty of forty batches are not enough for modes."""
    full, less = (proposed(batch, given(), held * BATCH * STEP)["training.first_steps"].value for held in (100, 50))
    assert less == pytest.approx(0.7 * full, rel=0.1)
    assert proposed(batch, given(), 10 * BATCH * STEP) == {}


def test_a_history_of_many_days_has_a_longer_horizon() -> None:
    """History is not dropped before there is enough of it."""
    chosen = proposed(batch, given(**{"training.horizon_s": "36000"}))
    needed = chosen["training.first_steps"].value * chosen["windows.step_s"].value
    assert chosen["training.horizon_s"].value >= needed


@pytest.mark.parametrize("signals", [load_curve, one_valve, strokes, noise])
def test_other_machines_get_nothing(signals: Signals) -> None:
    """Nothing is proposed for a load curve, a valve alone, strokes within a window, or noise."""
    assert proposed(signals, given()) == {}


def test_few_batches_or_given_modes_give_nothing() -> None:
    """Three batches are no evidence, and a person's channel of modes stays the only one."""
    assert proposed(batch, given(), count=3) == {}
    assert proposed(batch, given(**{"modes.channel": "stir"})) == {}
