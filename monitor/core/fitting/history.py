"""Keeps a sample of one partition's past for training: blocks of one window length, and the spans of alerts.

A block is the window that ends on a multiple of the window length on the grid, or in one of the next steps where an
asset has no reading in that one. Blocks never overlap, every reading is kept once, and neighbouring blocks join into
longer runs from which training cuts windows at every step. When there are more blocks than the budget allows, every
second one is dropped, and from then on only every second one is taken, and so on. So the sample stays spread over the
whole horizon instead of covering only the last minutes.

Alerts are noted as spans. Blocks that lie in a span or within `guard_ms` of it, before or after, are marked as alerted:
a model must not learn the incident it was bought to find. Training leaves them out, and those that the current model
finds anomalous, unless their pattern recurs (recurring.py). So that it can, alerted blocks are kept when others are
dropped, up to a quarter of the budget, the newest ones.

It is a sample, not a state that alerts depend on: losing it changes no alert.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.core.fitting.corpus import STAGE, Corpus, reorder
from monitor.core.fitting.corpus import TABLE as CORPUS_TABLE
from monitor.core.records import NEW_MODE, NOT_RUNNING, SENSOR, SILENCE, Alert, Bools, Floats, State, Times, WindowBatch
from monitor.core.state import Column, Table, check_state, pack_names, unfit, unpack_names

OPEN = 2**62  # end of a span that has none yet
AFTER = 4  # steps from a multiple on in which a block may end: enough for assets that are read in every fourth
SLACK = 16  # a part of the horizon by which blocks may be too old before they are looked for and dropped
_TABLE: Table = {  # in addition to the corpus
    "spacing": Column("i8", (1,), low=1),
    "seen_assets": Column("u1", ("seen bytes",)),
    "seen": Column("i8", ("seen assets",)),
    "span_assets": Column("u1", ("span bytes",)),
    "spans": Column("i8", ("spans", 2)),
}


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """How much of the past is kept. The settings check the ranges."""

    budget: int  # blocks
    length: int  # L, steps of a window
    step_ms: int
    horizon_ms: int  # blocks that are older than this before the newest one are dropped
    guard_ms: int  # before and after an alert


@dataclass(frozen=True, slots=True)
class _Block:
    asset: str
    end: int
    channels: tuple[str, ...]
    values: Floats  # (C, L)
    observed: Bools  # (C, L)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a history, for another one to inherit. Each mapping is by asset."""

    blocks: Sequence[_Block]
    seen: Mapping[str, int]
    latest: Mapping[str, int]
    spans: Mapping[str, list[tuple[int, int]]]
    spacing: int


class History:
    """The sample of one partition."""

    def __init__(self, options: HistoryOptions) -> None:
        self._budget = options.budget
        self._length = options.length
        self._step_ms = options.step_ms
        self._horizon_ms = options.horizon_ms
        self._guard_ms = options.guard_ms
        self._spacing = 1  # of that many blocks of an asset, one is kept
        self._blocks: list[_Block] = []
        self._seen: dict[str, int] = {}  # blocks offered so far, by asset
        self._latest: dict[str, int] = {}  # end of the newest block taken, by asset
        self._newest = 0  # the latest of these
        self._spans: dict[str, list[tuple[int, int]]] = {}  # start and end of alerts, by asset

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels of its blocks."""
        kept = dict.fromkeys(block.channels for block in self._blocks)
        return tuple(dict.fromkeys(name for each in kept for name in each))

    @property
    def step_ms(self) -> int:
        """Return the step of the grid."""
        return self._step_ms

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
            if number[place] % self._spacing == 0 or self._is_alerted(name, end):
                self._blocks.append(self._block(windows, place, name, channels))

        if self._blocks and self._blocks[0].end < self._oldest() - self._horizon_ms // SLACK:
            self._drop()
        if len(self._blocks) > self._budget:
            self._shrink()

    @staticmethod
    def _block(windows: WindowBatch, place: int, name: str, channels: tuple[str, ...]) -> _Block:
        # Copies: a view would keep the whole batch in memory.
        values, observed = windows.values[place].copy(), windows.observed[place].copy()
        if windows.masked is not None:  # not observed, and no input either
            values[windows.masked[place]] = np.nan
        return _Block(name, int(windows.ends[place]), channels, values, observed)

    def note(self, alerts: Iterable[Alert]) -> None:
        """Remember the spans of alerts; of a sensor's alert only until it fires, since its readings are masked then.

        A machine that is silent or off gives no windows, and those before its silence may be learned. A new value of
        the modes' channel is there to be learned.
        """
        for alert in alerts:
            if alert.cause in {SILENCE, NOT_RUNNING} or (alert.cause == NEW_MODE and alert.mode):
                continue
            spans = self._spans.setdefault(alert.asset, [])
            if alert.cause == SENSOR:
                if alert.state == "firing" and (alert.start, alert.time) not in spans:
                    spans.append((alert.start, alert.time))
                continue

            spans[:] = [span for span in spans if span[0] != alert.start]
            spans.append((alert.start, OPEN if alert.end is None else alert.end))

    def close_spans(self, open_alerts: Iterable[Alert]) -> None:
        """End the spans that are open here, but not of an alert that is firing by now, one of `open_alerts`.

        A stored sample is older than the state of the partition. Without this, the span of an alert that was resolved
        in between would never end.
        """
        still = {(alert.asset, alert.start) for alert in open_alerts if alert.end is None}
        for asset, spans in self._spans.items():
            spans[:] = [
                (start, max(start, self._newest)) if end == OPEN and (asset, start) not in still else (start, end)
                for start, end in spans
            ]

    def excerpt(self, assets: Callable[[str], bool], channels: Callable[[str], bool]) -> "Excerpt":
        """Return the blocks, counts and spans of wanted assets, with wanted channels alone, for another history."""
        wanted = {name for name in (*self._seen, *(block.asset for block in self._blocks)) if assets(name)}
        blocks = (_narrowed(block, channels) for block in self._blocks if block.asset in wanted)
        return Excerpt(
            blocks=[block for block in blocks if block is not None],
            seen={name: self._seen.get(name, 0) for name in wanted},
            latest={name: end for name, end in self._latest.items() if name in wanted},
            spans={name: list(spans) for name, spans in self._spans.items() if name in wanted},
            spacing=self._spacing,
        )

    def inherit(self, given: "Excerpt") -> int:
        """Take an excerpt of a history of the same step and length. Return the number of blocks taken.

        Of an asset in both, the history counts that has seen more of it. The spans of alerts come along, so that an
        incident which the other detector found is not learned.
        """
        own = {block.asset for block in self._blocks}
        taken = {
            name
            for name, seen in given.seen.items()
            if seen > self._seen.get(name, 0) or name not in own | self._seen.keys()
        }

        self._seen |= {name: seen for name, seen in given.seen.items() if name in taken and seen}
        self._latest |= {name: end for name, end in given.latest.items() if name in taken}
        self._newest = max(self._latest.values(), default=0)
        self._spans |= {name: spans for name, spans in given.spans.items() if name in taken}

        # All at one spacing and in the order of time, as if they had been offered here.
        self._spacing = max(self._spacing, given.spacing)
        offered = [block for block in self._blocks if block.asset not in taken]
        offered += [block for block in given.blocks if block.asset in taken]
        blocks = [
            block
            for block in offered
            if self._number(block) % self._spacing == 0 or self._is_alerted(block.asset, block.end)
        ]
        self._blocks = sorted(blocks, key=lambda block: block.end)
        if len(self._blocks) > self._budget:
            self._shrink()
        return sum(block.asset in taken for block in self._blocks)

    def forget(self, assets: Iterable[str]) -> None:
        """Stop counting assets whose rows were reused. Their blocks stay until they are too old."""
        for asset in assets:
            self._seen.pop(asset, None)
            self._latest.pop(asset, None)

    def steps_seen(self) -> Times:
        """Return the steps (A,) of history that each asset has given so far, dropped since or not."""
        return np.array(list(self._seen.values()), np.int64) * self._length

    def normal(self) -> Corpus:
        """Return the blocks within the horizon that touch no alert and no guard band."""
        corpus = self.corpus()
        return corpus.take(~corpus.alerted)

    def corpus(self) -> Corpus:
        """Return the blocks within the horizon, those of alerts marked."""
        oldest = self._oldest()
        return self._corpus([block for block in self._blocks if block.end >= oldest])

    def save_state(self) -> State:
        """Return the sample as arrays, for `load_state`."""
        spans = [(name, *span) for name, spans in self._spans.items() for span in spans]
        blocks = self._corpus(self._blocks).pack()
        del blocks["alerted"]  # follows from the spans
        return {
            **blocks,
            "spacing": np.array([self._spacing], np.int64),
            "seen_assets": pack_names(list(self._seen)),
            "seen": np.array(list(self._seen.values()), np.int64),
            "span_assets": pack_names([name for name, _, _ in spans]),
            "spans": np.array([span[1:] for span in spans], np.int64).reshape(-1, 2),
        }

    def load_state(self, state: State) -> None:
        """Continue from a saved state. Raises ValueError, and changes nothing, if the state does not fit."""
        blocks = {name: array for name, array in state.items() if name not in _TABLE}
        corpus = Corpus.unpack({**blocks, "alerted": np.zeros(np.size(blocks.get("end", ())), np.bool_)})
        check_state(STAGE, {name: array for name, array in state.items() if name not in CORPUS_TABLE}, _TABLE)
        if corpus.step_ms != self._step_ms:
            raise unfit(STAGE, "step_ms", corpus.step_ms, self._step_ms)
        if corpus.values.shape[2] != self._length:
            raise unfit(STAGE, "values", f"of {corpus.values.shape[2]} steps", self._length)

        names, owners = unpack_names(state["seen_assets"]), unpack_names(state["span_assets"])
        for name, packed, numbers in (("seen", names, state["seen"]), ("spans", owners, state["spans"])):
            if len(packed) != len(numbers):
                raise unfit(STAGE, name, f"of {len(numbers)} rows", f"{len(packed)}, one for each name")

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
        alerted = np.array([self._is_alerted(block.asset, block.end) for block in blocks], np.bool_)
        return Corpus(channels, assets, self._step_ms, asset, end, values, observed, alerted)

    def _oldest(self) -> int:
        """Return the end from which on a block is within the horizon."""
        return self._newest - self._horizon_ms

    def _drop(self) -> None:
        """Drop blocks that are older than the horizon, and spans that touch no younger one."""
        oldest = self._oldest()
        self._blocks = [block for block in self._blocks if block.end >= oldest]
        reach = oldest - self._guard_ms - self._length * self._step_ms
        for name, spans in list(self._spans.items()):
            self._spans[name] = [span for span in spans if span[1] >= reach]

    def _shrink(self) -> None:
        """Drop blocks that are older than the horizon. If that is not enough, drop every second block.

        Of alerted blocks a quarter of the budget stays anyhow, the newest ones.
        """
        self._drop()
        while len(self._blocks) > self._budget:
            spacing = 2 * self._spacing

            alerted = [
                each for each in self._blocks if self._number(each) % spacing and self._is_alerted(each.asset, each.end)
            ]
            extra = {(each.asset, each.end) for each in alerted[-(self._budget // 4) :]}
            thinned = [
                each for each in self._blocks if not self._number(each) % spacing or (each.asset, each.end) in extra
            ]
            if 4 * len(thinned) < self._budget:  # many assets, few blocks of each: halving would take nearly all
                self._blocks = self._blocks[-self._budget :]
            else:
                self._spacing *= 2
                self._blocks = thinned

    def _number(self, block: _Block) -> int:
        return (block.end // self._step_ms + 1) // self._length

    def _is_alerted(self, asset: str, last: int) -> bool:
        """Whether the block of an asset whose last step is `last` touches an alert or its guard band."""
        begin = last - (self._length - 1) * self._step_ms
        return any(
            begin <= end + self._guard_ms and last >= start - self._guard_ms
            for start, end in self._spans.get(asset, ())
        )


def _narrowed(block: _Block, channels: Callable[[str], bool]) -> _Block | None:
    """Return the block with the wanted channels alone; None if nothing of them was observed."""
    places = [place for place, name in enumerate(block.channels) if channels(name)]
    if not block.observed[places].any():
        return None
    if len(places) == len(block.channels):
        return block
    names = tuple(block.channels[place] for place in places)
    return replace(block, channels=names, values=block.values[places], observed=block.observed[places])


def median_steps(seen: Iterable[Times]) -> int:
    """Return the whole steps of history that the median asset has given, 0 without assets.

    `seen` are results of `History.steps_seen`.
    """
    steps = np.concatenate([np.zeros(0, np.int64), *seen])
    return int(np.median(steps)) if len(steps) else 0
