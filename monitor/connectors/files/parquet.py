"""Parquet as lines of text, so that the tables of both formats are recognised and read in the same way.

A row becomes its cells as text, with tabs between them: times in ISO 8601 (UTC with "Z" for a type with a zone, local
without), numbers with a decimal point, booleans as true and false, null as an empty cell. Texts lose tabs, quotes and
line ends. Columns of other types (lists, structs, bytes, durations) are not read.

Row groups are read in batches, so memory does not grow with the file. It needs pyarrow, the extra `parquet`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

DELIMITER = "\t"
_BATCH = 2048  # rows decoded at once
_BUFFER = 65_536  # bytes of a column read at once
_INDEX = re.compile(r"__index_level_\d+__")  # pandas writes the numbers of its rows under such names
_MARKS = r'[\t\r\n"]'


@dataclass(frozen=True, slots=True)
class ParquetColumns:
    """The columns of a Parquet file that are read, and the number of its rows."""

    path: Path
    names: tuple[str, ...]
    columns: tuple[int, ...]  # places of `names` in the file
    numeric: frozenset[int]  # indices of `names` whose cells are numbers by their type
    unread: tuple[str, ...]  # names of other columns, with their types
    rows: int

    def lines(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield rows as lines with their numbers, from row `start` on. Raises ValueError, OSError."""
        import pyarrow as pa  # noqa: PLC0415 - optional, and takes 100 ms to import

        with _opened(self.path) as file:
            first, groups = 0, list(range(file.metadata.num_row_groups))
            while groups and first + (held := file.metadata.row_group(groups[0]).num_rows) <= start:
                first += held
                groups.pop(0)

            try:
                for batch in file.iter_batches(_BATCH, row_groups=groups, use_threads=False):
                    begin = max(start - first, 0)
                    yield from enumerate(self._joined(batch.slice(begin)), first + begin)
                    first += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{self.path}: row {first} or a later one cannot be read: {error}") from error

    def _joined(self, batch: "pa.RecordBatch") -> list[bytes]:
        """Return the rows of a batch as lines."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        texts = [_texts(batch.column(at)) for at in self.columns]
        if not texts or not batch.num_rows:
            return []
        mark = pa.scalar(DELIMITER, pa.large_string())
        joined = pc.binary_join_element_wise(*texts, mark, null_handling="replace", null_replacement="")
        lines: list[bytes] = joined.cast(pa.large_binary()).to_pylist()
        return lines


def parquet_columns(path: Path) -> ParquetColumns:
    """Read the columns of a Parquet file. Raises ValueError, also without pyarrow, and OSError."""
    with _opened(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    names: list[str] = []
    columns: list[int] = []
    numeric: set[int] = set()
    unread: list[str] = []

    for at, field in enumerate(schema):
        kind = _kind(field.type)
        if not kind or (kind == "number" and _INDEX.fullmatch(field.name)):
            unread.append(f"{field.name} ({'numbers of rows' if kind else field.type})")
            continue
        if kind == "number":
            numeric.add(len(names))
        names.append(re.sub(_MARKS, " ", field.name).strip())
        columns.append(at)
    return ParquetColumns(path, tuple(names), tuple(columns), frozenset(numeric), tuple(unread), rows)


def _opened(path: Path) -> "pq.ParquetFile":
    try:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: Parquet is read by pyarrow, which is not installed: pip install 'plant-monitor[parquet]'"
        ) from error

    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: this is no Parquet file that can be read: {error}") from error


def _kind(kind: "pa.DataType") -> str:
    """Return "number" or "text" for a type whose values become cells; empty for another type."""
    from pyarrow import types  # noqa: PLC0415

    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    texts = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    times = types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind)
    return "text" if texts or times or types.is_boolean(kind) or types.is_null(kind) else ""


def _texts(column: "pa.Array") -> "pa.Array":
    """Return the cells of a column as texts."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow import types  # noqa: PLC0415

    kind = column.type
    if types.is_dictionary(kind):
        return _texts(column.dictionary_decode())
    if types.is_timestamp(kind):  # whole ms, as the decoder reads them
        column = column.cast(pa.timestamp("ms", "UTC" if kind.tz else None), safe=False)
    elif types.is_float16(kind):
        column = column.cast(pa.float32())
    text = column.cast(pa.large_string())
    return pc.replace_substring_regex(text, _MARKS, " ") if types.is_large_string(kind) or _is_text(kind) else text


def _is_text(kind: "pa.DataType") -> bool:
    from pyarrow import types  # noqa: PLC0415

    return bool(types.is_string(kind) or types.is_string_view(kind))
