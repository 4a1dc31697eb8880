"""`ChannelLimits` against a plain twin, one error at a time, for any split into batches."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model.channel_limits import BLOCK, HIGHEST, LEAST, LOWEST, MOST, QUANTILE, RATE, ChannelLimits
from monitor.core.records import Floats
from tests.examples import examples

V, C = 2, 3
OLD = np.array([[2.0, 0.25, 1.0], [30.0, 4.0, np.nan]], np.float32)
NEW = np.array([[5.0, 3.0, 0.0], [7.0, 1e30, 2.0]], np.float32)

Stream = list[tuple[int, Floats]]  # asset row, errors (V, C)


class NaiveLimits:
    """Twin of `ChannelLimits`, with all windows of each asset."""

    def __init__(self) -> None:
        self.starts = OLD
        self.limits: dict[int, Floats] = {}  # logs (V, C)
        self.blocks: dict[int, list[tuple[Floats, Floats]]] = {}  # errors and ratios (V, C) of the block so far

    def update(self, asset: int, errors: Floats) -> Floats:
        """Return the ratios of one window, then learn if it ends a block."""
        limits = self.limits.setdefault(asset, np.vectorize(log)(self.starts).astype(np.float32))
        ratios = np.zeros((V, C), np.float32)
        for cell in np.ndindex(V, C):
            if not math.isnan(errors[cell]):
                ratios[cell] = np.float32(errors[cell]) / np.exp(limits[cell])
        block = self.blocks.setdefault(asset, [])
        block.append((errors, ratios))
        if len(block) == BLOCK:
            for cell in np.ndindex(V, C):
                limits[cell] = self.moved(float(limits[cell]), cell, block)
            block.clear()
        return ratios

    @staticmethod
    def moved(limit: float, cell: tuple[int, ...], block: list[tuple[Floats, Floats]]) -> float:
        """Return the log limit of a cell after a block."""
        seen = sum(not math.isnan(errors[cell]) for errors, _ in block)
        above = sum(bool(ratios[cell] > 1) for _, ratios in block)
        return min(max(limit + RATE * (above - seen * (1 - QUANTILE)), LOWEST), HIGHEST)

    def rebase(self) -> None:
        """Move from the model with starts OLD to that with starts NEW."""
        self.starts = NEW
        for limits in self.limits.values():
            for cell in np.ndindex(V, C):
                kept, old, new = float(limits[cell]), log(float(OLD[cell])), log(float(NEW[cell]))
                moved = kept + (new - old) if new < old else max(kept, new)
                limits[cell] = min(max(moved, LOWEST), HIGHEST)

    def forget(self, asset: int) -> None:
        """Drop all windows of an asset."""
        self.limits.pop(asset, None)
        self.blocks.pop(asset, None)


def log(limit: float) -> float:
    """Return the log of a start within its bounds."""
    return 0.0 if math.isnan(limit) else float(np.log(min(max(float(limit), LEAST), MOST)))


ERRORS = st.sampled_from([0.0, 0.9, 1.0, 2.0, 2.01, 40.0, 1e20, math.nan])


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Return windows of some assets, in runs with the same few errors, so that blocks end and limits move."""
    runs = st.tuples(
        st.sampled_from([[0], [0], [1], [0, 1], [1, 0, 5]]),  # assets that take turns
        st.lists(st.lists(ERRORS, min_size=V * C, max_size=V * C), min_size=1, max_size=3),
        st.sampled_from([1, 2, 5, BLOCK - 1, BLOCK, 2 * BLOCK + 1]),
    )
    stream = []
    for assets, errors, length in draw(st.lists(runs, max_size=5)):
        each = itertools.cycle([np.array(cells, np.float32).reshape(V, C) for cells in errors])
        stream += [(asset, next(each)) for _ in range(length) for asset in assets]
    return stream


CUTS = st.lists(st.sampled_from([1, 2, 3, 7, 20, 500]), min_size=1, max_size=4)  # sizes of the batches, repeated


def batches(stream: Stream, cuts: list[int]) -> list[Stream]:
    """Return the stream in batches."""
    places = itertools.takewhile(lambda place: place < len(stream), itertools.accumulate(itertools.cycle(cuts)))
    return [stream[begin:end] for begin, end in itertools.pairwise([0, *places, len(stream)])]


def made() -> ChannelLimits:
    """Return a new stage that uses the model with starts OLD."""
    stage = ChannelLimits()
    stage.use(OLD)
    return stage


def push(stage: ChannelLimits, stream: Stream) -> list[bytes]:
    """Push one batch. Return the ratios of each window in a form that compares bit by bit."""
    assets = np.array([asset for asset, _ in stream], np.int32)
    ratios = stage.update(assets, np.array([errors for _, errors in stream], np.float32).reshape(-1, V, C))
    assert (str(ratios.dtype), ratios.shape) == ("float32", (len(stream), V, C))
    return [each.tobytes() for each in ratios]


def bytes_of(stage: ChannelLimits) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return the stage's state in a form that compares bit by bit."""
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in stage.save_state().items()}


@settings(max_examples=examples(200), deadline=None)
@given(streams(), streams(), streams(), CUTS)
def test_ratios_match_the_twin(first: Stream, second: Stream, third: Stream, cuts: list[int]) -> None:
    """Ratios equal the twin's to the last bit, across models and for a row that is reused, however they are cut."""
    twin, stage = NaiveLimits(), made()
    wanted = [twin.update(*window).tobytes() for window in first]
    found = [row for part in batches(first, cuts) for row in push(stage, part)]

    twin.rebase()
    wanted += [twin.update(*window).tobytes() for window in second]
    stage.rebase(OLD, NEW)
    stage.use(NEW)
    found += [row for part in batches(second, cuts) for row in push(stage, part)]

    twin.forget(0)
    wanted += [twin.update(*window).tobytes() for window in third]
    stage.forget(0)
    found += [row for part in batches(third, cuts) for row in push(stage, part)]
    assert found == wanted


@settings(max_examples=examples(150), deadline=None)
@given(streams(), CUTS, st.booleans())
def test_state_does_not_depend_on_cuts_or_on_moving(stream: Stream, cuts: list[int], used: bool) -> None:
    """A stage saved and loaded at every cut, before or after `use`, ends with the state of one that was not cut."""
    whole, moving = made(), made()
    wanted, found = push(whole, stream), []
    for part in batches(stream, cuts):
        found += push(moving, part)
        loaded = made() if used else ChannelLimits()
        loaded.load_state(moving.save_state())
        loaded.use(OLD)
        moving = loaded
    assert found == wanted
    assert bytes_of(moving) == bytes_of(whole)


@settings(max_examples=examples(100), deadline=None)
@given(streams())
def test_other_assets_do_not_matter(stream: Stream) -> None:
    """The ratios of an asset are those of a stage that has only this asset."""
    found = push(made(), stream)
    for asset in {asset for asset, _ in stream}:
        own = [place for place, (each, _) in enumerate(stream) if each == asset]
        assert [found[place] for place in own] == push(made(), [(0, stream[place][1]) for place in own])


@pytest.mark.parametrize("seed", range(3))
def test_many_assets_of_any_age_match_the_twin(seed: int) -> None:
    """Many assets with different numbers of windows, some with several blocks in a batch, match the twin."""
    random = np.random.default_rng(seed)
    twin, stage = NaiveLimits(), made()
    for size in (400, 40, 3, 150):
        assets = random.choice(size, 1000, p=random.dirichlet(np.full(size, 0.3))).tolist()
        errors = random.gamma(0.5, 8, (1000, V, C)).astype(np.float32)
        errors[random.random(errors.shape) < 0.2] = np.nan
        stream = list(zip(assets, errors, strict=True))
        wanted = [twin.update(*window).tobytes() for window in stream]
        assert push(stage, stream) == wanted
