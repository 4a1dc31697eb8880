"""Puts a worker together from its settings: stages, keeper, loop, trainer, recorder. Pure wiring; nothing acts."""

import hashlib
import json
import os
import time
from collections.abc import Callable

import structlog

from monitor.connectors.base import Sink
from monitor.connectors.memory import MemoryBroker
from monitor.core.alerting import Alerting
from monitor.core.history import History
from monitor.core.pipeline import Dials, Pipeline
from monitor.core.records import Partition
from monitor.core.threshold import Threshold
from monitor.core.windows import Windows
from monitor.service.build import (
    make_models,
    make_outputs,
    make_points,
    make_published,
    make_sink,
    make_snapshots,
    make_source,
    wall_ms,
)
from monitor.service.daemon import Daemon, Pace
from monitor.service.health import Health
from monitor.service.held import Keeper
from monitor.service.library import Library
from monitor.service.metrics import Metrics
from monitor.service.notify import Notifier
from monitor.service.outbox import Outbox, Topics
from monitor.service.overview import Counter
from monitor.service.poison import Poison
from monitor.service.recorder import Recorder
from monitor.service.reload import dials, turned
from monitor.service.settings import Settings
from monitor.service.trail import Trail
from monitor.service.trainer import Job, Trainer
from monitor.store.base import Blobs

RECORDER_CONDITIONS = ("recorder source", "recorder")


def make_pipeline(settings: Settings, partition: Partition) -> Pipeline:
    """The stages of one partition, in their first state."""
    alerting = settings.alerting
    return Pipeline(
        settings.format.build(),
        Windows(**settings.windows.arguments()),
        Threshold(**settings.threshold.arguments()),
        Alerting(
            detector=settings.name,
            partition=partition,
            on_delay_ms=round(alerting.on_delay_s * 1000),
            off_delay_ms=round(alerting.off_delay_s * 1000),
            deadband=alerting.deadband,
            critical_ratio=alerting.critical_ratio,
            update_ms=round(alerting.update_s * 1000),
            gap_ms=(settings.windows.max_gap + 1) * settings.windows.step_ms,
        ),
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
    shape = [settings.windows.step_ms, settings.windows.length, settings.threshold.memory]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]


def make_daemon(
    settings: Settings,
    blobs: Blobs,
    metrics: Metrics,
    health: Health,
    broker: MemoryBroker | None = None,
    *,
    wanted: Callable[[], Dials] | None = None,
) -> tuple[Daemon, Sink]:
    """The detecting worker and its sink, which is to be opened before and closed after it.

    `wanted` tells where the dials are to stand, if that may change.
    """
    log = structlog.stdlib.get_logger("monitor")
    library = Library(make_models(blobs, metrics), settings.windows.length, time.monotonic, log)
    source = make_source(settings, blobs, metrics, broker)
    sink, committer = make_outputs(settings, source, metrics, broker)
    outputs = settings.outputs
    topics = Topics(
        outputs.alerts, outputs.scores, outputs.dead_letters, outputs.scores_every, settings.windows.step_ms
    )
    daemon = Daemon(
        source=source,
        committer=committer,
        outbox=Outbox(sink, topics, metrics, log, wall_ms),
        keeper=Keeper(
            pipeline=lambda partition, to: make_pipeline(turned(settings, to), partition),
            dials=wanted or (lambda: dials(settings)),
            history=lambda: make_history(settings),
            poison=lambda: Poison(settings.delivery.dead_letters_in_a_row, settings.delivery.dead_letters_share),
            trail=lambda: Trail(settings.windows.step_ms) if settings.health.paged else None,
            snapshots=make_snapshots(settings, blobs, metrics),
            blobs=blobs,
            library=library,
            settings=fingerprint(settings),
            metrics=metrics,
            log=log,
            wall_ms=wall_ms,
        ),
        library=library,
        trainer=make_trainer(settings, library, metrics),
        pace=make_pace(settings),
        counter=Counter(metrics),
        metrics=metrics,
        health=health,
        notifier=Notifier(os.environ, time.monotonic),
        log=log,
        wall_ms=wall_ms,
        monotonic=time.monotonic,
    )
    return daemon, sink


def make_pace(settings: Settings) -> Pace:
    """How much and how often."""
    return Pace(
        batch=settings.source.batch_messages,
        poll_s=settings.source.poll_s,
        checkpoint_s=settings.delivery.checkpoint_s,
        checkpoint_messages=settings.delivery.checkpoint_messages,
        flush_s=settings.delivery.flush_timeout_s,
        revoke_s=settings.delivery.revoke_timeout_s,
        snapshot_s=settings.store.snapshot_s,
        history_s=settings.store.history_s,
    )


def make_trainer(settings: Settings, library: Library, metrics: Metrics) -> Trainer:
    """The trainer of this process."""
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
        job=job,
        first_steps=training.first_steps,
        interval_s=training.interval_s,
        library=library,
        metrics=metrics,
        log=structlog.stdlib.get_logger("monitor.training"),
        monotonic=time.monotonic,
    )


def make_recorder(settings: Settings, metrics: Metrics, health: Health, broker: MemoryBroker | None = None) -> Recorder:
    """The recording worker; reads what the outputs are written to."""
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
    )


def make_health(settings: Settings) -> Health:
    """The state that probes ask for."""
    conditions = (
        "source",
        "partitions",
        "input",
        "outputs",
        *(RECORDER_CONDITIONS if settings.recorder.enabled else ()),
    )
    return Health(settings.health.stalled_s, conditions)
