"""Records to Kafka, acknowledged by every in-sync replica, and topics made on request. See `base.Sink`.

The sink holds every record until it is acknowledged, and librdkafka holds it besides, with no time limit of its own:
through an outage the idempotent producer keeps the order and writes each record once. Only when it gives a record back
(no such topic, not allowed) is the order restored here: what it still has is taken out of it, and the next flush hands
over everything anew, from the oldest. A record that was on its way at that moment can then be written twice.

A broker refuses a whole batch of records because of one that is too large or malformed. To find the guilty one, the
batch is sent again record by record; who is refused alone is `Invalid`.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as RawMessage
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # admin brings it along, but does not export it

from monitor.connectors.base import Invalid, Unavailable
from monitor.connectors.kafka.client import QUIET, Config, Report, Trouble, kafka_error, report
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
REFUSED = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.TOPIC_EXCEPTION,  # the name of the topic is not allowed
)
_ROUND_S = 0.1  # how long one look for delivery reports waits


class KafkaSink:
    """`bound` records are held at most between two flushes, but an empty buffer takes one call of any length.

    `config` holds librdkafka's options by their own names; see `kafka_options.check_options` for those it must not.
    `on_error` is told every complaint of the client, on the caller's thread.
    """

    def __init__(self, config: Config, on_error: Report = report, bound: int = 100_000) -> None:
        self._config, self._bound = dict(config), bound
        self._trouble = Trouble(on_error)
        self._producer: Producer | None = None
        self._held: dict[int, Record] = {}  # by number, in order: written and not acknowledged
        self._written = 0  # the number of the next record
        self._sent = 0  # the number of the next record to hand to the client
        self._singly = 0  # below this number, one record at a time
        self._failed: str | None = None  # why the client gave a record back; None = it did not
        self._rejected: list[tuple[Record, str]] = []

    def open(self) -> None:
        """Connect in the background. Raises ValueError if the client refuses the configuration."""
        try:
            self._producer = Producer({**DEFAULTS, **self._config, **FORCED, "error_cb": self._trouble.heard})
        except KafkaException as fault:
            raise ValueError(f"kafka configuration: {fault.args[0]}") from fault

    def write(self, records: Sequence[Record]) -> None:
        """Accept all records, or raise Unavailable and accept none of them. Never waits."""
        self._serve(0)
        if self._held and len(self._held) + len(records) > self._bound:
            raise self._trouble.unavailable(f"{len(self._held)} records wait for an answer, at most {self._bound} may")
        for record in records:
            self._held[self._written] = record
            self._written += 1
        if self._failed is None:
            self._hand_over()

    def flush(self, timeout: float) -> None:
        """See `base.Sink`. Raises KafkaFatal if the client cannot go on."""
        deadline = time.monotonic() + timeout
        while self._held:
            if self._failed is None or self._took_back():
                self._hand_over()
            self._serve(max(0.0, min(_ROUND_S, deadline - time.monotonic())))
            if self._held and time.monotonic() >= deadline:
                what = f"{len(self._held)} records not acknowledged after {timeout:g} s"
                raise self._trouble.unavailable(what if self._failed is None else f"{what}: {self._failed}")
        self._rejected, rejected = [], self._rejected
        if rejected:
            raise Invalid(f"{len(rejected)} records refused for ever; the first: {rejected[0][1]}", rejected)

    def close(self) -> None:
        """See `base.Sink`. What the client still has is thrown away: it would wait for its delivery without end."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        self._held.clear()
        producer.purge(blocking=False)
        producer.poll(0)

    def _hand_over(self) -> None:
        """Give the client what it does not have yet, as far as its queue reaches and it takes it."""
        while self._sent < self._written and (self._sent >= self._singly or not len(self._opened())):
            record = self._held.get(self._sent)
            if record is not None and not self._produced(self._sent, record):
                return
            self._sent += 1

    def _produced(self, number: int, record: Record) -> bool:
        """Whether the client took the record, or refused it for ever."""
        report = partial(self._delivered, number)
        headers: list[tuple[str, str | bytes | None]] = [*record.headers]
        try:
            self._opened().produce(record.topic, record.value, record.key, on_delivery=report, headers=headers)
        except BufferError:  # its queue is full
            return False
        except KafkaException as fault:
            if fault.args[0].code() in REFUSED:
                self._refuse(number, fault.args[0])
                return True
            verdict = self._trouble.judge(fault.args[0], record.topic)
            if not isinstance(verdict, Unavailable):
                raise verdict from fault
            self._failed = str(verdict)
            return False
        return True

    def _delivered(self, number: int, error: KafkaError | None, _: RawMessage) -> None:
        """The client's report on one record."""
        if error is None:
            self._held.pop(number, None)
            self._trouble.over()
        elif number not in self._held or error.code() == KafkaError._PURGE_QUEUE:  # noqa: SLF001 - librdkafka's name
            return
        elif error.code() in REFUSED and number < self._singly:
            self._refuse(number, error)
        else:
            if error.code() in REFUSED:
                self._singly = max(self._singly, number + 1)
            self._failed = f"{self._held[number].topic}: {error.name()}: {error.str()}"

    def _refuse(self, number: int, error: KafkaError) -> None:
        self._rejected.append((self._held.pop(number), f"{error.name()}: {error.str()}"))

    def _took_back(self) -> bool:
        """Take back what the client has not sent; once it has nothing left, all that is held can be sent anew."""
        producer = self._opened()
        producer.purge(in_queue=True, in_flight=False, blocking=False)
        self._serve(0)
        if len(producer) > 0:
            return False
        self._failed = None
        self._sent = next(iter(self._held), self._written)
        return True

    def _serve(self, timeout: float) -> None:
        """Let the client report what became of the records."""
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


def create_topics(config: Config, partitions: Mapping[str, int], timeout: float) -> dict[str, str]:
    """Make each topic with so many partitions and the broker's own replication; "created" or "exists" by topic.

    An existing topic is left as it is. Raises Unavailable with the broker's words if one could not be made.
    """
    admin = AdminClient({**QUIET, **config})
    topics = [NewTopic(name, count, -1) for name, count in partitions.items()]
    outcome = {}
    for name, future in admin.create_topics(topics, request_timeout=timeout, operation_timeout=timeout).items():
        try:
            future.result()
            outcome[name] = "created"
        except KafkaException as fault:
            if fault.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unavailable(f"topic {name}: {fault.args[0].name()}: {fault.args[0].str()}") from fault
            outcome[name] = "exists"
    return outcome
