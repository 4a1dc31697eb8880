"""Rows of tables as messages: CSV with a header line, and Parquet as the same table.

A row of CSV is passed on with the asset as key, under a header that core/decode/parsers/from_csv.py understands:

    @timestamp;pressure;;flow
    2024-05-01 12:00:00;2.5;on;

The header is made once per file: the time column is called `@timestamp`, columns that are no channels lose their name,
and other names lose delimiters and quotes. The decoder makes them ids. A row whose times and numbers the decoder reads
is passed on as it stands. Other rows are written anew with the same values: the time in ms, a decimal point, only the
columns that are read. A row of a long table has its tag as the channel's name. A row without a single measurement is
left out.

Guaranteed: a file is checked to its end before its first row is passed on. Rows of several machines are not merged, and
an hour is not lost at the end of summer time: such a file is read rightly or refused, with the setting that cures it.
"""

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from monitor.connectors.files.layout import (
    HEAD,
    LOOK,
    Layout,
    TableOptions,
    cells_or_none,
    described,
    layout_of,
    legal,
    passable,
    typed_layout,
)
from monitor.connectors.files.lines import FileRows, Row
from monitor.connectors.files.numerals import POINT, plain_number, plain_stamp
from monitor.connectors.files.parquet import DELIMITER, ParquetColumns, parquet_columns
from monitor.connectors.files.shape import refuse_foreign
from monitor.connectors.files.stamps import Clock, UndecidedTime, is_stamp
from monitor.connectors.files.tags import split_of
from monitor.connectors.files.text import (
    HEAD_BYTES,
    count_text_lines,
    encoding_of,
    is_a_row_a_line,
    text_lines,
    text_rows,
)
from monitor.core.decode.parsers.from_csv import MISSING, QUALITY, TIME, cells
from monitor.core.decode.times import parse_time

_EARLIEST_MS = 100_000_000_000  # 1973: a smaller number counts from another day
_BACK_ROWS, _BACK_MS = 20, 300_000  # so many rows in a line, so far behind: the rows are not in the order of time
_REPEATED, _FEW = 0.1, 1  # share and number of rows that repeat a time; as few may be a clock that was set


@dataclass(frozen=True, slots=True)
class CsvTable:
    """An opened CSV or Parquet file: where it is, and how it is read."""

    path: Path
    encoding: str  # empty = Parquet
    layout: Layout
    asset: str
    step_ms: int
    lines: int  # after the header
    head: bytes = b""  # the header as it is in the file, which may come again where exports were put together
    simple: bool = False  # whether each line is a row
    parquet: ParquetColumns | None = None

    def numbered(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the rows after the header from `start` on, without blank ones, rows of units and further headers."""
        layout = self.layout
        if self.parquet is not None:
            yield from self.parquet.lines(start)
            return
        with self.path.open("rb") as file:
            found = text_lines(file, self.encoding) if self.simple else text_rows(file, self.encoding, self._fits)
            lines = enumerate(found, -layout.start)
            for number, line in islice(lines, layout.start + layout.skipped, None):
                if line and line != self.head and number >= start:
                    yield number, line

    def _fits(self, number: int, row: bytes) -> bool:
        """Return whether a row of several lines is one: one below the header has as many cells as the header."""
        if number < self.layout.start:
            return True
        return len(cells_or_none(row.decode("utf-8", "replace"), self.layout.delimiter)) == len(self.layout.names)

    def clock(self) -> Clock:
        """Return a clock for the rows from the first one on."""
        return Clock(self.layout.order, self.layout.zone, self.step_ms)

    def stamp(self, row: Sequence[str]) -> str:
        """Return the text of the row's time."""
        layout = self.layout
        if layout.clock >= 0:
            return f"{row[layout.time].strip()} {row[layout.clock].strip()}"
        return plain_stamp(row[layout.time], layout.decimal)

    def owner(self, row: Sequence[str]) -> tuple[str, str]:
        """Return the name of a row's asset, and of its channel in a long table; "" for one that has none."""
        layout = self.layout
        asset = self.asset if layout.asset < 0 else row[layout.asset].strip()
        if layout.tag < 0:
            return asset, ""
        parted = layout.split.parted(row[layout.tag].strip())
        if parted is None:
            return "", ""
        return parted[0] or asset, passable(parted[1])


def table_of(path: Path, options: TableOptions, kind: str = "csv") -> CsvTable:
    """Find the layout of a csv or parquet file. Raises ValueError with the path if it cannot be told, OSError."""
    if kind == "parquet":
        return _parquet_table(path, options)
    with path.open("rb") as file:
        begin = file.read(HEAD_BYTES)
    asset = options.asset or path.stem
    try:
        refuse_foreign(begin)
        encoding = encoding_of(begin, options.encoding)
        with path.open("rb") as file:
            rows_of_bytes = list(islice(text_rows(file, encoding), HEAD + 1))
        head = [line.decode("utf-8", "replace") for line in rows_of_bytes]
        layout = layout_of(head, options)

        lines = count_text_lines(path, encoding) - layout.start
        rows = [
            row
            for line in head[layout.start + layout.skipped :]
            if len(row := cells_or_none(line, layout.delimiter)) == len(layout.names)
        ]
        table = CsvTable(
            path, encoding, layout, asset, 0, lines, rows_of_bytes[layout.start - 1], is_a_row_a_line(path, encoding)
        )
        return _checked(table, rows, options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parquet_table(path: Path, options: TableOptions) -> CsvTable:
    columns = parquet_columns(path)
    head = [line.decode("utf-8", "replace").split(DELIMITER) for _, line in islice(columns.lines(), HEAD)]
    try:
        layout = typed_layout(DELIMITER, columns.names, columns.numeric, head, options)
        asset = options.asset or path.stem
        return _checked(CsvTable(path, "", layout, asset, 0, columns.rows, parquet=columns), head, options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked(table: CsvTable, rows: Sequence[Sequence[str]], options: TableOptions) -> CsvTable:
    """Return the table with its step. Raises ValueError if its first rows repeat times, or have none."""
    _refuse_times(table, rows)
    table = replace(table, step_ms=_step(table, rows))
    _refuse_repeated(table, rows, options.repeated_times)
    return table


def table_flags(path: Path, options: TableOptions, column: str, kind: str) -> dict[str, tuple[list[int], list[bool]]]:
    """Return the times of each asset in ms UTC, and whether `column` holds a number above 0 there.

    Raises ValueError if the file has no such column, a row cannot be read, or the layout is unclear.
    """
    table = table_of(path, options, kind)
    names, clock = table.layout.names, table.clock()
    if column not in names:
        raise ValueError(f"{path}: expected the column {column}, found {', '.join(names)}")

    place = names.index(column)
    found: dict[str, tuple[list[int], list[bool]]] = {}
    for number, line in table.numbered():
        row = cells_or_none(line.decode("utf-8", "replace"), table.layout.delimiter)
        try:
            asset, _ = table.owner(row)
            time = clock.read(table.stamp(row), asset)
            flag = float(plain_number(row[place], table.layout.decimal) or 0) > 0
        except (ValueError, IndexError, UndecidedTime) as error:
            raise ValueError(f"{path}: row {number}: {error}") from error
        times, flags = found.setdefault(legal(asset), ([], []))
        times.append(time)
        flags.append(flag)
    return found


def table_rows(
    path: Path,
    options: TableOptions,
    on_notice: Callable[[str], None],
    on_layout: Callable[[str], None] = lambda _: None,
    kind: str = "csv",
) -> FileRows:
    """Return the rows of a csv or parquet file; the first one after the header is row 0.

    `on_layout` receives the layout in words when the file is opened, `on_notice` the columns that are ignored.

    Opening raises ValueError if the layout is unclear, rows of several machines would be merged, or the rows are not in
    the order of time.
    """
    tables: list[CsvTable] = []

    def prepare() -> int:
        table = table_of(path, options, kind)
        _refuse_disorder(table)
        on_layout(f"{path}: {described(table.layout, table.encoding, table.asset)}")
        if table.layout.text:
            text = ", ".join(table.layout.text)
            on_notice(f"{path}: columns without a number in the first {LOOK} rows are ignored: {text}")
        if several := _several(table.layout):
            on_notice(f"{path}: {several}")
        if table.parquet is not None and table.parquet.unread:
            on_notice(f"{path}: columns that hold no numbers are ignored: {', '.join(table.parquet.unread)}")
        tables[:] = [table]
        return table.lines

    def read(start: int) -> Generator[Row, None, None]:
        table = tables[0]
        return _as_they_stand(table, start) if table.layout.plain else _rewritten(table, start)

    return FileRows(read, prepare)


def _several(layout: Layout) -> str:
    """Return a remark if the names of a wide table's columns begin with what may be machines; otherwise empty."""
    if layout.tag >= 0 or layout.asset >= 0:
        return ""
    names = [layout.names[column] for column, _ in layout.channels]
    try:
        split = split_of(names)
    except ValueError:
        return ""
    assets = list(dict.fromkeys(parted[0] for name in names if (parted := split.parted(name)) and parted[0]))
    if len(assets) < 2:
        return ""
    return (
        f"the columns begin with {', '.join(assets[:3])}, which may be machines, and are read as channels of one: for "
        "an asset each, give each machine a file, or write a row for each with a column that names it"
    )


def _as_they_stand(table: CsvTable, start: int) -> Generator[Row, None, None]:
    layout, header, key = table.layout, table.layout.header(), table.asset.encode()
    for row, line in table.numbered(start):
        time, empty, asset = _glance(line, layout)
        if not empty:
            yield Row(row, header + line, time, key if asset is None else asset)


def _rewritten(table: CsvTable, start: int) -> Generator[Row, None, None]:
    """Yield the rows with times in ms, decimal points, and only the columns that are read."""
    layout, clock, width = table.layout, table.clock(), len(table.layout.names)
    headers: dict[str, bytes] = {}

    for number, line in table.numbered():
        row = cells_or_none(line.decode("utf-8", "replace"), layout.delimiter)
        if len(row) != width:
            if number >= start:
                yield Row(number, layout.header() + line, None, table.asset.encode())
            continue

        asset, channel = table.owner(row)
        text, time = table.stamp(row), None
        try:
            time = clock.read(text, asset)
            text = str(time)
        except ValueError as error:
            text = f"unreadable: {error}"  # no time, so that the decoder rejects the row and shows the text
        values = [row[column] for column, _ in layout.channels]
        if number < start or all(cell.strip().lower() in MISSING for cell in values):
            continue

        if channel not in headers:
            headers[channel] = _written_header(layout, channel)
        signs = [POINT if column in layout.numeric else layout.decimal for column, _ in layout.channels]
        found = [text, *map(plain_number, values, signs)]
        marks = [row[column].strip() for column, _ in layout.qualities]
        found += ["bad" if mark == "0" and layout.opc_da else mark for mark in marks]
        plain = layout.delimiter.join(re.sub(f'[{layout.delimiter}"]', " ", cell) for cell in found)
        yield Row(number, headers[channel] + plain.encode(), time, asset.encode())


def _written_header(layout: Layout, channel: str) -> bytes:
    """Return the header of rewritten rows; `channel` is that of a row of a long table."""
    channels = [channel] if layout.tag >= 0 else [name for _, name in layout.channels]
    qualities = [f"{QUALITY}{channel if layout.tag >= 0 else name}" for _, name in layout.qualities]
    return layout.delimiter.join([TIME, *channels, *qualities]).encode() + b"\n"


def _glance(line: bytes, layout: Layout) -> tuple[int | None, bool, bytes | None]:
    """Return the time of a plain row in ms UTC, whether no channel was measured, and its asset if it has a column.

    The time is None if the row has another number of cells or no readable time; the decoder will reject it.
    """
    try:
        found = cells(line.decode("utf-8", "replace"), layout.delimiter)
        if len(found) != len(layout.names):
            return None, False, None
        asset = None if layout.asset < 0 else found[layout.asset].strip().encode()
        time = parse_time(found[layout.time].strip())
    except ValueError:
        return None, False, None
    return time, all(found[column].strip().lower() in MISSING for column, _ in layout.channels), asset


def _step(table: CsvTable, rows: Sequence[Sequence[str]]) -> int:
    """Return the usual time between the rows of one asset and channel, in ms; 0 if it is unknown."""
    clock, last, steps = Clock(table.layout.order, None, 0), dict[tuple[str, str], int](), Counter[int]()
    for row in rows:
        try:
            time = clock.read(table.stamp(row), "")
        except ValueError:
            continue
        owner = table.owner(row)
        if time > last.get(owner, time):
            steps[time - last[owner]] += 1
        last[owner] = time
    return steps.most_common(1)[0][0] if steps else 0


def _refuse_times(table: CsvTable, rows: Sequence[Sequence[str]]) -> None:
    """Raise ValueError if most times are unreadable, or count from another day than the first of 1970."""
    clock, unreadable, early = Clock(table.layout.order, None, 0), list[str](), list[str]()
    for row in rows:
        text = table.stamp(row)
        try:
            early += [text] if clock.read(text, "") < _EARLIEST_MS and not is_stamp(text) else []
        except ValueError:
            unreadable.append(text)

    name = table.layout.names[table.layout.time]
    if unreadable and 2 * len(unreadable) > len(rows):
        raise ValueError(
            f"the times in {name!r}, such as {unreadable[0]!r}, cannot be read: expected a date and a time, with an "
            "offset such as +01:00 or no zone, or a number of s, ms, us or ns since 1970"
        )
    if early and 2 * len(early) > len(rows):
        raise ValueError(
            f"the times in {name!r}, such as {early[0]!r}, lie before 1973: a number counts from 1970 on, not from the "
            "start of a recording, and not in a spreadsheet's days; write dates, or set source.time_column to another "
            "column"
        )


def _refuse_repeated(table: CsvTable, rows: Sequence[Sequence[str]], wanted: str) -> None:
    """Raise ValueError if rows of one asset and channel repeat a time with other values."""
    seen: dict[tuple[str, str, str], int] = {}
    pairs: list[tuple[int, int]] = []
    for n, row in enumerate(rows):
        place = (table.stamp(row), *table.owner(row))
        first = seen.setdefault(place, n)
        if first != n and list(rows[first]) != list(row):
            pairs.append((first, n))
    layout = table.layout
    if wanted != "refuse" or len(pairs) <= max(_FEW, _REPEATED * len(rows)):
        return

    # A column tells the rows apart if no time has two rows with the same cell in it.
    used = {layout.time, layout.clock, layout.asset, layout.tag}
    one, other = (rows[n] for n in pairs[0])
    what = f"{len(pairs)} of the first {len(rows)} rows repeat the time of another row, such as {table.stamp(one)!r}"
    for column, name in enumerate(layout.names):
        values = Counter(row[column].strip() for row in rows)
        label = name in layout.text or (name and len(values) <= len(rows) // 2 and all(map(_is_whole, values)))
        apart = {(table.stamp(row), *table.owner(row), row[column].strip()) for row in rows}
        if column in used or not label or len(values) < 2 or len(apart) < len(rows) - len(rows) // 50:
            continue
        raise ValueError(
            f"{what}; column {name!r} ({one[column].strip()!r}, {other[column].strip()!r}) would tell them apart: "
            f"set source.asset_column to {name!r}, or source.channel_column if it names channels"
        )
    raise ValueError(
        f"{what}, and no column tells them apart: give each machine a file, or set source.repeated_times to keep"
    )


def _is_whole(text: str) -> bool:
    return text.isdecimal()


def _refuse_disorder(table: CsvTable) -> None:
    """Raise ValueError if the rows of an asset run back in time, or a local time stays undecided."""
    if table.layout.plain and _ascends(table):
        return

    layout, clock = table.layout, table.clock()
    latest: dict[tuple[str, str], tuple[int, str]] = {}
    behind: dict[tuple[str, str], list[str]] = {}
    for number, line in table.numbered():
        row = cells_or_none(line.decode("utf-8", "replace"), layout.delimiter)
        if len(row) != len(layout.names):
            continue
        owner, text = table.owner(row), table.stamp(row)
        try:
            time = clock.read(text, owner[0])
        except UndecidedTime as undecided:
            raise ValueError(f"{table.path}: row {number}: {undecided}") from undecided
        except ValueError:
            _refuse_header(table, number, row)
            continue

        last = latest.get(owner)
        if last is None or time > last[0]:
            latest[owner] = time, text
            behind.pop(owner, None)
        elif last[0] - time > _BACK_MS:
            back = behind.setdefault(owner, [])
            back.append(text)
            if len(back) >= _BACK_ROWS:
                raise ValueError(f"{table.path}: {_run_back(table, number - len(back) + 1, last[1], back[0])}")

    try:
        clock.finish()
    except UndecidedTime as undecided:
        raise ValueError(f"{table.path}: {undecided}") from undecided


def _refuse_header(table: CsvTable, number: int, row: Sequence[str]) -> None:
    """Raise ValueError if a row is the header of other columns: what follows would be read as the columns before."""
    names = [cell.strip().lower() for cell in row]
    known = {name.lower() for name in table.layout.names if name}
    if table.layout.names[table.layout.time].lower() in names and 2 * sum(map(known.__contains__, names)) >= len(known):
        raise ValueError(
            f"{table.path}: row {number} is another header ({', '.join(row)}), and the first one is "
            f"{', '.join(table.layout.names)}: give each part a file"
        )


def _run_back(table: CsvTable, number: int, last: str, first: str) -> str:
    layout = table.layout
    cures = ["sort the rows by time"]
    if layout.local and layout.zone is None:
        cures.append("if it is local time at the end of summer time, set source.timezone")
    if layout.text:
        cures.append(f"if one machine follows another, set source.asset_column (of {', '.join(layout.text)})")
    else:
        cures.append("if one machine follows another, give each a file")
    return f"from row {number} on the times run back, from {last!r} to {first!r}: {'; '.join(cures)}"


def _ascends(table: CsvTable) -> bool:
    """Return whether the texts of the times ascend; a quick look that reads no time."""
    layout = table.layout
    if layout.asset >= 0:
        return False
    delimiter, column = layout.delimiter.encode(), layout.time
    last = b""
    for _, line in table.numbered():
        parts = line.split(delimiter, column + 1)
        found = parts[column] if len(parts) > column else last
        if found < last:
            return False
        last = found
    return True
