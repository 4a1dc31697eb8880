"""`SensorAlerts` against a plain twin that keeps all windows of an asset and derives the alerts from that list."""

import itertools
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.alerts.lifecycle import AlertOptions
from monitor.core.alerts.sensor_alerts import SensorAlerts
from monitor.core.records import Alert, Partition, ScoreBatch, WindowBatch
from monitor.core.sensors.checks import FAULTS
from monitor.core.sensors.clocks import FAULT as CLOCK
from monitor.core.sensors.clocks import Skew
from monitor.core.sensors.mask import SensorFaults

NAMES, CHANNELS = ("a", "b"), ("flow", "pressure")
NOTHING = 0

Published = tuple[str, str, str, str, int, int, int | None, int]


class Window(NamedTuple):
    """Faults found in a window: a number in FAULTS by channel, and whether the clock is wrong."""

    row: int
    end: int
    faults: tuple[int, int]
    clock: bool

    def fault(self, sensor: str) -> str:
        """Return the fault of a channel, or of the clock if `sensor` is empty. Empty if there is none."""
        if not sensor:
            return CLOCK if self.clock else ""
        return FAULTS[self.faults[CHANNELS.index(sensor)]] if self.faults[CHANNELS.index(sensor)] else ""


def naive(stream: list[Window], row: int, sensor: str, on: int, off: int) -> list[tuple[int, Published]]:
    """Return the records of one channel of one asset, each with its stream position."""
    own = [(place, window) for place, window in enumerate(stream) if window.row == row]
    records: list[tuple[int, Published]] = []
    begin = 0  # of the windows not yet processed
    while begin < len(own):
        opened = own[begin][1]
        fault = opened.fault(sensor)
        if not fault:
            begin += 1
            continue

        # Pending for as long as every window has a fault; the alert fires in the first one that is late enough.
        run = list(itertools.takewhile(lambda each: each[1].fault(sensor), own[begin:]))
        late = [at for at, (_, window) in enumerate(run) if window.end - opened.end >= on]
        if not late:
            begin += len(run)
            continue
        fired = begin + late[0]
        start = opened.end - 5
        place, window = own[fired]
        records.append((place, (NAMES[row], sensor, fault, "firing", start, window.end, None, 0)))

        # Firing until a window without a fault comes late enough after the last one with a fault.
        last, begin = window.end, len(own)
        for at, (place, window) in enumerate(own[fired + 1 :], fired + 1):
            if window.fault(sensor):
                last = window.end
            elif window.end - last >= off:
                records.append((place, (NAMES[row], sensor, fault, "resolved", start, window.end, last, 1)))
                begin = at + 1
                break
    return records


def feed(stage: SensorAlerts, part: list[Window]) -> list[Alert]:
    """Push one batch. A fault begins 5 ms before the window in which it was found."""
    fault = np.array([window.faults for window in part], np.int8).reshape(len(part), 2)
    ends = np.array([window.end for window in part], np.int64)
    rows = np.array([window.row for window in part], np.int32)
    cells = np.zeros((len(part), 2, 1), np.float32)
    windows = WindowBatch(rows, ends, cells, cells == 0, np.arange(len(part), dtype=np.int64))
    numbers = np.ones((len(part), 2), np.float32)
    scores = ScoreBatch(numbers[:, 0], numbers, numbers, numbers, numbers)
    found = SensorFaults(fault, 3 * numbers, 2 * numbers, ends[:, None] - 5 + 0 * fault) if fault.any() else None
    skews = {place: Skew(-90.0, -36.0, window.end - 5) for place, window in enumerate(part) if window.clock}
    return stage.update(windows, found, skews, scores, NAMES, CHANNELS, CHANNELS, "m")


def brief(alert: Alert) -> Published:
    """Return the record in the twin's form."""
    sensor = alert.channels[0].channel if alert.channels else ""
    return alert.asset, sensor, alert.fault, alert.state, alert.start, alert.time, alert.end, alert.sequence


@st.composite
def streams(draw: st.DrawFn) -> list[Window]:
    """Return windows of two assets, in runs of equal faults, with pauses in time."""
    kinds = st.sampled_from([NOTHING, NOTHING, 1, 2])
    runs = st.tuples(st.integers(0, 1), st.tuples(kinds, kinds), st.booleans(), st.integers(1, 6), st.integers(1, 3))
    end, stream = 0, []
    for row, faults, clock, length, pause in draw(st.lists(runs, max_size=25)):
        for _ in range(length):
            end += 1000 * pause
            stream.append(Window(row, end, faults, clock))
    return stream


DELAYS = st.sampled_from([0, 1000, 2000, 4000])
CUTS = st.lists(st.integers(1, 12), min_size=1, max_size=4)  # sizes of the batches, repeated


@settings(deadline=None)
@given(streams(), DELAYS, DELAYS, CUTS)
def test_records_match_the_twin(stream: list[Window], on: int, off: int, cuts: list[int]) -> None:
    """Records equal the twin's, in order, however the stream is cut, and with a save and load at every cut."""
    wanted = sorted(
        (place, record[3] == "firing", record[1], record)
        for row in (0, 1)
        for sensor in ("", *CHANNELS)
        for place, record in naive(stream, row, sensor, on, off)
    )
    options = AlertOptions(on_delay_ms=on, off_delay_ms=off, deadband=0.0, critical_ratio=1.0, update_ms=0, gap_ms=0)

    stage, found, begin = SensorAlerts("d", Partition("p", 0), options), [], 0
    for size in itertools.cycle(cuts):
        if begin >= len(stream):
            break
        found += feed(stage, stream[begin : begin + size])
        begin += size
        moved = SensorAlerts("d", Partition("p", 0), options)
        moved.load_state(stage.save_state())
        stage = moved

    assert [brief(alert) for alert in found] == [record for *_, record in wanted]
