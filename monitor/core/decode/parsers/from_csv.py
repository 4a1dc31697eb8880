"""CSV messages -> points: a header line and one row of cells, of one asset at one time.

    @timestamp,pressure,,flow
    2024-05-01 12:00:00,2.5,on,

Each message carries its own header, so it can be read without any other message, also as a dead letter. The header is
a plain one, as `connectors/files/tables.py` writes it: `@timestamp` names the time column, an empty name marks a column
that is no channel, and no name holds a quote or a delimiter. The message's key names the asset.

An empty cell means "not measured". One that holds no finite number is read or skipped as in a message (members.py):
true and false are 1 and 0 of a state, otherwise it is skipped and counted, and the rest of the row is read. A column
named `@quality:flow` says how good the row's value of flow is; a bad value is skipped.
A row without a single measurement gives no point, and is no error either.

Decimal commas are not read: `1,5` cannot be told from `1,500` in one row. The source, which has seen many rows, writes
them with a point. A row is one line: no line breaks inside quotes.
"""

import csv
import math
from collections.abc import Sequence
from typing import NamedTuple

from monitor.core.decode.format import DecodeError, Format, ParsedMessages, Skip, shown
from monitor.core.decode.parsers.members import Members
from monitor.core.decode.quality import Qualities
from monitor.core.decode.times import parse_time
from monitor.core.records import Message

TIME = "@timestamp"  # cannot be a channel's name: ids hold no "@"
QUALITY = "@quality:"  # begins the name of a column with the quality of the channel that follows
DELIMITERS = (",", ";", "\t", "|")
MISSING = frozenset(("", "nan", "na", "n/a", "null", "none"))
_MINUS = "\N{MINUS SIGN}"
_NAN = float("nan")  # a value that was skipped and counted; None = an empty cell


class _Header(NamedTuple):
    delimiter: str
    width: int  # columns
    time: int  # column of the time
    channels: list[tuple[int, str]]  # column, name
    qualities: list[tuple[int, int]]  # column, place among the channels
    texts: Sequence[dict[str, float]] = ()  # of each channel, and the value of each


class _Refused(Exception):  # noqa: N818 - reads as the state it reports
    """The message cannot be read; `error` says why."""

    def __init__(self, error: str, field: str, reason: str) -> None:
        super().__init__(reason)
        self.error = DecodeError(error, field, reason)


def parse_csv(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Parse messages of a header and a row; the key names the asset."""
    points = ParsedMessages()
    headers: dict[bytes, _Header] = {}  # a batch has few: one per file
    codes: dict[bytes, list[int]] = {}
    members, qualities = Members(form, points), Qualities(form.qualities, form.uncertain)

    for row, message in enumerate(messages):
        if row in errors:
            continue

        head, _, line = (message.value or b"").partition(b"\n")
        try:
            if head not in headers:
                headers[head] = _header(head)
                codes[head] = [points.codes[name] for _, name in headers[head].channels]
                headers[head] = headers[head]._replace(texts=[members.places(code) for code in codes[head]])
            time, values = _row(line, headers[head], codes[head], members, qualities)
        except _Refused as refused:
            errors[row] = refused.error
            continue

        if any(value is not None and value == value for value in values):  # noqa: PLR0124 - NaN
            points.row.append(row)
            points.part.append(-1)
            points.asset.append((message.key or b"").decode())
            points.time.append(time)
            points.width.append(len(values))
            points.channel += codes[head]
            points.value += values

    return points


def cells(line: str, delimiter: str) -> list[str]:
    """Split a line into its cells. Raises ValueError for a quotation mark without its partner."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error


def number(cell: str) -> float | None:
    """Read a finite number; None for an empty cell. Raises ValueError."""
    try:
        value = float(cell)
    except ValueError:
        if _MINUS in cell:
            return number(cell.replace(_MINUS, "-"))
        if cell.strip().lower() in MISSING:
            return None
        raise

    if math.isnan(value):
        return None
    if math.isinf(value) or "_" in cell:  # float() takes 1_000
        raise ValueError(cell)
    return value


def _header(head: bytes) -> _Header:
    text = head.decode(errors="replace")
    delimiter = next((each for each in DELIMITERS if each in text), DELIMITERS[0])
    names = text.split(delimiter)
    if names.count(TIME) != 1:
        raise _Refused("MissingField", TIME, f"found the header {shown(text)}, expected one column named {TIME}")

    channels = [(n, name) for n, name in enumerate(names) if name and name != TIME and not name.startswith(QUALITY)]
    places = {name: place for place, (_, name) in enumerate(channels)}
    qualities = [(n, name.removeprefix(QUALITY)) for n, name in enumerate(names) if name.startswith(QUALITY)]
    return _Header(
        delimiter,
        len(names),
        names.index(TIME),
        channels,
        [(column, places[name]) for column, name in qualities if name in places],
    )


def _row(
    line: bytes, header: _Header, codes: Sequence[int], members: Members, qualities: Qualities
) -> tuple[int, list[float | None]]:
    """Return the time in ms UTC and a value for each channel, NaN for one that was skipped. Raises _Refused."""
    try:
        found = cells(line.decode(errors="replace"), header.delimiter)
    except ValueError as error:
        raise _Refused("NotCsv", "", f"found {shown(line)}, expected cells: {error}") from error
    if len(found) != header.width:
        raise _Refused("NotCsv", "", f"found {len(found)} cells, expected {header.width} as in the header")

    try:
        time = parse_time(found[header.time].strip())
    except ValueError as error:
        reason = f"found {shown(found[header.time])}, expected a time in ISO 8601 or a number since 1970"
        raise _Refused("WrongType", f"column {header.time + 1}", reason) from error

    values: list[float | None] = []
    for (column, _), texts in zip(header.channels, header.texts, strict=True):
        if texts and (text := found[column].strip()) in texts:  # also where the text is a word for a missing value
            values.append(texts[text])
            continue
        try:
            values.append(number(found[column]))
        except ValueError:
            values.append(members.read(_member(found[column]), codes[len(values)]))

    for column, place in header.qualities:
        if values[place] is not None and not qualities.counts(found[column]):
            if values[place] == values[place]:
                members.skip(Skip.QUALITY)
            values[place] = _NAN
    return time, values


def _member(cell: str) -> bool | str | Skip:
    """Return a cell that holds no finite number as it would be in a message."""
    word = cell.strip().lower()
    if word in {"true", "false"}:
        return word == "true"
    try:
        float(word)
    except ValueError:
        return cell
    return cell if "_" in word else Skip.NOT_FINITE
