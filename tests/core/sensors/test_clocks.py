"""Clock checks: which clocks are wrong, from which window to which, and which delays are no fault of a clock."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from monitor.core.records import WindowBatch
from monitor.core.sensors.clocks import DRAINED, EPOCH, LEAST, ClockOptions, Clocks, Skew

STEP, TOLERANCE, WAIT = 1000, 20_000, 6000
Delay = Callable[[int], int]


def stage(tolerance_ms: int = TOLERANCE) -> Clocks:
    return Clocks(ClockOptions(tolerance_ms=tolerance_ms, wait_ms=WAIT, step_ms=STEP))


def batch(rows: Sequence[int], ends: Sequence[int]) -> WindowBatch:
    cells = np.zeros((len(rows), 1, 1), np.float32)
    assets, times = np.array(rows, np.int32), np.array(ends, np.int64)
    return WindowBatch(assets, times, cells, cells == 0, np.arange(len(rows), dtype=np.int64))


def feed(made: Clocks, delays: Sequence[Delay], steps: range) -> list[list[Skew | None]]:
    """Return the skew of each asset at each of `steps`, all assets in turn; delays are in ms, by the step."""
    rows = [row for _ in steps for row in range(len(delays))]
    ends = [10**12 + step * STEP for step in steps for _ in delays]
    stamps = [10**12 + step * STEP + delay(step) for step in steps for delay in delays]
    found = made.update(batch(rows, ends), np.array(stamps, np.int64))
    return [[found.get(place) for place in range(row, len(rows), len(delays))] for row in range(len(delays))]


def level(delay: int) -> Delay:
    return lambda _: delay


def test_a_clock_that_runs_ahead_is_found_even_of_a_lone_machine() -> None:
    """It is wrong from the 64th window in a row on that is further ahead of its message than tolerated."""
    (found,) = feed(stage(), [level(-60_000)], range(LEAST + 2))
    assert found[: LEAST - 1] == [None] * (LEAST - 1)
    assert found[LEAST - 1 :] == [Skew(60.0, 20.0, 10**12)] * 3
    assert feed(stage(), [level(-TOLERANCE)], range(3 * LEAST)) == [[None] * 3 * LEAST]


def test_a_clock_that_lags_is_found_beside_the_others() -> None:
    """It is behind if it is later than the median of the machines by more than tolerance and what a step may wait."""
    late, *others = feed(stage(), [level(90_000), *[level(800)] * 4], range(EPOCH + LEAST + 40))
    first = next(step for step, skew in enumerate(late) if skew)
    assert late[first] == Skew(-89.2, -26.0, 10**12 + (first - LEAST + 1) * STEP)
    assert first < EPOCH + LEAST
    assert all(late[first:])
    assert not any(map(any, others))
    within = feed(stage(), [level(800 + TOLERANCE + WAIT), *[level(800)] * 4], range(200))
    assert not any(map(any, within))


@pytest.mark.parametrize("others", [[], [level(0)]])
def test_of_two_machines_none_is_called_late(others: list[Delay]) -> None:
    """With fewer than three machines it is unknown which of them is behind."""
    assert not any(map(any, feed(stage(), [level(90_000), *others], range(500))))


@pytest.mark.parametrize("speed", [2, 10, 100])
@pytest.mark.parametrize("cut_off", [1, 2, 6])
def test_readings_that_were_held_back_raise_nothing(speed: int, cut_off: int) -> None:
    """What was held back for an hour drains, of one machine, of some or of all, and no clock is wrong."""

    def held(step: int) -> int:
        return max(0, 3600_000 - (step - 500) * STEP * (speed - 1) // speed) if 500 <= step < 8500 else 0

    made = stage()
    delays: list[Delay] = [held if row < cut_off else level(0) for row in range(6)]
    assert not any(map(any, feed(made, delays, range(9000))))


def test_a_machine_that_sends_in_bulk_raises_nothing() -> None:
    """One that hands in its readings once a minute is late and in time by turns."""
    bulk: Delay = lambda step: (59 - step % 60) * STEP  # noqa: E731 - as the others are given
    assert not any(map(any, feed(stage(), [bulk, *[level(0)] * 4], range(1000))))


def test_a_delay_that_all_share_is_no_fault() -> None:
    """Readings of the whole plant that are later from some moment on raise nothing."""
    later: Delay = lambda step: 90_000 if step >= 517 else 0  # noqa: E731
    assert not any(map(any, feed(stage(), [later] * 5, range(1000))))


def test_a_clock_is_right_again_half_a_tolerance_below_the_limit() -> None:
    """A clock that was found wrong stays so around the limit, and not once it is well within it."""
    course: Delay = lambda step: -21_000 if step < 100 else -12_000 if step < 150 else -10_000  # noqa: E731
    (found,) = feed(stage(), [course], range(200))
    assert [step for step, skew in enumerate(found) if skew] == list(range(LEAST - 1, 150))
    assert found[149] == Skew(12.0, 20.0, 10**12)


def test_a_clock_that_is_set_the_other_way_begins_anew() -> None:
    """Ahead and then behind are two faults, and each has to last."""
    course: Delay = lambda step: -60_000 if step < 300 else 60_000  # noqa: E731
    found, *_ = feed(stage(), [course, *[level(0)] * 4], range(600))
    signs = [0 if skew is None else int(np.sign(skew.score)) for skew in found]
    assert signs == [0] * (LEAST - 1) + [1] * (300 - LEAST + 1) + [0] * (LEAST - 1) + [-1] * (300 - LEAST + 1)


def test_a_large_tolerance_takes_longer() -> None:
    """What is late must be so for three tolerances: less could be a backlog that has not yet drained."""
    (found,) = feed(stage(100_000), [level(-200_000)], range(400))
    assert next(step for step, skew in enumerate(found) if skew) == DRAINED * 100 - 1


def test_who_is_late_stays_so_while_there_is_nobody_to_compare_with() -> None:
    """Alone in the plant overnight, a clock found behind is neither cleared nor worse; then it is judged on."""
    made = stage()
    delays = [level(90_000), *[level(0)] * 4]
    assert feed(made, delays, range(300))[0][-1] is not None
    (night,) = feed(made, delays[:1], range(300, 1000))
    assert all(night)
    assert feed(made, [level(0)] * 5, range(1000, 1300))[0][-1] is None


def test_nothing_is_judged_without_timestamps() -> None:
    """Messages of files carry no time or their readings', and with a tolerance of 0 no clock is judged."""
    rows, ends = [0, 1, 2] * 300, [10**12 + step * STEP for step in range(300) for _ in range(3)]
    skewed = np.array(ends, np.int64) - np.tile([90_000, 0, 0], 300)
    for made, stamps in ((stage(), 0 * skewed), (stage(), np.array(ends)), (stage(), -skewed), (stage(0), skewed)):
        assert made.update(batch(rows, ends), stamps) == {}
    assert len(stage().update(batch(rows, ends), skewed)) == 300 - LEAST + 1
    assert stage(0).save_state() == {}


def test_a_reused_row_is_cleared() -> None:
    """A machine that gets the row of one with a wrong clock begins as if it had come to an empty plant."""
    made, empty = stage(), stage()
    feed(made, [level(-60_000)], range(EPOCH + 6))
    made.forget(0)
    made.forget(7)  # that never had a window
    (found,) = feed(made, [level(-60_000)], range(200, 200 + LEAST))
    assert found == feed(empty, [level(-60_000)], range(200, 200 + LEAST))[0]
    assert found.count(None) == LEAST - 1


def test_a_timestamp_beyond_all_years_does_no_harm() -> None:
    """One broken timestamp, as far away as 64 bits go, changes nothing for the others and overflows nothing."""
    made = stage()
    made.update(batch([0, 1, 2], [10**12] * 3), np.array([2**63 - 1, -(2**63), 1], np.int64))
    late, *others = feed(made, [level(90_000), *[level(0)] * 3], range(300))
    assert late[-1] is not None
    before_1970 = batch([0] * 2 * LEAST, range(-(10**9), -(10**9) + 2 * LEAST))
    assert stage().update(before_1970, np.full(2 * LEAST, 2**63 - 1)) == {}
    assert not any(map(any, others))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"other": np.zeros(1)}, "other is unknown"),
        ({"delay": np.zeros(2)}, "delay is float64"),
        ({"first": np.zeros(2, np.int64)}, r"first is int64 \(2,\)"),
        ({"windows": np.array([-1])}, r"windows\[0\] is -1"),
        ({"left": np.array([0])}, r"left\[0\] is 0"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, np.ndarray], words: str) -> None:
    """An array that is unknown, misshapen or out of range is named, and nothing is changed."""
    made, fresh = stage(), stage()
    feed(made, [level(-60_000)], range(70))
    with pytest.raises(ValueError, match=f"state of clocks: {words}"):
        fresh.load_state(made.save_state() | change)
    fresh.load_state({})  # of a worker that did not judge clocks
    np.testing.assert_equal(fresh.save_state(), stage().save_state())
