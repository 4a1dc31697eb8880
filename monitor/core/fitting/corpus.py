"""Blocks of the past as training sees them, and the windows cut out of them.

A block is one window length of an asset's steps. Neighbouring blocks join into runs, out of which windows are cut at
every step; two neighbours of every ten blocks are held out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.records import Bools, Floats, State, Times
from monitor.core.state import pack_names, unpack_names

MANY = 100  # blocks; with fewer, wait until somebody has given ten on end
FEW = 8  # blocks of an asset; half as many do not suffice for a scale of its own (training.LEAST_ROWS)
_DTYPES = {
    "channels": "u1",
    "assets": "u1",
    "step_ms": "i8",
    "asset": "i8",
    "end": "i8",
    "values": "f4",
    "observed": "?",
}


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

    def __len__(self) -> int:
        return len(self.end)

    def take(self, keep: Bools) -> "Corpus":
        """The blocks marked in `keep` (K,)."""
        return Corpus(
            self.channels,
            self.assets,
            self.step_ms,
            self.asset[keep],
            self.end[keep],
            self.values[keep],
            self.observed[keep],
        )

    @property
    def number(self) -> Times:
        """Which block since 1970 each (K,) is."""
        number: Times = (self.end // self.step_ms + 1) // self.values.shape[2]
        return number

    def every(self, spacing: int) -> "Corpus":
        """The blocks whose number is a multiple of `spacing`: of every 2nd, every 2nd is every 4th."""
        if spacing == 1:
            return self
        return self.take(self.number % spacing == 0)

    def of_assets(self, share: float) -> "Corpus":
        """The blocks of about this share of the assets, chosen by name; those of a smaller share are among them."""
        if share == 1:
            return self
        places = np.array([int.from_bytes(sha256(name.encode()).digest()[8:16]) / 2**64 for name in self.assets])
        return self.take((places < share)[self.asset])

    def pack(self) -> State:
        """As arrays, to hand over to another process or to keep."""
        return {
            "channels": pack_names(self.channels),
            "assets": pack_names(self.assets),
            "step_ms": np.array([self.step_ms], np.int64),
            "asset": self.asset,
            "end": self.end,
            "values": self.values,
            "observed": self.observed,
        }

    @classmethod
    def unpack(cls, state: State) -> "Corpus":
        """The inverse of `pack`. Raises ValueError if the arrays do not fit together."""
        check_dtypes(state, _DTYPES)
        channels, assets = tuple(unpack_names(state["channels"])), tuple(unpack_names(state["assets"]))
        values, observed, asset, end = state["values"], state["observed"], state["asset"], state["end"]
        if state["step_ms"].shape != (1,) or state["step_ms"][0] < 1:
            raise ValueError(f"history: step_ms is {state['step_ms'].tolist()}, expected one number of at least 1")
        if len(set(channels)) < len(channels) or len(set(assets)) < len(assets):
            raise ValueError("history names an asset or a channel twice")
        K = end.size
        if values.ndim != 3 or values.shape[:2] != (K, len(channels)) or observed.shape != values.shape:
            raise ValueError(f"history: values {values.shape}, observed {observed.shape}, expected ({K}, C, L)")
        if end.shape != (K,) or asset.shape != (K,) or np.any((asset < 0) | (asset >= len(assets))):
            raise ValueError("history: a block names an asset that is not there")
        return cls(channels, assets, int(state["step_ms"][0]), asset, end, values, observed)


def check_dtypes(state: State, dtypes: Mapping[str, str]) -> None:
    """Raises ValueError unless all these arrays of a history are there and hold such numbers."""
    for name, dtype in dtypes.items():
        if name not in state:
            raise ValueError(f"history lacks {name}")
        if state[name].dtype != np.dtype(dtype):
            raise ValueError(f"history: {name} is {state[name].dtype}, expected {np.dtype(dtype)}")


def join(parts: Sequence[Corpus]) -> Corpus:
    """The blocks of several partitions as one corpus over all their channels, those of the first part first.

    Raises ValueError if there is no part, or steps or window lengths differ.
    """
    if not parts or len({(part.step_ms, part.values.shape[2]) for part in parts}) != 1:
        raise ValueError("expected one or more parts of equal step and window length")
    channels = tuple(dict.fromkeys(name for part in parts for name in part.channels))
    assets = tuple(dict.fromkeys(name for part in parts for name in part.assets))
    code = {name: number for number, name in enumerate(assets)}
    renamed = [np.array([code[name] for name in part.assets], np.int64)[part.asset] for part in parts]
    K = sum(len(part) for part in parts)
    shape = (K, len(channels), parts[0].values.shape[2])
    values, observed, begin = np.empty(shape, np.float32), np.empty(shape, np.bool_), 0
    for part in parts:  # one at a time, so that no more than the parts and the result are held
        place = slice(begin, begin + len(part))
        values[place], observed[place] = reorder(part.values, part.observed, part.channels, channels)
        begin += len(part)
    ends = np.concatenate([part.end for part in parts])
    return Corpus(channels, assets, parts[0].step_ms, np.concatenate(renamed), ends, values, observed)


def gather(parts: Iterable[Corpus], most_bytes: int) -> Corpus | None:
    """`join` of parts as they come, with so many blocks that they and `cut` fit into `most_bytes`; None without any.

    If they do not fit, every second block of all is left out, and again; where assets have few each, every second asset
    instead. Until all are joined, no more than that and one part is held.
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
                spacing, kept = 2 * spacing, fewer
    return join(kept) if any(len(part) for part in kept) else None


def _bytes(parts: Sequence[Corpus]) -> int:
    channels = {name for part in parts for name in part.channels}
    steps: int = sum(len(part) * part.values.shape[2] for part in parts)
    return steps * (5 * len(channels) + 16)  # of a value and its mark; of a row's asset and start


def reorder(values: Floats, observed: Bools, old: Sequence[str], new: Sequence[str]) -> tuple[Floats, Bools]:
    """Blocks (K, C, L) of channels `old` as blocks of channels `new`; a new channel was not observed."""
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
        """Values (m, C, L), observed (m, C, L) and asset codes (m,) of the windows at `index` (m,)."""
        begin = self.starts[index]
        values = sliding_window_view(self.rows, self.length, axis=0)[begin]
        observed = sliding_window_view(self.seen, self.length, axis=0)[begin]
        return values, observed, self.asset[begin]

    def spread(self, most: int) -> Times:
        """Indices of at most `most` windows, evenly spaced."""
        count = min(most, len(self))
        return np.arange(count) * len(self) // max(count, 1)


def cut(corpus: Corpus) -> Cut:
    """Every window that lies in blocks following one another without a hole."""
    K, C, L = corpus.values.shape
    order = np.lexsort((corpus.end, corpus.asset))
    asset, end = corpus.asset[order], corpus.end[order]
    joins = (asset[1:] == asset[:-1]) & (np.diff(end) == L * corpus.step_ms)
    begins = np.repeat(np.append(joins, False), L) if K else np.zeros(0, np.bool_)
    begins[::L] = True  # a window may begin at any row of a block that another follows, else only at its first
    rows = corpus.values[order].transpose(0, 2, 1).reshape(K * L, C)
    seen = corpus.observed[order].transpose(0, 2, 1).reshape(K * L, C)
    return Cut(rows, seen, np.repeat(asset, L), np.flatnonzero(begins), L)


def held_out(corpus: Corpus) -> Bools:
    """Which blocks (K,) are held out: two neighbours of every ten of an asset.

    Where that is all or none of at least MANY, since many assets gave few blocks each and all in the same minutes, each
    asset begins to count elsewhere. That depends on its name alone, so that what was held out is so next time, too.
    """
    pair = corpus.number // 2
    held: Bools = pair % 5 == 4
    if len(held) >= MANY and (held.all() or not held.any()):
        first = np.array([sha256(name.encode()).digest()[0] for name in corpus.assets], np.int64)
        held = (pair + first[corpus.asset]) % 5 == 4
    return held
