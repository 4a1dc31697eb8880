"""Finds the time of readings among the fields of JSON: its place, its unit, and a second field with nanoseconds.

A time of the source wins over one of the gateway or the server, the item's own over that of the message around it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.onboard.format.items import Path, written
from monitor.onboard.format.labels import PRESENT, plain, words_of

NAMES = ("timestamp", "time", "ts", "eventtime", "datetime", "date", "measuredat", "observedat", "created", "t")
_SOURCE = {"sourcetimestamp", "sourcetime", "origin", "eventtime", "measuredat", "observedat", "devicetime", "plctime"}
_SOURCE |= {"sampletime", "readat", "recordedat", "phenomenontime", "eventtimestamp"}
_LATER = {"server", "receive", "received", "ingest", "ingested", "enqueued", "processed", "kafka", "insert", "inserted"}
_LATER |= {"published", "publish", "stored", "arrival", "created", "updated", "modified", "gateway", "broker", "sent"}
_NEVER = {"installed", "commissioned", "manufactured", "birth", "expires", "expiry", "start", "since", "until", "next"}
_TIME = {"time", "timestamp", "ts", "date", "datetime", "at", "stamp", "ticks", "origin", "t", "ms"}
_SELDOM = 0.05  # share of the items that may lack a time before another field is asked
_OLDEST_S = 946_684_800  # 2000-01-01, as the decoder's oldest_ms
_AHEAD_S = 86_400  # of now: a day covers every zone mistaken for another
_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "ticks": 10**7}  # their ranges do not overlap
_EPOCH_TICKS = 621_355_968_000_000_000  # of 1970-01-01
_HUGE = 1e30
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
)
_CLOSE_S = 86_400  # a field this near to the time is a time, too
FAR = 4_102_444_800_000  # ms; 2100, where any time will do
_LITTLE = 0.5  # of the most different times among the fields: with fewer, a field is a date of something else


@dataclass(slots=True)
class Clock:
    """The time of items."""

    place: str
    unit: str
    paths: tuple[Path, ...]  # of the time and its alternatives
    times: list[Any]  # (n,) as in the message
    nanos: str = ""
    zoneless: bool = False
    reason: str = ""

    @property
    def names(self) -> list[str]:
        """The names in a member that has the time itself."""
        return [path[-1] for path in self.paths if len(path) == 1]

    def near(self, column: Sequence[Any]) -> bool:
        """Return whether a field holds about the same times, and so is another time."""
        pairs = [
            (mine, other)
            for mine, other in zip(self.times[:2000], column[:2000], strict=False)
            if mine is not None and other is not None
        ]
        others = [other for _, other in pairs]
        unit = unit_of_time(others, FAR)
        if not pairs or unit is None:
            return False
        mine, their = (seconds([pair[which] for pair in pairs], each) for which, each in ((0, self.unit), (1, unit[0])))
        return bool(np.nanmedian(np.abs(mine - their)) < _CLOSE_S)


def unit_of_time(values: Sequence[Any], now: int) -> tuple[str, bool] | None:
    """Return the unit in which nearly all values are times from 2000 to a day after `now`, and if texts lack a zone.

    None if the values are no times.
    """
    some = values[:3000]
    if not some:
        return None
    texts = [value for value in some if isinstance(value, str)]
    matches = [_ISO.fullmatch(text.strip()) for text in texts]
    if len(texts) == len(some) and sum(map(bool, matches)) >= PRESENT * len(some):
        return "iso", any(match is not None and not match[8] for match in matches)

    numbers = [float(value) for value in some if _is_count(value)]
    for unit, per in _PER_S.items():
        low, high = _OLDEST_S * per, (now / 1000 + _AHEAD_S) * per
        shift = _EPOCH_TICKS if unit == "ticks" else 0
        if numbers and sum(low <= number - shift <= high for number in numbers) >= PRESENT * len(some):
            return unit, False
    return None


def _is_count(value: Any) -> bool:
    """Return whether a time is a number, which may be written as a text."""
    if isinstance(value, str):
        return re.fullmatch(r"\d{9,20}(\.\d*)?", value.strip()) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def seconds(values: Sequence[Any], unit: str) -> np.ndarray[Any, Any]:
    """Return times as seconds since 1970, NaN where there is none; a text without a zone is taken as UTC."""
    found = np.full(len(values), np.nan)
    for at, value in enumerate(values):
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, str):
            match = _ISO.fullmatch(value.strip())
            if match is not None:
                found[at] = _of_match(match)
                continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        found[at] = (number - (_EPOCH_TICKS if unit == "ticks" else 0)) / _PER_S.get(unit, 1)
    return found


def _of_match(match: re.Match[str]) -> float:
    date = np.datetime64(f"{match[1]}-{match[2]}-{match[3]}T00:00:00") if _is_date(match) else None
    if date is None:
        return float("nan")
    day = float(date.astype("datetime64[s]").astype(np.int64))
    zone = match[8] or "Z"
    shift = 0.0
    if zone[0] in "+-":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        shift = (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * (1 if zone[0] == "+" else -1)
    fraction = float(f"0.{match[7]}") if match[7] else 0.0
    return day + int(match[4]) * 3600 + int(match[5]) * 60 + int(match[6]) + fraction - shift


def _is_date(match: re.Match[str]) -> bool:
    try:
        np.datetime64(f"{match[1]}-{match[2]}-{match[3]}")
    except ValueError:
        return False
    return True


def find_clock(columns: Mapping[Path, Sequence[Any]], inner: set[Path] | None, now: int) -> Clock | None:
    """Return the time of items with these columns; `inner` are the paths of the items themselves, None = all."""
    found: dict[Path, tuple[str, bool]] = {}
    different: dict[Path, int] = {}
    for path, column in columns.items():
        given = [value for value in column if value is not None]
        if len(given) < 0.2 * len(column) or not set(words_of(path[-1])).isdisjoint(_NEVER):
            continue
        unit = unit_of_time(given, now)
        if unit is not None:
            found[path], different[path] = unit, len(set(given))
    if not found:
        return None

    # A date that seldom changes is not the time of the reading.
    most = max(different.values())
    found = {path: unit for path, unit in found.items() if different[path] >= _LITTLE * most or most < 3}

    def order(path: Path) -> tuple[object, ...]:
        given = [value for value in columns[path] if value is not None]
        return (*_order(path, inner), float(np.nanmean(seconds(given[:500], found[path][0]))))

    ranked = sorted(found, key=order)
    path = ranked[0]
    scale, zoneless = found[path]
    times = list(columns[path])
    chosen = [path]

    # Where the best one is not always there, another one of the same unit follows.
    for other in ranked[1:]:
        missing = [at for at, time in enumerate(times) if time is None]
        if len(missing) <= _SELDOM * len(times) or found[other][0] != scale:
            continue
        if sum(columns[other][at] is not None for at in missing) >= PRESENT * len(missing):
            chosen.append(other)
            times = [mine if mine is not None else their for mine, their in zip(times, columns[other], strict=True)]

    others = [written(each) for each in ranked if each not in chosen]
    reason = f"beside {', '.join(others[:4])}" if others else "the only one"
    place = "|".join(map(written, chosen))
    return Clock(place, scale, tuple(chosen), times, _nanos(columns, path), zoneless, reason)


def _order(path: Path, inner: set[Path] | None) -> tuple[bool, bool, int, int]:
    words = words_of(path[-1])
    later = not {*words, *(word for each in path[:-1] for word in words_of(each))}.isdisjoint(_LATER)
    own = inner is None or path in inner
    name = plain(path[-1])
    known = 0 if name in _SOURCE else 1 if name in NAMES or path[-1].startswith("$") else 2
    known = 3 if known == 2 and not set(words) & _TIME else known
    return later and name not in _SOURCE, not own, known, NAMES.index(name) if name in NAMES else len(NAMES)


def _nanos(columns: Mapping[Path, Sequence[Any]], path: Path) -> str:
    """Return the place of the nanoseconds that belong to a time in whole seconds."""
    for other, column in columns.items():
        if other[:-1] != path[:-1] or other == path or len(path) < 2:
            continue
        given = [value for value in column if value is not None]
        if "nano" in other[-1].lower() and given and all(isinstance(n, int) and 0 <= n < 10**9 for n in given):
            return written(other)
    return ""
