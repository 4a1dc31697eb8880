"""Maps of known gateways, by name: `format.preset`. A setting that is given wins over the preset's.

Names of machines are a plant's own. A preset knows where they are as a rule, and `monitor onboard` finds the rest.
"""

from collections.abc import Mapping
from typing import Any

_DOTTED = r"^(?P<asset>.+)\.(?P<channel>[^.]+)$"
_SPARKPLUG = r"^spBv1\.0[/.][^/.]+[/.][ND](?:BIRTH|DATA)[/.](?P<asset>.+)$"
_UMH = r"^umh[/.]v1[/.](?P<asset>.+?)[/.]_[a-z]+$"
_UMH_GROUP = r"^umh[/.]v1[/.](?P<asset>.+[/.]_[a-z]+[/.].+)$"  # with a group of tags, which is an asset of its own
_UMH_TAG = r"^umh[/.]v1[/.](?P<asset>.+?)[/.]_[a-z]+[/.](?P<channel>.+)$"
_SPARKPLUG_VALUES = "value|floatValue|doubleValue|intValue|longValue|booleanValue|stringValue"
_SPARKPLUG_VALUES += "|float_value|double_value|int_value|long_value|boolean_value|string_value"


def _pattern(place: str, pattern: str) -> tuple[dict[str, str], ...]:
    return ({"from": place, "pattern": pattern},)


def _readings(each: str, **more: Any) -> dict[str, Any]:
    return {"kind": "json", "each": each, "values": "", **more}


_EDGEX = {
    "asset": "deviceName|device",
    "channel": "resourceName|name",
    "timestamp": "origin",
    "timestamp_unit": "auto",
    "numbers": "texts",
}
_SITEWISE = {
    "value": "value.doubleValue|value.integerValue|value.booleanValue|value.stringValue",
    "timestamp": "timestamp.timeInSeconds",
    "timestamp_unit": "s",
    "timestamp_nanos": "timestamp.offsetInNanos",
    "quality": "quality",
}
_ALIAS = {
    "asset": "assetId",
    "channel": "propertyId",
    "patterns": _pattern("propertyAlias", r"^/?(?P<asset>.+)/(?P<channel>[^/]+)$"),
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # KEPServerEX IoT Gateway: the standard template, and arrays of its items or single ones.
    "kepware": _readings(
        "values[]", channel="id", value="v", timestamp="t|timestamp", quality="q", patterns=_pattern("id", _DOTTED)
    ),
    "kepware-array": _readings("[]", channel="tagname", patterns=_pattern("tagname", _DOTTED)),
    # OPC UA: OPC Publisher's samples, flat, nested or in arrays; NetworkMessages of PubSub.
    "opc-publisher": _readings(
        "[]",
        asset="ApplicationUri|EndpointUrl",
        channel="DisplayName|NodeId",
        value="Value.Value|Value",
        timestamp="Value.SourceTimestamp|SourceTimestamp|Value.ServerTimestamp|ServerTimestamp|Timestamp",
        timestamp_unit="iso",
        quality="Value.StatusCode|StatusCode|Status",
        patterns=_pattern("NodeId", r"[;=/.](?P<asset>[^;=/.]+)[/.](?P<channel>[^/.]+)$"),
    ),
    "opcua-pubsub": {
        "kind": "json",
        "each": "Messages[]",
        "asset": "DataSetWriterName|DataSetWriterId",
        "values": "Payload",
        "value": "Value.Body|Value",  # also of the reversible encoding
        "timestamp": "SourceTimestamp|ServerTimestamp|Timestamp",
        "timestamp_unit": "iso",
        "quality": "StatusCode",
    },
    # MQTT: Sparkplug B as JSON with the topic as key, and the United Manufacturing Hub.
    "sparkplug": _readings(
        "metrics[]",
        asset="deviceId|topic.deviceId",
        channel="name",
        value=_SPARKPLUG_VALUES,
        quality="isNull|is_null|properties.Quality",
        qualities={"0": "bad"},
        patterns=_pattern("key:|topic:", _SPARKPLUG),
    ),
    "umh": {
        "kind": "json",
        "asset": "key:|topic:",
        "values": ".",
        "timestamp": "timestamp_ms",
        "patterns": (*_pattern("key:|topic:", _UMH), *_pattern("key:|topic:", _UMH_GROUP)),
    },
    "umh-tag": _readings("", asset="key:|topic:", timestamp="timestamp_ms", patterns=_pattern("key:|topic:", _UMH_TAG)),
    # Platforms.
    "edgex": _readings("readings[]", **_EDGEX),
    "edgex-add-event": _readings("event.readings[]", **_EDGEX),
    "sitewise": _readings("propertyValues[]", **_ALIAS, **_SITEWISE),
    "sitewise-batch": _readings("entries[].propertyValues[]", **_ALIAS, **_SITEWISE),
    "sitewise-update": _readings("payload.values[]", asset="assetId", channel="propertyId", **_SITEWISE),
    "thingsboard": {"kind": "json", "asset": "deviceName|device", "timestamp": "ts"},
    "thingsboard-gateway": {"kind": "json", "each": "{}[]", "asset": "name:-1", "timestamp": "ts"},
    # Kafka Connect, whose fields are a plant's own.
    "connect": {"kind": "json", "each": "payload", "values": "."},
    "debezium": {"kind": "json", "each": "after", "values": ".", "ignore": ("id",)},
    "debezium-envelope": {"kind": "json", "each": "payload.after", "values": ".", "ignore": ("id",)},
    "node-red": {"kind": "json", "values": ".", "ignore": ("_msgid",)},
}


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of [format] with those of the preset that are not given."""
    return {**PRESETS.get(str(given.get("preset", "")), {}), **given}
