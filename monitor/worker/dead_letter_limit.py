"""Says when a partition is poisoned: so much of it cannot be read that to go on would only copy it to the dead letters.

A wrong field map, or a producer that changed its format, makes every message a dead letter. Two bounds, as arroyo has
them for its dead-letter queue: how many in a row, and which share of the last SPAN messages.
"""

from collections import deque
from collections.abc import Sequence

from monitor.core.records import Message, Outputs

SPAN = 10_000  # messages; at one per second and asset, some seconds of a large plant and hours of a small one


class DeadLetterLimit:
    """What of one partition's recent messages was refused."""

    def __init__(self, most_in_a_row: int, most_share: float) -> None:
        self._most_in_a_row, self._most_share = most_in_a_row, most_share
        self._run = 0  # messages refused since the last good one
        self._recent: deque[tuple[int, int]] = deque()  # messages and refusals of each batch
        self._messages = self._refused = 0  # sums over `_recent`

    def judge(self, messages: Sequence[Message], outputs: Outputs) -> str:
        """Take note of a batch; why the partition is poisoned, empty if it is not."""
        refused = {rejected.message.offset for rejected in outputs.rejected}
        run = 0
        while run < len(messages) and messages[-run - 1].offset in refused:
            run += 1
        self._run = run + (self._run if run == len(messages) else 0)
        self._recent.append((len(messages), len(refused)))
        self._messages += len(messages)
        self._refused += len(refused)
        while len(self._recent) > 1 and self._messages - self._recent[0][0] >= SPAN:
            gone = self._recent.popleft()
            self._messages -= gone[0]
            self._refused -= gone[1]
        last = "" if not outputs.rejected else f"; the last: {outputs.rejected[-1].reason}"
        if self._run > self._most_in_a_row:
            return f"{self._run} messages in a row could not be read{last}"
        if self._messages >= SPAN and self._refused > self._most_share * self._messages:
            return f"{self._refused} of the last {self._messages} messages could not be read{last}"
        return ""
