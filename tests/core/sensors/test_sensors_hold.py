"""A channel whose value holds between two readings is neither frozen nor missed before it is far overdue."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.records import Bools, Floats, WindowBatch
from monitor.core.sensors.checks import FAULTS, Sensors
from tests.core.machines import CHANNELS, STEP, rows, windows
from tests.core.sensors.test_sensors import PROFILE, stage

EVERY, HOLD, LAST = 5, 15, 60  # steps: between two readings, that a value holds, and of the last reading


def held(steps: int = 120) -> WindowBatch:
    """Return windows of machine a, whose channel 0 is read every fifth step, until step LAST."""
    values, holds = rows(steps)[:1], np.zeros((1, steps, len(CHANNELS)))
    for step in range(steps):
        since = min(step // EVERY * EVERY, LAST)
        values[0, step, 0] = values[0, since, 0] if step - since <= HOLD else np.nan
        holds[0, step, 0] = step != since and step - since <= HOLD
    every = windows(values)
    marks: Bools = windows(holds.astype(np.float32)).values > 0
    return replace(every, held=marks)


def faults(made: Sensors, batch: WindowBatch, cut: int) -> list[tuple[int, str, float, float]]:
    """Return end, fault, score and limit of channel 0 for each window with a fault, of parts of `cut` windows."""
    found = []
    for begin in range(0, len(batch), cut):
        marked, findings = made.update(batch.take(np.arange(begin, min(begin + cut, len(batch)))))
        state = made.save_state()
        made = stage()
        made.load_state(state)
        made.use(CHANNELS, PROFILE)
        if findings is not None:
            each = zip(marked.ends, findings.fault[:, 0], findings.score[:, 0], findings.threshold[:, 0], strict=True)
            found += [(int(e) // STEP, FAULTS[f], float(s), float(t)) for e, f, s, t in each if f]
    return found


@pytest.mark.parametrize("cut", [1, 7, 500])
def test_a_channel_that_holds_is_missed_after_as_long_again(cut: int) -> None:
    """The held value is not frozen, and silence is a fault once it lasts as long as the value held."""
    found = faults(stage(), held(), cut)
    assert found[:1] == [(LAST + 2 * HOLD, "dropout", float(HOLD), float(HOLD))]
    assert {fault for _, fault, _, _ in found} == {"dropout"}


def test_a_silence_of_the_others_is_not_counted_while_one_holds() -> None:
    """Where only a value that holds is seen, no other channel is missed."""
    batch = held(LAST + HOLD)
    alone: Floats = batch.values.copy()
    seen = batch.observed.copy()
    newest = batch.ends >= batch.ends[-10]
    for window in np.flatnonzero(newest).tolist():
        gone = 10 - (len(batch) - 1 - window)
        alone[window, 1:, -gone:] = np.nan
        seen[window, 1:, -gone:] = False
    marks = np.zeros_like(seen) if batch.held is None else batch.held.copy()
    marks[:, 0, :] |= seen[:, 0, :] & ~seen[:, 1, :]
    quiet = replace(batch, values=alone, observed=seen, held=marks)
    assert stage().update(quiet)[1] is None
