"""Status of the worker for people, and its counts for the metrics.

The status is a frozen record. The loop's thread replaces it as a whole about once a second, and any thread may read it.
"""

import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from typing import NamedTuple

from structlog.stdlib import BoundLogger

from monitor.core.alerts.words import SILENT
from monitor.core.arrays import NEVER
from monitor.core.decode.example import plain
from monitor.core.decode.format import place
from monitor.core.decode.names import Names
from monitor.core.pipeline import Mark, Pipeline
from monitor.core.records import Alert, Count, Message, Partition, PartitionOutputs, Renamed, UnknownText, Unwanted
from monitor.core.windows.windows import NOT_SCORED
from monitor.observe.metrics import Metrics
from monitor.training.trainer import Status
from monitor.worker.alert_charts import AlertChart
from monitor.worker.notes import Notes
from monitor.worker.partitions import PartitionState
from monitor.worker.quiet import QuietTopic

STATES = ("off", "learning", "warming", "normal", "unscored", "adapted", "silent", "pending", "firing")
NOT_SCORED_MS = 180_000  # of the asset's own time: a channel that pauses for a minute is no news
COUNTERS: dict[Count, tuple[str, dict[str, str]]] = {  # the stages' counts -> metric and labels
    Count.MESSAGES_EMPTY: ("monitor_messages_empty_total", {}),
    Count.VALUES_SKIPPED_TEXT: ("monitor_values_skipped_total", {"reason": "text"}),
    Count.VALUES_SKIPPED_UNKNOWN_TEXT: ("monitor_values_skipped_total", {"reason": "unknown_text"}),
    Count.VALUES_SKIPPED_BOOLEAN: ("monitor_values_skipped_total", {"reason": "boolean"}),
    Count.VALUES_SKIPPED_NULL: ("monitor_values_skipped_total", {"reason": "null"}),
    Count.VALUES_SKIPPED_NOT_FINITE: ("monitor_values_skipped_total", {"reason": "not_finite"}),
    Count.VALUES_SKIPPED_NESTED: ("monitor_values_skipped_total", {"reason": "nested"}),
    Count.VALUES_SKIPPED_NAME: ("monitor_values_skipped_total", {"reason": "name"}),
    Count.VALUES_SKIPPED_QUALITY: ("monitor_values_skipped_total", {"reason": "quality"}),
    Count.VALUES_SKIPPED_ITEM: ("monitor_values_skipped_total", {"reason": "item"}),
    Count.VALUES_SKIPPED_NAME_TAKEN: ("monitor_values_skipped_total", {"reason": "name_taken"}),
    Count.READINGS: ("monitor_readings_total", {}),
    Count.READINGS_LATE: ("monitor_readings_dropped_total", {"reason": "late"}),
    Count.READINGS_DUPLICATE: ("monitor_readings_dropped_total", {"reason": "duplicate"}),
    Count.READINGS_REPEATED: ("monitor_readings_repeated_total", {}),
    Count.READINGS_UNKNOWN_CHANNEL: ("monitor_readings_dropped_total", {"reason": "unknown_channel"}),
    Count.READINGS_AMBIGUOUS: ("monitor_readings_dropped_total", {"reason": "ambiguous"}),
    Count.READINGS_UNWANTED_CHANNEL: ("monitor_readings_unwanted_total", {"by": "channel", "group": ""}),
    Count.READINGS_REFUSED: ("monitor_readings_dropped_total", {"reason": "refused"}),
    Count.READINGS_FLOOD: ("monitor_readings_dropped_total", {"reason": "flood"}),
    Count.READINGS_FILTERED_MEASUREMENT: ("monitor_readings_filtered_total", {"by": "measurement"}),
    Count.READINGS_FILTERED_ASSET: ("monitor_readings_filtered_total", {"by": "asset"}),
    Count.READINGS_FILTERED_CHANNEL: ("monitor_readings_filtered_total", {"by": "channel"}),
    Count.STEPS_CLOSED: ("monitor_steps_closed_total", {}),
    Count.GAPS: ("monitor_gaps_total", {}),
    Count.ASSETS_FORGOTTEN: ("monitor_assets_forgotten_total", {}),
    Count.MACHINES_STARTED: ("monitor_machines_started_total", {}),
    Count.MACHINES_STOPPED: ("monitor_machines_stopped_total", {}),
    Count.STEPS_OFF: ("monitor_steps_off_total", {}),
    Count.WINDOWS_SKIPPED_WARMUP: ("monitor_windows_skipped_total", {"reason": "warmup"}),
    Count.WINDOWS_SKIPPED_UNOBSERVED: ("monitor_windows_skipped_total", {"reason": "unobserved"}),
    Count.WINDOWS_SKIPPED_DOUBTED: ("monitor_windows_skipped_total", {"reason": "doubted"}),
    Count.CELLS_DOUBTED: ("monitor_cells_doubted_total", {}),
    Count.ALERTS_SUPPRESSED_SHORT: ("monitor_alerts_suppressed_total", {"reason": "short"}),
    Count.ALERTS_SUPPRESSED_GAP: ("monitor_alerts_suppressed_total", {"reason": "gap"}),
}
_SUMMARY = {  # key of the summary in the log -> counter
    "messages": "monitor_messages_total",
    "rejected": "monitor_messages_rejected_total",
    "readings": "monitor_readings_total",
    "filtered": "monitor_readings_filtered_total",
    "dropped": "monitor_readings_dropped_total",
    "repeated": "monitor_readings_repeated_total",
    "scored": "monitor_windows_scored_total",
    "alerts": "monitor_alerts_total",
    "checkpoints": "monitor_checkpoints_total",
}

_ALL_QUIET = "nothing new comes from its whole partition"
BY_DETECTOR = {  # of those in COUNTERS; with twins, a sum over detectors would count a start twice
    "monitor_windows_skipped_total",
    "monitor_alerts_suppressed_total",
    "monitor_machines_started_total",
    "monitor_machines_stopped_total",
}
_GAUGES = ("monitor_assets", "monitor_assets_unscored", "monitor_learning_ratio", "monitor_training_running")
OTHER_GROUPS = "(others)"  # no group has brackets: it is an id
_GROUPS = 50  # that are told apart; a group that is a serial number would be a metric for each machine
_NAMES_TOLD = 1000  # of each kind that the log names, in the life of the process

UNMATCHED_AFTER = 3  # summaries, of a minute each


class Asset(NamedTuple):
    """An asset as of its last window. A tuple, since 10 000 are made for each status."""

    name: str
    state: str  # one of STATES; off = it does not run; warming = its window or its threshold is not full yet
    ratio: float | None  # score / threshold; None = not scored yet
    reason: str = ""  # why it is silent, or not scored although it sends; empty = it is scored, or may be soon
    cause: str = ""  # the reason's kind, one of NOT_SCORED
    newest: int | None = None  # ms UTC: time of its newest reading; None = none yet
    detector: str = ""  # name; several may watch one asset


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The worker at one moment."""

    training: Mapping[str, Status]  # by detector
    assets: tuple[Asset, ...]  # one for each detector of an asset
    partitions: int  # assigned
    alerts: tuple[Alert, ...] = ()  # firing, each as published last
    charts: Mapping[tuple[str, str], AlertChart] = field(default_factory=dict)  # of some, by detector and asset
    models: Mapping[tuple[str, str], int] = field(default_factory=dict)  # detector, version -> partitions with it
    lag: Mapping[Partition, int] = field(default_factory=dict)  # messages
    names: Names = field(default_factory=Names)  # as they came
    adapted: tuple[Alert, ...] = ()  # their limits rose to their scores, each as published last
    quiet: tuple[QuietTopic, ...] = ()  # topics of which whole partitions bring nothing new
    unmatched: frozenset[str] = frozenset()  # sections of [assets] that match no asset of this worker
    unwanted: Mapping[str, int] = field(default_factory=dict)  # readings that no detector wants, by group

    @property
    def model(self) -> str:
        """Version of a model in use; empty while no detector has one."""
        return next((version for _, version in self.models), "")

    @property
    def learned(self) -> bool:
        """Whether every detector has a model on some partition."""
        return all(self.scores(detector) for detector in self.training)

    def scores(self, detector: str) -> bool:
        """Return whether a detector has a model on any partition."""
        return any(name == detector for name, _ in self.models)


def worker_status(
    states: Sequence[PartitionState],
    training: Mapping[str, Status],
    lag: Mapping[Partition, int],
    quiet: Sequence[QuietTopic] = (),
    unwanted: Mapping[str, int] | None = None,
) -> WorkerStatus:
    """Return the status of a worker with these partitions, of which those in `quiet` bring nothing new.

    `unwanted` are the readings that no detector wanted, by group.
    """
    pipelines = [pipeline for state in states for pipeline in state.detectors.pipelines.values()]
    charts = {
        (detector, asset): chart
        for state in states
        for detector, notes in state.notes.items()
        for asset, chart in (notes.charts.charts if notes.charts is not None else {}).items()
    }

    names = Names()
    for state in states:
        names = names.and_of(state.detectors.names)
    open_alerts = [alert for state in states for alert in state.detectors.open_alerts()]

    hushed = {Partition(each.topic, number) for each in quiet for number in each.partitions}
    assets = [
        asset
        for state in states
        for name, pipeline in state.detectors.pipelines.items()
        for asset in _assets(pipeline, state.notes[name], quiet=state.partition in hushed)
    ]
    assets = silent_in_all(assets)
    # History does not grow while most assets are silent, so that no end can be predicted.
    number, silent = (
        Tally(asset.detector for asset in assets if asset.state in kinds) for kinds in (STATES, ("silent",))
    )
    told = {
        name: replace(status, eta_s=None) if 2 * silent[name] > number[name] else status
        for name, status in training.items()
    }

    return WorkerStatus(
        training=told,
        assets=tuple(assets),
        partitions=len(states),
        alerts=tuple(alert for alert in open_alerts if alert.state == "firing"),
        adapted=tuple(alert for alert in open_alerts if alert.state == "adapted"),
        charts=charts,
        models=Tally((pipeline.name, pipeline.model) for pipeline in pipelines if pipeline.model),
        lag=dict(lag),
        names=names,
        quiet=tuple(quiet),
        unmatched=frozenset(set.intersection(*(each.rules.unmatched for each in pipelines)) if pipelines else ()),
        unwanted=dict(unwanted or {}),
    )


def silent_in_all(assets: list[Asset]) -> list[Asset]:
    """Show an asset that is silent for one detector as silent for the others, too: these may not judge it.

    One for which it is off has heard that it stopped before its silence.
    """
    silent = {asset.name: asset for asset in assets if asset.state == "silent"}
    if not silent:  # nearly always
        return assets
    return [
        asset._replace(state="silent", reason=silent[asset.name].reason, cause="", ratio=None)
        if asset.name in silent and asset.state not in {"firing", "off"}
        else asset
        for asset in assets
    ]


def _assets(pipeline: Pipeline, notes: Notes, *, quiet: bool) -> list[Asset]:
    alert_states = pipeline.alerting.states() | pipeline.not_running.states()

    # Warming: the window is not full, the threshold is not warm, or the asset was never scored.
    warming = pipeline.windows.rows_until_full() > 0
    left = pipeline.threshold.warm_up()
    warming[: len(left)] |= left > 0
    warming[len(left) :] = True

    ratios: list[float | None] = [None if isnan(ratio) else ratio for ratio in notes.ratios.tolist()]
    ratios += [None] * (len(warming) - len(ratios))

    learning = pipeline.scorer is None
    calm = ["learning" if learning else "warming" if each else "normal" for each in warming.tolist()]
    rows = enumerate(zip(pipeline.windows.assets, calm, ratios, strict=True))
    newest = [None if time == NEVER else time for time in pipeline.silence.newest.tolist()]
    newest += [None] * (len(warming) - len(newest))
    assets = [
        Asset(name, alert_states.get(row, without_alert), ratio, newest=newest[row], detector=pipeline.name)
        for row, (name, without_alert, ratio) in rows
    ]

    # An alert stays shown as such: it says more than that its asset is not scored now.
    for row, why in ({} if learning else pipeline.windows.not_scored(NOT_SCORED_MS)).items():
        shown = alert_states.get(row, "unscored")
        assets[row] = assets[row]._replace(state=shown, reason=why.text, cause=why.cause)

    # Nor is the ratio of a silent asset's last window one of now.
    reasons = {row: SILENT[fault] for row, fault in pipeline.silence.states().items()}
    if quiet:
        reasons = dict.fromkeys(range(len(assets)), _ALL_QUIET) | reasons
    for row, reason in reasons.items():
        shown = "firing" if alert_states.get(row) == "firing" else "silent"
        assets[row] = assets[row]._replace(state=shown, reason=reason, cause="", ratio=None)

    # A machine of which the condition knows nothing counts as running, which must not pass unseen.
    for row, channel in pipeline.running.unknown().items():
        if not assets[row].reason:
            assets[row] = assets[row]._replace(reason=f"running.when is unknown, as {channel} never came")

    # Off is told by the machine, or by its calendar or sisters; the last ratio says nothing now.
    resting = pipeline.not_running.resting(pipeline.silence.clock).tolist()
    for row in [*pipeline.running.off().tolist(), *resting, *pipeline.off_rows()]:
        shown = "firing" if alert_states.get(row) == "firing" else "off"
        assets[row] = assets[row]._replace(state=shown, reason="", cause="", ratio=None)
    return assets


class MetricsRecorder:
    """Turn the worker's outputs and status into metrics."""

    def __init__(self, metrics: Metrics, log: BoundLogger) -> None:
        self._metrics = metrics
        self._log = log
        self._refused_asset = ""  # one of those refused since the last summary
        self._refused_readings = 0
        self._refused_names: set[Renamed] = set()  # those that the log has named
        self._unknown_texts: set[UnknownText] = set()  # the same
        self._unwanted: set[tuple[str, str]] = set()  # assets that no detector wants, and groups, as the log named them
        self.unwanted: Tally[str] = Tally()  # their readings by group
        self._totals = dict.fromkeys(_SUMMARY, 0.0)  # at the last summary
        self._detectors: set[str] = set()  # with gauges
        self._models: set[tuple[str, str]] = set()  # with a gauge
        self._waited = 0  # summaries with assets so far, up to UNMATCHED_AFTER
        self._unmatched: set[str] = set()  # sections without an asset that the log has named

    def stopwatch(self) -> Mark:
        """Return a mark that adds the time since the last mark to the stage it is called with."""
        last = time.perf_counter()

        def mark(stage: str) -> None:
            nonlocal last
            now = time.perf_counter()
            self._metrics.add("monitor_stage_seconds_total", now - last, stage=stage)
            last = now

        return mark

    def count(self, messages: Sequence[Message], outputs: PartitionOutputs) -> None:
        """Count one batch and its outputs."""
        add = self._metrics.add

        # Messages, and the counts of decoding and of the stages
        add("monitor_messages_total", len(messages))
        of_detectors = {name: each.counts for name, each in outputs.detectors.items()}
        for detector, counts in {"": outputs.counts, **of_detectors}.items():
            for name, count in counts.items():
                metric, labels = COUNTERS[Count(name)]
                add(metric, count, **labels, **({"detector": detector} if metric in BY_DETECTOR else {}))
        self._tell_names(outputs.renamed)
        self._tell_texts(outputs.unknown_texts)
        self._tell_unwanted(outputs.unwanted)
        for error, number in Tally(rejected.error for rejected in outputs.rejected).items():
            add("monitor_messages_rejected_total", number, error=error)

        for detector, each in outputs.detectors.items():
            self._refused_asset = each.refused_asset or self._refused_asset
            self._refused_readings += each.counts[Count.READINGS_REFUSED] + each.counts[Count.READINGS_FLOOD]
            if each.scores is None:
                add("monitor_windows_skipped_total", len(each.windows), reason="no_model", detector=detector)
            else:
                add("monitor_windows_scored_total", len(each.windows), detector=detector)

        # Alerts
        for alert in outputs.alerts:
            about = {"state": alert.state, "severity": alert.severity, "cause": alert.cause}
            add("monitor_alerts_total", 1, **about, detector=alert.detector)

    def _tell_names(self, renamed: Sequence[Renamed]) -> None:
        """Log each changed name, and once each name that is refused."""
        for each in renamed:
            if not each.owner:
                self._log.warning("name changed", kind=each.kind, name=place(each.name), id=each.id)
            elif each not in self._refused_names and len(self._refused_names) < _NAMES_TOLD:
                self._refused_names.add(each)
                owner = place(each.owner)
                self._log.warning("name refused", kind=each.kind, name=place(each.name), id=each.id, owner=owner)

    def _tell_texts(self, unknown: Sequence[UnknownText]) -> None:
        """Log once each text that is none of its channel's texts."""
        for each in unknown:
            if each not in self._unknown_texts and len(self._unknown_texts) < _NAMES_TOLD:
                self._unknown_texts.add(each)
                self._log.warning("text unknown", channel=place(each.channel), text=plain(each.text, 128))

    def _tell_unwanted(self, unwanted: Sequence[Unwanted]) -> None:
        """Log once each asset that no detector wants, with its group, and count the readings by group."""
        for asset, group, readings in unwanted:
            if (asset, group) not in self._unwanted and len(self._unwanted) < _NAMES_TOLD:
                self._unwanted.add((asset, group))
                self._log.warning("asset unwanted", asset=asset, group=group)
            shown = group if group in self.unwanted or len(self.unwanted) < _GROUPS else OTHER_GROUPS
            self.unwanted[shown] += readings
            self._metrics.add("monitor_readings_unwanted_total", readings, by="asset", group=shown)

    def _tell_unmatched(self, now: WorkerStatus) -> None:
        """Log once the sections of [assets] that match no asset, after the assets had the time to come."""
        self._waited += bool(now.assets)
        new = now.unmatched - self._unmatched
        if new and self._waited >= UNMATCHED_AFTER:
            self._unmatched |= new
            self._log.warning("assets not seen", sections=sorted(new))

    def count_muted(self, outputs: PartitionOutputs) -> None:
        """Count the outputs that a replay did not publish."""
        scored = sum(0 if each.scores is None else len(each.windows) for each in outputs.detectors.values())
        self._metrics.add("monitor_muted_records_total", scored + len(outputs.alerts) + len(outputs.rejected))

    def set_waits(self, waits: Mapping[str, float], quiet: Sequence[QuietTopic]) -> None:
        """Set the gauges of the time without new readings, by topic."""
        numbers = {each.topic: len(each.partitions) for each in quiet}
        self._metrics.clear("monitor_source_silence_seconds")
        self._metrics.clear("monitor_partitions_silent")
        for topic, seconds in waits.items():
            self._metrics.set("monitor_source_silence_seconds", seconds, topic=topic)
            self._metrics.set("monitor_partitions_silent", numbers.get(topic, 0), topic=topic)

    def set_gauges(self, now: WorkerStatus, lag: Mapping[Partition, int]) -> None:
        """Set the gauges."""
        self._set_of_detectors(now)

        self._metrics.clear("monitor_lag_messages")
        for part, messages in lag.items():
            self._metrics.set("monitor_lag_messages", messages, topic=part.topic, partition=str(part.number))

        self._metrics.set("monitor_partitions_assigned", now.partitions)

    def _set_of_detectors(self, now: WorkerStatus) -> None:
        """Set the gauges of each detector. Cleared only after a change, since a scrape may come in between."""
        gone = self._detectors - now.training.keys()
        for name in _GAUGES if gone else ():
            self._metrics.clear(name)
        for detector in now.training.keys() - self._detectors:
            self._metrics.begin("detector", detector)
        self._detectors = set(now.training)

        states = Tally((asset.detector, asset.state) for asset in now.assets)
        causes = Tally((asset.detector, asset.cause) for asset in now.assets)
        for detector, training in now.training.items():
            for state in STATES:
                self._metrics.set("monitor_assets", states[detector, state], state=state, detector=detector)
            for cause in NOT_SCORED:
                self._metrics.set("monitor_assets_unscored", causes[detector, cause], reason=cause, detector=detector)
            share = 1.0 if now.scores(detector) else training.share
            self._metrics.set("monitor_learning_ratio", share, detector=detector)
            self._metrics.set("monitor_training_running", int(training.running), detector=detector)

        if self._models - now.models.keys() and now.models:
            self._metrics.clear("monitor_model_info")
        for detector, version in now.models:
            self._metrics.set("monitor_model_info", 1, detector=detector, version=version)
        self._models = set(now.models) or self._models

    def summary(self, now: WorkerStatus, lag: Mapping[Partition, int]) -> dict[str, object]:
        """Return the fields of the summary in the log: counts since the last one, and the present state."""
        totals = {key: self._metrics.total(name) for key, name in _SUMMARY.items()}
        since = {key: round(total - self._totals[key]) for key, total in totals.items()}
        self._totals = totals

        self._tell_unmatched(now)
        if since["filtered"] and not since["readings"]:
            self._log.warning("all readings filtered", readings=since["filtered"])
        if self._refused_asset:
            self._log.warning("new assets refused", readings=self._refused_readings, example=self._refused_asset)
            self._refused_asset = ""
            self._refused_readings = 0

        summary: dict[str, object] = {
            **since,
            "lag": sum(lag.values()),
            "assets": len(now.assets),
            "firing": sum(asset.state == "firing" for asset in now.assets),
            "model": now.model or None,
        }
        learning = {name: each for name, each in now.training.items() if not now.scores(name)}
        if not learning:
            return summary
        steps = {name: f"{each.steps} of {each.needed} steps" for name, each in learning.items()}
        eta = {name: None if each.eta_s is None else round(each.eta_s) for name, each in learning.items()}
        if len(now.training) == 1:  # its name would be noise
            return {**summary, "learning": next(iter(steps.values())), "learning_eta_s": next(iter(eta.values()))}
        return {**summary, "learning": steps, "learning_eta_s": eta}
