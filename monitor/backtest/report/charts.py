"""Charts of the report as inline SVG: plain text, no script, scaled by the page to whatever width there is.

A series with more windows than BINS is thinned: of each of BINS stretches of time its least and its greatest value are
drawn, so that nothing that sticks out gets lost, however long the recording. Coordinates are whole numbers in a box of
BINS x HIGH, which is finer than a screen shows and keeps the file small. Colours are classes; report.css has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.core.records import Bools, Floats, Times

BINS, HIGH = 600, 200
LEAST_SCORE = 0.02  # below it a score is drawn at the lower edge of its logarithmic axis

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to places in the box."""

    low: float
    high: float

    def place(self, values: npt.NDArray[np.floating]) -> Doubles:
        """Values (K,) as places, 0 at the top edge; what lies beyond an edge is put a little beyond it."""
        share = (values.astype(np.float64) - self.low) / max(self.high - self.low, 1e-30)
        result: Doubles = HIGH * (1 - np.clip(share, -0.05, 1.05))
        return result


@dataclass(frozen=True, slots=True)
class Thinned:
    """Least and greatest values per stretch of time, of the stretches that hold any."""

    at: Times  # (K,) places from left to right, ascending, within [0, BINS)
    low: Doubles  # (K,)
    high: Doubles  # (K,)


def bins(ends: Times, begin: int, end: int) -> Times:
    """Which stretch (T,) each time falls into, of BINS between `begin` and `end`."""
    return np.minimum((ends - begin) * BINS // max(end - begin, 1), BINS - 1)


def thin(place: Times, low: Floats, high: Floats) -> Thinned:
    """`low` and `high` (T,) by `place` (T,), ascending; NaN is left out."""
    kept = ~(np.isnan(low) | np.isnan(high))
    at, low, high = place[kept], low[kept], high[kept]
    first = np.flatnonzero(np.diff(at, prepend=-1))
    if not len(first):
        return Thinned(at, np.empty(0), np.empty(0))
    return Thinned(at[first], np.minimum.reduceat(low, first), np.maximum.reduceat(high, first))


def line(thinned: Thinned, axis: Axis, gap: int) -> str:
    """The path through least and greatest values; interrupted where more than `gap` stretches are empty."""
    low, high = axis.place(thinned.low).round().astype(int), axis.place(thinned.high).round().astype(int)
    parts: list[str] = []
    before = -BINS
    for at, bottom, top in zip(thinned.at.tolist(), low.tolist(), high.tolist(), strict=True):
        near, far = (bottom, top) if len(parts) % 2 else (top, bottom)
        parts.append(f"{'M' if at - before > gap else 'L'}{at} {near}" + (f"V{far}" if far != near else ""))
        before = at
    return "".join(parts)


def band(thinned: Thinned, axis: Axis, gap: int) -> str:
    """The path around everything between least and greatest values."""
    low, high = axis.place(thinned.low).round().astype(int), axis.place(thinned.high).round().astype(int)
    paths = []
    for part in np.split(np.arange(len(low)), np.flatnonzero(np.diff(thinned.at) > gap) + 1):
        if len(part):
            there = [f"{x} {y}" for x, y in zip(thinned.at[part].tolist(), high[part].tolist(), strict=True)]
            back = [f"{x} {y}" for x, y in zip(thinned.at[part].tolist(), low[part].tolist(), strict=True)]
            paths.append("M" + "L".join(there) + "L" + "L".join(reversed(back)) + "Z")
    return "".join(paths)


def marks(on: Bools, place: Times, name: str, top: int = 0, height: int = HIGH) -> str:
    """Rectangles of class `name` over the runs of True in `on` (T,); each at least two units wide, to be seen."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], on.astype(np.int8), [0]))))
    return "".join(
        f'<rect class="{name}" x="{place[a]}" y="{top}" width="{max(place[b - 1] - place[a] + 1, 2)}" '
        f'height="{height}"/>'
        for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    )


def box(inside: str, label: str, width: int = BINS) -> str:
    """A chart as wide as the page lets it be; `label` is told to who cannot see it, and must be escaped."""
    return (
        f'<svg viewBox="0 0 {width} {HIGH}" preserveAspectRatio="none" role="img" aria-label="{label}">{inside}</svg>'
    )


def channel_chart(place: Times, newest: Floats, band_: tuple[Floats, Floats], spans: str, label: str) -> str:
    """One channel: the band (T,), (T,) of what was expected, and over it what was read (T,)."""
    gap = _gap(place)
    seen, wide = thin(place, newest, newest), thin(place, *band_)
    middle = (band_[0].astype(np.float64) + band_[1]) / 2
    axis = _around(np.concatenate([seen.low, seen.high, middle]))
    body = f'<path class="band" d="{band(wide, axis, gap)}"/><path class="seen" d="{line(seen, axis, gap)}"/>'
    return box(spans + body, label)


def score_axis(score: Floats, threshold: Floats) -> Axis:
    """Logarithmic: from the smallest score worth drawing to the highest."""
    top = max(float(score.max()), float(threshold.max()), 1.0)
    least = max(min(float(np.quantile(score, 0.01)), float(threshold.min())), LEAST_SCORE)
    return Axis(float(np.log10(least)), float(np.log10(top * 1.1)))


def score_chart(place: Times, score: Floats, threshold: Floats, spans: str, label: str) -> str:
    """Score (T,) and threshold (T,) over time."""
    gap, axis = _gap(place), score_axis(score, threshold)
    logs = [np.log10(np.maximum(values, LEAST_SCORE / 10)) for values in (score, threshold)]
    paths = [line(thin(place, values, values), axis, gap) for values in logs]
    body = f'<path class="seen" d="{paths[0]}"/><path class="limit" d="{paths[1]}"/>'
    return box(spans + body, label)


def curve(x: Doubles, y: Doubles, at: tuple[float, float], label: str) -> str:
    """A curve within the unit square, thinned to what can be told apart, with a dot at one of its points."""
    xs, ys = (x * HIGH).round().astype(int), (HIGH - y * HIGH).round().astype(int)
    kept = np.flatnonzero(np.append(True, (np.diff(xs) != 0) | (np.diff(ys) != 0)))
    points = [f"{a} {b}" for a, b in zip(xs[kept].tolist(), ys[kept].tolist(), strict=True)]
    dot = f'<circle class="best" cx="{at[0] * HIGH:.0f}" cy="{HIGH - at[1] * HIGH:.0f}" r="5"/>'
    path = f'<path class="frame" d="M0 0H{HIGH}V{HIGH}H0Z"/><path class="seen" d="M{"L".join(points)}"/>{dot}'
    return _square(path, label)


def distribution(scores: Floats, on: Bools, thresholds: tuple[float, float, float], label: str) -> tuple[str, Axis]:
    """How many windows have which score, on a logarithmic axis; `on` (B,) are drawn in another colour.

    `thresholds` are the least, the middle and the greatest limit in force. Heights are square roots of numbers, or the
    few high scores that matter could not be seen.
    """
    axis = score_axis(scores, np.array(thresholds[2:], np.float32))
    logs = np.clip(np.log10(np.maximum(scores, 1e-9)), axis.low, axis.high)
    edges = np.linspace(axis.low, axis.high, 61)
    heights = [np.sqrt(np.histogram(logs[which], edges)[0]) for which in (~on, on)]
    top = max(float(np.concatenate(heights).max()), 1.0)
    step = BINS // 60
    bars = "".join(
        f'<rect class="{name}" x="{number * step}" y="{HIGH - h:.0f}" width="{step - 1}" height="{h:.0f}"/>'
        for name, values in zip(("bar", "bar labelled"), heights, strict=True)
        for number, h in enumerate((values / top * (HIGH - 10)).tolist())
        if h
    )
    low, middle, high = (BINS * (np.log10(max(t, 1e-9)) - axis.low) / (axis.high - axis.low) for t in thresholds)
    limits = f'<rect class="limits" x="{low:.0f}" y="0" width="{max(high - low, 1):.0f}" height="{HIGH}"/>'
    return box(f'{limits}{bars}<path class="limit" d="M{middle:.0f} 0V{HIGH}"/>', label), axis


def dots(flat: Floats, groups: Sequence[tuple[str, Bools]], label: str) -> str:
    """Places (S, 2) as dots, one class after another so that the last lies on top."""
    low, high = np.quantile(flat, [0.002, 0.998], axis=0) if len(flat) else (np.zeros(2), np.ones(2))
    inner = 8 + (HIGH - 16) * np.clip((flat - low) / np.maximum(high - low, 1e-12), -0.03, 1.03)
    inner[:, 1] = HIGH - inner[:, 1]
    body = "".join(
        f'<g class="{name}">' + "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="1.6"/>' for x, y in inner[on]) + "</g>"
        for name, on in groups
    )
    return _square(f'<path class="frame" d="M0 0H{HIGH}V{HIGH}H0Z"/>{body}', label)


def _square(inside: str, label: str) -> str:
    """A chart as high as it is wide, with room at the edges for a dot."""
    return f'<svg viewBox="-4 -4 {HIGH + 8} {HIGH + 8}" role="img" aria-label="{label}">{inside}</svg>'


def _gap(place: Times) -> int:
    """How many empty stretches are still no hole: three times what usually lies between two windows."""
    steps = np.diff(place)
    return 3 * max(1, int(np.median(steps[steps > 0]))) if np.any(steps > 0) else BINS


def _around(values: Doubles) -> Axis:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Axis(0, 1)
    low, high = float(finite.min()), float(finite.max())
    pad = 0.06 * (high - low) or max(abs(high) * 0.05, 0.5)
    return Axis(low - pad, high + pad)
