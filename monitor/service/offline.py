"""Reads a recording or a topic's past from its beginning to its end: `monitor train` and `monitor backtest`.

It reads as a group of its own that commits nothing, so the daemon's position is not touched. For a training, what is
read is scored by nobody: pass a time that was normal. The gate is the same as for scheduled trainings.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.connectors.base import Committed, Source
from monitor.core.fitting.corpus import Corpus, join
from monitor.core.fitting.history import History
from monitor.core.pipeline import Pipeline
from monitor.core.records import Message, Partition, by_partition
from monitor.observe.clock import wall_ms
from monitor.service.wiring import make_history, make_pipeline
from monitor.settings.tree import Settings

QUIET_S = 10.0  # without a message, when the source cannot say whether there is more

Progress = Callable[[int, int], None]  # told messages read and left


@dataclass(frozen=True, slots=True)
class _Reader:
    """What a partition gives."""

    pipeline: Pipeline
    history: History

    def take(self, messages: Sequence[Message]) -> None:
        outputs = self.pipeline.process(messages, wall_ms(), lambda _: None)
        self.history.add(outputs.windows, outputs.names, self.pipeline.windows.channels)


def alone(settings: Settings, purpose: str) -> Settings:
    """The settings to read with as a group of one's own, from the beginning."""
    own = {"group": f"{settings.source.group}-{purpose}", "reset": "earliest"}
    return settings.model_copy(update={"source": settings.source.model_copy(update=own)})


def polls(
    settings: Settings,
    source: Source,
    begin: Callable[[Partition], None],
    progress: Progress,
    limit: Callable[[], int] | None = None,
) -> Iterator[dict[Partition, list[Message]]]:
    """What each poll gives, by partition, until everything the source holds now is read; `begin` hears of partitions.

    `limit` says how many messages the next poll may give; without it, as the settings have it.
    Raises Unavailable if the source cannot be reached, OSError or ValueError for files that cannot be read.
    """
    known: dict[Partition, None] = {}
    read = 0

    def on_assign(committed: Committed) -> dict[Partition, int | None]:
        for part in committed:
            known[part] = None
            begin(part)
        return dict.fromkeys(committed)  # from the beginning

    source.open(on_assign, lambda _: None, lambda _: None)
    try:
        last = time.monotonic()
        while not source.ended() and not (read and _at_the_end(source.lag(), known)):
            most = settings.source.batch_messages if limit is None else limit()
            messages = source.poll(most, settings.source.poll_s)
            yield by_partition(messages)
            read += len(messages)
            last = time.monotonic() if messages else last
            if time.monotonic() - last > QUIET_S:
                break
            progress(read, sum(source.lag().values()))
    finally:
        source.close()


def collect(settings: Settings, source: Source, progress: Progress) -> Corpus:
    """The history of everything the source holds now.

    Raises ValueError if that gives no window, Unavailable if the source cannot be reached.
    """
    parts: dict[Partition, _Reader] = {}
    read = 0

    def begin(part: Partition) -> None:
        parts[part] = _Reader(make_pipeline(settings, part), make_history(settings))

    for batches in polls(settings, source, begin, progress):
        for part, messages in batches.items():
            parts[part].take(messages)
            read += len(messages)
    corpora = [corpus for reader in parts.values() if len(corpus := reader.history.normal())]
    if not corpora:
        raise ValueError(
            f"{read} messages gave no window of {settings.windows.length} steps of {settings.windows.step_s:g} s; "
            "check format and windows.step_s"
        )
    return join(corpora)


def _at_the_end(lag: Mapping[Partition, int], parts: Mapping[Partition, object]) -> bool:
    """Whether every partition is known to be read to its end."""
    return lag.keys() >= parts.keys() and not any(lag.values())
