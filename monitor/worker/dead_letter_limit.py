"""A bound on dead letters: stop a partition of which so much cannot be decoded that reading on would only copy it.

A wrong field map, or a producer that changed its format, makes every message a dead letter. As for arroyo's dead letter
queue, there are two bounds: rejected messages in a row, and their share of the last SPAN messages.
"""

from collections import deque
from collections.abc import Sequence

from monitor.core.records import Message, PartitionOutputs

SPAN = 10_000  # messages; at one per second and asset, some seconds of a large plant and hours of a small one


class DeadLetterLimit:
    """Count the rejected messages of one partition."""

    def __init__(self, most_in_a_row: int, most_share: float) -> None:
        self._most_in_a_row = most_in_a_row
        self._most_share = most_share
        self._run = 0  # messages rejected since the last good one
        self._recent: deque[tuple[int, int]] = deque()  # messages and rejections of each batch
        self._messages = 0  # sums over `_recent`
        self._rejected = 0

    def check(self, messages: Sequence[Message], outputs: PartitionOutputs) -> str:
        """Count a batch. Return the reason if the partition must stop, otherwise an empty text."""
        rejected = {each.message.offset for each in outputs.rejected}

        # The run at the end of this batch continues the run before it if nothing in the batch was good.
        run = 0
        while run < len(messages) and messages[-run - 1].offset in rejected:
            run += 1
        self._run = run + (self._run if run == len(messages) else 0)

        self._recent.append((len(messages), len(rejected)))
        self._messages += len(messages)
        self._rejected += len(rejected)
        while len(self._recent) > 1 and self._messages - self._recent[0][0] >= SPAN:
            old_messages, old_rejected = self._recent.popleft()
            self._messages -= old_messages
            self._rejected -= old_rejected

        last = f"; the last: {outputs.rejected[-1].reason}" if outputs.rejected else ""
        if self._run > self._most_in_a_row:
            return f"{self._run} messages in a row could not be read{last}"
        if self._messages >= SPAN and self._rejected > self._most_share * self._messages:
            return f"{self._rejected} of the last {self._messages} messages could not be read{last}"
        return ""
