"""The scenarios of the chaos runs: broker, kind of group, faults."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.apache import apache_kafka
from tests.brokers import Broker, mock_broker

MOCK_SESSION_S = 2.0  # the mock's rebalances take 1 s less
SESSION_S = 3.0  # a quarter of the time between two faults is left after a member was given up


@dataclass(frozen=True, slots=True)
class Scenario:
    """A group of workers, and the faults that it meets, over and over in this order."""

    name: str
    faults: tuple[str, ...]
    nodes: int = 0  # of Apache Kafka; 0 = the mock cluster
    workers: int = 3
    every_s: float = 5.0  # from one fault's beginning to the next one's, if it has ended by then
    options: Mapping[str, Any] = field(default_factory=dict)  # librdkafka's
    settings: Mapping[str, Any] = field(default_factory=dict)  # in addition to those of all scenarios
    static: bool = False  # members have names and come back under them
    adopts: bool = False  # in the middle, another model becomes the current one, and a worker is killed at once
    quick: bool = False  # part of the short run

    @property
    def once(self) -> bool:
        """Return whether a reader of committed records must see each record once."""
        return self.settings.get("delivery.mode") == "exactly_once"

    @property
    def session_s(self) -> float:
        return SESSION_S if self.nodes else MOCK_SESSION_S

    def member(self, number: int) -> dict[str, Any]:
        """Return librdkafka's options for one worker."""
        own: dict[str, Any] = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 500, "fetch.wait.max.ms": 100}
        if self.options.get("group.protocol") != "consumer":
            own |= {"session.timeout.ms": round(self.session_s * 1000), "heartbeat.interval.ms": 300}
        if self.static:
            own["group.instance.id"] = f"worker-{number}"
        return own | dict(self.options)


_OFTEN = {  # checkpoints in the middle of a replay, where a model must not be adopted
    "source.batch_messages": 10,
    "delivery.checkpoint_messages": 10,
    "store.snapshot_s": 8.0,
}

ONCE = {  # a transaction is open a good part of the time
    "delivery.mode": "exactly_once",
    "source.poll_s": 0.02,
    "delivery.checkpoint_s": 0.05,
}
KIP_848 = {"group.protocol": "consumer"}
WORKERS = ("kill", "term", "stop")
BROKER = ("broker_pause", "broker_kill", "broker_freeze")  # a node, where there are several
BOTH = ("broker_kill", "kill", "broker_freeze", "stop")

SCENARIOS = (
    Scenario("kill", ("kill",), quick=True),
    Scenario("term", ("term",)),
    Scenario("stop", ("stop",), every_s=6.0),
    Scenario("bounce", ("bounce",)),
    Scenario("errors", ("errors",), every_s=2.5),
    Scenario("mixed", ("kill", "errors", "stop", "bounce", "term"), quick=True),
    Scenario("static", ("kill", "term"), static=True),
    Scenario("kip-848", WORKERS, options=KIP_848),
    Scenario("adoption", ("kill", "term"), every_s=6.0, adopts=True, settings=_OFTEN, quick=True),
    Scenario("apache", WORKERS, nodes=1, every_s=6.0),
    Scenario("apache-broker", BROKER, nodes=1, every_s=8.0),
    Scenario("apache-kip-848", BOTH, nodes=1, every_s=8.0, options=KIP_848),
    Scenario("once", WORKERS, nodes=1, every_s=6.0, settings=ONCE, quick=True),
    Scenario("once-static", ("kill", "term"), nodes=1, every_s=6.0, static=True, settings=ONCE),
    Scenario("once-broker", BROKER, nodes=1, every_s=8.0, settings=ONCE),
    Scenario("once-kip-848", BOTH, nodes=1, every_s=8.0, options=KIP_848, settings=ONCE),
    Scenario("three", BOTH, nodes=3, every_s=10.0),
    Scenario("three-kip-848", BOTH, nodes=3, every_s=10.0, options=KIP_848),
    Scenario("three-once", BOTH, nodes=3, every_s=10.0, settings=ONCE),
)


def open_broker(scenario: Scenario, folder: Path) -> AbstractContextManager[Broker]:
    """Start the scenario's broker."""
    return _apache(scenario, folder / "broker") if scenario.nodes else _mock(scenario)


@contextmanager
def _apache(scenario: Scenario, folder: Path) -> Iterator[Broker]:
    session = {"group.consumer.session.timeout.ms": str(round(scenario.session_s * 1000))}
    with apache_kafka(folder, scenario.nodes, session) as broker:
        yield broker


@contextmanager
def _mock(scenario: Scenario) -> Iterator[Broker]:
    with mock_broker() as broker:
        broker.do("set_group_consumer_session_timeout_ms", round(scenario.session_s * 1000))
        broker.do("set_group_consumer_heartbeat_interval_ms", 300)
        yield broker
