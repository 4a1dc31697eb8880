"""Blobs in a local directory, or at any fsspec URL (object store, shared volume).

`LocalBlobs` is the default and the only one as durable as fsync. `FsspecBlobs` is as durable as the service behind it.
Object stores replace an object as a whole, so one put is enough; on every other file system the bytes go to a temporary
name first. fsspec has no timeout common to all its file systems: a call waits as long as the backend's own setting says
(set through the backend's environment variables or configuration files).
"""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec

from monitor.store.atomic import Data, is_temporary, make_directory, remove_leftovers, sync_directory, write_atomic
from monitor.store.base import Blobs, StoreUnavailable, check_name

# Here a put replaces the whole object or nothing, and directories do not exist.
ATOMIC_PUT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "memory"})

# A temporary file this old on a file system without locks has no writer any more: the largest write takes seconds.
LEFTOVER_AGE_S = 3600.0


def open_blobs(url: str) -> Blobs:
    """Open the store at `url`: a path, file://… or any URL that fsspec knows.

    Raises ValueError if no file system is known or installed for the URL, StoreUnavailable if it cannot be reached.
    """
    scheme, separator, place = url.partition("://")
    blobs: Blobs
    if not separator:
        blobs = LocalBlobs(Path(url))
    elif scheme == "file":
        if not place.startswith("/"):
            raise ValueError(f"a file URL has three slashes before the path (file:///…), not {url!r}")
        blobs = LocalBlobs(Path(unquote(place)))
    else:
        blobs = FsspecBlobs(url)
    blobs.open()
    return blobs


class LocalBlobs:
    """Blobs in a directory; several processes may share it, also over a network file system with locks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def open(self) -> None:
        """Create the directory and clear leftovers. See `Blobs.open`."""
        with _unavailable(str(self._directory)):
            make_directory(self._directory)
            remove_leftovers(self._directory)
            if not os.access(self._directory, os.W_OK | os.X_OK):
                raise StoreUnavailable(str(self._directory), "not writable by this user, or mounted read-only")

    def read(self, name: str) -> bytes:
        """See `Blobs.read`."""
        path = self._path(name)
        with (
            self._pinned() as root,
            _unavailable(str(path), missing_passes=True),
            os.fdopen(os.open(name, os.O_RDONLY, dir_fd=root), "rb") as file,
        ):
            return file.read()

    def write(self, name: str, data: Data) -> int:
        """See `Blobs.write`."""
        path = self._path(name)
        with _unavailable(str(path)):
            return write_atomic(path, data)

    def names(self, prefix: str) -> list[str]:
        """See `Blobs.names`. A missing store is unavailable, not empty."""
        top = self._path(prefix)
        with self._pinned() as root, _unavailable(str(top)):
            try:
                os.stat(prefix, dir_fd=root)
            except FileNotFoundError:
                return []
            found = [Path(folder, name) for folder, _, names in os.walk(top, onerror=_raise) for name in names]
        return sorted(path.relative_to(self._directory).as_posix() for path in found if not is_temporary(path.name))

    def rename(self, old: str, new: str) -> None:
        """See `Blobs.rename`."""
        source, target = self._path(old), self._path(new)
        with _unavailable(str(source), missing_passes=True):
            make_directory(target.parent)
            source.replace(target)
            sync_directory(target.parent)
            sync_directory(source.parent)

    def delete(self, name: str) -> None:
        """See `Blobs.delete`. A power cut may undo the removal; that is harmless, so nothing is synced."""
        path = self._path(name)
        with _unavailable(str(path)):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _pinned(self) -> Iterator[int]:
        """Yield a descriptor of the directory, so that a missing file is missing, and not just the whole store away.

        Searched by path, a store that comes back between two calls would seem empty, and state would be rebuilt.
        """
        with _unavailable(str(self._directory)):
            root = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield root
        finally:
            os.close(root)

    def _path(self, name: str) -> Path:
        return self._directory / check_name(name)


class _NoBackendError(ValueError):
    """No file system is known or installed for a URL: a mistake in the configuration, not a fault of the store."""


class FsspecBlobs:
    """Blobs at a URL that fsspec knows; credentials come from the backend's own environment, never from the URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._fs: Any = None
        self._root = ""
        self._atomic_put = False

    def open(self) -> None:
        """Reach the store by listing it and clear old leftovers. See `Blobs.open`; ValueError if no backend fits."""
        shown = re.sub("//[^/@]*@", "//", self._url)  # a password in a URL stays out of logs
        with _unavailable(shown, Exception):
            try:
                self._fs, root = fsspec.core.url_to_fs(self._url)  # type: ignore[no-untyped-call]
            except (ValueError, ImportError) as error:
                raise _NoBackendError(f"no file system for the store URL {shown!r}: {error}") from error

            self._root = root.rstrip("/")
            protocols = self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,)
            self._atomic_put = not ATOMIC_PUT.isdisjoint(protocols)
            if not self._atomic_put:
                self._fs.makedirs(self._root, exist_ok=True)

            # Without locks, only the age tells a leftover from a file being written.
            for path in self._find(self._root):
                if path.endswith(".tmp") and time.time() - self._fs.modified(path).timestamp() > LEFTOVER_AGE_S:
                    self._fs.rm_file(path)

    def read(self, name: str) -> bytes:
        """See `Blobs.read`."""
        path = self._path(name)
        with _unavailable(path, Exception, missing_passes=True):
            try:
                return bytes(self._fs.cat_file(path))
            except FileNotFoundError:
                self._require_root()
                return bytes(self._fs.cat_file(path))

    def write(self, name: str, data: Data) -> int:
        """See `Blobs.write`."""
        path = self._path(name)
        whole = data if isinstance(data, bytes) else b"".join(data)
        with _unavailable(path, Exception):
            if self._atomic_put:
                self._fs.pipe_file(path, whole)
            else:
                self._write_and_rename(path, whole)
        return len(whole)

    def names(self, prefix: str) -> list[str]:
        """See `Blobs.names`."""
        path = self._path(prefix)
        with _unavailable(path, Exception):
            found = self._find(path)
            if not found:
                self._require_root()
                found = self._find(path)
        return sorted(name.removeprefix(f"{self._root}/") for name in found if not name.endswith(".tmp"))

    def rename(self, old: str, new: str) -> None:
        """See `Blobs.rename`. An object store copies, then deletes: a crash between the two leaves both."""
        source, target = self._path(old), self._path(new)
        with _unavailable(source, Exception, missing_passes=True):
            self._make_parent(target)
            self._fs.mv(source, target)

    def delete(self, name: str) -> None:
        """See `Blobs.delete`."""
        path = self._path(name)
        with _unavailable(path, Exception), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def _write_and_rename(self, path: str, data: bytes) -> None:
        self._make_parent(path)
        temporary = f"{path}.{secrets.token_hex(4)}.tmp"
        try:
            self._fs.pipe_file(temporary, data)
            self._fs.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):  # the first failure is the one to report
                self._fs.rm_file(temporary)
            raise

    def _make_parent(self, path: str) -> None:
        if not self._atomic_put:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _require_root(self) -> None:
        """Raise StoreUnavailable if the whole store is away; a file that seems missing may exist then.

        Object stores have no directories and report themselves that they cannot be reached.
        """
        if not self._atomic_put and not self._fs.isdir(self._root):
            raise StoreUnavailable(self._root, "no such directory")

    def _find(self, path: str) -> list[str]:
        self._fs.invalidate_cache()  # another worker may have written since the last listing
        # fsspec's own search takes an unreadable folder for an empty one; the searches of object stores do not.
        strict = {} if self._atomic_put else {"on_error": _raise_unless_missing}
        return [str(found) for found in self._fs.find(path, **strict)]

    def _path(self, name: str) -> str:
        return f"{self._root}/{check_name(name)}"


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextlib.contextmanager
def _unavailable(path: str, kind: type[Exception] = OSError, *, missing_passes: bool = False) -> Iterator[None]:
    """Turn errors of class `kind` into StoreUnavailable; a missing file stays one if `missing_passes`.

    For fsspec that is every Exception: its backends raise classes of their own without a common base.
    """
    try:
        yield
    except (StoreUnavailable, _NoBackendError):
        raise
    except kind as error:
        if missing_passes and isinstance(error, FileNotFoundError):
            raise
        raise StoreUnavailable(path, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


def _raise(error: OSError) -> None:
    raise error
