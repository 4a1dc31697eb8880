"""Finds the field map of JSON messages other than Telegraf's: long (one reading) or wide (a table of values).

Messages that the decoder cannot read are refused: channels next to the asset at the top level, an asset that is a
number, a time without a zone. The refusal names the fields found and the form needed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.core.decode.format import UNITS, Format, place, shown
from monitor.core.decode.times import UNREADABLE, to_ms
from monitor.core.records import Message
from monitor.onboard.format.labels import KEY, PRESENT, Choice, Labelled, choose_asset, choose_pair, plain, rank

TIMES = ("timestamp", "time", "ts", "eventtime", "datetime", "date", "measuredat", "observedat", "created", "t")
VALUES = ("value", "val", "reading", "v")
TABLES = (
    "values",
    "readings",
    "channels",
    "data",
    "measurements",
    "fields",
    "sensors",
    "signals",
    "metrics",
    "payload",
)
_OLDEST_S = 946_684_800  # 2000-01-01, as the decoder's oldest_ms
_AHEAD_S = 86_400  # of now: a day covers every zone mistaken for another
_PER_S = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}  # their ranges from 2000 to now do not overlap
_LISTED = 12  # fields that a refusal names

Reasons = dict[str, str]  # setting -> its reason


class UnknownFormat(Exception):  # noqa: N818 - reads as the state it reports
    """The messages have no format that the decoder reads; the text says what was found."""


def unit_of(times: Sequence[Any], now: int) -> str | None:
    """Return the unit in which nearly all `times` lie between the year 2000 and a day after `now` (ms UTC), or None."""
    if times and all(isinstance(time, str) for time in times):
        known = to_ms(times, "iso") != UNREADABLE
        return "iso" if known.mean() >= PRESENT else None

    numbers = [time for time in times if isinstance(time, int | float) and not isinstance(time, bool)]
    for unit in UNITS:
        per = _PER_S.get(unit, 0)
        inside = sum(_OLDEST_S * per <= time <= (now // 1000 + _AHEAD_S) * per for time in numbers) if per else 0
        if numbers and inside >= PRESENT * len(times):
            return unit
    return None


def field_map(messages: Sequence[Message], objects: Sequence[dict[str, Any]], now: int) -> tuple[Format, Reasons]:
    """Return the field map of `objects`, the parsed messages. Raises UnknownFormat."""
    time, unit, why = _time(objects, now)
    table = _table(objects)
    if table:
        points = [_wide(message, item, time) for message, item in zip(messages, objects, strict=True)]
        asset = choose_asset(points)
        if asset is None:
            raise UnknownFormat(_no_asset(objects))
        why |= {"kind": f"each message has a table of values, {place(table)}", "values": _named(table, TABLES)}
        why |= _asset_reason(asset)
        return _format("json_wide", asset, timestamp=time, timestamp_unit=unit, values=table), why

    value = _value(objects, time)
    points = [_long(message, item, time, value) for message, item in zip(messages, objects, strict=True)]
    pair = choose_pair(points)
    if pair is None:
        raise UnknownFormat(_no_asset(objects))

    asset, channel = pair
    why |= {"kind": f"each message has one number, {place(value)}", "value": _named(value, VALUES)}
    why |= _asset_reason(asset) | {"channel": f"{channel.count} different ones; {channel.reason}"}
    fields = {"timestamp": time, "timestamp_unit": unit, "value": value, "channel": channel.name}
    return _format("json_long", asset, **fields), why


def _format(kind: str, asset: Choice, **fields: str) -> Format:
    if asset.name == KEY:
        return Format(kind, asset_from="key", **_apart(fields))
    return Format(kind, asset=asset.name, **_apart(fields))


def _apart(fields: dict[str, str]) -> dict[str, Any]:
    """Return the fields for `Format`; mypy cannot know which of them are numbers."""
    return dict(fields)


def _asset_reason(asset: Choice) -> Reasons:
    return {
        "asset_from"
        if asset.name == KEY
        else "asset": f"{asset.count} different ones among the messages read; {asset.reason}"
    }


def _named(name: str, known: Sequence[str]) -> str:
    return "its name" if rank(name, known) < len(known) else "the only one"


def labels_of(message: Message, texts: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a point: its texts, and the message's key where the key is text."""
    try:
        key = (message.key or b"").decode()
    except UnicodeDecodeError:
        key = ""
    return {**texts, **({KEY: key} if key else {})}


def _wide(message: Message, item: dict[str, Any], time: str) -> Labelled:
    texts = {name: text for name, text in item.items() if name and isinstance(text, str) and name != time}
    return Labelled(labels_of(message, texts), None, str(item.get(time)))


def _long(message: Message, item: dict[str, Any], time: str, value: str) -> Labelled:
    texts = {name: text for name, text in item.items() if name and isinstance(text, str) and name != time}
    number: Any = item.get(value)
    return Labelled(labels_of(message, texts), None, str(item.get(time)), number if _is_number(number) else 0.0)


def _time(objects: Sequence[dict[str, Any]], now: int) -> tuple[str, str, Reasons]:
    """Find the field with the time, and its unit: among several the best-known name, then the earliest time."""
    found: dict[str, str] = {}
    for name in _fields(objects):
        unit = unit_of([item[name] for item in objects if name in item], now)
        if unit is not None:
            found[name] = unit
    if not found:
        raise UnknownFormat(
            f"none of these fields holds a time between the year 2000 and now: {_seen(objects)}{_almost(objects)}"
        )

    def order(name: str) -> tuple[int, float]:
        times = [item[name] for item in objects if name in item]
        good = [time for time in times if unit_of([time], now) == found[name]]
        return rank(name, TIMES), float(to_ms(good, found[name]).mean())

    name = min(found, key=order)
    others = sorted(map(place, set(found) - {name}))
    reason = "its name" if rank(name, TIMES) < len(TIMES) else "the earlier one" if others else "the only one"
    beside = f", beside {', '.join(others)}" if others else ""
    first = shown(next(item[name] for item in objects if name in item))
    return name, found[name], {"timestamp": f"{reason}{beside}", "timestamp_unit": f"the first is {first}"}


def _table(objects: Sequence[dict[str, Any]]) -> str:
    """Find the field with a table of numbers: among several the best-known name, then the largest; empty = none."""
    found: dict[str, int] = {}
    for name in _fields(objects):
        tables = [item[name] for item in objects if isinstance(item.get(name), dict)]
        numbers = sum(_is_number(value) for table in tables for value in table.values())
        if len(tables) >= PRESENT * len(objects) and 2 * numbers > sum(map(len, tables)):
            found[name] = numbers
    return min(found, key=lambda name: (rank(name, TABLES), -found[name]), default="")


def _value(objects: Sequence[dict[str, Any]], time: str) -> str:
    """Find the field with the number of a long message. Raises UnknownFormat if there is none, or several."""
    found = [
        name
        for name in _fields(objects)
        if name != time and sum(_is_number(item.get(name)) for item in objects) >= PRESENT * len(objects)
    ]
    named = [name for name in found if rank(name, VALUES) < len(VALUES)]
    if named:
        return min(named, key=lambda name: rank(name, VALUES))
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(map(place, found[:_LISTED]))
        raise UnknownFormat(
            f"each message has several numbers at its top level ({listed}) and none of them is called value: "
            "channels next to the asset are not read; they must be in one table, as in "
            '{"asset": …, "timestamp": …, "values": {…}}'
        )
    deep = [name for name in _fields(objects) if any(isinstance(item.get(name), dict | list) for item in objects)]
    inner = f"; fields nested deeper are not read ({', '.join(map(place, deep[:_LISTED]))})" if deep else ""
    raise UnknownFormat(f"no field but the time holds a number: {_seen(objects)}{_almost_number(objects)}{inner}")


def _no_asset(objects: Sequence[dict[str, Any]]) -> str:
    numbered = [name for name in _fields(objects) if plain(name) in {"asset", "machine", "device", "equipment"}]
    hint = f"; {place(numbered[0])} is no text" if numbered and not isinstance(objects[0].get(numbered[0]), str) else ""
    return (
        "no field names the asset, and the channel of a message with one value: expected a text field or the "
        f"message's key, with names of A-Z a-z 0-9 . _ : / - that repeat. Fields: {_seen(objects)}{hint}"
    )


def _fields(objects: Sequence[dict[str, Any]]) -> list[str]:
    """Return the fields that most messages have, in order of appearance."""
    count = Counter(name for item in objects for name in item)
    return [name for name, times in count.items() if name and times >= PRESENT * len(objects)]


def _seen(objects: Sequence[dict[str, Any]]) -> str:
    """Describe the fields of the first message and the kinds of their values."""
    item = objects[0]
    listed = [f"{place(name)} ({_sort(value)})" for name, value in list(item.items())[:_LISTED]]
    return ", ".join(listed) + (", …" if len(item) > _LISTED else "")


def _sort(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "text", int: "number", float: "number", dict: "object", list: "array", type(None): "null"}
    return kinds[type(value)]


def _almost(objects: Sequence[dict[str, Any]]) -> str:
    """Describe a field that was probably meant as a time."""
    for name in _fields(objects):
        text = objects[0].get(name)
        if isinstance(text, str) and unit_of([f"{text.strip().replace(' ', 'T')}Z"], 0) == "iso":
            return f". {place(name)} has no time zone; RFC 3339 needs one, as in 2024-05-01T12:00:00Z"
        if isinstance(text, str) and text.isdecimal() and rank(name, TIMES) < len(TIMES):
            return f". {place(name)} is a number written as a text"
    return ""


def _almost_number(objects: Sequence[dict[str, Any]]) -> str:
    for name in _fields(objects):
        text = objects[0].get(name)
        if isinstance(text, str) and text.lstrip("-").replace(".", "", 1).isdecimal():
            return f". {place(name)} is a number written as a text"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
