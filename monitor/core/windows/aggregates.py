"""Aggregates of a step: the last reading, mean, smallest, largest and standard deviation of all readings of a channel.

By default a step has its last reading, and channels have the names that came (base channels). Otherwise each base
channel `flow` becomes a channel for each aggregate, such as `flow.mean` and `flow.max`. The channel of the operating
modes keeps its last reading and its name: two recipes have no mean.

Every reading weighs the same, however long its value lasted. Of readings with the time of their channel's newest one
the last counts, once. A reading older than the newest one counts, too. If an older reading comes twice, it counts
twice: to know would need all times of the step. A repeated value (see `grid`) is the step's only reading.

Guaranteed: sums are of 64 bits, relative to the first reading, and are added in the order of arrival, so an aggregate
does not depend on the cut into batches. Readings are rounded to 32 bits before, as without aggregates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.arrays import Doubles, Index, first_of_run
from monitor.core.records import Floats, Times
from monitor.core.windows.cells import Open, as_stored

LAST, MEAN, MIN, MAX, STD = "last", "mean", "min", "max", "std"
AGGREGATES = (LAST, MEAN, MIN, MAX, STD)
SUMS = 6  # of a cell: number, first value, sum and squares relative to that, smallest, largest


def channels_of(base: str, aggregates: Sequence[str]) -> tuple[str, ...]:
    """Return the channels that a base channel becomes."""
    return (base,) if is_plain(aggregates) else tuple(f"{base}.{each}" for each in aggregates)


def base_of(channel: str, aggregates: Sequence[str]) -> str:
    """Return the base channel of a channel."""
    return channel if is_plain(aggregates) else _parted(channel)[0]


def is_plain(aggregates: Sequence[str]) -> bool:
    """Return whether a step has its last reading and nothing else."""
    return tuple(aggregates) == (LAST,)


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Which aggregates of which base channels the channels (C,) are, and after them watched base channels (E,)."""

    bases: tuple[str, ...] = ()
    own: int = 0  # so many of `bases` are those of channels, the rest are watched only
    base: tuple[int, ...] = ()  # (C + E,) place in `bases`
    kinds: tuple[str, ...] = ()  # (C + E,)
    sums: int = 0  # sums of a cell; 0 = each channel is a base channel, and has the last reading

    @classmethod
    def of(cls, channels: Sequence[str], aggregates: Sequence[str], watched: Sequence[str] = ()) -> "Aggregates":
        """Return what `channels` mean under the setting `aggregates`.

        The ending of a channel's name says its aggregate, also if the setting has others. Without such an ending it is
        the last reading. The last readings of `watched` base channels come after the channels.
        """
        names = (*channels, *watched)
        if is_plain(aggregates):
            return cls(names, len(channels), tuple(range(len(names))), (LAST,) * len(names))
        parts = [*map(_parted, channels), *((name, LAST) for name in watched)]
        bases = tuple(dict.fromkeys(base for base, _ in parts))
        places = {base: place for place, base in enumerate(bases)}
        own = len({base for base, _ in parts[: len(channels)]})
        return cls(bases, own, tuple(places[base] for base, _ in parts), tuple(kind for _, kind in parts), SUMS)

    def bases_of(self, channels: int) -> list[str]:
        """Return the base channel of each of the first `channels`."""
        return [self.bases[place] for place in self.base[:channels]]

    def values(self, newest: Floats, sums: Doubles) -> Floats:
        """Return the aggregates (K, C + E) of steps with `newest` readings (K, base) and earlier ones.

        `sums` (sums, K, base) are those of the earlier readings. NaN = no reading.
        """
        if not self.sums:
            return newest
        found = {LAST: newest}
        number, first, total, squares, low, high = sums
        alone = number == 0
        first = np.where(alone, newest, first)
        above = newest.astype(np.float64) - first
        mean = (total + above) / (number + 1)
        found[MEAN] = as_stored(first + mean)
        variance = np.maximum((squares + above * above) / (number + 1) - mean * mean, 0)
        found[STD] = as_stored(np.sqrt(variance))
        found[MIN] = np.where(alone, newest, np.minimum(low, newest)).astype(np.float32)
        found[MAX] = np.where(alone, newest, np.maximum(high, newest)).astype(np.float32)

        values = np.empty((len(newest), len(self.base)), np.float32)
        for channel, (base, kind) in enumerate(zip(self.base, self.kinds, strict=True)):
            values[:, channel] = found[kind][:, base]
        return values


def _parted(name: str) -> tuple[str, str]:
    """Return base channel and aggregate of a channel's name."""
    base, _, kind = name.rpartition(".")
    return (base, kind) if base and kind in AGGREGATES else (name, LAST)


def no_sums(sums: int, rows: int, columns: int) -> Doubles:
    """Return the sums of cells (rows, columns) without a reading."""
    return np.zeros((sums, rows, columns))


def fold_earlier(table: Open, cell: Index, offset: Times, held: Times, value: Floats) -> None:
    """Add to the sums of `table`, in place, all but the newest reading of each cell.

    The new readings (n,) are ordered by cell, then arrival. `held` is the offset that counts before each, negative =
    none. The values of `table` are those that count before the batch.
    """
    before, first = table.values.reshape(-1)[cell], first_of_run(cell)
    if not first.all():  # a cell has several readings
        place = np.arange(len(cell))
        begin = np.maximum.accumulate(np.where(first, place, 0))
        winner = np.maximum.accumulate(np.where(offset >= held, place, -1))  # the last one so far
        winner = np.append(-1, winner[:-1])
        before = np.where(winner >= begin, value[winner], before)

    # A newer reading adds the one that it follows, an older one itself, one of the same time nothing.
    adds = np.flatnonzero((held >= 0) & (offset != held))
    added = np.where(offset[adds] > held[adds], before[adds], value[adds]).astype(np.float64)
    cell = cell[adds]
    number, base, total, squares, low, high = (part.reshape(-1) for part in table.sums)
    fresh = np.flatnonzero(number[cell] == 0)
    fresh = fresh[first_of_run(cell[fresh])]
    for part in (base, low, high):
        part[cell[fresh]] = added[fresh]

    above = added - base[cell]
    np.add.at(number, cell, 1.0)
    np.add.at(total, cell, above)
    np.add.at(squares, cell, above * above)
    np.minimum.at(low, cell, added)
    np.maximum.at(high, cell, added)
