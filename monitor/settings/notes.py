"""Settings that do less than they seem to: what `monitor check` prints about them, and the log at the start.

They are not refused. A file with settings of Kafka is also read by commands that read files in place of Kafka.
"""

from collections.abc import Iterator
from typing import NamedTuple

from monitor.core.decode.ids import legal
from monitor.core.decode.select import of_first
from monitor.core.running.condition import parse
from monitor.settings.base import literal
from monitor.settings.sections import fields
from monitor.settings.tree import Settings

_EVERY_SOURCE = {f"source.{name}" for name in ("kind", "group", "batch_messages", "poll_s", "silence_s")}
_TOPICS = ("source.topics", "source.reset")


class _Reader(NamedTuple):
    """Settings that only some kinds of source or output read."""

    settings: tuple[str, ...]  # keys, or sections with a dot at the end
    kinds: tuple[str, ...]  # settings of a kind
    values: tuple[str, ...]  # one of those must have one of these values


_READERS = (
    _Reader(("kafka.",), ("source.kind", "outputs.kind"), ("kafka",)),
    _Reader(("schemas.", *_TOPICS), ("source.kind",), ("kafka", "memory")),
    _Reader(
        tuple(key for key in fields() if key.startswith("source.") and key not in {*_EVERY_SOURCE, *_TOPICS}),
        ("source.kind",),
        ("files",),
    ),
    _Reader(("outputs.directory", "outputs.fsync"), ("outputs.kind",), ("files",)),
)


def notes(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each group of settings that nothing reads, and each condition that may never be known."""
    yield from _unread(settings)
    yield from _unknown(settings)


def _unread(settings: Settings) -> Iterator[str]:
    for reader in _READERS:
        if {settings.value(key) for key in reader.kinds} & set(reader.values):
            continue
        known = ((key, field) for key, field in fields().items() if key.startswith(reader.settings))
        given = [key for key, field in known if settings.value(key) != field.default]
        if given:
            now = " and ".join(f"{key} = {literal(settings.value(key))}" for key in reader.kinds)
            yield f"{', '.join(given)}: not read, since {now}; only {' and '.join(reader.values)} would read it"


def _unknown(settings: Settings) -> Iterator[str]:
    holds = settings.channel_holds().globs
    for text in dict.fromkeys(each.training.exclude for each in settings.per_detector()):
        for name in parse(text).channels if text else ():
            if not of_first(holds, name, legal(name) or name, otherwise=0):
                yield (
                    f"training.exclude = {literal(text)}: if channel {name} is sent on change only, its value is "
                    f"unknown between two messages until its pace is learned, and training leaves out only the "
                    f"windows that hold a message; then set hold_s in [channels.{literal(name)}] to the longest time "
                    f"for which a value lasts"
                )
