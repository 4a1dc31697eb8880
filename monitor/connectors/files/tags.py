"""Tags of a long table -> asset and channel: `P1.flow` is the flow of P1 where other tags of the table agree.

A tag is split at a separator. Tags with a common beginning belong to one asset. If they begin differently, and the
beginnings have the same channels, each beginning is an asset. A table that fits neither is refused.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

SEPARATORS = (".", "/", ":", "\\", "|")
_PARTS = 6  # deeper names are split no further


class Split(NamedTuple):
    """How tags are split. No separator: the tag is the channel, of one asset."""

    separator: str = ""
    parts: int = 0  # that name the asset
    pattern: re.Pattern[str] | None = None

    def parted(self, tag: str) -> tuple[str, str] | None:
        """Return the asset and channel of a tag, "" for the table's own asset; None if the tag does not fit."""
        if self.pattern is not None:
            match = self.pattern.fullmatch(tag)
            if match is None:
                return None
            names = match.groupdict()
            return names.get("asset") or "", names["channel"] or ""
        if not self.separator:
            return "", tag
        parts = tag.split(self.separator)
        if len(parts) <= self.parts:
            return None
        return self.separator.join(parts[: self.parts]), self.separator.join(parts[self.parts :])


def pattern_of(text: str) -> re.Pattern[str]:
    """Compile `source.tag_pattern`. Raises ValueError if it is no expression or does not name the channel."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"source.tag_pattern: {text!r} is no regular expression: {error}") from error
    if "channel" not in pattern.groupindex:
        raise ValueError(f"source.tag_pattern: {text!r} has no group (?P<channel>...)")
    return pattern


def split_of(tags: Sequence[str], pattern: str = "") -> Split:
    """Return how these tags of a table without a column of assets are split. Raises ValueError if that is unclear."""
    if pattern:
        return Split(pattern=pattern_of(pattern))
    different = sorted(set(tags))
    separator = next((each for each in SEPARATORS if all(each in tag.strip(each) for tag in different)), "")
    if not different or not separator:
        return Split()

    parted = [tag.split(separator) for tag in different]
    shortest = min(map(len, parted))
    for parts in range(1, min(shortest, _PARTS)):
        channels: dict[str, set[str]] = {}
        for each in parted:
            channels.setdefault(separator.join(each[:parts]), set()).add(separator.join(each[parts:]))
        if len(channels) == 1:
            continue

        found = list(channels.values())
        common = set.intersection(*found)
        if len(common) > 1:
            return Split(separator, parts)
        if all(len(each) == 1 for each in found):
            break  # FIC101.PV and PIC102.PV: one machine whose channels all end alike
        shared = [name for name in set.union(*found) if sum(name in each for each in found) > 1]
        if shared:
            one, other = list(channels)[:2]
            raise ValueError(
                f"the tags {different[0]!r} and {different[-1]!r} may be of two assets ({one}, {other}) or of one: set "
                r"source.tag_pattern, such as (?P<asset>[^.]+)\.(?P<channel>.+), or (?P<channel>.+) for one asset"
            )
        break

    # One asset: the common beginning names it.
    parts = 0
    while parts < shortest - 1 and len({each[parts] for each in parted}) == 1:
        parts += 1
    return Split(separator, parts) if parts else Split()
