"""The offsets a group has committed: reading them, and moving them with a time limit.

librdkafka's commit either waits for its answer without a limit, through a whole rebalance or outage, or does not wait
at all. So a commit is sent without waiting, and behind it, on the same connection, a request for the committed offsets,
which has a timeout. Its answer proves that the commit is durable. A later poll tells why a commit was refused.
(Waiting in another thread would not do: while a callback runs, the client lets no other thread in.)

While a group rebalances, it refuses a commit at each phase that it comes too early or too late for. The commit is sent
again. That is safe: a member without a callback still owns its partitions, and an evicted member is refused.
"""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from monitor.connectors.base import Unavailable
from monitor.connectors.kafka.client import Report, Trouble
from monitor.core.records import Partition

_ATTEMPTS = 5  # a rebalance has three phases
_AGAIN_S = 0.1  # a phase that waits for no member takes a few round trips


class Commits:
    """The offsets committed by the consumer's group."""

    def __init__(self, consumer: Consumer, trouble: Trouble, report: Report) -> None:
        self._consumer = consumer
        self._trouble = trouble
        self._report = report
        self._refused = ""  # the broker's last text on a commit; empty = the last one was accepted

    def answered(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        """Take the answer to an earlier commit. The same refusal is reported once."""
        text = "" if error is None else f"{error.name()}: {error.str()}"
        if text and text != self._refused:
            self._report(f"commit: {text}")
        self._refused = text

    def store(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """Commit; returning means durable. Raises Unavailable or KafkaFatal."""
        deadline = time.monotonic() + timeout
        wanted = [TopicPartition(*part, offset) for part, offset in offsets.items()]

        for _ in range(_ATTEMPTS):
            try:
                # The answer to the second request proves the first: both use one connection, in order.
                self._consumer.commit(offsets=wanted, asynchronous=True)
                if self.stored(list(offsets), deadline - time.monotonic()) == offsets:
                    return
            except KafkaException as fault:
                verdict = self._trouble.judge(fault.args[0], "commit")
                if not isinstance(verdict, Unavailable):
                    raise verdict from fault

            if time.monotonic() + _AGAIN_S > deadline:
                raise self._trouble.unavailable(f"no answer to the commit within {timeout:g} s")
            time.sleep(_AGAIN_S)

        reason = self._refused or "the group is rebalancing or has evicted this member"
        raise self._trouble.unavailable(f"the commit was refused: {reason}")

    def stored(self, partitions: Sequence[Partition], timeout: float) -> dict[Partition, int | None]:
        """Return the next offset to read of each partition; None = never committed. Raises KafkaException."""
        asked = [TopicPartition(*part) for part in partitions]
        answers = self._consumer.committed(asked, timeout=max(0.0, timeout)) if asked else []

        found: dict[Partition, int | None] = {}
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
            found[Partition(answer.topic, answer.partition)] = answer.offset if answer.offset >= 0 else None
        return found

    def membership(self) -> object:
        """Return the membership that a transaction needs to commit offsets. Raises Unavailable for an evicted member.

        An evicted client has none, and the broker accepts offsets without a membership from any client.
        """
        membership = self._consumer.consumer_group_metadata()
        if not self._consumer.memberid():  # asked second: an evicted member cannot come back during this call
            raise self._trouble.unavailable("the group has evicted this member")
        return membership
