"""The pace of channels in a sample: their periods, the step that follows, and for how long each holds its value.

Each asset's channel has a period: the mode of the differences between its times (the middle of the fullest interval
whose ends differ by a fifth). The step is the period that MEASURED of them keep or beat, each with the root of its
number of readings as weight: at the slowest period the others would lose readings, at the fastest most cells would only
hold values. Counted alike, many channels that seldom speak would set the step, and by their readings, a single fast one
would.

A channel that is sent when its value changes has no period: the differences of a tenth of its readings are IRREGULAR
times those of another tenth. Such a channel counts with the pace of its asset, the median time from one reading to the
next of any channel, since in between its value holds. If its readings are more than STEPS_APART such steps apart, the
step is longer: a window of 64 steps with one or two changes of each channel says little (39 false alerts in 70 minutes
of three pumps).

A channel holds for as long as the windows would learn (core/windows/pace.py), from the silences of all assets together.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.core.records import Times
from monitor.core.windows.pace import FACTOR, LEAST, OUTAGES

MEASURED = 0.75  # of the channels have full cells; windows below a half are not scored by default
IRREGULAR = 3  # 30 % lost readings or a jitter of half a period stay below
STEPS_APART = 8
_TENTH = 0.1
_MODE = 1.2  # the fullest interval [d, 1.2 d] of differences is the mode: timers jitter by less
_SUBSECOND = (1, 2, 5, 10, 20, 25, 40, 50, 100, 200, 250, 500)
_SECONDS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400)
_NICE = (*_SUBSECOND, *(1000 * seconds for seconds in _SECONDS))  # ms
_NEAR = 0.05  # a measured period this close to a round one is that one

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """Readings (N,) of all runs."""

    assets: tuple[str, ...]
    channels: tuple[str, ...]
    run: Times
    asset: Times
    channel: Times
    time: Times
    value: Doubles
    stamp: Times  # of the message, ms UTC; 0 = none


def series_of(table: Table) -> Times:
    """Return the number (N,) of each reading's series: one for each run, asset and channel."""
    return (table.run * len(table.assets) + table.asset) * len(table.channels) + table.channel


def unique(table: Table) -> npt.NDArray[np.intp]:
    """Return places of the readings without repetitions, ordered by series, then time."""
    series = series_of(table)
    order = np.lexsort((table.time, series))
    again = (np.diff(series[order]) == 0) & (np.diff(table.time[order]) == 0)
    kept: npt.NDArray[np.intp] = order[np.append(True, ~again)[: len(order)]]
    return kept


@dataclass(frozen=True, slots=True)
class Periods:
    """The differences between the times of each asset's channel."""

    usual: Doubles  # (A, C) ms; NaN = read once only
    count: Times  # (A, C) of differences
    changing: Doubles  # (A, C) the step of a channel that has no period, ms; NaN = it has one
    regular: float  # share of all differences that are near their period


def periods_of(table: Table, first: npt.NDArray[np.intp]) -> Periods:
    """Return the periods of a sample. Raises ValueError if no channel was read at two different times."""
    series, time = series_of(table)[first], table.time[first]
    same = np.diff(series) == 0
    gap = np.diff(time)[same].astype(np.float64)
    pair = (series[1:][same] % (len(table.assets) * len(table.channels))).astype(np.int64)
    if not len(gap):
        raise ValueError("no channel of an asset was read at two different times")

    # One group of differences for each asset's channel.
    order = np.argsort(pair, kind="stable")
    gap, pair = gap[order], pair[order]
    begins = np.flatnonzero(np.append(True, np.diff(pair) != 0))
    periods = np.full(len(table.assets) * len(table.channels), np.nan)
    quick = np.full(len(periods), np.nan)  # of channels without a period, a tenth of the differences are shorter
    mean = np.full(len(periods), np.nan)  # of channels without a period, without the longest differences
    for gaps, owner in zip(np.split(gap, begins[1:]), pair[begins].tolist(), strict=True):
        periods[owner] = _mode(np.sort(gaps))
        low, high = np.quantile(gaps, (_TENTH, 1 - _TENTH))
        if high > IRREGULAR * low:
            quick[owner], mean[owner] = low, np.minimum(gaps, high).mean()

    near = np.abs(gap - periods[pair]) <= 0.1 * periods[pair]
    shape = len(table.assets), len(table.channels)
    counts = np.bincount(pair, minlength=len(periods)).reshape(shape)
    changing = _changing(table, quick.reshape(shape), mean.reshape(shape))
    return Periods(periods.reshape(shape), counts, changing, float(near.mean()))


def _changing(table: Table, quick: Doubles, mean: Doubles) -> Doubles:
    """Return the step (A, C) for each channel with a `quick` and a `mean` difference, rounded down.

    It is the pace of the asset, and at least such that a window has some readings of the channel. Readings of one scan
    may lie some ms apart, so the pace is at least half of the asset's quickest difference.
    """
    pace = np.full(quick.shape, np.nan)
    for asset in np.flatnonzero(~np.isnan(quick).all(1)).tolist():
        mine = table.asset == asset
        times = np.unique(np.stack([table.run[mine], table.time[mine]]), axis=1)
        gaps = np.diff(times[1])[np.diff(times[0]) == 0]
        found = max(float(np.median(gaps)), float(np.nanmin(quick[asset])) / 2)
        for channel in np.flatnonzero(~np.isnan(quick[asset])).tolist():
            step = max(found, float(mean[asset, channel]) / STEPS_APART)
            pace[asset, channel] = max((each for each in _NICE if each <= step), default=1)
    return pace


def _mode(gaps: Doubles) -> float:
    """Return the middle of the fullest interval whose ends differ by the factor _MODE; `gaps` (n,) ascend."""
    ends = np.searchsorted(gaps, _MODE * gaps, side="right")
    begin = int((ends - np.arange(len(gaps))).argmax())
    return float(np.median(gaps[begin : ends[begin]]))


def step_of(periods: Periods) -> int:
    """Return the period that MEASURED of the series keep or beat: the median of those near it, rounded.

    A series weighs as much as the root of its readings.
    """
    known = ~np.isnan(periods.usual)
    paces = np.where(np.isnan(periods.changing), periods.usual, periods.changing)[known]
    order = np.argsort(paces, kind="stable")
    period, weight = paces[order], np.sqrt(periods.count[known][order])
    share = np.cumsum(weight) / weight.sum()
    slow = period[min(int(np.searchsorted(share, MEASURED - 1e-9)), len(period) - 1)]
    return _rounded(float(np.median(period[(period >= slow / _MODE) & (period <= _MODE * slow)])))


def _rounded(period: float) -> int:
    near = [nice for nice in _NICE if abs(period - nice) <= _NEAR * nice]
    return min(near, key=lambda nice: abs(period - nice), default=max(1, round(period)))


def holds_of(table: Table, first: npt.NDArray[np.intp], step_ms: int) -> Times:
    """Return for how long (C,) each channel holds its value, ms; 0 = it comes with each step, or too few silences."""
    C = len(table.channels)
    same = np.diff(series_of(table)[first]) == 0
    gap = np.diff(table.time[first] // step_ms)[same]  # steps from one reading to the next
    channel = table.channel[first][1:][same]
    holds = np.zeros(C, np.int64)
    for code in range(C):
        gaps = gap[channel == code]
        silences = np.sort(gaps[gaps > 1])
        if len(silences) >= LEAST and 2 * (silences - 1).sum() >= gaps.sum():
            usual = silences[-1 - max(1, len(silences) // OUTAGES)]
            holds[code] = FACTOR * int(usual) * step_ms
    return holds
