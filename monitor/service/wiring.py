"""Puts a worker together from its settings: stages, keeper, loop, trainer, recorder. Pure wiring; nothing acts."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection

import structlog

from monitor.connectors.base import Sink
from monitor.connectors.memory.client import MemoryBroker
from monitor.core.alerts.machine_alerts import MachineAlerts
from monitor.core.alerts.sensor_alerts import SensorAlerts
from monitor.core.fitting.history import History
from monitor.core.model.new_assets import NewAssets
from monitor.core.pipeline import Dials, Pipeline
from monitor.core.records import Partition
from monitor.core.sensors.checks import Sensors
from monitor.core.sensors.clocks import Clocks
from monitor.core.threshold.threshold import Threshold
from monitor.core.windows.windows import Windows
from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.observe.watchdog import Notifier
from monitor.recorder.recorder import Recorder
from monitor.service.backends import (
    MonotonicWallClock,
    make_models,
    make_outputs,
    make_points,
    make_published,
    make_sink,
    make_snapshots,
    make_source,
    wall_ms,
)
from monitor.service.budget_outlook import make_budget, shape
from monitor.service.reload import dials, turned
from monitor.settings.tree import Role, Settings
from monitor.store.base import Blobs
from monitor.store.snapshots import Snapshots
from monitor.training.history_store import HistoryStore
from monitor.training.registry import ModelRegistry
from monitor.training.role import CONDITION as TRAINING_CONDITION
from monitor.training.role import TrainingWorker
from monitor.training.trainer import Job, Trainer
from monitor.worker.alert_charts import Trail
from monitor.worker.dead_letter_limit import DeadLetterLimit
from monitor.worker.loop import Daemon, LoopOptions
from monitor.worker.partitions import PartitionManager
from monitor.worker.publisher import Publisher, Topics
from monitor.worker.status import MetricsRecorder

RECORDER_CONDITIONS = ("recorder source", "recorder")


def make_pipeline(settings: Settings, partition: Partition) -> Pipeline:
    """The stages of one partition, in their first state."""
    alerting, windows, sensors = settings.alerting, settings.windows, settings.sensors
    return Pipeline(
        settings.format.build(),
        Windows(**settings.windows.arguments()),
        Threshold(**settings.threshold.arguments()),
        make_budget(settings),
        MachineAlerts(
            detector=settings.name,
            partition=partition,
            critical_ratio=alerting.critical_ratio,
            update_ms=round(alerting.update_s * 1000),
            **shape(settings),
        ),
        Sensors(
            length=windows.length,
            step_ms=windows.step_ms,
            min_observed=windows.min_observed,
            low=sensors.low,
            high=sensors.high,
            skip=sensors.skip,
        ),
        Clocks(
            tolerance_ms=round(sensors.clock_s * 1000),
            wait_ms=max(round(windows.lateness_s * 1000), windows.idle * windows.step_ms) + windows.step_ms,
            step_ms=windows.step_ms,
        ),
        SensorAlerts(
            detector=settings.name,
            partition=partition,
            on_delay_ms=round(alerting.on_delay_s * 1000),
            off_delay_ms=round(alerting.off_delay_s * 1000),
        ),
        NewAssets(length=windows.length, step_ms=windows.step_ms),
        dials=dials(settings),
    )


def make_history(settings: Settings) -> History:
    """The sample of one partition's past, empty."""
    return History(
        budget=settings.training.history_windows,
        length=settings.windows.length,
        step_ms=settings.windows.step_ms,
        horizon_ms=round(settings.training.horizon_s * 1000),
        guard_ms=round(settings.training.guard_s * 1000),
    )


def fingerprint(settings: Settings) -> str:
    """Of the settings that decide the shape of a state; a change of any other leaves snapshots usable."""
    threshold = settings.threshold
    shape: list[int | str] = [settings.windows.step_ms, settings.windows.length, threshold.memory]
    if threshold.kind != "ring":  # snapshots from when there were only rings stay usable
        shape.append(threshold.kind)
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]


def make_daemon(
    settings: Settings,
    blobs: Blobs,
    metrics: Metrics,
    health: Health,
    broker: MemoryBroker | None = None,
    *,
    role: Role = Role.ALL,
    wanted: Callable[[], Dials] | None = None,
) -> tuple[Daemon, Sink]:
    """The detecting worker and its sink, which is to be opened before and closed after it.

    `wanted` tells where the dials are to stand, if that may change.
    """
    log = structlog.stdlib.get_logger("monitor")
    notifier = Notifier(os.environ, time.monotonic, health.beat)
    library, histories = make_library(settings, blobs, metrics), make_histories(settings, blobs, notifier)
    source = make_source(settings, blobs, metrics, broker)
    sink, committer = make_outputs(settings, source, metrics, broker)
    outputs = settings.outputs
    topics = Topics(
        outputs.alerts, outputs.scores, outputs.dead_letters, outputs.scores_every, settings.windows.step_ms
    )
    daemon = Daemon(
        source=source,
        committer=committer,
        outbox=Publisher(sink, topics, metrics, log, wall_ms),
        keeper=make_keeper(settings, make_snapshots(settings, blobs, metrics), histories, library, metrics, wanted),
        histories=histories,
        library=library,
        trainer=make_trainer(settings, library, histories, metrics, notifier, role),
        pace=make_pace(settings),
        counter=MetricsRecorder(metrics, log),
        metrics=metrics,
        health=health,
        notifier=notifier,
        log=log,
        wall_ms=MonotonicWallClock(wall_ms),
        monotonic=time.monotonic,
    )
    return daemon, sink


def make_keeper(  # noqa: PLR0917 - what it keeps with, one each
    settings: Settings,
    snapshots: Snapshots,
    histories: HistoryStore,
    library: ModelRegistry,
    metrics: Metrics,
    wanted: Callable[[], Dials] | None,
) -> PartitionManager:
    """Who begins, restores and saves partitions; `wanted` as in `make_daemon`."""
    delivery = settings.delivery
    return PartitionManager(
        pipeline=lambda partition, to: make_pipeline(turned(settings, to), partition),
        dials=wanted or (lambda: dials(settings)),
        poison=lambda: DeadLetterLimit(delivery.dead_letters_in_a_row, delivery.dead_letters_share),
        trail=lambda: Trail(settings.windows.step_ms) if settings.health.paged else None,
        snapshots=snapshots,
        histories=histories,
        library=library,
        settings=fingerprint(settings),
        metrics=metrics,
        log=structlog.stdlib.get_logger("monitor"),
        wall_ms=wall_ms,
    )


def make_pace(settings: Settings) -> LoopOptions:
    """How much and how often."""
    return LoopOptions(
        batch=settings.source.batch_messages,
        poll_s=settings.source.poll_s,
        checkpoint_s=settings.delivery.checkpoint_s,
        checkpoint_messages=settings.delivery.checkpoint_messages,
        flush_s=settings.delivery.flush_timeout_s,
        revoke_s=settings.delivery.revoke_timeout_s,
        snapshot_s=settings.store.snapshot_s,
        history_s=settings.store.history_s,
    )


def make_library(settings: Settings, blobs: Blobs, metrics: Metrics) -> ModelRegistry:
    """The models of the store, as detectors."""
    log = structlog.stdlib.get_logger("monitor")
    return ModelRegistry(
        make_models(blobs, metrics), settings.windows.length, time.monotonic, log, settings.model.processor
    )


def make_histories(settings: Settings, blobs: Blobs, notifier: Notifier) -> HistoryStore:
    """The histories in the store."""
    log = structlog.stdlib.get_logger("monitor")
    return HistoryStore(blobs, settings.source.topics, lambda: make_history(settings), log, notifier.alive)


def make_trainer(  # noqa: PLR0917 - what it works with, one each
    settings: Settings,
    library: ModelRegistry,
    histories: HistoryStore,
    metrics: Metrics,
    notifier: Notifier,
    role: Role,
) -> Trainer:
    """The trainer of this process. Of a group that shares topics, the holder of the first partition trains."""
    first = Partition(settings.source.topics[0], 0) if settings.source.kind != "files" else None

    def leads(held: Collection[Partition]) -> bool:
        return role is Role.TRAIN or (role is Role.ALL and (first is None or first in held))

    training = settings.training
    job = Job(
        store=settings.store.url,
        recipe=training.recipe(settings.model),
        incumbent="",
        margin=training.margin,
        threads=settings.model.threads,
        nice=training.nice,
        memory_mb=training.memory_mb,
        timeout_s=training.timeout_s,
    )
    return Trainer(
        enabled=training.enabled,
        leads=leads,
        elsewhere=histories.elsewhere,
        job=job,
        first_steps=training.first_steps,
        interval_s=training.interval_s,
        library=library,
        metrics=metrics,
        log=structlog.stdlib.get_logger("monitor.training"),
        monotonic=time.monotonic,
        wall_ms=wall_ms,
        alive=notifier.alive,
    )


def make_training_worker(settings: Settings, blobs: Blobs, metrics: Metrics, health: Health) -> TrainingWorker:
    """The loop of a process that only trains."""
    library = make_library(settings, blobs, metrics)
    notifier = Notifier(os.environ, time.monotonic, health.beat)
    trainer = make_trainer(settings, library, make_histories(settings, blobs, notifier), metrics, notifier, Role.TRAIN)
    return TrainingWorker(trainer, library, metrics, health, notifier)


def make_recorder(
    settings: Settings, metrics: Metrics, health: Health, broker: MemoryBroker | None = None, role: Role = Role.ALL
) -> Recorder:
    """The recording worker; reads what the outputs are written to. Alone in its process, its loop is the heartbeat."""
    notifier = Notifier(os.environ, time.monotonic, health.beat)
    recorder, outputs = settings.recorder, settings.outputs
    topics = [outputs.alerts, outputs.scores] if outputs.scores_every else [outputs.alerts]
    return Recorder(
        source=make_published(settings, topics, metrics, broker),
        points=make_points(settings, metrics),
        dead=make_sink(settings, metrics, broker),
        alerts=outputs.alerts,
        dead_letters=outputs.dead_letters,
        batch=recorder.batch_points,
        poll_s=settings.source.poll_s,
        timeout_s=recorder.timeout_s,
        metrics=metrics,
        health=health,
        log=structlog.stdlib.get_logger("monitor.recorder"),
        monotonic=time.monotonic,
        alive=notifier.alive if role is Role.RECORD else lambda: None,
    )


def make_health(settings: Settings, role: Role = Role.ALL) -> Health:
    """The state that probes ask for."""
    detecting = ("source", "partitions", "input", "outputs")
    recording = RECORDER_CONDITIONS if settings.recorder.enabled else ()
    conditions = {
        Role.ALL: (*detecting, *recording),
        Role.DETECT: detecting,
        Role.RECORD: recording,
        Role.TRAIN: (TRAINING_CONDITION,),
    }
    return Health(settings.health.stalled_s, conditions[role])
