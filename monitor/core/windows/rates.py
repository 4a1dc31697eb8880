"""Turns the values of counters into rates: the change a second since the channel's reading before.

A reading gives the mean rate since the newest earlier one, so a gap gives one rate for all of it. Three kinds of
reading give none: the first one, one whose value has fallen (a reset, or a counter that rolled over), and one whose
time is not after that of the newest one. The last kind is counted as late, as duplicate (the same time with another
value) or as repeated (the same time and value), and changes nothing.

Guaranteed: the rates are a function of the sequence of readings alone. The state is a row for each asset, which is
cleared with the asset.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import LARGEST, NEVER, Index, first_of_run, last_of_run, run_max
from monitor.core.records import Count, State, Times
from monitor.core.state import Column, Columns
from monitor.core.windows.cells import Arrivals

RATES = {
    "rate_channels": Column("i8", ("R",), low=0),  # places among all channels
    "rate_time": Column("i8", ("A", "R"), fill=NEVER),  # of the newest reading; NEVER = none yet
    "rate_value": Column("f8", ("A", "R"), fill=np.nan),  # and its value
}


class Rates:
    """The newest reading of each counter of each asset."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self._columns = Columns("windows", RATES)
        self._place = np.empty(0, np.int64)  # (C,) place among the counters; -1 = none

    def reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        self._columns.reserve(assets)

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def remap(self, source: Index, counters: npt.NDArray[np.bool_]) -> None:
        """Take column `source[c]` (-1 = a new one) as column c; `counters` (C,) marks those that are counters."""
        before = np.append(self._place, -1)  # the last one is that of a new column
        picked = before[source[counters]]
        self._place = np.where(counters, np.cumsum(counters) - 1, -1)
        self._columns.pick(picked, "R")

    def take(self, arrivals: Arrivals) -> tuple[Arrivals, Arrivals]:
        """Return the readings with rates in place of counters' values, and the readings that gave none."""
        if not (self._place >= 0).any():
            return arrivals, arrivals.at(np.empty(0, np.intp))
        counter = np.flatnonzero(self._place[arrivals.column] >= 0)
        if not len(counter):
            return arrivals, arrivals.at(np.empty(0, np.intp))

        # Readings of one series lie together, in the order of arrival.
        known_time, known_value = self._columns["rate_time"], self._columns["rate_value"]
        row, column = arrivals.row[counter], self._place[arrivals.column[counter]]
        series = row * known_time.shape[1] + column
        order = np.argsort(series, kind="stable")
        counter, series, row, column = counter[order], series[order], row[order], column[order]
        time, value = arrivals.time[counter], arrivals.value[counter]

        # The newest reading before each one: of the batch, otherwise of the state.
        first = first_of_run(series)
        run = np.cumsum(first, dtype=np.int64)
        running = np.maximum(run_max(run, time), known_time[row, column])
        before = np.where(first, known_time[row, column], np.append(NEVER, running[:-1]))
        newer = time > before
        newest = np.maximum.accumulate(np.where(newer, np.arange(len(run)), -1))
        newest = np.append(-1, newest[:-1])
        begin = np.maximum.accumulate(np.where(first, np.arange(len(run)), 0))
        last = np.where(newest >= begin, value[newest], known_value[row, column])

        self._count(time[~newer], before[~newer], value[~newer] == last[~newer])
        rate = _rate(value, last, time, before)
        gives = newer & (rate >= 0)  # NaN before the first one

        keep = np.flatnonzero(newer)
        keep = keep[last_of_run(series[keep])]
        known_time[row[keep], column[keep]] = time[keep]
        known_value[row[keep], column[keep]] = value[keep]

        values = arrivals.value.copy()
        values[counter] = rate
        lost = np.zeros(len(values), np.bool_)
        lost[counter[~gives]] = True
        return replace(arrivals, value=values).at(~lost), arrivals.at(lost)

    def _count(self, time: Times, before: Times, same: npt.NDArray[np.bool_]) -> None:
        """Count readings (n,) that are not after the newest one; `same` marks those with its value."""
        equal = time == before
        self._counts[Count.READINGS_LATE] += int(np.count_nonzero(~equal))
        self._counts[Count.READINGS_REPEATED] += int(np.count_nonzero(equal & same))
        self._counts[Count.READINGS_DUPLICATE] += int(np.count_nonzero(equal & ~same))

    def save(self) -> State:
        """Return the columns as arrays."""
        return self._columns.save(rate_channels=np.flatnonzero(self._place >= 0))

    def load(self, state: State, channels: int) -> None:
        """Continue from a state that was checked, of so many channels."""
        self._place = np.full(channels, -1)
        self._place[state["rate_channels"]] = np.arange(len(state["rate_channels"]))
        self._columns.load(state)


def _rate(
    value: npt.NDArray[np.float64], last: npt.NDArray[np.float64], time: Times, before: Times
) -> npt.NDArray[np.float64]:
    """Return the change a second, bounded; negative after a fall, NaN without a reading before."""
    with np.errstate(over="ignore"):
        change = np.clip(value - last, -LARGEST, LARGEST)  # of two large values it is infinite
        rate: npt.NDArray[np.float64] = np.minimum(change / (np.maximum(time - before, 1) / 1000), LARGEST)
    return rate
