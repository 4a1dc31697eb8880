"""Splits names that hold asset and channel in one text: `ns=2;s=Line3.P1.flow`, `Hall A/P1/flow`, `P1_flow`.

The names of a plant repeat: the last part (`flow`) comes under several prefixes (`P1`, `P2`), and the parts that all
names share (`Line3`) tell nothing apart. Parts that vary are never dropped, so two names never become one.

Where several cuts are possible, the finest one counts: the one with the longest prefix. A prefix that is no machine
(`Pump1.Motor` beside `Pump1.Bearing`) shows in two ways: few of the last parts come under most prefixes, and its last
part is a word, while machines are numbered.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

REPEAT = 0.8  # share of the names whose channel must come under two assets
_DENSE = 0.9  # of the densest cut: a finer one must fill as much of its table of assets and channels
_STRICT = 0.9  # density from which a cut is certain
_SIGNS = ("./|:;=\\", "./|:;=\\_- ")  # that part names; the second set only where the first one finds nothing


@dataclass(frozen=True, slots=True)
class Split:
    """A way to read names."""

    pattern: str  # with the groups asset, channel, or both
    parts: dict[str, tuple[str, str]]  # name -> asset and channel; "" = no such part
    certain: bool = False  # numbered assets that have nearly all channels each

    @property
    def assets(self) -> int:
        return len({asset for asset, _ in self.parts.values()})


@dataclass(frozen=True, slots=True)
class _Cut:
    """Names as parts. The first `head` parts are the same in all names, as are the last `tail`."""

    signs: str  # that occur between the parts that differ, escaped
    names: Sequence[str]
    parts: Sequence[list[str]]  # part, sign, part, …
    head: int
    tail: int


def split(names: Iterable[str]) -> Split | None:
    """Return the way to read asset and channel from `names`; None if no last part repeats under two prefixes."""
    distinct = sorted(set(names))
    for signs in _SIGNS:
        cut = _cut(distinct, signs)
        found = _best(cut) if cut is not None else None
        if found is not None:
            return found
    return None


def single(names: Iterable[str]) -> Split | None:
    """Return the way to read names that differ in their last part only: one asset, named by the part before."""
    distinct = sorted(set(names))
    cut = _cut(distinct, _SIGNS[0])
    if cut is None or cut.head < 1 or any(len(parts) < 2 * cut.head + 1 for parts in cut.parts):
        return None

    lead = 2 * cut.head - 2  # of parts and signs before the asset
    literal = re.escape("".join(cut.parts[0][:lead]))
    sign = re.escape(cut.parts[0][2 * cut.head - 1])
    pattern = f"^{literal}(?P<asset>[^{cut.signs}]+){sign}(?P<channel>.+)$"
    return _read(pattern, distinct)


def asset_only(names: Iterable[str]) -> Split | None:
    """Return the way to read the asset from names in which nothing else varies; None if the whole name must do."""
    distinct = sorted(set(names))
    cut = _cut(distinct, _SIGNS[0])
    if cut is None or len(distinct) < 2 or cut.head + cut.tail == 0:
        return None
    before = "".join(cut.parts[0][: 2 * cut.head])
    after = "".join(cut.parts[0][len(cut.parts[0]) - 2 * cut.tail :])
    pattern = f"^{re.escape(before)}(?P<asset>.+){re.escape(after)}$"
    return _read(pattern, distinct)


def numbered(names: Iterable[str]) -> bool:
    """Return whether nearly all names have a digit, as machines do."""
    distinct = set(names)
    return sum(any(letter.isdigit() for letter in name) for name in distinct) >= REPEAT * len(distinct)


def _cut(names: Sequence[str], signs: str) -> _Cut | None:
    if not names:
        return None
    parts = [re.split(f"([{re.escape(signs)}])", name) for name in names]
    shortest = min(map(len, parts))
    if shortest < 3:
        return None

    head = 0
    while 2 * head + 1 < shortest and len({tuple(each[: 2 * head + 2]) for each in parts}) == 1:
        head += 1
    tail = 0
    while 2 * (head + tail) + 2 < shortest and len({tuple(each[-2 * tail - 2 :]) for each in parts}) == 1:
        tail += 1
    inner = {sign for each in parts for sign in each[2 * head + 1 :: 2]} or {parts[0][2 * head - 1]}
    return _Cut("".join(map(re.escape, sorted(inner))), names, parts, head, tail)


def _best(cut: _Cut) -> Split | None:
    """Return the best of the cuts at each place behind the parts that all names share."""
    shortest = (min(map(len, cut.parts)) + 1) // 2
    last = shortest - max(1, cut.tail + (cut.tail > 0 and _varying(cut) > 1))
    literal = re.escape("".join(cut.parts[0][: 2 * cut.head]))
    part, sign = f"[^{cut.signs}]+", cut.signs if len(cut.signs.replace("\\", "", 1)) == 1 else f"[{cut.signs}]"
    patterns = []
    for end in range(cut.head + 1, last + 1):
        inner = "".join(f"{sign}{part}" for _ in range(end - cut.head - 1))
        patterns.append(f"^{literal}(?P<asset>{part}{inner}){sign}(?P<channel>.+)$")
    if len(set(map(len, cut.parts))) > 1:
        patterns.append(f"^{literal}(?P<asset>.+){sign}(?P<channel>{part})$")

    found = [each for pattern in patterns if (each := _read(pattern, cut.names)) is not None and _repeats(each)]
    found += [each for one in patterns if (each := _turned(one, cut)) is not None]
    if not found:
        return None
    densest = max(map(_density, found))
    good = [each for each in found if _machines(each, cut) or _density(each) >= _DENSE * densest]
    best = max(good, key=lambda each: (_channels_are_words(each), each.assets))
    best = _without_middle(best, cut)
    certain = _density(best) >= _STRICT and _machines(best, cut) and _share_repeating(best) == 1
    return Split(best.pattern, best.parts, certain)


def _without_middle(found: Split, cut: _Cut) -> Split:
    """Return the reading without a part that all channels begin with, such as `_historian` in `P1._historian.flow`."""
    while True:
        heads = {re.split(f"([{cut.signs}])", channel, maxsplit=1)[0] for _, channel in found.parts.values()}
        begin = next(iter(heads))
        rest = {channel[len(begin) :] for _, channel in found.parts.values()}
        signs = {each[:1] for each in rest}
        if len(heads) > 1 or "" in signs or len(signs) > 1 or "(?P<channel>.+)$" not in found.pattern:
            return found
        literal = re.escape(begin + next(iter(signs)))
        shorter = _read(found.pattern.replace("(?P<channel>.+)$", f"{literal}(?P<channel>.+)$"), cut.names)
        if shorter is None:
            return found
        found = shorter


def _varying(cut: _Cut) -> int:
    """Return how many parts vary, 2 standing for more."""
    middles = [tuple(each[2 * cut.head : len(each) - 2 * cut.tail : 2]) for each in cut.parts]
    return 1 if all(len(middle) == 1 for middle in middles) else 2


def _turned(pattern: str, cut: _Cut) -> Split | None:
    """Return the reading of names such as `FT-101`, whose number is the machine and whose letters are the channel."""
    turned = pattern.replace("<asset>", "<other>").replace("<channel>", "<asset>").replace("<other>", "<channel>")
    found = _read(turned, cut.names)
    if found is None or not _repeats(found):
        return None
    digits = all(asset.isdigit() for asset, _ in found.parts.values())
    return found if digits and _channels_are_words(found) else None


def _read(pattern: str, names: Sequence[str]) -> Split | None:
    """Return the names read by `pattern`; None if it does not match all of them."""
    ask: Callable[[str], re.Match[str] | None] = re.compile(pattern).match
    parts = {}
    for name in names:
        match = ask(name)
        if match is None:
            return None
        groups = match.groupdict()
        parts[name] = (groups.get("asset", ""), groups.get("channel", ""))
    return Split(pattern, parts)


def _share_repeating(found: Split) -> float:
    under = Counter(channel for _, channel in found.parts.values())
    return sum(under[channel] > 1 for _, channel in found.parts.values()) / len(found.parts)


def _repeats(found: Split) -> bool:
    return found.assets > 1 and _share_repeating(found) >= REPEAT


def _density(found: Split) -> float:
    channels = len({channel for _, channel in found.parts.values()})
    return len(found.parts) / (found.assets * channels)


def _channels_are_words(found: Split) -> bool:
    return not all(channel.isdigit() for _, channel in found.parts.values())


def _machines(found: Split, cut: _Cut) -> bool:
    """Return whether the last part of the assets is numbered, and the same words come with several numbers."""
    lasts = {re.split(f"[{cut.signs}]", asset)[-1] for asset, _ in found.parts.values()}
    stems = Counter(re.sub(r"\d+", "#", last) for last in lasts)
    uneven = len({len(re.split(f"[{cut.signs}]", asset)) for asset, _ in found.parts.values()}) > 1
    return not uneven and numbered(lasts) and (len(lasts) == 1 or max(stems.values()) > 1)
