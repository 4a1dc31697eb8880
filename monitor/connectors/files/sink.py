"""A directory with a file of JSON lines per topic as a sink; "-" is standard output.

A record that is one line of JSON by its content type is written as it is; its key and its `ce_` headers repeat parts of
it. Any other record, such as a dead letter, gets an envelope that keeps all its parts:

    {"key": "pump-1", "value": {"base64": "AP8="}, "headers": {"why": "…", "twice": ["1", "2"]}}

Parts that are not UTF-8 become base64. After a flush a file ends with a whole line, whatever failed: its durable length
is remembered, and anything written beyond it is cut off before the next attempt. A partial line left by a crash is
moved to `<topic>.torn` at the next write to the topic. A file belongs to one process at a time.

The sink does not rotate files, and knows no partitions.
"""

import base64
import fcntl
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from monitor.connectors.base import Invalid, Unavailable
from monitor.core.published import CONNECT
from monitor.core.records import Record

_TOPIC = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._-]{1,200}")  # a file name of at most 255 with what is appended


def _no_notice(_: str) -> None:
    """Ignore a notice."""


class FileSink:
    """Records into files; see `base.Sink`."""

    def __init__(
        self,
        directory: str | Path,
        *,
        bound: int = 100_000,
        fsync: bool = True,
        on_notice: Callable[[str], None] = _no_notice,
    ) -> None:
        """See the module.

        Args:
            directory: Directory of the files; created if missing. "-" = standard output.
            bound: Records buffered between two flushes; an empty buffer takes one call of any length.
            fsync: Whether a flush waits for the disk; without it a power cut may lose flushed records.
            on_notice: Receives a text about each partial line that was moved.
        """
        self._directory = None if str(directory) == "-" else Path(directory)
        self._bound = bound
        self._fsync = fsync
        self._on_notice = on_notice
        self._buffer: list[Record] = []
        self._files: dict[str, _Appender] = {}

    def open(self) -> None:
        """Create the directory. Raises OSError if that is impossible."""
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)

    def write(self, records: Sequence[Record]) -> None:
        """Accept all records, or raise Unavailable and accept none of them."""
        if self._buffer and len(self._buffer) + len(records) > self._bound:
            raise Unavailable(f"{len(self._buffer)} records wait to be flushed, at most {self._bound} may")
        self._buffer += records

    def flush(self, timeout: float) -> None:  # noqa: ARG002 - a disk cannot be given a deadline
        """Write the buffer, topic by topic. A closed standard output raises BrokenPipeError: it cannot be reopened."""
        rejected = [(record, "not a legal file name") for record in self._buffer if not _TOPIC.fullmatch(record.topic)]
        good = [record for record in self._buffer if _TOPIC.fullmatch(record.topic)]
        if self._directory is None:
            sys.stdout.buffer.write(b"".join(map(line, good)))
            sys.stdout.buffer.flush()
        else:
            self._append(self._directory, good)

        self._buffer.clear()
        if rejected:
            raise Invalid(f"topic {rejected[0][0].topic[:60]!r}: {rejected[0][1]}", rejected)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._buffer.clear()

    def _append(self, directory: Path, records: Sequence[Record]) -> None:
        """Write the records. Raises Unavailable; the buffer then lacks the topics that were written completely."""
        # Topic by topic, so that a full disk costs only the topics that were not written yet.
        for topic in dict.fromkeys(record.topic for record in records):
            try:
                if topic not in self._files:
                    file = _Appender(directory / f"{topic}.jsonl", fsync=self._fsync)
                    if torn := file.open():
                        self._on_notice(f"{topic}: moved {torn} bytes of a partial line to {topic}.torn")
                    self._files[topic] = file
                self._files[topic].append(b"".join(line(record) for record in records if record.topic == topic))
            except OSError as error:
                raise Unavailable(f"cannot write {directory / topic}.jsonl: {error}") from error
            self._buffer = [record for record in self._buffer if record.topic != topic]


class _Appender:
    """One file, open and locked. Every method raises OSError."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._path = path
        self._fsync = fsync
        self._end = 0  # everything before it is durable

    def open(self) -> int:
        """Open and lock the file, move a last line without an end to the file `.torn`, and return its length."""
        self._file = self._path.open("ab", buffering=0)
        try:
            self._lock()
            self._end = self._file.tell()
            torn = self._last_line()
            if torn:
                with self._path.with_suffix(".torn").open("ab") as file:
                    file.write(torn + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                self._end -= len(torn)  # where `append` cuts
            self._sync_directory()
        except BaseException:
            self._file.close()
            raise
        return len(torn)

    def append(self, data: bytes) -> None:
        """Append durably. After a failure the next call first cuts off the bytes that this call may have written."""
        # A failed write may have left a part of a line.
        self._file.truncate(self._end)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        if self._fsync:
            os.fsync(self._file.fileno())
        self._end += len(data)

    def close(self) -> None:
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OSError(error.errno, "another process writes to it", str(self._path)) from error

    def _last_line(self) -> bytes:
        """Return the bytes behind the last line end."""
        begin, tail = self._end, b""
        with self._path.open("rb") as file:
            while begin and b"\n" not in tail:
                begin = max(begin - 65_536, 0)
                file.seek(begin)
                tail = file.read(self._end - begin)
        return tail.rpartition(b"\n")[2]

    def _sync_directory(self) -> None:
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def line(record: Record) -> bytes:
    """Return the record as a line, with its end."""
    letter = any(name.startswith(CONNECT) for name, _ in record.headers)  # its headers repeat nothing
    json_line = ("content-type", b"application/json") in record.headers and record.value and b"\n" not in record.value
    if json_line and not letter:
        return (record.value or b"") + b"\n"

    headers: dict[str, list[object]] = {}
    for name, value in record.headers:
        headers.setdefault(name, []).append(_text(value))
    envelope = {
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": {name: values if len(values) > 1 else values[0] for name, values in headers.items()},
    }
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _text(value: bytes | None) -> object:
    """Return text for UTF-8, an object with base64 for other bytes."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value or b"").decode()}
