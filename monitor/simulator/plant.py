"""A simulated plant: centrifugal pumps with eight channels each.

A pump runs at one of three loads, changed on a random schedule by ramps. Load, a slowly wandering valve and the weather
of the site drive the channels by the affinity laws (flow ~ n, head ~ n^2, power ~ n^3); the bearing follows the load
with the lag of its mass; a level controller makes the inlet pressure swing with a period of about ten steps. Every pump
has gains and offsets of its own. All three loads occur in each BLOCK and the weather repeats after DAY, so about 1500
steps show everything that a healthy pump does. A plant with `day` set has days of that many steps instead, on which
production follows the hour, and neither production nor weather is the same on two days: it shows slow normal changes.

Every value is a function of the settings and its step alone: random numbers are drawn by block, and a lag is a sum over
a bounded past. A stream may therefore be made in any pieces, from any step on, without state.

Faults are in faults.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from monitor.simulator.signals import Doubles, draw, lagged, smooth

LOADS = np.array([0.45, 0.7, 0.95])  # of nominal
DWELL = 96  # steps at a load, plus or minus up to 2 * EARLY: 40 to 152
EARLY = 28
RAMP = 12  # steps from one load to the next
BLOCK = DWELL * len(LOADS)  # drawn at once; also the longest past a lag may reach into
DAY = 900  # steps; compressed, so that a short history holds whole days
SWING = 0.2  # bar
DAILY, WANDER = 0.06, 0.03  # of nominal load: more by day than by night; standard deviation from day to day
MILD = 3.0  # degrees: standard deviation of the weather from day to day

_MACHINE, _SCHEDULE, _NOISE, _WEATHER, _LATE = range(5)  # streams of random numbers that share the seed
_DAYS, _SITE = 6, 1_000_000  # 5 is that of faults.py; the site, among the assets


class Channel(NamedTuple):
    """A channel and its transmitter; the noise is 1 to 3 % of the channel's range."""

    name: str
    noise: float  # standard deviation, in the channel's unit
    decimals: int  # resolution of the transmitter


CHANNELS = (
    Channel("speed", 8.0, 1),  # 1/min
    Channel("flow", 0.8, 2),  # m3/h
    Channel("inlet_pressure", 0.01, 4),  # bar
    Channel("outlet_pressure", 0.04, 3),  # bar
    Channel("current", 0.5, 2),  # A
    Channel("power", 0.35, 3),  # kW
    Channel("bearing_temperature", 0.15, 2),  # degrees Celsius
    Channel("vibration", 0.03, 4),  # mm/s
)
NAMES = tuple(channel.name for channel in CHANNELS)
INLET = NAMES.index("inlet_pressure")


@dataclass(frozen=True, slots=True)
class PlantSettings:
    """Size, step and seed of a plant. Raises ValueError for values that no plant can have."""

    assets: int = 8
    step_ms: int = 1000
    seed: int = 0
    start: int = 1_750_000_000_000  # ms UTC of step 0, a multiple of step_ms so that steps fall on the monitor's grid
    day: int = 0  # steps of a day that differs from others; 0 = each day is DAY steps and like all others

    def __post_init__(self) -> None:
        if self.assets < 1 or self.step_ms < 1 or self.seed < 0 or self.day < 0:
            raise ValueError(f"assets and step_ms must be at least 1, seed and day not negative: {self}")
        if self.start % self.step_ms:
            raise ValueError(f"start {self.start} is not a multiple of step_ms {self.step_ms}")


class Sent(NamedTuple):
    """A message as a gateway sends it."""

    key: bytes
    value: bytes
    time: int  # ms UTC when it is sent; never decreases


class Plant:
    """The healthy plant."""

    def __init__(self, settings: PlantSettings) -> None:
        self.settings = settings
        self.names = tuple(f"pump-{number:02d}" for number in range(1, settings.assets + 1))
        sources = [draw(settings.seed, _MACHINE, asset) for asset in range(settings.assets)]
        self._gain = np.array([source.uniform(0.94, 1.06, len(CHANNELS)) for source in sources])  # (A, C)
        self._period = np.array([source.uniform(9.9, 10.1) for source in sources])  # (A,)
        self._phase = np.array([source.uniform(0, 2 * np.pi) for source in sources])  # (A,)
        self._mount = np.array(
            [source.uniform(-3, 3) for source in sources]
        )  # (A,) degrees: a sensor's place in its bearing
        self._weather = draw(settings.seed, _WEATHER).uniform(0, 2 * np.pi, 2)

    def time(self, step: int) -> int:
        """Return the time of a step, ms UTC."""
        return self.settings.start + step * self.settings.step_ms

    def step(self, time: int) -> int:
        """Return the step of a time (ms UTC)."""
        return (time - self.settings.start) // self.settings.step_ms

    def rows(self, begin: int, end: int) -> Doubles:
        """Return the readings (A, T, C) of the healthy plant at the steps of [begin, end)."""
        return np.stack([read(self.truth(asset, begin, end)) for asset in range(len(self.names))])

    def truth(self, asset: int, begin: int, end: int, realisation: int = 0) -> Doubles:
        """Return a pump's signals (T, C) with noise, before the transmitter rounds them.

        Another `realisation` is the same pump on another schedule with other noise.
        """
        if not 0 <= begin < end:
            raise ValueError(f"expected 0 <= begin < end, found {begin} and {end}")

        blocks = range(begin // BLOCK, -(-end // BLOCK))
        rows = np.concatenate([self._block(asset, block, realisation) for block in blocks])
        return rows[begin - blocks.start * BLOCK :][: end - begin]

    def swing(self, asset: int, steps: Doubles) -> Doubles:
        """Return the level controller's part (T,) of the inlet pressure at `steps` (T,), which may be fractions."""
        wave: Doubles = np.sin(2 * np.pi * steps / self._period[asset] + self._phase[asset])
        return SWING * float(self._gain[asset, INLET]) * wave

    def _block(self, asset: int, block: int, realisation: int) -> Doubles:
        """Return one block of a pump, (BLOCK, C)."""
        # Two blocks: lags reach into the block before.
        key = (self.settings.seed, asset, realisation)
        white = np.concatenate([_white(*key, block - 1), _white(*key, block)])  # (2 * BLOCK, C + 2)
        steps = np.arange((block - 1) * BLOCK, (block + 1) * BLOCK, dtype=np.float64)
        load = _schedule(*key, block, steps) + 0.012 * np.pad(smooth(white[:, -1], 6), (BLOCK, 0))
        load += self._production(asset, steps)
        heat = lagged(load, 40)

        # Drivers of the second block.
        now = slice(BLOCK, None)
        steps, load = steps[now], load[now]
        valve = 0.025 * smooth(white[:, -2], 15)
        length = self.settings.day or DAY
        day = 2 * np.pi * steps / length + self._weather[0]
        gust = 2 * np.pi * steps / (length / 3) + self._weather[1]
        mild = MILD * self._from_day_to_day(_SITE, steps)

        # Channels by the affinity laws.
        columns = (
            1000 + 2000 * load,
            120 * load * (1 + valve),
            1.8 - 0.3 * load**2,
            1.8 + 5.5 * load**2 * (1 - 0.6 * valve),
            12 + 70 * load**2.5 * (1 + 0.6 * valve),
            3 + 42 * load**3 * (1 + 0.6 * valve),
            18 + mild + 4 * np.sin(day) + np.sin(gust) + 14 + 32 * heat + self._mount[asset],
            1.1 + 1.6 * load**2 + 0.6 * np.exp(-(((load - 0.7) / 0.08) ** 2)),  # a resonance near the middle load
        )
        rows = np.stack(columns, 1) * self._gain[asset]
        rows[:, INLET] += self.swing(asset, steps)

        noise = np.array([channel.noise for channel in CHANNELS])
        signals: Doubles = rows + noise * white[now, : len(CHANNELS)]
        return signals

    def _production(self, asset: int, steps: Doubles) -> Doubles:
        """Return what the hour and the day add (T,) to a pump's load."""
        if not self.settings.day:
            return np.zeros(len(steps))
        hour: Doubles = DAILY * np.sin(2 * np.pi * steps / self.settings.day)
        return hour + WANDER * self._from_day_to_day(asset, steps)

    def _from_day_to_day(self, whose: int, steps: Doubles) -> Doubles:
        """Return a fluctuation (T,) that has another value each midnight, of variance 1; 0 if all days are alike."""
        if not self.settings.day:
            return np.zeros(len(steps))
        days = steps / self.settings.day
        midnights = np.arange(np.floor(days[0]), np.floor(days[-1]) + 2)
        drawn = [draw(self.settings.seed, _DAYS, whose, int(each) + 1).normal() for each in midnights]
        fluctuation: Doubles = np.interp(days, midnights, drawn)
        return fluctuation


def read(signals: Doubles) -> Doubles:
    """Return the transmitters' readings of signals (..., C): not below zero, rounded to the channel's resolution."""
    unit = 10.0 ** np.array([channel.decimals for channel in CHANNELS])
    readings: Doubles = np.rint(np.maximum(signals, 0) * unit) / unit
    return readings


def messages(
    plant: Plant, begin: int, values: Doubles, *, kind: str = "json_wide", late: float = 0.005
) -> Iterator[Sent]:
    """Yield messages with the readings `values` (A, T, C) of the steps from `begin` on; NaN is not sent.

    The share `late` of the messages is sent one step late, after the asset's next message; at the last step no message
    is delayed. `kind` is that of the monitor's format: "json_wide", one message per asset and step, or "json_long".
    """
    if kind not in {"json_wide", "json_long"}:
        raise ValueError(f"kind must be json_wide or json_long, got {kind!r}")

    bodies = _wide if kind == "json_wide" else _long
    delayed: list[tuple[bytes, bytes]] = []
    last = values.shape[1] - 1
    for place in range(last + 1):
        step, time = begin + place, plant.time(begin + place)
        pairs = list(bodies(plant.names, time, values[:, place].tolist()))
        lags = draw(plant.settings.seed, _LATE, step).random(len(pairs)) < late

        due = [pair for pair, lag in zip(pairs, lags, strict=True) if place == last or not lag]
        for key, value in due + delayed:
            yield Sent(key, value, time)
        delayed = [pair for pair, lag in zip(pairs, lags, strict=True) if lag]


def _wide(names: tuple[str, ...], time: int, rows: list[list[float]]) -> Iterator[tuple[bytes, bytes]]:
    for name, row in zip(names, rows, strict=True):
        values = {channel: value for channel, value in zip(NAMES, row, strict=True) if value == value}  # noqa: PLR0124 - NaN
        if values:
            yield name.encode(), msgspec.json.encode({"asset": name, "timestamp": time, "values": values})


def _long(names: tuple[str, ...], time: int, rows: list[list[float]]) -> Iterator[tuple[bytes, bytes]]:
    for name, row in zip(names, rows, strict=True):
        for channel, value in zip(NAMES, row, strict=True):
            if value == value:  # noqa: PLR0124 - NaN
                body = {"asset": name, "channel": channel, "timestamp": time, "value": value}
                yield name.encode(), msgspec.json.encode(body)


def _white(seed: int, asset: int, realisation: int, block: int) -> Doubles:
    """Return the random numbers (BLOCK, C + 2) of a block: a column per channel, the valve, the load."""
    return draw(seed, _NOISE, asset, realisation, block + 1).normal(size=(BLOCK, len(CHANNELS) + 2))


def _schedule(seed: int, asset: int, realisation: int, block: int, steps: Doubles) -> Doubles:
    """Return the scheduled load at `steps` (T,) of `block` and of the block before it.

    Each block changes to each of the loads once, in random order. A change may come up to EARLY steps early or late;
    therefore the schedules of the neighbouring blocks count as well.
    """
    begins, loads = [], []
    for number in range(block - 2, block + 2):
        source = draw(seed, _SCHEDULE, asset, realisation, number + 2)
        loads.append(source.permutation(LOADS))
        begins.append(number * BLOCK + DWELL * np.arange(len(LOADS)) + source.integers(-EARLY, EARLY + 1, len(LOADS)))

    # Ramps between the loads.
    begin, load = np.concatenate(begins), np.concatenate(loads)
    knots = np.stack([begin, begin + RAMP], 1).ravel()
    levels = np.stack([np.append(load[0], load[:-1]), load], 1).ravel()
    scheduled: Doubles = np.interp(steps, knots, levels)
    return scheduled
