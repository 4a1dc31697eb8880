"""Timestamps as they are in messages -> int64 milliseconds since the Unix epoch, UTC.

Finer units are floored, so a reading never moves into the next millisecond. Seconds may carry a fraction; a float64 of
today's magnitude resolves 0.2 µs, so it is rounded to microseconds first (1700000000.123 * 1000 is 1700000000122.99…).
Values beyond int64 are clipped: they are outside any permitted range, and `decode` rejects them.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from monitor.core.records import Times

UNREADABLE = -(2**63)  # stands for a text that is no RFC 3339 time
_LIMIT = 2**62
_PER_MS = {"ms": 1, "us": 1000, "ns": 1_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE]\+?\d\d?)?", re.ASCII)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:([Zz])|([+-]\d\d:\d\d))", re.ASCII
)  # RFC 3339 allows a space for the T; without a zone a time names no instant


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
