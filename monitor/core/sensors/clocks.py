"""Tells a wrong clock: the time that an asset's readings carry, held against the timestamps of their messages.

    delay     timestamp of the message that closed a window - end of the window
    ahead     -delay > tolerance: the readings are from after they were sent
    behind    delay - usual > tolerance + the longest that a step may wait to be closed
    usual     the median delay of the partition's assets, renewed after EPOCH windows of each

One of two clocks is wrong if a reading is from after its message, so that is judged of each asset alone. To be late is
not impossible, and mostly no fault of a clock: a gateway that was cut off delays everybody, and what it held back comes
faster than it was taken, so that the delay shrinks. Hence behind is only who is so beside the majority of at least
OTHERS assets, and either way a clock is wrong only after LEAST windows in a row within one tolerance of the first. It
is right again half a tolerance below the limit.

Nothing is judged without timestamps, and where a message carries its reading's time, as there is one clock only. What
always comes later than the others, by a slow line, has the look of a clock that is behind. No value is masked.

Guaranteed: everything is a function of the sequence of windows and timestamps, however it is cut into batches. Only
assets of which a window is off, next to none in a healthy plant, are looked at window by window.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np

from monitor.core.arrays import FARTHEST, MOST_ASSETS, NEVER, Index, extend
from monitor.core.records import State, Times, WindowBatch

FAULT = "clock"
LEAST = 64  # windows; twice EPOCH, so that a delay that all share is usual before it is anybody's fault
DRAINED = 3  # tolerances; what comes twice as fast as it was taken has made up one of them after two
EPOCH = 32  # windows of each asset
OTHERS = 3  # assets; of two that differ nobody can say which is late


class Skew(NamedTuple):
    """What was found of a window whose asset's clock is wrong."""

    score: float  # seconds ahead; negative = behind
    threshold: float  # what is tolerated of that, with the same sign
    begin: int  # ms UTC: end of the first window that was off


@dataclass(slots=True)
class _Run:
    """Windows of an asset that are off in a row, all on the same side."""

    first: int  # ms ahead in the first of them; negative = behind
    begin: int  # end of that
    windows: int
    wrong: int  # 1 = its clock was found wrong


class Clocks:
    """The clocks of all assets of one partition."""

    def __init__(self, *, tolerance_ms: int, wait_ms: int, step_ms: int) -> None:
        """With `tolerance_ms` 0 nothing is judged. `wait_ms` is the longest that a step may wait to be closed.

        Raises ValueError if one is negative.
        """
        if min(tolerance_ms, wait_ms) < 0:
            raise ValueError(f"tolerance and wait must not be negative, got {(tolerance_ms, wait_ms)}")
        self._tolerance, self._late = tolerance_ms, tolerance_ms + wait_ms
        self._least = max(LEAST, -(-DRAINED * tolerance_ms // step_ms))
        self._delay: Times = np.empty(0, np.int64)  # (>= A,) ms, of the last window in this epoch; NEVER = none
        self._usual = NEVER  # ms; NEVER = too few assets to tell
        self._left = EPOCH  # windows of this epoch
        self._runs: dict[int, _Run] = {}  # by asset row

    def update(self, windows: WindowBatch, stamps: Times) -> Mapping[int, Skew]:
        """Those of the windows (B,) whose asset's clock is wrong, by their place.

        `stamps` (B,) are the timestamps, ms UTC, of the messages that closed them; 0 or less = unknown.
        """
        if not self._tolerance:
            return {}
        places = np.flatnonzero(stamps > 0)
        if not len(places):
            return {}
        rows = windows.assets[places].astype(np.intp)
        ends = windows.ends[places]
        delays = np.minimum(stamps[places], FARTHEST) - ends
        self._delay = extend(self._delay, int(rows.max()) + 1, NEVER)
        found: dict[int, Skew] = {}
        begin = 0
        while begin < len(places):
            end = min(len(places), begin + self._left)
            part = slice(begin, end)
            for at in (begin + self._near(rows[part], delays[part])).tolist():
                skew = self._step(int(rows[at]), int(ends[at]), int(delays[at]))
                if skew is not None:
                    found[int(places[at])] = skew
            self._delay[rows[part]] = delays[part]  # of several of an asset the last stays
            self._left -= end - begin
            if not self._left:
                self._renew()
            begin = end
        return found

    def forget(self, row: int) -> None:
        """As if this row had never had a window: it is another asset's now."""
        self._delay[row : row + 1] = NEVER
        self._runs.pop(row, None)

    def _near(self, rows: Index, delays: Times) -> Index:
        """Places of all windows of the assets of which one is off, or was before."""
        off = delays < -self._tolerance
        if self._usual != NEVER:
            off |= delays > self._usual + self._late
        if not self._runs and not off.any():
            return np.empty(0, np.intp)
        return np.flatnonzero(np.isin(rows, np.append(rows[off], np.array(list(self._runs), np.intp))))

    def _step(self, row: int, end: int, delay: int) -> Skew | None:
        """Take a window of an asset: what is found of it."""
        run = self._runs.pop(row, None)
        off = self._off(delay, 0)
        if run is not None and run.wrong:
            blind = self._usual == NEVER and run.first < 0  # there is nobody to compare with: it stays as it is
            held = run.first if blind else self._off(delay, self._tolerance // 2)
            if (held > 0) == (run.first > 0) and held:
                return self._keep(row, run, held)
        if not off:
            return None
        if run is None or run.wrong or (off > 0) != (run.first > 0) or abs(off - run.first) > self._tolerance:
            run = _Run(off, end, 0, 0)
        run.windows += 1
        run.wrong = int(run.windows >= self._least)
        return self._keep(row, run, off)

    def _off(self, delay: int, slack: int) -> int:
        """By how much a window is ahead, ms, negative = behind; 0 if it is within the limits less `slack`."""
        if -delay > self._tolerance - slack:
            return -delay
        if self._usual != NEVER and delay - self._usual > self._late - slack:
            return self._usual - delay
        return 0

    def _keep(self, row: int, run: _Run, off: int) -> Skew | None:
        self._runs[row] = run
        if not run.wrong:
            return None
        limit = self._tolerance if off > 0 else -self._late
        return Skew(off / 1000, limit / 1000, run.begin)

    def _renew(self) -> None:
        """An epoch is over: what was usual in it is held against the next."""
        delays = self._delay[self._delay != NEVER]
        count = len(delays)
        self._usual = int(np.partition(delays, (count - 1) // 2)[(count - 1) // 2]) if count >= OTHERS else NEVER
        self._left = EPOCH * max(count, 1)
        self._delay[:] = NEVER

    def save_state(self) -> State:
        """Everything a later `load_state` needs to go on exactly from here, as arrays; nothing if nothing is judged."""
        if not self._tolerance:
            return {}
        A = int(np.count_nonzero(np.cumsum(self._delay[::-1] != NEVER)))  # rows up to the last one in use
        runs = [(row, *astuple(run)) for row, run in sorted(self._runs.items())]
        return {
            "delay": self._delay[:A].copy(),
            "epoch": np.array([self._usual, self._left], np.int64),
            "runs": np.array(runs, np.int64).reshape(-1, 5),
        }

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave; from nothing, as in older snapshots or if nothing was judged.

        Raises ValueError, and changes nothing, if it does not fit.
        """
        if not self._tolerance or not state:
            return
        shapes = {"delay": (-1,), "epoch": (2,), "runs": (-1, 5)}
        if state.keys() != shapes.keys():
            raise ValueError(f"state of clocks has {sorted(state)}, expected {sorted(shapes)}")
        for name, shape in shapes.items():
            array = state[name]
            fits = array.ndim == len(shape) and all(n in {-1, m} for n, m in zip(shape, array.shape, strict=True))
            if array.dtype != np.int64 or not fits:
                raise ValueError(f"state of clocks: {name} is {array.dtype} {array.shape}, expected int64 {shape}")
        rows, counts, left = state["runs"][:, 0], state["runs"][:, 3], int(state["epoch"][1])
        if np.any((rows < 0) | (rows >= MOST_ASSETS) | (counts < 1) | (counts > FARTHEST)) or len(
            set(rows.tolist())
        ) < len(rows):
            raise ValueError("state of clocks: expected a run of each of different assets")
        if not 1 <= left <= EPOCH * MOST_ASSETS or len(state["delay"]) > MOST_ASSETS:
            raise ValueError(f"state of clocks: an epoch of {left} more windows, {len(state['delay'])} assets")
        self._delay, self._usual, self._left = state["delay"].copy(), int(state["epoch"][0]), left
        self._runs = {row: _Run(*run) for row, *run in state["runs"].tolist()}


def in_words(fault: str, score: float) -> str:
    """The fault of an alert, and of a clock how far it is off, for instance: clock 75 s ahead."""
    return f"{fault} {abs(score):.4g} s {'ahead' if score > 0 else 'behind'}" if fault == FAULT else fault
