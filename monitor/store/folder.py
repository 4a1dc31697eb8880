"""A folder of a store, used as a store of its own: the models and histories of one detector lie in one.

    detectors/<name>/models/...
    detectors/<name>/history/...

Files that the folder's owner quarantines stay in the folder, in its own quarantine/.
"""

from monitor.store.atomic import Data
from monitor.store.base import Blobs

DETECTORS = "detectors"


class Folder:
    """The blobs below one directory of a store; see `Blobs` for the methods."""

    def __init__(self, blobs: Blobs, path: str) -> None:
        """Store the parts; `path` is a name of the store, without a slash at its end."""
        self._blobs = blobs
        self._path = path

    def full(self, name: str) -> str:
        """Return the name in the whole store."""
        return f"{self._path}/{name}"

    def open(self) -> None:
        """Open the whole store. See `Blobs.open`."""
        self._blobs.open()

    def read(self, name: str) -> bytes:
        """See `Blobs.read`."""
        return self._blobs.read(self.full(name))

    def write(self, name: str, data: Data) -> int:
        """See `Blobs.write`."""
        return self._blobs.write(self.full(name), data)

    def names(self, prefix: str) -> list[str]:
        """See `Blobs.names`."""
        return [name.removeprefix(f"{self._path}/") for name in self._blobs.names(self.full(prefix))]

    def rename(self, old: str, new: str) -> None:
        """See `Blobs.rename`."""
        self._blobs.rename(self.full(old), self.full(new))

    def delete(self, name: str) -> None:
        """See `Blobs.delete`."""
        self._blobs.delete(self.full(name))


def detector_folder(blobs: Blobs, detector: str) -> Folder:
    """Return the folder of a detector's models and histories."""
    return Folder(blobs, f"{DETECTORS}/{detector}")
