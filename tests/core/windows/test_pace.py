"""Slow channels hold their values, each rule by hand on a grid of 10 ms steps."""

from typing import Any

import numpy as np

from monitor.core.records import WindowBatch
from monitor.core.windows.pace import Holds
from monitor.core.windows.windows import Windows
from tests.core.windows.test_windows import Row, readings, windows


def slow(period: int, until: int, *, begin: int = 0) -> list[Row]:
    """Return a reading of p in each step, and of q in every `period`-th one."""
    steps = range(begin, until)
    return [(n, "a", name, 10 * n, float(n)) for n in steps for name in "pq" if name == "p" or n % period == 0]


def states(stage: Windows, *rows: Row) -> str:
    """Return what q is in the newest step of each window: r read, h held, - not measured."""
    part: WindowBatch = stage.push(readings(*rows))
    held = np.zeros_like(part.observed) if part.held is None else part.held
    marks = np.where(held, "h", np.where(part.observed, "r", "-"))
    return "".join(marks[:, 1, -1].tolist())


def stage(**changes: Any) -> Windows:
    """Return a stage of p and q, whose windows end in each step."""
    return windows("p", "q", lateness_ms=0, max_gap=50, **changes)


def test_a_slow_channel_holds_once_its_pace_is_known() -> None:
    """After four silences of five steps a value holds for three times as long, and then it is not measured."""
    found = states(stage(), *slow(5, 21), *[(n, "a", "p", 10 * n, 0.0) for n in range(21, 43)])
    assert found == "r----" * 4 + "r" + "h" * 15 + "-" * 6


def test_a_held_value_is_the_last_one() -> None:
    """A cell that holds has the value that was read last, over the whole window and longer."""
    one = stage(length=3)
    part = one.push(readings(*slow(5, 25)))
    assert part.values[-1, 1].tolist() == [20.0, 20.0, 20.0]
    assert part.held is not None
    assert part.held[-1, 1].tolist() == [True, True, True]


def test_a_channel_as_fast_as_the_step_has_holes() -> None:
    """A channel that loses a reading now and then, or whose readings come after 1.5 steps, holds nothing."""
    for lost in ({10, 17, 21, 30, 31, 32, 40}, {n for n in range(60) if n % 3 == 2}):
        rows = [row for row in slow(1, 60) if row[2] == "p" or row[0] not in lost]
        found = states(stage(), *rows, (60, "a", "p", 600, 0.0))
        assert {n for n, mark in enumerate(found) if mark == "-"} == lost
        assert "h" not in found


def test_an_outage_teaches_nothing() -> None:
    """One silence of forty steps among those of five changes neither the hold nor the pace."""
    one = stage()
    one.push(readings(*slow(5, 41), *[(n, "a", "p", 10 * n, 0.0) for n in range(41, 85)]))
    found = states(one, *slow(5, 101, begin=85), *[(n, "a", "p", 10 * n, 0.0) for n in range(101, 120)])
    assert found == "-rhhhhrhhhhrhhhhr" + "h" * 15 + "---"


def test_a_channel_that_became_fast_has_holes_again() -> None:
    """After as many steps with readings as there were without, a missing one is a hole."""
    one = stage()
    one.push(readings(*slow(5, 41)))
    one.push(readings(*slow(1, 120, begin=41)))
    assert states(one, *[(n, "a", "p", 10 * n, 0.0) for n in range(120, 124)]).endswith("---")


def test_a_silence_of_the_asset_is_not_bridged() -> None:
    """Nothing holds over a restart, and the pace is known after it."""
    one = stage(holds=Holds())
    one.push(readings(*slow(5, 41)))
    rows: list[Row] = [(n, "a", "p", 10 * n, 0.0) for n in range(1001, 1005)]
    assert states(one, *rows, *slow(5, 1013, begin=1005)) == "----" + "rhhhhrh"


def test_a_time_that_is_given_replaces_the_pace() -> None:
    """A given time holds from the first value on; one shorter than the step never does."""
    assert states(stage(holds=Holds((("q", 20),))), *slow(5, 12)) == "rhh--rhh--r"
    assert "h" not in states(stage(holds=Holds((("q", 1),))), *slow(5, 40))


def test_another_asset_in_the_row_begins_without_a_pace() -> None:
    """The pace of an evicted asset is forgotten."""
    one = stage(max_assets=1, forget_ms=10, idle=1)
    one.push(readings(*slow(5, 41)))
    one.push(readings((41, "b", "p", 1000, 0.0)))
    assert one.room(readings((42, "b", "p", 1010, 0.0)), ()) == 0
    one.evict(())
    rows: list[Row] = [(n, "b", *row) for n in range(101, 112) for row in (("p", 10 * n, 1.0), ("q", 10 * n, 2.0))]
    assert "h" not in states(one, *[row for row in rows if row[2] == "p" or row[0] % 5 == 0])
