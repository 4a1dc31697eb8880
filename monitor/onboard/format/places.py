"""Finds a field map with paths for JSON messages of any shape (`kind = "json"`).

1. List the levels at which items may be (items.py).
2. For each, find time, values and quality of the items (shape.py), and who names asset and channel (address.py).
3. Take the level that explains most readings.

Pure: the messages are parsed already, and the time now is an argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitor.core.decode.format import shown
from monitor.core.records import Message
from monitor.onboard.format.address import Address, choose
from monitor.onboard.format.items import items_of, levels, written, written_level
from monitor.onboard.format.labels import ASSETS, COARSE, rank
from monitor.onboard.format.shape import Shape, shapes

Settings = dict[str, Any]
Reasons = dict[str, str]
_CONTRADICTED = 0.05  # share of the readings, from which messages without a name are of several machines
_MOST = 0.9  # of the readings of the best level: a level that explains as many is as good


class Merging(Exception):  # noqa: N818 - reads as the state it reports
    """Every choice would merge readings that a label tells apart."""


@dataclass(frozen=True, slots=True)
class Found:
    """A field map, and the reason for each of its settings."""

    settings: Settings  # of [format], by name
    reasons: Reasons
    assets: int
    zoneless: bool  # times are texts without a zone
    words: str
    left_out: str = ""  # an asset to leave out: messages without the label
    left_out_reason: str = ""
    remark: str = ""  # on qualities that are not applied


def find_map(messages: Sequence[Message], bodies: Sequence[Any], now: int, asset: str = "") -> Found | None:
    """Return the field map of parsed messages; None if none describes them. `asset` is its place, if that is known.

    Raises Merging.
    """
    found: list[tuple[int, int, Shape, Address]] = []
    for level in levels(bodies):
        items = items_of(bodies, level)
        if not len(items):
            continue
        ways = [(each, address) for each in shapes(items, now) if (address := choose(each, messages, asset))]
        chosen = _reading_or_table([way for way in ways if not _is_table(*way)])
        if chosen is not None:
            found.append((_explained(*chosen), len(found), *chosen))
    if not found:
        return None

    most = max(readings for readings, *_ in found)
    good = [each for each in found if each[0] >= _MOST * most]
    _, _, shape, address = min(good, key=_order)
    if address.merged_by:
        raise Merging(_merging(address))
    if address.contradicted > _CONTRADICTED and address.asset.place == "topic:":
        raise Merging(
            f"no field, key or header names the asset, and {address.contradicted:.0%} of the readings have the channel "
            "and the time of another one but another value: several machines send here without a name. Add the "
            "machine's name to the messages, or send each machine to a topic of its own"
        )
    return _map(shape, address)


def _reading_or_table(ways: list[tuple[Shape, Address]]) -> tuple[Shape, Address] | None:
    """Return the better way to read a level: as readings, unless these are a guess and a table loses none."""
    if len(ways) > 1 and ways[0][0].guess and ways[1][1].same <= ways[0][1].same + COARSE:
        return ways[1]
    return ways[0] if ways else None


def _is_table(shape: Shape, address: Address) -> bool:
    """Return whether readings have only an asset's name for their channel, so that their fields are channels."""
    named = rank(address.channel.label.name, ASSETS) < len(ASSETS)
    return shape.table is None and named and not address.patterns and address.asset.label.place == "topic:"


def _order(found: tuple[int, int, Shape, Address]) -> tuple[object, ...]:
    readings, number, _, address = found
    alone = address.asset.count == 1 and not address.asset.strong
    return bool(address.merged_by), alone, not address.asset.strong, -readings, number


def _explained(shape: Shape, address: Address) -> int:
    """Return how many readings are kept apart."""
    return round(len(shape.item) * (1 - address.coinciding))


def _merging(address: Address) -> str:
    asset = address.asset.place or address.asset.label.place
    return (
        f"asset = {shown(asset)} names {address.asset.count} assets, but within one of them {shown(address.merged_by)} "
        "changes from reading to reading, so it may tell machines apart, too. Both are possible: name the machine's "
        f"one, as in --set format.asset={asset}, or join both in one field, header or key at the producer"
    )


def _map(shape: Shape, address: Address) -> Found:
    clock, level = shape.clock, shape.items.level
    settings: Settings = {"kind": "json"}
    why: Reasons = {}
    if level:
        settings["each"] = written_level(level)
        why["each"] = f"there are the items, {len(shape.items)} in the messages read"
    _names(settings, why, shape, address)

    settings["timestamp"], settings["timestamp_unit"] = clock.place, clock.unit
    why["timestamp"] = clock.reason
    first = next((time for time in shape.times() if time is not None), None)
    why["timestamp_unit"] = f"the first is {shown(first)}"
    if clock.nanos:
        settings["timestamp_nanos"] = clock.nanos

    if shape.value:
        settings["value"] = "|".join(map(written, shape.value))
    if shape.table is None:
        settings["values"] = ""
        why["values"] = "each item is one reading"
    else:
        settings["values"] = written(shape.table) or "."
        why["values"] = "the object that holds the channels"

    if shape.quality:
        settings["quality"] = written(shape.quality)
        why["quality"] = "its name and its codes; values of bad quality are not measured"
        if shape.qualities:
            settings["qualities"] = dict(shape.qualities)
            usual = "good" in shape.qualities.values()
            why["qualities"] = "what nearly all values have is good" if usual else "0 is bad, as in OPC DA"

    own = {settings.get("asset", ""), settings["timestamp"]}
    ignore = tuple(name for name in shape.ignore if name not in own)
    if ignore:
        settings["ignore"] = ignore
        why["ignore"] = "of the message or a quality, not measured at the machine"
    if shape.texts:
        settings["numbers"] = "texts"
        why["numbers"] = "numbers are written as texts"

    words = "JSON, a table an item" if shape.table is not None else "JSON, a reading an item"
    rest = address.asset.rest
    without = sum(text is None for text in address.asset.label.texts) / max(1, len(shape.item)) if rest else 0
    reason = f"left out: {without:.0%} of the readings, which lack {shown(address.asset.label.place)}" if rest else ""
    return Found(settings, why, address.asset.count - bool(rest), clock.zoneless, words, rest, reason, shape.remark)


def _names(settings: Settings, why: Reasons, shape: Shape, address: Address) -> None:
    """Enter where asset and channel are."""
    asset, channel = address.asset, address.channel
    seen = f"{asset.count} different ones among the messages read; {address.reason}"
    settings["asset"] = asset.place or asset.label.place
    why["asset"] = seen
    if shape.table is None:
        settings["channel"] = channel.place or channel.label.place
        why["channel"] = f"{channel.count} different ones"
        if settings["channel"] == settings["asset"]:  # both are groups of a pattern
            settings["asset"] = "asset"
            settings["channel"] = "channel"
    if address.patterns:
        settings["patterns"] = tuple({"from": place, "pattern": pattern} for place, pattern in address.patterns)
        why["patterns"] = address.reason
        if asset.pattern:
            settings.pop("asset")
        if channel.pattern and "channel" in settings:
            settings.pop("channel")
