"""Field maps with good and odd messages, for the tests that take any bytes; rows as in `malformed.py`."""

import json
from typing import Any

from monitor.core.decode.decode import Format
from monitor.core.decode.mapped.field_map import Pattern
from monitor.core.decode.select import Kinds
from tests.core.decode.malformed import DEEP, NOW, SECONDS, batch, long, metric, wide

_SMALL: dict[str, Any] = {"max_channels": 4, "max_message_bytes": 20_000}
MAPS: dict[str, Format] = {
    "json_table": Format("json", **_SMALL),
    "json_flat": Format(
        "json",
        values=".",
        asset="a.id|key:",
        timestamp_unit="auto",
        ignore=("x*",),
        quality="q",
        numbers="texts",
        kinds=Kinds((("on*", "state"),)),
        **_SMALL,
    ),
    "json_reading": Format("json", values="", timestamp_unit="s", **_SMALL),
    "json_array": Format("json", each="r[]", values="", asset="asset|key:-1", timestamp="t|timestamp", **_SMALL),
    "json_patterns": Format(
        "json",
        each="[]",
        values="",
        asset="topic:",
        channel="id",
        value="v",
        timestamp="t",
        timestamp_nanos="n",
        patterns=(
            Pattern("id", r"^(?P<asset>m\d)\.(?P<channel>.+)$"),
            Pattern("state", "(?P<quality>bad|good)"),
        ),
        qualities=(("0", "bad"),),
        **_SMALL,
    ),
    "json_members": Format(
        "json",
        each="M[].P{}",
        values=".",
        asset="name:-1",
        value="Value.Body|Value",
        timestamp="SourceTimestamp|Timestamp",
        timestamp_unit="iso",
        timezone="Europe/Berlin",
        quality="StatusCode|is_null",
        uncertain="missing",
        **_SMALL,
    ),
    "json_names": Format(
        "json",
        values=".",
        asset="site",
        timestamp="broker:",
        patterns=(Pattern("name:", r"^(?P<asset>[a-z]\d)_(?P<channel>\w+)$"),),
        **_SMALL,
    ),
    "influx_line_quality": Format("influx_line", asset_from="tag", timestamp_unit="ns", quality="f", **_SMALL),
    "telegraf_json_quality": Format("telegraf_json", asset_from="tag", timestamp_unit="s", quality="q", **_SMALL),
}


def _text(tree: Any) -> bytes:
    return json.dumps(tree).encode()


_FLAT = {"a": {"id": "m1"}, "timestamp": NOW, "c": 1, "on": True, "d": "2,5", "m": {"e": 3}, "x": 9, "q": 0}
_READING = {"channel": "c", "value": 1.5, "t": NOW, "asset": "a"}
_ISO = "2023-11-14T22:13:20Z"
_NODE = {
    "Value": {"Type": 11, "Body": 2.5},
    "SourceTimestamp": "2023-11-14 22:13:19.1234567",
    "StatusCode": {"Code": 0},
}
MAPS_GOOD: dict[str, tuple[tuple[bytes | None, bytes], ...]] = {
    "json_table": ((None, wide('{"c":1,"d":2}')), (None, wide('{"c":3,"d":null,"e":{"f":{"g":4}}}', '"b"'))),
    "json_flat": ((None, _text(_FLAT)), (b"k", _text({"timestamp": f" {SECONDS}.5", "c": 1}))),
    "json_reading": ((None, long(timestamp=str(SECONDS))), (b"k", long("7", "8", f"{SECONDS}.25", "2"))),
    "json_array": (
        (b"x/k", _text({"timestamp": NOW, "r": [_READING, {**_READING, "channel": "d", "asset": None, "t": None}]})),
        (None, _text({"asset": "b", "r": {"channel": "c", "value": 1, "t": str(NOW)}, "z": [1]})),
    ),
    "json_patterns": (
        (None, _text([{"id": "m1.c", "v": 1, "t": NOW, "state": "is good"}, {"id": "d", "v": 2, "t": NOW, "n": 9e6}])),
        (None, _text({"id": "m2.c", "v": 1, "t": NOW})),
    ),
    "json_members": (
        (None, _text({"M": [{"Timestamp": _ISO, "P": {"m1": {"c": _NODE, "d": 1}, "m2": {"c": 3}}}]})),
        (None, _text({"M": {"Timestamp": _ISO, "P": {"m1": {"c": {"Value": 1, "is_null": False}, "d": {"e": 5}}}}})),
    ),
    "json_names": ((None, _text({"site": "s", "a1_c": 1, "a2_c": 2, "t": 3})), (None, _text({"site": 5, "b1_d": 2}))),
    "influx_line_quality": ((None, b'm,host=a f="OK (0x0)",g=1'), (None, b"m,host=b g=1,f=192i\nm,host=b,f=Good g=2")),
    "telegraf_json_quality": (
        (None, metric('{"g":1,"q":"OK (0x0)"}').encode()),
        (None, batch(metric('{"g":1}', '{"host":"a","q":"Good"}'), metric('{"g":1,"q":24}'))),
    ),
}  # fmt: skip
_ODD = (
    b"null",
    b"[]",
    b"{}",
    b"[[[{}]]]",
    DEEP.encode(),
    b'{"M":[{"P":{"m":{"c":NaN}}}]}',
    b'[{"id":1e999,"v":1}]',
    b"5",
)
MAPS_ODD: dict[str, tuple[bytes, ...]] = {
    name: (*_ODD, _text({"r": [_READING] * 3 + [{**_READING, "t": "x"}]}), _text([_FLAT, _READING, 5, "x"]))
    for name in MAPS
}
