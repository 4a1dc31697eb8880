"""Tells a faulty sensor from a faulty machine: cheap checks of each channel, beside the model.

    frozen    one value repeated far more often than in the channel's history, within its range there
    dropout   no reading for far longer than in the history, while other channels of the asset have some
    jump      a spike of one step, ten times the largest change in the history, with the other channels at rest
    limits    outside the limits that the settings give the channel

A channel is judged by its habits (`habits`); without them only by limits. The cells of a channel that is found faulty
are masked: they count as not observed, for the score and for training, back to where the fault began as far as the
window reaches. The detector puts in their place what it expects.

What looks like a faulty sensor and is a machine must not be masked. A machine that stops freezes many channels at once,
often at a value it never had while it ran. So a channel is frozen only if it stands within its range, if no other one
came to rest within TOGETHER steps of it, and if at most half of the channels that usually move are at rest; what was
once taken for the machine's rest stays so until the channel moves. A spike is a jump only if no other channel moved
more than it usually does.

Guaranteed: everything is a function of the sequence of windows, however it is cut into batches. Work is done on columns
over all assets; only assets with masked cells, next to none in a healthy plant, are looked at one by one.
It knows no score, and raises no alert (see `sensor_alerts`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.arrays import NEVER, extend, pick_columns
from monitor.core.records import Bools, Floats, State, Times, WindowBatch, join_windows
from monitor.core.sensors.mask import CellMask, SensorFaults, join_faults
from monitor.core.sensors.profile import SensorProfile
from monitor.core.state import pack_names, unpack_names
from monitor.core.windows.new_steps import Counts, NewSteps

FAULTS = ("", "limits", "dropout", "frozen", "jump")  # by number; of several the first is named
LIMITS, DROPOUT, FROZEN, JUMP = range(1, 5)
LEAST = 6  # repetitions or steps; one and a half times as many as short holes are filled for
FACTOR = 3  # if rests end by chance, and the longest of n was r, one of 3 r has a probability of 1 / n^3
JUMPS = 10.0  # times the largest change in the history
TOGETHER = 5  # steps
PAIRS = 2**20  # of channels compared at once: 8 MB
_HELD: dict[str, tuple[str, float]] = {  # of each asset and channel, after its newest window: dtype, first value
    "value": ("f4", np.nan),  # read last
    "repeats": ("i8", 0),  # of that value in a row
    "since": ("i8", NEVER),  # step at which it was read first
    "seen": ("i8", NEVER),  # step of the newest reading
    "silent": ("i8", 0),  # steps since, with readings of other channels
    "spiked": ("i8", NEVER),  # step of the newest jump
    "frozen": ("?", 0),  # whether it was found so
    "dropped": ("?", 0),
    "spared": ("?", 0),  # whether it is at rest because the machine is
}


class _Faults(NamedTuple):
    """Where (T, C) what was found at each new step."""

    outside: Bools
    dropped: Bools
    frozen: Bools
    jumps: Bools  # at the step after
    spared: Bools  # no fault: at rest because the machine is


class Sensors:
    """The state of every sensor of one partition. `counts` is cumulative."""

    def __init__(
        self,
        *,
        length: int,
        step_ms: int,
        min_observed: float,
        low: Mapping[str, float],
        high: Mapping[str, float],
        skip: Sequence[str],
    ) -> None:
        """Limits by channel, in its own unit; channels in `skip` are judged by nothing but these."""
        self._length, self._step_ms, self._min_observed = length, step_ms, min_observed
        self._given_low, self._given_high, self._skip = low, high, frozenset(skip)
        self.counts = {"cells_doubted": 0, "windows_skipped_doubted": 0}
        self._channels: tuple[str, ...] = ()
        self._end: Times = np.empty(0, np.int64)  # (A,) step of the newest window
        self._held = {name: np.empty((0, 0), dtype) for name, (dtype, _) in _HELD.items()}  # (A, C)
        self._doubts = CellMask(length)

    def use(self, channels: tuple[str, ...], profile: SensorProfile | None) -> None:
        """Judge these channels by these habits from the next window on; what is known of them is kept."""
        known = {name: column for column, name in enumerate(self._channels)}
        source = np.array([known.get(name, -1) for name in channels], np.intp)
        if channels != self._channels:
            self._held = {name: pick_columns(self._held[name], source, fill) for name, (_, fill) in _HELD.items()}
            self._doubts.remap(source)
            self._channels = channels
        self._low = np.array([self._given_low.get(name, -np.inf) for name in channels], np.float32)
        self._limited = not {*self._given_low, *self._given_high}.isdisjoint(channels)
        self._high = np.array([self._given_high.get(name, np.inf) for name in channels], np.float32)
        nothing = np.full(len(channels), -1, np.float32)
        self._usual = profile or SensorProfile(nothing, nothing, nothing, nothing, nothing)
        skipped = np.array([name in self._skip for name in channels], np.bool_)

        def limit(habit: Floats, allowed: npt.NDArray[Any]) -> Floats:
            return np.where((habit < 0) | skipped, np.inf, allowed).astype(np.float32)

        rest, hole, change = self._usual.rest, self._usual.hole, self._usual.change
        self._rest = limit(rest, np.maximum(LEAST, FACTOR * (rest + 1)))  # (C,)
        self._hole = limit(hole, np.maximum(LEAST, FACTOR * (hole + 1)))
        self._jump = limit(change, np.minimum(JUMPS * change.astype(np.float64), np.finfo(np.float32).max))

    def update(self, windows: WindowBatch) -> tuple[WindowBatch, SensorFaults | None]:
        """The windows with masked cells marked, without those of which too little is left; None if all is well."""
        if not len(windows):
            return windows, None
        self._reserve(int(windows.assets.max()) + 1)
        if not (steps := NewSteps(windows, self._end, self._step_ms)).cuts:
            return self._judge(windows, steps)
        parts = []
        for begin, end in pairwise((0, *steps.cuts, len(windows))):
            part = windows.take(np.arange(begin, end))
            parts.append(self._judge(part, NewSteps(part, self._end, self._step_ms)))
        marked, findings = zip(*parts, strict=True)
        return join_windows(marked), join_faults(marked, findings)

    def _judge(self, windows: WindowBatch, steps: NewSteps) -> tuple[WindowBatch, SensorFaults | None]:
        """The same for windows among which no asset has a second run of steps."""
        counts = Counts(steps, self._held)
        faults = self._faults(steps, counts, windows)
        frozen, dropped, findings = faults.frozen, faults.dropped, None
        if (marks := faults.outside | dropped | frozen).any() or faults.jumps.any() or self._doubts.touch(steps):
            begun = [
                (frozen & ~steps.shifted(frozen, self._held["frozen"]), counts.since),
                (dropped & ~steps.shifted(dropped, self._held["dropped"]), counts.seen_at),
            ]
            masked, cells = self._doubts.update(steps, marks, begun, faults.jumps)
            self.counts["cells_doubted"] += cells
            findings = self._findings(windows, masked, steps, counts, faults)
            windows, findings = self._marked(windows, masked, findings)
        self._hold(steps, counts, faults)
        return windows, findings

    def forget(self, row: int) -> None:
        """As if this row had never had a window: it is another asset's now."""
        if row < len(self._end):
            self._end[row] = NEVER
            for name, (_, fill) in _HELD.items():
                self._held[name][row] = fill
            self._doubts.forget(row)

    def _faults(self, steps: NewSteps, counts: Counts, windows: WindowBatch) -> _Faults:
        frozen, dropped = counts.repeats >= self._rest, counts.silent >= self._hole
        spared = np.zeros_like(frozen)
        if frozen.any():
            spared = frozen & counts.in_this_rest(self._of_machines(frozen, counts), "spared")
            frozen &= ~spared
        if dropped.any():
            dropped &= counts.seen_at(slice(None)) != NEVER  # a channel that the asset never had is not missed
        outside = np.zeros_like(frozen)
        if self._limited:
            outside = steps.seen & ((steps.values < self._low) | (steps.values > self._high))
        return _Faults(outside, dropped, frozen, self._jumps(steps, counts, windows), spared)

    def _findings(
        self,
        windows: WindowBatch,
        masked: Bools,
        steps: NewSteps,
        counts: Counts,
        faults: _Faults,
    ) -> SensorFaults:
        """What `faults` say of each window at its newest step."""
        tail, back = steps.tail, np.argsort(steps.order)  # of each window, asset by asset; and into their own order
        spiked = counts.latest(faults.jumps, steps.step - 1, "spiked")
        recent = steps.step[:, None] - spiked < self._length
        found = [each[tail] for each in (faults.outside, faults.dropped, faults.frozen, recent)]
        fault = np.select(found, [LIMITS, DROPOUT, FROZEN, JUMP], 0)[back].astype(np.int8)
        dropout, frozen = fault == DROPOUT, fault == FROZEN
        end = np.broadcast_to(windows.ends[:, None], fault.shape)
        begin = (counts.seen_at(tail)[back] + 1) * self._step_ms, (counts.since(tail)[back] + 1) * self._step_ms
        some, many = np.flatnonzero(fault.any(1)), np.zeros(fault.shape)
        many[some] = masked[some].sum(2)
        score = np.select([dropout, frozen], [counts.silent[tail][back], counts.repeats[tail][back]], many)
        return SensorFaults(
            fault,
            score.astype(np.float32),
            np.select([dropout, frozen], [self._hole, self._rest], 1).astype(np.float32),
            np.select([dropout, frozen], begin, end),
        )

    def _marked(self, windows: WindowBatch, masked: Bools, findings: SensorFaults) -> tuple[WindowBatch, SensorFaults]:
        place = np.flatnonzero(masked.any((1, 2)))  # of a few assets, mostly
        values, observed, part = windows.values.copy(), windows.observed.copy(), masked[place]
        values[place] = np.where(part & ~observed[place], np.float32(np.nan), values[place])  # nothing was read there
        observed[place] &= ~part
        marked = replace(windows, values=values, observed=observed, masked=masked)
        share = np.count_nonzero(observed[place], axis=(1, 2)) / part[:1].size
        few = place[share < self._min_observed]
        if not len(few):
            return marked, findings
        self.counts["windows_skipped_doubted"] += len(few)
        kept = np.delete(np.arange(len(windows)), few)
        return marked.take(kept), findings.take(kept)

    def _of_machines(self, frozen: Bools, counts: Counts) -> Bools:
        """Where (T, C) a channel that is `frozen` so far is at rest because the machine is."""
        rows = np.flatnonzero(frozen.any(1))
        judged = np.isfinite(self._rest)
        near = self._near(counts.since(rows), judged & (counts.repeats[rows] > 0))
        most = 2 * frozen[rows].sum(1) > np.count_nonzero(judged)
        value = counts.value[rows]
        within = (value >= self._usual.low) & (value <= self._usual.high)
        found = np.zeros_like(frozen)
        found[rows] = frozen[rows] & (~within | near | most[:, None])
        return found

    @staticmethod
    def _near(since: Times, resting: Bools) -> Bools:
        """Whether (n, C) another channel of those `resting` (n, C) came to rest about when this one did."""
        n, C = since.shape
        found, others = np.empty((n, C), np.bool_), ~np.eye(C, dtype=np.bool_)
        for begin in range(0, n, size := max(1, PAIRS // C**2)):
            part = slice(begin, begin + size)
            apart = np.abs(since[part, :, None] - since[part, None, :])  # (n, C, C)
            found[part] = ((apart <= TOGETHER) & resting[part, None, :] & others).any(2)
        return found

    def _jumps(self, steps: NewSteps, counts: Counts, windows: WindowBatch) -> Bools:
        """Where (T, C) a reading shows that the one before it was a jump."""
        with np.errstate(over="ignore"):
            found: Bools = np.abs(steps.values - counts.prior) > self._jump
            if not found.any():
                return found
            found &= (steps.column >= 2)[:, None]
            rows = np.flatnonzero(found.any(1))
            at, column = steps.window[rows], steps.column[rows]
            peak, base, now = windows.values[at, :, column - 1], windows.values[at, :, column - 2], steps.values[rows]
            seen = windows.observed[at, :, column - 1] & windows.observed[at, :, column - 2] & steps.seen[rows]
            up, down = np.where(seen, peak - base, 0), np.where(seen, now - peak, 0)
            back = np.abs(now - base) <= self._usual.change
            sharp = (np.abs(up) > self._jump) & (np.abs(down) > self._jump) & (up * down < 0) & back
            moved = np.maximum(np.abs(up), np.abs(down)) > np.where(self._usual.change < 0, np.inf, self._usual.change)
        found[rows] &= sharp & (moved.sum(1) == 1)[:, None]
        return found

    def _hold(self, steps: NewSteps, counts: Counts, faults: _Faults) -> None:
        """Keep what the newest steps leave behind."""
        last = steps.newest
        spiked = counts.latest(faults.jumps, steps.step - 1, "spiked")
        value, repeats, silent = counts.value[last], counts.repeats[last], counts.silent[last]
        since, seen = counts.since(last), counts.seen_at(last)
        flags = (faults.frozen[last], faults.dropped[last], faults.spared[last])
        now = (value, repeats, since, seen, silent, spiked[last], *flags)
        for name, left in zip(_HELD, now, strict=True):
            self._held[name][steps.row[last]] = left
        self._end[steps.row[last]] = steps.step[last]

    def _reserve(self, assets: int) -> None:
        self._end = extend(self._end, assets, NEVER)
        self._held = {name: extend(self._held[name], assets, fill) for name, (_, fill) in _HELD.items()}

    def save_state(self) -> State:
        """Everything a later `load_state` needs to go on exactly from here, as arrays."""
        A = int(np.count_nonzero(np.cumsum(self._end[::-1] != NEVER)))  # rows up to the last one in use
        held = {name: array[:A].copy() for name, array in self._held.items()}
        counts = np.array(list(self.counts.values()), np.int64)
        names = pack_names(self._channels)
        return {"channels": names, "counts": counts, "end": self._end[:A].copy(), **held, **self._doubts.save_state()}

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave; from nothing, as in older snapshots. `use` must follow.

        Raises ValueError, and changes nothing, if it does not fit.
        """
        if not state:
            return
        names = {"channels", "counts", "end", *_HELD}
        doubts = {key: array for key, array in state.items() if key not in names}
        if not names <= state.keys():
            raise ValueError(f"state of sensors lacks {sorted(names - state.keys())}")
        channels = tuple(unpack_names(state["channels"]))
        if len(set(channels)) < len(channels):
            raise ValueError("state of sensors names a channel twice")
        A, C = state["end"].size, len(channels)
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {"counts": ("i8", (2,)), "end": ("i8", (A,))}
        shapes |= {name: (dtype, (A, C)) for name, (dtype, _) in _HELD.items()}
        for name, (dtype, shape) in shapes.items():
            if state[name].dtype != np.dtype(dtype) or state[name].shape != shape:
                found = f"{state[name].dtype} {state[name].shape}"
                raise ValueError(f"state of sensors: {name} is {found}, expected {np.dtype(dtype)} {shape}")
        self._doubts.load_state(doubts, A, C)
        self._channels = channels
        self.counts = dict(zip(self.counts, state["counts"].tolist(), strict=True))
        self._end = state["end"].copy()
        self._held = {name: state[name].copy() for name in _HELD}
