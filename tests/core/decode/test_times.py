"""Times of a field map: every unit and form, local times, and what is refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.core.decode.decode import Format, decode
from monitor.core.decode.times import NoTime, WithNanos, read_time, read_times
from tests.core.decode.decoding import message
from tests.core.decode.malformed import NOW

TICKS = NOW * 10_000 + 621_355_968_000_000_000
ISO = "2023-11-14T22:13:20"  # NOW
TIMES: tuple[tuple[str, Any, int], ...] = (
    *(("ms", NOW, 0), ("ms", NOW + 0.9, 0), ("ms", str(NOW), 0), ("ms", f" {NOW}.5", 0), ("ms", -5, -5 - NOW)),
    *(("s", NOW // 1000, 0), ("s", NOW / 1000 + 0.123, 123), ("s", f"{NOW // 1000}.25", 250), ("s", "1.7e9", 0)),
    *(("us", NOW * 1000 + 999, 0), ("us", str(NOW * 1000 + 1000), 1), ("us", NOW * 1000.0, 0)),
    *(("ns", NOW * 10**6 + 999_999, 0), ("ns", str(NOW * 10**6 - 1), -1)),
    *(("ticks", TICKS, 0), ("ticks", str(TICKS + 9_999), 0), ("ticks", TICKS - 1, -1)),
    *(("iso", f"{ISO}Z", 0), ("iso", f"{ISO}z", 0), ("iso", "2023-11-14 23:13:20+01:00", 0), ("iso", f"{ISO}+0000", 0)),
    *(("iso", f"{ISO}.1234567Z", 123), ("iso", f"{ISO}.999999999+00:00", 999), ("iso", f"{ISO},5Z", 500)),
    *(("iso", "2023-11-14T17:13:20-05", 0), ("iso", f"{ISO} UTC", 0), ("iso", f"{ISO} +0000", 0)),
    *(("iso", "2023-11-14t22:13Z", -20_000), ("iso", f" {ISO}.1Z ", 100)),
    *(
        ("auto", NOW // 1000, 0),
        ("auto", NOW, 0),
        ("auto", NOW * 1000, 0),
        ("auto", NOW * 10**6, 0),
        ("auto", TICKS, 0),
    ),
    *(("auto", str(TICKS), 0), ("auto", f"{ISO}Z", 0), ("auto", NOW / 1000 + 0.5, 500), ("auto", str(NOW * 10**6), 0)),
    *(("s", WithNanos(NOW // 1000, 123_456_789), 123), ("s", WithNanos(str(NOW // 1000), 0), 0)),
    *(("auto", WithNanos(NOW // 1000, 5_000_000.0), 5), ("auto", WithNanos(f"{ISO}Z", 5_000_000), 5)),
)


@pytest.mark.parametrize(("unit", "time", "after"), TIMES)
def test_times_are_read_to_ms(unit: str, time: Any, after: int) -> None:
    """A number, a number in a text and ISO 8601 are read in ms, finer units floored."""
    assert read_time(time, unit, "", NOW) == NOW + after
    assert read_times([time, NOW, time][::2], unit, "", [NOW, NOW]).tolist() == [NOW + after] * 2


@pytest.mark.parametrize(
    ("unit", "time", "expected"),
    [
        ("ms", f"{ISO}Z", "a number (ms)"),
        ("ms", "", "timestamp_unit to be iso"),
        ("s", "1e999", "a number (s)"),
        ("s", "\N{ARABIC-INDIC DIGIT ONE}", "a number (s)"),
        ("iso", NOW, "ISO 8601"),
        ("iso", str(NOW), "ISO 8601"),
        ("iso", "2023-02-30T00:00:00Z", "that exists"),
        ("iso", "2023-11-14T25:00:00Z", "that exists"),
        ("iso", f"{ISO}+99:00", "that exists"),
        ("iso", "2023-11-14", "ISO 8601"),
        ("iso", "14.11.2023 22:13:20", "ISO 8601"),
        ("iso", "9" * 5000, "ISO 8601"),
        ("auto", "yesterday", "ISO 8601"),
        ("iso", ISO, "format.timezone"),
        ("s", WithNanos(5, "x"), "nanoseconds"),
        ("auto", WithNanos(f"{ISO}Z", float("inf")), "nanoseconds"),
        ("s", WithNanos(5, float("nan")), "nanoseconds"),
        ("iso", "2023-11-14T22:13.5Z", "ISO 8601"),
        ("s", "9" * 65, "a number"),
    ],
)
def test_what_is_no_time_is_refused(unit: str, time: Any, expected: str) -> None:
    """The reason says what was expected; a time without a zone names the setting."""
    with pytest.raises(NoTime, match="expected") as raised:
        read_time(time, unit, "", NOW)
    assert expected in str(raised.value)


@pytest.mark.parametrize("unit", ["ms", "s", "us", "ns", "ticks", "auto"])
@pytest.mark.parametrize("size", [10**30, -(10**30), 10**400, 1e300, -1e300])
def test_a_number_of_any_size_gives_a_time(unit: str, size: float) -> None:
    """A number beyond all times gives one that the decoder refuses, never an overflow."""
    assert abs(read_times([size, 1.5], unit, "", [NOW, NOW])[0]) > 2**52


@pytest.mark.parametrize("time", [NOW, f"{ISO}Z"])
@pytest.mark.parametrize("nanos", [10**40, -(10**40), 1e300])
def test_nanoseconds_of_any_size_give_a_time(time: Any, nanos: float) -> None:
    """Nanoseconds beyond all times give a time that the decoder refuses, also beside a text."""
    assert abs(read_times([WithNanos(time, nanos)], "auto", "", [NOW])[0]) > 2**52


def local(text: str, stamp: int = 0) -> datetime:
    """Return a time of Berlin in UTC."""
    return datetime.fromtimestamp(read_time(text, "iso", "Europe/Berlin", stamp) / 1000, UTC)


def test_local_times_have_a_zone() -> None:
    """A time without a zone is local, in summer and winter; one with a zone keeps it."""
    assert local("2023-07-01T12:00:00").hour == 10
    assert local("2023-12-01 12:00:00").hour == 11
    assert local("2023-12-01 12:00:00Z").hour == 12


def test_the_hour_that_comes_twice_follows_the_message() -> None:
    """Within half an hour of the message's own time the right one is taken; otherwise the time is refused."""
    stamp = int(datetime(2023, 10, 29, 0, 31, tzinfo=UTC).timestamp() * 1000)
    assert local("2023-10-29T02:30:00", stamp).hour == 0
    assert local("2023-10-29T02:30:00", stamp + 3_600_000).hour == 1
    for far in (0, stamp - 3_600_000, stamp + 86_400_000):
        with pytest.raises(NoTime, match="comes once in Europe/Berlin"):
            local("2023-10-29T02:30:00", far)
    with pytest.raises(NoTime, match="exists in Europe/Berlin"):
        local("2023-03-26T02:30:00", stamp)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
@pytest.mark.parametrize("name", ["Pacific/Auckland", "America/New_York"])
def test_the_ends_of_time_do_not_overflow(text: str, name: str) -> None:
    """The first and the last day are times that the decoder refuses."""
    assert abs(read_time(text, "iso", name, NOW)) > 2**45


def test_a_refused_time_is_explained() -> None:
    """A dead letter shows the time and what was expected."""
    for unit, text, words in (("iso", ISO, "format.timezone"), ("auto", "x", "a time in ISO 8601")):
        body = {"asset": "a", "timestamp": text, "values": {"c": 1}}
        form = Format("json", timestamp_unit=unit)
        (rejected,) = decode([message(json.dumps(body).encode())], form, NOW)[1]
        assert (rejected.error, rejected.field) == ("WrongType", "timestamp")
        assert f"found '{text}', expected" in rejected.reason
        assert words in rejected.reason
