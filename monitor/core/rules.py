"""Exceptions for one machine and for one channel: what differs from the settings of all.

A rule belongs to a name or a glob. The first glob that matches a name counts. `Rules` gives the rule of a name, and
`RowRules` the rules of the assets of one partition by row. Both follow from the rules and the names alone, so nothing
of them is saved: a snapshot has the rules among its live settings.

An asset that is off keeps its place, and its windows are cut but leave the pipeline after `windows`. A channel that is
not read of an asset has its cells masked, as those of a faulty sensor: they count neither for scores nor for learning,
and the score of the other channels is that of a machine whose masked channels behave as expected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from monitor.core.angles import COSINE, SINE, joined
from monitor.core.arrays import Doubles, Index, extend
from monitor.core.decode.select import ALL_MEASURED, ANGLE, Globs, Kinds, first_match, of_first
from monitor.core.model.modes import label
from monitor.core.records import Alert, Bools, ChannelShare, Ints
from monitor.core.texts import nearest_text, text_at
from monitor.core.windows.aggregates import LAST, MEAN, STD, base_of

Rows = Ints | Index
_ALL = Globs()
Direction = Literal["both", "above", "below"]


@dataclass(frozen=True, slots=True)
class AssetRule:
    """Exceptions of one machine."""

    margin: float | None = None  # None = as for all
    alarms_per_day: float | None = None
    channels: Globs = _ALL  # that are read of it
    off: bool = False


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """What a channel's deviations count for, and how the channel is shown."""

    direction: Direction = "both"  # of deviations that count
    least: float = 0.0  # smallest deviation that counts, in the channel's own unit
    least_share: float = 0.0  # or as a share of the expected value
    low: float = -np.inf  # smallest reading that is no fault of the sensor
    high: float = np.inf
    unit: str = ""
    title: str = ""


_AS_ALL, _PLAIN = AssetRule(), ChannelRule()


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules, each with its glob, in their order."""

    assets: tuple[tuple[str, AssetRule], ...] = ()
    channels: tuple[tuple[str, ChannelRule], ...] = ()
    kinds: Kinds = ALL_MEASURED  # of which the angles are joined in alerts, and states shown by their texts
    aggregates: tuple[str, ...] = (LAST,)  # of the readings of a step
    mode_channel: str = ""  # empty = modes do not come from a channel

    def asset(self, name: str) -> AssetRule:
        """Return the rule of an asset."""
        return of_first(self.assets, name, otherwise=_AS_ALL)

    def channel(self, name: str) -> ChannelRule:
        """Return the rule of a channel. Of the standard deviation of a channel only unit and title count."""
        names = self.names_of(name)
        rule = of_first(self.channels, *names, otherwise=_PLAIN)
        if name != names[1] and name.endswith(f".{STD}"):  # a deviation is no value of the channel
            return ChannelRule(unit=rule.unit, title=rule.title)
        return rule

    def names_of(self, channel: str) -> tuple[str, ...]:
        """Return the names by which globs know a channel: its own, that without an aggregate, and that of its angle."""
        base = base_of(channel, self.aggregates)
        angle = base.removesuffix(SINE).removesuffix(COSINE)
        of_angle = angle != base and self.kinds.of(angle) == ANGLE
        return (channel, base, angle) if of_angle else (channel, base)

    def labelled(self, alert: Alert) -> Alert:
        """Return the alert with titles and units of its channels, angles in degrees, and states by their texts."""
        angles = any(kind == ANGLE for _, kind in self.kinds.globs)
        if not angles and not self.kinds.texts and not any(rule.title or rule.unit for _, rule in self.channels):
            return alert
        shares = joined(alert.channels, self.kinds) if angles else alert.channels
        mode = label(float(alert.mode), self.mode_texts) if alert.mode and self.mode_texts else alert.mode
        return replace(alert, channels=tuple(map(self._labelled, shares)), mode=mode)

    def _labelled(self, share: ChannelShare) -> ChannelShare:
        rule, (name, base, *_) = self.channel(share.channel), self.names_of(share.channel)
        texts = self.kinds.texts_of(base)
        if name != base and name.endswith((f".{MEAN}", f".{STD}")):  # neither is a place
            texts = ()
        return replace(
            share,
            title=rule.title,
            unit=rule.unit,
            observed_text=text_at(share.observed, texts),
            expected_text=nearest_text(share.expected, texts),
        )

    @property
    def mode_texts(self) -> tuple[str, ...]:
        """The texts of the channel of the modes; none if it has numbers."""
        return self.kinds.texts_of(self.mode_channel) if self.mode_channel else ()


@lru_cache(maxsize=16)
def _globs(rules: tuple[tuple[str, object], ...]) -> tuple[str, ...]:
    return tuple(glob for glob, _ in rules)


class RowRules:
    """The rules of the assets of one partition, by row."""

    def __init__(self, margin: float, alarms_per_day: float = 0.0, rules: Rules | None = None) -> None:
        """`margin` and `alarms_per_day` are those of assets without a rule."""
        self.rules = rules or Rules()
        self._default = margin, alarms_per_day
        self._matched: set[int] = set()  # places of rules that an asset has had
        self._known = np.empty(0, np.bool_)  # (A,) rows whose rule was looked up
        self._off = np.empty(0, np.bool_)  # (A,)
        self._margin: Doubles = np.empty(0)  # (A,)
        self._alarms: Doubles = np.empty(0)  # (A,)
        self._channels: Sequence[str] = ()
        self._unread = np.empty((0, 0), np.bool_)  # (A, C)

    def update(self, names: Sequence[str], channels: Sequence[str]) -> None:
        """Look up the rules of rows that are new or were given to another asset."""
        if not self.rules.assets:
            return
        if channels != self._channels:
            self._channels = channels
            self._known[:] = False
            self._unread = np.zeros((len(self._known), len(channels)), np.bool_)
        if len(names) > len(self._known):
            self._grow(len(names))
        for row in np.flatnonzero(~self._known[: len(names)]).tolist():
            self._look_up(row, names[row])

    def _grow(self, rows: int) -> None:
        self._known = extend(self._known, rows, 0)
        self._off = extend(self._off, rows, 0)
        self._margin = extend(self._margin, rows, 0)
        self._alarms = extend(self._alarms, rows, 0)
        self._unread = extend(self._unread, rows, 0)

    def _look_up(self, row: int, name: str) -> None:
        rule = self.rules.asset(name)
        self._matched.add(first_match(_globs(self.rules.assets), name))
        margin, alarms = self._default
        self._known[row], self._off[row] = True, rule.off
        self._margin[row] = margin if rule.margin is None else rule.margin
        self._alarms[row] = alarms if rule.alarms_per_day is None else rule.alarms_per_day
        if rule.channels:
            wanted = [rule.channels.want(*self.rules.names_of(channel)) for channel in self._channels]
            self._unread[row] = ~np.array(wanted, np.bool_)
        else:
            self._unread[row] = False

    @property
    def unmatched(self) -> set[str]:
        """The globs of assets that no asset seen so far has had its rule from."""
        return {glob for place, glob in enumerate(_globs(self.rules.assets)) if place not in self._matched}

    @property
    def budgeted(self) -> bool:
        """Whether any asset may have a budget of alarms."""
        return self._default[1] > 0 or any(rule.alarms_per_day for _, rule in self.rules.assets)

    def forget(self, row: int) -> None:
        """Clear the row; it is reused for another asset."""
        if row < len(self._known):
            self._known[row] = False

    def off(self, rows: Rows) -> Bools:
        """Return which of the assets at `rows` (n,) are off."""
        return self._off[rows] if self.rules.assets else np.zeros(len(rows), np.bool_)

    def margin(self, rows: Rows) -> Doubles:
        """Return the margins (n,) of the assets at `rows` (n,)."""
        if not self.rules.assets:
            return np.full(len(rows), self._default[0])
        return self._margin[rows]

    def budget(self, rows: Rows) -> Doubles:
        """Return the alarms a day (n,) that the assets at `rows` (n,) may have; 0 = no budget."""
        if not self.rules.assets:
            return np.full(len(rows), self._default[1])
        return self._alarms[rows]

    def unread(self, rows: Rows) -> Bools | None:
        """Return the channels (n, C) that are not read of the assets at `rows` (n,); None if all are read."""
        if not self._unread.any():
            return None
        return self._unread[rows]
