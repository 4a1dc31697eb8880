"""The life of an alert: pending, firing, resolved, in the sense of ISA-18.2, and adapted.

    normal ──active──► pending ──active, on_delay after the first──► firing ──quiet for off_delay──► normal, resolved
                       pending ──not active──► normal, without a record
                       firing ──quiet for off_delay, but not back──► adapted ──back for off_delay──► normal, resolved

A window is active if it is evidence of the fault, and quiet if it is evidence that the fault is over. A window that is
neither leaves an alert as it is and ends a run of quiet windows, so an alarm score that flaps around its limit is one
alert.

Limits may rise while an alert is firing, because those of the channels follow their errors, and that of the asset its
alarm scores. So an alert keeps the limits of the channels as they were at the window that opened it, and the limit of
the asset at firing. A window is back if its alarm score at those limits of the channels is below (1 - deadband) x that
limit of the asset. Channels whose limits had followed before the alert opened do not count against it. If more than
half of the quiet windows that end an alert are not back, the alert is adapted: limits rose to the fault. It stays open
until all windows are back for `off_delay`. A new alert of the asset may fire meanwhile. If that one adapts, too, it
takes over the lower limit, with its limits of the channels, and the older alert is resolved, so an asset has at most
one adapted alert.

A model with other channels has no use for the limits that an alert keeps. Every quiet window is back then.

A pending alert is dropped if the next window comes more than `gap_ms` later: two lone anomalies with a night between
them are not one that lasted the night.

An asset has one life for the machine and one for each faulty sensor, keyed by (row, sensor).

Guaranteed:
1. All times are those of windows, so alerts are a function of the sequence of windows, however it is cut into batches.
2. The id names the window that opened the alert (detector, topic, partition, offset, asset, end), and of a sensor's
   alert the sensor and the fault. Clock, score and model are no part of it, so a replay gives the same ids.
3. Only assets and sensors that are not normal have a state, in a healthy plant next to none.

An asset that falls silent stays as it is, because silence is no evidence that a fault is over. Silence has an alert of
its own kind (`silence_alerts.py`).
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from monitor.core.model.channel_limits import LEAST, MOST
from monitor.core.records import Alert, AlertState, ChannelShare, Count, Floats, Ints, Partition, State
from monitor.core.state import Column, check_state, pack, unfit, unpack

_Limit = Annotated[float, msgspec.Meta(ge=LEAST, le=MOST)]  # of a channel's error
_TABLE = {"alerts": Column("u1", ("bytes",))}  # JSON of all lives: pending and firing ones, then adapted ones


@dataclass(frozen=True, slots=True)
class AlertOptions:
    """When an anomaly becomes an alert, when the alert is over, and when it is published again."""

    on_delay_ms: int
    off_delay_ms: int
    deadband: float  # a ratio below 1 - deadband is quiet
    critical_ratio: float  # peak from which an alert is critical
    update_ms: int  # least time between two updates of an alert that gets worse
    gap_ms: int  # longest time between two windows of a pending alert


class Observation(NamedTuple):
    """One window of an asset or sensor, as evidence for or against its alert."""

    row: int  # of the asset
    asset: str
    sensor: str  # empty = the machine, or its clock
    fault: str  # of the sensor; empty = the machine
    start: int  # ms UTC: since when, if this window opens an alert
    end: int  # ms UTC: end of the window
    position: int  # offset of the message that closed the window
    ratio: float
    active: bool
    quiet_from: int | None  # ms UTC: from when quiet is counted, if this window begins a quiet run; None = not quiet
    alarm: float = 0.0  # alarm score
    limit: float = 0.0  # of the alarm score; 0 = a limit that never rises, so that the alert is never adapted
    limits: Callable[[], list[float]] | None = None  # of the channels, as of `PastLimits`; None = there are none
    alarm_at: Callable[[list[float]], float] | None = None  # alarm score at other limits; None = there are no limits


class Change(Enum):
    """The effect of a window on an alert that is firing afterwards, or was before."""

    FIRED = auto()
    LASTING = auto()  # it was firing, and the window is active
    ADAPTED = auto()  # limits rose to the fault
    RESOLVED = auto()


@dataclass(slots=True)
class Life:
    """An asset or sensor that is not normal: pending until `alert` is there, then firing or adapted."""

    row: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    sensor: str
    asset: str
    fault: str
    id: str
    opened: int  # end of the window that opened it
    offset: int  # position of that window
    start: int  # as published
    peak: float
    last: int  # end of the last active window
    quiet_since: int | None = None
    quiet: int = 0  # windows of the quiet run
    back: int = 0  # of these
    back_since: int | None = None  # of an adapted alert
    limit: float = 0.0  # of the alarm score when the alert fired, in the scale of the model in use; 0 = none
    limits: list[_Limit] = field(default_factory=list)  # of the channels at the window that opened it, likewise
    alert: Alert | None = None  # the record published last

    @property
    def adapted(self) -> bool:
        """Whether limits rose to the fault."""
        return self.alert is not None and self.alert.state == "adapted"

    def is_back(self, window: Observation, deadband: float) -> bool:
        """Whether the alarm score, at the limits of the channels as they were, is clearly below that at firing."""
        if not self.limit or window.alarm_at is None:
            return True
        return window.alarm_at(self.limits) / self.limit < 1 - deadband


_STATES: dict[Change, AlertState] = {Change.ADAPTED: "adapted", Change.RESOLVED: "resolved"}  # others are firing


class Event(NamedTuple):
    """A change, the window that caused it, and the life as it is after it."""

    change: Change
    window: Observation
    life: Life


@dataclass(frozen=True, slots=True)
class Details:
    """Fields of a record that depend on the kind of alert."""

    severity: str
    alarm: float  # see `Alert`
    threshold: float
    ratio: float
    channels: tuple[ChannelShare, ...]
    model: str
    cause: str
    mode: str = ""  # of the window


def warning(  # noqa: PLR0917 - the fields in their order
    cause: str, alarm: float, threshold: float, model: str, channels: tuple[ChannelShare, ...] = (), mode: str = ""
) -> Details:
    """Return the details of an alert that is never critical."""
    return Details(
        severity="warning",
        alarm=alarm,
        threshold=threshold,
        ratio=alarm / threshold,
        channels=channels,
        model=model,
        cause=cause,
        mode=mode,
    )


def as_published(alert: Alert) -> Details:
    """Return the details of the record published last, for a resolution that has none of its own."""
    return Details(
        severity=alert.severity,
        alarm=alert.alarm,
        threshold=alert.threshold,
        ratio=alert.ratio,
        channels=alert.channels,
        model=alert.model,
        cause=alert.cause,
        mode=alert.mode,
    )


class Lifecycle:
    """All alerts of one kind in one partition. `name` is that kind, for messages about a state."""

    def __init__(
        self,
        name: str,
        detector: str,
        partition: Partition,
        *,
        on_delay_ms: int,
        off_delay_ms: int,
        gap_ms: int | None,
        deadband: float = 0.0,
    ) -> None:
        self._name = name
        self._detector = detector
        self._partition = partition
        self._on_delay_ms = on_delay_ms
        self._off_delay_ms = off_delay_ms
        self._gap_ms = gap_ms  # None = no limit
        self._deadband = deadband
        self._lives: dict[tuple[int, str], Life] = {}  # pending and firing
        self._adapted: dict[tuple[int, str], Life] = {}
        # Pending alerts that were dropped, by reason
        self.suppressed: dict[str, int] = {Count.ALERTS_SUPPRESSED_SHORT: 0, Count.ALERTS_SUPPRESSED_GAP: 0}

    def __len__(self) -> int:
        return len(self._lives)

    def rows(self) -> Ints:
        """Return the asset rows that are not normal; a row may occur more than once."""
        return np.fromiter((row for row, _ in (*self._lives, *self._adapted)), np.int32)

    def sensors(self, row: int) -> Iterator[Life]:
        """Yield the lives of one asset row by sensor."""
        yield from sorted((life for (own, _), life in self._lives.items() if own == row), key=lambda life: life.sensor)

    def life(self, row: int) -> Life | None:
        """Return the life of an asset row itself, not of its sensors. None = normal."""
        return self._lives.get((row, ""))

    def observe(self, window: Observation) -> Event | None:
        """Take a window in the order of the stream. Return the change of the alert, if it is or was firing."""
        key = window.row, window.sensor
        life = self._lives.get(key)

        # Two lone anomalies with a night between them are not one that lasted the night.
        if life is not None and life.alert is None and self._is_gap(window.end - life.last):
            self._drop(key, Count.ALERTS_SUPPRESSED_GAP)
            life = None

        if life is None:
            if not window.active:
                return None
            life = self._lives[key] = self._open(window)

        # Pending and firing alike: the record of firing has the peak since the alert opened.
        if window.active:
            life.peak = max(life.peak, window.ratio)
            life.last = window.end

        change = self._pending(life, window) if life.alert is None else self._firing(life, window)
        if change is Change.FIRED:
            life.limit = window.limit
        return None if change is None else Event(change, window, life)

    def _is_gap(self, span_ms: int) -> bool:
        return self._gap_ms is not None and span_ms > self._gap_ms

    def _open(self, window: Observation) -> Life:
        return Life(
            row=window.row,
            sensor=window.sensor,
            asset=window.asset,
            fault=window.fault,
            id=self._id(window.position, window.asset, window.end, window.sensor, window.fault),
            opened=window.end,
            offset=window.position,
            start=window.start,
            peak=window.ratio,
            last=window.end,
            limits=[] if window.limits is None else window.limits(),
        )

    def _pending(self, life: Life, window: Observation) -> Change | None:
        # One window without evidence is enough. A spike shorter than the delay leaves no record.
        if not window.active:
            self._drop((life.row, life.sensor), Count.ALERTS_SUPPRESSED_SHORT)
            return None
        return Change.FIRED if window.end - life.opened >= self._on_delay_ms else None

    def _firing(self, life: Life, window: Observation) -> Change | None:
        # Neither active nor quiet, that is within the deadband: the run of quiet windows starts again.
        if window.quiet_from is None:
            life.quiet_since, life.quiet, life.back = None, 0, 0
            return Change.LASTING if window.active else None

        # The alert ends once all windows have been quiet for long enough.
        if life.quiet_since is None:
            life.quiet_since = window.quiet_from
        life.quiet += 1
        life.back += life.is_back(window, self._deadband)
        if window.end - life.quiet_since < self._off_delay_ms:
            return None
        del self._lives[life.row, life.sensor]
        return Change.RESOLVED if 2 * life.back >= life.quiet else Change.ADAPTED

    def settle(self, window: Observation) -> Event | None:
        """Take a window of an asset with an adapted alert. Return its resolution, if windows are back for long."""
        life = self._adapted.get((window.row, window.sensor))
        if life is None:
            return None
        if not life.is_back(window, self._deadband):
            life.back_since = None
            return None
        if life.back_since is None:
            life.back_since = window.end
        if window.end - life.back_since < self._off_delay_ms:
            return None
        del self._adapted[life.row, life.sensor]
        return Event(Change.RESOLVED, window, life)

    def supersede(self, event: Event) -> Event | None:
        """Keep the alert that this event adapted. Return the resolution of the asset's older adapted alert, if any."""
        life = event.life
        older = self._adapted.pop((life.row, life.sensor), None)
        self._adapted[life.row, life.sensor] = life
        if older is None:
            return None
        if 0 < older.limit < life.limit:
            life.limit, life.limits = older.limit, older.limits
        return Event(Change.RESOLVED, event.window, older)

    def rebase(self, convert: Callable[[Floats], Floats], channels: Callable[[Floats], Floats] | None) -> None:
        """Convert the limits of alerts, and those of their channels, to the scale of another model.

        `channels` is None if the model has other channels. The limits are dropped then, so that all windows are back.
        """
        both = [*self._lives.values(), *self._adapted.values()]
        lives = [life for life in both if life.limit]
        for life, limit in zip(lives, convert(np.array([life.limit for life in lives], np.float32)), strict=True):
            life.limit = 0.0 if channels is None else float(limit)
        for life in both:
            life.limits = [] if channels is None else channels(np.array(life.limits, np.float32)).tolist()

    def _drop(self, key: tuple[int, str], reason: str) -> None:
        del self._lives[key]
        self.suppressed[reason] += 1

    def publish(self, event: Event, details: Details) -> Alert:
        """Make the record of an event and keep it as the one published last."""
        life, state = event.life, _STATES.get(event.change, "firing")
        sequence = 0 if life.alert is None else life.alert.sequence + 1

        life.alert = Alert(
            id=life.id,
            asset=life.asset,
            state=state,
            start=life.start,
            end=None if state == "firing" else life.last,
            time=event.window.end,
            severity=details.severity,
            alarm=details.alarm,
            threshold=details.threshold,
            ratio=details.ratio,
            peak=life.peak,
            channels=details.channels,
            model=details.model,
            detector=self._detector,
            partition=self._partition,
            offset=life.offset,
            position=event.window.position,
            sequence=sequence,
            cause=details.cause,
            fault=life.fault,
            mode=details.mode,
        )
        return life.alert

    def end(self, row: int, end: int, position: int) -> list[Alert]:
        """End the alerts of a row whose asset is not watched any more. Return their resolutions.

        `end` and `position` are those of the asset's newest window. A pending alert leaves no record.
        """
        both = [*sorted(self._adapted.items()), *sorted(self._lives.items())]
        lives = [life for (own, _), life in both if own == row]
        self.clear(row)
        published = [(life, life.alert) for life in lives if life.alert is not None]
        return [self._ended(life, alert, end, position) for life, alert in published]

    def _ended(self, life: Life, alert: Alert, end: int, position: int) -> Alert:
        window = Observation(
            row=life.row,
            asset=life.asset,
            sensor=life.sensor,
            fault=life.fault,
            start=life.start,
            end=end,
            position=position,
            ratio=alert.ratio,
            active=False,
            quiet_from=None,
        )
        return self.publish(Event(Change.RESOLVED, window, life), as_published(alert))

    def _id(self, offset: int, asset: str, end: int, sensor: str, fault: str) -> str:
        """Hash JSON, because JSON keeps the parts apart for any characters in a name."""
        # The fault of a machine is empty, and its id is made of the window alone.
        origin: list[str | int] = [self._detector, *self._partition, offset, asset, end]
        if fault:
            origin += [sensor, fault]
        return hashlib.sha256(json.dumps(origin).encode()).hexdigest()[:32]

    def open_alerts(self) -> list[Alert]:
        """Return the record published last of every firing and adapted alert. A restart publishes them again.

        Firing alerts come first, each by row and sensor.
        """
        lives = [life for lives in (self._lives, self._adapted) for _, life in sorted(lives.items())]
        return [life.alert for life in lives if life.alert is not None]

    def states(self) -> dict[int, str]:
        """Return "adapted", "pending" or "firing" by asset row, the most urgent; normal assets are left out."""
        found: dict[int, str] = dict.fromkeys((row for row, _ in self._adapted), "adapted")
        for (row, _), life in self._lives.items():
            found[row] = "pending" if life.alert is None and found.get(row) != "firing" else "firing"
        return found

    def clear(self, row: int) -> None:
        """Clear the row, which has no firing or adapted alert. It is reused for another asset."""
        self._lives = {key: life for key, life in self._lives.items() if key[0] != row}
        self._adapted = {key: life for key, life in self._adapted.items() if key[0] != row}

    def save_state(self) -> State:
        """Return the state as arrays, for `load_state`.

        Raises ValueError if a record holds a number that is not finite, because JSON could not give it back.
        """
        lives = [life for lives in (self._lives, self._adapted) for _, life in sorted(lives.items())]
        state = {"alerts": pack(lives)}
        self._unpack(state)
        return state

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError, and changes nothing, if the state does not fit."""
        # All lives are checked before the first is taken.
        lives = self._unpack(state)
        for place, life in enumerate(lives):
            self._check(f"alerts[{place}]", life)
        self._lives = {(life.row, life.sensor): life for life in lives if not life.adapted}
        self._adapted = {(life.row, life.sensor): life for life in lives if life.adapted}

    def _unpack(self, state: State) -> list[Life]:
        check_state(self._name, state, _TABLE)
        lives = unpack(self._name, "alerts", state["alerts"], list[Life])
        for adapted in (False, True):
            keys = [(life.row, life.sensor) for life in lives if life.adapted is adapted]
            if keys != sorted(set(keys)):
                raise unfit(self._name, "alerts", f"of {keys[:20]}", "ascending rows and sensors")
        return lives

    def _check(self, place: str, life: Life) -> None:
        """Raise ValueError unless a life is of this detector and partition and its record is its own."""
        # The id is recomputed, so a state of another detector or partition, or one that was edited, is refused.
        own = self._id(life.offset, life.asset, life.opened, life.sensor, life.fault)
        if life.id != own:
            found = f"{life.id}, of another detector, partition or window"
            raise unfit(self._name, f"{place}.id", found, f"{own} for {life.asset}")

        alert = life.alert
        if alert is not None and ((alert.id, alert.asset) != (life.id, life.asset) or alert.state == "resolved"):
            found = f"{alert.id}, {alert.state}, of {alert.asset}"
            raise unfit(self._name, f"{place}.alert", found, f"{life.id}, firing or adapted, of {life.asset}")
