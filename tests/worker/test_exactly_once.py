"""The loop with a committer that makes outputs and offsets final together, on the in-process broker.

What Kafka itself does in a transaction is shown in tests/connectors/kafka/test_kafka_transactions.py, with processes
that are killed in tests/crash/test_exactly_once.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from monitor.connectors.base import Committer, Sink, Source, Unavailable
from monitor.connectors.kafka.transactions import KafkaTransactions
from monitor.connectors.memory.client import MemoryBroker, MemorySource
from monitor.core.records import Partition, Record
from monitor.observe.metrics import Metrics
from monitor.service.backends import make_outputs, make_source
from monitor.settings.tree import Settings
from monitor.store.files import open_blobs
from tests.rig import committed, feed, published, put_model, running, settings, until, values
from tests.worker.test_daemon import faulty, run_through, scores

BOTH = ("monitor.alerts", "monitor.scores")
Everything = list[list[dict[str, object]]]  # alerts and scores


class Together:
    """A sink and committer: records are published and offsets committed in one step, or neither is."""

    once = True

    def __init__(self, broker: MemoryBroker, source: Source) -> None:
        self._broker, self._source = broker, source
        self._held: list[Record] = []
        self.refuses = False
        self.most = 0  # records that were ever held

    def open(self) -> None:
        """Nothing."""

    def write(self, records: Sequence[Record]) -> None:
        self._held += records
        self.most = max(self.most, len(self._held))

    def flush(self, timeout: float) -> None:
        """Nothing."""

    def commit(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        if self.refuses:
            raise Unavailable("refused")
        self._source.commit(offsets, timeout)
        self._broker.extend(self._held)
        self._held.clear()

    def discard(self) -> None:
        self._held.clear()

    def close(self) -> None:
        self._held.clear()


@pytest.fixture
def wanted(tmp_path: Path) -> Mapping[int, Everything]:
    """What one worker that nothing happens to publishes of `faulty`, by the number of partitions."""
    found = {}
    for partitions in (1, 2, 4):
        store, broker = tmp_path / f"whole-{partitions}", MemoryBroker({"readings": partitions})
        put_model(store)
        feed(broker, values(faulty()))
        run_through(store, broker)
        found[partitions] = everything(broker)
    put_model(tmp_path)
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, wanted: object) -> list[Together]:
    """From here on workers deliver exactly once; the committers they have, in order."""
    committers: list[Together] = []

    def together(_: Settings, source: Source, __: Metrics, broker: MemoryBroker) -> tuple[Sink, Committer]:
        committers.append(Together(broker, source))
        return committers[-1], committers[-1]

    monkeypatch.setattr("monitor.service.wiring.make_outputs", together)
    return committers


def everything(broker: MemoryBroker) -> Everything:
    """Alerts and scores, each in an order that does not depend on who published them."""
    return [
        sorted(published(broker, topic), key=lambda body: (body["asset"], body["time"], str(body))) for topic in BOTH
    ]


def test_a_restart_publishes_nothing_again(
    tmp_path: Path, made: list[Together], wanted: Mapping[int, Everything]
) -> None:
    """Restarts before, during and after an alert leave every record once, the open alert's included."""
    broker, sent = MemoryBroker(), values(faulty())
    for begin, end in ((0, 150), (150, 420), (420, 425), (425, 600)):
        feed(broker, sent[begin:end])
        run_through(tmp_path, broker)
    assert len(made) == 4
    assert everything(broker) == wanted[1]


def test_nothing_is_published_before_its_offsets_are_committed(
    tmp_path: Path, made: list[Together], wanted: Mapping[int, Everything]
) -> None:
    """While commits are refused nothing is published, what is held stays bounded, and later all comes once."""
    broker = MemoryBroker()
    feed(broker, values(faulty()))
    small = settings(tmp_path, source__batch_messages=20, delivery__checkpoint_messages=100)
    with running(small, broker) as service:
        until(lambda: made)
        made[0].refuses = True
        until(lambda: made[0].most >= 60 and service.metrics.total("monitor_checkpoints_total") > 10)
        assert made[0].most <= 120
        assert committed(broker) == len(published(broker, "monitor.scores")) == 0
        made[0].refuses = False
        until(lambda: committed(broker) == 600)
    assert everything(broker) == wanted[1]


def test_partitions_that_move_take_their_outputs_along(
    tmp_path: Path, made: list[Together], wanted: Mapping[int, Everything]
) -> None:
    """When a second worker joins and leaves, every record is published once, by one of the two."""
    broker, sent = MemoryBroker({"readings": 4}), values(faulty())
    feed(broker, sent[:300])
    with running(settings(tmp_path), broker):
        until(lambda: committed(broker) == 300)
        with running(settings(tmp_path), broker):
            feed(broker, sent[300:])
            until(lambda: committed(broker) == 600)
    assert len(made) == 2
    assert everything(broker) == wanted[4]


def test_what_could_not_be_committed_when_revoked_is_left_to_the_next(
    tmp_path: Path, made: list[Together], wanted: Mapping[int, Everything]
) -> None:
    """A worker that has to give up a partition while commits are refused ends and leaves all it held to the others."""
    broker = MemoryBroker({"readings": 2})

    def work() -> None:
        with running(settings(tmp_path), broker):
            until(lambda: made)
            made[0].refuses = True
            feed(broker, values(faulty()))
            until(lambda: made[0].most > 400)
            with running(settings(tmp_path), broker):
                until(lambda: committed(broker) == 600)

    with pytest.raises(RuntimeError, match="revoked"):
        work()
    assert everything(broker) == wanted[2]


def test_what_a_lost_member_holds_is_thrown_away(
    tmp_path: Path, made: list[Together], wanted: Mapping[int, Everything]
) -> None:
    """A worker that the group has given up publishes nothing of what it held, and everything once when it is back."""
    broker = MemoryBroker()
    feed(broker, values(faulty()))
    with running(settings(tmp_path), broker):
        until(lambda: made)
        made[0].refuses = True
        until(lambda: made[0].most > 400)
        source = made[0]._source
        assert isinstance(source, MemorySource)
        broker.kick(source.group, source.member)
        made[0].refuses = False
        until(lambda: committed(broker) == 600)
    assert everything(broker) == wanted[1]


def test_a_poisoned_partition_is_published_as_far_as_it_is_committed(tmp_path: Path, made: list[Together]) -> None:
    """Of a partition that stops for unreadable messages no output comes without its offset: a restart repeats none."""
    broker = MemoryBroker()
    sent = values(faulty())
    for place in range(300, 600):
        sent[place] = (sent[place][0], b"{}", sent[place][2])
    feed(broker, sent)
    limits = {"source__batch_messages": 20, "delivery__dead_letters_in_a_row": 50}
    for _ in range(2):
        with running(settings(tmp_path, **limits), broker) as service:
            until(lambda service=service: "could not be read" in service.health.ready()[1])  # type: ignore[misc]
    letters = [
        dict(stored.record.headers)
        for part in broker.partitions("monitor.dead-letters")
        for stored in broker.read(part)
    ]
    offsets = [int(headers["__connect.errors.offset"]) for headers in letters]
    assert offsets == list(range(300, committed(broker)))
    assert len(scores(broker)) == 2 * (150 - 16 + 1)


def test_a_worker_keeps_its_transactional_id_if_it_has_a_name(tmp_path: Path) -> None:
    """The id follows from detector, group and group.instance.id; without that each process has one of its own."""
    kafka: dict[str, object] = {"source__kind": "kafka", "outputs__kind": "kafka", "delivery__mode": "exactly_once"}
    anonymous = settings(tmp_path, **kafka)
    named = settings(tmp_path, **kafka, kafka__options={"group.instance.id": "press-hall"})
    assert transactional_id(named) == transactional_id(named) == "test-monitor-press-hall"
    assert transactional_id(anonymous) != transactional_id(anonymous)


def transactional_id(wanted: Settings) -> object:
    source = make_source(wanted, open_blobs(wanted.store.url), Metrics(), None)
    sink, committer = make_outputs(wanted, source, Metrics(), None)
    assert isinstance(sink, KafkaTransactions)
    assert committer is sink
    return sink._config["transactional.id"]
