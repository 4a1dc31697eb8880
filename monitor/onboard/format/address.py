"""Chooses where readings name their asset and their channel: fields, key, topic, headers, members, parts of a text.

The evidence, in this order:

1. Two readings of one channel of one asset at one time are the same reading. A choice under which many coincide that
   another one tells apart is too coarse.
2. A label that changes from reading to reading within one asset and channel tells machines apart, too. A choice that
   leaves such a label out would merge them, even if their times differ.
3. The channels of a class repeat: each comes under several assets.
4. Names. Then the finest choice counts, the one with the most assets.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.core.records import Message
from monitor.onboard.format.clocks import FAR, unit_of_time
from monitor.onboard.format.items import Path, written
from monitor.onboard.format.labels import ASSETS, CHANNELS, COARSE, MACHINES, PRESENT, plain, rank, words_of
from monitor.onboard.format.shape import Shape, is_name
from monitor.onboard.format.tags import Split, asset_only, single, split

_MACHINES = {*MACHINES, "thing"} - {"node"}  # in JSON a node is as often a gateway or a tag of OPC UA
_NEITHER = {"status", "state", "quality", "unit", "units", "uom", "type", "version", "severity", "mode", "level", "msg"}
_NEITHER |= {"message", "batch", "event", "action", "schema", "format", "description", "comment", "timezone", "shift"}
_NEITHER |= {"uuid", "guid", "mid", "seq", "sequence", "revision", "datatype", "apiversion", "schemaversion", "qos"}
_NEITHER |= {"operator", "product", "recipe", "order", "op", "deleted", "error", "alarm", "text", "symbol"}
_SWITCHES = 0.2  # of the neighbours of an asset's channel: a label that changes as often tells machines apart
_LONELY = 0.5  # share of the readings whose channel must come under several assets
_ALIKE = 0.1  # of the variance explained; less is no difference
_HUGE = 1e300
_FEW = 8  # messages, with less nothing is known about numbers of messages
_SOME = 0.1  # share of the readings that must have a label which others lack
_RARE = 0.5  # share of different texts from which a label is a number of the message

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Label:
    """A text of each reading (n,), and its place; None = absent."""

    place: str
    texts: list[str | None]
    name: str = ""  # by which it is ranked
    number: bool = False  # in the message
    pattern: str = ""  # that finds the texts at the place


@dataclass(frozen=True, slots=True)
class Part:
    """A proposal for the asset or for the channel."""

    place: str  # empty = by the pattern
    codes: Codes  # (n,) -1 = absent
    count: int
    label: Label
    known: bool  # by its name
    pattern: tuple[str, str] | None = None
    strong: bool = False  # an asset's own name
    rest: str = ""  # the topic, which stands for readings without the label
    certain: bool = False


@dataclass(slots=True)
class Address:
    """The choice."""

    asset: Part
    channel: Part
    patterns: list[tuple[str, str]] = field(default_factory=list)  # place and regular expression
    reason: str = ""
    coinciding: float = 0.0
    merged_by: str = ""  # a label that would be merged
    same: float = 0.0  # share of the readings with asset, channel and time of an earlier one
    contradicted: float = 0.0  # share of the readings with the time of another one of their channel, and another value


def labels_of(shape: Shape, messages: Sequence[Message]) -> list[Label]:
    """Return the labels of a shape's readings: texts, whole numbers with an asset's name, key, topic and headers."""
    items = shape.items
    used = {*shape.clock.paths, *((shape.quality,) if shape.quality else ())}
    table = shape.table
    found = []
    for path, column in shape.columns.items():
        if (
            path in used
            or path in shape.channels
            or any(path[-len(each) :] == each for each in shape.value if table is None)
        ):
            continue
        texts = _texts(path, column)
        if texts is not None:
            mine = [texts[at] for at in shape.item]
            found.append(Label(written(path), mine, path[-1], number=isinstance(_first(column), int)))

    rows = [items.row[at] for at in shape.item]
    found = [label for label in found if not _counts(label.texts, rows)]
    found += _complements(found)
    for place, every in _outside(messages).items():
        mine = [every[row] for row in rows]
        inner = _members_of_key(mine) if place == "key:" else []
        found += inner or [Label(place, mine)]
    deepest = max((len(names) for names in items.names), default=0)
    for depth in range(deepest):
        texts_ = [items.names[at][depth] if depth < len(items.names[at]) else None for at in shape.item]
        inside = depth + (table is not None)  # the member of the table is the innermost name
        found.append(Label(f"name:{-inside if inside else ''}", texts_))
    return [label for label in found if any(text is not None for text in label.texts)]


def _complements(labels: Sequence[Label]) -> list[Label]:
    """Return pairs of labels that are called as assets are, of which each reading has one."""
    partial = [label for label in labels if rank(label.name, ASSETS) < len(ASSETS) and None in label.texts][:4]
    found = []
    for at, one in enumerate(partial):
        for other in partial[at + 1 :]:
            pairs = list(zip(one.texts, other.texts, strict=True))
            if sum((mine is None) != (their is None) for mine, their in pairs) >= PRESENT * len(pairs):
                texts = [mine if mine is not None else their for mine, their in pairs]
                found.append(Label(f"{one.place}|{other.place}", texts, one.name))
    return found


def _members_of_key(keys: Sequence[str | None]) -> list[Label]:
    """Return the texts in keys that are JSON objects, each with the pattern that finds it."""
    bodies = [_object(key) for key in keys]
    if not all(bodies):
        return []
    names = dict.fromkeys(name for body in bodies for name, value in body.items() if isinstance(value, str))
    found = []
    for name in names:
        pattern = f'"{re.escape(name)}"\\s*:\\s*"(?P<asset>[^"]+)"'
        found.append(Label("key:", [body.get(name) for body in bodies], name, pattern=pattern))
    return found


def _object(key: str | None) -> dict[str, Any]:
    """Return a key's JSON object, or that within its member `payload`; empty if it is none."""
    try:
        body = json.loads(key) if key and key[:1] == "{" else None
    except (ValueError, RecursionError):
        return {}
    inner = body.get("payload") if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) else body if isinstance(body, dict) else {}


def _first(column: Sequence[Any]) -> Any:
    return next((value for value in column if value is not None), None)


def _counts(texts: Sequence[str | None], rows: Sequence[int]) -> bool:
    """Return whether most of the texts belong to one message each."""
    pairs = {(text, row) for text, row in zip(texts, rows, strict=True) if text is not None}
    under = Counter(text for text, _ in pairs)
    return len(set(rows)) >= _FEW and sum(times == 1 for times in under.values()) > _RARE * len(under)


def _texts(path: Path, column: Sequence[Any]) -> list[str | None] | None:
    """Return a field as label; None if it is no text and no whole number that names something."""
    given = [value for value in column if value is not None]
    if given and all(isinstance(value, str) for value in given):
        return None if unit_of_time(given, FAR) is not None else list(column)
    if given and is_name(path, given):
        return [None if value is None else str(value) for value in column]
    return None


def _outside(messages: Sequence[Message]) -> dict[str, list[str | None]]:
    """Return key, topic and headers of the messages, by place."""
    found: dict[str, list[str | None]] = {
        "key:": [_text(message.key) for message in messages],
        "topic:": [message.partition.topic for message in messages],
    }
    for name in sorted({name for message in messages[:200] for name, _ in message.headers}):
        values = [dict(message.headers).get(name) for message in messages]
        found[f"header:{name}"] = [_text(value) for value in values]
    return found


def _text(raw: bytes | None) -> str | None:
    try:
        return (raw or b"").decode() or None
    except UnicodeDecodeError:
        return None


def choose(shape: Shape, messages: Sequence[Message], given: str = "") -> Address | None:
    """Choose asset and channel of a shape's readings; None if nothing can name them. `given` is the asset's place."""
    labels = labels_of(shape, messages)
    times = _codes(list(map(str, shape.times())))
    pairs = list(_pairs(shape, labels, given))
    if not pairs:
        return None

    share = {at: _coinciding(times, asset.codes, channel.codes) for at, (asset, channel) in enumerate(pairs)}
    best = min(share.values())
    explained: dict[int, float] = {}

    def alike(part: Part) -> float:
        """Return the share of the values' variance between the names of a part."""
        if id(part.codes) not in explained:
            explained[id(part.codes)] = _explained(part.codes, ranked)
        return explained[id(part.codes)]

    ranked = _ranks(shape.values)
    separating = [] if given else _separating(labels)

    def order(at: int) -> tuple[object, ...]:
        asset, channel = pairs[at]
        lonely = asset.count > 1 and _repeating(asset.codes, channel.codes) < _LONELY
        merged = bool(_merged(asset, channel, separating))
        alone = asset.count == 1 and not asset.strong
        sure = -1 if (asset.certain and asset.count > 1) or (asset.strong and asset.count > 1) else 0

        swapped = int(rank(asset.label.name, CHANNELS) < len(CHANNELS) and not asset.pattern)
        swapped += rank(channel.label.name, ASSETS) < len(ASSETS) and not channel.pattern
        names = (not asset.known) + (not channel.known) + 2 * swapped
        outside = asset.place.startswith(("key:", "topic:")) or asset.label.place.startswith("topic:")
        names += asset.label.number + channel.label.number

        contrast = round((alike(channel) - alike(asset)) / _ALIKE) if shape.table is None else 0
        ranks = rank(asset.label.name, ASSETS) + rank(channel.label.name, CHANNELS)
        size = -asset.count

        return (
            share[at] > best + COARSE,
            merged,
            lonely,
            alone,
            bool(asset.rest),
            sure,
            names,
            outside,
            -contrast,
            size,
            len(asset.place),
            ranks,
        )

    at = min(range(len(pairs)), key=order)
    asset, channel = pairs[at]
    patterns = list(dict.fromkeys(part.pattern for part in (asset, channel) if part.pattern))
    merged_by = _merged(asset, channel, separating)
    found = Address(asset, channel, patterns, _reason(asset, channel), share[at] - best, merged_by)
    found.same = share[at]
    values = _codes(list(map(str, shape.values)))
    found.contradicted = share[at] - _coinciding(times, asset.codes, channel.codes, values)
    return found


def _ranks(values: Sequence[Any]) -> npt.NDArray[np.float64]:
    """Return the ranks of values, 0 for what is no number."""
    numbers = [float(value) if isinstance(value, int | float) and abs(value) < _HUGE else 0.0 for value in values]
    return np.argsort(np.argsort(numbers, kind="stable"), kind="stable").astype(np.float64)


def _explained(codes: Codes, ranks: npt.NDArray[np.float64]) -> float:
    """Return the share of the variance of ranks between the groups of a label, 0 to 1."""
    _, group = np.unique(codes, return_inverse=True)
    count = np.bincount(group)
    mean = np.bincount(group, ranks) / count
    total = float(ranks.var())
    return float((count * (mean - ranks.mean()) ** 2).sum() / len(ranks)) / total if total else 0.0


def _reason(asset: Part, channel: Part) -> str:
    if asset.pattern and asset.pattern == channel.pattern:
        return "the last part of the name repeats under each asset"
    if asset.pattern:
        return "the part of the name that differs"
    if asset.strong:
        return "its name"
    return "the only label that tells the readings apart" if asset.count > 1 else "one asset only"


def _pairs(shape: Shape, labels: Sequence[Label], given: str) -> Iterable[tuple[Part, Part]]:
    """Yield proposals for asset and channel together."""
    topics = {text for label in labels if label.place == "topic:" for text in label.texts}
    topic = next(iter(topics)) if len(topics) == 1 else ""
    assets = [part for label in labels for part in _assets(label, topic or "")]
    if given:
        assets = [
            Part(given, *_counted(label.texts), label, known=True, strong=True)
            for label in labels
            if label.place == given
        ]

    if shape.table is not None:
        member = Label("name:", list(shape.member))
        whole = Part("", *_counted(member.texts), member, known=True)
        for asset in assets:
            yield asset, whole
        splits = [] if shape.nested else [member]
    else:
        channels = [part for label in labels for part in _channels(label)]
        for asset in assets:
            for channel in channels:
                other = asset.label is not channel.label
                if other and (asset.count == 1 or not np.array_equal(asset.codes, channel.codes)):
                    yield asset, channel
        splits = list(labels)

    for label in splits if not given else ():
        if not label.place.startswith("topic:") and _covers(label):
            yield from _joined(label)


def _joined(label: Label) -> Iterable[tuple[Part, Part]]:
    """Yield asset and channel from one text."""
    names = {text for text in label.texts if text is not None}
    if len(names) > 5000 or len(names) > _RARE * len(label.texts) + 20:
        return
    both = split(names)
    found: list[tuple[Split, bool]] = [(both, both.certain)] if both is not None else []
    lone = single(names) if both is None else None
    if lone is not None:
        found.append((lone, False))
    for each, certain in found:
        pattern = (label.place, each.pattern)
        asset = [each.parts[text][0] if text is not None else None for text in label.texts]
        channel = [each.parts[text][1] if text is not None else None for text in label.texts]
        yield (
            Part("", *_counted(asset), label, known=False, pattern=pattern, certain=certain),
            Part("", *_counted(channel), label, known=True, pattern=pattern),
        )


def _partly(label: Label, codes: Codes, count: int, topic: str) -> Iterable[Part]:
    """Yield a label that only some readings have. The topic stands for the others, which are one asset."""
    some = sum(text is not None for text in label.texts) >= _SOME * len(label.texts)
    if some and count > 1 and topic and topic not in label.texts and label.name:
        whole = np.where(codes < 0, count, codes)
        known, strong = rank(label.name, ASSETS) < len(ASSETS), plain(label.name) in _MACHINES
        yield Part(f"{label.place}|topic:", whole, count + 1, label, known, strong=strong, rest=topic)


def _assets(label: Label, topic: str) -> Iterable[Part]:
    """Yield a label as asset: as it is, and the part of it that differs."""
    codes, count = _counted(label.texts)
    if not _is_label(label, codes, count):
        return
    if not _covers(label):
        yield from _partly(label, codes, count, topic)
        return

    names = {text for text in label.texts if text is not None}
    outside = label.place.startswith(("key:", "topic:", "name:", "header:"))
    strong = plain(label.name) in _MACHINES and bool(label.name)
    known = rank(label.name, ASSETS) < len(ASSETS) or outside
    if label.pattern:
        yield Part("", codes, count, label, known, (label.place, label.pattern), strong=strong)
        return

    part = asset_only(names) if count > 1 and label.place.startswith(("key:", "topic:")) else None
    if part is not None and part.pattern.endswith("(?P<asset>.+)$"):
        part = None  # only a beginning is common: the whole name is as good
    if part is not None:
        pattern = (label.place, part.pattern)
        yield Part("", codes, count, label, known, pattern, strong=strong)
    else:
        yield Part(label.place, codes, count, label, known, strong=strong)


def _channels(label: Label) -> Iterable[Part]:
    codes, count = _counted(label.texts)
    if label.place.startswith("topic:") or not _covers(label) or not _is_label(label, codes, count):
        return
    known = rank(label.name, CHANNELS) < len(CHANNELS)
    yield Part(label.place, codes, count, label, known)


def _covers(label: Label) -> bool:
    return sum(text is not None for text in label.texts) >= PRESENT * len(label.texts)


def _is_label(label: Label, codes: Codes, count: int) -> bool:
    """Return whether a text repeats, and is not about something else by its name."""
    if _is_other(label.name):
        return False
    if any(
        text is not None and (len(text) > 128 or (text[:1] in {"{", "["} and text[-1:] in {"}", "]"}))
        for text in label.texts[:200]
    ):
        return False
    named = bool(label.name) and (rank(label.name, ASSETS) < len(ASSETS) or rank(label.name, CHANNELS) < len(CHANNELS))
    return bool(count) and (count <= max(1, _RARE * len(codes)) or named)


def _counted(texts: Sequence[str | None]) -> tuple[Codes, int]:
    codes = _codes(texts)
    return codes, len(np.unique(codes[codes >= 0]))


def _codes(texts: Sequence[str | None]) -> Codes:
    known: dict[str | None, int] = {None: -1}
    return np.array([known.setdefault(text, len(known) - 1) for text in texts], np.int64)


def _coinciding(times: Codes, *codes: Codes) -> float:
    keys = np.stack([times, *codes])
    return 1 - float(np.unique(keys, axis=1).shape[1]) / max(1, len(times))


def _repeating(asset: Codes, channel: Codes) -> float:
    """Return the share of the different pairs whose channel comes under several assets."""
    pairs = np.unique(np.stack([asset, channel]), axis=1)
    under = Counter(pairs[1].tolist())
    return sum(under[each] > 1 for each in pairs[1].tolist()) / max(1, len(pairs[0]))


def _separating(labels: Sequence[Label]) -> list[tuple[Label, Codes]]:
    """Return labels that may tell machines apart."""
    found = []
    for label in labels:
        codes, count = _counted(label.texts)
        words = set(words_of(label.name))
        if 1 < count <= _RARE * len(codes) and not words & _NEITHER and not _is_other(label.name):
            found.append((label, codes))
    return found


def _is_other(name: str) -> bool:
    """Return whether a text is about something other than asset and channel, by its name."""
    return bool(name) and (plain(name) in _NEITHER or name.startswith(("_", "@", "$")))


def _merged(asset: Part, channel: Part, separating: Sequence[tuple[Label, Codes]]) -> str:
    """Return the place of a label that changes within the readings of an asset's channel; empty = there is none."""
    series = asset.codes * (int(channel.codes.max(initial=0)) + 2) + channel.codes
    order = np.argsort(series, kind="stable")
    same = np.diff(series[order]) == 0
    if not same.any():
        return ""
    for label, codes in separating:
        if label is asset.label or label is channel.label or label.place in asset.label.place.split("|"):
            continue
        mine = codes[order]
        known = same & (mine[1:] >= 0) & (mine[:-1] >= 0)
        if known.any() and (np.diff(mine)[known] != 0).mean() > _SWITCHES:
            return label.place
    return ""
