"""Records waiting for acknowledgement, and which of them a broker will never accept.

A broker refuses a whole batch because of one record that is too large or malformed, and does not say which one. So the
records of a refused batch become suspects. A suspect is sent alone: with nothing before it in the client, and nothing
behind it until its answer is there. Only a record refused alone is rejected.

A record stays a suspect until it leaves. If it went back into batches once it was accepted, the same batch could be
refused again: it may be too large only as a whole.

It sends nothing again by itself. That is the caller's part, since a transaction must be aborted first.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from monitor.connectors.base import Invalid
from monitor.core.records import Record

REFUSED = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.TOPIC_EXCEPTION,  # the name of the topic is not allowed
)
PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001 - librdkafka's own codes begin so

# Called by the client with the record's number, an error or None, and the client's copy of the record.
Delivered = Callable[[int, KafkaError | None, Any], None]


class Pending:
    """Records by number, in the order in which they were written."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}
        self._written = 0  # number of the next record
        self._sent = 0  # number of the next record to hand to the client
        self._suspects: set[int] = set()  # records of refused batches
        self._alone: int | None = None  # the suspect that the client has now, with no other record
        self._rejected: list[tuple[Record, str]] = []

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: Sequence[Record]) -> None:
        """Append records."""
        for record in records:
            self._records[self._written] = record
            self._written += 1

    def next(self) -> Record:
        """Return the record that `hand_over` continues with."""
        return self._records[self._sent]

    def all_sent(self) -> bool:
        """Return whether the client was given every record."""
        return self._sent == self._written

    def rejected(self) -> bool:
        """Return whether there are records for `raise_rejected`."""
        return bool(self._rejected)

    def raise_rejected(self) -> None:
        """Raise Invalid with the records rejected since the last call, if there are any."""
        rejected, self._rejected = self._rejected, []
        if rejected:
            raise Invalid(f"{len(rejected)} records rejected permanently; the first: {rejected[0][1]}", rejected)

    def hand_over(self, producer: Producer, delivered: Delivered) -> None:
        """Give the client the records it does not have, as far as its queue reaches; suspects alone.

        Raises KafkaException if the client does not take the record `next()` for another reason.
        """
        while self._sent < self._written:
            number = self._sent
            record = self._records.get(number)

            # Rejected records leave gaps in the numbers.
            if record is not None:
                suspect = number in self._suspects
                if self._alone is not None or (suspect and len(producer)):
                    return
                if not self._produce(producer, number, record, delivered):
                    return
                if suspect and number in self._records:  # unless the client itself rejected it
                    self._alone = number
            self._sent += 1

    def answered(self, number: int, error: KafkaError | None) -> str:
        """Take the client's answer on a record; return why the records must be sent again, empty if they need not.

        A record refused alone is rejected. One refused in a batch becomes a suspect.
        """
        # Whatever the answer, the client has this record no more, and the next one may follow.
        alone = number == self._alone
        if alone:
            self._alone = None

        if error is None or number not in self._records:
            return ""
        if error.code() in REFUSED:
            if alone:
                self._reject(number, error)
                return ""
            self._suspects.add(number)
        return f"{self._records[number].topic}: {error.name()}: {error.str()}"

    def done(self, number: int) -> None:
        """Forget an acknowledged record."""
        self._records.pop(number, None)
        self._suspects.discard(number)

    def send_again(self) -> None:
        """Let `hand_over` begin with the oldest record again. The client must have none of them any more."""
        self._sent = next(iter(self._records), self._written)
        self._alone = None

    def clear(self) -> None:
        """Forget all records."""
        self._records.clear()
        self._suspects.clear()
        self._rejected.clear()
        self._sent = self._written
        self._alone = None

    def _produce(self, producer: Producer, number: int, record: Record, delivered: Delivered) -> bool:
        """Give the client a record; False if its queue is full. A record that the client refuses is rejected."""
        headers: list[tuple[str, str | bytes | None]] = [*record.headers]
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                timestamp=record.timestamp,
                on_delivery=partial(delivered, number),
                headers=headers,
            )
        except BufferError:
            return False
        except KafkaException as fault:
            if fault.args[0].code() not in REFUSED:
                raise
            self._reject(number, fault.args[0])
        return True

    def _reject(self, number: int, error: KafkaError) -> None:
        self._rejected.append((self._records.pop(number), f"{error.name()}: {error.str()}"))
        self._suspects.discard(number)
