"""Tables before their columns are known: files that are no table, and rows that are wider than the header."""

from collections import Counter
from collections.abc import Sequence

_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook: save the sheet as CSV"),
    (b"\x1f\x8b", "compressed with gzip: unpack it"),
    (b"PAR1", "Parquet: set source.format to parquet"),
    (b"{", "JSON: set source.format to jsonl"),
)


def refuse_foreign(head: bytes) -> None:
    """Raise ValueError if a file that begins with `head` is no text of lines."""
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise ValueError(f"expected CSV, and the file is {what}")
    if not head.strip(b"\xef\xbb\xbf\xfe\xff\r\n\0 "):
        raise ValueError("the file holds no line")
    if b"\r" in head and b"\n" not in head:
        raise ValueError("lines end with CR alone, as on old Macs: convert the file to LF or CRLF")


def fitted(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the header with the width of the rows, where only one of them ends with delimiters.

    Raises ValueError if most rows have another number of cells.
    """
    widths = Counter(len(row) for row in rows if len(row) > 1 or len(names) == 1)
    if not widths or 2 * widths[len(names)] >= widths.total():
        return list(names)

    width, number = widths.most_common(1)[0]
    own = [row for row in rows if len(row) == width]
    if width > len(names) and not any(cell.strip() for row in own for cell in row[len(names) :]):
        return [*names, *[""] * (width - len(names))]
    if width < len(names) and not any(names[width:]):
        return list(names[:width])
    raise ValueError(
        f"{number} of the first {widths.total()} rows have {width} cells, and the header has {len(names)} "
        f"({', '.join(names[:8])}): give each column a name, and the file one delimiter"
    )
