"""Calendars: stretches of weekly shifts in local time, over changes of the clock."""

from datetime import UTC, datetime

import pytest

from monitor.core.running.shifts import Stretch, calendar


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def stretch(time: str, *shifts: str, zone: str = "Europe/Berlin") -> tuple[str, str] | None:
    """Return begin and end, UTC, of the stretch that holds a time."""
    found = calendar(shifts, zone).stretch(ms(time))
    if found is None:
        return None
    begin, end = (datetime.fromtimestamp(each / 1000, tz=datetime.fromisoformat(time).tzinfo) for each in found)
    return begin.isoformat()[:16], end.isoformat()[:16]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-03-27T04:59:59Z", None),  # Friday, 5:59:59 in Berlin
        ("2026-03-27T05:00:00Z", ("2026-03-27T05:00", "2026-03-27T21:00")),
        ("2026-03-27T21:00:00Z", None),  # the end is not within
        ("2026-03-28T12:00:00Z", None),  # Saturday
        ("2026-03-30T12:00:00Z", ("2026-03-30T04:00", "2026-03-30T20:00")),  # after the clocks have changed
        ("2026-10-26T12:00:00Z", ("2026-10-26T05:00", "2026-10-26T21:00")),
    ],
)
def test_a_shift_begins_and_ends_by_the_local_clock(time: str, expected: tuple[str, str] | None) -> None:
    """A shift from 6 to 22 o'clock is an hour earlier in UTC in summer."""
    assert stretch(time, "Mon-Fri 06:00-22:00") == expected


def test_a_night_shift_loses_the_hour_that_the_clocks_skip() -> None:
    """From Saturday 22:00 to Sunday 6:00 pass seven hours when summer time begins."""
    assert stretch("2026-03-29T00:00:00Z", "Sat 22:00-06:00") == ("2026-03-28T21:00", "2026-03-29T04:00")


def test_shifts_that_touch_are_one_stretch() -> None:
    """Three shifts a day are no three chances to be late."""
    three = ("Mon-Fri 06:00-14:00", "Mon-Fri 14:00-22:00", "Mon-Thu 22:00-06:00")
    assert stretch("2026-06-10T12:00:00Z", *three, zone="UTC") == ("2026-06-08T06:00", "2026-06-12T22:00")


def test_a_week_without_an_end_is_bounded() -> None:
    """A machine that should always run has a stretch of more than a week around any time."""
    found = calendar(("Mon-Sun 00:00-24:00",), "UTC").stretch(ms("2026-06-10T12:00:00Z"))
    assert found is not None
    assert isinstance(found, Stretch)
    assert found.begin <= ms("2026-06-03T12:00:00Z")
    assert found.end >= ms("2026-06-17T12:00:00Z")


def test_the_same_begin_and_end_are_a_day() -> None:
    """Mon-Fri 06:00-06:00 goes on from Monday to Saturday, 6 o'clock; on a single day it lasts 24 hours."""
    assert stretch("2026-06-10T05:00:00Z", "Mon-Fri 06:00-06:00", zone="UTC") == (
        "2026-06-08T06:00",
        "2026-06-13T06:00",
    )
    assert stretch("2026-06-11T05:59:00Z", "Wed 06:00-06:00", zone="UTC") == ("2026-06-10T06:00", "2026-06-11T06:00")


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-12-25T02:00:00Z", ("2026-12-24T21:00", "2026-12-25T05:00")),  # the night shift of the evening before
        ("2026-12-25T12:00:00Z", None),
        ("2026-12-25T23:30:00Z", None),  # in Berlin it is the 26th, and the shift would have begun on the 25th
        ("2026-12-26T12:00:00Z", ("2026-12-26T05:00", "2026-12-26T13:00")),
    ],
)
def test_no_shift_begins_on_a_holiday(time: str, expected: tuple[str, str] | None) -> None:
    """A day off is one of the local calendar, and a shift that began before it goes on to its end."""
    found = calendar(("Mon-Sun 06:00-14:00", "Mon-Sun 22:00-06:00"), "Europe/Berlin", ("2026-12-25",)).stretch(ms(time))
    assert (None if found is None else (utc(found.begin), utc(found.end))) == expected


def utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).isoformat()[:16]


def test_days_may_be_listed_and_go_over_the_week_s_end() -> None:
    """Sat-Mon are three days, and Tue,Thu are two."""
    days = [stretch(f"2026-06-{8 + day:02}T12:00:00Z", "Sat-Mon 10:00-14:00", zone="UTC") for day in range(7)]
    assert [day is not None for day in days] == [True, False, False, False, False, True, True]
    days = [stretch(f"2026-06-{8 + day:02}T12:00:00Z", "Tue,Thu 10:00-14:00", zone="UTC") for day in range(7)]
    assert [day is not None for day in days] == [False, True, False, True, False, False, False]


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        ("Mo 06:00-22:00", "found day 'Mo', expected Mon Tue"),
        ("Mon-Frei 06:00-22:00", "found day 'Frei'"),
        ("Mon 6:00-22:00", "found 'Mon 6:00-22:00', expected days and hours"),
        ("Mon 06:00-24:30", "found time 24:30, expected 00:00 to 24:00"),
        ("Mon 06:00-07:60", "found time 07:60"),
        ("Mon 24:00-06:00", "found 24:00, expected a begin"),
    ],
)
def test_a_shift_that_cannot_be_read_is_refused(shift: str, said: str) -> None:
    """The refusal names the part that does not fit."""
    with pytest.raises(ValueError, match=said):
        calendar((shift,), "UTC")


@pytest.mark.parametrize("zone", ["Mars/Phobos", "", "../etc/passwd"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    """The refusal names the zone."""
    with pytest.raises(ValueError, match=f"time zone '{zone}' is unknown"):
        calendar((), zone)
