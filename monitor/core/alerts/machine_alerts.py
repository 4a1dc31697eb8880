"""From windows above their limit to alerts: pending, firing, resolved, in the sense of ISA-18.2.

    normal ──anomalous──► pending ──anomalous, on_delay after the first──► firing ──quiet for off_delay──► normal
                          pending ──not anomalous──► normal, silently

A window is quiet when its ratio (score / threshold, 1.0 = the limit) lies below 1 - deadband; between that and the
limit nothing changes, so a score that flaps around its limit is one alert. While firing, a record is published when
the alert gets worse: at once when it becomes critical, and at most every `update_ms` when its peak has grown by half.

Guaranteed: all time is the windows' own, so alerts are a function of the sequence of windows, however it is cut into
batches. The id names the window that opened the alert (detector, topic, partition, offset, asset, end), never clock,
score or model: a replay gives the same ids. Only assets that are not normal have a state, and only windows of those
and of anomalous ones are looked at one by one; in a healthy plant that is next to none.

It does not decide what is anomalous (see `threshold`), and an asset that falls silent stays as it is: silence is not
evidence that a fault is over.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from monitor.core.records import Alert, ChannelShare, Partition, ScoreBatch, State, ThresholdBatch, WindowBatch

GROWTH = 1.5  # a peak that much above the last published one is news

Explain = Callable[[int], tuple[ChannelShare, ...]]  # channels of the window at a place in the batch


class _Window(NamedTuple):
    """What alerting looks at of one window."""

    place: int  # in the batch
    row: int
    end: int
    position: int
    score: float
    threshold: float
    ratio: float
    anomalous: bool


@dataclass(slots=True)
class _Watch:
    """An asset that is not normal: pending until `alert`, the record published last, is there."""

    row: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    asset: str
    id: str
    start: int  # end of the window that opened it
    offset: int  # position of that window
    peak: float
    last: int  # end of the last anomalous window
    quiet_since: int | None = None  # end of the first of the quiet windows that came last
    alert: Alert | None = None


class MachineAlerts:
    """The alerts of all assets of one partition."""

    def __init__(
        self,
        *,
        detector: str,
        partition: Partition,
        on_delay_ms: int,
        off_delay_ms: int,
        deadband: float,
        critical_ratio: float,
        update_ms: int,
        gap_ms: int,
    ) -> None:
        """Raises ValueError if a setting is out of range.

        A pending alert is forgotten if its asset's next window comes more than `gap_ms` later: two lone anomalies with
        a night between them are not one that lasted the night.
        """
        if min(on_delay_ms, off_delay_ms, update_ms, gap_ms) < 0:
            raise ValueError(f"delays must not be negative, got {(on_delay_ms, off_delay_ms, update_ms, gap_ms)}")
        if not 0 <= deadband < 1:
            raise ValueError(f"deadband must be at least 0 and below 1, got {deadband}")
        if not critical_ratio >= 1:
            raise ValueError(f"critical_ratio must be at least 1, the limit itself, got {critical_ratio}")
        self._detector = detector
        self._partition = partition
        self._on_delay_ms = on_delay_ms
        self._off_delay_ms = off_delay_ms
        self._deadband = deadband
        self._critical_ratio = critical_ratio
        self._update_ms = update_ms
        self._gap_ms = gap_ms
        self._watches: dict[int, _Watch] = {}  # by asset row
        self.suppressed = {"suppressed_short": 0, "suppressed_gap": 0}  # times that pending came to nothing, and why

    def update(  # noqa: PLR0917 - what the stages before it gave, in their order
        self,
        windows: WindowBatch,
        scores: ScoreBatch,
        thresholds: ThresholdBatch,
        names: Sequence[str],
        model: str,
        explain: Explain,
    ) -> list[Alert]:
        """The records these windows cause, in their order; `names` are of asset rows, `model` is the version in use."""
        alerts = []
        for window in self._relevant(windows, scores, thresholds):
            watch = self._watches.get(window.row)
            if watch is None or (watch.alert is None and window.end - watch.last > self._gap_ms):
                self.suppressed["suppressed_gap"] += watch is not None
                if not window.anomalous:
                    self._watches.pop(window.row, None)
                    continue
                watch = self._watches[window.row] = self._open(window, names[window.row])
            alert = self._step(watch, window, model, explain)
            if alert is not None:
                watch.alert = alert
                alerts.append(alert)
        return alerts

    def _relevant(self, windows: WindowBatch, scores: ScoreBatch, thresholds: ThresholdBatch) -> list[_Window]:
        """The windows of assets that are not normal or are anomalous somewhere in the batch."""
        rows = np.concatenate((windows.assets[thresholds.anomalous], np.fromiter(self._watches, np.int32)))
        place = np.flatnonzero(np.isin(windows.assets, rows))
        score, threshold = scores.score[place].astype(np.float64), thresholds.threshold[place].astype(np.float64)
        columns = (
            place,
            windows.assets[place],
            windows.ends[place],
            windows.position[place],
            score,
            threshold,
            score / threshold,
            thresholds.anomalous[place],
        )
        return [_Window(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]

    def _open(self, window: _Window, asset: str) -> _Watch:
        id_ = self._id(window.position, asset, window.end)
        return _Watch(window.row, asset, id_, window.end, window.position, window.ratio, window.end)

    def _step(self, watch: _Watch, window: _Window, model: str, explain: Explain) -> Alert | None:
        """Take one window of an asset that is not normal; the record to publish, if any."""
        if window.anomalous:
            watch.peak, watch.last = max(watch.peak, window.ratio), window.end
        if watch.alert is None:
            if not window.anomalous:
                del self._watches[watch.row]
                self.suppressed["suppressed_short"] += 1
                return None
            if window.end - watch.start < self._on_delay_ms:
                return None
            return self._record(watch, window, model, explain(window.place), 0)
        if window.ratio < 1 - self._deadband:
            return self._quiet(watch, watch.alert, window, model)
        watch.quiet_since = None
        if window.anomalous and self._worse(watch, watch.alert, window.end):
            return self._record(watch, window, model, explain(window.place), watch.alert.sequence + 1)
        return None

    def _quiet(self, watch: _Watch, alert: Alert, window: _Window, model: str) -> Alert | None:
        """Resolve once all windows have been quiet for long enough."""
        if watch.quiet_since is None:
            watch.quiet_since = window.end
        if window.end - watch.quiet_since < self._off_delay_ms:
            return None
        del self._watches[watch.row]
        record = self._record(watch, window, model, alert.channels, alert.sequence + 1)
        return replace(record, state="resolved", end=watch.last)

    def _worse(self, watch: _Watch, alert: Alert, time: int) -> bool:
        """Whether the peak has risen enough over the record published last to publish another one."""
        if self._severity(watch.peak) != alert.severity:
            return True
        return watch.peak >= GROWTH * alert.peak and time - alert.time >= self._update_ms

    def _severity(self, peak: float) -> str:
        return "critical" if peak >= self._critical_ratio else "warning"

    def _record(
        self, watch: _Watch, window: _Window, model: str, channels: tuple[ChannelShare, ...], sequence: int
    ) -> Alert:
        """The record of a firing alert, caused by `window`."""
        return Alert(
            id=watch.id,
            asset=watch.asset,
            state="firing",
            start=watch.start,
            end=None,
            time=window.end,
            severity=self._severity(watch.peak),
            score=window.score,
            threshold=window.threshold,
            ratio=window.ratio,
            peak=watch.peak,
            channels=channels,
            model=model,
            detector=self._detector,
            partition=self._partition,
            offset=watch.offset,
            position=window.position,
            sequence=sequence,
        )

    def _id(self, offset: int, asset: str, end: int) -> str:
        """JSON keeps the parts apart, whatever characters a name holds."""
        origin = json.dumps([self._detector, *self._partition, offset, asset, end])
        return hashlib.sha256(origin.encode()).hexdigest()[:32]

    def open_alerts(self) -> list[Alert]:
        """The record published last of every alert that is firing, by asset row: what a restart publishes again."""
        return [watch.alert for _, watch in sorted(self._watches.items()) if watch.alert is not None]

    def states(self) -> dict[int, str]:
        """The state, "pending" or "firing", by asset row; normal assets are left out."""
        return {row: "pending" if watch.alert is None else "firing" for row, watch in self._watches.items()}

    def forget(self, row: int) -> None:
        """As if this row, of which no alert is open, had never been anomalous: it is another asset's now."""
        self._watches.pop(row, None)

    def save_state(self) -> State:
        """Everything a later `load_state` needs to go on exactly from here, as arrays.

        Raises ValueError if a record holds a number that is not finite, as JSON could not give it back.
        """
        packed = msgspec.json.encode([watch for _, watch in sorted(self._watches.items())])
        _decode(packed)
        return {"watches": np.frombuffer(packed, np.uint8).copy()}

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave. Raises ValueError, and changes nothing, if it does not fit."""
        if state.keys() != {"watches"} or state["watches"].dtype != np.uint8:
            raise ValueError(f"state of alerts is one array of bytes, not {sorted(state)}")
        watches = _decode(state["watches"].tobytes())
        for watch in watches:
            alert = watch.alert
            if watch.id != self._id(watch.offset, watch.asset, watch.start):
                raise ValueError(f"the alert of {watch.asset} is of another detector or partition")
            if alert is not None and (alert.id, alert.asset, alert.state) != (watch.id, watch.asset, "firing"):
                raise ValueError(f"the alert of {watch.asset} was published as {alert.state} of {alert.asset}")
        self._watches = {watch.row: watch for watch in watches}


def _decode(packed: bytes) -> list[_Watch]:
    """The inverse of encoding watches, by ascending row. Raises ValueError saying where it is something else."""
    try:
        watches = msgspec.json.decode(packed, type=list[_Watch])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"state of alerts: {wrong}") from wrong
    rows = [watch.row for watch in watches]
    if rows != sorted(set(rows)):
        raise ValueError(f"state of alerts: rows must ascend, got {rows[:20]}")
    return watches
