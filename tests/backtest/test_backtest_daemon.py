"""A backtest gives the same alert records as the daemon, to the last digit.

RECORDINGS names a folder of labelled recordings in the layout of benchmarks/recordings.py. Without it, only the small
machines and the simulated plant are replayed.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.recordings import load, save
from monitor.simulator.faults import fault_schedule, faulty_rows
from monitor.simulator.plant import Plant, PlantSettings, messages
from tests.backtest.backtests import SHAPE, TWINS, csv, eventful, jsonl, npz, of_daemon, read
from tests.commands import monitor, sets


def in_order(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records in a fixed order, because partitions are read in parallel."""
    return sorted(records, key=lambda record: (record["topic"], record["time"], record["id"], record["sequence"]))


def check(paths: list[Path], folder: Path, shape: dict[str, Any], least: int) -> None:
    done = monitor("backtest", *paths, "--out", folder / "r.html", "--alerts", folder / "a.jsonl", *sets(**shape))
    assert done.exit_code == 0, done.output
    found, published = in_order(read(folder / "a.jsonl")), in_order(of_daemon(paths, folder, shape))
    assert found == published
    assert len({record["id"] for record in found}) >= least


# The formats differ in reading only, which tests/connectors/files covers.
@pytest.mark.slow
@pytest.mark.parametrize("make", [jsonl, npz, csv])
def test_it_says_what_the_daemon_says(tmp_path: Path, make: Any) -> None:
    """With an empty store, both train the same model from the same messages and publish the same records."""
    ignore = {"source.ignore": ["wrong"]} if make is csv else {}
    check(make(tmp_path), tmp_path, {**SHAPE, **ignore}, 2)


def test_two_detectors_say_what_the_daemon_says(tmp_path: Path) -> None:
    """A detector and its slow twin, with aggregates and a condition on a channel that it does not read, are alike."""
    shape = {**SHAPE, "detectors": TWINS, "alerting.silence_s": 20.0, "training.steps": 60}
    check(eventful(tmp_path), tmp_path, shape, 6)
    found = read(tmp_path / "a.jsonl")
    kinds = {(each["detector"], each["cause"]) for each in found}
    assert kinds == {("fast", "machine"), ("fast", "silence"), ("slow", "machine"), ("slow", "not_running")}
    by_id = {each["id"]: each["detector"] for each in found}
    assert {(by_id[each["linked"]], each["detector"]) for each in found if each.get("linked")} >= {("fast", "slow")}


def test_a_twin_that_never_learns_changes_nothing(tmp_path: Path) -> None:
    """Messages are gathered beside it, and the other detector learns from the same ones, with the same records."""
    late = {"name": "late", "windows": {"step_s": 4.0}, "training": {"first_steps": 5000}}
    found = []
    for detectors in ([TWINS[0]], [TWINS[0], late]):
        shape = sets(**{**SHAPE, "detectors": detectors, "training.steps": 20})
        done = monitor("backtest", *jsonl(tmp_path), "--alerts", tmp_path / "a", "--out", tmp_path / "r", *shape)
        assert done.exit_code == 0, done.output
        found.append(read(tmp_path / "a"))
    assert found[0] == found[1]
    assert found[0]


def test_a_machine_that_comes_late_is_learned_as_soon(tmp_path: Path) -> None:
    """A detector whose machine comes after many messages of others learns after as many steps as with small polls."""
    (path,) = jsonl(tmp_path)
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    first, later = ([body for body in bodies if body["asset"] == name] for name in "ab")
    span = later[-1]["timestamp"] - later[0]["timestamp"] + 1000
    moved = [{**body, "timestamp": body["timestamp"] + span} for body in later]
    path.write_text("".join(json.dumps(body) + "\n" for body in (*first, *moved)))

    never = {"name": "never", "assets": ["a"], "training": {"first_steps": 5000}}
    shape = {**SHAPE, "detectors": [never, {"name": "late", "assets": ["b"]}], "training.steps": 20}
    found = []
    for most in (100, 5000):
        sizes = sets(**{**shape, "source.batch_messages": most})
        done = monitor("backtest", path, "--alerts", tmp_path / "a", "--out", tmp_path / "r", *sizes)
        assert done.exit_code == 0, done.output
        found.append(read(tmp_path / "a"))
    assert found[0] == found[1]
    assert found[0]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_plant_is_as_the_daemon_has_it(tmp_path: Path) -> None:
    """With the default model and training, four simulated pumps with two rounds of faults give the same records."""
    plant = Plant(PlantSettings(assets=4, seed=11))
    values = faulty_rows(plant, fault_schedule(plant, 1100, 2), 0, 2060)
    path = tmp_path / "plant.jsonl"
    path.write_bytes(b"".join(sent.value + b"\n" for sent in messages(plant, 0, values)))
    check([path], tmp_path, {"training.first_steps": 1000, "threshold.warm": 500}, 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("RECORDINGS" not in os.environ, reason="RECORDINGS names no folder with recordings")
@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [
        ("SKAB", "valve1_1", {"training.first_steps": 384, "windows.length": 32}),
        (
            "SMD",
            "machine-1-6",
            {
                "windows.step_s": 60.0,
                "windows.lateness_s": 60.0,
                "training.first_steps": 5000,
                "training.guard_s": 600.0,
                "alerting.on_delay_s": 120.0,
                "alerting.off_delay_s": 1800.0,
            },
        ),
    ],
)
def test_a_recording_is_as_the_daemon_has_it(tmp_path: Path, kind: str, name: str, shape: dict[str, Any]) -> None:
    """Recordings of SKAB's testbed and of SMD's servers give the same records with a newly trained first model."""
    recording = next(each for each in load(Path(os.environ["RECORDINGS"]) / kind) if each.name == name)
    path = tmp_path / f"{name}.npz"
    time = recording.time - recording.time[0] + 1_700_000_040_000  # SMD has no timestamps
    save(replace(recording, time=time), slice(None), path)
    check([path], tmp_path, shape, 1)
