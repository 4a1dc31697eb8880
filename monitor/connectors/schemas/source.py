"""A source whose messages have schemas: a partition waits while the registry cannot be asked about its next message.

Nothing is lost, and nothing is skipped. The messages from the first one with an unknown schema on stay here, and their
partition is paused at the source below. Other partitions go on. The group keeps its member, because the source below is
polled all the time. A partition that is taken away takes its waiting messages with it; they were never committed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from monitor.connectors.base import OnAssign, OnRevoke, Source
from monitor.core.records import Message, Partition

if TYPE_CHECKING:
    from monitor.connectors.schemas.resolver import Resolver

FIRST_RETRY_S = 1.0  # between two attempts to ask the registry; twice as long each time
LAST_RETRY_S = 10.0


class SchemaSource:
    """See the module, and `base.Source`."""

    def __init__(
        self,
        below: Source,
        resolver: "Resolver",
        on_notice: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_notice` gets the reason when the registry cannot be asked any more, and "" when it answers again."""
        self.below = below
        self._resolver = resolver
        self._on_notice = on_notice
        self._monotonic = monotonic
        self._waiting: dict[Partition, list[Message]] = {}
        self._paused: set[Partition] = set()  # by the caller
        self._why = ""  # the registry cannot be asked; empty = it can
        self._retry_at = 0.0
        self._retry_s = FIRST_RETRY_S

    def open(self, on_assign: OnAssign, on_revoke: OnRevoke, on_lost: OnRevoke) -> None:
        self.below.open(on_assign, self._forgetting(on_revoke), self._forgetting(on_lost))

    def poll(self, limit: int, timeout: float) -> list[Message]:
        """See `base.Source`. Messages that have waited come before new ones."""
        if self._waiting and self._monotonic() >= self._retry_at and (ready := self._released(limit)):
            return ready
        return self._sorted(self.below.poll(limit, timeout))

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(partitions)
        self.below.pause(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)
        self.below.resume([part for part in partitions if part not in self._waiting])

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        self.below.commit(offsets, timeout)

    def lag(self) -> dict[Partition, int]:
        """See `base.Source`. Waiting messages are not delivered yet."""
        return {part: left + len(self._waiting.get(part, ())) for part, left in self.below.lag().items()}

    def stalled(self) -> str:
        """See `base.Source`."""
        if not self._waiting or not self._why:
            return self.below.stalled()
        (topic, number), more = next(iter(self._waiting)), len(self._waiting) - 1
        others = f" and {more} more" if more else ""
        return f"{topic}[{number}]{others} wait{'' if more else 's'}: {self._why}"

    def first_match(self) -> str:
        return self.below.first_match()

    def ended(self) -> bool:
        return not self._waiting and self.below.ended()

    def close(self) -> None:
        self.below.close()

    def _forgetting(self, callback: OnRevoke) -> OnRevoke:
        def going(partitions: Sequence[Partition]) -> None:
            try:
                callback(partitions)
            finally:
                for part in partitions:
                    self._waiting.pop(part, None)
                    self._paused.discard(part)

        return going

    def _sorted(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages that can be decoded now; the others wait."""
        if not messages:
            return []
        ask = not self._why or self._monotonic() >= self._retry_at
        ready, why = self._resolver.resolve(messages, ask=ask)
        if None not in ready and not self._waiting:
            return [message for message in ready if message is not None]

        if why:
            self._note(why)
        kept: list[Message] = []
        held: dict[Partition, list[Message]] = {}
        for message, done in zip(messages, ready, strict=True):
            if done is None or message.partition in held or message.partition in self._waiting:
                held.setdefault(message.partition, []).append(message)
            else:
                kept.append(done)
        for part, run in held.items():
            self._waiting.setdefault(part, []).extend(run)
        self.below.pause(list(held))
        return kept

    def _released(self, limit: int) -> list[Message]:
        """Return messages that have waited and can be decoded now, and resume their partitions."""
        ready: list[Message] = []
        for part, run in list(self._waiting.items()):
            if part in self._paused or len(ready) >= limit:
                continue
            wanted = run[: limit - len(ready)]
            done, why = self._resolver.resolve(wanted)
            self._note(why)
            stop = done.index(None) if None in done else len(done)
            ready += [message for message in done[:stop] if message is not None]
            self._waiting[part] = run[stop:]
            if not self._waiting[part]:
                del self._waiting[part]
                self.below.resume([part])
            if why:
                break
        return ready

    def _note(self, why: str) -> None:
        """Take over why the registry cannot be asked, or that it can be."""
        if why:
            self._retry_at = self._monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
        else:
            self._retry_at, self._retry_s = 0.0, FIRST_RETRY_S
        if bool(why) != bool(self._why):
            self._on_notice(why)
        self._why = why
