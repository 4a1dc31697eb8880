"""A detector without a history of its own inherits those of others in the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.records import Alert, WindowBatch
from monitor.service.wiring import make_histories, make_observer
from monitor.store.files import open_blobs
from monitor.training.history_store import HistoryStore
from tests.core.machines import CHANNELS, STEP, L, history, rows, windows
from tests.rig import READINGS, settings

GROUPED: dict[str, Any] = {"format__group": "key:"}  # messages name the groups of their readings


def store(path: Path, name: str, **changes: Any) -> HistoryStore:
    wanted = settings(path, name=name, **changes).of_detector("")
    return make_histories(wanted, open_blobs(str(path)), make_observer(wanted))


def everything(_: str) -> bool:
    return True


def alert(asset: str, start: int, end: int) -> Alert:
    return Alert(
        *("x", asset, "resolved", start, end, end, "warning", 2.0, 1.0, 2.0, 2.0, ()), *("m", "d", READINGS, 0, 0, 0)
    )


def inherited(path: Path, **changes: Any) -> History:
    """What a detector `new` with these settings has at first of a partition."""
    return store(path, "new", **changes).read(READINGS)


def test_a_new_detector_has_what_others_kept(tmp_path: Path) -> None:
    """Blocks, steps seen and spans of alerts are those of the other detector, which keeps its own."""
    kept = history(rows(400), guard_ms=16_000)
    kept.note([alert("a", 100 * STEP, 140 * STEP)])
    store(tmp_path, "old").write(READINGS, kept)
    with capture_logs() as lines:
        found = inherited(tmp_path)
    (line,) = lines
    assert (line["event"], line["blocks"], line["origin"]) == ("history inherited", len(kept), {"old": len(kept)})
    for one, other in ((found, kept), (store(tmp_path, "old").read(READINGS), kept)):
        assert np.array_equal(one.normal().values, other.normal().values)
        assert one.steps_seen().tolist() == other.steps_seen().tolist() == [400, 400]


def test_only_its_assets_and_channels_are_inherited(tmp_path: Path) -> None:
    """A detector that selects assets and channels inherits these alone."""
    store(tmp_path, "old").write(READINGS, history(rows(400)))
    found = inherited(tmp_path, select__assets=["b*"], select__channels=["flow", "temp*"]).normal()
    assert (found.assets, found.channels) == (("b",), ("flow", "temperature"))
    whole = history(rows(400)).normal()
    of_b = whole.asset == whole.assets.index("b")
    assert np.array_equal(found.values, whole.values[of_b][:, [0, 2]])


def test_the_detectors_of_a_file_inherit_by_their_routes(tmp_path: Path) -> None:
    """Detectors that take the place of the one before inherit each its assets and channels, without machines off."""
    store(tmp_path, "old").write(READINGS, history(rows(400)))
    routes = {"name": "new", "assets": ["b"], "channels_exclude": ["flow"]}
    found = inherited(tmp_path, detectors=[routes]).normal()
    assert (found.assets, found.channels) == (("b",), ("pressure", "temperature"))
    assert inherited(tmp_path, assets={"b": {"off": True}}).normal().assets == ("a",)


def test_detectors_of_the_same_groups_inherit(tmp_path: Path) -> None:
    """A detector under a new name, whose assets are of the same groups, has what the old one kept."""
    for_groups = {"detectors": [{"name": "old", "groups": ["pump"]}]}
    store(tmp_path, "old", **GROUPED, **for_groups).write(READINGS, history(rows(400)))
    other = {"detectors": [{"name": "new", "groups": ["pump"], "assets_exclude": ["a"]}]}
    assert inherited(tmp_path, **GROUPED, **other).normal().assets == ("b",)
    everything_of = {"detectors": [{"name": "new"}]}
    assert inherited(tmp_path, **everything_of).normal().assets == ("a", "b")


def test_a_history_is_of_the_first_of_the_texts(tmp_path: Path) -> None:
    """Texts may be added at the end. If a place has another text than before, the history is set aside."""

    def texts(*names: str) -> dict[str, Any]:
        return {"channels": {"flow": {"texts": names}}}

    store(tmp_path, "old", **texts("STOP", "RUN")).write(READINGS, history(rows(400)))
    assert len(store(tmp_path, "old", **texts("STOP", "RUN", "SETUP")).read(READINGS))
    with capture_logs() as lines:
        assert not len(store(tmp_path, "old", **texts("RUN", "STOP")).read(READINGS))
    (line,) = lines
    assert line["event"] == "history quarantined"
    assert "the texts ['STOP', 'RUN'] of flow, which are now ['RUN', 'STOP']" in line["reason"]


def test_texts_are_those_of_channels_whatever_the_sections_are_named(tmp_path: Path) -> None:
    """Another section with other texts of a channel sets a history aside; one that leaves the channel out does not."""
    old = {"flow": {"texts": ["STOP", "RUN"]}}
    for section, kept in ({"f*": {"texts": ["RUN"]}}, 0), ({"f*": {"as": "ignore"}}, 50):
        store(tmp_path, "old", channels=old).write(READINGS, history(rows(400)))
        assert len(store(tmp_path, "old", channels=section | old).read(READINGS)) == kept


def test_its_own_history_comes_first(tmp_path: Path) -> None:
    """A detector with a history of a partition inherits nothing there."""
    store(tmp_path, "old").write(READINGS, history(rows(400)))
    store(tmp_path, "new").write(READINGS, history(rows(64)))
    assert inherited(tmp_path).steps_seen().tolist() == [64, 64]
    assert store(tmp_path, "new").read(READINGS._replace(number=7)).steps_seen().tolist() == []


def test_of_two_that_kept_an_asset_the_longer_one_counts(tmp_path: Path) -> None:
    """Blocks of an asset come from one history, the one that has seen more of it, whatever their names are."""
    for name, steps in (("p", 80), ("q", 400), ("r", 160)):
        store(tmp_path, name).write(READINGS, history(rows(steps)))
    found = inherited(tmp_path)
    assert len(found) == len(history(rows(400)))
    assert found.steps_seen().tolist() == [400, 400]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ({"windows__step_s": 2.0}, {}, "step_ms"),
        ({"windows__length": 2 * L}, {}, f"of {2 * L} steps"),
        ({"channels": {"p*": {"as": "rate"}}}, {}, "kept with other rates"),
        ({}, {"channels": {"p*": {"as": "state"}}}, "kept with other states"),
        ({"select__channels": ["flow"]}, {}, "kept of other channels"),
        ({"select__channels": ["flow"]}, {"select__channels": ["f*"]}, "kept of other channels"),
        ({}, {"running__when": "flow > 0"}, 'kept with other running: none, expected ["flow > 0"'),
        ({"running__when": "flow > 0"}, {}, "kept with other running"),
        ({}, {**GROUPED, "detectors": [{"name": "new", "groups": ["pump"]}]}, "kept without the groups of its assets"),
    ],
)
def test_what_does_not_fit_is_not_inherited(
    tmp_path: Path, old: dict[str, Any], new: dict[str, Any], reason: str
) -> None:
    """A history of other windows, or without channels that the new one reads, is left alone, and the log says why."""
    length, step = old.get("windows__length", L), round(old.get("windows__step_s", 1.0) * 1000)
    kept = History(HistoryOptions(budget=99, length=length, step_ms=step, horizon_ms=10**9, guard_ms=0))
    values = np.ones((1, 3, length), np.float32)
    ends = np.array([100 * length * step - step])
    kept.add(WindowBatch(np.zeros(1, np.int32), ends, values, values > 0, ends), ["a"], CHANNELS)
    assert len(kept) == 1
    store(tmp_path, "old", **old).write(READINGS, kept)
    with capture_logs() as lines:
        assert len(inherited(tmp_path, **new)) == 0
    assert [(line["event"], line["origin"]) for line in lines] == [("history not inherited", "old")]
    assert reason in lines[0]["reason"]


def test_a_damaged_history_is_left_to_its_detector(tmp_path: Path) -> None:
    """A damaged file of another detector is not inherited, and stays in its place."""
    store(tmp_path, "old").write(READINGS, history(rows(400)))
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with capture_logs() as lines:
        assert len(inherited(tmp_path)) == 0
    assert "history not inherited" in [line["event"] for line in lines]
    assert file.exists()


def grown(parts: Sequence[tuple[int, int]], budget: int) -> History:
    """A history that was given rows from step to step."""
    made = History(HistoryOptions(budget=budget, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
    for first, last in parts:
        made.add(windows(rows(3200)[:, first:last], first), ("a", "b"), CHANNELS)
    return made


def test_an_inherited_history_goes_on_like_the_original() -> None:
    """Readings after the inheritance are kept, and thinned, as in the original, whose blocks of alerts come along."""
    original = grown([(0, 400)], budget=120)
    original.note([alert("b", 410 * STEP, 460 * STEP)])
    original.add(windows(rows(3200)[:, 400 - L + 1 : 1600], 400 - L + 1), ("a", "b"), CHANNELS)
    assert original.corpus().alerted.sum() >= 3
    heir = grown([], budget=120)
    heir.inherit(original.excerpt(everything, everything))
    for each in (original, heir):
        each.add(windows(rows(3200)[:, 1600 - L + 1 :], 1600 - L + 1), ("a", "b"), CHANNELS)
    one, other = original.corpus(), heir.corpus()
    assert len(one) > 60
    for part in ("end", "values", "alerted"):
        assert np.array_equal(getattr(one, part), getattr(other, part))
    assert original.steps_seen().tolist() == heir.steps_seen().tolist() == [3200, 3200]


def test_a_smaller_budget_thins_what_is_inherited() -> None:
    """A heir that keeps fewer blocks drops as many as its budget asks for, spread over the whole time."""
    heir = grown([], budget=40)
    heir.inherit(grown([(0, 1600)], budget=1000).excerpt(everything, everything))
    assert 20 <= len(heir) <= 40
    assert heir.normal().end.max() - heir.normal().end.min() > 1300 * STEP
