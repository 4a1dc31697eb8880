"""Which partitions bring nothing new, by the worker's clock.

An asset is silent if its partition goes on without it (core/alerts/silence_alerts.py). Where a whole partition brings
nothing new, no message moves its time, so the worker's clock decides. That is a condition of the worker and no alert:
it is no function of the stream, and a replay could not repeat it (docs/decisions/0033-silence.md).

A partition counts from its first reading on. Time in which the worker itself does not read (paused, source unavailable,
partition stopped) does not count, so a worker that was away finds no partition silent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from structlog.stdlib import BoundLogger

from monitor.core.records import Partition

STEPS = 6  # a partition of slow machines may bring nothing for a step or two


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition has come."""

    newest: int | None  # ms UTC: largest time of any reading; None = no reading yet
    next: int | None  # offset of the next message
    reading: bool  # whether the worker reads the partition
    step_s: float = 0.0  # shortest of the detectors that have assets there


@dataclass(frozen=True, slots=True)
class QuietTopic:
    """Partitions of one topic that bring nothing new."""

    topic: str
    partitions: tuple[int, ...]
    watched: int  # partitions of the topic here that ever had a reading
    seconds: float  # without news, the longest
    messages: bool  # whether one of them has had messages meanwhile

    def text(self) -> str:
        """Return the condition as a sentence without its end."""
        which = f"{self.topic}: {len(self.partitions)} of {self.watched} partitions"
        why = "messages come, but only with old readings" if self.messages else "no messages come"
        return f"{which} have brought no new reading for {_span(self.seconds)}; {why}"


@dataclass(slots=True)
class _Since:
    progress: Progress
    since_s: float


class QuietPartitions:
    """The time without news of each partition."""

    def __init__(self, silence_s: float, log: BoundLogger) -> None:
        """Call a partition quiet after `silence_s` and STEPS steps without news; 0 = never."""
        self._silence_s = silence_s
        self._log = log
        self._known: dict[Partition, _Since] = {}
        self._told: set[str] = set()  # topics

    def note(self, now: Mapping[Partition, Progress], now_s: float) -> tuple[tuple[QuietTopic, ...], dict[str, float]]:
        """Return the topics with quiet partitions, and by topic the longest time without news (s).

        Log when a topic begins and ends to have quiet partitions.
        """
        for partition, progress in now.items():
            known = self._known.get(partition)
            if known is None or not progress.reading or progress.newest != known.progress.newest:
                self._known[partition] = _Since(progress, now_s)
        self._known = {part: known for part, known in self._known.items() if part in now}

        waits: dict[str, dict[Partition, float]] = {}
        for partition, progress in now.items():
            if progress.newest is not None:
                waits.setdefault(partition.topic, {})[partition] = now_s - self._known[partition].since_s
        topics = [self._topic(name, each, now) for name, each in sorted(waits.items())]
        quiet = tuple(topic for topic in topics if topic is not None)
        self._tell(quiet)
        return quiet, {name: max(each.values()) for name, each in waits.items()}

    def _topic(
        self, name: str, waits: Mapping[Partition, float], now: Mapping[Partition, Progress]
    ) -> QuietTopic | None:
        late = {part: wait for part, wait in waits.items() if self._silence_s and wait >= self._limit(now[part])}
        if not late:
            return None
        came = any(now[part].next != self._known[part].progress.next for part in late)
        return QuietTopic(name, tuple(sorted(part.number for part in late)), len(waits), max(late.values()), came)

    def _limit(self, progress: Progress) -> float:
        return max(self._silence_s, STEPS * progress.step_s)

    def _tell(self, quiet: Sequence[QuietTopic]) -> None:
        for each in quiet:
            if each.topic not in self._told:
                numbers = list(each.partitions)
                self._log.warning("source silent", topic=each.topic, partitions=numbers, reason=each.text())
        names = {each.topic for each in quiet}
        for topic in sorted(self._told - names):
            self._log.info("source heard again", topic=topic)
        self._told = names


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
