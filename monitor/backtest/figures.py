"""What alerts amount to: counts, false ones, delays, and the time in alarm.

Alerts of silence say nothing about a machine. They are counted apart, and their time is not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from monitor.backtest.alerts import AlertHistory, first_alerts
from monitor.core.records import SILENCE
from monitor.evaluation.matching import Evaluation

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a detector, or of all detectors together."""

    alerts: int  # without those of silence
    silences: int
    days: float  # scored, summed over assets
    alarm_ms: int  # with an alert from its firing to its end, summed over assets
    labels: int | None  # None = no labels were given
    found: int
    false: int
    delay_ms: float | None  # median time from a label's start to its alert; None = none was found

    @property
    def per_day(self) -> float | None:
        """Alerts per asset and day; None if nothing was scored."""
        return self.alerts / self.days if self.days else None

    @property
    def false_per_day(self) -> float | None:
        """False alerts per asset and day; None without labels, or if nothing was scored."""
        return self.false / self.days if self.days and self.labels is not None else None


def figures(alerts: Sequence[AlertHistory], evaluation: Evaluation | None, days: float, end: int) -> Figures:
    """Count alerts, linked ones as one. Alerts that are firing at the end of the recording last to `end`, ms UTC.

    `days` is the scored time, summed over assets.
    """
    first = first_alerts(alerts)
    rows = evaluation.rows if evaluation else ()
    delays = [row.delay_ms for row in rows if row.delay_ms is not None]
    machines = [each for each in alerts if each.span.cause != SILENCE]
    return Figures(
        alerts=len({first[each.span.id] for each in machines}),
        silences=len({first[each.span.id] for each in alerts if each.span.cause == SILENCE}),
        days=days,
        alarm_ms=_alarm_ms(machines, end),
        labels=None if evaluation is None else len(rows),
        found=sum(row.found for row in rows),
        false=len({first[span.id] for span in evaluation.false}) if evaluation else 0,
        delay_ms=median(delays) if delays else None,
    )


def _alarm_ms(alerts: Sequence[AlertHistory], end: int) -> int:
    """Return the time in which any of the alerts of an asset was firing, summed over assets.

    An alert that is still firing at the end of the recording lasts to `end`.
    """
    total, reached = 0, dict[str, int]()
    for each in sorted(alerts, key=lambda each: each.span.start):
        span = each.span
        last = max(end, span.start) if span.end is None else span.end
        begin = max(span.start, reached.get(span.asset, span.start))
        total += max(0, last - begin)
        reached[span.asset] = max(last, begin)
    return total
