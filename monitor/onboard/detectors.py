"""The detectors that `monitor onboard` proposes: one for each class of machines, and slow twins.

The first class, which is the largest, gives the sections of the file. A detector of another class overrides what its
own part of the sample asks for. A class alone needs no [[detectors]].

A twin of a detector with a short step has a step of a minute, for faults that take hours. It is written commented out:
its first model needs most of a day, and until then it would be shown as learning.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from monitor.core.decode.format import place
from monitor.core.decode.select import IGNORE
from monitor.onboard.classes import Machines
from monitor.onboard.settings import Chosen, commented, detector_table, most_history, of_windows
from monitor.onboard.survey import ChannelFigures, Survey
from monitor.settings.detectors import PER_DETECTOR, DetectorSection
from monitor.settings.sections import fields
from monitor.settings.tree import Settings

SHORT_S = 10.0  # steps below are too short for faults of hours
_SLOW_S = 60.0  # 64 of them are an hour
_AGGREGATES = ("mean", "max")
_ON_S, _OFF_S = 120.0, 300.0  # two windows in a row, and a calm of five
_LONGEST = 64  # characters of a detector's name


class Part(NamedTuple):
    """A class and its part of the sample."""

    machines: Machines
    figures: Survey


def together(parts: Sequence[Survey]) -> Survey:
    """Return the figures of several classes as one. The step is that of the first."""
    weights = [part.readings for part in parts]
    channels: dict[str, ChannelFigures] = {}
    kinds = dict(parts[0].kinds)
    for part in parts:
        for name, each in part.channels.items():
            channels[name] = _both(channels[name], each) if name in channels else each
        kinds |= {name: kind for name, kind in part.kinds.items() if name not in kinds or kinds[name].read_as == IGNORE}

    def mean(name: str) -> float:
        return float(np.average([getattr(part, name) for part in parts], weights=weights))

    return replace(
        parts[0],
        readings=sum(weights),
        assets=tuple(name for part in parts for name in part.assets),
        channels=channels,
        regular=mean("regular"),
        disorder=mean("disorder"),
        late_ms=max(part.late_ms for part in parts),
        latest_ms=max(part.latest_ms for part in parts),
        skew_ms={name: skew for part in parts for name, skew in part.skew_ms.items()},
        repeated=mean("repeated"),
        colliding=mean("colliding"),
        observed=np.concatenate([part.observed for part in parts]),
        rate=sum(part.rate for part in parts),
        weight=sum(part.weight for part in parts),
        span_ms=max(part.span_ms for part in parts),
        hole_ms=max(part.hole_ms for part in parts),
        kinds=kinds,
        scattered={name: numbers for part in parts for name, numbers in part.scattered.items()},
    )


def _both(one: ChannelFigures, other: ChannelFigures) -> ChannelFigures:
    """Return the figures of a channel that two classes have."""
    readings = one.readings + other.readings
    missing = (one.missing * one.readings + other.missing * other.readings) / readings
    hold, period = max(one.hold_ms, other.hold_ms), max(one.period_ms, other.period_ms)
    return ChannelFigures(readings, one.assets + other.assets, period, hold, missing)


def of_classes(base: Settings, parts: Sequence[Part], whole: Survey) -> Chosen:
    """Return a detector for each class, with the reasons of what it sets itself by "NAME" and "NAME.KEY"."""
    first = of_windows(base, parts[0].figures)
    reasons: dict[str, str] = {}
    made = []
    for machines, figures in parts:
        name, values = machines.name, {"name": machines.name, "groups": machines.groups, "assets": machines.globs}
        reasons[name] = f"{len(figures.assets)} of {len(whole.assets)} assets, with {len(figures.channels)} channels"
        left = {
            channel: kind.reason
            for channel, kind in figures.kinds.items()
            if kind.read_as == IGNORE and whole.kinds[channel].read_as != IGNORE
        }
        if left:
            values["channels_exclude"] = tuple(left)
            reasons[f"{name}.channels_exclude"] = "; ".join(f"{place(each)}: {why}" for each, why in left.items())

        own = of_windows(base, figures)
        for key in {**first, **own}:
            value, usual = (each[key].value if key in each else base.value(key) for each in (own, first))
            if value != usual:
                values = _with(values, key, value)
                reasons[f"{name}.{key}"] = own[key].reason if key in own else "as by default"
        made.append(DetectorSection.model_validate(values))
    return Chosen(tuple(made), "", reasons)


def with_own(detectors: Chosen, name: str, own: Mapping[str, Chosen]) -> Chosen:
    """Return the detectors with settings of one of them in addition."""
    made = []
    for each in detectors.value:
        values = each.model_dump(exclude_defaults=True)
        for key, chosen in own.items() if each.name == name else ():
            values = _with(values, key, chosen.value)
        made.append(DetectorSection.model_validate(values))
    reasons = {f"{name}.{key}": chosen.reason for key, chosen in own.items()}
    return Chosen(tuple(made), detectors.reason, {**detectors.each, **reasons})


def _with(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    part, _, leaf = key.partition(".")
    assert part in PER_DETECTOR
    return {**values, part: {**values.get(part, {}), leaf: value}}


def twins(settings: Settings) -> list[str]:
    """Return slow twins of the detectors with short steps as comments of the file; nothing if there are none."""
    short = [each for each in settings.per_detector() if each.windows.step_s < SHORT_S]
    taken = {each.name for each in settings.detectors}
    if not short or taken & {_slow(each.name) for each in short}:
        return []

    days = max(_twin(each)["training"].get("first_steps", each.training.first_steps) for each in short) * _SLOW_S
    lines = ["", *commented(_why(days / 3600, len(short)))]
    tables = [] if settings.detectors else detector_table(DetectorSection(name=settings.name), {})
    for each in short:
        route = each.detectors[0].model_dump(exclude_defaults=True) if each.detectors else {}
        values = {**route, "name": _slow(each.name)}
        for part, own in _twin(each).items():
            values[part] = {**values.get(part, {}), **own}
        tables += detector_table(
            DetectorSection.model_validate({key: each for key, each in values.items() if each}), {}
        )
    return [*lines, *(f"# {line}" if line else "#" for line in tables[1:])]


def _why(hours: float, count: int) -> str:
    lead = "a second detector of the same machines" if count == 1 else "second detectors of the same machines"
    return (
        f"Faults that take hours need longer steps: remove the leading # below for {lead}, with a step of a minute. "
        f"It costs some 6 to 9 % more processor time, and its first model needs {hours:.0f} h of readings."
    )


def _slow(name: str) -> str:
    return f"{name[: _LONGEST - 5]}-slow"


def _twin(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what the twin of a detector overrides, by section."""
    training, usual = settings.training, fields()["training.first_steps"].default
    windows: dict[str, Any] = {"step_s": _SLOW_S, "aggregate": _AGGREGATES}
    if "max_gap" in (settings.detectors[0].windows if settings.detectors else ()) or (
        settings.windows.max_gap != fields()["windows.max_gap"].default
    ):
        longest = settings.windows.max_gap * settings.windows.step_s
        windows["max_gap"] = max(fields()["windows.max_gap"].default, math.ceil(longest / _SLOW_S))

    own: dict[str, Any] = {}
    steps = training.first_steps
    if steps > usual:
        own["first_steps"] = steps = max(usual, math.ceil(steps * settings.windows.step_s / _SLOW_S))
    if training.horizon_s < 2 * steps * _SLOW_S:
        own["horizon_s"] = 2 * steps * _SLOW_S
    full = most_history(settings, settings.windows.max_channels * len(_AGGREGATES))
    if training.history_windows > full:
        own["history_windows"] = full
    alerting = {"on_delay_s": _ON_S, "off_delay_s": _OFF_S, "silence_s": 0.0}  # silence is told once
    return {"windows": windows, "training": own, "alerting": alerting}
