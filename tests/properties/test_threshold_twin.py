"""`Threshold` of both kinds against a plain twin, one score at a time, for any split into batches."""

import itertools
from bisect import bisect_left
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model.model import LEVELS
from monitor.core.records import Floats
from monitor.core.rules import AssetRule, RowRules, Rules
from monitor.core.threshold.histogram import BLOCKS, BUCKETS, ENDS, ERROR, LEAST_CLIP, REACH, VALUES
from monitor.core.threshold.options import ThresholdOptions
from monitor.core.threshold.threshold import FLOOR, LENT, Threshold
from tests.examples import examples

CALIBRATION = np.linspace(0.01, 1.5, len(LEVELS)).astype(np.float32)
OTHER = (np.linspace(0.1, 1.2, len(LEVELS)) ** 2).astype(np.float32)

Row = tuple[np.float32, bool, bool]  # threshold, anomalous, warm
Stream = list[tuple[int, float]]  # asset row, score
Unknown = frozenset[int]  # asset rows that the model does not know


class NaiveRing:
    """All kept scores of an asset, newest last."""

    def __init__(self, memory: int) -> None:
        self.memory, self.scores = memory, list[float]()

    def enter(self, score: float) -> None:
        """Enter one score."""
        self.scores = [*self.scores, score][-self.memory :]

    def counted(self) -> list[float]:
        """Return the kept scores."""
        return self.scores

    def rebase(self, old: Floats, new: Floats) -> None:
        """Convert every score."""
        self.scores = [float(np.float32(carried_over(score, old, new))) for score in self.scores]


class NaiveHistogram:
    """The bucket (position in VALUES) of each score that still counts, in blocks, newest last."""

    def __init__(self, memory: int) -> None:
        self.size, self.blocks = memory // BLOCKS, list[list[int]]()

    def enter(self, score: float) -> None:
        """Start a new block if the last one is full, and drop the oldest."""
        if not self.blocks or len(self.blocks[-1]) == self.size:
            self.blocks = [*self.blocks, []][-BLOCKS:]
        self.blocks[-1].append(bisect_left(ENDS, score))

    def counted(self) -> list[float]:
        """Return the scores as values, with those below the kept buckets raised to the lowest kept bucket."""
        places = list(itertools.chain(*self.blocks))
        return [float(VALUES[max(place, max(places) - BUCKETS + 1)]) for place in places]

    def rebase(self, old: Floats, new: Floats) -> None:
        """Raise buckets below a block's lowest kept bucket to it, then convert every bucket."""
        for block in self.blocks:
            lowest = max(block) - BUCKETS + 1
            values = [float(np.float32(VALUES[max(place, lowest)])) for place in block]
            block[:] = [bisect_left(ENDS, np.float32(carried_over(value, old, new))) for value in values]


class NaiveThreshold:
    """Twin of `Threshold` with the same settings and meaning."""

    def __init__(
        self, *, percentile: float, margin: float, memory: int, warm: int, clip: float, refresh: int, kind: str
    ) -> None:
        self.percentile, self.margin, self.memory, self.kind = percentile, margin, memory, kind
        self.warm, self.clip, self.refresh = warm, clip, refresh
        self.scores: dict[int, NaiveRing | NaiveHistogram] = {}
        self.entered: dict[int, int] = {}
        self.base: dict[int, float] = {}

    def update(self, asset: int, score: np.float32, calibration: Floats, unknown: Unknown = frozenset()) -> Row:
        """Return the limit of one score, then enter the score."""
        if asset not in self.scores:
            self.scores[asset] = (NaiveRing if self.kind == "ring" else NaiveHistogram)(self.memory)
        entered = self.entered.setdefault(asset, 0)
        warm = entered >= self.warm
        if entered == self.warm or (warm and (entered - asset) % self.refresh == 0):
            self.renew(asset)
        borrowed = max(float(np.interp(self.percentile / 100, LEVELS, calibration)), FLOOR)
        base = self.base[asset] if warm else borrowed
        if warm and asset in unknown:
            known = min(max(entered - (entered - asset) % self.refresh, self.warm), self.memory)
            share = LENT / (LENT + known)
            base = share * borrowed + (1 - share) * base
        limit = np.float32(self.margin * base)
        self.scores[asset].enter(float(min(score, np.float32(self.clip * base))))
        self.entered[asset] += 1
        return limit, bool(score > limit), warm

    def renew(self, asset: int) -> None:
        """Recompute the base of an asset."""
        self.base[asset] = max(float(np.percentile(np.array(self.scores[asset].counted()), self.percentile)), FLOOR)

    def rebase(self, old: Floats, new: Floats) -> None:
        """Convert every score, for ascending quantiles."""
        for asset, scores in self.scores.items():
            scores.rebase(old.astype(float), new.astype(float))
            if self.entered[asset] >= self.warm:
                self.renew(asset)


def carried_over(score: float, old: Floats, new: Floats) -> float:
    """Return one score on the new scale."""
    if score > old[-1]:
        return float(score * (new[-1] / old[-1]))
    if score < old[0]:
        return float(score * (new[0] / old[0]))
    return float(np.interp(score, old, new))


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Return valid settings with a memory so short that it wraps."""
    kind = draw(st.sampled_from(["ring", "histogram"]))
    memory = draw(st.integers(1, 20) if kind == "ring" else st.integers(BLOCKS, 40))
    return {
        "kind": kind,
        "percentile": draw(st.sampled_from([0, 10, 50, 90, 99.5, 100]) | st.floats(0, 100)),
        "margin": draw(st.sampled_from([0.5, 1.0, 1.3])),
        "memory": memory,
        "warm": draw(st.integers(1, memory)),
        "clip": draw(st.sampled_from([1.01 if kind == "ring" else LEAST_CLIP, 1.5, 50])),
        "refresh": draw(st.integers(1, memory)),
    }


SCORES = st.sampled_from([0.0, 0.5, 1.0, 1e-12]) | st.floats(0, 2, width=32) | st.floats(0, 1e6, width=32)
STREAMS = st.lists(st.tuples(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 5, 37]), SCORES), max_size=150)
STRANGE = st.sampled_from([frozenset[int](), frozenset({0}), frozenset({1, 37})])
CUTS = st.lists(st.sampled_from([1, 2, 3, 7, 20, 500]), min_size=1, max_size=4)  # sizes of the batches, repeated


def batches(stream: Stream, cuts: list[int]) -> list[Stream]:
    """Return the stream in batches."""
    places = itertools.takewhile(lambda place: place < len(stream), itertools.accumulate(itertools.cycle(cuts)))
    bounds = [0, *places, len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(bounds)]


def push(stage: Threshold, stream: Stream, calibration: Floats, unknown: Unknown = frozenset()) -> list[Row]:
    """Push one batch."""
    assets = np.array([asset for asset, _ in stream], np.int32)
    scores = np.array([score for _, score in stream], np.float32)
    part = stage.update(assets, scores, calibration, np.isin(assets, list(unknown)) if unknown else None)
    return list(zip(part.threshold, part.anomalous.tolist(), part.warm.tolist(), strict=True))


def bytes_of(stage: Threshold) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return the stage's state in a form that compares bit by bit."""
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in stage.save_state().items()}


@settings(max_examples=examples(300), deadline=None)
@given(options(), STREAMS, STREAMS, CUTS, STRANGE)
def test_limits_match_the_twin(
    chosen: dict[str, Any], first: Stream, second: Stream, cuts: list[int], unknown: Unknown
) -> None:
    """Limits equal the twin's to the last bit, before and after a change of models, however the stream is cut."""
    twin, stage = NaiveThreshold(**chosen), Threshold(ThresholdOptions(**chosen))
    wanted = [twin.update(asset, np.float32(score), CALIBRATION, unknown) for asset, score in first]
    twin.rebase(CALIBRATION, OTHER)
    wanted += [twin.update(asset, np.float32(score), OTHER) for asset, score in second]
    found = [row for part in batches(first, cuts) for row in push(stage, part, CALIBRATION, unknown)]
    stage.rebase(CALIBRATION, OTHER)
    found += [row for part in batches(second, cuts) for row in push(stage, part, OTHER)]
    assert found == wanted
    entered = [twin.entered.get(asset, 0) for asset in range(max(twin.entered, default=-1) + 1)]
    assert stage.warm_up().tolist() == [max(0, chosen["warm"] - count) for count in entered]


@settings(max_examples=examples(100), deadline=None)
@given(options(), STREAMS, CUTS)
def test_a_margin_of_an_asset_scales_its_limits(chosen: dict[str, Any], stream: Stream, cuts: list[int]) -> None:
    """Limits of an asset with a margin of its own are those of a stage whose settings have that margin."""
    margins = {0: 1.25, 2: 3.0, 37: 1.0}
    names = [str(asset) for asset in range(38)]
    own = tuple((names[asset], AssetRule(margin)) for asset, margin in margins.items())
    rules = RowRules(chosen["margin"], 0.0, Rules(own))
    rules.update(names, ())
    stage = Threshold(ThresholdOptions(**chosen), rules)
    found = [row for part in batches(stream, cuts) for row in push(stage, part, CALIBRATION)]
    for asset in {asset for asset, _ in stream}:
        margin = margins.get(asset, chosen["margin"])
        alike = push(Threshold(ThresholdOptions(**chosen | {"margin": margin})), stream, CALIBRATION)
        places = [place for place, (each, _) in enumerate(stream) if each == asset]
        assert [found[place] for place in places] == [alike[place] for place in places]


@settings(max_examples=examples(300), deadline=None)
@given(options(), st.lists(SCORES, max_size=120), st.integers(0, 3))
def test_without_pause_the_base_is_numpys_percentile(chosen: dict[str, Any], scores: list[float], asset: int) -> None:
    """With a refresh of 1 the base is `np.percentile` of the last scores: exactly, or within the histogram's error."""
    stage, kept = Threshold(ThresholdOptions(**chosen | {"refresh": 1, "margin": 1.0})), list[float]()
    for number, score in enumerate(scores):
        before = stage.save_state()["base"]
        ((limit, _, warm),) = push(stage, [(asset, score)], CALIBRATION)
        if warm:
            base, counted = float(before[asset]), np.array(kept[-still_counting(chosen, number) :])
            assert limit == np.float32(base)
            exact = max(float(np.percentile(counted, chosen["percentile"])), FLOOR)
            if chosen["kind"] == "ring":
                assert base == exact
            else:  # no score counts as less than 1 / REACH of the largest, nor than FLOOR
                least = np.percentile(np.maximum(counted, max(counted.max() / REACH, FLOOR)), chosen["percentile"])
                assert exact * (1 - ERROR) <= base * (1 + 1e-9)
                assert base <= float(least) * (1 + ERROR) * (1 + 1e-9)
            kept.append(float(min(np.float32(score), np.float32(chosen["clip"] * base))))
        else:
            kept.append(float(min(np.float32(score), np.float32(chosen["clip"] * float(borrowed(chosen))))))


def still_counting(chosen: dict[str, Any], entered: int) -> int:
    """Return how many of the last scores the percentile covers. A histogram drops whole blocks."""
    if chosen["kind"] == "ring":
        return min(entered, int(chosen["memory"]))
    size = chosen["memory"] // BLOCKS
    blocks = [size] * (entered // size) + [entered % size] * (entered % size > 0)
    return sum(blocks[-BLOCKS:])


def borrowed(chosen: dict[str, Any]) -> float:
    """Return the base of an asset in warm-up."""
    return max(float(np.interp(chosen["percentile"] / 100, LEVELS, CALIBRATION)), FLOOR)


@settings(max_examples=examples(200), deadline=None)
@given(options(), STREAMS, CUTS, STRANGE)
def test_state_does_not_depend_on_cuts_or_on_moving(
    chosen: dict[str, Any], stream: Stream, cuts: list[int], unknown: Unknown
) -> None:
    """A stage saved and loaded at every cut ends with the same state, bit by bit, as one that saw a single batch."""
    whole, moving = Threshold(ThresholdOptions(**chosen)), Threshold(ThresholdOptions(**chosen))
    wanted = push(whole, stream, CALIBRATION, unknown)
    found = []
    for part in batches(stream, cuts):
        found += push(moving, part, CALIBRATION, unknown)
        loaded = Threshold(ThresholdOptions(**chosen))
        loaded.load_state(moving.save_state())
        moving = loaded
    assert found == wanted
    assert bytes_of(moving) == bytes_of(whole)


@pytest.mark.parametrize("kind", ["ring", "histogram"])
@pytest.mark.parametrize("seed", range(3))
def test_many_assets_of_any_age_match_the_twin(seed: int, kind: str) -> None:
    """Many assets with different numbers of scores that are refreshed in the same batch match the twin."""
    random = np.random.default_rng(seed)
    chosen: dict[str, Any] = {"percentile": 97.5, "margin": 1.1, "memory": 90, "warm": 12, "clip": 1.5, "refresh": 7}
    chosen["kind"] = kind
    twin, stage = NaiveThreshold(**chosen), Threshold(ThresholdOptions(**chosen))
    for turn in range(6):
        if turn == 3:
            twin.rebase(CALIBRATION, OTHER)
            stage.rebase(CALIBRATION, OTHER)
        assets = random.choice(400, 3000, p=random.dirichlet(np.full(400, 0.3)))
        stream = list(zip(assets.tolist(), random.gamma(2, 0.3, 3000).tolist(), strict=True))
        wanted = [twin.update(asset, np.float32(score), CALIBRATION) for asset, score in stream]
        assert push(stage, stream, CALIBRATION) == wanted
