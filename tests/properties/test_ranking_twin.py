"""`Ranking` against a plain twin, one window at a time, for any split into batches."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model.forecaster import MOST
from monitor.core.model.ranking import Ranking
from tests.examples import examples

EDGES = np.array([3.0, 1.5, 0.01], np.float32)
ALARM = 0.7

Window = tuple[int, float, float, float]  # asset row, network, forecast, alarm
Stream = list[Window]


class NaiveRanking:
    """Twin of `Ranking`, with all values of each asset."""

    def __init__(self, length: int) -> None:
        n = max(1, length // 16)
        self.spans = [h - n + 1 for h in (n, max(1, length // 4), length)]
        self.values: dict[int, list[float]] = {}

    def update(self, asset: int, network: float, forecast: float, alarm: float) -> float:
        """Return the score of one window."""
        values = self.values.setdefault(asset, [])
        values.append(float(np.float32(forecast)))
        highest = 0.0
        for span, edge in zip(self.spans, EDGES.tolist(), strict=True):
            seen = [value for value in values[-span:] if not math.isnan(value)]
            highest = max(highest, sum(seen) / max(1, len(seen)) / edge)
        return float((1 + network) ** 0.4 * (1 + highest) ** 0.4 * (1 + alarm / ALARM) ** 0.2 - 1)

    def forget(self, asset: int) -> None:
        """Drop all values of an asset."""
        self.values.pop(asset, None)


LENGTHS = st.sampled_from([1, 2, 5, 16, 32, 64])
SCORES = st.sampled_from([0.0, 0.3, 1.0, 50.0])
VALUES = st.sampled_from([0.0, 1e-9, 0.1, 0.7, 1.0, 33.3, MOST, math.nan])


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Return windows of some assets, in runs with the same few values, so that rings go around."""
    runs = st.tuples(
        st.sampled_from([[0], [0], [1], [0, 1], [1, 0, 5]]),  # assets that take turns
        st.lists(st.tuples(SCORES, VALUES, SCORES), min_size=1, max_size=4),
        st.sampled_from([1, 2, 5, 13, 61, 130]),
    )
    stream = []
    for assets, values, length in draw(st.lists(runs, max_size=5)):
        each = itertools.cycle(values)
        stream += [(asset, *next(each)) for _ in range(length) for asset in assets]
    return stream


CUTS = st.lists(st.sampled_from([1, 2, 3, 7, 20, 64, 500]), min_size=1, max_size=4)  # sizes of the batches, repeated


def batches(stream: Stream, cuts: list[int]) -> list[Stream]:
    """Return the stream in batches."""
    places = itertools.takewhile(lambda place: place < len(stream), itertools.accumulate(itertools.cycle(cuts)))
    return [stream[begin:end] for begin, end in itertools.pairwise([0, *places, len(stream)])]


def made(length: int) -> Ranking:
    """Return a new stage that uses a model."""
    stage = Ranking(length)
    stage.use(EDGES, ALARM)
    return stage


def push(stage: Ranking, stream: Stream) -> list[float]:
    """Push one batch and return the score of each window."""
    assets = np.array([window[0] for window in stream], np.int32)
    parts = np.array([window[1:] for window in stream], np.float32).reshape(-1, 3).T
    scores = stage.update(assets, *parts)
    assert (str(scores.dtype), scores.shape) == ("float32", (len(stream),))
    found: list[float] = scores.tolist()
    return found


def bytes_of(stage: Ranking) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return the stage's state in a form that compares bit by bit."""
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in stage.save_state().items()}


@settings(max_examples=examples(150), deadline=None)
@given(LENGTHS, streams(), streams(), CUTS)
def test_scores_match_the_twin(length: int, first: Stream, second: Stream, cuts: list[int]) -> None:
    """Scores equal the twin's, also for a row that is reused, however they are cut."""
    twin, stage = NaiveRanking(length), made(length)
    wanted = [twin.update(*window) for window in first]
    found = [score for part in batches(first, cuts) for score in push(stage, part)]
    twin.forget(0)
    stage.forget(0)
    wanted += [twin.update(*window) for window in second]
    found += [score for part in batches(second, cuts) for score in push(stage, part)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@settings(max_examples=examples(150), deadline=None)
@given(LENGTHS, streams(), CUTS)
def test_scores_and_state_do_not_depend_on_cuts_or_on_moving(length: int, stream: Stream, cuts: list[int]) -> None:
    """A stage saved and loaded at every cut ends, to the last bit, with scores and state of one that was not cut."""
    whole, moving = made(length), made(length)
    wanted, found = push(whole, stream), []
    for part in batches(stream, cuts):
        found += push(moving, part)
        loaded = made(length)
        loaded.load_state(moving.save_state())
        assert bytes_of(loaded) == bytes_of(moving)
        moving = loaded
    assert found == wanted
    assert bytes_of(moving) == bytes_of(whole)


@settings(max_examples=examples(50), deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), streams(), CUTS)
def test_running_sums_may_wrap(begin: int, stream: Stream, cuts: list[int]) -> None:
    """Scores of an asset do not depend on where its running sums began."""
    lifted, plain = made(64), made(64)
    for stage in (lifted, plain):
        push(stage, [(row, 0.0, 0.0, 0.0) for row in range(6)])
    state = lifted.save_state()
    lifted.load_state({**state, "sum": state["sum"] + np.array([begin])})
    assert [push(lifted, part) for part in batches(stream, cuts)] == [push(plain, p) for p in batches(stream, cuts)]
