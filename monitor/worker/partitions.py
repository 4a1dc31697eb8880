"""Partitions of a worker: how their state is started, restored and saved (docs/delivery.md, rules 2 to 5).

3. On assignment the newest valid snapshot at or below the committed offset is loaded, and reading starts at its offset.
   Outputs of offsets below the committed one were acknowledged before, so they are muted.
2. A snapshot is written only after its offset was committed; the caller ensures that. The one exception is the state
   before the first message: it is written before the first commit, so that there is always a snapshot to restart from.
5. A model, or a change of live settings, is adopted together with a snapshot that names it, or not at all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from monitor.core.detectors import Detectors
from monitor.core.pipeline import Pipeline, saved_alerts, saved_live
from monitor.core.records import Alert, Partition
from monitor.core.saved import Part, SavedDetectors
from monitor.core.threshold.budget import BudgetForecast
from monitor.observe.observer import Observer
from monitor.store.base import StoreUnavailable
from monitor.store.models import ModelInvalid
from monitor.store.snapshots import Snapshot, Snapshots
from monitor.worker.notes import Notes
from monitor.worker.partition_state import PartitionState
from monitor.worker.wanted import DetectorFactory, PartitionFactory, WantedDetectors, current

_OTHER_SHAPE = (
    "it was built with other settings of windows, threshold or counters, or by another version of the program, and "
    "would not fit; the detector begins without state"
)


class PartitionManager:
    """Start, restore and save partitions."""

    def __init__(self, *, factory: PartitionFactory, snapshots: Snapshots, observer: Observer) -> None:
        self._factory = factory
        self._snapshots = snapshots
        self._metrics = observer.metrics
        self._log = observer.log
        self._wall_ms = observer.wall_ms

    def wanted(self) -> Mapping[str, DetectorFactory]:
        """Return the detectors that every partition is to have."""
        return self._factory.wanted().factories

    def load_models(self) -> None:
        """Load every detector's model in use. Raises StoreUnavailable."""
        for factory in self.wanted().values():
            factory.registry.in_use()

    def created_ms(self, models: Iterable[tuple[str, str]]) -> dict[str, int]:
        """Return when the newest of the models in use of each wanted detector was trained, ms UTC."""
        wanted, created = self.wanted(), dict[str, int]()
        for detector, version in models:
            if detector in wanted:
                made_ms = wanted[detector].registry.created_ms(version)
                created[detector] = max(made_ms, created.get(detector, made_ms))
        return created

    def assign(self, partition: Partition, committed: int | None, snapshot_due: float) -> PartitionState:
        """Rule 3: restore a partition from its newest snapshot, or start it. Raises StoreUnavailable.

        `snapshot_due` is the time of the first snapshot, in monotonic seconds.
        """
        at_most = -1 if committed is None else committed
        snapshot = self._snapshots.newest(partition, at_most)
        wanted = self._factory.wanted()
        detectors, restored = self._start(partition, snapshot, wanted, at_most)
        start = committed if snapshot is None else snapshot.offset

        self._log.info(
            "partition assigned",
            topic=partition.topic,
            partition=partition.number,
            committed=committed,
            start=start,
            restored=restored,
            models={name: pipeline.model or None for name, pipeline in detectors.pipelines.items()},
        )
        for name, pipeline in detectors.pipelines.items():
            self._log_forecast(partition, name, pipeline)

        return PartitionState(
            partition,
            detectors,
            {name: self._notes(partition, pipeline, wanted) for name, pipeline in detectors.pipelines.items()},
            self._factory.dead_letter_limit(),
            next=start,
            committed=committed,
            replay_end=committed or 0,
            assignment_end=0 if committed is None else None,
            replay_done=start is None or snapshot is None,
            has_snapshot=restored,
            snapshot_due=snapshot_due,
            stale_snapshots=self._snapshots.stale(partition, at_most),
        )

    def ensure_snapshot(self, state: PartitionState) -> bool:
        """Before a commit: return whether a restart would find a snapshot, after writing the initial state if needed.

        Otherwise a partition killed between its first commit and its first snapshot would restart with an empty state
        at the committed offset.
        """
        if not state.has_snapshot and state.first is not None and state.initial_state is not None:
            state.has_snapshot = self._write(state, state.first, state.initial_state)
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
            self._save(state, state.detectors)

    def write_history(self, state: PartitionState) -> None:
        """Write each detector's sample of the partition's past, from which training learns."""
        for name, factory in self.wanted().items():
            if name in state.notes:
                factory.histories.write(state.partition, state.notes[name].history)

    def up_to_date(self, state: PartitionState) -> bool:
        """Return True if the partition has the wanted detectors, each with its model and live settings."""
        pipelines, wanted = state.detectors.pipelines, self._factory.wanted()
        same = state.detectors.router is wanted.router
        return same and all(current(pipelines[name], factory) for name, factory in wanted.factories.items())

    def adopt(self, state: PartitionState) -> None:
        """Rule 5: adopt models, live settings or detectors if a snapshot that names them can be written, or else later.

        Raises StoreUnavailable if a model or a history of a new detector cannot be read; nothing is adopted then.

        Without the snapshot, a replay after a crash would use the old model for windows published with the new one.
        Second pipelines adopt first. If the snapshot fails, the old ones continue as if nothing had happened.
        """
        old, wanted = state.detectors, self._factory.wanted()
        kept = {name: pipeline for name, pipeline in old.pipelines.items() if self._fits(pipeline, wanted)}
        pipelines = {
            name: self._renewed(kept[name], state.partition, factory)
            if name in kept
            else self._fresh(state.partition, factory)
            for name, factory in wanted.factories.items()
        }
        notes = {
            name: state.notes[name] if name in kept else self._notes(state.partition, pipeline, wanted)
            for name, pipeline in pipelines.items()
        }

        new = replace(old, router=wanted.router, pipelines=pipelines)
        for name in old.pipelines.keys() - kept.keys():
            new.drop(old.pipelines[name].open_alerts(), state.next or 0)
        if state.next is not None and not self._save(state, new):
            return
        state.detectors, state.notes = new, notes
        self._log_changes(state.partition, old, new, kept)

    def adopt_first_models(self, state: PartitionState) -> None:
        """Adopt the models of detectors that had none, also where rule 5 makes other changes wait.

        Call it at the end of a pause for first trainings. An earlier owner that had read any further would have paused
        at this place, too, and its snapshot would name these models. Raises StoreUnavailable.
        """
        old, wanted = state.detectors, self.wanted()
        pipelines = dict(old.pipelines)
        for name, pipeline in old.pipelines.items():
            factory = wanted.get(name)
            if factory and pipeline.scorer is None and factory.fingerprint == pipeline.fingerprint:
                pipelines[name] = self._renewed(pipeline, state.partition, replace(factory, live=pipeline.live))

        new = replace(old, pipelines=pipelines)
        if pipelines != old.pipelines and (state.next is None or self._save(state, new)):
            state.detectors = new
            self._log_changes(state.partition, old, new, pipelines)

    def _fits(self, pipeline: Pipeline, wanted: WantedDetectors) -> bool:
        """Return whether the pipeline's state can go on under its detector's present settings."""
        factory = wanted.factories.get(pipeline.name)
        return factory is not None and factory.fingerprint == pipeline.fingerprint

    def _renewed(self, old: Pipeline, partition: Partition, factory: DetectorFactory) -> Pipeline:
        """Return a second pipeline with the model in use and the live settings, or the old one if it has both."""
        if current(old, factory):
            return old
        pipeline = factory.pipeline(partition, factory.live)
        pipeline.load_state(old.save_state())
        if old.scorer is not None:
            pipeline.use(old.scorer)
        scorer = factory.registry.in_use()
        if scorer is not None and scorer.model.version != pipeline.model:
            pipeline.adopt(scorer)
        return pipeline

    def _log_changes(self, partition: Partition, old: Detectors, new: Detectors, kept: Mapping[str, Pipeline]) -> None:
        for name in old.pipelines:
            if name not in new.pipelines:
                self._log.info("detector removed", partition=partition, detector=name)
            elif name not in kept:
                self._log_refused(partition, name, _OTHER_SHAPE)

        for name, pipeline in new.pipelines.items():
            if name not in old.pipelines:
                self._log.info("detector added", partition=partition, detector=name, model=pipeline.model or None)
                continue

            before, about = old.pipelines[name], {"partition": partition, "detector": name}
            if before.model != pipeline.model:
                rest = pipeline.running.learned or None
                self._log.info("model adopted", **about, model=pipeline.model, before=before.model or None, rest=rest)
            changed = {key: value for key, value in pipeline.live.items() if value != before.live.get(key)}
            if changed:
                self._log.info("settings adopted", **about, **changed)
            if "alerting.alarms_per_day" in changed:
                self._log_forecast(partition, name, pipeline)

    def _start(
        self, partition: Partition, snapshot: Snapshot | None, wanted: WantedDetectors, position: int
    ) -> tuple[Detectors, bool]:
        """Return the detectors of a partition, and whether all of the snapshot fits them.

        Open alerts in a part without a detector, and of assets that their detector no longer wants, are resolved from
        offset `position` on.
        """
        detectors = Detectors(self._factory.format, wanted.router, {})
        parts: Mapping[str, Part] = {}
        if snapshot is not None:
            try:
                detectors.load_shared(snapshot.detectors.shared)
                parts = snapshot.detectors.parts
            except ValueError as error:
                self._log.error("snapshot refused", partition=partition, reason=str(error))

        restored = {name: self._restored(partition, name, part, wanted) for name, part in parts.items()}
        pipelines: dict[str, Pipeline] = {}
        for name, factory in wanted.factories.items():
            pipelines[name] = restored.get(name) or self._fresh(partition, factory)
            if parts and name not in parts:
                model = pipelines[name].model or None
                self._log.info("detector added", partition=partition, detector=name, model=model)
        detectors.pipelines = pipelines

        for name, part in parts.items():
            if restored[name] is None:
                detectors.drop(_open(part), position)
        released = [
            alert
            for name, pipeline in pipelines.items()
            for alert in pipeline.release(wanted.factories[name].route.wants)
        ]
        detectors.drop(released, position)
        detectors.links.keep({alert.id for alert in (*detectors.open_alerts(), *detectors.closing)})
        fits = bool(parts) and pipelines.keys() == parts.keys() and all(restored.values())
        return detectors, fits and not released

    def _restored(self, partition: Partition, name: str, part: Part, wanted: WantedDetectors) -> Pipeline | None:
        """Return a pipeline in the state of its part of a snapshot; None if the state does not fit."""
        factory = wanted.factories.get(name)
        if factory is None:
            self._log.info("detector removed", partition=partition, detector=name)
            return None
        if factory.fingerprint != part.fingerprint:
            self._log_refused(partition, name, _OTHER_SHAPE)
            return None
        try:
            pipeline = factory.pipeline(partition, {**factory.live, **saved_live(part.state)})
            pipeline.load_state(part.state)
        except ValueError as error:
            self._log_refused(partition, name, str(error))
            return None

        if not part.model:
            return pipeline
        try:
            pipeline.use(factory.registry.scorer(part.model))
        except ModelInvalid as error:  # the same alerts cannot be computed any more: continue with the model in use
            self._log.error("snapshot model not found", detector=name, model=part.model, reason=str(error))
            scorer = factory.registry.in_use()
            if scorer is None:
                return None
            pipeline.use(scorer)
        return pipeline

    def _fresh(self, partition: Partition, factory: DetectorFactory) -> Pipeline:
        """Return a pipeline in its first state, with the model in use."""
        pipeline = factory.pipeline(partition, factory.live)
        if (scorer := factory.registry.in_use()) is not None:
            pipeline.use(scorer)
        return pipeline

    def _notes(self, partition: Partition, pipeline: Pipeline, wanted: WantedDetectors) -> Notes:
        factory = wanted.factories[pipeline.name]
        history = factory.histories.read(partition)
        history.close_spans(pipeline.open_alerts())  # the replay adds alerts that fire in it again
        return Notes(history, factory.charts())

    def _save(self, state: PartitionState, detectors: Detectors) -> bool:
        assert state.next is not None, "a snapshot has an offset"
        assert state.next <= (state.committed or 0), "a snapshot comes after its commit"
        return self._write(state, state.next, detectors.save())

    def _write(self, state: PartitionState, offset: int, detectors: SavedDetectors) -> bool:
        """Write a snapshot. Return False if the store is unavailable; a restart then replays from the older one."""
        try:
            size = self._snapshots.save(Snapshot(state.partition, offset, detectors))
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

    def _log_refused(self, partition: Partition, name: str, reason: str) -> None:
        self._log.error("detector state refused", partition=partition, detector=name, reason=reason)

    def _log_forecast(self, partition: Partition, name: str, pipeline: Pipeline) -> None:
        if (forecast := pipeline.budget.outlook()) is not None:
            fields = forecast_fields(forecast)
            self._log.info("alarm budget forecast", partition=partition, detector=name, **fields)


def _open(part: Part) -> list[Alert]:
    """Return the alerts that are open in a part that cannot be used; none if it is damaged."""
    try:
        return saved_alerts(part.state)
    except ValueError:
        return []


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
