"""The margin of each asset under a budget of alarms a day: what would have fired at each margin, counted all along.

Beside the one limit in force, every asset is held against MARGINS times its percentile, with the delays and deadband of
`alerting`. The percentile does not depend on the margin, so the alarms of every margin are known, not only those that
came. Every EPOCH steps an asset gets the smallest margin whose rate is within AIM times the budget:

    rate of the asset = (its alarms + K * rate of all) / (its days + K)        K = 1 / budget, in days
    rate of all       = (all alarms + PRIOR_ALARMS * prior / prior at 1) / (all days + PRIOR_ALARMS / prior at 1)
    prior             = PRIOR_RATE * margin ** (-1 / PRIOR_SCALE) alarms per window

An empirical Bayes estimate (Robbins 1956): an asset that has shown little is judged by its partition, one that has
shown much by itself, and a fresh start by an exponential tail. What was seen fades with MEMORY_DAYS of an asset's own
time. At each margin the alarms of an asset count at most once in a 1 / COUNTED of the budget's interval: a fault that
comes and goes is one alarm, and a flood raises a rate to COUNTED times the budget at most. No margin exceeds the last.

Guaranteed: margins are a function of the windows so far, in their order, however they are cut into batches: they change
only where the partition's time, the largest end so far, enters another epoch.

It does not tell real faults from false alarms; both use up the budget. Percentile and delays stay as they are.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from monitor.core.arrays import LARGEST, NEVER, Doubles, Index, extend, first_of_run
from monitor.core.records import Bools, Floats, Ints, State, ThresholdBatch, Times

MARGINS = 2.0 ** (np.arange(-2, 73) / 12)  # (M,) 0.89 to 64; lower ones join alarms instead of giving more
EPOCH = 32  # steps between two settings of the margins
MEMORY_DAYS = 30.0
PRIOR_ALARMS = 2.0  # that the prior counts for, at margin 1
PRIOR_RATE = 1e-3
PRIOR_SCALE = 0.3
AIM = 1.25  # times the budget: by so much what the grid rounds up and what noise lifts fall short (docs/detection.md)
COUNTED = 4.0
KNOWN = 4.0  # alarms' worth of asset-days until chance alone keeps a rate within a factor of 2
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """What is to be expected of the assets of a partition."""

    assets: int
    asset_days: float  # seen, as far as they have not faded
    needed_days: float  # asset-days until a rate is known within a factor of 2
    alarms_per_day: float  # expected of an asset, mean of all
    margins: tuple[float, float, float]  # smallest, median, largest


class Budget:
    """The margins of all assets of one partition."""

    def __init__(
        self,
        *,
        alarms_per_day: float,
        margin: float,
        step_ms: int,
        on_delay_ms: int,
        off_delay_ms: int,
        deadband: float,
        gap_ms: int,
    ) -> None:
        """No budget where `alarms_per_day` is 0. `margin` is that of the limits given, the rest as in `MachineAlerts`.

        Raises ValueError if the budget is negative.
        """
        if alarms_per_day < 0:
            raise ValueError(f"alarms_per_day must not be negative, got {alarms_per_day}")
        self._budget = alarms_per_day
        self._given = margin
        self._step_ms = step_ms
        self._on_delay_ms, self._off_delay_ms = on_delay_ms, off_delay_ms
        self._quiet = (1 - deadband) * MARGINS
        self._gap_ms = gap_ms
        self._assets = 0  # rows in use, A
        self._time = NEVER  # of the partition, ms
        self._common = float(MARGINS[-1])  # margin of an asset that is new in this epoch
        M = len(MARGINS)
        self._since: Times = np.empty((0, M), np.int64)  # (>= A, M) when it rose above, firing: fell below; or NEVER
        self._firing: Bools = np.empty((0, M), np.bool_)  # (>= A, M)
        self._counted: Times = np.empty((0, M), np.int64)  # (>= A, M) when the last alarm counted fired, or NEVER
        self._alarms: Doubles = np.empty((0, M))  # (>= A, M) faded
        self._last: Times = np.empty(0, np.int64)  # (>= A,) end of the newest window if it is above or firing somewhere
        self._scored: Times = np.empty(0, np.int64)  # (>= A,) windows of this epoch
        self._days: Doubles = np.empty(0)  # (>= A,) faded
        self._margin: Doubles = np.empty(0)  # (>= A,)

    def update(self, assets: Ints, ends: Times, score: Floats, limits: ThresholdBatch) -> ThresholdBatch:
        """The limits under the budget of windows (B,) of rows `assets` (B,) that end at `ends` (B,), in their order.

        `limits` are those at the margin given. Windows of assets that are not warm are not counted.
        """
        if not self._budget or not len(assets):
            return limits
        base = limits.threshold.astype(np.float64) / self._given
        multiple = score / base
        time = np.maximum.accumulate(np.maximum(ends, self._time))
        epoch = time // (EPOCH * self._step_ms)
        margin = np.empty(len(assets))
        bounds = [*np.flatnonzero(first_of_run(epoch)).tolist(), len(assets)]
        for begin, end in pairwise(bounds):
            if epoch[begin] != self._time // (EPOCH * self._step_ms):
                self._renew()
            self._time = int(time[end - 1])
            self._reserve(int(assets[begin:end].max()) + 1)
            margin[begin:end] = self._margin[assets[begin:end]]
            own = begin + np.flatnonzero(limits.warm[begin:end])
            self._watch(assets[own].astype(np.intp), ends[own], multiple[own])
        threshold = np.minimum(margin * base, LARGEST).astype(np.float32)
        return ThresholdBatch(threshold, score > threshold, limits.warm)

    def forget(self, row: int) -> None:
        """As if this row had never had a window: it is another asset's now."""
        if row < self._assets:
            self._since[row] = self._counted[row] = self._last[row] = NEVER
            self._firing[row] = self._alarms[row] = self._scored[row] = self._days[row] = 0
            self._margin[row] = self._common

    def outlook(self) -> BudgetForecast | None:
        """What is to be expected from here on; None without a budget."""
        if not self._budget:
            return None
        rates = self._rates()
        own = rates[:-1] if self._assets else rates
        margins = _smallest(own, self._budget)
        expected = np.clip(self._budget, own[:, -1], own[:, 0])
        return BudgetForecast(
            self._assets,
            float(self._days[: self._assets].sum()),
            KNOWN / self._budget,
            float(expected.mean()),
            (float(margins.min()), float(np.median(margins)), float(margins.max())),
        )

    def _watch(self, rows: Index, ends: Times, multiple: Doubles) -> None:
        """Count what windows (n,) of one epoch would have fired at each margin."""
        np.add.at(self._scored, rows, 1)
        near = self._last[: self._assets] != NEVER
        near[rows[multiple > MARGINS[0]]] = True
        place = np.flatnonzero(near[rows])
        place = place[np.argsort(rows[place], kind="stable")]
        head = np.flatnonzero(first_of_run(rows[place]))
        turn = np.arange(len(place)) - np.repeat(head, np.diff(np.append(head, len(place))))
        place = place[np.argsort(turn, kind="stable")]  # the first window of each asset, the second of each, …
        for now in np.split(place, np.cumsum(np.bincount(turn))[:-1]):
            self._step(rows[now], ends[now], multiple[now])

    def _step(self, rows: Index, ends: Times, multiple: Doubles) -> None:
        """Take a window of each of `rows` (n,): what `MachineAlerts` does, at every margin."""
        firing, since = self._firing[rows], self._since[rows]  # (n, M)
        end, height = ends[:, None], multiple[:, None]
        since[~firing & (end - self._last[rows][:, None] > self._gap_ms)] = NEVER
        moved = np.where(firing, height < self._quiet, height > MARGINS)
        since = np.where(moved, np.where(since == NEVER, end, since), NEVER)
        turned = moved & (end - since >= np.where(firing, self._off_delay_ms, self._on_delay_ms))
        counts = turned & ~firing & (end - self._counted[rows] >= DAY_MS / (COUNTED * self._budget))
        self._alarms[rows] += counts
        self._counted[rows] = np.where(counts, end, self._counted[rows])
        firing, since = firing ^ turned, np.where(turned, NEVER, since)
        self._firing[rows], self._since[rows] = firing, since
        self._last[rows] = np.where((firing | (since != NEVER)).any(1), ends, NEVER)

    def _renew(self) -> None:
        """An epoch is over: let it fade what was before, and set the margins."""
        A = self._assets
        days = self._scored[:A] * (self._step_ms / DAY_MS)
        left = np.exp(-days / MEMORY_DAYS)
        self._days[:A] = self._days[:A] * left + days
        self._alarms[:A] *= left[:, None]
        self._scored[:A] = 0
        margins = _smallest(self._rates(), self._budget)
        self._margin[:A], self._common = margins[:-1], float(margins[-1])

    def _rates(self) -> Doubles:
        """Alarms a day at each margin (A + 1, M), falling: of each asset and, last, of one that has shown nothing."""
        A = self._assets
        prior = PRIOR_RATE * DAY_MS / self._step_ms * MARGINS ** (-1 / PRIOR_SCALE)
        weight = PRIOR_ALARMS / (PRIOR_RATE * DAY_MS / self._step_ms)  # days
        common = (self._alarms[:A].sum(0) + weight * prior) / (self._days[:A].sum() + weight)
        own = self._alarms[:A] + common / self._budget
        rates = np.vstack((own / (self._days[:A, None] + 1 / self._budget), common))
        falling: Doubles = np.maximum.accumulate(rates[:, ::-1], 1)[:, ::-1]
        return falling

    def _reserve(self, assets: int) -> None:
        """Make room for rows below `assets`."""
        if assets <= self._assets:
            return
        new = slice(self._assets, assets)
        self._since, self._counted = (extend(array, assets, NEVER) for array in (self._since, self._counted))
        self._last = extend(self._last, assets, NEVER)
        self._firing, self._scored = extend(self._firing, assets, 0), extend(self._scored, assets, 0)
        self._alarms, self._days = extend(self._alarms, assets, 0), extend(self._days, assets, 0)
        self._margin = extend(self._margin, assets, 0)
        self._margin[new] = self._common
        self._assets = assets

    def save_state(self) -> State:
        """Everything a later `load_state` needs to go on exactly from here, as arrays; nothing without a budget."""
        if not self._budget:
            return {}
        A = self._assets
        state: State = {name: getattr(self, f"_{name}")[:A].copy() for name in _KINDS}
        return state | {"time": np.array([self._time], np.int64), "common": np.array([self._common])}

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave; a state without a budget has nothing, and nothing changes.

        Raises ValueError, and changes nothing, if it does not fit.
        """
        if not self._budget or not state:
            return
        _check(state)
        for name in _KINDS:
            setattr(self, f"_{name}", state[name].copy())
        self._assets, self._time, self._common = len(state["last"]), int(state["time"][0]), float(state["common"][0])


_KINDS = {
    "since": ("i8", True),
    "firing": ("?", True),
    "counted": ("i8", True),
    "alarms": ("f8", True),
    "last": ("i8", False),
    "scored": ("i8", False),
    "days": ("f8", False),
    "margin": ("f8", False),
}  # arrays of the state: their type, and whether they have a column for each margin


def _smallest(rates: Doubles, budget: float) -> Doubles:
    """The smallest margins (n,) whose falling rates (n, M) are within AIM times the budget; the last where none is."""
    level = np.minimum(np.count_nonzero(rates > AIM * budget, axis=1), len(MARGINS) - 1)
    margins: Doubles = MARGINS[level]
    return margins


def _check(state: State) -> None:
    """Raises ValueError that says what does not fit in a saved state."""
    wanted = {*_KINDS, "time", "common"}
    if state.keys() != wanted:
        raise ValueError(f"state of the alarm budget has {sorted(state)}, expected {sorted(wanted)}")
    A, M = state["last"].size, len(MARGINS)
    shapes = {name: (kind, (A, M) if wide else (A,)) for name, (kind, wide) in _KINDS.items()}
    for name, (kind, shape) in {**shapes, "time": ("i8", (1,)), "common": ("f8", (1,))}.items():
        array = state[name]
        if array.dtype != np.dtype(kind) or array.shape != shape:
            raise ValueError(f"state of the alarm budget: {name} is {array.dtype} {array.shape}, expected {shape}")
        if kind == "f8" and not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(f"state of the alarm budget: {name} is not a number of at least 0")
    if (state["scored"] < 0).any():
        raise ValueError("state of the alarm budget: a number of windows is negative")
    margins = np.append(state["margin"], state["common"])
    if ((margins < MARGINS[0]) | (margins > MARGINS[-1])).any():
        raise ValueError(f"state of the alarm budget: a margin lies outside {MARGINS[0]:.2f} to {MARGINS[-1]:.0f}")
