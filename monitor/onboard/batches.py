"""Finds in a sample whether its machines work in batches, and proposes the settings for that.

These are learned modes, a step with which a window holds a phase of a batch, alerts that wait until the newest steps of
a window no longer hold the first step of a phase, and as many batches for the first model that every recipe is among
them. Machines work in batches if two channels or more go up and down between two clearly
separate levels, again and again, and both levels last for some steps. The length of a batch is the usual time from one
rise of a channel to the next. A load curve has no separate levels, and what fits into a window is learned as it is.

Measured on generated reactors and mixers: docs/decisions/0041-recurring-rest.md.
"""

import math
from collections.abc import Iterator

import numpy as np

from monitor.core.arrays import Doubles, Index
from monitor.core.fitting.corpus import Corpus
from monitor.core.model.errors import newest
from monitor.core.records import Floats
from monitor.onboard.settings import Chosen
from monitor.settings.base import about
from monitor.settings.sections import fields
from monitor.settings.tree import Settings

_LEAST_CHANNELS = 2
_SEPARATE = 0.85  # least share of a channel's variance that its two levels explain: 0.64 of noise, 0.81 of a sine
_LEAST_CYCLES = 6  # seen in all, by each of the channels
_LEAST_STEPS = 4  # that both levels usually last
_LONGEST_S = 2 * 86_400.0  # of a batch
_WINDOW = 0.36  # of a batch, at most
_BATCHES = 120  # of all machines for the first model
_EACH = (12, 40)  # of a machine: at least, and at most
_WAIT = 0.6  # of what the topic or file holds; it must have half of the batches at least
_EDGE = 0.25  # of the distance between the levels: a value within it is at a level
_SAMPLE = 20_000  # values of a channel and machine


def batches(settings: Settings, corpus: Corpus | None, held_ms: int) -> dict[str, Chosen]:
    """Return the settings of machines that work in batches, with reasons; none if modes are given or no batch is seen.

    `corpus` is the `history` of the sample. The topic or file that the sample is of holds `held_ms` of readings.
    """
    if settings.modes.channel or corpus is None:
        return {}
    lengths = {name: length for name, length in _cycles(corpus) if length}
    if len(lengths) < _LEAST_CHANNELS:
        return {}
    cycle_s = float(np.median(list(lengths.values()))) * corpus.step_ms / 1000
    if not settings.windows.length * settings.windows.step_s < cycle_s <= _LONGEST_S:
        return {}

    number = _number(len(corpus.assets), held_ms / 1000 / cycle_s)
    if not number:
        return {}

    seen = f"{', '.join(lengths)} rise and fall again each {_duration(cycle_s)}, as in batches"
    chosen = {"modes.learned": Chosen(True, f"{seen}; each phase of a recipe then has usual errors of its own")}
    step_s = settings.windows.step_s
    times = math.floor(_WINDOW * cycle_s / (settings.windows.length * step_s))
    if times > 1:
        step_s = times * step_s
        reason = f"{times} periods of the readings, so that a window holds a phase of a batch"
        chosen["windows.step_s"] = Chosen(step_s, reason)
    on_delay_s = (newest(settings.windows.length) - 1) * step_s
    if on_delay_s > settings.alerting.on_delay_s:
        reason = "the first step of a phase cannot be foreseen, and stays among a window's newest steps for as long"
        chosen["alerting.on_delay_s"] = Chosen(on_delay_s, reason)
    chosen |= _first(settings, number, cycle_s, step_s)
    return chosen


def _number(assets: int, held: float) -> int:
    """Return how many of the `held` batches of a machine the first model is learned from; 0 if there are too few.

    Modes of fewer batches would call what comes next new, and a first model of more would wait for readings to come.
    """
    low, high = _EACH
    wanted = min(high, max(low, math.ceil(_BATCHES / assets)))
    number = min(wanted, math.floor(_WAIT * held))
    return number if number >= wanted // 2 else 0


def _first(settings: Settings, number: int, cycle_s: float, step_s: float) -> dict[str, Chosen]:
    """Return how many steps the first model is learned from, and the horizon that holds them."""
    steps = math.ceil(number * cycle_s / step_s)
    if steps <= settings.training.first_steps:
        return {}
    reason = f"{number} batches of each machine, so that the first model has seen every recipe often"
    chosen = {"training.first_steps": Chosen(steps, reason)}
    if settings.training.horizon_s < steps * step_s:
        most = float(about(fields()["training.horizon_s"])["high"])
        chosen["training.horizon_s"] = Chosen(
            min(2 * steps * step_s, most), f"{number} batches take {steps * step_s:g} s"
        )
    return chosen


def _cycles(corpus: Corpus) -> Iterator[tuple[str, float]]:
    """Yield the usual number of steps from one rise of each channel to the next; 0 if it has no two levels."""
    for column, name in enumerate(corpus.channels):
        found, stays = [], []
        for code in np.unique(corpus.asset).tolist():
            for x in _stretches(corpus, code, column):
                rises, falls = _changes(x)
                found += np.diff(rises).tolist()
                stays += np.diff(np.sort(np.append(rises, falls))).tolist()
        enough = len(found) >= _LEAST_CYCLES and np.median(stays) >= _LEAST_STEPS
        yield name, float(np.median(found)) if enough else 0.0


def _stretches(corpus: Corpus, code: int, column: int) -> Iterator[Floats]:
    """Yield a channel of an asset in levels, (T,) for each time without a hole; nothing if it has no two levels.

    1 is the upper level or above, 0 the lower one or below, others are in between.
    """
    own = np.flatnonzero(corpus.asset == code)
    own = own[np.argsort(corpus.end[own], kind="stable")]
    values = corpus.values[own, column]  # (k, L)
    measured = values[~np.isnan(values)]
    levels = _two_levels(np.sort(measured[:: max(1, len(measured) // _SAMPLE)]).astype(np.float64))
    if levels is None:
        return
    low, high = levels
    scaled = (values - low) / (high - low)
    holes = np.flatnonzero(np.diff(corpus.end[own]) != values.shape[1] * corpus.step_ms) + 1
    for part in np.split(scaled, holes):
        x = part.reshape(-1)
        yield x[~np.isnan(x)]


def _two_levels(x: Doubles) -> tuple[float, float] | None:
    """Return the two levels of sorted values (n,) that explain most of their variance (Otsu 1979), if they do."""
    n = len(x)
    if n < 2 or x[0] == x[-1]:
        return None
    count = np.arange(1, n)
    total = np.cumsum(x)
    low, high = total[:-1] / count, (total[-1] - total[:-1]) / (n - count)
    between = count * (n - count) * (high - low) ** 2 / n**2
    best = int(between.argmax())
    return (float(low[best]), float(high[best])) if between[best] >= _SEPARATE * float(x.var()) else None


def _changes(x: Floats) -> tuple[Index, Index]:
    """Return the steps at which values (T,) in levels rise to the upper level, and fall to the lower one.

    In between, a channel keeps the level that it had.
    """
    clear = np.flatnonzero((x <= _EDGE) | (x >= 1 - _EDGE))
    up = x[clear] > 0.5
    turn = np.flatnonzero(up[1:] != up[:-1]) + 1
    return clear[turn[up[turn]]], clear[turn[~up[turn]]]


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
