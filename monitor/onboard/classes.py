"""Classes of machines in a sample: machines with the same channels, of one group where the messages name groups.

Each class gets a detector of its own, chosen by the first of these that tells it from all others: its groups, a glob of
its machines' names, or the list of these names.

Two machines are of one class if three fifths of their channels are the same, or all but one. So a machine that lacks a
sensor or two stays with its sisters. A machine of which the sample has few readings may have shown only some of its
channels: it belongs where these are known.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec
import numpy as np

from monitor.core.decode.decode import decode
from monitor.core.decode.format import MEASURED, Format
from monitor.core.decode.parsers.line_grammar import Bad, Scanner
from monitor.core.records import Bools, Message
from monitor.onboard.pace import Table

MOST_CLASSES = 8  # more are kinds that the channels do not tell apart, such as a row of single machines
_SAME = 0.6  # of the channels of two machines together
_SEEN = 3  # readings for each channel of a class, from which a machine has shown its channels
_KNOWN = 0.8  # of the channels of a machine with fewer readings
_LOOKED_AT = 200  # messages of each run, for places of groups
_MOST_GROUPS = 50  # a place with more has names of machines, or texts
_LONGEST = 48  # characters of a name
_NAME = re.compile("[^A-Za-z0-9._-]+")
_decode = msgspec.json.Decoder().decode


class Machines(NamedTuple):
    """A class of machines, and what chooses it."""

    name: str
    assets: tuple[str, ...]
    groups: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()  # of assets
    others: bool = False  # machines that are not alike, for lack of a better place


class Division(NamedTuple):
    """The classes of a sample, the largest first, and where the messages name their groups; empty = by names."""

    classes: tuple[Machines, ...]
    group: str = ""


def divide(runs: Sequence[Sequence[Message]], table: Table, form: Format, now: int) -> Division:
    """Return the classes of the machines in a sample; one alone if they are alike, or all different."""
    alike = _alike(table, _groups(runs, form, now) if form.group else {})
    members = _bounded(alike)
    rest = len(members) < len(alike)
    if len(members) < 2:
        return Division((Machines("", table.assets),), form.group)

    names = [tuple(sorted(table.assets[asset] for asset in each)) for each in members]
    for place in [form.group] if form.group else _places(runs, form):
        groups = _telling(names, _groups(runs, replace(form, group=place), now))
        if groups is not None:
            return Division(tuple(_titled(names, groups, rest=rest)), place)
    return Division(tuple(_titled(names, None, rest=rest)), form.group)


# Which machines are alike


def _alike(table: Table, groups: Mapping[str, Counter[str]]) -> list[list[int]]:
    """Return the assets of each class, the largest first."""
    A, C = len(table.assets), len(table.channels)
    has: Bools = np.zeros((A, C), np.bool_)
    has[table.asset, table.channel] = True
    readings = np.bincount(table.asset, minlength=A)
    usual = [
        max(each, key=lambda name: (each[name], name)) if (each := groups.get(name)) else "" for name in table.assets
    ]

    # Machines with most channels first: a class is known before those that show less of it come.
    classes: list[list[int]] = []
    for asset in sorted(range(A), key=lambda each: (-int(has[each].sum()), each)):
        of_group = [each for each in classes if usual[each[0]] == usual[asset]]
        best = max(of_group, key=lambda each: _likeness(has, each, asset, int(readings[asset])), default=None)
        if best is not None and _likeness(has, best, asset, int(readings[asset])) > 0:
            best.append(asset)
        else:
            classes.append([asset])
    return sorted((sorted(each) for each in classes), key=lambda each: (-len(each), each))


def _usual(groups: Counter[str]) -> str:
    return max(groups, key=lambda name: (groups[name], name), default="")


def _likeness(has: Bools, members: Sequence[int], asset: int, readings: int) -> float:
    """Return the share of channels that an asset shares with a class; 0 if it is of another one."""
    core, own = 2 * has[list(members)].sum(0) >= len(members), has[asset]
    both, either = int((core & own).sum()), int((core | own).sum())
    few = readings < _SEEN * core.sum() and both >= _KNOWN * own.sum()
    return both / either if both and (both >= _SAME * either or either - both <= 1 or few) else 0.0


def _bounded(members: list[list[int]]) -> list[list[int]]:
    """Return at most MOST_CLASSES, the last one with all that are in no other; one if none has two machines."""
    if len(members) <= MOST_CLASSES:
        return members
    several = [each for each in members if len(each) > 1][: MOST_CLASSES - 1]
    rest = [asset for each in members if each not in several for asset in each]
    return [*several, sorted(rest)]


# What tells classes apart


def _groups(runs: Sequence[Sequence[Message]], form: Format, now: int) -> dict[str, Counter[str]]:
    """Return the readings of each asset by group."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for run in runs:
        readings, _ = decode(run, form, now)
        if readings.group is None:
            continue
        pairs = readings.asset.astype(np.int64) * len(readings.groups) + readings.group
        for pair, count in zip(*(each.tolist() for each in np.unique(pairs, return_counts=True)), strict=True):
            asset, group = divmod(pair, len(readings.groups))
            found[readings.assets[asset]][readings.groups[group]] += count
    return found


def _telling(names: Sequence[Sequence[str]], groups: Mapping[str, Counter[str]]) -> list[tuple[str, ...]] | None:
    """Return the groups of each class; None if a group is empty, or has machines of two classes, or one is a name."""
    of_class = [sorted({group for asset in each for group in groups.get(asset, ())}) for each in names]
    every = [group for each in of_class for group in each]
    if "" in every or not all(of_class) or len(set(every)) < len(every) or len(every) > _MOST_GROUPS:
        return None
    # As many groups as machines are names of machines.
    machines = sum(map(len, names))
    return [tuple(each) for each in of_class] if len(every) < machines or len(every) == len(names) else None


def _places(runs: Sequence[Sequence[Message]], form: Format) -> Iterator[str]:
    """Yield places where the messages may name groups, those first that the classes have in most plants."""
    some = [message for run in runs for message in run[:_LOOKED_AT] if message.value]
    names: Counter[str] = Counter()
    if form.kind in MEASURED:
        for message in some:
            names.update(set(_tags(form, message)))
        own = {form.asset_tag, form.channel_tag, form.quality}
        yield from (f"tag:{name}" for name in _by_meaning(names) if name not in own)
        yield "measurement:"
    elif form.kind != "csv":
        for message in some:
            names.update(set(_texts(message)))
        own = {form.asset, form.channel, form.timestamp, form.value, form.values, form.quality}
        plain = (name for name in _by_meaning(names) if name not in own)
        yield from (name for name in plain if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name))


_MEANT = re.compile(r"(class|kind|type|category|family)$", re.IGNORECASE)


def _by_meaning(names: Mapping[str, int]) -> list[str]:
    """Return the names that all messages have, those that mean a class first; at most ten."""
    return sorted(names, key=lambda name: (not _MEANT.search(name), -names[name], name))[:10]


def _tags(form: Format, message: Message) -> Iterator[str]:
    """Yield the tags of a message of Telegraf."""
    value = message.value or b""
    if form.kind == "telegraf_json":
        for metric in _metrics(value):
            tags = metric.get("tags") if isinstance(metric, dict) else None
            yield from tags if isinstance(tags, dict) else ()
        return
    scanner = Scanner(value.decode(errors="replace"))
    try:
        while scanner.more():
            yield from scanner.head()[1]
            scanner.rest()
    except Bad:
        return


def _metrics(value: bytes) -> Sequence[Any]:
    tree = _tree(value)
    metrics = tree.get("metrics", [tree]) if isinstance(tree, dict) else []
    return metrics if isinstance(metrics, list) else []


def _texts(message: Message) -> Iterator[str]:
    """Yield the members of a message, and of the first item of each array in it, that are texts."""
    tree = _tree(message.value or b"")
    for node in [tree, *(tree.values() if isinstance(tree, dict) else ())]:
        item = node[0] if isinstance(node, list) and node else node
        if isinstance(item, dict) and (item is tree or isinstance(node, list) or tree is node):
            yield from (name for name, value in item.items() if isinstance(value, str))


def _tree(value: bytes) -> Any:
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


# Names


def _titled(
    names: Sequence[tuple[str, ...]], groups: Sequence[tuple[str, ...]] | None, *, rest: bool
) -> Iterator[Machines]:
    """Yield the classes with their names, which are different; `rest` = the last one has what is in no other."""
    taken: set[str] = set()
    everyone = [name for each in names for name in each]
    for at, mine in enumerate(names):
        stem = _stem(mine)
        others = rest and at == len(names) - 1
        text = "others" if others else groups[at][0] if groups and len(groups[at]) == 1 else stem
        plain = _NAME.sub("-", text).strip("-._")[:_LONGEST] or f"class-{at + 1}"
        name = plain if plain not in taken else f"class-{at + 1}"
        taken.add(name)
        if groups:
            yield Machines(name, mine, groups=groups[at], others=others)
            continue
        glob = f"{stem}*"
        fits = bool(stem) and {each for each in everyone if fnmatchcase(each, glob)} == set(mine)
        yield Machines(name, mine, globs=(glob,) if fits else mine, others=others)


def _stem(names: Sequence[str]) -> str:
    """Return what the names begin with, without numbers and parts of words at its end; empty = nothing."""
    first, last = min(names), max(names)
    size = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    stem = first[:size].rstrip("0123456789")
    if size < len(first) and stem and stem[-1].isalpha() and any(each[len(stem) :][:1].isalpha() for each in names):
        stem = stem[: max(stem.rfind(mark) for mark in "._:/-") + 1]  # "press" of "press-1" and "pressure-2" is no word
    return stem
