"""Settings of the source and of its messages that are refused."""

from itertools import combinations
from pathlib import Path

from monitor.connectors.base import is_pattern, pattern_fault, subscribes
from monitor.core.decode.format import MAPPED, MEASURED, QUALITY
from monitor.core.decode.mapped.places import sources_of
from monitor.core.decode.select import IGNORE
from monitor.settings.base import Section
from monitor.settings.checks.problem import Problems
from monitor.settings.sections import Sections

_OUTSIDE = ("group", "extra_channels")  # settings of what a message names outside its values
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


def source_problems(settings: Sections) -> Problems:
    """Yield the problems of [source]."""
    source = settings.source
    if source.kind == "files" and not source.paths:
        yield "there is nothing to read", "source.kind", "source.paths"
    if source.kind != "files" and not source.topics:
        yield "there is nothing to read", "source.kind", "source.topics"

    if source.poll_s > settings.delivery.checkpoint_s:
        yield (
            "on a quiet topic every checkpoint would be late, since it waits for the poll",
            "source.poll_s",
            "delivery.checkpoint_s",
        )


def files_problems(settings: Sections) -> Problems:
    """Yield the problems of files as source."""
    source = settings.source
    if source.kind != "files":
        return

    for path in source.paths:
        if path != "-" and not Path(path).is_file():
            yield f"{path!r} is no file; its readings would be missing", "source.paths"

    if "-" in source.paths and source.format != "jsonl":
        yield "standard input is read by line, so a table cannot be read", "source.paths", "source.format"
    if "-" in source.paths and len(source.paths) > 1:
        yield "other files would wait for standard input; it must be the only path", "source.paths"
    if settings.format.asset_from == "key":
        consequence = "messages from files have no key, so every message would become a dead letter"
        yield consequence, "source.kind", "format.asset_from"
    if settings.format.kind == "json" and source.format == "jsonl":
        yield from _unanswered(settings)

    written = {Path(settings.outputs.directory, f"{topic}.jsonl").resolve() for topic in _written(settings)}
    if settings.outputs.kind == "files" and written & {Path(path).resolve() for path in source.paths}:
        yield "the monitor would read its own alerts as readings", "source.paths", "outputs.directory"


def _unanswered(settings: Sections) -> Problems:
    """Refuse places that no line of a file could have."""
    for name in ("asset", "channel", "timestamp", "quality", "timestamp_nanos", "group"):
        if set() < sources_of(getattr(settings.format, name)) <= {"key", "header", "broker"}:
            consequence = "lines of a file have no key, header or time of their own, so the place would be empty"
            yield consequence, "source.kind", f"format.{name}"
    for each in settings.format.patterns:
        if set() < sources_of(each.get("from", "")) <= {"key", "header"}:
            yield "lines of a file have no key or header to search in", "source.kind", "format.patterns"
    if any(sources_of(each) == {"header"} for each in settings.format.extra_channels):
        yield "lines of a file have no header to read", "source.kind", "format.extra_channels"


def unread_problems(settings: Sections) -> Problems:
    """Yield the problems of settings of tables that would be ignored."""
    source = settings.source
    if source.kind != "files":
        return
    for name in _OF_TABLES:
        formats = ("csv",) if name == "encoding" else ("csv", "parquet")
        if _given(source, name) and source.format not in formats:
            what = "only csv has an encoding" if name == "encoding" else "only csv and parquet have columns"
            yield f"{what}; the setting would be ignored", f"source.{name}", "source.format"
    if source.asset and source.format == "jsonl":
        yield "lines of jsonl name their asset; the setting would be ignored", "source.asset", "source.format"


def tables_problems(settings: Sections) -> Problems:
    """Yield the problems of settings of messages that tables do not have."""
    if settings.source.kind != "files" or settings.source.format == "jsonl":
        return
    own = ("kind", "asset", "timestamp", "values", "asset_from", "timestamp_unit", *_OUTSIDE, *MAPPED, *QUALITY)
    read = set() if settings.source.format == "npz" else {"qualities", "uncertain"}  # for columns of quality
    for name in own:
        if name not in read and _given(settings.format, name):
            consequence = "rows of csv, parquet and npz files have their own layout, so it would be ignored"
            yield consequence, "source.format", f"format.{name}"


def topics_problems(settings: Sections) -> Problems:
    """Yield the problems of topics."""
    sound = []
    for topic in settings.source.topics:
        fault = pattern_fault(topic) if is_pattern(topic) else ""
        if fault:
            yield f'"{topic}": {fault}', "source.topics"
        else:
            sound.append(topic)

    if settings.source.kind == settings.outputs.kind != "files":
        own = [f"outputs.{name}" for name in ("alerts", "scores", "dead_letters")]
        if read := [key for key in own if subscribes(sound, settings.value(key))]:
            yield "the monitor would read its own output as readings, again and again", "source.topics", *read

    if len(set(settings.source.topics)) < len(settings.source.topics):
        yield "a topic is named twice, perhaps instead of another one", "source.topics"

    for one, other in combinations(("alerts", "scores", "dead_letters"), 2):
        if getattr(settings.outputs, one) == getattr(settings.outputs, other):
            yield (
                "both would be published to the same topic, and a consumer of one would receive the other",
                f"outputs.{one}",
                f"outputs.{other}",
            )


def format_problems(settings: Sections) -> Problems:
    """Yield the problems of [format]."""
    if settings.source.kind == "files" and settings.source.format != "jsonl":
        return  # see tables_problems
    try:
        settings.format.build()
    except ValueError as error:
        yield (
            f"{error}; otherwise every message would become a dead letter",
            *("format.kind", "format.asset_from", "format.channel_name", "format.timestamp_unit"),
            *(
                f"format.{name}"
                for name in ("values", "channel_tag", *_OUTSIDE, *MAPPED, *QUALITY)
                if _given(settings.format, name)
            ),
        )


def select_problems(settings: Sections) -> Problems:
    """Yield the problems of [select]."""
    select = settings.select
    tables = settings.source.kind == "files" and settings.source.format != "jsonl"
    kind = settings.source.format if tables else settings.format.kind
    for name in ("measurements", "measurements_exclude"):
        if getattr(select, name) and kind not in MEASURED:
            yield (
                f"messages of {kind} have no measurement; only {' and '.join(MEASURED)} have one",
                f"select.{name}",
                "source.format" if tables else "format.kind",
            )

    for name in ("measurements", "assets", "channels"):
        wanted, left = getattr(select, name) or ("*",), getattr(select, f"{name}_exclude")
        if "*" in left or set(wanted) <= set(left):
            yield "every reading would be left out", f"select.{name}", f"select.{name}_exclude"
    if next(((glob, each.kind) for glob, each in settings.channels.items()), None) == ("*", IGNORE):
        consequence = "the first section that matches a channel counts, so every reading would be left out"
        yield consequence, "channels"


def _given(section: Section, name: str) -> bool:
    return bool(getattr(section, name) != type(section).model_fields[name].default)


def _written(settings: Sections) -> tuple[str, ...]:
    outputs = settings.outputs
    return outputs.alerts, outputs.scores, outputs.dead_letters
