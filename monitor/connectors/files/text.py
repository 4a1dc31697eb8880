"""Bytes of a text file as lines or rows in UTF-8, whatever encoding the file has.

The encoding is guessed from a bounded head: a byte order mark, zero bytes at every second place (UTF-16), otherwise
UTF-8. A head that is no UTF-8 is Windows-1252, of which Latin-1 is a part, unless it also holds good UTF-8 beyond
ASCII: then it is UTF-8 with damaged places.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from monitor.connectors.files.lines import MAX_LINE, count_lines, lines

ENCODINGS = {"utf-8": "utf-8", "utf-16": "utf-16", "latin-1": "cp1252"}  # of the setting -> of Python
HEAD_BYTES = 262_144  # looked at to guess the encoding
MOST_LINES = 32  # of one row; a quotation mark that is not closed by then is a cell's own
_QUOTED = re.compile(rb'(^|[,;\t|]) *+"(?:[^"]|"")*"(?= *+(?:[,;\t|]|$))')
_OPENS = re.compile(rb'(?:^|[,;\t|]) *+"')
_BYTES = 65_536  # a smaller head ends within a character


def encoding_of(head: bytes, wanted: str = "") -> str:
    """Return Python's name of the encoding of a file that begins with `head`; `wanted` is the setting."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if wanted and wanted != "utf-16":
        return ENCODINGS[wanted]

    # UTF-16 without a mark: mostly ASCII, so one byte of each pair is zero. A block of zeros is left by a power loss.
    head = head.rstrip(b"\0")
    pairs = head[: _BYTES // 2 * 2]
    half = max(1, len(pairs) // 2)
    if pairs[1::2].count(0) > 0.6 * half or wanted == "utf-16":
        return "utf-16-le" if pairs[1::2].count(0) >= pairs[0::2].count(0) else "utf-16-be"
    if pairs[0::2].count(0) > 0.6 * half:
        return "utf-16-be"

    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(head)
    except UnicodeDecodeError:
        good = any(ord(char) > 127 and char != "\ufffd" for char in head.decode("utf-8", "replace"))
        return "utf-8" if good else "cp1252"
    return "utf-8"


def text_rows(file: BinaryIO, encoding: str, fits: Callable[[int, bytes], bool] | None = None) -> Iterator[bytes]:
    """Yield the rows of a table: lines in UTF-8, and lines of one row, whose line ends are in quotes, as one.

    A mark of the encoding is dropped wherever it is, since exports are put together. A line of zero bytes is blank.
    A row of several lines that does not fit is no row: its lines are yielded. `fits` is called with number and row.
    """
    number = 0
    for held in _rows_of_lines(file, encoding):
        row = b" ".join(held) if len(held) > 1 else held[0]
        found = held if len(held) > 1 and fits is not None and not fits(number, row) else [row]
        number += len(found)
        yield from found


def _rows_of_lines(file: BinaryIO, encoding: str) -> Iterator[list[bytes]]:
    """Yield the lines of each row."""
    held: list[bytes] = []
    for line in text_lines(file, encoding):
        if not held and b'"' not in line and b"\0" not in line and not line.startswith(codecs.BOM_UTF8):
            yield [line]
            continue

        held.append(line.removeprefix(codecs.BOM_UTF8).strip(b"\0"))
        joined = b" ".join(held)
        if not _open(joined):
            yield held
            held = []
        elif len(held) == MOST_LINES or len(joined) > _BYTES:
            yield from ([each] for each in held)
            held = []
    yield from ([each] for each in held)


def is_a_row_a_line(path: Path, encoding: str) -> bool:
    """Return whether a file has nothing that `text_rows` treats otherwise than `text_lines`; a quick look."""
    if encoding != "utf-8":
        return False
    with path.open("rb") as file:
        end = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
        while block := file.read(1 << 20):
            seen = end + block
            if b'"' in seen or b"\0" in seen or codecs.BOM_UTF8 in seen:
                return False
            end = block[-2:]
    return b'"' not in end and b"\0" not in end


def _open(row: bytes) -> bool:
    """Return whether a row ends within a quoted cell."""
    return row.count(b'"') % 2 == 1 and _OPENS.search(_QUOTED.sub(rb"\1", row)) is not None


def text_lines(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield the lines in UTF-8 without their ends and without a byte order mark."""
    if encoding.startswith("utf-16"):
        with io.TextIOWrapper(file, encoding, "replace", newline="\n") as text:
            while line := text.readline(MAX_LINE):
                yield line.rstrip("\r\n").removeprefix("\ufeff").encode()
        return

    first = True
    for raw in lines(file):
        found = raw if encoding == "utf-8" else raw.decode(encoding, "replace").encode()
        yield found.removeprefix(codecs.BOM_UTF8) if first else found
        first = False


def count_text_lines(path: Path, encoding: str) -> int:
    """Count the lines of a file; a last line without an end counts."""
    if not encoding.startswith("utf-16"):
        return count_lines(path)
    with path.open("rb") as file:
        return sum(1 for _ in text_lines(file, encoding))
