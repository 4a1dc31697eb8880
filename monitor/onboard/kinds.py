"""Tells what each channel of a sample is: a measurement, a counter, a state, an angle, or constant; with figures.

    kinds_of(readings, channels, step_ms) -> name of the channel -> ChannelKind

A counter never falls but for resets, and really rises: often, for at least half of the time, and with support from
other evidence. A temperature that rises for the whole sample has jitter, so it falls now and then. Names are support
only: no name makes a counter of a channel that falls, or of one that does not rise.

A state has few values, which hold for many steps. A channel of whole numbers that moves by one at a time is a
measurement with a coarse sensor.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import first_of_run
from monitor.core.decode.select import IGNORE, MEASUREMENT, STATE
from monitor.core.records import Bools, Times

Doubles = npt.NDArray[np.float64]

_NEAR_ZERO = 0.05  # of the value before: a fall to less is a reset
_ROLLED = 0.9  # of the value before, negative: a signed counter that rolled over
_RESETS = 0.1  # of the rises, at most; a signal of pulses falls as often as it rises
_MANY, _SOME = 100, 6  # rises of an asset: support for a counter, and the least
_FEW = 30  # fewer rises need a counter's name, or steps of one
_SUPPORT = 3  # pieces of evidence for a counter
_EVEN = 0.25  # of the mean rise: each quarter of the sample rises by at least this
_VALUES = 12  # of a state at most; of numbers with a fraction _FRACTIONS
_FRACTIONS = 5
_HOLD = 10  # steps for which a state holds, as a median
_AGAIN = 3  # times that each value of a switch or of texts must have come, and jumps of an angle
_SHARE = 0.02  # of the readings that each of these values has at least
_LEAST = 20  # readings without a change that make a constant
_FULL = ((0.0, 360.0), (-180.0, 180.0), (0.0, 2 * math.pi), (-math.pi, math.pi))
_SMALL = 0.2  # of the full circle: less than that between two readings
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_COUNTS = {"count", "counter", "counts", "cnt", "total", "totalizer", "totaliser", "sum", "hours", "hour", "runtime"}
_COUNTS |= {"uptime", "energy", "kwh", "mwh", "wh", "pieces", "parts", "cycles", "starts", "odometer", "produced"}
_COUNTS |= {"strokes", "revolutions", "bytes", "packets", "consumption", "operations", "zaehler", "stunden"}
_MEASURES = {"temp", "temperature", "press", "pressure", "level", "speed", "rpm", "flow", "voltage", "current", "amps"}
_MEASURES |= {"vib", "vibration", "load", "humidity", "power", "torque", "ph", "position", "weight", "density"}
_MEASURES |= {"celsius", "bar", "degc", "frequency", "thickness", "conductivity", "viscosity"}
_SET = {"setpoint", "sp", "set", "target", "valve"}  # no counters, but often states


class Readings(NamedTuple):
    """Readings (n,) without repetitions, ordered by channel, asset and time."""

    channel: Times
    asset: Times
    time: Times
    value: Doubles


@dataclass(frozen=True, slots=True)
class ChannelKind:
    """What a channel is, how to read it, and why."""

    kind: str  # "measurement" | "counter" | "state" | "angle" | "constant" | "text" | "rare"
    read_as: str  # one of select.py's kinds
    reason: str
    boolean: bool = False  # whether its values are true and false
    texts: tuple[str, ...] = ()  # whose places its values are


class _Moves(NamedTuple):
    """Figures of one channel over its assets."""

    readings: int
    values: Doubles  # distinct ones, ascending
    whole: bool
    before: Doubles  # (m,) pairs of readings of one asset that follow one another
    change: Doubles  # (m,)
    gap: Times  # (m,) ms
    owner: Times  # (m,) the pair's asset
    time: Times  # (m,) of the second reading
    rarest: float  # share of the value that came least
    assets: int


def kinds_of(
    readings: Readings, channels: Sequence[str], step_ms: int, texts: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, ChannelKind]:
    """Return the kind of each channel; `step_ms` is the usual distance between readings, `texts` are of channels."""
    found = {}
    begins = np.flatnonzero(first_of_run(readings.channel))
    for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(readings.channel)], strict=True):
        name = channels[int(readings.channel[begin])]
        part = slice(begin, end)
        moves = _moves(readings.asset[part], readings.time[part], readings.value[part])
        own = (texts or {}).get(name, ())
        found[name] = _of_texts(moves, own) if own else _kind(name, moves, step_ms)
    return found


def _moves(asset: Times, time: Times, value: Doubles) -> _Moves:
    pair = np.flatnonzero(~first_of_run(asset))
    values, counts = np.unique(value, return_counts=True)
    return _Moves(
        len(value),
        values,
        bool((values == np.round(values)).all()),
        value[pair - 1],
        value[pair] - value[pair - 1],
        time[pair] - time[pair - 1],
        asset[pair],
        time[pair],
        float(counts.min() / len(value)),
        len(np.unique(asset)),
    )


def _kind(name: str, moves: _Moves, step_ms: int) -> ChannelKind:
    if not moves.change.any():
        return _constant(name, moves)
    if reason := _angle(moves):
        return ChannelKind("angle", MEASUREMENT, reason)
    if reason := _counter(name, moves):
        return ChannelKind("counter", IGNORE, reason)
    return _state(name, moves, step_ms) or ChannelKind("measurement", MEASUREMENT, "")


def _constant(name: str, moves: _Moves) -> ChannelKind:
    """Judge a channel that never changed."""
    listed = _listed(moves.values)
    reason = f"constant: {listed} in all {moves.readings} readings"
    if moves.readings < _LEAST * moves.assets:
        return ChannelKind("measurement", MEASUREMENT, "")
    if not moves.whole or _words(name) & _MEASURES:
        return ChannelKind("constant", MEASUREMENT, reason)
    return ChannelKind("constant", IGNORE, f"{reason}; any other value would be far from everything learned")


def _angle(moves: _Moves) -> str:
    """Return why the channel is an angle; empty if it is none."""
    low, high = float(moves.values[0]), float(moves.values[-1])
    for begin, end in _FULL:
        full = end - begin
        if low < begin or high > end * (1 + 1e-6) or high - low < _ROLLED * full:
            continue
        size = np.abs(moves.change)
        jumps = size > _ROLLED * full
        small = size < _SMALL * full
        if np.count_nonzero(jumps) >= _AGAIN and (jumps | small).mean() > 1 - _SMALL / 10:
            return (
                f"angle: from {begin:.4g} to {end:.4g}, with {np.count_nonzero(jumps)} jumps from one end to the other"
            )
    return ""


def _counter(name: str, moves: _Moves) -> str:
    """Return why the channel is a counter; empty if it is none."""
    rises, falls = moves.change > 0, moves.change < 0
    after = moves.before + moves.change
    reset = falls & ((np.abs(after) <= _NEAR_ZERO * np.abs(moves.before)) | (after <= -_ROLLED * np.abs(moves.before)))
    resets = int(np.count_nonzero(reset))
    if (falls & ~reset).any() or resets > _RESETS * np.count_nonzero(rises):
        return ""

    # Assets that stand still do not speak against it.
    each = np.bincount(moves.owner[rises])
    usual = int(np.median(each[each > 0]))
    lasting, even = _lasting(moves, rises)
    if usual < _SOME or not lasting:
        return ""
    words = _words(name)
    named = bool(words & _COUNTS)
    ones = bool((moves.change[rises] == 1).mean() > _ROLLED)
    if usual < _FEW and not (named or ones):
        return ""

    support = [moves.whole, named, resets > 0, usual >= _MANY, np.count_nonzero(each) > 1, even]
    if sum(map(bool, support)) - (2 if words & (_MEASURES | _SET) and not named else 0) < _SUPPORT:
        return ""
    total = f"{np.count_nonzero(rises)} of {len(rises)} steps rise"
    fell = f"and {resets} fall back to near zero" if resets else "and none falls"
    whole = ", in whole numbers" if moves.whole else ""
    return f"counter: {total} {fell}{whole}; its distance from what was learned would grow without end"


def _lasting(moves: _Moves, rises: Bools) -> tuple[bool, bool]:
    """Return whether the rises of an asset take half of its time, and whether all quarters of that time rise alike."""
    owner, time, size = moves.owner[rises], moves.time[rises], moves.change[rises]
    lasting, even = [], []
    for asset in np.unique(owner).tolist():
        mine, all_times = owner == asset, moves.time[moves.owner == asset]
        begin, end = int(all_times[0]), int(all_times[-1])
        risen = time[mine]
        lasting.append(risen[-1] - risen[0] >= (end - begin) / 2)
        quarter = np.minimum(4 * (risen - begin) // max(1, end - begin), 3)
        by_quarter = np.bincount(quarter, size[mine], 4)
        even.append(by_quarter.min() >= _EVEN * by_quarter.mean())
    return bool(np.mean(lasting) > 0.5), bool(np.mean(even) > 0.5)


def _state(name: str, moves: _Moves, step_ms: int) -> ChannelKind | None:
    """Judge a channel of few values; None if it is a measurement."""
    values, changes = moves.values, np.flatnonzero(moves.change)
    few = len(values) <= (_VALUES if moves.whole else _FRACTIONS) and 3 * len(values) <= moves.readings
    if not few or _words(name) & _MEASURES:
        return None
    quantum = float(np.diff(values).min())
    if len(values) > 2 and moves.whole and (np.abs(moves.change[changes]) == quantum).all():
        return None

    hold = _hold(moves)
    if hold < _HOLD * step_ms:
        return None

    reason = f"state: {len(values)} values ({_listed(values)}) that hold for {hold / 1000:,.0f} s"
    if len(values) == 2 and _times(moves) >= _AGAIN and moves.rarest >= _SHARE:
        return ChannelKind("state", STATE, f"{reason}, each of which came at least {_AGAIN} times")
    if len(values) == 2:
        return ChannelKind("state", IGNORE, f"{reason}, one of them too seldom to be learned")
    return ChannelKind("state", IGNORE, f"{reason}; their distances mean nothing")


def _hold(moves: _Moves) -> float:
    """Return how long values hold, ms: half of the time belongs to values that hold for at least so long."""
    begins = np.flatnonzero((moves.change != 0) | first_of_run(moves.owner))
    ends = np.append(begins[1:], len(moves.gap))
    held = np.append(0, np.cumsum(moves.gap))
    holds = np.sort(held[ends] - held[begins])
    return float(holds[np.searchsorted(np.cumsum(holds), holds.sum() / 2)])


def _times(moves: _Moves) -> int:
    """Return how often the rarest value came, also at the beginning; of machines that go together, once."""
    changes = np.flatnonzero(moves.change)
    time, begun = moves.time[changes], (moves.before + moves.change)[changes]
    first = moves.before[first_of_run(moves.owner)]
    return min(len(np.unique(time[begun == value])) + bool((first == value).any()) for value in moves.values.tolist())


def boolean_kind(kind: ChannelKind, readings: int) -> ChannelKind:
    """Return the kind of a channel of true and false, which is `kind` by its ones and zeros.

    One that never changed, or too seldom, would only add noise to the score.
    """
    if kind.kind == "constant" or (kind.kind == "state" and kind.read_as == IGNORE):
        return ChannelKind("state", IGNORE, f"state of true and false; {kind.reason}", boolean=True)
    return ChannelKind("state", STATE, f"state: true or false in {readings} readings; read as 1 and 0", boolean=True)


def text_kind() -> ChannelKind:
    """Return the kind of a channel that never holds a number, and has one text or many."""
    return ChannelKind("text", IGNORE, "text: never a number, so it cannot be scored")


def _of_texts(moves: _Moves, texts: tuple[str, ...]) -> ChannelKind:
    """Judge a channel of few texts, whose places are its values: a state if its texts come back.

    Numbers of batches are few in a short sample, too, but each is of one machine and one time.
    """
    changes = int(np.count_nonzero(moves.change))
    if not changes:
        return ChannelKind("text", IGNORE, "text: never changes on a machine")
    if changes + moves.assets <= len(texts):
        return ChannelKind("text", IGNORE, f"text: {len(texts)} different ones, none of which came back")
    reason = f"state: {len(texts)} texts that come back, {changes} changes"
    if moves.rarest < _SHARE or _times(moves) < _AGAIN:
        return ChannelKind("state", IGNORE, f"{reason}, one of them too seldom to be learned", texts=texts)
    return ChannelKind("state", STATE, reason, texts=texts)


def rare_kind(kind: ChannelKind, distance_s: float, window_s: float) -> ChannelKind:
    """Return the kind of a channel that has less than one reading in a window."""
    reason = f"rare: a reading every {distance_s:,.0f} s, and a window has {window_s:,.0f} s"
    return ChannelKind("rare", IGNORE, "; ".join(filter(None, [reason, kind.reason])), texts=kind.texts)


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(name)}


def _listed(values: Doubles) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:4].tolist())
    return f"{shown}, …" if len(values) > 4 else shown
