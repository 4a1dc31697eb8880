"""Which record a refused batch is blamed on: only one that was sent alone."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from monitor.connectors.base import Invalid
from monitor.connectors.kafka.pending import Pending
from monitor.connectors.kafka.sink import KafkaSink
from monitor.connectors.kafka.transactions import KafkaTransactions
from monitor.core.records import Record

LIMIT = 2000  # bytes of a batch that the broker takes
PARTITIONS = 4


class _Client:
    """A producer before a broker that takes batches of at most LIMIT bytes: one batch per partition and poll.

    Stands in for librdkafka, which forms batches as it likes. In transactions it drops, like librdkafka, the records
    behind one that was refused alone.
    """

    def __init__(self) -> None:
        self.transactional = False
        self.gap = False
        self.queue: list[tuple[int, bytes, Callable[..., None]]] = []
        self.kept: list[bytes] = []  # since the last transaction began, if there are any
        self.committed: list[bytes] = []
        self.batches: list[list[bytes]] = []

    def __len__(self) -> int:
        return len(self.queue)

    def produce(self, _: str, value: bytes, key: bytes, on_delivery: Callable[..., None], **__: Any) -> None:
        self.queue.append((key[0] % PARTITIONS, value, on_delivery))

    def poll(self, timeout: float) -> None:  # noqa: ARG002 - never waits
        queue, self.queue = self.queue, []
        if self.gap and queue:
            self.gap = False
            for _, _, told in queue:
                told(KafkaError(KafkaError._PURGE_QUEUE, "Purged in queue"), None)
            return

        for partition in range(PARTITIONS):
            batch = [(value, told) for number, value, told in queue if number == partition]
            values = [value for value, _ in batch]
            refused = sum(map(len, values)) > LIMIT
            error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "Message size too large") if refused else None
            self.batches.append(values)
            self.kept += [] if refused else values
            self.gap |= self.transactional and refused and len(batch) == 1
            for _, told in batch:
                told(error, None)

    def flush(self, timeout: float) -> None:
        self.poll(timeout)

    def purge(self, **_: bool) -> None:
        assert not self.queue

    def init_transactions(self, _: float) -> None:
        self.transactional = True

    def begin_transaction(self) -> None:
        self.kept = []

    def abort_transaction(self, _: float) -> None:
        self.poll(0)
        self.kept = []

    def commit_transaction(self, _: float) -> None:
        self.committed += self.kept


def _record(number: int, size: int) -> Record:
    return Record("t", bytes([number % 7]), b"%04d" % number + b"x" * (size - 4))


def _sent(client: _Client, records: list[Record], one: KafkaSink | KafkaTransactions) -> list[Record]:
    """Flush until nothing is rejected any more; the records rejected."""
    rejected: list[Record] = []
    one.write(records)
    while True:
        try:
            one.flush(10)
        except Invalid as error:
            rejected += [record for record, _ in error.rejected]
            continue
        return rejected


@pytest.mark.parametrize("bad", [[], [0], [17], [3, 4, 50, 199]])
@pytest.mark.parametrize("once", [False, True])
def test_a_refused_batch_condemns_no_good_record(monkeypatch: pytest.MonkeyPatch, bad: list[int], once: bool) -> None:
    """Records that fit alone are written, however often they are refused in batches; records too large are rejected."""
    client = _Client()
    for module in ("sink", "transactions"):
        monkeypatch.setattr(f"monitor.connectors.kafka.{module}.Producer", lambda _: client)
    records = [_record(number, 3000 if number in bad else 900) for number in range(200)]
    one = KafkaTransactions({}, "id", lambda: None, 30, lambda _: None) if once else KafkaSink({}, lambda _: None)
    one.open()
    assert _sent(client, records, one) == [records[number] for number in bad]

    if isinstance(one, KafkaTransactions):
        one.commit({}, 1)
    written = client.committed if once else client.kept
    good = [record.value or b"" for number, record in enumerate(records) if number not in bad]
    assert sorted(set(written)) == sorted(good)
    assert len(written) == len(good)
    for key in range(7):
        mine = {record.value for record in records if record.key == bytes([key])}
        assert [value for value in written if value in mine] == [value for value in good if value in mine], "order"


def test_a_suspect_shares_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal the record behind the last suspect waits until the suspect is answered."""
    client = _Client()
    monkeypatch.setattr("monitor.connectors.kafka.sink.Producer", lambda _: client)
    sink = KafkaSink({}, lambda _: None)
    sink.open()
    sink.write([Record("t", b"\0", b"a" * 900) for _ in range(3)])
    sink.write([])  # hears of the refusal
    assert _sent(client, [Record("t", b"\0", b"b" * 1500)], sink) == []
    assert [len(batch) for batch in client.batches if batch] == [3, 1, 1, 1, 1]


@given(sizes=st.lists(st.sampled_from([100, 900, 1500, 2001]), max_size=30))
def test_only_records_too_large_alone_are_rejected(sizes: list[int]) -> None:
    """For any mixture of sizes, with every record but the acknowledged ones sent again after each refusal."""
    client, pending = _Client(), Pending()
    done: list[int] = []
    failed: list[str] = []

    def delivered(number: int, error: KafkaError | None, _: object) -> None:
        failed.append(pending.answered(number, error))
        if error is None:
            pending.done(number)
            done.append(number)

    pending.add([_record(number, size) for number, size in enumerate(sizes)])
    for _ in range(10 * len(sizes) + 10):
        pending.hand_over(client, delivered)  # type: ignore[arg-type]
        client.poll(0)
        if any(failed):
            failed.clear()
            pending.send_again()
    assert len(pending) == 0
    assert sorted(done) == [number for number, size in enumerate(sizes) if size <= LIMIT]

    large = sum(size > LIMIT for size in sizes)
    if large:
        with pytest.raises(Invalid, match=f"{large} records") as caught:
            pending.raise_rejected()
        assert len(caught.value.rejected) == large
    pending.raise_rejected()
