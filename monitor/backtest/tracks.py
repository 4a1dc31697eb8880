"""Keeps every scored window of a backtest: columns by asset, and a sample of places in the latent space.

All columns stay in memory, 8 bytes per reading and about 44 per window. The latent sample is bounded: from some point
on it takes every second window, then every fourth, and so on. Anomalous windows have a sample of their own; otherwise
the few of them would hardly ever be drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.backtest.latent_map import latent_means
from monitor.core.model.scorer import Scorer
from monitor.core.records import Bools, Floats, Ints, Outputs, Times, WindowBatch

SAMPLE = 2000  # windows in each of the two samples, at most; more dots would hide one another
SPARSEST = 2**32  # spacing beyond which a sample is cut: one step has more assets than SAMPLE


@dataclass(frozen=True, slots=True)
class Track:
    """The scored windows (T,) of one asset, in order of time."""

    asset: str
    ends: Times  # (T,) ms UTC
    score: Floats  # (T,) to rank by
    alarm: Floats  # (T,) alarm score
    threshold: Floats  # (T,) its limit
    anomalous: Bools  # (T,)
    newest: Floats  # (T, C) as read, NaN = not measured
    expected: Floats  # (T, C)
    spread: Floats  # (C,) one standard deviation of the expected values

    @property
    def highest_ratio(self) -> float:
        """Highest alarm score / threshold."""
        return float((self.alarm / self.threshold).max())


@dataclass(frozen=True, slots=True)
class LatentSample:
    """Some windows (S,) and their places in the latent space."""

    asset: tuple[str, ...]  # (S,)
    ends: Times  # (S,)
    means: Floats  # (S, latent)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The windows (B,) of one batch."""

    names: Sequence[str]  # of asset rows; grows, but a row keeps its name
    rows: Ints  # (B,) of assets
    ends: Times  # (B,)
    score: Floats  # (B,)
    alarm: Floats  # (B,)
    threshold: Floats  # (B,)
    anomalous: Bools  # (B,)
    newest: Floats  # (B, C)
    expected: Floats  # (B, C)


class Collector:
    """Collects the outputs of pipelines; `tracks` and `sample` return them by asset."""

    def __init__(self, step_ms: int) -> None:
        self._step_ms = step_ms
        self._chunks: list[_Chunk] = []
        self._samples = (_Sample(), _Sample())  # of all windows, of anomalous ones
        self._spread: dict[str, Floats] = {}  # (C,) by asset; with one model it never changes
        self._latent = 0

    def take(self, names: Sequence[str], scorer: Scorer, outputs: Outputs) -> None:
        """Keep one batch of one partition; `names` are those of asset rows."""
        windows, scores, thresholds = outputs.windows, outputs.scores, outputs.thresholds
        if scores is None or thresholds is None or not len(windows):
            return

        self._latent = scorer.model.architecture.latent
        columns = (windows.assets, windows.ends, scores.score)
        limits = (thresholds.alarm, thresholds.threshold, thresholds.anomalous)
        self._chunks.append(_Chunk(names, *columns, *limits, scores.newest, scores.expected))
        for row, place in zip(*np.unique(windows.assets, return_index=True), strict=True):
            self._spread[names[row]] = scores.spread[place].copy()

        number = windows.ends // self._step_ms
        every = np.ones(len(windows), np.bool_)
        for sample, among in zip(self._samples, (every, thresholds.anomalous), strict=True):
            chosen = np.flatnonzero(among & (number % sample.spacing == 0))
            sample.take(chosen, number, names, scorer, windows)

    def tracks(self) -> list[Track]:
        """Return the track of every scored asset, by name."""
        by_asset: dict[str, list[tuple[_Chunk, np.ndarray]]] = {}
        for chunk in self._chunks:
            order = np.argsort(chunk.rows, kind="stable")
            for part in np.split(order, np.flatnonzero(np.diff(chunk.rows[order])) + 1):
                by_asset.setdefault(chunk.names[chunk.rows[part[0]]], []).append((chunk, part))

        return [_track(name, by_asset[name], self._spread[name]) for name in sorted(by_asset)]

    def sample(self) -> LatentSample:
        """Return both samples, windows that are in both once."""
        found = {(asset, end): mean for sample in self._samples for asset, end, mean in sample.kept}
        means = np.array(list(found.values()), np.float32).reshape(len(found), self._latent)
        ends = np.array([end for _, end in found], np.int64)
        return LatentSample(tuple(asset for asset, _ in found), ends, means)


class _Sample:
    """The windows of every `spacing`-th step, at most SAMPLE of them."""

    def __init__(self) -> None:
        self.spacing = 1
        self.kept: list[tuple[str, int, Floats]] = []  # asset, end, latent mean
        self._numbers: list[int] = []  # of the grid steps

    def take(
        self, index: np.ndarray, number: Times, names: Sequence[str], scorer: Scorer, windows: WindowBatch
    ) -> None:
        """Add windows `index` of a batch; `number` (B,) are their grid steps."""
        if not len(index):
            return

        # Thin the batch first: encoding costs more than choosing.
        while len(index) > SAMPLE:
            self.spacing *= 2
            index = index[number[index] % self.spacing == 0] if self.spacing < SPARSEST else index[:SAMPLE]

        part = windows.take(index)
        means = latent_means(scorer, part, names)
        self.kept += [
            (names[row], end, mean)
            for row, end, mean in zip(part.assets.tolist(), part.ends.tolist(), means, strict=True)
        ]
        self._numbers += number[index].tolist()

        # Thin everything kept so far to the same spacing.
        while len(self.kept) > SAMPLE:
            self.spacing *= 2
            places = [place for place, at in enumerate(self._numbers) if at % self.spacing == 0]
            places = places if self.spacing < SPARSEST else places[:SAMPLE]
            self.kept = [self.kept[place] for place in places]
            self._numbers = [self._numbers[place] for place in places]


def _track(name: str, parts: list[tuple[_Chunk, np.ndarray]], spread: Floats) -> Track:
    """Join the parts of one asset in order of time."""
    order = np.argsort(np.concatenate([chunk.ends[part] for chunk, part in parts]), kind="stable")

    def column(key: str) -> np.ndarray:
        joined: np.ndarray = np.concatenate([getattr(chunk, key)[part] for chunk, part in parts])[order]
        return joined

    keys = ("ends", "score", "alarm", "threshold", "anomalous", "newest", "expected")
    return Track(asset=name, spread=spread, **{key: column(key) for key in keys})
