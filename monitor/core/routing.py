"""Which readings of a partition each detector gets.

A `Route` has the globs of one detector: it wants an asset by its name or by its group, and of the asset some channels.
An asset may be wanted by several detectors, or by none. `Router` asks the globs once per asset and group it meets, and
once per channel, and then takes each detector's readings by their codes, so the cost of a reading is that of an array.

Guaranteed: the readings of a detector, their order and their name tables depend on the readings and its own route
alone. A detector that wants everything gets the batch as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np

from monitor.core.arrays import Index
from monitor.core.decode.select import Globs
from monitor.core.records import Bools, ReadingBatch, Times, Unwanted

_MARKED = 2**22  # pairs of an asset and a group that are found by a mark for each, which takes a tenth of sorting
MOST_REMEMBERED = 200_000  # names, then all are forgotten: some 20 MB, and more than all partitions of a worker have

_ALL = Globs()


@dataclass(frozen=True, slots=True)
class Route:
    """The assets and channels of one detector. Names are known by their ids, so globs must match ids."""

    assets: Globs = _ALL
    groups: Globs = _ALL  # an asset without a group has the group ""
    channels: Globs = _ALL
    watched: tuple[str, ...] = ()  # channels that the detector gets in any case, to know whether machines run

    @property
    def everything(self) -> bool:
        """Whether no reading is left out."""
        return not (self.assets or self.groups or self.channels)

    def wants(self, asset: str) -> bool:
        """Return whether the detector may want an asset, of which the group is not known."""
        return self.assets.want(asset)


class Routed(NamedTuple):
    """The readings of one batch by detector, and those that no detector gets."""

    readings: Sequence[ReadingBatch]  # in the order of the routes
    unwanted: Sequence[Unwanted]  # sorted
    of_channels: int  # readings of channels that every detector of their asset leaves out


class Router:
    """Routes by detector. It remembers only answers that follow from the routes."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self._assets: dict[tuple[str, str], int] = {}  # asset and group -> kind
        self._kinds: dict[tuple[bool, ...], int] = {}  # by detector -> kind of the assets that these detectors want
        self._channels: dict[str, tuple[bool, ...]] = {}

    def route(self, readings: ReadingBatch) -> Routed:
        """Return the readings of each detector."""
        routes = tuple(self.routes.values())
        if all(route.everything for route in routes):
            return Routed([readings] * len(routes), (), 0)

        # Readings are sorted by who wants them, so that a detector of its own assets costs nothing for the others.
        code, pairs = _pairs(readings)
        kind, wanting = self._wanting(pairs)
        channels = self._reading(readings.channels)  # (n, D)
        kinds = kind[code]  # (N,)
        order = np.argsort(kinds.astype(np.min_scalar_type(len(wanting))), kind="stable")  # small numbers: by radix
        runs = np.split(order, np.cumsum(np.bincount(kinds, minlength=len(wanting)))[:-1])

        moving = readings.moving()
        given: Bools = np.asarray(wanting.any(1))[kinds]  # to any detector
        narrowed = any(route.channels for route in routes)
        if narrowed:
            given[:] = False
        parts: list[ReadingBatch] = []
        for place, route in enumerate(routes):
            own = np.flatnonzero(wanting[:, place])
            index = runs[own[0]] if len(own) == 1 else np.flatnonzero(wanting[:, place][kinds])
            if route.channels:
                index = index[channels[:, place][readings.channel[index]]]
            if narrowed:
                given[index] = True
            parts.append(readings if len(index) == len(readings) else readings.take(index, moving))

        if given.all():
            return Routed(parts, (), 0)
        lost: Bools = np.asarray(~wanting.any(1))[kinds]
        count = np.bincount(code[lost], minlength=len(pairs))
        unwanted = sorted(Unwanted(*pairs[each], int(count[each])) for each in np.flatnonzero(count).tolist())
        return Routed(parts, unwanted, int(np.count_nonzero(~given & ~lost)))

    def _wanting(self, pairs: Sequence[tuple[str, str]]) -> tuple[Index, Bools]:
        """Return the kind (n,) of each asset, given with its group, and which detectors want each kind (K, D)."""
        known, kinds = self._assets, self._kinds
        found = list(map(known.get, pairs))
        if None in found:
            for asset, group in (pair for pair, each in zip(pairs, found, strict=True) if each is None):
                wanting = (route.assets.want(asset) and route.groups.want(group) for route in self.routes.values())
                known[asset, group] = kinds.setdefault(tuple(wanting), len(kinds))
            found = list(map(known.get, pairs))
        kind = np.array(found, np.intp)
        wanted = np.array(list(kinds), np.bool_).reshape(len(kinds), len(self.routes))
        if len(known) > MOST_REMEMBERED:
            known.clear()
            kinds.clear()
        return kind, wanted

    def _reading(self, channels: Sequence[str]) -> Bools:
        """Return which detectors read the channels (n, D)."""
        known = self._channels
        for name in channels:
            if name not in known:
                known[name] = tuple(
                    route.channels.want(name) or name in route.watched for route in self.routes.values()
                )
        read = np.array([known[name] for name in channels], np.bool_).reshape(len(channels), len(self.routes))
        if len(known) > MOST_REMEMBERED:
            known.clear()
        return read


def _pairs(readings: ReadingBatch) -> tuple[Times, Sequence[tuple[str, str]]]:
    """Return a code (N,) for each reading's asset and group, and the pairs by code."""
    if readings.group is None:
        return readings.asset.astype(np.int64), list(zip(readings.assets, repeat("")))
    both = readings.asset.astype(np.int64) * len(readings.groups) + readings.group
    most = len(readings.assets) * len(readings.groups)
    if most > _MARKED:
        found, code = np.unique(both, return_inverse=True)
    else:
        marks = np.zeros(most, np.bool_)
        marks[both] = True
        found = np.flatnonzero(marks)
        code = (np.cumsum(marks) - 1)[both]
    pairs = [divmod(each, len(readings.groups)) for each in found.tolist()]
    return code, [(readings.assets[asset], readings.groups[group]) for asset, group in pairs]
