"""The benchmark of slow faults: what drifts, and which alerts count."""

from dataclasses import replace

import numpy as np

from benchmarks.slow_faults import DAY, START, STEP_MS, TOGETHER, drifting, first_alerts, usual_spans
from monitor.core.records import Alert, Partition
from monitor.simulator.plant import NAMES, Plant, PlantSettings

FIRED = Alert(
    id="1", asset="a", state="firing", start=1000, end=None, time=1000, severity="warning", alarm=2.0, threshold=1.0,
    ratio=2.0, peak=2.0, channels=(), model="m", detector="fast", partition=Partition("readings", 0), offset=0,
    position=0, sequence=0,
)  # fmt: skip


def test_one_channel_of_each_machine_drifts_to_its_size_and_stays() -> None:
    """The drift is nothing at the beginning, whole after the ramp, and in no other channel."""
    plant = Plant(PlantSettings(2, STEP_MS, 0, START, day=DAY))
    place = [NAMES.index("speed"), NAMES.index("flow")]
    rows = next(drifting(plant, DAY, 1000, np.array([200.0, -20.0]), place))
    change = rows - plant.rows(DAY, DAY + 2000)
    for asset, (channel, size) in enumerate(zip(place, (200.0, -20.0), strict=True)):
        assert abs(change[asset, 0, channel]) < 0.01 * abs(size)
        assert np.allclose(change[asset, 1000:, channel], size, atol=0.11)
        assert not np.delete(change[asset], channel, 1).any()


def test_what_the_days_have_without_the_fault_finds_nothing() -> None:
    """An alert near one of the same detector without the fault does not count, a later one or one of a twin does."""
    ended = replace(FIRED, state="resolved", time=2000, sequence=1)
    usual = usual_spans([FIRED, ended], {"fast": 500})
    near, later = replace(FIRED, time=2500), replace(FIRED, id="2", time=2501)
    twin = replace(FIRED, id="3", detector="minutes", time=1500)
    assert first_alerts([near], usual) == {}
    assert first_alerts([twin, near, later], usual) == {
        ("a", "minutes"): 1500, ("a", TOGETHER): 1500, ("a", "fast"): 2501
    }  # fmt: skip
