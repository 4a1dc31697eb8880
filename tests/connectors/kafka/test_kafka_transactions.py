"""Records and offsets in one transaction: together or not at all, whatever a broker answers."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from monitor.connectors.base import Invalid, Unavailable
from monitor.connectors.kafka.client import KafkaFatal
from monitor.connectors.kafka.source import KafkaSource
from monitor.core.records import Record
from tests.apache import ApacheKafka
from tests.brokers import END_TXN, TXN_OFFSET_COMMIT, MockBroker, evict, mock_broker
from tests.contracts.kafka_harness import MEMBER, MOCK_MEMBER
from tests.contracts.transactions_harness import PATIENCE_S, Stage, until


@pytest.mark.slow
class TestOnce:
    """What only a broker that keeps transactions can show."""

    @pytest.fixture
    def stage(self, apache: ApacheKafka) -> Stage:
        return Stage(apache)

    @pytest.fixture
    def member(self, stage: Stage) -> Iterator[KafkaSource]:
        with stage.joined(MEMBER) as member:
            yield member

    def test_records_and_offsets_become_final_together(self, stage: Stage, member: KafkaSource) -> None:
        """What is flushed is seen by no reader of committed records; the commit shows it and moves the offset."""
        with stage.transactions(member.membership) as sink:
            sink.write([stage.alert, stage.alert])
            sink.flush(PATIENCE_S)
            assert (stage.alerts(), stage.offset()) == ([], None)
            assert stage.alerts("read_uncommitted") == [stage.alert, stage.alert]
            sink.commit({stage.readings: 5}, PATIENCE_S)
            assert (stage.alerts(), stage.offset()) == ([stage.alert, stage.alert], 5)

    def test_what_is_refused_is_sent_anew(self, stage: Stage, member: KafkaSource) -> None:
        """A commit of a member that the group gave up leaves nothing; the records go out with the next one, once."""
        standing: list[object] = []

        def membership() -> object:
            if not standing:
                raise Unavailable("given up")
            return standing[0]

        with stage.transactions(membership) as sink:
            sink.write([stage.alert])
            sink.flush(PATIENCE_S)
            with pytest.raises(Unavailable, match="given up"):
                sink.commit({stage.readings: 5}, PATIENCE_S)
            assert (stage.alerts(), stage.offset()) == ([], None)
            standing.append(member.membership())
            sink.write([stage.alert])
            sink.flush(PATIENCE_S)
            sink.commit({stage.readings: 6}, PATIENCE_S)
            assert (stage.alerts(), stage.offset()) == ([stage.alert, stage.alert], 6)

    @pytest.mark.parametrize("flushed", [True, False])
    def test_what_is_discarded_is_never_seen(self, stage: Stage, member: KafkaSource, flushed: bool) -> None:
        """Records discarded before the commit are not published with the next ones."""
        with stage.transactions(member.membership) as sink:
            sink.write([stage.record(b"discarded")])
            if flushed:
                sink.flush(PATIENCE_S)
            sink.discard()
            sink.write([stage.alert])
            sink.flush(PATIENCE_S)
            sink.commit({stage.readings: 5}, PATIENCE_S)
            assert (stage.alerts(), stage.offset()) == ([stage.alert], 5)

    def test_a_successor_ends_what_was_left_open(self, stage: Stage, member: KafkaSource) -> None:
        """A second process of the same id aborts the first one's transaction, and the first can do nothing any more."""
        with stage.transactions(member.membership) as first:
            first.write([stage.record(b"of a zombie")])
            first.flush(PATIENCE_S)
            with stage.transactions(member.membership) as second:
                second.write([stage.alert])
                second.flush(PATIENCE_S)
                second.commit({stage.readings: 5}, PATIENCE_S)
            with pytest.raises(KafkaFatal, match="FENCED"):
                first.commit({stage.readings: 7}, PATIENCE_S)
            assert (stage.alerts(), stage.offset()) == ([stage.alert], 5)

    def test_many_refused_among_others(self, stage: Stage, member: KafkaSource) -> None:
        """Of a thousand records three are too large: each is named, and the others go out once, in their order."""
        good = [stage.record(b"%d" % number) for number in range(1000)]
        bad = [stage.record(b"v" * 1_500_000 + b"%d" % number) for number in range(3)]
        named: list[Record] = []
        with stage.transactions(member.membership) as sink:
            sink.write([*good[:100], bad[0], *good[100:101], bad[1], *good[101:900], bad[2], *good[900:]])
            while len(named) < 3:
                with suppress(Unavailable):  # where the machine is busy an abort may take more than its two seconds
                    with pytest.raises(Invalid) as caught:
                        sink.flush(PATIENCE_S)
                    named += [record for record, _ in caught.value.rejected]
            sink.flush(PATIENCE_S)
            sink.commit({stage.readings: 5}, PATIENCE_S)
        assert named == bad
        assert stage.alerts() == good


class _Stuck:
    """A client that takes no abort, as librdkafka's after one that timed out half way; rare, so it is put in here.

    All else goes to the real one, but for a commit whose answer is lost if `lost` says so.
    """

    def __init__(self, client: Producer, *, lost: bool) -> None:
        self._client, self._lost = client, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def __len__(self) -> int:
        return len(self._client)

    def abort_transaction(self, _: float) -> None:
        raise KafkaException(KafkaError(KafkaError._STATE, "Operation not valid in state BeginAbort"))

    def commit_transaction(self, timeout: float) -> None:
        self._client.commit_transaction(timeout)
        if self._lost:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True))


@pytest.mark.slow
class TestStuck:
    """A client whose abort cannot be asked for again, before a broker that keeps transactions."""

    @pytest.fixture
    def stage(self, apache: ApacheKafka) -> Stage:
        return Stage(apache)

    def test_it_is_replaced_and_everything_comes_once(self, stage: Stage) -> None:
        """Another client ends what it left open and sends everything anew; readers of what is committed see it once."""
        refusals = [Unavailable("the group has given up this member")]

        def membership() -> object:
            if refusals:
                raise refusals.pop()
            return None

        with stage.transactions(membership) as sink:
            sink.write([stage.alert])
            sink.flush(PATIENCE_S)
            assert sink._producer is not None
            sink._producer = _Stuck(sink._producer, lost=False)  # type: ignore[assignment]
            with pytest.raises(Unavailable, match="BeginAbort"):
                sink.commit({stage.readings: 5}, PATIENCE_S)
            assert stage.alerts() == []
            sink.flush(PATIENCE_S)
            sink.commit({}, PATIENCE_S)
            assert stage.alerts() == [stage.alert]

    def test_it_is_not_replaced_if_a_commit_may_have_got_through(self, stage: Stage) -> None:
        """Where the answer to a commit was lost, nothing is sent again: KafkaFatal; the records are there once."""
        with stage.transactions(lambda: None) as sink:
            sink.write([stage.alert])
            sink.flush(PATIENCE_S)
            assert sink._producer is not None
            sink._producer = _Stuck(sink._producer, lost=True)  # type: ignore[assignment]
            with pytest.raises(KafkaFatal, match="BeginAbort"):
                sink.commit({}, PATIENCE_S)
            assert stage.alerts() == [stage.alert]


class TestFaults:
    """What a broker may answer, shown with one that answers whatever it is told to."""

    @pytest.fixture
    def broker(self) -> Iterator[MockBroker]:
        with mock_broker() as broker:
            yield broker

    @pytest.fixture
    def stage(self, broker: MockBroker) -> Stage:
        return Stage(broker)

    @pytest.fixture
    def member(self, stage: Stage) -> Iterator[KafkaSource]:
        with stage.joined(MOCK_MEMBER) as member:
            yield member

    @pytest.mark.parametrize("code", [KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, 113])
    def test_a_member_that_was_given_up_commits_nothing(
        self, broker: MockBroker, stage: Stage, member: KafkaSource, code: int
    ) -> None:
        """The broker's refusal of a stale member is `Unavailable`, and the next checkpoint can succeed."""
        with stage.transactions(member.membership) as sink:
            sink.write([stage.alert])
            sink.flush(PATIENCE_S)
            broker.fail_requests(TXN_OFFSET_COMMIT, [code])
            with pytest.raises(Unavailable, match="commit"):
                sink.commit({stage.readings: 5}, PATIENCE_S)
            sink.flush(PATIENCE_S)
            sink.commit({stage.readings: 5}, PATIENCE_S)
            assert stage.alerts() == [
                stage.alert,
                stage.alert,
            ]  # the aborted one, too: the mock cluster shows everything

    @pytest.mark.parametrize("code", [KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH])
    def test_a_producer_that_was_replaced_is_dead(
        self, broker: MockBroker, stage: Stage, member: KafkaSource, code: int
    ) -> None:
        """Where another process has taken over the id, the end of a transaction is refused for ever: KafkaFatal."""
        with stage.transactions(member.membership) as sink:
            sink.write([stage.alert])
            sink.flush(PATIENCE_S)
            broker.fail_requests(END_TXN, [code])
            with pytest.raises(KafkaFatal):
                sink.commit({stage.readings: 5}, PATIENCE_S)
            sink.write([stage.alert])
            with pytest.raises(KafkaFatal):
                sink.flush(PATIENCE_S)

    def test_a_coordinator_that_is_away_at_the_start(
        self, broker: MockBroker, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Opening waits a moment only; the first flush waits for the coordinator, and succeeds once it is there."""
        monkeypatch.setattr("monitor.connectors.kafka.transactions._OPEN_S", 0.5)
        broker.down()
        with stage.transactions(object) as sink:
            sink.write([stage.alert])
            with pytest.raises(Unavailable):
                sink.flush(0.5)
            broker.up()
            sink.flush(PATIENCE_S)
            sink.commit({}, PATIENCE_S)
            assert stage.alerts() == [stage.alert]

    def test_what_is_discarded_in_an_outage_never_comes(self, broker: MockBroker, stage: Stage) -> None:
        """Records whose flush failed and that were then discarded are not sent when the broker is back."""
        with stage.transactions(object) as sink:
            sink.write([stage.record(b"discarded")])
            broker.down()
            with pytest.raises(Unavailable):
                sink.flush(0.5)
            sink.discard()
            broker.up()
            sink.write([stage.alert])
            sink.flush(PATIENCE_S)
            sink.commit({}, PATIENCE_S)
            assert stage.alerts() == [stage.alert]

    def test_who_was_given_up_has_nothing_to_show(self, broker: MockBroker, stage: Stage, member: KafkaSource) -> None:
        """From the moment a member is lost until it has joined anew, its membership is `Unavailable`."""
        told: list[str] = []

        def lost(_: object) -> None:
            with pytest.raises(Unavailable, match="evicted"):
                member.membership()
            told.append("lost")

        member._on_lost = lost
        evict(broker.bootstrap, stage.group, member._opened().memberid())
        until(lambda: member.poll(10, 0.1), told)
        assert told == ["lost"]
