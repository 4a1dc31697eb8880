"""A faulty sensor on its way through a pipeline: named, left out of the score and of what is learned."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.model.model import Model
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Outputs
from tests.core.machines import ASSETS, CHANNELS, STEP, L, model, rows, windows
from tests.properties.hostile_stores import new_pipeline
from tests.rig import ORIGIN, processed, readings

NOW = 2**41
STUCK, STEPS = 260, 340
AT_REST = float(rows(STEPS, seed=9)[0, STUCK, 1])


def stuck() -> np.ndarray:
    """Readings (A, T, C) of which the pressure of machine a sticks for 40 steps, in the middle of its range."""
    values = rows(STEPS, seed=9)
    values[0, STUCK : STUCK + 40, 1] = values[0, STUCK, 1]
    return values


def walk(values: np.ndarray, *, cut: int = 10**6, profile: bool = True) -> tuple[Pipeline, list[Outputs]]:
    made = new_pipeline()
    if not profile:
        made.use(Scorer(replace(model(), profile=None)))
    sent = readings(values.astype(np.float64))
    return made, [processed(made, sent[at : at + cut], NOW) for at in range(0, len(sent), cut)]


def alerts(outputs: list[Outputs]) -> list[Alert]:
    return [alert for each in outputs for alert in each.alerts]


def test_a_sensor_that_sticks_is_an_alert_of_its_own_cause() -> None:
    """The alert names the channel and what was expected of it; without a profile only the machine can be blamed."""
    firing, resolved = (alert for alert in alerts(walk(stuck())[1]) if alert.cause == "sensor")
    (share,) = firing.channels
    assert (firing.fault, firing.asset, share.channel, share.observed) == ("frozen", "a", "pressure", AT_REST)
    assert share.low < share.expected < share.high
    assert (resolved.id, resolved.state) == (firing.id, "resolved")
    assert {alert.cause for alert in alerts(walk(stuck(), profile=False)[1])} <= {"machine"}


@pytest.mark.parametrize("channel", range(len(CHANNELS)))
def test_what_is_doubted_is_replaced_by_what_the_others_say(channel: int) -> None:
    """With a channel masked the others' scores stay far below those with nothing in its place; it is shown as read."""
    every = windows(rows(STEPS, seed=9))
    masked = np.zeros(every.values.shape, np.bool_)
    masked[:, channel] = True
    lacking = replace(every, observed=every.observed & ~masked, values=np.where(masked, np.nan, every.values))
    scorer = Scorer(model())
    nothing = scorer.score(lacking, ASSETS)
    instead = scorer.score(replace(lacking, values=every.values, masked=masked), ASSETS)
    assert np.median(instead.network) < 0.5 * np.median(nothing.network)
    assert (instead.by_channel[:, channel] == 0).all()
    assert instead.newest[:, channel].tolist() == every.values[:, channel, -1].tolist()
    assert np.isnan(nothing.newest[:, channel]).all()


def test_doubted_cells_are_neither_observed_nor_an_input_of_training() -> None:
    """In the history a masked cell has no value, and blocks from the fault's beginning to its alert are left out."""
    outputs = walk(stuck())[1]
    history = History(HistoryOptions(budget=1000, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
    history.add(outputs[0].windows, ASSETS, CHANNELS)
    history.note(alert for alert in alerts(outputs) if alert.cause == "sensor")
    kept = history.normal()
    step = (kept.end - ORIGIN) // STEP
    during = (kept.asset == kept.assets.index("a")) & (step > STUCK + 24) & (step < STUCK + 40)
    assert during.any()
    assert np.isnan(kept.values[during, 1]).all()
    assert not kept.observed[during, 1].any()
    firing = next(alert for alert in alerts(outputs) if alert.cause == "sensor")
    a = kept.asset == kept.assets.index("a")
    assert not np.any(a & (kept.end >= firing.start) & (kept.end - (L - 1) * STEP <= firing.time))


def test_scores_and_alerts_do_not_depend_on_the_cut() -> None:
    """Message by message or all at once, alerts and the state they leave are the same to the bit."""
    (whole, wanted), (made, outputs) = walk(stuck()), walk(stuck(), cut=7)
    assert alerts(outputs) == alerts(wanted)
    state, other = whole.save_state(), made.save_state()
    assert state.keys() == other.keys()
    for name, array in state.items():
        assert array.tobytes() == other[name].tobytes(), name


def test_the_profile_is_stored_with_the_model() -> None:
    """A model comes back with its profile, and one of an older version without."""
    made = model()
    again = Model.unpack("m", *made.pack())
    assert again.profile is not None
    assert made.profile is not None
    assert again.profile.rest.tobytes() == made.profile.rest.tobytes()
    manifest, tensors = made.pack()
    older = {name: array for name, array in tensors.items() if not name.startswith("habits.")}
    assert Model.unpack("m", manifest, older).profile is None


def test_doubt_does_not_depend_on_the_batch() -> None:
    """A masked window has the same score alone as among others."""
    every = windows(rows(60))
    masked = np.zeros(every.values.shape, np.bool_)
    masked[::5, 1, L // 2 :] = True
    marked = replace(every, observed=every.observed & ~masked, masked=masked)
    scorer = Scorer(model())
    scores = scorer.score(marked, ASSETS).network
    for place in (0, 1, 5):
        assert scorer.score(marked.take(np.array([place])), ASSETS).network == scores[place]
