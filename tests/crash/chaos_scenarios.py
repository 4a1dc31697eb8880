"""The scenarios of the chaos runs: which broker, which kind of group, which faults."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.brokers import Broker, mock_broker, noida_broker, tansu_broker

MOCK_SESSION_S, SESSION_S = 2.0, 6.0  # a real broker accepts no less than 6 s; the mock's rebalances take 1 s less


@dataclass(frozen=True, slots=True)
class Scenario:
    """A group of workers, and what is done to it, over and over in this order."""

    name: str
    faults: tuple[str, ...]
    broker: str = "mock"
    workers: int = 3
    every_s: float = 5.0  # from one fault's beginning to the next one's, if it has ended by then
    options: Mapping[str, Any] = field(default_factory=dict)  # librdkafka's
    settings: Mapping[str, Any] = field(default_factory=dict)  # beside those that all scenarios share
    static: bool = False  # members have names and come back under them
    adopts: bool = False  # in the middle, another model becomes the current one, and a worker is killed at once
    quick: bool = False  # part of the short run

    @property
    def once(self) -> bool:
        """Whether a reader of what is committed must see no record twice."""
        return self.settings.get("delivery.mode") == "exactly_once"

    @property
    def session_s(self) -> float:
        return MOCK_SESSION_S if self.broker == "mock" else SESSION_S

    def member(self, number: int) -> dict[str, Any]:
        """Options of one worker for librdkafka."""
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

RANGE = {"partition.assignment.strategy": "range"}  # on noida the cooperative one hangs
ONCE = {  # a transaction is open a good part of the time
    "delivery.mode": "exactly_once",
    "source.poll_s": 0.02,
    "delivery.checkpoint_s": 0.05,
}

SCENARIOS = (
    Scenario("kill", ("kill",), quick=True),
    Scenario("term", ("term",)),
    Scenario("stop", ("stop",), every_s=6.0),
    Scenario("bounce", ("bounce",)),
    Scenario("errors", ("errors",), every_s=2.5),
    Scenario("mixed", ("kill", "errors", "stop", "bounce", "term"), quick=True),
    Scenario("static", ("kill", "term"), static=True),
    Scenario("kip-848", ("kill", "term", "stop"), options={"group.protocol": "consumer"}),
    Scenario("adoption", ("kill", "term"), every_s=6.0, adopts=True, settings=_OFTEN, quick=True),
    Scenario("tansu", ("kill",), broker="tansu", workers=2, every_s=12.0),
    Scenario("noida", ("kill", "term"), broker="noida", static=True, options=RANGE),
    Scenario(
        "once", ("kill", "term"), broker="noida", workers=2, every_s=8.0, static=True, options=RANGE, settings=ONCE
    ),
)


def open_broker(scenario: Scenario, folder: Path) -> AbstractContextManager[Broker]:
    """The scenario's broker, started."""
    if scenario.broker == "tansu":
        return tansu_broker()
    if scenario.broker == "noida":
        return noida_broker(folder / "broker")
    return _mock(scenario)


@contextmanager
def _mock(scenario: Scenario) -> Iterator[Broker]:
    with mock_broker() as broker:
        broker.do("set_group_consumer_session_timeout_ms", round(scenario.session_s * 1000))
        broker.do("set_group_consumer_heartbeat_interval_ms", 300)
        yield broker
