"""A worker on the in-process broker with the small machines of tests/core/machines.py, and helpers to inspect it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.decode.decode import decode
from monitor.core.decode.format import Format
from monitor.core.detectors import timestamps_of
from monitor.core.model.model import Model
from monitor.core.pipeline import Mark, Pipeline
from monitor.core.records import Message, Outputs, Partition, PartitionOutputs, Record
from monitor.service.run import Service
from monitor.settings.load import load
from monitor.settings.tree import Role, Settings
from monitor.store.files import open_blobs
from monitor.store.folder import detector_folder
from monitor.store.models import Models
from monitor.worker.notes import Notes
from monitor.worker.partition_state import PartitionState
from tests.core.machines import ASSETS, CHANNELS, STEP, L, model

ORIGIN = 1_700_000_000_000 // (L * STEP) * L * STEP  # ms UTC of step 0, on the grid of blocks
READINGS = Partition("readings", 0)
PATIENCE_S = 60.0
WIDE = Format("json_wide")
SMALL: Mapping[str, object] = {
    "name": "test",
    "source.kind": "memory",
    "source.topics": ["readings"],
    "source.poll_s": 0.02,
    "outputs.kind": "memory",
    "windows.length": L,
    "windows.max_gap": 8,
    "model.hidden": 8,
    "model.latent": 3,
    "model.layers": 2,
    "model.kernel": 3,
    "training.guard_s": 16.0,
    "training.steps": 300,
    "training.learning_rate": 5e-3,
    "training.interval_s": 0.0,
    "threshold.warm": 200,
    "alerting.off_delay_s": 5.0,
    "delivery.checkpoint_s": 0.05,
    "health.enabled": False,
}


def settings(store: Path, **overrides: object) -> Settings:
    """Return settings of a small worker. `windows__length=32` sets windows.length."""
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return load(None, {}, {**SMALL, "store.url": str(store), **given})


def stored_models(store: Path, detector: str = "test") -> Models:
    """Return the models of a detector in a store."""
    return Models(detector_folder(open_blobs(str(store)), detector), lambda _: None)


def put_model(store: Path, made: Model | None = None, detector: str = "test") -> str:
    """Store a model, make it current and return its version."""
    models = stored_models(store, detector)
    version = models.put(*(made or model()).pack(), ORIGIN)
    models.set_current(version)
    return version


def values(batch: np.ndarray, first: int = 0) -> list[tuple[bytes, bytes, int]]:
    """Return rows (A, T, C) as json_wide messages: key, value, time. NaN is left out."""
    sent = []
    for step in range(batch.shape[1]):
        at = ORIGIN + (first + step) * STEP
        for asset, name in enumerate(ASSETS):
            row = {c: float(v) for c, v in zip(CHANNELS, batch[asset, step].tolist(), strict=True) if v == v}  # noqa: PLR0124
            body = json.dumps({"asset": name, "timestamp": at, "values": row})
            sent.append((name.encode(), body.encode(), at))
    return sent


def feed(broker: MemoryBroker, sent: Sequence[tuple[bytes | None, bytes | None, int]], topic: str = "readings") -> None:
    for key, value, at in sent:
        broker.append(Record(topic, key, value), timestamp=at)


def published(broker: MemoryBroker, topic: str) -> list[dict[str, Any]]:
    """Return the JSON bodies in a topic, partition by partition."""
    records = [stored.record for part in broker.partitions(topic) for stored in broker.read(part)]
    return [json.loads(record.value or b"null") for record in records]


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(0.01)


def processed(
    pipeline: Pipeline, messages: Sequence[Message], now: int, mark: Mark = lambda _: None, form: Format = WIDE
) -> Outputs:
    """Decode messages and let one pipeline process their readings, as a detector that wants everything."""
    decoded, _ = decode(messages, form, now)
    return pipeline.process(decoded, timestamps_of(messages), mark)


def only(state: PartitionState) -> Pipeline:
    """Return the pipeline of a partition's only detector."""
    (pipeline,) = state.detectors.pipelines.values()
    return pipeline


def own(outputs: PartitionOutputs) -> Outputs:
    """Return the outputs of a partition's only detector."""
    (each,) = outputs.detectors.values()
    return each


def notes(state: PartitionState) -> Notes:
    """Return what the worker keeps of a partition's only detector."""
    (kept,) = state.notes.values()
    return kept


class Clock:
    """A clock that advances only when a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def readings(batch: np.ndarray, first: int = 0, offset: int = 0) -> list[Message]:
    """Return the messages of `values` as a source delivers them, starting at `offset`."""
    sent = enumerate(values(batch, first), offset)
    return [Message(READINGS, place, key, value, at) for place, (key, value, at) in sent]


@contextmanager
def away(store: Path) -> Iterator[None]:
    """Make the store unavailable: inside the context nothing can be read or written there."""
    renamed = store.with_name(f"{store.name}-renamed")
    store.rename(renamed)
    store.write_text("a file in place of the directory")
    try:
        yield
    finally:
        store.unlink()
        renamed.rename(store)


@contextmanager
def running(wanted: Settings, broker: MemoryBroker | None, role: Role = Role.ALL) -> Iterator[Service]:
    """Run a worker in a thread and stop it cleanly at the end. Errors of the worker are raised."""
    service, stop = Service(wanted, broker, role), threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            service.run(stop)
        except BaseException as failure:  # noqa: BLE001 - raised below
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield service
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        if failures:  # more informative than a condition that timed out
            raise failures[0]
    assert not thread.is_alive()


def committed(broker: MemoryBroker) -> int:
    """Return the number of readings messages that the group has committed."""
    return sum(offset for part, offset in broker.committed("monitor").items() if part.topic == "readings")
