"""Messages from Kafka, as a member of a consumer group. See `base.Source`.

Automatic behaviour of librdkafka is switched off where it could lose or repeat messages silently. It commits nothing,
stores nothing, and stops at an offset that is gone (retention, a recreated topic) instead of choosing another one. The
source makes that choice, and reports it.

Callbacks of a rebalance never let an exception pass into the client, which would drop the messages fetched by the same
call. The exception is kept, the messages are returned, and the next `poll` raises it. A partition whose `on_assign`
failed is offered again at every poll until it succeeds, and delivers nothing before.

One thread uses a source. Only `close` of the client runs in another thread: it can hang, and is then abandoned.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from monitor.connectors.base import OnAssign, OnRevoke, Unavailable, is_pattern, subscribes
from monitor.connectors.kafka.client import (
    QUIET,
    Config,
    KafkaFatal,
    Report,
    Trouble,
    kafka_error,
    known,
    name,
    report,
    within,
)
from monitor.connectors.kafka.commits import Commits
from monitor.connectors.kafka.positions import Positions
from monitor.connectors.kafka.stalls import Stalls
from monitor.core.records import Message, Partition

__all__ = ["KafkaFatal", "KafkaSource"]

_ANSWER_S = 10.0  # for committed offsets and watermarks; asked again at the next poll, well before max.poll.interval
_LOOK_S = 30.0  # between two looks for the topics of a pattern; the client's own metadata are as old
_CLOSE_S = 10.0  # librdkafka's close can hang without end after fencing; leaving takes one round trip
_DEFAULTS: Config = {
    **QUIET,
    "topic.metadata.refresh.interval.ms": 30_000,  # a topic created after the start is found by then, not after 5 min
    "fetch.queue.backoff.ms": 50,  # until librdkafka retries after its queue was full; 1 s starves a replay
}
_FORCED: Config = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",  # also for offsets: those of an undecided transaction are waited for
}


class KafkaSource:
    """Messages of the partitions that the group assigns to this member.

    `config` holds librdkafka's options by their own names; `options.check_options` lists the forbidden ones. `on_error`
    receives each complaint of the client, and a text about messages deleted before they were read. `on_deleted` gets
    their number. Both run inside the other calls, during `close` perhaps on another thread.
    """

    def __init__(
        self,
        config: Config,
        topics: Sequence[str],
        group: str,
        reset: Literal["earliest", "latest"],
        on_error: Report = report,
        *,
        on_deleted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._config = dict(config)
        self._topics = list(topics)  # names, and patterns, which the client matches at each refresh of its metadata
        self._group = group
        self._default = OFFSET_BEGINNING if reset == "earliest" else OFFSET_END
        self._report = on_error
        self._on_deleted = on_deleted
        self._trouble = Trouble(on_error)
        self._consumer: Consumer | None = None
        self._commits: Commits

        self._unplaced: set[Partition] = set()  # assigned by the group, not yet answered by on_assign
        self._recreated: set[Partition] = set()  # unplaced, and their committed offsets belong to an earlier topic
        self._gone: set[Partition] = set()  # the next offset does not exist
        self._batch: list[Message] = []  # messages that the running poll will return
        self._fault: BaseException | None = None  # raised when there is no message left to return
        self._fatal = False
        self._first_match = ""
        self._look_at = 0.0  # monotonic seconds

    def open(self, on_assign: OnAssign, on_revoke: OnRevoke, on_lost: OnRevoke) -> None:
        """Join the group, in the background. Raises ValueError if the client refuses the configuration."""
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._on_lost = on_lost

        settings = {**_DEFAULTS, **self._config, **_FORCED, "group.id": self._group}
        if settings.get("group.protocol") != "consumer":  # the broker decides there
            settings.setdefault("partition.assignment.strategy", "cooperative-sticky")
        strategy = settings.get("partition.assignment.strategy", "cooperative-sticky")

        try:
            answered = lambda *answer: self._commits.answered(*answer)  # noqa: E731, PLW0108 - made after the consumer
            consumer = Consumer({**settings, "error_cb": self._trouble.heard, "on_commit": answered})
            self._positions = Positions(consumer, cooperative=strategy == "cooperative-sticky")
            self._stalls = Stalls(consumer, self._positions)
            self._commits = Commits(consumer, self._trouble, self._report)
            self._consumer = consumer
            consumer.subscribe(
                self._topics,
                on_assign=lambda _, parts: self._assigned(parts),
                on_revoke=lambda _, parts: self._revoke(_partitions(parts), self._on_revoke),
                on_lost=lambda _, parts: self._revoke(_partitions(parts), self._on_lost),
            )
        except KafkaException as fault:
            raise ValueError(f"kafka configuration: {fault.args[0]}") from fault

    def poll(self, limit: int, timeout: float) -> list[Message]:
        """See `base.Source`. Raises KafkaFatal if the client cannot go on."""
        if self._fault is None:
            self._consume(limit, timeout)
            # Each of these does nothing, or asks a broker within a limit of its own.
            self._restart()
            self._positions.refresh_ends()
            self._stalls.check()
            if self._unplaced:
                self._place()

        # Messages that were fetched come first: the exception can wait until the next poll.
        if self._fault is not None and not self._batch:
            fault, self._fault = self._fault, None
            raise fault
        batch, self._batch = self._batch, []
        return batch

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._positions.pause(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._positions.resume(partitions)

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """See `base.Source`. After an `Unavailable` for lack of time the commit may still become durable later."""
        if not offsets:
            return
        if foreign := [part for part in offsets if part not in self._positions]:
            raise self._trouble.unavailable(f"{name(foreign[0])} is not assigned to this member any more")
        self._commits.store(offsets, timeout)

    def membership(self) -> object:
        """See `Commits.membership`."""
        return self._commits.membership()

    def lag(self) -> dict[Partition, int]:
        """See `base.Source`. As of the last fetch, or 5 s ago if paused; without partitions whose end is unknown."""
        return self._positions.lag()

    def stalled(self) -> str:
        """See `base.Source`."""
        return self._stalls.reason()

    def first_match(self) -> str:
        """See `base.Source`. Asks a broker every 30 s at most; without an answer the last one stays."""
        patterns = [topic for topic in self._topics if is_pattern(topic)]
        if patterns and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            try:
                found = self._opened().list_topics(timeout=_ANSWER_S).topics
                self._first_match = min((topic for topic in found if subscribes(patterns, topic)), default="")
            except KafkaException:  # asked again; `poll` reports an outage
                pass
        return self._first_match

    def ended(self) -> bool:
        """Return False: a topic that was read to its end may continue at any time."""
        return False

    def close(self) -> None:
        """See `base.Source`. Waits at most 10 s after the callback: a client that hangs is reported and abandoned."""
        if self._consumer is None:
            return

        known = list(self._positions)
        try:
            if known:  # the client keeps rejoining a rebalance meanwhile, without which no commit would be accepted
                (self._on_lost if self._fatal else self._on_revoke)(known)
        except BaseException as fault:  # noqa: BLE001 - raised once all is closed
            self._blame(fault)

        # Leave the group, which can hang.
        consumer, self._consumer = self._consumer, None  # from here on the callbacks of a rebalance do nothing
        self._positions.next.clear()
        if not within(_CLOSE_S, consumer.close):
            self._report(f"the consumer did not leave the group within {_CLOSE_S:g} s and was abandoned")
        if self._fault is not None:
            raise self._fault

    def _opened(self) -> Consumer:
        assert self._consumer is not None, "open() comes first"
        return self._consumer

    def _consume(self, limit: int, timeout: float) -> None:
        """Fill `_batch`. The client's `consume` waits for all messages asked for, so only one is waited for."""
        consumer = self._opened()
        try:
            self._sort(consumer.consume(limit, 0))
            if self._batch or self._fault is not None or self._gone:
                return

            # During an outage an empty poll looks like a quiet topic, so make a request that needs an answer.
            if self._trouble.cut_off:
                named = [topic for topic in self._topics if not is_pattern(topic)]
                limit_s = max(2.0, timeout)
                # Raises until a broker answers.
                consumer.list_topics(named[0], limit_s) if named else consumer.list_topics(timeout=limit_s)
                self._trouble.over()
            else:
                self._sort(consumer.consume(1, timeout))
                if self._batch and limit > 1:
                    self._sort(consumer.consume(limit - 1, 0))
        except (KafkaException, SystemError) as fault:
            error = kafka_error(fault)
            self._blame(fault if error is None else self._trouble.judge(error, "poll"))

    def _sort(self, raw: Iterable[Any]) -> None:
        """Put messages into `_batch`, from which a later callback can still remove them, and handle errors."""
        following, append = self._positions.next, self._batch.append
        part = Partition("", -1)
        for each in raw:
            if (
                each.partition() != part.number or each.topic() != part.topic
            ):  # they come in runs; this saves 0.2 µs a message
                part = Partition(each.topic(), each.partition())
            if (error := each.error()) is not None:
                self._weigh(error, part)
            elif part in following:
                offset = each.offset()
                carried = each.headers()
                headers = known(carried) if carried else ()
                append(Message(part, offset, each.key(), each.value(), each.timestamp()[1], headers))
                following[part] = offset + 1

        self._stalls.arrived(self._batch)
        if self._batch and not self._trouble.cut_off:  # messages fetched before an outage do not show that it is over
            self._trouble.over()

    def _weigh(self, error: KafkaError, part: Partition) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own codes begin so
            self._gone |= {part} & self._positions.next.keys()
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
            fault = self._trouble.judge(error, "poll" if part.topic is None else name(part))
            if part.topic is not None:
                self._stalls.note(part, str(fault))
            self._blame(fault)

    def _assigned(self, parts: Iterable[TopicPartition]) -> None:
        """Take over the partitions that the group has assigned to this member."""
        if self._consumer is not None:
            self._unplaced |= set(_partitions(parts))
            self._place()

    def _place(self) -> None:
        """Ask where to start the unplaced partitions, and start there; on failure they stay unplaced."""
        starts: dict[Partition, int] = {}
        try:
            committed = self._committed()
            answer = self._on_assign(committed) if committed else {}
            for part in committed:
                start, never = answer[part], OFFSET_BEGINNING if part in self._recreated else self._default
                starts[part] = never if start is None else start
        except KafkaException as fault:
            starts.clear()
            self._blame(self._trouble.judge(fault.args[0], "committed offsets"))
        except BaseException as fault:  # noqa: BLE001 - raised by poll
            starts.clear()
            self._blame(fault)

        self._unplaced -= starts.keys()
        self._recreated -= starts.keys()
        try:
            self._positions.add(starts)  # without any, too: the client waits for the call
        except KafkaFatal as fault:
            self._blame(fault)

    def _committed(self) -> dict[Partition, int | None]:
        """Return the committed offsets of the unplaced partitions, for `on_assign`."""
        nothing: dict[Partition, int | None] = dict.fromkeys(self._unplaced & self._recreated)
        return nothing | self._commits.stored(sorted(self._unplaced - self._recreated), _ANSWER_S)

    def _revoke(self, going: Sequence[Partition], callback: OnRevoke) -> None:
        """Call back for these partitions, and drop them whether the callback succeeds or not."""
        if self._consumer is None:
            return

        known = [part for part in going if part in self._positions]
        try:
            if known:
                callback(known)
        except BaseException as fault:  # noqa: BLE001 - raised by poll or close
            self._blame(fault)

        self._unplaced.difference_update(going)
        self._recreated.difference_update(going)
        self._gone.difference_update(going)
        self._batch = [message for message in self._batch if message.partition not in going]
        try:
            self._positions.drop(known)
        except KafkaFatal as fault:
            self._blame(fault)

    def _restart(self) -> None:
        """Continue where an offset exists, after the next one was gone; report the messages lost by that."""
        for part in sorted(self._gone):
            wanted = self._positions.next[part]
            try:
                low, high = self._opened().get_watermark_offsets(TopicPartition(*part), timeout=_ANSWER_S)
                # An offset behind the end can only belong to an earlier topic of this name.
                if wanted > high:
                    found = f"{name(part)} ends at {high}, before {wanted}"
                    self._report(f"{found}: the topic was recreated and is read from its start")
                    self._revoke([part], self._on_lost)
                    self._unplaced.add(part)
                    self._recreated.add(part)
                    continue

                # Retention has passed the offset: continue with the oldest message left.
                if lost := max(0, low - wanted) if wanted >= 0 else 0:
                    found = f"{name(part)}: {lost} messages from offset {wanted} on"
                    self._report(f"{found} were deleted before they were read")
                    self._on_deleted(lost)

                self._positions.move(part, wanted + lost)
                self._gone.discard(part)
            except (KafkaException, KafkaFatal) as fault:  # the next poll asks again
                error = kafka_error(fault)
                self._blame(fault if error is None else self._trouble.judge(error, f"watermarks of {name(part)}"))

    def _blame(self, fault: BaseException) -> None:
        """Keep an exception for `poll`; one that stops the process replaces one that can wait."""
        self._fatal |= isinstance(fault, KafkaFatal)
        if self._fault is None or isinstance(self._fault, Unavailable):
            self._fault = fault


def _partitions(parts: Iterable[TopicPartition]) -> list[Partition]:
    return sorted(Partition(part.topic, part.partition) for part in parts)
