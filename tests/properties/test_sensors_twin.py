"""The stage of sensors against a twin that processes step by step in plain loops."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.core.records import State, WindowBatch
from monitor.core.rules import ChannelRule, Rules
from monitor.core.sensors.checks import FACTOR, FAULTS, JUMPS, LEAST, TOGETHER, SensorOptions, Sensors
from monitor.core.sensors.mask import SensorFaults
from monitor.core.sensors.profile import SensorProfile

STEP, L, C = 1000, 8, 5
CHANNELS = tuple("abcde")
PROFILE = SensorProfile(
    rest=np.array([0, 0, 1, 0, -1], np.float32),  # e rests by nature
    hole=np.array([0, 1, 0, -1, 0], np.float32),  # d falls silent by nature
    change=np.array([2, 2, 2, 2, -1], np.float32),
    low=np.full(C, -50, np.float32),
    high=np.full(C, 50, np.float32),
)
LOW, HIGH = {"b": -40.0}, {"c": 200.0}


def stage() -> Sensors:
    limits = (("b", ChannelRule(low=LOW["b"])), ("c", ChannelRule(high=HIGH["c"])))
    made = Sensors(SensorOptions(length=L, step_ms=STEP, min_observed=0, skip=()), Rules(channels=limits))
    made.use(CHANNELS, PROFILE)
    return made


@dataclass
class Asset:
    """The twin's state of one asset after each step."""

    rows: list[list[float]] = field(default_factory=list)
    repeats: list[int] = field(default_factory=lambda: [0] * C)
    since: list[int] = field(default_factory=lambda: [-(10**6)] * C)
    value: list[float] = field(default_factory=lambda: [np.nan] * C)
    seen: list[int | None] = field(default_factory=lambda: [None] * C)
    silent: list[int] = field(default_factory=lambda: [0] * C)
    spared: list[bool] = field(default_factory=lambda: [False] * C)
    spiked: list[int] = field(default_factory=lambda: [-(10**6)] * C)
    found: dict[tuple[int, int], int] = field(default_factory=dict)  # (step, channel) -> step at which it was masked
    faults: list[list[str]] = field(default_factory=list)

    def doubt(self, step: int, channel: int, now: int) -> None:
        self.found.setdefault((step, channel), now)

    def take(self, row: list[float]) -> None:
        now = len(self.rows)
        self.rows.append(row)
        measured = [c for c in range(C) if row[c] == row[c]]
        for c in range(C):
            if c not in measured:
                self.silent[c] += bool(measured)
                continue
            self.seen[c], self.silent[c] = now, 0
            if row[c] == self.value[c]:
                self.repeats[c] += 1
            else:
                self.repeats[c], self.since[c], self.value[c], self.spared[c] = 0, now, row[c], False
        self.faults.append([self.fault(c, now) for c in range(C)])

    def fault(self, c: int, now: int) -> str:
        row, found = self.rows[now], []
        if self.jumped(c, now):
            self.spiked[c] = now - 1
            self.doubt(now - 1, c, now)
        if now - self.spiked[c] < L:
            found.append("jump")
        if self.frozen(c):
            found.append("frozen")
            for step in range(self.since[c] + 1, now + 1):
                self.doubt(step, c, now)
        last, hole = self.seen[c], PROFILE.hole[c]
        if last is not None and hole >= 0 and self.silent[c] >= max(LEAST, FACTOR * (hole + 1)):
            found.append("dropout")
            for step in range(last + 1, now + 1):
                self.doubt(step, c, now)
        if row[c] < LOW.get(CHANNELS[c], -np.inf) or row[c] > HIGH.get(CHANNELS[c], np.inf):
            found.append("limits")
            self.doubt(now, c, now)
        return found[-1] if found else ""

    def beyond(self, c: int) -> bool:
        rest = PROFILE.rest[c]
        return bool(rest >= 0 and self.repeats[c] >= max(LEAST, FACTOR * (rest + 1)))

    def frozen(self, c: int) -> bool:
        others = [d for d in range(C) if d != c and PROFILE.rest[d] >= 0]
        together = any(self.repeats[d] and abs(self.since[c] - self.since[d]) <= TOGETHER for d in others)
        most = 2 * sum(self.beyond(d) for d in range(C)) > 1 + len(others)
        within = PROFILE.low[c] <= self.value[c] <= PROFILE.high[c]
        self.spared[c] |= self.beyond(c) and (not within or together or most)
        return self.beyond(c) and not self.spared[c]

    def jumped(self, c: int, now: int) -> bool:
        if now < 2:
            return False
        base, peak, back = (np.array(row, np.float32) for row in self.rows[now - 2 :])
        up, down, change = peak - base, back - peak, PROFILE.change
        moved = [d for d in range(C) if change[d] >= 0 and max(abs(up[d]), abs(down[d])) > change[d]]
        sharp = min(abs(up[c]), abs(down[c])) > JUMPS * change[c] and up[c] * down[c] < 0
        return bool(change[c] >= 0 and sharp and abs(back[c] - base[c]) <= change[c] and moved == [c])


def faulty(draw: np.random.Generator, steps: int) -> np.ndarray:
    """Return readings (T, C) with faults of all kinds, alone and combined."""
    values = np.round(draw.normal(0, 0.5, (steps, C)), 3)
    for _ in range(int(draw.integers(0, 7))):
        begin, length, channel = int(draw.integers(steps)), int(draw.integers(1, 25)), int(draw.integers(C))
        part = values[begin : begin + length]
        match draw.integers(7):
            case 0:
                part[:, channel] = part[0, channel]
            case 1:
                part[:, channel] = np.nan
            case 2:
                part[:1, channel] += draw.choice([-45.0, 45.0])
            case 3:
                part[:] = part[0]
            case 4:
                part[:, channel] = draw.choice([-60.0, 60.0, 300.0])
            case 5:
                part[np.arange(len(part)) % 4 != 0, channel] = np.nan
            case _:
                part[:] = np.nan
    values[-1] = np.where(np.isnan(values[-1]), 0.0, values[-1])
    return values.astype(np.float32)


def windows(assets: list[np.ndarray], kept: list[list[int]]) -> WindowBatch:
    """Return the windows that end at the steps `kept` of each asset, ordered by step, then asset."""
    ends = sorted((end, row) for row, steps in enumerate(kept) for end in steps)
    values = np.array([assets[row][end - L + 1 : end + 1].T for end, row in ends], np.float32).reshape(-1, C, L)
    rows, steps = np.array([row for _, row in ends], np.int32), np.array([end for end, _ in ends], np.int64)
    return WindowBatch(rows, steps * STEP, values, ~np.isnan(values), np.arange(len(ends), dtype=np.int64))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_stage_finds_what_its_twin_finds(seed: int) -> None:
    """Faults and masked cells of every window equal the twin's, whatever windows are missed, cuts and restores."""
    draw = np.random.default_rng(seed)
    assets = [faulty(draw, int(draw.integers(L, 70))) for _ in range(int(draw.integers(1, 4)))]
    twins = [Asset() for _ in assets]
    for twin, values in zip(twins, assets, strict=True):
        for row in values.tolist():
            twin.take(row)
    # A window may be missed if too little was observed, but every step must be in some window.
    kept = [[end for end in range(L - 1, len(v)) if draw.random() < 0.7 or end % 5 == 0 or end < L] for v in assets]
    every, made = windows(assets, kept), stage()
    cuts = np.unique(np.concatenate(([0, len(every)], draw.integers(0, len(every) + 1, int(draw.integers(6))))))
    for begin, end in pairwise(cuts.tolist()):
        part = every.take(np.arange(begin, end))
        if draw.random() < 0.5:
            state, made = made.save_state(), stage()
            made.load_state(state)
            made.use(CHANNELS, PROFILE)
        marked, findings = made.update(part)
        for place in range(len(part)):
            twin, last = twins[part.assets[place]], int(part.ends[place]) // STEP
            expected = np.zeros((C, L), np.bool_)
            for (step, channel), known in twin.found.items():
                if known <= last and 0 <= step - last + L - 1 < L:
                    expected[channel, step - last + L - 1] = True
            masked = np.zeros_like(expected) if marked.masked is None else marked.masked[place]
            np.testing.assert_array_equal(masked, expected)
            np.testing.assert_array_equal(marked.observed[place], part.observed[place] & ~expected)
            found = [""] * C if findings is None else [FAULTS[number] for number in findings.fault[place]]
            assert found == twin.faults[last]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(14_103)  # faults that began more than a window before they were found, counted by the cut
def test_gaps_and_cuts_change_nothing(seed: int) -> None:
    """With gaps longer than a window the stage finds the same in one batch, in many, and with few pairs at once."""
    draw = np.random.default_rng(seed)
    assets = [faulty(draw, int(draw.integers(60, 140))) for _ in range(int(draw.integers(1, 5)))]
    kept = []
    for values in assets:
        gone = np.zeros(len(values), np.bool_)
        for begin in draw.integers(L, len(values), int(draw.integers(1, 4))).tolist():
            gone[begin : begin + int(draw.integers(L, 30))] = True
        kept.append([end for end in range(L - 1, len(values)) if not gone[end]])
    every, whole, made = windows(assets, kept), stage(), stage()
    marked, findings = whole.update(every)
    cuts = np.unique(np.concatenate(([0, len(every)], draw.integers(0, len(every) + 1, int(draw.integers(8))))))
    parts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monitor.core.sensors.checks.PAIRS", int(draw.integers(1, 200)))
        for begin, end in pairwise(cuts.tolist()):
            parts.append(made.update(every.take(np.arange(begin, end))))
    assert state_bytes(made.save_state()) == state_bytes(whole.save_state())
    assert [number for part, found in parts for number in faults(part, found)] == faults(marked, findings)
    assert [row.tobytes() for part, _ in parts for row in masked(part)] == [row.tobytes() for row in masked(marked)]


def faults(part: WindowBatch, findings: SensorFaults | None) -> list[int]:
    found: list[int] = [0] * len(part) * C if findings is None else findings.fault.ravel().tolist()
    return found


def masked(part: WindowBatch) -> np.ndarray:
    return np.zeros_like(part.observed) if part.masked is None else part.masked


def state_bytes(state: State) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}
