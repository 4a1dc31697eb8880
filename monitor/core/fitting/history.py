"""Keeps a sample of the past of one partition for training: blocks of one window length each, and when alerts were on.

A block is the window that ends on a multiple of the window length on the grid, or in one of the next steps where an
asset has no reading in that one. Blocks never overlap, every reading is kept once, and neighbouring blocks join into
longer runs from which training cuts windows at every step. When there are more blocks than the budget allows, every
second one goes, and from then on only every second is taken, and so on: the sample stays spread over the whole horizon
instead of covering only the last minutes.

Alerts are noted as spans. `normal` leaves out what lies in a span or within `guard` of it, before or after: a model
must not learn the incident it was bought to find. What the current model finds worst is left out later, in training.

It is a sample, not a state that alerts depend on: it may be lost without any alert changing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.fitting.corpus import Corpus, check_dtypes, reorder
from monitor.core.records import Alert, Bools, Floats, State, Times, WindowBatch
from monitor.core.state import pack_names, unpack_names

OPEN = 2**62  # end of a span that has none yet
AFTER = 4  # steps from a multiple on in which a block may end: enough for assets that are read in every fourth
SLACK = 16  # a part of the horizon by which blocks may be too old before they are looked for and dropped
_DTYPES = {"spacing": "i8", "seen_assets": "u1", "seen": "i8", "span_assets": "u1", "spans": "i8"}  # beside the corpus


@dataclass(frozen=True, slots=True)
class _Block:
    asset: str
    end: int
    channels: tuple[str, ...]
    values: Floats  # (C, L)
    observed: Bools  # (C, L)


class History:
    """The sample of one partition."""

    def __init__(self, *, budget: int, length: int, step_ms: int, horizon_ms: int, guard_ms: int) -> None:
        """At most `budget` blocks, none older than `horizon_ms` before the newest. Raises ValueError if below 1."""
        if min(budget, length, step_ms, horizon_ms) < 1 or guard_ms < 0:
            raise ValueError("budget, length, step_ms and horizon_ms must be at least 1, guard_ms at least 0")
        self._budget, self._length, self._step_ms = budget, length, step_ms
        self._horizon_ms, self._guard_ms = horizon_ms, guard_ms
        self._spacing = 1  # of that many blocks of an asset, one is kept
        self._blocks: list[_Block] = []
        self._seen: dict[str, int] = {}  # blocks offered so far, by asset
        self._latest: dict[str, int] = {}  # end of the newest block taken, by asset
        self._newest = 0  # the latest of these
        self._spans: dict[str, list[tuple[int, int]]] = {}  # start and end of alerts, by asset

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, windows: WindowBatch, names: Sequence[str], channels: tuple[str, ...]) -> None:
        """Take the blocks among `windows`, whose `assets` index `names`."""
        number, rest = np.divmod(windows.ends // self._step_ms + 1, self._length)
        for place in np.flatnonzero(rest < AFTER).tolist():
            name, end = names[windows.assets[place]], int(windows.ends[place])
            if end < self._latest.get(name, -OPEN) + self._length * self._step_ms:  # it would overlap, or is known
                continue
            self._latest[name] = end
            self._newest = max(self._newest, end)
            self._seen[name] = self._seen.get(name, 0) + 1
            if number[place] % self._spacing == 0:
                # Copies: a view would keep the whole batch in memory.
                values, observed = windows.values[place].copy(), windows.observed[place].copy()
                if windows.masked is not None:  # not observed, and no input either
                    values[windows.masked[place]] = np.nan
                self._blocks.append(_Block(name, end, channels, values, observed))
        if self._blocks and self._blocks[0].end < self._oldest() - self._horizon_ms // SLACK:
            self._drop()
        if len(self._blocks) > self._budget:
            self._shrink()

    def note(self, alerts: Iterable[Alert]) -> None:
        """Remember when an alert was on; a sensor's only until it fired, since what it reads is masked from then on."""
        for alert in alerts:
            spans = self._spans.setdefault(alert.asset, [])
            if alert.cause == "sensor":
                if alert.state == "firing" and (alert.start, alert.time) not in spans:
                    spans.append((alert.start, alert.time))
                continue
            spans[:] = [span for span in spans if span[0] != alert.start]
            spans.append((alert.start, OPEN if alert.end is None else alert.end))

    def settle(self, alerts: Iterable[Alert]) -> None:
        """End the alerts that are firing by this sample, but are not among `alerts`, those that are open by now.

        A sample is older than the state it is restored beside: who resolved in between would be left out for ever.
        """
        still = {(alert.asset, alert.start) for alert in alerts}
        for asset, spans in self._spans.items():
            spans[:] = [
                (start, max(start, self._newest)) if end == OPEN and (asset, start) not in still else (start, end)
                for start, end in spans
            ]

    def forget(self, assets: Iterable[str]) -> None:
        """These were given up for others: they count no more. Their blocks stay until they are too old."""
        for asset in assets:
            self._seen.pop(asset, None)
            self._latest.pop(asset, None)

    def steps_seen(self) -> Times:
        """Steps (A,) of history that each asset has given so far, thinned out since or not."""
        return np.array(list(self._seen.values()), np.int64) * self._length

    def normal(self) -> Corpus:
        """The blocks within the horizon that touch no alert and no guard band."""
        oldest = self._oldest()
        return self._corpus([block for block in self._blocks if block.end >= oldest and not self._touched(block)])

    def save_state(self) -> State:
        """The sample as arrays, for `load_state`."""
        spans = [(name, *span) for name, spans in self._spans.items() for span in spans]
        return {
            **self._corpus(self._blocks).pack(),
            "spacing": np.array([self._spacing], np.int64),
            "seen_assets": pack_names(list(self._seen)),
            "seen": np.array(list(self._seen.values()), np.int64),
            "span_assets": pack_names([name for name, _, _ in spans]),
            "spans": np.array([span[1:] for span in spans], np.int64).reshape(-1, 2),
        }

    def load_state(self, state: State) -> None:
        """Go on from what `save_state` gave. Raises ValueError, and changes nothing, if it does not fit."""
        corpus = Corpus.unpack(state)
        check_dtypes(state, _DTYPES)
        names, owners = unpack_names(state["seen_assets"]), unpack_names(state["span_assets"])
        if corpus.step_ms != self._step_ms or corpus.values.shape[2] != self._length:
            raise ValueError("history was kept with another step or window length")
        if state["spacing"].shape != (1,) or state["spacing"][0] < 1:
            raise ValueError(f"history: spacing is {state['spacing'].tolist()}, expected one number of at least 1")
        if state["seen"].shape != (len(names),) or state["spans"].shape != (len(owners), 2):
            raise ValueError("history: names and numbers differ in length")
        self._blocks = [
            _Block(corpus.assets[asset], end, corpus.channels, values, observed)
            for asset, end, values, observed in zip(
                corpus.asset.tolist(), corpus.end.tolist(), corpus.values, corpus.observed, strict=True
            )
        ]
        self._seen = dict(zip(names, state["seen"].tolist(), strict=True))
        self._latest = {}
        for block in self._blocks:
            self._latest[block.asset] = max(block.end, self._latest.get(block.asset, -OPEN))
        self._newest = max(self._latest.values(), default=0)
        self._spans = {}
        for owner, (start, end) in zip(owners, state["spans"].tolist(), strict=True):
            self._spans.setdefault(owner, []).append((start, end))
        self._spacing = int(state["spacing"][0])

    def _corpus(self, blocks: Sequence[_Block]) -> Corpus:
        channels = tuple(dict.fromkeys(name for block in blocks for name in block.channels))
        assets = tuple(dict.fromkeys(block.asset for block in blocks))
        code = {name: number for number, name in enumerate(assets)}
        shape = (len(blocks), len(channels), self._length)
        values, observed = np.full(shape, np.nan, np.float32), np.zeros(shape, np.bool_)
        for place, block in enumerate(blocks):
            moved, seen = reorder(block.values[None], block.observed[None], block.channels, channels)
            values[place], observed[place] = moved[0], seen[0]
        asset = np.array([code[block.asset] for block in blocks], np.int64)
        end = np.array([block.end for block in blocks], np.int64)
        return Corpus(channels, assets, self._step_ms, asset, end, values, observed)

    def _oldest(self) -> int:
        """The end from which on a block is within the horizon."""
        return self._newest - self._horizon_ms

    def _drop(self) -> None:
        """Forget what is older than the horizon, and alerts that touch nothing younger."""
        oldest = self._oldest()
        self._blocks = [block for block in self._blocks if block.end >= oldest]
        reach = oldest - self._guard_ms - self._length * self._step_ms
        for name, spans in list(self._spans.items()):
            self._spans[name] = [span for span in spans if span[1] >= reach]

    def _shrink(self) -> None:
        """Drop what is older than the horizon; if that is not enough, every second block."""
        self._drop()
        while len(self._blocks) > self._budget:
            thinned = [block for block in self._blocks if self._number(block) % (2 * self._spacing) == 0]
            if 4 * len(thinned) < self._budget:  # many assets, few blocks of each: halving would take nearly all
                self._blocks = self._blocks[-self._budget :]
            else:
                self._blocks, self._spacing = thinned, 2 * self._spacing

    def _number(self, block: _Block) -> int:
        return (block.end // self._step_ms + 1) // self._length

    def _touched(self, block: _Block) -> bool:
        begin = block.end - (self._length - 1) * self._step_ms
        spans: Mapping[str, list[tuple[int, int]]] = self._spans
        return any(
            begin <= end + self._guard_ms and block.end >= start - self._guard_ms
            for start, end in spans.get(block.asset, ())
        )


def median_steps(seen: Iterable[Times]) -> int:
    """Whole steps of history that the median asset has given; `seen` as by `History.steps_seen`. 0 without assets."""
    steps = np.concatenate([np.zeros(0, np.int64), *seen])
    return int(np.median(steps)) if len(steps) else 0
