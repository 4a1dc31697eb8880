"""The implementations behind the seams: which source, which sink, which store. No other module names them.

Nothing here acts: run.py opens the parts. Only the store is reached at once, since its content decides how the rest
begins.
"""

import json
import math
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from monitor.connectors.base import BySource, Committer, Finding, Sample, Sink, Source, Unavailable, is_pattern
from monitor.connectors.files.envelopes import read_envelopes
from monitor.connectors.files.layout import TableOptions, legal
from monitor.connectors.files.sink import FileSink
from monitor.connectors.files.source import FileSource, OffsetOptions, ReplayOptions
from monitor.connectors.files.tables import table_flags
from monitor.connectors.kafka.past import read_past
from monitor.connectors.kafka.probe import Right, probe, refused_options
from monitor.connectors.kafka.sample import sample_topic
from monitor.connectors.kafka.sink import KafkaSink, count_partitions, create_topics
from monitor.connectors.kafka.source import KafkaSource
from monitor.connectors.kafka.transactions import KafkaTransactions
from monitor.connectors.memory.client import MemoryBroker, MemorySink, MemorySource
from monitor.connectors.schemas.source import SchemaSource
from monitor.core.decode.bodies import unpacked
from monitor.core.decode.decode import decode
from monitor.core.decode.format import DecodeError
from monitor.core.decode.times import parse_time
from monitor.core.records import Message, Partition
from monitor.observe.clock import wall_ms
from monitor.observe.metrics import Metrics
from monitor.settings.load import read_secret
from monitor.settings.tree import Settings
from monitor.store.base import Blobs, Notice, StoreUnavailable
from monitor.store.files import open_blobs
from monitor.store.folder import DETECTORS, detector_folder
from monitor.store.models import Models
from monitor.store.snapshots import Snapshots

if TYPE_CHECKING:
    from monitor.connectors.influx import InfluxSink
    from monitor.connectors.schemas.registry import Registry
    from monitor.connectors.schemas.resolver import Resolver

_SPARE_S = 10.0  # of a transaction, beyond the longest checkpoint: to end it is a request of its own


def make_blobs(settings: Settings) -> Blobs:
    """Open the store. Raises ValueError, also for a store of earlier versions, or StoreUnavailable."""
    blobs = open_blobs(settings.store.url)
    for folder in ("models", "history"):
        if blobs.names(folder):
            raise ValueError(
                f"store.url: {settings.store.url} has {folder}/ at its root, as earlier versions wrote it; expected it "
                f"in the folder of a detector: move it to {DETECTORS}/{settings.name}/{folder}, or remove it"
            )
    return blobs


def make_models(settings: Settings, blobs: Blobs, metrics: Metrics) -> Models:
    """Make the models of the detector that the settings name."""
    folder = detector_folder(blobs, settings.name)
    return Models(folder, _log_notices(metrics, folder.full))


def make_snapshots(settings: Settings, blobs: Blobs, metrics: Metrics) -> Snapshots:
    """Make the snapshots of a store."""
    return Snapshots(blobs, _log_notices(metrics), settings.store.keep)


def make_source(
    settings: Settings,
    blobs: Blobs | None,
    metrics: Metrics,
    broker: MemoryBroker | None,
    on_layout: Callable[[str], None] | None = None,
) -> Source:
    """Make the source of readings. The store, if there is one, keeps the offsets of files.

    `on_layout` gets a sentence about how a csv or parquet file is read. By default it is logged. Raises ValueError for
    files with schemas that cannot be read.
    """
    source = settings.source
    if source.kind == "files":
        return FileSource(
            source.paths,
            source.format,
            tables=_table_options(settings),
            replay=ReplayOptions(source.speed, _times_of(settings)),
            offsets=_offset_options(blobs, f"offsets/{source.group}.json"),
            on_notice=_log_errors(metrics, "source"),
            on_layout=on_layout or _log_layout,
        )
    below = _make_topics_source(settings, metrics, broker)
    resolver = make_resolver(settings)
    return below if resolver is None else SchemaSource(below, resolver, _log_registry(metrics))


def _make_topics_source(settings: Settings, metrics: Metrics, broker: MemoryBroker | None) -> Source:
    source = settings.source
    if source.kind == "kafka":
        return KafkaSource(
            settings.kafka.client(),
            source.topics,
            source.group,
            source.reset,
            _log_errors(metrics, "source"),
            on_deleted=lambda number: metrics.add("monitor_messages_lost_total", number),
        )
    assert broker is not None, "a source in memory needs the broker it reads from"
    return MemorySource(broker, source.topics, source.group, source.reset)


def make_resolver(settings: Settings) -> "Resolver | None":
    """Make the reader of messages with schemas; None if no setting names a schema. Connects to nothing.

    Raises ValueError for files that cannot be read.
    """
    schemas = settings.schemas
    if not schemas.registry_url and not schemas.files:
        return None
    from monitor.connectors.schemas.encoding import file_encoding  # noqa: PLC0415 - few installations need it
    from monitor.connectors.schemas.resolver import Resolver  # noqa: PLC0415 - as above

    local = file_encoding(schemas.files, schemas.message) if schemas.files else None
    return Resolver(_make_registry(settings) if schemas.registry_url else None, local)


def _make_registry(settings: Settings) -> "Registry":
    from monitor.connectors.schemas.registry import Registry, RegistryOptions  # noqa: PLC0415 - as above

    schemas = settings.schemas
    password = schemas.password.get_secret_value()
    return Registry(
        RegistryOptions(schemas.registry_url, schemas.username, password, schemas.ca_location, schemas.timeout_s)
    )


def probe_registry(settings: Settings, seconds: float) -> list[Finding]:
    """Try the schema registry: whether it answers, and whether it takes the credentials."""
    item = f"schema registry {settings.schemas.registry_url}"
    registry = _make_registry(settings)
    try:
        subjects = registry.check(seconds)
    except Unavailable as error:
        return [Finding(item, False, str(error).removeprefix(f"{item} "))]
    finally:
        registry.close()
    return [Finding(item, True, f"it answers; it has {subjects} subject{'' if subjects == 1 else 's'}")]


def make_sample(settings: Settings, limit: int, tell: Callable[[str], None], most_bytes: float = math.inf) -> Sample:
    """Return about `limit` messages of the first topic, or the first ones of the files.

    `tell` is called with each notice about the files, of which about `most_bytes` of values are read. Raises
    ValueError, also if the first topic is a pattern, and Unavailable.
    """
    source = settings.source
    if source.kind == "kafka":
        if is_pattern(source.topics[0]):
            raise ValueError(
                f"source.topics: {source.topics[0]!r} is a pattern, and a sample is of one topic; name one with --topic"
            )
        sample = sample_topic(settings.kafka.client(), source.topics[0], f"{source.group}-onboard", limit)
        return _as_json(settings, sample)

    files = FileSource(source.paths, source.format, tables=_table_options(settings), on_notice=tell, on_layout=tell)
    runs: dict[Partition, list[Message]] = {}
    files.open(dict.fromkeys, lambda _: None, lambda _: None)
    try:
        while limit > 0 and most_bytes > 0 and not files.ended():
            messages = files.poll(min(limit, source.batch_messages), source.poll_s)
            limit -= len(messages)
            most_bytes -= sum(len(message.value or b"") for message in messages)
            for message in messages:
                runs.setdefault(message.partition, []).append(message)
        held = {part: len(run) + files.lag()[part] for part, run in runs.items()}
    finally:
        files.close()
    return Sample(tuple(map(tuple, runs.values())), held, "")


def _as_json(settings: Settings, sample: Sample) -> Sample:
    """Return the sample with the JSON texts of messages that have a schema.

    Raises ValueError if none of them fits its schema, Unavailable.
    """
    resolver = make_resolver(settings)
    if resolver is None:
        return sample
    runs, reasons = [], []
    for run in sample.runs:
        errors: dict[int, DecodeError] = {}
        runs.append(tuple(unpacked(resolver.resolved(run), errors)))
        reasons += [error.reason for error in errors.values()]
    if reasons and len(reasons) == sum(map(len, runs)):
        raise ValueError(f"no message of the sample can be read by its schema; the first: {reasons[0]}")
    return replace(sample, runs=tuple(runs))


def make_dead_letters(settings: Settings, since: int) -> Iterator[list[Message]]:
    """Yield the records of the dead-letter topic, or of its file, up to its current end; see `read_past`.

    In a topic only those from `since` on, ms UTC. Raises ValueError, Unavailable, OSError.
    """
    outputs = settings.outputs
    if outputs.kind == "kafka":
        group = f"{settings.source.group}-dead-letters"
        return read_past(settings.kafka.client(), outputs.dead_letters, group, since)
    if outputs.kind == "files" and outputs.directory != "-":
        return read_envelopes(Path(outputs.directory) / f"{outputs.dead_letters}.jsonl")
    where = "standard output" if outputs.kind == "files" else "the memory of the process that ran"
    raise ValueError(f"outputs.kind is {outputs.kind}: the dead letters went to {where} and cannot be read again")


def count_topics(settings: Settings) -> dict[str, int]:
    """Return the number of partitions of every topic. Raises Unavailable."""
    return count_partitions(settings.kafka.client(), settings.delivery.flush_timeout_s)


def make_sink(settings: Settings, metrics: Metrics, broker: MemoryBroker | None) -> Sink:
    """Make the sink of the outputs."""
    outputs = settings.outputs
    if outputs.kind == "kafka":
        return KafkaSink(settings.kafka.client(), _log_errors(metrics, "outputs"))
    if outputs.kind == "files":
        return FileSink(outputs.directory, fsync=outputs.fsync, on_notice=_log_errors(metrics, "outputs"))
    assert broker is not None, "outputs in memory need the broker they go to"
    return MemorySink(broker)


def make_outputs(
    settings: Settings, source: Source, metrics: Metrics, broker: MemoryBroker | None
) -> tuple[Sink, Committer]:
    """Make the sink of the outputs, and the committer for the offsets of `source`."""
    if settings.delivery.mode == "at_least_once":
        return make_sink(settings, metrics, broker), BySource(source)

    source = source.below if isinstance(source, SchemaSource) else source
    assert isinstance(source, KafkaSource), "only Kafka's offsets can be part of a transaction"
    # A static member keeps its transactional id over restarts, so that a new process fences the old one.
    instance = settings.kafka.options.get("group.instance.id", uuid.uuid4().hex)
    transactions = KafkaTransactions(
        settings.kafka.client(),
        f"{settings.name}-{settings.source.group}-{instance}",
        source.membership,
        settings.delivery.revoke_timeout_s + _SPARE_S,
        _log_errors(metrics, "outputs"),
    )
    return transactions, transactions


def make_published(settings: Settings, topics: Sequence[str], metrics: Metrics, broker: MemoryBroker | None) -> Source:
    """Make the source of the recorder: the topics that the outputs are written to."""
    group = settings.recorder.group
    if broker is not None:
        return MemorySource(broker, topics, group)
    return KafkaSource(settings.kafka.client(), topics, group, "earliest", _log_errors(metrics, "recorder source"))


def make_points(settings: Settings, metrics: Metrics) -> "InfluxSink":
    """Make the sink of the time-series database."""
    recorder = settings.recorder
    from monitor.connectors.influx import InfluxLimits, InfluxSink  # noqa: PLC0415 - its client takes 80 ms to import

    return InfluxSink(
        recorder.url,
        lambda: _token(settings),
        recorder.org,
        recorder.bucket,
        InfluxLimits(records=4 * recorder.batch_points, timeout=recorder.timeout_s),
        on_notice=_log_errors(metrics, "recorder"),
        on_answer=lambda status: metrics.add("monitor_recorder_writes_total", code=str(status)),
    )


def make_producer(settings: Settings, metrics: Metrics) -> Sink:
    """Make a Kafka sink, whatever the outputs are."""
    return KafkaSink(settings.kafka.client(), _log_errors(metrics, "outputs"))


def make_topics(settings: Settings, partitions: int) -> dict[str, str]:
    """Create every topic that the settings name. Return what was done by topic or pattern. Raises Unavailable."""
    outputs = settings.outputs
    patterns = [topic for topic in settings.source.topics if is_pattern(topic)]
    named = [topic for topic in settings.source.topics if not is_pattern(topic)]
    names = [*named, outputs.alerts, outputs.scores, outputs.dead_letters]
    made = create_topics(settings.kafka.client(), dict.fromkeys(names, partitions), settings.delivery.flush_timeout_s)
    return {**dict.fromkeys(patterns, "a pattern, nothing to create"), **made}


def refused_kafka_options(settings: Settings) -> list[str]:
    """Return a sentence for each option in `kafka.options` that the client refuses. Connects to nothing."""
    return refused_options(settings.kafka.options)


def probe_kafka(settings: Settings, seconds: float) -> list[Finding]:
    """Try brokers, topics and groups as far as these settings use them, within `seconds`."""
    source, outputs, recorder = settings.source, settings.outputs, settings.recorder
    topics: dict[str, set[Right]] = {}
    groups = []

    if source.kind == "kafka":
        topics |= {topic: {Right.READ} for topic in source.topics}
        groups.append(source.group)
    if outputs.kind == "kafka":
        topics |= {topic: {Right.WRITE} for topic in (outputs.alerts, outputs.scores, outputs.dead_letters)}
    if recorder.enabled:
        groups.append(recorder.group)
        for topic in (outputs.alerts, outputs.scores):
            topics.setdefault(topic, set()).add(Right.READ)

    return probe(settings.kafka.client(), topics, groups, seconds)


def probe_points(settings: Settings, seconds: float) -> list[Finding]:
    """Try the time-series database: whether it answers, and whether the token may write. Writes no point."""
    recorder = settings.recorder
    item = f"database {recorder.url}, bucket {recorder.bucket}"
    sink = make_points(settings, Metrics())
    sink.open()
    try:
        sink.check(seconds)
    except Unavailable as error:
        return [Finding(item, False, str(error))]
    finally:
        sink.close()
    return [Finding(item, True, "it answers, and the token may write")]


def file_asset(asset: str, path: Path) -> str:
    """Return the asset of a csv, parquet or npz file without a column of assets, as the source of files names it."""
    return legal(asset or path.stem)


def file_time(text: str) -> int:
    """Parse a time as in csv files. Return ms UTC. Raises ValueError."""
    return parse_time(text.strip())


def file_flags(settings: Settings, path: Path, column: str) -> dict[str, tuple[list[int], list[bool]]]:
    """Return times and labels of each asset of a table, read as the source of files reads it. Raises ValueError."""
    return table_flags(path, _table_options(settings), column, settings.source.format)


def _token(settings: Settings) -> str:
    """Return the recorder's token. Its file is read each time, since it may have been replaced."""
    path = settings.recorder.token_file
    return (read_secret(path) if path else settings.recorder.token).get_secret_value()


def _times_of(settings: Settings) -> Callable[[Sequence[bytes]], list[int | None]]:
    """Return a function that gives the time of the first reading in each line."""
    form, nowhere = settings.message_format(), Partition("lines", 0)

    def times_of(lines: Sequence[bytes]) -> list[int | None]:
        messages = [Message(nowhere, number, None, line, 0) for number, line in enumerate(lines)]
        readings, _ = decode(messages, form, wall_ms())
        numbers, first = np.unique(readings.offset, return_index=True)
        times = dict(zip(numbers.tolist(), readings.time[first].tolist(), strict=True))
        return [times.get(number) for number in range(len(lines))]

    return times_of


def _table_options(settings: Settings) -> TableOptions:
    names = {each.name for each in fields(TableOptions)} - {"kinds"}
    options = TableOptions(**{name: getattr(settings.source, name) for name in names})
    return replace(options, kinds=settings.channel_kinds())


def _offset_options(blobs: Blobs | None, name: str) -> OffsetOptions:
    """Keep offsets of files in the store; without a store they are kept in memory."""
    if blobs is None:
        return OffsetOptions()
    return OffsetOptions(_read_offsets(blobs, name), lambda committed: _write_offsets(blobs, name, committed))


def _read_offsets(blobs: Blobs, name: str) -> dict[Partition, int]:
    try:
        saved = json.loads(blobs.read(name))
    except FileNotFoundError:
        return {}
    return {Partition(topic, number): offset for topic, number, offset in saved}


def _write_offsets(blobs: Blobs, name: str, committed: Mapping[Partition, int]) -> None:
    """Save offsets. Raises OSError, after which the file source refuses the commit for now."""
    try:
        blobs.write(name, json.dumps([[*part, offset] for part, offset in committed.items()]).encode())
    except StoreUnavailable as error:
        raise OSError(f"{error.path}: {error.reason}") from error


def _log_notices(metrics: Metrics, full: Callable[[str], str] = str) -> Callable[[Notice], None]:
    """Return a callback that counts and logs the files that a store has quarantined; `full` returns their names."""
    log = structlog.stdlib.get_logger("monitor.store")

    def report(notice: Notice) -> None:
        metrics.add("monitor_store_notices_total", kind=notice.kind)
        moved = full(notice.quarantined)
        log.warning("file quarantined", kind=notice.kind, name=full(notice.name), moved=moved, reason=notice.reason)

    return report


def print_layout(text: str) -> None:
    """Print how a csv or parquet file is read, for commands whose standard output is their result."""
    print(f"monitor: {text}", file=sys.stderr)


def _log_layout(text: str) -> None:
    """Log how a csv or parquet file is read, so that a wrong guess is seen."""
    log = structlog.stdlib.get_logger("monitor")
    log.info("table recognised", text=text)


def _log_registry(metrics: Metrics) -> Callable[[str], None]:
    """Return a callback that logs why the schema registry cannot be asked, and that it answers again (empty text)."""
    log = structlog.stdlib.get_logger("monitor")

    def report(why: str) -> None:
        if why:
            metrics.add("monitor_complaints_total", of="schema registry")
            log.warning("schema registry unavailable", reason=why)
        else:
            log.info("schema registry available")

    return report


def _log_errors(metrics: Metrics, where: str) -> Callable[[str], None]:
    """Return a callback that counts and logs the errors that a client reports."""
    log = structlog.stdlib.get_logger("monitor")

    def report(text: str) -> None:
        metrics.add("monitor_complaints_total", of=where)
        log.warning("client error reported", of=where, text=text)

    return report
