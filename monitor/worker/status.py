"""Status of the worker for people.

The status is a frozen record. The loop's thread replaces it as a whole about once a second, and any thread may read it.
"""

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from typing import NamedTuple

from monitor.core.alerts.words import SILENT
from monitor.core.arrays import NEVER
from monitor.core.decode.names import Names
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Partition
from monitor.training.trainer import Status
from monitor.worker.alert_charts import AlertChart
from monitor.worker.notes import Notes
from monitor.worker.partition_state import PartitionState
from monitor.worker.quiet import QuietTopic

STATES = ("off", "learning", "warming", "normal", "unscored", "adapted", "silent", "pending", "firing")
NOT_SCORED_MS = 180_000  # of the asset's own time: a channel that pauses for a minute is no news
_ALL_QUIET = "nothing new comes from its whole partition"


class Asset(NamedTuple):
    """An asset as of its last window. A tuple, since 10 000 are made for each status."""

    name: str
    state: str  # one of STATES; off = it does not run; warming = its window or its threshold is not full yet
    ratio: float | None  # alarm score / threshold; None = not scored yet
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
    adapted: tuple[Alert, ...] = ()  # their limits rose to their alarm scores, each as published last
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
