"""What a channel is, by its values: counters, states, angles and constants, and what only looks like one."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.onboard.kinds import ChannelKind, Readings, kinds_of

STEPS = 600
Signal = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # step numbers (n,) -> values (n,)


def kind(name: str, signal: Signal, assets: int = 3, steps: int = STEPS, every: int = 1) -> ChannelKind:
    """Return the kind of a channel of several assets that is read every second, or each `every` seconds."""
    draw = np.random.default_rng(1)
    at = np.arange(0, steps * every, every)
    values = np.concatenate([signal(at, draw) for _ in range(assets)]).astype(np.float64)
    asset, zero = np.repeat(np.arange(assets), steps), np.zeros(assets * steps, np.int64)
    time = np.tile(at, assets).astype(np.int64) * 1000
    return kinds_of(Readings(zero, asset, time, values), [name], 1000)[name]


COUNTERS: dict[str, tuple[str, Signal]] = {
    "energy with decimals": (
        "energy_kwh",
        lambda t, draw: np.round(5e3 + np.cumsum(draw.uniform(0, 0.1, len(t))), 2),
    ),
    "pieces that begin anew each shift": ("x", lambda t, draw: np.cumsum(draw.random(len(t)) < 0.3) % 60),
    "hours of operation": ("Operating.Hours", lambda t, _: 12_345 + t // 60),
    "a counter without a name": ("DB4.W12", lambda t, draw: 10**6 + np.cumsum(draw.integers(1, 9, len(t)))),
    "a counter of 16 bits that rolls over": ("n", lambda t, _: (65_000 + 7 * t) % 65_536),
    "a signed one that rolls over": ("n", lambda t, _: (32_000 + 7 * t + 32_768) % 65_536 - 32_768),
    "bytes of a network card": ("net.bytes_recv", lambda t, draw: np.cumsum(draw.poisson(900, len(t)))),
}


@pytest.mark.parametrize("name", sorted(COUNTERS))
@pytest.mark.parametrize("assets", [1, 3])
def test_counters_are_recognised(name: str, assets: int) -> None:
    """What never falls but for resets, and rises all the time, is a counter and left out, with its figures."""
    channel, signal = COUNTERS[name]
    found = kind(channel, signal, assets)
    assert (found.kind, found.read_as) == ("counter", "ignore")
    assert "steps rise and" in found.reason


OTHERS: dict[str, tuple[str, Signal]] = {
    "a temperature that rises for the whole sample": ("x", lambda t, draw: 20 + t / 30 + draw.normal(0, 0.2, len(t))),
    "one without noise that comes to rest": ("x", lambda t, _: np.round(80 - 60 * np.exp(-t / 90), 1)),
    "a temperature in whole degrees": (
        "bearing_temp",
        lambda t, draw: np.round(40 + t / 60 + draw.normal(0, 0.3, len(t))),
    ),
    "a slow drift": ("x", lambda t, draw: 6 + 1e-4 * t + draw.normal(0, 0.05, len(t))),
    "pulses": ("x", lambda t, draw: (draw.random(len(t)) < 0.2) * draw.integers(1, 90, len(t))),
    "noise": ("count", lambda t, draw: draw.normal(0, 1, len(t))),
    "a count of things that come and go": ("queue_count", lambda t, draw: 50 + np.cumsum(draw.integers(-2, 3, len(t)))),
    "a level that is filled and emptied": ("x", lambda t, _: 10 + np.abs((t % 200) - 100)),
    "whole numbers that move by one": ("x", lambda t, _: 20 + np.round(2 * np.sin(t / 100))),
}


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize("assets", [1, 3])
def test_measurements_stay_measurements(name: str, assets: int) -> None:
    """What has jitter, comes to rest, or moves both ways is a measurement, whatever its name says."""
    channel, signal = OTHERS[name]
    assert kind(channel, signal, assets) == ChannelKind("measurement", "measurement", "")


def test_a_set_point_that_rises_is_no_counter() -> None:
    """A few steps upwards are a state or a measurement, even in whole numbers and of all machines."""
    assert kind("setpoint", lambda t, _: 100 + 5 * (t // 60)).kind != "counter"
    assert kind("ramp", lambda t, _: 100 + 5 * (t // 60)).kind != "counter"


def test_machines_that_stand_still_do_not_hide_a_counter() -> None:
    """Two of three machines rest, and the third one's hours still are a counter."""
    draw = iter([1, 0, 0])
    assert kind("hours", lambda t, _: 700 + next(draw) * (t // 60)).kind == "counter"


STATES: dict[str, tuple[str, Signal, str, str]] = {
    "a switch": ("running", lambda t, _: (t % 200) > 30, "state", "state"),
    "a switch that was used once": ("running", lambda t, _: t > 300, "state", "ignore"),
    "a mode": ("mode", lambda t, _: np.array([1, 4, 2, 7])[t // 50 % 4], "state", "ignore"),
    "an alarm word that came once": ("alarm_word", lambda t, _: 16 * ((t > 300) & (t < 340)), "state", "ignore"),
    "a set point": ("setpoint", lambda t, _: 4.5 + 0.5 * (t // 150 % 3), "state", "ignore"),
    "a constant": ("alarm_word", lambda t, _: 0 * t, "constant", "ignore"),
    "a sensor that did not move": ("pressure", lambda t, _: 0 * t + 4, "constant", "measurement"),
    "a constant with a fraction": ("x", lambda t, _: 0 * t + 4.2, "constant", "measurement"),
}


@pytest.mark.parametrize("name", sorted(STATES))
def test_states_and_constants_are_recognised(name: str) -> None:
    """Few values that hold long are a state. A switch that was used several times is read, others are left out."""
    channel, signal, expected, read_as = STATES[name]
    found = kind(channel, signal)
    assert (found.kind, found.read_as) == (expected, read_as)
    assert found.reason.startswith(expected)


def test_a_state_that_is_reported_on_change_is_one() -> None:
    """Where each reading is a change, the time for which values hold counts, not the number of readings."""
    found = kind("setpoint", lambda t, _: 120 + 5 * (t // 5400 % 3), steps=12, every=5400)
    assert (found.kind, found.read_as) == ("state", "ignore")
    assert "hold for 5,400 s" in found.reason


@pytest.mark.parametrize(("low", "full"), [(0, 360), (-180, 360), (0, 2 * math.pi), (-math.pi, 2 * math.pi)])
def test_angles_are_told(low: float, full: float) -> None:
    """A direction that turns through the end of its circle several times is an angle, and is still read."""
    found = kind("dir", lambda t, draw: low + (full / 70 * t + draw.normal(0, full / 90, len(t))) % full)
    assert (found.kind, found.read_as) == ("angle", "measurement")
    assert "jumps from one end to the other" in found.reason
    assert kind("noise", lambda t, draw: low + full * draw.random(len(t))).kind == "measurement"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.5, -0.5, 100.0, -1e6]), min_size=2, max_size=300),
    st.sampled_from(["count", "temp", "x"]),
    st.integers(1, 3),
)
def test_a_channel_that_falls_to_no_zero_is_never_a_counter(moves: Sequence[float], name: str, assets: int) -> None:
    """Whatever its name and its other values, one fall to a value that is not near zero suffices."""
    values = np.append(1e7 + np.cumsum(moves), [5e7, 4e7])
    found = kind(name, lambda _, __: values, assets, len(values))
    assert found.kind != "counter"
