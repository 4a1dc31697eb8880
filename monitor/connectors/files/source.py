"""Recordings as a source: files of JSON lines, CSV, Parquet or npz, or standard input ("-").

Each path is a partition: the topic is named after the file, the partition's number is the path's place in the list, and
offsets are row numbers. A group has one member only, so no partition is ever revoked before the end. With a `speed`
above 0 rows are delivered in the rhythm of the recording: a row is due when the time since the first poll, multiplied
by `speed`, reaches the time between the first row and this one.

It does not follow a growing file, and does not read archives or compressed files.
"""

import math
import re
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monitor.connectors.base import OnAssign, OnRevoke, Unavailable
from monitor.connectors.files.arrays import npz_rows
from monitor.connectors.files.layout import TableOptions
from monitor.connectors.files.lines import PipeRows, Row, Rows, TimesOf, line_rows
from monitor.connectors.files.tables import table_rows
from monitor.core.records import Message, Partition

FORMATS = ("jsonl", "csv", "parquet", "npz")


def _wait(descriptors: Sequence[int], seconds: float) -> None:
    select.select(descriptors, [], [], seconds)


def _no_notice(_: str) -> None:
    """Ignore a notice."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How fast rows are delivered."""

    speed: float = 0.0  # 0 = as fast as possible, 1 = as recorded, 60 = a minute per second
    times_of: TimesOf | None = None  # reads times from lines of jsonl; the others have their own
    now: Callable[[], float] = time.monotonic  # s
    wait: Callable[[Sequence[int], float], None] = _wait  # returns when a descriptor is readable, or after the seconds


@dataclass(frozen=True, slots=True)
class OffsetOptions:
    """Where committed offsets come from, and where they go."""

    committed: Mapping[Partition, int] = field(default_factory=dict)
    save: Callable[[Mapping[Partition, int]], None] | None = None  # makes all offsets durable, or raises OSError


class _Reader:
    """The rows of one partition, with the next one at hand."""

    def __init__(self, partition: Partition, rows: Rows) -> None:
        self.partition = partition
        self.rows = rows
        self._head: Row | None = None
        self._number = 0  # of the next row, unless `_head` is set

    def start(self, number: int) -> None:
        self.rows.start(number)
        self._number = number

    def head(self) -> Row | None:
        """Return the next row without taking it; None if there is none (yet)."""
        if self._head is None:
            self._head = self.rows.take()
        return self._head

    def take(self) -> None:
        """Remove the row that `head` returned."""
        if self._head is not None:
            self._number = self._head.number + 1
            self._head = None

    def ended(self) -> bool:
        return self.head() is None and self.rows.finished()

    def left(self) -> int:
        return self.rows.left(self._number)


class FileSource:
    """Messages from files; see `base.Source`, and the module for partitions and offsets.

    Args:
        paths: Files, or "-" for standard input, whose offsets have no meaning at the next start and are not saved.
        format: "jsonl" (each line a message), "csv", "parquet" or "npz" (each row a message).
        tables: Of csv, parquet and npz.
        replay: How fast rows are delivered.
        offsets: Committed offsets; without `save` they are kept in memory.
        on_layout: Receives the layout of each csv or parquet file in words.
        on_notice: Receives remarks that are no errors: ignored columns, a start behind the end.
        stdin: The descriptor that "-" stands for.

    Raises:
        ValueError: If the arguments contradict one another.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        format: str = "jsonl",  # noqa: A002 - the word in the settings
        *,
        tables: TableOptions = TableOptions(),  # noqa: B008 - frozen
        replay: ReplayOptions = ReplayOptions(),
        offsets: OffsetOptions = OffsetOptions(),
        on_notice: Callable[[str], None] = _no_notice,
        on_layout: Callable[[str], None] = _no_notice,
        stdin: int = 0,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
        if replay.speed and format == "jsonl" and replay.times_of is None:
            raise ValueError("speed needs to know the time of a line: give times_of, or set speed to 0")
        if replay.speed < 0:
            raise ValueError(f"speed must not be negative, got {replay.speed}")
        if "-" in map(str, paths) and (format != "jsonl" or len(paths) > 1):
            raise ValueError("standard input (-) must be jsonl and the only path")

        self._paths = tuple(paths)
        self._format = format
        self._tables = tables
        self._replay = replay
        self._committed = dict(offsets.committed)
        self._save = offsets.save
        self._on_notice = on_notice
        self._on_layout = on_layout
        self._stdin = stdin

        self._readers: dict[Partition, _Reader] = {}
        self._assigned = False
        self._paused: set[Partition] = set()
        self._turn = 0  # the partition that the next poll begins with
        self._origin: tuple[float, int] | None = None  # clock and row time at the first poll

    def open(self, on_assign: OnAssign, on_revoke: OnRevoke, on_lost: OnRevoke) -> None:  # noqa: ARG002 - never lost
        """Check all files. Raises OSError for an unreadable file, ValueError for one of the wrong form."""
        self._on_assign = on_assign
        self._on_revoke = on_revoke

        readers = [self._reader(number, str(path)) for number, path in enumerate(self._paths)]
        for reader in readers:
            reader.rows.open()

        self._readers = {reader.partition: reader for reader in readers}
        self._paused.clear()
        self._origin = None

    def poll(self, limit: int, timeout: float) -> list[Message]:
        if not self._assigned:
            self._assign()

        now = self._replay.now
        deadline = now() + timeout
        while True:
            messages = self._take(limit)
            left = deadline - now()
            if messages or left <= 0:
                return messages

            # Wait for the next row that is due, or for a pipe to become readable.
            active = [reader for part, reader in self._readers.items() if part not in self._paused]
            due = [self._due(row) for reader in active if (row := reader.head()) is not None]
            pipes = [fd for reader in active if reader.head() is None and (fd := reader.rows.waits_for()) is not None]
            self._replay.wait(pipes, max(min([left, *(at - now() for at in due)]), 0.0))

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:  # noqa: ARG002 - a local file
        if not self._assigned or not offsets.keys() <= self._readers.keys():
            raise Unavailable("the partition is not assigned")

        kept = {part: offset for part, offset in offsets.items() if self._readers[part].rows.repeatable}
        committed = {**self._committed, **kept}
        if self._save is not None:
            try:
                self._save(committed)
            except OSError as error:
                raise Unavailable(f"offsets were not saved: {error}") from error
        self._committed = committed

    def lag(self) -> dict[Partition, int]:
        return {part: reader.left() for part, reader in self._readers.items() if self._assigned}

    def first_match(self) -> str:
        """See `base.Source`. Always empty: files are named by their paths."""
        return ""

    def stalled(self) -> str:
        """See `base.Source`. Always empty: an unreadable file raises."""
        return ""

    def ended(self) -> bool:
        return self._assigned and all(reader.ended() for reader in self._readers.values())

    def close(self) -> None:
        if not self._readers:
            return
        try:
            if self._assigned:
                self._on_revoke(list(self._readers))
        finally:
            readers, self._readers = self._readers, {}
            self._assigned = False
            for reader in readers.values():
                reader.rows.close()

    def _reader(self, number: int, path: str) -> _Reader:
        if path == "-":
            return _Reader(Partition("stdin", number), PipeRows(self._stdin, self._replay.times_of))

        file = Path(path)
        rows: Rows
        if self._format == "jsonl":
            rows = line_rows(file, self._replay.times_of)
        elif self._format in {"csv", "parquet"}:
            rows = table_rows(file, self._tables, self._on_notice, self._on_layout, self._format)
        else:
            rows = npz_rows(file, self._tables)

        topic = re.sub(r"[^A-Za-z0-9._-]", "_", file.stem)[:249]  # Kafka's rule
        return _Reader(Partition(topic, number), rows)

    def _assign(self) -> None:
        # An offset of standard input means nothing after a restart.
        committed = {
            part: self._committed.get(part) if reader.rows.repeatable else None
            for part, reader in self._readers.items()
        }
        starts = self._on_assign(committed)

        for part, reader in self._readers.items():
            start = starts[part] or 0
            if start and reader.rows.repeatable and reader.rows.left(start - 1) == 0:
                self._on_notice(f"{part.topic}: row {start} lies beyond the end of the file; was the file replaced?")
            reader.start(start)
        self._assigned = True

    def _due(self, row: Row) -> float:
        """Return when the row is to be delivered, in seconds of the clock."""
        if not self._replay.speed or row.time is None:
            return -math.inf

        # The recording begins with the earliest row of all files.
        if self._origin is None:
            heads = [head for reader in self._readers.values() if (head := reader.head()) is not None]
            self._origin = self._replay.now(), min(head.time for head in heads if head.time is not None)
        begin, first = self._origin
        return begin + (row.time - first) / 1000 / self._replay.speed

    def _take(self, limit: int) -> list[Message]:
        """Return up to `limit` messages that are due, beginning with another partition each time."""
        messages: list[Message] = []
        readers = [reader for part, reader in self._readers.items() if part not in self._paused]
        now = self._replay.now()
        self._turn += 1

        # A long file that fills every poll must not keep the others waiting.
        for turn in range(len(readers)):
            reader = readers[(self._turn + turn) % len(readers)]
            while len(messages) < limit and (row := reader.head()) is not None and self._due(row) <= now:
                messages.append(Message(reader.partition, row.number, row.key, row.value, row.time or 0))
                reader.take()
        return messages
