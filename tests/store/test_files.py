"""Stores that cannot be reached or written, and leftovers of earlier writes."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from monitor.core.records import Partition
from monitor.core.saved import Part, SavedDetectors
from monitor.store.base import Notice, StoreUnavailable
from monitor.store.files import LEFTOVER_AGE_S, FsspecBlobs, LocalBlobs, open_blobs
from monitor.store.models import Models
from monitor.store.snapshots import Snapshot, Snapshots

PARTITION = Partition("readings", 0)


@pytest.fixture
def files_of_one_megabyte() -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond a megabyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_path_and_a_file_url_mean_a_directory(tmp_path: Path, form: str) -> None:
    """Both forms open the same local directory, which is made if need be."""
    blobs = open_blobs(form.format(tmp_path / "a" / "b"))
    assert isinstance(blobs, LocalBlobs)
    blobs.write("x", b"1")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"1"


def test_odd_characters_in_the_directory_are_kept(tmp_path: Path) -> None:
    """A file URL's escapes are undone, and a plain path has none."""
    directory = tmp_path / "a b%20#?ä"
    open_blobs(directory.as_uri()).write("x", b"1")
    assert open_blobs(str(directory)).read("x") == b"1"


def test_a_relative_path_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of the working directory does not move the store."""
    monkeypatch.chdir(tmp_path)
    blobs = open_blobs("data")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    blobs.write("x", b"1")
    assert (tmp_path / "data" / "x").exists()


@pytest.mark.parametrize("url", ["nonsense://x", "file://host/x", "file://relative"])
def test_a_url_that_no_file_system_serves_is_an_error_of_the_caller(url: str) -> None:
    """Unknown schemes and file URLs with a host are ValueError: waiting would not help."""
    with pytest.raises(ValueError, match=r"no file system|three slashes"):
        open_blobs(url)


def test_an_unreachable_server_is_unavailable() -> None:
    """If nothing listens at the URL, opening says so, and keeps the password to itself."""
    with pytest.raises(StoreUnavailable, match="refused") as caught:
        open_blobs("ftp://user:secret@127.0.0.1:1/store")
    assert "secret" not in str(caught.value)
    assert caught.value.path == "ftp://127.0.0.1:1/store"


def test_a_place_that_cannot_be_a_directory_is_unavailable(tmp_path: Path) -> None:
    """If a file stands where the store should be, opening names the path and the reason."""
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file" / "store", tmp_path / "file"):
        with pytest.raises(StoreUnavailable, match=r"file.*(Not a directory|File exists|not writable)"):
            open_blobs(str(place))
        with pytest.raises(StoreUnavailable):
            FsspecBlobs(f"file://{place}").open()


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="needs a file system that refuses writes from root too")
def test_a_read_only_place_is_unavailable() -> None:
    """Where nothing can be written, not even by root, opening says so."""
    with pytest.raises(StoreUnavailable, match="/proc/self"):
        open_blobs("/proc/self")
    with pytest.raises(StoreUnavailable, match="/proc/self/store"):
        open_blobs("/proc/self/store")


def test_a_file_in_the_way_is_unavailable_for_every_call(tmp_path: Path) -> None:
    """Errors of the file system other than a missing file reach the caller as StoreUnavailable."""
    blobs = open_blobs(str(tmp_path))
    blobs.write("a", b"1")
    for attempt in (
        lambda: blobs.read("a/b"),
        lambda: blobs.write("a/b", b""),
        lambda: blobs.names("a"),
        lambda: blobs.delete("a/b"),
        lambda: blobs.rename("a", "a/b"),
    ):
        with pytest.raises(StoreUnavailable):
            attempt()
    assert blobs.read("a") == b"1"


@pytest.mark.usefixtures("files_of_one_megabyte")
@pytest.mark.parametrize("form", ["{}", "fsspec"])
def test_a_full_disk_costs_nothing_that_was_stored(tmp_path: Path, form: str) -> None:
    """When the kernel refuses more bytes half way, the older snapshot and model serve on and no part is left."""
    blobs = open_blobs(str(tmp_path)) if form == "{}" else FsspecBlobs(f"file://{tmp_path}")
    blobs.open()
    notices: list[Notice] = []
    snapshots, models = Snapshots(blobs, notices.append), Models(blobs, notices.append)
    snapshots.save(Snapshot(PARTITION, 1, SavedDetectors({}, {"pumps": Part("", "s", {"a": np.ones(3)})})))
    version = models.put({}, {"a": np.ones(3)}, 0)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    large = {"a": np.ones(1 << 18)}  # 2 MB
    with pytest.raises(StoreUnavailable, match="too large"):
        snapshots.save(Snapshot(PARTITION, 2, SavedDetectors({}, {"pumps": Part("", "s", large)})))
    with pytest.raises(StoreUnavailable, match="too large"):
        models.put({}, large, 0)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    found = snapshots.newest(PARTITION, 2)
    assert found is not None
    assert found.offset == 1
    assert models.versions() == [version]
    assert notices == []


def test_old_leftovers_on_a_file_system_without_locks_are_removed(tmp_path: Path) -> None:
    """Through fsspec a temporary file goes once it is too old to have a writer; until then it is merely not listed."""
    old, young = tmp_path / "a" / "b.0000.tmp", tmp_path / "a" / "c.0000.tmp"
    old.parent.mkdir()
    for path in (old, young):
        path.write_bytes(b"part")
    os.utime(old, (old.stat().st_mtime - LEFTOVER_AGE_S - 60,) * 2)
    blobs = FsspecBlobs(f"file://{tmp_path}")
    blobs.open()
    assert not old.exists()
    assert young.exists()
    assert blobs.names("a") == []


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a listing fails, the store is unavailable; if it seemed empty, state would start empty despite snapshots."""
    blobs = FsspecBlobs(f"file://{tmp_path}")
    blobs.open()
    blobs.write("snapshots/1", b"x")

    def broken(*_: object, **__: object) -> list[object]:
        raise OSError("the gateway timed out")

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "ls", broken)
        with pytest.raises(StoreUnavailable, match="timed out"):
            blobs.names("snapshots")
    assert blobs.names("snapshots") == ["snapshots/1"]
    assert blobs.names("nothing") == []
