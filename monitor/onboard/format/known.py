"""Recognises the gateways of presets by the names in their messages.

A preset is taken only if the decoder reads as many readings with it as with the map that was found without it. Names of
assets and channels stay those found, except where the gateway's own address (topic or key) is certain.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.core.decode.decode import decode
from monitor.core.decode.format import Format
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.mapped.places import parse_each
from monitor.core.decode.mapped.presets import PRESETS
from monitor.core.records import Message
from monitor.onboard.format.items import EACH, MEMBERS, items_of
from monitor.onboard.format.labels import PRESENT

Settings = dict[str, Any]

# Names that an item of each preset has, at the preset's level; those behind a bar are alternatives.
_SIGNS: Mapping[str, tuple[str, ...]] = {
    "kepware": ("id", "v", "q", "t"),
    "kepware-array": ("tagname", "timestamp", "value"),
    "opc-publisher": ("NodeId", "Value", "DisplayName|ApplicationUri|EndpointUrl"),
    "opcua-pubsub": ("Payload", "DataSetWriterId|DataSetWriterName"),
    "sparkplug": ("name", "timestamp"),
    "umh-tag": ("timestamp_ms", "value"),
    "umh": ("timestamp_ms",),
    "edgex": ("origin", "resourceName|name", "value", "deviceName|device"),
    "edgex-add-event": ("origin", "resourceName|name", "value", "deviceName|device"),
    "sitewise": ("value", "timestamp", "quality"),
    "sitewise-batch": ("value", "timestamp", "quality"),
    "sitewise-update": ("value", "timestamp", "quality"),
    "thingsboard-gateway": ("ts", "values"),
    "connect": (),
    "debezium": (),
    "debezium-envelope": (),
}
_AROUND: Mapping[str, tuple[str, ...]] = {  # and of the message
    "connect": ("schema", "payload"),
    "debezium": ("before", "after", "op"),
    "debezium-envelope": ("schema", "payload"),
    "sitewise": ("propertyAlias|propertyId",),
}
ADDRESSED = ("sparkplug", "umh-tag", "umh")  # whose address names the asset
_PLACES = ("asset", "channel", "timestamp", "timestamp_nanos", "quality")
_LABELS = ("asset", "channel", "patterns")


def presets_of(bodies: Sequence[Any]) -> list[str]:
    """Return the presets whose names most messages have."""
    some = list(bodies[:: max(1, len(bodies) // 200)])
    return [name for name in _SIGNS if _has(name, some)]


def _has(name: str, bodies: Sequence[Any]) -> bool:
    level = tuple(_step(each) for each in parse_each(PRESETS[name].get("each", "")))
    items = items_of(bodies, level)
    rows = {
        row
        for row, chain in zip(items.row, items.chain, strict=True)
        if _have(chain[0], _SIGNS[name]) and _have(bodies[row], _AROUND.get(name, ()))
    }
    return len(rows) >= PRESENT * len(bodies) > 0


def _step(step: Any) -> str:
    return str({"elements": EACH, "members": MEMBERS}.get(step.kind, step.name))


def _have(item: Any, names: Sequence[str]) -> bool:
    if not names:
        return True
    return isinstance(item, dict) and all(any(each in item for each in name.split("|")) for name in names)


def by_address(messages: Sequence[Message], bodies: Sequence[Any], now: int) -> tuple[str, Settings] | None:
    """Return the preset, and its settings, of gateways whose address names the asset; None if it is none of these."""
    for name in presets_of(bodies):
        if name in ADDRESSED:
            settings = dict(PRESETS[name])
            some = messages[:1000]
            readings, rejected = decode(some, format_of(settings), now)
            if len(readings) and len(rejected) <= (1 - PRESENT) * len(some):
                return name, settings
    return None


def with_preset(found: Settings, messages: Sequence[Message], bodies: Sequence[Any], now: int) -> tuple[str, Settings]:
    """Return the preset that reads the messages as the map `found` does, and the settings with it; "" = none does."""
    some = messages[:2000]
    wanted = _summary(some, found, now)
    for name in presets_of(bodies):
        preset = PRESETS[name]
        mine = {key: value for key, value in found.items() if key in _LABELS or key not in preset}
        settings = {**preset, **_within(preset.get("each", ""), mine)}
        if "patterns" in preset and "patterns" not in found:
            settings["patterns"] = ()
        if name not in ADDRESSED and _summary(some, settings, now) == wanted:
            return name, settings
    return "", found


def _within(each: str, settings: Settings) -> Settings:
    """Return places below `each` as the item itself has them."""
    begin = f"{each}."
    return {
        key: value.removeprefix(begin) if key in _PLACES and isinstance(value, str) else value
        for key, value in settings.items()
    }


def _summary(messages: Sequence[Message], settings: Settings, now: int) -> tuple[Any, ...] | None:
    try:
        readings, rejected = decode(messages, format_of(settings), now)
    except ValueError:
        return None
    names = set(readings.assets), set(readings.channels)
    return (*names, len(readings), len(rejected), readings.time.tobytes(), readings.value.tobytes())


def format_of(settings: Settings) -> Format:
    """Return a format of places."""
    fields = dict(settings)
    fields["patterns"] = tuple(Pattern(each["from"], each["pattern"]) for each in fields.pop("patterns", ()))
    fields["qualities"] = tuple(fields.pop("qualities", {}).items())
    return Format(**fields)
