"""Match alerts with labels: which faults were found, how soon, by which channel, and which alerts were false.

Events are counted, not windows, as in Hundman et al. 2018 (doi:10.1145/3219819.3219845): a label is found if any alert
of its asset overlaps it, and an alert that overlaps no label of its asset is false. An alert lasts from its firing
record to its resolution. A label counts until `grace` after its end, since a window holds the last steps of a fault
after the fault has ended.

The delay runs from the start of the label to the first time an alert is firing. An alert that was firing before the
label began finds it with a delay of 0, and the row is marked `already`. Otherwise a monitor that never resolves an
alert would look perfect.

An alert of silence says nothing about the machine. It finds labels of the kinds in OF_SILENCE only, and it is never
false. Those that find no label are listed apart, so the figures of machines do not depend on gateways.

Times and names are compared. Scores and severity do not count.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from monitor.core.published import PublishedAlert, decode_alert
from monitor.core.records import MACHINE, SILENCE
from monitor.evaluation.label import Label

OF_SILENCE = (SILENCE, "silent")  # kinds of labels


@dataclass(frozen=True, slots=True)
class AlertSpan:
    """An alert from its first record to its resolution."""

    id: str
    asset: str
    start: int  # ms UTC: time of the firing record, so the delay of `on_delay` counts
    end: int | None  # ms UTC: time of the resolution; None = still firing
    channel: str | None  # channel with the largest contribution at firing
    cause: str = MACHINE
    detector: str = ""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """The result for one label. All fields after `label` are None, False or empty if it was not found."""

    label: Label
    alert: str | None = None  # id of the alert that fired first
    delay_ms: int | None = None  # from the label's start to the first time an alert was firing
    already: bool = False  # that alert was firing before the label began
    named: bool = False  # that alert's top channel is one of the label's
    cause: str = ""  # of that alert
    detector: str = ""  # of that alert

    @property
    def found(self) -> bool:
        return self.alert is not None


@dataclass(frozen=True, slots=True)
class KindRow:
    """The labels of one kind together."""

    faults: int
    found: int
    already: int
    named: int
    delay_ms: float | None  # median over those found


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of `match`."""

    rows: tuple[LabelRow, ...]  # one per label, in the order given
    false: tuple[AlertSpan, ...]  # in the order given
    silent: tuple[AlertSpan, ...] = ()  # alerts of silence that no label expects, in the order given

    def by_kind(self) -> dict[str, KindRow]:
        """Return counts per kind of fault, in order of first appearance."""
        kinds: dict[str, list[LabelRow]] = {}
        for row in self.rows:
            kinds.setdefault(row.label.kind, []).append(row)
        return {kind: _kind_row(rows) for kind, rows in kinds.items()}

    def false_by_asset(self) -> dict[str, int]:
        """Return the number of false alerts of each asset that has any."""
        return dict(Counter(span.asset for span in self.false))


def alert_spans(bodies: Iterable[bytes]) -> list[AlertSpan]:
    """Read the values of alert records and return spans by start.

    A span ends when the alert is resolved, or when it is adapted: from then on its limit alarms no more. Records may
    repeat and come in any order, as after a restart. Raises ValueError for a value that is not an alert,
    and for a resolution without a firing record.
    """
    # The earliest record of each kind counts: later ones are updates, or repetitions after a restart.
    fired: dict[str, PublishedAlert] = {}
    ended: dict[str, int] = {}
    for body in bodies:
        alert = decode_alert(body)
        if alert.state != "firing":
            ended[alert.id] = min(alert.time, ended.get(alert.id, alert.time))
        elif alert.id not in fired or alert.time < fired[alert.id].time:
            fired[alert.id] = alert

    # Then records are missing, and any figure would be wrong.
    if lost := ended.keys() - fired.keys():
        raise ValueError(f"no firing record of alert {min(lost)}, expected one before its resolution")

    found = [
        AlertSpan(
            id=id_,
            asset=first.asset,
            start=first.time,
            end=ended.get(id_),
            channel=first.channels[0].channel if first.channels else None,
            cause=first.cause,
            detector=first.detector,
        )
        for id_, first in fired.items()
    ]
    return sorted(found, key=lambda span: (span.start, span.asset, span.id))


def match(alerts: Sequence[AlertSpan], labels: Sequence[Label], grace_ms: int) -> Evaluation:
    """Match alerts with labels as the module describes. Of alerts that fire at the same time the first given counts."""
    by_asset: dict[str, list[AlertSpan]] = {}
    for span in alerts:
        by_asset.setdefault(span.asset, []).append(span)

    # An alert may find several labels, and a label may be found by several alerts. The first to fire counts.
    rows: list[LabelRow] = []
    touching: set[AlertSpan] = set()
    for label in labels:
        possible = [span for span in by_asset.get(label.asset, []) if span.cause != SILENCE or label.kind in OF_SILENCE]
        near = [span for span in possible if _overlaps(span, label, grace_ms)]
        touching.update(near)
        rows.append(_row(label, min(near, key=lambda span: max(span.start, label.start))) if near else LabelRow(label))

    others = [span for span in alerts if span not in touching]
    return Evaluation(
        tuple(rows),
        false=tuple(span for span in others if span.cause != SILENCE),
        silent=tuple(span for span in others if span.cause == SILENCE),
    )


def _overlaps(span: AlertSpan, label: Label, grace_ms: int) -> bool:
    return span.start <= label.end + grace_ms and (span.end is None or span.end >= label.start)


def _row(label: Label, span: AlertSpan) -> LabelRow:
    return LabelRow(
        label=label,
        alert=span.id,
        delay_ms=max(span.start - label.start, 0),
        already=span.start < label.start,
        named=span.channel in label.channels,
        cause=span.cause,
        detector=span.detector,
    )


def _kind_row(rows: Sequence[LabelRow]) -> KindRow:
    delays = [row.delay_ms for row in rows if row.delay_ms is not None]
    return KindRow(
        faults=len(rows),
        found=len(delays),
        already=sum(row.already for row in rows),
        named=sum(row.named for row in rows),
        delay_ms=median(delays) if delays else None,
    )
