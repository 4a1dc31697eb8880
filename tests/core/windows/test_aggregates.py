"""Aggregates of a step, each rule by hand on a grid of 10 ms steps."""

import numpy as np
import pytest

from monitor.core.decode.select import RATE, Kinds
from monitor.core.windows.aggregates import AGGREGATES
from tests.core.windows.test_windows import Row, counted, readings, windows


def closed(*rows: Row, aggregates: tuple[str, ...] = AGGREGATES, **changes: object) -> list[list[float]]:
    """Return the values of each window of channel p, of readings pushed one by one; a last reading closes all steps."""
    stage = windows(*(f"p.{each}" for each in aggregates), aggregates=aggregates, **changes)
    parts = [stage.push(readings(row)) for row in (*rows, (99, "a", "p", 1000, 50.0))]
    return [window[:, 0].tolist() for part in parts for window in part.values]


def test_all_readings_of_a_step_count() -> None:
    """Last, mean, smallest, largest and deviation are those of all readings, in whatever order they come."""
    rows: list[Row] = [(n, "a", "p", time, value) for n, (time, value) in enumerate([(1, 2.0), (7, 5.0), (4, 11.0)])]
    (found,) = closed(*rows)
    assert found == pytest.approx([5.0, 6.0, 2.0, 11.0, np.std([2.0, 5.0, 11.0])])


def test_a_single_reading_deviates_by_nothing() -> None:
    """All aggregates of one reading are the reading, with a deviation of 0."""
    assert closed((0, "a", "p", 1, 3.5)) == [[3.5, 3.5, 3.5, 3.5, 0.0]]


def test_a_reading_of_the_newest_time_takes_its_place() -> None:
    """The same time with another value counts once, the same value is a repetition."""
    rows: list[Row] = [(0, "a", "p", 1, 2.0), (1, "a", "p", 3, 9.0), (2, "a", "p", 3, 4.0), (3, "a", "p", 3, 4.0)]
    assert closed(*rows) == [[4.0, 3.0, 2.0, 4.0, 1.0]]


def test_a_repeated_value_is_the_steps_only_reading() -> None:
    """An old value that a collector sends again holds in the newest step, with a deviation of 0."""
    stage = windows("p.mean", "p.std", "q.mean", aggregates=("mean", "std"))
    stage.push(readings((0, "a", "p", 1, 2.0), (0, "a", "p", 2, 4.0), (0, "a", "q", 1, 1.0)))
    stage.push(readings((1, "a", "q", 11, 1.0), (1, "a", "p", 2, 4.0)))
    part = stage.push(readings((2, "a", "q", 21, 1.0)))
    assert part.values[:, :, 0].tolist() == [[4.0, 0.0, 1.0]]


def test_counters_are_rates_before_they_are_aggregated() -> None:
    """The mean of a counter is the mean of its rates."""
    rows: list[Row] = [(n, "a", "p", 5 * n, value) for n, value in enumerate([0.0, 1.0, 4.0, 5.0])]
    found = closed(*rows, aggregates=("mean", "max"), kinds=Kinds((("p", RATE),)))
    assert found == [[200.0, 200.0], [400.0, 600.0]]


def test_large_values_stay_finite_and_small_differences_exact() -> None:
    """Values at the ends of single precision give finite aggregates, and a deviation beside a large mean is exact."""
    (found,) = closed((0, "a", "p", 1, 1e300), (1, "a", "p", 2, -1e300))
    assert np.isfinite(found).all()
    (found,) = closed(*((n, "a", "p", n, 8_000_000.0 + n % 2) for n in range(10)))
    assert found[1:] == [8_000_000.5, 8_000_000.0, 8_000_001.0, 0.5]


def test_a_learned_channel_becomes_one_for_each_aggregate() -> None:
    """Names are those of messages with the aggregate; `max_channels` counts the former."""
    stage = windows(aggregates=("mean", "max"), max_channels=2)
    stage.push(readings(*((0, "a", name, 0, 1.0) for name in "pqr")))
    assert stage.channels == ("p.mean", "p.max", "q.mean", "q.max")
    assert counted(stage) == {"readings_unknown_channel": 1}


def test_the_model_says_which_aggregates_it_has() -> None:
    """Channels of a model are computed by their ending, and readings of other channels are counted."""
    stage = windows("p.min", "q.mean", aggregates=("mean",))
    stage.push(readings((0, "a", "p", 1, 3.0), (0, "a", "p", 2, 1.0), (0, "a", "q", 1, 4.0), (0, "a", "r", 1, 1.0)))
    part = stage.push(readings((1, "a", "p", 10, 9.0)))
    assert part.values[:, :, 0].tolist() == [[1.0, 4.0]]
    assert counted(stage)["readings_unknown_channel"] == 1


@pytest.mark.parametrize("cut", [1, 3, 7, 40])
def test_a_dense_step_is_learned_and_scored_whole(cut: int) -> None:
    """Steps of several readings close with all of them, and steps of one reading close at once, as before."""
    stage = windows("p", "q")
    rows: list[Row] = [(n, "a", name, 2 * n, float(n)) for n in range(60) for name in "pq"]
    found = [stage.push(readings(*rows[begin : begin + cut])) for begin in range(0, len(rows), cut)]
    values = {int(end): v for part in found for end, v in zip(part.ends, part.values[:, 0, 0].tolist(), strict=True)}
    assert [values[end] for end in (0, 10, 20)] == [0.0, 5.0, 10.0]  # not known yet: closed by the first readings
    assert [values[end] for end in range(30, 110, 10)] == [end / 2 + 4 for end in range(30, 110, 10)]
    assert counted(stage)["readings_late"] == 24

    # The same asset at the step's own period is at once again, after the memory of dense steps.
    later: list[Row] = [(n, "a", name, 10 * n, float(n)) for n in range(60, 90) for name in "pq"]
    stage.push(readings(*later[:-2]))
    assert stage.push(readings(*later[-2:])).position.tolist() == [89]


def test_the_channel_of_the_modes_has_no_mean() -> None:
    """It keeps its own name and its last reading, since the number of a recipe is a name."""
    stage = windows(aggregates=("mean", "max"), mode="recipe", length=1)
    stage.push(readings((0, "a", "p", 1, 2.0), (1, "a", "recipe", 2, 3.0), (2, "a", "recipe", 3, 8.0)))
    assert stage.channels == ("p.mean", "p.max", "recipe")
    part = stage.push(readings((3, "a", "p", 5, 4.0), (4, "a", "p", 1000, 1.0)))
    assert part.values[0, :, -1].tolist() == [3.0, 4.0, 8.0]
