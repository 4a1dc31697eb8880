"""What the kinds of machines of the mixed plant have in common: a step of a minute, days, channels, noise."""

from typing import NamedTuple, Protocol

import numpy as np

from monitor.simulator.signals import Doubles, draw

STEP_MS = 60_000
DAY = 1440  # steps; drawn at once, and the longest past that a lag may reach into
HOUR = 60  # steps


class Channel(NamedTuple):
    """A channel and its transmitter."""

    name: str
    noise: float  # standard deviation, in the channel's unit
    decimals: int  # resolution of the transmitter


class Machines(Protocol):
    """The machines of one kind."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def channels(self) -> tuple[Channel, ...]: ...

    def day(self, machine: int, day: int) -> Doubles:
        """Return a machine's healthy signals (DAY, C) on a day, before the transmitters round them."""
        ...


def gains(seed: int, kind: int, count: int, channels: int) -> Doubles:
    """Return factors (M, C) by which the machines of a kind differ."""
    return np.array([draw(seed, kind, 0, machine).uniform(0.95, 1.05, channels) for machine in range(count)])


def white(seed: int, kind: int, machine: int, day: int, columns: int) -> Doubles:
    """Return white noise (DAY, columns) of a machine's day; the day before the first one is -1."""
    return draw(seed, kind, 1, machine, day + 1).normal(size=(DAY, columns))


def two_days(seed: int, kind: int, machine: int, day: int, columns: int) -> Doubles:
    """Return white noise (2 * DAY, columns) of the day before and the day."""
    return np.concatenate([white(seed, kind, machine, each, columns) for each in (day - 1, day)])


def noise(channels: tuple[Channel, ...], unit: Doubles) -> Doubles:
    """Return the noise (T, C) of channels from white noise of the same shape."""
    return np.array([channel.noise for channel in channels]) * unit


def rounded(channels: tuple[Channel, ...], signals: Doubles) -> Doubles:
    """Return the transmitters' readings of signals (T, C): not below zero, rounded to each channel's resolution."""
    unit = 10.0 ** np.array([channel.decimals for channel in channels])
    readings: Doubles = np.rint(np.maximum(signals, 0) * unit) / unit
    return readings
