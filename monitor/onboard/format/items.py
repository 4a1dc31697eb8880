"""Finds where the readings of JSON messages are: arrays, members of objects, or the message itself.

A *level* is a way from the message to its items, as `format.each` writes it: `values[]`, `Messages[].Payloads[]`, `{}`.
`Items` holds the objects of a level over all messages, and the scalars in and around them as columns by path.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]
EACH, MEMBERS = "[]", "{}"
MOST_ITEMS = 20_000  # looked at
_DEEP = 8  # objects within an item, as the decoder flattens them
_LEVELS = 12  # that are tried
_PLAIN_NAME = re.compile(r'[^."\[\]{}|:\s\\]+')


@dataclass(slots=True)
class Items:
    """The items (n,) of a level."""

    level: Path
    row: list[int] = field(default_factory=list)  # index of the message
    chain: list[tuple[dict[str, Any], ...]] = field(default_factory=list)  # objects, innermost first
    names: list[tuple[str, ...]] = field(default_factory=list)  # of members that are items, innermost first

    def __len__(self) -> int:
        return len(self.row)

    def columns(self) -> dict[Path, list[Any]]:
        """Return the scalars by path, each from the innermost object that has it; None = not there."""
        found: dict[Path, list[Any]] = {}
        outer: dict[int, list[tuple[Path, Any]]] = {}
        for at, chain in enumerate(self.chain):
            for depth in range(len(chain) - 1, -1, -1):
                if depth and id(chain[depth]) not in outer:
                    outer[id(chain[depth])] = list(leaves(chain[depth], members=not self.names[at]))
                pairs = outer[id(chain[depth])] if depth else leaves(chain[0])
                for path, value in pairs:
                    column = found.get(path)
                    if column is None:
                        column = found[path] = [None] * len(self)
                    column[at] = value
        return found


def leaves(item: dict[str, Any], *, members: bool = True) -> Iterator[tuple[Path, Any]]:
    """Yield the scalars of an object by path. Without `members`, inner objects are left out."""
    stack: list[tuple[Path, dict[str, Any]]] = [((), item)]
    while stack:
        path, each = stack.pop()
        for name, value in each.items():
            if isinstance(value, dict):
                if members and len(path) < _DEEP:
                    stack.append(((*path, name), value))
            elif not isinstance(value, list):
                yield (*path, name), value


def levels(messages: Sequence[Any]) -> list[Path]:
    """Return the levels that many messages have, the message itself first."""
    count: Counter[Path] = Counter()
    names: dict[Path, set[str]] = {}
    for body in messages:
        for level, members in set(_levels(body, ())):
            count[level] += 1
            if members:
                names.setdefault(level, set()).update(members)

    usual = max(1, len(messages) // 20)
    found = [level for level, times in count.items() if times >= usual]
    found = [level for level in found if MEMBERS not in level or _are_data(level, names, len(messages))]
    return sorted(found, key=lambda level: (len(level), level))[:_LEVELS]


def _levels(body: Any, path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the levels of a message, and for objects whose members are items the members' names."""
    if len(path) > _DEEP:
        return
    if isinstance(body, list):
        for each in body[:4]:
            if isinstance(each, dict):
                yield (*path, EACH), ()
                yield from _inner(each, (*path, EACH))
    elif isinstance(body, dict):
        if not path:
            yield (), ()
        yield from _inner(body, path)


def _inner(item: dict[str, Any], path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    alike = [name for name, value in item.items() if isinstance(value, dict | list) and value]
    shapes = {_shape(item[name]) for name in alike}
    if alike and len(shapes) == 1 and "" not in shapes:
        for name in alike[:4]:
            inner = item[name]
            level = (*path, MEMBERS) if isinstance(inner, dict) else (*path, MEMBERS, EACH)
            yield level, tuple(alike)

    for name, value in item.items():
        if name in {EACH, MEMBERS}:  # cannot be told from a step
            continue
        if isinstance(value, list):
            yield from _levels(value, (*path, name))
        elif isinstance(value, dict) and len(path) < _DEEP:
            yield from _inner(value, (*path, name))


def _shape(value: Any) -> str:
    """Return the names of an object, or of the objects of an array; empty = something without names."""
    if isinstance(value, list):
        value = value[0] if value else None
        return f"[]{_shape(value)}" if isinstance(value, dict) else ""
    if not isinstance(value, dict) or not any(not isinstance(each, dict | list) for each in value.values()):
        return ""
    if any(name.lower() in {"value", "v", "val"} for name in value):  # a value with its own time, in a table
        return ""
    return "\n".join(sorted(value))


def _are_data(level: Path, names: dict[Path, set[str]], messages: int) -> bool:
    """Return whether the members' names are data, not part of the form: there are several."""
    return messages > 0 and len(names.get(level, ())) > 1


def items_of(messages: Sequence[Any], level: Path) -> Items:
    """Return the items of `level` in the parsed messages. A single object where an array may be is one item."""
    found = Items(level)
    each = max(1, len(messages) // MOST_ITEMS)
    for row in range(0, len(messages), each):
        for chain, names in _walk(messages[row], level, (), ()):
            found.row.append(row)
            found.chain.append(chain)
            found.names.append(names)
        if len(found) >= MOST_ITEMS:
            break
    return found


def _walk(
    body: Any, steps: Path, chain: tuple[dict[str, Any], ...], names: tuple[str, ...]
) -> Iterator[tuple[tuple[dict[str, Any], ...], tuple[str, ...]]]:
    if not steps:
        if isinstance(body, dict):
            yield (body, *chain), names
        return

    step, rest = steps[0], steps[1:]
    if step == EACH:
        for each in body if isinstance(body, list) else [body]:
            yield from _walk(each, rest, chain, names)
    elif isinstance(body, dict):
        within = (body, *chain)
        if step == MEMBERS:
            for name, each in body.items():
                if isinstance(each, dict | list):
                    yield from _walk(each, rest, within, (name, *names))
        elif step in body:
            yield from _walk(body[step], rest, within, names)


def written(path: Path) -> str:
    """Return a path as a place: `payload.ts`, `"a.b".c`."""
    return ".".join(step if _PLAIN_NAME.fullmatch(step) else _quoted(step) for step in path)


def written_level(level: Path) -> str:
    """Return a level as `format.each` has it: `Messages[].Payloads[]`."""
    text = ""
    for step in level:
        if step in {EACH, MEMBERS}:
            text += step
        else:
            text += ("." if text else "") + (step if _PLAIN_NAME.fullmatch(step) else _quoted(step))
    return text


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
