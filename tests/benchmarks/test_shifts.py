"""The benchmark of false alarms and shifts over margins: the product's stages, and which alerts count."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.shifts import PIECE, SHIFTED, SIZES, Row, Stages, delays_of, learned, measure, pieces, shifted, table
from monitor.core.records import Alert, Partition
from monitor.settings.load import load
from monitor.simulator.demo_plants import CONFIG
from monitor.simulator.plant import NAMES, Plant, PlantSettings

PLANT = Plant(PlantSettings(assets=8))
FIRED = Alert(
    id="1", asset=PLANT.names[0], state="firing", start=0, end=None, time=PLANT.time(1003), severity="warning",
    alarm=2.0, threshold=1.0, ratio=2.0, peak=2.0, channels=(), model="m", detector="d",
    partition=Partition("readings", 0), offset=0, position=0, sequence=0,
)  # fmt: skip


def test_one_channel_of_all_pumps_but_the_last_is_shifted() -> None:
    """The shift is a multiple of the channel's deviation from its first step on, and in no other channel."""
    change = shifted(PLANT, 500, 1, 2.0) - PLANT.rows(500, 500 + SHIFTED)
    deviation = [PLANT.truth(asset, 0, 900)[:, 1].std() for asset in range(7)]
    assert np.allclose(change[:7, :, 1], 2 * np.array(deviation)[:, None], atol=0.011)
    assert not change[7].any()
    assert not np.delete(change, 1, 2).any()


def test_each_channel_is_shifted_once() -> None:
    """The pieces cover all healthy steps, and each of the last ones is followed by the shifts of one channel."""
    found = list(pieces(100, 9 * PIECE + 1))
    assert [begin for begin, _, _ in found[1:]] == [end for _, end, _ in found[:-1]]
    assert (found[0][0], found[-1][1]) == (100, 100 + 9 * PIECE + 1)
    assert [channel for _, _, channel in found] == [None, None, *range(len(NAMES))]


def test_the_first_alert_of_a_shifted_pump_counts() -> None:
    """A pump counts once, with its first alert, and the pump without a shift does not count."""
    again, healthy = replace(FIRED, id="2", time=PLANT.time(1040)), replace(FIRED, asset=PLANT.names[7])
    other = replace(FIRED, asset=PLANT.names[6], time=PLANT.time(1010))
    assert delays_of([FIRED, healthy, other, again], PLANT, 1000) == [3, 10]


def test_the_table_has_a_line_per_margin() -> None:
    """False alarms are per day of one pump, and a size of which no shift was found has no delay."""
    sizes = [f"{size:g}" for size in SIZES]
    row = Row(1.5, 3, 43_200, 7, dict.fromkeys(sizes, 0) | {"3": 6}, dict.fromkeys(sizes) | {"3": 4.5})
    title, line = table([row]).splitlines()
    assert title.split()[:4] == ["margin", "false", "per", "day"]
    assert line.split() == ["1.5", "3", "6.0", *["0/7", "-"] * (len(SIZES) - 1), "6/7", "4.5"]


@pytest.mark.slow
def test_at_the_margin_of_the_settings_alerts_are_those_of_the_product() -> None:
    """Alerts at the settings' margin are the product's, a higher margin has no more, and forks do not change them."""
    settings = load(CONFIG, {}, {"training.steps": 60})
    plant = Plant(PlantSettings(assets=2))
    model = learned(plant, settings, 1500)
    margin = settings.threshold.margin
    stages = Stages(plant, settings, model, (margin, 3 * margin))
    rows = plant.rows(1500, 2100)
    rows[:, 400:460, 1] += 60

    twin = stages.fork()
    own, fired = stages.feed(1500, rows)
    expected = [(alert.id, alert.time) for alert in own if alert.cause == "machine" and alert.sequence == 0]
    assert expected
    assert [(alert.id, alert.time) for alert in fired[0]] == expected
    assert len(fired[1]) <= len(fired[0])
    twin.feed(1500, rows[:, :PIECE])
    assert [alert.id for alert in twin.fork().feed(1500 + PIECE, rows[:, PIECE:])[1][0]] == [
        alert.id for alert in fired[0] if plant.step(alert.time) >= 1500 + PIECE
    ]

    found = measure(Stages(plant, settings, model, (margin,)), 1500, PIECE * len(NAMES))
    assert (found[0].healthy, found[0].shifts) == (2 * PIECE * len(NAMES), 2 * len(NAMES))
    assert found[0].found["0.5"] < found[0].found["3"]
