"""Run groups of workers through many kinds of fault, and compare their output with a reference.

    python -m tests.crash.chaos [--quick] [--only NAME] [--seed N] [--keep FOLDER]

Each scenario starts a broker, a group of worker processes and a store, feeds readings of faulty machines for a while,
and lets a seeded schedule of faults loose on them. When all readings are committed the workers are told to leave, and
the topics are compared with a reference (chaos_check.py). A row per scenario goes to standard output and all of them to
build/chaos.json; anything missing, unexpected or wrong ends with exit code 1. docs/decisions/0005-chaos.md says more.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from confluent_kafka import KafkaError, KafkaException

from monitor.core.model.scorer import Scorer
from monitor.core.records import Message
from monitor.settings.load import load
from tests.brokers import Broker
from tests.contracts.kafka_harness import make_topic
from tests.crash import chaos_plant as plant
from tests.crash.chaos_check import (
    Difference,
    Found,
    Key,
    adoption_offsets,
    alert_key,
    difference,
    open_alerts,
    recovery,
    reference,
    score_key,
)
from tests.crash.chaos_faults import Chaos
from tests.crash.chaos_group import ROOT, Worker, make_workers
from tests.crash.chaos_scenarios import SCENARIOS, Scenario, open_broker
from tests.crash.chaos_topics import committed, feeding, read_topic
from tests.rig import stored_models

TOPIC, ALERTS, SCORES, GROUP = "readings", "monitor.alerts", "monitor.scores", "monitor"
LONG_S, SHORT_S = 60.0, 27.0  # how long readings are fed
_STEPS_PER_S = 8  # of each machine
_CALM_S = 6.0  # before the end of the feed without faults, so that the last one is recovered from, too
# For the rest to be committed. A worker that hangs is replaced after 30 s, and its transaction ends 30 s later.
_SETTLE_S = 120.0
_ANSWER_S = 10.0  # for committed offsets; meanwhile no worker is restarted
_SETTINGS: Mapping[str, Any] = {
    "name": "chaos",
    "detectors": plant.DETECTORS,
    "source.topics": [TOPIC],
    "source.group": GROUP,
    "source.poll_s": 0.1,
    "windows.length": plant.LENGTH,
    "windows.max_gap": 8,
    "threshold.percentile": 98.0,
    "threshold.memory": 400,
    "threshold.warm": 100,
    "alerting.off_delay_s": 5.0,
    "alerting.update_s": 10.0,
    "store.snapshot_s": 3.0,
    "store.history_s": 5.0,
    "delivery.checkpoint_s": 0.5,
    "training.enabled": False,
    "training.guard_s": 16.0,
    "health.enabled": False,
    "log.format": "json",
}
RESULT = ROOT / "build" / "chaos.json"
COLUMNS = ("scenario", "faults", "expected", "missing", "unexpected", "duplicates", "wrong", "recovery_s")


def run(scenario: Scenario, seed: int, duration_s: float, folder: Path) -> dict[str, Any]:
    """Run a scenario from beginning to end and return its row."""
    readings = list(plant.readings(round(duration_s * _STEPS_PER_S), seed))
    with open_broker(scenario, folder) as broker:
        for topic in (TOPIC, ALERTS, SCORES):
            make_topic(broker, topic, plant.PARTITIONS)

        versions = put_models(folder / "store")
        set_current(folder / "store", versions[0])

        places = {"kafka.bootstrap_servers": broker.bootstrap, "store.url": str(folder / "store")}
        settings = {**_SETTINGS, **scenario.settings, **places}
        workers = make_workers(folder, settings, [scenario.member(number) for number in range(scenario.workers)])

        draw = random.Random(seed)
        chaos = Chaos(draw, workers, broker, scenario.session_s, lambda: set_current(folder / "store", versions[1]))
        try:
            left = _disturb(scenario, chaos, broker, readings, duration_s)
            with ThreadPoolExecutor() as pool:
                list(pool.map(Worker.stop, workers))
        finally:
            for worker in workers:
                worker.end()
        return _judge(scenario, chaos, broker, folder, versions) | {"left": left}


def put_models(store: Path) -> list[str]:
    """Store both models of the plant for every detector, and return their versions."""
    versions = [""] * len(plant.models())
    for detector in plant.DETECTORS:
        models = stored_models(store, detector["name"])
        versions = [models.put(*model.pack(), plant.ORIGIN + at) for at, model in enumerate(plant.models())]
    return versions


def set_current(store: Path, version: str) -> None:
    """Make a version the current model of every detector."""
    for detector in plant.DETECTORS:
        stored_models(store, detector["name"]).set_current(version)


def _disturb(
    scenario: Scenario, chaos: Chaos, broker: Broker, readings: Sequence[plant.Reading], duration_s: float
) -> int:
    """Feed readings, cause faults and wait for the end. Return the number of readings not committed in time."""
    for worker in chaos.workers:
        worker.supervised = True
        worker.start()
    _until(lambda: any(worker.ready() for worker in _watched(chaos.workers)), _SETTLE_S)
    begin = time.monotonic()
    with feeding(broker.bootstrap, TOPIC, readings, duration_s):
        number, adopted = 0, not scenario.adopts
        while (now := time.monotonic() - begin) < duration_s - _CALM_S:
            if not adopted and now > duration_s / 3:
                chaos.strike("adopt")
                chaos.strike("kill")
                adopted = True
            if now >= (number + 0.5) * scenario.every_s:
                chaos.strike(scenario.faults[number % len(scenario.faults)])
                number += 1
            _watched(chaos.workers)
            time.sleep(0.1)
    ends = Counter(reading.partition for reading in readings)

    def left() -> int:
        _watched(chaos.workers)
        try:
            done = committed(broker.bootstrap, GROUP, TOPIC, plant.PARTITIONS, _ANSWER_S)
        except KafkaException as fault:
            if fault.args[0].code() != KafkaError._TIMED_OUT:
                raise
            return len(readings)  # a dead worker's transaction is open until the broker ends it
        return sum(max(0, end - done[part]) for part, end in ends.items())

    _until(lambda: not left(), _SETTLE_S)
    return left()


def _watched(workers: Sequence[Worker]) -> Sequence[Worker]:
    """Return the workers, after restarting those that ended or hang."""
    for worker in workers:
        worker.watch()
    return workers


def _until(condition: Callable[[], bool], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.3)


def _judge(scenario: Scenario, chaos: Chaos, broker: Broker, folder: Path, versions: Sequence[str]) -> dict[str, Any]:
    """Read all topics back, compare them with the reference and return the row."""
    settings = load(folder / "worker-0.toml", {}, {})
    readings: dict[int, list[Message]] = defaultdict(list)
    for message in read_topic(broker.bootstrap, TOPIC):
        readings[message.partition.number].append(message)

    found_alerts = [_found(message) for message in read_topic(broker.bootstrap, ALERTS)]
    found_scores = [_found(message) for message in read_topic(broker.bootstrap, SCORES)]

    scorers = [Scorer(replace(model, version=name)) for model, name in zip(plant.models(), versions, strict=True)]
    adopted, back = adoption_offsets(settings, readings, scorers[0], found_scores, versions[1])
    _keep(folder / "published.jsonl", [*found_alerts, *found_scores])
    alerts, scores = reference(settings, readings, (scorers[0], scorers[1]), adopted)

    tenures = [tenure for worker in chaos.workers for tenure in worker.tenures()]
    of_alerts = difference(alerts, _by_key(found_alerts, alert_key), tenures)
    of_scores = difference(scores, _by_key(found_scores, score_key), tenures)

    machines = {asset: number % plant.PARTITIONS for number, asset in enumerate(plant.ASSETS)}
    times = recovery(
        [(machines[score_key(found.value)[0].split()[1]], found.timestamp) for found in found_scores],
        tenures,
        chaos.kills,
    )

    for example in (*of_alerts.examples, *of_scores.examples):
        print(f"  {example}", file=sys.stderr)
    return {
        "scenario": scenario.name,
        "faults": len(chaos.done),
        **_counts(of_alerts),
        "recovery_s": round(median(times), 2) if times else None,
        "recovery_max_s": round(max(times), 2) if times else None,
        "open_alerts": median(open_alerts(found_alerts, chaos.done)),
        "excess": of_alerts.excess,
        "scores": _counts(of_scores),
        "adopted": len(adopted),
        "back": back,
        "exits": [code for worker in chaos.workers for code in worker.surprises],
        "stalls": sum(worker.stalls for worker in chaos.workers),
        "takeovers": len(tenures),
        "once": scenario.once,
        "hollow": scenario.adopts and not adopted,
    }


def _found(message: Message) -> Found:
    return Found(message.value or b"", message.timestamp / 1000)


def _keep(path: Path, found: Sequence[Found]) -> None:
    """Write every published record to a file, one a line after its time, for the analysis of a failure."""
    path.write_bytes(b"".join(b"%.3f %s\n" % (each.timestamp, each.value) for each in found))


def _by_key(found: Sequence[Found], key: Callable[[bytes], Key]) -> dict[Key, list[Found]]:
    records: dict[Key, list[Found]] = defaultdict(list)
    for each in found:
        records[key(each.value)].append(each)
    return records


def _counts(of: Difference) -> dict[str, int]:
    names = ("expected", "missing", "unexpected", "duplicates", "wrong")
    return {name: getattr(of, name) for name in names}


def broken(row: Mapping[str, Any]) -> bool:
    """Return whether a row shows a broken promise, or an adoption that never took place."""
    counts = [row[name] + row["scores"][name] for name in ("missing", "unexpected", "wrong")]
    twice = row["once"] and row["duplicates"] + row["scores"]["duplicates"]
    return bool(any(counts) or row["left"] or row["excess"] or row["back"] or twice or row["hollow"])


def main(arguments: Sequence[str]) -> int:
    """Run the chosen scenarios and return the exit code."""
    given = _parser().parse_args(arguments)
    chosen = [each for each in SCENARIOS if (each.name in given.only if given.only else each.quick or not given.quick)]
    seconds = given.seconds or (SHORT_S if given.quick else LONG_S)
    torch.set_num_threads(1)

    rows = []
    print(_line(COLUMNS), flush=True)
    for scenario in chosen:
        folder = Path(tempfile.mkdtemp(prefix="monitor-chaos-")) if given.keep is None else given.keep / scenario.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            rows.append(row := run(scenario, given.seed, seconds, folder))
        except pytest.skip.Exception as reason:
            print(f"{scenario.name:>14} left out: {reason}", flush=True)
            continue
        finally:
            if given.keep is None:
                shutil.rmtree(folder)
        print(_line([row[name] for name in COLUMNS]), "  BROKEN" * broken(row), flush=True)
        print(f"{'':>15}{ {name: row[name] for name in row if name not in COLUMNS} }", file=sys.stderr, flush=True)

    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(rows, indent=2) + "\n")
    return int(any(broken(row) for row in rows))


def _line(cells: Sequence[object]) -> str:
    """Format a row of the table."""
    return f"{cells[0]!s:>14} " + " ".join(f"{cell!s:>10}" for cell in cells[1:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.chaos")
    parser.add_argument("--quick", action="store_true", help="the scenarios of the short run, each for less time")
    parser.add_argument("--only", action="append", help="a scenario by name; repeatable")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another schedule and other readings")
    parser.add_argument("--seconds", type=float, help="how long readings are fed")
    parser.add_argument("--keep", type=Path, help="folder for the workers' logs, their store, and what they published")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
