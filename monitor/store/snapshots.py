"""Snapshots of a partition's state, so that a restart continues with the same numbers.

A snapshot (partition, offset) is the state after every message below `offset`; it is written only after `offset` was
committed. On assignment the newest snapshot at or below the committed offset is loaded, and the messages from there on
are read again. An unusable snapshot is moved to quarantine/ with a notice, and the next older one is tried. That costs
a longer replay, never a wrong state.

A store serves one detector: two detectors with different settings would quarantine each other's snapshots.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monitor.core.records import Partition, State
from monitor.store.base import Blobs, Notice, OnNotice, quarantine
from monitor.store.tensors import Damaged, pack, unpack

FORMAT = 1

_FILE = re.compile(r"([0-9]{20})\.snap")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a partition after every message below `offset`."""

    partition: Partition
    offset: int  # next offset to read
    model: str  # version of the model in use, "" = none yet
    state: State
    settings: str  # fingerprint of the settings that shape the state, and of its format


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

        metadata = {
            "format": str(FORMAT),
            "topic": snapshot.partition.topic,
            "partition": str(snapshot.partition.number),
            "offset": str(snapshot.offset),
            "model": snapshot.model,
            "settings": snapshot.settings,
        }
        name = f"{_directory(snapshot.partition)}/{snapshot.offset:020d}.snap"
        size = self._blobs.write(name, pack(snapshot.state, metadata))

        # Only after the write: an older snapshot must stay until this one is durable.
        older = [name for offset, name in self._newest_first(snapshot.partition) if offset <= snapshot.offset]
        for name in older[self._keep :]:
            self._blobs.delete(name)
        return size

    def newest(self, partition: Partition, at_most: int, settings: str) -> Snapshot | None:
        """Return the newest usable snapshot at or below `at_most` (the committed offset), or None.

        The partition's owner calls it when it starts. Unusable files are moved to quarantine/, each with a notice:
        damaged ones ("corrupt"), those of a later program ("newer"), and those with another fingerprint ("foreign").
        Snapshots above `at_most` are skipped: see `stale`. Raises StoreUnavailable; that moves nothing to quarantine/.
        """
        for offset, name in self._newest_first(partition):
            if offset > at_most:
                continue
            try:
                return _parse(self._blobs.read(name), partition, offset, settings)
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


def _parse(data: bytes, partition: Partition, offset: int, settings: str) -> Snapshot:
    """Return the snapshot in `data`, which must be of this partition and offset. Raises _UnusableError."""
    try:
        state, metadata = unpack(data)
    except Damaged as error:
        raise _UnusableError("corrupt", str(error)) from error

    written = metadata.get("format", "")
    if written != str(FORMAT):
        kind = "newer" if re.fullmatch("[0-9]{1,9}", written) and int(written) > FORMAT else "corrupt"
        raise _UnusableError(kind, f"format {written[:20]!r} is not {FORMAT}")

    # A file may have been copied or renamed by hand.
    place = (metadata.get("topic"), metadata.get("partition"), metadata.get("offset"))
    if place != (partition.topic, str(partition.number), str(offset)):
        raise _UnusableError("corrupt", f"holds {place}, which differs from its name")
    if metadata.get("settings") != settings:
        raise _UnusableError("foreign", "written under other settings or by another version; its state would not fit")
    return Snapshot(partition, offset, metadata.get("model", ""), state, settings)
