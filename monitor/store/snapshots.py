"""Snapshots of a partition's state, so that a restart continues with the same numbers.

A snapshot (partition, offset) is the state after every message below `offset`; it is written only after `offset` was
committed. On assignment the newest snapshot at or below the committed offset is loaded, and the messages from there on
are read again. An unusable snapshot is moved to quarantine/ with a notice, and the next older one is tried. That costs
a longer replay, never a wrong state.

A snapshot has one part for each detector, with the fingerprint of its settings and the version of its model, and a part
that all share. The caller decides whether a part still fits, and may use some parts and not others.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from monitor.core.records import Partition, State
from monitor.core.saved import Part, SavedDetectors
from monitor.store.base import Blobs, Notice, OnNotice, quarantine
from monitor.store.tensors import Damaged, pack, unpack

FORMAT = 2  # 1 had the state of a single detector

_FILE = re.compile(r"([0-9]{20})\.snap")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a partition after every message below `offset`."""

    partition: Partition
    offset: int  # next offset to read
    detectors: SavedDetectors


class _Entry(msgspec.Struct, frozen=True):
    """A detector in the metadata of a file."""

    model: str
    settings: str


class _UnusableError(Exception):
    """Why a file is unusable; `kind` as in `Notice`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Snapshots:
    """The snapshots in a store: snapshots/<topic>/<partition>/<offset, 20 digits>.snap."""

    def __init__(self, blobs: Blobs, on_notice: OnNotice, keep: int = 3) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._blobs = blobs
        self._on_notice = on_notice
        self._keep = keep  # per partition; one would do if disks never failed

    def save(self, snapshot: Snapshot) -> int:
        """Write a snapshot durably, delete all but the newest `keep`, and return the bytes written.

        Snapshots at higher offsets are kept: a worker that was frozen while another took over must not delete the
        other's snapshots. The same snapshot gives the same bytes. Raises StoreUnavailable, with every older snapshot
        still in place, and ValueError for a state that is not plain arrays.
        """
        if snapshot.offset < 0:
            raise ValueError(f"offsets are not negative: {snapshot.offset}")

        parts = snapshot.detectors.parts
        entries = {name: _Entry(part.model, part.fingerprint) for name, part in parts.items()}
        metadata = {
            "format": str(FORMAT),
            "topic": snapshot.partition.topic,
            "partition": str(snapshot.partition.number),
            "offset": str(snapshot.offset),
            "detectors": msgspec.json.encode(entries).decode(),
        }
        arrays = dict(snapshot.detectors.shared)  # names without a slash; a detector's begin with its name and a slash
        arrays |= {f"{name}/{key}": array for name, part in parts.items() for key, array in part.state.items()}
        name = f"{_directory(snapshot.partition)}/{snapshot.offset:020d}.snap"
        size = self._blobs.write(name, pack(arrays, metadata))

        # Only after the write: an older snapshot must stay until this one is durable.
        older = [name for offset, name in self._newest_first(snapshot.partition) if offset <= snapshot.offset]
        for name in older[self._keep :]:
            self._blobs.delete(name)
        return size

    def newest(self, partition: Partition, at_most: int) -> Snapshot | None:
        """Return the newest usable snapshot at or below `at_most` (the committed offset), or None.

        The partition's owner calls it when it starts. Unusable files are moved to quarantine/, each with a notice:
        damaged ones ("corrupt"), and those of a later or earlier program ("newer", "older").
        Snapshots above `at_most` are skipped: see `stale`. Raises StoreUnavailable; that moves nothing to quarantine/.
        """
        for offset, name in self._newest_first(partition):
            if offset > at_most:
                continue
            try:
                return _parse(self._blobs.read(name), partition, offset)
            except FileNotFoundError:  # removed since it was listed
                continue
            except _UnusableError as error:
                self._quarantine(name, error.kind, str(error))
        return None

    def stale(self, partition: Partition, at_most: int) -> list[int]:
        """Return the offsets of the snapshots above `at_most`, the committed offset.

        Either they belong to an abandoned past, because the topic was recreated or the group's offsets were moved back.
        Or the caller was slow, and another worker owns the partition by now. So quarantine them only after a commit has
        proved the ownership, and soon, since the committed offset may pass them.
        """
        return [offset for offset, _ in self._newest_first(partition) if offset > at_most]

    def quarantine(self, partition: Partition, offsets: Sequence[int]) -> None:
        """Move the snapshots at these offsets to quarantine/, with a notice each. Raises StoreUnavailable."""
        for offset in offsets:
            reason = f"offset {offset} was above the committed offset when the partition was assigned"
            self._quarantine(f"{_directory(partition)}/{offset:020d}.snap", "beyond", reason)

    def _quarantine(self, name: str, kind: str, reason: str) -> None:
        moved = quarantine(self._blobs, name, kind)
        if moved is not None:
            self._on_notice(Notice(kind, name, moved, reason))

    def _newest_first(self, partition: Partition) -> Iterator[tuple[int, str]]:
        directory = _directory(partition)
        for name in reversed(self._blobs.names(directory)):  # 20 digits: names sort as their offsets do
            match = _FILE.fullmatch(name.removeprefix(f"{directory}/"))
            if match is not None:
                yield int(match[1]), name


def _directory(partition: Partition) -> str:
    return f"snapshots/{partition.topic}/{partition.number}"


def _parse(data: bytes, partition: Partition, offset: int) -> Snapshot:
    """Return the snapshot in `data`, which must be of this partition and offset. Raises _UnusableError."""
    try:
        arrays, metadata = unpack(data)
    except Damaged as error:
        raise _UnusableError("corrupt", str(error)) from error

    written = metadata.get("format", "")
    if written != str(FORMAT):
        raise _other_format(written)

    # A file may have been copied or renamed by hand.
    place = (metadata.get("topic"), metadata.get("partition"), metadata.get("offset"))
    if place != (partition.topic, str(partition.number), str(offset)):
        raise _UnusableError("corrupt", f"holds {place}, which differs from its name")
    try:
        entries = msgspec.json.decode(metadata.get("detectors", ""), type=dict[str, _Entry])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _UnusableError("corrupt", f"its list of detectors is unreadable ({error})") from error

    shared = {key: array for key, array in arrays.items() if "/" not in key}
    states: dict[str, State] = {name: {} for name in entries}
    for key in arrays.keys() - shared.keys():
        name, _, own = key.partition("/")
        if name not in states:
            raise _UnusableError("corrupt", f"has {key!r}, which is of no detector that it lists")
        states[name][own] = arrays[key]
    parts = {name: Part(entry.model, entry.settings, states[name]) for name, entry in entries.items()}
    return Snapshot(partition, offset, SavedDetectors(shared, parts))


def _other_format(written: str) -> _UnusableError:
    """Return why a file of another format is unusable."""
    number = int(written) if re.fullmatch("[0-9]{1,9}", written) else 0
    if 0 < number < FORMAT:
        reason = f"written by an earlier version (format {number}, expected {FORMAT}); the state is built up again"
        return _UnusableError("older", reason)
    return _UnusableError("newer" if number > FORMAT else "corrupt", f"format {written[:20]!r} is not {FORMAT}")
