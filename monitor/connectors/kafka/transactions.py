"""Records to Kafka, in one transaction with the offsets of the messages they come from. See `base.Committer`.

A checkpoint is a transaction: `flush` begins it, hands over every record written since the last one and waits until all
are acknowledged; `commit` adds the offsets and ends it. Between checkpoints none is open, so nothing keeps readers of
committed records waiting, and a rebalance or a pause finds nothing half done. Whatever goes wrong aborts the
transaction; the records stay here, and the next flush sends them anew in a new one.

A transaction is refused if its offsets come from a member whom the group has given up (KIP-447). That is what fences a
worker that slept too long, not the transactional id, which only ends what an earlier process of the same id left open.

A transaction with a refused record can only be aborted: the guilty record is named and the others go out without it. A
broker refuses a whole batch because of one record, so those of a refused batch are sent again, each alone.

There is no bound on what is held: it goes out together or not at all. Who writes stops while no transaction succeeds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as RawMessage

from monitor.connectors.base import Invalid, Unavailable
from monitor.connectors.kafka.client import Config, KafkaFatal, Report, Trouble, kafka_error, report
from monitor.connectors.kafka.sink import DEFAULTS, FORCED, REFUSED
from monitor.core.records import Partition, Record

_ROUND_S = 0.1  # how long one look for delivery reports waits
_OPEN_S = 5.0  # for the coordinator's first answer; asked again by the first flush
_ABORT_S = 2.0  # a round trip or two; asked again by the next flush
_AGAIN_S = 0.1  # until the next try; librdkafka itself spoils the one after a record was refused alone, by a gap
_LEAST_S = 0.5  # for any request, however little is left: one that is cut short costs a round of its own
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001 - librdkafka's own codes begin so


class KafkaTransactions:
    """The sink of a worker that delivers exactly once, and the committer of its source.

    `membership` is `KafkaSource.membership`. `timeout` is how long a transaction may stay open, in seconds, before the
    broker ends it: longer than any flush and its commit take together, and short, for what a killed process leaves open
    holds up the next owner of its partitions, and readers, for so long.
    """

    once = True

    def __init__(
        self,
        config: Config,
        transactional_id: str,
        membership: Callable[[], object],
        timeout: float,
        on_error: Report = report,
    ) -> None:
        self._config = {**DEFAULTS, **config, **FORCED, "transactional.id": transactional_id}
        self._config["transaction.timeout.ms"] = round(timeout * 1000)
        self._membership = membership
        self._trouble = Trouble(on_error)
        self._producer: Producer | None = None
        self._unanswered = ""  # the request that must succeed before anything else, by its name at the client
        self._begun = False
        self._ending = False  # whether the broker was asked to commit, and may have done so without our knowing
        self._round = 0  # number of the transaction; reports on earlier ones mean nothing
        self._held: dict[int, Record] = {}  # by number, in order: written and not committed
        self._written = 0  # the number of the next record
        self._sent = 0  # the number of the next record to hand to the client
        self._suspects = range(0)  # numbers of records that are sent each alone
        self._accused: list[int] = []  # numbers of the records of refused batches
        self._rejected: list[tuple[Record, str]] = []
        self._failed = ""  # why this transaction cannot succeed

    def open(self) -> None:
        """End what an earlier process of this id left open. Raises ValueError if the client refuses the configuration.

        Where the coordinator does not answer for now, the first flush asks again. Raises KafkaFatal if it refuses.
        """
        self._connect()
        with suppress(Unavailable):  # as the docstring says; the client has told its complaint
            self._conclude(time.monotonic() + _OPEN_S)

    def write(self, records: Sequence[Record]) -> None:
        """Hold the records for the next flush."""
        for record in records:
            self._held[self._written] = record
            self._written += 1

    def flush(self, timeout: float) -> None:
        """Have all that is held acknowledged within a transaction; only `commit` makes it durable and visible.

        Raises Unavailable like `base.Sink`; Invalid, too, but then the other records are still to be flushed. Raises
        KafkaFatal if the client cannot go on.
        """
        deadline = time.monotonic() + timeout
        self._conclude(deadline)
        while self._sent < self._written and not self._rejected:
            self._deliver(deadline)
        self._rejected, rejected = [], self._rejected
        if rejected:
            raise Invalid(f"{len(rejected)} records refused for ever; the first: {rejected[0][1]}", rejected)

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """Make what was flushed and these offsets durable, together. Raises Unavailable, with nothing of it done."""
        assert self._sent == self._written, "flush() comes first"
        deadline = time.monotonic() + timeout
        self._conclude(deadline)
        if not offsets and not self._begun:
            return
        try:
            self._begin()
            if offsets:
                positions = [TopicPartition(*part, offset) for part, offset in offsets.items()]
                self._opened().send_offsets_to_transaction(positions, self._membership(), _left(deadline))
            self._ending = True
            self._opened().commit_transaction(_left(deadline))
        except (KafkaException, SystemError) as fault:
            verdict = self._judged(fault, "commit")
            self._abort()
            raise verdict from fault
        except Unavailable:
            self._abort()
            raise
        self._begun = False
        self._held.clear()
        self._trouble.over()

    def discard(self) -> None:
        """Forget what was not committed: its messages are processed anew."""
        self._held.clear()
        self._rejected.clear()
        self._sent = self._written
        if self._begun:
            with suppress(Unavailable):  # asked for again by the next flush
                self._abort()

    def close(self) -> None:
        """See `base.Sink`. What is not committed is thrown away."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        self._held.clear()
        with suppress(KafkaException):  # of a client that is dead already; the broker ends what is open in its time
            if self._begun:
                producer.abort_transaction(_ABORT_S)
            producer.purge(blocking=False)
            producer.poll(0)

    def _conclude(self, deadline: float) -> None:
        """Repeat what has no answer yet. A timeout leaves it under way, to be asked for again."""
        if not self._unanswered:
            return
        try:
            getattr(self._opened(), self._unanswered)(_left(deadline))
        except KafkaException as fault:
            error = fault.args[0]
            verdict = self._trouble.judge(error, self._unanswered)
            stuck = self._unanswered == "abort_transaction" and error.code() == KafkaError._STATE  # noqa: SLF001 - as above
            if stuck and not self._ending:
                self._connect()
            elif not error.retriable():
                raise KafkaFatal(str(verdict)) from fault
            raise verdict from fault
        self._unanswered = ""

    def _connect(self) -> None:
        """A client of this id, whose first request ends what an earlier one left open.

        Also in place of a client whose abort timed out half way: librdkafka takes no second call in that state. Not if
        a commit may have got through: then to send everything again could be to send it twice.
        """
        if self._producer is not None:
            self._producer.purge(blocking=False)
        try:
            self._producer = Producer({**self._config, "error_cb": self._trouble.heard})
        except KafkaException as fault:
            raise ValueError(f"kafka configuration: {fault.args[0]}") from fault
        self._unanswered = "init_transactions"

    def _begin(self) -> None:
        if not self._begun:
            self._round, self._accused, self._failed = self._round + 1, [], ""
            self._opened().begin_transaction()
            self._begun, self._ending = True, False

    def _abort(self) -> None:
        """End the transaction without a trace; all that is held is to be sent again."""
        self._begun, self._unanswered = False, "abort_transaction"
        self._sent = next(iter(self._held), self._written)
        self._conclude(time.monotonic() + _ABORT_S)

    def _deliver(self, deadline: float) -> None:
        """Hand over what is held and wait until all is acknowledged, or abort."""
        try:
            self._begin()
            while (self._sent < self._written or len(self._opened())) and not self._spoilt():
                left = deadline - time.monotonic()
                self._hand_over()
                self._opened().flush(max(0.0, min(_ROUND_S, left)))
                if left <= 0 and len(self._opened()) and not self._spoilt():
                    self._failed = f"{len(self._opened())} records not acknowledged in time"
        except (KafkaException, SystemError) as fault:
            self._failed = self._failed or str(self._judged(fault, "produce"))
        if self._spoilt():
            self._give_up(deadline)

    def _spoilt(self) -> bool:
        """Whether this transaction can only be aborted."""
        return bool(self._failed or self._accused or self._rejected)

    def _give_up(self, deadline: float) -> None:
        """Abort. Raises Unavailable if no record is to blame and there is no time left for another try."""
        self._abort()  # meanwhile the last reports come: why the client takes no more records is told by one of them
        if self._accused:
            self._suspects = range(min(self._accused), max(self._accused) + 1)
        elif not self._rejected:
            if time.monotonic() + _AGAIN_S > deadline:
                raise self._trouble.unavailable(self._failed)
            time.sleep(_AGAIN_S)

    def _hand_over(self) -> None:
        """Give the client what it does not have yet, as far as its queue reaches; suspects one by one."""
        producer = self._opened()
        while self._sent < self._written:
            if self._suspects.start <= self._sent <= self._suspects.stop and len(producer):
                return
            record = self._held.get(self._sent)
            if record is not None and not self._produced(self._sent, record):
                return
            self._sent += 1

    def _produced(self, number: int, record: Record) -> bool:
        """Whether the client took the record, or refused it for ever."""
        told = partial(self._delivered, self._round, number)
        headers: list[tuple[str, str | bytes | None]] = [*record.headers]
        try:
            self._opened().produce(record.topic, record.value, record.key, on_delivery=told, headers=headers)
        except BufferError:  # its queue is full
            return False
        except KafkaException as fault:
            if fault.args[0].code() not in REFUSED:
                raise
            self._refuse(number, fault.args[0])
        return True

    def _delivered(self, round_: int, number: int, error: KafkaError | None, _: RawMessage) -> None:
        """The client's report on one record."""
        if error is None:
            self._trouble.over()
        elif round_ != self._round or number not in self._held or error.code() in _PURGED:
            return
        elif error.code() not in REFUSED:
            self._failed = f"{self._held[number].topic}: {error.name()}: {error.str()}"
        elif number in self._suspects:
            self._refuse(number, error)
        else:
            self._accused.append(number)

    def _refuse(self, number: int, error: KafkaError) -> None:
        self._rejected.append((self._held.pop(number), f"{error.name()}: {error.str()}"))

    def _judged(self, fault: BaseException, what: str) -> Unavailable:
        """What to say of a fault that an abort heals; raises KafkaFatal if none does, and what is no fault of Kafka."""
        error = kafka_error(fault)
        if error is None:
            raise fault
        verdict = self._trouble.judge(error, what)
        if not isinstance(verdict, Unavailable):
            raise verdict from fault
        return verdict

    def _opened(self) -> Producer:
        assert self._producer is not None, "open() comes first"
        return self._producer


def _left(deadline: float) -> float:
    return max(_LEAST_S, deadline - time.monotonic())
