"""Compares the alerts of two replays of one recording.

Alerts of detectors with the same name are compared with each other. A detector whose name the other side lacks is
compared with all of those there whose name is not here: the names may be all that differs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from monitor.backtest.alerts import AlertHistory


@dataclass(frozen=True, slots=True)
class Pair:
    """An alert of one replay and its counterpart in the other; at least one of them is present."""

    here: AlertHistory | None
    there: AlertHistory | None

    @property
    def either(self) -> AlertHistory:
        """Return the alert here, otherwise the alert there."""
        found = self.here or self.there
        assert found is not None, "one of them is present"
        return found

    @property
    def shift_ms(self) -> int | None:
        """Return how much later the alert fires here; negative = earlier; None if only one side has the alert."""
        if self.here is None or self.there is None:
            return None
        return self.here.span.start - self.there.span.start

    @property
    def kind(self) -> str:
        """Return gained (only here), lost (only there), earlier, later or same (by the time of firing here)."""
        if self.here is None:
            return "lost"
        if self.shift_ms is None:
            return "gained"
        if self.shift_ms == 0:
            return "same"
        return "earlier" if self.shift_ms < 0 else "later"


def compare(here: Sequence[AlertHistory], there: Sequence[AlertHistory], shared: Collection[str]) -> list[Pair]:
    """Pair alerts of an asset that fired at the same time; each alert is used once, the rest stand alone.

    `shared` are the names of detectors that both sides have.
    """
    left = list(there)
    pairs = []

    for each in here:
        partner = next((other for other in left if _comparable(each, other, shared)), None)
        if partner is not None:
            left.remove(partner)
        pairs.append(Pair(each, partner))

    pairs += [Pair(None, other) for other in left]
    return sorted(pairs, key=lambda pair: (pair.either.span.start, pair.either.span.asset))


def _comparable(one: AlertHistory, two: AlertHistory, shared: Collection[str]) -> bool:
    far = 2**62
    apart = (one.end or far) < two.begin or (two.end or far) < one.begin
    detectors = {one.span.detector, two.span.detector}
    return one.span.asset == two.span.asset and not apart and (len(detectors) == 1 or detectors.isdisjoint(shared))
