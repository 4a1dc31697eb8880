"""Numbers as tables write them: with a decimal comma, and with marks between the thousands.

`1,5` is a decimal comma, `1,234.5` has marks between thousands. `1,500` alone could be both, so a table that has
nothing clearer is refused, with both readings.
"""

import re
from collections.abc import Iterable

POINT, COMMA, THOUSANDS = "point", "comma", "point, with marks between thousands"

_GAP = "[\u0020\u00a0\u2009\u202f'\u2019]"  # between thousands: spaces of all widths, and apostrophes
_SIGN, _END = r"[+-]?", r"(?:[eE][+-]?\d+)?"
_COMMA = re.compile(rf"{_SIGN}(?:\d{{1,3}}(?:(?:\.|{_GAP})\d{{3}})+|\d+)(?:,\d+)?{_END}", re.ASCII)
_THOUSANDS = re.compile(rf"{_SIGN}\d{{1,3}}(?:,\d{{3}})+(?:\.\d*)?", re.ASCII)
_SPACED = re.compile(rf"{_SIGN}\d{{1,3}}(?:{_GAP}\d{{3}})+(?:\.\d*)?", re.ASCII)
_UNCLEAR = re.compile(rf"{_SIGN}[1-9]\d{{0,2}},\d{{3}}", re.ASCII)
_CLEAR_POINT = re.compile(
    rf"{_SIGN}(?:\d{{1,3}}(?:,\d{{3}})+\.\d*|\d*\.\d+{_END}|\d{{1,3}}(?:,\d{{3}}){{2,}})", re.ASCII
)
_POINT_OR_THOUSANDS = re.compile(rf"{_SIGN}[1-9]\d{{0,2}}\.\d{{3}}", re.ASCII)


def decimal_of(cells: Iterable[str], wanted: str = "") -> str:
    """Return how the cells write numbers: POINT, COMMA or THOUSANDS. Raises ValueError if that cannot be told."""
    seen: dict[str, str] = {}  # the first cell of each kind
    for cell in cells:
        text = cell.strip()
        if "," in text or "." in text or _SPACED.fullmatch(text):
            seen.setdefault(_kind(text), text)
    comma, unclear = seen.get("comma", ""), seen.get("unclear", "")
    point = seen.get("thousands", "") or seen.get("point", "")
    marked = bool(unclear or "thousands" in seen or "spaced" in seen)

    if wanted == COMMA:
        return COMMA
    if wanted == POINT:
        return THOUSANDS if marked else POINT
    if comma and point:
        raise ValueError(
            f"the numbers {comma} and {point} have different decimal signs: set source.decimal to comma or point"
        )
    if comma:
        return COMMA
    if unclear and not point:
        whole = unclear.replace(",", "")
        raise ValueError(
            f"the number {unclear} may be {unclear.replace(',', '.')} (decimal comma) or {whole} (comma between the "
            "thousands): set source.decimal to comma or point"
        )
    return THOUSANDS if marked else POINT


def _kind(text: str) -> str:
    if _UNCLEAR.fullmatch(text):
        return "unclear"
    if _CLEAR_POINT.fullmatch(text):
        return "thousands" if "," in text else "" if _POINT_OR_THOUSANDS.fullmatch(text) else "point"
    if _SPACED.fullmatch(text):
        return "spaced"
    return "comma" if "," in text and _COMMA.fullmatch(text) else ""


def plain_number(cell: str, decimal: str) -> str:
    """Return the cell with a decimal point and no marks between thousands; a text stays as it is."""
    text = cell.strip().replace("\N{MINUS SIGN}", "-", 1)
    if decimal == COMMA:
        if _COMMA.fullmatch(text):
            return re.sub(rf"\.|{_GAP}", "", text).replace(",", ".")
    elif decimal == THOUSANDS and _THOUSANDS.fullmatch(text):
        return text.replace(",", "")
    if _SPACED.fullmatch(text):
        return re.sub(_GAP, "", text)
    return text


def plain_stamp(cell: str, decimal: str) -> str:
    """Return a time that is a number since 1970 with a decimal point; a date stays as it is."""
    text = cell.strip()
    return text.replace(",", ".") if decimal == COMMA and re.fullmatch(r"\d+,\d+", text) else text
