"""A source whose messages have schemas: what waits, what goes on, and what a registry is asked."""

from collections.abc import Iterator, Sequence

import pytest

from monitor.connectors.base import Source, Unavailable
from monitor.connectors.memory.broker import MemoryBroker
from monitor.connectors.memory.client import MemorySource
from monitor.connectors.schemas.registry import Registry, RegistryOptions
from monitor.connectors.schemas.resolver import MOST_ASKED, Resolver
from monitor.connectors.schemas.source import FIRST_RETRY_S, LAST_RETRY_S, SchemaSource
from monitor.core.records import Message, Partition, Record
from tests.connectors.schemas.producers import AVRO, NOW, message, writer
from tests.contracts.group_contract import GroupContract
from tests.contracts.member import Member
from tests.contracts.test_memory import _GroupHarness
from tests.registry_server import RegistryServer, registry_server
from tests.rig import Clock


class _Fickle(Resolver):
    """Cannot ask about the second half of every third batch."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.calls = 0

    def resolve(self, messages: Sequence[Message], *, ask: bool = True) -> tuple[list[Message | None], str]:
        self.calls += ask
        if self.calls % 3:
            return list(messages), ""
        half = len(messages) // 2
        return [*messages[:half], *[None] * (len(messages) - half)], "away"


class _Harness(_GroupHarness):
    def source(self, partitions: Sequence[Partition], group: str) -> SchemaSource:  # type: ignore[override]
        return _wrapped(super().source(partitions, group))

    def latest(self, partitions: Sequence[Partition], group: str) -> SchemaSource:  # type: ignore[override]
        return _wrapped(super().latest(partitions, group))

    def subscribed(self, topics: Sequence[str], group: str) -> SchemaSource:  # type: ignore[override]
        return _wrapped(super().subscribed(topics, group))

    def evict(self, source: Source) -> None:
        assert isinstance(source, SchemaSource)
        super().evict(source.below)


def _wrapped(source: Source) -> SchemaSource:
    seconds = iter(range(0, 10**9, 20))  # later than any retry at each look
    return SchemaSource(source, _Fickle(), lambda _: None, lambda: float(next(seconds)))


class TestSchemaSource(GroupContract):
    """A source keeps all its promises while its registry comes and goes."""

    @pytest.fixture
    def harness(self) -> _Harness:
        return _Harness()


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as made:
        yield made


class Rig:
    """Two partitions of Avro behind a registry, and the texts that the source reports."""

    def __init__(self, server: RegistryServer) -> None:
        self.server, self.clock, self.notices = server, Clock(), list[str]()
        self.broker = MemoryBroker({"readings": 2})
        self.registry = Registry(RegistryOptions(server.url, timeout_s=2.0))
        self.resolver = Resolver(self.registry, None, self.clock)
        below = MemorySource(self.broker, ["readings"], "g")
        self.source = SchemaSource(below, self.resolver, self.notices.append, self.clock)
        self.write = writer(server, "AVRO", AVRO)
        self.member = Member(self.source).open()

    def send(self, partition: int, step: int) -> None:
        sent = self.write({"asset": "p", "timestamp": NOW + step, "values": {"flow": float(step)}})
        self.broker.append(Record("readings", None, sent.value, sent.headers), partition)

    def known(self) -> None:
        """Read a first message, for which the schema is registered and asked for."""
        self.send(0, 0)
        while not self.member.messages:
            self.member.poll()

    def plain(self, partition: int) -> None:
        self.broker.append(Record("readings", None, b'{"asset": "p"}'), partition)

    def texts(self) -> list[bytes]:
        return [each.unpack(each.value or b"") for each in self.member.messages if each.unpack is not None]


@pytest.fixture
def rig(server: RegistryServer) -> Iterator[Rig]:
    made = Rig(server)
    yield made
    made.member.close()
    made.registry.close()


def test_a_partition_waits_alone(server: RegistryServer, rig: Rig) -> None:
    """While the registry is away, a message with a new schema and those behind it wait; other partitions go on."""
    rig.plain(0)
    rig.send(0, 1)
    rig.plain(0)
    server.down()
    rig.plain(1)
    for _ in range(4):
        rig.member.poll()
    assert sorted((each.partition.number, each.offset) for each in rig.member.messages) == [(0, 0), (1, 0)]
    assert rig.source.lag() == {Partition("readings", 0): 2, Partition("readings", 1): 0}
    assert rig.source.stalled().startswith(f"readings[0] waits: schema registry {server.url} cannot be reached: ")
    assert not rig.source.ended()
    rig.plain(1)
    assert len(rig.member.poll()) == 1

    # One notice, and one after it.
    (notice,) = rig.notices
    assert server.url in notice
    server.up()
    rig.clock.now += LAST_RETRY_S
    assert [each.offset for each in rig.member.poll()] == [1, 2]
    assert rig.notices == [notice, ""]
    assert rig.source.stalled() == ""
    assert rig.source.lag() == {Partition("readings", 0): 0, Partition("readings", 1): 0}


def test_retries_become_rarer_up_to_a_limit(server: RegistryServer, rig: Rig) -> None:
    """A registry that is away is asked again after 1, 2, 4 and 8 s, then every 10 s."""
    rig.send(0, 0)
    server.requests.clear()
    server.answer = (503, "")
    waits = []
    for _ in range(7):
        before, asked = rig.clock.now, len(server.requests)
        while len(server.requests) == asked:
            rig.clock.now += 0.5
            rig.member.poll(timeout=0)
        waits.append(rig.clock.now - before)
    assert waits[1:] == [FIRST_RETRY_S, 2, 4, 8, LAST_RETRY_S, LAST_RETRY_S]


def test_paused_partition_keeps_its_waiting_messages(rig: Rig) -> None:
    """Messages that wait are not delivered while the caller has paused their partition, and come when it resumes."""
    rig.known()
    rig.resolver._encodings.clear()  # as if the schema were a new one
    rig.resolver._functions = {b"": rig.resolver._plain}
    rig.server.down()
    rig.send(0, 1)
    rig.member.poll()
    rig.member.pause(Partition("readings", 0))
    rig.server.up()
    rig.clock.now += LAST_RETRY_S
    assert rig.member.poll() == []
    rig.member.resume(Partition("readings", 0))
    assert [each.offset for each in rig.member.poll()] == [1]


def test_revoked_partition_takes_its_waiting_messages_along(server: RegistryServer, rig: Rig) -> None:
    """After a rebalance the next owner reads messages that waited here, and they do not come here again."""
    rig.send(0, 0)
    rig.send(1, 0)
    server.down()
    rig.member.poll()
    assert len(rig.source._waiting) == 2

    other = Member(MemorySource(rig.broker, ["readings"], "g")).open()
    for _ in range(6):
        rig.member.poll(timeout=0.01)
        other.poll(timeout=0.01)
    (mine,), (theirs,) = rig.member.assigned, other.assigned
    assert [each.partition for each in other.messages] == [theirs]
    server.up()
    rig.clock.now += LAST_RETRY_S
    rig.member.poll()
    assert [each.partition for each in rig.member.messages] == [mine]
    other.close()


def test_a_known_schema_needs_no_registry(rig: Rig) -> None:
    """A schema is asked for once, and messages with it are read while the registry is away."""
    rig.known()
    asked = [each for each in rig.server.requests if each.startswith("GET /schemas")]
    rig.server.down()
    for step in range(1, 20):
        rig.send(step % 2, step)
    while len(rig.member.messages) < 20:
        assert rig.member.poll()
    assert asked == ["GET /schemas/ids/1"]
    assert rig.notices == []
    assert all(text.startswith(b'{"asset":"p","timestamp":"2023-11-14T22:13:20') for text in rig.texts())


def test_a_flood_of_numbers_is_asked_for_in_parts(server: RegistryServer, rig: Rig) -> None:
    """Of many unknown numbers in one batch a few are asked for at each poll, and one that is missing only once."""
    for number in range(3 * MOST_ASKED):
        value = b"\x00" + (number // 2 + 1000).to_bytes(4, "big") + b"x"
        rig.broker.append(Record("readings", None, value), 0)
    came = [len(rig.member.poll(1000)) for _ in range(8)]
    assert sum(came) == 3 * MOST_ASKED
    assert came[0] == 2 * MOST_ASKED
    assert len(server.requests) == 3 * MOST_ASKED // 2
    assert rig.notices == []


def test_messages_at_once_or_not_at_all(server: RegistryServer) -> None:
    """A command that needs all messages gets them, or the reason why it cannot."""
    resolver = Resolver(Registry(RegistryOptions(server.url)), None)
    write = writer(server, "AVRO", AVRO)
    sent = [write({"asset": "p", "timestamp": NOW, "values": {}}), message(b"{}"), message(b"\x00\x00\x00\x03\xe7x")]
    assert all(each.unpack is not None for each in resolver.resolved(sent))
    server.answer = (500, "")
    with pytest.raises(Unavailable, match="answers 500"):
        resolver.resolved([message(b"\x00\x00\x00\x03\xe8x")])
