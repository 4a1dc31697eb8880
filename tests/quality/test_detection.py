"""The detection benchmark: its input to the product, and independence of scores from later rows."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.baselines import available
from benchmarks.detection import ALONE, SPANS, Task, clock, firing, judge_series, placed, product, products, readings
from benchmarks.detection_table import KNOWN, Scored, outcome, report
from benchmarks.recordings import Explained, Recording
from monitor.core.fitting.corpus import cut, held_out
from monitor.core.model.ranking import WEIGHTS
from monitor.core.records import Alert, AlertState, Partition
from monitor.settings.load import load
from monitor.settings.tree import Settings

TRAIN, TEST, C = 700, 400, 3


def recording(period_s: float = 1.0) -> Recording:
    """Three noisy waves. The second one has a large offset for 40 rows from row 250 of the test part on."""
    rows = TRAIN + TEST
    draw = np.random.default_rng(0)
    values = np.sin(np.arange(rows)[:, None] / np.array([5, 9, 13])) + 0.1 * draw.normal(size=(rows, C))
    label = np.zeros(rows, np.bool_)
    label[TRAIN + 250 : TRAIN + 290] = True
    values[label, 1] += 4
    time = 1_700_000_000_000 + np.arange(rows) * round(1000 * period_s)
    explained = (Explained(250, 289, (1,)),)
    return Recording("pump-1", ("a", "b", "c"), time, values, label, TRAIN, period_s, explained)


def task(given: Recording, train: slice = slice(0, TRAIN)) -> Task:
    return Task("set", given, train, listed=False)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(None, {}, {"training.steps": 60})


@pytest.fixture(scope="module")
def scored(settings: Settings) -> Scored:
    return product(task(recording()), settings)


def alert(position: int, sequence: int, state: AlertState = "firing") -> Alert:
    return Alert(
        id="1",
        asset="pump-1",
        state=state,
        start=0,
        end=None,
        time=0,
        severity="warning",
        alarm=1.0,
        threshold=1.0,
        ratio=1.0,
        peak=1.0,
        channels=(),
        model="",
        detector="d",
        partition=Partition("readings", 0),
        offset=0,
        position=position,
        sequence=sequence,
    )


@pytest.mark.parametrize("rows", [130, 192, 250, 400, 640, 700])
def test_short_training_parts_are_split(settings: Settings, rows: int) -> None:
    """With any training part of at least two windows, some blocks are held out and some are not."""
    found = placed(task(recording(), slice(0, rows)), settings)
    assert found is not None
    _, corpus = found
    held = held_out(corpus)
    assert len(cut(corpus.take(held)))
    assert len(cut(corpus.take(~held)))


@pytest.mark.parametrize("period_s", [1.0, 60.0, 1800.0])
def test_a_period_is_a_second(settings: Settings, period_s: float) -> None:
    """For any period of the rows, each row is one step of the product's grid after the previous row."""
    when = clock(task(recording(period_s)), settings.windows.length)
    assert set(np.diff(when)) == {settings.windows.step_ms}


def test_what_was_not_measured_is_no_reading() -> None:
    """A NaN gives no reading, and every other cell gives one with its row as offset."""
    given = recording()
    given.values[5, 1] = np.nan
    batch = readings(given, clock(task(given), 64), slice(4, 7))
    assert batch.offset.tolist() == [4, 4, 4, 5, 5, 6, 6, 6]
    assert batch.channel.tolist() == [0, 1, 2, 0, 2, 0, 1, 2]
    assert batch.value.tolist() == given.values[4:7][np.isfinite(given.values[4:7])].tolist()


def test_an_alert_is_on_from_firing_to_resolution() -> None:
    """Rows between a firing and a resolving message are firing, and updates change nothing."""
    alerts = [alert(12, 0), alert(13, 1), alert(15, 2, "resolved"), alert(18, 0)]
    assert np.flatnonzero(firing(alerts, slice(10, 20))).tolist() == [2, 3, 4, 8, 9]


def test_the_product_does_not_look_ahead(settings: Settings, scored: Scored) -> None:
    """Scores and alerts of the first rows do not depend on later rows."""
    given = recording()
    changed = replace(given, values=np.where(np.arange(TRAIN + TEST)[:, None] < TRAIN + 300, given.values, 9.0))
    other = product(task(changed), settings)
    np.testing.assert_array_equal(scored.score[:300], other.score[:300])
    np.testing.assert_array_equal(scored.firing[:300], other.firing[:300])
    assert not np.array_equal(scored.score[300:], other.score[300:])


def test_without_history_nothing_is_scored(settings: Settings) -> None:
    """A training part of less than two blocks gives no model, a constant score, and no alert."""
    none = product(task(recording(), slice(0, 100)), settings)
    assert none.windows == 0
    assert not none.firing.any()
    assert np.ptp(none.score) == 0


def test_a_row_has_the_score_of_the_window_that_ends_with_it(scored: Scored) -> None:
    """Rows before the first window have no score, later ones have one, and it rises at the fault's first row."""
    assert np.isnan(scored.score[:63]).all()
    assert np.isfinite(scored.score[63:]).all()
    assert np.argmax(scored.score > np.nanmax(scored.score[:250])) == 250


def test_the_product_finds_a_plain_fault(scored: Scored) -> None:
    """A large deviation of a channel is found without a false alert, is the named cause, and scores above chance."""
    result = outcome("product", "set", recording(), False, scored)
    assert (result.found.found, result.found.false) == (1, 0)
    assert result.attributions[0].top_1 == 1
    assert result.vus is not None
    assert result.vus > 2 * 40 / TEST


def test_the_parts_of_the_product_alone(settings: Settings, scored: Scored) -> None:
    """Beside its parts the product is as without, its ranking lies near both, and each part finds the fault."""
    found = products(task(recording()), settings, ("product", *ALONE))
    np.testing.assert_array_equal(found["product"].score, scored.score)
    np.testing.assert_array_equal(found["product"].firing, scored.firing)
    network, forecast = (found[name].score for name in ALONE)
    both = WEIGHTS[0] * np.log1p(network[63:]) + WEIGHTS[1] * np.log1p(forecast[63:])
    assert (np.log1p(scored.score[63:]) >= both - 1e-5).all()  # the rest is the alarm score's
    assert not np.allclose(network, forecast, equal_nan=True)
    for name in ALONE:
        assert outcome(name, "set", recording(), False, found[name]).found.found == 1


@pytest.mark.parametrize("name", available())
def test_baselines_do_not_look_ahead(name: str) -> None:
    """A baseline's scores of the first rows do not depend on later rows, and the fault scores high."""
    rows = recording().values
    scorer = available()[name](rows[:TRAIN], np.random.default_rng(0))
    whole, _ = scorer(rows[TRAIN:])
    part, _ = scorer(rows[TRAIN : TRAIN + 300])
    np.testing.assert_allclose(whole[:300], part, rtol=1e-6, atol=1e-9)
    assert np.nanmax(whole[250:290]) > np.nanmax(whole[:250])


def test_every_method_leaves_a_score_file(settings: Settings, tmp_path: Path) -> None:
    """Product and baselines each write score and alert of every row of the test part, and a line of the table."""
    outcomes = judge_series(task(recording()), settings, tmp_path, tuple(available()))
    files = list(tmp_path.rglob("pump-1.npz"))
    assert len(files) == len(outcomes) == 1 + len(available())
    for path in files:
        with np.load(path) as file:
            assert {name: file[name].shape for name in file} == {"score": (TEST,), "alert": (TEST,)}
    table, _ = report(outcomes)
    assert all(each.method in table for each in outcomes)


def test_a_set_with_known_spans_is_another_set(
    settings: Settings, scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its models know the spans of its channels, and it has no part in the means over sets."""
    monkeypatch.setitem(SPANS, "set", 400.0)
    outcomes = [
        *judge_series(task(recording()), settings, tmp_path, ()),
        *judge_series(replace(task(recording()), set=f"set{KNOWN}"), settings, tmp_path, ()),
    ]
    plain, wide = (np.load(tmp_path / name / "pump-1.npz")["score"] for name in ("set", f"set{KNOWN}"))
    np.testing.assert_array_equal(plain, scored.score)
    assert not np.array_equal(plain, wide, equal_nan=True)
    means = json.loads(report(outcomes)[1])["summary"]["product"]
    assert means["macro"]["VUS-PR"] == means["set"]["VUS-PR"] != means[f"set{KNOWN}"]["VUS-PR"]
