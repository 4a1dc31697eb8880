"""Which snapshot a restart continues from."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.records import Partition, State
from monitor.core.saved import Part, SavedDetectors
from monitor.store.base import Blobs, Notice, StoreUnavailable
from monitor.store.files import LocalBlobs, open_blobs
from monitor.store.snapshots import Snapshot, Snapshots
from monitor.store.tensors import pack
from tests.examples import examples
from tests.store.strategies import STATES, assert_same

PARTITION = Partition("readings", 0)
DIRECTORY = "snapshots/readings/0"


def snapshot(offset: int, partition: Partition = PARTITION, settings: str = "s") -> Snapshot:
    part = Part(f"m{offset}", settings, {"value": np.full(3, offset, np.float32)})
    return Snapshot(partition, offset, SavedDetectors({}, {"pumps": part}))


def metadata(offset: int) -> dict[str, str]:
    about = {"pumps": {"model": "", "settings": "s"}}
    place = {"topic": "readings", "partition": "0", "offset": str(offset)}
    return {"format": "2", **place, "detectors": json.dumps(about)}


class Store:
    """A store in a directory with the notices it gave."""

    def __init__(self, directory: Path, keep: int = 3) -> None:
        self.blobs: Blobs = open_blobs(str(directory))
        self.notices: list[Notice] = []
        self.snapshots = Snapshots(self.blobs, self.notices.append, keep)

    def offsets(self) -> list[int]:
        return [int(name[-25:-5]) for name in self.blobs.names(DIRECTORY)]

    def newest(self, at_most: int = 100) -> int | None:
        found = self.snapshots.newest(PARTITION, at_most)
        return None if found is None else found.offset


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@settings(max_examples=50)
@given(state=STATES, offset=st.integers(0, 2**63 - 1), model=st.text(st.characters(codec="utf-8"), max_size=9))
def test_a_snapshot_comes_back_whole(
    tmp_path_factory: pytest.TempPathFactory, state: State, offset: int, model: str
) -> None:
    """States, models and place come back exactly, by detector, and the size told is the size written."""
    directory = tmp_path_factory.mktemp("store")
    store = Store(directory)
    shared = {"names": np.zeros(2, np.uint8)}
    parts = {"pumps": Part(model, "s", state), "pumps-slow": Part("", "t", {}), "x": Part(model, "s", state)}
    written = Snapshot(PARTITION, offset, SavedDetectors(shared, parts))
    size = store.snapshots.save(written)
    assert size == (directory / DIRECTORY / f"{offset:020d}.snap").stat().st_size
    found = store.snapshots.newest(PARTITION, offset)
    assert found is not None
    assert (found.partition, found.offset) == (PARTITION, offset)
    assert_same(found.detectors.shared, shared)
    assert list(found.detectors.parts) == list(parts)
    for name, part in parts.items():
        assert (found.detectors.parts[name].model, found.detectors.parts[name].fingerprint) == (
            part.model,
            part.fingerprint,
        )
        assert_same(found.detectors.parts[name].state, part.state)
    assert store.notices == []


def test_the_same_snapshot_gives_the_same_bytes(store: Store) -> None:
    """Saving a snapshot again changes no byte of its file."""
    store.snapshots.save(snapshot(7))
    first = store.blobs.read(f"{DIRECTORY}/{7:020d}.snap")
    store.snapshots.save(snapshot(7))
    assert store.blobs.read(f"{DIRECTORY}/{7:020d}.snap") == first


def test_without_snapshots_there_is_none(store: Store) -> None:
    """A partition never saved has no snapshot, even if other partitions have."""
    store.snapshots.save(snapshot(1, Partition("readings", 10)))
    store.snapshots.save(snapshot(1, Partition("readings.0", 0)))
    assert store.newest() is None
    assert store.notices == []


def test_the_newest_within_the_committed_offset_is_taken(store: Store) -> None:
    """A snapshot at the committed offset itself serves; of several, the newest."""
    for offset in (9, 10, 11):
        store.snapshots.save(snapshot(offset))
    assert store.newest(11) == 11
    assert store.newest(500) == 11


def test_stale_snapshots_are_quarantined_on_request(store: Store) -> None:
    """A snapshot above the committed offset is skipped, and never used again once it is in quarantine."""
    for offset in (10, 20, 30):
        store.snapshots.save(snapshot(offset))
    assert store.newest(15) == 10
    assert store.newest(-1) is None
    assert store.offsets() == [10, 20, 30]
    stale = store.snapshots.stale(PARTITION, 15)
    assert sorted(stale) == [20, 30]
    store.snapshots.quarantine(PARTITION, stale)
    assert [notice.kind for notice in store.notices] == ["beyond", "beyond"]
    assert store.newest(100) == 10


def test_the_newest_few_are_kept(store: Store) -> None:
    """Saving deletes all but the newest `keep` snapshots of this partition, and none of another."""
    store.snapshots.save(snapshot(1, Partition("readings", 1)))
    for offset in (1, 5, 3, 200, 1000):
        store.snapshots.save(snapshot(offset))
    assert store.offsets() == [5, 200, 1000]
    assert len(store.blobs.names("snapshots/readings/1")) == 1


def test_a_late_save_leaves_later_ones_alone(store: Store) -> None:
    """A worker that was frozen and saves an old offset removes nothing its successor wrote."""
    for offset in (100, 200, 300, 50):
        store.snapshots.save(snapshot(offset))
    assert store.offsets() == [50, 100, 200, 300]


def test_a_damaged_snapshot_gives_way_to_the_one_before(store: Store) -> None:
    """A damaged file is moved to quarantine with a notice saying what and why; the next older one serves."""
    store.snapshots.save(snapshot(1))
    store.blobs.write(f"{DIRECTORY}/{2:020d}.snap", b"")
    store.blobs.write(f"{DIRECTORY}/{3:020d}.snap", b"not a snapshot")
    assert store.newest() == 1
    assert [(notice.kind, notice.name) for notice in store.notices] == [
        ("corrupt", f"{DIRECTORY}/{3:020d}.snap"),
        ("corrupt", f"{DIRECTORY}/{2:020d}.snap"),
    ]
    assert store.blobs.read(store.notices[0].quarantined) == b"not a snapshot"
    assert "header" in store.notices[0].reason
    assert store.offsets() == [1]


@settings(max_examples=examples(100), deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_changed_byte_never_reaches_the_state(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    """If any byte of the newest snapshot changes, the older one is used."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.snapshots.save(snapshot(1))
    store.snapshots.save(snapshot(2))
    name = f"{DIRECTORY}/{2:020d}.snap"
    data = bytearray(store.blobs.read(name))
    data[position % len(data)] ^= value
    store.blobs.write(name, bytes(data))
    found = store.snapshots.newest(PARTITION, 100)
    assert found is not None
    assert_same(found.detectors.parts["pumps"].state, snapshot(1).detectors.parts["pumps"].state)
    assert [notice.kind for notice in store.notices] == ["corrupt"]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("older", {"format": "1"}),
        ("newer", {"format": "3"}),
        ("corrupt", {"format": "0"}),
        ("corrupt", {"format": ""}),
        ("corrupt", {"format": "9" * 5000}),
        ("corrupt", {"format": "٢"}),
        ("corrupt", {"topic": "other"}),
        ("corrupt", {"partition": "1"}),
        ("corrupt", {"offset": "4"}),
        ("corrupt", {"detectors": "{"}),
        ("corrupt", {"detectors": '{"pumps": {"model": 1}}'}),
    ],
)
def test_a_sound_file_that_does_not_belong_here_is_set_aside(store: Store, kind: str, changed: dict[str, str]) -> None:
    """A snapshot of another format or place than its name, or with a damaged list, is quarantined under its kind."""
    store.snapshots.save(snapshot(1))
    store.blobs.write(f"{DIRECTORY}/{5:020d}.snap", b"".join(pack({}, metadata(5) | changed)))
    assert store.newest() == 1
    assert [notice.kind for notice in store.notices] == [kind]
    assert f"-{kind}-" in store.notices[0].quarantined


def test_files_with_other_names_are_left_alone(store: Store) -> None:
    """A file not named like a snapshot is neither read nor removed."""
    for name in ("README", "1.snap", f"{7:020d}.snap.bak", f"deep/{7:020d}.snap"):
        store.blobs.write(f"{DIRECTORY}/{name}", b"x")
    for offset in range(5):
        store.snapshots.save(snapshot(offset))
    assert store.newest() == 4
    assert len(store.blobs.names(DIRECTORY)) == 4 + 3


def test_a_store_that_fails_sets_nothing_aside(tmp_path: Path) -> None:
    """While the store cannot be read there is no answer, rather than the answer that there is no snapshot."""
    store = Store(tmp_path / "store")
    store.snapshots.save(snapshot(1))
    (tmp_path / "store").rename(tmp_path / "gone")
    with pytest.raises(StoreUnavailable):
        store.newest()
    (tmp_path / "gone").rename(tmp_path / "store")
    assert store.newest() == 1
    assert store.notices == []


def test_senseless_arguments_are_refused(store: Store) -> None:
    """Negative offsets, a topic that would leave the store, and keeping nothing are errors of the caller."""
    with pytest.raises(ValueError, match="negative"):
        store.snapshots.save(snapshot(-1))
    with pytest.raises(ValueError, match="not a name"):
        store.snapshots.save(snapshot(1, Partition("../x", 0)))
    with pytest.raises(ValueError, match="keep"):
        Snapshots(LocalBlobs(Path("unused")), store.notices.append, keep=0)


def test_an_array_of_no_detector_in_the_list_is_corrupt(store: Store) -> None:
    """An array whose name begins with a detector that the file does not list is named in the notice."""
    arrays = {"pumps/value": np.zeros(1), "fans/value": np.zeros(1)}
    store.blobs.write(f"{DIRECTORY}/{5:020d}.snap", b"".join(pack(arrays, metadata(5))))
    assert store.newest() is None
    assert "'fans/value'" in store.notices[0].reason


def test_an_older_format_is_refused_in_a_sentence(store: Store) -> None:
    """A snapshot of an earlier version is quarantined, and the notice says both formats and what follows."""
    store.blobs.write(f"{DIRECTORY}/{5:020d}.snap", b"".join(pack({}, metadata(5) | {"format": "1"})))
    assert store.newest() is None
    (notice,) = store.notices
    assert notice.reason == "written by an earlier version (format 1, expected 2); the state is built up again"
