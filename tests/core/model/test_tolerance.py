"""Deviations that do not count: which cells they are, and what they leave of scores and explanations."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.model.alarm import LEVEL, at_limits
from monitor.core.model.model import LEVELS, Model
from monitor.core.model.scorer import EDGE, Scorer
from monitor.core.model.tolerance import Tolerance
from monitor.core.records import Floats, ModelScores, WindowBatch
from monitor.core.rules import ChannelRule, Rules
from tests.core.machines import ASSETS, CHANNELS, L, model, rows, unforeseen, windows
from tests.examples import examples

RULES = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(["both", "above", "below"]),
        "least": st.sampled_from([0.0, 0.05, 1.0, 1e6]),
        "least_share": st.sampled_from([0.0, 0.02, 0.5]),
    }
)


def tolerance(**rules: ChannelRule) -> Tolerance | None:
    """Return the tolerance of the small machines with these rules."""
    return Tolerance.of(Rules(channels=tuple(rules.items())), CHANNELS)


def pressure(**rule: Any) -> Tolerance | None:
    return tolerance(pressure=ChannelRule(**rule))


def shifted(by: float, seed: int = 6) -> WindowBatch:
    """Return the windows of machine b at the end of which its pressure, usually about 20, has been off by so much."""
    values = rows(3 * L, seed=seed)
    values[1, -4:, 1] += by
    batch = windows(values)
    return batch.take(np.flatnonzero((batch.assets == 1) & (batch.ends == batch.ends.max())))


def alarms(scores: ModelScores, made: Model) -> Floats:
    """Return the alarm scores at the limits that the model begins with."""
    return at_limits(scores.network, scores.errors, made.alarm.starts)


def calm(made: Model) -> float:
    """Return the alarm score of nine in ten clean windows at most."""
    return float(np.interp(0.9, LEVELS, made.alarm.scores))


def test_a_rule_that_lets_all_count_is_no_tolerance() -> None:
    """Rules with titles and limits only leave the scorer as it is."""
    assert tolerance(flow=ChannelRule(low=0.0, title="Flow")) is None
    assert tolerance(other=ChannelRule(direction="above")) is None


@settings(max_examples=examples(60), deadline=None)
@given(
    st.dictionaries(st.sampled_from(CHANNELS), RULES, min_size=1), st.integers(0, 5), st.sampled_from([-9.0, 0.0, 9.0])
)
def test_a_score_only_falls_and_other_channels_keep_their_part(rules: dict[str, Any], seed: int, by: float) -> None:
    """Of any window the score with rules is at most the score without, in any batch, and readings and spread stay."""
    kept = tolerance(**{name: ChannelRule(**rule) for name, rule in rules.items()})
    batch, scorer = windows(rows(2 * L, seed=seed) + np.array([[[0.0]], [[by]]], np.float32)), Scorer(model())
    before, after = scorer.score(batch, ASSETS), scorer.score(batch, ASSETS, None, kept)
    assert (after.network <= before.network).all()
    for name in ("spread", "newest"):
        assert np.array_equal(getattr(before, name), getattr(after, name), equal_nan=True)
    if kept is None:
        assert np.array_equal(before.network, after.network)
    for begin, end in ((0, 1), (3, len(batch))):
        part = scorer.score(batch.take(np.arange(begin, end)), ASSETS, None, kept)
        assert np.array_equal(part.network, after.network[begin:end])
        assert np.array_equal(part.by_channel, after.by_channel[begin:end])


@pytest.mark.parametrize("made", [model(), unforeseen()], ids=["foresees", "does not"])
@pytest.mark.parametrize(
    ("by", "rule", "counts"),
    [
        (9.0, {"direction": "above"}, True),
        (9.0, {"direction": "below"}, False),
        (-9.0, {"direction": "below"}, True),
        (-9.0, {"direction": "above"}, False),
        (9.0, {"least": 4.0}, True),
        (9.0, {"least": 20.0}, False),
        (9.0, {"least_share": 0.2}, True),
        (9.0, {"least_share": 0.9}, False),
        (-9.0, {"direction": "below", "least": 4.0}, True),
    ],
)
def test_a_fault_counts_by_its_sign_and_size(by: float, rule: dict[str, Any], counts: bool, made: Model) -> None:
    """A shift of the pressure by 9 bar is found, or the window scores as a clean one if sign or size do not count."""
    batch, kept, scorer = shifted(by), pressure(**rule), Scorer(made)
    clean = scorer.score(shifted(0.0), ASSETS)
    score = scorer.score(batch, ASSETS, None, kept)
    if counts:
        ranked = scorer.explain(batch, ASSETS, None, kept)
        assert score.network[0] > 5 * clean.network[0]
        assert alarms(score, made)[0] > max(2 * alarms(clean, made)[0], made.alarm.scores[-1])
        assert ranked[0].channel == "pressure"
        assert ranked[0].steps_ago < 4
    else:
        assert score.network[0] < 1.2 * clean.network[0]
        forecast = score.forecast[0] / model().forecaster.edges[0]  # it may move the forecasts of others a little
        assert np.sqrt((1 + score.network[0]) * (1 + forecast)) - 1 < EDGE
        assert alarms(score, made)[0] < max(1.2 * alarms(clean, made)[0], calm(made))


@pytest.mark.parametrize("made", [model(), unforeseen()], ids=["foresees", "does not"])
def test_a_large_deviation_that_does_not_count_does_not_disturb_the_others(made: Model) -> None:
    """However large a shift is that does not count, no alarm is near, and the window keeps its observed cells."""
    scorer, kept = Scorer(made), pressure(direction="above")
    clean = scorer.score(shifted(0.0), ASSETS)
    for by in (-3.0, -9.0, -30.0, -300.0):
        batch = shifted(by)
        found = scorer.score(batch, ASSETS, None, kept)
        assert found.network[0] < 1.2 * clean.network[0]
        assert alarms(found, made)[0] < max(1.2 * alarms(clean, made)[0], calm(made))
        assert batch.observed.all()


def test_a_level_counts_by_its_sign() -> None:
    """A window far below its usual level counts as such only if deviations below count."""
    kept = [tolerance(**{name: ChannelRule(direction=sign) for name in CHANNELS}) for sign in ("above", "below")]
    far = windows(rows(L, seed=6) - 6 * model().scaling.scale[:2, None].astype(np.float32))
    calibration = replace(model().calibration, error=model().calibration.error * 1e6)
    forecaster = replace(model().forecaster, usual=model().forecaster.usual * 1e6)
    # Only the level is left of its scores.
    scorer = Scorer(replace(unforeseen(), calibration=calibration, forecaster=forecaster))
    above, below = (scorer.score(far, ASSETS, None, each) for each in kept)
    assert (below.network > 2).all()
    assert (above.network < 1e-3).all()
    assert (below.errors[:, LEVEL] > 10).all()
    assert (above.errors[:, LEVEL] == 0).all()


def test_the_other_channels_are_still_found() -> None:
    """A fault of the flow is found and named though no deviation of the pressure counts."""
    values = rows(3 * L, seed=6)
    values[1, -6:, 0] += 6.0
    batch = windows(values)
    late = batch.take(np.flatnonzero((batch.assets == 1) & (batch.ends == batch.ends.max())))
    made, kept = unforeseen(), pressure(least=1e6)
    scorer = Scorer(made)
    found = scorer.score(late, ASSETS, None, kept)
    assert found.network[0] > 2
    assert scorer.explain(late, ASSETS, None, kept)[0].channel == "flow"

    # The alarm score needs a shift of more than one deviation of training, which is 7 here.
    values[1, -6:, 0] += 14.0
    further = windows(values)
    further = further.take(np.flatnonzero((further.assets == 1) & (further.ends == further.ends.max())))
    assert alarms(scorer.score(further, ASSETS, None, kept), made)[0] > made.alarm.scores[-1]
