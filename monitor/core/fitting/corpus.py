"""Blocks of the past as training sees them, and the windows cut out of them.

A block is one window length of an asset's steps. Neighbouring blocks join into runs, out of which windows are cut at
every step. Two neighbours of every ten blocks are held out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.records import Bools, Floats, State, Times
from monitor.core.state import Column, Table, check_state, pack_names, unfit, unpack_distinct

MANY = 100  # blocks; with fewer, wait until an asset has given ten on end
FEW = 8  # blocks of an asset; half as many do not suffice for a scale of its own (fit.LEAST_ROWS)

STAGE = "history"
TABLE: Table = {
    "channels": Column("u1", ("channel bytes",)),
    "assets": Column("u1", ("asset bytes",)),
    "step_ms": Column("i8", (1,), low=1),
    "asset": Column("i8", ("K",), low=0),
    "end": Column("i8", ("K",)),
    "values": Column("f4", ("K", "C", "L")),
    "observed": Column("?", ("K", "C", "L")),
    "alerted": Column("?", ("K",)),
}


class ChannelMissing(ValueError):  # noqa: N818 - says what is wrong
    """A setting names a channel that the history does not have."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Blocks (K,) of the past for training."""

    channels: tuple[str, ...]
    assets: tuple[str, ...]
    step_ms: int
    asset: Times  # (K,) codes of `assets`
    end: Times  # (K,) grid time of a block's last step
    values: Floats  # (K, C, L) NaN = not measured and not filled
    observed: Bools  # (K, C, L)
    alerted: Bools  # (K,) within an alert or its guard band

    def __len__(self) -> int:
        return len(self.end)

    def take(self, keep: Bools) -> "Corpus":
        """Return the blocks marked in `keep` (K,)."""
        return Corpus(
            self.channels,
            self.assets,
            self.step_ms,
            self.asset[keep],
            self.end[keep],
            self.values[keep],
            self.observed[keep],
            self.alerted[keep],
        )

    @property
    def number(self) -> Times:
        """Return the number (K,) of each block since 1970."""
        number: Times = (self.end // self.step_ms + 1) // self.values.shape[2]
        return number

    def every(self, spacing: int) -> "Corpus":
        """Return the blocks whose number is a multiple of `spacing`: every 2nd of every 2nd is every 4th."""
        if spacing == 1:
            return self
        return self.take(self.number % spacing == 0)

    def of_assets(self, share: float) -> "Corpus":
        """Return the blocks of about this share of the assets, chosen by name.

        The assets of a smaller share are among those of a larger one.
        """
        if share == 1:
            return self
        places = np.array([int.from_bytes(sha256(name.encode()).digest()[8:16]) / 2**64 for name in self.assets])
        return self.take((places < share)[self.asset])

    def pack(self) -> State:
        """Return the corpus as arrays, to be stored or handed to another process."""
        return {
            "channels": pack_names(self.channels),
            "assets": pack_names(self.assets),
            "step_ms": np.array([self.step_ms], np.int64),
            "asset": self.asset,
            "end": self.end,
            "values": self.values,
            "observed": self.observed,
            "alerted": self.alerted,
        }

    @classmethod
    def unpack(cls, state: State) -> "Corpus":
        """Return the corpus that was packed. Raises ValueError if the arrays do not fit together."""
        sizes = check_state(STAGE, state, TABLE)
        channels = unpack_distinct(STAGE, "channels", state["channels"])
        assets = unpack_distinct(STAGE, "assets", state["assets"])
        if len(channels) != sizes["C"]:
            raise unfit(STAGE, "channels", f"{len(channels)} names", sizes["C"])
        highest = int(state["asset"].max(initial=-1))
        if highest >= len(assets):
            raise unfit(STAGE, "asset", f"up to {highest}", f"below {len(assets)}, the number of assets")

        step_ms = int(state["step_ms"][0])
        blocks = (state[name] for name in ("asset", "end", "values", "observed", "alerted"))
        return cls(tuple(channels), tuple(assets), step_ms, *blocks)


def join(parts: Sequence[Corpus]) -> Corpus:
    """Return the blocks of several partitions as one corpus over all their channels, those of the first part first.

    Raises ValueError if there is no part, or steps or window lengths differ.
    """
    if not parts or len({(part.step_ms, part.values.shape[2]) for part in parts}) != 1:
        raise ValueError("expected one or more parts of equal step and window length")

    channels = tuple(dict.fromkeys(name for part in parts for name in part.channels))
    assets = tuple(dict.fromkeys(name for part in parts for name in part.assets))
    code = {name: number for number, name in enumerate(assets)}
    renamed = [np.array([code[name] for name in part.assets], np.int64)[part.asset] for part in parts]

    # One part at a time, so that no more than the parts and the result are in memory.
    K = sum(len(part) for part in parts)
    shape = (K, len(channels), parts[0].values.shape[2])
    values, observed = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    begin = 0
    for part in parts:
        place = slice(begin, begin + len(part))
        values[place], observed[place] = reorder(part.values, part.observed, part.channels, channels)
        begin += len(part)

    ends, alerted = (np.concatenate([getattr(part, name) for part in parts]) for name in ("end", "alerted"))
    return Corpus(channels, assets, parts[0].step_ms, np.concatenate(renamed), ends, values, observed, alerted)


def gather(parts: Iterable[Corpus], most_bytes: int) -> Corpus | None:
    """Join parts as they come, with so few blocks that they and `cut` fit into `most_bytes`; None without any.

    If they do not fit, every second block of all is left out, as often as needed. Where assets have few blocks each,
    every second asset is left out instead. Until all are joined, no more than that and one part is in memory.
    """
    kept: list[Corpus] = []
    spacing, share = 1, 1.0
    for part in parts:
        if len(part):
            kept.append(part.every(spacing).of_assets(share))

        while (size := _bytes(kept)) > most_bytes:
            fewer = [each.every(2 * spacing) for each in kept]
            assets = {each.assets[code] for each in kept for code in np.unique(each.asset).tolist()}
            if sum(map(len, kept)) < FEW * len(assets) or 4 * _bytes(fewer) < min(size, most_bytes):
                share /= 2
                kept = [each.of_assets(share) for each in kept]
            else:
                spacing *= 2
                kept = fewer
    return join(kept) if any(len(part) for part in kept) else None


def _bytes(parts: Sequence[Corpus]) -> int:
    channels = {name for part in parts for name in part.channels}
    steps: int = sum(len(part) * part.values.shape[2] for part in parts)
    return steps * (5 * len(channels) + 16)  # of a value and its mark; of a row's asset and start


def reorder(values: Floats, observed: Bools, old: Sequence[str], new: Sequence[str]) -> tuple[Floats, Bools]:
    """Return blocks (K, C, L) of channels `old` as blocks of channels `new`; an added channel was not observed."""
    shape = (len(values), len(new), values.shape[2])
    moved, seen = np.full(shape, np.nan, np.float32), np.zeros(shape, np.bool_)
    place = {name: column for column, name in enumerate(old)}
    for column, name in enumerate(new):
        if name in place:
            moved[:, column], seen[:, column] = values[:, place[name]], observed[:, place[name]]
    return moved, seen


@dataclass(frozen=True, slots=True)
class Cut:
    """Windows (n,) to be cut out of runs of blocks."""

    rows: Floats  # (K * L, C) blocks on end
    seen: Bools  # (K * L, C)
    asset: Times  # (K * L,) code of the row's asset
    starts: Times  # (n,) first row of each window
    length: int  # L

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, index: Times) -> tuple[Floats, Bools, Times]:
        """Return values (m, C, L), observed (m, C, L) and asset codes (m,) of the windows at `index` (m,)."""
        begin = self.starts[index]
        values = sliding_window_view(self.rows, self.length, axis=0)[begin]
        observed = sliding_window_view(self.seen, self.length, axis=0)[begin]
        return values, observed, self.asset[begin]

    def spread(self, most: int) -> Times:
        """Return the indices of at most `most` windows, evenly spaced."""
        count = min(most, len(self))
        return np.arange(count) * len(self) // max(count, 1)


def cut(corpus: Corpus) -> Cut:
    """Return every window within blocks that follow one another without a hole."""
    K, C, L = corpus.values.shape
    order = np.lexsort((corpus.end, corpus.asset))
    asset, end = corpus.asset[order], corpus.end[order]

    # A window may begin at any row of a block that another one follows, otherwise only at the block's first row.
    joins = (asset[1:] == asset[:-1]) & (np.diff(end) == L * corpus.step_ms)
    begins = np.repeat(np.append(joins, False), L) if K else np.zeros(0, np.bool_)
    begins[::L] = True

    rows = corpus.values[order].transpose(0, 2, 1).reshape(K * L, C)
    seen = corpus.observed[order].transpose(0, 2, 1).reshape(K * L, C)
    return Cut(rows, seen, np.repeat(asset, L), np.flatnonzero(begins), L)


def held_out(corpus: Corpus) -> Bools:
    """Return which blocks (K,) are held out: two neighbours of every ten of an asset.

    Where many assets gave few blocks each, all in the same minutes, that may be all or none of them. From MANY blocks
    on, each asset then begins to count at another place. The place depends on the asset's name alone, so a block that
    was held out is held out the next time, too.
    """
    pair = corpus.number // 2
    held: Bools = pair % 5 == 4
    if len(held) >= MANY and (held.all() or not held.any()):
        first = np.array([sha256(name.encode()).digest()[0] for name in corpus.assets], np.int64)
        held = (pair + first[corpus.asset]) % 5 == 4
    return held
