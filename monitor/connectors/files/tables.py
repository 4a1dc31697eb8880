"""Rows of tables as messages of the format `json_wide`: CSV with a header line, and npz with named arrays.

    {"asset": "pump-1", "timestamp": 1700000000000, "values": {"pressure": 2.5, "flow": null}}

An empty cell is "not measured": null. A row that measured nothing gives no message. A CSV line that cannot be read
(wrong number of cells, text where a number should be, a time that is none) becomes a message as it stands, so that the
decoder refuses it and it is found among the dead letters.

Decimal commas are not read: `1,5` cannot be told from `1,500`. One line is one row: no line breaks inside quotes.
"""

import csv
import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from monitor.connectors.files.lines import FileRows, Row, count_lines, lines
from monitor.core.records import Times

TIME_COLUMNS = ("datetime", "timestamp", "time")
LOOK = 100  # rows looked at to tell channels from columns of text

_DELIMITERS = (",", ";", "\t")
_MISSING = frozenset(("", "nan", "na", "n/a", "null", "none"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TIME = re.compile(r"[+-]?\d+(\.\d*)?([eE]\+?\d\d?)?", re.ASCII)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the cells of a CSV line are."""

    delimiter: str
    width: int
    time: int  # column
    channels: tuple[tuple[int, str], ...]  # column, name


@dataclass(frozen=True, slots=True)
class _Table:
    """The arrays of an npz file."""

    time: Times  # (N,)
    values: npt.NDArray[np.float64]  # (A, N, C)
    assets: list[str]
    channels: list[str]


def legal(name: str) -> str:
    """`name` with "_" for every character that ids of assets and channels may not have."""
    return re.sub(r"[^A-Za-z0-9._:/-]", "_", name)


def wide(asset: str, time: int, values: Mapping[str, float | str | None]) -> bytes:
    return _encode({"asset": asset, "timestamp": time, "values": values})


def csv_rows(
    path: Path, asset: str, ignore: Sequence[str], time_column: str, on_notice: Callable[[str], None]
) -> FileRows:
    """The data rows of a CSV file, the first after the header being row 0.

    Opening raises ValueError if there is not exactly one time column, or no channel, or a channel's name is bad.
    """
    layouts: list[_Layout] = []

    def prepare() -> int:
        with path.open("rb") as file:
            found = [line.decode("utf-8-sig", "replace") for line in islice(lines(file), LOOK + 1)]
        try:
            layout, text = _layout(found, ignore, time_column)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if text:
            on_notice(f"{path}: left out, for no number in the first {LOOK} rows: {', '.join(text)}")
        layouts[:] = [layout]
        return count_lines(path) - 1

    def read(start: int) -> Generator[Row, None, None]:
        with path.open("rb") as file:
            for number, line in islice(enumerate(lines(file), -1), start + 1, None):
                if line and (row := _row(number, line, asset, layouts[0])):
                    yield row

    return FileRows(read, prepare)


def npz_rows(path: Path, asset: str) -> FileRows:
    """The rows of an npz file: of N times and A assets, time n of asset a is row n * A + a.

    Arrays: `time` (N,) int64 ms UTC, `values` (N, C) or (A, N, C), `channels` (C,) text and, unless `values` has two
    axes, `assets` (A,) text. Opening raises ValueError if they do not fit together.
    """
    tables: list[_Table] = []

    def prepare() -> int:
        try:
            tables[:] = [_load(path, asset)]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: {error}") from error
        return len(tables[0].time) * len(tables[0].assets)

    def read(start: int) -> Generator[Row, None, None]:
        table = tables[0]
        for number in range(start, len(table.time) * len(table.assets)):
            n, a = divmod(number, len(table.assets))
            row = table.values[a, n].tolist()  # (C,)
            if not all(map(math.isnan, row)):
                time, values = int(table.time[n]), dict(zip(table.channels, map(_json, row), strict=True))
                yield Row(number, wide(table.assets[a], time, values), time)

    return FileRows(read, prepare)


def _layout(found: Sequence[str], ignore: Sequence[str], time_column: str) -> tuple[_Layout, list[str]]:
    """The layout by the header and the first data lines, and the names of the columns of text."""
    header = found[0] if found else ""
    delimiter = max(_DELIMITERS, key=header.count)
    names = [name.strip() for name in _cells(header, delimiter)]
    wanted = (time_column,) if time_column else TIME_COLUMNS
    times = [n for n, name in enumerate(names) if name not in ignore and (name in wanted or name.lower() in wanted)]
    if len(times) != 1:
        raise ValueError(f"expected one column called {' or '.join(wanted)}, found {len(times)} in {', '.join(names)}")
    rows = [_cells_if_any(line, delimiter) for line in found[1:]]
    columns = [n for n, name in enumerate(names) if n != times[0] and name not in ignore]
    text = [n for n in columns if _is_text([row[n] for row in rows if len(row) == len(names)])]
    channels = tuple((n, legal(names[n])) for n in columns if n not in text)
    _check_names([name for _, name in channels], [names[n] for n, _ in channels])
    return _Layout(delimiter, len(names), times[0], channels), [names[n] for n in text]


def _is_text(cells: Sequence[str]) -> bool:
    """Whether there is something in the cells, but no number."""
    filled = [cell for cell in cells if cell.strip().lower() not in _MISSING]
    return bool(filled) and not any(map(_is_number, filled))


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _check_names(names: Sequence[str], originals: Sequence[str]) -> None:
    """Raise ValueError if there is no name, or one is of a wrong length or occurs twice."""
    if not names:
        raise ValueError("found no channel")
    seen: dict[str, str] = {}
    for name, original in zip(names, originals, strict=True):
        if not 1 <= len(name) <= 128:
            raise ValueError(f"channel {original[:130]!r}: expected a name of 1 to 128 characters")
        if name in seen:
            raise ValueError(f"the channels {seen[name]!r} and {original!r} would both be called {name!r}")
        seen[name] = original


def _row(number: int, line: bytes, asset: str, layout: _Layout) -> Row | None:
    """The row of a CSV line: its message, the line itself if it is malformed, None if it measured nothing."""
    try:
        cells = _cells(line.decode(), layout.delimiter)
        if len(cells) != layout.width:
            return Row(number, line, None)
        time = moment(cells[layout.time].strip())
        values = {name: _number(cells[column]) for column, name in layout.channels}
    except ValueError:  # of which UnicodeDecodeError is one
        return Row(number, line, None)
    if all(value is None for value in values.values()):
        return None
    return Row(number, wide(asset, time, values), time)


def _cells(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:  # a quotation mark without its partner
        raise ValueError(str(error)) from error


def _cells_if_any(line: str, delimiter: str) -> list[str]:
    """None of a line that cannot be told apart into cells."""
    try:
        return _cells(line, delimiter)
    except ValueError:
        return []


def _number(cell: str) -> float | None:
    """A finite number, None for an empty cell. Raises ValueError."""
    try:
        value = float(cell)
    except ValueError:
        if cell.strip().lower() in _MISSING:
            return None
        raise
    if math.isnan(value):
        return None
    if math.isinf(value) or "_" in cell:
        raise ValueError(cell)
    return value


def moment(cell: str) -> int:
    """A time in ms UTC: ISO 8601, without a zone taken as UTC, or a number since 1970. Raises ValueError.

    The unit of a number follows from its size: up to 1e11 seconds (until the year 5138), then ms, µs and ns by
    thousands each (1e11 ms is 1973), so that every time since 1973 is read rightly in any of them.
    """
    if not _TIME.fullmatch(cell):
        moment = datetime.fromisoformat(cell)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
    value = int(cell) if cell.isdecimal() else float(cell)
    if abs(value) >= 1e20:
        raise ValueError(cell)
    if abs(value) < 1e11:
        return round(value * 1_000_000) // 1000  # by way of µs, for int(546694151.66 * 1000) ends in 659
    return int(value) // (1 if abs(value) < 1e14 else 1_000 if abs(value) < 1e17 else 1_000_000)


def _load(path: Path, asset: str) -> "_Table":
    """The arrays, with `values` (A, N, C). Raises ValueError or KeyError if they are not as described above."""
    with np.load(path, allow_pickle=False) as file:
        time, values, channels = file["time"], file["values"], file["channels"]
        assets = file["assets"] if values.ndim == 3 else np.array([asset])
    values = values[None] if values.ndim == 2 else values
    if (len(assets), len(time), len(channels)) != values.shape or {time.ndim, channels.ndim, assets.ndim} != {1}:
        shapes = f"time {time.shape}, assets {assets.shape}, channels {channels.shape}, values {values.shape}"
        raise ValueError(f"the arrays do not fit together: {shapes}")
    kinds = time.dtype.kind + channels.dtype.kind + assets.dtype.kind + values.dtype.kind
    if re.fullmatch("[iu]UU[iuf]", kinds) is None:
        raise ValueError(f"expected integers, texts, texts and numbers, found the dtypes {kinds}")
    names = [legal(name) for name in channels.tolist()]
    _check_names(names, channels.tolist())
    return _Table(time.astype(np.int64), values.astype(np.float64), [legal(name) for name in assets.tolist()], names)


def _json(value: float) -> float | str | None:
    """None for NaN; an infinity as text, for which the decoder refuses the message."""
    return value if math.isfinite(value) else None if math.isnan(value) else str(value)
