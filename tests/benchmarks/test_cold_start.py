"""The figures of the cold-start benchmark."""

import numpy as np
import pytest

from benchmarks.cold_start import (
    GAINS,
    HOUR_MS,
    LASTING,
    ClassOnly,
    Row,
    Run,
    figures,
    lasting_faults,
    row_of,
    set_apart,
    spans_of,
)
from monitor.core.records import Alert, AlertState, ChannelShare, Partition
from monitor.evaluation.label import Label
from monitor.evaluation.matching import AlertSpan
from monitor.simulator.plant import NAMES, Plant, PlantSettings
from tests.core.machines import ASSETS, STEP, L, rows, windows
from tests.core.model.test_new_assets import class_only

BEGIN, END = 10 * HOUR_MS, 34 * HOUR_MS


def span(asset: str, start_h: float, end_h: float | None) -> AlertSpan:
    end = None if end_h is None else BEGIN + round(end_h * HOUR_MS)
    return AlertSpan(f"{asset}{start_h}", asset, BEGIN + round(start_h * HOUR_MS), end, "flow")


def fault(asset: str, start_h: float, end_h: float) -> Label:
    return Label(asset, "step", ("flow",), BEGIN + round(start_h * HOUR_MS), BEGIN + round(end_h * HOUR_MS))


def test_a_row_counts_false_alarms_faults_and_the_time_alerts_were_on() -> None:
    """Alerts open before a fault are separate from those it caused, and overlapping alerts of an asset count once."""
    assets, first = ("a", "b"), (630_000, 640_000)
    healthy = Run(assets, (span("a", 0.5, 1.5), span("a", 1, 2), span("b", 1.0, None)), first)
    faulty = Run(assets, (span("a", 2.5, 3), span("b", 1, 6)), first)
    lasting = Run(assets, (span("a", 0.25, None), span("b", 2, 3)), first)
    faults = [fault("a", 2, 2.9), fault("b", 5, 5.5), fault("b", 9, 10), fault("c", 2, 3)]
    row = row_of((healthy, faulty, lasting), faults, BEGIN, END, 0)
    assert (row.assets, row.hours, row.false_hour, row.false_day) == (2, 24, 1, 3)
    assert row.on_ms == (1.5 + 23) * HOUR_MS
    assert (row.faults, row.found, row.stood, row.delays) == (3, 1, 1, (HOUR_MS // 2,))
    assert (row.lasting, row.lasting_ms) == (1, 24.75 * HOUR_MS)
    found = figures(row + row)
    assert (found["false, 1st hour"], found["false, day"], found["found"], found["on before"]) == (0.5, 1.5, "33.3%", 2)
    assert (found["alert on, healthy"], found["delay s"], found["first score s"]) == ("51.04%", 1800, 635)
    assert (found["lasting, 1st hour"], found["lasting, alert on"]) == ("50%", "51.6%")
    assert row + Row() == row


def test_records_of_an_alert_are_one_span() -> None:
    """An alert spans from its first firing record to its resolution, and updates in between do not matter."""
    share = ChannelShare("flow", 1.0, 1.0, 1.0, 0.0, 2.0, 0)

    def record(state: AlertState, time: int, sequence: int) -> Alert:
        return Alert(
            id="1", asset="a", state=state, start=5, end=None, time=time, severity="warning", alarm=1.0, threshold=1.0,
            ratio=1.0, peak=1.0, channels=(share,), model="m", detector="d", partition=Partition("t", 0), offset=0,
            position=0, sequence=sequence,
        )  # fmt: skip

    found = spans_of([record("firing", 7, 0), record("firing", 8, 1), record("resolved", 20, 2)])
    assert found == (AlertSpan("1", "a", 7, 20, "flow", "machine"),)


def test_machines_that_are_set_apart_keep_their_course() -> None:
    """Each channel is shifted and scaled within the given limits, differently for each machine, and NaN stays."""
    values = np.random.default_rng(0).normal(5, 2, (3, 4000, 2))
    values[0, 0, 0] = np.nan
    moved = set_apart(values, values[:, 1:], 1, 1.0)
    assert np.isnan(moved[0, 0, 0])
    for asset in range(3):
        for channel in range(2):
            x, y = values[asset, 1:, channel], moved[asset, 1:, channel]
            assert np.corrcoef(x, y)[0, 1] > 1 - 1e-9
            assert GAINS[0] <= y.std() / x.std() <= GAINS[1]
            assert abs(y.mean() - x.mean()) < 1.1 * 2
    assert len({round(float(moved[asset, 1:, 0].mean()), 6) for asset in range(3)}) == 3
    assert set_apart(values, values, 1, 0.0) is values


def test_lasting_faults_are_on_all_day_in_turn_of_channels() -> None:
    """Each machine has one fault: a lasting deviation of its own channel."""
    plant = Plant(PlantSettings(assets=3, step_ms=10_000))
    faults = lasting_faults(plant, 100, 200)
    assert [each.channels for each in faults] == [(name,) for name in NAMES[:3]]
    assert {(plant.step(each.start), plant.step(each.end)) for each in faults} == {(100, 200)}
    assert faults[1].size == pytest.approx(LASTING * plant.truth(1, 0, 900)[:, 1].std())


def test_the_class_row_alone_is_what_a_detector_does_by_itself() -> None:
    """The benchmark's baseline pipeline scales new machines by the class's statistics and lends them no limit."""
    bare = ClassOnly(length=L, step_ms=STEP)
    scaling = class_only().scaling
    scalings = bare.update(windows(rows(100)), ASSETS, scaling)
    assert np.array_equal(np.unique(scalings.rows), [0, 1])
    assert not scalings.unknown.any()
