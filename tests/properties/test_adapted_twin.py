"""Adapted alerts of `MachineAlerts` against a plain twin that keeps all windows of an asset, with limits that move."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.records import Alert
from tests.core.alerts.test_adapted import Judged, feed
from tests.core.alerts.test_machine_alerts import NAMES, alerting
from tests.examples import examples
from tests.properties.test_machine_alerts_twin import CUTS

DEADBAND = 0.25
Published = tuple[str, str, int, int]  # asset, state, start and time in s


@dataclass
class NaiveAlert:
    """The windows (end in s, score, limit) of an asset since the one that opened an alert."""

    windows: list[tuple[int, float, float]]
    limit: float = 0.0  # at firing; 0 = pending
    since: int = 0  # windows before this place do not count as back


@dataclass
class NaiveAlerts:
    """Twin of `MachineAlerts` for on delay and off delay in s, without updates and gaps."""

    on: int
    off: int
    current: dict[int, NaiveAlert] = field(default_factory=dict)
    adapted: dict[int, NaiveAlert] = field(default_factory=dict)

    def push(self, row: int, end: int, score: float, limit: float) -> list[Published]:
        """Take one window and return its records."""
        window = end, score, limit
        return [*self._settled(row, window), *self._moved(row, window)]

    def _settled(self, row: int, window: tuple[int, float, float]) -> list[Published]:
        """Take a window for the adapted alert of an asset."""
        old = self.adapted.get(row)
        if old is None:
            return []
        old.windows.append(window)
        return [self._record(row, self.adapted.pop(row), "resolved")] if self._lasting(old) else []

    def _moved(self, row: int, window: tuple[int, float, float]) -> list[Published]:
        """Take a window for the pending or firing alert of an asset."""
        end, score, limit = window
        found: list[Published] = []
        if row not in self.current:
            if score <= limit:
                return found
            self.current[row] = NaiveAlert([])
        alert = self.current[row]
        alert.windows.append(window)
        if not alert.limit:
            if score <= limit:
                del self.current[row]
            elif end - alert.windows[0][0] >= self.on:
                alert.limit, alert.since = limit, len(alert.windows)
                found.append(self._record(row, alert, "firing"))
            return found

        quiet = list(itertools.takewhile(_is_quiet, reversed(alert.windows)))
        if not quiet or end - quiet[-1][0] < self.off:
            return found
        del self.current[row]
        if sum(_is_back(window, alert.limit) for window in quiet) >= len(quiet) / 2:
            return [*found, self._record(row, alert, "resolved")]
        found.append(self._record(row, alert, "adapted"))
        older = self.adapted.get(row)
        self.adapted[row] = alert
        alert.since = len(alert.windows)
        if older is not None:
            alert.limit = min(alert.limit, older.limit)
            found.append(self._record(row, older, "resolved"))
        return found

    def _lasting(self, alert: NaiveAlert) -> bool:
        """Whether the newest windows of an adapted alert have been back for the off delay."""
        newest = reversed(alert.windows[alert.since :])
        back = list(itertools.takewhile(lambda window: _is_back(window, alert.limit), newest))
        return bool(back) and back[0][0] - back[-1][0] >= self.off

    def _record(self, row: int, alert: NaiveAlert, state: str) -> Published:
        return NAMES[row], state, alert.windows[0][0], alert.windows[-1][0]


def _is_quiet(window: tuple[int, float, float]) -> bool:
    return window[1] / window[2] < 1 - DEADBAND


def _is_back(window: tuple[int, float, float], limit: float) -> bool:
    return window[1] / limit < 1 - DEADBAND


def published(alerts: list[Alert]) -> list[Published]:
    """Return records in the twin's form."""
    return [(alert.asset, alert.state, alert.start // 1000, alert.time // 1000) for alert in alerts]


@st.composite
def streams(draw: st.DrawFn) -> list[Judged]:
    """Return windows of two assets in runs of equal score and limit, as where a limit follows a shift."""
    levels = st.sampled_from([0.5, 0.75, 1.0, 2.0, 4.0, 8.0])
    runs = st.tuples(st.integers(0, 1), levels, levels, st.integers(1, 4))
    ends, lanes = [0, 0], list[Judged]()
    for row, score, limit, length in draw(st.lists(runs, max_size=40)):
        for _ in range(length):
            ends[row] += 1
            lanes.append((row, ends[row], score, limit))
    return sorted(lanes, key=lambda window: (window[1], window[0]))


@settings(max_examples=examples(300), deadline=None)
@given(st.sampled_from([0, 2]), st.sampled_from([0, 2]), streams(), CUTS)
def test_adapted_alerts_match_the_twin(on: int, off: int, stream: list[Judged], cuts: list[int]) -> None:
    """Records equal the twin's, saved and loaded at every cut, and an asset has at most one adapted alert."""
    options: dict[str, Any] = {"on_delay_ms": 1000 * on, "off_delay_ms": 1000 * off, "critical_ratio": 1000.0}
    options |= {"update_ms": 10**9, "deadband": DEADBAND}
    twin, stage, found = NaiveAlerts(on, off), alerting(**options), list[Alert]()
    wanted = [record for window in stream for record in twin.push(*window)]
    places = itertools.takewhile(lambda place: place < len(stream), itertools.accumulate(itertools.cycle(cuts)))
    for begin, end in itertools.pairwise([0, *places, len(stream)]):
        found += feed(stage, stream[begin:end])
        moved = alerting(**options)
        moved.load_state(stage.save_state())
        stage = moved
    assert published(found) == wanted
    states = stage.states()
    assert {row for row, state in states.items() if state == "adapted"} == twin.adapted.keys() - twin.current.keys()
    open_alerts = [alert.asset for alert in stage.open_alerts() if alert.state == "adapted"]
    assert open_alerts == [NAMES[row] for row in sorted(twin.adapted)]
