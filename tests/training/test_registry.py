"""Which model is scored with, and how soon a change of it is noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog

from monitor.core.fitting.fit import fit
from monitor.core.model.model import Model
from monitor.store.base import StoreUnavailable
from monitor.store.files import LocalBlobs
from monitor.store.folder import detector_folder
from monitor.store.models import ModelInvalid, Models
from monitor.training.registry import KEPT, RECHECK_S, ModelRegistry
from tests.core.machines import FAST, L, corpus, model
from tests.rig import Clock, away, put_model


class _Counting(LocalBlobs):
    """A store that counts looks at the pointer."""

    looks = 0

    def read(self, name: str) -> bytes:
        self.looks += name.endswith("current.json")
        return super().read(name)


class ManagerRig:
    """A store and a library on it."""

    def __init__(self, path: Path, length: int = L) -> None:
        self.blobs, self.clock = _Counting(path), Clock()
        self.blobs.open()
        self.models = Models(detector_folder(self.blobs, "test"), lambda _: None)
        self.library = ModelRegistry(self.models, length, self.clock, structlog.stdlib.get_logger("test"))

    def version(self) -> str | None:
        scorer = self.library.in_use()
        return None if scorer is None else scorer.model.version


def another() -> Model:
    """A model that differs from the one of the small machines."""
    return replace(model(), calibration=replace(model().calibration, limits=model().calibration.limits * 2))


def damage(path: Path, version: str) -> None:
    file = path / "detectors/test/models" / version / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")


def test_without_a_model_none_is_in_use(tmp_path: Path) -> None:
    """An empty store has no model, and one that is made current is found when the pointer is due."""
    rig = ManagerRig(tmp_path)
    assert rig.version() is None
    version = put_model(tmp_path)
    assert rig.version() is None
    rig.clock.now += RECHECK_S
    assert rig.version() == version


def test_the_pointer_is_read_again_now_and_then(tmp_path: Path) -> None:
    """A change by another process is found after RECHECK_S, and the store is not asked more often than that."""
    first = put_model(tmp_path)
    rig = ManagerRig(tmp_path)
    assert rig.version() == first
    second = put_model(tmp_path, another())
    for _ in range(50):
        rig.clock.now += (RECHECK_S - 0.1) / 50
        assert rig.version() == first
    assert rig.blobs.looks == 1
    rig.clock.now += 0.2
    assert rig.version() == second
    assert rig.blobs.looks == 2


def test_a_model_made_current_here_is_in_use_at_once(tmp_path: Path) -> None:
    """What this process makes current it scores with at once, and so does every other one from its next look on."""
    first = put_model(tmp_path)
    rig, other = ManagerRig(tmp_path), ManagerRig(tmp_path)
    assert (rig.version(), other.version()) == (first, first)
    second = rig.models.put(*another().pack(), 10**12)
    rig.library.set_current(second)
    assert (rig.version(), other.version()) == (second, first)
    other.clock.now += RECHECK_S
    assert other.version() == second


def test_a_damaged_model_is_not_made_current(tmp_path: Path) -> None:
    """A version that cannot be loaded is refused, and the one in use stays so."""
    first = put_model(tmp_path)
    rig = ManagerRig(tmp_path)
    second = rig.models.put(*another().pack(), 10**12)
    damage(tmp_path, second)
    with pytest.raises(ModelInvalid, match=second):
        rig.library.set_current(second)
    assert rig.version() == first
    assert rig.models.current() == first


def test_a_damaged_current_model_is_passed_over(tmp_path: Path) -> None:
    """In place of a current model that is damaged the newest sound one is used, and the log says so once."""
    models = ManagerRig(tmp_path).models
    oldest, newer, current = (
        models.put(*made.pack(), 10**12 + 1000 * age) for age, made in enumerate((model(), another(), model()))
    )
    models.set_current(current)
    damage(tmp_path, current)
    rig = ManagerRig(tmp_path)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            assert rig.version() == newer
            rig.clock.now += RECHECK_S
    assert [line["model"] for line in lines] == [current]
    damage(tmp_path, newer)
    assert ManagerRig(tmp_path).version() == oldest


def test_a_store_with_nothing_but_damaged_models_has_none(tmp_path: Path) -> None:
    """If no model is sound there is none in use, so that a first one is trained."""
    damage(tmp_path, put_model(tmp_path))
    assert ManagerRig(tmp_path).version() is None


def test_a_model_for_windows_of_another_length_is_not_used(tmp_path: Path) -> None:
    """After a change of the window's length the old models are passed over, instead of failing at every window."""
    version = put_model(tmp_path)
    rig = ManagerRig(tmp_path, 2 * L)
    with structlog.testing.capture_logs() as lines:
        assert rig.version() is None
    assert "was made for windows of 16 steps, here they have 32" in lines[0]["reason"]
    with pytest.raises(ModelInvalid):
        rig.library.scorer(version)
    assert ManagerRig(tmp_path).version() == version


def test_while_the_store_is_away_the_model_stays_in_use(tmp_path: Path) -> None:
    """An outage of the store changes no score. It is logged, and the store is read no more often than before."""
    path = tmp_path / "store"
    version = put_model(path)
    rig = ManagerRig(path)
    assert rig.version() == version
    with away(path), structlog.testing.capture_logs() as lines:
        for _ in range(21):
            rig.clock.now += RECHECK_S / 10
            assert rig.version() == version
    assert [line["event"] for line in lines] == ["current model not read"] * 2
    assert rig.blobs.looks == 3
    second = put_model(path, another())
    rig.clock.now += RECHECK_S
    assert rig.version() == second


def test_a_store_that_was_never_reached_is_no_empty_store(tmp_path: Path) -> None:
    """As long as nothing is known the caller hears that the store is away, since "no model" would start a training."""
    path = tmp_path / "store"
    version = put_model(path)
    rig = ManagerRig(path)
    with away(path), pytest.raises(StoreUnavailable):
        rig.library.in_use()
    assert rig.version() == version


def test_a_version_is_loaded_once(tmp_path: Path) -> None:
    """Whoever asks for a version gets the same scorer, and its age with it."""
    version = put_model(tmp_path, fit(corpus(400), replace(FAST, steps=25), None, lambda *_: None).model)
    rig = ManagerRig(tmp_path)
    assert rig.library.scorer(version) is rig.library.in_use()
    assert rig.library.created_ms(version) == rig.models.get(version).created_ms


def test_a_year_of_models_is_not_kept(tmp_path: Path) -> None:
    """Of many versions the KEPT asked for last stay in memory; an older one is loaded again when asked for."""
    rig = ManagerRig(tmp_path)
    versions = []
    for number in range(KEPT + 3):
        limits = model().calibration.limits * np.float32(number + 1)
        made = replace(model(), calibration=replace(model().calibration, limits=limits))
        versions.append(put_model(tmp_path, made))
        rig.library.set_current(versions[-1])
        rig.library.scorer(versions[0])
    assert list(rig.library._scorers) == [*versions[-KEPT + 1 :], versions[0]]
    assert rig.library.scorer(versions[1]).model.version == versions[1]
