"""Any JSON -> points, by the places of a field map (`kind = "json"`).

A message is decoded into plain objects, and `each` leads to its items. An item holds a table of channels or is one
reading. Only syntax rejects a message at once. An item without time or asset is skipped and counted if another item of
its message is read; otherwise the message is rejected with the first such error. What is absent was not measured: a
message without items, tables or values is empty.

Most messages of a topic look alike. So the channels of a table are found once per row of names and batch, and an item
whose places are plain names is read without look-ups.
"""

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from monitor.core.decode.format import DecodeError, Format, ParsedMessages, Skip, Sources, place, shown
from monitor.core.decode.group import group_name
from monitor.core.decode.mapped.field_map import FieldMap, field_map
from monitor.core.decode.mapped.glance import PLAIN, Around, Glance, Layouts, Matches, Pick, name_of, source_of
from monitor.core.decode.mapped.places import BROKER, Names, Scopes, Step, walk
from monitor.core.decode.parsers.from_json import CONSTANT, REFUSED, member_of
from monitor.core.decode.parsers.json_errors import explain
from monitor.core.decode.parsers.members import Members
from monitor.core.decode.quality import Qualities
from monitor.core.decode.times import WithNanos
from monitor.core.records import Message

_DEEPEST_TABLE = 8  # objects within a table
_DEEPEST = 48  # objects that are opened to find a bad member: those of the places, and of a table
_decode = msgspec.json.Decoder().decode
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_arrays = msgspec.json.Decoder(list[msgspec.Raw]).decode


def parse_mapped(messages: Sequence[Message], form: Format, errors: dict[int, DecodeError]) -> ParsedMessages:
    """Return the points of messages of any JSON."""
    reader = _Reader(form)
    reader.read_all(_trees(messages, errors), messages, errors)

    points = reader.points
    if not set(map(type, points.value)) <= {float, int, type(None)}:
        Members(form, points).mend(points.value, points.channel, 0, len(points.value))
    return points


def _trees(messages: Sequence[Message], errors: dict[int, DecodeError]) -> Iterator[tuple[int, Any]]:
    """Yield the messages that are JSON, as plain objects, by index. Errors are added for the others.

    One at a time: a batch of plain objects at once would make the garbage collector search them again and again.
    """
    for row, message in enumerate(messages):
        if row not in errors:
            value = message.value or b""
            try:
                tree = _decode(value)
            except REFUSED:
                tree = _by_member(value)
                if isinstance(tree, DecodeError):
                    errors[row] = tree
                    continue
            yield row, tree


def _by_member(value: bytes) -> Any:
    """Return a message with members that are no JSON values as plain objects, or the error of a message that is none.

    Such a member becomes the reason why it is skipped.
    """
    try:
        return _tree(value, _DEEPEST)
    except REFUSED as error:
        mended = CONSTANT.sub(lambda match: match[1] or b"1e999", value)
        if mended == value:
            return explain(value, error)
        try:
            return _tree(mended, _DEEPEST)
        except REFUSED as worse:
            return explain(mended, worse)


def _tree(raw: Any, depth: int) -> Any:
    first = bytes(raw).lstrip(b" \t\r\n")[:1] if depth == _DEEPEST else bytes(memoryview(raw)[:1])
    if first not in {b"{", b"["}:
        try:
            return _decode(raw)  # whole numbers stay whole: a time in ns has more digits than a float
        except REFUSED:
            if depth == _DEEPEST:
                raise
            return member_of(raw)
    if not depth:
        return Skip.NESTED
    if first == b"[":
        return [_tree(each, depth - 1) for each in _arrays(raw)]
    return {name: _tree(each, depth - 1) for name, each in _objects(raw).items()}


class _Reader:
    """Reads the messages of one batch one after the other."""

    def __init__(self, form: Format) -> None:
        self.points = ParsedMessages()
        self._form = form
        self._map: FieldMap = field_map(form)
        self._codes = self.points.codes
        self._qualities = Qualities(form.qualities, form.uncertain)
        self._judges = bool(form.quality or form.patterns)  # qualities
        self._matches = Matches(self._map.searches)
        self._layouts: Layouts = {}

        shortcut = self._map.shortcut
        groups = {name for search in self._map.searches for name in search.groups}
        renames = groups & {"asset", "channel"} and (not form.values or self._map.by_member)
        self._sources = Sources(self.points) if renames else None
        self._glance = (
            None
            if shortcut is None
            else Glance(
                shortcut, self.points, self._matches, self._qualities, sources=self._sources, group=self._map.group
            )
        )

        self._message = Message(("", 0), 0, None, None, 0)  # type: ignore[arg-type]
        self._row = 0
        self._part = -1
        self._error: DecodeError | None = None  # the first one of the message
        self._lost = 0  # values of items with an error
        self._with_extra: tuple[int, set[str]] = -1, set()  # the last point that has extra channels, and these

    def read_all(
        self, trees: Iterable[tuple[int, Any]], messages: Sequence[Message], errors: dict[int, DecodeError]
    ) -> None:
        """Add the points of all messages, and an error for each message that is rejected."""
        glance = None if self._map.each or self._map.by_member else self._glance
        tables = bool(self._map.tables)
        for row, tree in trees:
            message = messages[row]
            if glance is not None and (
                glance.table(row, message, tree, self._layouts) if tables else glance.message(row, message, tree)
            ):
                continue
            error = self.read(row, message, tree)
            if error is not None:
                errors[row] = error

    def read(self, row: int, message: Message, tree: Any) -> DecodeError | None:
        """Add the points of a message. Return the error of a message that has none because of it."""
        self._begin(row, message)
        before = len(self.points.row)
        steps = self._map.each
        if type(tree) is not dict and (type(tree) is not list or not steps or steps[0].kind != "elements"):
            cure = ', or format.each to begin with "[]"' if type(tree) is list else ""
            return DecodeError("WrongType", "", f"found {_seen(tree)}, expected an object{cure}")
        if steps:
            self._walk(tree, steps, (), ())
        else:
            self._item(tree, (), ())

        if self._error is None:
            return None
        if len(self.points.row) == before:
            return self._error
        self.points.skipped[Skip.ITEM] += self._lost
        return None

    def _begin(self, row: int, message: Message) -> None:
        self._row, self._message, self._error, self._lost, self._part = row, message, None, 0, -1

    def _walk(self, node: Any, steps: tuple[Step, ...], scopes: Scopes, names: Names) -> None:
        """Read the items at the end of the steps."""
        if not steps:
            self._part += 1
            self._item(node, scopes, names)
            return

        step, rest = steps[0], steps[1:]
        if step.kind == "elements":
            if not rest and type(node) is list and self._glance is not None and not self._map.tables:
                self._array(self._glance, node, scopes, names)
                return
            for each in node if type(node) is list else [node]:
                self._walk(each, rest, scopes, names)
        elif type(node) is not dict:
            self._lose(node, step.name or "{}", "an object")
        elif step.kind == "member":
            inner = node.get(step.name)
            if inner is not None:
                self._walk(inner, rest, (node, *scopes), names)
        else:
            for name, each in node.items():
                self._walk(each, rest, (node, *scopes), (name, *names))

    def _array(self, glance: Glance, items: list[Any], scopes: Scopes, names: Names) -> None:
        """Read an array of readings, ordinary ones at a glance."""

        def closer(part: int, item: Any) -> None:
            self._part = part
            self._item(item, scopes, names)

        glance.array(Around(self._row, scopes, names, self._message), self._part + 1, items, closer)
        self._part += len(items)

    def _item(self, item: Any, outer: Scopes, names: Names) -> None:
        if type(item) is dict and self._map.tables:
            self._table(item, outer, names)
        elif type(item) is dict:
            self._reading(item, outer, names)
        elif item is not None:
            kinds = {list: Skip.NESTED, str: Skip.TEXT, bool: Skip.BOOLEAN}
            self.points.skipped[item if isinstance(item, Skip) else kinds.get(type(item), Skip.NAME)] += 1

    def _lose(self, found: Any, where: str, expected: str, values: int = 1) -> None:
        """Note that an item cannot be read."""
        self._lost += values
        if self._error is None:
            at = f"item {self._part}: {where}" if self._part >= 0 else where
            if found is None:
                self._error = DecodeError("MissingField", at, f"found nothing at {shown(where)}, expected {expected}")
            else:
                self._error = DecodeError("WrongType", at, f"found {_seen(found)}, expected {expected}")

    # One reading

    def _reading(self, item: dict[str, Any], outer: Scopes, names: Names) -> None:
        scopes = (item, *outer)
        found = self._searched(scopes, names)
        own = name_of(self._map.channel(scopes, names, self._message))
        channel = found.get("channel") or own
        if channel is None:
            self.points.skipped[Skip.NAME] += 1
            return
        self._value(source_of(channel, own or "", found), self._own_value(item), scopes, names, found)

    def _own_value(self, item: dict[str, Any]) -> Any:
        for steps in self._map.value:
            value = item.get(steps[0]) if len(steps) == 1 else walk(item, steps)  # type: ignore[arg-type]
            if value is not None:
                return value
        return None

    def _value(self, source: tuple[str, ...], value: Any, scopes: Scopes, names: Names, found: dict[str, str]) -> None:
        """Add one value of which all is known but asset, time and quality."""
        if value is None:
            self.points.skipped[Skip.NULL] += 1
            return
        if self._judges and not self._good(scopes, names, found):
            self.points.skipped[Skip.QUALITY] += 1
            return
        asset = found.get("asset") or name_of(self._map.asset(scopes, names, self._message))
        if asset is None or (time := self._time(scopes, names, found)) is None:
            self._miss(scopes, names, 1, asset)
            return
        if type(value) in {dict, list}:
            value = Skip.NESTED
        code = self._codes[source[0]] if self._sources is None else self._sources[source]
        self._add(asset, time, self._group(scopes, names), (code,), (value,))
        self._add_extra(scopes, names)

    def _miss(self, scopes: Scopes, names: Names, values: int, asset: str | None) -> None:
        """Note that an item lacks its asset or time."""
        if asset is None:
            raw = self._map.asset(scopes, names, self._message)
            self._lose(raw, place(self._form.asset), "the asset's name", values)
        else:
            raw = self._map.time(scopes, names, self._message)
            self._lose(raw, place(self._form.timestamp), f"a time ({self._form.timestamp_unit})", values)

    def _time(self, scopes: Scopes, names: Names, found: dict[str, str]) -> Any:
        time = found.get("timestamp") or self._map.time(scopes, names, self._message)
        if type(time) not in {int, float, str} and time is not BROKER:
            return None
        if self._map.nanos is not None and time is not BROKER:
            nanos = self._map.nanos(scopes, names, self._message)
            if nanos is not None:
                return WithNanos(time, nanos if type(nanos) in {int, float} else str(nanos))
        return time

    def _good(self, scopes: Scopes, names: Names, found: dict[str, str]) -> bool:
        """Return whether a value counts; of several qualities the worst one does."""
        qualities = self._qualities
        if "quality" in found and not qualities.counts(found["quality"]):
            return False
        for get, inverted in self._map.quality:
            quality = get(scopes, names, self._message)
            if inverted and type(quality) is bool:
                quality = not quality
            if not qualities.counts(quality):
                return False
        return True

    def _searched(self, scopes: Scopes, names: Names) -> dict[str, str]:
        """Return what the groups of the patterns have found, the first pattern first."""
        found: dict[str, str] = {}
        for number, search in enumerate(self._map.searches):
            groups = self._matches.of(number, search.text(scopes, names, self._message))
            found = groups | found if found else groups
        return found

    def _group(self, scopes: Scopes, names: Names) -> str | None:
        """Return the group of an item; None if the items of the map have none."""
        get = self._map.group
        return None if get is None else group_name(get(scopes, names, self._message))

    def _add(self, asset: str, time: Any, group: str | None, codes: Sequence[int], values: Iterable[Any]) -> None:
        """Add values of one asset, time and group, to the last point if it is theirs."""
        points = self.points
        if (
            points.row
            and points.row[-1] == self._row
            and points.asset[-1] == asset
            and (points.untimed[-1:] == [len(points.row) - 1]) == (time is BROKER)
            and points.time[-1] == (0 if time is BROKER else time)
            and (group is None or points.group[-1] == group)
        ):
            points.width[-1] += len(codes)
        else:
            if time is BROKER:
                points.untimed.append(len(points.row))
            points.row.append(self._row)
            points.part.append(self._part)
            points.asset.append(asset)
            points.time.append(0 if time is BROKER else time)
            points.width.append(len(codes))
            if group is not None:
                points.group.append(group)

        points.channel += codes
        points.value += values

    def _add_extra(self, scopes: Scopes, names: Names) -> None:
        """Add the channels outside the values to the last point, if it lacks them.

        Of items with equal times the first one has them.
        """
        points = self.points
        if self._with_extra[0] != len(points.row):
            self._with_extra = len(points.row), set()
        for name, get in self._map.extra:
            value = get(scopes, names, self._message)
            if value is None or name in self._with_extra[1]:
                continue
            self._with_extra[1].add(name)
            code = self._codes[name] if self._sources is None else self._sources[source_of(name, "", {})]
            if code in points.channel[len(points.channel) - points.width[-1] :]:
                continue
            points.width[-1] += 1
            points.channel.append(code)
            found: Any = Skip.NESTED if type(value) in {dict, list} else value
            points.value.append(found)

    # A table of channels

    def _table(self, item: dict[str, Any], outer: Scopes, names: Names) -> None:
        table = next((each for steps in self._map.tables if (each := walk(item, steps)) is not None), None)
        if table is None:
            return
        if type(table) is not dict:
            self._lose(table, place(self._form.values), "an object of channels")
            return

        scopes = (item, *outer)
        if self._map.by_member or not PLAIN.issuperset(map(type, table.values())):
            self._members(table, "", scopes, names, _DEEPEST_TABLE)
            return

        # All channels have the item's own asset, time and quality.
        keys = tuple(table)
        codes, pick = self._layouts.get(keys) or self._layout(keys)
        values = table.values() if pick is None else pick(table)
        if self._judges:
            found = self._searched(scopes, ("", *names))
            if not self._good(scopes, ("", *names), found):
                self.points.skipped[Skip.QUALITY] += len(codes) - list(values).count(None)
                return
        else:
            found = {}
        asset = found.get("asset") or name_of(self._map.asset(scopes, ("", *names), self._message))
        if asset is None or (time := self._time(scopes, ("", *names), found)) is None:
            self._miss(scopes, ("", *names), len(codes), asset)
            return
        self._add(asset, time, self._group(scopes, ("", *names)), codes, values)
        self._add_extra(scopes, ("", *names))

    def _layout(self, keys: tuple[str, ...]) -> tuple[list[int], Pick | None]:
        """Return the codes of a table's channels, and what picks their values; None = all are channels."""
        kept = [name for name in keys if self._is_channel(name)]
        codes = [self._codes[name] for name in kept]
        pick: Pick | None = None
        if len(kept) < len(keys):
            pick = operator.itemgetter(*kept) if len(kept) > 1 else _picked(kept)
        self._layouts[keys] = codes, pick
        return codes, pick

    def _is_channel(self, name: str) -> bool:
        ignored = self._map.ignored
        return name not in self._map.own and (ignored is None or not ignored.fullmatch(name))

    def _members(self, table: dict[str, Any], prefix: str, scopes: Scopes, names: Names, depth: int) -> None:
        """Add the members of a table one by one; an object is a value with its own time, or a table itself."""
        for name, value in table.items():
            channel = f"{prefix}{name}"
            if not self._is_channel(channel) or (prefix and name in self._map.inside):
                continue

            if type(value) is not dict:
                self._member(channel, value, scopes, names)
            elif self._is_value(value):
                self._member(channel, self._own_value(value), (value, *scopes), names)
            elif depth:
                self._members(value, f"{channel}.", (value, *scopes), names, depth - 1)
            else:
                self.points.skipped[Skip.NESTED] += 1

    def _member(self, channel: str, value: Any, scopes: Scopes, outside: Names) -> None:
        names = (channel, *outside)
        found = self._searched(scopes, names)
        self._value(source_of(found.get("channel") or channel, channel, found), value, scopes, names, found)

    def _is_value(self, member: dict[str, Any]) -> bool:
        """Return whether an object in a table is one value, not a table of its own."""
        return any(steps[0] in member for steps in self._map.value)


def _picked(names: list[str]) -> Pick:
    return lambda table: [table[name] for name in names]


def _seen(found: Any) -> str:
    """Return what was found, for an error."""
    if isinstance(found, Skip):
        return f"a value that cannot be read ({found})"
    if found is None or isinstance(found, bool):
        return "null" if found is None else str(found).lower()
    return shown(found)
