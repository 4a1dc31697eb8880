"""The loop: poll, process, checkpoint, on the one thread that owns the source.

What is guaranteed, and how (docs/delivery.md has the same numbers):

1. Offsets are committed only after every output of smaller offsets is acknowledged.
2. A snapshot is written only after its offset was committed.
3. On assignment a partition starts from its newest snapshot, with outputs below the committed offset muted.
4. When that replay crosses the committed offset, every open alert is published again, with the same id.
5. A model, or a change of live settings or of detectors, is adopted only at a checkpoint, with a snapshot that names
   it, and only after passing every offset that a previous owner may have published but not committed.
6. Revoked: checkpoint with snapshot, within one deadline, then the state is dropped. Lost: dropped, nothing written.
7. One thread owns the source. A stop is a checkpoint with snapshots, then leaving the group.

Exactly once (docs/decisions/0006-exactly-once.md) is the same code with another committer: at 1 outputs and offsets
become final together, so nothing is published again at 4, and outputs that cannot be committed are never published.

While outputs are not acknowledged, or the first model is being trained, partitions are paused and polling continues:
the source is the buffer, the group keeps this worker, and no message passes unscored.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event

from monitor.connectors.base import Committed, Committer, Source, Unavailable
from monitor.core.records import Message, Partition, by_partition
from monitor.observe.clock import MonotonicWallClock
from monitor.observe.observer import Observer
from monitor.store.base import StoreUnavailable
from monitor.training.trainers import Trainers
from monitor.worker.metrics_recorder import MetricsRecorder
from monitor.worker.partition_state import PartitionState, Phase
from monitor.worker.partitions import PartitionManager
from monitor.worker.publisher import Publisher
from monitor.worker.quiet import QuietPartitions
from monitor.worker.status import WorkerStatus, worker_status
from monitor.worker.unscored import UnscoredAssets

SUMMARY_S = 60.0  # between two summaries in the log
STOPPED_S = 60.0  # between two lines about a partition that is stopped
LEARNING_S = 60.0  # between two writes of the histories while there is no model
RETRY_S = 1.0  # between two attempts to read an unavailable source


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """Sizes and times of the loop."""

    batch: int  # messages per poll
    poll_s: float
    silence_s: float  # without a new reading, until a partition is reported; 0 = never
    checkpoint_s: float
    checkpoint_messages: int
    flush_s: float  # at most, for outputs to be acknowledged at a checkpoint
    revoke_s: float  # at most, for the checkpoint of revoked partitions
    snapshot_s: float
    history_s: float


class Daemon:
    """One detecting worker: everything between source and sink."""

    def __init__(
        self,
        *,
        source: Source,
        committer: Committer,
        publisher: Publisher,
        partitions: PartitionManager,
        trainers: Trainers,
        options: LoopOptions,
        observer: Observer,
    ) -> None:
        self._source = source
        self._committer = committer
        self._publisher = publisher
        self._partitions = partitions
        self._trainers = trainers
        self._options = options

        self._metrics = observer.metrics
        self._recorder = MetricsRecorder(observer.metrics, observer.log)
        self._unscored = UnscoredAssets(observer.log)
        self._quiet = QuietPartitions(options.silence_s, observer.log)
        self._health = observer.health
        self._watchdog = observer.watchdog
        self._log = observer.log
        self._wall_ms = MonotonicWallClock(observer.wall_ms)
        self._monotonic = observer.monotonic

        self._states: dict[Partition, PartitionState] = {}
        self._paused = False
        self._assigned = False  # partitions were assigned since the trainers looked at them
        self._adopting = False  # first models are to be adopted before any message is processed
        self._postponed: list[Message] = []  # delivered with an assignment, while partitions are paused
        self._trouble = ""  # reason why the source cannot be read
        self._uncommitted = 0  # messages since the last successful checkpoint
        self._checkpoint_due = 0.0  # monotonic seconds
        self._history_due = 0.0
        self._summary_due = 0.0
        self._jitter = random.Random()  # noqa: S311 - spreads the snapshots of many workers over time

        self.status: WorkerStatus = worker_status(
            (), self._trainers.status, {}
        )  # replaced as a whole; any thread reads

    def open(self) -> None:
        """Join the group. Raises ValueError if the client refuses its options, OSError for files, StoreUnavailable."""
        self._partitions.load_models()  # takes a second; loaded later, it would delay the first rebalance
        self._source.open(self._on_assign, self._on_revoke, self._on_lost)

    def run(self, stop: Event) -> None:
        """Work until `stop` is set or the source has ended, then leave cleanly."""
        self._checkpoint_due = self._monotonic() + self._options.checkpoint_s
        self._history_due = self._monotonic() + self._history_s()
        try:
            while not stop.is_set() and not (self._source.ended() and self._finished()):
                self._step(stop)
            self._log.info("loop stopped", reason="requested" if stop.is_set() else "the source has ended")
        except BaseException:
            self._states.clear()  # half-done work must be neither committed nor kept: the next start repeats it
            self._committer.discard()
            raise
        finally:
            self._watchdog.stopping()
            self._trainers.close()
            self._source.close()  # 7: revokes every partition, with the checkpoint of rule 6

    def _step(self, stop: Event) -> None:
        """Poll, process, and make a checkpoint if one is due."""
        self._watchdog.alive()
        self._pause_or_resume()

        # Poll.
        messages = self._postpone(self._poll(stop))

        # Process, partition by partition.
        for partition, batch in by_partition(messages).items():
            state = self._states.get(partition)
            if state is not None and state.phase is not Phase.STOPPED:
                self._process(state, batch)
        self._uncommitted += len(messages)

        # At the start, look after each poll: messages that pass before the first training begins are never scored.
        if self._trainers.starting:
            self._start_training()

        # Checkpoint.
        if self._monotonic() >= self._checkpoint_due or self._uncommitted >= self._options.checkpoint_messages:
            if self._checkpoint(list(self._states.values()), self._options.flush_s, forced=False):
                self._uncommitted = 0
                self._adopting = False
            self._checkpoint_due = self._monotonic() + self._options.checkpoint_s
            self._housekeep()

    def _postpone(self, messages: list[Message]) -> list[Message]:
        """Return the messages to process now: none while partitions pause for first trainings.

        A poll that assigns partitions may deliver their messages, too. At the start, the trainers look at the
        partitions first, so that no message passes while a first training is due or a first model is not adopted.
        """
        self._postponed += messages
        if self._assigned and self._trainers.starting:
            self._start_training()
            if self._trainers.starting:
                self._adopt_first()
        self._assigned = False
        if self._trainers.pausing or self._adopting:
            return []
        messages, self._postponed = self._postponed, []
        return messages

    def _start_training(self) -> None:
        """Let the trainers look, and keep what they see: a process that is killed in a pause repeats the same pause."""
        waited = self._trainers.pausing
        self._train()
        if self._trainers.pausing and not waited:
            for state in self._states.values():
                state.snapshot_due = 0.0
            self._checkpoint_due = self._history_due = 0.0
        if waited and not self._trainers.pausing:
            self._adopt_first()

    def _adopt_first(self) -> None:
        """Adopt first models at a checkpoint that is due now, before any other message is processed."""
        self._adopting = True
        self._checkpoint_due = 0.0

    def _poll(self, stop: Event) -> list[Message]:
        """Return the next messages; none, after a pause, while the source is unavailable."""
        messages: list[Message] = []
        try:
            messages = self._source.poll(self._options.batch, self._options.poll_s)
            self._trouble = self._source.stalled()
        except (Unavailable, StoreUnavailable) as error:
            self._metrics.add("monitor_source_errors_total")
            self._trouble = str(error)
            stop.wait(RETRY_S)
        self._health.set("source", ok=not self._trouble, reason=self._trouble)
        return messages

    def _finished(self) -> bool:
        """Return whether an ended source leaves nothing to do. The first model may still be in training."""
        return not (self._trainers.pausing or self._adopting or self._postponed or self._publisher.blocked)

    def _pause_or_resume(self) -> None:
        """Pause partitions while nothing may be read, and resume them afterwards."""
        # With commits refused, uncommitted messages must not grow without a bound.
        full = self._uncommitted >= self._options.checkpoint_messages
        pause = bool(self._publisher.blocked) or self._trainers.pausing or self._adopting or full

        paused = [part for part, state in self._states.items() if pause or state.phase is Phase.STOPPED]
        if paused:
            self._source.pause(paused)  # each time, since a partition may have been assigned just now
        if self._paused and not pause:
            self._source.resume([part for part in self._states if part not in paused])
        self._paused = pause

    def _process(self, state: PartitionState, batch: Sequence[Message]) -> None:
        """Process messages of one partition and publish their outputs, muted below the end of the replay."""
        replayed = [message for message in batch if message.offset < state.replay_end]
        for part, muted in ((replayed, True), (batch[len(replayed) :], False)):
            if not part:
                continue

            # 4. The first message beyond the replay publishes the open alerts again.
            if not muted and not state.replay_done and not self._committer.once:
                self._publisher.publish_again(state.detectors.open_alerts(), state.detectors.names)
                state.replay_done = True

            outputs = state.process(part, self._wall_ms(), self._recorder.stopwatch())
            if state.phase is Phase.STOPPED:  # neither published nor committed: a restart reads the batch again
                self._log_stopped(state)
                return
            state.remember(outputs)

            # 3. Outputs of the replay were acknowledged before.
            if muted:
                self._recorder.count_muted(outputs)
                continue
            self._recorder.count(part, outputs)
            begin = self._monotonic()
            self._publisher.publish(state.detectors, outputs, part)
            self._metrics.add("monitor_stage_seconds_total", self._monotonic() - begin, stage="output")

    def _log_stopped(self, state: PartitionState) -> None:
        """Log that the partition is stopped, with the message that was rejected last."""
        offender = state.offender
        self._log.error(
            "partition stopped",
            partition=state.partition,
            reason=state.stopped,
            offset=None if offender is None else offender.message.offset,
            field=None if offender is None else offender.field,
        )
        state.stop_log_due = self._monotonic() + STOPPED_S

    def _checkpoint(self, states: Sequence[PartitionState], timeout: float, *, forced: bool) -> bool:
        """Flush and commit all partitions, then adopt and write snapshots for `states`. Return whether it committed.

        1. Flush: every output is acknowledged before offsets are committed.
        2. Commit, and only then write snapshots.
        5. Adopt models, live settings or detectors, before the snapshot that names them.
        """
        begin = self._monotonic()
        offsets = self._offsets_to_commit()
        if offsets is None:
            self._metrics.add("monitor_checkpoints_total", result="refused")
            return False

        # 1. Flush.
        try:
            self._publisher.flush(timeout)
        except Unavailable as error:
            self._health.set("outputs", ok=False, reason=str(error))
            self._metrics.add("monitor_checkpoints_total", result="unavailable")
            return False

        # 2. Commit.
        try:
            self._committer.commit(offsets, max(0.1, timeout - (self._monotonic() - begin)))
        except Unavailable as error:  # a rebalance, or no broker: the next checkpoint commits more
            self._metrics.add("monitor_checkpoints_total", result="refused")
            self._log.warning("commit refused", reason=str(error))
            self._health.set("outputs", ok=False, reason=str(error))
            return False
        self._health.set("outputs", ok=True)
        for partition, offset in offsets.items():
            self._states[partition].committed = offset
            self._partitions.quarantine_stale(self._states[partition])

        for state in states:
            if state.phase in {Phase.REPLAYING, Phase.STOPPED} or not state.has_snapshot:
                continue

            # 5. Adopt.
            self._adopt(state)

            # 2. Write the snapshot, if it is due.
            if forced or self._monotonic() >= state.snapshot_due:
                self._partitions.write_snapshot(state)
                self._watchdog.alive()
                state.snapshot_due = self._monotonic() + self._options.snapshot_s * self._jitter.uniform(0.75, 1.25)

        self._metrics.add("monitor_checkpoints_total", result="done")
        self._metrics.observe("monitor_checkpoint_seconds", self._monotonic() - begin)
        return True

    def _offsets_to_commit(self) -> dict[Partition, int] | None:
        """Return the offsets to commit, of all partitions, since the outputs of all are flushed together.

        A partition without a snapshot to restart from stays uncommitted. Under exactly once, where everything is
        committed in one transaction, nothing can be committed then: return None.
        """
        read = {part: state.next for part, state in self._states.items() if state.next is not None}
        offsets = {part: offset for part, offset in read.items() if offset > (self._states[part].committed or 0)}
        ready = {
            part: offset for part, offset in offsets.items() if self._partitions.ensure_snapshot(self._states[part])
        }
        return None if self._committer.once and ready != offsets else ready

    def _adopt(self, state: PartitionState) -> None:
        """Rule 5 for one partition: adopt models in use, live settings and detectors, if they are new to it."""
        try:
            if self._partitions.up_to_date(state):
                return
            # Under exactly once a previous owner's uncommitted outputs were never published.
            state.note_lag(self._source.lag().get(state.partition))
            if self._committer.once or state.phase is Phase.LIVE:
                self._partitions.adopt(state)
            elif self._adopting:
                self._partitions.adopt_first_models(state)
        except StoreUnavailable as error:
            self._log.warning("store not reached", store=error.path, reason=error.reason)

    def _housekeep(self) -> None:
        """Do the work of about once a second, apart from the stream: histories, training, status, metrics, health."""
        states = list(self._states.values())
        if self._monotonic() >= self._history_due:
            for state in states:
                self._partitions.write_history(state)
            self._history_due = self._monotonic() + self._history_s()
        self._trainers.use({name: factory.trainer for name, factory in self._partitions.wanted().items()})
        if not self._trainers.starting:
            self._train()

        # Status, for the page and the metrics.
        lag = self._source.lag()
        reading = not (self._trouble or self._paused)
        progress = {state.partition: state.progress(reading=reading) for state in states}
        quiet, waits = self._quiet.note(progress, self._monotonic())
        self._recorder.set_waits(waits, quiet)
        self.status = worker_status(states, self._trainers.status, lag, quiet, self._recorder.unwanted)
        self._recorder.set_gauges(self.status, lag)
        replaying = [state for state in states if state.phase is Phase.REPLAYING]
        pipelines = [pipeline for state in replaying for pipeline in state.detectors.pipelines.values()]
        names = {name for pipeline in pipelines for name in pipeline.windows.assets}
        self._unscored.note(self.status.assets, names, self._monotonic())
        for detector, created_ms in self._partitions.created_ms(self.status.models).items():
            self._metrics.set("monitor_model_created_timestamp_seconds", created_ms / 1000, detector=detector)
        if self._monotonic() >= self._summary_due:
            self._log.info("summary", **self._recorder.summary(self.status, lag))
            self._summary_due = self._monotonic() + SUMMARY_S
        for state in states:
            if state.phase is Phase.STOPPED and self._monotonic() >= state.stop_log_due:
                self._log_stopped(state)

        reasons = [
            f"{state.partition.topic}[{state.partition.number}]: {state.not_committed}"
            for state in states
            if state.not_committed
        ]
        self._health.set("input", ok=not reasons, reason="; ".join(reasons))

    def _history_s(self) -> float:
        """Return the seconds until histories are written again: few while the group's trainer may wait for them."""
        return min(LEARNING_S, self._options.history_s) if self._trainers.learning else self._options.history_s

    def _train(self) -> None:
        """Let the trainer start or watch a training. The first one waits for partitions that still have a backlog."""
        lag = self._source.lag()
        now = self._monotonic()
        reading = not (self._trouble or self._paused)

        waiting = Counter(message.partition for message in self._postponed)
        backlogs = {
            part: state.backlog()
            for part, state in self._states.items()
            if state.phase is not Phase.STOPPED
            and state.expects_more(lag.get(part, 0) + waiting[part], now, reading=reading)
        }
        histories = {
            name: {part: state.notes[name].history for part, state in self._states.items() if name in state.notes}
            for name in self._trainers.status
        }
        self._trainers.tick(histories, backlogs)

    def _on_assign(self, committed: Committed) -> Mapping[Partition, int | None]:
        """Rule 3 for new partitions: restore their states and return the offsets to read from."""
        now = self._monotonic()
        assigned = {
            part: self._partitions.assign(part, offset, now + self._options.snapshot_s * self._jitter.random())
            for part, offset in committed.items()
        }
        self._assigned = True
        self._states |= assigned  # all or none: a store that fails at the third one leaves nothing half done
        self._health.set("partitions", ok=True)
        return {part: state.next for part, state in assigned.items()}

    def _on_revoke(self, partitions: Sequence[Partition]) -> None:
        """Rule 6, first half: checkpoint with snapshots, then drop the states."""
        states = [self._states[part] for part in partitions if part in self._states]
        committed = self._checkpoint(states, self._options.revoke_s, forced=True)
        for state in states:
            self._partitions.write_history(state)
            del self._states[state.partition]
        self._postponed = [message for message in self._postponed if message.partition not in partitions]
        self._log.info("partitions revoked", partitions=len(states), committed=committed)

        if not committed and self._committer.once:
            self._committer.discard()  # the next owner computes these outputs
            if self._states:  # the discarded outputs of these partitions are computed again only after a restart
                raise RuntimeError("partitions were revoked before their outputs could be committed")

    def _on_lost(self, partitions: Sequence[Partition]) -> None:
        """Rule 6, second half: drop the states."""
        self._states = {part: state for part, state in self._states.items() if part not in partitions}
        self._postponed = [message for message in self._postponed if message.partition not in partitions]
        if not self._states:  # with others left, only a deleted topic was lost; no other worker computes its outputs
            self._committer.discard()
        self._log.warning("partitions lost", partitions=len(partitions))
