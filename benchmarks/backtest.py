"""Measure the speed of `monitor backtest`: a recording of a simulated plant, replayed on one core.

    python -m benchmarks.backtest [--readings 1000000] [--assets 16] [--format json_wide|json_long] [--json FILE]

1. A recording of pumps with 8 channels and labelled faults is written as JSON lines.
2. `monitor backtest` reads it in a process of its own, on one core, and learns the model from its beginning. The
   figures are the replay without the training, the training, and the whole process with start and report.

Exits 1 if the whole takes more than 60 s for each million readings.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from monitor.simulator.faults import fault_schedule, faulty_rows
from monitor.simulator.plant import Plant, PlantSettings, messages

CHANNELS, CLEAN, ROUND = 8, 1100, 480  # steps before the first fault, and of a round of faults
LIMIT_S = 60.0  # per million readings


def write(path: Path, assets: int, steps: int, kind: str) -> int:
    """Write the recording and return its number of readings."""
    plant = Plant(PlantSettings(assets=assets, seed=5))
    values = faulty_rows(plant, fault_schedule(plant, CLEAN, max(1, (steps - CLEAN) // ROUND)), 0, steps)
    with path.open("wb") as file:
        file.writelines(sent.value + b"\n" for sent in messages(plant, 0, values, kind=kind))
    return int((values == values).sum())  # noqa: PLR0124 - NaN was not measured


def measure(readings: int, assets: int, kind: str) -> dict[str, object]:
    """Return the seconds and readings per second of one recording."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = write(folder / "plant.jsonl", assets, readings // assets // CHANNELS + 1, kind)
        command = [sys.executable, "-m", "monitor", "backtest", str(folder / "plant.jsonl")]
        command += ["--out", str(folder / "report.html"), "-s", f"format.kind={kind}"]

        begin = time.monotonic()
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
        )
        whole = time.monotonic() - begin
        assert done.returncode == 0, done.stderr

        found = re.search(r"(\d+) readings, .* in ([\d.]+) s, of which ([\d.]+) s training", done.stdout)
        assert found is not None, done.stdout
        replayed, training = float(found[2]), float(found[3])

        return {
            "readings": written,
            "format": kind,
            "replay without training, s": round(replayed - training, 1),
            "training, s": training,
            "whole process, s": round(whole, 1),
            "readings/s without training": round(int(found[1]) / (replayed - training)),
            "report, MB": round((folder / "report.html").stat().st_size / 1e6, 2),
            "output": done.stdout.splitlines()[0],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--assets", type=int, default=16)
    parser.add_argument("--format", choices=("json_wide", "json_long"), default="json_wide")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.readings, arguments.assets, arguments.format)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    sys.exit(int(float(str(figures["whole process, s"])) > LIMIT_S * arguments.readings / 1e6))


if __name__ == "__main__":
    main()
