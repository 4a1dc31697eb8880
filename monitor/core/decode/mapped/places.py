"""Places: texts that say where a message holds its asset, channel, time, value or quality.

    payload.ts                        a path into the JSON; a name with a dot, bracket, bar or colon is "quoted"
    readings[0].v                     [0] is the first element of an array, [-1] the last one
    key:  key:3  topic:-1             the message's key or topic, or one segment of it, split at / and .
    header:NAME                       a header of the message
    name:  name:-1                    the name of the member that the reading is, and of the object around it
    broker:                           the message's own time
    SourceTimestamp|ServerTimestamp   the first of these that is there and not null

A path is looked up in the innermost object first, then in the objects around it. So a time of the message serves all
its readings, and a time of a reading wins.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

from monitor.core.records import Message

Source = Literal["path", "key", "topic", "header", "name", "broker"]
Scopes = tuple[dict[str, Any], ...]  # objects, the innermost one first
Names = tuple[str, ...]  # of members that enclose the reading, the innermost one first
Lookup = Callable[[Scopes, Names, Message], Any]  # None = not there
EACH, MEMBERS = "[]", "{}"  # steps of `each`: the elements of an array, the members of an object
BROKER = object()  # stands for the message's own time

_NAME = re.compile(r'"((?:[^"\\]|\\.)*+)"|([^."\[\]{}|:]++)')
_INDEX = re.compile(r"\[(-?\d{1,6})\]")
_SOURCE = re.compile(r"(key|topic|header|name|broker):([^|]*+)")
_SEGMENTS = re.compile(r"[/.]")
_SEGMENT = re.compile(r"-?\d{1,3}|")


class Place(NamedTuple):
    """One alternative of a place."""

    source: Source
    steps: tuple[str | int, ...] = ()  # of a path; empty = the item itself
    segment: int = 0  # of key, topic, name; 0 = all of it
    header: str = ""


class Step(NamedTuple):
    """A step of `each`: into a member, or over all elements or members."""

    kind: Literal["member", "elements", "members"]
    name: str = ""


def parse_place(text: str) -> tuple[Place, ...]:
    """Return the alternatives of a place. Raises ValueError."""
    found, at = [], 0
    while True:
        match = _SOURCE.match(text, at)
        if match is not None:
            found.append(_outside(match[1], match[2].strip(), text))
            at = match.end()
        else:
            steps, at = _path(text, at)
            found.append(Place("path", steps))
        if at == len(text):
            return tuple(found)
        if text[at] != "|":
            raise ValueError(f"{text!r} is no place: {text[at:]!r} is not expected there; quote names with such signs")
        at += 1


def sources_of(text: str) -> set[Source]:
    """Return where the alternatives of a place are read; nothing for a text that is no place."""
    try:
        return {place.source for place in parse_place(text)} if text else set()
    except ValueError:
        return set()


def parse_each(text: str) -> tuple[Step, ...]:
    """Return the steps to the readings. Raises ValueError."""
    steps: list[Step] = []
    at, named = 0, False
    while at < len(text):
        sign = text[at : at + 2]
        match = _NAME.match(text, at)
        if sign in {EACH, MEMBERS}:
            steps.append(Step("elements" if sign == EACH else "members"))
            at, named = at + 2, False
        elif match is not None and not named and (at == 0 or text[at - 1] == "."):
            steps.append(Step("member", _unquoted(match)))
            at, named = match.end(), True
        elif text[at] == "." and 0 < at < len(text) - 1 and text[at - 1] != ".":
            at, named = at + 1, False
        else:
            raise ValueError(f"{text!r} is no path to readings, such as data[], Messages[].Payloads[] or {{}}")
    return tuple(steps)


def _outside(source: str, rest: str, text: str) -> Place:
    if source == "header":
        if not rest:
            raise ValueError(f"{text!r} is no place: header: needs the name of a header")
        return Place("header", header=rest)
    if source == "broker" and rest:
        raise ValueError(f"{text!r} is no place: nothing follows broker:")
    if not _SEGMENT.fullmatch(rest) or rest in {"0", "-0"} or (source == "name" and rest and int(rest) > 0):
        numbers = "-1 for the one outside" if source == "name" else "1 for the first segment or -1 for the last one"
        raise ValueError(f"{text!r} is no place: {source}: is followed by nothing or a number, such as {numbers}")
    return Place(cast("Source", source), segment=int(rest or 0))


def _path(text: str, at: int) -> tuple[tuple[str | int, ...], int]:
    """Return the steps of the path that begins at `at`, and its end."""
    if text[at : at + 1] == "." and text[at + 1 : at + 2] in {"", "|"}:
        return (), at + 1

    steps: list[str | int] = []
    while True:
        match = _NAME.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} is no place: expected a name at {text[at:]!r}, such as payload.ts or key:2")
        steps.append(_unquoted(match))
        at = match.end()
        while index := _INDEX.match(text, at):
            steps.append(int(index[1]))
            at = index.end()
        if text[at : at + 1] != ".":
            return tuple(steps), at
        at += 1


def _unquoted(match: re.Match[str]) -> str:
    return match[2] if match[1] is None else re.sub(r"\\(.)", r"\1", match[1])


def lookup(places: Sequence[Place]) -> Lookup:
    """Return a function that looks a place up."""
    each = [_lookup(place) for place in places]
    if len(each) == 1:
        return each[0]

    def first(scopes: Scopes, names: Names, message: Message) -> Any:
        for get in each:
            found = get(scopes, names, message)
            if found is not None:
                return found
        return None

    return first


def _lookup(place: Place) -> Lookup:
    if place.source == "path":
        return _member(place.steps[0]) if len(place.steps) == 1 else _deep(place.steps)  # type: ignore[arg-type]
    if place.source == "header":
        name = place.header
        return lambda _, __, message: next((text_of(value) for key, value in message.headers if key == name), None)
    if place.source == "key":
        return _segment(lambda message: text_of(message.key), place.segment)
    if place.source == "topic":
        return _segment(lambda message: message.partition.topic, place.segment)
    if place.source == "name":
        at = -place.segment
        return lambda _, names, __: names[at] if at < len(names) else None
    return lambda _, __, message: BROKER if message.timestamp > 0 else None


def _member(name: str) -> Lookup:
    def get(scopes: Scopes, _: Names, __: Message) -> Any:
        for scope in scopes:
            found = scope.get(name)
            if found is not None:
                return found
        return None

    return get


def _deep(steps: tuple[str | int, ...]) -> Lookup:
    def get(scopes: Scopes, _: Names, __: Message) -> Any:
        for scope in scopes:
            found = walk(scope, steps)
            if found is not None:
                return found
        return None

    return get


def walk(node: Any, steps: Sequence[str | int]) -> Any:
    """Return what lies at the end of a path from `node`, None if nothing does."""
    for step in steps:
        if isinstance(step, str):
            if type(node) is not dict:
                return None
            node = node.get(step)
        else:
            if type(node) is not list or not -len(node) <= step < len(node):
                return None
            node = node[step]
    return node


def _segment(whole: Callable[[Message], str | None], segment: int) -> Lookup:
    if not segment:
        return lambda _, __, message: whole(message)
    at = segment - 1 if segment > 0 else segment

    def get(_: Scopes, __: Names, message: Message) -> str | None:
        parts = _SEGMENTS.split(whole(message) or "")
        return parts[at] if -len(parts) <= at < len(parts) else None

    return get


def text_of(raw: bytes | None) -> str | None:
    """Return bytes as text, None if they are none."""
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None
