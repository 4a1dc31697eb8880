"""What was read from a recording, in numbers: the grounds for the sentences of `no_windows`.

The stages count readings, steps and windows, but not which asset was read how often. So the first MOST_READINGS
readings are decoded a second time, and the times of each asset are kept. A daemon does not do this.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from monitor.core.decode.decode import decode
from monitor.core.detectors import Detectors
from monitor.core.records import Message, Partition, PartitionOutputs, Times

MOST_READINGS = 200_000  # at 24 bytes each; to decode them takes a tenth of a second
_SKIPPED = "values_skipped_"  # counts with this beginning are of values that could not be read; then comes the reason
_NOT_MEASURED = "null"  # a reason that is none: the sender says that there is no value


@dataclass(frozen=True, slots=True)
class AssetSeen:
    """When an asset was read, and how much of it."""

    asset: str
    distance_ms: int  # median time between its readings; 0 = there was only one time
    stretch: int  # steps of its longest stretch without a hole longer than `max_gap`
    holes: int  # longer than `max_gap`
    share: float  # of the cells of that stretch, over all channels, that were measured
    missing: tuple[str, ...]  # channels that never came
    channels: int  # of all assets, or of the model


@dataclass(frozen=True, slots=True)
class Grid:
    """The settings that decide where a stretch ends."""

    step_ms: int
    max_gap: int


class _Part(NamedTuple):
    """Readings (N,) of a batch."""

    asset: Times  # code
    channel: Times  # code
    time: Times  # ms UTC


@dataclass(slots=True)
class Intake:
    """Counts of what was read."""

    messages: int = 0
    outside: int = 0  # messages that were read and lie outside the wanted time
    rejected: int = 0
    reason: str = ""  # of the first rejection
    counts: dict[str, int] = field(default_factory=dict)  # as Outputs.counts, summed
    partitions: list[Partition] = field(default_factory=list)  # assigned
    unwanted: set[str] = field(default_factory=set)  # assets that no detector wants
    cut: bool = False  # whether there were more readings than those that were looked at
    _own: dict[str, Counter[str]] = field(default_factory=dict)  # counts of each detector, which are in `counts`, too
    _names: dict[str, int] = field(default_factory=dict)  # of assets and channels -> code
    _parts: dict[str, list[_Part]] = field(default_factory=dict)  # by detector
    _left: int = MOST_READINGS

    def add(self, messages: Sequence[Message], outputs: PartitionOutputs, detectors: Detectors, now: int) -> None:
        """Count a batch and its outputs; `now` is ms UTC. Readings that no detector wants do not count."""
        self.messages += len(messages)
        self.rejected += len(outputs.rejected)
        if outputs.rejected and not self.reason:
            self.reason = outputs.rejected[0].reason
        for counts in (outputs.counts, *(each.counts for each in outputs.detectors.values())):
            for name, count in counts.items():
                self.counts[name] = self.counts.get(name, 0) + count
        for detector, each in outputs.detectors.items():
            self._own.setdefault(detector, Counter()).update(each.counts)
        self.unwanted.update(each.asset for each in outputs.unwanted)

        if self._left <= 0:
            self.cut = True
            return
        decoded, _ = decode(messages, detectors.format, now)
        for detector, readings in zip(detectors.pipelines, detectors.router.route(decoded).readings, strict=True):
            assets, channels = self._codes(readings.assets), self._codes(readings.channels)
            part = _Part(assets[readings.asset], channels[readings.channel], readings.time)
            self._parts.setdefault(detector, []).append(part)
        self._left -= len(decoded)

    def of(self, detector: str) -> "Intake":
        """Return what was read for one detector. Assets that other detectors watch are unwanted then."""
        others = [counts for name, counts in self._own.items() if name != detector]
        counts = {name: count - sum(each[name] for each in others) for name, count in self.counts.items()}
        watched = {name: self._assets(parts) for name, parts in self._parts.items()}
        elsewhere = set().union(*watched.values()) - watched.get(detector, set())
        own = {detector: self._parts.get(detector, [])}
        return replace(self, counts=counts, unwanted=self.unwanted | elsewhere, _parts=own)

    @property
    def skipped(self) -> dict[str, int]:
        """Values that could not be read, in messages that could, by reason."""
        reasons = {name.removeprefix(_SKIPPED): n for name, n in self.counts.items() if name.startswith(_SKIPPED)}
        return {reason: count for reason, count in reasons.items() if count and reason != _NOT_MEASURED}

    def said(self) -> str:
        """Return a sentence about the messages and values that could not be read."""
        first = f"; the first: {self.reason}" if self.reason else ""
        each = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in self.skipped.items())
        values = f"{sum(self.skipped.values())} values" + (f" ({each})" if each else "")
        others = ""
        if self.unwanted:
            others = f"; {len(self.unwanted)} assets are of another detector or of none, such as {min(self.unwanted)}"
        return f"{self.rejected} of {self.messages} messages and {values} could not be read{first}{others}"

    def seen(self, grid: Grid, channels: Sequence[str] = ()) -> list[AssetSeen]:
        """Return what was seen of each asset, by name.

        `channels` are those of the model; without a model they are all that came.
        """
        parts = [part for own in self._parts.values() for part in own]
        if not parts:
            return []
        asset, channel, time = (np.concatenate(column) for column in zip(*parts, strict=True))
        names = list(self._names)
        known = channels or sorted(names[code] for code in np.unique(channel).tolist())
        return [
            _seen(
                names[code], time[asset == code], [names[each] for each in channel[asset == code].tolist()], known, grid
            )
            for code in sorted(set(asset.tolist()), key=lambda code: names[code])
        ]

    def _assets(self, parts: Sequence[_Part]) -> set[str]:
        names = list(self._names)
        return {names[code] for part in parts for code in np.unique(part.asset).tolist()}

    def _codes(self, names: Sequence[str]) -> Times:
        codes = [self._names.setdefault(name, len(self._names)) for name in names]
        return np.array(codes, np.int64)


def _seen(asset: str, times: Times, names: Sequence[str], known: Sequence[str], grid: Grid) -> AssetSeen:
    """Return what was seen of an asset with readings at `times` (n,) of channels `names` (n,)."""
    place = {name: number for number, name in enumerate(known)}
    cell = np.array([place.get(name, -1) for name in names], np.int64)
    moments = np.unique(times)
    steps = np.unique(times // grid.step_ms)

    # The longest stretch, in steps from its first to its last one.
    breaks = np.flatnonzero(np.diff(steps) - 1 > grid.max_gap)
    begins, ends = steps[np.append(0, breaks + 1)], steps[np.append(breaks, len(steps) - 1)]
    longest = int(np.argmax(ends - begins))
    begin, end = int(begins[longest]), int(ends[longest])
    stretch = end - begin + 1

    # Its measured cells, each once.
    within = (times // grid.step_ms >= begin) & (times // grid.step_ms <= end) & (cell >= 0)
    cells = np.unique((times[within] // grid.step_ms - begin) * len(known) + cell[within])

    came = set(names)
    return AssetSeen(
        asset=asset,
        distance_ms=int(np.median(np.diff(moments))) if len(moments) > 1 else 0,
        stretch=stretch,
        holes=len(breaks),
        share=len(cells) / (stretch * max(len(known), 1)),
        missing=tuple(name for name in known if name not in came),
        channels=len(known),
    )
