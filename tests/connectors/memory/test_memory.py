"""What the in-process broker does beyond the contracts, and what goes wrong with it on purpose."""

import threading
from collections.abc import Callable, Sequence
from operator import itemgetter

import pytest

from monitor.connectors.base import Committed, Invalid, Unavailable
from monitor.connectors.memory.broker import MemoryBroker, Stored
from monitor.connectors.memory.client import MemorySink, MemorySource
from monitor.core.records import Partition, Record
from tests.contracts.member import Member

T0, T1, T2, T3 = (Partition("t", number) for number in range(4))


def _nothing(_: Sequence[Partition]) -> None:
    """No matter."""


def _fill(broker: MemoryBroker, partition: Partition, *values: bytes) -> None:
    for value in values:
        broker.append(Record(partition.topic, None, value), partition.number)


def _member(broker: MemoryBroker, group: str = "g", *, commit_when_revoked: bool = False) -> Member:
    return Member(MemorySource(broker, ["t"], group), commit_when_revoked=commit_when_revoked).open()


def _name(member: Member) -> str:
    assert isinstance(member.source, MemorySource)
    return member.source.member


def test_records_are_stamped_and_keep_their_headers() -> None:
    """`append` says where a record lies, `read` gives it back whole, with the broker's time unless one was given."""
    broker = MemoryBroker(clock=lambda: 123)
    first, second = Record("t", b"k", b"v", (("h", b"1"), ("h", b"2"))), Record("t", None, None)
    assert broker.append(first) == (T0, 0)
    assert broker.append(second, timestamp=7) == (T0, 1)
    assert broker.read(T0) == [Stored(0, first, 123), Stored(1, second, 7)]
    assert broker.read(T0, 1) == broker.read(T0, 1, 5) == [Stored(1, second, 7)]
    assert broker.read(T0, 0, 1) == [Stored(0, first, 123)]
    assert broker.read(T0, 2) == []


def test_keys_choose_the_partition_for_good() -> None:
    """A key's partition is the same in every broker and process; records without key take turns."""
    broker = MemoryBroker({"t": 3})
    assert [broker.append(Record("t", key, b""))[0] for key in (b"a", b"b", b"g", b"")] == [T0, T2, T1, T0]
    assert [broker.append(Record("t", None, b""))[0] for _ in range(4)] == [T0, T1, T2, T0]


def test_a_full_partition_drops_its_oldest() -> None:
    """Beyond its bound a partition forgets the oldest records, and a reader that was behind goes on after the gap."""
    broker = MemoryBroker({"t": 1}, bound=3)
    source = MemorySource(broker, ["t"], "g")
    _fill(broker, T0, b"0", b"1")
    source.open(dict, _nothing, _nothing)
    assert [message.offset for message in source.poll(1, 0)] == [0]
    _fill(broker, T0, b"2", b"3", b"4", b"5")
    assert broker.begin_offsets("t") == {T0: 3}
    assert broker.end_offsets("t") == {T0: 6}
    assert [(message.offset, message.value) for message in source.poll(9, 0)] == [(3, b"3"), (4, b"4"), (5, b"5")]
    late = MemorySource(broker, ["t"], "late")
    late.open(lambda _: {T0: 1}, _nothing, _nothing)
    assert [message.offset for message in late.poll(9, 0)] == [3, 4, 5]


def test_what_is_no_topic_or_too_large_is_invalid() -> None:
    """Names that Kafka would refuse and records over the limit are never accepted, one by one or among others."""
    broker = MemoryBroker(max_record_bytes=10)
    good = Record("t", b"k", b"v" * 9)
    for bad in (Record("a/b", None, b""), Record("..", None, b""), Record("", None, b""), Record("t", b"k", b"v" * 10)):
        with pytest.raises(Invalid) as caught:
            broker.append(bad)
        assert [record for record, _ in caught.value.rejected] == [bad]
        with pytest.raises(Invalid):
            broker.extend([good, bad])
    assert broker.end_offsets("t") == {T0: 4}
    with pytest.raises(ValueError, match="expected 1 to 249"):
        broker.partitions("a b")
    with pytest.raises(ValueError, match="no partition 1"):
        broker.read(Partition("t", 1))


def test_a_flush_is_seen_whole() -> None:
    """A reader on another thread never finds a part of what one flush writes."""
    broker = MemoryBroker({"t": 1})
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(broker.end_offsets("t")[T0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    sink = MemorySink(broker)
    for _ in range(50):
        sink.write([Record("t", None, b"")] * 20)
        sink.flush(1)
    done.set()
    watcher.join()
    assert {offset % 20 for offset in seen} == {0}


def test_only_what_moves_is_revoked() -> None:
    """A new member takes its share and nothing else: the others keep the rest without a callback."""
    broker = MemoryBroker({"t": 4})
    first = _member(broker)
    first.poll(timeout=0)
    second = _member(broker)
    assert second.poll(timeout=0) == []
    assert second.assigned == set(), "not before the first has given them up"
    first.poll(timeout=0)
    second.poll(timeout=0)
    assert (first.assigned, first.revoked, second.assigned) == ({T0, T1}, [T2, T3], {T2, T3})


def test_a_revoked_partition_can_be_committed_until_the_callback_returns() -> None:
    """The commit in `on_revoke` counts for the next owner; one afterwards is refused and changes nothing."""
    broker = MemoryBroker({"t": 2})
    _fill(broker, T1, b"a", b"b")
    first = _member(broker, commit_when_revoked=True)
    first.poll(timeout=0)
    second = _member(broker)
    first.poll(timeout=0)
    with pytest.raises(Unavailable, match=r"does not own t\[1\]"):
        first.source.commit({T0: 9, T1: 9}, 1)
    assert broker.committed("g") == {T1: 2}
    second.poll(timeout=0)
    assert second.committed == {T1: 2}


def test_a_kicked_member_hears_it_when_it_closes() -> None:
    """If the group has given a member up before it closes, `close` calls `on_lost`, since nothing can be committed."""
    broker = MemoryBroker({"t": 1})
    member = _member(broker, commit_when_revoked=True)
    member.poll(timeout=0)
    broker.kick("g", _name(member))
    member.close()
    assert (member.lost, member.revoked) == ([T0], [])


def test_a_failed_assignment_is_offered_again() -> None:
    """If `on_assign` raises, the poll raises and the partitions are free; the next poll asks again."""
    broker = MemoryBroker({"t": 1})
    _fill(broker, T0, b"a")
    failures = [Unavailable("no snapshots for now")]

    def on_assign(committed: Committed) -> Committed:
        if failures:
            raise failures.pop()
        return committed

    source = MemorySource(broker, ["t"], "g")
    source.open(on_assign, _nothing, _nothing)
    with pytest.raises(Unavailable, match="no snapshots"):
        source.poll(1, 0)
    assert source.lag() == {}
    assert [message.value for message in source.poll(1, 0)] == [b"a"]


def test_wrong_starts_and_resets_are_refused() -> None:
    """An offset that does not exist yet and an unknown reset are mistakes, and mean neither beginning nor end."""
    broker = MemoryBroker({"t": 1})
    source = MemorySource(broker, ["t"], "g")
    source.open(lambda _: {T0: 1}, _nothing, _nothing)
    with pytest.raises(ValueError, match="no offset 1 yet"):
        source.poll(1, 0)
    with pytest.raises(ValueError, match="reset must be"):
        MemorySource(broker, ["t"], "g", reset="none")


def test_nothing_is_served_while_it_refuses() -> None:
    """During an outage every request is `Unavailable`, closing works, and afterwards all goes on as before."""
    broker = MemoryBroker({"t": 1})
    _fill(broker, T0, b"a", b"b")
    member, other, sink = _member(broker), _member(broker, "other"), MemorySink(broker)
    assert len(member.poll(1, 0)) == 1
    other.poll(timeout=0)
    late = _member(broker, "late")
    broker.refuse("the switch is off")
    requests: list[Callable[[], object]] = [
        lambda: member.poll(timeout=0),
        lambda: late.poll(timeout=0),
        lambda: member.source.commit({T0: 1}, 1),
        lambda: _member(broker),
        sink.open,
        lambda: broker.append(Record("t", None, b"")),
        lambda: broker.read(T0),
    ]
    for request in requests:
        with pytest.raises(Unavailable, match="the switch is off"):
            request()
    other.close()
    broker.refuse(None)
    assert [message.value for message in member.poll(timeout=0)] == [b"b"]
    assert other.revoked == [T0]
    assert late.assigned == set()


def test_an_outage_ends_a_wait() -> None:
    """A poll that waits for messages learns of an outage at once."""
    broker = MemoryBroker({"t": 1})
    member = _member(broker)
    threading.Timer(0.1, broker.refuse, ("off",)).start()
    with pytest.raises(Unavailable):
        member.poll(timeout=60)


def test_it_has_ended_when_finished_and_delivered() -> None:
    """After `finish` a source has ended once all that it shall own is assigned and delivered, not before."""
    broker = MemoryBroker({"t": 2})
    _fill(broker, T0, b"a", b"b")
    member = _member(broker)
    assert len(member.poll(2, 0)) == 2
    assert not member.source.ended()
    _fill(broker, T1, b"c")
    broker.finish()
    assert not member.source.ended()
    member.poll(timeout=0)
    assert member.source.ended()
    late = _member(broker)
    assert not late.source.ended(), "its share is still with the first"
    late.close()
    assert not late.source.ended()


def test_nobody_starves() -> None:
    """A partition that always has more than a poll may return does not keep the others waiting."""
    broker = MemoryBroker({"t": 3})
    for partition in (T0, T1, T2):
        _fill(broker, partition, *[b""] * 100)
    member = _member(broker)
    for _ in range(3):
        member.poll(10, 0)
    assert {message.partition for message in member.messages} == {T0, T1, T2}


def test_many_writers_lose_nothing() -> None:
    """Records written by several threads while others read all arrive once, each writer's in order."""
    broker = MemoryBroker({"t": 2})
    member = _member(broker)

    def write(name: bytes) -> None:
        for number in range(200):
            broker.append(Record("t", name, b"%d" % number))

    writers = [threading.Thread(target=write, args=(b"w%d" % number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    while len(member.messages) < 800:
        assert member.poll(50, 10.0), "a record is missing"
    for writer in writers:
        writer.join()
    texts = [(message.key, int(message.value or b"")) for message in member.messages]
    assert sorted(texts, key=itemgetter(0)) == [(b"w%d" % w, number) for w in range(4) for number in range(200)]


def test_a_record_may_name_its_partition_and_time() -> None:
    """Partition and timestamp of a record are kept; without them the broker decides."""
    broker = MemoryBroker({"t": 3}, clock=lambda: 9)
    broker.extend([Record("t", b"k", b"1", (), 2, 5), Record("t", None, b"2")])
    assert [(each.record.value, each.timestamp) for each in broker.read(Partition("t", 2))] == [(b"1", 5)]
    assert [(each.record.value, each.timestamp) for each in broker.read(Partition("t", 0))] == [(b"2", 9)]
