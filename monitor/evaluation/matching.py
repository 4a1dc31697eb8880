"""Alerts against labels: which faults were found, how soon, by which channel, and which alerts were false.

A fault is found if an alert of its asset fires at some time in [start, end + grace]; the grace is there because a
window still holds a fault's last steps after it has ended. An alert that fires in no such interval of its asset is
false. An alert that was firing before the fault began counts as finding it, with a delay of 0, and the row says so:
a monitor that never resolves an alert would otherwise look perfect.

It compares times and names; it knows nothing of scores or severity, and holds no opinion about what is good enough.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from monitor.evaluation.label import Label


@dataclass(frozen=True, slots=True)
class AlertSpan:
    """An alert from its first record to its resolution."""

    id: str
    asset: str
    start: int  # ms UTC: time of the firing record, so the delay of `on_delay` counts
    end: int | None  # ms UTC: time of the resolution; None = still firing
    channel: str | None  # the one that contributed most when it fired
    cause: str = "machine"  # | "sensor"


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What became of a fault; everything after `label` is None or False if it was not found."""

    label: Label
    alert: str | None = None  # id of the alert that fired first
    delay_ms: int | None = None  # from the fault's start to the first time an alert was firing
    already: bool = False  # that alert was firing before the fault began
    named: bool = False  # that alert's top channel is one of the fault's
    cause: str = ""  # that the alert gives

    @property
    def found(self) -> bool:
        return self.alert is not None


@dataclass(frozen=True, slots=True)
class KindRow:
    """The faults of one kind together."""

    faults: int
    found: int
    already: int
    named: int
    delay_ms: float | None  # median over those found


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome of `match`."""

    rows: tuple[LabelRow, ...]  # one per fault, in the order given
    false: tuple[AlertSpan, ...]  # in the order given

    def by_kind(self) -> dict[str, KindRow]:
        """Counts per kind of fault, in order of first appearance."""
        kinds: dict[str, list[LabelRow]] = {}
        for row in self.rows:
            kinds.setdefault(row.label.kind, []).append(row)
        return {kind: _kind_row(rows) for kind, rows in kinds.items()}

    def false_by_asset(self) -> dict[str, int]:
        """Number of false alerts of each asset that has any."""
        return dict(Counter(span.asset for span in self.false))


class _Share(msgspec.Struct):
    channel: str


class _Body(msgspec.Struct):
    """What is needed of an alert's JSON; see core/publish.py."""

    id: str
    asset: str
    state: str
    time: int
    channels: list[_Share]
    cause: str = "machine"  # alerts of older versions do not say


def alert_spans(bodies: Iterable[bytes]) -> list[AlertSpan]:
    """Alert records -> spans by start. Records may repeat and come in any order, as after a restart.

    Raises ValueError for a body that is no alert, and for an alert that was resolved but never seen to fire.
    """
    fired: dict[str, _Body] = {}
    resolved: dict[str, int] = {}
    for body in bodies:
        alert = msgspec.json.decode(body, type=_Body)
        if alert.state == "resolved":
            resolved[alert.id] = min(alert.time, resolved.get(alert.id, alert.time))
        elif alert.id not in fired or alert.time < fired[alert.id].time:
            fired[alert.id] = alert
    if lost := resolved.keys() - fired.keys():
        raise ValueError(f"no firing record of alert {min(lost)}, expected one before its resolution")
    found = [
        AlertSpan(
            id_,
            first.asset,
            first.time,
            resolved.get(id_),
            first.channels[0].channel if first.channels else None,
            first.cause,
        )
        for id_, first in fired.items()
    ]
    return sorted(found, key=lambda span: (span.start, span.asset, span.id))


def match(alerts: Sequence[AlertSpan], faults: Sequence[Label], grace_ms: int) -> Evaluation:
    """Hold alerts against faults; see the module. Of alerts that fire at the same time the first given counts."""
    by_asset: dict[str, list[AlertSpan]] = {}
    for span in alerts:
        by_asset.setdefault(span.asset, []).append(span)
    rows: list[LabelRow] = []
    touching: set[AlertSpan] = set()
    for fault in faults:
        near = [span for span in by_asset.get(fault.asset, []) if _meets(span, fault, grace_ms)]
        touching.update(near)
        rows.append(_row(fault, min(near, key=lambda span: max(span.start, fault.start))) if near else LabelRow(fault))
    return Evaluation(tuple(rows), tuple(span for span in alerts if span not in touching))


def _meets(span: AlertSpan, fault: Label, grace_ms: int) -> bool:
    return span.start <= fault.end + grace_ms and (span.end is None or span.end >= fault.start)


def _row(fault: Label, span: AlertSpan) -> LabelRow:
    delay = max(span.start - fault.start, 0)
    return LabelRow(fault, span.id, delay, span.start < fault.start, span.channel in fault.channels, span.cause)


def _kind_row(rows: Sequence[LabelRow]) -> KindRow:
    delays = [row.delay_ms for row in rows if row.delay_ms is not None]
    return KindRow(
        faults=len(rows),
        found=len(delays),
        already=sum(row.already for row in rows),
        named=sum(row.named for row in rows),
        delay_ms=median(delays) if delays else None,
    )
