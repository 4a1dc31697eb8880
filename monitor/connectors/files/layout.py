"""The layout of a CSV file, found in its first rows: where the header is, and what each column holds.

    header     the first line that names a time column; a preamble before it and a row of units after it are skipped
    time       by its name, otherwise the only column that holds dates; or a date and a time in two columns
    form       wide (a column for each channel), or long (columns for tag, value and quality)
    asset      a column, the beginning of the tags, `source.asset`, or the file's name
    numbers    decimal point or comma

Deterministic: it depends on the first HEAD lines and the options alone. What they leave open is refused, with the
readings that are possible and the setting that decides.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zoneinfo import ZoneInfo

from monitor.connectors.files.numerals import POINT, decimal_of, plain_stamp
from monitor.connectors.files.shape import fitted
from monitor.connectors.files.stamps import has_zone, is_clock, is_date, is_stamp, order_of, zone_of
from monitor.connectors.files.tags import Split, split_of
from monitor.connectors.files.words import ASSETS, FAULTS, QUALITIES, TAGS, TIMES, VALUES
from monitor.core.decode import ids
from monitor.core.decode.format import shown
from monitor.core.decode.parsers.from_csv import DELIMITERS, MISSING, QUALITY, TIME, cells, number
from monitor.core.decode.select import ALL_MEASURED, Kinds
from monitor.core.decode.times import parse_time

TIME_COLUMNS = ("datetime", "timestamp", "time")
HEAD = 1000  # lines that the layout is found in
LOOK = 100  # rows examined to tell channels from columns of text
_PREAMBLE = 60  # lines among which the header is searched
_UNITS = 3  # most rows between header and readings
_OPC_CODES = frozenset(("", "0", "4", "8", "12", "16", "20", "24", "28", "64", "68", "80", "84", "88", "192", "216"))
_STATES = frozenset(("true", "false", *MISSING))
_MANY = 50  # a column with more different values names no asset by its values alone


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How the rows of csv and npz files are read. Empty = found in the file."""

    asset: str = ""  # empty = a column of assets, or the file's name without its ending
    ignore: Sequence[str] = ()  # columns of csv that are no channels
    time_column: str = ""
    encoding: str = ""
    decimal: str = ""
    date_order: str = ""
    timezone: str = ""
    asset_column: str = ""
    channel_column: str = ""
    value_column: str = ""
    tag_pattern: str = ""
    repeated_times: str = "refuse"
    kinds: Kinds = ALL_MEASURED  # of channels: a column of texts is one if it has texts


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a CSV file, and how its cells are read."""

    delimiter: str
    names: tuple[str, ...]
    start: int  # lines up to and with the header
    skipped: int  # rows of units after it
    time: int  # column
    clock: int  # column of the time of day; -1 = none
    asset: int  # column; -1 = none
    tag: int  # column of a long table; -1 = a wide table
    channels: tuple[tuple[int, str], ...]  # column and name; of a long table its column of values
    qualities: tuple[tuple[int, str], ...]  # column, and the channel that it belongs to
    opc_da: bool  # whether the quality is a number of OPC DA, whose 0 is bad; OPC UA's 0 is good
    text: tuple[str, ...]  # columns that are no channels
    split: Split
    decimal: str
    numeric: frozenset[int]  # columns of numbers by their type, whatever sign others have
    order: str  # of day, month and year; empty = ISO 8601 or numbers
    zone: ZoneInfo | None
    local: bool  # whether times name no zone

    @property
    def plain(self) -> bool:
        """Return whether the decoder reads the rows as they are."""
        cured = self.clock < 0 and self.decimal == POINT and not self.order and self.zone is None
        return cured and self.tag < 0 and not self.opc_da

    def header(self) -> bytes:
        """Return the header of plain rows for the decoder."""
        known = dict(self.channels) | {column: f"{QUALITY}{name}" for column, name in self.qualities}
        known[self.time] = TIME
        return self.delimiter.join(known.get(n, "") for n in range(len(self.names))).encode() + b"\n"


def passable(name: str) -> str:
    """Return a name as the header of a row can hold it, without delimiters; the decoder makes it an id."""
    text = re.sub(r'[",;|\x00-\x1f\x7f]', "_", name)
    return f"_{text[1:]}" if text.startswith("@") else text


def legal(name: str) -> str:
    """Return the id that the decoder makes of `name`; the name itself where that will refuse it."""
    return ids.legal(name) or name


class _Header(NamedTuple):
    """Where the header is, and what the columns are called."""

    delimiter: str
    names: Sequence[str]
    start: int
    skipped: int
    numeric: frozenset[int] = frozenset()


def layout_of(head: Sequence[str], options: TableOptions) -> Layout:
    """Return the layout of a file that begins with these lines. Raises ValueError for one that is unclear."""
    start, delimiter, names = _header(head, options)
    names = fitted(names, [cells_or_none(line, delimiter) for line in head[start:] if line.strip()])
    lines = [row for line in head[start:] if len(row := cells_or_none(line, delimiter)) == len(names)]
    times = _time(names, lines[:LOOK], options)

    # A row of units is no reading: no time, and no number.
    skipped = _units(head[start:], delimiter, len(names), times[0])
    rows = [row for line in head[start + skipped :] if len(row := cells_or_none(line, delimiter)) == len(names)]
    return _layout(_Header(delimiter, names, start, skipped), times, rows, options)


def typed_layout(
    delimiter: str, names: Sequence[str], numeric: frozenset[int], rows: Sequence[Sequence[str]], options: TableOptions
) -> Layout:
    """Return the layout of a table whose columns `numeric` are numbers by their type. Raises ValueError."""
    return _layout(_Header(delimiter, names, 0, 0, numeric), _time(names, rows[:LOOK], options), rows, options)


def _layout(header: _Header, times: tuple[int, int], rows: Sequence[Sequence[str]], options: TableOptions) -> Layout:
    """Return the layout of a table with this header, these columns of time and these first rows."""
    names, (time, clock) = header.names, times
    used = {time, clock, *(n for n, name in enumerate(names) if name in options.ignore)}
    columns = [n for n in range(len(names)) if n not in used and (names[n] or any(row[n].strip() for row in rows))]

    # The form, then the asset; what is left are channels, without columns of text.
    tag, value = _long(names, rows, columns, options)
    asset = _asset(names, rows, [n for n in columns if n not in {tag, value}], options)
    columns = [n for n in columns if n not in {tag, value, asset}]
    found = _long_channels(names, columns, value) if tag >= 0 else _wide_channels(names, columns, rows[:LOOK], options)
    channels, qualities, text = found

    numbers = [row[n] for row in rows for n in channels if n not in header.numeric]
    decimal = decimal_of(numbers, options.decimal)
    stamps = [plain_stamp(row[time], decimal) for row in rows]
    order = order_of(stamps, options.date_order)
    local = not all(map(has_zone, stamps[:LOOK])) or not stamps
    zone = zone_of(options.timezone) if local else None

    split = Split()
    if tag >= 0 and (options.tag_pattern or (asset < 0 and not options.asset)):
        split = split_of([row[tag].strip() for row in rows if row[tag].strip()], options.tag_pattern)

    return Layout(
        delimiter=header.delimiter,
        names=tuple(names),
        start=header.start,
        skipped=header.skipped,
        time=time,
        clock=clock,
        asset=asset,
        tag=tag,
        channels=tuple(channels.items()),
        qualities=tuple(qualities.items()),
        opc_da=any(row[n].strip() in {"192", "216"} for row in rows for n in qualities),
        text=tuple(names[n] for n in text),
        split=split,
        decimal=decimal,
        numeric=header.numeric,
        order=order or ("ymd" if clock >= 0 else ""),
        zone=zone,
        local=local,
    )


_Channels = tuple[dict[int, str], dict[int, str], list[int]]  # channels, their qualities, columns of text


def _long_channels(names: Sequence[str], columns: Sequence[int], value: int) -> _Channels:
    quality = [n for n in columns if _simple(names[n]) in QUALITIES][:1]
    return {value: passable(names[value])}, dict.fromkeys(quality, ""), [n for n in columns if n not in quality]


def _wide_channels(
    names: Sequence[str], columns: Sequence[int], rows: Sequence[Sequence[str]], options: TableOptions
) -> _Channels:
    """Return channels, their qualities and columns of text. Raises ValueError if there is no channel or a bad name."""
    states = {n for n in columns if options.kinds.texts_of(names[n], legal(names[n]))}
    text = [n for n in columns if n not in states and _is_text([row[n] for row in rows])]
    channels = {n: passable(names[n]) for n in columns if n not in text}
    switches = [n for n in channels if {row[n].strip().lower() for row in rows} <= _STATES]
    codes = [n for n in channels if {row[n].strip() for row in rows} <= _OPC_CODES]
    faults = [n for n in channels if all(is_missing(row[n]) for row in rows)]
    flags = [n for n in switches if {row[n].strip().lower() for row in rows} & {"true", "false"}]
    qualities = _beside(names, [*text, *codes, *switches, *faults], channels, flags)
    channels = {n: name for n, name in channels.items() if n not in qualities}
    check_names([legal(name) for name in channels.values()], [names[n] for n in channels])
    return channels, qualities, [n for n in text if n not in qualities]


def described(layout: Layout, encoding: str, asset: str) -> str:
    """Return the layout in words, for the log. `encoding` is empty for Parquet."""
    name = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}[layout.delimiter]
    read = [f"delimiter {name}", f"encoding {'latin-1' if encoding == 'cp1252' else encoding}"] if encoding else []
    times = repr(layout.names[layout.time])
    if layout.clock >= 0:
        times += f" and {layout.names[layout.clock]!r}"
    order = {"": "ISO 8601 or a number", "ymd": "year-month-day", "dmy": "day-month-year", "mdy": "month-day-year"}
    zone = "with its own zone" if not layout.local else layout.zone.key if layout.zone else "UTC (source.timezone)"

    if layout.asset >= 0:
        assets = f"column {layout.names[layout.asset]!r}"
    elif layout.split != Split():
        assets = f"the beginning of the tags in {layout.names[layout.tag]!r}"
    else:
        assets = repr(asset)

    words = [
        *read,
        f"decimal {layout.decimal}",
        f"time {times}: {order[layout.order]}, {zone}",
        f"asset {assets}",
    ]
    if layout.tag >= 0:
        words.append(f"long form: channel {layout.names[layout.tag]!r}, value {layout.names[layout.channels[0][0]]!r}")
    if layout.qualities:
        words.append(f"quality {', '.join(repr(layout.names[n]) for n, _ in layout.qualities)}")
    if layout.start > 1 or layout.skipped:
        words.append(f"header in line {layout.start}, {layout.skipped} row(s) of units")
    return "; ".join(words)


def cells_or_none(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line, none for a line with an unpaired quotation mark."""
    try:
        return cells(line, delimiter)
    except ValueError:
        return []


def is_missing(cell: str) -> bool:
    """Return whether the cell says that nothing was measured, in one of many words."""
    word = cell.strip().lower()
    return word in MISSING or word.replace(" ", "") in FAULTS or word.startswith("bad")


def _simple(name: str) -> str:
    """Return a column's name without its unit, and without what is no letter or digit."""
    return re.sub(r"[\W_]", "", re.sub(r"\[.*?\]|\(.*?\)", "", name)).lower()


def _header(head: Sequence[str], options: TableOptions) -> tuple[int, str, list[str]]:
    """Return the number of lines up to and with the header, the delimiter, and the columns' names."""
    best: tuple[int, str, list[str]] | None = None
    for accept in (_named, _called):
        for place, line in enumerate(head[:_PREAMBLE]):
            delimiter, follows = _delimiter(line, head[place + 1 : place + 1 + LOOK])
            names = [name.strip() for name in cells_or_none(line, delimiter)]
            if place and (not follows or any(_is_number(name) for name in names if name.lower() not in MISSING)):
                continue
            if accept(names, options) and not any(map(is_stamp, names)):
                return place + 1, delimiter, names
        if options.time_column:
            break

    best = None if options.time_column else _above_dates(head)
    if best is not None:
        return best
    line = head[0] if head else ""
    delimiter = _delimiter(line, head[1 : 1 + LOOK])[0]
    names = [name.strip() for name in cells_or_none(line, delimiter)]
    if len(names) < 2:
        raise ValueError(f"found no comma, semicolon, tab or | between the columns of {shown(line)}")
    if any(map(is_stamp, names)):
        raise ValueError(f"the first line holds values, not names: {shown(line)}; write the names of the columns above")
    return 1, delimiter, names


def _named(names: Sequence[str], options: TableOptions) -> bool:
    wanted = (options.time_column,) if options.time_column else TIME_COLUMNS
    return any(_is_called(name, wanted) for name in names if name not in options.ignore)


def _called(names: Sequence[str], options: TableOptions) -> bool:
    return len(names) > 1 and any(_simple(name) in TIMES for name in names if name not in options.ignore)


def _is_called(name: str, wanted: Sequence[str]) -> bool:
    return name in wanted or name.lower() in wanted


def _delimiter(header: str, following: Sequence[str]) -> tuple[str, bool]:
    """Return the delimiter of a header, and whether a following line has as many cells."""
    rows = [line for line in following if line.strip()][:20]
    best, found = (-1.0, -1), (DELIMITERS[0], False)
    for delimiter in DELIMITERS:
        width = len(cells_or_none(header, delimiter))
        same = sum(len(cells_or_none(line, delimiter)) == width for line in rows)
        rank = (float(2 * same > len(rows) and width > 1), header.count(delimiter))
        if rank > best:
            best, found = rank, (delimiter, same > 0 and width > 1)
    return found


def _above_dates(head: Sequence[str]) -> tuple[int, str, list[str]] | None:
    """Return the header above the first line with a date, for a file whose time column has an unknown name."""
    for place, line in enumerate(head[1 : _PREAMBLE + 1], 1):
        for delimiter in DELIMITERS:
            row = cells_or_none(line, delimiter)
            dates = [n for n, cell in enumerate(row) if is_stamp(cell)]
            if len(row) < 2 or not dates or len(dates) == len(row):
                continue
            for above in range(place - 1, -1, -1):
                names = [name.strip() for name in cells_or_none(head[above], delimiter)]
                if len(names) == len(row) and all(names[n] and not is_stamp(names[n]) for n in dates):
                    return above + 1, delimiter, names
    return None


def _units(lines: Sequence[str], delimiter: str, width: int, time: int) -> int:
    """Return how many lines after the header hold units or the like."""
    for place, line in enumerate(lines[: _UNITS + 1]):
        row = cells_or_none(line, delimiter)
        if not line.strip():
            continue
        if len(row) != width or is_stamp(row[time]) or _is_time(row[time]) or any(map(_is_measured, row)):
            return place
    return 0


def _is_measured(cell: str) -> bool:
    return bool(cell.strip()) and _is_number(cell.strip().replace(",", "."))


def _time(names: Sequence[str], rows: Sequence[Sequence[str]], options: TableOptions) -> tuple[int, int]:
    """Return the column of the time, or those of date and time of day; -1 = no second one."""
    wanted = (options.time_column,) if options.time_column else TIME_COLUMNS
    columns = [n for n, name in enumerate(names) if name not in options.ignore]
    found = [n for n in columns if _is_called(names[n], wanted)]
    dates = [n for n in columns if _mostly(is_date, rows, n)]
    clocks = [n for n in columns if _mostly(is_clock, rows, n)]
    listed = ", ".join(names)

    if not found and not options.time_column:
        found = [n for n in columns if _simple(names[n]) in TIMES]
        if len(found) != 1 and len(clocks) != 1:
            found = [n for n in found or columns if _mostly(is_stamp, rows, n)] or found

    # A date and a time of day belong together.
    if len(clocks) == 1 and len(dates) == 1 and (not found or set(found) <= {*clocks, *dates}):
        return dates[0], clocks[0]
    if len(found) == 1 and found[0] in clocks:
        raise ValueError(
            f"column {names[found[0]]!r} holds times without a date, and no other column of {listed} has one"
        )
    if len(found) != 1:
        cure = "" if options.time_column else ": set source.time_column"
        raise ValueError(f"expected one column named {' or '.join(wanted)}, found {len(found)} in {listed}{cure}")
    return found[0], -1


def _mostly(test: Callable[[str], bool], rows: Sequence[Sequence[str]], column: int) -> bool:
    filled = [row[column] for row in rows if row[column].strip()]
    return bool(filled) and 10 * sum(map(test, filled)) >= 9 * len(filled)


def _long(
    names: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[int], options: TableOptions
) -> tuple[int, int]:
    """Return the columns of tag and value of a long table; -1 and -1 for a wide one."""
    tags = _chosen(names, columns, options.channel_column, "source.channel_column")
    values = _chosen(names, columns, options.value_column, "source.value_column")
    values = values or [n for n in columns if _simple(names[n]) in VALUES]
    if not tags:
        tags = [n for n in columns if _simple(names[n]) in TAGS and _is_text([row[n] for row in rows[:LOOK]])]
    if not tags or (not values and not options.channel_column):
        return -1, -1
    if len(tags) > 1 or len(values) != 1:
        found = ", ".join(names[n] for n in (tags if len(tags) > 1 else values or columns))
        key = "source.channel_column" if len(tags) > 1 else "source.value_column"
        raise ValueError(f"found {found}, expected one column: set {key}")
    return tags[0], values[0]


def _chosen(names: Sequence[str], columns: Sequence[int], name: str, key: str) -> list[int]:
    if not name:
        return []
    found = [n for n in columns if names[n] == name]
    if len(found) != 1:
        raise ValueError(f"{key}: expected one column {name!r}, found {len(found)} in {', '.join(names)}")
    return found


def _asset(names: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[int], options: TableOptions) -> int:
    """Return the column that names the asset; -1 for none."""
    chosen = _chosen(names, columns, options.asset_column, "source.asset_column")
    if chosen:
        return chosen[0]

    different = {
        n: {row[n].strip() for row in rows}
        for n in columns
        if _simple(names[n]) in ASSETS or names[n].lower() == "unit"
    }
    for n, values in different.items():
        rest = values - {""}
        if "" in values and rest and not options.asset and _may_name(rest, ""):
            raise ValueError(
                f"column {names[n]!r} names assets ({', '.join(sorted(rest)[:3])}) and is empty in some rows, whose "
                f"asset is unknown: fill it, set source.asset_column to {names[n]!r} to drop these rows, or add it to "
                "source.ignore"
            )

    found = [n for n, values in different.items() if _may_name(values, "unit" if names[n].lower() == "unit" else "")]
    if not found:
        return -1
    best = max(found, key=lambda n: len(different[n]))  # the finest
    if not options.asset:
        return best
    if len(different[best]) > 1:
        raise ValueError(
            f"source.asset names one asset, but column {names[best]!r} holds {len(different[best])}: set "
            f"source.asset_column to {names[best]!r}, or add it to source.ignore"
        )
    return -1


def _may_name(values: set[str], name: str) -> bool:
    """Return whether the values of a column may be names or numbers of assets; those called unit are numbers."""
    whole = all(re.fullmatch(r"\d+", value) for value in values)
    if name == "unit" and not whole:
        return False
    return "" not in values and bool(values) and (not any(map(_is_number, values)) or (whole and len(values) <= _MANY))


def _beside(
    names: Sequence[str], text: Sequence[int], channels: dict[int, str], flags: Sequence[int]
) -> dict[int, str]:
    """Return the columns of quality beside their channel: `flow` and `flow_quality`. A status of flags is a state."""
    found: dict[int, str] = {}
    for n in text:
        status = "" if n in flags else "|status"
        match = re.fullmatch(rf"(.+?)[ ._:-]*(?:quality{status}|qual|q)", names[n], re.IGNORECASE)
        owner = (
            None if match is None else next((c for c in channels if names[c].lower() == match.group(1).lower()), None)
        )
        if owner is not None:
            found[n] = channels[owner]
    return found


def _is_text(column: Sequence[str]) -> bool:
    """Return whether the column holds something, but neither a number nor only booleans, which may be states."""
    filled = [cell for cell in column if not is_missing(cell)]
    if {cell.strip().lower() for cell in filled} <= _STATES:
        return False
    return bool(filled) and not any(_is_number(cell) or _is_number(_pointed(cell)) for cell in filled)


def _pointed(cell: str) -> str:
    text = re.sub(r"[\s'\u2019]", "", cell)
    return text.replace(".", "").replace(",", ".") if text.count(",") == 1 else text.replace(",", "")


def _is_number(cell: str) -> bool:
    try:
        return number(cell) is not None
    except ValueError:
        return False


def _is_time(cell: str) -> bool:
    try:
        parse_time(cell.strip())
    except ValueError:
        return False
    return True


def check_names(names: Sequence[str], originals: Sequence[str]) -> None:
    """Raise ValueError if there is no name, or a name is of a wrong length or occurs twice."""
    if not names:
        raise ValueError("found no channel")

    seen: dict[str, str] = {}
    for name, original in zip(names, originals, strict=True):
        if not 1 <= len(name) <= 128:
            raise ValueError(f"channel {original[:130]!r}: expected a name of 1 to 128 characters")
        if name in seen:
            raise ValueError(
                f"the channels {seen[name]!r} and {original!r} would both be called {name!r}: give them different names"
            )
        seen[name] = original
