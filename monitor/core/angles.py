"""Angles: a channel NAME in degrees becomes the two channels NAME.sin and NAME.cos, and one again in alerts.

An angle wraps: from 359 to 1 degrees it is 2 degrees. Its sine and its cosine do not jump there, and say the same.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.core.decode.select import ANGLE, Globs, Kinds, is_name
from monitor.core.records import ChannelShare, ReadingBatch

SINE, COSINE = ".sin", ".cos"
TURN = 360.0


def split_angles(readings: ReadingBatch, kinds: Kinds) -> ReadingBatch:
    """Return the readings with two in place of each reading of an angle, its sine before its cosine."""
    angles = kinds.among(readings.channels, ANGLE)
    if not angles.any():
        return readings

    # Codes of the sine; that of the cosine comes next.
    channels: list[str] = []
    code = np.empty(len(readings.channels), np.int32)
    for place, (name, angle) in enumerate(zip(readings.channels, angles.tolist(), strict=True)):
        code[place] = len(channels)
        channels += [name + SINE, name + COSINE] if angle else [name]

    of_angle = angles[readings.channel]
    source = np.repeat(np.arange(len(readings)), np.where(of_angle, 2, 1))
    second = np.append(False, source[1:] == source[:-1])
    value = readings.value[source].copy()
    turned = of_angle[source]
    radians = np.radians(np.fmod(value[turned], TURN))
    value[turned] = np.where(second[turned], np.cos(radians), np.sin(radians))
    return replace(
        readings,
        channels=tuple(channels),
        asset=readings.asset[source],
        channel=(code[readings.channel[source]] + second).astype(np.int32),
        time=readings.time[source],
        value=value,
        offset=readings.offset[source],
        group=None if readings.group is None else readings.group[source],
    )


def with_parts(globs: Globs, kinds: Kinds) -> Globs:
    """Return globs for channels that also match sine and cosine of the angles that they match."""
    if not any(kind == ANGLE for _, kind in kinds.globs):
        return globs

    def parts(names: tuple[str, ...]) -> tuple[str, ...]:
        angles = [name for name in names if not is_name(name) or kinds.of(name) == ANGLE]
        return (*names, *(name + end for name in angles for end in (SINE, COSINE)))

    return Globs(parts(globs.include), parts(globs.exclude))


def pairs(channels: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of sine and cosine of each angle among the channels."""
    place = {name: number for number, name in enumerate(channels)}
    sines = [name.removesuffix(SINE) for name in channels if name.endswith(SINE)]
    return [(place[name + SINE], place[name + COSINE]) for name in sines if name + COSINE in place]


def joined(shares: Sequence[ChannelShare], kinds: Kinds) -> tuple[ChannelShare, ...]:
    """Return the shares with one in degrees in place of the sine and the cosine of an angle, by contribution."""
    found = [
        pair
        for pair in pairs([share.channel for share in shares])
        if kinds.of(shares[pair[0]].channel.removesuffix(SINE)) == ANGLE
    ]
    if not found:
        return tuple(shares)
    apart = {place for pair in found for place in pair}
    rest = [share for place, share in enumerate(shares) if place not in apart]
    angles = [_angle(shares[sine], shares[cosine]) for sine, cosine in found]
    return tuple(sorted([*rest, *angles], key=lambda share: -share.contribution))


def _angle(sine: ChannelShare, cosine: ChannelShare) -> ChannelShare:
    """Return the share of an angle, with the values of its sine and its cosine at one step."""
    expected = _degrees(sine.expected, cosine.expected)

    # The spread of an angle is that of sine and cosine across its direction.
    across = np.hypot(cosine.expected * (sine.high - sine.low), sine.expected * (cosine.high - cosine.low)) / 2
    length = max(sine.expected**2 + cosine.expected**2, 1e-9)
    width = min(float(np.degrees(across / length)), TURN / 2)

    both = sine.observed is not None and cosine.observed is not None
    return replace(
        sine,
        channel=sine.channel.removesuffix(SINE),
        contribution=sine.contribution + cosine.contribution,
        observed=_degrees(sine.observed or 0.0, cosine.observed or 0.0) if both else None,
        expected=expected,
        low=expected - width,
        high=expected + width,
    )


def _degrees(sine: float, cosine: float) -> float:
    """Return the angle from 0 to below 360 degrees."""
    return float(np.degrees(np.arctan2(sine, cosine)) % TURN)
