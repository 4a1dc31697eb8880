"""The rates of counters, each rule by hand on a grid of 10 ms steps."""

from typing import Any

import numpy as np
import pytest

from monitor.core.decode.select import RATE, Kinds
from monitor.core.windows.windows import Windows
from tests.core.windows.test_windows import Row, counted, readings, windows


def rated(**changes: Any) -> Windows:
    """Return a stage whose channel `n` is a counter."""
    return windows("n", kinds=Kinds((("n", RATE),)), **changes)


def values(stage: Windows, *rows: Row) -> list[tuple[int, float]]:
    """Return end and newest value of each window, of readings pushed one by one."""
    found = []
    for row in rows:
        part = stage.push(readings(row))
        found += list(zip(part.ends.tolist(), part.values[:, 0, -1].tolist(), strict=True))
    return found


def test_a_counter_becomes_its_change_a_second() -> None:
    """The first reading gives no value, each further one the change since the one before by the time between."""
    rows = [(n, "a", "n", 10 * n, value) for n, value in enumerate([5.0, 5.0, 6.0, 8.0])]
    assert values(rated(), *rows) == [(10, 0.0), (20, 100.0), (30, 200.0)]


@pytest.mark.parametrize("glob", ["Energy_total__kWh_", "Energy total [[]kWh]", "Energy *", "?nergy[ ]*"])
def test_a_counter_is_known_by_the_name_that_it_came_with(glob: str) -> None:
    """A glob with characters that no id has names the channel whose id the windows know."""
    stage = windows("Energy_total__kWh_", kinds=Kinds(((glob, RATE),)))
    rows = [(n, "a", "Energy_total__kWh_", 10 * n, value) for n, value in enumerate([5.0, 5.0, 6.0])]
    assert values(stage, *rows) == [(10, 0.0), (20, 100.0)]


def test_a_gap_gives_the_mean_rate_over_it() -> None:
    """After an hour without a reading, the value is the mean of the hour."""
    rows: list[Row] = [(0, "a", "n", 0, 100.0), (1, "a", "n", 3_600_000, 460.0)]
    ((end, rate),) = values(rated(), *rows)
    assert end == 3_600_000
    assert rate == pytest.approx(0.1)


@pytest.mark.parametrize("low", [0.0, 2.0, -32_768.0])
def test_a_reset_gives_no_value(low: float) -> None:
    """A counter that falls gives no value at that step, and goes on from where it fell to."""
    rows = [(n, "a", "n", 10 * n, value) for n, value in enumerate([32_766.0, 32_767.0, low, low + 3])]
    assert values(rated(), *rows) == [(10, 100.0), (30, 300.0)]


def test_readings_that_are_not_newer_give_none() -> None:
    """An older one counts as late, one of the same time as duplicate or repeated, and the next rate is as without."""
    rows: list[Row] = [(0, "a", "n", 0, 1.0), (1, "a", "n", 10, 2.0), (2, "a", "n", 5, 9.0), (3, "a", "n", 10, 2.0)]
    stage = rated()
    assert values(stage, *rows, (4, "a", "n", 10, 7.0), (5, "a", "n", 20, 4.0)) == [(10, 100.0), (20, 200.0)]
    counts = counted(stage)
    assert (counts["readings_late"], counts["readings_repeated"], counts["readings_duplicate"]) == (1, 1, 1)


def test_other_channels_and_assets_are_apart() -> None:
    """Each asset's counter has its own newest reading, and measurements stay as they are."""
    stage = windows("n", "x", kinds=Kinds((("n", RATE),)))
    rows = [(n, a, c, 10 * n, n * k + 1.0) for n in range(2) for k, a in enumerate("ab") for c in "nx"]
    part = stage.push(readings(*rows)).take(np.array([1, 3]))  # the step in which there is a reading before
    assert part.values[:, :, -1].tolist() == [[0.0, 1.0], [100.0, 2.0]]


def test_huge_values_stay_finite() -> None:
    """Numbers at the end of float64 give a rate that is a number."""
    rows: list[Row] = [(0, "a", "n", 0, -1.7e308), (1, "a", "n", 10, 1.7e308), (2, "a", "n", 20, 1.7e308)]
    found = values(rated(), *rows)
    assert [end for end, _ in found] == [10, 20]
    assert np.isfinite([value for _, value in found]).all()


def test_a_state_of_other_counters_is_refused() -> None:
    """A state saved while the channel was a measurement is refused with the channels that are counters now."""
    plain = windows("n")
    with pytest.raises(ValueError, match=r"rate_channels is \[\], expected \[0\]"):
        rated().load_state(plain.save_state())


def test_an_evicted_asset_leaves_no_count_behind() -> None:
    """A new asset in the row of an evicted one begins without a reading before."""
    stage = rated(max_assets=1, forget_ms=10)
    assert values(stage, (0, "a", "n", 0, 1.0), (1, "a", "n", 10, 2.0)) == [(10, 100.0)]
    assert values(stage, (2, "b", "n", 100, 50.0)) == []  # refused, since it is the first that shows how late it is
    assert stage.room(readings((3, "b", "n", 110, 51.0)), ()) == 0
    stage.evict(())
    assert values(stage, (3, "b", "n", 110, 51.0), (4, "b", "n", 120, 52.0)) == [(120, 100.0)]
