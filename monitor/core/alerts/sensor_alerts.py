"""From faults of sensors to alerts of their own kind: pending, firing, resolved, one life per asset and channel.

The clock of an asset counts as one more channel of it, which has no name.

The delays are those of the machines' alerts: a fault found in every window for `on_delay_ms` fires, and one not found
for `off_delay_ms` is resolved. A channel has at most one alert, named after the fault that opened it: a sensor that
sticks outside its limits is one job for the maintainer. The record says what the model expects of the channel instead;
of a clock it names no channel.

Guaranteed: alerts are a function of the sequence of windows. The id names the window that opened the alert, the channel
and the fault. Only channels found faulty have a state.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from monitor.core.records import Alert, ChannelShare, Partition, ScoreBatch, State, WindowBatch
from monitor.core.sensors.checks import FAULTS
from monitor.core.sensors.clocks import FAULT as CLOCK
from monitor.core.sensors.clocks import Skew
from monitor.core.sensors.mask import SensorFaults

Row = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class _Fault(NamedTuple):
    """What was found of a channel in a window."""

    name: str
    score: float
    threshold: float
    begin: int
    column: int | None  # of the channel; None = it is the clock


@dataclass(slots=True)
class _Watch:
    """A channel found faulty: pending until `alert`, the record published last, is there."""

    row: Row
    channel: str  # empty = the clock
    asset: str
    fault: str
    id: str
    opened: int  # end of the window that opened it
    offset: int  # position of that window
    begin: int  # since when it is faulty
    last: int  # end of the last window in which it was
    peak: float
    alert: Alert | None = None


class SensorAlerts:
    """The alerts of all sensors of one partition."""

    def __init__(self, *, detector: str, partition: Partition, on_delay_ms: int, off_delay_ms: int) -> None:
        """Raises ValueError if a delay is negative."""
        if min(on_delay_ms, off_delay_ms) < 0:
            raise ValueError(f"delays must not be negative, got {(on_delay_ms, off_delay_ms)}")
        self._detector, self._partition = detector, partition
        self._on_delay_ms, self._off_delay_ms = on_delay_ms, off_delay_ms
        self._watches: dict[tuple[int, str], _Watch] = {}  # by asset row and channel

    def update(  # noqa: PLR0917 - what the stages before it gave, in their order
        self,
        windows: WindowBatch,
        findings: SensorFaults | None,
        skews: Mapping[int, Skew],
        scores: ScoreBatch,
        names: Sequence[str],
        channels: Sequence[str],
        model: str,
    ) -> list[Alert]:
        """The records these windows cause, in their order; `names` are of asset rows, `channels` of columns."""
        if findings is None and not skews and not self._watches:
            return []
        alerts: list[Alert] = []
        faulty = np.zeros(len(windows), np.bool_)
        faulty[list(skews)] = True
        if findings is not None:
            faulty |= findings.fault.any(1)
        rows = np.concatenate((windows.assets[faulty], np.array([row for row, _ in self._watches], np.int32)))
        for place in np.flatnonzero(np.isin(windows.assets, rows)).tolist():
            row = int(windows.assets[place])
            found = _found(findings, skews, place, channels)
            watched = {channel for at, channel in self._watches if at == row}
            alerts += [
                alert
                for name in sorted(watched - found.keys())
                if (alert := self._quiet(windows, place, row, name)) is not None
            ]
            for name, fault in sorted(found.items()):
                watch = self._faulty(windows, place, names[row], name, fault)
                if watch.alert is None and watch.last - watch.opened >= self._on_delay_ms:
                    watch.alert = self._record(watch, windows, scores, place, fault, model)
                    alerts.append(watch.alert)
        return alerts

    def _faulty(self, windows: WindowBatch, place: int, asset: str, channel: str, fault: _Fault) -> _Watch:
        """The watch of a channel found faulty in the window at `place`, opened if it is the first."""
        row, end, offset = (int(each[place]) for each in (windows.assets, windows.ends, windows.position))
        ratio = fault.score / fault.threshold
        watch = self._watches.get((row, channel))
        if watch is None:
            id_ = self._id(offset, asset, end, channel, fault.name)
            watch = _Watch(row, channel, asset, fault.name, id_, end, offset, fault.begin, end, ratio)
            self._watches[row, channel] = watch
        watch.last, watch.peak = end, max(watch.peak, ratio)
        return watch

    def _quiet(self, windows: WindowBatch, place: int, row: int, channel: str) -> Alert | None:
        """Take a window in which a watched channel is sound; resolve once all have been for long enough."""
        watch, end = self._watches[row, channel], int(windows.ends[place])
        if watch.alert is None:
            del self._watches[row, channel]
            return None
        if end - watch.last < self._off_delay_ms:
            return None
        del self._watches[row, channel]
        return replace(
            watch.alert,
            state="resolved",
            end=watch.last,
            time=end,
            peak=watch.peak,
            position=int(windows.position[place]),
            sequence=watch.alert.sequence + 1,
        )

    def _record(  # noqa: PLR0917 - what it says, one each
        self,
        watch: _Watch,
        windows: WindowBatch,
        scores: ScoreBatch,
        place: int,
        fault: _Fault,
        model: str,
    ) -> Alert:
        """The record of firing, in the window at `place`, where `fault` was found."""
        return Alert(
            id=watch.id,
            asset=watch.asset,
            state="firing",
            start=watch.begin,
            end=None,
            time=int(windows.ends[place]),
            severity="warning",
            score=fault.score,
            threshold=fault.threshold,
            ratio=fault.score / fault.threshold,
            peak=watch.peak,
            channels=() if fault.column is None else (_share(watch.channel, scores, place, fault.column),),
            model=model,
            detector=self._detector,
            partition=self._partition,
            offset=watch.offset,
            position=int(windows.position[place]),
            sequence=0,
            cause="sensor",
            fault=watch.fault,
        )

    def _id(self, offset: int, asset: str, end: int, channel: str, fault: str) -> str:
        """JSON keeps the parts apart, whatever characters a name holds."""
        origin = json.dumps([self._detector, *self._partition, offset, asset, end, channel, fault])
        return hashlib.sha256(origin.encode()).hexdigest()[:32]

    def open_alerts(self) -> list[Alert]:
        """The record published last of every alert that is firing, by asset row and channel."""
        return [watch.alert for _, watch in sorted(self._watches.items()) if watch.alert is not None]

    def states(self) -> dict[int, str]:
        """State, pending or firing, by the row of each asset with a faulty sensor: that of the most urgent one."""
        found: dict[int, str] = {}
        for (row, _), watch in self._watches.items():
            found[row] = "pending" if watch.alert is None and found.get(row) != "firing" else "firing"
        return found

    def forget(self, row: int) -> None:
        """As if nothing had been found of this row, of which no alert is open: it is another asset's now."""
        self._watches = {key: watch for key, watch in self._watches.items() if key[0] != row}

    def save_state(self) -> State:
        """Everything a later `load_state` needs to go on exactly from here, as arrays."""
        packed = msgspec.json.encode([watch for _, watch in sorted(self._watches.items())])
        return {"watches": np.frombuffer(packed, np.uint8).copy()}

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave; from nothing, as in older snapshots.

        Raises ValueError, and changes nothing, if it does not fit.
        """
        if not state:
            return
        if state.keys() != {"watches"} or state["watches"].dtype != np.uint8:
            raise ValueError(f"state of sensor alerts is one array of bytes, not {sorted(state)}")
        try:
            watches = msgspec.json.decode(state["watches"].tobytes(), type=list[_Watch])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise ValueError(f"state of sensor alerts: {wrong}") from wrong
        for watch in watches:
            if watch.id != self._id(watch.offset, watch.asset, watch.opened, watch.channel, watch.fault):
                raise ValueError(f"the alert of {watch.asset} {watch.channel} is of another detector or partition")
            if watch.alert is not None and (watch.alert.id, watch.alert.state) != (watch.id, "firing"):
                raise ValueError(f"the alert of {watch.asset} {watch.channel} was published as another one")
        by_channel = {(watch.row, watch.channel): watch for watch in watches}
        if len(by_channel) < len(watches):
            raise ValueError("state of sensor alerts names a channel twice")
        self._watches = by_channel


def _found(
    findings: SensorFaults | None, skews: Mapping[int, Skew], place: int, channels: Sequence[str]
) -> dict[str, _Fault]:
    """What was found in the window at `place`, by channel."""
    found = {"": _Fault(CLOCK, *skews[place], None)} if place in skews else {}
    if findings is None:
        return found
    for column in np.flatnonzero(findings.fault[place]).tolist():
        ratio = float(findings.score[place, column]), float(findings.threshold[place, column])
        name, begin = FAULTS[findings.fault[place, column]], int(findings.begin[place, column])
        found[channels[column]] = _Fault(name, *ratio, begin, column)
    return found


def _share(channel: str, scores: ScoreBatch, place: int, column: int) -> ChannelShare:
    """What the model expects of a channel in the window at `place`."""
    newest, expected, spread = (float(each[place, column]) for each in (scores.newest, scores.expected, scores.spread))
    observed = None if np.isnan(newest) else newest
    return ChannelShare(channel, 1.0, observed, expected, expected - 2 * spread, expected + 2 * spread, 0)
