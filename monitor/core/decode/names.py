"""Names of channels and assets: characters that an id may not have are changed, and two names never become one.

A name is changed for good: the first name
that becomes an id owns it, and readings of another name that would become the same id are skipped. A name that needs no
change is never skipped. If it appears later than the changed one, the changed one is skipped from then on.

`Names` is the memory of one partition. It holds changed names only, and at most MOST of them; beyond that, further
names with such characters are skipped. Which readings are skipped does not depend on how a stream is cut into batches.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from monitor.core.decode.format import Skip
from monitor.core.decode.ids import ID, legal
from monitor.core.records import Bools, Ints, Renamed, Times

MOST = 10_000  # changed names of a partition, of channels and of assets each; some MB of memory at most
_IDS = re.compile(rf"(?:{ID.pattern}\n)*+")


@dataclass(slots=True)
class Names:
    """Ids that changed names have become -> the name that owns the id."""

    assets: dict[str, str] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.assets or self.channels)

    def asset_name(self, asset: str) -> str:
        """Return the name as it came, of which the id was made; the id itself if they are the same."""
        return self.assets.get(asset, asset)

    def channel_name(self, channel: str) -> str:
        """Return the name as it came, of which the id was made; the id itself if they are the same."""
        return self.channels.get(channel, channel)

    def and_of(self, other: "Names") -> "Names":
        """Return the names of both; ids that both have keep these."""
        return Names({**other.assets, **self.assets}, {**other.channels, **self.channels}) if other else self


class Claimed(NamedTuple):
    """The outcome for the readings (N,) of a batch."""

    names: list[str]  # ids
    codes: Ints  # (N,) indices of `names`
    lost: dict[Skip, Bools]  # (N,) readings to skip, by reason; empty = none
    renamed: list[Renamed]


def bad_ids(names: Sequence[str]) -> Bools:
    """Return which names are no ids as they are."""
    joined = "".join([f"{name}\n" for name in names])
    if _IDS.fullmatch(joined) and joined.count("\n") == len(names):  # all at once: six times as fast as one by one
        return np.zeros(len(names), np.bool_)

    return np.array([ID.fullmatch(name) is None for name in names], np.bool_)


def claim(
    kind: Literal["asset", "channel"], names: Sequence[str], codes: Ints, rows: Times, owners: dict[str, str]
) -> Claimed:
    """Give the `names`, in order of first appearance, their ids, and enter changed ones in `owners`.

    `codes` (N,) index the names, `rows` (N,) are the readings' messages, ascending.
    """
    bad = bad_ids(names)
    if not owners and not bad.any():
        return Claimed(list(names), codes, {}, [])

    clean = {name: code for code, name in enumerate(names) if not bad[code]}
    _give_back(owners, clean, names)

    ids = list(names)
    lost = {Skip.NAME: np.zeros(len(codes), np.bool_), Skip.NAME_TAKEN: np.zeros(len(codes), np.bool_)}
    renamed = []
    for code in np.flatnonzero(bad).tolist():
        name, mine = names[code], codes == code
        new = legal(name)
        if new is None or (new not in owners and len(owners) >= MOST):
            lost[Skip.NAME] |= mine
            continue

        ids[code] = new
        since = -1
        if new not in owners:
            owners[new] = name
            since = int(rows[mine][0])
        taken = owners[new] != name

        # From the message on in which the name without a change appears, the changed one is skipped.
        skipped = mine if taken else np.zeros(len(codes), np.bool_)
        if not taken and new in clean:
            others = rows[(codes == clean[new]) & (rows >= since)]
            if len(others):
                owners[new] = new
                skipped = mine & (rows >= others[0])
        lost[Skip.NAME_TAKEN] |= skipped

        if since >= 0 and not (skipped == mine).all():
            renamed.append(Renamed(kind, name, new))
        if skipped.any():
            renamed.append(Renamed(kind, name, new, owners[new]))

    # Two names may be one id now.
    merged: dict[str, int] = {}
    number = np.array([merged.setdefault(each, len(merged)) for each in ids], np.int32)
    return Claimed(list(merged), number[codes] if ids else codes, lost, renamed)


def _give_back(owners: dict[str, str], clean: dict[str, int], names: Sequence[str]) -> None:
    """Let ids that are names of this batch own themselves. Where the owner is in the batch, too, `claim` judges."""
    if not owners:
        return
    here = set(names)
    for new in owners.keys() & clean.keys():
        if owners[new] not in here:
            owners[new] = new
