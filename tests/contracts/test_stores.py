"""Every store keeps the same promises."""

import uuid
from pathlib import Path

import pytest

from monitor.store.base import Blobs
from monitor.store.files import FsspecBlobs, LocalBlobs
from tests.contracts.store_contract import BlobsContract


def _opened(blobs: Blobs) -> Blobs:
    blobs.open()
    return blobs


class TestLocalDirectory(BlobsContract):
    """A directory on this machine, the default."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return _opened(LocalBlobs(tmp_path / "new" / "store"))

    @pytest.fixture
    def again(self, tmp_path: Path) -> Blobs:
        return _opened(LocalBlobs(tmp_path / "new" / "store"))


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


class TestFileUrl(BlobsContract):
    """A directory through fsspec, which takes the way of all other file systems: temporary name, then rename."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return _opened(FsspecBlobs(f"file://{tmp_path}/new/store"))

    @pytest.fixture
    def again(self, tmp_path: Path) -> Blobs:
        return _opened(FsspecBlobs(f"file://{tmp_path}/new/store"))
