"""The state of a partition since its assignment, and the phase that follows from its offsets (docs/delivery.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from monitor.core.arrays import NEVER
from monitor.core.detectors import Detectors
from monitor.core.pipeline import Mark
from monitor.core.records import Message, Partition, PartitionOutputs, Rejected
from monitor.core.saved import SavedDetectors
from monitor.training.trainers import Backlog
from monitor.worker.dead_letter_limit import DeadLetterLimit
from monitor.worker.notes import Notes
from monitor.worker.quiet import Progress

# A lag of which nothing arrives for so long counts as none: where a partition ends in markers of transactions, its end
# is never reached. A broker delivers the messages it has within milliseconds.
QUIET_S = 30.0


class Phase(Enum):
    """Progress of a partition since its assignment."""

    REPLAYING = "replaying"  # processes committed messages again; outputs are muted
    CATCHING_UP = "catching up"  # an earlier owner may have published the next outputs without a commit
    LIVE = "live"  # no earlier owner has read the next message
    STOPPED = "stopped"  # too many dead letters; nothing is processed or committed until a restart


@dataclass(slots=True)
class PartitionState:
    """State of a partition. Its phase follows from the offsets."""

    partition: Partition
    detectors: Detectors
    notes: dict[str, Notes]  # by detector
    dead_letter_limit: DeadLetterLimit | None = None  # None = rejected messages never stop it

    # Offsets
    next: int | None = None  # next message to process; None = nothing read and nothing committed yet
    committed: int | None = None
    first: int | None = None  # first message processed since the assignment
    replay_end: int = 0  # outputs of offsets below it were acknowledged before the assignment
    assignment_end: int | None = None  # no earlier owner has read from here on; None = not known yet

    replay_done: bool = True  # open alerts were published again, or there was no replay
    stopped: str = ""  # reason of the phase STOPPED
    offender: Rejected | None = None  # the message that was rejected last
    stop_log_due: float = 0.0  # monotonic seconds

    # Snapshots
    has_snapshot: bool = True  # a restart finds one
    initial_state: SavedDetectors | None = None  # before the first message, while there is no snapshot
    snapshot_offset: int | None = None  # of the newest snapshot written
    snapshot_due: float = 0.0  # monotonic seconds
    stale_snapshots: Sequence[int] = ()  # offsets of those beyond the committed offset at the assignment

    _progress: tuple[int | None, float] = (None, -np.inf)  # `next`, and the time when it last changed

    @property
    def phase(self) -> Phase:
        """The phase now.

        An earlier owner cannot have read beyond the partition's end at the assignment. Up to there a different model
        must not score: a record that the earlier owner published would differ from its copy, and an alert that only
        the earlier owner raised would never be resolved. Without any model there is no score that could differ.
        """
        if self.stopped:
            return Phase.STOPPED
        if self.next is not None and self.next < self.replay_end:
            return Phase.REPLAYING
        if all(pipeline.scorer is None for pipeline in self.detectors.pipelines.values()):
            return Phase.LIVE
        if self.assignment_end is not None and (self.next or 0) >= self.assignment_end:
            return Phase.LIVE
        return Phase.CATCHING_UP

    @property
    def not_committed(self) -> str:
        """Reason why nothing of this partition is committed; empty = it is."""
        if not self.has_snapshot and self.first is not None:
            return "not committed, as no snapshot to go back to could be written"
        return self.stopped

    def process(self, messages: Sequence[Message], now_ms: int, mark: Mark) -> PartitionOutputs:
        """Process messages in the order of their offsets. If the partition is stopped by them, discard the outputs."""
        if self.first is None:
            self.first = messages[0].offset
            if not self.has_snapshot:
                self.initial_state = self.detectors.save()

        outputs = self.detectors.process(messages, now_ms, mark)

        if self.dead_letter_limit is not None:
            self.stopped = self.dead_letter_limit.check(messages, outputs)
            self.offender = outputs.rejected[-1] if outputs.rejected else self.offender
        if not self.stopped:
            self.next = messages[-1].offset + 1
        return outputs

    def remember(self, outputs: PartitionOutputs) -> None:
        """Add outputs to the notes of each detector, for training and for the status page."""
        for name, each in outputs.detectors.items():
            self.notes[name].remember(self.detectors.pipelines[name], each)

    def progress(self, *, reading: bool) -> Progress:
        """Return how far the partition has come; `reading` = the worker reads its partitions."""
        clock = max(pipeline.silence.clock for pipeline in self.detectors.pipelines.values())
        newest = None if clock == NEVER else clock
        steps = (pipeline.windows.step_ms for pipeline in self.detectors.pipelines.values() if pipeline.windows.assets)
        step_s = min(steps, default=0) / 1000
        return Progress(newest, self.next, reading and self.phase is not Phase.STOPPED, step_s)

    def backlog(self) -> Backlog:
        """Return how far the partition has been read, for the trainers."""
        pipelines = self.detectors.pipelines
        newest = np.concatenate([pipeline.silence.newest for pipeline in pipelines.values()])
        if len(spoken := newest[newest != NEVER]):
            # The median: the clock of a single machine may be wrong.
            newest_ms: int | None = int(np.median(spoken))
        else:
            clock = max(pipeline.silence.clock for pipeline in pipelines.values())
            newest_ms = None if clock == NEVER else clock
        absent = {name: each.silence.going for name, each in pipelines.items() if not each.windows.assets}
        return Backlog(newest_ms, absent)

    def note_lag(self, lag: int | None) -> None:
        """Set the end of the assignment, unless it is known; `lag` is the source's, in messages."""
        if self.assignment_end is None and self.next is not None and lag is not None:
            self.assignment_end = self.next + lag

    def expects_more(self, lag: int | None, now: float, *, reading: bool) -> bool:
        """Return True if the source is about to deliver more.

        Args:
            lag: Messages, as the source knows it.
            now: Monotonic seconds.
            reading: Whether the source can be read; the time without messages counts only then.
        """
        if not reading or self._progress[1] < 0 or self._progress[0] != self.next:
            self._progress = self.next, now
        return bool(lag) and now - self._progress[1] < QUIET_S
