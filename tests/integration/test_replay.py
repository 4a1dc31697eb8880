"""A whole replay over a real broker and into a real database, with the daemon as a process of its own.

RECORDINGS names a folder of labelled recordings as benchmarks/recordings.py describes it; without it, only the
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

CLEAN = 1000  # steps of each pump to learn from


def simulated() -> list[Recording]:
    """Four pumps with two rounds of faults."""
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
    """Alerts, ids and scores in Kafka and in the database are those of the same replay in one process."""
    check(simulated())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("RECORDINGS" not in os.environ, reason="RECORDINGS names no folder with recordings")
def test_skab_over_kafka_is_as_in_one_process() -> None:
    """The pump and valve testbed of SKAB, replayed over Kafka into the database, is as in one process."""
    check(load(Path(os.environ["RECORDINGS"]) / "SKAB"))
