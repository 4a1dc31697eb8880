"""Measure the recovery of a killed worker: seconds from SIGKILL to the first new score, by phase.

    python -m benchmarks.recovery [--assets 100,1000,5000] [--json FILE]

1. For each number of assets, a broker, the simulated plant (8 channels, one message per asset and step) and
   `monitor run` run as processes; every score is published. A step is a second, or longer for more than 1000 assets.
2. When every partition has a snapshot, the worker is killed with SIGKILL and restarted at once, while the plant runs
   on. Its state is as large as that of a worker after two minutes.
3. The same with a static member (group.instance.id), whose partitions the group assigns without waiting for the old
   session.
4. Separately, in this process: size and times of a snapshot of 1000 assets with full windows.

A score is new if its window ends later than all windows published before the kill in its partition. The worker has
recovered when the scores of every partition are at most LATE steps behind the plant.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.live import Daemon, Feed, Tail, a_broker, a_model, followed, until
from benchmarks.replay import SCORES
from monitor.core.model.model import LEVELS
from monitor.core.records import Message, Partition
from monitor.service.pipelines import make_detectors, make_pipeline
from monitor.settings.load import load
from monitor.simulator.plant import Plant, PlantSettings, messages
from monitor.store.files import open_blobs
from monitor.store.snapshots import Snapshot, Snapshots

WARM = 70  # steps in the topic before the worker starts: a window of 64, and some scores
LONGEST = 300  # simulated steps
BEHIND_S = 5.0  # from the last partition's snapshot to the kill
UNSAVED_S = 1.5  # minimum age of a snapshot at the kill, so that there are messages to replay
MOST_PER_S = 1000  # messages; larger plants have longer steps, so that a shared core keeps up
LATE = 3  # steps
MARGIN = 50.0  # of the threshold, so that no alert fires: the model was trained on only 8 of the pumps
REPEAT = 5  # measurements in this process; the median counts


@dataclass(frozen=True, slots=True)
class Case:
    """A run."""

    assets: int
    static: bool
    snapshot_s: float = 60.0  # the default of the setting
    session_s: float = 10.0  # after which the group evicts a silent member; librdkafka's default is 45

    @property
    def step_s(self) -> int:
        return max(1, self.assets // MOST_PER_S)

    @property
    def partitions(self) -> int:
        return min(24, max(4, self.assets // 100))

    def settings(self, bootstrap: str) -> dict[str, Any]:
        options = {"session.timeout.ms": round(self.session_s * 1000), "compression.type": "lz4"}
        static = {"group.instance.id": "worker-1"}
        return {
            "kafka.bootstrap_servers": bootstrap,
            "kafka.options": options | (static if self.static else {}),
            "windows.step_s": self.step_s,
            "threshold.margin": MARGIN,
            "store.snapshot_s": self.snapshot_s,
        }


def recover(case: Case, store: Path) -> dict[str, Any]:
    """Return the figures of a run; `store` has the model."""
    step_ms = case.step_s * 1000
    started = (time.time_ns() // 1_000_000 // step_ms - WARM) * step_ms
    plant = Plant(PlantSettings(assets=case.assets, step_ms=step_ms, start=started))
    values = plant.rows(0, LONGEST)

    with (
        tempfile.TemporaryDirectory() as name,
        a_broker(case.partitions, Path(name) / "broker" if case.static else None) as broker,
    ):
        daemon = Daemon(Path(name), store, case.settings(broker.bootstrap), {})
        feed, tail = Feed(broker, plant, values, case.partitions), Tail(case.partitions)
        feed.at_once(WARM)
        try:
            daemon.start()
            with followed(broker.bootstrap, SCORES, case.partitions, tail.take):
                until(lambda: min(tail.newest.values()) > 0, "the first scores")

                with feed.steadily(1 / case.step_s):
                    until(lambda: snapshots(daemon) >= 2, "a snapshot of every partition")
                    time.sleep(BEHIND_S)
                    until(lambda: snapshot_age_s(daemon) >= UNSAVED_S, "something to replay")

                    head = {
                        "assets": case.assets,
                        "step_s": case.step_s,
                        "static": case.static,
                        "first_join_s": joined(daemon),
                    }
                    return head | killed(daemon, feed, tail, plant) | {"load_average": round(os.getloadavg()[0], 1)}

        finally:
            daemon.end()


def snapshots(daemon: Daemon) -> int:
    """Return the lowest number of snapshots of a partition. The first snapshot of each is the empty beginning."""
    return min((len(list(each.iterdir())) for each in daemon.store.glob("snapshots/*/*")), default=0)


def snapshot_age_s(daemon: Daemon) -> float:
    """Return the age of the newest snapshot, of the partition where it is oldest."""
    now = time.time()

    def newest(folder: Path) -> float:
        times = []
        for file in folder.iterdir():
            with suppress(FileNotFoundError):  # an older one, removed after listing
                times.append(file.stat().st_mtime)
        return max(times, default=now)

    return now - min(newest(each) for each in daemon.store.glob("snapshots/*/*"))


def joined(daemon: Daemon) -> float:
    """Return the seconds from the start of the clients to the first partition. At first the group is empty."""
    (up,), taken = daemon.lines("http server started"), daemon.lines("partition assigned")
    return float(round(taken[0]["at"] - up["at"], 2))


def killed(daemon: Daemon, feed: Feed, tail: Tail, plant: Plant) -> dict[str, Any]:
    """Kill and restart the worker, and measure each phase."""
    killed_at = time.time()
    daemon.end(signal.SIGKILL)
    published = dict(tail.newest)
    daemon.start()

    def first() -> float:
        """Return the time of the first new score; 0 = none yet."""
        return min((at for number, at in list(tail.seen.items()) if tail.newest[number] > published[number]), default=0)

    def behind() -> int:
        """Return the number of steps behind the plant."""
        return feed.step - 1 - plant.step(min(tail.newest.values()))

    until(lambda: first() > 0, "the first new score")
    new_at = first()
    until(lambda: behind() <= LATE, "as before")
    daemon.alive()
    return {
        "partitions": len(published),
        "first_new_score_s": round(new_at - killed_at, 2),
        "as_before_s": round(time.time() - killed_at, 2),
        **phases(daemon, killed_at, new_at),
    }


def phases(daemon: Daemon, killed_at: float, new_at: float) -> dict[str, Any]:
    """Return the phases until the first new score, from the worker's log."""
    (up,) = daemon.lines("http server started")
    taken = daemon.lines("partition assigned")
    assert all(line["restored"] for line in taken), "a partition was not restored"
    first, last = taken[0]["at"], taken[-1]["at"]
    load_s = (last - first) * len(taken) / max(1, len(taken) - 1)  # the first line follows its own loading
    replayed = [line["committed"] - line["start"] for line in taken]
    return {
        "start_s": round(up["at"] - killed_at, 2),
        "join_s": round(last - load_s - up["at"], 2),
        "load_s": round(load_s, 3),
        "replay_s": round(new_at - last, 2),
        "replayed_messages": sum(replayed),
    }


def snapshot_cost(assets: int, scores: int) -> dict[str, Any]:
    """Return size, write time and load time of a snapshot of one partition with this many assets."""
    settings, partition = load(None, {}, {"threshold.refresh": 10_000}), Partition("readings", 0)  # fills sooner
    detectors = make_detectors([settings], partition)
    pipeline = detectors.pipelines[settings.name]
    plant = Plant(PlantSettings(assets=assets))
    length = settings.windows.length
    sent = messages(plant, 0, plant.rows(0, length))
    read = [Message(partition, offset, each.key, each.value, each.time) for offset, each in enumerate(sent)]
    detectors.process(read, read[-1].timestamp, lambda _: None)
    draw, rows = np.random.default_rng(0), np.arange(assets, dtype=np.int32)
    for _ in range(scores):
        score = draw.lognormal(0, 0.3, assets).astype(np.float32)
        pipeline.threshold.update(rows, score, np.ones(len(LEVELS), np.float32))
    with tempfile.TemporaryDirectory() as name:
        stored = Snapshots(open_blobs(name), lambda _: None)
        sizes: list[int] = []

        def write() -> None:
            sizes.append(stored.save(Snapshot(partition, len(sizes), detectors.save())))

        def restore() -> None:
            found = stored.newest(partition, 10**9)
            assert found is not None
            make_pipeline(settings, partition).load_state(found.detectors.parts[settings.name].state)

        write_s, load_s = timed(write), timed(restore)
    return {
        "assets": assets, "scores": scores, "mb": round(sizes[-1] / 1e6, 2), "write_s": write_s, "load_s": load_s,
    }  # fmt: skip


def timed(work: Callable[[], None]) -> float:
    """Return the median seconds."""
    took = []
    for _ in range(REPEAT):
        begin = time.perf_counter()
        work()
        took.append(time.perf_counter() - begin)
    return round(median(took), 4)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Format figures as text, one column per key."""
    lines = [[*rows[0]], *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", default="100,1000,5000")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    costs = [snapshot_cost(1000, scores) for scores in (1000, 10_000)]
    print(table(costs), flush=True)

    with tempfile.TemporaryDirectory() as name:
        store = a_model(Path(name))
        wanted = [Case(int(assets), static) for assets in arguments.assets.split(",") for static in (False, True)]
        runs = []
        for case in wanted:
            runs.append(recover(case, store))
            print(json.dumps(runs[-1]), flush=True)

    print(table(runs))
    if arguments.json:
        arguments.json.write_text(json.dumps({"recovery": runs, "snapshots": costs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
