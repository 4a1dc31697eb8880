"""Alerts of sensors: from faults that were found to records, one life per asset and sensor.

A sensor has one channel, or several: aggregates, or sine and cosine of an angle. A window is active for a sensor if a
fault of one of its channels was found in it, and quiet if none was found. Quiet is counted from the last window with a
fault. The clock of an asset counts as one more sensor, which has no name.

A sensor has at most one alert, named after the fault that opened it: a sensor that sticks outside its limits is one
job for maintenance. The record has the first of its faulty channels with the value that the model expects. The record
of a clock names no channel. There are no updates while an alert is firing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from monitor.core.alerts.lifecycle import AlertOptions, Change, Lifecycle, Observation, as_published, warning
from monitor.core.alerts.stage import AlertStage
from monitor.core.records import SENSOR, Alert, ChannelShare, Partition, ScoreBatch, WindowBatch
from monitor.core.sensors.checks import FAULTS
from monitor.core.sensors.clocks import FAULT as CLOCK
from monitor.core.sensors.clocks import Skew
from monitor.core.sensors.mask import SensorFaults

NAME = "sensor alerts"


class _Fault(NamedTuple):
    """A fault of one channel, found in one window."""

    name: str
    alarm: float  # see `Alert`
    threshold: float
    begin: int  # ms UTC: since when
    column: int | None  # of the channel; None = the clock

    @property
    def ratio(self) -> float:
        return self.alarm / self.threshold


class SensorAlerts(AlertStage):
    """The alerts of all sensors of one partition."""

    def __init__(self, detector: str, partition: Partition, options: AlertOptions) -> None:
        """Use the delays of `options`. The rest of `options` is for machines only."""
        super().__init__(
            Lifecycle(
                NAME,
                detector,
                partition,
                on_delay_ms=options.on_delay_ms,
                off_delay_ms=options.off_delay_ms,
                gap_ms=None,
            )
        )

    def update(  # noqa: PLR0917 - the results of the stages before, in their order
        self,
        windows: WindowBatch,
        faults: SensorFaults | None,
        skews: Mapping[int, Skew],
        scores: ScoreBatch,
        names: Sequence[str],
        sensors: Sequence[str],
        channels: Sequence[str],
        model: str,
    ) -> list[Alert]:
        """Return the records that these windows cause, in order.

        `names` are those of asset rows, `sensors` and `channels` those of columns. `skews` are by place in the batch.
        """
        if faults is None and not skews and not len(self._lifecycle):
            return []

        alerts: list[Alert] = []
        for place in self._relevant(windows, faults, skews):
            row = int(windows.assets[place])
            found = _found(faults, skews, place, sensors)
            watched = list(self._lifecycle.sensors(row))

            # Sensors with an alert, pending or firing, for which this window shows no fault.
            for life in watched:
                if life.sensor in found:
                    continue
                event = self._lifecycle.observe(_quiet(windows, place, names[row], life.sensor, life.last))
                if event is not None and event.life.alert is not None:
                    alerts.append(self._lifecycle.publish(event, as_published(event.life.alert)))

            # Faulty sensors. By name, so that the order of records does not depend on how batches are cut.
            for sensor, fault in sorted(found.items()):
                event = self._lifecycle.observe(_active(windows, place, names[row], sensor, fault))
                if event is not None and event.change is Change.FIRED:
                    shares = (
                        () if fault.column is None else (_share(channels[fault.column], scores, place, fault.column),)
                    )
                    details = warning(SENSOR, fault.alarm, fault.threshold, model, shares)
                    alerts.append(self._lifecycle.publish(event, details))
        return alerts

    def _relevant(self, windows: WindowBatch, faults: SensorFaults | None, skews: Mapping[int, Skew]) -> list[int]:
        """Return the places of windows of assets with a fault somewhere in the batch, or with an alert."""
        faulty = np.zeros(len(windows), np.bool_)
        faulty[list(skews)] = True
        if faults is not None:
            faulty |= faults.fault.any(1)
        rows = np.concatenate((windows.assets[faulty], self._lifecycle.rows()))
        places: list[int] = np.flatnonzero(np.isin(windows.assets, rows)).tolist()
        return places


def _found(
    faults: SensorFaults | None, skews: Mapping[int, Skew], place: int, sensors: Sequence[str]
) -> dict[str, _Fault]:
    """Return the faults in the window at `place` by sensor, of its first column; the clock has the empty name."""
    found = {"": _Fault(CLOCK, *skews[place], None)} if place in skews else {}
    if faults is None:
        return found

    for column in np.flatnonzero(faults.fault[place]).tolist():
        if sensors[column] in found:
            continue
        found[sensors[column]] = _Fault(
            name=FAULTS[faults.fault[place, column]],
            alarm=float(faults.score[place, column]),
            threshold=float(faults.threshold[place, column]),
            begin=int(faults.begin[place, column]),
            column=column,
        )
    return found


def _active(windows: WindowBatch, place: int, asset: str, sensor: str, fault: _Fault) -> Observation:
    return Observation(
        row=int(windows.assets[place]),
        asset=asset,
        sensor=sensor,
        fault=fault.name,
        start=fault.begin,
        end=int(windows.ends[place]),
        position=int(windows.position[place]),
        ratio=fault.ratio,
        active=True,
        quiet_from=None,
    )


def _quiet(windows: WindowBatch, place: int, asset: str, sensor: str, last: int) -> Observation:
    """Return the observation of a window without a fault of `sensor`, whose last fault was in the window at `last`."""
    return Observation(
        row=int(windows.assets[place]),
        asset=asset,
        sensor=sensor,
        fault="",
        start=last,
        end=int(windows.ends[place]),
        position=int(windows.position[place]),
        ratio=0.0,
        active=False,
        quiet_from=last,
    )


def _share(channel: str, scores: ScoreBatch, place: int, column: int) -> ChannelShare:
    """Return the reading of a channel and what the model expects, in the window at `place`."""
    newest = float(scores.newest[place, column])
    expected = float(scores.expected[place, column])
    spread = float(scores.spread[place, column])
    return ChannelShare(
        channel=channel,
        contribution=1.0,
        observed=None if np.isnan(newest) else newest,
        expected=expected,
        low=expected - 2 * spread,
        high=expected + 2 * spread,
        steps_ago=0,
    )
