"""The group of a reading, such as the kind of its machine, as the message names it (`format.group`).

    topic:  topic:2  key:  header:NAME    of the whole message, in any format
    tag:NAME  measurement:                of Telegraf's points
    kind                                  a place in JSON; of json_long and json_wide a name at the top level

Groups choose detectors. A reading without a group has the group "". A group is no reason to reject a message: what is
no name, or longer than one, is none.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from monitor.core.decode.mapped.places import Lookup, Place, lookup, parse_place
from monitor.core.records import Message

if TYPE_CHECKING:
    from monitor.core.decode.format import Format

_TELEGRAF = ("influx_line", "telegraf_json")
_OF_MESSAGE = {"topic", "key", "header"}
_TAG, _MEASUREMENT = "tag:", "measurement:"


class Grouping(NamedTuple):
    """Where the group is."""

    of: Literal["nothing", "message", "tag", "measurement", "item"]
    name: str = ""  # of the tag, or of the member of json_long and json_wide
    places: tuple[Place, ...] = ()  # of a message, or of an item of json

    @property
    def by_point(self) -> bool:
        """Whether points of one message may have different groups, so that the parser must find them."""
        return self.of in {"tag", "measurement", "item"}


def grouping(form: "Format") -> Grouping:
    """Return where a format has its groups. Raises ValueError if messages of its kind cannot have them there."""
    if not form.group:
        return Grouping("nothing")
    if form.kind == "csv":
        raise ValueError("group: rows of tables name no group; choose their assets by name")
    return _grouping(form.kind, form.group)


def check_group(form: "Format") -> None:
    """Raise ValueError if the group of a format cannot be found, or would name something else, too."""
    found = grouping(form)
    tags = {form.asset_tag if form.asset_from == "tag" else "", form.channel_tag, form.quality}
    if found.of == "tag" and found.name in tags:
        raise ValueError(
            f"group names a tag that names something else, too: {found.name}; globs of assets and channels choose by it"
        )
    if found.of == "item" and form.kind != "json" and found.name in form.mapped():
        raise ValueError(f"group names a field that is something else, too: {found.name}")


def of_messages(form: "Format", messages: Sequence[Message]) -> list[str] | None:
    """Return the group of each message; None if the format has none, or has them by point."""
    found = grouping(form)
    if found.of != "message":
        return None
    get = lookup(found.places)
    if {each.source for each in found.places} == {"topic"}:  # one text for nearly all
        topics = {message.partition.topic: message for message in messages}
        by_topic = {topic: _text(get, message) for topic, message in topics.items()}
        return [by_topic[message.partition.topic] for message in messages]
    return [_text(get, message) for message in messages]


def group_name(found: Any) -> str:
    """Return a group; numbers are names, too. Empty for what is no name."""
    if type(found) is str:
        return found
    whole = type(found) is int or (type(found) is float and found.is_integer())
    return str(int(found)) if whole and abs(found) < 2**64 else ""


def _text(get: Lookup, message: Message) -> str:
    return group_name(get((), (), message))


@functools.lru_cache(maxsize=64)
def _grouping(kind: str, text: str) -> Grouping:
    if kind in _TELEGRAF:
        if text == _MEASUREMENT:
            return Grouping("measurement")
        if text.startswith(_TAG) and text != _TAG:
            return Grouping("tag", text.removeprefix(_TAG))

    try:
        places = parse_place(text)
    except ValueError as error:
        raise ValueError(f"group: {error}") from error

    sources = {place.source for place in places}
    if sources <= _OF_MESSAGE:
        return Grouping("message", places=places)
    if kind in _TELEGRAF:
        raise ValueError(
            f"group of {kind} is tag:NAME, measurement:, or of the message topic:, key: or header:NAME; got {text!r}"
        )
    if kind == "json":
        return Grouping("item", places=places)

    steps = places[0].steps
    if len(places) > 1 or len(steps) != 1 or not isinstance(steps[0], str):
        raise ValueError(
            f"group of {kind} is a name at the top level, or of the message topic:, key: or header:NAME; got {text!r}. "
            "Set kind to json, which reads any place"
        )
    return Grouping("item", steps[0])
