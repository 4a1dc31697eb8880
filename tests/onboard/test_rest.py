"""What onboard proposes for machines that rest."""

import json
import math

import numpy as np

from monitor.core.records import Message, Partition
from monitor.core.running.condition import parse
from monitor.onboard.rest import history, resting
from monitor.onboard.settings import Chosen
from monitor.settings.load import load
from monitor.settings.tree import Settings

STEP, NOW = 60_000, 1_772_409_600_000
SETTINGS = load(
    None,
    {},
    {
        "source.topics": '["t"]',
        "windows.step_s": "60",
        "windows.length": "16",
        "windows.max_gap": "8",
        "training.first_steps": "100",
    },
)


def sample(*, share: float, sends: bool, steps: int = 2880) -> list[Message]:
    """Return messages of two machines that rest for a share of every 480 steps; heat takes 20 steps to come."""
    draw = np.random.default_rng(1)
    messages: list[Message] = []
    heat = np.zeros(2)
    for step in range(steps):
        for machine in range(2):
            runs = (step + 40 * machine) % 480 >= share * 480
            load_ = 1 + 0.1 * math.sin(step / 30) + draw.normal(0, 0.01)
            heat[machine] += 0.05 * ((60 if runs else 20) - heat[machine])
            values = {"flow-1": 120 * load_, "current": 30 * load_} if runs else {"flow-1": 0.1, "current": 0.0}
            values["heat"] = heat[machine] + draw.normal(0, 0.5)
            if runs or sends:
                text = {"asset": f"m{machine}", "timestamp": NOW + step * STEP, "values": values}
                place = len(messages)
                messages.append(Message(Partition("t", 0), place, None, json.dumps(text).encode(), NOW + step * STEP))
    return messages


def proposed(settings: Settings, messages: list[Message]) -> dict[str, Chosen]:
    return resting(settings, history(settings, [messages], NOW + 10**10))


def test_machines_that_rest_get_a_condition() -> None:
    """The condition tells rest from work, the delay is that of the heat, and the first model sees days of work."""
    chosen = proposed(SETTINGS, sample(share=0.4, sends=True))
    condition = parse(chosen["running.when"].value)
    assert condition.channels == ("flow-1", "current")
    truth = condition.judge(np.array([[100, 20], [0.1, 0]], np.float32))
    assert truth.true.tolist() == [True, False]
    assert "40% of the time" in chosen["running.when"].reason
    assert 20 * 60 <= chosen["running.start_delay_s"].value <= 180 * 60
    assert 1000 < chosen["training.first_steps"].value < 0.6 * 2880


def test_machines_that_are_silent_at_rest_get_a_delay_alone() -> None:
    """Nothing tells rest, so there is no condition, but starts after silence are seen."""
    chosen = proposed(SETTINGS, sample(share=0.4, sends=False))
    assert "running.when" not in chosen
    assert 20 * 60 <= chosen["running.start_delay_s"].value <= 180 * 60


def test_channels_of_other_machines_do_not_hide_how_long_a_start_takes() -> None:
    """Beside a machine of another kind, which never rests and has channels of its own, the delay is the same."""
    alone = sample(share=0.4, sends=False)
    draw = np.random.default_rng(2)
    other = [
        Message(each.partition, each.offset, None, body.encode(), each.timestamp)
        for each in alone[::2]
        for body in [json.dumps({"asset": "x", "timestamp": each.timestamp, "values": {"turns": draw.normal(9, 1)}})]
    ]
    mixed = sorted([*alone, *other], key=lambda each: each.timestamp)
    delays = [proposed(SETTINGS, each)["running.start_delay_s"].value for each in (alone, mixed)]
    assert delays[1] == delays[0]


def test_machines_that_work_all_the_time_get_nothing() -> None:
    """Without rest, nothing is proposed; nor is anything if a condition was given."""
    assert proposed(SETTINGS, sample(share=0.0, sends=True, steps=960)) == {}
    given = load(None, {}, {"source.topics": '["t"]', "running.when": "current > 5"})
    assert proposed(given, sample(share=0.4, sends=True, steps=960)) == {}
