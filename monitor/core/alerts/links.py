"""Links between alerts of one asset, so that those of several detectors are one for a person.

An alert carries the id of the oldest alert of its asset that was firing in another detector when it fired, of the same
cause if there is one. It keeps the link through its life. So of two detectors that see the same fault, the second one's
alert points to the first one's, and an older alert of another kind does not come between them.

Links are a function of the alerts in the order of the stream, however these are cut into batches.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import msgspec

from monitor.core.records import Alert


class Link(msgspec.Struct, array_like=True):
    """An alert that is not resolved."""

    asset: str
    id: str
    detector: str
    linked: str  # id of the alert that it points to; empty = none
    firing: bool  # otherwise adapted
    cause: str


class Links:
    """The links of one partition's alerts."""

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self._open: dict[str, list[Link]] = {}  # by asset, the alert that fired first comes first
        for link in links:
            self._open.setdefault(link.asset, []).append(link)

    def saved(self) -> list[Link]:
        """Return the links of all alerts that are not resolved, to continue from."""
        return [link for links in self._open.values() for link in links]

    def take(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Take records in the order of the stream and return them with their links."""
        return [self._taken(alert) for alert in alerts]

    def linked(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Return the last records of alerts that are not resolved, with their links."""
        known = {link.id: link.linked for link in self.saved()}
        return [replace(alert, linked=known[alert.id]) if known.get(alert.id) else alert for alert in alerts]

    def keep(self, ids: Collection[str]) -> None:
        """Drop the alerts with other ids, since they will have no further record."""
        kept = {asset: [link for link in links if link.id in ids] for asset, links in self._open.items()}
        self._open = {asset: links for asset, links in kept.items() if links}

    def _taken(self, alert: Alert) -> Alert:
        links = self._open.setdefault(alert.asset, [])
        link = next((each for each in links if each.id == alert.id), None)
        if link is None:
            others = [each for each in links if each.firing and each.detector != alert.detector]
            first = next((each for each in others if each.cause == alert.cause), next(iter(others), None))
            linked = "" if first is None else first.id
            link = Link(alert.asset, alert.id, alert.detector, linked, True, alert.cause)
            links.append(link)

        link.firing = alert.state == "firing"
        if alert.state == "resolved":
            links.remove(link)
            if not links:
                del self._open[alert.asset]
        return replace(alert, linked=link.linked) if link.linked else alert
