"""Outputs on their way: encoded, written to the sink, acknowledged at the checkpoint.

What the sink does not take for now waits here, in order, and is offered again; `blocked` is true meanwhile and the
daemon reads nothing new, so at most the outputs of one poll wait. What the sink will never take becomes a dead letter:
with its content if that can be written, else without it, since a dead letter may itself be too large.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.connectors.base import Invalid, Sink, Unavailable
from monitor.core.pipeline import Pipeline
from monitor.core.publish import alert_record, dead_letter, score_records
from monitor.core.published import DeadLetterHeaders
from monitor.core.records import Alert, Message, Outputs, Record
from monitor.observe.observer import Observer


@dataclass(frozen=True, slots=True)
class Topics:
    """Where outputs go."""

    alerts: str
    scores: str
    dead_letters: str
    scores_every: int  # steps of the grid; 0 = no scores
    step_ms: int


class Publisher:
    """Outputs between the pipelines and the sink."""

    def __init__(self, sink: Sink, topics: Topics, observer: Observer) -> None:
        self._sink = sink
        self._topics = topics
        self._metrics = observer.metrics
        self._log = observer.log
        self._wall_ms = observer.wall_ms
        self._waiting: list[Record] = []  # not taken by the sink yet
        self._stamps: list[int] = []  # of the messages behind the alerts that are not acknowledged yet, ms UTC
        self.blocked = ""  # why nothing new may be read; empty = it may

    def put(self, pipeline: Pipeline, outputs: Outputs, messages: Sequence[Message]) -> None:
        """Hand over what one batch of one partition gave. Never waits."""
        topics, records = self._topics, []
        for rejected in outputs.rejected:
            reason = f"{rejected.field}: {rejected.reason}" if rejected.field else rejected.reason
            records.append(dead_letter(topics.dead_letters, rejected.message, rejected.stage, rejected.error, reason))
        if topics.scores_every:
            records += score_records(
                topics.scores,
                outputs,
                names=outputs.names,
                channels=pipeline.windows.channels,
                model=pipeline.model,
                every_steps=topics.scores_every,
                step_ms=topics.step_ms,
            )
        records += [alert_record(topics.alerts, alert) for alert in outputs.alerts]
        if outputs.alerts:
            stamps = {message.offset: message.timestamp for message in messages}
            self._stamps += [stamps[alert.position] for alert in outputs.alerts if alert.position in stamps]
        self._write(records)

    def repeat(self, alerts: Sequence[Alert]) -> None:
        """Hand over records that were published before."""
        self._write([alert_record(self._topics.alerts, alert) for alert in alerts])

    def settle(self, timeout: float) -> None:
        """Wait until everything handed over is acknowledged. Raises Unavailable; nothing is lost by that."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                waiting, self._waiting = self._waiting, []
                self._write(waiting)
                self._sink.flush(max(0.0, deadline - time.monotonic()))
            except Unavailable as error:
                self._block(str(error))
                raise
            except Invalid as error:
                for record, reason in error.rejected:
                    self._bury(record, reason)
                continue
            if not self._waiting:
                break
        self._unblock()
        now = self._wall_ms()
        for stamp in self._stamps:
            self._metrics.observe("monitor_alert_delay_seconds", max(0, now - stamp) / 1000)
        self._stamps.clear()

    def _write(self, records: list[Record]) -> None:
        if not records:
            return
        if self._waiting:  # order is kept
            self._waiting += records
            return
        try:
            self._sink.write(records)
        except Unavailable as error:
            self._waiting = records
            self._block(str(error))

    def _bury(self, record: Record, reason: str) -> None:
        dead = self._topics.dead_letters
        self._log.error("output refused for ever", topic=record.topic, size=len(record.value or b""), reason=reason)
        if record.topic == dead and record.value is None:
            return  # its content was given up before; the log line above is all that can be said
        if record.topic == dead:
            self._write([Record(dead, record.key, None, (*record.headers, ("value", b"too large to be kept")))])
            return
        headers = DeadLetterHeaders(topic=record.topic, stage="output", exception_message=reason).encode()
        self._write([Record(dead, record.key, record.value, (*record.headers, *headers))])

    def _block(self, reason: str) -> None:
        if not self.blocked:
            self._log.warning("outputs are not acknowledged, reading stops until they are", reason=reason)
        self.blocked = reason
        self._metrics.set("monitor_output_blocked", 1)

    def _unblock(self) -> None:
        if self.blocked:
            self._log.info("outputs are acknowledged again")
        self.blocked = ""
        self._metrics.set("monitor_output_blocked", 0)
