"""Which blocks the training history keeps, and which ones training excludes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.fitting.corpus import FEW, Corpus, gather, join
from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.records import Alert, AlertState, Partition
from tests.core.machines import ASSETS, CHANNELS, STEP, L, history, rows, windows

BLOCK = (5 * len(CHANNELS) + 16) * L  # bytes that one block takes


def alert(start: int, end: int | None, asset: str = "a") -> Alert:
    state: AlertState = "firing" if end is None else "resolved"
    place = (Partition("t", 0), 0, 0, 0)
    return Alert("x", asset, state, start, end, start, "warning", 2.0, 1.0, 2.0, 2.0, (), "m", "d", *place)


def spans(corpus: Corpus) -> set[tuple[str, int]]:
    return {(corpus.assets[code], end) for code, end in zip(corpus.asset.tolist(), corpus.end.tolist(), strict=True)}


def test_blocks_do_not_overlap_and_cover_all() -> None:
    """Exactly one block per asset and window length is kept, with exactly the readings of those steps."""
    values = rows(4 * L)
    kept = history(values).normal()
    assert spans(kept) == {(name, (n * L - 1) * STEP) for name in ASSETS for n in range(1, 5)}
    for code, end, block in zip(kept.asset.tolist(), kept.end.tolist(), kept.values, strict=True):
        asset, last = ASSETS.index(kept.assets[code]), end // STEP
        assert np.array_equal(block, values[asset, last - L + 1 : last + 1].T)


@given(cuts=st.lists(st.integers(1, 200), max_size=8))
@settings(deadline=None, max_examples=20)
def test_the_cut_into_batches_does_not_matter(cuts: list[int]) -> None:
    """The same blocks are kept however windows are split into batches or repeated."""
    values = rows(10 * L)
    whole, parts = (
        history(values),
        History(HistoryOptions(budget=1000, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0)),
    )
    batch = windows(values)
    bounds = sorted({0, len(batch), *(cut for cut in cuts if cut < len(batch))})
    for begin, end in pairwise(bounds):
        parts.add(batch.take(np.arange(begin, end)), ASSETS, CHANNELS)
        parts.add(batch.take(np.arange(begin, end)), ASSETS, CHANNELS)  # as in a replay
    assert spans(parts.normal()) == spans(whole.normal())
    assert parts.steps_seen().tolist() == whole.steps_seen().tolist() == [10 * L, 10 * L]


def test_a_full_history_is_thinned_not_forgotten() -> None:
    """Beyond the budget every second block is dropped, so that the first and the last hour are both represented."""
    kept = history(rows(64 * L), budget=40)
    assert 16 <= len(kept) <= 40
    ends = kept.normal().end
    assert ends.min() < 8 * L * STEP
    assert ends.max() > 56 * L * STEP
    assert kept.steps_seen().tolist() == [64 * L, 64 * L]


def test_the_budget_holds_with_more_assets_than_room() -> None:
    """If the budget has no room for one block per asset, the newest blocks stay."""
    kept = History(HistoryOptions(budget=3, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
    batch = windows(rows(L))
    for number in range(5):
        kept.add(batch.take(np.array([0])), [f"asset-{number}"], CHANNELS)
    assert len(kept) == 3
    assert kept.normal().assets == ("asset-2", "asset-3", "asset-4")


def test_what_is_older_than_the_horizon_goes_first() -> None:
    """A full history drops blocks older than the horizon before it thins out the rest."""
    kept = History(HistoryOptions(budget=10, length=L, step_ms=STEP, horizon_ms=4 * L * STEP, guard_ms=0))
    kept.add(windows(rows(8 * L)), ASSETS, CHANNELS)
    assert spans(kept.normal()) == {(name, (n * L - 1) * STEP) for name in ASSETS for n in range(4, 9)}


def test_the_horizon_holds_before_the_history_is_full() -> None:
    """Blocks older than the horizon are not used for training, and kept for at most a sixteenth longer."""
    kept = History(HistoryOptions(budget=1000, length=L, step_ms=STEP, horizon_ms=16 * L * STEP, guard_ms=0))
    batch = windows(rows(40 * L))
    for begin in range(0, len(batch), 50):
        kept.add(batch.take(np.arange(begin, min(begin + 50, len(batch)))), ASSETS, CHANNELS)
    assert spans(kept.normal()) == {(name, (n * L - 1) * STEP) for name in ASSETS for n in range(24, 41)}
    assert len(kept) <= 2 * 20


def test_an_alert_at_the_edge_of_the_horizon_keeps_its_guard() -> None:
    """A block within the guard time of an alert is excluded even if the alert itself is older than the horizon."""
    kept = History(HistoryOptions(budget=6, length=L, step_ms=STEP, horizon_ms=2 * L * STEP, guard_ms=L * STEP))
    kept.note([alert(4 * L * STEP, (4 * L + 1) * STEP)])
    kept.add(windows(rows(8 * L)), ASSETS, CHANNELS)
    assert spans(kept.normal()) == {("a", (n * L - 1) * STEP) for n in (7, 8)} | {
        ("b", (n * L - 1) * STEP) for n in (6, 7, 8)
    }


@pytest.mark.parametrize("every", [2, 3, 4])
def test_an_asset_that_is_read_in_some_steps_only_has_a_history(every: int) -> None:
    """Blocks end with a reading at any step, do not overlap, and are adjacent where possible."""
    batch = windows(rows(40 * L))
    part = batch.take(np.flatnonzero((batch.ends // STEP) % every == 0))
    kept = History(HistoryOptions(budget=1000, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
    kept.add(part, ASSETS, CHANNELS)
    ends = np.sort(kept.normal().end[kept.normal().asset == 0]) // STEP
    assert len(ends) >= 25
    assert np.diff(ends).min() >= L
    assert L % every or set(np.diff(ends)) == {L}


@pytest.mark.parametrize(
    ("start", "end", "left_out"),
    [
        (2 * L, 3 * L - 1, {3}),
        (2 * L, 2 * L, {3}),
        (2 * L - 1, 2 * L, {2, 3}),
        (3 * L, None, {4, 5, 6}),
        (100 * L, None, set()),
    ],
)
def test_alerts_are_not_learned(start: int, end: int | None, left_out: set[int]) -> None:
    """Blocks that overlap an alert of their asset, even a firing one, are excluded, and other assets keep theirs."""
    made = history(rows(6 * L))
    made.note([alert(start * STEP, None)])
    if end is not None:
        made.note([alert(start * STEP, end * STEP)])
    numbers = {(name, (at // STEP + 1) // L) for name, at in spans(made.normal())}
    assert numbers == {("a", n) for n in range(1, 7) if n not in left_out} | {("b", n) for n in range(1, 7)}


def test_the_guard_band_reaches_beyond_the_alert() -> None:
    """Blocks within the guard time before or after an alert are excluded."""
    made = history(rows(6 * L), guard_ms=L * STEP)
    made.note([alert(3 * L * STEP, (3 * L + 1) * STEP)])
    assert {(at // STEP + 1) // L for name, at in spans(made.normal()) if name == "a"} == {1, 2, 6}


def test_blocks_of_alerts_are_marked_and_kept() -> None:
    """Of a history that is thinned, alerted blocks stay, marked, up to a quarter of the budget, the newest ones."""
    kept = History(HistoryOptions(budget=24, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
    kept.note([alert(20 * L * STEP, 29 * L * STEP - STEP)])
    kept.add(windows(rows(64 * L)), ASSETS, CHANNELS)
    assert len(kept) <= 24
    marked = kept.corpus().take(kept.corpus().alerted)
    assert {(name, (at // STEP + 1) // L) for name, at in spans(marked)} == {("a", n) for n in range(23, 30)}
    assert not kept.normal().alerted.any()


def test_load_state_continues_identically() -> None:
    """A history that was saved and loaded keeps, thins and excludes the same blocks as one that never stopped."""
    batch = windows(rows(40 * L))
    one = History(HistoryOptions(budget=30, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=L * STEP))
    half = np.arange(len(batch) // 2)
    one.add(batch.take(half), ASSETS, CHANNELS)
    one.note([alert(5 * L * STEP, 6 * L * STEP), alert(30 * L * STEP, None, "b")])
    two = History(HistoryOptions(budget=30, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=L * STEP))
    two.load_state(one.save_state())
    for each in (one, two):
        each.add(batch, ASSETS, CHANNELS)
    assert spans(one.normal()) == spans(two.normal())
    assert np.array_equal(one.normal().values, two.normal().values, equal_nan=True)
    assert one.steps_seen().tolist() == two.steps_seen().tolist()


def test_a_state_that_does_not_fit_is_refused() -> None:
    """A state with another window length or a missing part raises ValueError and changes nothing."""
    made = history(rows(6 * L))
    other = History(HistoryOptions(budget=30, length=2 * L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
    with pytest.raises(ValueError, match=f"history: values is of {L} steps, expected {2 * L}"):
        other.load_state(made.save_state())
    state = made.save_state()
    for name in state:
        with pytest.raises(ValueError, match=f"history: {name} is missing"):
            made.load_state({key: value for key, value in state.items() if key != name})
    assert len(made) == 12


def test_joining_brings_channels_together() -> None:
    """Joined parts have the channels of all parts, and a channel absent from a part counts as not observed there."""
    one = history(rows(4 * L)).normal()
    made = History(HistoryOptions(budget=30, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
    made.add(windows(rows(4 * L, 1)[:, :, :2]), ("b", "c"), ("pressure", "speed"))
    whole = join([one, made.normal()])
    assert whole.channels == (*CHANNELS, "speed")
    assert whole.assets == ("a", "b", "c")
    assert len(whole) == 16
    speed = whole.observed[:, 3].all(1)
    assert speed.tolist() == [False] * 8 + [True] * 8
    assert np.isnan(whole.values[:8, 3]).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=5), st.integers(8, 200))
def test_what_is_gathered_fits(sizes: list[int], room: int) -> None:
    """All blocks are gathered if they fit, otherwise every 2nd, 4th, … block, if need be of some assets only."""
    parts = [history(rows(L + blocks * L)).normal() for blocks in sizes]
    parts = [part.take(part.end >= 2 * L * STEP) for part in parts]  # some are empty
    found = gather(iter(parts), room * BLOCK)
    every = [span for part in parts for span in spans(part)]
    if found is None:
        assert not every or room < FEW * len(ASSETS)
        return
    kept = list(zip([found.assets[code] for code in found.asset.tolist()], found.end.tolist(), strict=True))
    assert len(kept) <= room
    assert len(kept) == len(every) or len(kept) >= room // 8 or room < FEW * len(ASSETS)
    names = {name for name, _ in kept}
    theirs = [span for span in every if span[0] in names]
    assert sorted(kept) in [sorted(span for span in theirs if _number(span) % 2**power == 0) for power in range(8)]


def _number(span: tuple[str, int]) -> int:
    return (span[1] // STEP + 1) // L


@pytest.mark.parametrize(("assets", "blocks", "room"), [(100, 5, 90), (100, 2, 199), (40, 1, 3), (1000, 3, 1200)])
def test_of_many_assets_with_few_blocks_some_are_gathered_whole(assets: int, blocks: int, room: int) -> None:
    """If assets have few blocks, all of the same time, whole assets are left out instead of blocks, never all."""
    one = history(rows((blocks + 1) * L)).normal()
    one = one.take((one.asset == 0) & (one.end >= 2 * L * STEP - STEP))
    many = replace(
        one,
        assets=tuple(f"machine-{number}" for number in range(assets)),
        asset=np.repeat(np.arange(assets), blocks),
        end=np.tile(one.end, assets),
        values=np.tile(one.values, (assets, 1, 1)),
        observed=np.tile(one.observed, (assets, 1, 1)),
        alerted=np.tile(one.alerted, assets),
    )
    found = gather(iter([many]), room * BLOCK)
    assert found is not None
    assert room // 4 <= len(found) <= room
    assert set(np.bincount(found.asset).tolist()) <= {0, blocks}


def test_a_corpus_survives_packing() -> None:
    """A corpus packed for the training process is unpacked unchanged."""
    made = history(rows(4 * L)).normal()
    again = Corpus.unpack(made.pack())
    assert again.channels == made.channels
    assert spans(again) == spans(made)
    assert np.array_equal(again.values, made.values)
