"""Finds names of Telegraf's points that hold the machine: fields of the OPC UA client, topics of the MQTT consumer.

Only where no tag of its own names the machine: the tag that would be the asset is the collector's, or holds asset and
channel in one text.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from monitor.core.decode.format import shown
from monitor.core.decode.mapped.field_map import Pattern
from monitor.onboard.format.bytes import Point
from monitor.onboard.format.labels import KEY
from monitor.onboard.format.qualities import is_quality_name
from monitor.onboard.format.tags import Split, asset_only, split

_MACHINES = {"asset", "machine", "equipment", "device"}


class Named(NamedTuple):
    """A pattern and the reason for it."""

    pattern: Pattern
    reason: str
    whole: bool  # channels are named by the pattern, without the measurement


def machine_in_names(points: Sequence[Point], owners: Sequence[str], tag: str) -> Named | None:
    """Return the pattern for points whose asset would be `owners`, the values of `tag`; None if they need none."""
    found = _in_tag(points, owners, tag)
    if found is None and tag.lower() not in _MACHINES:
        found = _in_fields(points, owners, "name:") or _in_fields(points, owners, "channel:")
    return found


def _in_fields(points: Sequence[Point], owners: Sequence[str], place: str) -> Named | None:
    under: dict[str, set[str]] = {}
    for point, owner in zip(points, owners, strict=True):
        for field in point.fields:
            if not is_quality_name(field):
                whole = point.measurement if field == "value" else f"{point.measurement}.{field}"
                under.setdefault(field if place == "name:" else whole, set()).add(owner)
    found = split(under)
    if found is None:
        return None

    # A machine's name under two collectors may be two machines.
    collectors: dict[str, set[str]] = {}
    for name, those in under.items():
        collectors.setdefault(found.parts[name][0], set()).update(those)
    if any(len(those) > 1 for those in collectors.values()):
        return None
    reason = f"the names hold the machine, and the last part repeats: {_some(found)}"
    return Named(Pattern(place, found.pattern), reason, whole=True)


def _in_tag(points: Sequence[Point], owners: Sequence[str], tag: str) -> Named | None:
    texts = {owner for owner in owners if owner}
    found = split(texts)
    if found is None:
        return None
    # Of points with several fields, pump-1 and fan-1 are two machines, not the pump and the fan of 1.
    numbered = all(asset.isdecimal() for asset, _ in found.parts.values())
    if numbered and 2 * sum(len(point.fields) > 1 for point in points) > len(points):
        return None
    place = "key:" if tag == KEY else f"tag:{tag}"
    channels = {channel for _, channel in found.parts.values()}

    # Where the fields tell the channels apart, the tag holds the machine only.
    named = {
        (found.parts[owner][0], found.parts[owner][1], point.measurement, name)
        for point, owner in zip(points, owners, strict=True)
        if owner
        for name in point.fields
        if not is_quality_name(name)
    }
    apart = len({(asset, measurement, name) for asset, _, measurement, name in named}) == len(named)
    if apart or len(channels) == 1:
        only = asset_only(texts) if len(channels) == 1 else None
        pattern = only.pattern if only is not None else _without_channel(found.pattern)
        reason = f"the tag holds the machine: {_some(found)}"
        return Named(Pattern(place, pattern), reason, whole=False)
    reason = f"the tag holds machine and channel, and the last part repeats: {_some(found)}"
    return Named(Pattern(place, found.pattern), reason, whole=True)


def _without_channel(pattern: str) -> str:
    return re.sub(r"\(\?P<channel>[^()]*\)\$?$", "", pattern)


def _some(found: Split) -> str:
    name, (asset, channel) = next(iter(found.parts.items()))
    return f"{shown(name)} is {shown(channel)} of {shown(asset)}"
