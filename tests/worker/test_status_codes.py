"""History that is left out by a status code, which a machine sends on change only."""

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.core.fitting.exclude import in_condition
from monitor.core.records import Message
from monitor.service.pipelines import make_history, make_pipeline
from tests.core.machines import STEP, L, rows
from tests.rig import ORIGIN, READINGS, processed, settings

BLOCKS = 5  # in which the machine is set up


def machine() -> list[Message]:
    """Return a machine with a status that is 3 for some blocks, sent when it changes."""
    told, changes = [], {0: 1.0, 10 * L: 3.0, (10 + BLOCKS) * L: 1.0}
    for step, (flow, pressure) in enumerate(rows(400)[0, :, :2].tolist()):
        values = {"flow": flow, "pressure": pressure} | ({"status": changes[step]} if step in changes else {})
        at = ORIGIN + step * STEP
        body = json.dumps({"asset": "a", "timestamp": at, "values": values}).encode()
        told.append(Message(READINGS, step, b"a", body, at))
    return told


@pytest.mark.parametrize(("given", "left_out"), [({}, 1), ({"hold_s": 300.0}, BLOCKS)])
def test_a_status_that_holds_leaves_out_all_of_its_time(tmp_path: Path, given: dict[str, Any], left_out: int) -> None:
    """With hold_s each block of the status is left out; without, only the one in which the status was sent."""
    wanted = settings(tmp_path, channels={"status": {"as": "state", **given}})
    pipeline, history = make_pipeline(wanted, READINGS), make_history(wanted)
    outputs = processed(pipeline, machine(), ORIGIN + 10**9, form=wanted.message_format())
    history.add(outputs.windows, outputs.names, pipeline.windows.channels)
    assert in_condition(history.corpus(), "status == 3").sum() == left_out
