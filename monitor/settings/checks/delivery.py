"""Settings of outputs, delivery, health and store that are refused."""

import re
from pathlib import Path

from monitor.settings.checks.problem import Problems
from monitor.settings.sections import Sections

_REVOKE_SHARE = 0.2  # of max.poll.interval.ms: the rest is for other work between two polls


def outputs_problems(settings: Sections) -> Problems:
    """Yield the problems of [outputs]."""
    directory = Path(settings.outputs.directory)
    if settings.outputs.kind == "files" and directory.exists() and not directory.is_dir():
        yield "this is no directory; no alert could be written", "outputs.directory"
    if settings.outputs.kind == "memory" != settings.source.kind:
        yield "no other process could read the alerts", "outputs.kind", "source.kind"


def delivery_problems(settings: Sections) -> Problems:
    """Yield the problems of [delivery]."""
    delivery = settings.delivery
    if delivery.mode == "exactly_once" and {settings.source.kind, settings.outputs.kind} != {"kafka"}:
        yield (
            "only Kafka commits outputs and offsets together; after a crash alerts would be published twice",
            "delivery.mode",
            "source.kind",
            "outputs.kind",
        )
    if delivery.flush_timeout_s > delivery.revoke_timeout_s:
        yield (
            "a partition would be revoked before the wait for its outputs is over",
            "delivery.flush_timeout_s",
            "delivery.revoke_timeout_s",
        )
    if settings.store.snapshot_s < delivery.checkpoint_s:
        yield (
            "snapshots are made at checkpoints only, so they would be made less often than asked for",
            "store.snapshot_s",
            "delivery.checkpoint_s",
        )

    interval = settings.kafka.options.get("max.poll.interval.ms")
    if isinstance(interval, int) and delivery.revoke_timeout_s * 1000 > _REVOKE_SHARE * interval:
        yield (
            f"the group would evict this worker; the limit is a fifth of max.poll.interval.ms = {interval}",
            "delivery.revoke_timeout_s",
            "kafka.options",
        )


def health_problems(settings: Sections) -> Problems:
    """Yield the problems of [health]."""
    if not settings.health.enabled:
        return
    for key in ("delivery.flush_timeout_s", "delivery.revoke_timeout_s", "source.poll_s"):
        if settings.health.stalled_s <= settings.value(key):
            yield "the process would be killed while it waits for a broker", "health.stalled_s", key


def store_problems(settings: Sections) -> Problems:
    """Yield the problems of [store]."""
    if re.search("//[^/]*:[^/]*@", settings.store.url):
        yield "a password in a URL ends in logs; set it in the environment of the backend", "store.url"
