"""The partition manager of a worker on a store, and partitions to process with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.model.scorer import Scorer
from monitor.core.records import Message, Outputs, State
from monitor.service.wiring import make_daemon, make_observer
from monitor.settings.tree import Settings
from monitor.store.files import LocalBlobs
from monitor.store.snapshots import Snapshots
from monitor.training.history_store import HistoryStore
from monitor.training.registry import ModelRegistry
from monitor.worker.partition_state import PartitionState
from monitor.worker.partitions import PartitionManager
from tests.core.machines import rows
from tests.rig import READINGS, readings, settings

NEVER = 10.0**12  # monotonic seconds


class ManagerRig:
    """A store, and the partition manager of a worker on it."""

    def __init__(self, path: Path, wanted: Settings | None = None, blobs: LocalBlobs | None = None) -> None:
        self.path, self.settings = path, wanted or settings(path)
        observer = make_observer(self.settings)
        self.metrics = observer.metrics
        self.blobs = blobs or LocalBlobs(path)
        self.blobs.open()
        daemon, _ = make_daemon(self.settings, self.blobs, observer, MemoryBroker())
        self.manager: PartitionManager = daemon._partitions
        factory = next(iter(self.manager.wanted().values()))
        self.histories: HistoryStore = factory.histories
        self.registry: ModelRegistry = factory.registry

    def adopt(self, state: PartitionState, scorer: Scorer | None = None) -> None:
        """Adopt what is wanted, with this model in use if one is given."""
        if scorer is not None:
            self.registry._in_use = scorer
            self.registry._checked = float("inf")
        self.manager.adopt(state)

    def snapshots(self) -> list[str]:
        return [name.rpartition("/")[2] for name in self.blobs.names("snapshots")]

    def newest(self) -> tuple[int, str]:
        """Offset and model of the newest snapshot."""
        found = Snapshots(self.blobs, lambda _: None).newest(READINGS, 10**9)
        assert found is not None
        (part,) = found.detectors.parts.values()
        return found.offset, part.model


def process(state: PartitionState, messages: Sequence[Message]) -> Outputs:
    """Let the partition process messages, and return the outputs of its only detector."""
    outputs = state.process(messages, messages[-1].timestamp + 60_000, lambda _: None)
    state.remember(outputs)
    (own,) = outputs.detectors.values()
    return own


def committed(state: PartitionState) -> PartitionState:
    state.committed = state.next
    return state


def equal(one: State, other: State, part: str = "") -> bool:
    names = [name for name in one if name.startswith(part)]
    assert names
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in names)


def same(one: Outputs, other: Outputs) -> bool:
    assert one.scores is not None
    assert other.scores is not None
    assert one.thresholds is not None
    assert other.thresholds is not None
    assert len(one.scores.score) > 0
    return bool(
        np.array_equal(one.scores.score, other.scores.score)
        and np.array_equal(one.thresholds.threshold, other.thresholds.threshold)
        and list(one.alerts) == list(other.alerts)
    )


def process_and_keep(rig: ManagerRig, offset: int | None = None) -> PartitionState:
    state = rig.manager.assign(READINGS, offset, NEVER)
    process(state, readings(rows(20), offset=offset or 0))
    rig.manager.write_snapshot(committed(state))
    return state
