"""Knows the assets whose steps hold several readings of a channel, so that such a step waits for all of them.

Where each step has one reading of a channel, a step is whole as soon as all channels have arrived. Where it has more,
a step that closed then would keep the first reading and lose the others as late. An asset is dense if its steps lately
held more than 1.5 times of a channel: each step in which a second time of a channel came raises a level by 2, and each
step from one of these to the next lowers the level by 1. So steps that hold two readings and none in turn, as jitter
makes them of readings at the step's own period, leave the level where it is.

Guaranteed: the level is a function of the sequence of the asset's readings, late ones included. A reading counts if
the newest reading of its channel before it has another time in the same step.
"""

import numpy as np

from monitor.core.arrays import NEVER, first_of_run, ordinals, run_max
from monitor.core.records import State, Times
from monitor.core.state import Column, Columns
from monitor.core.windows.frontiers import Frontiers

GAIN = 2  # of a step in which a second time of a channel came
MOST = 8
DENSE = 4  # level from which on: three such steps in a row
FALL = 4  # at most from one such step to the next: a night's rest leaves a dense asset dense
MEMORY = 16  # steps for which a dense asset stays so without another such step

DENSITY = {
    "dense_step": Column("i8", fill=NEVER),  # newest step in which a second time of a channel came
    "dense_level": Column("i8", low=0, high=MOST),
    "dense_until": Column("i8", fill=NEVER),  # newest step that waits for all its readings
}


class Density:
    """The levels of all assets of one partition."""

    def __init__(self) -> None:
        self._columns = Columns("windows", DENSITY)

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self._columns.reserve(assets)

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def note(self, row: Times, step: Times, index: Times, size: int) -> Frontiers:
        """Take second times (n,), in the order of arrival; `index` (n,) are their places in a batch of `size`.

        Return the events that let steps wait for all their readings.
        """
        order = np.argsort(row, kind="stable")
        row, step, index = row[order], step[order], index[order]

        # A step counts once, and only if it lies above all that counted before.
        known = self._columns["dense_step"]
        highest = np.append(NEVER, run_max(row, step)[:-1])[: len(row)]
        highest[first_of_run(row)] = NEVER
        before = np.maximum(highest, known[row])
        new = np.flatnonzero(step > before)
        row, step, index, before = row[new], step[new], index[new], before[new]

        # One round for each further step of an asset.
        level, reached = self._columns["dense_level"], np.empty(len(row), np.int64)
        heads = np.flatnonzero(first_of_run(row))
        turn = ordinals(np.diff(np.append(heads, len(row))))
        turns = np.argsort(turn, kind="stable")
        for at in np.split(turns, np.flatnonzero(np.diff(turn[turns])) + 1):
            fallen = np.maximum(level[row[at]] - np.minimum(step[at] - before[at], FALL), 0)
            reached[at] = level[row[at]] = np.minimum(fallen + GAIN, MOST)
        known[row] = step  # steps of an asset ascend, so the newest is written last

        dense = reached >= DENSE
        events = Frontiers(row[dense], index[dense], step[dense] + MEMORY + 1, size)
        np.maximum.at(self._columns["dense_until"], row[dense], step[dense] + MEMORY)
        return events

    def until(self, rows: Times) -> Times:
        """Return the newest step (n,) of each of `rows` that waits for all its readings; NEVER = none."""
        until: Times = self._columns["dense_until"][rows]
        return until

    def save(self) -> State:
        """Return the columns as arrays."""
        return self._columns.save()

    def load(self, state: State) -> None:
        """Continue from a state that was checked."""
        self._columns.load(state)
