"""Alerts of machines: from windows above their limit to records.

A window is active if its alarm score exceeds the threshold, and quiet if its ratio (alarm score / threshold, 1.0 = the
limit) is below 1 - deadband. `lifecycle.py` says when an alert fires and ends, and when it is adapted because its limit
rose.

While an alert is firing, a record is published if it gets worse: immediately if it becomes critical, and at most every
`update_ms` if its peak has grown by half. Severity follows the peak, so it never falls.

Only windows of assets that are anomalous or not normal are looked at one by one. Which windows are anomalous is decided
in `monitor/core/threshold`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from monitor.core.alerts.lifecycle import AlertOptions, Change, Details, Event, Lifecycle, Observation
from monitor.core.alerts.stage import AlertStage
from monitor.core.model.modes import label
from monitor.core.records import (
    MACHINE,
    Alert,
    ChannelShare,
    Floats,
    Partition,
    ScoreBatch,
    ThresholdBatch,
    WindowBatch,
)

GROWTH = 1.5  # least growth of the peak, over that of the record published last, that is published
NAME = "machine alerts"
_ENDS = (Change.ADAPTED, Change.RESOLVED)

Explain = Callable[[int], tuple[ChannelShare, ...]]  # channels of the window at a place in the batch


class AtLimits(Protocol):
    """The windows of a batch at other limits of the channels, as `PastLimits`."""

    def limits(self, place: int, /) -> list[float]:
        """Return the limits of the channels that applied to the window at a place."""

    def alarm_at(self, place: int, limits: list[float], /) -> float:
        """Return the alarm score of the window at a place at other limits."""


class MachineAlerts(AlertStage):
    """The alerts of all assets of one partition."""

    def __init__(self, detector: str, partition: Partition, options: AlertOptions) -> None:
        self._options = options
        super().__init__(
            Lifecycle(
                NAME,
                detector,
                partition,
                on_delay_ms=options.on_delay_ms,
                off_delay_ms=options.off_delay_ms,
                gap_ms=options.gap_ms,
                deadband=options.deadband,
            )
        )

    def update(  # noqa: PLR0917 - the results of the stages before, in their order
        self,
        windows: WindowBatch,
        scores: ScoreBatch,
        thresholds: ThresholdBatch,
        names: Sequence[str],
        model: str,
        explain: Explain,
        past: AtLimits,
    ) -> list[Alert]:
        """Return the records that these windows cause, in order. `names` are those of asset rows."""
        alerts = []
        for place, window in self._relevant(windows, thresholds, names, past):
            for event in self._events(window):
                # An explanation costs a pass of the model, and a quiet window has nothing to explain.
                if event.change in _ENDS and event.life.alert is not None:
                    channels = event.life.alert.channels
                else:
                    channels = explain(place)

                details = Details(
                    severity=self._severity(event.life.peak),
                    alarm=window.alarm,
                    threshold=window.limit,
                    ratio=window.ratio,
                    channels=channels,
                    model=model,
                    cause=MACHINE,
                    mode="" if scores.modes is None else label(float(scores.modes.value[place])),
                )
                alerts.append(self._lifecycle.publish(event, details))
        return alerts

    def _events(self, window: Observation) -> Iterator[Event]:
        """Take a window. Yield the changes to publish: of the asset's adapted alert first, then of the current one."""
        settled = self._lifecycle.settle(window)
        if settled is not None:
            yield settled
        event = self._lifecycle.observe(window)
        if event is None or (event.change is Change.LASTING and not self._worse(event)):
            return
        yield event
        if event.change is Change.ADAPTED and (older := self._lifecycle.supersede(event)) is not None:
            yield older

    def rebase(self, convert: Callable[[Floats], Floats], channels: Callable[[Floats], Floats] | None) -> None:
        """Convert the limits that alerts keep to the scale of another model; see `Lifecycle.rebase`."""
        self._lifecycle.rebase(convert, channels)

    def _relevant(
        self, windows: WindowBatch, thresholds: ThresholdBatch, names: Sequence[str], past: AtLimits
    ) -> list[tuple[int, Observation]]:
        """Return the windows of assets that are not normal or are anomalous somewhere in the batch, by place."""
        # In a healthy plant this leaves next to no window for the loop over windows.
        rows = np.concatenate((windows.assets[thresholds.anomalous], self._lifecycle.rows()))
        place = np.flatnonzero(np.isin(windows.assets, rows))

        # In float64, because a float32 quotient would be rounded before it is held against the options.
        alarm, limit = (column[place].astype(np.float64) for column in (thresholds.alarm, thresholds.threshold))
        ratio = alarm / limit
        columns = (
            place,
            windows.assets[place],
            windows.ends[place],
            windows.position[place],
            ratio,
            thresholds.anomalous[place],
            ratio < 1 - self._options.deadband,
            alarm,
            limit,
        )

        # Arguments by place: in an incident of many assets, by keyword takes 0.4 µs more per window.
        found = []
        for at, row, end, position, ratio, active, quiet, *own in zip(*(c.tolist() for c in columns), strict=True):
            own += [partial(past.limits, at), partial(past.alarm_at, at)]
            since = end if quiet else None
            found.append((at, Observation(row, names[row], "", "", end, end, position, ratio, active, since, *own)))
        return found

    def _worse(self, event: Event) -> bool:
        """Whether the peak has risen enough over the record published last to publish another one."""
        peak, published = event.life.peak, event.life.alert
        assert published is not None, "the alert is firing"
        if self._severity(peak) != published.severity:
            return True
        return peak >= GROWTH * published.peak and event.window.end - published.time >= self._options.update_ms

    def _severity(self, peak: float) -> str:
        return "critical" if peak >= self._options.critical_ratio else "warning"
