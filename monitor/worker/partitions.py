"""Partitions of a worker: their state, and how it is started, restored and saved (docs/delivery.md, rules 2 to 5).

3. On assignment the newest valid snapshot at or below the committed offset is loaded, and reading starts at its offset.
   Outputs of offsets below the committed one were acknowledged before, so they are muted.
2. A snapshot is written only after its offset was committed; the caller ensures that. The one exception is the state
   before the first message: it is written before the first commit, so that there is always a snapshot to restart from.
5. A model, or a change of live settings, is adopted together with a snapshot that names it, or not at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from monitor.core.arrays import NEVER
from monitor.core.fitting.history import History
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import LiveSettings, Mark, Pipeline, saved_live
from monitor.core.records import Floats, Message, Outputs, Partition, Rejected, State
from monitor.core.threshold.budget import BudgetForecast
from monitor.observe.observer import Observer
from monitor.store.base import StoreUnavailable
from monitor.store.models import ModelInvalid
from monitor.store.snapshots import Snapshot, Snapshots
from monitor.training.history_store import HistoryStore
from monitor.training.registry import ModelRegistry
from monitor.worker.alert_charts import AlertCharts
from monitor.worker.dead_letter_limit import DeadLetterLimit
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
    pipeline: Pipeline
    history: History
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
    initial_state: State | None = None  # before the first message, while there is no snapshot
    snapshot_offset: int | None = None  # of the newest snapshot written
    snapshot_due: float = 0.0  # monotonic seconds
    stale_snapshots: Sequence[int] = ()  # offsets of those beyond the committed offset at the assignment

    # For the status page
    charts: AlertCharts | None = None  # None = there is no page
    ratios: Floats = field(default_factory=lambda: np.empty(0, np.float32))  # (A,) of each asset's last window

    _progress: tuple[int | None, float] = (None, -np.inf)  # `next`, and the time when it last changed

    @property
    def phase(self) -> Phase:
        """The phase now.

        An earlier owner cannot have read beyond the partition's end at the assignment. Up to there a different model
        must not score: a record that the earlier owner published would differ from its copy, and an alert that only
        the earlier owner raised would never be resolved. Without a model there is no score that could differ.
        """
        if self.stopped:
            return Phase.STOPPED
        if self.next is not None and self.next < self.replay_end:
            return Phase.REPLAYING
        if self.pipeline.scorer is None:
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

    def process(self, messages: Sequence[Message], now_ms: int, mark: Mark) -> Outputs:
        """Process messages in the order of their offsets. If the partition is stopped by them, discard the outputs."""
        if self.first is None:
            self.first = messages[0].offset
            if not self.has_snapshot:
                self.initial_state = self.pipeline.save_state()

        outputs = self.pipeline.process(messages, now_ms, mark)

        if self.dead_letter_limit is not None:
            self.stopped = self.dead_letter_limit.check(messages, outputs)
            self.offender = outputs.rejected[-1] if outputs.rejected else self.offender
        if not self.stopped:
            self.next = messages[-1].offset + 1
        return outputs

    def remember(self, outputs: Outputs) -> None:
        """Add outputs to the history for training, and to the ratios and charts for the status page."""
        names, windows = outputs.names, outputs.windows
        self.history.add(windows, names, self.pipeline.windows.channels)
        self.history.note(outputs.alerts)
        self.history.forget([name for _, name in outputs.evicted])

        if outputs.scores is not None and outputs.thresholds is not None:
            grown = np.full(len(names), np.nan, np.float32)
            grown[: len(self.ratios)] = self.ratios
            grown[[row for row, _ in outputs.evicted]] = np.nan
            # If an asset occurs more than once, its last value is kept.
            grown[windows.assets] = outputs.scores.score / outputs.thresholds.threshold
            self.ratios = grown[: len(self.pipeline.windows.assets)]

        if self.charts is not None:
            self.charts.update(self.pipeline, outputs)

    def progress(self, *, reading: bool) -> Progress:
        """Return how far the partition has come; `reading` = the worker reads its partitions."""
        clock = self.pipeline.silence.clock
        newest = None if clock == NEVER else clock
        return Progress(newest, self.next, reading and self.phase is not Phase.STOPPED)

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


@dataclass(frozen=True, slots=True)
class PartitionFactory:
    """Makers of a partition's parts in their first state."""

    pipeline: Callable[[Partition, LiveSettings], Pipeline]
    dead_letter_limit: Callable[[], DeadLetterLimit]
    charts: Callable[[], AlertCharts | None]
    fingerprint: str  # of the settings that decide the shape of a state


class PartitionManager:
    """Start, restore and save partitions."""

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
        """Store the parts; `live` returns the live settings that every partition is to have."""
        self._factory = factory
        self._live = live
        self._snapshots = snapshots
        self._histories = histories
        self._registry = registry
        self._metrics = observer.metrics
        self._log = observer.log
        self._wall_ms = observer.wall_ms

    def assign(self, partition: Partition, committed: int | None, snapshot_due: float) -> PartitionState:
        """Rule 3: restore a partition from its newest snapshot, or start it. Raises StoreUnavailable.

        `snapshot_due` is the time of the first snapshot, in monotonic seconds.
        """
        at_most = -1 if committed is None else committed
        snapshot = self._snapshots.newest(partition, at_most, self._factory.fingerprint)
        restored = None if snapshot is None else self._restore(snapshot)

        pipeline = restored or self._fresh(partition)
        start = committed if snapshot is None or restored is None else snapshot.offset

        self._log.info(
            "partition assigned",
            topic=partition.topic,
            partition=partition.number,
            committed=committed,
            start=start,
            restored=restored is not None,
            model=pipeline.model or None,
        )
        self._log_forecast(partition, pipeline)

        history = self._histories.read(partition)
        history.close_spans(pipeline.open_alerts())  # the replay adds alerts that fire in it again

        return PartitionState(
            partition,
            pipeline,
            history,
            self._factory.dead_letter_limit(),
            next=start,
            committed=committed,
            replay_end=committed or 0,
            assignment_end=0 if committed is None else None,
            replay_done=start is None or snapshot is None,
            has_snapshot=restored is not None,
            snapshot_due=snapshot_due,
            stale_snapshots=self._snapshots.stale(partition, at_most),
            charts=self._factory.charts(),
        )

    def ensure_snapshot(self, state: PartitionState) -> bool:
        """Before a commit: return whether a restart would find a snapshot, after writing the initial state if needed.

        Otherwise a partition killed between its first commit and its first snapshot would restart with an empty state
        at the committed offset.
        """
        if not state.has_snapshot and state.first is not None and state.initial_state is not None:
            state.has_snapshot = self._write(state, state.first, state.pipeline.model, state.initial_state)
            if state.has_snapshot:
                state.initial_state = None
        return state.has_snapshot

    def quarantine_stale(self, state: PartitionState) -> None:
        """After a commit, which proves that the partition is ours: quarantine the snapshots of an abandoned past.

        Not earlier: a worker that was frozen during an assignment would quarantine the snapshots that the real owner
        has written since.
        """
        if not state.stale_snapshots:
            return
        try:
            self._snapshots.quarantine(state.partition, state.stale_snapshots)
            state.stale_snapshots = ()
        except StoreUnavailable as error:  # the next commit tries again
            self._log.warning("store not reached", store=error.path, reason=error.reason)

    def write_snapshot(self, state: PartitionState) -> None:
        """Rule 2: write the state at `state.next`, which must be committed. An unavailable store is logged."""
        if state.next is not None and state.next != state.snapshot_offset:
            self._save(state, state.pipeline)

    def write_history(self, state: PartitionState) -> None:
        """Write the sample of a partition's past that training learns from."""
        self._histories.write(state.partition, state.history)

    def up_to_date(self, state: PartitionState, scorer: Scorer | None) -> bool:
        """Return True if the partition has this model and the live settings."""
        same = scorer is None or scorer.model.version == state.pipeline.model
        return same and state.pipeline.live == self._live()

    def adopt(self, state: PartitionState, scorer: Scorer | None) -> None:
        """Rule 5: adopt a model or live settings if a snapshot that names them can be written; otherwise later.

        Without the snapshot, a replay after a crash would use the old model for windows published with the new one.
        A second pipeline adopts first. If the snapshot fails, the old one continues as if nothing had happened.
        """
        old = state.pipeline
        pipeline = self._factory.pipeline(state.partition, self._live())
        pipeline.load_state(old.save_state())
        if old.scorer is not None:
            pipeline.use(old.scorer)
        if scorer is not None and scorer.model.version != pipeline.model:
            pipeline.adopt(scorer)

        if state.next is not None and not self._save(state, pipeline):
            return
        state.pipeline = pipeline

        if old.model != pipeline.model:
            self._log.info("model adopted", partition=state.partition, model=pipeline.model, before=old.model or None)
        changed = {key: value for key, value in pipeline.live.items() if value != old.live[key]}
        if changed:
            self._log.info("settings adopted", partition=state.partition, **changed)
        if "alerting.alarms_per_day" in changed:
            self._log_forecast(state.partition, pipeline)

    def _fresh(self, partition: Partition) -> Pipeline:
        """Return a pipeline in its first state, with the model in use."""
        pipeline = self._factory.pipeline(partition, self._live())
        if (scorer := self._registry.in_use()) is not None:
            pipeline.use(scorer)
        return pipeline

    def _restore(self, snapshot: Snapshot) -> Pipeline | None:
        """Return a pipeline in the state of the snapshot; None if the state does not fit this program."""
        try:
            live = {**self._live(), **saved_live(snapshot.state)}
            pipeline = self._factory.pipeline(snapshot.partition, live)
            pipeline.load_state(snapshot.state)
        except ValueError as error:
            self._log.error("snapshot refused", partition=snapshot.partition, reason=str(error))
            return None

        if not snapshot.model:
            return pipeline
        try:
            pipeline.use(self._registry.scorer(snapshot.model))
        except ModelInvalid as error:  # the same alerts cannot be computed any more: continue with the model in use
            self._log.error("snapshot model not found", model=snapshot.model, reason=str(error))
            scorer = self._registry.in_use()
            if scorer is None:
                return None
            pipeline.use(scorer)
        return pipeline

    def _save(self, state: PartitionState, pipeline: Pipeline) -> bool:
        assert state.next is not None, "a snapshot has an offset"
        assert state.next <= (state.committed or 0), "a snapshot comes after its commit"
        return self._write(state, state.next, pipeline.model, pipeline.save_state())

    def _write(self, state: PartitionState, offset: int, model: str, arrays: State) -> bool:
        """Write a snapshot. Return False if the store is unavailable; a restart then replays from the older one."""
        snapshot = Snapshot(state.partition, offset, model, arrays, self._factory.fingerprint)
        try:
            size = self._snapshots.save(snapshot)
        except StoreUnavailable as error:
            self._metrics.add("monitor_snapshots_total", result="unavailable")
            self._log.warning("snapshot not written", store=error.path, reason=error.reason)
            return False

        state.snapshot_offset = offset
        state.stale_snapshots = [each for each in state.stale_snapshots if each != offset]  # overwritten just now
        self._metrics.add("monitor_snapshots_total", result="done")
        self._metrics.set("monitor_snapshot_bytes", size)
        self._metrics.set("monitor_snapshot_timestamp_seconds", self._wall_ms() / 1000)
        return True

    def _log_forecast(self, partition: Partition, pipeline: Pipeline) -> None:
        if (forecast := pipeline.budget.outlook()) is not None:
            self._log.info("alarm budget forecast", partition=partition, **forecast_fields(forecast))


def forecast_fields(forecast: BudgetForecast) -> dict[str, Any]:
    """Return the log fields of a budget forecast. The expected rate is None while too little was seen."""
    known = forecast.asset_days >= forecast.needed_days
    return {
        "assets": forecast.assets,
        "asset_days": round(forecast.asset_days, 2),
        "needed_asset_days": round(forecast.needed_days, 2),
        "expected_a_day_and_asset": round(forecast.alarms_per_day, 4) if known else None,
        "margins": [round(margin, 2) for margin in forecast.margins],
    }
