"""Finds the format of JSON messages other than Telegraf's.

Every shape is described by places first (places.py). Where the two fast kinds read the same, the map becomes one of
them: json_long (one reading a message) or json_wide (a table of values). What no map describes is refused, with the
fields found and the form needed.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from monitor.core.decode.decode import decode
from monitor.core.decode.format import Format, place, shown
from monitor.core.decode.mapped.places import parse_place
from monitor.core.decode.select import Globs, Select
from monitor.core.decode.times import UNREADABLE, to_ms
from monitor.core.records import Message
from monitor.onboard.format.clocks import find_clock, unit_of_time
from monitor.onboard.format.items import items_of
from monitor.onboard.format.known import by_address, format_of, with_preset
from monitor.onboard.format.labels import KEY, PRESENT, rank
from monitor.onboard.format.places import Found, Merging, Reasons, Settings, find_map

TIMES = ("timestamp", "time", "ts", "eventtime", "datetime", "date", "measuredat", "observedat", "created", "t")
_UNITS = {"ms", "s", "us", "ns", "iso"}  # of the fast kinds
_SLOW = ("each", "patterns", "ignore", "quality", "qualities", "timestamp_nanos", "timezone", "preset")
_LISTED = 12  # fields that a refusal names
_FEW = 8  # topics in a filter
_USUAL = 0.01  # share of messages without a name; fewer stay dead letters, which are reported
_MOST = 0.5  # share of messages that may be left out


class UnknownFormat(Exception):  # noqa: N818 - reads as the state it reports
    """The messages have no format that the decoder reads; the text says what was found."""


class Known(NamedTuple):
    """What the user has given; empty = nothing."""

    zone: str = ""  # of times without one
    asset: str = ""  # its place


def json_format(
    messages: Sequence[Message], bodies: Sequence[Any], now: int, known: Known
) -> tuple[Format, Reasons, str, str]:
    """Return the format of the parsed messages `bodies`, and its preset. Raises UnknownFormat."""
    certain = None if known.asset else by_address(messages, bodies, now)
    if certain is not None:
        name, settings = certain
        why = {"preset": "the names in the messages", "asset": "the address of the messages names it"}
        return format_of(settings), why, f"JSON as of {name}", name

    try:
        found = find_map(messages, bodies, now, known.asset)
    except Merging as fault:
        raise UnknownFormat(str(fault)) from fault
    if found is None:
        raise UnknownFormat(_why_not(bodies, now))

    settings, why = dict(found.settings), dict(found.reasons)
    if found.zoneless:
        settings["timezone"] = known.zone or "UTC"
        why["timezone"] = "as given" if known.zone else "times name no zone, and UTC is only assumed: check it"
    preset, form = "", _fast(settings, why, bodies)
    if form is None:
        preset, settings = with_preset(settings, messages, bodies, now)
        form = format_of(settings)
        why |= {"preset": "the names in the messages"} if preset else {}
    if found.left_out:
        form = _without(form, {found.left_out})
        why["select.assets_exclude"] = found.left_out_reason
    else:
        form, why = _nameless_left_out(form, settings, why, messages, now)
    words = {"json_long": "JSON, a reading a message", "json_wide": "JSON, a table a message"}
    return form, why, "; ".join(filter(None, (words.get(form.kind, found.words), found.remark))), preset


def _without(form: Format, assets: set[str]) -> Format:
    """Return the format that leaves out these assets."""
    globs = tuple(re.sub("([*?[])", r"[\1]", name) for name in sorted(assets))
    return replace(form, select=Select(assets=Globs(exclude=globs)))


def _nameless_left_out(
    form: Format, settings: Settings, why: Reasons, messages: Sequence[Message], now: int
) -> tuple[Format, Reasons]:
    """Leave out messages without the asset's name, such as the gateway's own, which would be dead letters.

    The topic stands for the name they lack, and is left out as an asset.
    """
    asset = str(settings.get("asset", ""))
    if not asset or any(each.source != "path" for each in parse_place(asset)):
        return form, why
    readings, rejected = decode(messages, form, now)
    lacking = [each for each in rejected if each.error == "MissingField" and each.field.endswith(place(asset))]
    topics = {each.message.partition.topic for each in lacking}
    usual = _USUAL * len(messages) <= len(lacking) <= _MOST * len(messages)
    if not usual or len(topics) > _FEW or not topics.isdisjoint(readings.assets):
        return form, why

    form = _without(format_of({**settings, "asset": f"{asset}|topic:"}), topics)
    reason = f"left out: {len(lacking) / len(messages):.0%} of the messages, which lack {shown(asset)}"
    return form, why | {"select.assets_exclude": reason}


def _fast(settings: Settings, why: Reasons, bodies: Sequence[Any]) -> Format | None:
    """Return the same map as json_long or json_wide; None if only places describe it."""
    wide = settings["values"] != ""
    names = ["timestamp", "values"] if wide else ["timestamp", "channel", "value"]
    by_key = settings.get("asset") == "key:"
    names += [] if by_key else ["asset"]
    fields: dict[str, Any] = {name: _top_level(str(settings.get(name, ""))) for name in names}
    simple = not any(settings.get(name) for name in _SLOW) and settings["timestamp_unit"] in _UNITS
    if not (simple and all(fields.values()) and _all_fit(fields, settings["timestamp_unit"], bodies)):
        return None

    fields |= {name: settings[name] for name in ("timestamp_unit", "numbers") if name in settings}
    if by_key:
        fields["asset_from"] = "key"
        why["asset_from"] = why.pop("asset")
    why["kind"] = f"each message has a table of values, {place(fields['values'])}" if wide else "one value a message"
    try:
        return Format("json_wide" if wide else "json_long", **fields)
    except ValueError:  # a name that the fast kinds cannot have, or one field for two purposes
        return None


def _all_fit(fields: dict[str, str], unit: str, bodies: Sequence[Any]) -> bool:
    """Return whether nearly all messages have the fields as the fast kinds need them."""
    time = fields["timestamp"]
    some: list[dict[str, Any]] = [body for body in bodies if isinstance(body, dict) and time in body]
    if len(some) < PRESENT * len(bodies):
        return False
    for name, field in fields.items():
        if sum(_fits(name, body.get(field), unit) for body in some) < PRESENT * len(bodies):
            return False
    if unit == "iso":
        return bool((to_ms([str(body[time]) for body in some], "iso") == UNREADABLE).mean() <= 1 - PRESENT)
    return True


def _top_level(text: str) -> str:
    """Return the name of a member of the message itself; empty if the place is another one."""
    try:
        places = parse_place(text)
    except ValueError:
        return ""
    if len(places) > 1 or places[0].source != "path" or len(places[0].steps) != 1:
        return ""
    return str(places[0].steps[0])


def _fits(name: str, value: Any, unit: str) -> bool:
    """Return whether a field is as the fast kinds need it."""
    if name in {"asset", "channel"}:
        return isinstance(value, str)
    if name == "values":
        return isinstance(value, dict) and not any(isinstance(each, dict) for each in value.values())
    if name == "timestamp":
        wanted = str if unit == "iso" else int | float if unit == "s" else int
        return isinstance(value, wanted) and not isinstance(value, bool)
    return not isinstance(value, dict | list)


def labels_of(message: Message, texts: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a point: its texts, and the message's key where the key is text."""
    try:
        key = (message.key or b"").decode()
    except UnicodeDecodeError:
        key = ""
    return {**texts, **({KEY: key} if key else {})}


# Refusals


def _why_not(bodies: Sequence[Any], now: int) -> str:
    """Return what the messages lack."""
    objects = [each for body in bodies for each in (body[:1] if isinstance(body, list) else [body])]
    objects = [each for each in objects if isinstance(each, dict)]
    if not objects:
        inner = [each for body in bodies if isinstance(body, list) for each in body[:1]]
        return (
            f"the messages are arrays, but not of objects: the first element is {shown(inner[0]) if inner else 'none'}"
        )

    if any(_is_json_text(value) for body in objects[:50] for value in body.values()):
        return (
            f"a field holds JSON written as a text, which is not parsed: {_seen(objects)}; let the producer send it as "
            "an object"
        )

    if all({"n"} < each.keys() and not {"bn", "bt"}.isdisjoint(each) for each in objects):
        return (
            "these are SenML packs whose records depend on the first one (bn, bt), which no format reads: "
            f"{_seen(objects)}; let the producer resolve them, so that each record has its full n and its own t"
        )

    columns = items_of(objects, ()).columns()
    clock = find_clock(columns, None, now)
    times = clock.paths if clock is not None else ()
    numbers = [each for path, column in columns.items() if path not in times for each in column]

    found = list(dict.fromkeys(each for item in objects[:50] for each in _plain_arrays(item, "")))
    arrays = ", ".join(map(place, found[:_LISTED])) + (", …" if len(found) > _LISTED else "")
    if arrays and not any(isinstance(each, int | float) for each in numbers):
        return (
            f"the values are in arrays of plain values, which are not read: {arrays}; let the producer send an object "
            "per reading, or a table of names and numbers per time, or unpack the arrays on the way, as in a processor "
            "of Telegraf or a function of Node-RED"
        )

    rest = f"; arrays of something other than objects are not read ({arrays})" if arrays else ""
    if clock is None:
        lacking = f"none of these fields holds a time between the year 2000 and now: {_seen(objects)}"
        return f"{lacking}{_almost(objects)}{rest}"
    return f"no field but the time holds a number: {_seen(objects)}{rest}"


def _is_json_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) > 1 and value[0] + value[-1] in {"{}", "[]"}


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
        if rank(name, TIMES) < len(TIMES):
            return f". {place(name)} is {shown(objects[0].get(name))}"
    return ""


def _plain_arrays(value: Any, path: str) -> Iterator[str]:
    """Yield the places of arrays that hold numbers, or arrays, instead of objects; those of an array end with []."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _plain_arrays(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(each, int | float | list) for each in value[:1]):
        yield path
    elif isinstance(value, list):
        for each in value[:1]:
            yield from _plain_arrays(each, f"{path}[]")


__all__ = ["Found", "Known", "Reasons", "UnknownFormat", "json_format", "labels_of", "unit_of_time"]
