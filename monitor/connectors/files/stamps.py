"""Dates and times as tables write them -> ms UTC.

`parse_time` of the core reads ISO 8601 and numbers since 1970. Here are the other forms: 02.03.2026 06:00:00,
3/2/2026 6:00 AM, 02-Mar-26 06:00:00, a date and a time in two columns, and local times of a zone.

Guaranteed: a time that has two readings is never read by chance. A date like 02/03/2026 needs another date of the head,
or `source.date_order`. An hour that comes twice at the end of summer time is told apart by the time before it; where
that does not help, the table is refused.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from monitor.core.decode.times import parse_time

ORDERS = ("ymd", "dmy", "mdy")
_WORDS = {"ymd": "year, month, day", "dmy": "day, month, year", "mdy": "month, day, year"}
_CLOCK = r"(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,:](\d{1,9}))?)?(?:\s*([AaPp])\.?[Mm]\.?)?"
_DATE = r"(\d{1,4})([./-]|\s)\s?(\d{1,2}|[^\W\d_]{3,9})\.?[./\s-]\s?(\d{2,4})\.?"
_ZONE = r"(?:\s*(Z|UTC|GMT|[+-]\d\d:?\d\d))?"
STAMP = re.compile(rf"{_DATE}(?:[T,\s]+{_CLOCK}{_ZONE})?", re.IGNORECASE)
DATE = re.compile(_DATE)
CLOCK = re.compile(_CLOCK, re.ASCII)
_MONTHS = {
    name: 1 + number
    for number, names in enumerate(
        ("jan", "feb", "mar mär mrz", "apr", "may mai", "jun", "jul", "aug", "sep", "oct okt", "nov", "dec dez")
    )
    for name in names.split()
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_UNSURE_MS = 1_800_000  # half of the hour that comes twice


def is_stamp(text: str) -> bool:
    """Return whether a cell holds a date, with or without a time; a bare number is none."""
    text = text.strip()
    if len(text) < 6 or text.replace(".", "").isdecimal():
        return STAMP.fullmatch(text) is not None
    try:
        parse_time(text)
    except ValueError:
        return STAMP.fullmatch(text) is not None
    return not _bare(text)


def is_date(text: str) -> bool:
    """Return whether a cell holds a date without a time."""
    return DATE.fullmatch(text.strip()) is not None


def is_clock(text: str) -> bool:
    """Return whether a cell holds a time without a date."""
    return CLOCK.fullmatch(text.strip()) is not None


def order_of(texts: Iterable[str], wanted: str = "") -> str:
    """Return the order of day, month and year; empty if all are ISO 8601 or numbers.

    Raises ValueError if the texts leave two orders open, or contradict one another.
    """
    seen: dict[str, str] = {}  # the first text of each kind
    for each in texts:
        kind = _kind(each.strip())
        if kind:
            seen.setdefault(kind, each.strip())

    unclear = seen.get("unclear")
    if wanted:
        return wanted if seen else ""
    if "dmy" in seen and "mdy" in seen:
        raise ValueError(f"the dates {seen['dmy']!r} and {seen['mdy']!r} have different orders: set source.date_order")
    clear = next((order for order in ("dmy", "mdy") if order in seen), "")
    if clear:
        return clear
    if unclear:
        readings = " or ".join(f"{_day(unclear, order)} ({_WORDS[order]}: {order})" for order in ("dmy", "mdy"))
        raise ValueError(f"the date {unclear!r} may be {readings}: set source.date_order to dmy or mdy")
    if "points" in seen or "word" in seen:
        return "dmy"  # points are written where the day comes first
    return "ymd" if seen else ""


def _kind(text: str) -> str:
    """Return the order that a date shows, `points`, `word` or `unclear`; empty if the core reads it, or nobody does."""
    match = STAMP.fullmatch(text)
    if match is None or _is_plain(text):
        return ""
    first, mark, second = match.group(1), match.group(2), match.group(3)
    if len(first) > 2:
        kind = "ymd"
    elif not second.isdecimal():
        kind = "word"
    elif int(second) > 12:
        kind = "mdy"
    elif int(first) > 12:
        kind = "dmy"
    else:
        kind = "points" if mark == "." else "unclear"

    try:
        read_stamp(text, kind if kind in ORDERS else "dmy")
    except ValueError:
        return ""
    return kind


def read_stamp(text: str, order: str) -> datetime:
    """Read a date with a time. Without a zone in the text the result has none. Raises ValueError."""
    text = text.strip()
    if _is_plain(text):
        return datetime.fromisoformat(text) if not _bare(text) else _EPOCH + timedelta(milliseconds=parse_time(text))
    match = STAMP.fullmatch(text)
    if match is None:
        raise ValueError(text)

    a, _, b, c, hour, minute, second, fraction, half, zone = match.groups()
    year, month, day = _parts(a, b, c, order)
    hours = int(hour or 0)
    if half:
        if not 1 <= hours <= 12:
            raise ValueError(text)
        hours = hours % 12 + 12 * (half in "Pp")
    micro = int(f"{fraction or ''}000000"[:6])
    moment = datetime(year, month, day, hours, int(minute or 0), int(second or 0), micro, tzinfo=_offset(zone or ""))
    return moment if zone else moment.replace(tzinfo=None)


class UndecidedTime(Exception):  # noqa: N818 - reads as the state it reports
    """A time has two readings, and the rows around it do not tell which is right."""


class Clock:
    """Reads the times of one table in the order of its rows, and remembers the last time of each asset.

    The hour that comes twice is told apart by it: of the two times the one that lies nearer to the last time plus the
    usual step is right.
    """

    def __init__(self, order: str, zone: ZoneInfo | None, step_ms: int) -> None:
        self._order = order
        self._zone = zone
        self._step = step_ms
        self._last: dict[str, tuple[int, str]] = {}  # time, and the text of an hour that came only once so far
        self._guessed: dict[str, str] = {}  # first times of assets that have two readings

    def read(self, text: str, asset: str) -> int:
        """Return the time in ms UTC. Raises ValueError, UndecidedTime."""
        if self._zone is None:
            moment = read_stamp(text, self._order) if self._order else None
            return parse_time(text) if moment is None else _ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

        moment = read_stamp(text, self._order)
        if moment.tzinfo is not None:
            return _ms(moment)
        first, second = moment.replace(tzinfo=self._zone), moment.replace(tzinfo=self._zone, fold=1)
        early, late = _ms(first), _ms(second)
        if early > late:
            raise ValueError(f"{text} does not exist in {self._zone.key}")
        last, once = self._last.get(asset, (None, ""))

        # Most times have one reading. After an hour that came once, the next time must follow it.
        if early == late:
            time, kept = early, ""
            if once and last is not None and early - last > _UNSURE_MS:
                raise UndecidedTime(_both(once, self._order, self._zone))
        elif last is None:
            time, kept = early, text
            self._guessed[asset] = text
        else:
            time, kept = self._nearer(text, early, late, last, self._zone), once or text

        if last is None or time > last:
            self._last[asset] = time, kept if time == early else ""
            if late in {early, time}:
                self._guessed.pop(asset, None)
        return time

    def _nearer(self, text: str, early: int, late: int, last: int, zone: ZoneInfo) -> int:
        """Return the one of two times that follows `last`. Raises UndecidedTime if both are far from it."""
        expected = last + self._step
        time = min(early, late, key=lambda each: abs(each - expected))
        if abs(time - expected) > _UNSURE_MS and time > last:
            raise UndecidedTime(_both(text, self._order, zone))
        return time

    def finish(self) -> None:
        """Raise UndecidedTime if an asset has no time that tells which reading of its first one is right."""
        if self._guessed and self._zone is not None:
            raise UndecidedTime(_both(next(iter(self._guessed.values())), self._order, self._zone))


def zone_of(name: str) -> ZoneInfo | None:
    """Return the zone of this IANA name, None for no name. Raises ValueError for an unknown one."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"source.timezone: {name!r} is no zone known here, expected an IANA name such as Europe/Berlin"
        ) from error


def has_zone(text: str) -> bool:
    """Return whether a time names its instant by itself: it is a number, or ends with a zone."""
    try:
        return _bare(text.strip()) or read_stamp(text, "dmy").tzinfo is not None
    except ValueError:
        return False


def _both(text: str, order: str, zone: ZoneInfo) -> str:
    moment = read_stamp(text, order)
    readings = " or ".join(
        f"{moment.replace(tzinfo=zone, fold=fold).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" for fold in (0, 1)
    )
    return (
        f"the time {text!r} comes twice in {zone.key} and may be {readings}; the rows around it do not tell which: "
        "export with UTC or with an offset, or set source.timezone to a fixed zone such as Etc/GMT-1"
    )


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS


def _bare(text: str) -> bool:
    return re.fullmatch(r"[+-]?[\d.]+(?:[eE]\+?\d+)?", text) is not None and text.count(".") < 2


def _is_plain(text: str) -> bool:
    """Return whether the core reads the text, as ISO 8601 or as a number."""
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def _parts(a: str, b: str, c: str, order: str) -> tuple[int, int, int]:
    month = None if b.isdecimal() else _MONTHS.get(b[:3].lower())
    if not b.isdecimal() and month is None:
        raise ValueError(b)
    if len(a) > 2 or (order == "ymd" and len(c) <= 2):
        return _year(a), month or int(b), int(c)
    if month is not None or order != "mdy":
        return _year(c), month or int(b), int(a)
    return _year(c), int(a), int(b)


def _year(text: str) -> int:
    if len(text) not in {2, 4}:
        raise ValueError(text)
    return int(text) + (2000 if len(text) == 2 else 0)


def _day(text: str, order: str) -> str:
    return f"{read_stamp(text, order):%Y-%m-%d}"


def _offset(zone: str) -> timezone:
    if zone[:1] not in {"+", "-"}:
        return UTC
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return timezone(timedelta(minutes=-minutes if zone[0] == "-" else minutes))
