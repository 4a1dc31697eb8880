"""When machines should run, by a calendar of weekly shifts in the plant's local time.

    Mon-Fri 06:00-22:00
    Sat,Sun 08:00-12:00
    Sun-Thu 22:00-06:00       an end that is not after the begin is on the next day
    Mon-Fri 06:00-06:00       the same begin and end are 24 hours: from Monday 6:00 to Saturday 6:00
    Mon-Sun 00:00-24:00

Shifts that touch or overlap are one stretch. Begin and end are clock times of the time zone, so a night shift is an
hour shorter or longer when the clocks change; a time that the change skips counts as if the clocks had not changed yet.
A shift that would begin on a holiday does not take place. One that began the evening before goes on to its end.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
FORM = 'days and hours such as "Mon-Fri 06:00-22:00"'
_SHIFT = re.compile(r"(?P<days>\S+) +(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)")
_DAY_MS = 86_400_000
_AROUND = 8  # days; a stretch of a week and more has no end that matters
_ZERO = date(1970, 1, 1)


class Shift(NamedTuple):
    """Hours on some days of each week."""

    days: frozenset[int]  # 0 = Monday
    begin: int  # minutes after midnight
    end: int  # minutes after midnight of the same day, above 1440 = on the next one


class Stretch(NamedTuple):
    """Time in which machines should run, ms UTC."""

    begin: int
    end: int


@dataclass(frozen=True)
class Calendar:
    """Shifts in a time zone."""

    shifts: tuple[Shift, ...]
    zone: ZoneInfo
    holidays: frozenset[date] = frozenset()
    _known: dict[int, list[Stretch]] = field(default_factory=dict, compare=False)  # the last day asked for

    def stretch(self, time: int) -> Stretch | None:
        """Return the stretch that holds `time`, ms UTC; None = machines need not run then."""
        day = time // _DAY_MS
        if day not in self._known:
            self._known.clear()
            self._known[day] = self._stretches(day)
        stretches = self._known[day]
        at = bisect_right(stretches, (time, 2**62)) - 1
        return stretches[at] if at >= 0 and time < stretches[at].end else None

    def _stretches(self, day: int) -> list[Stretch]:
        """Return the stretches around `day`, days since 1970 in UTC, that do not touch, in their order."""
        found: list[Stretch] = []
        for number in range(day - _AROUND, day + _AROUND + 1):
            local = _ZERO + timedelta(days=number)
            own = [shift for shift in self.shifts if local.weekday() in shift.days and local not in self.holidays]
            found += [
                Stretch(_instant(local, each.begin, self.zone), _instant(local, each.end, self.zone)) for each in own
            ]

        merged: list[Stretch] = []
        for stretch in sorted(found):
            if merged and stretch.begin <= merged[-1].end:
                merged[-1] = Stretch(merged[-1].begin, max(merged[-1].end, stretch.end))
            else:
                merged.append(stretch)
        return merged


@lru_cache(maxsize=64)
def calendar(shifts: tuple[str, ...], zone: str, holidays: tuple[str, ...] = ()) -> Calendar:
    """Return the calendar. Raises ValueError with the shift, zone or holiday and the expected form."""
    try:
        own = ZoneInfo(zone)
    except (OSError, ValueError, KeyError) as unknown:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"time zone {zone!r} is unknown, expected a name such as Europe/Berlin") from unknown
    return Calendar(tuple(map(parse_shift, shifts)), own, frozenset(map(_holiday, holidays)))


def parse_shift(text: str) -> Shift:
    """Return the shift of a text. Raises ValueError with the part that does not fit."""
    match = _SHIFT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"found {text!r}, expected {FORM}")
    begin, end = _minutes(match["begin"]), _minutes(match["end"])
    if begin >= 24 * 60:
        raise ValueError(f"found {match['begin']}, expected a begin from 00:00 to 23:59")
    return Shift(_days(match["days"]), begin, end if end > begin else end + 24 * 60)


def _holiday(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day of the plant's own calendar
    except ValueError as unfit:
        raise ValueError(f"found holiday {text!r}, expected a date such as 2026-12-25") from unfit


def _days(text: str) -> frozenset[int]:
    """Return the days of a text such as Mon-Fri or Mon,Wed,Fri; Sat-Mon goes over the end of the week."""
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        for name in (first, last or first):
            if name not in DAYS:
                raise ValueError(f"found day {name!r}, expected {' '.join(DAYS)}, Mon-Fri or Mon,Wed")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days.update(day % 7 for day in range(begin, end + 1 + 7 * (end < begin)))
    return frozenset(days)


def _minutes(text: str) -> int:
    hours, minutes = map(int, text.split(":"))
    if hours * 60 + minutes > 24 * 60 or minutes >= 60:
        raise ValueError(f"found time {text}, expected 00:00 to 24:00")
    return hours * 60 + minutes


def _instant(day: date, minutes: int, zone: ZoneInfo) -> int:
    """Return the ms UTC of a clock time."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=minutes)  # clock time, not elapsed
    return round(local.astimezone(UTC).timestamp() * 1000)
