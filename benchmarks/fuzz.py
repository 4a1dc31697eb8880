"""Feed hostile inputs to every reader of bytes or state: no crash, no hang, no change by a refused input.

    python -m benchmarks.fuzz [--inputs 1000000] [--seed 0] [--seconds N] [--only PATTERN] [--json FILE]

Targets are the decoders of every format, schemas, the recorder's points, CSV rows and configurations, files of tensors,
snapshots and models, and `load_state` of every stage. tests/properties/hostile.py makes the inputs; other modules there
check the results. Inputs are drawn in batches of 64, so that messages are also decoded among neighbours. A seed gives
the same inputs again. The first failure of a target is printed with its batch and its input, and the run continues with
the others.

A single input may take one second of processor time (not wall time, because other load must not count), and the process
may use 1 GiB more memory than at the start. `taken` counts accepted inputs: hostile inputs that happen to be valid.
With --seconds the run ends early and prints the number of inputs. With --only it has the targets in whose names
the regular expression is found.
"""

import argparse
import faulthandler
import json
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import torch

from tests.properties.hostile_schemas import schema_targets
from tests.properties.hostile_stores import store_targets
from tests.properties.hostile_targets import Broken, Target, input_targets

BATCH = 64
SLOWEST_S = 1.0  # of processor time for one input
WATCHED = 16  # batches per watchdog timer; a timer for each would cost more than some batches
HANG_S = 300.0  # wall time of that many batches, after which the stacks are printed and the process ends
GROWTH_BYTES = 2**30
SHARES = {
    "decode": 10.0,
    "points": 10.0,
    "CSV": 3.0,
    "configuration": 0.5,
    "Snapshots": 1.5,
    "Models": 0.7,
}  # the rest 4


@dataclass(slots=True)
class Tally:
    """Counts of a target's inputs."""

    target: str
    inputs: int = 0
    taken: int = 0
    slowest_ms: float = 0.0
    seconds: float = 0.0  # of processor time
    failures: list[str] = field(default_factory=list)


def run_batch(target: Target, seed: str, count: int, tally: Tally) -> None:
    """Make and check `count` inputs. An error of the target is raised with the input as a note."""
    draw = Random(seed)
    given = [target.make(draw) for _ in range(count)]
    came = []

    for number, each in enumerate(given):
        begin = time.process_time()
        try:
            taken, result = target.judge(each)
        except Exception as error:
            error.add_note(f"{target.name}, batch {seed}, input {number}: {each!r:.2000}")
            raise

        took = time.process_time() - begin
        came.append(result)
        tally.inputs, tally.taken, tally.seconds = tally.inputs + 1, tally.taken + taken, tally.seconds + took
        tally.slowest_ms = max(tally.slowest_ms, 1000 * took)
        if took > SLOWEST_S:
            raise Broken(f"{target.name}, batch {seed}, input {number} took {took:.1f} s: {each!r:.2000}")

    target.together(given, came)


def fuzz(targets: list[Target], inputs: int, seed: int, seconds: float) -> list[Tally]:
    """Run batches of all targets by their shares, until all inputs or the time are used up."""
    tallies = {target.name: Tally(target.name) for target in targets}
    end = time.monotonic() + seconds

    for number, (target, count) in enumerate(_schedule(targets, inputs)):
        if time.monotonic() >= end:
            break
        tally = tallies[target.name]
        if tally.failures:
            continue

        if number % WATCHED == 0:
            faulthandler.dump_traceback_later(HANG_S, exit=True, file=2)  # standard error, even if redirected in Python
        try:
            run_batch(target, f"{seed}-{number}", count, tally)
        except Exception:  # noqa: BLE001 - any error is a finding
            tally.failures.append(traceback.format_exc())
            print(tally.failures[-1], file=sys.stderr)

    faulthandler.cancel_dump_traceback_later()
    return list(tallies.values())


def _schedule(targets: list[Target], inputs: int) -> Iterator[tuple[Target, int]]:
    """Yield target and size of each batch, always for the target furthest behind its share."""
    share = {target.name: SHARES.get(target.name.split(".")[0].split(" ")[0], 4.0) for target in targets}
    given = dict.fromkeys(share, 0)
    left = inputs
    while left > 0:
        target = min(targets, key=lambda target: given[target.name] / share[target.name])
        count = min(BATCH, left)
        given[target.name] += count
        left -= count
        yield target, count


def resident_bytes() -> int:
    """Return the peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _data_bytes() -> int:
    """Return the current private memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmData:")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    warnings.simplefilter("error")
    torch.set_num_threads(1)  # the networks are small, and processor time is measured over all threads

    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        targets = [*input_targets(Path(folder)), *schema_targets(), *store_targets()]
        targets = [target for target in targets if re.search(options.only, target.name)]
        for target in targets:  # excludes the one-time setup of libraries
            run_batch(target, "first", BATCH, Tally(target.name))

        # A limit on memory turns unbounded growth into a failure.
        before = resident_bytes()
        limit = _data_bytes() + GROWTH_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        tallies = fuzz(targets, options.inputs, options.seed, options.seconds)

    print(f"{'target':<28}{'inputs':>10}{'taken':>9}{'slowest ms':>12}{'µs each':>10}{'failures':>10}")
    for each in tallies:
        cost = each.seconds / max(each.inputs, 1) * 1e6
        print(
            f"{each.target:<28}{each.inputs:10,}{each.taken:9,}{each.slowest_ms:12.1f}{cost:10.0f}{len(each.failures):10}"
        )

    total, failures = sum(each.inputs for each in tallies), sum(len(each.failures) for each in tallies)
    figures = {
        "inputs": total,
        "seed": options.seed,
        "failures": failures,
        "slowest_ms": round(max(each.slowest_ms for each in tallies), 1),
        "memory_growth_mb": round((resident_bytes() - before) / 2**20),
        "seconds": round(time.monotonic() - begin),
    }

    print(" ".join(f"{name}={value}" for name, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps({**figures, "targets": [asdict(each) for each in tallies]}, indent=2) + "\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
