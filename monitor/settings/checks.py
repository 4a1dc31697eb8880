"""Combinations of settings that are refused. One function per subject; each problem names the consequence.

A combination is refused if something that was asked for could then never happen, or would happen unnoticed. An unusual
combination passes. Local files are looked at; no server is asked.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from monitor.connectors.base import is_pattern, pattern_fault, subscribes
from monitor.connectors.kafka.options import check_options
from monitor.core.decode.format import MAPPED, MEASURED, QUALITY
from monitor.core.decode.mapped.places import sources_of
from monitor.core.decode.select import IGNORE
from monitor.core.threshold.histogram import LEAST_CLIP, MOST_SCORES
from monitor.settings.base import Section
from monitor.settings.channel_checks import channel_problems, exclusion_problems, mode_problems, running_problems
from monitor.settings.detector_checks import detector_problems
from monitor.settings.detectors import joined, merged
from monitor.settings.learning import ThresholdSection
from monitor.settings.schema_checks import schema_problems
from monitor.settings.sections import Sections

_CELL = 5  # bytes of a float32 and its mark "observed"
_COPIES = 2  # of the history during a training: as stored, and scaled
_REVOKE_SHARE = 0.2  # of max.poll.interval.ms: the rest is for other work between two polls


class Problem(NamedTuple):
    """A combination that is refused."""

    keys: tuple[str, ...]  # of the settings involved
    consequence: str


class ContradictionError(ValueError):
    """Settings that cannot work together."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{', '.join(keys)}: {consequence}" for keys, consequence in problems))


def problem(consequence: str, *keys: str) -> Problem:
    """Return a refusal of the combination of the settings `keys`."""
    return Problem(keys, consequence)


def check(settings: Sections) -> Iterator[Problem]:
    """Return every combination that is refused."""
    for subject in _SUBJECTS:
        yield from subject(settings)

    told: set[Problem] = set()  # each once, although many detectors may inherit it
    for each in [merged(settings, detector) for detector in settings.detectors] or [settings]:
        found = [_of_detector(each, one) for subject in _OF_DETECTOR for one in subject(each)]
        yield from (one for one in found if one not in told)
        told |= set(found)


def _of_detector(settings: Sections, found: Problem) -> Problem:
    """Return the problem with the detector's name at the settings that it sets itself."""
    own = {f"{part}.{key}" for each in settings.detectors for part, keys in each.overrides().items() for key in keys}
    return Problem(tuple(joined(settings.name, key) if key in own else key for key in found.keys), found.consequence)


def _detectors(settings: Sections) -> Iterator[Problem]:
    for consequence, *keys in detector_problems(settings):
        yield problem(consequence, *keys)


# Source, outputs and delivery


def _source(settings: Sections) -> Iterator[Problem]:
    source = settings.source
    if source.kind == "files" and not source.paths:
        yield problem("there is nothing to read", "source.kind", "source.paths")
    if source.kind != "files" and not source.topics:
        yield problem("there is nothing to read", "source.kind", "source.topics")

    if source.poll_s > settings.delivery.checkpoint_s:
        yield problem(
            "on a quiet topic every checkpoint would be late, since it waits for the poll",
            "source.poll_s",
            "delivery.checkpoint_s",
        )


def _files(settings: Sections) -> Iterator[Problem]:
    source = settings.source
    if source.kind != "files":
        return

    for path in source.paths:
        if path != "-" and not Path(path).is_file():
            yield problem(f"{path!r} is no file; its readings would be missing", "source.paths")

    if "-" in source.paths and source.format != "jsonl":
        yield problem("standard input is read by line, so a table cannot be read", "source.paths", "source.format")
    if "-" in source.paths and len(source.paths) > 1:
        yield problem("other files would wait for standard input; it must be the only path", "source.paths")
    if settings.format.asset_from == "key":
        consequence = "messages from files have no key, so every message would become a dead letter"
        yield problem(consequence, "source.kind", "format.asset_from")
    if settings.format.kind == "json" and source.format == "jsonl":
        yield from _unanswered(settings)

    written = {Path(settings.outputs.directory, f"{topic}.jsonl").resolve() for topic in _written(settings)}
    if settings.outputs.kind == "files" and written & {Path(path).resolve() for path in source.paths}:
        yield problem("the monitor would read its own alerts as readings", "source.paths", "outputs.directory")


def _unanswered(settings: Sections) -> Iterator[Problem]:
    """Refuse places that no line of a file could have."""
    for name in ("asset", "channel", "timestamp", "quality", "timestamp_nanos", "group"):
        if set() < sources_of(getattr(settings.format, name)) <= {"key", "header", "broker"}:
            consequence = "lines of a file have no key, header or time of their own, so the place would be empty"
            yield problem(consequence, "source.kind", f"format.{name}")
    for each in settings.format.patterns:
        if set() < sources_of(each.get("from", "")) <= {"key", "header"}:
            yield problem("lines of a file have no key or header to search in", "source.kind", "format.patterns")


_OF_TABLES = (
    "ignore",
    "time_column",
    "encoding",
    "decimal",
    "date_order",
    "timezone",
    "asset_column",
    "channel_column",
    "value_column",
    "tag_pattern",
    "repeated_times",
)


def _unread(settings: Sections) -> Iterator[Problem]:
    source = settings.source
    if source.kind != "files":
        return
    for name in _OF_TABLES:
        formats = ("csv",) if name == "encoding" else ("csv", "parquet")
        if _given(source, name) and source.format not in formats:
            what = "only csv has an encoding" if name == "encoding" else "only csv and parquet have columns"
            yield problem(f"{what}; the setting would be ignored", f"source.{name}", "source.format")
    if source.asset and source.format == "jsonl":
        yield problem("lines of jsonl name their asset; the setting would be ignored", "source.asset", "source.format")


def _tables(settings: Sections) -> Iterator[Problem]:
    if settings.source.kind != "files" or settings.source.format == "jsonl":
        return
    own = ("kind", "asset", "timestamp", "values", "asset_from", "timestamp_unit", "group", *MAPPED, *QUALITY)
    read = set() if settings.source.format == "npz" else {"qualities", "uncertain"}  # for columns of quality
    for name in own:
        if name not in read and _given(settings.format, name):
            consequence = "rows of csv, parquet and npz files have their own layout, so it would be ignored"
            yield problem(consequence, "source.format", f"format.{name}")


def _topics(settings: Sections) -> Iterator[Problem]:
    sound = []
    for topic in settings.source.topics:
        fault = pattern_fault(topic) if is_pattern(topic) else ""
        if fault:
            yield problem(f'"{topic}": {fault}', "source.topics")
        else:
            sound.append(topic)

    if settings.source.kind == settings.outputs.kind != "files":
        own = [f"outputs.{name}" for name in ("alerts", "scores", "dead_letters")]
        if read := [key for key in own if subscribes(sound, settings.value(key))]:
            yield problem("the monitor would read its own output as readings, again and again", "source.topics", *read)

    if len(set(settings.source.topics)) < len(settings.source.topics):
        yield problem("a topic is named twice, perhaps instead of another one", "source.topics")

    for one, other in combinations(("alerts", "scores", "dead_letters"), 2):
        if getattr(settings.outputs, one) == getattr(settings.outputs, other):
            yield problem(
                "both would be published to the same topic, and a consumer of one would receive the other",
                f"outputs.{one}",
                f"outputs.{other}",
            )


def _outputs(settings: Sections) -> Iterator[Problem]:
    directory = Path(settings.outputs.directory)
    if settings.outputs.kind == "files" and directory.exists() and not directory.is_dir():
        yield problem("this is no directory; no alert could be written", "outputs.directory")
    if settings.outputs.kind == "memory" != settings.source.kind:
        yield problem("no other process could read the alerts", "outputs.kind", "source.kind")


def _delivery(settings: Sections) -> Iterator[Problem]:
    delivery = settings.delivery
    if delivery.mode == "exactly_once" and {settings.source.kind, settings.outputs.kind} != {"kafka"}:
        yield problem(
            "only Kafka commits outputs and offsets together; after a crash alerts would be published twice",
            "delivery.mode",
            "source.kind",
            "outputs.kind",
        )
    if delivery.flush_timeout_s > delivery.revoke_timeout_s:
        yield problem(
            "a partition would be revoked before the wait for its outputs is over",
            "delivery.flush_timeout_s",
            "delivery.revoke_timeout_s",
        )
    if settings.store.snapshot_s < delivery.checkpoint_s:
        yield problem(
            "snapshots are made at checkpoints only, so they would be made less often than asked for",
            "store.snapshot_s",
            "delivery.checkpoint_s",
        )

    interval = settings.kafka.options.get("max.poll.interval.ms")
    if isinstance(interval, int) and delivery.revoke_timeout_s * 1000 > _REVOKE_SHARE * interval:
        yield problem(
            f"the group would evict this worker; the limit is a fifth of max.poll.interval.ms = {interval}",
            "delivery.revoke_timeout_s",
            "kafka.options",
        )


def _health(settings: Sections) -> Iterator[Problem]:
    if not settings.health.enabled:
        return
    for key in ("delivery.flush_timeout_s", "delivery.revoke_timeout_s", "source.poll_s"):
        if settings.health.stalled_s <= settings.value(key):
            yield problem("the process would be killed while it waits for a broker", "health.stalled_s", key)


def _store(settings: Sections) -> Iterator[Problem]:
    if re.search("//[^/]*:[^/]*@", settings.store.url):
        yield problem("a password in a URL ends in logs; set it in the environment of the backend", "store.url")


# Decoding, windows, model and threshold


def _format(settings: Sections) -> Iterator[Problem]:
    if settings.source.kind == "files" and settings.source.format != "jsonl":
        return  # see _tables
    try:
        settings.format.build()
    except ValueError as error:
        yield problem(
            f"{error}; otherwise every message would become a dead letter",
            *("format.kind", "format.asset_from", "format.channel_name", "format.timestamp_unit"),
            *(
                f"format.{name}"
                for name in ("values", "channel_tag", "group", *MAPPED, *QUALITY)
                if _given(settings.format, name)
            ),
        )


def _given(section: Section, name: str) -> bool:
    return bool(getattr(section, name) != type(section).model_fields[name].default)


def _schemas(settings: Sections) -> Iterator[Problem]:
    for consequence, *keys in schema_problems(settings):
        yield problem(consequence, *keys)


def _machines(settings: Sections) -> Iterator[Problem]:
    for consequence, *keys in (*mode_problems(settings), *running_problems(settings)):
        yield problem(consequence, *keys)


def _select(settings: Sections) -> Iterator[Problem]:
    select = settings.select
    tables = settings.source.kind == "files" and settings.source.format != "jsonl"
    kind = settings.source.format if tables else settings.format.kind
    for name in ("measurements", "measurements_exclude"):
        if getattr(select, name) and kind not in MEASURED:
            yield problem(
                f"messages of {kind} have no measurement; only {' and '.join(MEASURED)} have one",
                f"select.{name}",
                "source.format" if tables else "format.kind",
            )

    for name in ("measurements", "assets", "channels"):
        wanted, left = getattr(select, name) or ("*",), getattr(select, f"{name}_exclude")
        if "*" in left or set(wanted) <= set(left):
            yield problem("every reading would be left out", f"select.{name}", f"select.{name}_exclude")
    if next(((glob, each.kind) for glob, each in settings.channels.items()), None) == ("*", IGNORE):
        consequence = "the first section that matches a channel counts, so every reading would be left out"
        yield problem(consequence, "channels")


def _channels(settings: Sections) -> Iterator[Problem]:
    for consequence, *keys in channel_problems(settings):
        yield problem(consequence, *keys)


def _windows(settings: Sections) -> Iterator[Problem]:
    windows = settings.windows
    if abs(windows.step_ms - windows.step_s * 1000) > 1e-6:
        yield problem("not a whole number of ms, so the grid would drift against the readings", "windows.step_s")
    if not windows.aggregate or len(set(windows.aggregate)) < len(windows.aggregate):
        yield problem("a step would keep nothing, or the same twice; name each aggregate once", "windows.aggregate")
    for name in ("max_gap", "max_fill"):
        if getattr(windows, name) >= windows.length:
            yield problem(
                "a whole window could be missing; both must be shorter than the window",
                f"windows.{name}",
                "windows.length",
            )
    if windows.idle * windows.step_s < windows.lateness_s:
        yield problem(
            "an asset would count as silent while its readings are still accepted; they would be late",
            "windows.idle",
            "windows.step_s",
            "windows.lateness_s",
        )


def _model(settings: Sections) -> Iterator[Problem]:
    try:
        settings.model.architecture(channels=1, length=settings.windows.length)
    except ValueError as error:
        yield problem(f"{error}; no model could be built", "model.layers", "model.kernel", "windows.length")


def _training(settings: Sections) -> Iterator[Problem]:
    training, windows = settings.training, settings.windows
    for consequence, *keys in exclusion_problems(settings):
        yield problem(consequence, *keys)
    if not training.enabled:
        return

    if training.first_steps < windows.length:
        yield problem(
            "the first model would be trained before an asset has a single window",
            "training.first_steps",
            "windows.length",
        )
    if training.first_steps > training.history_windows * windows.length:
        yield problem(
            "history would be thinned out before it is long enough for the first model",
            "training.first_steps",
            "training.history_windows",
            "windows.length",
        )
    if training.horizon_s < training.first_steps * windows.step_s:
        yield problem(
            "history would be dropped before it is long enough for the first model",
            "training.horizon_s",
            "training.first_steps",
            "windows.step_s",
        )
    if 0 < training.interval_s < training.timeout_s:
        yield problem(
            "a training would be due while the previous one may still run",
            "training.interval_s",
            "training.timeout_s",
        )

    channels = windows.max_channels * len(windows.aggregate)
    history = training.history_windows * windows.length * channels * _CELL * _COPIES / 2**20
    if history > training.memory_mb:
        yield problem(
            f"a full history takes {history:.0f} MiB in a training, which would run out of memory",
            "training.history_windows",
            "windows.length",
            "windows.max_channels",
            "training.memory_mb",
        )


def _threshold(settings: Sections) -> Iterator[Problem]:
    threshold = settings.threshold
    if threshold.warm > threshold.memory:
        yield problem("the threshold would never leave warm-up", "threshold.warm", "threshold.memory")
    if threshold.refresh > threshold.memory:
        yield problem("the percentile would be older than every stored score", "threshold.refresh", "threshold.memory")
    if threshold.kind == "histogram":
        yield from _histogram(threshold)

    tail = 1 - threshold.percentile / 100
    for name in ("memory", "warm"):
        if getattr(threshold, name) * tail < 1 - 1e-9:  # 1 - 0.999 is a little less than 0.001
            consequence = f"the percentile would be the largest score; at least {1 / tail:.0f} scores are needed"
            yield problem(consequence, "threshold.percentile", f"threshold.{name}")


def _histogram(threshold: ThresholdSection) -> Iterator[Problem]:
    if threshold.clip < LEAST_CLIP:
        yield problem(
            "a clipped score would stay in the percentile's own bucket, and a lasting shift never be accepted; "
            f"at least {LEAST_CLIP} is needed",
            "threshold.kind",
            "threshold.clip",
        )
    if threshold.memory > MOST_SCORES:
        yield problem(
            f"the counts of a histogram would overflow; it counts up to {MOST_SCORES} scores",
            "threshold.kind",
            "threshold.memory",
        )


# Kafka and InfluxDB


def _options(settings: Sections) -> Iterator[Problem]:
    for sentence in check_options(settings.kafka.options):
        yield problem(sentence, "kafka.options")


def _login(settings: Sections) -> Iterator[Problem]:
    kafka = settings.kafka
    if not _uses_kafka(settings):
        return

    login = kafka.security_protocol.startswith("sasl_")
    if login and not kafka.sasl_mechanism:
        yield problem("every broker would refuse the login", "kafka.security_protocol", "kafka.sasl_mechanism")

    by_password = kafka.sasl_mechanism == "PLAIN" or kafka.sasl_mechanism.startswith("SCRAM")
    for name in ("sasl_username", "sasl_password"):
        if login and by_password and not _text(settings.value(f"kafka.{name}")):
            yield problem("every broker would refuse the login", "kafka.sasl_mechanism", f"kafka.{name}")

    for name in ("sasl_mechanism", "sasl_username", "sasl_password"):
        if not login and _text(settings.value(f"kafka.{name}")):
            yield problem(
                "the client would not log in; only sasl_plaintext and sasl_ssl do",
                f"kafka.{name}",
                "kafka.security_protocol",
            )


def _encryption(settings: Sections) -> Iterator[Problem]:
    kafka = settings.kafka
    if not _uses_kafka(settings):
        return

    for name in ("ssl_ca_location", "ssl_certificate_location", "ssl_key_location"):
        path = getattr(kafka, name)
        if path and not kafka.security_protocol.endswith("ssl"):
            yield problem(
                "nothing would be encrypted; only ssl and sasl_ssl encrypt", f"kafka.{name}", "kafka.security_protocol"
            )
        if path and not Path(path).is_file():
            yield problem("this is no file; no connection could be made", f"kafka.{name}")

    if bool(kafka.ssl_certificate_location) != bool(kafka.ssl_key_location):
        yield problem(
            "a certificate needs its key, and a key its certificate",
            "kafka.ssl_certificate_location",
            "kafka.ssl_key_location",
        )
    if kafka.ssl_key_password.get_secret_value() and not kafka.ssl_key_location:
        yield problem("there is no key for this password", "kafka.ssl_key_password", "kafka.ssl_key_location")


def _recorder(settings: Sections) -> Iterator[Problem]:
    recorder = settings.recorder
    if recorder.group == settings.source.group:
        yield problem("recorder and detector would share one group's partitions", "recorder.group", "source.group")
    if recorder.enabled and settings.outputs.kind != "kafka":
        yield problem("the recorder reads from Kafka; nothing would be recorded", "recorder.enabled", "outputs.kind")


def _uses_kafka(settings: Sections) -> bool:
    return "kafka" in (settings.source.kind, settings.outputs.kind)


def _written(settings: Sections) -> tuple[str, ...]:
    outputs = settings.outputs
    return outputs.alerts, outputs.scores, outputs.dead_letters


def _text(value: object) -> str:
    """Return the text of a setting, secret or not."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


_SUBJECTS = (
    *(_source, _files, _unread, _tables, _topics, _outputs, _delivery, _health, _store),
    *(_format, _schemas, _select, _channels, _detectors, _options, _login, _encryption, _recorder),
)
_OF_DETECTOR = (_windows, _model, _training, _threshold, _machines)
