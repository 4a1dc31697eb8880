"""The stage that knows whether each machine runs: steps in which it does not are taken out before windows are cut.

    runs ──rule false──► idle ──for stop_delay──► off ──rule true──► starting ──start_delay later──► runs
                         idle ──rule true──► runs

The rule is a condition of the settings, or levels of activity that the model has learned. It is asked at each step that
closes, on the step's readings; a channel without a reading in the step has its last value. A machine of which the rule
knows nothing yet counts as running, as all machines do without a rule.

A machine that was silent for so long that its window restarts counts as one that starts: it may have been switched off
together with its gateway. Neither is counted as a stop or a start.

Steps that are idle, off or starting are taken out: the windows see steps without a reading. So a short stop is a hole
of unobserved cells, a longer one restarts the asset's window (`windows.max_gap`), exactly as if the machine had been
silent, and no window holds both sides of a night. Nothing is scored, nothing enters the threshold or the history.

An alert that is firing when its machine stops stays. A stop is no evidence that the fault is over, the alert may be the
reason for the stop, and after the start the same fault would be a second alert.

Guaranteed: the state is a function of the closed steps, however these are cut into batches.
"""

from dataclasses import dataclass

import numpy as np

from monitor.core.arrays import NEVER, Index, first_of_run, last_of_run, places
from monitor.core.records import Bools, Count, Floats, State
from monitor.core.running.condition import Rule, Truth
from monitor.core.running.levels import Levels
from monitor.core.state import Column, Columns, Table, pack_names, unfit, unpack_distinct
from monitor.core.windows.windows import ClosedSteps

COUNTS = (Count.MACHINES_STARTED, Count.MACHINES_STOPPED, Count.STEPS_OFF)
_STAGE = "running"
_TABLE: Table = {
    "channels": Column("u1", ("bytes of channels",)),  # that the rule reads
    "value": Column("f4", ("A", "E"), fill=np.nan),  # of those channels, as last read
    "idle_since": Column("i8", fill=NEVER),  # first step for which the rule is false; NEVER = it runs
    "off": Column("?"),  # it was idle for long enough
    "started": Column("i8", fill=NEVER),  # step of the last start, or after a gap
    "heard": Column("i8", fill=NEVER),  # newest step
    "counts": Column("i8", (len(COUNTS),), low=0),
}


@dataclass(frozen=True, slots=True)
class RunningOptions:
    """When a machine runs. The settings check the ranges."""

    rule: Rule | None  # None = the model's levels, if `learned`, otherwise all machines run
    learned: bool
    stop_delay_ms: int  # the rule is false for this time before the machine is off
    start_delay_ms: int  # after a start nothing is scored for this time; learned levels may have a longer one
    step_ms: int
    max_gap: int  # empty steps; after more of them a machine counts as one that starts


@dataclass(frozen=True, slots=True)
class RunningSteps:
    """Which closed steps (K,) count, in their order."""

    kept: Bools  # (K,) the machine runs, and has not just started
    runs: Bools  # (K,) the rule is not false


class Running:
    """Whether each machine of one partition runs."""

    def __init__(self, options: RunningOptions) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self._options = options
        self._rule = options.rule
        self._start_delay_ms = options.start_delay_ms
        self._channels: tuple[str, ...] = () if options.rule is None else options.rule.channels
        self._columns = Columns(_STAGE, _TABLE)
        self._columns.pick(places(self._channels, ()), "E")
        self._before = np.empty(0, np.bool_)  # (A,) off before the last update
        nothing = np.empty(0, np.int64)
        self._latest = (nothing, nothing, np.empty(0, np.bool_))  # row, step and off of the last update's steps

    @property
    def rule(self) -> Rule | None:
        """The rule in use; None = all machines run."""
        return self._rule

    @property
    def learned(self) -> str:
        """Return the levels of rest that the model has learned, as text; empty = none are in use."""
        return self._rule.text() if isinstance(self._rule, Levels) else ""

    def use(self, learned: Levels | None) -> None:
        """Take the model's levels of activity as the rule, if the settings ask for learned ones."""
        if not self._options.learned:
            return
        settle_ms = 0 if learned is None else learned.settle_ms
        self._start_delay_ms = max(self._options.start_delay_ms, settle_ms)
        channels = () if learned is None else learned.channels
        self._columns.pick(places(channels, self._channels), "E")
        self._rule, self._channels = learned, channels
        if learned is None:
            self._end_rest()

    def _end_rest(self) -> None:
        """Let all machines run, since there is no rule that would ever end their rest."""
        self._columns["off"][:] = False
        self._columns["idle_since"][:] = NEVER

    def update(self, closed: ClosedSteps) -> RunningSteps:
        """Take closed steps, and return which of them count."""
        everything = np.ones(len(closed), np.bool_)
        self._before = self._columns["off"].copy()
        self._latest = closed.row, closed.step, ~everything
        if not len(closed):
            return RunningSteps(everything, everything)

        self._columns.reserve(int(closed.row.max()) + 1)
        if self._rule is None and not self._start_delay_ms:
            return RunningSteps(everything, everything)

        idle = ~everything if self._rule is None else self._judge(closed).false
        kept = self._advance(closed, idle)
        self.counts[Count.STEPS_OFF] += int(np.count_nonzero(~kept))
        return RunningSteps(kept, ~idle)

    def _judge(self, closed: ClosedSteps) -> Truth:
        """Return what the rule says of each step; channels without a reading have their last value."""
        assert self._rule is not None, "asked only with a rule"
        source = places(self._channels, closed.names)
        read: Floats = np.full((len(closed), len(source)), np.nan, np.float32)
        read[:, source >= 0] = closed.values[:, source[source >= 0]]

        # The newest reading up to each step, of this batch or of the state.
        place = np.arange(len(closed))[:, None]
        begin = np.maximum.accumulate(np.where(first_of_run(closed.row), place[:, 0], 0))[:, None]
        newest = np.maximum.accumulate(np.where(np.isnan(read), -1, place), axis=0)
        value = self._columns["value"]
        held = np.where(newest >= begin, np.take_along_axis(read, np.maximum(newest, 0), axis=0), value[closed.row])
        last = last_of_run(closed.row)
        value[closed.row[last]] = held[last]
        return self._rule.judge(held)

    def _advance(self, closed: ClosedSteps, idle: Bools) -> Bools:
        """Take the machines through their states, and return which steps (K,) count."""
        options, row, step = self._options, closed.row, closed.step
        place = np.arange(len(row))
        first = first_of_run(row)
        begin = np.maximum.accumulate(np.where(first, place, 0))

        # Since which step the machine is idle.
        since_before = self._columns["idle_since"][row]
        ran = np.maximum.accumulate(np.where(idle, -1, place))
        head = np.maximum(ran + 1, begin)  # of the run of idle steps; for other steps meaningless
        since = np.where((ran < begin) & (since_before != NEVER), since_before, step[np.minimum(head, len(row) - 1)])
        off = idle & ((step - since) * options.step_ms >= options.stop_delay_ms)

        # A start is the first step that is not idle after one that was off.
        before = np.append(False, off[:-1])
        before[first] = self._columns["off"][row[first]]
        start = ~idle & before
        heard = np.append(NEVER, step[:-1])
        heard[first] = self._columns["heard"][row[first]]
        again = (heard != NEVER) & (step - heard > options.max_gap + 1)
        newest = np.maximum.accumulate(np.where(start | again, place, -1))
        started = np.where(newest >= begin, step[np.maximum(newest, 0)], self._columns["started"][row])
        starting = ~idle & (started != NEVER) & ((step - started) * options.step_ms < self._start_delay_ms)

        last = last_of_run(row)
        self._latest = row, step, off
        self._columns["idle_since"][row[last]] = np.where(idle[last], since[last], NEVER)
        self._columns["off"][row[last]] = off[last]
        self._columns["heard"][row[last]] = step[last]
        self._columns["started"][row[last]] = started[last]
        self.counts[Count.MACHINES_STARTED] += int(np.count_nonzero(start))
        self.counts[Count.MACHINES_STOPPED] += int(np.count_nonzero(off & ~before))
        kept: Bools = ~(idle | starting)
        return kept

    def off(self) -> Index:
        """Return the rows of machines that are off."""
        rows: Index = np.flatnonzero(self._columns["off"][: self._columns.rows])
        return rows

    def off_at(self, row: int, time: int) -> bool:
        """Return whether a machine was off at `time`, ms UTC: at its last step that began by then.

        That step has closed: with the last update, or the machine has sent nothing since.
        """
        rows, steps, off = self._latest
        begin, end = np.searchsorted(rows, (row, row + 1))
        at = begin + int(np.searchsorted(steps[begin:end], time // self._options.step_ms, side="right")) - 1
        if at >= begin:
            return bool(off[at])
        return row < len(self._before) and bool(self._before[row])

    def unknown(self) -> dict[int, str]:
        """Return the rows of which the rule knows nothing, as a channel never came, and that channel."""
        if self._rule is None:
            return {}
        values = self._columns["value"][: self._columns.rows]
        truth = self._rule.judge(values)
        rows = np.flatnonzero(~(truth.true | truth.false) & (self._columns["heard"][: len(values)] != NEVER))
        return {int(row): self._channels[int(np.isnan(values[row]).argmax())] for row in rows}

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def save_state(self) -> State:
        """Return everything that `load_state` needs to continue exactly from here."""
        counts = np.array([self.counts[name] for name in COUNTS], np.int64)
        return self._columns.save(channels=pack_names(self._channels), counts=counts)

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError, and changes nothing, if the state does not fit.

        Values of channels that the rule reads no longer are dropped. `use` must follow.
        """
        sizes = self._columns.check(state)
        channels = unpack_distinct(_STAGE, "channels", state["channels"])
        if len(channels) != sizes["E"]:
            raise unfit(_STAGE, "channels", f"{len(channels)} names", sizes["E"])
        self._columns.load(state)
        if self._options.learned:
            self._channels = tuple(channels)
        self._columns.pick(places(self._channels, channels), "E")
        if self._options.rule is None and not self._options.learned:
            self._end_rest()
        self.counts.update(zip(COUNTS, state["counts"].tolist(), strict=True))
