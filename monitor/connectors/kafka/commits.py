"""The offsets a group has committed: asking for them, and moving them with a time limit.

librdkafka's commit either waits for its answer as long as it pleases, through a whole rebalance or outage, or does not
wait at all. So a commit is sent without waiting, and behind it, on the same connection, the question what is committed,
which has a timeout. The answer to that is the proof that the commit is durable; why one was refused is told by a later
poll. (The waiting commit in another thread would not do: while a callback runs, the client lets no other thread in.)

While a group rebalances, a commit is refused at each phase that it comes too early or too late for. It is sent again,
which is safe: a member that was not called back still owns its partitions, and one that was given up is refused.
"""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from monitor.connectors.base import Unavailable
from monitor.connectors.kafka.client import Report, Trouble
from monitor.core.records import Partition

_ATTEMPTS = 5  # the phases of a rebalance are three
_AGAIN_S = 0.1  # a phase that waits for nobody takes a few round trips


class Commits:
    """What the consumer's group has committed."""

    def __init__(self, consumer: Consumer, trouble: Trouble, tell: Report) -> None:
        self._consumer = consumer
        self._trouble = trouble
        self._tell = tell
        self._refused = ""  # the broker's last word on a commit; empty = the last one was accepted

    def answered(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        """To a commit that was sent a while ago; told once for as long as it stays the same."""
        said = "" if error is None else f"{error.name()}: {error.str()}"
        if said and said != self._refused:
            self._tell(f"commit: {said}")
        self._refused = said

    def store(self, offsets: Mapping[Partition, int], timeout: float) -> None:
        """Commit; returning means durable. Raises Unavailable or KafkaFatal."""
        deadline = time.monotonic() + timeout
        wanted = [TopicPartition(*part, offset) for part, offset in offsets.items()]
        for _ in range(_ATTEMPTS):
            try:
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
        why = self._refused or "the group is rebalancing or has given up this member"
        raise self._trouble.unavailable(f"the commit was refused: {why}")

    def stored(self, partitions: Sequence[Partition], timeout: float) -> dict[Partition, int | None]:
        """The next offset to read of each; None = never committed. Raises KafkaException."""
        found: dict[Partition, int | None] = {}
        asked = [TopicPartition(*part) for part in partitions]
        for part in self._consumer.committed(asked, timeout=max(0.0, timeout)) if asked else []:
            if part.error is not None:
                raise KafkaException(part.error)
            found[Partition(part.topic, part.partition)] = part.offset if part.offset >= 0 else None
        return found

    def membership(self) -> object:
        """What a transaction shows for its offsets to be accepted. Raises Unavailable if the group gave up this member.

        A client that was given up has nothing to show, and offsets for which nothing is shown are taken from anyone.
        """
        shown = self._consumer.consumer_group_metadata()
        if not self._consumer.memberid():  # asked afterwards: who was given up cannot come back during this call
            raise self._trouble.unavailable("the group has given up this member")
        return shown
