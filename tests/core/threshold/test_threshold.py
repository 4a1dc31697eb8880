"""The rules of `Threshold`, each by hand on short memories, kept exactly and in buckets.

Where the memory is of 8 scores, each block of a histogram is one score, and both forget alike.
"""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from monitor.core.model.model import LEVELS
from monitor.core.records import Floats, ThresholdBatch
from monitor.core.threshold.histogram import ERROR
from monitor.core.threshold.options import ThresholdOptions
from monitor.core.threshold.ring import Ring
from monitor.core.threshold.threshold import FLOOR, Threshold
from monitor.settings.learning import ThresholdSection

CALIBRATION: Floats = np.linspace(0, 1.4, len(LEVELS)).astype(np.float32)


KINDS = pytest.mark.parametrize("kind", ["ring", "histogram"])


def near(kind: str, values: Any) -> Any:
    """Of a histogram both the base that a score was clipped at and the score itself are rounded."""
    return pytest.approx(values, rel=2 * ERROR if kind == "histogram" else 1e-6)


def threshold(**changes: Any) -> Threshold:
    """A stage whose limit is the median of the last 8 scores, renewed before each score."""
    settings = {"percentile": 50, "margin": 1.0, "memory": 8, "warm": 3, "clip": 2.0, "refresh": 1}
    return Threshold(ThresholdOptions(**settings | changes))


def feed(stage: Threshold, scores: npt.ArrayLike, *, assets: npt.ArrayLike = 0) -> ThresholdBatch:
    """Scores of one asset, or of one each."""
    score = np.asarray(scores, np.float32)
    return stage.update(np.broadcast_to(np.asarray(assets, np.int32), score.shape), score, CALIBRATION)


@KINDS
def test_limit_is_borrowed_until_warm(kind: str) -> None:
    """Before `warm` scores the limit is the model's own quantile, after that the asset's percentile."""
    part = feed(threshold(kind=kind, percentile=75), [0.1, 0.2, 0.3, 0.4])
    assert part.threshold.tolist() == near(kind, [0.6, 0.6, 0.6, 0.25])
    assert part.warm.tolist() == [False, False, False, True]


def test_borrowed_limit_lies_between_two_levels() -> None:
    """A percentile between two calibrated levels is borrowed by interpolation."""
    between = feed(threshold(percentile=100 * (LEVELS[7] + LEVELS[8]) / 2), [0.0]).threshold[0]
    assert between == pytest.approx((CALIBRATION[7] + CALIBRATION[8]) / 2)


@KINDS
def test_margin_lifts_the_limit(kind: str) -> None:
    """The limit is `margin` times the base, borrowed or own."""
    assert feed(threshold(kind=kind, margin=1.5), [0.1, 0.2, 0.3, 0.4]).threshold.tolist() == near(
        kind, [0.75] * 3 + [0.3]
    )


@KINDS
def test_only_scores_above_the_limit_are_anomalous(kind: str) -> None:
    """A score equal to its limit is not anomalous, the next larger float is."""
    limit = feed(threshold(kind=kind), [0.0]).threshold[0]
    part = feed(threshold(kind=kind), [limit, np.nextafter(limit, np.float32(9))])
    assert part.anomalous.tolist() == [False, True]


@KINDS
def test_a_score_is_held_against_the_limit_before_it_entered(kind: str) -> None:
    """The limit of a score depends on earlier scores only."""
    part = feed(threshold(kind=kind, percentile=100), [0.1, 0.1, 0.1, 0.15, 0.1])
    assert part.threshold[3:].tolist() == near(kind, [0.1, 0.15])


@KINDS
def test_scores_enter_clipped(kind: str) -> None:
    """A score above `clip` times the base counts as that much, own base or borrowed."""
    stage = threshold(kind=kind, percentile=100)
    part = feed(stage, [100, 0.1, 0.1, 100, 0.1])
    assert part.threshold.tolist() == near(kind, [1.4, 1.4, 1.4, 2.8, 5.6])
    assert part.anomalous.tolist() == [True, False, False, True, False]


@pytest.mark.parametrize(("clip", "expected"), [(1.05, [22, 35, 75]), (1.2, [6, 10, 21])])
def test_a_lasting_shift_is_accepted_the_sooner_the_higher_the_clip(clip: float, expected: list[int]) -> None:
    """At one score a second, limits reach scores that stay at 1.5, 2 and 5 times the threshold after these minutes."""
    section, minutes = ThresholdSection(clip=clip), []
    clean = np.exp(np.random.default_rng(0).normal(0, 0.3, section.memory))
    for times in (1.5, 2, 5):
        stage = Threshold(section.options())
        feed(stage, clean)
        score = times * feed(stage, [0.5]).threshold[0]
        quiet = score < 0.9 * feed(stage, np.full(6000, score)).threshold
        minutes.append(round(int(quiet.argmax()) / 60))
    assert minutes == expected


def test_ring_forgets_what_is_older_than_memory() -> None:
    """Only the last `memory` scores count."""
    part = feed(threshold(percentile=100, memory=3), [0.9, 0.1, 0.1, 0.1, 0.2])
    assert part.threshold[3:].tolist() == pytest.approx([0.9, 0.1])


@KINDS
def test_base_stands_until_it_is_due(kind: str) -> None:
    """Between two multiples of `refresh` the base does not change."""
    part = feed(threshold(kind=kind, percentile=100, refresh=4), [0.1, 0.1, 0.1, 0.15, 0.2, 0.1, 0.1, 0.1, 0.1])
    assert part.threshold[3:].tolist() == near(kind, [0.1, 0.15, 0.15, 0.15, 0.15, 0.2])


def test_base_is_numpys_percentile_to_the_last_bit() -> None:
    """Interpolation between two scores rounds as `np.percentile` does in float64."""
    stage = threshold(percentile=97.3, memory=200, clip=100)
    for score in np.random.default_rng(1).gamma(2, 0.3, 300):
        feed(stage, [score])
        state = stage.save_state()
        if state["count"][0] >= 3:
            assert state["base"][0] == np.percentile(state["ring"][0].astype(np.float64), 97.3)


@KINDS
def test_refreshes_of_neighbours_do_not_coincide(kind: str) -> None:
    """Assets with equal streams renew their base one after another by row, the first time all at `warm`."""
    stage = threshold(kind=kind, percentile=100, refresh=4, memory=100)
    assets = np.arange(4)
    steps = [feed(stage, np.full(4, 0.1 * (turn + 1)), assets=assets).threshold for turn in range(9)]
    changed = [np.flatnonzero(after != before).tolist() for before, after in itertools.pairwise(steps)]
    assert changed == [[], [], [0, 1, 2, 3], [0], [1], [2], [3], [0]]


@KINDS
def test_base_never_falls_to_zero(kind: str) -> None:
    """An asset whose scores are all zero keeps a positive limit, so that a ratio is finite."""
    stage = threshold(kind=kind)
    part = feed(stage, np.zeros(9))
    assert part.threshold[-1] == np.float32(FLOOR)
    assert feed(stage, [0.5]).anomalous.tolist() == [True]
    borrowed = stage.update(np.array([1], np.int32), np.zeros(1, np.float32), np.zeros(len(LEVELS), np.float32))
    assert borrowed.threshold.tolist() == [np.float32(FLOOR)]


@KINDS
def test_huge_scores_stay_finite(kind: str) -> None:
    """Scores near the float32 limit, or beyond it, neither overflow nor enter the ring as infinity."""
    stage = threshold(kind=kind)
    with np.errstate(all="raise"):
        part = feed(stage, [np.inf] * 400)
    assert np.isfinite(part.threshold).all()
    stage.load_state(stage.save_state())  # which refuses scores that are not finite


@KINDS
def test_assets_do_not_share_a_ring(kind: str) -> None:
    """Interleaved assets each have their own limit, in the order the scores were given."""
    part = feed(threshold(kind=kind, percentile=100), [1, 3, 1, 3, 1, 3, 1, 3], assets=[0, 1] * 4)
    assert part.threshold[6:].tolist() == near(kind, [1, 2.8])  # 3 enters as twice the borrowed 1.4


@KINDS
def test_an_empty_batch_changes_nothing(kind: str) -> None:
    """An empty batch has no limits and changes nothing."""
    stage = threshold(kind=kind)
    part = feed(stage, [])
    assert (len(part.threshold), len(part.anomalous), len(part.warm)) == (0, 0, 0)
    assert [str(a.dtype) for a in (part.threshold, part.anomalous, part.warm)] == ["float32", "bool", "bool"]
    assert stage.warm_up().tolist() == []


@KINDS
def test_warm_up_counts_down(kind: str) -> None:
    """`warm_up` says how many scores each asset still needs, up to the largest row seen."""
    stage = threshold(kind=kind)
    feed(stage, [0.1, 0.1, 0.1, 0.1, 0.1], assets=[2, 0, 2, 2, 2])
    assert stage.warm_up().tolist() == [2, 3, 0]


def test_rings_grow_with_what_they_hold() -> None:
    """A ring begins small, doubles as it fills, and never exceeds `memory`."""
    ring, row, widths = Ring(3000), np.zeros(1, np.intp), []
    ring.reserve(1)
    for turn in range(8):
        ring.enter(row, np.array([500]), np.array([500 * turn]), np.full(500, 0.3, np.float32))
        widths.append(ring._columns["ring"].shape[1])
    assert widths == [512, 1024, 2048, 2048, 3000, 3000, 3000, 3000]


def test_rebase_maps_by_quantiles() -> None:
    """Scores between calibrated quantiles are mapped linearly, those outside in proportion to the nearest."""
    stage = threshold(memory=5, warm=5, percentile=100)
    feed(stage, [0.5, 1.0, 1.5, 2.0, 2.7])
    old = np.linspace(1, 2, len(LEVELS)).astype(np.float32)
    new = np.linspace(10, 40, len(LEVELS)).astype(np.float32)
    stage.rebase(old, new)
    assert stage.save_state()["ring"][0].tolist() == pytest.approx([5, 10, 25, 40, 54])
    assert feed(stage, [0.0]).threshold[0] == pytest.approx(54)


@KINDS
def test_rebase_leaves_assets_in_warm_up_borrowing(kind: str) -> None:
    """After a change of models a cold asset borrows the new model's limit and its scores are on the new scale."""
    stage = threshold(kind=kind, warm=3)
    feed(stage, [0.7])
    stage.rebase(CALIBRATION, 10 * CALIBRATION)
    part = stage.update(np.zeros(2, np.int32), np.array([7, 7], np.float32), 10 * CALIBRATION)
    assert part.threshold.tolist() == near(kind, [5, 5])
    assert feed(stage, [0.0]).threshold[0] == near(kind, 7)


def test_rebase_takes_the_higher_of_two_candidates() -> None:
    """A score at or below several equal old quantiles is converted by the largest of their counterparts."""
    stage = threshold(memory=2, warm=2)
    feed(stage, [0.5, 0.25])
    stage.rebase(np.full(len(LEVELS), 0.5, np.float32), CALIBRATION)
    assert stage.save_state()["ring"].tolist() == [[CALIBRATION[-1], CALIBRATION[-1] / 2]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (np.zeros(len(LEVELS)), np.ones(len(LEVELS))),
        (np.ones(len(LEVELS)), np.zeros(len(LEVELS))),
        (CALIBRATION[::-1], CALIBRATION),
        (np.r_[CALIBRATION[:5], np.full(len(LEVELS) - 5, 0.4)], CALIBRATION),
    ],
)
def test_rebase_survives_quantiles_that_do_not_ascend(old: Floats, new: Floats) -> None:
    """Equal, falling or zero quantiles leave finite scores in their old order and a positive limit."""
    stage = threshold(percentile=90)
    feed(stage, np.linspace(0, 0.7, 8))
    with np.errstate(all="raise", under="ignore"):
        stage.rebase(old.astype(np.float32), new.astype(np.float32))
    ring = stage.save_state()["ring"][0]
    assert np.isfinite(ring).all()
    assert (np.diff(ring) >= 0).all()
    assert feed(stage, [0.0]).threshold[0] > 0


@KINDS
def test_a_lower_warm_takes_what_a_state_holds(kind: str) -> None:
    """With a lower `warm`, an asset that has enough scores uses their percentile at once."""
    before, stage, always = (threshold(kind=kind, warm=warm) for warm in (6, 3, 3))
    feed(before, [0.1, 0.3, 0.2, 0.4])
    feed(always, [0.1, 0.3, 0.2, 0.4])
    stage.load_state(before.save_state())
    part = feed(stage, [0.1, 0.2])
    assert part.warm.all()
    assert part.threshold.tolist() == feed(always, [0.1, 0.2]).threshold.tolist()


@KINDS
def test_state_is_a_copy(kind: str) -> None:
    """A saved state is changed neither by its stage nor by a stage that loaded the state."""
    stage = threshold(kind=kind)
    feed(stage, [0.1, 0.2, 0.3, 0.4])
    state = stage.save_state()
    before = {name: array.copy() for name, array in state.items()}
    other = threshold(kind=kind)
    other.load_state(state)
    for each in (stage, other):
        feed(each, np.full(20, 0.5), assets=[0, 1] * 10)
        each.rebase(CALIBRATION, 2 * CALIBRATION)
    assert all(state[name].tobytes() == array.tobytes() for name, array in before.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": None}, "base is missing"),
        ({"more": np.zeros(1)}, "more is unknown"),
        ({"count": np.array([4.0, 1.0])}, "count is float64"),
        ({"count": np.array([[4], [1]])}, r"count is int64 \(2, 1\), expected int64 \(A,\)"),
        ({"count": np.array([4, -1])}, r"count\[1\] is -1"),
        ({"count": np.array([4, 2])}, r"ring\[1\] is of 1 scores, expected the first 2"),
        ({"ring": np.zeros((2, 3), np.float32)}, "ring is"),
        ({"ring": np.full((2, 4), np.nan, np.float32)}, r"ring\[0\] is of 0 scores, expected the first 4"),
        ({"base": np.array([-1.0, np.nan])}, r"base\[0\] is -1.0"),
        ({"base": np.array([0.0, np.nan])}, r"base\[0\] is 0.0"),
        ({"base": np.array([np.inf, np.nan])}, r"base\[0\] is inf"),
        ({"memory": np.array([9])}, "memory is 9, expected 8"),
    ],
)
def test_state_that_does_not_fit_is_refused_whole(change: dict[str, Any], message: str) -> None:
    """A wrong state raises ValueError with array, value and expectation, and the stage does not change."""
    full = threshold()
    feed(full, [0.1, 0.2, 0.3, 0.4, 0.5], assets=[0, 0, 0, 0, 1])
    state = {name: array for name, array in (full.save_state() | change).items() if array is not None}
    stage = threshold()
    with pytest.raises(ValueError, match=message):
        stage.load_state(state)
    assert stage.warm_up().tolist() == []
