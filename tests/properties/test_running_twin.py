"""Twins of the stages that know whether machines run: a naive twin decides step by step, reading by reading."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.arrays import NEVER
from monitor.core.records import Count, Partition, ReadingBatch
from monitor.core.running.condition import parse
from monitor.core.running.not_running import NotRunningAlerts, NotRunningOptions
from monitor.core.running.running import Running, RunningOptions
from monitor.core.running.shifts import calendar
from monitor.core.windows.options import WindowOptions
from monitor.core.windows.windows import ClosedSteps, Windows
from tests.examples import examples

STEP = 60_000
GAP = 3  # empty steps
ZERO = 1_772_409_600_000  # Monday 2026-03-02, 0:00 UTC
CONDITION = "speed > 50 or force > 5"
PARTITION = Partition("readings", 0)
Move = tuple[int, int, float | None, float | None]  # asset, minutes that pass before, speed, force; None = not sent
MOVES = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from([0, 0, 0, 1, 1, 2, 7]),
        st.sampled_from([None, 0.0, 60.0]),
        st.sampled_from([None, 0.0, 0.0, 9.0]),
    ),
    max_size=80,
)
CUTS = st.lists(st.integers(0, 250), max_size=6)


def stream(moves: list[Move]) -> ReadingBatch:
    """Return the readings: in each message flow, then speed and force where they are sent."""
    rows, minute = [], 0
    for offset, (asset, passed, speed, force) in enumerate(moves):
        minute += passed
        named = [("flow", 1.0), ("speed", speed), ("force", force)]
        rows += [(asset, name, minute * STEP, value, offset) for name, value in named if value is not None]
    channels = ("flow", "speed", "force")
    return ReadingBatch(
        tuple("abcde"),
        channels,
        np.array([row[0] for row in rows], np.int32),
        np.array([channels.index(row[1]) for row in rows], np.int32),
        ZERO + np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
        np.array([row[4] for row in rows], np.int64),
    )


@dataclass
class Stages:
    """The stages up to the steps that count, in one object that can be saved and loaded."""

    stop_ms: int
    start_ms: int
    expected: NotRunningOptions
    ruled: bool = True
    log: list[Any] = field(default_factory=list)
    clock: int = NEVER

    def __post_init__(self) -> None:
        limits: dict[str, Any] = {"max_assets": 9, "max_channels": 9, "new_assets": 99, "forget_ms": 2**45}
        holes: dict[str, Any] = {"lateness_ms": 0, "max_gap": GAP, "max_fill": 0, "min_observed": 0.0, "idle": 2}
        watched = ("speed", "force")
        self.windows = Windows(WindowOptions(step_ms=STEP, length=4, **limits, **holes, watched=watched))
        self.windows.set_channels(["flow"], frozen=True)
        self.running = Running(
            RunningOptions(
                rule=parse(CONDITION) if self.ruled else None,
                learned=False,
                stop_delay_ms=self.stop_ms,
                start_delay_ms=self.start_ms,
                step_ms=STEP,
                max_gap=GAP,
            )
        )
        self.alerts = NotRunningAlerts("d", PARTITION, self.expected)

    def push(self, readings: ReadingBatch) -> None:
        closed = self.windows.close(readings)
        steps = self.running.update(closed)
        records = self.alerts.update(closed, steps.runs, readings, self.clock, self.windows.assets, "m")
        self.clock = int(readings.time.max(initial=self.clock))
        rows = zip(closed.row.tolist(), closed.step.tolist(), steps.kept.tolist(), strict=True)
        self.log += sorted(zip(closed.position.tolist(), rows, strict=True))
        self.log += records

    def in_batches(self, readings: ReadingBatch, cuts: list[int]) -> "Stages":
        """Push the readings cut at `cuts`, and at each cut go on with a copy that was saved and loaded."""
        made = self
        places = sorted({0, *(min(cut, len(readings)) for cut in cuts), len(readings)})
        for begin, end in itertools.pairwise(places):
            made.push(readings.part(begin, end))
            after = Stages(self.stop_ms, self.start_ms, self.expected, self.ruled, made.log, made.clock)
            for name in ("windows", "running", "alerts"):
                getattr(after, name).load_state(getattr(made, name).save_state())
            made = after
        return made


@dataclass
class Twin:
    """The rules, one closed step and one reading at a time."""

    stages: Stages
    values: dict[int, dict[str, float]] = field(default_factory=dict)
    idle_since: dict[int, int] = field(default_factory=dict)
    off: set[int] = field(default_factory=set)
    started: dict[int, int] = field(default_factory=dict)
    ran: dict[int, int] = field(default_factory=dict)
    heard: dict[int, int] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)
    starts: int = 0
    stops: int = 0
    clock: int = NEVER
    busy_since: int = NEVER
    firing: dict[int, int] = field(default_factory=dict)
    alerts: list[tuple[str, str, int, int]] = field(default_factory=list)  # state, asset, start, time

    def push(self, readings: ReadingBatch) -> None:
        for place in range(len(readings)):
            one = readings.part(place, place + 1)
            closed = self.stages.windows.close(one)
            for at in range(len(closed)):
                self.step(closed, at)
            time = max(self.clock, int(one.time[0]))
            if self.clock == NEVER or time // 60_000 > self.clock // 60_000:
                self.minute(time // 60_000 * 60_000)
            self.clock = time

    def step(self, closed: ClosedSteps, at: int) -> None:
        row, step = int(closed.row[at]), int(closed.step[at])
        held = self.values.setdefault(row, {})
        held |= {n: v for n, v in zip(closed.names, closed.values[at].tolist(), strict=True) if v == v}  # noqa: PLR0124
        speed, force = held.get("speed"), held.get("force")
        known = self.stages.ruled and speed is not None and force is not None
        runs = not known or speed > 50 or force > 5  # type: ignore[operator]
        starting = False
        if row in self.heard and step - self.heard[row] // STEP >= GAP + 1:
            self.started[row] = step
        if runs:
            if row in self.off:
                self.off.discard(row)
                self.starts += 1
                self.started[row] = step
            self.idle_since.pop(row, None)
            starting = row in self.started and (step - self.started[row]) * STEP < self.stages.start_ms
        else:
            since = self.idle_since.setdefault(row, step)
            if row not in self.off and (step - since) * STEP >= self.stages.stop_ms:
                self.off.add(row)
                self.stops += 1
        self.kept.append((int(closed.position[at]), (row, step, runs and not starting)))
        self.heard[row] = (step + 1) * STEP
        self.ran.setdefault(row, step * STEP)
        if runs:
            self.ran[row] = (step + 1) * STEP

    def minute(self, time: int) -> None:
        options = self.stages.expected
        fresh = options.wait_ms + STEP + 60_000
        delay = options.delay_ms + options.wait_ms + STEP
        members = {row for row, ran in self.ran.items() if ran > time - 7 * 86_400_000}
        if options.calendar is not None:
            stretch = options.calendar.stretch(time)
            since = NEVER if stretch is None else stretch.begin
            members = set(self.ran)
        else:
            running = sum(self.ran[row] >= time - fresh for row in self.ran)
            busy = len(members) - 1 >= 3 and running > (len(members) - 1) / 2
            self.busy_since = (time if self.busy_since == NEVER else self.busy_since) if busy else NEVER
            since = self.busy_since

        for row in sorted(self.ran):
            begin = max(self.ran[row], since)
            due = since != NEVER and row in members and time - begin >= delay
            name = self.stages.windows.assets[row]
            if due and row not in self.firing:
                self.firing[row] = begin
                self.alerts.append(("firing", name, begin, time))
            elif not due and row in self.firing:
                self.alerts.append(("resolved", name, self.firing.pop(row), time))


@st.composite
def expectations(draw: st.DrawFn) -> NotRunningOptions:
    hours = draw(st.sampled_from([None, ("Mon-Fri 00:10-00:40",), ("Mon-Sun 00:00-24:00",)]))
    plan = None if hours is None else calendar(hours, "UTC")
    delay = draw(st.sampled_from([1, 6])) * 60_000
    return NotRunningOptions(plan, sisters=hours is None, delay_ms=delay, wait_ms=2 * STEP, step_ms=STEP)


@settings(max_examples=examples(150), deadline=None)
@given(
    moves=MOVES,
    cuts=CUTS,
    stop=st.sampled_from([0, 2 * STEP]),
    start=st.sampled_from([0, 3 * STEP]),
    ruled=st.booleans(),
    expected=expectations(),
)
def test_stages_match_their_twin(  # noqa: PLR0917 - drawn by hypothesis
    moves: list[Move], cuts: list[int], stop: int, start: int, ruled: bool, expected: NotRunningOptions
) -> None:
    """Steps that count, starts, stops and alerts equal the twin's, however the stream is cut, saved and loaded."""
    readings = stream(moves)
    twin = Twin(Stages(stop, start, expected, ruled))
    twin.push(readings)
    found = Stages(stop, start, expected, ruled).in_batches(readings, cuts)

    assert sorted(each for each in found.log if isinstance(each, tuple)) == sorted(twin.kept)
    counts = found.running.counts
    assert (counts[Count.MACHINES_STARTED], counts[Count.MACHINES_STOPPED]) == (twin.starts, twin.stops)
    assert set(found.running.off().tolist()) == twin.off
    records = [each for each in found.log if not isinstance(each, tuple)]
    assert [(each.state, each.asset, each.start, each.time) for each in records] == twin.alerts
    assert dict.fromkeys(twin.firing, "firing") == found.alerts.states()


@settings(max_examples=examples(50), deadline=None)
@given(moves=MOVES, cuts=CUTS, expected=expectations())
def test_state_does_not_depend_on_how_the_stream_is_cut(
    moves: list[Move], cuts: list[int], expected: NotRunningOptions
) -> None:
    """Saved states and records are equal bit by bit, in one batch and in many."""
    readings = stream(moves)
    one, many = (Stages(0, 0, expected).in_batches(readings, each) for each in ([], cuts))
    for name in ("running", "alerts"):
        states = [getattr(each, name).save_state() for each in (one, many)]
        assert [{key: array.tobytes() for key, array in state.items()} for state in states[:1]] == [
            {key: array.tobytes() for key, array in state.items()} for state in states[1:]
        ]
    records = [[each for each in made.log if not isinstance(each, tuple)] for made in (one, many)]
    assert records[0] == records[1]
