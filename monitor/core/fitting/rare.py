"""Blocks of a first history that hardly any other block of the asset is like: outages, a commissioning, a test.

A first model has no incumbent that could call a block anomalous, and learns a few outages as one more way to work
(measured: docs/decisions/0036-what-is-learned.md). A block is described by minimum, mean and maximum of each channel,
relative to the quartiles of the asset. Its distance from another one is the largest difference. It is rare if its
distance from the nearest NEIGHBOURS of the asset's blocks is more than FAR times that of the median block, and more
than OUTSIDE quartile distances. A channel that rests in most blocks, such as a valve that opens now and then, has no
quartile distance and does not count: otherwise each of its moves would be rare, and none would be learned. A way to
work that takes a larger share of the time is never rare. Nor is what came on
`days` different days, such as a weekly cleaning or the stops of machines that run in shifts.
"""

import numpy as np

from monitor.core.arrays import Doubles
from monitor.core.fitting.corpus import Corpus
from monitor.core.fitting.recurring import first_days
from monitor.core.records import Bools, Floats, Times

NEIGHBOURS = 0.12  # share of the asset's blocks
FAR = 4.0
OUTSIDE = 2.0
FEWEST = 20  # blocks of an asset that are judged
MOST_COMPARED = 500  # blocks of an asset with which each is compared, evenly spaced
_CLIP = 20.0  # quartile distances; a larger difference says no more


def rare(corpus: Corpus, days: int) -> Bools:
    """Return which blocks (K,) are rare among those of their asset, and did not come on `days` days; 0 = whenever."""
    found, block_ms = np.zeros(len(corpus), np.bool_), corpus.values.shape[2] * corpus.step_ms
    for code in np.unique(corpus.asset).tolist():
        own = np.flatnonzero(corpus.asset == code)
        if len(own) < FEWEST:
            continue
        own = own[np.argsort(corpus.end[own], kind="stable")]
        described = _described(np.where(corpus.observed[own], corpus.values[own], np.float32(np.nan)))
        far, limit = _far(described)
        if days and far.any():
            day = first_days(corpus.end[own], far, far, block_ms)[far]
            far[far] = _days_alike(described[far], day, limit) < days
        found[own] = far
    return found


def _described(values: Floats) -> Doubles:
    """Return minimum, mean and maximum of each channel (K, 3 C) of blocks (K, C, L), 0 where it was not measured."""
    known = np.logical_not(np.logical_and.reduce(np.isnan(values), axis=2))  # (K, C)
    filled = np.where(known[:, :, None], values, 0.0)
    parts = np.stack([np.nanmin(filled, 2), np.nanmean(filled, 2), np.nanmax(filled, 2)], 2)  # (K, C, 3)
    parts[~known] = np.nan

    ever = np.logical_or.reduce(known, axis=0)[:, None]  # (C, 1)
    low, middle, high = np.nanquantile(np.where(ever, parts, 0.0), (0.25, 0.5, 0.75), axis=0)
    size = (high - low).max(1)  # (C,) the largest of the three
    size[size <= 1e-6 * (1 + np.abs(middle).max(1))] = np.inf  # a channel at rest in most blocks
    result: Doubles = np.nan_to_num(np.clip((parts - middle) / size[:, None], -_CLIP, _CLIP))
    return result.reshape(len(values), -1)


def _far(described: Doubles) -> tuple[Bools, float]:
    """Return which blocks (K,) are far from their neighbours, and from which distance on a block is."""
    step = -(-len(described) // MOST_COMPARED)
    others = described[::step]
    near = int(NEIGHBOURS * len(others))
    distance = np.empty(len(described))
    for place, one in enumerate(described):
        distance[place] = np.partition(np.abs(others - one).max(1), near)[near]
    limit = max(OUTSIDE, FAR * float(np.median(distance)))
    return distance > limit, limit


def _days_alike(described: Doubles, day: Times, limit: float) -> Times:
    """Return on how many days (n,) each of the rare blocks (n, 3 C), or one no further than the limit, came."""
    counts = [len(np.unique(day[np.abs(described - one).max(1) <= limit])) for one in described]
    return np.array(counts, np.int64)
