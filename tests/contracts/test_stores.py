"""Every store keeps the same promises."""

import re
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from monitor.store.base import Blobs, StoreUnavailable
from monitor.store.files import FsspecBlobs, LocalBlobs
from monitor.store.folder import Folder
from tests.contracts.store_contract import BlobsContract, DirectoryContract


def _opened(blobs: Blobs) -> Blobs:
    blobs.open()
    return blobs


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a store in a directory lies."""
    return tmp_path / "new" / "store"


class TestLocalDirectory(DirectoryContract):
    """A directory on this machine, the default."""

    @pytest.fixture
    def blobs(self, place: Path) -> Blobs:
        return _opened(LocalBlobs(place))

    @pytest.fixture
    def again(self, place: Path) -> Blobs:
        return _opened(LocalBlobs(place))

    def test_a_store_that_comes_and_goes_is_never_empty(self, blobs: Blobs, place: Path) -> None:
        """While the directory goes and comes back as fast as it can, every answer is the truth or that it is away."""
        blobs.write("a/b", b"1")
        over, answers = threading.Event(), set()

        def come_and_go() -> None:
            while not over.is_set():
                place.rename(place.with_name("aside"))
                place.with_name("aside").rename(place)

        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            for _ in range(2000):
                with suppress(StoreUnavailable):
                    answers.add((*blobs.names("a"), blobs.read("a/b")))
        finally:
            over.set()
            thread.join()
        assert answers <= {("a/b", b"1")}
        assert blobs.names("a") == ["a/b"]


class TestMemoryUrl(BlobsContract):
    """fsspec's memory file system, which takes the way of the object stores: one put."""

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4()}/store"

    @pytest.fixture
    def blobs(self, url: str) -> Blobs:
        return _opened(FsspecBlobs(url))

    @pytest.fixture
    def again(self, url: str) -> Blobs:
        return _opened(FsspecBlobs(url))


class TestFileUrl(DirectoryContract):
    """A directory through fsspec, which takes the way of all other file systems: temporary name, then rename."""

    @pytest.fixture
    def blobs(self, place: Path) -> Blobs:
        return _opened(FsspecBlobs(f"file://{place}"))

    @pytest.fixture
    def again(self, place: Path) -> Blobs:
        return _opened(FsspecBlobs(f"file://{place}"))

    def test_a_store_that_comes_back_is_looked_at_again(
        self, blobs: Blobs, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was missing as long as the directory was away is found once it is back, by the same call."""
        blobs.write("a/b", b"1")

        def back(_: LocalFileSystem, path: str) -> bool:
            if not place.exists():
                place.with_name("aside").rename(place)
            return Path(path).is_dir()

        monkeypatch.setattr(LocalFileSystem, "isdir", back)
        for ask, answer in ((lambda: blobs.names("a"), ["a/b"]), (lambda: blobs.read("a/b"), b"1")):
            place.rename(place.with_name("aside"))
            assert ask() == answer


class TestFolderOfADirectory(DirectoryContract):
    """A detector's folder in a directory: a store like the whole one."""

    @pytest.fixture
    def blobs(self, place: Path) -> Blobs:
        return _opened(Folder(LocalBlobs(place), "detectors/pumps"))

    @pytest.fixture
    def again(self, place: Path) -> Blobs:
        return _opened(Folder(LocalBlobs(place), "detectors/pumps"))


class TestFolderOfAUrl(BlobsContract):
    """A detector's folder at a URL."""

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4()}/store"

    @pytest.fixture
    def blobs(self, url: str) -> Blobs:
        return _opened(Folder(FsspecBlobs(url), "detectors/pumps"))

    @pytest.fixture
    def again(self, url: str) -> Blobs:
        return _opened(Folder(FsspecBlobs(url), "detectors/pumps"))


def test_folders_of_a_store_are_apart(place: Path) -> None:
    """A folder reads and lists its own files alone, also beside one whose name begins alike."""
    whole = _opened(LocalBlobs(place))
    one, other = Folder(whole, "detectors/pumps"), Folder(whole, "detectors/pumps-slow")
    one.write("models/a", b"1")
    other.write("models/a", b"2")
    assert (one.read("models/a"), other.read("models/a")) == (b"1", b"2")
    assert one.names("models") == ["models/a"]
    assert whole.names("detectors") == ["detectors/pumps-slow/models/a", "detectors/pumps/models/a"]
    with pytest.raises(ValueError, match=re.escape("not a name for a store: 'detectors/pumps/../x'")):
        one.read("../x")
