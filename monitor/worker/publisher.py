"""The publisher: encode outputs, write them to the sink, and wait for acknowledgements at a checkpoint.

Records that the sink does not take now are buffered in order and offered again. `blocked` is set meanwhile and the loop
reads nothing new, so at most the outputs of one poll are buffered. A record that the sink rejects permanently becomes a
dead letter: with its value if that can be written, otherwise without it, since a dead letter may itself be too large.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.connectors.base import Invalid, Sink, Unavailable
from monitor.core.decode.names import Names
from monitor.core.detectors import Detectors
from monitor.core.publish import alert_record, dead_letter, scores_of
from monitor.core.published import VALUE_GONE
from monitor.core.records import Alert, Message, PartitionOutputs, Record
from monitor.observe.observer import Observer


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of the outputs, and how often scores are published."""

    alerts: str
    scores: str
    dead_letters: str
    scores_every: int  # steps of a detector's grid; 0 = no scores


class Publisher:
    """Outputs between the detectors and the sink."""

    def __init__(self, sink: Sink, topics: Topics, observer: Observer) -> None:
        self._sink = sink
        self._topics = topics
        self._metrics = observer.metrics
        self._log = observer.log
        self._wall_ms = observer.wall_ms
        self._buffer: list[Record] = []  # records that the sink has not taken yet
        self._stamps: list[int] = []  # ms UTC, of the messages behind unacknowledged alerts
        self.blocked = ""  # reason why nothing new may be read; empty = it may

    def publish(self, detectors: Detectors, outputs: PartitionOutputs, messages: Sequence[Message]) -> None:
        """Write the outputs of one batch of one partition. Never waits."""
        topics = self._topics
        records: list[Record] = []

        for rejected in outputs.rejected:
            reason = f"{rejected.field}: {rejected.reason}" if rejected.field else rejected.reason
            records.append(dead_letter(topics.dead_letters, rejected.message, rejected.stage, rejected.error, reason))

        for name, each in outputs.detectors.items() if topics.scores_every else ():
            records += scores_of(detectors.pipelines[name], each, topics.scores, topics.scores_every)

        records += [alert_record(topics.alerts, alert, detectors.names) for alert in outputs.alerts]
        if outputs.alerts:
            stamps = {message.offset: message.timestamp for message in messages}
            self._stamps += [stamps[alert.position] for alert in outputs.alerts if alert.position in stamps]

        self._write(records)

    def publish_again(self, alerts: Sequence[Alert], names: Names | None = None) -> None:
        """Write alert records that were published before."""
        self._write([alert_record(self._topics.alerts, alert, names or Names()) for alert in alerts])

    def flush(self, timeout: float) -> None:
        """Wait until every record is acknowledged. Raises Unavailable; the records then stay buffered."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                waiting, self._buffer = self._buffer, []
                self._write(waiting)
                self._sink.flush(max(0.0, deadline - time.monotonic()))
            except Unavailable as error:
                self._block(str(error))
                raise
            except Invalid as error:
                for record, reason in error.rejected:
                    self._reject(record, reason)
                continue  # the dead letters must be acknowledged, too
            if not self._buffer:
                break

        self._unblock()
        now = self._wall_ms()
        for stamp in self._stamps:
            self._metrics.observe("monitor_alert_delay_seconds", max(0, now - stamp) / 1000)
        self._stamps.clear()

    def _write(self, records: list[Record]) -> None:
        if not records:
            return
        if self._buffer:  # keeps the order
            self._buffer += records
            return
        try:
            self._sink.write(records)
        except Unavailable as error:
            self._buffer = records
            self._block(str(error))

    def _reject(self, record: Record, reason: str) -> None:
        """Turn a rejected record into a dead letter, and a rejected dead letter into one without a value."""
        topic = self._topics.dead_letters
        self._log.error("output rejected", topic=record.topic, size=len(record.value or b""), reason=reason)

        if record.topic == topic and record.value is None:
            return  # its value was removed before; the log line has everything that is left
        if record.topic == topic:
            self._write([Record(topic, record.key, None, (*record.headers, VALUE_GONE))])
            return

        note = {"topic": record.topic, "stage": "output", "exception.message": reason}
        headers = ((f"__connect.errors.{name}", text.encode()) for name, text in note.items())
        self._write([Record(topic, record.key, record.value, (*record.headers, *headers))])

    def _block(self, reason: str) -> None:
        if not self.blocked:
            self._log.warning("output blocked", reason=reason)
        self.blocked = reason
        self._metrics.set("monitor_output_blocked", 1)

    def _unblock(self) -> None:
        if self.blocked:
            self._log.info("output resumed")
        self.blocked = ""
        self._metrics.set("monitor_output_blocked", 0)
