"""Copies the published scores and alerts into the time-series database: a consumer group of its own, in its own thread.

Kafka is the buffer: offsets are committed only after the database has acknowledged the points, so an outage of hours
costs nothing but lag, and the detector never waits. Points are idempotent, so what is written twice after a crash
stands once. A message that gives no point, or a point the database will never take, becomes a dead letter.

While the database is away, partitions are paused and polling goes on, and writing is tried again after a time that
doubles up to `MOST_S` and is drawn at random below that (full jitter), or as long as the database asked for.
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

FIRST_S, MOST_S = 0.5, 30.0  # the first wait after a failure, and the longest
PATIENCE_S = 300.0  # the longest wait that the database may ask for
GATHER_S = 1.0  # how long points are gathered before they are written: a request a second, not one per message


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """Topics, sizes and waits of a recorder."""

    alerts: str  # topic
    dead_letters: str  # topic
    batch: int  # messages per poll, and points per write
    poll_s: float
    timeout_s: float  # for a write or a commit


class Recorder:
    """The thread's work. `points` is the database, `dead` takes dead letters."""

    def __init__(self, source: Source, points: Sink, dead: Sink, options: RecorderOptions, observer: Observer) -> None:
        self._source = source
        self._points = points
        self._dead = dead
        self._alerts = options.alerts
        self._dead_letters = options.dead_letters
        self._batch = options.batch
        self._poll_s = options.poll_s
        self._timeout_s = options.timeout_s
        self._metrics = observer.metrics
        self._health = observer.health
        self._log = observer.log
        self._monotonic = observer.monotonic
        self._alive = observer.watchdog.alive
        self._random = random.Random()  # noqa: S311 - spreads the attempts of many recorders
        self._next: dict[Partition, int] = {}  # offset behind the last message taken
        self._assigned: set[Partition] = set()
        self._waiting = 0  # points taken and not acknowledged
        self._blocked = False
        self._backoff_s = FIRST_S
        self._due = 0.0  # monotonic seconds at which what was taken is to be written

    def open(self) -> None:
        """Join the group. Raises ValueError if a client refuses its options; then nothing stays open."""
        with ExitStack() as undo:
            for sink in (self._points, self._dead):
                sink.open()
                undo.callback(sink.close)
            self._source.open(self._on_assign, self._on_revoke, self._on_lost)
            undo.pop_all()

    def run(self, stop: Event) -> None:
        """Work until `stop` is set or the source has ended and all is written, then leave cleanly."""
        self._unblock()  # until there is something to write, nothing is wrong with the database
        try:
            while not stop.is_set() and not (self._source.ended() and not self._next):
                self._turn(stop)
        finally:
            self._source.close()
            self._points.close()
            self._dead.close()

    def _turn(self, stop: Event) -> None:
        self._alive()
        if self._blocked:
            self._source.pause(list(self._assigned))
        try:
            messages = self._source.poll(self._batch, self._poll_s)
            self._health.set("recorder source", ok=not self._source.held_up(), reason=self._source.held_up())
        except Unavailable as error:
            self._health.set("recorder source", ok=False, reason=str(error))
            stop.wait(FIRST_S)
            messages = []
        self._take(messages)
        now = (self._waiting >= self._batch or self._source.ended()) and not self._blocked
        # Blocked it is tried with nothing taken, too: what was taken may have gone to another owner meanwhile.
        if (self._next or self._blocked) and (now or self._monotonic() >= self._due):
            self._settle(self._timeout_s)
        self._metrics.set("monitor_recorder_lag_messages", sum(self._source.lag().values()) + self._waiting)

    def _take(self, messages: Sequence[Message]) -> None:
        """Turn messages into points and hand them over."""
        if messages and not self._next:
            self._due = self._monotonic() + GATHER_S
        for message in messages:
            try:
                make = alert_points if message.partition.topic == self._alerts else score_points
                self._points.write([make(message)])
                self._waiting += 1
            except ValueError as error:
                self._bury([dead_letter(self._dead_letters, message, "record", "Unreadable", str(error))])
            self._next[message.partition] = message.offset + 1

    def _settle(self, timeout: float) -> None:
        """Write, then commit; or wait for a better time."""
        try:
            self._flush(timeout)
            self._source.commit(dict(self._next), timeout)
        except Unavailable as error:
            asked = error.retry_after
            wait = self._backoff_s * self._random.random() if asked is None else min(asked, PATIENCE_S)
            self._backoff_s = min(2 * self._backoff_s, MOST_S)
            self._due = self._monotonic() + wait
            self._block(str(error), wait)
            return
        self._next.clear()
        if self._blocked:
            self._log.info("recorder writes again")
            self._source.resume(list(self._assigned))
        self._unblock()

    def _flush(self, timeout: float) -> None:
        try:
            self._points.flush(timeout)
        except Invalid as error:
            self._waiting -= len(error.rejected)
            self._bury([self._letter(record, reason) for record, reason in error.rejected])
        try:
            self._dead.flush(timeout)
        except Invalid as error:  # too large even as a dead letter; the message itself stays in its topic
            self._log.error("dead letter refused for ever", letters=len(error.rejected), reason=str(error))
        self._metrics.add("monitor_recorder_points_total", self._waiting, result="written")
        self._waiting = 0

    def _letter(self, record: Record, reason: str) -> Record:
        headers = DeadLetterHeaders(stage="record", exception_message=reason).encode()
        return Record(self._dead_letters, record.key, record.value, headers)

    def _bury(self, letters: Sequence[Record]) -> None:
        self._dead.write(letters)
        self._metrics.add("monitor_recorder_points_total", len(letters), result="rejected")
        self._log.error("not recorded", letters=len(letters), topic=self._dead_letters)

    def _block(self, reason: str, wait: float) -> None:
        if not self._blocked:
            self._log.warning("recorder waits", reason=reason, retry_s=round(wait, 1))
        self._blocked = True
        self._health.set("recorder", ok=False, reason=reason)
        self._metrics.set("monitor_recorder_blocked", 1)

    def _unblock(self) -> None:
        self._blocked, self._backoff_s = False, FIRST_S
        self._health.set("recorder", ok=True)
        self._metrics.set("monitor_recorder_blocked", 0)

    def _on_assign(self, committed: Committed) -> Mapping[Partition, int | None]:
        self._assigned |= committed.keys()
        return committed

    def _on_revoke(self, partitions: Sequence[Partition]) -> None:
        """Write and commit what was taken; what cannot be is read again by the next owner."""
        if self._next:
            self._settle(self._timeout_s)
        self._on_lost(partitions)

    def _on_lost(self, partitions: Sequence[Partition]) -> None:
        for part in partitions:
            self._next.pop(part, None)
            self._assigned.discard(part)
