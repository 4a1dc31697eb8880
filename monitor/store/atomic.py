"""Files that must survive: temporary file, fsync, rename, fsync of the directory.

A reader sees the old file or the new one, never a part, whatever kills the writer. The writer holds a lock on its
temporary file as long as it lives. So a start can tell leftovers of a killed process (no lock: removed) from the file
that another process on the same volume is writing (locked: kept). File age could not: a process restarted every five
seconds would pile up gigabytes before the oldest file counts as old.

This module does not know about stores and raises plain OSError.
"""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

Data = bytes | Iterable[bytes | memoryview]  # parts are written one after another, without joining them in memory

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def write_atomic(path: Path, data: Data) -> int:
    """Write `data` to `path`, replacing an existing file, and return the bytes written. Returning means durable.

    1. Make the directory durable. 2. Write a temporary file next to `path`. 3. fsync it. 4. Rename it. 5. fsync the
    directory. Raises OSError with the old file in place and no temporary file left; only when step 5 fails is the new
    file in place without being known to be durable.
    """
    make_directory(path.parent)  # 1

    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # A file system without locks refuses here and in `remove_leftovers`: leftovers then simply stay.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            size = sum(file.write(part) for part in ((data,) if isinstance(data, bytes) else data))  # 2
            file.flush()
            os.fsync(file.fileno())  # 3
            temporary.replace(path)  # 4, still under the lock, so that the file is not taken for a leftover
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

    sync_directory(path.parent)  # 5
    return size


def make_directory(path: Path) -> None:
    """Create `path` with its parents, each entered durably into the directory above it. Raises OSError."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the entries of directory `path` (new, renamed, removed) durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(name: str) -> bool:
    """Return whether `name` (without directory) is one that `write_atomic` gives to a temporary file."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(directory: Path) -> int:
    """Remove the temporary files below `directory` whose writers are dead, and return how many. Raises OSError.

    A writer interrupted between creating and locking its file loses it and fails with OSError; it tries again later.
    """
    removed = 0
    for folder, _, names in os.walk(directory):
        for path in (Path(folder, name) for name in names if is_temporary(name)):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:  # its writer lives, or the file system has no locks
                    continue
                path.unlink()
                removed += 1
    return removed
