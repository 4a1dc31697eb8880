"""The stage of clocks against a twin that processes window by window in plain loops."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.records import Times, WindowBatch
from monitor.core.sensors.clocks import EPOCH, LEAST, OTHERS, Clocks
from tests.core.sensors.test_clocks import STEP, TOLERANCE, WAIT, batch, stage
from tests.examples import examples


@dataclass
class Twin:
    """The twin's state after each window."""

    delays: dict[int, int] = field(default_factory=dict)  # of each asset seen in this epoch
    usual: int | None = None
    left: int = EPOCH
    off: dict[int, list[int]] = field(default_factory=dict)  # how far ahead the asset's last consecutive windows were
    begin: dict[int, int] = field(default_factory=dict)
    wrong: dict[int, int] = field(default_factory=dict)  # 1 = ahead, -1 = behind

    def ahead(self, delay: int, slack: int) -> int:
        if -delay > TOLERANCE - slack:
            return -delay
        if self.usual is not None and delay - self.usual > TOLERANCE + WAIT - slack:
            return self.usual - delay
        return 0

    def take(self, row: int, end: int, stamp: int) -> tuple[float, float, int] | None:
        if stamp <= 0:
            return None
        found = self.judge(row, end, stamp - end)
        self.delays[row] = stamp - end
        self.left -= 1
        if self.left == 0:
            known = sorted(self.delays.values())
            self.usual = known[(len(known) - 1) // 2] if len(known) >= OTHERS else None
            self.left = EPOCH * len(known)
            self.delays = {}
        return found

    def judge(self, row: int, end: int, delay: int) -> tuple[float, float, int] | None:
        side = self.wrong.get(row, 0)
        if side:
            now = self.ahead(delay, TOLERANCE // 2)
            if side < 0 and self.usual is None:
                now = self.off[row][0]
            if now * side > 0:
                return self.found(row, now)
            del self.wrong[row], self.off[row]
        now = self.ahead(delay, 0)
        if now == 0:
            self.off.pop(row, None)
            return None
        run = self.off.get(row, [])
        if not run or run[0] * now < 0 or abs(now - run[0]) > TOLERANCE:
            run = []
            self.begin[row] = end
        self.off[row] = [*run, now]
        if len(self.off[row]) < LEAST:
            return None
        self.wrong[row] = 1 if now > 0 else -1
        return self.found(row, now)

    def found(self, row: int, now: int) -> tuple[float, float, int]:
        limit = TOLERANCE if now > 0 else -TOLERANCE - WAIT
        return now / 1000, limit / 1000, self.begin[row]


def story(draw: np.random.Generator) -> tuple[WindowBatch, Times]:
    """Return windows of a few assets whose clocks and lines sometimes change, with their timestamps."""
    rows, ends, stamps = list[int](), list[int](), list[int]()
    assets = int(draw.integers(1, 6))
    delay, jitter, present = np.zeros(assets, np.int64), int(draw.choice([1, 2000, 12_000])), np.ones(assets, np.bool_)
    for step in range(int(draw.integers(1, 500))):
        if draw.random() < 0.02:
            delay[draw.integers(assets)] = draw.choice([-60_000, -TOLERANCE, -12_000, 0, 0, 12_000, 27_000, 90_000])
        if draw.random() < 0.01:
            delay[:] = draw.choice([0, 40_000])
        if draw.random() < 0.01:
            present[draw.integers(assets)] ^= True
        for row in np.flatnonzero(present).tolist():
            rows.append(row)
            ends.append(10**12 + step * STEP)
            unknown = draw.random() < 0.003
            stamps.append(0 if unknown else ends[-1] + int(delay[row]) + int(draw.integers(jitter)))
    return batch(rows, ends), np.array(stamps, np.int64)


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_stage_finds_what_its_twin_finds(seed: int) -> None:
    """Every window's result equals the twin's, however windows are cut and the stage restored."""
    draw = np.random.default_rng(seed)
    windows, stamps = story(draw)
    twin, made, whole = Twin(), stage(), stage()
    pushed = zip(windows.assets.tolist(), windows.ends.tolist(), stamps.tolist(), strict=True)
    expected = {place: skew for place, each in enumerate(pushed) if (skew := twin.take(*each)) is not None}
    cuts = np.unique(np.concatenate(([0, len(windows)], draw.integers(0, len(windows) + 1, int(draw.integers(9))))))
    found: dict[int, tuple[float, float, int]] = {}
    for begin, end in pairwise(cuts.tolist()):
        if draw.random() < 0.5:
            state, made = made.save_state(), stage()
            made.load_state(state)
        part = np.arange(begin, end)
        found |= {begin + place: tuple(skew) for place, skew in made.update(windows.take(part), stamps[part]).items()}
    assert found == expected
    assert whole.update(windows, stamps) == expected
    np.testing.assert_equal(made.save_state(), whole.save_state())


def test_the_stories_hold_what_is_to_be_found() -> None:
    """The generated streams contain clocks ahead and behind, found, cleared and ignored."""
    sides = set[int]()
    for seed in range(40):
        windows, stamps = story(np.random.default_rng(seed))
        made: Clocks = stage()
        sides |= {int(np.sign(skew.score)) for skew in made.update(windows, stamps).values()}
    assert sides == {-1, 1}
