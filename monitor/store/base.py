"""The protocol of stores: named bytes that survive. Snapshots and models depend on it alone.

A name is a path of plain segments ("snapshots/readings/3/00000000000000000042.snap"). Only the characters that Kafka
allows in topic names pass, so a name cannot leave the store. A damaged file is moved to quarantine/, not deleted: it is
evidence, and sometimes the only copy.

No call takes a timeout: the file system's own limits apply. See `files.py` for fsspec.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from monitor.store.atomic import Data

# Files kept per quarantined directory, newest first: enough to see a pattern, and at 42 MB per snapshot of 1000 assets
# far from filling a disk when every restart adds another one.
QUARANTINE_KEEP = 8

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")
_QUARANTINED = re.compile(r"([0-9]{6})-.+")


class StoreUnavailable(Exception):  # noqa: N818 - reads as the state it reports
    """The store cannot be read or written for now: disk full, read-only, no network. Its contents are still there."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Notice:
    """A file of the store was unusable and was moved to quarantine/."""

    kind: str  # "corrupt" | "newer" | "older" | "beyond"
    name: str  # before the move
    quarantined: str  # after it
    reason: str  # a sentence


OnNotice = Callable[[Notice], None]


class Blobs(Protocol):
    """Named bytes under one root. Every method raises ValueError for an illegal name."""

    def open(self) -> None:
        """Reach the store and remove the leftovers of killed writers. Raises StoreUnavailable."""

    def read(self, name: str) -> bytes:
        """Return the bytes last written under `name`. Raises FileNotFoundError if there are none, StoreUnavailable."""

    def write(self, name: str, data: Data) -> int:
        """Write `data` under `name`, whole or not at all, and return its size; returning means durable.

        Raises StoreUnavailable; the previous bytes are then still there.
        """

    def names(self, prefix: str) -> list[str]:
        """Return all names below the directory `prefix`, at any depth, sorted. Raises StoreUnavailable."""

    def rename(self, old: str, new: str) -> None:
        """Move bytes to another name. Raises FileNotFoundError if `old` does not exist, StoreUnavailable."""

    def delete(self, name: str) -> None:
        """Remove `name`, if it exists. Raises StoreUnavailable."""


def check_name(name: str) -> str:
    """Return `name` if it is a path of allowed segments; raises ValueError."""
    segments = name.split("/")
    if not all(_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments):
        raise ValueError(f"not a name for a store: {name[:300]!r}")
    if segments[-1].endswith(".tmp"):
        raise ValueError(f"names ending in .tmp are reserved for temporary files: {name[:300]!r}")
    return name


def quarantine(blobs: Blobs, name: str, kind: str) -> str | None:
    """Move `name` below quarantine/ and return its new name, or None if another process removed it meanwhile.

    The new name carries a running number and `kind`. Of each directory the newest `QUARANTINE_KEEP` are kept.
    Raises StoreUnavailable.
    """
    directory, _, file = f"quarantine/{name}".rpartition("/")
    kept = [other for other in blobs.names(directory) if _QUARANTINED.fullmatch(other.removeprefix(f"{directory}/"))]

    # A running number keeps several files of one name apart.
    number = int(kept[-1].removeprefix(f"{directory}/")[:6]) + 1 if kept else 1
    new = f"{directory}/{number:06d}-{kind}-{file}"
    try:
        blobs.rename(name, new)
    except FileNotFoundError:
        return None

    for old in kept[: max(0, len(kept) + 1 - QUARANTINE_KEEP)]:
        blobs.delete(old)
    return new
