"""Alerts of machines that do not run while they should.

Machines should run by a calendar, or while most of their sisters do: the other machines of the partition that ran
within the last WEEK, of which there must be at least SISTERS. A machine that does not run for `delay` within such a
time has an alert, which ends when the machine runs or need not run any more.

It does not matter whether the machine sends that it is off (fault "off") or sends nothing, like a machine that is
switched off together with its gateway (fault "silent"). So this alert takes the place of that of a silent asset, and
nothing is reported twice. Sisters judge only while most of them run. A gateway that stops and takes all of them with it
leaves none to compare with: then the machines are silent, and the alert of a silent asset tells it.

Machines are judged once a minute of the partition's time, the largest time of any reading so far. Silence of the whole
partition is no evidence against a machine: after a pause only the minute of the first reading is judged.

Guaranteed: alerts are a function of the readings and of the rule, however the stream is cut into batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.alerts.lifecycle import Change, Details, Lifecycle, Observation, warning
from monitor.core.alerts.stage import load_with_columns
from monitor.core.arrays import NEVER, first_of_run
from monitor.core.records import NOT_RUNNING, Alert, Bools, Partition, ReadingBatch, State, Times
from monitor.core.running.shifts import Calendar
from monitor.core.state import Column, Columns, Table
from monitor.core.windows.windows import ClosedSteps

NAME = "alerts of machines that do not run"
OFF, SILENT = "off", "silent"  # it sends that it is off; it sends nothing
SISTERS = 3  # of two that differ it is unknown which one is right
TICK_MS = 60_000
WEEK_MS = 7 * 86_400_000  # a machine that did not run for so long is no sister, and its sisters' work is not its own
_TABLE: Table = {
    "ran": Column("i8", fill=NEVER),  # ms UTC: end of the newest step in which it ran; NEVER = unknown machine
    "heard": Column("i8", fill=NEVER),  # ms UTC: end of the newest step
    "busy_since": Column("i8", (1,)),  # ms UTC: since when most machines run; NEVER = they do not
}


@dataclass(frozen=True, slots=True)
class NotRunningOptions:
    """When machines should run. Neither calendar nor sisters = whenever they like. The settings check the ranges."""

    calendar: Calendar | None
    sisters: bool
    delay_ms: int
    wait_ms: int  # the longest that a step may wait to be closed
    step_ms: int

    @property
    def judges(self) -> bool:
        """Whether any machine should ever run."""
        return self.sisters or self.calendar is not None


class NotRunningAlerts:
    """The machines of one partition that do not run while they should."""

    def __init__(self, detector: str, partition: Partition, options: NotRunningOptions) -> None:
        self._options = options
        # A machine that runs is known to do so once its step has closed.
        self._known_ms = options.wait_ms + options.step_ms
        self._fresh_ms = self._known_ms + TICK_MS
        self._lifecycle = Lifecycle(NAME, detector, partition, on_delay_ms=0, off_delay_ms=0, gap_ms=None)
        self._columns = Columns(NAME, _TABLE)
        self._judging: Bools | None = None
        self._busy_since = NEVER

    @property
    def judges(self) -> bool:
        """Whether any machine should ever run."""
        return self._options.judges

    @property
    def judging(self) -> Bools | None:
        """At which of the partition's readings (M,) of the last update machines were judged; None = at none."""
        return self._judging

    def update(  # noqa: PLR0917 - the results of the stages before, in their order
        self,
        closed: ClosedSteps,
        runs: Bools,
        readings: ReadingBatch,
        before: int,
        names: Sequence[str],
        model: str,
        off: Bools | None = None,
    ) -> list[Alert]:
        """Return the records that readings cause, in order.

        Args:
            closed: The steps that these readings closed.
            runs: In which of these steps (K,) the machine ran.
            readings: Of the detector, and with them all of the partition.
            before: The partition's time before them, ms UTC; NEVER = these are the first.
            names: Of asset rows.
            model: Version, for the records.
            off: Machines (A,) that are off by a rule, so that they need not run; None = none is.
        """
        stream = readings.stream
        self._judging = None
        if not len(stream.time):
            return []
        if not self.judges:  # they were when the state was saved
            rows, position = sorted(set(self._lifecycle.rows().tolist())), int(stream.offset[0])
            return [alert for row in rows for alert in self.end(row, before, position, model)]

        self._columns.reserve(len(names))
        tick = np.maximum.accumulate(np.maximum(stream.time, before)) // TICK_MS
        turns = np.flatnonzero(tick > np.append(before // TICK_MS, tick[:-1]))

        # Steps count at the reading that closes them.
        closing = stream.place[closed.index]
        order = np.argsort(closing, kind="stable")
        ends = np.searchsorted(closing[order], turns, side="right").tolist()
        alerts: list[Alert] = []
        judging = [self._judges_now()]
        for place, begin, end in zip(turns.tolist(), [0, *ends], ends, strict=False):
            self._take(closed, runs, order[begin:end])
            alerts += self._judge(int(tick[place]) * TICK_MS, int(stream.offset[place]), names, model, off)
            judging.append(self._judges_now())
        self._judging = np.repeat(judging, np.diff(turns, prepend=0, append=len(tick)))
        self._take(closed, runs, order[ends[-1] if ends else 0 :])
        return alerts

    def _take(self, closed: ClosedSteps, runs: Bools, at: Times) -> None:
        """Note when machines ran and were heard, in the steps at `at` (n,)."""
        if not len(at):
            return
        ran, heard = self._columns["ran"], self._columns["heard"]
        row, end = closed.row[at], (closed.step[at] + 1) * self._options.step_ms

        # A machine that is off from the beginning counts as one that has just stopped.
        order = np.lexsort((end, row))
        first = order[first_of_run(row[order])]
        new = first[heard[row[first]] == NEVER]
        ran[row[new]] = end[new] - self._options.step_ms
        np.maximum.at(heard, row, end)
        np.maximum.at(ran, row[runs[at]], end[runs[at]])

    def _judge(self, time: int, position: int, names: Sequence[str], model: str, off: Bools | None) -> list[Alert]:
        """Judge all machines at one minute of the partition's time."""
        ran = self._columns["ran"][: self._columns.rows]
        since = self._expected_since(time, ran)
        due = np.zeros(len(ran), np.bool_)
        if since != NEVER:
            member = ran > time - WEEK_MS if self._options.sisters else ran != NEVER
            member &= True if off is None else ~off[: len(ran)]
            limit_ms = self._options.delay_ms + self._known_ms
            due = member & (time - np.maximum(ran, since) >= limit_ms)

        alerts = []
        for row in sorted({*np.flatnonzero(due).tolist(), *self._lifecycle.rows().tolist()}):
            begin = max(int(ran[row]), since)
            seen = self._observation(row, names[row], begin, time, position, active=bool(due[row]))
            event = self._lifecycle.observe(seen)
            if event is not None and event.change is not Change.LASTING:
                last = event.life.alert
                idle_s = (time - begin) / 1000 if last is None or due[row] else last.alarm
                alerts.append(self._lifecycle.publish(event, self._details(idle_s, model)))
        return alerts

    def _judges_now(self) -> bool:
        """Return whether machines are judged: by a calendar always, at its other times they may rest."""
        return self._options.calendar is not None or self._busy_since != NEVER

    def _expected_since(self, time: int, ran: Times) -> int:
        """Return since when machines should run without a break, ms UTC; NEVER = they need not run now."""
        if self._options.calendar is not None:
            stretch = self._options.calendar.stretch(time)
            return NEVER if stretch is None else stretch.begin

        # For a machine that does not run, all that run are sisters.
        sisters = int(np.count_nonzero(ran > time - WEEK_MS)) - 1
        running = int(np.count_nonzero(ran >= time - self._fresh_ms))
        if sisters < SISTERS or 2 * running <= sisters:
            self._busy_since = NEVER
        elif self._busy_since == NEVER:
            self._busy_since = time
        return self._busy_since

    def _observation(self, row: int, asset: str, begin: int, time: int, position: int, *, active: bool) -> Observation:
        silent = time - int(self._columns["heard"][row]) > self._fresh_ms
        return Observation(
            row=row,
            asset=asset,
            sensor="",
            fault=SILENT if silent else OFF,
            start=begin,
            end=time,
            position=position,
            ratio=(time - begin) / self._options.delay_ms,
            active=active,
            quiet_from=None if active else time,
        )

    def _details(self, idle_s: float, model: str) -> Details:
        return warning(NOT_RUNNING, idle_s, self._options.delay_ms / 1000, model)

    def end(self, row: int, clock: int, position: int, model: str) -> list[Alert]:
        """Return the resolution of a machine's alert at `position`: it is evicted, or nobody expects it to run.

        `clock` is the partition's time, ms UTC.
        """
        life = self._lifecycle.life(row)
        if life is None or life.alert is None:
            return []
        time = clock // TICK_MS * TICK_MS
        seen = self._observation(row, life.asset, life.start, time, position, active=False)
        event = self._lifecycle.observe(seen)
        assert event is not None, "there is no delay"
        return [self._lifecycle.publish(event, self._details(life.alert.alarm, model))]

    def open_alerts(self) -> list[Alert]:
        """Return the record published last of every firing alert, by asset row."""
        return self._lifecycle.open_alerts()

    def states(self) -> dict[int, str]:
        """Return "firing" by the row of each machine that does not run while it should."""
        return self._lifecycle.states()

    def resting(self, clock: int) -> Times:
        """Return the rows of machines that were heard, do not run now, and have no alert.

        `clock` is the partition's time, ms UTC.
        """
        if not self.judges:
            return np.empty(0, np.int64)
        ran = self._columns["ran"][: self._columns.rows]
        resting = (ran != NEVER) & (ran < clock - self._fresh_ms)
        resting[self._lifecycle.rows()] = False
        return np.flatnonzero(resting)

    def forget(self, row: int) -> None:
        """Clear the row, which has no firing alert. It is reused for another asset."""
        self._columns.clear(row)
        self._lifecycle.clear(row)

    def save_state(self) -> State:
        """Return everything that `load_state` needs to continue exactly from here.

        That is nothing if no machine is judged and no alert is open.
        """
        if not self.judges and not len(self._lifecycle):
            return {}
        busy_since = np.array([self._busy_since], np.int64)
        return {**self._columns.save(busy_since=busy_since), **self._lifecycle.save_state()}

    def load_state(self, state: State) -> None:
        """Continue from a saved state; from nothing if machines were not judged when it was saved.

        If they are not judged now, open alerts end with the next reading. Raises ValueError, and changes nothing, if
        the state does not fit.
        """
        if not state:
            return
        load_with_columns(NAME, state, self._columns, self._lifecycle)
        self._busy_since = int(state["busy_since"][0])
