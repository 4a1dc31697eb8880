"""The detectors that the partitions of a worker are to have, and how their parts are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitor.core.decode.format import Format
from monitor.core.pipeline import LiveSettings, Pipeline
from monitor.core.records import Partition
from monitor.core.routing import Route, Router
from monitor.training.history_store import HistoryStore
from monitor.training.registry import ModelRegistry
from monitor.training.trainer import Trainer
from monitor.worker.alert_charts import AlertCharts
from monitor.worker.dead_letter_limit import DeadLetterLimit


@dataclass(frozen=True, slots=True)
class DetectorFactory:
    """Makers of one detector's parts in their first state, and the detector's stores."""

    route: Route
    fingerprint: str  # see `Pipeline`
    live: LiveSettings  # that its pipelines are to have
    pipeline: Callable[[Partition, LiveSettings], Pipeline]
    charts: Callable[[], AlertCharts | None]  # None = there is no page
    histories: HistoryStore
    registry: ModelRegistry
    trainer: Trainer


class WantedDetectors:
    """The detectors that every partition is to have. A change of them gives another object."""

    def __init__(self, factories: Mapping[str, DetectorFactory]) -> None:
        self.factories = factories  # by name, in their order
        self.router = Router({name: factory.route for name, factory in factories.items()})

    def same(self, other: "WantedDetectors") -> bool:
        """Return whether nothing that a partition adopts differs."""
        these, those = (
            [(name, each.route, each.fingerprint, each.live) for name, each in wanted.factories.items()]
            for wanted in (self, other)
        )
        return these == those


@dataclass(frozen=True, slots=True)
class PartitionFactory:
    """Makers of a partition's parts in their first state."""

    format: Format
    dead_letter_limit: Callable[[], DeadLetterLimit]
    wanted: Callable[[], WantedDetectors]


def current(pipeline: Pipeline, factory: DetectorFactory) -> bool:
    """Return whether the pipeline has its detector's shape, live settings and the model in use."""
    scorer = factory.registry.in_use()
    same = scorer is None or scorer.model.version == pipeline.model
    return same and pipeline.live == factory.live and pipeline.fingerprint == factory.fingerprint
