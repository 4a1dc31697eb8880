"""`SilenceAlerts` against a plain twin that takes one reading at a time and keeps every pause of each asset."""

import itertools
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.alerts import silence_alerts
from monitor.core.alerts.silence_alerts import SilenceAlerts
from monitor.core.records import Alert, Partition
from monitor.core.windows.heard import Heard

NAMES = ("a", "b", "c")
LEAST, EPOCH = 8000, 60_000  # ms; an epoch of a minute, so that streams of this test have several

Published = tuple[str, str, str, int, int | None, int, int, float, float]


class Reading(NamedTuple):
    """A reading of an asset, -1 = of an asset without a row."""

    row: int
    time: int


@dataclass
class Naive:
    """One asset: what is known of it, reading by reading."""

    newest: int | None = None
    heard: int = 0
    heard_at: int = 0
    echo: int = 0
    parts: set[int] = field(default_factory=set)
    pauses: list[tuple[int, int]] = field(default_factory=list)  # going time at the end, length
    alert: tuple[str, float] | None = None  # fault and delay in seconds
    planned: bool = False

    def delay(self, going: int) -> int:
        """Return the delay at `going`."""
        epoch = going // EPOCH
        kept = sorted(length for end, length in self.pauses if end // EPOCH in (epoch - 1, epoch))
        return max(LEAST, kept[-3] * 3 // 2) if len(kept) >= 3 else LEAST


def naive(stream: list[Reading], off: set[int], judged: list[bool]) -> list[Published]:
    """Return the records of a stream, in order. The silence of rows `off` is expected, and none begins at `judged`."""
    assets, records = [Naive() for _ in NAMES], []
    going, clock = 0, None
    for offset, reading in enumerate(stream):
        moved = max(0, reading.time - clock) if clock is not None else 0
        going, clock = going + min(moved, LEAST // 4), reading.time if clock is None else max(clock, reading.time)
        now: list[tuple[int, Published]] = []
        for row, asset in enumerate(assets):
            own = reading.row == row
            news = own and (asset.newest is None or reading.time > asset.newest)
            due = not judged[offset] and asset.newest is not None and going >= asset.heard + asset.delay(going)
            if due and not news and len(asset.parts) >= 4 and asset.alert is None and not asset.planned:
                if row in off:
                    asset.planned = True
                else:
                    delay = asset.delay(going)
                    fault = "stale" if 2 * (asset.echo - asset.heard) > delay else "absent"
                    asset.alert = fault, delay / 1000
                    silent = (clock - asset.heard_at) / 1000
                    record = (NAMES[row], fault, "firing", asset.heard_at, None, clock, offset, silent, delay / 1000)
                    now.append((row, record))
            if news:
                if asset.alert is not None:
                    silent = (clock - asset.heard_at) / 1000
                    times = asset.heard_at, clock, clock
                    now.append((row, (NAMES[row], asset.alert[0], "resolved", *times, offset, silent, asset.alert[1])))
                if asset.newest is not None and (going - asset.heard) * 3 > LEAST * 2:
                    asset.pauses.append((going, going - asset.heard))
                asset.newest, asset.heard, asset.heard_at, asset.alert = reading.time, going, clock, None
                asset.planned = False
                asset.parts.add(going // (LEAST // 8))
            if own:
                asset.echo = going
        records += [record for _, record in sorted(now)]
    return records


def heard(part: list[Reading], begin: int) -> Heard:
    """Return a batch; each reading is a message."""
    times = np.array([reading.time for reading in part], np.int64)
    rows = np.array([reading.row for reading in part], np.int64)
    own = np.flatnonzero(rows >= 0)
    return Heard(rows[own], times[own], own, times, np.arange(begin, begin + len(part), dtype=np.int64))


def brief(alert: Alert) -> Published:
    """Return the record in the twin's form."""
    assert (alert.cause, alert.channels) == ("silence", ())
    times = alert.start, alert.end, alert.time
    return alert.asset, alert.fault, str(alert.state), *times, alert.position, alert.alarm, alert.threshold


@st.composite
def streams(draw: st.DrawFn) -> list[Reading]:
    """Return readings of three assets that fall silent, repeat old times, jump ahead, and pause all together."""
    phases = st.tuples(
        st.lists(st.integers(-1, 2), min_size=1, max_size=4),  # who sends, in turn
        st.integers(1, 12),  # rounds
        st.sampled_from([0, 1, 300, 1000, 1000, 2500, 9000]),  # ms between two rounds
        st.sampled_from([0, 0, 0, -700, -20_000, 20_000]),  # of the first one's times against the others
        st.sampled_from([(), (), (0,), (1, 2)]),  # whose times stand still
    )
    now, stream, last = 0, [], dict.fromkeys(range(-1, 3), 0)
    for senders, rounds, pace, skew, stuck in draw(st.lists(phases, min_size=2, max_size=20)):
        for _ in range(rounds):
            now += pace
            for place, row in enumerate(senders):
                if row not in stuck:
                    last[row] = now + (skew if place == 0 else 0)
                stream.append(Reading(row, last[row]))
    return stream


CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=4)  # sizes of the batches, repeated


@settings(deadline=None, max_examples=60)
@given(streams(), CUTS, st.sets(st.integers(0, 2), max_size=1), st.lists(st.integers(0, 30), max_size=6))
def test_records_match_the_twin(stream: list[Reading], cuts: list[int], off: set[int], turns: list[int]) -> None:
    """Records equal the twin's, however the stream is cut, with a save and load at every cut."""
    # Stretches of these lengths are free, and judged by alerts of not running, in turn.
    lengths = [*turns, len(stream)]
    judged = [place % 2 == 1 for place, length in enumerate(lengths) for _ in range(length)]
    with mock.patch.object(silence_alerts, "EPOCH_MS", EPOCH):
        stage, found, begin = SilenceAlerts("d", Partition("p", 0), LEAST), [], 0
        for size in itertools.cycle(cuts):
            if begin >= len(stream):
                break
            part = stream[begin : begin + size]
            own = np.array(judged[begin : begin + len(part)], np.bool_)
            found += stage.update(replace(heard(part, begin), judged=own), NAMES, "m", lambda row, _: row in off)
            begin += size
            moved = SilenceAlerts("d", Partition("p", 0), LEAST)
            moved.load_state(stage.save_state())
            stage = moved
    assert [brief(alert) for alert in found] == naive(stream, off, judged)
