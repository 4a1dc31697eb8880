"""What every store offers: named bytes that survive. Snapshots and models are written against this and nothing else.

A name is a path of plain segments ("snapshots/readings/3/00000000000000000042.snap"). Only the characters that Kafka
allows in topic names pass, so a name can never leave the store. What turns out to be damaged is set aside under
quarantine/, not deleted: it is evidence, and sometimes the only copy.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from monitor.store.atomic import Data

# Files kept per quarantined directory, newest first: enough to see a pattern, and at 42 MB per snapshot of 1000 assets
# still far from filling a disk when every restart sets another one aside.
QUARANTINE_KEEP = 8

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")
_QUARANTINED = re.compile(r"([0-9]{6})-.+")


class StoreUnavailable(Exception):  # noqa: N818 - reads as the state it reports
    """The store cannot be read or written for now: disk full, read-only, no network. What it held is still there."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Notice:
    """Something in the store could not be used and was set aside."""

    kind: str  # "corrupt" | "newer" | "foreign" | "beyond"
    name: str  # where it was
    quarantined: str  # where it is now
    reason: str  # a sentence


OnNotice = Callable[[Notice], None]


class Blobs(Protocol):
    """Named bytes under one place. Every method raises ValueError for a name that is not allowed."""

    def open(self) -> None:
        """Reach the place and remove what killed writers left behind. Raises StoreUnavailable."""

    def read(self, name: str) -> bytes:
        """The bytes last written under `name`. Raises FileNotFoundError if there are none, StoreUnavailable."""

    def write(self, name: str, data: Data) -> int:
        """Put `data` under `name`, whole or not at all, and return its size; returning means durable.

        Raises StoreUnavailable; what was there before is then still there.
        """

    def names(self, prefix: str) -> list[str]:
        """Everything below the directory `prefix`, at any depth, sorted; empty if nothing. Raises StoreUnavailable."""

    def rename(self, old: str, new: str) -> None:
        """Move bytes to another name. Raises FileNotFoundError if `old` is not there, StoreUnavailable."""

    def delete(self, name: str) -> None:
        """Remove `name`; nothing happens if it is not there. Raises StoreUnavailable."""


def check_name(name: str) -> str:
    """Return `name` if it is a path of allowed segments; raises ValueError."""
    segments = name.split("/")
    if not all(_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments):
        raise ValueError(f"not a name for a store: {name[:300]!r}")
    if segments[-1].endswith(".tmp"):
        raise ValueError(f"names ending in .tmp are those of files in the making: {name[:300]!r}")
    return name


def quarantine(blobs: Blobs, name: str, kind: str) -> str | None:
    """Move `name` below quarantine/ and return its new name, or None if someone else removed it meanwhile.

    The new name carries a running number and `kind`. Of each directory the newest `QUARANTINE_KEEP` are kept.
    Raises StoreUnavailable.
    """
    directory, _, file = f"quarantine/{name}".rpartition("/")
    kept = [other for other in blobs.names(directory) if _QUARANTINED.fullmatch(other.removeprefix(f"{directory}/"))]
    number = int(kept[-1].removeprefix(f"{directory}/")[:6]) + 1 if kept else 1
    new = f"{directory}/{number:06d}-{kind}-{file}"
    try:
        blobs.rename(name, new)
    except FileNotFoundError:
        return None
    for old in kept[: max(0, len(kept) + 1 - QUARANTINE_KEEP)]:
        blobs.delete(old)
    return new
