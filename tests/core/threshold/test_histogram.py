"""The promises of a histogram of scores, in addition to those of every memory of scores."""

from typing import Any

import numpy as np
import pytest

from monitor.core.arrays import LARGEST
from monitor.core.model.model import LEVELS
from monitor.core.records import Floats
from monitor.core.threshold.histogram import BLOCKS, BUCKETS, ENDS, ERROR, LEAST_CLIP, REACH, VALUES, Histogram
from monitor.core.threshold.options import ThresholdOptions
from monitor.core.threshold.threshold import Threshold

CALIBRATION: Floats = np.linspace(0, 1.4, len(LEVELS)).astype(np.float32)
ROW = np.zeros(1, np.intp)


def threshold(**changes: Any) -> Threshold:
    """A stage with the percentile of all its scores, renewed before each score."""
    settings = {"percentile": 50, "margin": 1.0, "memory": 80, "warm": 1, "clip": 1000, "refresh": 1}
    return Threshold(ThresholdOptions(kind="histogram", **settings | changes))


def filled(memory: int, scores: Floats) -> Histogram:
    """A histogram of one asset that took these scores one by one."""
    made = Histogram(memory)
    made.reserve(1)
    for number, score in enumerate(scores):
        made.enter(ROW, np.ones(1, np.int64), np.array([number]), np.array([score], np.float32))
    return made


def percentile(made: Histogram, count: int, at: float) -> float:
    return float(made.percentiles(ROW, np.array([count]), at, np.full(1, np.nan))[0])


def test_no_score_is_further_from_its_bucket_than_the_error() -> None:
    """A bucket's value is off both its ends by ERROR, relatively, and the last bucket holds the largest float."""
    assert VALUES[1:] == pytest.approx(ENDS[1:] * (1 - ERROR), rel=1e-9)
    assert VALUES[1:] == pytest.approx(ENDS[:-1] * (1 + ERROR), rel=1e-9)
    assert ENDS[-1] >= LARGEST
    assert ERROR < 0.0122
    assert len(ENDS) <= 2**16  # places fit the 16 bits they are kept in


def test_an_asset_takes_as_much_however_many_scores_are_kept() -> None:
    """An asset's counts take 2.6 kB, be the memory of a hundred scores or of half a million."""
    sizes = {memory: filled(memory, np.ones(1, np.float32)).save(np.ones(1, np.int64)) for memory in (100, 500_000)}
    assert {sum(array.nbytes for array in state.values()) for state in sizes.values()} == {2576}


def test_the_oldest_block_goes_as_a_whole() -> None:
    """Of a memory of 80 scores at least 71 and at most 80 are kept."""
    scores = np.concatenate(([9.0], np.full(200, 0.1)))
    kept = [percentile(filled(80, scores[:number]), number, 100) > 1 for number in range(1, 100)]
    assert kept.index(False) + 1 == 81  # the first of 81 scores went, and with it the nine after it
    state = filled(80, scores).save(np.array([201]))
    assert state["counts"].sum() == 71


@pytest.mark.parametrize("number", [1, 9, 10, 11, 79, 80, 81, 95, 160])
def test_percentile_is_that_of_the_scores_kept(number: int) -> None:
    """Any percentile is within ERROR of NumPy's of the newest scores, whole blocks of the oldest left out."""
    scores = np.random.default_rng(number).gamma(2, 0.3, number).astype(np.float32)
    kept = scores[max(0, (number - 1) // 10 - 7) * 10 :].astype(np.float64)
    for at in (50, 90, 99.5, 100):
        assert percentile(filled(80, scores), number, at) == pytest.approx(np.percentile(kept, at), rel=ERROR + 1e-9)


def test_scores_far_below_the_largest_count_as_its_48th_part() -> None:
    """Scores below 1 / REACH of the largest score count as that, until the largest score is dropped."""
    scores = np.array([1.0] * 10 + [1000.0] + [1.0] * 120, np.float32)
    assert percentile(filled(80, scores[:11]), 11, 50) == pytest.approx(1000 / REACH, rel=2 * ERROR)
    assert percentile(filled(80, scores), len(scores), 50) == pytest.approx(1, rel=ERROR)


def test_buckets_below_the_lowest_are_added_to_it() -> None:
    """A larger score moves the buckets of its block up and loses no score."""
    made = filled(80, np.array([0.001, 0.01, 0.1, 1.0, 10.0], np.float32))
    state = made.save(np.array([5]))
    assert state["counts"][0, 0, [0, -1]].tolist() == [3, 1]  # 10 / REACH is 0.21
    assert state["counts"].sum() == 5


def test_model_changes_move_whole_buckets() -> None:
    """After proportional quantiles every score is on the new scale within the error of two roundings."""
    scores = np.random.default_rng(3).gamma(2, 0.3, 70).astype(np.float32)
    made = filled(80, scores)
    made.rebase(1, lambda values: np.minimum(values, 1e30) * np.float32(3.7))
    for at in (50, 90, 99.5, 100):
        wanted = 3.7 * np.percentile(scores.astype(np.float64), at)
        assert percentile(made, 70, at) == pytest.approx(wanted, rel=(1 + ERROR) ** 2 - 1)


def test_the_least_clip_still_lets_the_limit_rise() -> None:
    """Scores far above the limit lift it even where the clip is the smallest one accepted."""
    stage = threshold(clip=LEAST_CLIP, percentile=99.5)
    row, high = np.zeros(1, np.int32), np.full(1, 100, np.float32)
    limits = [float(stage.update(row, high, CALIBRATION).threshold[0]) for _ in range(500)]
    assert limits[-1] > 50


def with_count(state: Any, place: tuple[int, int, int], by: int) -> Any:
    counts = state["counts"].copy()
    counts[place] += by
    return {**state, "counts": counts}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "counts": s["counts"][:, :, 1:]}, "counts is"),
        (lambda s: {**s, "counts": s["counts"].astype(np.int64)}, "counts is int64"),
        (lambda s: {**s, "top": s["top"][:, 1:]}, "top is"),
        (lambda s: {**s, "top": np.full_like(s["top"], 60_000)}, r"top\[0, 0\] is 60000"),
        (lambda s: with_count(s, (0, 0, 5), 1), r"counts\[0, 0\] is of \d+ scores, expected \d+"),
        (lambda s: with_count(s, (0, BLOCKS - 1, BUCKETS - 1), 1), rf"counts\[0, {BLOCKS - 1}\] is of"),
        (lambda s: {**{k: v for k, v in s.items() if k != "top"}, "ring": s["top"]}, "top is missing"),
    ],
)
def test_state_that_does_not_fit_is_refused(change: Any, message: str) -> None:
    """A histogram of other buckets, or with more scores than were entered, raises ValueError and changes nothing."""
    full, stage = threshold(), threshold()
    for score in np.linspace(0.1, 1, 25):
        full.update(np.zeros(1, np.int32), np.full(1, score, np.float32), CALIBRATION)
    stage.load_state(full.save_state())
    with pytest.raises(ValueError, match=message):
        threshold().load_state(change(full.save_state()))


def test_a_state_of_rings_is_no_state_of_histograms() -> None:
    """Each kind refuses the other's state."""
    ring = Threshold(ThresholdOptions(percentile=50, margin=1, memory=80, warm=1, clip=2, refresh=1))
    for one, other in ((ring, threshold()), (threshold(), ring)):
        with pytest.raises(ValueError, match="is missing"):
            one.load_state(other.save_state())
