"""Rows of a file or of standard input, numbered from 0, for `files.FileSource`: here lines as they are.

A row is the value of a message and the time it tells of, if that is known. Blank lines carry nothing: they have a
number but give no row. Tables (CSV, npz) are in `file_tables.py`.
"""

import os
import select
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

# Sixteen times the largest message Kafka takes by default. A longer line is cut there, so that a file without line
# ends cannot fill the memory; what is left of it is no valid message and ends as a dead letter.
MAX_LINE = 16 * 1024 * 1024

# Lines whose times are asked for at once, and bytes after which no more are taken: of one line at a time, the decoder
# costs 90 µs whatever is in it, of 500 at once 23 µs each (wide lines of 8 channels; benchmarks/backtest.py).
LINES, BYTES = 500, 1024 * 1024

TimesOf = Callable[[Sequence[bytes]], list[int | None]]  # the times (ms UTC) lines tell of, None where one tells none


class Row(NamedTuple):
    """One message in the making."""

    number: int
    value: bytes
    time: int | None  # ms UTC


class Rows(Protocol):
    """The rows of one partition. `open` comes first; `take` never waits."""

    repeatable: bool  # whether row n is the same at the next start, so that a committed offset means something then

    def open(self) -> None:
        """Look at the beginning. Raises OSError if it cannot be read, ValueError if it is not what it should be."""

    def start(self, number: int) -> None:
        """Let the next row be `number` or, if that gives none, the first after it."""

    def take(self) -> Row | None:
        """The next row; None if there is none yet, or none any more."""

    def finished(self) -> bool:
        """Whether no row will come any more; asked after `take` gave none."""

    def waits_for(self) -> int | None:
        """The file descriptor to wait for when there is no row yet; None if waiting does not help."""

    def left(self, number: int) -> int:
        """How many rows from `number` on are known of."""

    def close(self) -> None:
        """Close the file."""


class FileRows:
    """Rows of a regular file, which is taken as complete: what is appended later may be seen or not."""

    repeatable = True

    def __init__(self, read: Callable[[int], Generator[Row, None, None]], prepare: Callable[[], int]) -> None:
        self._read = read  # the rows from a number on
        self._prepare = prepare  # looks at the file and counts the rows
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
            self._rows.close()  # and with it the file
        self._finished = True


class PipeRows:
    """Lines of a descriptor that may have nothing to read for a while, such as standard input."""

    repeatable = False

    def __init__(self, descriptor: int, times_of: TimesOf | None) -> None:
        self._descriptor = descriptor
        self._times_of = times_of
        self._lines: deque[bytes] = deque()
        self._rest = b""  # of a line whose end has not come yet
        self._cutting = False  # inside a line longer than MAX_LINE, whose beginning was delivered
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
        self._ended = not data
        *lines, rest = (self._rest + data).split(b"\n")
        if lines and self._cutting:
            lines, self._cutting = lines[1:], False
        self._lines.extend(lines)
        if self._cutting:
            rest = b""
        elif len(rest) > MAX_LINE or (self._ended and rest):
            self._lines.append(rest)
            self._cutting = True
        self._rest = rest


def json_lines(path: Path, times_of: TimesOf | None) -> FileRows:
    """The lines of a file, as they are."""

    def read(start: int) -> Generator[Row, None, None]:
        with path.open("rb") as file:
            for batch in _batches(islice(enumerate(lines(file)), start, None)):
                times = times_of([line for _, line in batch]) if times_of else [None] * len(batch)
                for (number, line), time in zip(batch, times, strict=True):
                    yield Row(number, line, time)

    return FileRows(read, lambda: count_lines(path))


def _batches(numbered: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Lines that are not blank, some at a time."""
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
    """Lines without their ends, each cut after MAX_LINE + 1 bytes."""
    while line := file.readline(MAX_LINE + 1):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE)
        yield line.rstrip(b"\r\n")


def count_lines(path: Path) -> int:
    """How many lines the file has; a last one without an end counts."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")
