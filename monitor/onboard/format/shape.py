"""Finds the shape of the items of a level: their time, their values, their quality, and what is no channel.

An item is one reading (a value beside the name of its channel) or a table of channels. Names are evidence, values
decide: a time lies between the year 2000 and now, a quality is one of the known codes, a channel is a number.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from monitor.core.decode.format import shown
from monitor.core.decode.parsers.members import number_of
from monitor.onboard.format.clocks import Clock, find_clock
from monitor.onboard.format.items import Items, Path
from monitor.onboard.format.labels import ASSETS, PRESENT, plain, rank, words_of
from monitor.onboard.format.qualities import find_quality, not_applied, single_qualities

_INNER = 20_000  # items whose members are looked at: with fewer, a machine that seldom sends would be missed
VALUES = ("value", "val", "v", "reading", "result", "pv", "measurement", "payload", "data")
META = {
    "uuid",
    "guid",
    "seq",
    "sequence",
    "sequencenumber",
    "seqno",
    "msg",
    "message",
    "packet",
    "offset",
    "partition",
}
META |= {"version", "schema", "schemaversion", "apiversion", "revision", "qos", "retain", "mid", "alias", "datatype"}
META |= {"specversion"}
META |= {"type", "lsn", "tx", "txid", "row", "server", "majorversion", "minorversion", "crc", "checksum", "ttl"}
META |= {
    "msgid",
    "rev",
    "id",
    "index",
    "line",
    "batch",
    "order",
    "shift",
    "port",
    "msgcount",
    "messagecount",
    "counter",
    "registerid",
}
CONTAINERS = {"schema", "source", "meta", "metadata", "header", "headers", "transaction", "context", "metadataversion"}
_SIGNALS = {"channel", "sensor", "signal", "metric", "variable", "tag"}
_NUMERIC = 0.5  # share of a field's values that are numbers, from which it is a channel
_HIDDEN = 0.02  # share of the items in which two alternatives of a value may meet


@dataclass(slots=True)
class Shape:
    """What the items are, and their readings (n,)."""

    items: Items
    columns: dict[Path, list[Any]]
    clock: Clock
    value: tuple[Path, ...]  # alternatives, relative to the item or to a member of the table
    table: Path | None  # of the channels; None = an item is a reading
    item: list[int] = field(default_factory=list)  # of each reading
    member: list[str] = field(default_factory=list)  # its name in the table
    values: list[Any] = field(default_factory=list)
    own_time: list[Any] = field(default_factory=list)  # of a member that has one; None = the item's
    quality: Path | None = None
    qualities: dict[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    texts: bool = False  # numbers are written as texts
    remark: str = ""  # on qualities that are not applied
    guess: bool = False  # the only number is taken for the value, without evidence by names
    nested: bool = False  # members of the table are tables themselves
    channels: frozenset[Path] = frozenset()  # paths of the members that are read

    def times(self) -> list[Any]:
        times = self.clock.times
        return [times[at] if own is None else own for at, own in zip(self.item, self.own_time, strict=True)]


def shapes(items: Items, now: int) -> Iterator[Shape]:
    """Yield the ways to read `items`: as readings, and as tables."""
    columns = items.columns()
    inner = _inner_paths(items)
    first = find_clock(columns, inner, now)
    if first is not None:
        shape = _as_reading(items, columns, first)
        if shape is not None:
            yield shape
    shape = _as_table(items, columns, first, now)
    if shape is not None:
        yield shape


def _inner_paths(items: Items) -> set[Path]:
    """Return the paths of the items themselves, not of the objects around them."""
    found: set[Path] = set()
    for chain in items.chain[:: max(1, len(items) // _INNER)]:
        found.update(_paths(chain[0], ()))
    return found


def _paths(item: dict[str, Any], path: Path) -> Iterator[Path]:
    for name, value in item.items():
        yield (*path, name)
        if isinstance(value, dict) and len(path) < 8:
            yield from _paths(value, (*path, name))


# One reading


def _as_reading(items: Items, columns: dict[Path, list[Any]], clock: Clock) -> Shape | None:
    """Return the shape of items with a value; None if the items have none, or several."""
    found, guess = _value_paths(items, columns, clock)
    if not found:
        return None
    values = [
        next((columns[path][at] for path in found if columns[path][at] is not None), None) for at in range(len(items))
    ]
    given = [value for value in values if value is not None]
    if len(given) < PRESENT * len(items) * 0.8 or _share_numeric(given) < 0.2:
        return None

    used = {*found, *clock.paths}
    shape = Shape(items, columns, clock, found, None, texts=_as_texts(given), guess=guess)
    _rate(shape, columns, used)
    shape.item = list(range(len(items)))
    shape.member = [""] * len(items)
    shape.values = values
    shape.own_time = [None] * len(items)
    return shape


def _value_paths(items: Items, columns: dict[Path, list[Any]], clock: Clock) -> tuple[tuple[Path, ...], bool]:
    """Return the path of the value and its alternatives, such as floatValue and intValue, and if it is a guess."""
    inner = _inner_paths(items)
    count = {
        path: sum(value is not None for value in column)
        for path, column in columns.items()
        if path in inner and path not in clock.paths and _is_value(path)
    }
    if not count:
        return _only_number(columns, clock, inner)
    if _are_several(columns, list(count)):
        return (), False

    best = min(count, key=lambda path: (_order(path), -count[path]))
    if count[best] < _HIDDEN * len(items):
        best = max(count, key=lambda path: count[path])
    chosen = [best]
    taken = [value is not None for value in columns[best]]
    for path in sorted(count, key=lambda path: -count[path]):
        meets = sum(one and other is not None for one, other in zip(taken, columns[path], strict=True))
        if path not in chosen and meets <= _HIDDEN * len(items) and path[:-1] == best[:-1]:
            chosen.append(path)
            taken = [one or other is not None for one, other in zip(taken, columns[path], strict=True)]
    return tuple(chosen), False


def _are_several(columns: dict[Path, list[Any]], found: Sequence[Path]) -> bool:
    """Return whether an item has the values of several channels, each in an object of its own."""
    for name in {path[-1] for path in found}:
        mine = [columns[path] for path in found if path[-1] == name and len(path) > 1]
        together = sum(sum(value is not None for value in row) > 1 for row in zip(*mine, strict=True))
        if mine and together > _HIDDEN * len(mine[0]):
            return True
    return False


def _only_number(columns: dict[Path, list[Any]], clock: Clock, inner: set[Path]) -> tuple[tuple[Path, ...], bool]:
    """Return the only field with a number, and if no field is called as signals are."""
    numbers = [
        path
        for path, column in columns.items()
        if path in inner
        and path not in clock.paths
        and not is_meta(path)
        and not is_name(path, _given(column))
        and _share_numeric(_given(column), texts=False) > _NUMERIC
    ]
    signals = [path for path in columns if plain(path[-1]) in _SIGNALS]
    several = any(len(set(map(str, _given(columns[path])))) > 1 for path in signals)
    return ((numbers[0],), not several) if len(numbers) == 1 else ((), False)


def _is_value(path: Path) -> bool:
    name = plain(path[-1])
    return name in VALUES or (name.endswith("value") and not name.startswith(("min", "max", "raw", "default")))


def _order(path: Path) -> tuple[int, int]:
    name = plain(path[-1])
    return (VALUES.index(name) if name in VALUES else 1, len(path))


# A table


def _as_table(items: Items, columns: dict[Path, list[Any]], clock: Clock | None, now: int) -> Shape | None:
    """Return the shape of items that are tables, or hold one."""
    found = _members(items, columns, clock)
    if not found:
        return None
    at, value_name = _table_and_flag(found, columns, clock)
    inside = [path for path in found if path[: len(at)] == at]
    by_member = value_name is not None

    if by_member:
        own = _own_fields(items, inside, now)
        if own is not None:
            around = {path: columns[path] for path in columns if not any(path[: len(each)] == each for each in inside)}
            clock = _with_own(own, find_clock(around, _inner_paths(items), now), len(items))
    if clock is None:
        return None

    shape = Shape(items, columns, clock, ((value_name,),) if value_name else (), at)
    given: list[Any] = []
    for number, chain in enumerate(items.chain):
        table = _walk(chain[0], at)
        if not isinstance(table, dict):
            continue
        for path in inside:
            holder = _walk(table, path[len(at) :])
            time = None
            if isinstance(holder, dict):
                time = next((holder[name] for name in clock.names if holder.get(name) is not None), None)
                holder = holder.get(value_name) if value_name else None
            if holder is None:
                continue
            shape.item.append(number)
            shape.member.append(".".join(path[len(at) :]))
            shape.values.append(holder)
            shape.own_time.append(time)
            given.append(holder)

    used = {*clock.paths}
    _rate(shape, _of_members(items, inside) if by_member else columns, used | set(inside))
    shape.texts = _as_texts(given)
    shape.channels = frozenset(inside)
    shape.nested = any(len(path) > len(at) + 1 for path in inside)
    shape.ignore = _ignored(columns, at, inside, clock, shape)
    return shape if shape.item else None


def _table_and_flag(found: list[Path], columns: dict[Path, list[Any]], clock: Clock | None) -> tuple[Path, str | None]:
    """Return the table as `_table` does, after a quality beside the table or above it has left `found`."""
    count = {path: len(_given(columns[path])) for path in found}
    at, value_name = _table(found, count)
    flag = find_quality(columns, set(clock.paths) if clock is not None else set())
    if flag is None or value_name is not None:
        return at, value_name
    path = flag[0]
    if path not in found or len(found) == 1 or path[:-1] != at[: len(path) - 1]:
        return at, value_name
    found.remove(path)
    return _table(found, count)


def _rate(shape: Shape, columns: dict[Path, list[Any]], used: set[Path]) -> None:
    """Enter the quality of the values, and the qualities that cannot be applied."""
    shape.quality, shape.qualities = find_quality(columns, used) or (None, {})
    shape.remark = not_applied(columns, used)
    single = [".".join(path) for path in single_qualities(columns)]
    if single:
        listed = ", ".join(map(shown, single[:3])) + (", …" if len(single) > 3 else "")
        one = f"each of {listed} is the quality of one channel, which is not applied: bad values are read, too"
        shape.remark = "; ".join(filter(None, (shape.remark, one)))


def _members(items: Items, columns: dict[Path, list[Any]], clock: Clock | None) -> list[Path]:
    """Return the paths of the channels within the items; of a value in an object of its own, the object's."""
    inner = _inner_paths(items)
    single = set(single_qualities(columns))
    mine = {path: _given(column) for path, column in columns.items() if path in inner and path not in single}
    if clock is not None:
        mine = {
            path: given for path, given in mine.items() if path not in clock.paths and not clock.near(columns[path])
        }
    mine = {path: given for path, given in mine.items() if not _is_about_message(path, given)}

    # Where most numbers are texts, texts that vary are measurements.
    texts = sum(_share_numeric(given, texts=True) > _NUMERIC for given in mine.values())
    numbers = sum(_share_numeric(given, texts=False) > _NUMERIC for given in mine.values())
    as_texts = texts > 2 * numbers and any(
        re.search("[.,]", str(each)) for given in mine.values() for each in given[:20]
    )
    return [path for path, given in mine.items() if _share_numeric(given, texts=as_texts and _vary(given)) > _NUMERIC]


def _table(found: list[Path], count: dict[Path, int]) -> tuple[Path, str | None]:
    """Return the object that holds nearly all channels, and the name of the value where each channel is an object.

    `found` becomes the paths of the channels, `count` has the values of each.
    """
    lasts = Counter(path[-1] for path in found if len(path) > 1 and plain(path[-1]) in VALUES)
    value_name = None
    if lasts:
        name, times = lasts.most_common(1)[0]
        if times >= _NUMERIC * len(found):
            value_name = name
            count = {path[:-1]: count[path] for path in found if len(path) > 1 and path[-1] == name}
            found[:] = list(count)

    total = sum(count[path] for path in found)
    at: Path = ()
    while True:
        heads: Counter[str] = Counter()
        for path in found:
            if path[: len(at)] == at and len(path) > len(at) + 1:
                heads[path[len(at)]] += count[path]
        if not heads:
            return at, value_name
        name, times = heads.most_common(1)[0]
        if times < PRESENT * total:
            return at, value_name
        at = (*at, name)


def _with_own(own: Clock, clock: Clock | None, items: int) -> Clock:
    """Return the clock of members with times of their own, and of items where a member has none."""
    own.times = clock.times if clock is not None else [None] * items
    if clock is not None and clock.unit == own.unit and clock.place not in own.place.split("|"):
        own.place = f"{own.place}|{clock.place}"
        own.paths += clock.paths
    return own


def _own_fields(items: Items, inside: Sequence[Path], now: int) -> Clock | None:
    """Return the clock of members that have a time of their own."""
    return find_clock(_of_members(items, inside), None, now)


def _of_members(items: Items, inside: Sequence[Path]) -> dict[Path, list[Any]]:
    """Return the fields of members that are objects, by path, for some of the items."""
    found: dict[Path, list[Any]] = {}
    count = 0
    for chain in items.chain[:: max(1, len(items) // _INNER)]:
        for path in inside:
            holder = _walk(chain[0], path)
            if not isinstance(holder, dict):
                continue
            for name, value in holder.items():
                flat = value.items() if isinstance(value, dict) else [(None, value)]
                for inner, each in flat:
                    if not isinstance(each, dict | list):
                        key = (name,) if inner is None else (name, inner)
                        found.setdefault(key, [None] * count).append(each)
            count += 1
            for held in found.values():
                held.extend([None] * (count - len(held)))
    return found


def _walk(item: Any, path: Path) -> Any:
    for step in path:
        if not isinstance(item, dict):
            return None
        item = item.get(step)
    return item


def _ignored(
    columns: dict[Path, list[Any]], at: Path, inside: Sequence[Path], clock: Clock, shape: Shape
) -> tuple[str, ...]:
    """Return the members of the table that would be read as channels but are none."""
    found = []
    channels = set(inside)
    for path, column in columns.items():
        if path[: len(at)] != at or len(path) == len(at) or path in clock.paths or path == shape.quality:
            continue
        if any(path[:length] in channels for length in range(len(at) + 1, len(path) + 1)):
            continue
        if _share_numeric(_given(column), texts=shape.texts) > 0:
            container = plain(path[len(at)]) in CONTAINERS and len(path) > len(at) + 1
            found.append(f"{path[len(at)]}.*" if container else ".".join(path[len(at) :]))
    return tuple(dict.fromkeys(re.sub(r"([?\[])", r"[\1]", name) for name in found))


# Values


def _given(column: Sequence[Any]) -> list[Any]:
    return [value for value in column if value is not None]


def _share_numeric(given: Sequence[Any], *, texts: bool = True) -> float:
    """Return the share of values that are numbers, or true and false."""
    if not given:
        return 0.0
    numbers = sum(
        isinstance(value, int | float) or (texts and isinstance(value, str) and number_of(value) is not None)
        for value in given
    )
    return numbers / len(given)


def _as_texts(given: Sequence[Any]) -> bool:
    """Return whether most of the values that are texts are numbers, and texts are usual."""
    texts = [value for value in given if isinstance(value, str)]
    numbers = sum(number_of(text) is not None for text in texts)
    return len(texts) > 0.2 * len(given) and numbers > _NUMERIC * len(texts)


def _vary(given: Sequence[Any]) -> bool:
    """Return whether texts are measurements: they vary, or have decimals."""
    return (
        any(isinstance(each, str) and re.search(r"[.,]", each) for each in given[:50]) or len(set(map(str, given))) > 20
    )


def is_meta(path: Path) -> bool:
    """Return whether a field is about the message, by its name."""
    marked = len(path) == 1 and path[0].startswith(("__", "@", "$"))
    return marked or plain(path[-1]) in META or any(plain(each) in CONTAINERS for each in path[:-1])


def _is_about_message(path: Path, given: Sequence[Any]) -> bool:
    """Return whether a field is no channel. A number with a fraction is one, unless its place says otherwise."""
    fraction = any(isinstance(each, float) and each % 1 for each in given[:200])
    if fraction and len(path) == 1 and not path[0].startswith(("__", "@", "$")):
        return False
    return is_meta(path) or is_name(path, given) or _counts_messages(given)


def is_name(path: Path, given: Sequence[Any]) -> bool:
    """Return whether a number is a name: it is called as assets are, or as an id, and is a whole number."""
    words = words_of(path[-1])
    called = rank(path[-1], ASSETS) < len(ASSETS) or (len(words) > 1 and words[-1] in {"id", "nr", "no", "number"})
    return called and all(isinstance(each, int) and not isinstance(each, bool) for each in given)


def _counts_messages(given: Sequence[Any]) -> bool:
    """Return whether a field counts the messages: each is one more than the one before."""
    some = given[:2000]
    if len(some) < 20 or not all(type(each) is int for each in some):
        return False
    steps = [later - earlier for earlier, later in pairwise(some)]
    return steps.count(1) >= PRESENT * len(steps)
