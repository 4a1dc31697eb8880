"""What settings of the process must not be together, nor with the files that are there: source, outputs, delivery.

Like configuration_checks.py, which says what is refused and what passes.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from monitor.core.decode.format import Format
from monitor.settings.checks import Problem, problem
from monitor.settings.tree import Settings

_TABLES = Format("json_wide")  # what rows of csv and npz files become
_REVOKE_SHARE = 0.2  # of max.poll.interval.ms: the rest is for what else happens between two polls


def check_process(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong with source, outputs and delivery."""
    for subject in (_source, _files, _unread, _tables, _topics, _outputs, _delivery, _health, _store):
        yield from subject(settings)


def _source(settings: Settings) -> Iterator[Problem]:
    source = settings.source
    if source.kind == "files" and not source.paths:
        yield problem("there would be nothing to read", "source.kind", "source.paths")
    if source.kind != "files" and not source.topics:
        yield problem("there would be nothing to read", "source.kind", "source.topics")
    if source.poll_s > settings.delivery.checkpoint_s:
        yield problem(
            "on a quiet topic every checkpoint would come late, since it waits for the poll",
            "source.poll_s",
            "delivery.checkpoint_s",
        )


def _files(settings: Settings) -> Iterator[Problem]:
    source = settings.source
    if source.kind != "files":
        return
    for path in source.paths:
        if path != "-" and not Path(path).is_file():
            yield problem(f"{path!r} is no file; its readings would be missing", "source.paths")
    if "-" in source.paths and source.format != "jsonl":
        yield problem("standard input is read line by line, and no table could be", "source.paths", "source.format")
    if "-" in source.paths and len(source.paths) > 1:
        yield problem("while standard input says nothing, the others would wait; it must be alone", "source.paths")
    if settings.format.asset_from == "key":
        consequence = "messages from files have no key; every one would become a dead letter"
        yield problem(consequence, "source.kind", "format.asset_from")
    written = {Path(settings.outputs.directory, f"{topic}.jsonl").resolve() for topic in _written(settings)}
    if settings.outputs.kind == "files" and written & {Path(path).resolve() for path in source.paths}:
        yield problem("the monitor would read its own alerts as readings", "source.paths", "outputs.directory")


def _unread(settings: Settings) -> Iterator[Problem]:
    source = settings.source
    if source.kind != "files":
        return
    for name in ("ignore", "time_column"):
        if getattr(source, name) and source.format != "csv":
            yield problem("only csv has columns; it would be ignored", f"source.{name}", "source.format")
    if source.asset and source.format == "jsonl":
        yield problem("lines of jsonl name their asset; it would be ignored", "source.asset", "source.format")


def _tables(settings: Settings) -> Iterator[Problem]:
    if settings.source.kind != "files" or settings.source.format == "jsonl":
        return
    for name in ("kind", "asset", "timestamp", "values", "asset_from", "timestamp_unit"):
        if getattr(settings.format, name) != getattr(_TABLES, name):
            consequence = f"rows become messages with {name} {getattr(_TABLES, name)}; every one would be a dead letter"
            yield problem(consequence, "source.format", f"format.{name}")


def _topics(settings: Settings) -> Iterator[Problem]:
    if settings.source.kind == settings.outputs.kind != "files":
        for name in ("alerts", "scores", "dead_letters"):
            if getattr(settings.outputs, name) in settings.source.topics:
                yield problem(
                    "the monitor would read what it writes itself, over and over", "source.topics", f"outputs.{name}"
                )
    if len(set(settings.source.topics)) < len(settings.source.topics):
        yield problem("a topic is named twice; which other one was meant would be missing", "source.topics")
    for one, other in combinations(("alerts", "scores", "dead_letters"), 2):
        if getattr(settings.outputs, one) == getattr(settings.outputs, other):
            yield problem(
                "both would go to the same topic, and whoever reads one would get the other",
                f"outputs.{one}",
                f"outputs.{other}",
            )


def _outputs(settings: Settings) -> Iterator[Problem]:
    directory = Path(settings.outputs.directory)
    if settings.outputs.kind == "files" and directory.exists() and not directory.is_dir():
        yield problem("this is no directory; no alert could be written", "outputs.directory")
    if settings.outputs.kind == "memory" != settings.source.kind:
        yield problem("nobody outside the process could read the alerts", "outputs.kind", "source.kind")


def _delivery(settings: Settings) -> Iterator[Problem]:
    delivery = settings.delivery
    if delivery.mode == "exactly_once" and {settings.source.kind, settings.outputs.kind} != {"kafka"}:
        yield problem(
            "only Kafka commits outputs and offsets together; after a crash alerts would come twice",
            "delivery.mode",
            "source.kind",
            "outputs.kind",
        )
    if delivery.flush_timeout_s > delivery.revoke_timeout_s:
        yield problem(
            "a partition would be taken away while its outputs are still waited for",
            "delivery.flush_timeout_s",
            "delivery.revoke_timeout_s",
        )
    if settings.store.snapshot_s < delivery.checkpoint_s:
        yield problem(
            "snapshots are only made at checkpoints; they would come less often than asked for",
            "store.snapshot_s",
            "delivery.checkpoint_s",
        )
    interval = settings.kafka.options.get("max.poll.interval.ms")
    if isinstance(interval, int) and delivery.revoke_timeout_s * 1000 > _REVOKE_SHARE * interval:
        limit = f"max.poll.interval.ms is {interval}, a fifth of which is the limit"
        yield problem(
            f"the group would go on without this worker: {limit}", "delivery.revoke_timeout_s", "kafka.options"
        )


def _health(settings: Settings) -> Iterator[Problem]:
    if not settings.health.enabled:
        return
    for key in ("delivery.flush_timeout_s", "delivery.revoke_timeout_s", "source.poll_s"):
        if settings.health.stalled_s <= settings.value(key):
            yield problem("the process would be killed while it waits for a broker", "health.stalled_s", key)


def _store(settings: Settings) -> Iterator[Problem]:
    if re.search("//[^/]*:[^/]*@", settings.store.url):
        yield problem("a password in a URL ends in logs; give it as the backend's environment asks for", "store.url")


def _written(settings: Settings) -> tuple[str, ...]:
    outputs = settings.outputs
    return outputs.alerts, outputs.scores, outputs.dead_letters
