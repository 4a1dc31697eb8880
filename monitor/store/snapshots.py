"""Snapshots of a partition's state, so that a restart continues with the very numbers it stopped with.

A snapshot (partition, offset) is the state after every message below `offset`; it is written only after `offset` was
committed. On assignment the newest one not beyond the committed offset is taken, and the messages from there on are
read again. One that cannot be used is set aside under quarantine/ with a notice, and the next older one is tried:
that costs a longer replay, never a wrong state.

A store serves one detector: two with different settings would set each other's snapshots aside.
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
    model: str  # version of the model that was in use, "" = none yet
    state: State
    settings: str  # fingerprint of the settings that shape the state


class _UnusableError(Exception):
    """Why a file cannot serve; `kind` as in `Notice`."""

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
        """Write a snapshot durably, drop those beyond the newest `keep`, and return the bytes written.

        Offsets above this one are not touched: a worker that was frozen while another took over must not remove what
        the other wrote. The same snapshot gives the same bytes. Raises StoreUnavailable, with every older snapshot
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
        older = [name for offset, name in self._newest_first(snapshot.partition) if offset <= snapshot.offset]
        for name in older[self._keep :]:
            self._blobs.delete(name)
        return size

    def newest(self, partition: Partition, at_most: int, settings: str) -> Snapshot | None:
        """The newest usable snapshot with offset <= `at_most` (the committed offset), or None.

        To be called by the owner of the partition when it starts. Set aside, each with a notice, are files that are
        damaged ("corrupt"), of a later program ("newer") or of other settings ("foreign"). Those beyond `at_most` are
        passed over: see `beyond`. Raises StoreUnavailable; nothing is set aside because of that.
        """
        for offset, name in self._newest_first(partition):
            if offset > at_most:
                continue
            try:
                return _parse(self._blobs.read(name), partition, offset, settings)
            except FileNotFoundError:  # removed since it was listed
                continue
            except _UnusableError as error:
                self._set_aside(name, error.kind, str(error))
        return None

    def beyond(self, partition: Partition, at_most: int) -> list[int]:
        """Offsets of the snapshots beyond `at_most`, the committed offset.

        Either they belong to a past that was given up, since the topic was made anew or the group's offsets were moved
        back; or whoever asks was slow, and somebody else owns the partition by now. So they may be set aside only
        after a commit has shown who is the owner; before long, since the committed offset may pass them.
        """
        return [offset for offset, _ in self._newest_first(partition) if offset > at_most]

    def give_up(self, partition: Partition, offsets: Sequence[int]) -> None:
        """Set these aside, with a notice each. Raises StoreUnavailable."""
        for offset in offsets:
            reason = f"offset {offset} lay beyond the committed offset when the partition was taken over"
            self._set_aside(f"{_directory(partition)}/{offset:020d}.snap", "beyond", reason)

    def _set_aside(self, name: str, kind: str, reason: str) -> None:
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
    """The snapshot in `data`, which must be of the given place. Raises _UnusableError."""
    try:
        state, metadata = unpack(data)
    except Damaged as error:
        raise _UnusableError("corrupt", str(error)) from error
    written = metadata.get("format", "")
    if written != str(FORMAT):
        kind = "newer" if re.fullmatch("[0-9]{1,9}", written) and int(written) > FORMAT else "corrupt"
        raise _UnusableError(kind, f"format {written[:20]!r} is not {FORMAT}")
    place = (metadata.get("topic"), metadata.get("partition"), metadata.get("offset"))
    if place != (partition.topic, str(partition.number), str(offset)):
        raise _UnusableError("corrupt", f"holds {place}, which is not what its name says")
    if metadata.get("settings") != settings:
        raise _UnusableError("foreign", "written under other settings, so its state would not fit")
    return Snapshot(partition, offset, metadata.get("model", ""), state, settings)
