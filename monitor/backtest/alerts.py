"""The alerts of a replay, from their records."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monitor.core.publish import alert_record
from monitor.core.records import Alert
from monitor.evaluation.matching import AlertSpan, alert_spans


@dataclass(frozen=True, slots=True)
class AlertHistory:
    """An alert with its first and its last published record."""

    span: AlertSpan
    first: Alert  # the record at firing
    last: Alert  # the record published last

    @property
    def begin(self) -> int:
        """End of the first anomalous window, ms UTC."""
        return self.first.start

    @property
    def end(self) -> int | None:
        """End of the last anomalous window; None = still firing at the end of the recording."""
        return self.last.end


def alert_histories(records: Sequence[Alert]) -> list[AlertHistory]:
    """Group alert records by alert, ordered by the time of firing."""
    by_id: dict[str, list[Alert]] = {}
    for record in records:
        by_id.setdefault(record.id, []).append(record)

    bodies = (alert_record("alerts", record).value or b"" for record in records)
    return [AlertHistory(span, by_id[span.id][0], by_id[span.id][-1]) for span in alert_spans(bodies)]


def first_alerts(alerts: Iterable[AlertHistory]) -> dict[str, str]:
    """Return the id of the alert at the end of each alert's links, by id; its own where it has none."""
    linked = {each.span.id: each.first.linked for each in alerts}

    def first(id_: str) -> str:
        while linked.get(id_) in linked:
            id_ = linked[id_]
        return id_

    return {id_: first(id_) for id_ in linked}
