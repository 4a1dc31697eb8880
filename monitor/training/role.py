"""A process that only trains (`monitor run --role train`). It reads no topic.

It learns from the histories that the detecting workers write to the store, and stores the model there for all of them.
"""

from threading import Event

from monitor.observe.observer import Observer
from monitor.store.base import StoreUnavailable
from monitor.training.registry import ModelRegistry
from monitor.training.trainer import Trainer

CONDITION = "store"
_STEP_S = 1.0


class TrainingWorker:
    """The loop around a trainer without partitions."""

    def __init__(self, trainer: Trainer, registry: ModelRegistry, observer: Observer) -> None:
        self._trainer = trainer
        self._registry = registry
        self._metrics = observer.metrics
        self._health = observer.health
        self._watchdog = observer.watchdog

    def run(self, stop: Event) -> None:
        """Work until `stop` is set. A running training is killed then."""
        try:
            while not stop.wait(_STEP_S):
                self._watchdog.alive()
                self._step()
        finally:
            self._watchdog.stopping()
            self._trainer.close()

    def _step(self) -> None:
        try:
            self._trainer.tick({})
            scorer = self._registry.in_use()
        except StoreUnavailable as error:
            self._health.set(CONDITION, ok=False, reason=str(error))
            return
        self._health.set(CONDITION, ok=True)

        status = self._trainer.status
        self._metrics.set("monitor_learning_ratio", status.share if self._trainer.learning else 1.0)
        self._metrics.set("monitor_training_running", int(status.running))
        if scorer is not None:
            created = self._registry.created_ms(scorer.model.version)
            self._metrics.set("monitor_model_created_timestamp_seconds", created / 1000)
