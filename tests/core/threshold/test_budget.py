"""The rules of `Budget`, each by hand; windows end every minute."""

from typing import Any

import numpy as np
import pytest

from benchmarks.alarm_only import AlarmOnly
from monitor.core.alerts.lifecycle import AlertOptions
from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.model.model import LEVELS
from monitor.core.records import Floats, Partition, ScoreBatch, ThresholdBatch, WindowBatch
from monitor.core.threshold.budget import AIM, DAY_MS, EPOCH, MARGINS, PRIOR_RATE, PRIOR_SCALE, Budget
from monitor.core.threshold.options import BudgetOptions, ThresholdOptions
from monitor.core.threshold.threshold import Threshold

STEP = 60_000
DAY = DAY_MS // STEP  # in steps
MARGIN = 2.0
DELAYS: dict[str, Any] = {"on_delay_ms": 0, "off_delay_ms": STEP, "deadband": 0.0, "gap_ms": 10 * STEP}


def budget(alarms_per_day: float = 1.0, **changes: Any) -> Budget:
    """A stage whose alarms fire at once and end a minute later."""
    return Budget(
        BudgetOptions(**{"alarms_per_day": alarms_per_day, "margin": MARGIN, "step_ms": STEP, **DELAYS, **changes})
    )


def feed(stage: Budget, heights: list[float], *, asset: int = 0, since: int = 0, warm: bool = True) -> Floats:
    """Windows of an asset, minute by minute, whose percentile is 1; the margin of each."""
    alarm, limit = np.array(heights, np.float32), np.full(len(heights), MARGIN, np.float32)
    ends = (since + np.arange(len(heights), dtype=np.int64)) * STEP
    given = ThresholdBatch(alarm, limit, alarm > limit, np.full(len(heights), warm))
    return stage.update(np.full(len(heights), asset, np.int32), ends, given).threshold


def spikes(height: float, every: int, steps: int) -> list[float]:
    """A window of that height now and then, the others quiet."""
    return [height if step % every == every - 1 else 0.5 for step in range(steps)]


def test_without_a_budget_the_given_limits_stand() -> None:
    """A budget of 0 leaves the limits as they are, keeps no state and has no forecast."""
    stage = budget(0.0)
    assert feed(stage, [0.5, 90.0]).tolist() == [MARGIN, MARGIN]
    assert stage.save_state() == {}
    assert stage.outlook() is None


@pytest.mark.parametrize("alarms_per_day", [0.05, 0.5])
def test_a_fresh_asset_has_the_margin_of_the_prior(alarms_per_day: float) -> None:
    """Without history, the margin is the first one at which the exponential tail is within the budget."""
    reached = (PRIOR_RATE * DAY / alarms_per_day / AIM) ** PRIOR_SCALE
    assert feed(budget(alarms_per_day), [0.5])[0] == np.float32(MARGINS[reached <= MARGINS].min())


def test_margins_change_between_epochs_only() -> None:
    """Alarms of an epoch change the margin from the first window of the next epoch."""
    margins = feed(budget(20.0), spikes(3.0, 4, 4 * EPOCH))
    changes = 1 + np.flatnonzero(np.diff(margins))
    assert len(changes) > 0
    assert (changes % EPOCH == 0).all()


def test_an_asset_that_alarms_too_often_gets_a_margin_above_its_peaks() -> None:
    """Six alarms a day against a budget of one: after a while none of them fires, and the quiet neighbour stays low."""
    stage = budget()
    for day in range(20):
        feed(stage, spikes(5.0, DAY // 6, DAY), asset=0, since=day * DAY)
        feed(stage, [0.5] * DAY, asset=1, since=day * DAY)
    noisy, quiet = feed(stage, [0.5], since=20 * DAY), feed(stage, [0.5], asset=1, since=20 * DAY)
    assert 5.0 < noisy[0] < 7.0
    assert quiet[0] < 1.5


def test_an_asset_that_never_alarms_gets_the_lowest_margin() -> None:
    """Days of quiet bring the margin down to the first of MARGINS, and no further."""
    stage = budget()
    feed(stage, [0.5] * 60 * DAY)
    assert feed(stage, [0.5], since=60 * DAY)[0] == np.float32(MARGINS[0])


def test_a_flood_counts_as_a_few() -> None:
    """Of alarms that come every ten minutes no more count than four for each that the budget allows."""
    stage = budget()
    feed(stage, spikes(5.0, 10, 10 * DAY))
    counted = stage.save_state()["alarms"][0]
    assert counted[MARGINS < 5.0].max() <= 4 * 10
    assert counted[MARGINS < 5.0].min() > 0.7 * 4 * 10


def test_a_fault_is_forgotten() -> None:
    """A day of alarms leaves the margin as it was, two weeks lift it, and weeks without bring it back."""
    stage = budget(0.5)
    feed(stage, [0.5] * 10 * DAY)
    before, *_, day = feed(stage, spikes(9.0, 30, DAY), since=10 * DAY)
    *_, weeks = feed(stage, spikes(9.0, 30, 13 * DAY), since=11 * DAY)
    feed(stage, [0.5] * 60 * DAY, since=24 * DAY)
    assert (before, day) == (np.float32(MARGINS[0]), np.float32(MARGINS[0]))
    assert weeks > 9.0
    assert feed(stage, [0.5], since=84 * DAY)[0] == np.float32(MARGINS[0])


def test_no_margin_exceeds_the_last() -> None:
    """The margin is bounded, and the forecast then has more alarms than the budget allows."""
    stage = budget(0.5)
    feed(stage, spikes(1000.0, 60, 20 * DAY))
    assert feed(stage, [0.5], since=20 * DAY)[0] == np.float32(MARGINS[-1])
    outlook = stage.outlook()
    assert outlook is not None
    assert outlook.alarms_per_day > 1.5
    assert outlook.margins == (MARGINS[-1], MARGINS[-1], MARGINS[-1])


def test_the_outlook_says_what_is_known() -> None:
    """Assets, days seen, days needed, and as many alarms as the budget allows where a margin gives them."""
    stage = budget(0.5)
    fresh = stage.outlook()
    assert fresh is not None
    assert (fresh.assets, fresh.asset_days, fresh.needed_days) == (0, 0, 8)
    assert fresh.alarms_per_day == pytest.approx(0.5)
    feed(stage, spikes(2.0, DAY // 2, DAY))
    feed(stage, [0.5], since=DAY)
    seen = stage.outlook()
    assert seen is not None
    assert seen.assets == 1
    assert seen.asset_days == pytest.approx(1, rel=0.05)


def test_an_asset_that_is_not_warm_is_not_counted() -> None:
    """While its percentile is borrowed, an asset has a margin, but neither its days nor its alarms count."""
    stage = budget()
    feed(stage, spikes(5.0, 10, DAY), warm=False)
    feed(stage, [0.5], since=DAY, warm=False)
    state = stage.save_state()
    assert state["days"].tolist() == [0.0]
    assert not state["alarms"].any()


@pytest.mark.parametrize("alarms_per_day", [0.2, 2.0])
def test_scores_with_a_heavy_tail_raise_as_many_alarms_as_allowed(alarms_per_day: float) -> None:
    """Forty assets over fifteen days keep within a factor of two of the budget, the time of learning included."""
    draw = np.random.default_rng(4)
    threshold = Threshold(
        ThresholdOptions(percentile=99.5, margin=MARGIN, memory=10_000, warm=256, clip=1.05, refresh=32)
    )
    stage = budget(alarms_per_day)
    alerting = MachineAlerts("d", Partition("p", 0), AlertOptions(critical_ratio=2.0, update_ms=10**9, **DELAYS))
    A, days, fired = 40, 15, 0
    names, calibration = [f"a{row}" for row in range(A)], np.linspace(0.1, 3, len(LEVELS)).astype(np.float32)
    tails = draw.uniform(0.15, 0.35, A)  # of the logarithm of the scores: some assets are noisier
    for day in range(days):
        rows = np.tile(np.arange(A, dtype=np.int32), DAY)
        ends = (day * DAY + np.repeat(np.arange(DAY, dtype=np.int64), A)) * STEP
        score = np.exp(draw.exponential(size=A * DAY) * tails[rows]).astype(np.float32)
        nothing = np.zeros((len(rows), 1), np.float32)
        windows = WindowBatch(rows, ends, nothing[:, :, None], np.ones((len(rows), 1, 1), np.bool_), ends)
        limits = stage.update(rows, ends, threshold.update(rows, score, calibration))
        scores = ScoreBatch(score, nothing, nothing, nothing, nothing)
        alerts = alerting.update(windows, scores, limits, names, "m", lambda _: (), AlarmOnly(score))
        fired += sum(alert.sequence == 0 for alert in alerts)
    held = fired / (A * days) / alarms_per_day
    assert 0.5 < held < 2


def test_a_state_without_a_budget_begins_anew() -> None:
    """An empty state, saved without a budget, is loaded as no history."""
    stage = budget()
    stage.load_state({})
    assert feed(stage, [0.5]).tolist() == feed(budget(), [0.5]).tolist()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("alarms", None, "alarms is missing"),
        ("days", np.array([1.0, 2.0]), "days is float64"),
        ("scored", np.array([-1]), r"scored\[0\] is -1"),
        ("days", np.array([np.nan]), r"days\[0\] is nan"),
        ("margin", np.array([0.1]), r"margin\[0\] is 0.1"),
        ("common", np.full(len(MARGINS), -1.0), r"common\[0\] is -1.0"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, array: Any, message: str) -> None:
    """A missing, misshapen or impossible array is refused by its name, and nothing changes."""
    stage, other = budget(), budget()
    feed(other, spikes(5.0, 10, DAY))
    state = other.save_state()
    if array is None:
        del state[name]
    else:
        state[name] = array
    with pytest.raises(ValueError, match=message):
        stage.load_state(state)
    assert stage.save_state()["last"].size == 0
