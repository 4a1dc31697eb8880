"""Recorded readings as a source, and a directory of JSON lines as a sink.

Every path is a partition of its own: the topic is called after the file, the number is the path's place in the list,
the offset is the number of the row. A group has one member only, so nothing is ever taken away. With `speed` above 0
the rows come in the rhythm in which they were recorded: one is due when as much time has passed since the first poll,
times `speed`, as lies between the first row and it. "-" is standard input.

It does not follow a file that grows, and does not read archives or compressed files.
"""

import math
import re
import select
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from monitor.connectors.base import OnAssign, OnRevoke, Unavailable
from monitor.connectors.files.lines import PipeRows, Row, Rows, TimesOf, json_lines
from monitor.connectors.files.sink import FileSink
from monitor.connectors.files.tables import csv_rows, legal, npz_rows
from monitor.core.records import Message, Partition

__all__ = ["FileSink", "FileSource"]

FORMATS = ("jsonl", "csv", "npz")

Save = Callable[[Mapping[Partition, int]], None]


def _wait(descriptors: Sequence[int], seconds: float) -> None:
    select.select(descriptors, [], [], seconds)


def _no_notice(_: str) -> None:
    """What is said to nobody."""


class _Reader:
    """The rows of one partition, with the next one at hand."""

    def __init__(self, partition: Partition, rows: Rows) -> None:
        self.partition = partition
        self.rows = rows
        self._head: Row | None = None
        self._number = 0  # of the next row, unless the head knows better

    def start(self, number: int) -> None:
        self.rows.start(number)
        self._number = number

    def head(self) -> Row | None:
        """The next row, without taking it; None if there is none (yet)."""
        if self._head is None:
            self._head = self.rows.take()
        return self._head

    def take(self) -> None:
        """Take the head away."""
        if self._head is not None:
            self._number = self._head.number + 1
            self._head = None

    def ended(self) -> bool:
        return self.head() is None and self.rows.finished()

    def left(self) -> int:
        return self.rows.left(self._number)


class FileSource:
    """Messages from files; see `base.Source`, and the module for what a path becomes.

    Args:
        paths: Files, or "-" for standard input, whose offsets mean nothing at the next start and are not kept.
        format: "jsonl" (each line a message), "csv" or "npz" (each row a message of the format json_wide).
        asset: The asset of the rows of csv and npz; empty = called after the file.
        ignore: Columns of csv that are no channels.
        time_column: The time column of csv; empty = the one called datetime, timestamp or time.
        times_of: The times (ms UTC) lines of jsonl tell of; needed for `speed`. csv and npz know theirs.
        speed: 0 = as fast as possible, 1 = as recorded, 60 = a minute per second.
        committed: Offsets committed before.
        save: Makes all committed offsets durable; an OSError is taken as "not for now". None = kept in memory.
        on_notice: Told of what is odd but no error: columns left out, a start behind the end.
        now: A clock, in seconds.
        wait: Waits for one of the descriptors or the seconds, whatever comes first.
        stdin: The descriptor that "-" stands for.

    Raises:
        ValueError: If the arguments contradict one another.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        format: str = "jsonl",  # noqa: A002 - the word in the settings
        *,
        asset: str = "",
        ignore: Sequence[str] = (),
        time_column: str = "",
        times_of: TimesOf | None = None,
        speed: float = 0.0,
        committed: Mapping[Partition, int] | None = None,
        save: Save | None = None,
        on_notice: Callable[[str], None] = _no_notice,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[Sequence[int], float], None] = _wait,
        stdin: int = 0,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
        if speed and format == "jsonl" and times_of is None:
            raise ValueError("speed needs to know the time of a line: give times_of, or set speed to 0")
        if speed < 0:
            raise ValueError(f"speed must not be negative, got {speed}")
        if "-" in map(str, paths) and (format != "jsonl" or len(paths) > 1):
            raise ValueError("standard input (-) must be jsonl and the only path")
        self._paths, self._format, self._asset, self._ignore = tuple(paths), format, asset, tuple(ignore)
        self._time_column, self._times_of, self._speed = time_column, times_of, speed
        self._committed, self._save = dict(committed or {}), save
        self._on_notice, self._now, self._wait, self._stdin = on_notice, now, wait, stdin
        self._readers: dict[Partition, _Reader] = {}
        self._assigned = False
        self._paused: set[Partition] = set()
        self._turn = 0  # which partition is asked first
        self._origin: tuple[float, int] | None = None  # clock and row time at the first poll

    def open(self, on_assign: OnAssign, on_revoke: OnRevoke, on_lost: OnRevoke) -> None:  # noqa: ARG002 - never lost
        """Look at all files. Raises OSError for one that cannot be read, ValueError for one not as it should be."""
        self._on_assign, self._on_revoke = on_assign, on_revoke
        readers = [self._reader(number, str(path)) for number, path in enumerate(self._paths)]
        for reader in readers:
            reader.rows.open()
        self._readers = {reader.partition: reader for reader in readers}
        self._paused.clear()
        self._origin = None

    def poll(self, limit: int, timeout: float) -> list[Message]:
        if not self._assigned:
            self._assign()
        deadline = self._now() + timeout
        while True:
            messages = self._take(limit)
            left = deadline - self._now()
            if messages or left <= 0:
                return messages
            active = [reader for part, reader in self._readers.items() if part not in self._paused]
            due = [self._due(row) for reader in active if (row := reader.head()) is not None]
            pipes = [fd for reader in active if reader.head() is None and (fd := reader.rows.waits_for()) is not None]
            self._wait(pipes, max(min([left, *(at - self._now() for at in due)]), 0.0))

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:  # noqa: ARG002 - a local file
        if not self._assigned or not offsets.keys() <= self._readers.keys():
            raise Unavailable("not assigned")
        committed = {**self._committed, **{p: at for p, at in offsets.items() if self._readers[p].rows.repeatable}}
        if self._save is not None:
            try:
                self._save(committed)
            except OSError as error:
                raise Unavailable(f"offsets were not saved: {error}") from error
        self._committed = committed

    def lag(self) -> dict[Partition, int]:
        return {part: reader.left() for part, reader in self._readers.items() if self._assigned}

    def held_up(self) -> str:
        """See `base.Source`: never, a file that cannot be read is raised."""
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
            return _Reader(Partition("stdin", number), PipeRows(self._stdin, self._times_of))
        file = Path(path)
        topic = re.sub(r"[^A-Za-z0-9._-]", "_", file.stem)[:249]  # as Kafka would have it
        asset = legal(self._asset or file.stem)
        rows: Rows
        if self._format == "jsonl":
            rows = json_lines(file, self._times_of)
        elif self._format == "csv":
            rows = csv_rows(file, asset, self._ignore, self._time_column, self._on_notice)
        else:
            rows = npz_rows(file, asset)
        return _Reader(Partition(topic, number), rows)

    def _assign(self) -> None:
        committed = {
            part: self._committed.get(part) if reader.rows.repeatable else None
            for part, reader in self._readers.items()
        }
        starts = self._on_assign(committed)
        for part, reader in self._readers.items():
            start = starts[part] or 0
            if start and reader.rows.repeatable and reader.rows.left(start - 1) == 0:
                self._on_notice(
                    f"{part.topic}: asked to start at row {start}, but there are fewer: is it another file?"
                )
            reader.start(start)
        self._assigned = True

    def _due(self, row: Row) -> float:
        """When the row is to be delivered, by the clock."""
        if not self._speed or row.time is None:
            return -math.inf
        if self._origin is None:
            heads = [head for reader in self._readers.values() if (head := reader.head()) is not None]
            self._origin = self._now(), min(head.time for head in heads if head.time is not None)
        begin, first = self._origin
        return begin + (row.time - first) / 1000 / self._speed

    def _take(self, limit: int) -> list[Message]:
        messages: list[Message] = []
        readers = [reader for part, reader in self._readers.items() if part not in self._paused]
        now = self._now()
        self._turn += 1
        for turn in range(len(readers)):
            reader = readers[(self._turn + turn) % len(readers)]
            while len(messages) < limit and (row := reader.head()) is not None and self._due(row) <= now:
                messages.append(Message(reader.partition, row.number, None, row.value, row.time or 0))
                reader.take()
        return messages
