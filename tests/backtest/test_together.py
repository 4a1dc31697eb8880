"""Figures of alerts of several detectors, against counts by hand."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.backtest.alerts import AlertHistory, first_alerts
from monitor.backtest.compare import compare
from monitor.backtest.figures import figures
from monitor.core.records import MACHINE, SILENCE, Alert
from monitor.evaluation.matching import AlertSpan

LAST = 60  # ms: the end of the recording


def history(number: int, asset: str, detector: str, *, begin: int, lasts: int | None, linked: str = "") -> AlertHistory:
    """Return an alert; without a length it fires to the end."""
    end = None if lasts is None else begin + lasts
    span = AlertSpan(str(number), asset, begin, end, None, MACHINE, detector)
    values = {each.name: None for each in dataclasses.fields(Alert)}
    first = Alert(**{**values, "linked": linked, "start": begin, "end": None})  # type: ignore[arg-type]
    return AlertHistory(span, first, dataclasses.replace(first, end=end))


@st.composite
def alerts(draw: st.DrawFn) -> list[AlertHistory]:
    """Return alerts of two assets and two detectors, each perhaps linked to an earlier one of its asset."""
    made: list[AlertHistory] = []
    for number in range(draw(st.integers(0, 6))):
        asset, detector = draw(st.sampled_from("ab")), draw(st.sampled_from(("fast", "slow")))
        before = [each.span.id for each in made if each.span.asset == asset and each.span.detector != detector]
        linked = draw(st.sampled_from(["", *before]))
        lasts = draw(st.one_of(st.none(), st.integers(0, 30)))
        begin = draw(st.integers(0, LAST - 1))
        made.append(history(number, asset, detector, begin=begin, lasts=lasts, linked=linked))
    return made


@given(alerts())
def test_linked_alerts_are_one_and_time_counts_once(made: list[AlertHistory]) -> None:
    """Alerts count as the connected parts of their links, and a millisecond of an asset counts once."""
    together = figures(made, None, 1.0, LAST)
    parts = {each.span.id: {each.span.id} for each in made}
    for each in made:
        if each.first.linked:
            joined = parts[each.span.id] | parts[each.first.linked]
            parts |= dict.fromkeys(joined, joined)
    assert together.alerts == len({frozenset(part) for part in parts.values()})

    firing = {asset: np.zeros(2 * LAST, np.bool_) for asset in "ab"}
    for each in made:
        end = max(LAST, each.span.start) if each.span.end is None else each.span.end
        firing[each.span.asset][each.span.start : end] = True
    assert together.alarm_ms == sum(int(on.sum()) for on in firing.values())


def test_an_alert_of_one_detector_ends_no_chain_of_another() -> None:
    """Among the alerts of one detector, those that point to the same alert of another one stay two."""
    slow = [history(n, "a", "slow", begin=10 * n, lasts=5, linked="0") for n in (1, 2)]
    assert first_alerts(slow) == {"1": "1", "2": "2"}
    assert first_alerts([history(0, "a", "fast", begin=0, lasts=40), *slow]) == {"0": "0", "1": "0", "2": "0"}


def test_silence_is_counted_apart() -> None:
    """An alert of silence is none of a machine, and its time is no time in alarm."""
    one = history(0, "a", "fast", begin=0, lasts=5)
    silent = dataclasses.replace(one, span=dataclasses.replace(one.span, id="1", cause=SILENCE, end=50))
    found = figures([one, silent], None, 1.0, LAST)
    assert (found.alerts, found.silences, found.alarm_ms) == (1, 1, 5)


def test_alerts_are_compared_within_their_detector() -> None:
    """Detectors that both sides have are compared by name, others whatever their name."""
    here = [history(0, "a", "slow", begin=0, lasts=9)]
    there = [history(1, "a", "fast", begin=1, lasts=9), history(2, "a", "slow", begin=2, lasts=9)]
    kinds = [(pair.kind, pair.either.span.id) for pair in compare(here, there, {"slow", "fast"})]
    assert kinds == [("earlier", "0"), ("lost", "1")]
    renamed = [pair.kind for pair in compare(here, [history(1, "a", "new", begin=0, lasts=9)], set())]
    assert renamed == ["same"]
    assert [pair.kind for pair in compare(here, there[:1], {"fast"})] == ["gained", "lost"]
