"""Which sensors are found faulty, which machines are spared, and what a saved state must look like."""

import numpy as np
import pytest

from monitor.core.rules import ChannelRule, Rules
from monitor.core.sensors.checks import FAULTS, LEAST, TOGETHER, SensorOptions, Sensors, Unread
from monitor.core.sensors.profile import SensorProfile
from tests.core.machines import ASSETS, CHANNELS, STEP, L, rows, windows

C = len(CHANNELS)
PROFILE = SensorProfile(*(np.full(C, each, np.float32) for each in (0, 0, 0.5, -40, 40)))


def stage(
    profile: SensorProfile | None = PROFILE, low: float = -np.inf, min_observed: float = 0.5, skip: str = ""
) -> Sensors:
    skipped = [skip] if skip else []
    options = SensorOptions(length=L, step_ms=STEP, min_observed=min_observed, skip=skipped)
    made = Sensors(options, Rules(channels=(("flow", ChannelRule(low=low)),)))
    made.use(CHANNELS, profile)
    return made


def found(values: np.ndarray, made: Sensors | None = None) -> set[tuple[str, str, str]]:
    """Asset, channel and fault, wherever a window says so."""
    marked, findings = (made or stage()).update(windows(values))
    if findings is None:
        return set()
    places, columns = np.nonzero(findings.fault)
    return {
        (ASSETS[marked.assets[place]], CHANNELS[column], FAULTS[findings.fault[place, column]])
        for place, column in zip(places.tolist(), columns.tolist(), strict=True)
    }


def stuck(*channels: int, begin: int = 40, apart: int = 0, steps: int = 30) -> np.ndarray:
    """Machine a with some channels at rest, each `apart` steps after the one before."""
    values = rows(100)
    for number, channel in enumerate(channels):
        first = begin + number * apart
        values[0, first : first + steps, channel] = values[0, first, channel]
    return values


def windows_from(values: np.ndarray, step: int) -> np.ndarray:
    """The readings of which the windows are those that end at `step` or later."""
    return values[:, step - L + 1 :]


def test_a_healthy_plant_has_sound_sensors() -> None:
    """Without a fault the windows are handed on as they are."""
    every = windows(rows(100))
    marked, findings = stage().update(every)
    assert (marked, findings) == (every, None)


def test_a_sensor_that_sticks_is_found_and_masked_from_the_beginning() -> None:
    """After six repetitions the channel is frozen; its cells are masked back to the first one, until they are past."""
    made, every = stage(), windows(stuck(0)[:1])
    marked, findings = made.update(every)
    assert findings is not None
    assert marked.masked is not None
    steps = every.ends // STEP
    frozen = steps[findings.fault[:, 0] > 0]
    assert (frozen[0], frozen[-1]) == (40 + LEAST, 69)
    first = int(np.flatnonzero(steps == 40 + LEAST)[0])
    assert marked.masked[first, 0].tolist() == [False] * (L - LEAST) + [True] * LEAST
    assert not marked.masked[first - 1].any()
    assert steps[marked.masked.any((1, 2))][-1] == 69 + L - 1
    assert not marked.masked[:, 1:].any()
    assert (findings.score[first, 0], findings.threshold[first, 0], findings.begin[first, 0]) == (6, 6, 41 * STEP)


@pytest.mark.parametrize("apart", [0, TOGETHER])
def test_channels_that_come_to_rest_together_are_the_machines(apart: int) -> None:
    """When the machine stops no sensor is at fault, nor when it starts again and one channel rests for longer."""
    assert found(stuck(0, 1, apart=apart)) == set()
    assert found(stuck(0, 1, apart=TOGETHER + 1)) == {("a", "flow", "frozen")}


def test_a_slow_channel_does_not_hide_a_sensor_that_sticks() -> None:
    """A channel that is read only now and then, and moves each time, has not come to rest."""
    values = stuck(1)
    values[0, np.arange(100) % 6 != 0, 2] = np.nan
    assert ("a", CHANNELS[1], "frozen") in found(values)


def test_where_most_channels_rest_the_machine_stands() -> None:
    """Two of three channels at rest are no faulty sensors, not even the one that was taken for one before."""
    values, made = stuck(0, 1, apart=TOGETHER + 1, steps=40), stage()
    both = 40 + TOGETHER + 1 + LEAST
    assert found(values[:, :both], made) == {("a", "flow", "frozen")}
    assert found(windows_from(values, both), made) == set()


def test_a_value_the_channel_never_had_is_no_frozen_sensor() -> None:
    """A flow that stands at zero because the pump does lies outside the history's range and is left to the model."""
    values = stuck(0)
    values[0, 40:70, 0] = -41.0
    assert found(values) == set()


def test_two_sensors_that_stick_at_different_times_are_two_faults() -> None:
    """Of many channels each that sticks by itself is found."""
    assert found(stuck(0, 1, apart=35, steps=20)) == {("a", "flow", "frozen"), ("a", "pressure", "frozen")}


def test_a_spike_of_one_step_is_a_jump_unless_others_moved() -> None:
    """One cell is masked from the next step on; with another channel moving, or no return, it is the machine's."""
    values = rows(100)
    values[0, 50, 0] += 9.0
    made, every = stage(), windows(values[:1])
    marked, findings = made.update(every)
    assert findings is not None
    assert marked.masked is not None
    at = int(np.flatnonzero(every.ends // STEP == 51)[0])
    assert np.argwhere(marked.masked[at]).tolist() == [[0, L - 2]]
    assert not marked.masked[at - 1].any()
    assert made.counts["cells_doubted"] == 1
    values[0, 50, 1] += 0.6
    assert found(values) == set()
    values = rows(100)
    values[0, 50:, 0] += 9.0
    assert found(values) == set()


def test_a_silent_channel_is_missed_only_by_an_asset_that_had_it() -> None:
    """Six steps without a reading while others have some are a dropout; a channel that never came is none."""
    values = rows(100)
    values[0, 40:60, 2] = np.nan
    values[1, :, 2] = np.nan
    assert found(values) == {("a", "temperature", "dropout")}
    values[0, 40:60] = np.nan  # the asset fell silent as a whole
    assert found(values[:, : 40 + LEAST]) == set()


def test_readings_beyond_their_limits_are_doubted_one_by_one() -> None:
    """Outside the limits given a reading counts as not observed, whatever the profile; of skipped channels, too."""
    values = rows(100)
    values[0, 50:53, 0] = -30.0
    for made in (stage(low=-20), stage(None, low=-20), stage(low=-20, skip="flow")):
        assert found(values, made) == {("a", "flow", "limits")}
        assert made.counts["cells_doubted"] == 3


def test_without_a_profile_or_when_skipped_a_channel_is_not_judged() -> None:
    """A model of an older version knows no profile, and a channel in `skip` is not held to its own."""
    assert found(stuck(0), stage(None)) == set()
    assert found(stuck(0), stage(skip="flow")) == set()
    assert found(stuck(0), stage(skip="f*")) == set()
    assert found(stuck(1), stage(skip="flow")) == found(stuck(1), stage(skip="f*")) == {("a", "pressure", "frozen")}


def test_a_window_with_too_little_left_is_not_scored() -> None:
    """Where doubt leaves less than `min_observed` of a window, it is dropped and counted."""
    made, every = stage(min_observed=0.7), windows(stuck(0)[:1])
    marked, findings = made.update(every)
    assert findings is not None
    assert len(marked) == len(findings.fault) == len(every) - made.counts["windows_skipped_doubted"]
    assert made.counts["windows_skipped_doubted"] > 0
    assert marked.observed.mean((1, 2)).min() >= 0.7


def test_a_gap_breaks_what_is_counted() -> None:
    """Repetitions from before a gap longer than a window do not count: of the steps in between nothing is known."""
    made, values = stage(), stuck(0, begin=L, steps=100)
    made.update(windows(values[:1, : L + 5]))
    _, findings = made.update(windows(values[:1, L + 5 : 2 * L + 5], first_step=10 * L))
    assert findings is not None
    assert findings.score[0, 0] == L


def test_what_is_known_of_a_channel_goes_with_its_name() -> None:
    """Under a model with other channels, a channel's state and masked cells stay its own."""
    made = stage()
    made.update(windows(stuck(0)[:1, :50]))
    made.use(("new", "flow", "pressure"), PROFILE)
    state = made.save_state()
    assert state["repeats"][0].tolist() == [0, 9, 0]
    assert state["masked"][0].sum(1).tolist() == [0, 9, 0]


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("value", None, "missing"),
        ("repeats", np.zeros((2, 3), np.int32), "int32"),
        ("channels", np.frombuffer(b'["a","a","b"]', np.uint8), "'a' twice"),
        ("channels", np.frombuffer(b'["a","b"]', np.uint8), "2 names"),
        ("channels", np.frombuffer(b"[" * 100_000, np.uint8), "nested deep"),
        ("counts", np.array([-1, 0]), "-1"),
        ("masked_rows", np.array([7], np.int64), "7"),
        ("masked", np.zeros((1, 2, 2), np.bool_), r"\(1, 2, 2\)"),
        ("extra", np.zeros(1), "unknown"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, array: np.ndarray | None, words: str) -> None:
    """An array that is missing, unknown or misshapen in a saved state is named, and nothing is changed."""
    made = stage()
    made.update(windows(stuck(0)[:, :60]))
    state = made.save_state()
    broken = {**state, name: array} if array is not None else {k: v for k, v in state.items() if k != name}
    fresh = stage()
    with pytest.raises(ValueError, match=f"state of sensors: {name}.*{words}"):
        fresh.load_state(broken)
    assert fresh.save_state()["end"].size == 0
    fresh.load_state(state)
    assert {key: each.tobytes() for key, each in fresh.save_state().items()} == {
        k: v.tobytes() for k, v in state.items()
    }


def test_a_state_that_masks_a_row_twice_is_refused() -> None:
    """Two masks of one asset contradict each other; the row is named."""
    made = stage()
    made.update(windows(stuck(0)[:, :60]))
    state = made.save_state()
    broken = {"masked_rows": np.array([0, 0]), "masked": np.repeat(state["masked"], 2, axis=0)}
    with pytest.raises(ValueError, match=r"masked_rows is \[0, 0\], expected distinct"):
        stage().load_state(state | broken)


def unread(*channels: int, row: int = 0) -> Unread:
    """Return which channels are not read: these of one asset."""
    marks = np.zeros((len(ASSETS), C), np.bool_)
    marks[row, list(channels)] = True
    return lambda assets: marks[assets]


def test_a_channel_that_is_not_read_has_no_fault_and_is_masked() -> None:
    """A stuck and impossible channel of an asset that is told not to read it is no fault; the other asset's is."""
    values = stuck(0, steps=60)
    values[1, 40:, 0] = -1000.0
    batch = windows(values)
    marked, findings = stage(low=-100.0).update(batch, unread(0))
    assert findings is not None
    assert not findings.fault[marked.assets == 0].any()
    assert findings.fault[marked.assets == 1, 0].any()
    own = marked.assets == 0
    assert marked.masked is not None
    assert marked.masked[own, 0].all()
    assert not marked.observed[own, 0].any()
    assert not marked.masked[own, 1:].any()
    read = batch.observed[batch.assets == 0, 0]
    assert np.array_equal(marked.values[own, 0][read], batch.values[batch.assets == 0, 0][read])


def test_what_is_left_is_judged_by_the_channels_that_are_read() -> None:
    """A machine of which one channel in three is read is scored; once that channel is faulty, it is not."""
    values = rows(60)
    batch = windows(values)
    assert len(stage().update(batch, unread(1, 2))[0]) == len(batch)
    values[0, 30:, 0] = -1000.0
    left, _ = stage(low=-100.0).update(windows(values), unread(1, 2))
    assert 0 < np.count_nonzero(left.assets == 0) < np.count_nonzero(batch.assets == 0)
    assert np.count_nonzero(left.assets == 1) == np.count_nonzero(batch.assets == 1)


def test_the_state_of_a_channel_that_is_not_read_goes_on() -> None:
    """What a channel does while it is not read counts once it is read again: it is stuck at once, and not silent."""
    values = stuck(0, begin=20, steps=80)
    first, second = windows(values[:, :60]), windows(values)
    made = stage()
    made.update(first, unread(0))
    later = second.take(np.flatnonzero(second.ends > first.ends.max()))
    _, findings = made.update(later.take(np.arange(2)))
    assert findings is not None
    assert [FAULTS[number] for number in findings.fault[0]] == ["frozen", "", ""]


def aggregated(skip: str = "") -> Sensors:
    """Sensors of two aggregates of one channel, and another channel."""
    skipped = [skip] if skip else []
    options = SensorOptions(length=L, step_ms=STEP, min_observed=0.5, skip=skipped)
    made = Sensors(options, Rules(aggregates=("mean", "max")))
    made.use(("flow.mean", "flow.max", "temperature.mean"), PROFILE)
    return made


def test_aggregates_of_one_sensor_do_not_vouch_for_each_other() -> None:
    """If all aggregates of a channel stick or jump together, it is the sensor; with another channel, the machine."""
    frozen = {("a", channel, "frozen") for channel in CHANNELS[:2]}
    assert found(stuck(0, 1), aggregated()) == frozen
    assert found(stuck(0, 1, 2), aggregated()) == set()
    assert found(stuck(0, 1), stage()) == set()

    values = rows(100)
    values[0, 50, :2] += 30
    assert found(values, aggregated()) == {("a", channel, "jump") for channel in CHANNELS[:2]}
    assert found(values, stage()) == set()


def test_a_channel_is_skipped_with_its_aggregates() -> None:
    """Both the name that messages have and that of a single aggregate may be given."""
    assert found(stuck(0, 1), aggregated("flow")) == set()
    assert found(stuck(0, 1), aggregated("flow.max")) == {("a", "flow", "frozen")}
