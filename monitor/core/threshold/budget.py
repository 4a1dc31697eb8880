"""The margin of each asset under a budget of alarms a day, found by counting what would have fired at every margin.

In addition to the limit in force, every score is compared with MARGINS times the asset's percentile, with the delays
and the deadband of `alerting`. The percentile does not depend on the margin, so the alarms of every margin are known,
not only those that were published. Every EPOCH steps an asset gets the smallest margin whose rate is within AIM times
the budget:

    rate of the asset = (its alarms + K * rate of all) / (its days + K)        K = 1 / its budget, in days
    rate of all       = (all alarms + PRIOR_ALARMS * prior / prior at 1) / (all days + PRIOR_ALARMS / prior at 1)
    prior             = PRIOR_RATE * margin ** (-1 / PRIOR_SCALE) alarms per window

This is an empirical Bayes estimate (Robbins 1956). An asset with little history is rated like its partition, an asset
with much history by itself, and a partition without history by an exponential tail. Counts fade with MEMORY_DAYS of an
asset's own time. At each margin the alarms of an asset count at most once in a 1 / COUNTED of the budget's interval: an
intermittent fault is one alarm, and a flood raises a rate to COUNTED times the budget at most. No margin exceeds the
last of MARGINS.

An asset may have a budget or a margin of its own. Assets without a budget have their margin, and are not counted.

Guaranteed: margins are a function of the windows so far, in their order, however the windows are cut into batches. They
change only where the partition's time, the largest end so far, enters another epoch.

Real faults and false alarms are not told apart, both use up the budget. Percentile and delays stay as they are.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from monitor.core.arrays import LARGEST, NEVER, Doubles, Index, first_of_run
from monitor.core.records import Ints, State, ThresholdBatch, Times
from monitor.core.rules import RowRules
from monitor.core.state import FINITE, Column, Columns
from monitor.core.threshold.options import BudgetOptions

MARGINS = 2.0 ** (np.arange(-2, 73) / 12)  # (M,) 0.89 to 64; lower ones join alarms instead of giving more
EPOCH = 32  # steps between two settings of the margins
MEMORY_DAYS = 30.0
PRIOR_ALARMS = 2.0  # weight of the prior in alarms, at margin 1
PRIOR_RATE = 1e-3
PRIOR_SCALE = 0.3
AIM = 1.25  # times the budget: makes up for rounding up on the grid and for lifts by noise (docs/detection.md)
COUNTED = 4.0
KNOWN = 4.0  # alarms' worth of asset-days until chance alone keeps a rate within a factor of 2
DAY_MS = 86_400_000

_M = len(MARGINS)
_LEAST, _MOST = float(MARGINS[0]), float(MARGINS[-1])
_STATE = {
    "since": Column("i8", ("A", _M), fill=NEVER),  # when the score rose above; while firing, when it fell below
    "firing": Column("?", ("A", _M)),
    "counted": Column("i8", ("A", _M), fill=NEVER),  # when the last counted alarm fired
    "alarms": Column("f8", ("A", _M), low=0, high=FINITE),  # faded
    "last": Column("i8", fill=NEVER),  # end of the newest window, if it is above or firing at any margin
    "scored": Column("i8", low=0),  # windows of this epoch
    "days": Column("f8", low=0, high=FINITE),  # faded
    "margin": Column("f8", fill=np.nan, low=_LEAST, high=_MOST, nan=True),  # NaN before the asset's first window
    "time": Column("i8", (1,)),  # of the partition, ms
    "common": Column("f8", (_M,), low=0, high=FINITE),  # rate of all, at the beginning of this epoch
}


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """Expected alarms and margins of the assets of a partition."""

    assets: int
    asset_days: float  # scored so far, faded
    needed_days: float  # asset-days until a rate is known within a factor of 2
    alarms_per_day: float  # expected of an asset, mean of all
    margins: tuple[float, float, float]  # smallest, median, largest


class Budget:
    """The margins of all assets of one partition."""

    def __init__(self, options: BudgetOptions, rules: RowRules | None = None) -> None:
        """`rules` may give an asset another budget or margin than `options`."""
        self._rules = rules or RowRules(options.margin, options.alarms_per_day)
        self._usual = options.alarms_per_day
        self._step_ms = options.step_ms
        self._on_delay_ms = options.on_delay_ms
        self._off_delay_ms = options.off_delay_ms
        self._quiet = (1 - options.deadband) * MARGINS
        self._gap_ms = options.gap_ms
        self._time = NEVER
        self._common = np.full(_M, FINITE)
        self._columns = Columns("the alarm budget", _STATE)

    def update(self, assets: Ints, ends: Times, limits: ThresholdBatch) -> ThresholdBatch:
        """Return the limits under the budget for windows (B,) of rows `assets` (B,) that end at `ends` (B,), in order.

        `limits` are the limits at each asset's given margin. Windows of assets that are not warm are not counted.
        """
        if not self._rules.budgeted or not len(assets):
            return limits
        given = self._rules.margin(assets)
        base = limits.threshold.astype(np.float64) / given
        counted = self._rules.budget(assets) > 0
        multiple = limits.alarm / base

        # Margins change only where an epoch begins, so the batch is processed epoch by epoch.
        time = np.maximum.accumulate(np.maximum(ends, self._time))
        epoch = time // (EPOCH * self._step_ms)
        margin = np.empty(len(assets))
        bounds = [*np.flatnonzero(first_of_run(epoch)).tolist(), len(assets)]
        for begin, end in pairwise(bounds):
            if epoch[begin] != self._time // (EPOCH * self._step_ms):
                self._renew()
            self._time = int(time[end - 1])
            self._enter(assets[begin:end])
            margin[begin:end] = self._columns["margin"][assets[begin:end]]
            own = begin + np.flatnonzero(limits.warm[begin:end] & counted[begin:end])
            self._watch(assets[own].astype(np.intp), ends[own], multiple[own])

        margin = np.where(counted, margin, given)
        threshold = np.minimum(margin * base, LARGEST).astype(np.float32)
        return ThresholdBatch(limits.alarm, threshold, limits.alarm > threshold, limits.warm)

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        self._columns.clear(row)

    def outlook(self) -> BudgetForecast | None:
        """Return the forecast of the assets with a budget as of now; None without a budget."""
        if not self._rules.budgeted:
            return None

        budgets = self._rules.budget(np.arange(self._columns.rows))
        counted = np.flatnonzero(budgets)
        if not len(counted) and not self._usual:
            return None

        rates, rows = self._rates(), len(counted)
        own, budget = (rates[counted], budgets[counted]) if rows else (rates[-1:], np.array([self._usual]))
        margins = _smallest(own, budget)
        expected = np.clip(budget, own[:, -1], own[:, 0])
        return BudgetForecast(
            rows,
            float(self._columns["days"][counted].sum()),
            KNOWN / float(np.median(budget)),
            float(expected.mean()),
            (float(margins.min()), float(np.median(margins)), float(margins.max())),
        )

    def _watch(self, rows: Index, ends: Times, multiple: Doubles) -> None:
        """Count what windows (n,) of one epoch would have fired at each margin."""
        np.add.at(self._columns["scored"], rows, 1)
        # Most assets are far below every margin, and cost one comparison.
        near = self._columns["last"] != NEVER
        near[rows[multiple > MARGINS[0]]] = True
        place = np.flatnonzero(near[rows])

        # Take the first window of each asset, then the second of each, and so on.
        place = place[np.argsort(rows[place], kind="stable")]
        head = np.flatnonzero(first_of_run(rows[place]))
        turn = np.arange(len(place)) - np.repeat(head, np.diff(np.append(head, len(place))))
        place = place[np.argsort(turn, kind="stable")]
        for now in np.split(place, np.cumsum(np.bincount(turn))[:-1]):
            self._step(rows[now], ends[now], multiple[now])

    def _step(self, rows: Index, ends: Times, multiple: Doubles) -> None:
        """Take one window of each of `rows` (n,) through the states of `MachineAlerts`, at every margin."""
        columns = self._columns
        firing, since = columns["firing"][rows], columns["since"][rows]  # (n, M)
        end, height = ends[:, None], multiple[:, None]

        # A gap ends a pending alarm. A state changes once the score has been on the other side for the whole delay.
        since[~firing & (end - columns["last"][rows][:, None] > self._gap_ms)] = NEVER
        crossed = np.where(firing, height < self._quiet, height > MARGINS)
        since = np.where(crossed, np.where(since == NEVER, end, since), NEVER)
        changed = crossed & (end - since >= np.where(firing, self._off_delay_ms, self._on_delay_ms))

        # Alarms close to the last one do not count, so a flood raises a rate to COUNTED times the budget at most.
        apart_ms = DAY_MS / (COUNTED * self._rules.budget(rows)[:, None])
        counts = changed & ~firing & (end - columns["counted"][rows] >= apart_ms)
        columns["alarms"][rows] += counts
        columns["counted"][rows] = np.where(counts, end, columns["counted"][rows])

        firing, since = firing ^ changed, np.where(changed, NEVER, since)
        columns["firing"][rows] = firing
        columns["since"][rows] = since
        columns["last"][rows] = np.where((firing | (since != NEVER)).any(1), ends, NEVER)

    def _renew(self) -> None:
        """End an epoch: let the counts fade, and set the margins."""
        A = self._columns.rows
        columns = self._columns
        days = columns["scored"][:A] * (self._step_ms / DAY_MS)
        left = np.exp(-days / MEMORY_DAYS)
        columns["days"][:A] = columns["days"][:A] * left + days
        columns["alarms"][:A] *= left[:, None]
        columns["scored"][:A] = 0

        # The last rate is that of an asset without history.
        rates = self._rates()
        self._common = rates[-1].copy()
        columns["margin"][:A] = self._margins(np.arange(A), rates[:-1])

    def _margins(self, rows: Index, rates: Doubles) -> Doubles:
        """Return the margins of `rows` (n,) at `rates` (n, M), and the given margin of a row without a budget."""
        budgets = self._rules.budget(rows)
        given = np.clip(self._rules.margin(rows), _LEAST, _MOST)
        margins: Doubles = np.where(budgets > 0, _smallest(rates, budgets), given)
        return margins

    def _rates(self) -> Doubles:
        """Return falling rates (A + 1, M), alarms a day at each margin: each asset's, then that of a new asset."""
        A = self._columns.rows
        alarms, days = self._columns["alarms"][:A], self._columns["days"][:A]
        prior = PRIOR_RATE * DAY_MS / self._step_ms * MARGINS ** (-1 / PRIOR_SCALE)
        weight = PRIOR_ALARMS / (PRIOR_RATE * DAY_MS / self._step_ms)  # days
        common = (alarms.sum(0) + weight * prior) / (days.sum() + weight)
        budgets = self._rules.budget(np.arange(A))[:, None]
        weights = 1 / np.where(budgets > 0, budgets, 1)  # K, in days; of no use without a budget
        rates = np.vstack(((alarms + common * weights) / (days[:, None] + weights), common))
        # A low margin joins several alarms into one, and may count fewer than a higher margin.
        falling: Doubles = np.maximum.accumulate(rates[:, ::-1], 1)[:, ::-1]
        return falling

    def _enter(self, rows: Ints) -> None:
        """Make room for `rows` (n,), and give assets without history the margin of such an asset."""
        self._columns.reserve(int(rows.max()) + 1)
        new = np.unique(rows[np.isnan(self._columns["margin"][rows])]).astype(np.intp)
        if len(new):
            self._columns["margin"][new] = self._margins(new, np.tile(self._common, (len(new), 1)))

    def save_state(self) -> State:
        """Return all that `load_state` needs to continue exactly from here; empty without a budget."""
        if not self._rules.budgeted:
            return {}
        return self._columns.save(time=np.array([self._time], np.int64), common=self._common)

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Without a budget, now or when the state was saved, nothing is loaded.

        Raises ValueError, and changes nothing, if the state does not fit.
        """
        if not self._rules.budgeted or not state:
            return
        self._columns.check(state)
        self._columns.load(state)
        self._time = int(state["time"][0])
        self._common = state["common"].copy()


def _smallest(rates: Doubles, budgets: Doubles) -> Doubles:
    """Return the smallest margins (n,) whose rates (n, M) are within AIM times `budgets` (n,), or the last margin."""
    level = np.minimum(np.count_nonzero(rates > AIM * budgets[:, None], axis=1), len(MARGINS) - 1)
    margins: Doubles = MARGINS[level]
    return margins
