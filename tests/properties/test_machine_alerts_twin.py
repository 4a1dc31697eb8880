"""`MachineAlerts` against a plain twin that keeps all windows of an asset and derives the state from that list."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.records import Alert
from tests.core.alerts.test_machine_alerts import NAMES, Row, alerting, feed
from tests.examples import examples

Published = tuple[str, str, int, int, int | None, str, float, float, str]


@dataclass
class NaiveAlert:
    """The windows (end in s, ratio) of an asset since an anomalous one in the state normal."""

    windows: list[tuple[int, float]]
    published: list[Published] = field(default_factory=list)


class NaiveMachineAlerts:
    """Twin of `MachineAlerts` with the same settings and meaning, one window at a time."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.on, self.off, self.update_s = (
            options[name] / 1000 for name in ("on_delay_ms", "off_delay_ms", "update_ms")
        )
        self.gap = options["gap_ms"] / 1000
        self.deadband, self.critical = options["deadband"], options["critical_ratio"]
        self.running: dict[int, NaiveAlert] = {}

    def push(self, row: int, end: int, ratio: float) -> list[Published]:
        """Take one window and return its records."""
        before = self.running.get(row)
        if before is not None and not before.published and end - before.windows[-1][0] > self.gap:
            del self.running[row]
        if row not in self.running:
            if ratio <= 1:
                return []
            self.running[row] = NaiveAlert([])
        alert = self.running[row]
        alert.windows.append((end, ratio))
        if not alert.published:
            if ratio <= 1:
                del self.running[row]
            elif end - alert.windows[0][0] >= self.on:
                alert.published.append(self.record(row, alert, "firing"))
                return alert.published
            return []
        quiet = list(itertools.takewhile(lambda window: window[1] < 1 - self.deadband, reversed(alert.windows)))
        if quiet and end - quiet[-1][0] >= self.off:
            del self.running[row]
            return [self.record(row, alert, "resolved")]
        record = self.record(row, alert, "firing")
        last = alert.published[-1]
        grown = record[6] >= 1.5 * last[6] and end - last[3] >= self.update_s
        if ratio > 1 and (record[5] != last[5] or grown):
            alert.published.append(record)
            return [record]
        return []

    def record(self, row: int, alert: NaiveAlert, state: str) -> Published:
        """Return the record after the newest window."""
        end, ratio = alert.windows[-1]
        peak = max(ratio for _, ratio in alert.windows)
        severity = "critical" if peak >= self.critical else "warning"
        closed = max(end for end, ratio in alert.windows if ratio > 1) if state == "resolved" else None
        channel = f"{NAMES[row]}@{end}" if state == "firing" else alert.published[-1][8]
        return NAMES[row], state, alert.windows[0][0], end, closed, severity, peak, ratio, channel


def published(alerts: list[Alert]) -> list[Published]:
    """Return records in the twin's form. The sequence follows from their order."""
    return [
        (
            alert.asset,
            alert.state,
            alert.start // 1000,
            alert.time // 1000,
            None if alert.end is None else alert.end // 1000,
            alert.severity,
            alert.peak,
            alert.ratio,
            alert.channels[0].channel,
        )
        for alert in alerts
    ]


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    """Return windows of up to four assets, in runs of similar ratios as in faults, with gaps in time."""
    ratios = st.sampled_from([0.25, 0.5, 0.75, 0.875, 1.0, 1.125, 1.5, 2.0, 3.0, 4.0, 8.0])
    runs = st.tuples(st.integers(0, 3), ratios, st.integers(1, 5), st.sampled_from([1, 1, 1, 2, 30]))
    ends = [0, 0, 0, 0]
    lanes: list[list[Row]] = [[], [], [], []]
    for row, ratio, length, pause in draw(st.lists(runs, max_size=40)):
        for _ in range(length):
            ends[row] += pause
            lanes[row].append((row, ends[row], ratio))
    return sorted(itertools.chain(*lanes), key=lambda window: (window[1], window[0]))


OPTIONS = st.fixed_dictionaries(
    {
        "on_delay_ms": st.sampled_from([0, 1000, 3000]),
        "off_delay_ms": st.sampled_from([0, 2000, 4000]),
        "deadband": st.sampled_from([0.0, 0.2, 0.5]),
        "critical_ratio": st.sampled_from([1.0, 2.0, 3.5, 100.0]),
        "update_ms": st.sampled_from([0, 2000, 6000]),
        "gap_ms": st.sampled_from([0, 1000, 2000, 60_000]),
    }
)
CUTS = st.lists(st.sampled_from([1, 2, 3, 7, 20, 500]), min_size=1, max_size=4)  # sizes of the batches, repeated


def batches(stream: list[Row], cuts: list[int]) -> list[list[Row]]:
    """Return the stream in batches."""
    places = itertools.takewhile(lambda place: place < len(stream), itertools.accumulate(itertools.cycle(cuts)))
    return [stream[begin:end] for begin, end in itertools.pairwise([0, *places, len(stream)])]


@settings(max_examples=examples(400), deadline=None)
@given(OPTIONS, streams(), CUTS)
def test_alerts_match_the_twin(options: dict[str, Any], stream: list[Row], cuts: list[int]) -> None:
    """Records equal the twin's, in order, however the stream is cut, and are numbered under one id per alert."""
    twin, stage = NaiveMachineAlerts(options), alerting(**options)
    wanted = [record for window in stream for record in twin.push(*window)]
    found = [alert for part in batches(stream, cuts) for alert in feed(stage, part)]
    assert published(found) == wanted
    for _, alerts in itertools.groupby(sorted(found, key=lambda a: (a.id, a.sequence)), key=lambda a: a.id):
        records = list(alerts)
        assert [record.sequence for record in records] == list(range(len(records)))
        assert len({(record.asset, record.start, record.offset) for record in records}) == 1
    running = {row: "firing" if alert.published else "pending" for row, alert in twin.running.items()}
    assert stage.states() == running
    last = [twin.running[row].published[-1] for row in sorted(twin.running) if twin.running[row].published]
    assert published(stage.open_alerts()) == last


@settings(max_examples=examples(200), deadline=None)
@given(OPTIONS, streams(), CUTS)
def test_state_does_not_depend_on_cuts_or_on_moving(
    options: dict[str, Any], stream: list[Row], cuts: list[int]
) -> None:
    """A stage saved and loaded at every cut ends with the same state, bit by bit, as one that saw a single batch."""
    whole, moving = alerting(**options), alerting(**options)
    wanted, found = feed(whole, stream), []
    for part in batches(stream, cuts):
        found += feed(moving, part)
        loaded = alerting(**options)
        loaded.load_state(moving.save_state())
        moving = loaded
    assert found == wanted
    assert moving.save_state()["alerts"].tobytes() == whole.save_state()["alerts"].tobytes()
