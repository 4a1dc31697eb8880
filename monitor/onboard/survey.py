"""Figures of a sample of readings: step, lateness, clock skew, missing and repeated readings, rates.

    survey(runs, form, now) -> Survey

A sample is a set of runs. A run is contiguous in its partition; order of arrival, gaps and repetition are measured
within a run only. The decoder reads the sample as it will read the topic.

Periods, the step and how long values hold are in `pace`.

Channels that kinds.py would leave out are left out of all figures, unless nothing else is left.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.core.decode.decode import PARSERS, decode, decode_all
from monitor.core.decode.format import Codes, DecodeError, Format, Skip, channel_names
from monitor.core.decode.ids import legal
from monitor.core.decode.names import Names
from monitor.core.decode.select import IGNORE, MEASUREMENT, RATE, STATE, Kinds
from monitor.core.records import Bools, Message, ReadingBatch, Rejected, Renamed, Times
from monitor.onboard.kinds import ChannelKind, Readings, boolean_kind, kinds_of, rare_kind, text_kind
from monitor.onboard.pace import Doubles, Periods, Table, holds_of, periods_of, series_of, step_of, unique
from monitor.settings.rules import is_text

LENGTH = 64  # steps of a window, as by default
LATE = 0.999  # quantile of the disorder that counts as usual; later readings are stragglers
_MOST_TEXTS, _OFTEN = 20, 3  # different texts of a state at most, and how often each comes as a mean
_NO_VALUE = DecodeError("Empty", "", "no value")


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """Figures of one channel, over all assets that have it."""

    readings: int
    assets: int
    period_ms: int  # median over the assets
    hold_ms: int  # its value holds for so long until the next one; 0 = it comes with each step, or is not known
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
    observed: Doubles  # (A,) share of the cells (all channels, the asset's steps) with a reading or a value that holds
    rate: float  # readings a second of the plant's time, all assets of the sample together
    weight: float  # readings a message
    span_ms: int  # from the earliest reading to the latest
    hole_ms: int  # 99.9 % of the times without any reading of an asset are at most so long
    kinds: Mapping[str, ChannelKind]  # of all channels, also of those that are in no figure since they are left out
    scattered: Mapping[str, tuple[int, ...]]  # assets whose messages lie in several partitions at a time, and these
    taken: int  # readings that were skipped since another name has become the same id
    refused: tuple[Renamed, ...]  # their names


class Readout(NamedTuple):
    """The readings of a sample, and what the decoder said about the rest."""

    table: Table
    messages: int
    rejected: tuple[Rejected, ...]
    booleans: Mapping[str, int]  # number of true and false by channel
    texts: Sequence[str]  # channels that are texts alone
    states: Mapping[str, tuple[str, ...]]  # those of few texts, whose readings are places of these
    numbers: Sequence[int]  # partition of each run
    taken: int  # readings whose name's id has another owner
    refused: tuple[Renamed, ...]  # their names

    def of(self, assets: Collection[str]) -> "Readout":
        """Return the readings of some assets."""
        table = _taken(self.table, np.isin(self.table.asset, [self.table.assets.index(name) for name in assets]))
        booleans = {name: count for name, count in self.booleans.items() if name in table.channels}
        return self._replace(table=table, booleans=booleans)


def survey(runs: Sequence[Sequence[Message]], form: Format, now: int, length: int = LENGTH) -> Survey:
    """Measure `runs`; `now` is ms UTC, `length` that of windows, in steps. Raises ValueError as `measured` does."""
    return measured(read(runs, form, now), form, length)


def measured(sample: Readout, form: Format, length: int) -> Survey:
    """Measure a sample. Raises ValueError if no channel was read at two different times.

    A channel for which the format has a kind already, or that is selected by name, is not left out.
    """
    everything = sample.table
    step_ms = step_of(periods_of(everything, unique(everything)))
    kinds = _kinds(everything, form, step_ms, sample)
    table = _wanted(everything, kinds)

    first = unique(table)
    periods = periods_of(table, first)
    step_ms = step_of(periods)
    if (fewer := _without_rare(table, kinds, form, step_ms, length)) != kinds:
        kinds, table = fewer, _wanted(everything, fewer)
        first = unique(table)
        periods = periods_of(table, first)
    again, colliding = _again(table)
    disorder = _disorder(table)[~again]  # a repeated reading is not late
    channels, observed = _cells(table, first, step_ms, periods)

    return Survey(
        sample.messages,
        sample.rejected,
        len(table.time),
        table.assets,
        channels,
        step_ms,
        periods.regular,
        disorder=float((disorder > 0).mean()),
        late_ms=int(np.quantile(disorder, LATE, method="higher")),
        latest_ms=int(disorder.max()),
        skew_ms=_skew(table),
        repeated=float(again.mean()),
        colliding=colliding,
        observed=observed,
        rate=_rate(table, step_ms),
        weight=len(table.time) / max(1, sample.messages - len(sample.rejected)),
        span_ms=int(np.ptp(table.time)),
        hole_ms=_hole(table),
        kinds=kinds | {name: text_kind() for name in sample.texts if name not in kinds},
        scattered=_scattered(everything, sample.numbers),
        taken=sample.taken,
        refused=sample.refused,
    )


def read(runs: Sequence[Sequence[Message]], form: Format, now: int) -> Readout:
    """Decode a sample, true and false among its readings."""
    batches, rejected, taken = [], [], 0
    refused: dict[Renamed, None] = {}
    booleans: Counter[str] = Counter()

    texts = _texts(runs, form)
    states = _few_texts(runs, form, now, texts)
    kinds = Kinds((*form.kinds.globs, *((name, STATE) for name in states)), (*form.kinds.texts, *states.items()))
    form = replace(form, kinds=kinds)
    as_states = replace(form, kinds=replace(kinds, globs=(*kinds.globs, ("*", STATE))))

    for run in filter(None, runs):
        decoded = decode_all(run, form, now, Names())
        readings = decoded.readings
        if decoded.skipped[Skip.BOOLEAN]:
            readings = decode(run, as_states, now)[0]
            booleans.update(_by_channel(readings))
            booleans.subtract(_by_channel(decoded.readings))
        batches.append((run, readings))
        rejected += decoded.rejected
        taken += decoded.skipped[Skip.NAME_TAKEN]
        refused |= dict.fromkeys(each for each in decoded.renamed if each.owner)

    some = {name: count for name, count in booleans.items() if count > 0}
    return Readout(
        _table(batches),
        sum(map(len, runs)),
        tuple(rejected),
        some,
        texts,
        states,
        [run[0].partition.number for run in runs if run],
        taken,
        tuple(refused),
    )


def _by_channel(readings: ReadingBatch) -> dict[str, int]:
    counts = np.bincount(readings.channel, minlength=len(readings.channels)).tolist()
    return dict(zip(readings.channels, counts, strict=True))


def _kinds(table: Table, form: Format, step_ms: int, sample: Readout) -> dict[str, ChannelKind]:
    """Return the kind of each channel, with at least one that is not left out."""
    first = unique(table)
    order = first[np.lexsort((table.time[first], table.asset[first], table.channel[first]))]
    readings = Readings(table.channel[order], table.asset[order], table.time[order], table.value[order])
    kinds = kinds_of(readings, table.channels, step_ms, sample.states)
    kinds |= {name: boolean_kind(kinds[name], count) for name, count in sample.booleans.items()}
    for name, kind in kinds.items():
        if asked := form.kinds.given(name):
            kinds[name] = replace(kind, read_as=asked)
        elif form.select.channels.include and kind.read_as == IGNORE:
            kinds[name] = replace(kind, read_as=MEASUREMENT)
    return _some_left(kinds)


def _some_left(kinds: dict[str, ChannelKind]) -> dict[str, ChannelKind]:
    """Return the kinds, with counters as rates, or everything as measurement, where nothing else would be left."""
    if any(kind.read_as not in {IGNORE, STATE} for kind in kinds.values()):
        return kinds
    counters = any(kind.kind == "counter" for kind in kinds.values())
    read_as = RATE if counters else MEASUREMENT
    return {
        name: replace(kind, read_as=read_as) if kind.kind == "counter" or not counters else kind
        for name, kind in kinds.items()
    }


def _without_rare(
    table: Table, kinds: dict[str, ChannelKind], form: Format, step_ms: int, length: int
) -> dict[str, ChannelKind]:
    """Return the kinds, with channels left out that have less than one reading in a window of `length` steps."""
    spans = _spans(table, step_ms)
    count = np.bincount(table.channel, minlength=len(table.channels))
    pairs = np.unique(table.asset * len(table.channels) + table.channel)
    span = np.bincount(pairs % len(table.channels), spans[pairs // len(table.channels)], len(table.channels))  # s

    window = length * step_ms / 1000
    rare = {
        name: rare_kind(kinds[name], span[code] / count[code], window)
        for code, name in enumerate(table.channels)
        if count[code] and span[code] / count[code] > window and not form.kinds.given(name)
    }
    return kinds if form.select.channels.include or len(rare) == len(set(table.channel.tolist())) else kinds | rare


def _wanted(table: Table, kinds: Mapping[str, ChannelKind]) -> Table:
    """Return the readings of channels that are not left out."""
    wanted = np.array([kinds[name].read_as != IGNORE for name in table.channels], np.bool_)
    if wanted.all():
        return table
    return _taken(table, wanted[table.channel])


def _taken(table: Table, keep: Bools) -> Table:
    """Return the marked readings (N,), with the names that they have."""
    channels, channel = _recoded(table.channels, table.channel[keep])
    assets, asset = _recoded(table.assets, table.asset[keep])
    return Table(
        assets, channels, table.run[keep], asset, channel, table.time[keep], table.value[keep], table.stamp[keep]
    )


def _recoded(names: Sequence[str], codes: Times) -> tuple[tuple[str, ...], Times]:
    """Return the names that have a reading, and the codes (n,) among these."""
    used, new = np.unique(codes, return_inverse=True)
    return tuple(names[code] for code in used.tolist()), new


def _table(batches: Sequence[tuple[Sequence[Message], ReadingBatch]]) -> Table:
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
    return Table(assets, channels, run_, asset, channel, time, value, stamp)


def _disorder(table: Table) -> Times:
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


def _again(table: Table) -> tuple[Bools, float]:
    """Return which readings (N,) repeat one of the same asset, channel, time and value, and the share of others.

    The others have the same asset, channel and time as another reading, and contradict its value.
    """
    series = series_of(table)
    order = np.lexsort((table.time, series))
    same = (np.diff(series[order]) == 0) & (np.diff(table.time[order]) == 0)
    equal = same & (np.diff(table.value[order]) == 0)
    again = np.zeros(len(order), np.bool_)
    again[order[1:][equal]] = True
    return again, float((same & ~equal).sum()) / len(order)


def _skew(table: Table) -> dict[str, int]:
    """Return each asset's median of reading time minus message time, relative to all; empty without message times."""
    if not (table.stamp > 0).all():
        return {}
    order = np.argsort(table.asset, kind="stable")
    parts = np.split((table.time - table.stamp)[order], np.flatnonzero(np.diff(table.asset[order])) + 1)
    middles = [float(np.median(part)) for part in parts]  # each asset of the table has a reading
    usual = float(np.median(middles))
    return {name: round(middle - usual) for name, middle in zip(table.assets, middles, strict=True)}


def _cells(
    table: Table, first: npt.NDArray[np.intp], step_ms: int, periods: Periods
) -> tuple[dict[str, ChannelFigures], Doubles]:
    """Return figures by channel, and the share (A,) of each asset's cells with a reading or a value that holds."""
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

    # Cells in which a value holds, from one reading to the next.
    holds = holds_of(table, first, step_ms)
    follows = np.flatnonzero(np.diff(series_of(table)[first]) == 0)
    empty = np.maximum(np.diff(step)[follows] - 1, 0)
    holding = np.zeros((A, C), np.int64)
    np.add.at(holding, (asset[follows], channel[follows]), np.minimum(empty, holds[channel[follows]] // step_ms))

    figures = {}
    for code, name in enumerate(table.channels):
        mine = has[:, code]
        own = periods.usual[mine, code]
        period = round(float(np.nanmedian(own))) if not np.isnan(own).all() else 0
        missing = 1 - float(held[mine, code].sum() / steps[mine].sum())
        figures[name] = ChannelFigures(int(count[code]), int(mine.sum()), period, int(holds[code]), missing)
    return figures, (held + holding).sum(1) / (steps * C)


def _spans(table: Table, step_ms: int) -> Doubles:
    """Return the time (A,) that the readings of each asset span in their runs, s."""
    A = len(table.assets)
    key = table.run * A + table.asset
    low, high = np.full(int(key.max()) + 1, 2**62), np.full(int(key.max()) + 1, -(2**62))
    np.minimum.at(low, key, table.time)
    np.maximum.at(high, key, table.time)

    there = np.flatnonzero(high >= low)
    spans: Doubles = np.bincount(there % A, (high[there] - low[there] + step_ms) / 1000, A).astype(np.float64)
    return spans


def _rate(table: Table, step_ms: int) -> float:
    """Return readings per second: each asset's readings by the time they span in their runs, summed."""
    return float((np.bincount(table.asset, minlength=len(table.assets)) / _spans(table, step_ms)).sum())


def _hole(table: Table) -> int:
    """Return how long an asset usually sends nothing at most, ms: the LATE quantile of its times' differences."""
    times = np.unique(np.stack([table.run, table.asset, table.time]), axis=1)
    gaps = np.diff(times[2])[(np.diff(times[0]) == 0) & (np.diff(times[1]) == 0)]
    return int(np.quantile(gaps, LATE, method="higher")) if len(gaps) else 0


def _scattered(table: Table, numbers: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the assets that lie in several partitions at a time, and these; `numbers` has the partition of each run.

    An asset that moved from one partition to another, as when a topic gets more of them, is not among them.
    """
    partition = np.array(numbers, np.int64)[table.run]
    found = {}
    for code, name in enumerate(table.assets):
        mine = table.asset == code
        parts = np.unique(partition[mine]).tolist()
        spans = []
        for part in parts if len(parts) > 1 else ():
            times = table.time[mine & (partition == part)]
            spans.append((int(times.min()), int(times.max())))
        spans.sort()
        if any(begin < end for (_, end), (begin, _) in pairwise(spans)):
            found[name] = tuple(parts)
    return found


def non_numeric(messages: Sequence[Message], form: Format) -> dict[str, float]:
    """Return the share of each field's values that are no numbers, by name of its channel.

    The decoder skips such values; a field that never holds a number is no channel. Fields without any are left out.
    """
    names, code, value, _ = _fields(messages, form)
    count, skipped = (np.bincount(part, minlength=len(names)) for part in (code, code[_bad(value)]))
    return {name: float(skipped[at] / count[at]) for at, name in enumerate(names) if skipped[at]}


def _texts(runs: Sequence[Sequence[Message]], form: Format) -> list[str]:
    """Return the channels that never hold a number, true, false or null alone, and that no filter leaves out."""
    as_states = replace(form, kinds=replace(form.kinds, globs=(*form.kinds.globs, ("*", STATE))))
    names, code, value, none = _fields(max(runs, key=len), as_states)
    text = np.array([each is not None or none != Skip.NULL for each in value], np.bool_) & _bad(value)
    number, texts = (np.bincount(code[part], minlength=len(names)) > 0 for part in (~_bad(value), text))
    found = [legal(names[at]) for at in np.flatnonzero(texts & ~number).tolist()]
    return [name for name in found if name and form.select.channels.want(name) and form.kinds.of(name) != IGNORE]


def _few_texts(
    runs: Sequence[Sequence[Message]], form: Format, now: int, names: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return the texts of the channels among `names` that have few different ones, each of them often."""
    unknown = Kinds((*form.kinds.globs, ("*", STATE)), (*form.kinds.texts, ("*", ("\n",))))  # a text that never comes
    found: dict[str, Counter[str]] = {}
    for run in filter(None, runs) if names else ():
        for (channel, text), count in decode_all(run, replace(form, kinds=unknown), now, Names()).unknown.items():
            if text:
                found.setdefault(legal(channel) or channel, Counter())[text] += count
    return {
        name: tuple(sorted(texts))
        for name, texts in found.items()
        if name in names
        and 2 <= len(texts) <= _MOST_TEXTS
        and _OFTEN * len(texts) <= texts.total()
        and all(map(is_text, texts))
    }


def _fields(messages: Sequence[Message], form: Format) -> tuple[list[str], Times, list[float | None], Skip]:
    """Return the channels' names, the code and value (N,) of each value, and what None stands for."""
    points = PARSERS[form.kind](messages, form, {row: _NO_VALUE for row, each in enumerate(messages) if not each.value})
    names = Codes()
    by_code = np.array([names[name] for name in channel_names(points, form)], np.int64)
    return list(names), by_code[np.array(points.channel, np.int64)], points.value, points.none


def _bad(value: Sequence[float | None]) -> Bools:
    bad: Bools = np.isnan(np.array(value, np.float64))
    return bad
