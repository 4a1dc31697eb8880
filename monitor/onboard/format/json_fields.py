"""The field map of JSON messages that are not Telegraf's: long (a reading each) or wide (a table of values each).

What the decoder cannot read is not bent into shape: channels beside the asset at the top level, an asset that is a
number, a time without a zone. The refusal says what was found and what would be needed.
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

Told = dict[str, str]  # setting -> why it is so


class UnknownFormat(Exception):  # noqa: N818 - reads as the state it reports
    """The format of the messages is none that can be read, or cannot be told; the text says what was seen."""


def unit_of(times: Sequence[Any], now: int) -> str | None:
    """The unit in which nearly all `times` lie between the year 2000 and a day after `now` (ms UTC); None = none."""
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


def field_map(messages: Sequence[Message], objects: Sequence[dict[str, Any]], now: int) -> tuple[Format, Told]:
    """How to read `objects`, the parsed messages. Raises Unrecognised."""
    time, unit, told = _time(objects, now)
    table = _table(objects)
    if table:
        points = [_wide(message, item, time) for message, item in zip(messages, objects, strict=True)]
        asset = choose_asset(points)
        if asset is None:
            raise UnknownFormat(_no_asset(objects))
        told |= {"kind": f"each message has a table of values, {place(table)}", "values": _named(table, TABLES)}
        told |= _asset_told(asset)
        return _format("json_wide", asset, timestamp=time, timestamp_unit=unit, values=table), told
    value = _value(objects, time)
    points = [_long(message, item, time, value) for message, item in zip(messages, objects, strict=True)]
    pair = choose_pair(points)
    if pair is None:
        raise UnknownFormat(_no_asset(objects))
    asset, channel = pair
    told |= {"kind": f"each message has one number, {place(value)}", "value": _named(value, VALUES)}
    told |= _asset_told(asset) | {"channel": f"{channel.count} different ones; {channel.reason}"}
    fields = {"timestamp": time, "timestamp_unit": unit, "value": value, "channel": channel.name}
    return _format("json_long", asset, **fields), told


def _format(kind: str, asset: Choice, **fields: str) -> Format:
    if asset.name == KEY:
        return Format(kind, asset_from="key", **_apart(fields))
    return Format(kind, asset=asset.name, **_apart(fields))


def _apart(fields: dict[str, str]) -> dict[str, Any]:
    """The fields for `Format`; mypy cannot know which of them are numbers."""
    return dict(fields)


def _asset_told(asset: Choice) -> Told:
    return {
        "asset_from"
        if asset.name == KEY
        else "asset": f"{asset.count} different ones among the messages looked at; {asset.reason}"
    }


def _named(name: str, known: Sequence[str]) -> str:
    return "its name says so" if rank(name, known) < len(known) else "there is no other"


def labels_of(message: Message, texts: Mapping[str, str]) -> dict[str, str]:
    """The labels of a point: its texts, and the message's key where it is text."""
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


def _time(objects: Sequence[dict[str, Any]], now: int) -> tuple[str, str, Told]:
    """The field with the time, and its unit. Of several the one with the better name, else the earlier time."""
    found: dict[str, str] = {}
    for name in _fields(objects):
        unit = unit_of([item[name] for item in objects if name in item], now)
        if unit is not None:
            found[name] = unit
    if not found:
        raise UnknownFormat(
            f"no field of these holds a time from the year 2000 to now: {_seen(objects)}{_almost(objects)}"
        )

    def order(name: str) -> tuple[int, float]:
        times = [item[name] for item in objects if name in item]
        good = [time for time in times if unit_of([time], now) == found[name]]
        return rank(name, TIMES), float(to_ms(good, found[name]).mean())

    name = min(found, key=order)
    others = sorted(map(place, set(found) - {name}))
    why = (
        "its name says so" if rank(name, TIMES) < len(TIMES) else "it is the earlier" if others else "there is no other"
    )
    beside = f", beside {', '.join(others)}" if others else ""
    first = shown(next(item[name] for item in objects if name in item))
    return name, found[name], {"timestamp": f"{why}{beside}", "timestamp_unit": f"the first is {first}"}


def _table(objects: Sequence[dict[str, Any]]) -> str:
    """The field with a table of numbers; of several the one with the better name, else the larger. Empty = none."""
    found: dict[str, int] = {}
    for name in _fields(objects):
        tables = [item[name] for item in objects if isinstance(item.get(name), dict)]
        numbers = sum(_is_number(value) for table in tables for value in table.values())
        if len(tables) >= PRESENT * len(objects) and 2 * numbers > sum(map(len, tables)):
            found[name] = numbers
    return min(found, key=lambda name: (rank(name, TABLES), -found[name]), default="")


def _value(objects: Sequence[dict[str, Any]], time: str) -> str:
    """The field with the one number of a long message. Raises Unrecognised if there is none, or there are several."""
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
            f"each message has several numbers at its top level ({listed}) and none of them is called value: the "
            "channels stand beside the asset, and are only read inside one table of their own, as in "
            '{"asset": …, "timestamp": …, "values": {…}}'
        )
    deep = [name for name in _fields(objects) if any(isinstance(item.get(name), dict | list) for item in objects)]
    inner = f"; what is nested deeper is not read ({', '.join(map(place, deep[:_LISTED]))})" if deep else ""
    raise UnknownFormat(f"no field holds a number beside the time: {_seen(objects)}{_almost_number(objects)}{inner}")


def _no_asset(objects: Sequence[dict[str, Any]]) -> str:
    numbered = [name for name in _fields(objects) if plain(name) in {"asset", "machine", "device", "equipment"}]
    hint = f"; {place(numbered[0])} is no text" if numbered and not isinstance(objects[0].get(numbered[0]), str) else ""
    return (
        "nothing tells which asset a message speaks of, and which channel if it has one value only: a text field or "
        f"the message's key with names of A-Z a-z 0-9 . _ : / - that come again. Fields: {_seen(objects)}{hint}"
    )


def _fields(objects: Sequence[dict[str, Any]]) -> list[str]:
    """Fields that most messages have, in order of appearance."""
    count = Counter(name for item in objects for name in item)
    return [name for name, times in count.items() if name and times >= PRESENT * len(objects)]


def _seen(objects: Sequence[dict[str, Any]]) -> str:
    """The fields of the first message with the kind of what they hold."""
    item = objects[0]
    listed = [f"{place(name)} ({_sort(value)})" for name, value in list(item.items())[:_LISTED]]
    return ", ".join(listed) + (", …" if len(item) > _LISTED else "")


def _sort(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "text", int: "number", float: "number", dict: "object", list: "array", type(None): "null"}
    return kinds[type(value)]


def _almost(objects: Sequence[dict[str, Any]]) -> str:
    """What might have been meant as a time."""
    for name in _fields(objects):
        text = objects[0].get(name)
        if isinstance(text, str) and unit_of([f"{text.strip().replace(' ', 'T')}Z"], 0) == "iso":
            return f". {place(name)} has no zone, so it names no instant; RFC 3339 wants 2024-05-01T12:00:00Z"
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
