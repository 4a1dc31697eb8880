"""Timestamps as they are in messages -> int64 milliseconds since the Unix epoch, UTC.

Finer units are floored, so a reading never moves into the next millisecond. Seconds may carry a fraction; a float64 of
today's magnitude resolves 0.2 µs, so it is rounded to microseconds first (1700000000.123 * 1000 is 1700000000122.99…).
Values beyond int64 are clipped: they are outside any permitted range, and `decode` rejects them.
"""

import functools
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from monitor.core.records import Times

UNREADABLE = -(2**63)  # stands for a text that is no RFC 3339 time
_LIMIT = 2**62
_LONGEST = 64  # characters of a time
_TICKS_1970 = 621_355_968_000_000_000  # .NET's ticks of 100 ns since the year 1
_UNSURE_MS = 1_800_000  # half of the hour that comes twice
_PER_MS = {"ms": 1, "us": 1000, "ns": 1_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE]\+?\d\d?)?", re.ASCII)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:([Zz])|([+-]\d\d:\d\d))", re.ASCII
)  # RFC 3339 allows a space for the T; without a zone a time names no instant

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(?:(?<=:\d\d:\d\d)[.,](\d{1,9}))?"
    r" ?([Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)  # also the forms that RFC 3339 does not have


def to_ms(times: Sequence[Any], unit: str) -> Times:
    """Return times (P,) in `unit` as ms (P,). `iso` takes texts and gives UNREADABLE for one that is not RFC 3339."""
    if unit == "iso":
        return np.array([_iso(text) for text in times], np.int64)
    if unit == "s" and float in set(map(type, times)):
        seconds = np.array([_float(time) for time in times], np.float64)
        micros = np.rint(np.clip(seconds, -9e12, 9e12) * 1e6)  # 9e18 still fits int64
        return micros.astype(np.int64) // 1000

    try:
        whole = np.array(times, np.int64)
    except OverflowError:
        whole = np.array([min(max(time, -_LIMIT), _LIMIT) for time in times], np.int64)
    if unit == "s":
        return np.clip(whole, -_LIMIT // 1000, _LIMIT // 1000) * 1000
    return whole // _PER_MS[unit]


def parse_time(text: str) -> int:
    """Read a time as people write it into tables, in ms UTC. Raises ValueError.

    A text is ISO 8601; without a zone it is UTC. A number counts from 1970 on, and its unit follows from its size: up
    to 1e11 seconds (the year 5138), then ms, µs and ns by thousands each (1e11 ms is 1973). So every time since 1973 is
    read correctly in each of these units.
    """
    if not _NUMBER.fullmatch(text):
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND

    value = int(text) if text.isdecimal() else float(text)
    if abs(value) >= 1e20:
        raise ValueError(text)
    if abs(value) < 1e11:
        return round(value * 1_000_000) // 1000  # by way of µs, for int(546694151.66 * 1000) ends in 659
    return int(value) // (1 if abs(value) < 1e14 else 1_000 if abs(value) < 1e17 else 1_000_000)


class NoTime(ValueError):  # noqa: N818 - reads as the state it reports
    """A value is no time; the text says what was expected."""


class WithNanos(NamedTuple):
    """A time and the nanoseconds to add to it."""

    time: Any
    nanos: Any


def read_times(times: Sequence[Any], unit: str, timezone: str, stamps: Sequence[int]) -> Times:
    """Return times of any kind (P,) as ms (P,), UNREADABLE for those that `read_time` refuses.

    `stamps` are the times of their messages, which tell an hour that comes twice in `timezone` apart.
    """
    if unit not in {"iso", "auto", "ticks"} and set(map(type, times)) <= {int}:
        return to_ms(times, unit)

    known: dict[Any, int] = {}  # many readings have one time
    found = []
    for time, stamp in zip(times, stamps, strict=True):
        key = (time, stamp) if timezone else time
        ms = known.get(key)
        if ms is None:
            try:
                ms = read_time(time, unit, timezone, stamp)
            except NoTime:
                ms = UNREADABLE
            known[key] = ms
        found.append(ms)
    return np.array(found, np.int64)


def read_time(time: Any, unit: str, timezone: str, stamp: int) -> int:
    """Return a time as a number or text in ms. Raises NoTime.

    A number in a text is read in every unit. `auto` tells the units apart by size, and reads ISO 8601.
    """
    nanos = 0
    if type(time) is WithNanos:
        time, nanos = time
        if type(nanos) not in {int, float} or (type(nanos) is float and not math.isfinite(nanos)):
            raise NoTime("expected a number of nanoseconds to add")

    if type(time) is str:
        text = time.strip()
        if _NUMBER.fullmatch(text) and len(text) <= _LONGEST:
            time = int(text) if text.lstrip("+-").isdecimal() else float(text)
        elif unit in {"iso", "auto"}:
            return _within_int64(_moment(text, timezone, stamp) + int(nanos) // 1_000_000)
    if type(time) not in {int, float} or unit == "iso" or (type(time) is float and not math.isfinite(time)):
        if unit in {"iso", "auto"}:
            raise NoTime(f"expected a time in ISO 8601{' or a number since 1970' if unit == 'auto' else ''}")
        cure = ", or format.timestamp_unit to be iso" if type(time) is str else ""
        raise NoTime(f"expected a number ({unit}){cure}")
    return _within_int64(_since_1970(time, unit) + int(nanos) // 1_000_000)


def _within_int64(ms: int) -> int:
    return max(min(ms, _LIMIT), -_LIMIT)


def zone(name: str) -> ZoneInfo:
    """Return the zone of this IANA name. Raises ValueError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone known here, expected an IANA name such as Europe/Berlin") from error


_zone = functools.lru_cache(maxsize=8)(zone)


def _since_1970(time: float, unit: str) -> int:
    """Return a finite number in ms."""
    if unit == "auto":
        unit = _unit_of(abs(time))
    if unit == "s":
        return round(_clipped(time) * 1_000_000) // 1000 if type(time) is float else int(time) * 1000
    if unit == "ticks":
        return (int(time) - _TICKS_1970) // 10_000
    return math.floor(time) // _PER_MS[unit]


def _clipped(seconds: float) -> float:
    return min(max(seconds, -9e12), 9e12)  # 9e18 µs still fit int64


def _unit_of(size: float) -> str:
    """Return the unit of a number by its size, right for all times since 2000, and of ticks up to the year 2978."""
    if size < 1e11:
        return "s"
    if size < 1e14:
        return "ms"
    if size < 1e17:
        return "us"
    return "ticks" if _TICKS_1970 <= size < 946_684_800_000_000_000 else "ns"


def _moment(text: str, timezone: str, stamp: int) -> int:
    """Return a text in ISO 8601 as ms. Raises NoTime."""
    match = _ISO.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise NoTime("expected a time in ISO 8601, such as 2024-05-01T12:00:00Z")
    date, clock, fraction, offset = match.groups()
    shift = "+00:00" if offset and offset[0] in "ZzUuGg" else offset or ""
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{shift}")
    except ValueError as error:  # the 30th of February, 25 o'clock, an offset of a day
        raise NoTime("expected a time in ISO 8601 that exists") from error
    if moment.tzinfo is None:
        moment = _local(moment, timezone, stamp)
    return (moment - _EPOCH) // _SECOND * 1000 + int(f"{fraction or ''}000"[:3])


def _local(moment: datetime, timezone: str, stamp: int) -> datetime:
    """Return a time without a zone in `timezone`. Raises NoTime.

    Of an hour that comes twice, the one within half an hour of the message's own time is right.
    """
    if not timezone:
        raise NoTime("expected one with a zone, such as 2024-05-01T12:00:00Z, or format.timezone to be set")
    first, second = (moment.replace(tzinfo=_zone(timezone), fold=fold) for fold in (0, 1))
    try:
        early, late = (first - _EPOCH) // _MILLISECOND, (second - _EPOCH) // _MILLISECOND
    except OverflowError as error:  # the first and the last day that there are
        raise NoTime("expected a time of this millennium") from error
    if early == late:
        return first
    if early > late:
        raise NoTime(f"expected a time that exists in {timezone}")
    for time, each in ((early, first), (late, second)):
        if abs(time - stamp) <= _UNSURE_MS:
            return each
    raise NoTime(
        f"expected one that comes once in {timezone}, or within half an hour of its message's own time: send UTC"
    )


def _float(time: float) -> float:
    return float(min(max(time, -_LIMIT), _LIMIT))  # an int may be too large for float()


def _iso(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        return UNREADABLE
    date, clock, fraction, zulu, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zulu else offset}")
    except ValueError:  # the 30th of February, 25 o'clock, an offset of a day
        return UNREADABLE
    return (moment - _EPOCH) // _SECOND * 1000 + int(f"{fraction or ''}000"[:3])
