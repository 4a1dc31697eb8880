"""Records to Kafka, in one transaction with the offsets of the messages they come from. See `base.Committer`.

A checkpoint is a transaction: `flush` begins it, hands over every record written since the last one and waits until all
are acknowledged; `commit` adds the offsets and ends it. Between checkpoints no transaction is open, so none blocks
readers of committed records, and a rebalance or a pause finds nothing half done. Any failure aborts the transaction;
the records stay here, and the next flush sends them again in a new transaction.

The broker refuses a transaction whose offsets come from a member that the group has evicted (KIP-447). That is what
fences a worker that slept too long. The transactional id does not: it only ends the transaction that an earlier process
of the same id left open.

A transaction with a refused record can only be aborted. `pending.py` finds the record; it is reported as `Invalid`, and
the others go out without it.

There is no bound on pending records: they go out together or not at all. The caller stops writing while no transaction
succeeds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as RawMessage

from monitor.connectors.base import Unavailable
from monitor.connectors.kafka.client import Config, KafkaFatal, Report, Trouble, kafka_error, report
from monitor.connectors.kafka.pending import PURGED, REFUSED, Pending
from monitor.connectors.kafka.sink import DEFAULTS, FORCED
from monitor.core.records import Partition, Record

_ROUND_S = 0.1  # longest wait of one call for delivery reports
_OPEN_S = 5.0  # for the coordinator's first answer; the first flush asks again
_ABORT_S = 2.0  # a round trip or two; the next flush asks again
_AGAIN_S = 0.1  # until the next try; after a record refused alone, librdkafka itself fails the next one by a gap
_LEAST_S = 0.5  # for any request, however little time is left: a request cut short costs a round of its own


class KafkaTransactions:
    """The sink of a worker that delivers exactly once, and the committer of its source.

    `membership` is `KafkaSource.membership`. `timeout` is how long a transaction may stay open, in seconds, before the
    broker ends it. It must exceed any flush with its commit, and be short all the same: a transaction left open by a
    killed process blocks the next owner of its partitions, and readers, for that long.
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
        self._pending = Pending()

        self._unanswered = ""  # the client's method that must succeed before anything else; empty = none
        self._begun = False
        self._ending = False  # the broker was asked to commit, and may have done so although the answer was lost
        self._round = 0  # number of the transaction; reports on earlier ones are ignored
        self._failed = ""  # why this transaction cannot succeed; empty = it can
        self._suspects_found = False  # it failed for a refused batch, so the next try sends differently

    def open(self) -> None:
        """End what an earlier process of this id left open. Raises ValueError if the client refuses the configuration.

        If the coordinator does not answer for now, the first flush asks again. Raises KafkaFatal if it refuses.
        """
        self._connect()
        with suppress(Unavailable):  # as the docstring says; the client has reported its complaint
            self._conclude(time.monotonic() + _OPEN_S)

    def write(self, records: Sequence[Record]) -> None:
        """Keep the records for the next flush."""
        self._pending.add(records)

    def flush(self, timeout: float) -> None:
        """Get all pending records acknowledged within a transaction; only `commit` makes them durable and visible.

        Raises Unavailable like `base.Sink`. Raises Invalid like it, too, but then the other records are still to be
        flushed. Raises KafkaFatal if the client cannot go on.
        """
        deadline = time.monotonic() + timeout
        self._conclude(deadline)
        while not self._pending.all_sent() and not self._pending.rejected():
            self._deliver(deadline)
        self._pending.raise_rejected()

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """Make the flushed records and these offsets durable, together. After Unavailable none of them is durable."""
        assert self._pending.all_sent(), "flush() comes first"
        deadline = time.monotonic() + timeout
        self._conclude(deadline)
        if not offsets and not self._begun:
            return

        try:
            # The broker checks the membership when the offsets arrive: an evicted member cannot commit (KIP-447).
            self._begin()
            if offsets:
                positions = [TopicPartition(*part, offset) for part, offset in offsets.items()]
                self._opened().send_offsets_to_transaction(positions, self._membership(), _left(deadline))

            # From here on a lost answer may hide a success, so the client must not be replaced.
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
        self._pending.clear()
        self._trouble.over()

    def discard(self) -> None:
        """Forget the uncommitted records; their messages are processed again."""
        self._pending.clear()
        if self._begun:
            with suppress(Unavailable):  # the next flush asks again
                self._abort()

    def close(self) -> None:
        """See `base.Sink`. Uncommitted records are dropped."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        self._pending.clear()

        with suppress(KafkaException):  # of a client that is dead already; the broker's timeout ends its transaction
            if self._begun:
                producer.abort_transaction(_ABORT_S)
            producer.purge(blocking=False)
            producer.poll(0)

    def _conclude(self, deadline: float) -> None:
        """Repeat the request that has no answer yet. After a timeout it stays unanswered, for the next call."""
        if not self._unanswered:
            return
        try:
            getattr(self._opened(), self._unanswered)(_left(deadline))
        except KafkaException as fault:
            error = fault.args[0]
            verdict = self._trouble.judge(error, self._unanswered)

            # A client whose abort timed out half way is replaced, unless it was asked to commit.
            stuck = self._unanswered == "abort_transaction" and error.code() == KafkaError._STATE  # noqa: SLF001 - librdkafka's own codes begin so
            if stuck and not self._ending:
                self._connect()
            elif not error.retriable():
                raise KafkaFatal(str(verdict)) from fault
            raise verdict from fault
        self._unanswered = ""

    def _connect(self) -> None:
        """Make a client of this id, whose first request ends what an earlier one left open.

        It also replaces a client whose abort timed out half way: librdkafka takes no second call in that state. It must
        not replace a client whose commit may have succeeded: sending everything again could then be sending it twice.
        """
        if self._producer is not None:
            self._producer.purge(blocking=False)
        try:
            self._producer = Producer({**self._config, "error_cb": self._trouble.heard})
        except KafkaException as fault:
            raise ValueError(f"kafka configuration: {fault.args[0]}") from fault
        self._unanswered = "init_transactions"

    def _begin(self) -> None:
        if self._begun:
            return
        self._round += 1
        self._failed = ""
        self._suspects_found = False
        self._opened().begin_transaction()
        self._begun = True
        self._ending = False

    def _abort(self) -> None:
        """End the transaction without a trace; all pending records are to be sent again."""
        self._begun = False
        self._unanswered = "abort_transaction"
        self._pending.send_again()
        self._conclude(time.monotonic() + _ABORT_S)

    def _deliver(self, deadline: float) -> None:
        """Hand over the pending records and wait until all are acknowledged, or abort."""
        try:
            self._begin()
            while (not self._pending.all_sent() or len(self._opened())) and not self._spoilt():
                left = deadline - time.monotonic()
                self._pending.hand_over(self._opened(), partial(self._delivered, self._round))
                self._opened().flush(max(0.0, min(_ROUND_S, left)))
                if left <= 0 and len(self._opened()) and not self._spoilt():
                    self._failed = f"{len(self._opened())} records not acknowledged in time"
        except (KafkaException, SystemError) as fault:
            self._failed = self._failed or str(self._judged(fault, "produce"))

        if self._spoilt():
            self._start_over(deadline)

    def _spoilt(self) -> bool:
        """Return whether this transaction can only be aborted."""
        return bool(self._failed) or self._pending.rejected()

    def _start_over(self, deadline: float) -> None:
        """Abort. Raises Unavailable if the next try would be the same and there is no time left for it."""
        self._abort()  # meanwhile the last reports come: one of them may tell why the client takes no more records
        if self._suspects_found or self._pending.rejected():
            return
        if time.monotonic() + _AGAIN_S > deadline:
            raise self._trouble.unavailable(self._failed)
        time.sleep(_AGAIN_S)

    def _delivered(self, round_: int, number: int, error: KafkaError | None, _: RawMessage) -> None:
        """Handle the client's report on one record."""
        if error is None:
            self._trouble.over()
        if round_ != self._round:
            return

        failed = self._pending.answered(number, error)
        if error is None or not failed:
            return
        if error.code() not in PURGED:
            self._failed = failed
            self._suspects_found |= error.code() in REFUSED
        elif self._begun:  # not by our abort: librdkafka drops the next transaction after a record refused alone
            self._failed = self._failed or failed

    def _judged(self, fault: BaseException, what: str) -> Unavailable:
        """Return the error that an abort heals; raise KafkaFatal if it cannot, and `fault` if it is not Kafka's."""
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
