"""The records that stages pass to each other, and the letters of their shapes.

    N readings · B windows · A assets · C channels · L window length (steps)

Everything between a source and a sink travels as columns over many assets at once; no object per reading exists.
Records are frozen: a stage reads its input and returns new records. Times are int64 milliseconds since the
Unix epoch, UTC. NaN means "not measured", never zero.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]
Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
AlertState = Literal["firing", "resolved", "adapted"]  # as published; pending is not
MACHINE, SENSOR, SILENCE = "machine", "sensor", "silence"  # causes of alerts, with the next two
NOT_RUNNING, NEW_MODE = "not_running", "new_mode"
State = dict[str, npt.NDArray[Any]]  # of a stage: plain arrays by name, nothing that needs pickle


class Count(StrEnum):
    """Names of the counts that stages keep. A worker turns each count into a metric."""

    MESSAGES_EMPTY = "messages_empty"  # without one value that could be read
    VALUES_SKIPPED_TEXT = "values_skipped_text"
    VALUES_SKIPPED_UNKNOWN_TEXT = "values_skipped_unknown_text"  # of a channel that has other texts
    VALUES_SKIPPED_BOOLEAN = "values_skipped_boolean"
    VALUES_SKIPPED_NULL = "values_skipped_null"
    VALUES_SKIPPED_NOT_FINITE = "values_skipped_not_finite"  # NaN, infinite, or beyond float64
    VALUES_SKIPPED_NESTED = "values_skipped_nested"  # an array or an object
    VALUES_SKIPPED_NAME = "values_skipped_name"  # empty, too long, or one too many to be changed
    VALUES_SKIPPED_QUALITY = "values_skipped_quality"  # the producer calls the value bad
    VALUES_SKIPPED_ITEM = "values_skipped_item"  # of an item without time or asset, of a message with other items
    VALUES_SKIPPED_NAME_TAKEN = "values_skipped_name_taken"  # another name has become the same id
    READINGS = "readings"
    READINGS_LATE = "readings_late"  # their step had closed
    READINGS_DUPLICATE = "readings_duplicate"  # of the same asset, channel and time
    READINGS_REPEATED = "readings_repeated"  # the channel's newest one once more, time and value alike
    READINGS_UNKNOWN_CHANNEL = "readings_unknown_channel"
    READINGS_AMBIGUOUS = "readings_ambiguous"  # another measurement has the same field, by which channels are named
    READINGS_UNWANTED_CHANNEL = "readings_unwanted_channel"  # each detector of their asset leaves their channel out
    READINGS_REFUSED = "readings_refused"  # of a new asset, without room
    READINGS_FLOOD = "readings_flood"  # of a new asset, with too many in a minute
    READINGS_FILTERED_MEASUREMENT = "readings_filtered_measurement"  # left out by [select], as are the next two
    READINGS_FILTERED_ASSET = "readings_filtered_asset"
    READINGS_FILTERED_CHANNEL = "readings_filtered_channel"
    STEPS_CLOSED = "steps_closed"
    GAPS = "gaps"
    ASSETS_FORGOTTEN = "assets_forgotten"  # evicted
    MACHINES_STARTED = "machines_started"
    MACHINES_STOPPED = "machines_stopped"
    STEPS_OFF = "steps_off"  # in which the machine did not run, or had just started
    WINDOWS_SKIPPED_WARMUP = "windows_skipped_warmup"
    WINDOWS_SKIPPED_UNOBSERVED = "windows_skipped_unobserved"
    WINDOWS_SKIPPED_DOUBTED = "windows_skipped_doubted"
    CELLS_DOUBTED = "cells_doubted"
    ALERTS_SUPPRESSED_SHORT = "suppressed_short"
    ALERTS_SUPPRESSED_GAP = "suppressed_gap"


FILTERED = (Count.READINGS_FILTERED_MEASUREMENT, Count.READINGS_FILTERED_ASSET, Count.READINGS_FILTERED_CHANNEL)


class Partition(NamedTuple):
    """A partition of a source topic: the unit of state that moves between workers."""

    topic: str
    number: int


class Message(Struct, frozen=True, gc=False):
    """Bytes at an offset, as a source delivers them. There is one per reading or step, and a Struct is fastest."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int  # ms UTC as recorded by the broker or producer
    headers: tuple[tuple[str, bytes], ...] = ()
    unpack: Callable[[bytes], bytes] | None = None  # value -> JSON text, if a schema describes it; decode/bodies.py


class Record(Struct, frozen=True, gc=False):
    """Bytes for a topic, as a sink accepts them."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = -1  # -1 = by key; only topics of a broker have partitions and timestamps
    timestamp: int = 0  # ms UTC; 0 = the time of writing


class Stream(NamedTuple):
    """Readings of a partition's batch (M,): all that move its time, and at `place` (N,), ascending, those of a part."""

    time: Times  # (M,)
    offset: Times  # (M,)
    place: Times  # (N,)

    def part(self, begin: int, end: int) -> "Stream":
        """Return the part of the `begin`-th to before the `end`-th place.

        Readings between two parts belong to the earlier one.
        """
        ends = np.append(self.place, len(self.time))
        low, high = int(ends[begin]) if begin else 0, int(ends[end])
        return Stream(self.time[low:high], self.offset[low:high], self.place[begin:end] - low)


@dataclass(frozen=True, slots=True)
class ReadingBatch:
    """Readings of one partition in the order of their offsets, dictionary-encoded: codes index the two name tuples."""

    assets: tuple[str, ...]
    channels: tuple[str, ...]
    asset: Ints  # (N,)
    channel: Ints  # (N,)
    time: Times  # (N,)
    value: npt.NDArray[np.float64]  # (N,) finite
    offset: Times  # (N,) offset of the message that carried the reading
    groups: tuple[str, ...] = ()  # of assets, as the messages name them; empty = the messages name none
    group: Ints | None = None  # (N,) codes of `groups`
    among: Stream | None = None  # these, and the others that move the partition's time; None = these are all

    def __len__(self) -> int:
        return len(self.time)

    @property
    def stream(self) -> Stream:
        """All readings that move the partition's time, and the places of these."""
        return Stream(self.time, self.offset, np.arange(len(self))) if self.among is None else self.among

    def part(self, begin: int, end: int) -> "ReadingBatch":
        """Return the readings from `begin` to before `end`; the names stay."""
        among = None if self.among is None else self.among.part(begin, end)
        return replace(self._at(slice(begin, end)), among=among)

    def moving(self) -> npt.NDArray[np.intp]:
        """Return the places of the readings that are newer than all before them in the batch."""
        newest = np.maximum.accumulate(self.time)
        return np.flatnonzero(np.append(True, newest[1:] > newest[:-1])[: len(self)])

    def take(self, index: npt.NDArray[np.intp], moving: npt.NDArray[np.intp]) -> "ReadingBatch":
        """Return the readings at `index` (K,), ascending, with only the names that occur, in order of appearance.

        `moving` are the readings that `moving()` returns of these. They move the time of the part, too.
        """
        part = replace(self._at(index), among=self._stream(index, moving))
        assets, asset = compact(self.assets, part.asset)
        channels, channel = compact(self.channels, part.channel)
        part = replace(part, assets=assets, channels=channels, asset=asset, channel=channel)
        if part.group is None:
            return part
        groups, group = compact(self.groups, part.group)
        return replace(part, groups=groups, group=group)

    def _stream(self, index: npt.NDArray[np.intp], moving: npt.NDArray[np.intp]) -> Stream | None:
        """Return the readings at `index` (K,) and `moving` (M,), ascending both; None = the former are all."""
        before = np.searchsorted(index, moving)  # readings of the part before each of `moving`
        own = np.append(index, -1)[before] == moving
        others, before = moving[~own], before[~own]
        if not len(others):
            return None
        place = np.arange(len(index)) + np.cumsum(np.bincount(before, minlength=len(index)))[: len(index)]
        passing = np.empty(len(index) + len(others), np.intp)
        passing[place] = index
        passing[before + np.arange(len(others))] = others
        return Stream(self.time[passing], self.offset[passing], place)

    def _at(self, at: "slice | npt.NDArray[np.intp]") -> "ReadingBatch":
        return replace(
            self,
            asset=self.asset[at],
            channel=self.channel[at],
            time=self.time[at],
            value=self.value[at],
            offset=self.offset[at],
            group=None if self.group is None else self.group[at],
        )


def compact(names: Sequence[str], codes: Ints) -> tuple[tuple[str, ...], Ints]:
    """Return only the names that occur, in order of first appearance, and the codes (N,) that index them."""
    first, place = np.empty(len(names), np.intp), np.arange(len(codes))
    first[codes[::-1]] = place[::-1]  # the last write to a place stays: the earliest reading
    found = codes[first[codes] == place]
    renamed = np.empty(len(names), np.int32)
    renamed[found] = np.arange(len(found), dtype=np.int32)
    return tuple(map(names.__getitem__, found.tolist())), renamed[codes]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be decoded, with the reason. The message goes to the dead-letter topic unchanged."""

    message: Message
    stage: str  # "decode"
    field: str  # where in the message, e.g. "values.pressure"; empty if the message as a whole
    error: str  # class of the error, e.g. "WrongType"
    reason: str  # a sentence: found and expected


class Renamed(NamedTuple):
    """A name with characters that an id may not have, and the id that it has become."""

    kind: Literal["asset", "channel"]
    name: str
    id: str
    owner: str = ""  # another name that has the id, so that readings of `name` were skipped; empty = none


class UnknownText(NamedTuple):
    """A text that is none of its channel's texts, so that its reading was skipped."""

    channel: str  # as it was sent
    text: str


class Unwanted(NamedTuple):
    """An asset that no detector wants."""

    asset: str
    group: str  # as the messages name it; empty = they name none
    readings: int


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Complete windows, ordered by the position that closed them, then by asset, then by end.

    An asset may appear more than once. `assets` are row numbers of the stage that made the windows.
    """

    assets: Ints  # (B,)
    ends: Times  # (B,) grid time of the newest step
    values: Floats  # (B, C, L) carried forward over short holes; NaN = not measured and not filled
    observed: Bools  # (B, C, L) True where a reading fell into the cell
    position: Times  # (B,) offset of the message that closed the newest step
    masked: Bools | None = None  # (B, C, L) cells of sensors found faulty, not observed then; None = all are sound
    held: Bools | None = None  # (B, C, L) observed cells without a reading, in which a slow channel holds; None = none

    def __len__(self) -> int:
        return len(self.ends)

    def without(self, cells: Bools) -> "WindowBatch":
        """Return the windows with `cells` (B, C, L) masked, in addition to those that are.

        A masked cell keeps its reading, for charts. A value that was only carried forward there goes.
        """
        place = np.flatnonzero(cells.any((1, 2)))  # of a few assets, mostly
        values, observed, part = self.values.copy(), self.observed.copy(), cells[place]
        read = observed[place] if self.masked is None else observed[place] | self.masked[place]
        values[place] = np.where(part & ~read, np.float32(np.nan), values[place])
        observed[place] &= ~part
        masked = cells if self.masked is None else self.masked | cells
        return replace(self, values=values, observed=observed, masked=masked)

    def take(self, index: npt.NDArray[np.intp]) -> "WindowBatch":
        """Return the windows at `index` (K,), in that order."""
        return WindowBatch(
            self.assets[index],
            self.ends[index],
            self.values[index],
            self.observed[index],
            self.position[index],
            None if self.masked is None else self.masked[index],
            None if self.held is None else self.held[index],
        )


@dataclass(frozen=True, slots=True)
class ModeBatch:
    """The operating mode of each window of a WindowBatch, row by row."""

    mode: Ints  # (B,) place among the model's modes; -1 = a step of the window is in none that the model knows
    value: Floats  # (B,) newest value of the mode's channel, or id of the learned mode; NaN = none
    new: Bools  # (B,) the newest step is in a mode that the model does not know


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """The scores of each window of a WindowBatch, row by row."""

    score: Floats  # (B,) ranking score, higher = more anomalous; 1.0 is the edge of the clean windows
    by_channel: Floats  # (B, C) contribution of each channel to the score, in units of the channel's usual error
    expected: Floats  # (B, C) reconstruction of the newest step, in the channel's own unit
    spread: Floats  # (B, C) one standard deviation of the reconstruction error, in the channel's own unit
    newest: Floats  # (B, C) the newest step as read, NaN = not measured
    modes: ModeBatch | None = None  # None = the model has one mode

    def take(self, index: npt.NDArray[np.intp]) -> "ScoreBatch":
        """Return the scores of the windows at `index` (K,), in that order."""
        modes = self.modes
        if modes is not None:
            modes = ModeBatch(modes.mode[index], modes.value[index], modes.new[index])
        own = {name: getattr(self, name)[index] for name in _SCORES}
        return ScoreBatch(**own, modes=modes)


@dataclass(frozen=True, slots=True)
class ModelScores:
    """The scorer's result for each window of a WindowBatch, row by row: what a model says of the window alone."""

    network: Floats  # (B,) score by the network; 1.0 is the edge of the clean windows
    forecast: Floats  # (B,) error of the forecast, `Forecaster.over_channels`; NaN = no channel in the newest steps
    errors: Floats  # (B, V, C) of each channel (model/alarm.py); NaN = not observed
    by_channel: Floats  # (B, C), as the following ones those of `ScoreBatch`
    expected: Floats  # (B, C)
    spread: Floats  # (B, C)
    newest: Floats  # (B, C)
    modes: ModeBatch | None

    def ranked(self, score: Floats) -> ScoreBatch:
        """Return the same with the ranking scores (B,), which depend on earlier windows, too."""
        return ScoreBatch(score, self.by_channel, self.expected, self.spread, self.newest, modes=self.modes)


@dataclass(frozen=True, slots=True)
class ThresholdBatch:
    """The alarm score of each window and its limit, computed before the alarm score itself was entered.

    The alarm score decides alerts. Windows are shown and ranked by `ScoreBatch.score`.
    """

    alarm: Floats  # (B,) alarm score, higher = more anomalous
    threshold: Floats  # (B,) limit of the alarm score
    anomalous: Bools  # (B,) the alarm score exceeds the limit
    warm: Bools  # (B,) False while the threshold is borrowed from the model's calibration


@dataclass(frozen=True, slots=True)
class ChannelShare:
    """One channel's part in an alert."""

    channel: str
    contribution: float  # share of the summed channel scores, 0..1
    observed: float | None  # at the step of the channel's largest error; None = not measured there
    expected: float
    low: float  # expected - 2 spreads
    high: float  # expected + 2 spreads
    steps_ago: int  # steps from that step to the window's end
    title: str = ""  # for people, by a rule of the channel
    unit: str = ""
    observed_text: str = ""  # of a channel of texts; empty = not measured, or no place of a text
    expected_text: str = ""  # the nearest one; empty = the channel has no texts

    def label(self, name: str) -> str:
        """Return the title with the `name` of the channel; without a title the name."""
        return f"{self.title} ({name})" if self.title else name


@dataclass(frozen=True, slots=True)
class Alert:
    """One state change of an alert. The id stays the same from firing through updates to resolution."""

    id: str
    asset: str
    state: AlertState
    start: int  # ms UTC: end of the first window of the run that led to firing
    end: int | None  # ms UTC: end of the last anomalous window; None while firing
    time: int  # ms UTC: end of the window that caused this record
    severity: str  # "warning" | "critical"
    alarm: float  # of a machine: alarm score of the window; otherwise steps or seconds, see `fault`
    threshold: float  # limit of `alarm`, in the same unit
    ratio: float  # alarm / threshold; 1.0 = the limit
    peak: float  # highest ratio since start
    channels: tuple[ChannelShare, ...]  # ranked by contribution, largest first
    model: str  # model version
    detector: str
    partition: Partition  # of the window that opened the alert
    offset: int  # of the window that opened the alert
    position: int  # offset of the message that caused this record; not published
    sequence: int  # 0 at firing, then 1, 2, … per alert
    cause: str = MACHINE  # or another of the causes above; records of older versions lack it
    linked: str = ""  # id of the oldest alert of the asset that fired then, in another detector; empty = none
    fault: str = ""  # of a sensor: "limits" | "dropout" | "frozen" | "jump"; alarm and threshold then count its steps
    # or "clock", of the whole asset: no channels; alarm and threshold are seconds ahead, negative = behind
    # of silence: "absent" | "stale"; no channels; alarm and threshold are seconds without news
    # of a machine that does not run: "off" | "silent"; no channels; alarm and threshold are seconds
    # of a new mode: "value" | "unlike"; alarm and threshold are 1
    mode: str = ""  # of the window that caused this record, or the new mode; empty = there is one mode, or none fits


@dataclass(frozen=True, slots=True)
class Outputs:
    """The results of one detector for one batch of one partition."""

    windows: WindowBatch
    scores: ScoreBatch | None  # None while there is no model
    thresholds: ThresholdBatch | None
    alerts: Sequence[Alert] = ()
    counts: dict[str, int] = field(default_factory=dict)
    names: Sequence[str] = ()  # of the rows in `windows.assets`; evicted assets have rows above those of the stage
    evicted: Sequence[tuple[int, str]] = ()  # rows that went to another asset, and the asset that had each before
    refused_asset: str = ""  # a new asset that was refused; empty = none
    mode_texts: Sequence[str] = ()  # of the channel of the modes


@dataclass(frozen=True, slots=True)
class PartitionOutputs:
    """The results of one batch of one partition, for the shell to encode and publish."""

    detectors: Mapping[str, Outputs]  # by name
    alerts: Sequence[Alert] = ()  # of all detectors, in the order of their positions
    rejected: Sequence[Rejected] = ()
    renamed: Sequence[Renamed] = ()  # names that were changed for the first time in this partition, or refused
    unknown_texts: Sequence[UnknownText] = ()  # of this batch, different ones
    counts: dict[str, int] = field(default_factory=dict)  # of decoding and routing
    unwanted: Sequence[Unwanted] = ()  # assets of this batch that no detector wants


def by_partition(messages: Sequence[Message]) -> dict[Partition, list[Message]]:
    """Return the messages of each partition, in their order."""
    parts: dict[Partition, list[Message]] = {}
    for partition, run in groupby(messages, lambda message: message.partition):  # they come in runs
        parts.setdefault(partition, []).extend(run)
    return parts


def nothing_scored(channels: int) -> tuple[ScoreBatch, ThresholdBatch]:
    """Return the scores and limits of no windows, with so many channels."""
    none, bands = np.empty(0, np.float32), np.empty((0, channels), np.float32)
    return ScoreBatch(none, bands, bands, bands, bands), ThresholdBatch(none, none, none > 0, none > 0)


_SCORES = ("score", "by_channel", "expected", "spread", "newest")
