"""Source and sink at a broker with TLS, a login and rights, and what they say where one of these is wrong."""

from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType  # admin does not export them
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from monitor.connectors.base import Unavailable
from monitor.connectors.kafka.client import Config
from monitor.connectors.kafka.probe import Right, probe
from monitor.connectors.kafka.sink import KafkaSink
from monitor.connectors.kafka.source import KafkaSource
from monitor.core.records import Partition, Record
from tests.apache import PASSWORD, USER, SecuredKafka, secured_kafka
from tests.contracts.kafka_harness import FAST, MEMBER, Names, ignore, make_topic, read, reader
from tests.contracts.member import Member, until

PATIENCE_S = 30.0
LITERAL, ALLOW = ResourcePatternType.LITERAL, AclPermissionType.ALLOW


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as made:
        yield made


@pytest.fixture
def topic(secured: SecuredKafka) -> str:
    """A topic that nobody but its maker has a right to."""
    name = Names().own("topic")
    make_topic(secured.broker, name, 1)
    return name


def login(secured: SecuredKafka, **other: str) -> Config:
    """Options of a client that the broker lets in, but for those given."""
    options = {
        "bootstrap.servers": secured.bootstrap,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": USER,
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(secured.authority),
    }
    return {**FAST, **options, **{name.replace("_", "."): value for name, value in other.items()}}


def grant(secured: SecuredKafka, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    """Give the user these rights."""
    admin = AdminClient({"bootstrap.servers": secured.broker.bootstrap, "log_level": 0})
    wanted = [AclBinding(kind, name, LITERAL, f"User:{USER}", "*", operation, ALLOW) for operation in operations]
    for future in admin.create_acls(wanted).values():
        future.result(PATIENCE_S)


@pytest.mark.slow
def test_rights_are_enough(secured: SecuredKafka, topic: str) -> None:
    """With rights to its topic and its group alone, a client writes, reads and commits."""
    grant(secured, ResourceType.TOPIC, topic, AclOperation.WRITE, AclOperation.READ, AclOperation.DESCRIBE)
    grant(secured, ResourceType.GROUP, topic, AclOperation.READ)
    sink = KafkaSink(login(secured), on_error=ignore)
    sink.open()
    sink.write([Record(topic, b"k", b"v")])
    sink.flush(PATIENCE_S)
    sink.close()

    member = Member(KafkaSource({**login(secured), **MEMBER}, [topic], topic, "earliest", on_error=ignore)).open()
    until(lambda: len(member.messages) == 1, PATIENCE_S, member)
    member.source.commit(member.offsets(), PATIENCE_S)
    member.close()
    assert [message.value for message in member.messages] == [b"v"]


@pytest.mark.slow
def test_a_missing_right_to_write_is_named(secured: SecuredKafka, topic: str) -> None:
    """A flush without the right to write is `Unavailable` with the broker's reason, and succeeds once it is granted."""
    grant(secured, ResourceType.TOPIC, topic, AclOperation.DESCRIBE)
    # Without any right to write, a broker refuses the idempotent producer itself, and the client is dead.
    grant(secured, ResourceType.TOPIC, f"other-{topic}", AclOperation.WRITE)
    sink = KafkaSink(login(secured), on_error=ignore)
    sink.open()
    sink.write([Record(topic, b"k", b"v")])
    with pytest.raises(Unavailable, match="TOPIC_AUTHORIZATION_FAILED"):
        sink.flush(5.0)
    grant(secured, ResourceType.TOPIC, topic, AclOperation.WRITE)
    sink.flush(PATIENCE_S)
    sink.close()
    consumer = reader(secured.broker)
    assert [record.value for record in read(consumer, Partition(topic, 0))] == [b"v"]
    consumer.close()


@pytest.mark.slow
def test_a_probe_names_each_right_that_is_missing(secured: SecuredKafka, topic: str) -> None:
    """A probe tells the rights to topics and groups as the broker grants them, and which topic is out of sight."""
    hidden, grouped = f"hidden-{topic}", f"group-{topic}"
    make_topic(secured.broker, hidden, 1)
    grant(secured, ResourceType.TOPIC, topic, AclOperation.READ)
    grant(secured, ResourceType.GROUP, grouped, AclOperation.READ)
    both = {topic: {Right.READ, Right.WRITE}, hidden: {Right.READ}}
    brokers, *found = probe(login(secured), both, [grouped, "stranger"], PATIENCE_S)
    assert brokers.ok, brokers.text
    assert [finding.ok for finding in found] == [False, False, True, False]
    assert found[0].text == "1 partition; this user has no right to write"
    assert "TOPIC_AUTHORIZATION_FAILED" in found[1].text
    assert "GROUP_AUTHORIZATION_FAILED" in found[3].text

    # Once it is granted.
    grant(secured, ResourceType.TOPIC, topic, AclOperation.WRITE)
    _, finding = probe(login(secured), {topic: {Right.READ, Right.WRITE}}, [], PATIENCE_S)
    assert finding.ok
    assert finding.text == "1 partition; this user may read and write"


@pytest.mark.slow
def test_a_probe_names_a_refused_login(secured: SecuredKafka) -> None:
    """A probe with a wrong password ends with the broker's reason, and shows no password."""
    (finding,) = probe(login(secured, sasl_password="guessed"), {"any": {Right.READ}}, [], 5.0)
    assert not finding.ok
    assert "authentication failed" in finding.text.lower()
    assert "guessed" not in finding.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"sasl_password": "guessed"}, "authentication failed"), ({}, "certificate verify failed")],
)
def test_a_refused_login_is_named(secured: SecuredKafka, topic: str, wrong: dict[str, str], said: str) -> None:
    """With a wrong password, or an authority that does not vouch for the broker, a flush says which it is."""
    sink = KafkaSink(login(secured, **(wrong or {"ssl_ca_location": str(secured.stranger)})), on_error=ignore)
    sink.open()
    sink.write([Record(topic, b"k", b"v")])
    with pytest.raises(Unavailable) as caught:
        sink.flush(5.0)
    sink.close()
    assert said in str(caught.value).lower()
    assert PASSWORD not in str(caught.value)
    assert "guessed" not in str(caught.value)
