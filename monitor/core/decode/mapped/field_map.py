"""The field map of `kind = "json"`: checked once with the settings, and compiled once into look-ups.

`from_map.py` reads messages with it. A map that would ignore a setting, or that no message could fit, is refused.
"""

import fnmatch
import functools
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from monitor.core.decode.backtracking import compiled
from monitor.core.decode.extra import extra_places
from monitor.core.decode.group import grouping
from monitor.core.decode.mapped.places import Lookup, Names, Place, Scopes, Step, lookup, parse_each, parse_place
from monitor.core.decode.quality import QUALITIES, UNCERTAIN
from monitor.core.decode.times import zone
from monitor.core.records import Message

if TYPE_CHECKING:
    from monitor.core.decode.format import Format

GROUPS = ("asset", "channel", "timestamp", "quality")  # names of groups in a pattern
MOST_PATTERNS = 4
_LONGEST_PATTERN = 512  # characters
_NUMERIC = ("ms", "s", "us", "ns", "ticks", "auto")
# Places of no values of the table.
_USED = ("asset", "timestamp", "timestamp_nanos", "quality", "patterns", "group", "extra")
_INVERTED = ("is_null", "isNull", "isnull")  # flags of which true is bad


class Pattern(NamedTuple):
    """A regular expression with named groups, and the place of the text that it is searched in."""

    place: str  # `from` in the settings
    pattern: str


class Search(NamedTuple):
    """A compiled pattern."""

    text: Lookup
    pattern: re.Pattern[str]
    groups: tuple[str, ...]


class Shortcut(NamedTuple):
    """A quick look at an ordinary item. Where it fails, the places are looked up one by one."""

    get: Callable[[Any], tuple[Any, ...]]  # channel, time and value, or time and table, by their first alternatives
    asset: str  # the asset's name in the item; empty = it does not depend on the item
    outer: Lookup  # the asset's first alternative
    quality: tuple[tuple[str, bool], ...]  # names in the item, and whether true is bad
    searches: tuple[str, ...]  # names of the patterns' texts in the item; empty = they do not depend on the item
    around: tuple[Lookup, ...]  # the same qualities and texts, where an item has none

    def shared(self, scopes: Scopes, names: Names, message: Message) -> list[Any]:
        """Return the qualities and texts of the objects around an item."""
        return [get(scopes, names, message) for get in self.around]


@dataclass(frozen=True, slots=True)
class FieldMap:
    """A compiled map."""

    each: tuple[Step, ...]
    asset: Lookup
    time: Lookup
    nanos: Lookup | None
    group: Lookup | None  # None = an item has none of its own
    extra: tuple[tuple[str, Lookup], ...]  # channels outside the values
    channel: Lookup
    value: tuple[tuple[str | int, ...], ...]  # paths within the reading itself
    tables: tuple[tuple[str | int, ...], ...]  # paths of the table within the item; none = an item is one reading
    own: frozenset[str]  # members of the table that the map itself uses, with dots between names
    inside: frozenset[str]  # the same of an object within the table, by its own names
    ignored: re.Pattern[str] | None
    quality: tuple[tuple[Lookup, bool], ...]  # and whether true is bad
    searches: tuple[Search, ...]
    by_member: bool  # asset or channel of a table's member depend on the member's name or object
    shortcut: Shortcut | None


def check_map(form: "Format") -> None:
    """Raise ValueError if the places of a format contradict one another, or could find nothing."""
    places = _places(form)
    steps = parse_each(form.each)
    for name, alternatives in places.items():
        sources = {place.source for place in alternatives}
        if "broker" in sources and name != "timestamp":
            raise ValueError(f"{name}: broker: is a time, so only timestamp can be it")
        if name in {"value", "values"} and sources != {"path"}:
            raise ValueError(f"{name} must be a path into the JSON, got {getattr(form, name)!r}")
        if name != "values" and any(place.source == "path" and not place.steps for place in alternatives):
            raise ValueError(f"{name}: . is the item itself; only values can be that")
        if "name" in sources and not form.values and "members" not in {step.kind for step in steps}:
            raise ValueError(f"{name}: name: needs named members, by values or by {{}} in each")

    _check_options(form)
    _check_patterns(form)


def _check_options(form: "Format") -> None:
    texts = [text for text in (form.asset, form.channel if not form.values else "", form.timestamp, form.value) if text]
    if len(set(texts)) < len(texts):
        raise ValueError(f"the field map names one place twice: {', '.join(texts)}")
    if form.values and form.channel != "channel":
        raise ValueError(
            f'channel is read of items that are one reading, but values is "{form.values}": set values = "", or leave '
            "channel out, since the names of the table's members are the channels"
        )
    if form.ignore and not form.values:
        raise ValueError("ignore leaves out members of the table, but values is empty: use select.channels_exclude")
    if form.timestamp_nanos and form.timestamp_unit not in _NUMERIC:
        raise ValueError("timestamp_nanos can only be added to a number, but timestamp_unit is iso")
    if form.timezone:
        zone(form.timezone)
        if form.timestamp_unit not in {"iso", "auto"}:
            raise ValueError(f"timezone is for texts (timestamp_unit iso or auto), got {form.timestamp_unit}")


def check_quality(form: "Format") -> None:
    """Raise ValueError if the settings of quality contradict one another."""
    if form.uncertain not in UNCERTAIN:
        raise ValueError(f"uncertain must be one of {', '.join(UNCERTAIN)}, got {form.uncertain!r}")
    for text, verdict in form.qualities:
        if verdict not in QUALITIES:
            raise ValueError(f"qualities: {text!r} must be one of {', '.join(QUALITIES)}, got {verdict!r}")
    by_pattern = any("quality" in re.compile(each.pattern).groupindex for each in form.patterns)
    known = form.quality or by_pattern or form.kind == "csv"  # a table has its own columns of quality
    if (form.qualities or form.uncertain != "measured") and not known:
        raise ValueError("qualities and uncertain need quality, the place of the quality")


def _places(form: "Format") -> dict[str, tuple[Place, ...]]:
    names = ["asset", "timestamp", "value", "values", "quality", "timestamp_nanos", "group"]
    if not form.values:
        names.append("channel")
    places = {}
    for name in names:
        text = getattr(form, name)
        if not text and name in {"asset", "timestamp", "channel", "value"}:
            raise ValueError(f"{name} must name a place")
        if text:
            try:
                places[name] = parse_place(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    return places


def _check_patterns(form: "Format") -> None:
    if len(form.patterns) > MOST_PATTERNS:
        raise ValueError(f"patterns: at most {MOST_PATTERNS}, got {len(form.patterns)}")
    for each in form.patterns:
        try:
            sources = {place.source for place in parse_place(each.place)}
            groups = set(compiled(each.pattern[: _LONGEST_PATTERN + 1]).groupindex)
        except ValueError as error:
            raise ValueError(f"patterns: {each.pattern!r} from {each.place!r}: {error}") from error

        if "broker" in sources:
            raise ValueError("patterns: broker: is a time, and no text to search in")
        if form.values and "channel" in groups and not any(map(_is_own_name, parse_place(each.place))):
            raise ValueError(
                f"patterns: {each.pattern!r} from {each.place!r} would give all members of the table one channel: "
                'search for channel in name:, the member\'s name, or set values = "" where an item is one reading'
            )
        if len(each.pattern) > _LONGEST_PATTERN:
            raise ValueError(f"patterns: at most {_LONGEST_PATTERN} characters each")
        if not groups or not groups <= set(GROUPS):
            raise ValueError(
                f"patterns: {each.pattern!r} must have groups such as (?P<asset>...), named {', '.join(GROUPS)}; "
                f"got {', '.join(sorted(groups)) or 'none'}"
            )


def _is_own_name(place: Place) -> bool:
    return place.source == "name" and not place.segment


@functools.lru_cache(maxsize=64)  # one format per pipeline
def field_map(form: "Format") -> FieldMap:
    """Return the compiled map of a format."""
    places, extra = _places(form), extra_places(form.extra_channels)
    places["extra"] = tuple(place for _, alternatives in extra for place in alternatives)
    tables = tuple(place.steps for place in places.get("values", ()))
    searches = []
    by_member = any(map(_is_own_name, (*places["asset"], *places.get("group", ()))))
    for each in form.patterns:
        alternatives, pattern = parse_place(each.place), re.compile(each.pattern)
        searches.append(Search(lookup(alternatives), pattern, tuple(pattern.groupindex)))
        by_member |= any(map(_is_own_name, alternatives))
        places["patterns"] = (*places.get("patterns", ()), *alternatives)

    ignored = re.compile("|".join(map(fnmatch.translate, form.ignore))) if form.ignore else None
    return FieldMap(
        parse_each(form.each),
        lookup(places["asset"]),
        lookup(places["timestamp"]),
        lookup(places["timestamp_nanos"]) if form.timestamp_nanos else None,
        lookup(places["group"]) if grouping(form).of == "item" else None,
        tuple((name, lookup(alternatives)) for name, alternatives in extra),
        lookup(places["channel"]) if not form.values else lookup(()),
        tuple(place.steps for place in places["value"]),
        tables,
        _own(places, tables),
        frozenset(str(each.steps[0]) for name in _USED for each in places.get(name, ()) if each.steps),
        ignored,
        tuple(
            (lookup([place]), place.steps[-1:] in {(name,) for name in _INVERTED})
            for place in places.get("quality", ())
        ),
        tuple(searches),
        by_member,
        _shortcut(form, places),
    )


def _own(places: dict[str, tuple[Place, ...]], tables: tuple[tuple[str | int, ...], ...]) -> frozenset[str]:
    """Return the members of the table that are places of something other than a value."""
    own = set()
    for name in _USED:
        for place in places.get(name, ()):
            for table in tables:
                rest = place.steps[len(table) :]
                if place.source == "path" and rest and place.steps[: len(table)] == table:
                    own.add(".".join(map(str, rest)))
    return frozenset(own)


def _shortcut(form: "Format", places: dict[str, tuple[Place, ...]]) -> Shortcut | None:
    """Return the shortcut of a map; None if it needs more than a look at the item."""
    texts = [parse_place(each.place) for each in form.patterns]
    groups = {name for each in form.patterns for name in re.compile(each.pattern).groupindex}
    more = [*places.get("quality", ()), *(place for each in texts for place in each)]
    if form.timestamp_nanos or form.extra_channels or (form.values and more) or not groups <= {"asset", "channel"}:
        return None
    if any(len(each) > 1 for each in texts) or not all(map(_of_item, more)):
        return None

    own = [places[name][0] for name in (("timestamp", "values") if form.values else ("channel", "timestamp", "value"))]
    asset = places["asset"][0]
    if not _of_item(asset) or not all(place.source == "path" and _named(place) for place in own):
        return None
    return Shortcut(
        _getter([place.steps for place in own]),
        _name(asset),
        lookup([asset]),
        tuple((_name(place), _inverted(place)) for place in places.get("quality", ())),
        tuple(_name(place) for each in texts for place in each),
        tuple(lookup([place]) for place in more),
    )


def _named(place: Place) -> bool:
    return all(isinstance(each, str) for each in place.steps)


def _of_item(place: Place) -> bool:
    """Return whether a place is one name, or does not depend on the item."""
    return place.source != "path" or (len(place.steps) == 1 and _named(place))


def _name(place: Place) -> str:
    return str(place.steps[0]) if place.source == "path" else ""


def _inverted(place: Place) -> bool:
    """Return whether true is bad at a place."""
    return bool(place.steps) and place.steps[-1] in _INVERTED


def _getter(paths: Sequence[tuple[str | int, ...]]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that gets the ends of several paths of names. It raises KeyError, TypeError."""
    if [len(steps) for steps in paths] == [1, 0]:  # the table is the item itself
        name = paths[0][0]
        return lambda item: (item[name], item)
    if all(len(steps) == 1 for steps in paths):
        return cast("Callable[[Any], tuple[Any, ...]]", operator.itemgetter(*(steps[0] for steps in paths)))

    def get(item: Any) -> tuple[Any, ...]:
        found = []
        for steps in paths:
            node = item
            for step in steps:
                node = node[step]
            found.append(node)
        return tuple(found)

    return get
