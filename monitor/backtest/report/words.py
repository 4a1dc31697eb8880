"""Numbers, times and durations as the report writes them."""

import math
from datetime import UTC, datetime, timedelta

NONE = "\u2013"  # shown where there is no number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def at(time: int) -> str:
    """Format a time (ms UTC) to the second; the plain number if the calendar has no such year."""
    try:
        return (_EPOCH + timedelta(milliseconds=time)).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        return f"{time} ms"


def lasting(ms: float | None) -> str:
    """Format a duration (ms) in the largest unit that gives at least 2; a dash for None."""
    if ms is None:
        return NONE

    seconds = abs(ms) / 1000
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def number(value: float | None, digits: int = 3) -> str:
    """Format a number to `digits` significant digits; a dash for None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return NONE

    if float(value).is_integer() and abs(value) < 1e15:
        return _grouped(f"{int(value):,}")
    if 1e-4 <= abs(value) < 10**digits:
        return f"{value:.{digits}g}"
    return _grouped(f"{value:,.0f}")


def _grouped(text: str) -> str:
    """Separate thousands by a narrow space, which no language reads as a decimal sign."""
    return text.replace(",", "\u202f")
