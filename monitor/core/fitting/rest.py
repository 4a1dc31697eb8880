"""Learns from history whether machines have times of rest, and how to recognise them: Corpus -> Levels.

A channel is evidence of rest if, with an asset's values divided by their usual top, it has two clearly separate levels:
rest at most LOW, work at least HIGH, next to nothing in between. So a load curve is none, nor are the two positions of
a valve that does not close, nor two recipes. Machines rest if most of such channels do, and only if

- at least two channels and at least half of all are evidence, since a valve that closes stops a flow, not the machine;
- the channels agree in nearly all steps;
- most rest and most work lasts for whole blocks of history. A rest that fits into a window is part of the pattern that
  the model learns, and a machine that never works for a window would never be scored.

Unless a person says that machines rest, rest must also recur: it began on several different days (UTC), so that one
outage of the plant is none, and at most MOST_A_DAY times a day of an asset. What rests more often works in batches,
whose beginnings are to be scored.

Measured on generated machines: docs/decisions/0034-running.md.
"""

from dataclasses import replace

import numpy as np

from monitor.core.arrays import LARGEST
from monitor.core.decode.select import ALL_MEASURED, Kinds
from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.recurring import DAY_MS
from monitor.core.records import Bools, Floats, Times
from monitor.core.running.levels import LEAST_CHANNELS, Levels

LOW, HIGH = 0.1, 0.3  # of the top
TOP = 0.98  # quantile of an asset's values that is its top; work is at least RARE of them
BETWEEN = 0.01  # largest share of the values between the levels: ramps
RARE = 0.03  # least share of each level
AGREE = 0.98  # least share of the steps in which all channels say the same
LEAST_BLOCKS = 2  # of rest alone, and of work alone
ODD = 0.05  # largest share of assets that a channel's levels do not fit: their other channels decide
NEAR = 1.5  # factor around the limit in which hardly any value lies
AT_REST = 3.0  # times what others show at rest, an asset that always rests may show
MOST_VALUES = 20_000  # of an asset and channel
OBSERVED = 0.5  # least share of a block's cells that must be left
MOST_A_DAY = 3  # times that a machine begins to rest: two shifts with a break


def find_levels(corpus: Corpus, days: int = 0, kinds: Kinds = ALL_MEASURED) -> Levels | None:
    """Return how to recognise rest in a history that holds rest and work; None if it has no clear levels.

    Rest must have begun on that many different days, unless `days` is 0. Channels of texts say nothing: the place of a
    text is no amount.
    """
    C = len(corpus.channels)
    amounts = np.abs(np.where(corpus.observed, corpus.values, np.float32(np.nan)))  # (K, C, L)
    amounts[:, kinds.named(corpus.channels)] = np.nan
    found = {column: _limit(amounts[:, column], corpus.asset) for column in range(C)}
    limits = {column: limit for column, limit in found.items() if limit > 0}
    varied = sum(_varies(amounts[:, column]) for column in range(C))
    if len(limits) < LEAST_CHANNELS or 2 * len(limits) < varied:
        return None

    # What each channel says at each step.
    columns = np.array(list(limits), np.intp)
    part, most = amounts[:, columns], np.array(list(limits.values()), np.float32)
    measured, resting = ~np.isnan(part), part <= most[:, None]
    steps = np.logical_or.reduce(measured, axis=1)  # (K, L)
    same = (resting | ~measured).all(1) | (~resting | ~measured).all(1)
    if not steps.any() or np.count_nonzero(same & steps) < AGREE * np.count_nonzero(steps):
        return None

    rest: Bools = 2 * np.count_nonzero(resting, axis=1) > np.count_nonzero(measured, axis=1)  # (K, L)
    if not (_lasts(rest & steps, steps) and _lasts(~rest & steps, steps)):
        return None
    if days and not _recurs(corpus, rest & steps, steps, days):
        return None
    return Levels(tuple(corpus.channels[column] for column in columns), tuple(map(float, most)))


def without_rest(corpus: Corpus, levels: Levels) -> Corpus:
    """Return the history with its times of rest unobserved, without blocks in which too little is left."""
    K, _, L = corpus.values.shape
    asked: Floats = np.full((K * L, len(levels.channels)), np.nan, np.float32)
    for place, name in enumerate(levels.channels):
        if name in corpus.channels:
            asked[:, place] = corpus.values[:, corpus.channels.index(name)].reshape(-1)
    rest = levels.judge(asked).false.reshape(K, 1, L)
    observed = corpus.observed & ~rest
    values = np.where(rest, np.float32(np.nan), corpus.values)
    masked = replace(corpus, values=values, observed=observed)
    return masked.take(~rest.any((1, 2)) | (observed.mean((1, 2)) >= OBSERVED))


def _limit(amounts: Floats, asset: Times) -> float:
    """Return the largest amount at rest of a channel (K, L) for all assets (K,); 0 = it has no clear levels."""
    found = [x for code in np.unique(asset).tolist() if len(x := _sample(amounts[asset == code]))]
    tops = [float(np.quantile(x, TOP)) for x in found]
    clear = [place for place, x in enumerate(found) if _has_levels(x, tops[place])]
    if not clear:
        return 0.0

    # One limit for all of them, between what the largest one is at rest and what the smallest one is at work.
    rest, work = max(LOW * tops[place] for place in clear), min(HIGH * tops[place] for place in clear)
    limit = float(np.sqrt(rest * work))
    if rest >= work or limit > LARGEST:
        return 0.0

    resting = AT_REST * max(float(np.quantile(found[place][found[place] <= limit], TOP)) for place in clear)
    odd = sum(not _fits(x, tops[place], limit, resting) for place, x in enumerate(found) if place not in clear)
    return limit if odd <= ODD * len(found) else 0.0


def _sample(amounts: Floats) -> Floats:
    """Return at most MOST_VALUES of the measured amounts, evenly spaced."""
    measured = amounts[~np.isnan(amounts)]
    return measured[:: max(1, len(measured) // MOST_VALUES)]


def _has_levels(x: Floats, top: float) -> bool:
    """Return whether amounts (n,) have two levels with next to nothing in between."""
    low, high = np.count_nonzero(x <= LOW * top) / len(x), np.count_nonzero(x >= HIGH * top) / len(x)
    return bool(top > 0 and low >= RARE and high >= RARE and 1 - low - high <= BETWEEN)


def _fits(x: Floats, top: float, limit: float, resting: float) -> bool:
    """Return whether an asset that only works, or only rests, is on the right side of the limit."""
    if top <= limit:
        return top <= resting
    return bool(np.count_nonzero(x < NEAR * limit) <= BETWEEN * len(x))


def _varies(amounts: Floats) -> bool:
    measured = amounts[~np.isnan(amounts)]
    return bool(len(measured)) and bool(measured.min() < measured.max())


def _lasts(flag: Bools, steps: Bools) -> bool:
    """Return whether steps (K, L) with `flag` mostly fill whole blocks, among the measured `steps` (K, L)."""
    whole = (flag | ~steps).all(1) & flag.any(1)
    return bool(np.count_nonzero(whole) >= LEAST_BLOCKS and 2 * np.count_nonzero(flag[whole]) >= np.count_nonzero(flag))


def _recurs(corpus: Corpus, rest: Bools, steps: Bools, days: int) -> bool:
    """Return whether rest (K, L) began on so many different days, and not too often a day, among measured `steps`."""
    begun, begins, span_ms = set[int](), 0, 0
    for code in np.unique(corpus.asset).tolist():
        own = np.flatnonzero(corpus.asset == code)
        own = own[np.argsort(corpus.end[own], kind="stable")]
        resting = np.logical_or.reduce(rest[own], axis=1)
        one = resting != np.logical_or.reduce((steps & ~rest)[own], axis=1)

        # Blocks of rest or of work alone. A history may leave out others in between.
        clear, idle = own[one], resting[one]
        first = clear[1:][idle[1:] & ~idle[:-1]]
        begun |= set((corpus.end[first] // DAY_MS).tolist())
        begins += len(first)
        span_ms += int(np.minimum(np.diff(corpus.end[own]), DAY_MS // MOST_A_DAY).sum())  # without long holes
    return len(begun) >= days and begins * DAY_MS <= MOST_A_DAY * span_ms
