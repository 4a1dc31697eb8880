"""Numbers and times as the report writes them, and its tables. Everything that comes from outside is escaped here."""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


NONE = "\u2013"  # stands where there is no number


def at(time: int) -> str:
    """A time (ms UTC) to the second; a place on the axis if the calendar has no such year."""
    try:
        return (_EPOCH + timedelta(milliseconds=time)).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        return f"{time} ms"


def lasting(ms: float | None) -> str:
    """A duration in the unit that suits it; a dash if there is none."""
    if ms is None:
        return NONE
    seconds = abs(ms) / 1000
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits; a dash if there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.{digits}g}" if 1e-4 <= abs(value) < 10**digits else f"{value:,.0f}".replace(",", "\u202f")


def text(value: str) -> Html:
    """Escaped, unless it is HTML already."""
    return value if isinstance(value, Html) else Html(escape(value))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = ()) -> Html:
    """A table that scrolls where it is wider than the page; `classes` of its columns."""
    kinds = [f' class="{name}"' if name else "" for name in classes] or [""] * len(head)
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{text(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return Html(f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')


def tile(value: str, about: str) -> str:
    """A key figure."""
    return f"<div><b>{text(value)}</b><span>{text(about)}</span></div>"


def key(entries: Sequence[tuple[str, str]]) -> str:
    """What the colours mean: class and words."""
    return (
        '<p class="key">'
        + "".join(f'<span><i class="{name}"></i>{text(words)}</span>' for name, words in entries)
        + "</p>"
    )


def anchor(index: int) -> str:
    """The id of an asset's section."""
    return f"asset-{index}"
