"""Rows of a file or of standard input, numbered from 0, for `FileSource`; this module reads lines as they are.

A row becomes the value of a message. Blank lines have a number but give no row. `tables.py` reads CSV and npz.
"""

import os
import select
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

# Sixteen times the largest message Kafka takes by default. A longer line is cut there, so that a file without line
# ends cannot fill the memory. The rest of the line is no valid message and ends as a dead letter.
MAX_LINE = 16 * 1024 * 1024

# Lines decoded at once for their times, and the bytes at which a batch ends. The decoder costs 90 µs a call whatever
# the line holds, but 23 µs a line in batches of 500 (wide lines of 8 channels; benchmarks/backtest.py).
LINES, BYTES = 500, 1024 * 1024

TimesOf = Callable[[Sequence[bytes]], list[int | None]]  # time in each line, ms UTC; None where a line holds none


class Row(NamedTuple):
    """One row of a file, before it becomes a message."""

    number: int
    value: bytes
    time: int | None  # ms UTC
    key: bytes | None = None


class Rows(Protocol):
    """The rows of one partition. `open` comes first; `take` never waits."""

    repeatable: bool  # whether row n is the same at the next start, so that a committed offset keeps its meaning

    def open(self) -> None:
        """Check the beginning. Raises OSError for an unreadable file, ValueError for one of the wrong form."""

    def start(self, number: int) -> None:
        """Continue with row `number` or, if that row is blank, with the first one after it."""

    def take(self) -> Row | None:
        """Return the next row; None if no row is there yet, or none is left."""

    def finished(self) -> bool:
        """Return whether no row is left; valid after `take` returned None."""

    def waits_for(self) -> int | None:
        """Return the file descriptor to wait for when no row is there yet; None if waiting does not help."""

    def left(self, number: int) -> int:
        """Return how many rows are known from `number` on."""

    def close(self) -> None:
        """Close the file."""


class FileRows:
    """Rows of a regular file. The file counts as complete: lines appended later may or may not be read."""

    repeatable = True

    def __init__(self, read: Callable[[int], Generator[Row, None, None]], prepare: Callable[[], int]) -> None:
        self._read = read  # yields the rows from a number on
        self._prepare = prepare  # checks the file and counts its rows
        self._count = 0
        self._rows: Generator[Row, None, None] | None = None
        self._finished = False

    def open(self) -> None:
        self._count = self._prepare()

    def start(self, number: int) -> None:
        self._rows = self._read(number)

    def take(self) -> Row | None:
        row = next(self._rows, None) if self._rows is not None else None
        self._finished = row is None
        return row

    def finished(self) -> bool:
        return self._finished

    def waits_for(self) -> int | None:
        return None

    def left(self, number: int) -> int:
        return 0 if self._finished else max(self._count - number, 0)

    def close(self) -> None:
        if self._rows is not None:
            self._rows.close()  # closes the file, too
        self._finished = True


class PipeRows:
    """Lines of a descriptor that may have nothing to read for a while, such as standard input."""

    repeatable = False

    def __init__(self, descriptor: int, times_of: TimesOf | None) -> None:
        self._descriptor = descriptor
        self._times_of = times_of
        self._lines: deque[bytes] = deque()
        self._rest = b""  # beginning of a line whose end has not come yet
        self._cutting = False  # inside a line longer than MAX_LINE whose beginning was delivered
        self._number = 0
        self._start = 0
        self._ended = False

    def open(self) -> None:
        os.fstat(self._descriptor)

    def start(self, number: int) -> None:
        self._start = number

    def take(self) -> Row | None:
        while True:
            while self._lines:
                number, line = self._number, self._lines.popleft().rstrip(b"\r")
                self._number += 1
                if line and number >= self._start:
                    return Row(number, line, self._times_of([line])[0] if self._times_of else None)

            if self._ended or not select.select([self._descriptor], [], [], 0)[0]:
                return None
            self._receive(os.read(self._descriptor, 65_536))

    def finished(self) -> bool:
        return self._ended

    def waits_for(self) -> int | None:
        return None if self._ended else self._descriptor

    def left(self, number: int) -> int:
        return max(self._number + len(self._lines) - number, 0)

    def close(self) -> None:
        self._lines.clear()
        self._ended = True

    def _receive(self, data: bytes) -> None:
        """Cut `data` into lines; no data means the end of the input."""
        self._ended = not data
        *lines, rest = (self._rest + data).split(b"\n")

        # The end of an overlong line: its beginning was delivered, so drop the rest.
        if lines and self._cutting:
            lines, self._cutting = lines[1:], False
        self._lines.extend(lines)

        if self._cutting:
            rest = b""
        elif len(rest) > MAX_LINE or (self._ended and rest):
            self._lines.append(rest)
            self._cutting = True
        self._rest = rest


def line_rows(path: Path, times_of: TimesOf | None) -> FileRows:
    """Return the lines of a file as they are."""

    def read(start: int) -> Generator[Row, None, None]:
        with path.open("rb") as file:
            for batch in _batches(islice(enumerate(lines(file)), start, None)):
                times = times_of([line for _, line in batch]) if times_of else [None] * len(batch)
                for (number, line), time in zip(batch, times, strict=True):
                    yield Row(number, line, time)

    return FileRows(read, lambda: count_lines(path))


def _batches(numbered: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the lines that are not blank in batches of at most LINES lines and about BYTES bytes."""
    batch: list[tuple[int, bytes]] = []
    size = 0

    for number, line in numbered:
        if line:
            batch.append((number, line))
            size += len(line)
        if len(batch) == LINES or size >= BYTES:
            yield batch
            batch, size = [], 0

    if batch:
        yield batch


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines without their ends, each cut after MAX_LINE + 1 bytes."""
    while line := file.readline(MAX_LINE + 1):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE)
        yield line.rstrip(b"\r\n")


def count_lines(path: Path) -> int:
    """Count the lines of a file; a last line without an end counts."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")
