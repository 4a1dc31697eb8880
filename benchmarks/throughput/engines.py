"""Run the naive twin and the stream engines, each in its own process, on the topic that the product has read before.

Each starts with the same past, reads the same messages from the same broker, scores with the same model and publishes a
score record per window. Its records are compared with the product's. An engine that is not installed is left out, and
the reason is printed. --engines names the interpreter of an environment with the engines.
"""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from benchmarks.throughput.fleet import CHANNELS, PARTITIONS, PATIENCE_S, Fleet
from benchmarks.throughput.product import SCORES, make_topics
from benchmarks.throughput.store import DETECTOR, model_of
from monitor.core.model.model import Model
from monitor.store.files import open_blobs
from monitor.store.folder import detector_folder
from monitor.store.models import Models
from tests.brokers import Broker

TOLERANCE = 1e-4  # of scores, relative: float32, through JSON
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Engine:
    """One way to do the job."""

    name: str
    module: str  # of this package
    package: str = ""  # required package; empty = none
    more: tuple[str, ...] = ()  # arguments


TWIN = Engine("naive twin", "twin")
ENGINES = (
    Engine("Bytewax", "bytewax_job", "bytewax"),
    Engine("Bytewax, 256 windows at a time", "bytewax_job", "bytewax", ("batched",)),
    Engine("Quix Streams", "quix_job", "quixstreams"),
    Engine("Faust", "faust_job", "faust"),
)


def installed(python: str, package: str) -> str:
    """Return the version of an installed package, or an empty text."""
    code = f"import importlib.metadata as m; print(m.version(m.packages_distributions()[{package!r}][0]))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip()


@dataclass(frozen=True)
class Race:
    """Common inputs of all engines."""

    broker: Broker  # with the topic that the product has read
    fleet: Fleet  # source of the messages
    base: Model
    windows: int  # to score, the first ones
    python: str  # interpreter with the engines


def run(engine: Engine, race: Race, python: str) -> dict[str, Any]:
    """Run an engine. Return its cost and the difference of its scores from the product's."""
    broker, sent, windows = race.broker, race.fleet, race.windows
    output = f"{engine.module}{len(engine.more)}.{sent.kind}.scores"
    make_topics(broker, [output])

    with tempfile.TemporaryDirectory() as folder:
        put_model(Path(folder), model_of(race.base, sent))
        call = [broker.bootstrap, folder, sent.text(), output, str(windows), *engine.more]
        log = Path(folder, "log")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [python, "-m", f"benchmarks.throughput.{engine.module}", *call],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
            )

        late = threading.Timer(PATIENCE_S, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith(b"{")), b"")  # some print a banner first
            assert line, f"{engine.name} ended: {log.read_text()[-2000:]}"
            took = json.loads(line)
            worst = compared(broker, output, windows)
        finally:
            late.cancel()
            stop(process)

    rate = took["windows"] / took["cpu_s"]
    return {"name": engine.name, "batched": bool(engine.more), "kind": sent.kind, **took, "windows_per_core_s": rate,
            "readings_per_core_s": rate * CHANNELS, "largest_difference": worst}  # fmt: skip


def put_model(directory: Path, model: Model) -> None:
    """Write a store with only this model."""
    models = Models(detector_folder(open_blobs(str(directory)), DETECTOR), print)
    manifest, tensors = model.pack()
    models.set_current(models.put({**manifest, "training": {}}, tensors, 0))


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop an engine, which otherwise never ends. Its output after the signal is ignored."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def compared(broker: Broker, output: str, windows: int) -> float:
    """Return the largest relative difference from the product's scores. Raise AssertionError beyond TOLERANCE."""
    found, product = read(broker, output, windows), read(broker, SCORES, 0)
    both = found.keys() & product.keys()
    assert len(both) == len(found) >= windows, f"{len(found)} scores, {len(both)} of them known to the product"
    worst = max(abs(found[key] - product[key]) / max(abs(product[key]), 1e-3) for key in both)
    assert worst <= TOLERANCE, f"a score of {output} differs by {worst:.1e}"
    return worst


def read(broker: Broker, topic: str, least: int) -> dict[tuple[str, int], float]:
    """Return the scores in a topic by asset and time: at least `least`, because engines never end; 0 = all."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "log_level": 0})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    found: dict[tuple[str, int], float] = {}
    begin, quiet = time.monotonic(), 0
    while len(found) < least if least else quiet < 5:  # half a second without a message: the end
        batch = [message for message in consumer.consume(10_000, 0.1) if message.error() is None]
        quiet = 0 if batch else quiet + 1
        for message in batch:
            body = json.loads(message.value() or b"")
            found[body["asset"], body["time"]] = body["score"]
        assert time.monotonic() - begin < PATIENCE_S, f"{len(found)} scores in {topic}"
    consumer.close()
    return found


def side_by_side(race: Race, engines: Sequence[Engine] = ENGINES) -> list[dict[str, Any]]:
    """Run the twin and every installed engine."""
    rows = [run(TWIN, race, sys.executable)]
    for engine in engines:
        version = installed(race.python, engine.package)
        if not version:
            print(f"left out: {engine.name}, since {race.python} cannot import {engine.package}", flush=True)
            continue
        rows.append({**run(engine, race, race.python), "version": version})
    return rows
