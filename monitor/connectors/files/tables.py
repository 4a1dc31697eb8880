"""Rows of tables as messages: CSV with a header line, and npz with named arrays.

A row of CSV is passed on as it stands, under a header that the decoder understands (core/decode/from_csv.py), with the
asset as key:

    @timestamp;pressure;;flow
    2024-05-01 12:00:00;2.5;on;

The header is made once per file: the time column is called `@timestamp`, columns that are no channels lose their name,
and other names lose the characters that ids may not have. Only the time of a row is read here, for the replay, and
whether it is empty: a row without a single measurement is left out.

A row of npz becomes JSON of the format `json_wide`:

    {"asset": "pump-1", "timestamp": 1700000000000, "values": {"pressure": 2.5, "flow": null}}
"""

import math
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from monitor.connectors.files.lines import FileRows, Row, count_lines, lines
from monitor.core.decode.from_csv import DELIMITERS, MISSING, TIME, cells, number
from monitor.core.decode.times import parse_time
from monitor.core.records import Times

TIME_COLUMNS = ("datetime", "timestamp", "time")
LOOK = 100  # rows examined to tell channels from columns of text

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How the rows of csv and npz files are read."""

    asset: str = ""  # empty = the file's name without its ending
    ignore: Sequence[str] = ()  # columns of csv that are no channels
    time_column: str = ""  # of csv; empty = the one of TIME_COLUMNS


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of a CSV file."""

    delimiter: str
    width: int
    time: int  # column
    channels: tuple[int, ...]  # columns
    header: bytes  # for the decoder


@dataclass(frozen=True, slots=True)
class _Table:
    """The arrays of an npz file."""

    time: Times  # (N,)
    values: npt.NDArray[np.float64]  # (A, N, C)
    assets: list[str]
    channels: list[str]


def legal(name: str) -> str:
    """Return `name` with "_" for every character that ids of assets and channels may not have."""
    return re.sub(r"[^A-Za-z0-9._:/-]", "_", name)


def csv_rows(path: Path, options: TableOptions, on_notice: Callable[[str], None]) -> FileRows:
    """Return the rows of a CSV file; the first one after the header is row 0.

    Opening raises ValueError if there is not exactly one time column, or no channel, or a channel's name is bad.
    """
    key = legal(options.asset or path.stem).encode()
    layouts: list[_Layout] = []

    def prepare() -> int:
        with path.open("rb") as file:
            found = [line.decode("utf-8-sig", "replace") for line in islice(lines(file), LOOK + 1)]
        try:
            layout, text = _layout(found, options)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

        if text:
            on_notice(f"{path}: columns without a number in the first {LOOK} rows are ignored: {', '.join(text)}")
        layouts[:] = [layout]
        return count_lines(path) - 1

    def read(start: int) -> Generator[Row, None, None]:
        layout = layouts[0]
        with path.open("rb") as file:
            for row, line in islice(enumerate(lines(file), -1), start + 1, None):
                if not line:
                    continue
                time, empty = _glance(line, layout)
                if not empty:
                    yield Row(row, layout.header + line, time, key)

    return FileRows(read, prepare)


def npz_rows(path: Path, options: TableOptions) -> FileRows:
    """Return the rows of an npz file. With N times and A assets, time n of asset a is row n * A + a.

    Arrays: `time` (N,) int64 ms UTC, `values` (N, C) or (A, N, C), `channels` (C,) text and, unless `values` has two
    axes, `assets` (A,) text. Opening raises ValueError if they do not fit together. NaN means "not measured"; a row
    without a single measurement is left out.
    """
    asset = legal(options.asset or path.stem)
    tables: list[_Table] = []

    def prepare() -> int:
        try:
            tables[:] = [_load(path, asset)]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: {error}") from error
        return len(tables[0].time) * len(tables[0].assets)

    def read(start: int) -> Generator[Row, None, None]:
        table = tables[0]
        for row in range(start, len(table.time) * len(table.assets)):
            n, a = divmod(row, len(table.assets))
            values = table.values[a, n].tolist()  # (C,)
            if not all(map(math.isnan, values)):
                time = int(table.time[n])
                named = dict(zip(table.channels, map(_json, values), strict=True))
                yield Row(row, _encode({"asset": table.assets[a], "timestamp": time, "values": named}), time)

    return FileRows(read, prepare)


def _layout(found: Sequence[str], options: TableOptions) -> tuple[_Layout, list[str]]:
    """Return the layout by the header and the first data lines, and the names of the columns of text."""
    header = found[0] if found else ""
    delimiter = max(DELIMITERS, key=header.count)
    names = [name.strip() for name in cells(header, delimiter)]

    # The time column.
    wanted = (options.time_column,) if options.time_column else TIME_COLUMNS
    ignore = options.ignore
    times = [n for n, name in enumerate(names) if name not in ignore and (name in wanted or name.lower() in wanted)]
    if len(times) != 1:
        raise ValueError(f"expected one column named {' or '.join(wanted)}, found {len(times)} in {', '.join(names)}")

    # Channels are the other columns, without those of text.
    rows = [row for line in found[1:] if len(row := _cells_or_none(line, delimiter)) == len(names)]
    columns = [n for n, name in enumerate(names) if n != times[0] and name not in ignore]
    text = [n for n in columns if _is_text([row[n] for row in rows])]
    channels = {n: legal(names[n]) for n in columns if n not in text}
    _check_names(list(channels.values()), [names[n] for n in channels])

    plain = delimiter.join(TIME if n == times[0] else channels.get(n, "") for n in range(len(names)))
    layout = _Layout(delimiter, len(names), times[0], tuple(channels), plain.encode() + b"\n")
    return layout, [names[n] for n in text]


def _cells_or_none(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line, none for a line with an unpaired quotation mark."""
    try:
        return cells(line, delimiter)
    except ValueError:
        return []


def _is_text(column: Sequence[str]) -> bool:
    """Return whether the column holds something, but no number."""
    filled = [cell for cell in column if cell.strip().lower() not in MISSING]
    return bool(filled) and not any(map(_is_number, filled))


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True


def _check_names(names: Sequence[str], originals: Sequence[str]) -> None:
    """Raise ValueError if there is no name, or a name is of a wrong length or occurs twice."""
    if not names:
        raise ValueError("found no channel")

    seen: dict[str, str] = {}
    for name, original in zip(names, originals, strict=True):
        if not 1 <= len(name) <= 128:
            raise ValueError(f"channel {original[:130]!r}: expected a name of 1 to 128 characters")
        if name in seen:
            raise ValueError(f"the channels {seen[name]!r} and {original!r} would both be called {name!r}")
        seen[name] = original


def _glance(line: bytes, layout: _Layout) -> tuple[int | None, bool]:
    """Return the time of a row in ms UTC, and whether no channel was measured.

    The time is None if the row has another number of cells or no readable time; the decoder will reject it.
    """
    try:
        found = cells(line.decode(), layout.delimiter)
        if len(found) != layout.width:
            return None, False
        time = parse_time(found[layout.time].strip())
    except ValueError:  # UnicodeDecodeError is one
        return None, False
    return time, all(found[column].strip().lower() in MISSING for column in layout.channels)


def _load(path: Path, asset: str) -> _Table:
    """Load the arrays, `values` as (A, N, C). Raises ValueError or KeyError if they do not fit together."""
    with np.load(path, allow_pickle=False) as file:
        time, values, channels = file["time"], file["values"], file["channels"]
        assets = file["assets"] if values.ndim == 3 else np.array([asset])
    values = values[None] if values.ndim == 2 else values

    if (len(assets), len(time), len(channels)) != values.shape or {time.ndim, channels.ndim, assets.ndim} != {1}:
        shapes = f"time {time.shape}, assets {assets.shape}, channels {channels.shape}, values {values.shape}"
        raise ValueError(f"the arrays do not fit together: {shapes}")
    # Integers for the time, Unicode for the names, any number for the values.
    kinds = time.dtype.kind + channels.dtype.kind + assets.dtype.kind + values.dtype.kind
    if re.fullmatch("[iu]UU[iuf]", kinds) is None:
        raise ValueError(f"expected integers, texts, texts and numbers, found the dtypes {kinds}")

    names = [legal(name) for name in channels.tolist()]
    _check_names(names, channels.tolist())
    return _Table(time.astype(np.int64), values.astype(np.float64), [legal(name) for name in assets.tolist()], names)


def _json(value: float) -> float | str | None:
    """Return None for NaN, and an infinity as text, for which the decoder rejects the message."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)
