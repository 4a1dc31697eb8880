"""Figures of a sample of readings: step, lateness, clock skew, missing and repeated readings, rates.

    survey(runs, form, now) -> Survey

A sample is a set of runs. A run is contiguous in its partition; order of arrival, gaps and repetition are measured
within a run only. The decoder reads the sample as it will read the topic.

The step is a period of the readings. Each asset's channel has a period: the mode of the differences between its times
(the middle of the fullest interval whose ends differ by a fifth). The step is the period that MEASURED of them keep or
beat: at the slowest period the others would lose readings, at the fastest the grid would have holes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.core.decode.decode import PARSERS, decode
from monitor.core.decode.format import Codes, DecodeError, Format, channel_names
from monitor.core.records import Bools, Message, ReadingBatch, Rejected, Times

MEASURED = 0.75  # of the channels have full cells; windows below a half are not scored by default
LATE = 0.999  # quantile of the disorder that counts as usual; later readings are stragglers
_MODE = 1.2  # the fullest interval [d, 1.2 d] of differences is the mode: timers jitter by less
_SUBSECOND = (1, 2, 5, 10, 20, 25, 40, 50, 100, 200, 250, 500)
_SECONDS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400)
_NICE = (*_SUBSECOND, *(1000 * seconds for seconds in _SECONDS))  # ms
_NO_VALUE = DecodeError("Empty", "", "no value")
_NEAR = 0.05  # a measured period this close to a round one is that one

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """Figures of one channel, over all assets that have it."""

    readings: int
    assets: int
    period_ms: int  # median over the assets
    missing: float  # share of the steps between an asset's first and last reading in a run


@dataclass(frozen=True, slots=True)
class Survey:
    """Figures of a sample."""

    messages: int
    rejected: tuple[Rejected, ...]
    readings: int
    assets: tuple[str, ...]
    channels: Mapping[str, ChannelFigures]
    step_ms: int
    regular: float  # share of the differences between times that lie within a tenth of their channel's period
    disorder: float  # share of the readings that came after a later one of their asset
    late_ms: int  # LATE quantile of how much they lay behind
    latest_ms: int  # and the most
    skew_ms: Mapping[str, int]  # by asset: how far its clock runs ahead of the others'; empty = unknown
    repeated: float  # share of the readings that repeat asset, channel, time and value of an earlier one
    colliding: float  # share that repeat asset, channel and time with another value
    observed: Doubles  # (A,) share of the cells (all channels, the asset's steps) that hold a reading
    rate: float  # readings a second of the plant's time, all assets of the sample together
    weight: float  # readings a message
    span_ms: int  # from the earliest reading to the latest


@dataclass(frozen=True, slots=True)
class _Table:
    """Readings (N,) of all runs."""

    assets: tuple[str, ...]
    channels: tuple[str, ...]
    run: Times
    asset: Times
    channel: Times
    time: Times
    value: Doubles
    stamp: Times  # of the message, ms UTC; 0 = none


def survey(runs: Sequence[Sequence[Message]], form: Format, now: int) -> Survey:
    """Measure `runs`; `now` is ms UTC. Raises ValueError if no channel was read at two different times."""
    batches, rejected = [], []
    for run in runs:
        readings, bad = decode(run, form, now)
        batches.append((run, readings))
        rejected += bad

    table = _table(batches)
    first = _unique(table)
    periods, regular = _periods(table, first)
    step_ms = _step(periods)
    again, colliding = _again(table)
    disorder = _disorder(table)[~again]  # a repeated reading is not late
    channels, observed = _cells(table, first, step_ms, periods)
    messages = sum(map(len, runs))

    return Survey(
        messages,
        tuple(rejected),
        len(table.time),
        table.assets,
        channels,
        step_ms,
        regular,
        disorder=float((disorder > 0).mean()),
        late_ms=int(np.quantile(disorder, LATE, method="higher")),
        latest_ms=int(disorder.max()),
        skew_ms=_skew(table),
        repeated=float(again.mean()),
        colliding=colliding,
        observed=observed,
        rate=_rate(table, step_ms),
        weight=len(table.time) / max(1, messages - len(rejected)),
        span_ms=int(np.ptp(table.time)),
    )


def _table(batches: Sequence[tuple[Sequence[Message], ReadingBatch]]) -> _Table:
    assets = tuple(dict.fromkeys(name for _, batch in batches for name in batch.assets))
    channels = tuple(dict.fromkeys(name for _, batch in batches for name in batch.channels))
    asset_code = {name: code for code, name in enumerate(assets)}
    channel_code = {name: code for code, name in enumerate(channels)}

    columns: list[list[npt.NDArray[np.generic]]] = []
    for number, (run, batch) in enumerate(batches):
        offsets = np.array([message.offset for message in run], np.int64)
        stamps = np.array([message.timestamp for message in run], np.int64)
        columns.append(
            [
                np.full(len(batch), number),
                np.array([asset_code[name] for name in batch.assets], np.int64)[batch.asset],
                np.array([channel_code[name] for name in batch.channels], np.int64)[batch.channel],
                batch.time,
                batch.value,
                stamps[np.searchsorted(offsets, batch.offset)],
            ]
        )

    run_, asset, channel, time, value, stamp = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return _Table(assets, channels, run_, asset, channel, time, value, stamp)


def _series(table: _Table) -> Times:
    """Return the number (N,) of each reading's series: one for each run, asset and channel."""
    return (table.run * len(table.assets) + table.asset) * len(table.channels) + table.channel


def _unique(table: _Table) -> npt.NDArray[np.intp]:
    """Return places of the readings without repetitions, ordered by series, then time."""
    series = _series(table)
    order = np.lexsort((table.time, series))
    again = (np.diff(series[order]) == 0) & (np.diff(table.time[order]) == 0)
    kept: npt.NDArray[np.intp] = order[np.append(True, ~again)[: len(order)]]
    return kept


def _periods(table: _Table, first: npt.NDArray[np.intp]) -> tuple[Doubles, float]:
    """Return the period (A, C) of each asset's channel, NaN where read once only, and the share near its period."""
    series, time = _series(table)[first], table.time[first]
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
    for gaps, owner in zip(np.split(gap, begins[1:]), pair[begins].tolist(), strict=True):
        periods[owner] = _mode(np.sort(gaps))

    near = np.abs(gap - periods[pair]) <= 0.1 * periods[pair]
    return periods.reshape(len(table.assets), len(table.channels)), float(near.mean())


def _mode(gaps: Doubles) -> float:
    """Return the middle of the fullest interval whose ends differ by the factor _MODE; `gaps` (n,) ascend."""
    ends = np.searchsorted(gaps, _MODE * gaps, side="right")
    begin = int((ends - np.arange(len(gaps))).argmax())
    return float(np.median(gaps[begin : ends[begin]]))


def _step(periods: Doubles) -> int:
    """Return the period that MEASURED of the series keep or beat: the median of those near it, rounded."""
    known = periods[~np.isnan(periods)]
    slow = float(np.quantile(known, MEASURED, method="inverted_cdf"))
    return _rounded(float(np.median(known[(known >= slow / _MODE) & (known <= _MODE * slow)])))


def _rounded(period: float) -> int:
    near = [nice for nice in _NICE if abs(period - nice) <= _NEAR * nice]
    return min(near, key=lambda nice: abs(period - nice), default=max(1, round(period)))


def _disorder(table: _Table) -> Times:
    """Return how far each reading (N,) lies behind the latest earlier one of its asset in its run, ms; 0 = in order."""
    key = table.run * len(table.assets) + table.asset
    order = np.argsort(key, kind="stable")
    time, owner = table.time[order], key[order]

    # One running maximum for all assets: each asset's times are lifted above those of the asset before.
    low = int(time.min())
    _, owner = np.unique(owner, return_inverse=True)
    lift = owner * (int(time.max()) - low + 1)
    latest = np.maximum.accumulate(time - low + lift) - lift + low

    behind = np.empty(len(time), np.int64)
    behind[order] = latest - time
    return behind


def _again(table: _Table) -> tuple[Bools, float]:
    """Return which readings (N,) repeat one of the same asset, channel, time and value, and the share of others.

    The others have the same asset, channel and time as another reading, and contradict its value.
    """
    series = _series(table)
    order = np.lexsort((table.time, series))
    same = (np.diff(series[order]) == 0) & (np.diff(table.time[order]) == 0)
    equal = same & (np.diff(table.value[order]) == 0)
    again = np.zeros(len(order), np.bool_)
    again[order[1:][equal]] = True
    return again, float((same & ~equal).sum()) / len(order)


def _skew(table: _Table) -> dict[str, int]:
    """Return each asset's median of reading time minus message time, relative to all; empty without message times."""
    if not (table.stamp > 0).all():
        return {}
    order = np.argsort(table.asset, kind="stable")
    parts = np.split((table.time - table.stamp)[order], np.flatnonzero(np.diff(table.asset[order])) + 1)
    middles = [float(np.median(part)) for part in parts]  # each asset of the table has a reading
    usual = float(np.median(middles))
    return {name: round(middle - usual) for name, middle in zip(table.assets, middles, strict=True)}


def _cells(
    table: _Table, first: npt.NDArray[np.intp], step_ms: int, periods: Doubles
) -> tuple[dict[str, ChannelFigures], Doubles]:
    """Return figures by channel, and the share (A,) of each asset's cells that hold a reading."""
    A, C = len(table.assets), len(table.channels)
    step, run, asset, channel = (
        column[first] for column in (table.time // step_ms, table.run, table.asset, table.channel)
    )

    # Steps of each asset, from its first to its last in each run.
    lowest, highest = np.full((int(run.max()) + 1, A), 2**62), np.full((int(run.max()) + 1, A), -(2**62))
    np.minimum.at(lowest, (run, asset), step)
    np.maximum.at(highest, (run, asset), step)
    steps = np.maximum(0, highest - lowest + 1).sum(0, where=highest >= lowest)  # (A,)

    # Cells with a reading.
    cells = np.unique(np.stack([run, asset, channel, step]), axis=1)
    held = np.zeros((A, C), np.int64)
    np.add.at(held, (cells[1], cells[2]), 1)
    has = held > 0
    count = np.bincount(table.channel, minlength=C)

    figures = {}
    for code, name in enumerate(table.channels):
        mine = has[:, code]
        own = periods[mine, code]
        period = round(float(np.nanmedian(own))) if not np.isnan(own).all() else 0
        missing = 1 - float(held[mine, code].sum() / steps[mine].sum())
        figures[name] = ChannelFigures(int(count[code]), int(mine.sum()), period, missing)
    return figures, held.sum(1) / (steps * C)


def _rate(table: _Table, step_ms: int) -> float:
    """Return readings per second: each asset's readings by the time they span in their runs, summed."""
    A = len(table.assets)
    key = table.run * A + table.asset
    low, high = np.full(int(key.max()) + 1, 2**62), np.full(int(key.max()) + 1, -(2**62))
    np.minimum.at(low, key, table.time)
    np.maximum.at(high, key, table.time)

    there = np.flatnonzero(high >= low)
    spans = np.bincount(there % A, (high[there] - low[there] + step_ms) / 1000, A)  # (A,) s
    return float((np.bincount(table.asset, minlength=A) / spans).sum())


def non_numeric(messages: Sequence[Message], form: Format) -> dict[str, float]:
    """Return the share of each field's values that are no numbers, by name of its channel.

    The decoder skips such values; a field that never holds a number is no channel. Fields without any are left out.
    """
    points = PARSERS[form.kind](messages, form, {row: _NO_VALUE for row, each in enumerate(messages) if not each.value})
    names = Codes()
    by_code = np.array([names[name] for name in channel_names(points, form)], np.int64)
    code = by_code[np.array(points.channel, np.int64)]
    bad = np.isnan(np.array(points.value, np.float64))
    count, skipped = (np.bincount(part, minlength=len(names)) for part in (code, code[bad]))
    return {name: float(skipped[at] / count[at]) for name, at in names.items() if skipped[at]}
