"""Compare alert and score records before and after a change, byte for byte.

    python -m benchmarks.same_records BEFORE SERIES.npz ... [--keep FOLDER]

BEFORE is a checkout of the commit to compare with; the other side is the checkout of this file. A series is in a set's
folder, with the `manifest.json` of benchmarks/recordings.py one folder above.

1. For the series of each set together, and for readings of the demo's plant (`monitor simulate` of BEFORE), BEFORE
   trains a model on the normal parts with `monitor train`.
2. Both sides run `monitor run` on the whole recording from files to files, each with its own copy of that model.
3. Every file of alerts and scores is compared byte for byte. The exit code is 0 if all are equal and none is empty.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.recordings import Recording, load, save

HERE = Path(__file__).resolve().parents[1]
TOPICS = ("monitor.alerts", "monitor.scores")
NORMAL, STEPS, PUMPS = 1500, 2600, 8  # of the simulated plant: steps without a fault, all steps, assets
ORIGIN_MS = 1_700_000_000_000  # for series without a date
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    """Recordings of one kind of machine, and their normal parts, as files."""

    name: str
    normal: Sequence[Path]
    recordings: Sequence[Path]
    step_s: float


def monitor(checkout: Path, arguments: Sequence[str]) -> bytes:
    """Run a command of a checkout's `monitor` and return its standard output. Raise RuntimeError if it fails."""
    module = "monitor" if (checkout / "monitor" / "__main__.py").exists() else "monitor.service"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"{checkout.name}: {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-800:]!r}"
        )
    return done.stdout


def settings(folder: Path, step_s: float) -> list[str]:
    """Return the settings of one side, as arguments."""
    given = {
        "store.url": folder / "store",
        "outputs.kind": "files",
        "outputs.directory": folder / "out",
        "outputs.fsync": "false",
        "training.interval_s": 0,
        "training.first_steps": 300,
        "windows.step_s": step_s,
        "windows.max_gap": 16,
        "health.enabled": "false",
    }
    return [part for key, value in given.items() for part in ("--set", f"{key}={value}")]


def train(before: Path, folder: Path, case: Case) -> None:
    """Make the model that both sides score with."""
    monitor(before, ["train", *map(str, case.normal), *settings(folder, case.step_s)])


def records(checkout: Path, folder: Path, recording: Path, step_s: float) -> dict[str, bytes]:
    """Return the files of alerts and scores that `monitor run` writes for a recording."""
    kind = {".npz": "npz", ".jsonl": "jsonl"}[recording.suffix]
    read = ["source.kind=files", f'source.paths=["{recording}"]', f"source.format={kind}", "source.speed=0"]
    monitor(checkout, ["run", *settings(folder, step_s), *(part for each in read for part in ("--set", each))])

    found = {name: folder / "out" / f"{name}.jsonl" for name in TOPICS}
    return {name: path.read_bytes() if path.exists() else b"" for name, path in found.items()}


def compare(before: Path, case: Case, folder: Path) -> bool:
    """Train once, run both sides on each recording, print a line for each file. Return True if all are equal."""
    train(before, folder / "model", case)

    same = True
    for recording in case.recordings:
        sides = []
        for name, checkout in (("before", before), ("after", HERE)):
            own = folder / recording.stem / name
            shutil.copytree(folder / "model" / "store", own / "store")
            sides.append(records(checkout, own, recording, case.step_s))

        for topic in TOPICS:
            one, two = (side[topic] for side in sides)
            equal = one == two and bool(sides[0]["monitor.scores"])
            same &= equal
            digests = " ".join(hashlib.sha256(side).hexdigest()[:12] for side in (one, two))
            count, word = one.count(b"\n"), "same" if equal else "DIFFERENT"
            print(f"{case.name:6} {recording.stem:16} {topic:15} {count:6} records  {digests}  {word}", flush=True)
    return same


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("before", type=Path)
    parser.add_argument("series", type=Path, nargs="*")
    parser.add_argument("--keep", type=Path, help="folder for the records; default: a temporary one")
    arguments = parser.parse_args()
    before = arguments.before.resolve()

    with tempfile.TemporaryDirectory() as scratch:
        root = (arguments.keep or Path(scratch)).resolve()
        names = [path.resolve() for path in arguments.series]
        results = [
            compare_set(before, folder, {path.stem for path in names if path.parent == folder}, root / folder.name)
            for folder in sorted({path.parent for path in names})
        ]
        results.append(compare_plant(before, root / "plant"))
    raise SystemExit(0 if all(results) else 1)


def compare_set(before: Path, data: Path, names: set[str], folder: Path) -> bool:
    """Compare on series of one set of labelled recordings, with one model for all of them."""
    series = [dated(each) for each in load(data) if each.name in names]
    for part in ("normal", "whole"):
        (folder / part).mkdir(parents=True)

    for each in series:
        save(each, slice(0, each.train_end), folder / "normal" / f"{each.name}.npz")
        save(each, slice(0, len(each.time)), folder / "whole" / f"{each.name}.npz")

    normal, whole = (sorted((folder / part).iterdir()) for part in ("normal", "whole"))
    return compare(before, Case(data.name, normal, whole, series[0].period_s or 1.0), folder)


def dated(series: Recording) -> Recording:
    """Move a series whose times count from 0 to a date that cannot be mistaken for seconds."""
    return series if series.time[0] else replace(series, time=series.time + ORIGIN_MS)


def compare_plant(before: Path, folder: Path) -> bool:
    """Compare on readings of the demo's plant, which BEFORE simulates."""
    folder.mkdir(parents=True)
    simulate = ["simulate", "--assets", str(PUMPS), "--steps", str(STEPS), "--clean", str(NORMAL), "--speed", "0"]
    readings = monitor(before, simulate)

    normal, recording = folder / "normal.jsonl", folder / "readings.jsonl"
    normal.write_bytes(b"".join(readings.splitlines(keepends=True)[: NORMAL * PUMPS]))
    recording.write_bytes(readings)
    return compare(before, Case("plant", [normal], [recording], 1.0), folder)


if __name__ == "__main__":
    main()
