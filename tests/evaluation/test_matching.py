"""Matching of alerts with labels, by hand and against a twin that looks at every millisecond."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.publish import alert_record
from monitor.core.records import Alert, AlertState, ChannelShare, Partition
from monitor.evaluation.label import Label
from monitor.evaluation.matching import AlertSpan, KindRow, LabelRow, alert_spans, match


def fault(start: int, end: int, asset: str = "a", kind: str = "step") -> Label:
    return Label(asset, kind, ("flow",), start, end)


def span(start: int, end: int | None, asset: str = "a", channel: str | None = "flow", name: str = "x") -> AlertSpan:
    return AlertSpan(name, asset, start, end, channel)


def body(name: str, state: AlertState, time: int, sequence: int, *channels: str) -> bytes:
    """The value of an alert's record as it is published."""
    shares = tuple(ChannelShare(channel, 0.5, 1.0, 0.0, -1.0, 1.0, 0) for channel in channels)
    alert = Alert(
        id=name,
        asset="a",
        state=state,
        start=time - 7,
        end=None if state == "firing" else time - 5,
        time=time,
        severity="warning",
        alarm=2.0,
        threshold=1.0,
        ratio=2.0,
        peak=2.0,
        channels=shares,
        model="m",
        detector="d",
        partition=Partition("readings", 0),
        offset=3,
        position=4,
        sequence=sequence,
    )
    value = alert_record("alerts", alert).value
    assert value is not None
    return value


def test_an_alert_within_the_fault_finds_it() -> None:
    """A fault is found by the first alert to fire in it; the delay runs from the fault's start."""
    outcome = match([span(130, 140, name="late"), span(120, 125, channel="power", name="soon")], [fault(100, 150)], 0)
    assert outcome.rows == (LabelRow(fault(100, 150), "soon", 20, already=False, named=False, cause="machine"),)
    assert outcome.rows[0].found
    assert outcome.false == ()


@pytest.mark.parametrize(("kind", "found"), [("silence", "still"), ("silent", "still"), ("step", None), ("", None)])
def test_silence_finds_its_own_labels_and_is_never_false(kind: str, found: str | None) -> None:
    """An alert of silence neither finds a fault of the machine nor is a false alarm of it; it is listed apart."""
    still = replace(span(120, None, name="still"), cause="silence", channel=None)
    outcome = match([still, span(900, 910, name="wrong")], [fault(100, 150, kind=kind)], 0)
    assert outcome.rows[0].alert == found
    assert [alert.id for alert in outcome.false] == ["wrong"]
    assert [alert.id for alert in outcome.silent] == ([] if found else ["still"])


@pytest.mark.parametrize(("start", "found"), [(150, True), (160, True), (161, False)])
def test_the_grace_follows_the_end(start: int, found: bool) -> None:
    """An alert counts up to and including `grace` after the end of a fault, and is false from then on."""
    outcome = match([span(start, start + 1)], [fault(100, 150)], 10)
    assert outcome.rows[0].found is found
    assert bool(outcome.false) is not found


def test_an_alert_before_the_fault_is_false() -> None:
    """There is no grace before the start: an alert resolved by then is false."""
    assert match([span(10, 99)], [fault(100, 150)], 1000).false == (span(10, 99),)
    assert match([span(10, 100)], [fault(100, 150)], 0).false == ()


def test_an_alert_left_open_is_marked() -> None:
    """An alert that was firing before a fault began finds it at once, and the row says that it already was."""
    outcome = match([span(10, None)], [fault(100, 150), fault(300, 400)], 0)
    assert [(row.delay_ms, row.already) for row in outcome.rows] == [(0, True), (0, True)]


def test_assets_are_apart() -> None:
    """An alert neither finds nor is excused by a fault of another asset."""
    outcome = match([span(120, 130, "b")], [fault(100, 150, "a")], 0)
    assert not outcome.rows[0].found
    assert outcome.false_by_asset() == {"b": 1}


def test_kinds_are_counted() -> None:
    """Per kind: faults, found, already firing, named by the right channel, and the median delay of those found."""
    faults = [fault(100, 110), fault(200, 210), fault(300, 310, kind="noise"), fault(400, 410)]
    alerts = [span(101, 102), span(205, 206, channel=None), span(405, 500, channel="power")]
    kinds = match(alerts, faults, 0).by_kind()
    assert kinds == {"step": KindRow(3, 3, 0, 1, 5), "noise": KindRow(1, 0, 0, 0, None)}


def test_spans_come_from_published_records() -> None:
    """A span runs from the earliest firing record to the resolution, with the top channel at firing."""
    bodies = [
        body("two", "firing", 50, 0),
        body("one", "resolved", 90, 2, "speed"),
        body("one", "firing", 60, 1, "power", "flow"),
        body("one", "firing", 40, 0, "flow", "power"),
        body("one", "firing", 40, 0, "flow", "power"),
        body("one", "resolved", 90, 2, "speed"),
    ]
    expected = [span(40, 90, channel="flow", name="one"), span(50, None, channel=None, name="two")]
    assert alert_spans(bodies) == [replace(each, detector="d") for each in expected]


def test_a_lost_firing_record_is_an_error() -> None:
    """A resolution without a firing record means that records are missing, so no evaluation would be right."""
    with pytest.raises(ValueError, match="no firing record of alert one"):
        alert_spans([body("one", "resolved", 90, 1)])


@pytest.mark.parametrize("value", [b"{", b'{"id":"x","asset":"a","state":"firing","time":"soon","channels":[]}'])
def test_a_body_that_is_no_alert_is_an_error(value: bytes) -> None:
    """A value that cannot be read as an alert is refused, not skipped."""
    with pytest.raises(ValueError, match=r"value: found .* expected a JSON object|time: found str, expected int"):
        alert_spans([value])


TIMES = st.integers(0, 30)
ALERTS = st.lists(st.tuples(TIMES, st.none() | st.integers(0, 12), st.sampled_from("ab")), max_size=6)
FAULTS = st.lists(st.tuples(TIMES, st.integers(1, 12), st.sampled_from("ab")), max_size=4)


@given(alerts=ALERTS, faults=FAULTS, grace=st.integers(0, 4))
def test_matching_equals_a_look_at_every_millisecond(
    alerts: list[tuple[int, int | None, str]], faults: list[tuple[int, int, str]], grace: int
) -> None:
    """Found, delay, alert and false alerts are those of a twin that lists the firing alerts of every millisecond."""
    given_alerts = [
        span(start, None if length is None else start + length, asset, name=str(number))
        for number, (start, length, asset) in enumerate(alerts)
    ]
    given_faults = [fault(start, start + length, asset) for start, length, asset in faults]
    found = match(given_alerts, given_faults, grace)
    excused: set[str] = set()
    for row in found.rows:
        first: tuple[str | None, int | None] = (None, None)
        for now in range(row.label.start, row.label.end + grace + 1):
            firing = [
                alert.id
                for alert in given_alerts
                if alert.asset == row.label.asset and alert.start <= now and (alert.end is None or now <= alert.end)
            ]
            if firing and first[0] is None:
                first = (firing[0], now - row.label.start)
            excused |= set(firing)
        assert (row.alert, row.delay_ms) == first
    assert [alert.id for alert in found.false] == [alert.id for alert in given_alerts if alert.id not in excused]
