"""Sensor checks: cheap checks of each channel that tell a faulty sensor from a faulty machine.

    frozen    one value repeated far more often than in the channel's history, within its range there
    dropout   no reading for far longer than in the history, while other channels of the asset have some; of a slow
              channel, whose value holds between two readings, as long again as the value has held
    jump      a spike of one step, ten times the largest change in the history, with the other channels at rest
    limits    outside the limits that the settings give the channel

A channel is judged by its profile. Without one it is judged by limits only. The cells of a faulty channel are masked:
they count as not observed, for the score and for training, back to the beginning of the fault as far as the window
reaches. The scorer puts the expected values in their place.

A machine that stops must not be masked, though it looks like faulty sensors: it freezes many channels at once, often
at a value they never had while it ran. So a channel is frozen only if its value is within its range, if no other
channel came to rest within TOGETHER steps of it, and if at most half of the judged channels are at rest. A channel
that was once found at rest with the machine stays so until it moves. A spike is a jump only if no other channel
changed by more than it usually does.

Guaranteed: everything is a function of the sequence of windows, however it is cut into batches. The work is done on
columns over all assets. Only assets with masked cells, next to none in a healthy plant, are visited one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import NEVER, Index, places
from monitor.core.decode.select import first_match
from monitor.core.join import join_windows
from monitor.core.records import Bools, Count, Floats, State, Times, WindowBatch
from monitor.core.rules import Rows, Rules
from monitor.core.sensors import mask
from monitor.core.sensors.mask import CellMask, SensorFaults, hide, join_faults
from monitor.core.sensors.profile import SensorProfile
from monitor.core.state import Column, Columns, Table, check_state, pack_names, unfit, unpack_distinct
from monitor.core.windows.new_steps import NewSteps, StepCounts

FAULTS = ("", "limits", "dropout", "frozen", "jump")  # by number; of several the first is named
LIMITS, DROPOUT, FROZEN, JUMP = range(1, 5)
LEAST = 6  # repetitions or steps; one and a half times as many as short holes are filled for
FACTOR = 3  # if rests end by chance, and the longest of n was r, one of 3 r has a probability of 1 / n^3
JUMPS = 10.0  # times the largest change in the history
TOGETHER = 5  # steps
PAIRS = 2**20  # of channels compared at once: 8 MB

_STAGE = "sensors"
_TABLE: Table = {  # of each asset and channel, after the asset's newest window
    "channels": Column("u1", ("bytes",)),
    "counts": Column("i8", (2,), low=0),
    "end": Column("i8", fill=NEVER),  # step of the newest window
    "value": Column("f4", ("A", "C"), fill=np.nan),  # the newest reading
    "repeats": Column("i8", ("A", "C")),  # of that value in a row
    "since": Column("i8", ("A", "C"), fill=NEVER),  # step at which it was read first
    "seen": Column("i8", ("A", "C"), fill=NEVER),  # step of the newest reading
    "silent": Column("i8", ("A", "C")),  # steps since then in which other channels had readings
    "holding": Column("i8", ("A", "C")),  # steps in which the value of the newest reading held
    "spiked": Column("i8", ("A", "C"), fill=NEVER),  # step of the newest jump
    "frozen": Column("?", ("A", "C")),
    "dropped": Column("?", ("A", "C")),
    "machine_rest": Column("?", ("A", "C")),  # at rest because the machine is
}


@dataclass(frozen=True, slots=True)
class SensorOptions:
    """How sensors are checked. The settings check the ranges."""

    length: int  # L, steps of a window
    step_ms: int
    min_observed: float  # share of a window's cells that must be left for it to be scored
    skip: Sequence[str]  # globs of channels that are judged by low and high only


Unread = Callable[[Rows], Bools | None]  # rows (n,) of assets -> channels (n, C) that are not read of them


class _Marks(NamedTuple):
    """Where (T, C) something was found at each new step."""

    outside: Bools
    dropped: Bools
    frozen: Bools
    jumps: Bools  # at the step after
    machine_rest: Bools  # no fault: at rest because the machine is


class Sensors:
    """The state of every sensor of one partition. `counts` only grows."""

    def __init__(self, options: SensorOptions, rules: Rules | None = None) -> None:
        """`rules` give the smallest and the largest possible reading of a channel."""
        self._rules = rules or Rules()
        self.counts: dict[str, int] = {Count.CELLS_DOUBTED: 0, Count.WINDOWS_SKIPPED_DOUBTED: 0}
        self._options = options
        self._length = options.length
        self._step_ms = options.step_ms
        self._channels: tuple[str, ...] = ()
        self.sensors: tuple[str, ...] = ()  # (C,) the sensor of each channel; several aggregates are of one
        self._apart = np.empty((0, 0), np.bool_)  # (C, C) channels of different sensors
        self._firsts: list[int] = []  # the first channel of each sensor
        self._columns = Columns(_STAGE, _TABLE)
        self._mask = CellMask(options.length)

    def use(self, channels: tuple[str, ...], profile: SensorProfile | None) -> None:
        """Judge these channels by this profile from the next window on; the state of known channels is kept."""
        if channels != self._channels:
            source = places(channels, self._channels)
            self._columns.pick(source)
            self._mask.pick(source)
            self._channels = channels

        self.sensors = tuple(self._rules.names_of(name)[-1] for name in channels)
        sensors = np.array(self.sensors, np.object_)
        self._apart = np.asarray(sensors[:, None] != sensors, np.bool_)
        self._firsts = [self.sensors.index(name) for name in dict.fromkeys(self.sensors)]
        own = [self._rules.channel(name) for name in channels]
        self._low = np.array([rule.low for rule in own], np.float32)
        self._high = np.array([rule.high for rule in own], np.float32)
        self._limited = bool(np.isfinite([self._low, self._high]).any())

        self._profile = profile or SensorProfile.unknown(len(channels))
        rest, hole, change = self._profile.rest, self._profile.hole, self._profile.change
        largest = np.minimum(JUMPS * change.astype(np.float64), np.finfo(np.float32).max)
        self._rest = self._tolerated(rest, np.maximum(LEAST, FACTOR * (rest + 1)))  # (C,)
        self._hole = self._tolerated(hole, np.maximum(LEAST, FACTOR * (hole + 1)))
        self._jump = self._tolerated(change, largest)

    def _tolerated(self, usual: Floats, limit: npt.NDArray[Any]) -> Floats:
        """Return `limit` (C,), and infinity for channels that are skipped or whose `usual` value is not known."""
        globs, names = tuple(self._options.skip), map(self._rules.names_of, self._channels)
        skipped = np.array([first_match(globs, *own) >= 0 for own in names], np.bool_)
        return np.where((usual < 0) | skipped, np.inf, limit).astype(np.float32)

    def update(self, windows: WindowBatch, unread: Unread = lambda _: None) -> tuple[WindowBatch, SensorFaults | None]:
        """Mask the cells of faulty sensors and drop windows with too few cells left. Faults are None if none is found.

        The faults have a row for each window that is returned. Channels that are not read of an asset have no fault,
        and their cells are masked, too.
        """
        if not len(windows):
            return windows, None
        self._columns.reserve(int(windows.assets.max()) + 1)
        steps = NewSteps(windows, self._columns["end"], self._step_ms)
        if not steps.cuts:
            return self._judge(windows, steps, unread)

        # An asset has a second run of steps after a gap: each part is judged after the part before has left its state.
        parts = []
        for begin, end in pairwise((0, *steps.cuts, len(windows))):
            part = windows.take(np.arange(begin, end))
            parts.append(self._judge(part, NewSteps(part, self._columns["end"], self._step_ms), unread))
        masked, faults = zip(*parts, strict=True)
        return join_windows(masked), join_faults(masked, faults)

    def _judge(self, windows: WindowBatch, steps: NewSteps, unread: Unread) -> tuple[WindowBatch, SensorFaults | None]:
        """Do the same as `update` for windows of which no asset has a second run of steps."""
        counts = StepCounts(steps, self._columns)
        marks = self._marks(steps, counts, windows)
        if (apart := unread(steps.row)) is not None:
            marks = _Marks(*(each & ~apart for each in marks))

        faults, hidden = None, unread(windows.assets)
        any_mark = marks.outside | marks.dropped | marks.frozen
        if any_mark.any() or marks.jumps.any() or self._mask.affects(steps):
            begun = [
                (marks.frozen & ~steps.shifted(marks.frozen, self._columns["frozen"]), counts.since),
                (marks.dropped & ~steps.shifted(marks.dropped, self._columns["dropped"]), counts.seen_at),
            ]
            cells, found = self._mask.update(steps, any_mark, begun, marks.jumps)
            self.counts[Count.CELLS_DOUBTED] += found
            faults = self._faults(windows, cells, steps, counts, marks)
            if hidden is not None:
                faults.fault[hidden] = 0  # a jump lasts as long as a window holds it
            windows, faults = self._masked(windows, cells, faults, hidden)
        elif hidden is not None:
            windows = hide(windows, hidden)

        self._keep(steps, counts, marks)
        return windows, faults

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)
        self._mask.forget(row)

    def _marks(self, steps: NewSteps, counts: StepCounts, windows: WindowBatch) -> _Marks:
        frozen, dropped = counts.repeats >= self._rest, counts.silent >= np.maximum(self._hole, counts.holding)

        machine_rest = np.zeros_like(frozen)
        if frozen.any():
            machine_rest = frozen & counts.in_this_rest(self._with_machine(frozen, counts), "machine_rest")
            frozen &= ~machine_rest

        if dropped.any():
            dropped &= counts.seen_at(slice(None)) != NEVER  # a channel that the asset never had is not missed

        outside = np.zeros_like(frozen)
        if self._limited:
            outside = steps.seen & ((steps.values < self._low) | (steps.values > self._high))
        return _Marks(outside, dropped, frozen, self._jumps(steps, counts, windows), machine_rest)

    def _faults(
        self, windows: WindowBatch, masked: Bools, steps: NewSteps, counts: StepCounts, marks: _Marks
    ) -> SensorFaults:
        """Return the faults of each window at its newest step; `masked` (B, C, L)."""
        tail, back = steps.tail, np.argsort(steps.order)  # windows asset by asset, and back into their own order
        spiked = counts.latest(marks.jumps, steps.step - 1, "spiked")
        recent = steps.step[:, None] - spiked < self._length
        found = [each[tail] for each in (marks.outside, marks.dropped, marks.frozen, recent)]
        fault = np.select(found, [LIMITS, DROPOUT, FROZEN, JUMP], 0)[back].astype(np.int8)
        dropout, frozen = fault == DROPOUT, fault == FROZEN

        silent_since = (counts.seen_at(tail)[back] + 1) * self._step_ms
        frozen_since = (counts.since(tail)[back] + 1) * self._step_ms
        end = np.broadcast_to(windows.ends[:, None], fault.shape)

        # Of limits and jumps the score is how many cells of the window are masked.
        some, many = np.flatnonzero(fault.any(1)), np.zeros(fault.shape)
        many[some] = masked[some].sum(2)
        score = np.select([dropout, frozen], [counts.silent[tail][back], counts.repeats[tail][back]], many)
        return SensorFaults(
            fault,
            score.astype(np.float32),
            np.select([dropout, frozen], [self._hole_of(counts, tail)[back], self._rest], 1).astype(np.float32),
            np.select([dropout, frozen], [silent_since, frozen_since], end),
        )

    def _hole_of(self, counts: StepCounts, rows: Index) -> Floats:
        """Return the steps (n, C) without a reading from which on a channel is missed, at `rows` (n,) of the steps."""
        return np.maximum(self._hole, counts.holding[rows]).astype(np.float32)

    def _masked(
        self, windows: WindowBatch, masked: Bools, faults: SensorFaults, hidden: Bools | None
    ) -> tuple[WindowBatch, SensorFaults]:
        """Return windows and faults with the cells `masked` (B, C, L), without windows of which too little is left.

        The channels `hidden` (B, C) are masked, too, and count neither as left nor as gone.
        """
        place = np.flatnonzero(masked.any((1, 2)))  # of a few assets, mostly
        result = windows.without(masked)
        read = np.ones(masked.shape[:2], np.bool_) if hidden is None else ~hidden
        left = np.count_nonzero(result.observed[place] & read[place, :, None], axis=(1, 2))
        cells = np.count_nonzero(read[place], axis=1) * masked.shape[2]
        if hidden is not None:
            result = hide(result, hidden)

        few = place[left / np.maximum(cells, 1) < self._options.min_observed]
        if not len(few):
            return result, faults
        self.counts[Count.WINDOWS_SKIPPED_DOUBTED] += len(few)
        kept = np.delete(np.arange(len(windows)), few)
        return result.take(kept), faults.take(kept)

    def _with_machine(self, frozen: Bools, counts: StepCounts) -> Bools:
        """Return where (T, C) a channel that seems `frozen` is at rest because the machine is."""
        rows = np.flatnonzero(frozen.any(1))
        judged = np.isfinite(self._rest)
        near = self._near(counts.since(rows), judged & (counts.repeats[rows] > 0))
        most = 2 * self._sensors_of(frozen[rows]) > self._sensors_of(judged)
        value = counts.value[rows]
        within = (value >= self._profile.low) & (value <= self._profile.high)

        found = np.zeros_like(frozen)
        found[rows] = frozen[rows] & (~within | near | most[:, None])
        return found

    def _sensors_of(self, marks: Bools) -> Times:
        """Return the number (n,) of sensors of which a channel is marked in `marks` (n, C)."""
        any_of_sensor: Bools = np.asarray(marks @ ~self._apart, np.bool_)
        number: Times = np.count_nonzero(any_of_sensor[..., self._firsts], axis=-1)
        return number

    def _near(self, since: Times, resting: Bools) -> Bools:
        """Return whether (n, C) another sensor of the channels `resting` (n, C) came to rest about when this one did.

        `since` (n, C) are the steps at which the channels came to rest.
        """
        n, C = since.shape
        found = np.empty((n, C), np.bool_)
        for begin in range(0, n, size := max(1, PAIRS // C**2)):
            part = slice(begin, begin + size)
            apart = np.abs(since[part, :, None] - since[part, None, :])  # (n, C, C)
            found[part] = ((apart <= TOGETHER) & resting[part, None, :] & self._apart).any(2)
        return found

    def _jumps(self, steps: NewSteps, counts: StepCounts, windows: WindowBatch) -> Bools:
        """Return where (T, C) a reading shows that the reading before it was a jump."""
        usual = self._profile.change
        with np.errstate(over="ignore"):
            found: Bools = np.abs(steps.values - counts.prior) > self._jump
            if not found.any():
                return found

            # Of the few candidates: base, peak and now are three steps in a row of the same window.
            found &= (steps.column >= 2)[:, None]
            rows = np.flatnonzero(found.any(1))
            at, column = steps.window[rows], steps.column[rows]
            peak, base, now = windows.values[at, :, column - 1], windows.values[at, :, column - 2], steps.values[rows]
            seen = windows.observed[at, :, column - 1] & windows.observed[at, :, column - 2] & steps.seen[rows]

            # Up and down again by far more than usual, back where it was, and no other sensor moved.
            up, down = np.where(seen, peak - base, 0), np.where(seen, now - peak, 0)
            back = np.abs(now - base) <= usual
            sharp = (np.abs(up) > self._jump) & (np.abs(down) > self._jump) & (up * down < 0) & back
            moved = np.maximum(np.abs(up), np.abs(down)) > np.where(usual < 0, np.inf, usual)
        with_others = (moved & np.asarray(moved @ self._apart, np.bool_)).any(1, keepdims=True)
        found[rows] &= sharp & ~with_others
        return found

    def _keep(self, steps: NewSteps, counts: StepCounts, marks: _Marks) -> None:
        """Write the state after the newest step of each asset."""
        last = steps.newest
        state = {
            "end": steps.step[last],
            "value": counts.value[last],
            "repeats": counts.repeats[last],
            "since": counts.since(last),
            "seen": counts.seen_at(last),
            "silent": counts.silent[last],
            "holding": counts.holding[last],
            "spiked": counts.latest(marks.jumps, steps.step - 1, "spiked")[last],
            "frozen": marks.frozen[last],
            "dropped": marks.dropped[last],
            "machine_rest": marks.machine_rest[last],
        }
        rows = steps.row[last]
        for name, array in state.items():
            self._columns[name][rows] = array

    def save_state(self) -> State:
        """Return everything that `load_state` needs to continue exactly from here, as arrays."""
        return self._columns.save(
            channels=pack_names(self._channels),
            counts=np.array(list(self.counts.values()), np.int64),
            **self._mask.save(len(self._channels)),
        )

    def load_state(self, state: State) -> None:
        """Continue from a saved state; `use` must follow.

        Raises ValueError, and changes nothing, if the state does not fit.
        """
        sizes = check_state(_STAGE, state, {**_TABLE, **mask.TABLE}, P=self._length - 1)
        channels = unpack_distinct(_STAGE, "channels", state["channels"])
        if len(channels) != sizes["C"]:
            raise unfit(_STAGE, "channels", f"{len(channels)} names", sizes["C"])
        self._mask.check(_STAGE, state)

        self._columns.load(state)
        self._mask.load(state)
        self._channels = tuple(channels)
        self.counts = dict(zip(self.counts, state["counts"].tolist(), strict=True))
