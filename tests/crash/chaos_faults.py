"""The faults of a chaos run, drawn from a seed."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError

from tests.apache import ApacheKafka
from tests.brokers import FETCH, INIT_PRODUCER_ID, OFFSET_COMMIT, OFFSET_FETCH, PRODUCE, Broker, MockBroker
from tests.crash.chaos_group import Worker

_HEARTBEAT, _JOIN, _SYNC, _METADATA, _FIND = 12, 11, 14, 3, 10  # API keys
_ERRORS = (  # API key and error codes
    (PRODUCE, (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.REQUEST_TIMED_OUT)),
    (PRODUCE, (KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND)),
    (FETCH, (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART)),
    (OFFSET_COMMIT, (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)),
    (OFFSET_COMMIT, (KafkaError.REBALANCE_IN_PROGRESS, KafkaError.REQUEST_TIMED_OUT)),
    (OFFSET_COMMIT, (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION)),
    (OFFSET_FETCH, (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR)),
    (_HEARTBEAT, (KafkaError.UNKNOWN_MEMBER_ID,)),
    (_HEARTBEAT, (KafkaError.ILLEGAL_GENERATION, KafkaError.NOT_COORDINATOR)),
    (_JOIN, (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID)),
    (_SYNC, (KafkaError.REBALANCE_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID)),
    (INIT_PRODUCER_ID, (KafkaError.COORDINATOR_LOAD_IN_PROGRESS,)),
)


@dataclass(slots=True)
class Chaos:
    """Cause faults; `done` holds the start of each, `kills` the worker and time of each SIGKILL."""

    draw: random.Random
    workers: Sequence[Worker]
    broker: Broker
    session_s: float
    adopt: Callable[[], None]
    kills: list[tuple[int, float]] = field(default_factory=list)
    done: list[float] = field(default_factory=list)

    def strike(self, kind: str) -> None:
        """Cause one fault and wait for its end."""
        self.done.append(time.time())
        getattr(self, f"_{kind}")()

    def _one(self) -> Worker:
        """Choose a worker with partitions if there is one; otherwise a starting worker would be hit again and again."""
        return self.draw.choice([worker for worker in self.workers if worker.ready()] or list(self.workers))

    def _kill(self) -> None:
        worker = self._one()
        self.kills.append((worker.number, time.time()))
        worker.kill()
        time.sleep(self.draw.uniform(0, 1))
        worker.start()

    def _term(self) -> None:
        worker = self._one()
        worker.stop()
        time.sleep(self.draw.uniform(0, 0.5))
        worker.start()

    def _stop(self) -> None:
        """Freeze a worker beyond its session. On waking it still takes itself for a member."""
        worker = self._one()
        worker.freeze()
        time.sleep(self.session_s * self.draw.uniform(1.3, 2.0))
        worker.thaw()

    def _bounce(self) -> None:
        mock = self._mock()
        mock.down()
        time.sleep(self.draw.uniform(0.3, 3))
        mock.up()

    def _errors(self) -> None:
        api, codes = self.draw.choice(_ERRORS)
        self._mock().fail_requests(api, list(codes) * self.draw.randint(1, 3))

    def _adopt(self) -> None:
        self.adopt()

    def _broker_pause(self) -> None:
        """Freeze a node for less than a session."""
        self._freeze_node(self.draw.uniform(0.2, 0.7))

    def _broker_freeze(self) -> None:
        """Freeze a node beyond a session. A coordinator that wakes up evicts all its members."""
        self._freeze_node(self.draw.uniform(1.3, 2.0))

    def _broker_kill(self) -> None:
        """Kill a node, start it again and wait until it is part of the cluster."""
        apache = self._apache()
        node = self.draw.choice(list(apache.processes))
        apache.kill(node)
        time.sleep(self.draw.uniform(0, 2))
        apache.start(node)

    def _freeze_node(self, sessions: float) -> None:
        apache = self._apache()
        node = self.draw.choice(list(apache.processes))
        apache.freeze(node)
        try:
            time.sleep(self.session_s * sessions)
        finally:
            apache.thaw(node)

    def _apache(self) -> ApacheKafka:
        assert isinstance(self.broker, ApacheKafka), "only Apache Kafka's nodes are frozen and killed"
        return self.broker

    def _mock(self) -> MockBroker:
        assert isinstance(self.broker, MockBroker), "only the mock cluster fails at will"
        return self.broker
