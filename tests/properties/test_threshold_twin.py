"""`Threshold` against a plain twin, one score at a time, over any cut into batches."""

import itertools
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.detector import LEVELS
from monitor.core.records import Floats
from monitor.core.threshold import FLOOR, Threshold

CALIBRATION = np.linspace(0.01, 1.5, len(LEVELS)).astype(np.float32)
OTHER = (np.linspace(0.1, 1.2, len(LEVELS)) ** 2).astype(np.float32)

Row = tuple[np.float32, bool, bool]  # threshold, anomalous, warm
Stream = list[tuple[int, float]]  # asset row, score


class NaiveThreshold:
    """Same settings and meaning as `Threshold`."""

    def __init__(self, *, percentile: float, margin: float, memory: int, warm: int, clip: float, refresh: int) -> None:
        self.percentile, self.margin, self.memory = percentile, margin, memory
        self.warm, self.clip, self.refresh = warm, clip, refresh
        self.rings: dict[int, deque[float]] = {}
        self.entered: dict[int, int] = {}
        self.base: dict[int, float] = {}

    def update(self, asset: int, score: np.float32, calibration: Floats) -> Row:
        """Judge one score, then enter it."""
        ring = self.rings.setdefault(asset, deque(maxlen=self.memory))
        entered = self.entered.setdefault(asset, 0)
        warm = entered >= self.warm
        if entered == self.warm or (warm and (entered - asset) % self.refresh == 0):
            self.renew(asset)
        borrowed = max(float(np.interp(self.percentile / 100, LEVELS, calibration)), FLOOR)
        base = self.base[asset] if warm else borrowed
        limit = np.float32(self.margin * base)
        ring.append(float(min(score, np.float32(self.clip * base))))
        self.entered[asset] += 1
        return limit, bool(score > limit), warm

    def renew(self, asset: int) -> None:
        """Compute the base of an asset anew."""
        self.base[asset] = max(float(np.percentile(np.array(self.rings[asset]), self.percentile)), FLOOR)

    def rebase(self, old: Floats, new: Floats) -> None:
        """Carry over every score, for quantiles that ascend."""
        for asset, ring in self.rings.items():
            carried = [carried_over(score, old.astype(float), new.astype(float)) for score in ring]
            self.rings[asset] = deque((float(np.float32(score)) for score in carried), self.memory)
            if self.entered[asset] >= self.warm:
                self.renew(asset)


def carried_over(score: float, old: Floats, new: Floats) -> float:
    """One score on the new scale."""
    if score > old[-1]:
        return float(score * (new[-1] / old[-1]))
    if score < old[0]:
        return float(score * (new[0] / old[0]))
    return float(np.interp(score, old, new))


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Settings in range, with rings so short that they wrap."""
    memory = draw(st.integers(1, 20))
    return {
        "percentile": draw(st.sampled_from([0, 10, 50, 90, 99.5, 100]) | st.floats(0, 100)),
        "margin": draw(st.sampled_from([0.5, 1.0, 1.3])),
        "memory": memory,
        "warm": draw(st.integers(1, memory)),
        "clip": draw(st.sampled_from([1.01, 1.5, 50])),
        "refresh": draw(st.integers(1, memory)),
    }


SCORES = st.sampled_from([0.0, 0.5, 1.0, 1e-12]) | st.floats(0, 2, width=32) | st.floats(0, 1e6, width=32)
STREAMS = st.lists(st.tuples(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 5, 37]), SCORES), max_size=150)
CUTS = st.lists(st.sampled_from([1, 2, 3, 7, 20, 500]), min_size=1, max_size=4)  # sizes of the batches, repeated


def batches(stream: Stream, cuts: list[int]) -> list[Stream]:
    """The stream in pieces."""
    places = itertools.takewhile(lambda place: place < len(stream), itertools.accumulate(itertools.cycle(cuts)))
    bounds = [0, *places, len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(bounds)]


def push(stage: Threshold, stream: Stream, calibration: Floats) -> list[Row]:
    """One batch."""
    assets = np.array([asset for asset, _ in stream], np.int32)
    part = stage.update(assets, np.array([score for _, score in stream], np.float32), calibration)
    return list(zip(part.threshold, part.anomalous.tolist(), part.warm.tolist(), strict=True))


def bytes_of(stage: Threshold) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The stage's state in a form that compares bit by bit."""
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in stage.save_state().items()}


@settings(max_examples=300, deadline=None)
@given(options(), STREAMS, STREAMS, CUTS)
def test_limits_match_the_twin(chosen: dict[str, Any], first: Stream, second: Stream, cuts: list[int]) -> None:
    """Limits are the twin's to the last bit, before and after a change of models, however the stream is cut."""
    twin, stage = NaiveThreshold(**chosen), Threshold(**chosen)
    wanted = [twin.update(asset, np.float32(score), CALIBRATION) for asset, score in first]
    twin.rebase(CALIBRATION, OTHER)
    wanted += [twin.update(asset, np.float32(score), OTHER) for asset, score in second]
    found = [row for part in batches(first, cuts) for row in push(stage, part, CALIBRATION)]
    stage.rebase(CALIBRATION, OTHER)
    found += [row for part in batches(second, cuts) for row in push(stage, part, OTHER)]
    assert found == wanted
    entered = [twin.entered.get(asset, 0) for asset in range(max(twin.entered, default=-1) + 1)]
    assert stage.warm_up().tolist() == [max(0, chosen["warm"] - count) for count in entered]


@settings(max_examples=200, deadline=None)
@given(options(), st.lists(SCORES, max_size=60), st.integers(0, 3))
def test_without_pause_the_base_is_numpys_percentile(chosen: dict[str, Any], scores: list[float], asset: int) -> None:
    """With a refresh of 1 the limit before each score is `np.percentile` of what the ring holds, to the last bit."""
    stage = Threshold(**chosen | {"refresh": 1, "margin": 1.0})
    for score in scores:
        state = stage.save_state()
        ((limit, _, warm),) = push(stage, [(asset, score)], CALIBRATION)
        if warm:
            held = state["ring"][asset].astype(np.float64)
            base = max(np.percentile(held, chosen["percentile"]), FLOOR)
            assert state["base"][asset] == base
            assert limit == np.float32(base)


@settings(max_examples=200, deadline=None)
@given(options(), STREAMS, CUTS)
def test_state_does_not_depend_on_cuts_or_on_moving(chosen: dict[str, Any], stream: Stream, cuts: list[int]) -> None:
    """State saved and loaded at every cut ends bit by bit as the state of a stage that saw one whole batch."""
    whole, moving = Threshold(**chosen), Threshold(**chosen)
    wanted = push(whole, stream, CALIBRATION)
    found = []
    for part in batches(stream, cuts):
        found += push(moving, part, CALIBRATION)
        loaded = Threshold(**chosen)
        loaded.load_state(moving.save_state())
        moving = loaded
    assert found == wanted
    assert bytes_of(moving) == bytes_of(whole)


@pytest.mark.parametrize("seed", range(3))
def test_many_assets_of_any_age_match_the_twin(seed: int) -> None:
    """Rings of very different fill that come due together, more than one block of them, match the twin."""
    random = np.random.default_rng(seed)
    chosen: dict[str, Any] = {"percentile": 97.5, "margin": 1.1, "memory": 90, "warm": 12, "clip": 1.5, "refresh": 7}
    twin, stage = NaiveThreshold(**chosen), Threshold(**chosen)
    for turn in range(6):
        if turn == 3:
            twin.rebase(CALIBRATION, OTHER)
            stage.rebase(CALIBRATION, OTHER)
        assets = random.choice(400, 3000, p=random.dirichlet(np.full(400, 0.3)))
        stream = list(zip(assets.tolist(), random.gamma(2, 0.3, 3000).tolist(), strict=True))
        wanted = [twin.update(asset, np.float32(score), CALIBRATION) for asset, score in stream]
        assert push(stage, stream, CALIBRATION) == wanted
