"""What a worker holds of each partition, and how that is begun, restored and kept (docs/delivery.md, rules 2 and 3).

3. On assignment the newest valid snapshot not beyond the committed offset is loaded, and reading starts at its offset.
   What is put out for offsets below the committed one was acknowledged before: it is muted.
2. A snapshot is written only after its offset was committed; the caller sees to that. The one exception is the state
   that a partition begins with: it is written before the first commit, so that there is always one to go back to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.core.fitting.history import History
from monitor.core.model.detector import Detector
from monitor.core.pipeline import LiveSettings, Pipeline, saved_live
from monitor.core.records import Floats, Outputs, Partition
from monitor.observe.observer import Observer
from monitor.service.budget_outlook import line
from monitor.store.base import StoreUnavailable
from monitor.store.models import ModelInvalid
from monitor.store.snapshots import Snapshot, Snapshots
from monitor.training.history_store import HistoryStore
from monitor.training.registry import ModelRegistry
from monitor.worker.alert_charts import AlertCharts
from monitor.worker.dead_letter_limit import DeadLetterLimit

# Lag of which nothing comes for so long is none: where a partition ends in markers of transactions, its end is never
# reached. A broker delivers what there is within milliseconds.
QUIET_S = 30.0


@dataclass(slots=True)
class PartitionState:
    """A partition of this worker."""

    partition: Partition
    pipeline: Pipeline
    history: History
    poison: DeadLetterLimit
    next: int | None  # offset of the next message to process; None = nothing was read and nothing committed yet
    committed: int | None
    muted_below: int  # outputs of offsets below this were acknowledged before the last restart
    crossed: bool  # whether the replay is over and the open alerts were published again
    snapshot_due: float  # monotonic seconds
    snapshot_offset: int | None = None  # of the newest snapshot written
    groundless: bool = False  # whether a restart would find no snapshot to go back to
    first: int | None = None  # offset of the first message processed
    beyond: Sequence[int] = ()  # offsets of snapshots that lay beyond the committed one when it was taken over
    read_before: int | None = None  # no earlier owner has read from here on; None = not known yet
    poisoned: str = ""  # why nothing more of it is read or committed; empty = all is well
    charts: AlertCharts | None = None  # of what alerts look like; None = there is no page to show it
    moved: tuple[int | None, float] = (None, -np.inf)  # `next` as of the last look that found another, and its time
    ratios: Floats = field(default_factory=lambda: np.empty(0, np.float32))  # (A,) of each asset's last window

    @property
    def stuck(self) -> str:
        """Why nothing of it is committed; empty = all is well."""
        if self.groundless and self.first is not None:
            return "not committed, as no snapshot to go back to could be written"
        return self.poisoned

    @property
    def replaying(self) -> bool:
        """Whether it still reads what was read before the last restart."""
        return self.next is not None and self.next < self.muted_below

    def awaited(self, lag: int | None, now: float, *, reading: bool) -> bool:
        """Whether more of it is about to come. `lag` is that of the source, `now` in monotonic seconds.

        Time counts only while the source can be read (`reading`).
        """
        if not reading or self.moved[1] < 0 or self.moved[0] != self.next:
            self.moved = self.next, now
        return bool(lag) and now - self.moved[1] < QUIET_S

    def on_new_ground(self, lag: int | None) -> bool:
        """Whether everything is past that an earlier owner may have scored and published without having committed it.

        It cannot have read on beyond the partition's end at the assignment. Computed anew with another model the same
        windows would say something else, and an alert that only the first one raised would never be resolved.
        """
        if self.pipeline.detector is None:
            return True
        if self.read_before is None and self.next is not None and lag is not None:
            self.read_before = self.next + lag
        return self.read_before is not None and (self.next or 0) >= self.read_before

    def take(self, outputs: Outputs) -> None:
        """Remember what the pipeline gave, for training and for show."""
        names, windows = outputs.names, outputs.windows
        self.history.add(windows, names, self.pipeline.windows.channels)
        self.history.note(outputs.alerts)
        self.history.forget([name for _, name in outputs.forgotten])
        if outputs.scores is not None and outputs.thresholds is not None:
            grown = np.full(len(names), np.nan, np.float32)
            grown[: len(self.ratios)] = self.ratios
            grown[[row for row, _ in outputs.forgotten]] = np.nan
            grown[windows.assets] = outputs.scores.score / outputs.thresholds.threshold  # of several, the last stays
            self.ratios = grown[: len(self.pipeline.windows.assets)]
        if self.charts is not None:
            self.charts.take(self.pipeline, outputs)


@dataclass(frozen=True, slots=True)
class PartitionFactory:
    """Make the parts of a partition in their first state."""

    pipeline: Callable[[Partition, LiveSettings], Pipeline]
    dead_letter_limit: Callable[[], DeadLetterLimit]
    charts: Callable[[], AlertCharts | None]
    fingerprint: str  # of the settings that decide the shape of a state


class PartitionManager:
    """Begins, restores and saves what is held of partitions."""

    def __init__(
        self,
        *,
        factory: PartitionFactory,
        live: Callable[[], LiveSettings],
        snapshots: Snapshots,
        histories: HistoryStore,
        registry: ModelRegistry,
        observer: Observer,
    ) -> None:
        """`live` gives the live settings that all partitions are to have."""
        self._pipeline = factory.pipeline
        self._dead_letter_limit = factory.dead_letter_limit
        self._charts = factory.charts
        self._fingerprint = factory.fingerprint
        self._live = live
        self._snapshots = snapshots
        self._histories = histories
        self._registry = registry
        self._metrics = observer.metrics
        self._log = observer.log
        self._wall_ms = observer.wall_ms

    def take_over(self, partition: Partition, committed: int | None, snapshot_due: float) -> PartitionState:
        """Rule 3. `snapshot_due` is monotonic seconds. Raises StoreUnavailable."""
        at_most = -1 if committed is None else committed
        snapshot = self._snapshots.newest(partition, at_most, self._fingerprint)
        pipeline = None if snapshot is None else self._restored(snapshot)
        restored = pipeline is not None
        start = snapshot.offset if snapshot is not None and restored else committed
        if pipeline is None:
            pipeline = self._pipeline(partition, self._live())
            if (detector := self._registry.in_use()) is not None:
                pipeline.use(detector)
        self._log.info(
            "partition taken over",
            topic=partition.topic,
            partition=partition.number,
            committed=committed,
            start=start,
            restored=restored,
            model=pipeline.model or None,
        )
        self._tell(partition, pipeline)
        history = self._histories.read(partition)
        history.settle(pipeline.open_alerts())  # what fires in the replay is noted again
        crossed = start is None or snapshot is None
        held = PartitionState(
            partition,
            pipeline,
            history,
            self._dead_letter_limit(),
            start,
            committed,
            committed or 0,
            crossed,
            snapshot_due,
        )
        held.groundless = not restored
        held.beyond = self._snapshots.beyond(partition, at_most)
        held.charts = self._charts()
        held.read_before = 0 if committed is None else None
        return held

    def ground(self, held: PartitionState) -> bool:
        """Before a commit: make sure that there is a snapshot to go back to; if not, it must not be committed yet.

        Killed between its first commit and its first snapshot, a partition would else begin anew at what was committed.
        """
        if held.groundless and held.first is not None:
            pipeline = self._pipeline(held.partition, held.pipeline.live)
            if held.pipeline.detector is not None:
                pipeline.use(held.pipeline.detector)
            held.groundless = not self._write(held, held.first, pipeline)
        return not held.groundless

    def confirm(self, held: PartitionState) -> None:
        """After a commit, which shows that the partition is ours: set aside the snapshots of a past given up.

        Not before: a worker that was frozen while it took over would set aside what the true owner has written since.
        """
        if held.beyond:
            try:
                self._snapshots.give_up(held.partition, held.beyond)
                held.beyond = ()
            except StoreUnavailable as error:  # after the next commit, then
                self._log.warning("store not reached", store=error.path, reason=error.reason)

    def snapshot(self, held: PartitionState) -> None:
        """Rule 2: write the state at `held.next`, which must have been committed. A store that is away is noted."""
        if held.next is not None and held.next != held.snapshot_offset:
            self._save(held, held.pipeline)

    def write_history(self, held: PartitionState) -> None:
        """Write the sample of a partition's past that training learns from."""
        self._histories.write(held.partition, held.history)

    def up_to_date(self, held: PartitionState, detector: Detector | None) -> bool:
        """Whether there is nothing to adopt, neither this model nor other live settings."""
        same = detector is None or detector.model.version == held.pipeline.model
        return same and held.pipeline.live == self._live()

    def adopt(self, held: PartitionState, detector: Detector | None) -> None:
        """Rule 5: adopt a model or live settings if a snapshot that names them can be written; otherwise later.

        Without the snapshot, a replay after a crash would score with the old model what was published with the new.
        """
        pipeline = self._pipeline(held.partition, self._live())
        pipeline.load_state(held.pipeline.save_state())
        if held.pipeline.detector is not None:
            pipeline.use(held.pipeline.detector)
        if detector is not None and detector.model.version != pipeline.model:
            pipeline.adopt(detector)
        if held.next is None or self._save(held, pipeline):
            old, held.pipeline = held.pipeline, pipeline
            turned = {key: value for key, value in pipeline.live.items() if value != old.live[key]}
            if old.model != pipeline.model:
                self._log.info(
                    "model adopted", partition=held.partition, model=pipeline.model, before=old.model or None
                )
            if turned:
                self._log.info("settings adopted", partition=held.partition, **turned)
            if "alerting.alarms_per_day" in turned:
                self._tell(held.partition, pipeline)

    def _tell(self, partition: Partition, pipeline: Pipeline) -> None:
        """What its alarm budget lets expect."""
        if (outlook := pipeline.budget.outlook()) is not None:
            self._log.info("alarm budget", partition=partition, **line(outlook))

    def _save(self, held: PartitionState, pipeline: Pipeline) -> bool:
        assert held.next is not None, "a snapshot has an offset"
        assert held.next <= (held.committed or 0), "a snapshot comes after its commit"
        return self._write(held, held.next, pipeline)

    def _write(self, held: PartitionState, offset: int, pipeline: Pipeline) -> bool:
        state = Snapshot(held.partition, offset, pipeline.model, pipeline.save_state(), self._fingerprint)
        try:
            size = self._snapshots.save(state)
        except StoreUnavailable as error:  # the older one is still there; a restart replays from it
            self._metrics.add("monitor_snapshots_total", result="unavailable")
            self._log.warning("snapshot not written", store=error.path, reason=error.reason)
            return False
        held.snapshot_offset = offset
        held.beyond = [each for each in held.beyond if each != offset]  # that one is of today
        self._metrics.add("monitor_snapshots_total", result="done")
        self._metrics.set("monitor_snapshot_bytes", size)
        self._metrics.set("monitor_snapshot_timestamp_seconds", self._wall_ms() / 1000)
        return True

    def _restored(self, snapshot: Snapshot) -> Pipeline | None:
        """The pipeline in the state of the snapshot; None if the state does not fit this program."""
        try:
            pipeline = self._pipeline(snapshot.partition, {**self._live(), **saved_live(snapshot.state)})
            pipeline.load_state(snapshot.state)
        except ValueError as error:
            self._log.error("snapshot does not fit", partition=snapshot.partition, reason=str(error))
            return None
        if snapshot.model:
            try:
                pipeline.use(self._registry.detector(snapshot.model))
            except ModelInvalid as error:  # the same alerts are not to be had any more; go on with what there is
                self._log.error("the snapshot's model is gone", model=snapshot.model, reason=str(error))
                detector = self._registry.in_use()
                if detector is None:
                    return None
                pipeline.use(detector)
        return pipeline
