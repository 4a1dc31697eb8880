"""What the worker shows of itself: a picture of the moment for people, and the counts for the metrics.

The picture is a frozen record, replaced as a whole about once a second by the loop's thread and read by any other.
"""

import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import NamedTuple

from structlog.stdlib import BoundLogger

from monitor.core.pipeline import Mark
from monitor.core.records import Alert, Message, Outputs, Partition
from monitor.observe.metrics import Metrics
from monitor.training.trainer import Status
from monitor.worker.alert_charts import AlertChart
from monitor.worker.partitions import PartitionState

STATES = ("learning", "warming", "normal", "pending", "firing")
_DROPPED = ("late", "duplicate", "unknown_channel", "refused", "flood")
_SUPPRESSED = ("short", "gap")
_SKIPPED = ("warmup", "unobserved", "doubted")
_TOLD = {  # what a summary tells: key -> counter
    "messages": "monitor_messages_total",
    "rejected": "monitor_messages_rejected_total",
    "readings": "monitor_readings_total",
    "dropped": "monitor_readings_dropped_total",
    "scored": "monitor_windows_scored_total",
    "alerts": "monitor_alerts_total",
    "checkpoints": "monitor_checkpoints_total",
}


class Asset(NamedTuple):
    """An asset as of its last window; a tuple, since 10 000 are made at every look."""

    name: str
    state: str  # one of STATES; warming = its window or its threshold is not full yet
    ratio: float | None  # score / threshold; None = not scored yet


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The worker at one moment."""

    model: str  # version; empty = none yet
    training: Status
    assets: tuple[Asset, ...]
    partitions: int  # held
    alerts: tuple[Alert, ...] = ()  # that are firing, each as published last
    charts: Mapping[str, AlertChart] = field(default_factory=dict)  # of some of their assets, by name
    models: Mapping[str, int] = field(default_factory=dict)  # version -> partitions that score with it
    lag: Mapping[Partition, int] = field(default_factory=dict)  # messages


def worker_status(parts: Sequence[PartitionState], training: Status, lag: Mapping[Partition, int]) -> WorkerStatus:
    """The picture of what is held."""
    models = [held.pipeline.model for held in parts if held.pipeline.model]
    return WorkerStatus(
        model=models[-1] if models else "",
        training=training,
        assets=tuple(asset for held in parts for asset in _assets(held)),
        partitions=len(parts),
        alerts=tuple(alert for held in parts for alert in held.pipeline.open_alerts()),
        charts={name: course for held in parts if held.charts for name, course in held.charts.charts.items()},
        models=Tally(models),
        lag=dict(lag),
    )


def _assets(held: PartitionState) -> list[Asset]:
    pipeline = held.pipeline
    states = pipeline.alerting.states()
    warming = pipeline.windows.rows_until_full() > 0
    left = pipeline.threshold.warm_up()
    warming[: len(left)] |= left > 0
    warming[len(left) :] = True
    ratios: list[float | None] = [None if isnan(ratio) else ratio for ratio in held.ratios.tolist()]
    ratios += [None] * (len(warming) - len(ratios))
    learning = pipeline.detector is None
    quiet = ["learning" if learning else "warming" if each else "normal" for each in warming.tolist()]
    rows = enumerate(zip(pipeline.windows.assets, quiet, ratios, strict=True))
    return [Asset(name, states.get(row, calm), ratio) for row, (name, calm, ratio) in rows]


class MetricsRecorder:
    """Turns what passes by into metrics."""

    def __init__(self, metrics: Metrics, log: BoundLogger) -> None:
        self._metrics, self._log = metrics, log
        self._stranger, self._strange = "", 0  # an asset that was refused since the last summary, and readings of such
        self._told = dict.fromkeys(_TOLD, 0.0)  # totals at the last summary

    def stopwatch(self) -> Mark:
        """A mark that adds the time since the last mark to the stage it is told."""
        last = time.perf_counter()

        def mark(stage: str) -> None:
            nonlocal last
            now = time.perf_counter()
            self._metrics.add("monitor_stage_seconds_total", now - last, stage=stage)
            last = now

        return mark

    def count(self, messages: Sequence[Message], outputs: Outputs) -> None:
        """What one batch gave."""
        add, counts = self._metrics.add, outputs.counts
        add("monitor_messages_total", len(messages))
        add("monitor_readings_total", counts["readings"])
        add("monitor_steps_closed_total", counts["steps_closed"])
        add("monitor_gaps_total", counts["gaps"])
        add("monitor_assets_forgotten_total", counts["assets_forgotten"])
        self._stranger = outputs.stranger or self._stranger
        self._strange += counts["readings_refused"] + counts["readings_flood"]
        for reason in _DROPPED:
            add("monitor_readings_dropped_total", counts[f"readings_{reason}"], reason=reason)
        for reason in _SKIPPED:
            add("monitor_windows_skipped_total", counts.get(f"windows_skipped_{reason}", 0), reason=reason)
        for error, number in Tally(rejected.error for rejected in outputs.rejected).items():
            add("monitor_messages_rejected_total", number, error=error)
        if outputs.scores is None:
            add("monitor_windows_skipped_total", len(outputs.windows), reason="no_model")
        else:
            add("monitor_windows_scored_total", len(outputs.windows))
            add("monitor_cells_doubted_total", counts["cells_doubted"])
            for reason in _SUPPRESSED:
                add("monitor_alerts_suppressed_total", counts[f"suppressed_{reason}"], reason=reason)
        for alert in outputs.alerts:
            add("monitor_alerts_total", state=alert.state, severity=alert.severity, cause=alert.cause)

    def muted(self, outputs: Outputs) -> None:
        """What was withheld during a replay."""
        scored = 0 if outputs.scores is None else len(outputs.windows)
        self._metrics.add("monitor_muted_records_total", scored + len(outputs.alerts) + len(outputs.rejected))

    def show(self, now: WorkerStatus, lag: Mapping[Partition, int]) -> None:
        """The gauges."""
        tally = Tally(asset.state for asset in now.assets)
        for state in STATES:
            self._metrics.set("monitor_assets", tally[state], state=state)
        self._metrics.clear("monitor_lag_messages")
        for part, messages in lag.items():
            self._metrics.set("monitor_lag_messages", messages, topic=part.topic, partition=str(part.number))
        self._metrics.set("monitor_partitions_assigned", now.partitions)
        self._metrics.set("monitor_learning_ratio", 1.0 if now.model else now.training.share)
        self._metrics.set("monitor_training_running", int(now.training.running))
        if now.model:
            self._metrics.clear("monitor_model_info")
            self._metrics.set("monitor_model_info", 1, version=now.model)

    def summary(self, now: WorkerStatus, lag: Mapping[Partition, int]) -> dict[str, object]:
        """What happened since the last summary, and where things stand, for one line of log."""
        totals = {key: self._metrics.total(name) for key, name in _TOLD.items()}
        since = {key: round(total - self._told[key]) for key, total in totals.items()}
        self._told = totals
        if self._stranger:
            self._log.warning("new assets refused", readings=self._strange, example=self._stranger)
            self._stranger, self._strange = "", 0
        standing: dict[str, object] = {
            **since,
            "lag": sum(lag.values()),
            "assets": len(now.assets),
            "firing": sum(asset.state == "firing" for asset in now.assets),
            "model": now.model or None,
        }
        if now.model:
            return standing
        training = now.training
        eta = None if training.eta_s is None else round(training.eta_s)
        return {**standing, "learning": f"{training.steps} of {training.needed} steps", "learning_eta_s": eta}
