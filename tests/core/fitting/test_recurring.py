"""Which patterns of alerts count as recurring, on blocks of two machines of which some have a step in one channel."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.fit import prepare
from monitor.core.fitting.recurring import DAY_MS, recurring
from tests.core.machines import FAST, STEP, L, model, rows
from tests.core.machines import history as from_rows

SIZE = 4.0  # deviations of the machine
DAYS = 8
Pattern = tuple[int, int, int]  # day, step of the machine's program at which the first block begins, channel


def history(patterns: Sequence[Pattern], size: float = SIZE) -> Corpus:
    """Return a run of four blocks of machine "a" a day.

    Every day the machine runs the same program. With a pattern, a channel is raised for a block's length from the
    program's step 2 L on, and the blocks that this touches are alerted.
    """
    values = np.concatenate([rows(4 * L, seed=day)[:1] for day in range(DAYS)], 1)
    whole = from_rows(values).corpus()
    whole = whole.take(whole.asset == 0)
    assert len(whole) == 4 * DAYS
    end = np.repeat(DAY_MS * (20_000 + np.arange(DAYS)), 4) + np.tile((np.arange(4) + 1) * L * STEP, DAYS)
    alerted = np.zeros(len(end), np.bool_)
    for day, begin, channel in patterns:
        program = rows(6 * L, seed=day)[0]  # (T, C)
        program[2 * L : 3 * L, channel] += size * program[:, channel].std()
        part = slice(4 * day, 4 * day + 4)
        whole.values[part] = program[begin : begin + 4 * L].reshape(4, L, 3).transpose(0, 2, 1)
        alerted[part] = (np.arange(4) * L < 3 * L - begin) & ((np.arange(4) + 1) * L > 2 * L - begin)
    return replace(whole, end=end, alerted=alerted)


def days(whole: Corpus, least: int = 3) -> list[int]:
    """Return the days of the blocks that recur."""
    found = recurring(whole, whole.alerted, least, model())
    return sorted(set((whole.end[found] // DAY_MS - 20_000).tolist()))


def test_a_pattern_that_came_on_enough_days_recurs() -> None:
    """The same step on three days recurs, at whatever step of the blocks it begins, and on two days it does not."""
    patterns = [(1, 0, 1), (3, 5, 1), (6, 11, 1)]
    assert days(history(patterns)) == [1, 3, 6]
    assert days(history(patterns[:2])) == []
    assert days(history(patterns), least=4) == []


def test_with_zero_days_nothing_recurs() -> None:
    """0 days switch it off."""
    assert days(history([(1, 0, 1), (3, 0, 1), (6, 0, 1)]), least=0) == []


def test_patterns_of_other_channels_are_others() -> None:
    """A step of another channel on the third day is not the pattern of the first two."""
    assert days(history([(1, 0, 1), (3, 0, 1), (6, 0, 0)])) == []


def test_a_larger_fault_is_another_pattern() -> None:
    """A step that is three times as high as on the other days does not recur, and theirs do not count it."""
    whole = history([(1, 0, 1), (3, 0, 1), (4, 0, 1), (6, 0, 1)])
    higher = history([(6, 0, 1)], size=3 * SIZE)
    of_day = whole.end // DAY_MS == 20_006
    whole.values[of_day] = higher.values[of_day]
    assert days(whole) == [1, 3, 4]


def test_an_episode_that_lasts_is_one_day() -> None:
    """Alerted blocks without a hole over several days began on one day, so they do not recur."""
    whole = history([(day, 0, 1) for day in range(DAYS)])
    whole.alerted[:] = True
    whole.end[:] = DAY_MS * 20_000 + np.arange(len(whole)) * DAY_MS // 4
    lasting = replace(whole, step_ms=DAY_MS // 4 // L)
    assert not recurring(lasting, lasting.alerted, 2, model()).any()


def test_what_never_alerted_does_not_recur() -> None:
    """Blocks that the model alone finds anomalous stay left out, on however many days."""
    whole = history([(day, 0, 1) for day in range(DAYS)])
    doubted = whole.alerted.copy()
    whole.alerted[:] = False
    assert not recurring(whole, doubted, 3, model()).any()


@pytest.mark.parametrize(("recurs_days", "learned"), [(3, 3), (0, 0)])
def test_training_keeps_what_recurs(recurs_days: int, learned: int) -> None:
    """`prepare` leaves alerted blocks out, with the exception of those that recur."""
    whole = history([(1, 0, 1), (3, 0, 1), (6, 0, 1)])
    kept = prepare(whole, replace(FAST, recurs_days=recurs_days), model())
    assert np.count_nonzero(kept.alerted) == learned


def test_without_an_incumbent_alerted_blocks_are_left_out() -> None:
    """A first model learns from no block within an alert."""
    whole = history([(1, 0, 1), (3, 0, 1), (6, 0, 1)])
    assert not prepare(whole, FAST, None).alerted.any()
