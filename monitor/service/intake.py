"""What was read from a recording, in numbers: the grounds for the sentences of `no_windows`.

The stages count readings, steps and windows, but not which asset was read how often. So the first MOST_READINGS
readings are decoded a second time, and the times of each asset are kept. A daemon does not do this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    _names: dict[str, int] = field(default_factory=dict)  # of assets and channels -> code
    _parts: list[tuple[Times, Times, Times]] = field(default_factory=list)  # asset, channel, time (N,)
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
        self.unwanted.update(each.asset for each in outputs.unwanted)

        if self._left <= 0:
            self.cut = True
            return
        decoded, _ = decode(messages, detectors.format, now)
        for readings in detectors.router.route(decoded).readings:
            assets, channels = self._codes(readings.assets), self._codes(readings.channels)
            self._parts.append((assets[readings.asset], channels[readings.channel], readings.time))
        self._left -= len(decoded)

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
        if not self._parts:
            return []
        asset, channel, time = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        names = list(self._names)
        known = channels or sorted(names[code] for code in np.unique(channel).tolist())
        return [
            _seen(
                names[code], time[asset == code], [names[each] for each in channel[asset == code].tolist()], known, grid
            )
            for code in sorted(set(asset.tolist()), key=lambda code: names[code])
        ]

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
