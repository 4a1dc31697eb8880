"""The loop: poll, process, checkpoint, over and over, on the one thread that owns the source.

What is guaranteed, and how (docs/delivery.md has the same numbers):

1. Offsets are committed only after every output of smaller offsets is acknowledged.
2. A snapshot is written only after its offset was committed.
3. On assignment a partition starts from its newest snapshot, with outputs below the committed offset muted.
4. When that replay crosses the committed offset, every alert that is open is published again, with the same id.
5. A model, or another setting of thresholds and alerting, is adopted only at a checkpoint, with a snapshot that names
   it, and not before everything is past that an earlier owner may have published without having committed it.
6. Revoked: checkpoint with snapshot, within one deadline, then the state is dropped. Lost: dropped, nothing written.
7. One thread owns the source. A stop is a checkpoint with snapshots, then leaving the group.

Exactly once (docs/decisions/0006-exactly-once.md) is the same with another committer: at 1 outputs and offsets become
final together, so nothing is published again at 4, and what could not be committed is never published.

While outputs are not acknowledged, or the first model is being trained, partitions are paused and polling goes on: the
source is the buffer, the group keeps this worker, and nothing passes by unscored.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event

from monitor.connectors.base import Committed, Committer, Source, Unavailable
from monitor.core.records import Message, Partition, by_partition
from monitor.observe.clock import MonotonicWallClock
from monitor.observe.observer import Observer
from monitor.store.base import StoreUnavailable
from monitor.training.registry import ModelRegistry
from monitor.training.trainer import Trainer
from monitor.worker.partitions import PartitionManager, PartitionState
from monitor.worker.publisher import Publisher
from monitor.worker.status import MetricsRecorder, WorkerStatus, worker_status

SUMMARY_S = 60.0  # between two lines of log that say what goes on
LEARNING_S = 60.0  # between two writings of histories while there is no model
RETRY_S = 1.0  # between two tries of a source or sink that is away


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How much and how often."""

    batch: int  # messages per poll
    poll_s: float
    checkpoint_s: float
    checkpoint_messages: int
    flush_s: float  # at most, for outputs to be acknowledged at a checkpoint
    revoke_s: float  # at most, for the checkpoint of partitions that are taken away
    snapshot_s: float
    history_s: float


class Daemon:
    """One worker: everything between source and sink."""

    def __init__(
        self,
        *,
        source: Source,
        committer: Committer,
        publisher: Publisher,
        partitions: PartitionManager,
        registry: ModelRegistry,
        trainer: Trainer,
        options: LoopOptions,
        observer: Observer,
    ) -> None:
        self._source = source
        self._committer = committer
        self._publisher = publisher
        self._partitions = partitions
        self._registry = registry
        self._trainer = trainer
        self._options = options
        self._recorder = MetricsRecorder(observer.metrics, observer.log)
        self._metrics = observer.metrics
        self._health = observer.health
        self._watchdog = observer.watchdog
        self._log = observer.log
        self._wall_ms = MonotonicWallClock(observer.wall_ms)
        self._monotonic = observer.monotonic
        self._jitter = random.Random()  # noqa: S311 - spreads snapshots of many workers over time
        self._held: dict[Partition, PartitionState] = {}
        self._paused, self._trouble = False, ""  # what keeps the source from being read
        self._checkpoint_at = self._history_at = self._summary_at = 0.0  # monotonic seconds at which the next is due
        self._unsettled = 0  # messages since the last checkpoint that succeeded
        self.status: WorkerStatus = worker_status(
            (), self._trainer.status, {}
        )  # read by other threads, replaced as a whole

    def open(self) -> None:
        """Join the group. Raises ValueError if the client refuses its options, OSError for files, StoreUnavailable."""
        self._registry.in_use()  # takes a second, for which a rebalance, where it would be loaded else, should not wait
        self._source.open(self._on_assign, self._on_revoke, self._on_lost)

    def run(self, stop: Event) -> None:
        """Work until `stop` is set or the source has ended, then leave cleanly."""
        self._checkpoint_at = self._monotonic() + self._options.checkpoint_s
        self._history_at = self._monotonic() + self._history_s()
        try:
            while not stop.is_set() and not (self._source.ended() and self._finished()):
                self._turn(stop)
            self._log.info("stopping", reason="asked to" if stop.is_set() else "the source has ended")
        except BaseException:
            self._held.clear()  # what was half done must be neither committed nor kept: the next start does it anew
            self._committer.discard()
            raise
        finally:
            self._watchdog.stopping()
            self._trainer.close()
            self._source.close()  # revokes what is held: rule 6 is rule 7's checkpoint

    def _turn(self, stop: Event) -> None:
        self._watchdog.alive()
        self._hold_or_go()
        try:
            messages = self._source.poll(self._options.batch, self._options.poll_s)
            self._trouble = self._source.held_up()
        except (Unavailable, StoreUnavailable) as error:
            self._metrics.add("monitor_source_errors_total")
            messages, self._trouble = [], str(error)
            stop.wait(RETRY_S)
        self._health.set("source", ok=not self._trouble, reason=self._trouble)
        for partition, batch in by_partition(messages).items():
            held = self._held.get(partition)
            if held is not None and not held.poisoned:
                self._take(held, batch)
        self._unsettled += len(messages)
        if self._trainer.learning:  # after each poll: what passes by until the first model begins is never scored
            waited = self._trainer.first_running
            self._train()
            if waited and not self._trainer.first_running:
                self._checkpoint_at = 0.0  # now, so that the model is adopted before the next poll
        now = self._monotonic()
        if now >= self._checkpoint_at or self._unsettled >= self._options.checkpoint_messages:
            if self._checkpoint(list(self._held.values()), self._options.flush_s, forced=False):
                self._unsettled = 0
            self._checkpoint_at = self._monotonic() + self._options.checkpoint_s
            self._look_around()

    def _finished(self) -> bool:
        """Whether nothing more can come of what was read: the first model may still be in the making."""
        return not self._trainer.first_running and not self._publisher.blocked

    def _hold_or_go(self) -> None:
        """Pause while nothing may be read, and resume afterwards."""
        behind = self._unsettled >= self._options.checkpoint_messages  # commits are refused; what is held must not grow
        hold = bool(self._publisher.blocked) or self._trainer.first_running or behind
        stopped = [part for part, held in self._held.items() if hold or held.poisoned]
        if stopped:
            self._source.pause(stopped)  # again each time: a partition may just have come
        if self._paused and not hold:
            self._source.resume([part for part in self._held if part not in stopped])
        self._paused = hold

    def _take(self, held: PartitionState, batch: Sequence[Message]) -> None:
        """Process messages of one partition and hand over what they give, muted below the committed offset."""
        held.first = batch[0].offset if held.first is None else held.first
        muted = [message for message in batch if message.offset < held.muted_below]
        for part, quiet in ((muted, True), (batch[len(muted) :], False)):
            if not part:
                continue
            if not quiet and not held.crossed and not self._committer.once:  # 4
                self._publisher.repeat(held.pipeline.open_alerts())
                held.crossed = True
            outputs = held.pipeline.process(part, self._wall_ms(), self._recorder.stopwatch())
            held.poisoned = held.poison.judge(part, outputs)
            if held.poisoned:  # neither published nor committed: a restart reads it again
                return
            held.take(outputs)
            held.next = part[-1].offset + 1
            if quiet:
                self._recorder.muted(outputs)
                continue
            self._recorder.count(part, outputs)
            begin = self._monotonic()
            self._publisher.put(held.pipeline, outputs, part)
            self._metrics.add("monitor_stage_seconds_total", self._monotonic() - begin, stage="output")

    def _checkpoint(self, parts: Sequence[PartitionState], timeout: float, *, forced: bool) -> bool:
        """Rule 1 for all partitions, 2 and 5 for these; True if they are committed."""
        begin = self._monotonic()
        offsets = self._progress()
        if offsets is None:
            self._metrics.add("monitor_checkpoints_total", result="refused")
            return False
        try:
            self._publisher.settle(timeout)  # 1
        except Unavailable as error:
            self._health.set("outputs", ok=False, reason=str(error))
            self._metrics.add("monitor_checkpoints_total", result="unavailable")
            return False
        try:
            self._committer.commit(offsets, max(0.1, timeout - (self._monotonic() - begin)))
        except Unavailable as error:  # a rebalance under way, or no broker: the next checkpoint commits more
            self._metrics.add("monitor_checkpoints_total", result="refused")
            self._log.warning("commit refused", reason=str(error))
            self._health.set("outputs", ok=False, reason=str(error))
            return False
        self._health.set("outputs", ok=True)
        for part, offset in offsets.items():
            self._held[part].committed = offset
            self._partitions.confirm(self._held[part])
        for held in parts:
            if held.replaying or held.poisoned or held.groundless:
                continue
            self._adopt(held)  # 5
            if forced or self._monotonic() >= held.snapshot_due:
                self._partitions.snapshot(held)  # 2
                self._watchdog.alive()
                held.snapshot_due = self._monotonic() + self._options.snapshot_s * self._jitter.uniform(0.75, 1.25)
        self._metrics.add("monitor_checkpoints_total", result="done")
        self._metrics.observe("monitor_checkpoint_seconds", self._monotonic() - begin)
        return True

    def _progress(self) -> dict[Partition, int] | None:
        """The offsets to commit: of all partitions, since the outputs of all are settled together.

        What has no snapshot to go back to stays uncommitted for now; None = and so must everything else.
        """
        moved = {part: held.next for part, held in self._held.items() if held.next is not None}
        offsets = {part: offset for part, offset in moved.items() if offset > (self._held[part].committed or 0)}
        ready = {part: offset for part, offset in offsets.items() if self._partitions.ground(self._held[part])}
        return None if self._committer.once and ready != offsets else ready

    def _adopt(self, held: PartitionState) -> None:
        try:
            detector = self._registry.in_use()
        except StoreUnavailable as error:
            self._log.warning("store not reached", store=error.path, reason=error.reason)
            return
        if self._partitions.up_to_date(held, detector):
            return
        if self._committer.once or held.on_new_ground(self._source.lag().get(held.partition)):
            self._partitions.adopt(held, detector)

    def _look_around(self) -> None:
        """What needs doing about once a second, beside the stream."""
        parts = list(self._held.values())
        if self._monotonic() >= self._history_at:
            for held in parts:
                self._partitions.write_history(held)
            self._history_at = self._monotonic() + self._history_s()
        if not self._trainer.learning:
            self._train()
        lag = self._source.lag()
        self.status = worker_status(parts, self._trainer.status, lag)
        self._recorder.show(self.status, lag)
        if self._monotonic() >= self._summary_at:
            self._log.info("summary", **self._recorder.summary(self.status, lag))
            self._summary_at = self._monotonic() + SUMMARY_S
        stuck = [f"{held.partition.topic}[{held.partition.number}]: {held.stuck}" for held in parts if held.stuck]
        self._health.set("input", ok=not stuck, reason="; ".join(stuck))
        if self.status.model:
            created = self._registry.created_ms(self.status.model)
            self._metrics.set("monitor_model_created_timestamp_seconds", created / 1000)

    def _history_s(self) -> float:
        """Until histories are kept again: soon while the group's trainer may wait for them."""
        return min(LEARNING_S, self._options.history_s) if self._trainer.learning else self._options.history_s

    def _train(self) -> None:
        lag, now, live = self._source.lag(), self._monotonic(), not (self._trouble or self._paused)
        going = [(held, lag.get(part)) for part, held in self._held.items() if not held.poisoned]
        awaited = [held for held, left in going if held.awaited(left, now, reading=live)]
        backlog = not all(self._trainer.enough(held.history) for held in awaited)
        self._trainer.tick({part: held.history for part, held in self._held.items()}, backlog=backlog)

    def _on_assign(self, committed: Committed) -> Mapping[Partition, int | None]:
        now = self._monotonic()
        taken = {
            part: self._partitions.take_over(part, offset, now + self._options.snapshot_s * self._jitter.random())
            for part, offset in committed.items()
        }
        self._held |= taken  # all or none: a store that fails at the third leaves nothing half done
        self._health.set("partitions", ok=True)
        return {part: held.next for part, held in taken.items()}

    def _on_revoke(self, partitions: Sequence[Partition]) -> None:
        """Rule 6, first half."""
        parts = [self._held[part] for part in partitions if part in self._held]
        done = self._checkpoint(parts, self._options.revoke_s, forced=True)
        for held in parts:
            self._partitions.write_history(held)
            del self._held[held.partition]
        self._log.info("partitions given up", partitions=len(parts), committed=done)
        if not done and self._committer.once:
            self._committer.discard()  # the next owner computes it anew
            if self._held:  # what was discarded of these is not computed again by anyone but a new start
                raise RuntimeError("partitions were taken away before their outputs could be committed")

    def _on_lost(self, partitions: Sequence[Partition]) -> None:
        """Rule 6, second half."""
        self._held = {part: held for part, held in self._held.items() if part not in partitions}
        if not self._held:  # else the partition itself is gone, a topic made anew, and nobody computes it again
            self._committer.discard()
        self._log.warning("partitions lost", partitions=len(partitions))
