"""A process that only trains (`monitor run --role train`). It reads no topic.

It learns from the histories that the detecting workers write to the store, and stores the model there for all of them.
"""

from collections.abc import Mapping
from threading import Event

from monitor.observe.observer import Observer
from monitor.store.base import StoreUnavailable
from monitor.training.registry import ModelRegistry
from monitor.training.trainers import Trainers

CONDITION = "store"
_STEP_S = 1.0


class TrainingWorker:
    """The loop around trainers without partitions."""

    def __init__(self, trainers: Trainers, registries: Mapping[str, ModelRegistry], observer: Observer) -> None:
        """Store the parts; `registries` are those of the models of each detector."""
        self._trainers = trainers
        self._registries = registries
        self._metrics = observer.metrics
        self._health = observer.health
        self._watchdog = observer.watchdog

    def run(self, stop: Event) -> None:
        """Work until `stop` is set. A running training is killed then."""
        for name in self._registries:
            self._metrics.begin("detector", name)
        try:
            while not stop.wait(_STEP_S):
                self._watchdog.alive()
                self._step()
        finally:
            self._watchdog.stopping()
            self._trainers.close()

    def _step(self) -> None:
        try:
            self._trainers.tick({})
            scorers = {name: registry.in_use() for name, registry in self._registries.items()}
        except StoreUnavailable as error:
            self._health.set(CONDITION, ok=False, reason=str(error))
            return
        self._health.set(CONDITION, ok=True)

        for name, status in self._trainers.status.items():
            scorer = scorers[name]
            self._metrics.set("monitor_learning_ratio", status.share if scorer is None else 1.0, detector=name)
            self._metrics.set("monitor_training_running", int(status.running), detector=name)
            if scorer is not None:
                created = self._registries[name].created_ms(scorer.model.version)
                self._metrics.set("monitor_model_created_timestamp_seconds", created / 1000, detector=name)
