"""Asset and channel out of the names of Telegraf's points: `format.patterns` of influx_line and telegraf_json.

Many plug-ins have the machine in a name only: the OPC UA client in the field's (`Pump1.Flow=20.8`) or the measurement's
(`Pump1 Flow=20.8`), the MQTT consumer in the tag `topic` (`plant/Pump1/flow`). A pattern is searched in one of these:

    name:       the field's own name
    channel:    the channel's name without patterns, `measurement.field`
    tag:NAME    the tag that names the asset, `asset_tag`; with asset_from = "key" it is key:

A group that matched wins: over the tag as asset, and over `measurement.field` as channel. A channel out of a tag is
followed by the field, unless the field is called `value`. What no pattern matches stays as it is.

Each distinct name of a batch is searched once.
"""

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from monitor.core.decode.backtracking import compiled
from monitor.core.records import Ints, Times

if TYPE_CHECKING:
    from monitor.core.decode.format import Format

_GROUPS = {"asset", "channel"}
_LONGEST = 256  # characters of a name that is searched
_FIELD, _CHANNEL = "name:", "channel:"


class Assigned(NamedTuple):
    """The outcome for the readings (N,): a point holds readings of one asset."""

    assets: list[str]
    channels: list[str]
    points: Times  # (P,) which of the points before each one was
    asset: Ints  # (P,) codes of `assets`
    point: Times  # (N,) index of the reading's point
    channel: Ints  # (N,) codes of `channels`


class _Names(NamedTuple):
    asset: str
    channel: str


def check_tagged(form: "Format") -> None:
    """Raise ValueError if a pattern of Telegraf's kinds is searched in a place that these kinds do not have."""
    owner = _owner(form)
    for each in form.patterns:
        if each.place not in {_FIELD, _CHANNEL, owner}:
            raise ValueError(
                f"patterns of {form.kind} are searched in {_FIELD} (the field's name), {_CHANNEL} (measurement.field) "
                f"or {owner} (which names the asset); got {each.place!r}"
            )
        if each.place == _CHANNEL and form.channel_name == "field":
            raise ValueError(
                f"patterns: {_CHANNEL} is measurement.field, which channel_name field leaves out: search in "
                f"{_FIELD}, or leave out channel_name"
            )

        try:
            groups = set(compiled(each.pattern).groupindex)
        except ValueError as error:
            raise ValueError(f"patterns: {each.pattern!r}: {error}") from error
        if not groups or not groups <= _GROUPS:
            raise ValueError(
                f"patterns: {each.pattern!r} must have the groups (?P<asset>...) or (?P<channel>...), or both; got "
                f"{', '.join(sorted(groups)) or 'none'}"
            )


class Given(NamedTuple):
    """Points (P,) and readings (N,) as they were parsed."""

    assets: Sequence[str]
    channels: Sequence[str]  # and the field of each
    fields: Sequence[str]
    asset: Ints  # (P,) codes of `assets`
    point: Times  # (N,) index of the reading's point
    channel: Ints  # (N,) codes of `channels`


def assign(form: "Format", given: Given) -> Assigned:
    """Return points and readings with the names that the patterns of `form` give."""
    assets, channels, fields, asset, point, channel = given
    by_name = [_search(form, {_FIELD: field, _CHANNEL: name}) for field, name in zip(fields, channels, strict=True)]
    by_owner = [_search(form, {_owner(form): name}) for name in assets]

    # Names of each pair of asset and channel that occurs.
    owners: dict[str, int] = {name: code for code, name in enumerate(assets)}
    names: dict[str, int] = {}
    pair = asset[point].astype(np.int64) * max(1, len(channels)) + channel
    different, place = np.unique(pair, return_inverse=True)
    owner, named = np.empty(len(different), np.int32), np.empty(len(different), np.int32)
    for at, each in enumerate(different.tolist()):
        mine, code = divmod(each, max(1, len(channels)))
        new = by_name[code].asset or by_owner[mine].asset or assets[mine]
        owner[at] = owners.setdefault(new, len(owners))
        named[at] = names.setdefault(_channel(by_name[code], by_owner[mine], channels[code], fields[code]), len(names))
    owner, named = owner[place], named[place]

    # One point for each asset of a point. Points without a reading stay, since they are judged, too.
    without = np.setdiff1d(np.arange(len(asset)), point)
    both = np.concatenate([point * len(owners) + owner, without * len(owners) + asset[without]])
    split, place = np.unique(both, return_inverse=True)
    return Assigned(
        list(owners),
        list(names),
        split // len(owners),
        (split % len(owners)).astype(np.int32),
        place[: len(point)],
        named,
    )


def by_field(form: "Format", field: str, channel: str) -> str:
    """Return the channel that the patterns find in the names of a field and its channel; empty = none."""
    return _search(form, {_FIELD: field, _CHANNEL: channel}).channel


def channel_of(form: "Format", asset: str, field: str, channel: str) -> str:
    """Return the channel of a reading with the names that the patterns give, by its asset's tag, too."""
    return _channel(
        _search(form, {_FIELD: field, _CHANNEL: channel}), _search(form, {_owner(form): asset}), channel, field
    )


def _owner(form: "Format") -> str:
    return "key:" if form.asset_from == "key" else f"tag:{form.asset_tag}"


def _channel(by_name: _Names, by_owner: _Names, whole: str, field: str) -> str:
    if by_name.channel:
        return by_name.channel
    if by_owner.channel:
        return by_owner.channel if field == "value" else f"{by_owner.channel}.{field}"
    return whole


def _search(form: "Format", texts: dict[str, str]) -> _Names:
    """Return what the patterns find in texts, by place; empty = nothing."""
    found: dict[str, str] = {}
    for place, pattern in form.patterns:
        name = texts.get(place, "")
        if 0 < len(name) <= _LONGEST and (match := _compiled(pattern).search(name)):
            found = {group: text for group, text in match.groupdict().items() if text} | found
    return _Names(found.get("asset", ""), found.get("channel", ""))


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
