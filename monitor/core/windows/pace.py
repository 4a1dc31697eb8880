"""The pace of channels: for how many steps a channel's value holds until its next one.

Channels of one asset come at different paces: each second, every ten minutes, or only when the value changes. Between
two readings of a slow channel the value holds, and counts as observed, for as long as the channel's silences allow. A
channel as fast as the step holds nothing: its holes are holes.

The pace is learned per asset and channel from the last GAPS silences of two steps and more. After LEAST of them, a
value holds for FACTOR times the longest, without the very longest ones: one outage teaches nothing. A channel is slow
if at least half of the steps since the oldest of these silences have no reading. A channel that loses a reading now and
then is not slow.

Guaranteed: all is a function of the closed steps. Steps are counted as the asset's rows, so a silence of the whole
asset that restarts its window is no silence of a channel. The cost falls on silences only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from monitor.core.arrays import NEVER, Index, first_of_run, last_of_run, ordinals
from monitor.core.decode.ids import legal
from monitor.core.decode.select import of_first
from monitor.core.records import State, Times
from monitor.core.state import Column, Columns

GAPS = 16  # silences that are remembered
LEAST = 4  # silences that must have been seen
FACTOR = 3  # if silences end by chance and the longest of n was g, one of 3 g has a probability of 1 / n^3
OUTAGES = 8  # of so many silences, the longest is left out, and of fewer ones, too
LONGEST = 2**16 - 1  # steps of a silence, and between two of them

PACE = {
    "pace_rows": Column("i8", low=0),  # rows written so far
    "pace_gaps": Column("u2", ("A", "C", GAPS)),  # steps of the last silences, newest last; 0 = none
    "pace_rests": Column("u2", ("A", "C", GAPS)),  # rows from the silence before to each
    "pace_end": Column("i8", ("A", "C"), fill=NEVER),  # row in which the newest silence ended
    "pace_begin": Column("i8", ("A", "C"), fill=NEVER),  # and the one in which the oldest began
    "pace_missing": Column("i4", ("A", "C"), low=0),  # rows without a reading in all of them
    "pace_hold": Column("i4", ("A", "C"), low=0),  # steps for which a value holds; 0 = not known
}


@dataclass(frozen=True, slots=True)
class Holds:
    """For how long channels hold their values: the first glob that matches a channel counts."""

    globs: tuple[tuple[str, int], ...] = ()  # glob and ms; 0 = learned

    def among(self, names: Sequence[str], step_ms: int) -> Times:
        """Return the steps (n,) for which each channel holds; -1 = learned."""
        times = [of_first(self.globs, name, legal(name) or name, otherwise=0) for name in names]
        return np.array([ms // step_ms if ms else -1 for ms in times], np.int64)


LEARNED = Holds()


class Learned(NamedTuple):
    """Learned paces of channels (n,)."""

    hold: Times  # (n,) steps; 0 = not known
    missing: Times  # (n,)
    begin: Times  # (n,)

    def allows(self, row: Times) -> Times:
        """Return for how many steps (n,) values read in `row` (n,) hold."""
        slow = 2 * self.missing >= row - self.begin
        return np.where(slow, self.hold, 0)


class Pace:
    """The paces of all channels of all assets of one partition."""

    def __init__(self) -> None:
        self._columns = Columns("windows", PACE)

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self._columns.reserve(assets)

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def remap(self, source: Index) -> None:
        """Take column `source[c]` (-1 = a new one) as channel c."""
        self._columns.pick(source)

    def rows(self, assets: Times) -> Times:
        """Return how many rows (n,) were written of each of `assets`."""
        rows: Times = self._columns["pace_rows"][assets]
        return rows

    def wrote(self, assets: Times, rows: Times) -> None:
        """Count rows (n,) of different assets."""
        self._columns["pace_rows"][assets] += rows

    def of(self, asset: Times, channel: Times) -> Learned:
        """Return the learned paces of channels (n,)."""
        names = ("pace_hold", "pace_missing", "pace_begin")
        return Learned(*(self._columns[name][asset, channel].astype(np.int64) for name in names))

    def learn(self, asset: Times, channel: Times, gap: Times, row: Times) -> Learned:
        """Take silences (n,) of `gap` steps that ended in `row`; of each asset in their order.

        Return the learned pace after each.
        """
        known_gaps, known_rests, known_end = (self._columns[f"pace_{name}"] for name in ("gaps", "rests", "end"))
        pair = asset * known_gaps.shape[1] + channel
        order = np.argsort(pair, kind="stable")
        asset, channel, gap, row, pair = asset[order], channel[order], gap[order], row[order], pair[order]

        # Rows between the silence before and this one.
        first = first_of_run(pair)
        end = np.append(NEVER, row[:-1])
        end[first] = known_end[asset[first], channel[first]]
        rest = np.where(end == NEVER, 0, row - gap - end)
        gap, rest = np.minimum(gap, LONGEST), np.minimum(rest, LONGEST)

        # The last GAPS silences after each, oldest first: of this batch, otherwise of the state.
        heads = np.flatnonzero(first)
        turn = ordinals(np.diff(np.append(heads, len(pair))))
        gaps, rests = np.empty((len(pair), GAPS), np.int64), np.empty((len(pair), GAPS), np.int64)
        place = np.arange(len(pair))
        for back in range(GAPS):
            old = np.clip(GAPS - back + turn, 0, GAPS - 1)
            for found, own, known in ((gaps, gap, known_gaps), (rests, rest, known_rests)):
                found[:, GAPS - 1 - back] = np.where(
                    turn >= back, own[np.maximum(place - back, 0)], known[asset, channel, old]
                )

        number = np.count_nonzero(gaps, axis=1)
        oldest = rests[place, GAPS - number]
        missing = gaps.sum(1) - number
        begin = row - gaps.sum(1) - rests.sum(1) + oldest
        left_out = np.maximum(number // OUTAGES, 1)
        usual = np.sort(gaps, axis=1)[place, GAPS - 1 - left_out]
        hold = np.where(number >= LEAST, FACTOR * usual, 0)

        last = np.flatnonzero(last_of_run(pair))
        state = {"gaps": gaps, "rests": rests, "end": row, "begin": begin, "missing": missing, "hold": hold}
        for name, found in state.items():
            self._columns[f"pace_{name}"][asset[last], channel[last]] = found[last]
        own = np.argsort(order)  # back into the order of the silences
        return Learned(hold[own], missing[own], begin[own])

    def save(self) -> State:
        """Return the columns as arrays."""
        return self._columns.save()

    def load(self, state: State) -> None:
        """Continue from a state that was checked."""
        self._columns.load(state)
