"""Models that can be trusted: verified, named after their content, and never lost by a change of the current one."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.records import State
from monitor.store.base import Notice
from monitor.store.files import open_blobs
from monitor.store.models import FORMAT, HISTORY, ModelInvalid, Models
from monitor.store.tensors import pack
from tests.store.strategies import assert_same

DAY_MS = 86_400_000
MANIFEST = {"channels": ["pressure", "flow"], "parent": None, "loss": 0.25}
TENSORS: State = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array([3], np.int64)}


class Store:
    """Models in a directory with the notices they gave."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.notices: list[Notice] = []
        self.models = Models(open_blobs(str(directory)), self.notices.append)

    def put(self, day: int = 0) -> str:
        return self.models.put(MANIFEST, TENSORS, day * DAY_MS)

    def path(self, version: str, file: str) -> Path:
        return self.directory / "models" / version / file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_model_comes_back_as_it_was_put(store: Store) -> None:
    """Manifest, tensors and time come back exactly, under a version that tells the time of training in UTC."""
    version = store.models.put(MANIFEST, TENSORS, 1_738_324_800_123)
    assert version.startswith("m-20250131T120000-")
    model = store.models.get(version)
    assert (model.version, model.created_ms, model.manifest) == (version, 1_738_324_800_123, MANIFEST)
    assert_same(model.tensors, TENSORS)
    assert store.notices == []


def test_putting_the_same_model_again_changes_nothing(store: Store) -> None:
    """The same model gives the same version; any difference in weights, manifest or time gives another."""
    version = store.put()
    assert store.put() == version
    others = {
        store.models.put(MANIFEST, TENSORS | {"w": np.zeros((2, 3), np.float32)}, 0),
        store.models.put(MANIFEST | {"loss": 0.5}, TENSORS, 0),
        store.models.put(MANIFEST, TENSORS, 1),
    }
    assert len(others | {version}) == 4
    assert set(store.models.versions()) == others | {version}


def test_a_person_can_read_the_manifest(store: Store) -> None:
    """manifest.json is indented JSON with time, format, shapes and the checksum of the weights."""
    version = store.put()
    text = store.path(version, "manifest.json").read_text()
    content = json.loads(text)
    assert text.count("\n") > 10
    assert content["created"] == "1970-01-01T00:00:00.000+00:00"
    assert content["format"] == FORMAT
    assert content["model"] == MANIFEST
    assert content["weights"]["tensors"]["w"] == {"dtype": "float32", "shape": [2, 3]}
    assert len(content["weights"]["sha256"]) == 64


def test_versions_are_listed_newest_first(store: Store) -> None:
    """Versions come by time of training, not by time of putting; half a model is none."""
    versions = {day: store.put(day) for day in (5, 400, 1, 30)}
    half = store.put(7)
    store.path(half, "manifest.json").unlink()
    assert store.models.versions() == [versions[day] for day in (400, 30, 5, 1)]


def test_without_models_there_is_no_current_one(store: Store) -> None:
    """An empty store has no versions, no current one and nothing to go back to; putting does not set current."""
    assert store.models.versions() == []
    assert store.models.current() is None
    with pytest.raises(ModelInvalid, match="no earlier"):
        store.models.rollback()
    store.put()
    assert store.models.current() is None


def test_rollback_returns_to_the_version_before(store: Store) -> None:
    """Each rollback takes one step back, as the new current model, until there is none left."""
    versions = [store.put(day) for day in range(3)]
    for version in versions:
        store.models.set_current(version)
    store.models.set_current(versions[2])
    assert store.models.current() == versions[2]
    assert store.models.rollback() == versions[1]
    assert Store(store.directory).models.current() == versions[1]
    assert store.models.rollback() == versions[0]
    with pytest.raises(ModelInvalid, match="no earlier"):
        store.models.rollback()
    assert store.models.current() == versions[0]


def test_a_version_set_current_again_is_one_step_of_history(store: Store) -> None:
    """Going back and forth between two models never makes a model its own predecessor."""
    first, second = store.put(1), store.put(2)
    for version in (first, second, first):
        store.models.set_current(version)
    assert store.models.rollback() == second
    with pytest.raises(ModelInvalid, match="no earlier"):
        store.models.rollback()


def test_rollback_passes_over_a_damaged_predecessor(store: Store) -> None:
    """A damaged predecessor is moved to quarantine with a notice, and the version before it becomes current."""
    versions = [store.put(day) for day in range(3)]
    for version in versions:
        store.models.set_current(version)
    store.path(versions[1], "weights.safetensors").write_bytes(b"damaged")
    assert store.models.rollback() == versions[0] == store.models.current()
    assert {notice.kind for notice in store.notices} == {"corrupt"}


def test_history_is_bounded(store: Store) -> None:
    """The pointer remembers a limited number of versions."""
    for day in range(HISTORY + 5):
        store.models.set_current(store.put(day))
    pointer = json.loads((store.directory / "models/current.json").read_text())
    assert len(pointer["history"]) == HISTORY


def test_only_a_sound_model_becomes_current(store: Store) -> None:
    """A version that is missing or damaged is refused and the current one stays."""
    good, bad = store.put(1), store.put(2)
    store.models.set_current(good)
    store.path(bad, "weights.safetensors").unlink()
    for version in (bad, "m-20250131T120000-00000000", "../../etc/passwd", ""):
        with pytest.raises(ModelInvalid):
            store.models.set_current(version)
    assert store.models.current() == good


@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors"])
@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_changed_byte_is_never_loaded(
    tmp_path_factory: pytest.TempPathFactory, file: str, position: int, value: int
) -> None:
    """If any byte of weights or manifest changes, the model is refused and both files are moved to quarantine."""
    store = Store(tmp_path_factory.mktemp("store"))
    version = store.put()
    path = store.path(version, file)
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= value
    path.write_bytes(data)
    with pytest.raises(ModelInvalid, match=version):
        store.models.get(version)
    assert store.models.versions() == []
    assert len(store.notices) == 2
    assert all((store.directory / notice.quarantined).exists() for notice in store.notices)
    with pytest.raises(ModelInvalid, match="not in the store"):
        store.models.get(version)


def test_weights_of_another_model_are_refused(store: Store) -> None:
    """Sound weights under the wrong manifest do not pass."""
    version = store.put()
    other = store.models.put(MANIFEST, {"w": np.zeros(1, np.float32)}, 1)
    store.path(version, "weights.safetensors").write_bytes(store.path(other, "weights.safetensors").read_bytes())
    with pytest.raises(ModelInvalid, match="checksum"):
        store.models.get(version)


def handmade(store: Store, tensors: State, described: State) -> str:
    """A model whose checksums all fit, but whose manifest describes other tensors than it has."""
    sha256 = hashlib.sha256(weights := b"".join(pack(tensors, {"format": str(FORMAT)}))).hexdigest()
    shapes = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in described.items()}
    manifest = {"format": FORMAT, "created_ms": 0, "model": {}, "weights": {"sha256": sha256, "tensors": shapes}}
    text = json.dumps(manifest).encode()
    version = f"m-19700101T000000-{hashlib.sha256(text).hexdigest()[:8]}"
    store.path(version, "").mkdir(parents=True)
    store.path(version, "weights.safetensors").write_bytes(weights)
    store.path(version, "manifest.json").write_bytes(text)
    return version


def test_a_handmade_model_is_checked_against_its_manifest(store: Store) -> None:
    """Fitting checksums are not enough: names, shapes, dtypes must be as described, and every number finite."""
    assert_same(store.models.get(handmade(store, TENSORS, TENSORS)).tensors, TENSORS)
    for described in ({"w": TENSORS["w"]}, TENSORS | {"w": TENSORS["w"].T}, TENSORS | {"w": np.zeros((2, 3))}):
        with pytest.raises(ModelInvalid, match="names, shapes or dtypes"):
            store.models.get(handmade(store, TENSORS, described))
    broken: State = {"w": np.array([np.nan])}
    with pytest.raises(ModelInvalid, match="not finite"):
        store.models.get(handmade(store, broken, broken))


def test_a_model_of_a_later_program_is_refused_but_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a rolling upgrade the older program does not take the newer one's model away."""
    monkeypatch.setattr("monitor.store.models.FORMAT", FORMAT + 1)
    version = store.put()
    monkeypatch.undo()
    with pytest.raises(ModelInvalid, match=f"format {FORMAT + 1} is not {FORMAT}"):
        store.models.get(version)
    assert store.models.versions() == [version]
    assert store.notices == []


def test_a_model_of_an_earlier_program_is_refused_but_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with what to do, never becomes current by a rollback, and is there still for the older program."""
    monkeypatch.setattr("monitor.store.models.FORMAT", 1)
    old = store.put(1)
    store.models.set_current(old)
    monkeypatch.undo()
    with pytest.raises(ModelInvalid, match=r"earlier version \(format 1, expected 2\); a new model has to be trained"):
        store.models.get(old)

    store.models.set_current(store.put(2))
    with pytest.raises(ModelInvalid, match="no earlier"):
        store.models.rollback()
    assert old in store.models.versions()
    assert store.notices == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(store: Store, value: float) -> None:
    """A model that training has blown up never enters the store."""
    with pytest.raises(ModelInvalid, match="w holds numbers that are not finite"):
        store.models.put(MANIFEST, {"w": np.array([1, value], np.float32)}, 0)
    assert store.models.versions() == []


@pytest.mark.parametrize(
    "manifest", [{"a": float("nan")}, {"a": (1, 2)}, {1: "a"}, {"a": {1, 2}}, {"a": np.float32(1)}]
)
def test_a_manifest_that_json_would_change_is_refused(store: Store, manifest: Any) -> None:
    """What would come back different, or not at all, is refused when put."""
    with pytest.raises(ModelInvalid, match="cannot be stored"):
        store.models.put(manifest, TENSORS, 0)
    assert store.models.versions() == []


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda _: b"",
    lambda text: text[:-5],
    lambda _: b"[]",
    lambda _: b"[" * 100_000,
    lambda _: b"\xff",
]


def test_the_begin_of_the_last_training_is_kept(store: Store) -> None:
    """None until a training was noted, then the time of the last one, for whoever opens the store."""
    assert store.models.training_begun_ms() is None
    for begun_ms in (5, 1_700_000_000_000):
        store.models.note_training(begun_ms)
    assert Models(open_blobs(str(store.directory)), store.notices.append).training_begun_ms() == 1_700_000_000_000
    assert store.models.versions() == []


@pytest.mark.parametrize("damage", [*DAMAGES, lambda _: b'{"begun_ms": null}', lambda _: b'{"begun_ms": Infinity}'])
def test_a_damaged_note_of_training_is_set_aside(store: Store, damage: Callable[[bytes], bytes]) -> None:
    """A note that cannot be read counts as none, with a notice, and another can be made."""
    store.models.note_training(5)
    note = store.directory / "models/training.json"
    note.write_bytes(damage(note.read_bytes()))
    assert store.models.training_begun_ms() is None
    assert [(notice.kind, notice.name) for notice in store.notices] == [("corrupt", "models/training.json")]
    store.models.note_training(7)
    assert store.models.training_begun_ms() == 7


@pytest.mark.parametrize(
    "damage",
    [
        *DAMAGES,
        lambda _: b'{"current": 1, "history": []}',
        lambda _: b'{"current": "../x", "history": []}',
    ],
)
def test_a_damaged_pointer_is_set_aside(store: Store, damage: Callable[[bytes], bytes]) -> None:
    """A pointer that cannot be read counts as none, with a notice; the models stay and one can be set again."""
    version = store.put()
    store.models.set_current(version)
    pointer = store.directory / "models/current.json"
    pointer.write_bytes(damage(pointer.read_bytes()))
    assert store.models.current() is None
    assert [(notice.kind, notice.name) for notice in store.notices] == [("corrupt", "models/current.json")]
    store.models.set_current(version)
    assert store.models.current() == version
