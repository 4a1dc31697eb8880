"""What a backtest remembers of every scored window: columns by asset, and a sample of places in latent space.

All of it is kept in memory, 8 bytes per reading and about 40 per window. The sample of the latent space is kept small
by taking only every second window from some point on, then every fourth, and so on; anomalous ones have a sample of
their own, or the few of them would hardly ever be in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.backtest.latent_map import latent_means
from monitor.core.model.detector import Detector
from monitor.core.records import Bools, Floats, Ints, Outputs, Times, WindowBatch

SAMPLE = 2000  # windows of each of the two samples at most; more dots than that hide one another


@dataclass(frozen=True, slots=True)
class Track:
    """The scored windows (T,) of one asset, in order of time."""

    asset: str
    ends: Times  # (T,) ms UTC
    score: Floats  # (T,)
    threshold: Floats  # (T,)
    anomalous: Bools  # (T,)
    newest: Floats  # (T, C) as read, NaN = not measured
    expected: Floats  # (T, C)
    spread: Floats  # (C,) one standard deviation of what is expected


@dataclass(frozen=True, slots=True)
class Places:
    """Some windows (S,) and where they lie in latent space."""

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
    threshold: Floats  # (B,)
    anomalous: Bools  # (B,)
    newest: Floats  # (B, C)
    expected: Floats  # (B, C)


class Collector:
    """Takes what pipelines give; `tracks` and `places` say what came together."""

    def __init__(self, step_ms: int) -> None:
        self._step_ms = step_ms
        self._chunks: list[_Chunk] = []
        self._samples = (_Sample(), _Sample())  # of all windows, of anomalous ones
        self._spread: dict[str, Floats] = {}  # (C,) by asset; with one model it never changes
        self._latent = 0

    def take(self, names: Sequence[str], detector: Detector, outputs: Outputs) -> None:
        """Remember one batch of one partition; `names` are of asset rows."""
        windows, scores, thresholds = outputs.windows, outputs.scores, outputs.thresholds
        if scores is None or thresholds is None or not len(windows):
            return
        self._latent = detector.model.architecture.latent
        columns = (windows.assets, windows.ends, scores.score, thresholds.threshold, thresholds.anomalous)
        self._chunks.append(_Chunk(names, *columns, scores.newest, scores.expected))
        for row, place in zip(*np.unique(windows.assets, return_index=True), strict=True):
            self._spread[names[row]] = scores.spread[place].copy()
        number = windows.ends // self._step_ms
        for sample, among in zip(self._samples, (np.ones(len(windows), np.bool_), thresholds.anomalous), strict=True):
            sample.take(np.flatnonzero(among & (number % sample.spacing == 0)), number, names, detector, windows)

    def tracks(self) -> list[Track]:
        """One per asset that was scored, by name."""
        by_asset: dict[str, list[tuple[_Chunk, np.ndarray]]] = {}
        for chunk in self._chunks:
            order = np.argsort(chunk.rows, kind="stable")
            for part in np.split(order, np.flatnonzero(np.diff(chunk.rows[order])) + 1):
                by_asset.setdefault(chunk.names[chunk.rows[part[0]]], []).append((chunk, part))
        return [_track(name, by_asset[name], self._spread[name]) for name in sorted(by_asset)]

    def places(self) -> Places:
        """The sample, without repetition."""
        found = {(asset, end): mean for sample in self._samples for asset, end, mean in sample.kept}
        means = np.array(list(found.values()), np.float32).reshape(len(found), self._latent)
        return Places(tuple(asset for asset, _ in found), np.array([end for _, end in found], np.int64), means)


class _Sample:
    """Every `spacing`-th step's windows, at most SAMPLE of them."""

    def __init__(self) -> None:
        self.spacing = 1
        self.kept: list[tuple[str, int, Floats]] = []  # asset, end, latent mean
        self._numbers: list[int] = []  # of the grid steps

    def take(
        self, index: np.ndarray, number: Times, names: Sequence[str], detector: Detector, windows: WindowBatch
    ) -> None:
        if not len(index):
            return
        while len(index) > SAMPLE:
            self.spacing *= 2
            index = index[number[index] % self.spacing == 0] if self.spacing < 2**32 else index[:SAMPLE]
        part = windows.take(index)
        means = latent_means(detector, part, names)
        self.kept += [
            (names[row], end, mean)
            for row, end, mean in zip(part.assets.tolist(), part.ends.tolist(), means, strict=True)
        ]
        self._numbers += number[index].tolist()
        while len(self.kept) > SAMPLE:
            self.spacing *= 2
            held = [place for place, at in enumerate(self._numbers) if at % self.spacing == 0]
            held = held if self.spacing < 2**32 else held[:SAMPLE]  # more assets than SAMPLE in one step
            self.kept = [self.kept[place] for place in held]
            self._numbers = [self._numbers[place] for place in held]


def _track(name: str, parts: list[tuple[_Chunk, np.ndarray]], spread: Floats) -> Track:
    order = np.argsort(np.concatenate([chunk.ends[part] for chunk, part in parts]), kind="stable")

    def column(key: str) -> np.ndarray:
        joined: np.ndarray = np.concatenate([getattr(chunk, key)[part] for chunk, part in parts])[order]
        return joined

    keys = ("ends", "score", "threshold", "anomalous", "newest", "expected")
    return Track(asset=name, spread=spread, **{key: column(key) for key in keys})
