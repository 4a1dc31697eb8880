"""Which blocks of a first history are rare: outages, but no way to work, and nothing that came on several days."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.rare import FEWEST, rare
from monitor.core.fitting.recurring import DAY_MS
from monitor.core.fitting.selection import select
from tests.core.machines import FAST, L, corpus


def with_outages(blocks: int, places: list[int]) -> Corpus:
    """Return the history of both machines, with an outage of machine "a" in the blocks at these places of its own."""
    whole = corpus(blocks * L)
    own = np.flatnonzero(whole.asset == 0)
    for place in places:
        whole.values[own[place], :, L // 3 :] = -50.0
    return whole


def found(whole: Corpus, days: int = 3) -> list[int]:
    """Return the places of the rare blocks among machine "a"'s own; the other machine has none."""
    marked = rare(whole, days)
    assert not marked[whole.asset == 1].any()
    return np.flatnonzero(marked[whole.asset == 0]).tolist()


def test_outages_are_rare() -> None:
    """Blocks with an outage are found, and no other block is."""
    assert found(with_outages(60, [7, 30, 31])) == [7, 30, 31]
    assert found(with_outages(60, [])) == []


def test_what_takes_a_larger_share_is_a_way_to_work() -> None:
    """Blocks like a fifth of the history are not rare."""
    assert found(with_outages(60, list(range(20, 32)))) == []


def test_a_valve_that_opens_now_and_then_is_not_rare() -> None:
    """A channel that rests in most blocks does not make the others rare, and an outage in between is found."""
    whole = with_outages(60, [30])
    own = np.flatnonzero(whole.asset == 0)
    whole.values[own, 2] = 0.0
    for place in (5, 17, 44):
        whole.values[own[place], 2, : L // 2] = 1.0
    assert found(whole) == [30]


def test_a_short_history_is_not_judged() -> None:
    """With few blocks of an asset none is rare."""
    assert found(with_outages(FEWEST - 1, [7])) == []


@pytest.mark.parametrize(("days", "left"), [(3, []), (4, [10, 30, 50]), (0, [10, 30, 50])])
def test_what_came_on_several_days_is_not_rare(days: int, left: list[int]) -> None:
    """Outages on three days are kept if that is enough days."""
    whole = with_outages(60, [10, 30, 50])
    place = np.zeros(len(whole), np.int64)
    for code in (0, 1):
        place[whole.asset == code] = np.arange(60)
    spread = replace(whole, end=whole.end + place // 20 * DAY_MS)
    assert found(spread, days) == left


def test_a_first_model_does_not_learn_rare_blocks() -> None:
    """They are left out with their reason."""
    whole = with_outages(60, [7, 30])
    selection = select(whole, FAST, None, None)
    assert selection.report()["hours"]["rare"] > 0
    assert len(selection.corpus) == len(whole) - 2
