"""A whole replay through a real broker into a real database, with the daemon as a separate process.

RECORDINGS names a folder of labelled recordings in the layout of benchmarks/recordings.py. Without it, only the
simulated plant is replayed.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recordings import Recording, load
from benchmarks.replay import replay
from monitor.simulator.faults import fault_schedule, faulty_rows
from monitor.simulator.plant import NAMES, Plant, PlantSettings

CLEAN = 1000  # training steps of each pump


def simulated() -> list[Recording]:
    """Return recordings of four pumps with two rounds of faults."""
    plant = Plant(PlantSettings(assets=4, seed=11))
    faults = fault_schedule(plant, CLEAN, 2)
    values = faulty_rows(plant, faults, 0, CLEAN + 960)
    time = np.array([plant.time(step) for step in range(values.shape[1])])
    label = np.zeros(len(time), np.bool_)
    return [Recording(name, NAMES, time, rows, label, CLEAN) for name, rows in zip(plant.names, values, strict=True)]


def check(recordings: list[Recording]) -> None:
    figures = replay(recordings, "tansu")
    assert figures["different"] == dict.fromkeys(figures["different"], 0)
    assert figures["alerts"] > 0
    assert figures["scores"]["kafka"] > 0.8 * figures["messages"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_plant_over_kafka_is_as_in_one_process() -> None:
    """Alerts, ids and scores in Kafka and in the database equal those of the same replay in one process."""
    check(simulated())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("RECORDINGS" not in os.environ, reason="RECORDINGS names no folder with recordings")
def test_skab_over_kafka_is_as_in_one_process() -> None:
    """SKAB's pump and valve testbed, replayed over Kafka into the database, gives the same as in one process."""
    check(load(Path(os.environ["RECORDINGS"]) / "SKAB"))
