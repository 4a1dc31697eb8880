"""Records to Kafka, acknowledged by every in-sync replica, and topics made on request. See `base.Sink`.

The sink keeps every record until it is acknowledged, and librdkafka keeps it as well, with no time limit of its own:
through an outage the idempotent producer keeps the order and writes each record once. Only when librdkafka gives a
record back (no such topic, not allowed) does the sink restore the order: it takes back the records that are not sent
yet, and the next flush hands over all of them, from the oldest. A record in flight at that moment can be written twice.

`pending.py` finds the record for which a broker refused a whole batch; that record is reported as `Invalid`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as RawMessage
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # admin brings it along, but does not export it

from monitor.connectors.base import Unavailable
from monitor.connectors.kafka.client import QUIET, Config, Report, Trouble, kafka_error, report
from monitor.connectors.kafka.pending import Pending
from monitor.core.records import Record

DEFAULTS: Config = {
    **QUIET,
    "message.max.bytes": 2_000_000,  # twice the brokers' default, so that they decide what is too large, not the client
    "partitioner": "murmur2_random",  # a key goes where Java clients put it, so that topics can be joined by asset
}
FORCED: Config = {
    "acks": "all",
    "enable.idempotence": True,
    "message.timeout.ms": 0,  # never: a record leaves acknowledged or refused, not because time has passed
}
_ROUND_S = 0.1  # longest wait of one call for delivery reports


class KafkaSink:
    """A producer. It buffers at most `bound` records between two flushes; an empty buffer takes one call of any length.

    `config` holds librdkafka's options by their own names; `options.check_options` lists the forbidden ones. `on_error`
    receives every complaint of the client, on the caller's thread.
    """

    def __init__(self, config: Config, on_error: Report = report, bound: int = 100_000) -> None:
        self._config = dict(config)
        self._bound = bound
        self._trouble = Trouble(on_error)
        self._producer: Producer | None = None
        self._pending = Pending()
        self._failed = ""  # why the client gave a record back; empty = it did not

    def open(self) -> None:
        """Connect in the background. Raises ValueError if the client refuses the configuration."""
        try:
            self._producer = Producer({**DEFAULTS, **self._config, **FORCED, "error_cb": self._trouble.heard})
        except KafkaException as fault:
            raise ValueError(f"kafka configuration: {fault.args[0]}") from fault

    def write(self, records: Sequence[Record]) -> None:
        """Accept all records, or raise Unavailable and accept none of them. Never waits."""
        self._serve(0)
        waiting = len(self._pending)
        if waiting and waiting + len(records) > self._bound:
            raise self._trouble.unavailable(f"{waiting} records wait for an answer, at most {self._bound} may")

        self._pending.add(records)
        if not self._failed:
            self._hand_over()

    def flush(self, timeout: float) -> None:
        """See `base.Sink`. Raises KafkaFatal if the client cannot go on."""
        deadline = time.monotonic() + timeout
        while len(self._pending):
            # After a failure nothing is handed over until the client has returned everything: the order would be lost.
            if not self._failed or self._took_back():
                self._hand_over()
            self._serve(max(0.0, min(_ROUND_S, deadline - time.monotonic())))

            if len(self._pending) and time.monotonic() >= deadline:
                text = f"{len(self._pending)} records not acknowledged after {timeout:g} s"
                raise self._trouble.unavailable(f"{text}: {self._failed}" if self._failed else text)
        self._pending.raise_rejected()

    def close(self) -> None:
        """See `base.Sink`. Drop the client's records: it would wait for their delivery without end."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        self._pending.clear()
        producer.purge(blocking=False)
        producer.poll(0)

    def _hand_over(self) -> None:
        """Give the client the records it does not have. Raises KafkaFatal if it cannot go on."""
        try:
            self._pending.hand_over(self._opened(), self._delivered)
        except KafkaException as fault:
            verdict = self._trouble.judge(fault.args[0], self._pending.next().topic)
            if not isinstance(verdict, Unavailable):
                raise verdict from fault
            self._failed = str(verdict)

    def _delivered(self, number: int, error: KafkaError | None, _: RawMessage) -> None:
        """Handle the client's report on one record."""
        failed = self._pending.answered(number, error)
        if error is None:
            self._pending.done(number)
            self._trouble.over()
        else:
            self._failed = self._failed or failed  # the first reason counts: after it the sink itself purges the queue

    def _took_back(self) -> bool:
        """Take the unsent records out of the client; once it is empty, all pending records can be sent again."""
        # Records in flight stay: their answers come, and purging them could write them twice.
        producer = self._opened()
        producer.purge(in_queue=True, in_flight=False, blocking=False)
        self._serve(0)
        if len(producer) > 0:
            return False

        self._failed = ""
        self._pending.send_again()
        return True

    def _serve(self, timeout: float) -> None:
        """Let the client report deliveries."""
        try:
            self._opened().poll(timeout)
        except (KafkaException, SystemError) as fault:
            error = kafka_error(fault)
            if error is None:
                raise
            raise self._trouble.judge(error, "produce") from fault

    def _opened(self) -> Producer:
        assert self._producer is not None, "open() comes first"
        return self._producer


def count_partitions(config: Config, timeout: float) -> dict[str, int]:
    """Return the number of partitions of every topic. Raises Unavailable if no broker answers."""
    trouble = Trouble(lambda _: None)
    whole: Any = {**QUIET, **config, "error_cb": trouble.heard}  # the client's stub knows no callbacks
    admin = AdminClient(whole)
    try:
        topics = admin.list_topics(timeout=timeout).topics
    except KafkaException as fault:
        admin.poll(0)  # only there the client gives the reason
        raise trouble.unavailable(f"topics: {fault.args[0].str()}") from fault
    return {name: len(topic.partitions) for name, topic in topics.items()}


def create_topics(config: Config, partitions: Mapping[str, int], timeout: float) -> dict[str, str]:
    """Create topics with these numbers of partitions and the broker's own replication; "created" or "exists" by topic.

    An existing topic is left as it is. Raises Unavailable with the broker's text if a topic could not be created.
    """
    admin = AdminClient({**QUIET, **config})
    topics = [NewTopic(name, count, -1) for name, count in partitions.items()]
    futures = admin.create_topics(topics, request_timeout=timeout, operation_timeout=timeout)

    outcome = {}
    for name, future in futures.items():
        try:
            future.result()
            outcome[name] = "created"
        except KafkaException as fault:
            if fault.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unavailable(f"topic {name}: {fault.args[0].name()}: {fault.args[0].str()}") from fault
            outcome[name] = "exists"
    return outcome
