"""`ModeAlerts` against a plain twin that keeps all windows of an asset and derives the alerts from that list."""

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.alerts.lifecycle import AlertOptions
from monitor.core.alerts.mode_alerts import ModeAlerts
from monitor.core.model.model import Model
from monitor.core.model.modes import Modes
from monitor.core.records import Alert, ModeBatch, Partition, ScoreBatch, WindowBatch
from tests.core.machines import CHANNELS, model

NAMES = ("a", "b")
KNOWN = 1.0
NEVER = -1
LENGTH = 3  # of a window, steps; a step is 1 ms

Stream = list[tuple[int, int, float]]  # row, end, newest value: KNOWN, or a new one; NaN = unlike all modes
Published = tuple[str, str, str, int, int | None, int]  # asset, mode, state, time, end, sequence


def with_channel(channel: str) -> Model:
    """A model whose modes come from the channel, or are learned."""
    none = np.zeros((1, 0 if channel else 3), np.float32)
    usual = np.ones((2, 3), np.float32)
    whiten = np.zeros((1, none.shape[1], none.shape[1]), np.float32)
    return replace(model(), modes=Modes(channel, np.ones(1), none, whiten, np.ones(1, np.float32), usual, usual))


def naive(stream: Stream, row: int, new: float, on: int, off: int) -> list[tuple[int, Published]]:
    """Return the records of one new mode of one asset, each with its stream position."""
    unlike = np.isnan(new)
    own = [
        (place, end, bool(np.isnan(value)) if unlike else value == new)
        for place, (r, end, value) in enumerate(stream)
        if r == row
    ]
    name, begin = "" if unlike else f"{new:g}", 0
    records: list[tuple[int, Published]] = []
    while begin < len(own):
        if not own[begin][2]:
            begin += 1
            continue
        run = list(itertools.takewhile(lambda each: each[2], own[begin:]))
        late = [at for at, each in enumerate(run) if each[1] - run[0][1] >= on]
        if not late:
            begin += len(run)
            continue
        place, end, _ = own[begin + late[0]]
        records.append((place, (NAMES[row], name, "firing", end, None, 0)))

        # The end: known for `off`, counted from the first known window or, if unlike, from a window length later on.
        last, quiet, begin = end, NEVER, begin + late[0] + 1
        while begin < len(own):
            place, end, active = own[begin]
            begin += 1
            over = not active and (not unlike or end - last >= LENGTH)
            last = end if active else last
            quiet = (end if quiet == NEVER else quiet) if over else NEVER
            if quiet != NEVER and end - quiet >= off:
                records.append((place, (NAMES[row], name, "resolved", end, last, 1)))
                break
    return records


def feed(stage: ModeAlerts, part: Stream, made: Model) -> list[Alert]:
    """Give one batch to the stage."""
    value = np.array([each[2] for each in part], np.float32)
    new = value != KNOWN
    ends = np.array([each[1] for each in part], np.int64)
    nothing = np.zeros((len(part), len(CHANNELS), 1), np.float32)
    columns = np.array([each[0] for each in part], np.int32), ends, nothing, nothing == 0, ends
    modes = ModeBatch(np.where(new, -1, 0).astype(np.int32), value, new)
    shown = nothing[:, :, 0]
    scores = ScoreBatch(nothing[:, 0, 0], shown, shown, shown, shown, modes)
    return stage.update(WindowBatch(*columns), scores, NAMES, made)


@st.composite
def streams(draw: st.DrawFn, kinds: tuple[float, ...]) -> Stream:
    steps = draw(st.integers(1, 25))
    return [(row, end, draw(st.sampled_from((KNOWN, *kinds)))) for end in range(1, steps + 1) for row in (0, 1)]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 2), st.integers(0, 3))
def test_alerts_are_those_of_the_twin_in_any_batches_and_over_a_restart(
    data: st.DataObject, learned: bool, on: int, off: int
) -> None:
    """One alert for each asset and new mode, the same however windows are cut and wherever the state is reloaded."""
    kinds = (np.nan,) if learned else (7.0, 8.0)
    made = with_channel("" if learned else CHANNELS[0])
    stream = data.draw(streams(kinds))

    def stage() -> ModeAlerts:
        delays = {"on_delay_ms": on, "off_delay_ms": off, "gap_ms": 1000, "update_ms": 1000}
        return ModeAlerts(
            "d", Partition("t", 0), AlertOptions(**delays, deadband=0.1, critical_ratio=2), window_ms=LENGTH
        )

    running = stage()
    found: list[tuple[Stream, list[Alert]]] = []
    while stream_left := stream[sum(len(part) for part, _ in found) :]:
        part = stream_left[: data.draw(st.integers(1, 9))]
        found.append((part, feed(running, part, made)))
        if data.draw(st.booleans()):
            again = stage()
            again.load_state(running.save_state())
            running = again

    expected = sorted(each for row in (0, 1) for new in kinds for each in naive(stream, row, new, on, off))
    alerts = [alert for _, part in found for alert in part]
    records = [(each.asset, each.mode, each.state, each.time, each.end, each.sequence) for each in alerts]
    assert sorted(records, key=str) == sorted((each for _, each in expected), key=str)
    assert len({(each.id, each.sequence) for each in alerts}) == len(alerts)


def test_a_forgotten_row_has_no_alert() -> None:
    """After a row went to another asset, nothing of its pending alert is left."""
    made = with_channel(CHANNELS[0])
    options = AlertOptions(5, 5, 0.1, 2.0, 1000, 1000)
    stage = ModeAlerts("d", Partition("t", 0), options, window_ms=LENGTH)
    feed(stage, [(0, 1, 7.0)], made)
    assert stage.states() == {0: "pending"}
    stage.forget(0)
    assert stage.states() == {}
