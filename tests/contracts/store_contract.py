"""What every implementation of `Blobs` promises, and what snapshots and models need of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monitor.core.records import Partition
from monitor.core.saved import Part, SavedDetectors
from monitor.store.base import QUARANTINE_KEEP, Blobs, Notice, StoreUnavailable, quarantine
from monitor.store.models import Models
from monitor.store.snapshots import Snapshot, Snapshots

PARTITION = Partition("plant.readings_1-x", 3)

FORBIDDEN = ["", ".", "..", "/a", "a/", "a//b", "a/../b", "../a", "a\\b", "a b", "ä", "a\0", "a\n", "~", "a:b", "a.tmp"]


def _breaking_off() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError("the writer breaks off")


class BlobsContract:
    """Subclasses give the fixtures `blobs` (opened, empty) and `again` (a second, independent handle on it)."""

    def test_what_was_written_is_read_back(self, blobs: Blobs) -> None:
        """Bytes come back as they went in, in one piece or in parts, and a second write replaces the first."""
        assert blobs.write("a/b.bin", b"\x00one") == 4
        assert blobs.read("a/b.bin") == b"\x00one"
        assert blobs.write("a/b.bin", [b"two", memoryview(b"three"), b""]) == 8
        assert blobs.read("a/b.bin") == b"twothree"
        blobs.write("a/empty", b"")
        assert blobs.read("a/empty") == b""

    def test_a_write_that_breaks_off_changes_nothing(self, blobs: Blobs) -> None:
        """If the data ends in an error half way, the old bytes stay and no other name appears."""
        blobs.write("a/b", b"old")
        for name in ("a/b", "a/c"):
            with pytest.raises(RuntimeError, match="breaks off"):
                blobs.write(name, _breaking_off())
        assert blobs.read("a/b") == b"old"
        assert blobs.names("a") == ["a/b"]

    def test_a_missing_name_is_not_found(self, blobs: Blobs) -> None:
        """Reading or renaming a missing name raises FileNotFoundError; deleting it does nothing."""
        with pytest.raises(FileNotFoundError):
            blobs.read("a/b")
        with pytest.raises(FileNotFoundError):
            blobs.rename("a/b", "a/c")
        blobs.delete("a/b")
        assert blobs.names("a") == []

    def test_deleted_names_are_gone(self, blobs: Blobs) -> None:
        """After a delete the name is neither read nor listed; its neighbours are."""
        blobs.write("a/b", b"1")
        blobs.write("a/c", b"2")
        blobs.delete("a/b")
        assert blobs.names("a") == ["a/c"]
        with pytest.raises(FileNotFoundError):
            blobs.read("a/b")

    def test_names_are_sorted_and_below_the_directory_only(self, blobs: Blobs) -> None:
        """A listing holds every depth, sorted, and not the directory whose name merely begins alike."""
        for name in ("t/1/c", "t/1/a", "t/1/deep/er/b", "t/10/x", "u/1/y"):
            blobs.write(name, b"")
        assert blobs.names("t/1") == ["t/1/a", "t/1/c", "t/1/deep/er/b"]
        assert blobs.names("t") == ["t/1/a", "t/1/c", "t/1/deep/er/b", "t/10/x"]
        assert blobs.names("v") == []

    def test_renaming_moves_the_bytes(self, blobs: Blobs) -> None:
        """After a rename the bytes are under the new name, in a directory that need not exist before."""
        blobs.write("a/b", b"1")
        blobs.rename("a/b", "new/dir/c")
        assert blobs.read("new/dir/c") == b"1"
        assert blobs.names("a") == []

    def test_two_handles_see_each_other(self, blobs: Blobs, again: Blobs) -> None:
        """A write of one worker is visible to another at once, and opening a store again changes nothing in it."""
        assert again.names("a") == []
        blobs.write("a/b", b"1")
        assert again.names("a") == ["a/b"]
        again.write("a/b", b"2")
        again.open()
        assert blobs.read("a/b") == b"2"

    @pytest.mark.parametrize("name", FORBIDDEN)
    def test_names_that_could_leave_the_store_are_refused(self, blobs: Blobs, name: str) -> None:
        """Every method refuses a name with anything but plain segments."""
        blobs.write("fine", b"")
        for attempt in (
            lambda: blobs.read(name),
            lambda: blobs.write(name, b""),
            lambda: blobs.names(name),
            lambda: blobs.delete(name),
            lambda: blobs.rename(name, "ok"),
            lambda: blobs.rename("fine", name),
        ):
            with pytest.raises(ValueError, match=r"not a name|names ending"):
                attempt()

    def test_every_legal_topic_name_is_a_name(self, blobs: Blobs) -> None:
        """Topics of Kafka's full length, and ones that begin with a dot or a dash, can be stored."""
        for topic in ("x" * 249, ".hidden", "-rf", "...", "a.B_c-9"):
            blobs.write(f"snapshots/{topic}/0/f", topic.encode())
            assert blobs.names(f"snapshots/{topic}/0") == [f"snapshots/{topic}/0/f"]
            assert blobs.read(f"snapshots/{topic}/0/f") == topic.encode()

    def test_quarantine_keeps_the_newest(self, blobs: Blobs) -> None:
        """Quarantined files are numbered and kept up to a bound, also several of the same name."""
        for number in range(QUARANTINE_KEEP + 3):
            blobs.write("a/b", str(number).encode())
            moved = quarantine(blobs, "a/b", "corrupt")
            assert moved == f"quarantine/a/{number + 1:06d}-corrupt-b"
        kept = blobs.names("quarantine/a")
        assert [blobs.read(name) for name in kept] == [b"%d" % n for n in range(3, QUARANTINE_KEEP + 3)]
        assert quarantine(blobs, "a/b", "corrupt") is None
        assert blobs.names("a") == []

    def test_snapshots_survive(self, blobs: Blobs, again: Blobs) -> None:
        """A snapshot written by one worker is found by the next; a damaged one gives way to the one before."""
        notices: list[Notice] = []
        state = {"ring": np.arange(6, dtype=np.float32).reshape(2, 3)}
        for offset in (5, 9):
            Snapshots(blobs, notices.append).save(
                Snapshot(PARTITION, offset, SavedDetectors({}, {"pumps": Part("", "s", state)}))
            )
        last = blobs.names(f"snapshots/{PARTITION.topic}/3")[-1]
        blobs.write(last, blobs.read(last)[:-1])
        found = Snapshots(again, notices.append).newest(PARTITION, 9)
        assert found is not None
        assert found.offset == 5
        np.testing.assert_array_equal(found.detectors.parts["pumps"].state["ring"], state["ring"])
        assert [(notice.kind, notice.name) for notice in notices] == [("corrupt", last)]
        assert len(blobs.read(notices[0].quarantined)) > 0

    def test_models_survive(self, blobs: Blobs, again: Blobs) -> None:
        """A model put and made current by one worker is what the next one gets."""
        notices: list[Notice] = []
        version = Models(blobs, notices.append).put({"channels": ["a"]}, {"w": np.ones(3, np.float32)}, 1_000)
        Models(blobs, notices.append).set_current(version)
        found = Models(again, notices.append)
        assert found.versions() == [version] == [found.current()]
        assert found.get(version).manifest == {"channels": ["a"]}
        assert notices == []


class DirectoryContract(BlobsContract):
    """Of stores in a directory; subclasses give the fixture `place`, where it lies, too."""

    @pytest.mark.parametrize("instead", [None, "a file"])
    def test_a_store_that_is_away_is_not_empty(self, blobs: Blobs, place: Path, instead: str | None) -> None:
        """With nothing or something else in the store's place nothing is taken for missing; after it all is there."""
        blobs.write("a/b", b"1")
        place.rename(place.with_name("aside"))
        if instead is not None:
            place.write_text(instead)
        for ask in (lambda: blobs.names("a"), lambda: blobs.read("a/b")):
            with pytest.raises(StoreUnavailable):
                ask()
        place.unlink(missing_ok=True)
        place.with_name("aside").rename(place)
        assert (blobs.names("a"), blobs.read("a/b"), blobs.names("c")) == (["a/b"], b"1", [])
