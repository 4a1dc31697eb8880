"""Starts of machines in a history, and how long channels take after them."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.starts import FINER, Starts
from monitor.core.running.levels import Levels

L, STEP_MS, DAY = 16, 300_000, 288  # steps of five minutes
LEVELS = Levels(("flow", "current"), (20.0, 5.0))


def history(days: int = 8, *, settle: int = 24, sends: bool = True) -> Corpus:
    """Return two machines that work for two thirds of each day; heat needs `settle` steps to come within 5 %."""
    draw, steps = np.random.default_rng(1), np.arange(days * DAY)
    runs, rows = (steps + 40) % DAY >= DAY // 3, []
    for _ in range(2):
        since = np.where(runs, (steps + 40) % DAY - DAY // 3, 0)
        load = np.sin(steps / 30) + draw.normal(0, 0.05, len(steps))
        heat = 60 - 40 * np.exp(-3.0 * since / settle)
        values = np.stack([120 + 12 * load, 30 + 3 * load, heat + draw.normal(0, 0.5, len(steps))], 1)
        values[~runs] = [0, 0, 20]
        rows.append(values)
    blocks = np.stack(rows).reshape(2 * days * DAY // L, L, 3).transpose(0, 2, 1).astype(np.float32)
    end = np.tile((np.arange(days * DAY // L) + 1) * L - 1, 2) * STEP_MS
    asset = np.repeat(np.arange(2), days * DAY // L)
    made = Corpus(("flow", "current", "heat"), ("a", "b"), STEP_MS, asset, end, blocks, blocks >= 0, asset < 0)
    return made if sends else made.take(np.logical_and.reduce(blocks[:, 0] > 20, axis=1))


@pytest.mark.parametrize("sends", [True, False], ids=["zeros", "silent"])
@pytest.mark.parametrize("settle", [12, 24])
def test_machines_start_after_rest_and_settle_with_their_slowest_channel(settle: int, *, sends: bool) -> None:
    """Each day but those at the ends has a start, whether machines rest or are silent; the delay covers the heat."""
    made = history(settle=settle, sends=sends)
    starts = Starts.of(made, LEVELS if sends else None)
    assert len(starts.places) == 2 * (8 if sends else 7)
    flow = made.values[starts.order[starts.places // L], 0, starts.places % L]
    assert (flow > 20).all()
    assert settle <= starts.settle_ms() / STEP_MS <= 2.5 * FINER * settle


def test_the_order_of_blocks_does_not_matter() -> None:
    """A history in another order has the same starts and the same delay."""
    made, draw = history(), np.random.default_rng(2)
    order = draw.permutation(len(made))
    mixed = replace(
        made,
        asset=made.asset[order],
        end=made.end[order],
        values=made.values[order],
        observed=made.observed[order],
        alerted=made.alerted[order],
    )
    one, other = (Starts.of(each, LEVELS) for each in (made, mixed))
    assert one.places.tolist() == other.places.tolist()
    assert one.settle_ms() == other.settle_ms() > 0


def test_too_few_starts_or_none_give_no_delay() -> None:
    """Four starts say nothing, nor does a history without rest, nor machines that are as usual at once."""
    assert Starts.of(history(2), LEVELS).settle_ms() == 0
    made = history()
    never = replace(LEVELS, limits=(-1.0, -1.0))  # amounts are above
    assert Starts.of(made, never).settle_ms() == 0
    plain = replace(made, channels=made.channels[:2], values=made.values[:, :2], observed=made.observed[:, :2])
    assert Starts.of(plain, LEVELS).settle_ms() <= 3 * FINER * STEP_MS
