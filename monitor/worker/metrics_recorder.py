"""Counts of a worker's outputs, gauges of its status, and the summary in the log."""

import time
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Mapping, Sequence

from structlog.stdlib import BoundLogger

from monitor.core.decode.example import plain
from monitor.core.decode.format import place
from monitor.core.pipeline import Mark
from monitor.core.records import Count, Message, Partition, PartitionOutputs, Renamed, UnknownText, Unwanted
from monitor.core.windows.windows import NOT_SCORED
from monitor.observe.metrics import Metrics
from monitor.worker.quiet import QuietTopic
from monitor.worker.status import STATES, WorkerStatus

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


class MetricsRecorder:
    """Turn the worker's outputs and status into metrics."""

    def __init__(self, metrics: Metrics, log: BoundLogger) -> None:
        self._metrics = metrics
        self._log = log
        self._refused_asset = ""  # one of those refused since the last summary
        self._refused_readings = 0
        self._told: dict[type, set[object]] = defaultdict(set)  # what the log has named, by kind
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
            elif self._is_news(each):
                owner = place(each.owner)
                self._log.warning("name refused", kind=each.kind, name=place(each.name), id=each.id, owner=owner)

    def _tell_texts(self, unknown: Sequence[UnknownText]) -> None:
        """Log once each text that is none of its channel's texts."""
        for each in unknown:
            if self._is_news(each):
                self._log.warning("text unknown", channel=place(each.channel), text=plain(each.text, 128))

    def _tell_unwanted(self, unwanted: Sequence[Unwanted]) -> None:
        """Log once each asset that no detector wants, with its group, and count the readings by group."""
        for each in unwanted:
            asset, group, readings = each
            if self._is_news(each._replace(readings=0)):
                self._log.warning("asset unwanted", asset=asset, group=group)
            shown = group if group in self.unwanted or len(self.unwanted) < _GROUPS else OTHER_GROUPS
            self.unwanted[shown] += readings
            self._metrics.add("monitor_readings_unwanted_total", readings, by="asset", group=shown)

    def _is_news(self, named: Renamed | UnknownText | Unwanted) -> bool:
        """Return whether the log is to name this, and note it: each once, and a bounded number of each kind."""
        told = self._told[type(named)]
        if named in told or len(told) >= _NAMES_TOLD:
            return False
        told.add(named)
        return True

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
