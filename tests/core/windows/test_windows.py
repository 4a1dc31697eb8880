"""The rules of `Windows`, each by hand on a grid of 10 ms steps."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from monitor.core.records import ReadingBatch, WindowBatch
from monitor.core.windows.options import WindowOptions
from monitor.core.windows.windows import COUNTS, Windows

Row = tuple[int, str, str, int, float]  # offset, asset, channel, time, value
NAN = math.nan


def readings(*rows: Row) -> ReadingBatch:
    """Rows as columns."""
    assets = tuple(dict.fromkeys(row[1] for row in rows))
    channels = tuple(dict.fromkeys(row[2] for row in rows))
    return ReadingBatch(
        assets,
        channels,
        np.array([assets.index(row[1]) for row in rows], np.int32),
        np.array([channels.index(row[2]) for row in rows], np.int32),
        np.array([row[3] for row in rows], np.int64),
        np.array([row[4] for row in rows], np.float64),
        np.array([row[0] for row in rows], np.int64),
    )


def windows(*channels: str, **changes: Any) -> Windows:
    """A stage with windows of one step and everything else off; frozen if `channels` are given."""
    settings: dict[str, Any] = {
        "step_ms": 10,
        "length": 1,
        "lateness_ms": 0,
        "max_gap": 5,
        "max_fill": 0,
        "min_observed": 0.0,
        "idle": 1000,
        "max_assets": 10,
        "max_channels": 10,
        "new_assets": 2**16,
        "forget_ms": 2**45,
    }
    stage = Windows(WindowOptions(**settings | changes))
    if channels:
        stage.set_channels(channels, frozen=True)
    return stage


def test_watched_channels_close_with_the_step_and_are_in_no_window() -> None:
    """A step waits for a watched channel, has its value, and a step with nothing else gives no window."""
    stage = windows("p", watched=("run", "p"))
    assert len(stage.close(readings((1, "a", "p", 3, 5.0)))) == 0
    closed = stage.close(readings((2, "a", "run", 4, 1.0)))
    assert (closed.names, closed.values.tolist(), closed.position.tolist()) == (("p", "run"), [[5.0, 1.0]], [2])
    assert stage.cut(closed).values.tolist() == [[[5.0]]]

    alone = stage.close(readings((3, "a", "run", 14, 0.0), (4, "a", "run", 24, 0.0)))
    assert np.isnan(alone.values[:, 0]).all()
    assert (len(alone), len(stage.cut(alone))) == (1, 0)
    assert counted(stage)["steps_closed"] == 1


def test_a_hidden_channel_is_never_learned() -> None:
    """While channels are learned, a watched channel becomes one of the windows, unless it is hidden."""
    rows = readings((1, "a", "p", 3, 5.0), (2, "a", "run", 4, 1.0), (3, "a", "q", 5, 1.0), (4, "a", "run", 24, 1.0))
    for hidden, channels in (((), ("p", "run", "q")), (("run",), ("p", "q"))):
        stage = windows(watched=("run",), hidden=hidden)
        closed = stage.close(rows)
        assert stage.channels == channels
        assert dict(zip(closed.names, closed.values[0].tolist(), strict=True)) == {"p": 5.0, "run": 1.0, "q": 1.0}
        assert "readings_unknown_channel" not in counted(stage)


def test_other_channels_may_be_watched_after_a_restart() -> None:
    """A saved state with other watched channels is continued: what both have is kept."""
    before = windows("p", watched=("run", "old"))
    before.close(readings((1, "a", "p", 3, 5.0), (2, "a", "run", 4, 1.0)))
    after = windows("p", watched=("run",))
    after.load_state(before.save_state())
    closed = after.close(readings((3, "a", "p", 14, 6.0)))
    assert (closed.names, closed.values.tolist()) == (("p", "run"), [[5.0, 1.0]])


def closings(part: WindowBatch) -> list[tuple[int, int, int]]:
    """(position, asset row, end) of each window."""
    return list(zip(part.position.tolist(), part.assets.tolist(), part.ends.tolist(), strict=True))


def counted(stage: Windows) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: count for name, count in stage.counts.items() if count}


def test_complete_step_closes_at_its_last_channel() -> None:
    """With fixed channels a step closes at the message that brings the last of them."""
    part = windows("p", "q").push(readings((1, "a", "p", 13, 5.0), (2, "a", "p", 14, 6.0), (3, "a", "q", 11, 7.0)))
    assert closings(part) == [(3, 0, 10)]
    assert part.values.tolist() == [[[6.0], [7.0]]]
    assert part.observed.all()
    dtypes = [str(array.dtype) for array in (part.assets, part.ends, part.values, part.observed, part.position)]
    assert dtypes == ["int32", "int64", "float32", "bool", "int64"]


def test_incomplete_step_closes_by_watermark() -> None:
    """A step with a missing channel closes when the asset's time minus lateness reaches the step's end."""
    stage = windows("p", "q", lateness_ms=5)
    assert closings(stage.push(readings((1, "a", "p", 13, 5.0), (2, "a", "p", 24, 6.0)))) == []
    part = stage.push(readings((3, "a", "p", 25, 7.0)))
    assert closings(part) == [(3, 0, 10)]
    np.testing.assert_array_equal(part.values, [[[5.0], [NAN]]])
    assert part.observed.tolist() == [[[True], [False]]]


def test_watermark_is_the_assets_own() -> None:
    """One asset's time closes no step of another."""
    stage = windows("p", "q")
    stage.push(readings((1, "a", "p", 3, 1.0), (2, "b", "p", 25, 1.0)))
    assert stage.counts["steps_closed"] == 0


def test_learning_closes_by_watermark_only() -> None:
    """While channels are learned a step with all channels known so far stays open until the watermark passes it."""
    stage = windows()
    assert closings(stage.push(readings((1, "a", "p", 3, 1.0), (2, "a", "q", 4, 1.0)))) == []
    assert closings(stage.push(readings((3, "a", "p", 10, 1.0)))) == [(3, 0, 0)]


def test_steps_close_in_order() -> None:
    """A complete step waits for an earlier incomplete one, and both close at the same message."""
    stage = windows("p", "q", lateness_ms=100)
    part = stage.push(
        readings((1, "a", "p", 3, 1.0), (2, "a", "p", 13, 2.0), (3, "a", "q", 14, 3.0), (4, "a", "q", 5, 4.0))
    )
    assert closings(part) == [(4, 0, 0), (4, 0, 10)]


def test_empty_step_between_holds_the_next_one_back() -> None:
    """A complete step behind an empty one closes only when the watermark has passed the empty one."""
    stage = windows("p", lateness_ms=10)
    part = stage.push(readings((1, "a", "p", 3, 1.0), (2, "a", "p", 23, 2.0), (3, "a", "p", 30, 3.0)))
    assert closings(part) == [(1, 0, 0), (3, 0, 20), (3, 0, 30)]


def test_first_step_is_that_of_the_first_reading() -> None:
    """Readings of steps before an asset's first reading are late, whatever the lateness."""
    stage = windows("p", "q", lateness_ms=100)
    stage.push(readings((1, "a", "p", 23, 1.0), (2, "a", "p", 13, 2.0)))
    assert counted(stage) == {"readings_late": 1}


def test_late_reading_is_dropped_and_counted() -> None:
    """A reading of a closed step changes nothing but the count of late ones, in its batch or a later one."""
    stage = windows("p")
    part = stage.push(readings((1, "a", "p", 3, 1.0), (2, "a", "p", 4, 9.0)))
    assert part.values.tolist() == [[[1.0]]]
    assert len(stage.push(readings((3, "a", "p", 5, 9.0)))) == 0
    assert counted(stage) == {"steps_closed": 1, "readings_late": 2}


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_the_latest_time_stands_and_equal_times_overwrite(cut: int) -> None:
    """In an open step the largest time wins; an equal time overwrites and counts as a duplicate."""
    stage = windows("p", "q")
    rows: list[Row] = [(1, "a", "p", 5, 1.0), (2, "a", "p", 7, 2.0), (3, "a", "p", 6, 3.0), (4, "a", "p", 7, 4.0)]
    stage.push(readings(*rows[:cut]))
    stage.push(readings(*rows[cut:]))
    assert stage.push(readings((5, "a", "q", 1, 0.0))).values.tolist() == [[[4.0], [0.0]]]
    assert counted(stage) == {"readings_duplicate": 1, "steps_closed": 1}


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
def test_a_repeated_reading_holds_its_value_in_the_newest_step(cut: int) -> None:
    """Old time and value once more are neither late nor a duplicate: the newest step's cell is observed."""
    stage = windows("p", "q")
    rows: list[Row] = [
        (1, "a", "p", 1, 5.0),
        (2, "a", "q", 2, 1.0),
        (3, "a", "q", 12, 2.0),
        (4, "a", "p", 1, 5.0),
        (5, "a", "q", 22, 3.0),
    ]
    parts = [stage.push(readings(*rows[:cut])), stage.push(readings(*rows[cut:]))]
    assert [each for part in parts for each in closings(part)] == [(2, 0, 0), (5, 0, 10)]
    last = [part for part in parts if len(part)][-1]
    assert last.values[-1].tolist() == [[5.0], [2.0]]
    assert last.observed.all()
    assert counted(stage) == {"readings_repeated": 1, "steps_closed": 2}


def test_a_reading_takes_the_place_of_a_held_value() -> None:
    """A value that comes after the repetition of an older one counts, and completes the step."""
    stage = windows("p", "q")
    stage.push(readings((1, "a", "p", 1, 5.0), (2, "a", "q", 2, 1.0), (3, "a", "q", 12, 2.0), (4, "a", "p", 1, 5.0)))
    part = stage.push(readings((5, "a", "p", 13, 6.0)))
    assert (closings(part), part.values.tolist()) == ([(5, 0, 10)], [[[6.0], [2.0]]])


def test_the_same_time_with_another_value_is_no_repetition() -> None:
    """Another value for a time of a closed step is late, and for one of an open step a duplicate."""
    stage = windows("p", "q")
    stage.push(readings((1, "a", "p", 1, 5.0), (2, "a", "q", 2, 1.0), (3, "a", "p", 1, 6.0)))
    stage.push(readings((4, "a", "p", 11, 5.0), (5, "a", "p", 11, 7.0)))
    assert counted(stage) == {"readings_late": 1, "readings_duplicate": 1, "steps_closed": 1}


def test_a_value_that_came_late_once_is_repeated_from_then_on() -> None:
    """A collector that starts sends a value of long ago: late once, then held where the others are."""
    stage = windows("p", "q")
    stage.push(readings((1, "a", "q", 102, 1.0), (2, "a", "p", 1, 5.0), (3, "a", "p", 1, 5.0)))
    part = stage.push(readings((4, "a", "q", 112, 1.0)))
    assert (closings(part), part.values.tolist()) == ([(4, 0, 100)], [[[5.0], [1.0]]])
    assert counted(stage) == {"readings_late": 1, "readings_repeated": 1, "steps_closed": 1}


def test_repetitions_do_not_keep_an_asset_from_falling_silent() -> None:
    """A server that hangs sends old values on: its steps close as a silent asset's do, and hold nothing then."""
    stage = windows("p", "q", "r", idle=3, lateness_ms=100)
    stage.push(readings((1, "a", "p", 1, 5.0), (2, "a", "p", 11, 6.0), (3, "a", "q", 3, 7.0)))
    part = stage.push(
        readings((4, "b", "p", 30, 1.0), (5, "a", "p", 11, 6.0), (6, "b", "p", 45, 1.0), (7, "a", "q", 3, 7.0))
    )
    assert closings(part) == [(6, 0, 0), (6, 0, 10)]
    assert part.observed[1, :, 0].tolist() == [True, False, False]
    assert stage.counts["readings_repeated"] == 2


def test_a_step_without_a_reading_when_the_repetition_comes_holds_nothing() -> None:
    """A step that lost its readings with their channel holds no value until one comes again, in whatever batch."""
    rows: list[Row] = [(3, "a", "p", 1, 5.0), (4, "a", "q", 13, 2.0), (5, "a", "q", 23, 2.0)]
    found = []
    for cuts in ([0, 3], [0, 1, 2, 3]):
        stage = windows("p", "q", "r")
        stage.push(readings((1, "a", "p", 1, 5.0), (2, "a", "r", 11, 1.0)))
        stage.set_channels(["p", "q"], frozen=True)
        parts = [stage.push(readings(*rows[begin:end])) for begin, end in itertools.pairwise(cuts)]
        found.append([part.observed[:, 0, 0].tolist() for part in parts if len(part)])
        assert stage.counts["readings_repeated"] == 1
    assert found == [[[False]], [[False]]]


def test_silent_asset_closes_at_the_message_that_proves_it() -> None:
    """When the partition has moved on by `idle` steps, an asset without readings closes all its open steps."""
    stage = windows("p", "q", idle=3, lateness_ms=100)
    stage.push(readings((1, "a", "p", 3, 1.0), (2, "a", "p", 23, 2.0), (3, "b", "p", 50, 1.0)))
    part = stage.push(readings((4, "b", "p", 52, 1.0), (5, "b", "p", 53, 1.0), (6, "b", "p", 90, 1.0)))
    assert closings(part) == [(5, 0, 0), (5, 0, 20)]
    stage.push(readings((7, "a", "q", 24, 1.0)))
    assert stage.counts["readings_late"] == 1


def test_a_reading_ends_the_silence() -> None:
    """Silence is counted from the asset's last reading, in the partition's time."""
    stage = windows("p", "q", idle=3, lateness_ms=100)
    stage.push(readings((1, "b", "p", 50, 1.0), (2, "a", "p", 3, 1.0), (3, "b", "p", 79, 1.0)))
    assert counted(stage) == {}
    stage.push(readings((4, "a", "p", 4, 1.0), (5, "b", "p", 108, 1.0)))
    assert counted(stage) == {}
    assert closings(stage.push(readings((6, "c", "p", 109, 1.0)))) == [(6, 1, 0)]


def test_ignored_readings_still_move_the_partitions_time() -> None:
    """A reading of an unknown channel shows that the partition moved on."""
    stage = windows("p", "q", idle=3, lateness_ms=100)
    part = stage.push(readings((1, "a", "p", 3, 1.0), (2, "b", "other", 33, 1.0)))
    assert closings(part) == [(2, 0, 0)]
    assert stage.assets == ["a"]


@pytest.mark.parametrize(("empty", "gaps", "closed"), [(2, 0, 6), (3, 1, 4)])
def test_a_long_gap_restarts_the_window(empty: int, gaps: int, closed: int) -> None:
    """Up to `max_gap` empty steps become unobserved rows; one more and the asset warms up again."""
    stage = windows("p", length=2, max_gap=2)
    after = 20 + 10 * empty
    stage.push(readings((1, "a", "p", 0, 1.0), (2, "a", "p", 10, 2.0)))
    part = stage.push(readings((3, "a", "p", after, 3.0), (4, "a", "p", after + 10, 3.0)))
    assert (stage.counts["gaps"], stage.counts["steps_closed"]) == (gaps, closed)
    assert part.ends.tolist() == ([after, after + 10] if not gaps else [after + 10])
    assert stage.rows_until_full().tolist() == [0]


def test_a_jump_over_very_many_steps_is_one_gap() -> None:
    """A gap of a thousand million steps costs no more than any other."""
    stage = windows("p", length=2)
    stage.push(readings((1, "a", "p", 0, 1.0), (2, "a", "p", 10, 1.0), (3, "a", "p", 10_000_000_000, 1.0)))
    stage.push(readings((4, "a", "p", 10_000_000_010, 1.0)))
    assert counted(stage) == {"steps_closed": 4, "windows_skipped_warmup": 2, "gaps": 1}


def test_missing_cells_carry_the_last_value_for_max_fill_steps() -> None:
    """Holes are filled for `max_fill` steps, then NaN, and never marked observed."""
    stage = windows("p", "q", length=5, max_fill=2)
    rows: list[Row] = [(1, "a", "p", 0, 1.0), (2, "a", "q", 1, 7.0)]
    rows += [(step + 2, "a", "p", 10 * step, step + 1.0) for step in (1, 2, 3, 5)]
    part = stage.push(readings(*rows, (9, "a", "p", 60, 7.0)))
    np.testing.assert_array_equal(part.values[-1], [[2, 3, 4, 4, 6], [7, 7, NAN, NAN, NAN]])
    assert part.observed[-1].tolist() == [[True, True, True, False, True], [False] * 5]


def test_nothing_is_carried_over_a_restart() -> None:
    """After a restart a channel is NaN until it is read again."""
    stage = windows("p", "q", max_fill=100, max_gap=1)
    stage.push(readings((1, "a", "p", 0, 1.0), (2, "a", "q", 0, 2.0)))
    part = stage.push(readings((3, "a", "p", 90, 3.0), (4, "a", "p", 100, 3.0)))
    np.testing.assert_array_equal(part.values, [[[3.0], [NAN]]])


def test_windows_wait_for_length_steps() -> None:
    """No window before L steps; `rows_until_full` counts down to it."""
    stage = windows("p", length=3)
    assert stage.push(readings((1, "a", "p", 0, 1.0), (2, "a", "p", 10, 2.0))).values.shape == (0, 1, 3)
    assert stage.rows_until_full().tolist() == [1]
    part = stage.push(readings((3, "a", "p", 20, 3.0), (4, "a", "p", 30, 4.0)))
    assert part.values.tolist() == [[[1, 2, 3]], [[2, 3, 4]]]
    assert counted(stage) == {"steps_closed": 4, "windows_skipped_warmup": 2}


def test_many_steps_of_one_batch_pass_through_a_short_ring() -> None:
    """A batch with far more steps than a ring has columns gives every window in order."""
    stage = windows("p", length=3)
    part = stage.push(readings(*((step, "a", "p", 10 * step, float(step)) for step in range(50))))
    assert part.values[:, 0].tolist() == [[step, step + 1, step + 2] for step in range(48)]


@pytest.mark.parametrize(("least", "emitted"), [(0.75, 1), (0.76, 0)])
def test_windows_with_too_little_observed_are_counted(least: float, emitted: int) -> None:
    """A window is emitted if the share of observed cells reaches `min_observed`, counted otherwise."""
    stage = windows("p", "q", length=2, min_observed=least)
    rows: list[Row] = [(1, "a", "p", 0, 1.0), (1, "a", "q", 0, 1.0), (2, "a", "p", 10, 1.0), (3, "a", "p", 20, 1.0)]
    assert len(stage.push(readings(*rows))) == emitted
    assert stage.counts["windows_skipped_unobserved"] == 1 - emitted


def test_windows_are_ordered_by_position_then_asset() -> None:
    """Windows of one batch are ordered by position, then asset row, then end."""
    stage = windows("p")
    stage.push(readings((0, "a", "p", 0, 1.0)))
    part = stage.push(readings((1, "b", "p", 0, 1.0), (2, "b", "p", 10, 1.0), (2, "a", "p", 10, 1.0)))
    assert closings(part) == [(1, 1, 0), (2, 0, 10), (2, 1, 10)]


def test_unknown_channels_are_ignored_when_frozen() -> None:
    """A reading of a channel outside the fixed set is counted and takes no row."""
    stage = windows("p")
    stage.push(readings((1, "a", "other", 0, 1.0), (2, "b", "p", 0, 1.0)))
    assert (stage.assets, stage.channels) == (["b"], ("p",))
    assert counted(stage) == {"readings_unknown_channel": 1, "steps_closed": 1}


def test_channels_are_learned_up_to_a_limit() -> None:
    """While learning, channels are added in order of arrival up to `max_channels`, the rest counted."""
    stage = windows(max_channels=2)
    stage.push(readings((1, "a", "q", 0, 1.0), (2, "a", "p", 0, 1.0), (3, "a", "r", 0, 1.0), (4, "a", "q", 1, 1.0)))
    assert stage.channels == ("q", "p")
    assert counted(stage) == {"readings_unknown_channel": 1}


def test_a_learned_channel_counts_as_unobserved_only_from_its_first_reading() -> None:
    """The share of observed cells is taken over the channels known when the window closed."""
    stage = windows(min_observed=1.0)
    part = stage.push(readings((1, "a", "p", 0, 1.0), (2, "a", "p", 10, 2.0), (3, "a", "q", 20, 3.0)))
    assert closings(part) == [(2, 0, 0)]
    np.testing.assert_array_equal(part.values, [[[1.0], [NAN]]])
    assert stage.counts["windows_skipped_unobserved"] == 1


def test_assets_are_admitted_up_to_a_limit() -> None:
    """Assets beyond `max_assets` are refused and counted by reading; the rows of others stay."""
    stage = windows("p", max_assets=2)
    stage.push(readings(*((offset, name, "p", offset, 1.0) for offset, name in enumerate("abcac"))))
    assert stage.assets == ["a", "b"]
    assert stage.counts["readings_refused"] == 2


def test_a_state_of_more_assets_than_allowed_goes_on_without_new_ones() -> None:
    """With `max_assets` below the number of saved assets, these continue, and new ones are refused and counted."""
    before, stage = windows("p", length=1), windows("p", length=1, max_assets=2)
    before.push(one_each(list("abcd")))
    stage.load_state(before.save_state())
    later = readings((2, "d", "p", 10, 2.0), (3, "e", "p", 10, 3.0))
    assert stage.room(later, ()) == 2
    assert closings(stage.push(later)) == [(2, 3, 10)]
    assert stage.counts["readings_refused"] == 1
    assert stage.assets == list("abcd")


def test_set_channels_keeps_columns_by_name() -> None:
    """Channels that stay keep history and open cells under their new column; new ones are unobserved."""
    stage = windows("p", "q", length=2, max_fill=5)
    stage.push(readings((1, "a", "p", 0, 1.0), (2, "a", "q", 0, 2.0), (3, "a", "q", 10, 4.0)))
    stage.set_channels(["r", "q"], frozen=True)
    part = stage.push(readings((4, "a", "r", 10, 5.0)))
    np.testing.assert_array_equal(part.values, [[[NAN, 5.0], [2.0, 4.0]]])
    assert part.observed.tolist() == [[[False, True], [True, True]]]


def test_a_step_completed_by_set_channels_closes_with_the_next_reading() -> None:
    """Dropping the channel a step waits for closes the step at the partition's next message."""
    stage = windows("p", "q")
    stage.push(readings((1, "a", "p", 0, 1.0)))
    stage.set_channels(["p"], frozen=True)
    part = stage.push(readings((7, "b", "other", 0, 1.0)))
    assert closings(part) == [(7, 0, 0)]
    assert part.values.tolist() == [[[1.0]]]


@pytest.mark.parametrize("names", [["p", "p"], [f"c{number}" for number in range(11)]])
def test_set_channels_refuses_doubles_and_too_many(names: list[str]) -> None:
    """Names given twice or more than `max_channels` raise ValueError."""
    with pytest.raises(ValueError, match="at most 10 different channels"):
        windows().set_channels(names, frozen=True)


def test_an_empty_batch_changes_nothing() -> None:
    """No readings, no windows, no counts."""
    stage = windows("p", length=4)
    assert stage.push(readings()).values.shape == (0, 1, 4)
    assert counted(stage) == {}


def test_values_beyond_single_precision_stay_finite() -> None:
    """A finite value too large for float32 becomes the largest float32, not infinity."""
    part = windows("p", "q").push(readings((1, "a", "p", 0, 1e300), (1, "a", "q", 0, -1e300)))
    limit = np.finfo(np.float32).max
    assert part.values[0, :, 0].tolist() == [limit, -limit]


@pytest.mark.parametrize("time", [2**45 + 1, -(2**45) - 1])
def test_absurd_times_are_refused(time: int) -> None:
    """A time the decoder should have rejected raises ValueError instead of overflowing."""
    with pytest.raises(ValueError, match="times must lie within"):
        windows("p").push(readings((1, "a", "p", time, 1.0)))


def one_each(names: list[str]) -> ReadingBatch:
    """One reading at time 0 of each asset."""
    zeros = np.zeros(len(names), np.int64)
    return ReadingBatch(
        tuple(names),
        ("p",),
        np.arange(len(names), dtype=np.int32),
        zeros.astype(np.int32),
        zeros,
        np.ones(len(names)),
        zeros,
    )


def test_extreme_times_of_many_assets_do_not_overflow() -> None:
    """The widest allowed spread of times on the finest grid keeps assets and steps apart."""
    stage = windows("p", step_ms=1, length=1, max_assets=2**16)
    names = [f"a{number}" for number in range(2**16)]
    stage.push(one_each(names))
    last = readings((2, names[-1], "p", 2**45, 2.0), (3, names[-2], "p", -(2**45), 3.0), (4, names[0], "p", 5, 4.0))
    part = stage.push(last)
    assert stage.counts["readings_late"] == 1
    assert closings(part) == [(2, 2**16 - 1, 2**45), (4, 0, 5)]


def filled_state() -> tuple[Windows, dict[str, Any]]:
    """A stage with closed and open steps, and its state."""
    stage = windows("p", "q", length=3)
    stage.push(readings((1, "a", "p", 0, 1.0), (1, "a", "q", 0, 1.0), (2, "b", "p", 10, 1.0)))
    return stage, stage.save_state()


def test_state_is_a_copy() -> None:
    """Readings pushed after `save_state` do not reach into the saved arrays, nor into the stage they were loaded in."""
    stage, state = filled_state()
    before = {name: array.copy() for name, array in state.items()}
    other = windows("p", "q", length=3)
    other.load_state(state)
    for each in (stage, other):
        each.push(readings((3, "a", "p", 10, 2.0), (3, "a", "q", 10, 2.0), (3, "b", "q", 10, 2.0)))
    assert all(state[name].tobytes() == array.tobytes() for name, array in before.items())
    assert stage.counts == other.counts


def test_state_holds_every_count() -> None:
    """Counts continue from the saved state."""
    stage, state = filled_state()
    other = windows("p", "q", length=3)
    other.load_state(state)
    assert other.counts == stage.counts
    assert tuple(other.counts) == COUNTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clock": None}, "clock is missing"),
        ({"more": np.zeros(1)}, "more is unknown"),
        ({"seen": np.zeros(3, np.int64)}, r"seen is int64 \(3,\), expected int64 \(2,\)"),
        ({"values": np.zeros((2, 2, 3), np.float32)}, "values is"),
        ({"filled": np.zeros(2)}, "filled is float64"),
        ({"settings": np.array([20, 3, 1])}, r"\[20, 3\], expected \[10, 3\]"),
        ({"admission": np.array([0, 2**62])}, r"admission\[1\] is 4611686018427387904"),
        ({"open_row": np.array([2])}, r"open_row\[0\] is 2, expected 0 to 1"),
        ({"assets": np.frombuffer(b'["a","a"]', np.uint8)}, "assets is a list with 'a' twice"),
        ({"channels": np.frombuffer(b"[", np.uint8)}, "channels is unreadable"),
    ],
)
def test_state_that_does_not_fit_is_refused_whole(change: dict[str, Any], message: str) -> None:
    """A wrong state raises ValueError with array, value and expectation, and the stage does not change."""
    _, state = filled_state()
    state = {name: array for name, array in (state | change).items() if array is not None}
    stage = windows("p", "q", length=3)
    with pytest.raises(ValueError, match=message):
        stage.load_state(state)
    assert (stage.assets, counted(stage)) == ([], {})


def test_state_with_more_channels_than_allowed_is_refused() -> None:
    """A state wider than `max_channels` raises ValueError."""
    _, state = filled_state()
    with pytest.raises(ValueError, match="channels is a list of 2, expected at most max_channels 1"):
        windows(length=3, max_channels=1).load_state(state)


@pytest.mark.parametrize("cuts", [(), (1,), (2,), (1, 2)])
def test_silence_counts_though_a_change_of_channels_left_nothing_open(cuts: tuple[int, ...]) -> None:
    """Silence also raises the frontier of an asset whose open steps were dropped, however the stream is cut."""
    stage = windows(idle=1)
    stage.push(readings((0, "a", "x", 0, 1.0), (1, "b", "x", 0, 1.0)))
    stage.set_channels([], frozen=False)
    late, other, again = (2, "b", "y", -6, 1.0), (3, "a", "y", 20, 1.0), (4, "b", "y", 0, 1.0)
    for begin, end in itertools.pairwise((0, *cuts, 3)):
        stage.push(readings(*(late, other, again)[begin:end]))
    assert counted(stage) == {"readings_late": 2}
