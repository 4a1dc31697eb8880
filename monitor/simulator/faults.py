"""Faults of the simulated plant: eight kinds, each with its label.

A fault changes the readings of its channels in [start, end) and nothing else. Its size is drawn in units of the
channel's spread, and drawn again until the fault is visible: a sensor that freezes while nothing moves, or that loses
its relation to other channels while it happens to agree with them, could not be found by anyone.

Faults come in rounds of ROUND steps, one per asset and round, so that a fault and the quiet before it lie within the
round. A round depends on its number alone: an endless stream makes one after the other.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from monitor.evaluation.label import Label
from monitor.simulator.plant import NAMES, Plant, read
from monitor.simulator.signals import Doubles

QUIET = 200  # steps without a fault before each: three windows of 64
LONGEST = 120  # steps a fault may last
ROUND = 480  # QUIET + LONGEST, and some choice of when
VISIBLE = 0.5  # root mean square of what a fault changes, in spreads of the channel
SPREAD_STEPS = 900  # a day of the plant and nine changes of load

_FAULTS = 5  # stream of random numbers, beside those of plant.py


class Kind(NamedTuple):
    """The ranges that a kind of fault is drawn from."""

    steps: tuple[int, int]  # least and most
    size: tuple[float, float]  # least and most, in spreads of the channel; "frequency": factor instead
    channels: tuple[str, ...]


_DRIVEN = ("speed", "flow", "outlet_pressure", "current", "power")  # follow the load at once
KINDS = {
    "spike": Kind((1, 3), (3.0, 5.0), NAMES),
    "step": Kind((40, 120), (1.0, 2.0), NAMES),
    "drift": Kind((90, 120), (1.5, 2.5), NAMES),  # reached at the end
    "frozen": Kind((60, 120), (0, 0), (*_DRIVEN, "inlet_pressure")),
    "dropout": Kind((60, 120), (0, 0), NAMES),
    "noise": Kind((30, 90), (0.6, 1.2), NAMES),  # standard deviation
    "decoupled": Kind((80, 120), (0, 0), _DRIVEN),
    "frequency": Kind((60, 120), (1.7, 2.2), ("inlet_pressure",)),  # as much faster or slower
}
SIGNED = ("spike", "step", "drift")  # as often down as up


def faulty_rows(plant: Plant, faults: Sequence[Label], begin: int, end: int) -> Doubles:
    """Return the readings (A, T, C) at the steps of [begin, end) with `faults`; NaN where a channel is silent."""
    rows = plant.rows(begin, end)
    for fault in faults:
        first, last = max(begin, plant.step(fault.start)), min(end, plant.step(fault.end))
        if first < last:
            asset = plant.names.index(fault.asset)
            for name in fault.channels:
                channel = NAMES.index(name)
                rows[asset, first - begin : last - begin, channel] = _readings(plant, fault, channel, first, last)
    return rows


def fault_schedule(plant: Plant, clean_steps: int, rounds: int) -> tuple[Label, ...]:
    """Return the faults of the first `rounds` rounds after `clean_steps`, by start.

    Each of the eight kinds occurs as soon as rounds * assets reaches eight. Raises ValueError if it does not.
    """
    if rounds * len(plant.names) < len(KINDS):
        raise ValueError(f"{rounds} rounds of {len(plant.names)} assets leave out some of the {len(KINDS)} kinds")
    return tuple(fault for number in range(rounds) for fault in fault_round(plant, clean_steps, number))


def fault_round(plant: Plant, clean_steps: int, number: int) -> list[Label]:
    """Return one fault per asset in the steps [clean_steps + number * ROUND, … + ROUND), by start."""
    kinds = np.random.default_rng((plant.settings.seed, _FAULTS)).permutation(list(KINDS))

    faults = []
    for asset in range(len(plant.names)):
        draw = np.random.default_rng((plant.settings.seed, _FAULTS, asset, number + 1))

        # Shifted by one each time around. Otherwise each of eight assets would always have the same kind.
        turn = number * len(plant.names) + asset
        kind = str(kinds[(turn + turn // len(KINDS)) % len(KINDS)])

        candidates = _candidates(plant, asset, kind, clean_steps + number * ROUND, draw)
        faults.append(next(fault for fault, seen in candidates if seen >= VISIBLE))
    return sorted(faults, key=lambda fault: fault.start)


def _candidates(
    plant: Plant, asset: int, kind: str, begin: int, draw: np.random.Generator
) -> Iterator[tuple[Label, float]]:
    """Yield faults for the round from `begin` on, without end, each with its change in spreads of the channel."""
    ranges = KINDS[kind]
    spread = plant.truth(asset, 0, SPREAD_STEPS).std(0)  # (C,)
    while True:
        steps = int(draw.integers(ranges.steps[0], ranges.steps[1] + 1))
        first = begin + int(draw.integers(QUIET, ROUND - LONGEST + 1))
        channel = NAMES.index(str(draw.choice(ranges.channels)))

        size = float(draw.uniform(*ranges.size))
        up = bool(draw.random() < 0.5)
        if kind == "frequency":
            size = size if up else 1 / size
        else:
            size *= float(spread[channel]) * (1 if up or kind not in SIGNED else -1)

        where = (plant.names[asset], kind, (NAMES[channel],), plant.time(first), plant.time(first + steps))
        fault = Label(*where, size, int(draw.integers(1, 2**31)))

        changed = faulty_rows(plant, [fault], first, first + steps) - plant.rows(first, first + steps)
        change = np.sqrt(np.mean(changed[asset, :, channel] ** 2)) / spread[channel]
        yield fault, float(np.nan_to_num(change, nan=np.inf))  # a silent channel is always seen


def _readings(plant: Plant, fault: Label, channel: int, first: int, last: int) -> Doubles:
    """Return the readings (T,) of a channel at the steps of [first, last), all within the fault."""
    signals = plant.truth(plant.names.index(fault.asset), first, last)
    signals[:, channel] = _signal(plant, fault, channel, signals[:, channel], first)
    return read(signals)[:, channel]


def _signal(plant: Plant, fault: Label, channel: int, healthy: Doubles, first: int) -> Doubles:  # noqa: PLR0911 - one per kind
    """Return a channel's signal (T,) under a fault from the step `first` on; `healthy` (T,) is without it."""
    asset = plant.names.index(fault.asset)
    start, end = plant.step(fault.start), plant.step(fault.end)
    steps = np.arange(first, first + len(healthy), dtype=np.float64)

    match fault.kind:
        case "spike" | "step":
            return healthy + fault.size
        case "drift":
            return healthy + fault.size * (steps - start + 1) / (end - start)
        case "frozen":
            return np.full_like(healthy, plant.truth(asset, start - 1, start)[0, channel])
        case "dropout":
            return np.full_like(healthy, np.nan)
        case "noise":
            noise = np.random.default_rng(fault.seed).normal(size=end - start)
            return healthy + fault.size * noise[first - start :][: len(healthy)]
        case "decoupled":
            return plant.truth(asset, first, first + len(healthy), fault.seed)[:, channel]
        case "frequency":
            return healthy - plant.swing(asset, steps) + plant.swing(asset, start + (steps - start) * fault.size)
        case _:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {fault.kind!r}")
