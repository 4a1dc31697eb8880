"""Files keep the promises of every source and sink that can be kept without a broker."""

import base64
import json
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from monitor.connectors.files.sink import FileSink
from monitor.connectors.files.source import FileSource, OffsetOptions
from monitor.core.records import Partition, Record
from tests.contracts.sink_contract import ByteSinkContract, PlainRecords
from tests.contracts.source_contract import SourceContract


class _SourceHarness:
    patience = 5.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = count()
        self.committed: dict[str, dict[Partition, int]] = {}

    def partitions(self, count: int) -> list[Partition]:
        parts = [Partition(f"file-{next(self.names)}", number) for number in range(count)]
        for part in parts:
            self.path(part).touch()
        return parts

    def path(self, partition: Partition) -> Path:
        return self.directory / f"{partition.topic}.jsonl"

    def fill(self, partition: Partition, values: Sequence[bytes]) -> None:
        with self.path(partition).open("ab") as file:
            file.writelines(value + b"\n" for value in values)

    def source(self, partitions: Sequence[Partition], group: str) -> FileSource:
        def save(offsets: Mapping[Partition, int]) -> None:
            self.committed[group] = dict(offsets)

        return FileSource(
            [self.path(part) for part in partitions], offsets=OffsetOptions(self.committed.get(group, {}), save)
        )


class _SinkHarness(PlainRecords):
    patience = 5.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = count()

    def topic(self) -> str:
        return f"topic-{next(self.names)}"

    def sink(self, bound: int) -> FileSink:
        return FileSink(self.directory, bound=bound)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Files may grow by 20 bytes only, so that a write stops in the middle of a line, as on a full disk."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        largest = max((path.stat().st_size for path in self.directory.glob("*")), default=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 20, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def read(self, topic: str) -> list[Record]:
        lines = (self.directory / f"{topic}.jsonl").read_bytes().split(b"\n")
        assert lines.pop() == b""
        return [_record(topic, json.loads(line)) for line in lines]

    def unacceptable(self, topic: str) -> Record:
        return Record(f"../{topic}", b"k", b"v")


def _record(topic: str, line: dict[str, Any]) -> Record:
    headers = [
        (name, _bytes(value) or b"")
        for name, values in line["headers"].items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return Record(topic, _bytes(line["key"]), _bytes(line["value"]), tuple(headers))


def _bytes(part: str | dict[str, str] | None) -> bytes | None:
    if isinstance(part, dict):
        return base64.b64decode(part["base64"])
    return None if part is None else part.encode()


class TestFileSource(SourceContract):
    """Files of JSON lines, each a partition."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> _SourceHarness:
        return _SourceHarness(tmp_path)


class TestFileSink(ByteSinkContract):
    """A directory of JSON lines."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> _SinkHarness:
        return _SinkHarness(tmp_path)
