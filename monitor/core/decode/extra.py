"""Channels that a message names outside its values, such as the recipe in a tag: `format.extra_channels`.

    NAME     of Telegraf's formats a tag, which is read as a field of that name; of json_long and json_wide a field at
             the top level
    meta.NAME  header:NAME    of json a place, of which the last name is the channel's

Such a value is one more reading of its point. It is no reason to reject a message. A value of that name wins over it.
"""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from monitor.core.decode.group import grouping
from monitor.core.decode.mapped.places import Place, parse_place

if TYPE_CHECKING:
    from monitor.core.decode.format import Format


def check_extra(form: "Format") -> None:
    """Raise ValueError if an extra channel cannot be found, or would be something else, too."""
    extra = form.extra_channels
    if not extra:
        return
    if form.kind == "csv":
        raise ValueError("extra_channels: every column of a table that is read is a channel already")
    names = [name for name, _ in extra_places(extra)] if form.kind == "json" else [*extra, *_others(form)]
    twice = {name for name in names if names.count(name) > 1}
    if twice or not all(names):
        shown = ", ".join(sorted(twice)) or "an empty name"
        raise ValueError(f"extra_channels: each names one channel and nothing else, got {shown}")


def _others(form: "Format") -> Iterator[str]:
    """Yield names of tags or fields at the top level that are something else."""
    if form.kind in {"json_long", "json_wide"}:
        yield from form.mapped()
    else:
        tags = [form.asset_tag if form.asset_from == "tag" else "", form.channel_tag, form.quality]
        yield from filter(None, tags)
    if grouping(form).name:
        yield grouping(form).name


@functools.lru_cache(maxsize=64)
def extra_places(extra: tuple[str, ...]) -> tuple[tuple[str, tuple[Place, ...]], ...]:
    """Return the channels of places in JSON, each with its place. Raises ValueError."""
    found = []
    for text in extra:
        try:
            places = parse_place(text)
        except ValueError as error:
            raise ValueError(f"extra_channels: {error}") from error
        name = places[0].header or next((each for each in reversed(places[0].steps) if isinstance(each, str)), "")
        if not name or {place.source for place in places} - {"path", "header"}:
            raise ValueError(
                f"extra_channels: {text!r} has no name for the channel, such as meta.recipe or header:NAME"
            )
        found.append((name, places))
    return tuple(found)
