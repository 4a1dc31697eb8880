"""The saved state of `MachineAlerts`: restored exactly, or refused with the reason."""

import json
from typing import Any

import numpy as np
import pytest

from monitor.core.records import Partition
from tests.core.alerts.test_machine_alerts import alerting, feed, one

STORY = one(0.5, 2, 2, 2.5, 1, 5, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 3, 3, 3, 7)


@pytest.mark.parametrize("cut", range(len(STORY) + 1))
def test_a_restored_stage_goes_on_identically(cut: int) -> None:
    """Saved and loaded in any state, the records are those of a stage that went through."""
    wanted = feed(alerting(), STORY)
    stage, restored = alerting(), alerting()
    before = feed(stage, STORY[:cut])
    restored.load_state(stage.save_state())
    assert restored.states() == stage.states()
    assert before + feed(restored, STORY[cut:]) == wanted
    feed(stage, STORY[cut:])
    assert restored.save_state()["alerts"].tobytes() == stage.save_state()["alerts"].tobytes()


def test_saved_state_is_not_shared() -> None:
    """A saved state does not change with the stage."""
    stage = alerting()
    feed(stage, one(2, 2, 2))
    state = stage.save_state()
    before = state["alerts"].copy()
    feed(stage, one(9, since=4))
    assert state["alerts"].tobytes() == before.tobytes()


def test_a_number_that_is_not_finite_is_not_saved() -> None:
    """A record that JSON could not give back raises ValueError instead of a state that cannot be loaded."""
    stage = alerting(on_delay_ms=0)
    feed(stage, one(float("inf")))
    with pytest.raises(ValueError, match="Expected `float`, got `null`"):
        stage.save_state()


def packed(change: dict[str, Any]) -> np.ndarray:
    """A saved state of one firing alert with some fields changed; `alert.` changes those of the record."""
    stage = alerting()
    feed(stage, one(2, 2, 2))
    (life,) = json.loads(stage.save_state()["alerts"].tobytes())
    for name, value in change.items():
        place = life["alert"] if name.startswith("alert.") else life
        place[name.removeprefix("alert.")] = value
    return np.frombuffer(json.dumps([life]).encode(), np.uint8)


@pytest.mark.parametrize(
    ("packed_lives", "message"),
    [
        (np.zeros(1), "alerts is float64"),
        (np.frombuffer(b"", np.uint8), "truncated"),
        (np.frombuffer(b"[{]", np.uint8), "malformed"),
        (np.frombuffer(b'[{"asset": "\xff"}]', np.uint8), "utf-8"),
        (np.frombuffer(b"[{}]", np.uint8), "missing required field"),
        (np.frombuffer(b'[{"x":' + b"[" * 100_000, np.uint8), "recursion"),
        (packed({"row": -1}), ">= 0"),
        (packed({"row": 2**31}), "<= 2147483647"),
        (packed({"peak": None}), "got `null`"),
        (packed({"peak": True}), "got `bool`"),
        (packed({"last": 1.5}), "got `float`"),
        (packed({"alert.channels": [{}]}), "missing required field"),
        (packed({"offset": 11}), r"alerts\[0\].id is .* of another detector"),
        (packed({"asset": "fan"}), r"alerts\[0\].id is .* for fan"),
        (packed({"alert.id": "x"}), r"alerts\[0\].alert is x, firing, of pump"),
        (packed({"alert.state": "resolved"}), r"alerts\[0\].alert is .*, resolved, of pump"),
    ],
)
def test_state_that_does_not_fit_is_refused_whole(packed_lives: np.ndarray, message: str) -> None:
    """Anything but a saved state raises ValueError that says why, and the stage stays as it was."""
    stage = alerting()
    feed(stage, [(1, 1, 2.0)])
    with pytest.raises(ValueError, match=message):
        stage.load_state({"alerts": packed_lives})
    assert stage.states() == {1: "pending"}


def test_state_with_other_arrays_is_refused() -> None:
    """A state that lacks its array or has another raises ValueError."""
    state = alerting().save_state()
    with pytest.raises(ValueError, match="alerts is missing"):
        alerting().load_state({})
    with pytest.raises(ValueError, match="more is unknown"):
        alerting().load_state(state | {"more": np.zeros(1)})


def test_a_row_twice_is_refused() -> None:
    """Two states of one asset raise ValueError."""
    stage = alerting()
    feed(stage, one(2))
    (life,) = json.loads(stage.save_state()["alerts"].tobytes())
    with pytest.raises(ValueError, match=r"alerts is of \[\(0, ''\), \(0, ''\)\], expected ascending"):
        stage.load_state({"alerts": np.frombuffer(json.dumps([life, life]).encode(), np.uint8)})


def test_state_of_another_partition_is_refused() -> None:
    """Alerts saved for one partition or detector are not taken over by another."""
    stage = alerting()
    feed(stage, one(2))
    for other in (alerting(partition=Partition("plant", 4)), alerting(detector="line-2")):
        with pytest.raises(ValueError, match="another detector, partition or window"):
            other.load_state(stage.save_state())
