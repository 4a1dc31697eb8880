"""The quick way through a field map: ordinary items of one level, read without looking places up one by one.

A glance takes an item only if the first alternative of each place is there and of the expected type. Then the careful
way of `from_map.py` would read the same. It takes a fifth of the time.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from monitor.core.decode.format import ParsedMessages, Skip, Sources
from monitor.core.decode.group import group_name
from monitor.core.decode.mapped.field_map import Search, Shortcut
from monitor.core.decode.mapped.places import Lookup, Names, Scopes
from monitor.core.decode.quality import Qualities
from monitor.core.records import Message

PLAIN = frozenset((float, int, str, bool, type(None), Skip))  # types of members that are no objects or arrays
Pick = Callable[[Any], Any]
Layouts = dict[tuple[str, ...], tuple[list[int], Pick | None]]  # names of a table -> codes, and what picks the values
Closer = Callable[[int, Any], None]  # the number of an item, and the item
_LONGEST_SEARCHED = 256  # characters of a text that patterns are searched in; Kafka's topics have up to 249
_NOTHING: dict[str, str] = {}
_BAD = {"quality": "bad"}


def name_of(found: Any) -> str | None:
    """Return a name; ids are often numbers. None if it is none."""
    if type(found) is str:
        return found
    if type(found) is int or (type(found) is float and found.is_integer()):
        return str(int(found)) if abs(found) < 2**64 else None
    return None


def source_of(channel: str, own: str, found: dict[str, str]) -> tuple[str, ...]:
    """Return a channel, and what tells its sources apart: the name without patterns, and the texts searched."""
    return channel, own, found.get("channel in", ""), found.get("asset in", "")


class Around(NamedTuple):
    """What an array lies in."""

    row: int  # index of the message
    scopes: Scopes
    names: Names
    message: Message


class Matches:
    """Searches the patterns of a map, each distinct text of a batch once."""

    def __init__(self, searches: Sequence[Search]) -> None:
        self._patterns = [search.pattern for search in searches]
        self._known: list[dict[str, dict[str, str]]] = [{} for _ in searches]

    def of(self, number: int, text: Any) -> dict[str, str]:
        """Return what the groups of a pattern have found in a text."""
        if type(text) is not str or len(text) > _LONGEST_SEARCHED:
            return _NOTHING
        groups = self._known[number].get(text)
        if groups is None:
            match = self._patterns[number].search(text)
            groups = {name: each for name, each in match.groupdict().items() if each} if match else _NOTHING
            groups = groups | {f"{name} in": text for name in ("asset", "channel") if name in groups}
            self._known[number][text] = groups
        return groups


class Glance:
    """Reads ordinary items of the messages of one batch."""

    def __init__(
        self,
        shortcut: Shortcut,
        points: ParsedMessages,
        matches: Matches,
        qualities: Qualities,
        *,
        sources: Sources | None,  # of maps whose patterns may give several sources one channel
        group: Lookup | None,  # of maps whose items have groups
    ) -> None:
        self._shortcut = shortcut
        self._sources = sources
        self._group = group
        self._points = points
        self._matches = matches
        self._qualities = qualities
        self._more = bool(shortcut.quality or shortcut.searches)

    def message(self, row: int, message: Message, item: Any) -> bool:
        """Add the one reading of a message. Return False if it needs a closer look."""
        shortcut = self._shortcut
        try:
            channel, time, value = shortcut.get(item)
            asset = item.get(shortcut.asset) if shortcut.asset else shortcut.outer((), (), message)
        except (KeyError, TypeError, AttributeError):
            return False
        if type(channel) is not str or (type(value) is not float and type(value) is not int):
            return False
        own, found = channel, _NOTHING
        if self._more:
            found = self._found(item, shortcut.shared((), (), message))
            if found is _BAD:
                return True
            asset, channel = found.get("asset") or asset, found.get("channel") or channel
        if type(asset) is not str or (type(time) is not int and type(time) is not str and type(time) is not float):
            return False

        points = self._points
        points.row.append(row)
        points.part.append(-1)
        points.asset.append(asset)
        points.time.append(time)
        points.width.append(1)
        if self._group is not None:
            points.group.append(group_name(self._group((item,), (), message)))
        code = points.codes[channel] if self._sources is None else self._sources[source_of(channel, own, found)]
        points.channel.append(code)
        points.value.append(value)
        return True

    def table(self, row: int, message: Message, item: Any, layouts: Layouts) -> bool:
        """Add the one table of a message. Return False if it needs a closer look."""
        shortcut = self._shortcut
        try:
            time, table = shortcut.get(item)
            asset = item[shortcut.asset] if shortcut.asset else shortcut.outer((), (), message)
            codes, pick = layouts[tuple(table)]
            values = table.values()
        except (KeyError, TypeError, AttributeError):
            return False
        if type(asset) is not str or (type(time) is not int and type(time) is not str and type(time) is not float):
            return False
        if not PLAIN.issuperset(map(type, values)):
            return False

        points = self._points
        points.row.append(row)
        points.part.append(-1)
        points.asset.append(asset)
        points.time.append(time)
        points.width.append(len(codes))
        if self._group is not None:
            points.group.append(group_name(self._group((item,), (), message)))
        points.channel += codes
        points.value += values if pick is None else pick(table)
        return True

    def array(self, around: Around, first: int, items: list[Any], closer: Closer) -> None:
        """Add the readings of an array whose first item has the number `first`; `closer` looks at the others."""
        row, outside = around.row, around[1:]
        shortcut, points = self._shortcut, self._points
        get, own, codes, more = shortcut.get, shortcut.asset, points.codes, self._more
        sources, found, name, grouped, group = self._sources, _NOTHING, "", self._group, ""
        outer = name_of(shortcut.outer(*outside)) if around.scopes or not own else None
        shared = shortcut.shared(*outside) if more else ()
        last: tuple[Any, ...] | None = None  # asset, time and group of the last point, if it is of this array
        for part, item in enumerate(items, first):
            try:
                channel, time, value = get(item)
                asset = item.get(own) if own else outer
            except (KeyError, TypeError, AttributeError):
                closer(part, item)
                last = None
                continue

            if asset is None:
                asset = outer

            plain = type(channel) is str and (type(value) is float or type(value) is int)
            if plain and more:
                found = self._found(item, shared)
                if found is _BAD:
                    continue
                asset, name, channel = found.get("asset") or asset, channel, found.get("channel") or channel

            if plain and type(asset) is str and (type(time) is int or type(time) is str or type(time) is float):
                if grouped is not None:
                    group = group_name(grouped((item, *around.scopes), around.names, around.message))
                if last == (asset, time, group):
                    points.width[-1] += 1
                else:
                    points.row.append(row)
                    points.part.append(part)
                    points.asset.append(asset)
                    points.time.append(time)
                    points.width.append(1)
                    if grouped is not None:
                        points.group.append(group)
                    last = asset, time, group
                points.channel.append(codes[channel] if sources is None else sources[source_of(channel, name, found)])
                points.value.append(value)
            else:
                closer(part, item)
                last = None

    def _found(self, item: dict[str, Any], shared: Sequence[Any]) -> dict[str, str]:
        """Return what the patterns find in an item, _BAD if its quality is bad; the value is counted then.

        `shared` holds the qualities and texts of the objects around it.
        """
        at = 0
        for name, inverted in self._shortcut.quality:
            quality = item.get(name) if name else None
            if quality is None:
                quality = shared[at]
            at += 1
            if inverted and type(quality) is bool:
                quality = not quality
            if not self._qualities.counts(quality):
                self._points.skipped[Skip.QUALITY] += 1
                return _BAD

        found = _NOTHING
        for number, name in enumerate(self._shortcut.searches):
            text = item.get(name) if name else None
            groups = self._matches.of(number, shared[at] if text is None else text)
            at += 1
            found = groups | found if found else groups
        return found
