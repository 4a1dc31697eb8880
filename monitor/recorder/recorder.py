"""Write published scores and alerts to the time-series database, as a consumer group of its own in its own thread.

Kafka is the buffer, so the detector never waits for the database and an outage of hours costs nothing but lag.

Guaranteed:
1. Every message of the alert and score topics becomes points, or a dead letter with the reason. A dead letter that is
   itself too large for its topic is only logged.
2. Points are acknowledged by the database, then dead letters by the broker, then offsets are committed. After a crash
   in between, points are written twice, which changes nothing, because points are idempotent.
3. While the database does not accept points, partitions are paused and polling continues, so the group does not expel
   the recorder.

Writing is retried after a delay that doubles up to MAX_DELAY_S and is drawn at random below that (full jitter), or
after the delay that the database asked for.

Two recorders of one group share the partitions. The meaning of a record is not checked; `line_protocol.py` decides
which records can be read.
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event

from monitor.connectors.base import Committed, Invalid, Sink, Source, Unavailable
from monitor.core.publish import dead_letter
from monitor.core.published import DeadLetterHeaders
from monitor.core.records import Message, Partition, Record
from monitor.observe.observer import Observer
from monitor.recorder.line_protocol import alert_points, score_points

FIRST_DELAY_S, MAX_DELAY_S = 0.5, 30.0  # before the first retry, and before any
MAX_RETRY_AFTER_S = 300.0  # longest delay that the database may ask for
GATHER_S = 1.0  # between the first point and the write: one request a second instead of one per message


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """Topics, sizes and waits of a recorder."""

    alerts: str  # topic
    dead_letters: str  # topic
    batch: int  # messages per poll, and points per write
    poll_s: float
    timeout_s: float  # for a write or a commit


class Recorder:
    """One member of the recorder's group. `points` is the database, `dead` takes dead letters."""

    def __init__(self, source: Source, points: Sink, dead: Sink, options: RecorderOptions, observer: Observer) -> None:
        self._source = source
        self._points = points
        self._dead = dead
        self._options = options
        self._metrics = observer.metrics
        self._health = observer.health
        self._log = observer.log
        self._monotonic = observer.monotonic
        self._alive = observer.watchdog.alive
        self._random = random.Random()  # noqa: S311 - spreads the retries of many recorders

        self._next: dict[Partition, int] = {}  # next offset to commit, of partitions with unacknowledged messages
        self._assigned: set[Partition] = set()
        self._unacknowledged = 0  # points handed to the database's sink
        self._blocked = False
        self._delay_s = FIRST_DELAY_S  # bound of the next retry delay
        self._due = 0.0  # monotonic seconds of the next write

    def open(self) -> None:
        """Open the sinks and join the group. If that fails, nothing stays open.

        Raises ValueError if a client refuses its options, Unavailable if the broker cannot be reached.
        """
        with ExitStack() as undo:
            for sink in (self._points, self._dead):
                sink.open()
                undo.callback(sink.close)
            self._source.open(self._on_assign, self._on_revoke, self._on_lost)
            undo.pop_all()

    def run(self, stop: Event) -> None:
        """Work until `stop` is set, or until the source has ended and all is written. Then leave the group."""
        self._unblock()  # until there is something to write, nothing is wrong with the database
        try:
            while not stop.is_set() and not (self._source.ended() and not self._next):
                self._step(stop)
        finally:
            self._source.close()
            self._points.close()
            self._dead.close()

    def _step(self, stop: Event) -> None:
        """Poll once, convert, and write if it is time."""
        self._alive()
        if self._blocked:  # again at every step, as a rebalance may have assigned more partitions
            self._source.pause(list(self._assigned))

        try:
            messages = self._source.poll(self._options.batch, self._options.poll_s)
            self._health.set("recorder source", ok=not self._source.stalled(), reason=self._source.stalled())
        except Unavailable as error:
            self._health.set("recorder source", ok=False, reason=str(error))
            stop.wait(FIRST_DELAY_S)
            messages = []
        self._convert(messages)

        # A blocked recorder retries even if nothing is left to commit: another member may own those partitions now.
        full = self._unacknowledged >= self._options.batch or self._source.ended()
        due = self._monotonic() >= self._due or (full and not self._blocked)
        if due and (self._next or self._blocked):
            self._write()

        lag = sum(self._source.lag().values()) + self._unacknowledged
        self._metrics.set("monitor_recorder_lag_messages", lag)

    def _convert(self, messages: Sequence[Message]) -> None:
        """Hand the points of messages to the sink. A message that cannot be read becomes a dead letter."""
        # The first message after a write starts the time in which points are gathered.
        if messages and not self._next:
            self._due = self._monotonic() + GATHER_S

        for message in messages:
            convert = alert_points if message.partition.topic == self._options.alerts else score_points
            try:
                self._points.write([convert(message)])
                self._unacknowledged += 1
            except ValueError as error:
                letter = dead_letter(self._options.dead_letters, message, "record", "Unreadable", str(error))
                self._reject([letter])
            self._next[message.partition] = message.offset + 1

    def _write(self) -> None:
        """Write, then commit. If either is unavailable, schedule a retry."""
        try:
            self._flush()
            self._source.commit(dict(self._next), self._options.timeout_s)
        except Unavailable as error:
            self._block(error)
            return

        self._next.clear()
        if self._blocked:
            self._log.info("recorder resumed")
            self._source.resume(list(self._assigned))
        self._unblock()

    def _flush(self) -> None:
        """Wait until points and dead letters are acknowledged. Raises Unavailable."""
        # 1. Points; those that the database rejects permanently become dead letters.
        try:
            self._points.flush(self._options.timeout_s)
        except Invalid as error:
            self._unacknowledged -= len(error.rejected)
            self._reject([self._letter(record, reason) for record, reason in error.rejected])

        # 2. Dead letters. One that is too large is logged only; its message stays in the source topic.
        try:
            self._dead.flush(self._options.timeout_s)
        except Invalid as error:
            self._log.error("dead letters rejected", letters=len(error.rejected), reason=str(error))

        self._metrics.add("monitor_recorder_points_total", self._unacknowledged, result="written")
        self._unacknowledged = 0

    def _letter(self, record: Record, reason: str) -> Record:
        headers = DeadLetterHeaders(stage="record", exception_message=reason).encode()
        return Record(self._options.dead_letters, record.key, record.value, headers)

    def _reject(self, letters: Sequence[Record]) -> None:
        self._dead.write(letters)
        self._metrics.add("monitor_recorder_points_total", len(letters), result="rejected")
        self._log.error("points rejected", letters=len(letters), topic=self._options.dead_letters)

    def _block(self, error: Unavailable) -> None:
        """Wait before the next attempt: as long as the database asked for, otherwise with full jitter."""
        if error.retry_after is None:
            delay = self._delay_s * self._random.random()
        else:
            delay = min(error.retry_after, MAX_RETRY_AFTER_S)
        self._delay_s = min(2 * self._delay_s, MAX_DELAY_S)
        self._due = self._monotonic() + delay

        if not self._blocked:
            self._log.warning("recorder blocked", reason=str(error), retry_s=round(delay, 1))
        self._blocked = True
        self._health.set("recorder", ok=False, reason=str(error))
        self._metrics.set("monitor_recorder_blocked", 1)

    def _unblock(self) -> None:
        self._blocked = False
        self._delay_s = FIRST_DELAY_S
        self._health.set("recorder", ok=True)
        self._metrics.set("monitor_recorder_blocked", 0)

    def _on_assign(self, committed: Committed) -> Mapping[Partition, int | None]:
        self._assigned |= committed.keys()
        return committed

    def _on_revoke(self, partitions: Sequence[Partition]) -> None:
        """Write and commit. If that fails, the next owner reads those messages again."""
        if self._next:
            self._write()
        self._on_lost(partitions)

    def _on_lost(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self._next.pop(partition, None)
            self._assigned.discard(partition)
