"""Clock checks: find assets whose clock is wrong, by comparing readings' times with their messages' timestamps.

    delay     timestamp of the message that closed a window - end of the window
    ahead     -delay > tolerance: the readings are from after they were sent
    behind    delay - usual > tolerance + the longest that a step may wait to be closed
    usual     the median delay of the partition's assets, renewed after EPOCH windows of each

A reading from after its message is impossible, so ahead is judged for each asset alone. A late reading is possible, and
mostly no fault of a clock: a gateway that was cut off delays all its assets, and its backlog arrives faster than it
was recorded, so that the delay shrinks. Hence an asset is behind only compared with the majority of at least OTHERS
assets. Either way a clock is wrong only after LEAST windows in a row within one tolerance of the first. It is right
again half a tolerance below the limit.

Nothing is judged without timestamps, and nothing is found where a message carries its reading's time, as there is only
one clock. An asset that always comes later than the others, by a slow line, looks like an asset whose clock is behind.
No value is masked.

Guaranteed: everything is a function of the sequence of windows and timestamps, however it is cut into batches. Only
assets with a window that is off, next to none in a healthy plant, are judged window by window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from monitor.core.arrays import FARTHEST, MOST_ASSETS, NEVER, Index
from monitor.core.records import State, Times, WindowBatch
from monitor.core.state import Column, Columns, Table

FAULT = "clock"
LEAST = 64  # windows; twice EPOCH, so that a delay that all share is usual before it is anybody's fault
DRAINED = 3  # tolerances; a backlog that arrives twice as fast as it was recorded has made up one of them after two
EPOCH = 32  # windows of each asset
OTHERS = 3  # assets; of two that differ it is unknown which one is late

_TABLE: Table = {
    "usual": Column("i8", (1,)),  # ms; NEVER = too few assets to compare
    "left": Column("i8", (1,), low=1, high=EPOCH * MOST_ASSETS),  # windows until the epoch ends
    "delay": Column("i8", fill=NEVER),  # ms, of the last window in this epoch; NEVER = none
    # The run: windows of an asset in a row that are off on the same side. All 0 without a run.
    "first": Column("i8"),  # ms ahead in the first window; negative = behind
    "begin": Column("i8"),  # end of the first window
    "windows": Column("i8", low=0, high=FARTHEST),
    "wrong": Column("?"),  # the run is long enough: the clock is wrong
}


class Skew(NamedTuple):
    """How far the clock of a window's asset is off."""

    score: float  # seconds ahead; negative = behind
    threshold: float  # tolerated seconds, with the same sign
    begin: int  # ms UTC: end of the first window that was off


@dataclass(frozen=True, slots=True)
class ClockOptions:
    """How clocks are checked. The settings check the ranges."""

    tolerance_ms: int  # 0 = nothing is judged
    wait_ms: int  # the longest that a step may wait to be closed
    step_ms: int


class Clocks:
    """The clocks of all assets of one partition."""

    def __init__(self, options: ClockOptions) -> None:
        self._tolerance = options.tolerance_ms
        self._late = options.tolerance_ms + options.wait_ms
        self._least = max(LEAST, -(-DRAINED * options.tolerance_ms // options.step_ms))
        self._columns = Columns("clocks", _TABLE)
        self._usual = NEVER  # ms; NEVER = too few assets to compare
        self._left = EPOCH  # windows until the epoch ends

    def update(self, windows: WindowBatch, stamps: Times) -> Mapping[int, Skew]:
        """Return the skew of each window whose asset's clock is wrong, by the window's place in the batch.

        `stamps` (B,) are the timestamps, ms UTC, of the messages that closed the windows; 0 or less = unknown.
        """
        places = np.flatnonzero(stamps > 0)
        if not self._tolerance or not len(places):
            return {}

        rows = windows.assets[places].astype(np.intp)
        ends = windows.ends[places]
        delays = np.minimum(stamps[places], FARTHEST) - ends
        self._columns.reserve(int(rows.max()) + 1)

        # The usual delay changes at the end of an epoch, so the batch is taken in parts that end there.
        found: dict[int, Skew] = {}
        begin = 0
        while begin < len(places):
            end = min(len(places), begin + self._left)
            part = slice(begin, end)
            for at in (begin + self._suspects(rows[part], delays[part])).tolist():
                skew = self._judge(int(rows[at]), int(ends[at]), int(delays[at]))
                if skew is not None:
                    found[int(places[at])] = skew

            self._columns["delay"][rows[part]] = delays[part]  # if an asset occurs more than once, its last is kept
            self._left -= end - begin
            if not self._left:
                self._begin_epoch()
            begin = end
        return found

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def _suspects(self, rows: Index, delays: Times) -> Index:
        """Return the places of all windows of assets that have a run, or a window that is off."""
        off = delays < -self._tolerance
        if self._usual != NEVER:
            off |= delays > self._usual + self._late
        running = self._columns["windows"][rows] > 0
        if not off.any() and not running.any():
            return np.empty(0, np.intp)
        return np.flatnonzero(running | np.isin(rows, rows[off]))

    def _judge(self, row: int, end: int, delay: int) -> Skew | None:
        """Take a window of an asset and return the skew if the asset's clock is wrong."""
        first, wrong = int(self._columns["first"][row]), bool(self._columns["wrong"][row])

        # A wrong clock stays wrong until it is well within the limits. Without others to compare with it stays as is.
        if wrong:
            blind = self._usual == NEVER and first < 0
            off = first if blind else self._off(delay, self._tolerance // 2)
            if off and (off > 0) == (first > 0):
                return self._skew(row, off)

        off = self._off(delay, 0)
        if not off:
            self._set_run(row, 0, 0, 0)
            return None

        # A window continues the run if it is off on the same side and about as far as the first one.
        count = int(self._columns["windows"][row])
        continues = count and not wrong and (off > 0) == (first > 0) and abs(off - first) <= self._tolerance
        if continues:
            self._set_run(row, first, int(self._columns["begin"][row]), count + 1)
        else:
            self._set_run(row, off, end, 1)
        return self._skew(row, off) if self._columns["wrong"][row] else None

    def _off(self, delay: int, slack: int) -> int:
        """Return how far a window is ahead, ms, negative = behind; 0 if it is within the limits less `slack`."""
        if -delay > self._tolerance - slack:
            return -delay
        if self._usual != NEVER and delay - self._usual > self._late - slack:
            return self._usual - delay
        return 0

    def _set_run(self, row: int, first: int, begin: int, windows: int) -> None:
        self._columns["first"][row] = first
        self._columns["begin"][row] = begin
        self._columns["windows"][row] = windows
        self._columns["wrong"][row] = windows >= self._least

    def _skew(self, row: int, off: int) -> Skew:
        limit = self._tolerance if off > 0 else -self._late
        return Skew(off / 1000, limit / 1000, int(self._columns["begin"][row]))

    def _begin_epoch(self) -> None:
        """Take the median delay of the epoch that is over as the usual delay of the next."""
        delays = self._columns["delay"][self._columns["delay"] != NEVER]
        count = len(delays)
        middle = (count - 1) // 2
        self._usual = int(np.partition(delays, middle)[middle]) if count >= OTHERS else NEVER
        self._left = EPOCH * max(count, 1)
        self._columns["delay"][:] = NEVER

    def save_state(self) -> State:
        """Return everything that `load_state` needs to continue exactly from here; nothing if nothing is judged."""
        if not self._tolerance:
            return {}
        return self._columns.save(usual=np.array([self._usual], np.int64), left=np.array([self._left], np.int64))

    def load_state(self, state: State) -> None:
        """Continue from a saved state; from nothing if clocks were not judged when it was saved, or are not now.

        Raises ValueError, and changes nothing, if the state does not fit.
        """
        if not self._tolerance or not state:
            return
        self._columns.check(state)
        self._columns.load(state)
        self._usual = int(state["usual"][0])
        self._left = int(state["left"][0])
