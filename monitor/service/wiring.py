"""Make the parts of a process from its settings: loop, publisher, partitions, trainer, recorder. Nothing acts here."""

import os
import time
from collections.abc import Callable, Collection, Mapping

import structlog

from monitor.connectors.base import Sink, is_pattern
from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Partition
from monitor.observe.clock import wall_ms
from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.observe.observer import Observer
from monitor.observe.watchdog import Notifier
from monitor.recorder.recorder import Recorder, RecorderOptions
from monitor.service.backends import (
    make_models,
    make_outputs,
    make_points,
    make_published,
    make_sink,
    make_snapshots,
    make_source,
)
from monitor.service.pipelines import fingerprint, make_keeping, make_pipeline
from monitor.settings.live import live_settings
from monitor.settings.tree import Role, Settings
from monitor.store.base import Blobs
from monitor.training.history_store import HistoryStore
from monitor.training.registry import ModelRegistry
from monitor.training.role import CONDITION as TRAINING_CONDITION
from monitor.training.role import TrainingWorker
from monitor.training.trainer import Job, Schedule, Trainer
from monitor.training.trainers import Trainers
from monitor.worker.alert_charts import AlertCharts
from monitor.worker.dead_letter_limit import DeadLetterLimit
from monitor.worker.loop import Daemon, LoopOptions
from monitor.worker.partitions import PartitionManager
from monitor.worker.publisher import Publisher, Topics
from monitor.worker.wanted import DetectorFactory, PartitionFactory, WantedDetectors

MOST_BATCHES = 16  # in one poll: a batch costs each detector 2 ms, however few of its readings are for it
RECORDER_CONDITIONS = ("recorder source", "recorder")


def make_observer(settings: Settings, role: Role = Role.ALL) -> Observer:
    """Make the observer of a process: metrics at 0, no condition known yet, systemd's watchdog if there is one."""
    health = make_health(settings, role)
    return Observer(
        metrics=Metrics(),
        health=health,
        watchdog=Notifier(os.environ, time.monotonic, health.beat),
        log=structlog.stdlib.get_logger("monitor"),
        wall_ms=wall_ms,
        monotonic=time.monotonic,
    )


def make_daemon(
    settings: Settings,
    blobs: Blobs,
    observer: Observer,
    broker: MemoryBroker | None = None,
    *,
    role: Role = Role.ALL,
    wanted: Callable[[], Settings] | None = None,
) -> tuple[Daemon, Sink]:
    """Make the detecting worker, and its sink, which the caller opens before it and closes after it.

    `wanted` gives the settings that partitions are to adopt, if these may change.
    """
    made = DetectorMaker(settings, blobs, observer, wanted or (lambda: settings))
    source = make_source(settings, blobs, observer.metrics, broker)
    sink, committer = make_outputs(settings, source, observer.metrics, broker)
    trainers = {name: factory.trainer for name, factory in made().factories.items()}

    daemon = Daemon(
        source=source,
        committer=committer,
        publisher=Publisher(sink, make_output_topics(settings), observer),
        partitions=PartitionManager(
            factory=make_factory(settings, made),
            snapshots=make_snapshots(settings, blobs, observer.metrics),
            observer=observer,
        ),
        trainers=make_trainers(settings, trainers, role, first_match=source.first_match),
        options=make_loop_options(settings),
        observer=observer,
    )
    return daemon, sink


def make_output_topics(settings: Settings) -> Topics:
    """Return the topics of the outputs, and how often scores are published."""
    outputs = settings.outputs
    return Topics(outputs.alerts, outputs.scores, outputs.dead_letters, outputs.scores_every)


def make_factory(settings: Settings, wanted: Callable[[], WantedDetectors]) -> PartitionFactory:
    """Return the makers of a partition's parts."""
    delivery = settings.delivery
    return PartitionFactory(
        format=settings.message_format(),
        dead_letter_limit=lambda: DeadLetterLimit(delivery.dead_letters_in_a_row, delivery.dead_letters_share),
        wanted=wanted,
    )


class DetectorMaker:
    """Make the detectors that the settings ask for now. One that stays keeps its stores and its trainer."""

    def __init__(self, settings: Settings, blobs: Blobs, observer: Observer, wanted: Callable[[], Settings]) -> None:
        self._blobs = blobs
        self._observer = observer
        self._wanted = wanted
        self._known: dict[str, DetectorFactory] = {}
        self._settings = settings
        self._made = self._make(settings)
        self._known = dict(self._made.factories)

    def __call__(self) -> WantedDetectors:
        """Return the detectors; the same object as before while the settings are the same."""
        settings = self._wanted()
        if settings is not self._settings:
            made = self._make(settings)
            self._made = self._made if made.same(self._made) else made
            self._settings, self._known = settings, dict(self._made.factories)
        return self._made

    def _make(self, settings: Settings) -> WantedDetectors:
        return WantedDetectors({each.name: self._factory(each) for each in settings.per_detector()})

    def _factory(self, settings: Settings) -> DetectorFactory:
        known = self._known.get(settings.name)
        registry = known.registry if known else make_registry(settings, self._blobs, self._observer)
        histories = known.histories if known else make_histories(settings, self._blobs, self._observer)
        return DetectorFactory(
            route=settings.route(),
            fingerprint=fingerprint(settings),
            live=live_settings(settings),
            pipeline=lambda partition, to: make_pipeline(settings, partition, to),
            charts=lambda: AlertCharts() if settings.health.paged else None,
            histories=histories,
            registry=registry,
            trainer=known.trainer if known else make_trainer(settings, registry, histories, self._observer),
        )


def make_loop_options(settings: Settings) -> LoopOptions:
    """Return sizes and times of the loop."""
    detectors = settings.per_detector()
    return LoopOptions(
        batch=settings.source.batch_messages * min(len(detectors), MOST_BATCHES),
        poll_s=settings.source.poll_s,
        silence_s=settings.source.silence_s,
        checkpoint_s=settings.delivery.checkpoint_s,
        checkpoint_messages=settings.delivery.checkpoint_messages,
        flush_s=settings.delivery.flush_timeout_s,
        revoke_s=settings.delivery.revoke_timeout_s,
        snapshot_s=settings.store.snapshot_s,
        history_s=settings.store.history_s,
    )


def make_registry(settings: Settings, blobs: Blobs, observer: Observer) -> ModelRegistry:
    """Make the registry of a detector's models."""
    models = make_models(settings, blobs, observer.metrics)
    return ModelRegistry(models, settings.windows.length, observer.monotonic, observer.log)


def make_histories(settings: Settings, blobs: Blobs, observer: Observer) -> HistoryStore:
    """Make the store of the histories that a detector learns from."""
    return HistoryStore(blobs, settings.name, settings.source.topics, make_keeping(settings), observer)


def make_trainer(settings: Settings, registry: ModelRegistry, histories: HistoryStore, observer: Observer) -> Trainer:
    """Make the trainer of a detector."""
    training = settings.training
    job = Job(
        store=settings.store.url,
        detector=settings.name,
        recipe=settings.recipe(),
        incumbent="",
        margin=training.margin,
        threads=settings.model.threads,
        nice=training.nice,
        memory_mb=training.memory_mb,
        timeout_s=training.timeout_s,
    )
    return Trainer(
        Schedule(training.enabled, training.first_steps, training.interval_s),
        job,
        registry,
        observer.named("monitor.training"),
        histories.elsewhere,
        spans=training.spans,
    )


def make_trainers(
    settings: Settings, trainers: Mapping[str, Trainer], role: Role, *, first_match: Callable[[], str] = lambda: ""
) -> Trainers:
    """Make the trainers of this process. In a group that shares topics, the owner of the first partition trains.

    That is a partition of the first topic with a name, or without any of `first_match`, the first one of a pattern.
    """
    named = [topic for topic in settings.source.topics if not is_pattern(topic)]

    def leads(held: Collection[Partition]) -> bool:
        if role is not Role.ALL:
            return role is Role.TRAIN
        if settings.source.kind == "files":  # they are read by one process alone, which then trains, too
            return True
        return bool(held) and Partition(named[0] if named else first_match(), 0) in held

    return Trainers(trainers, leads)


def make_training_worker(settings: Settings, blobs: Blobs, observer: Observer) -> TrainingWorker:
    """Make the loop of a process that only trains."""
    registries: dict[str, ModelRegistry] = {}
    trainers: dict[str, Trainer] = {}
    for each in settings.per_detector():
        registries[each.name] = make_registry(each, blobs, observer)
        histories = make_histories(each, blobs, observer)
        trainers[each.name] = make_trainer(each, registries[each.name], histories, observer)
    return TrainingWorker(make_trainers(settings, trainers, Role.TRAIN), registries, observer)


def make_recorder(
    settings: Settings, observer: Observer, broker: MemoryBroker | None = None, role: Role = Role.ALL
) -> Recorder:
    """Make the recording worker, which reads the topics of the outputs.

    Alone in its process, its loop gives the signs of life. Next to a detecting worker it gives none.
    """
    recorder, outputs = settings.recorder, settings.outputs
    topics = [outputs.alerts, outputs.scores] if outputs.scores_every else [outputs.alerts]
    own = observer.named("monitor.recorder")
    return Recorder(
        make_published(settings, topics, observer.metrics, broker),
        make_points(settings, observer.metrics),
        make_sink(settings, observer.metrics, broker),
        RecorderOptions(
            alerts=outputs.alerts,
            dead_letters=outputs.dead_letters,
            batch=recorder.batch_points,
            poll_s=settings.source.poll_s,
            timeout_s=recorder.timeout_s,
        ),
        own if role is Role.RECORD else own.without_watchdog(),
    )


def make_health(settings: Settings, role: Role = Role.ALL) -> Health:
    """Make the health of a process, with the conditions of its role."""
    detecting = ("source", "partitions", "input", "outputs")
    recording = RECORDER_CONDITIONS if settings.recorder.enabled else ()
    conditions = {
        Role.ALL: (*detecting, *recording),
        Role.DETECT: detecting,
        Role.RECORD: recording,
        Role.TRAIN: (TRAINING_CONDITION,),
    }
    return Health(settings.health.stalled_s, conditions[role])
