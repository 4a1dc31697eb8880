"""Charts of the report as inline SVG: plain text, no script, scaled by the page to the width it has.

A series with more windows than BINS is thinned: the least and the greatest value of each of BINS stretches of time are
drawn, so every outlier stays visible, however long the recording. Coordinates are whole numbers in a box of
BINS x HIGH, which is finer than a screen shows and keeps the file small. Colours are classes of report.css.

Every chart is `Markup`: its labels are escaped here, its paths are numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from monitor.core.records import Bools, Floats, Times

BINS = 600
HIGH = 200
BARS = 60  # of the distribution
LEAST_SCORE = 0.02  # alarm scores below it are drawn at the lower edge of the logarithmic axis
BEYOND = 0.05  # share of the box by which a value outside of it is drawn outside

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear map from values to vertical places in the box."""

    low: float
    high: float

    def place(self, values: npt.NDArray[np.floating]) -> Doubles:
        """Return places (K,) of values (K,), 0 at the top edge; a value beyond an edge is drawn a little beyond it."""
        share = (values.astype(np.float64) - self.low) / max(self.high - self.low, 1e-30)
        result: Doubles = HIGH * (1 - np.clip(share, -BEYOND, 1 + BEYOND))
        return result


@dataclass(frozen=True, slots=True)
class Thinned:
    """Least and greatest values per stretch of time; empty stretches are left out."""

    at: Times  # (K,) places from left to right, ascending, within [0, BINS)
    low: Doubles  # (K,)
    high: Doubles  # (K,)


def bins(ends: Times, begin: int, end: int) -> Times:
    """Return the stretch (T,) of each time (T,), of BINS stretches between `begin` and `end`."""
    return np.minimum((ends - begin) * BINS // max(end - begin, 1), BINS - 1)


def thin(place: Times, low: Floats, high: Floats) -> Thinned:
    """Reduce `low` and `high` (T,) to one pair per place; `place` (T,) ascends, NaN is left out."""
    kept = ~(np.isnan(low) | np.isnan(high))
    at, low, high = place[kept], low[kept], high[kept]
    first = np.flatnonzero(np.diff(at, prepend=-1))

    if not len(first):
        return Thinned(at, np.empty(0), np.empty(0))
    return Thinned(at[first], np.minimum.reduceat(low, first), np.maximum.reduceat(high, first))


def line(thinned: Thinned, axis: Axis, gap: int) -> str:
    """Return the path through least and greatest values, interrupted where more than `gap` stretches are empty."""
    low = axis.place(thinned.low).round().astype(int)
    high = axis.place(thinned.high).round().astype(int)

    parts: list[str] = []
    before = -BINS
    for at, bottom, top in zip(thinned.at.tolist(), low.tolist(), high.tolist(), strict=True):
        # Up in one stretch, down in the next: the path never jumps back within a stretch.
        near, far = (bottom, top) if len(parts) % 2 else (top, bottom)
        command = "M" if at - before > gap else "L"
        parts.append(f"{command}{at} {near}" + (f"V{far}" if far != near else ""))
        before = at
    return "".join(parts)


def band(thinned: Thinned, axis: Axis, gap: int) -> str:
    """Return the path around everything between least and greatest values."""
    low = axis.place(thinned.low).round().astype(int)
    high = axis.place(thinned.high).round().astype(int)
    holes = np.flatnonzero(np.diff(thinned.at) > gap) + 1

    paths = []
    for part in np.split(np.arange(len(low)), holes):
        if len(part):
            there = [f"{x} {y}" for x, y in zip(thinned.at[part].tolist(), high[part].tolist(), strict=True)]
            back = [f"{x} {y}" for x, y in zip(thinned.at[part].tolist(), low[part].tolist(), strict=True)]
            paths.append("M" + "L".join(there) + "L" + "L".join(reversed(back)) + "Z")
    return "".join(paths)


def marks(on: Bools, place: Times, name: str, height: int = HIGH) -> Markup:
    """Return rectangles of class `name` over the runs of True in `on` (T,), at least two units wide to stay visible."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], on.astype(np.int8), [0]))))
    rectangles = (
        f'<rect class="{name}" x="{place[first]}" y="0" width="{max(place[after - 1] - place[first] + 1, 2)}" '
        f'height="{height}"/>'
        for first, after in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    )
    return Markup("".join(rectangles))  # noqa: S704 - numbers and our own class names


def box(inside: Markup, label: str) -> Markup:
    """Return a chart that fills the width it is given; `label` is its text for screen readers."""
    chart = Markup('<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>')
    return chart.format(BINS, HIGH, label, inside)


def channel_chart(place: Times, newest: Floats, expected: tuple[Floats, Floats], spans: Markup, label: str) -> Markup:
    """Draw one channel: the expected band (T,), (T,), and over it the readings (T,)."""
    gap = _gap(place)
    seen = thin(place, newest, newest)
    wide = thin(place, *expected)
    middle = (expected[0].astype(np.float64) + expected[1]) / 2
    axis = _around(np.concatenate([seen.low, seen.high, middle]))

    return box(spans + _path("band", band(wide, axis, gap)) + _path("seen", line(seen, axis, gap)), label)


def alarm_axis(alarm: Floats, threshold: Floats) -> Axis:
    """Return a logarithmic axis (base 10) from the smallest alarm score worth drawing to the highest."""
    top = max(float(alarm.max()), float(threshold.max()), 1.0)
    least = max(min(float(np.quantile(alarm, 0.01)), float(threshold.min())), LEAST_SCORE)
    return Axis(float(np.log10(least)), float(np.log10(top * 1.1)))


def alarm_chart(place: Times, alarm: Floats, threshold: Floats, spans: Markup, label: str) -> Markup:
    """Draw alarm score (T,) and threshold (T,) over time."""
    gap, axis = _gap(place), alarm_axis(alarm, threshold)
    logs = [np.log10(np.maximum(values, LEAST_SCORE / 10)) for values in (alarm, threshold)]
    paths = [line(thin(place, values, values), axis, gap) for values in logs]

    return box(spans + _path("seen", paths[0]) + _path("limit", paths[1]), label)


def curve(x: Doubles, y: Doubles, at: tuple[float, float], label: str) -> Markup:
    """Draw a curve within the unit square, thinned to points that can be told apart, with a dot at `at`."""
    xs, ys = (x * HIGH).round().astype(int), (HIGH - y * HIGH).round().astype(int)
    kept = np.flatnonzero(np.append(True, (np.diff(xs) != 0) | (np.diff(ys) != 0)))
    points = [f"{a} {b}" for a, b in zip(xs[kept].tolist(), ys[kept].tolist(), strict=True)]

    dot = Markup('<circle class="best" cx="{:.0f}" cy="{:.0f}" r="5"/>').format(at[0] * HIGH, HIGH - at[1] * HIGH)
    return _square(_path("seen", "M" + "L".join(points)) + dot, label)


def distribution(alarms: Floats, on: Bools, thresholds: tuple[float, float, float], label: str) -> tuple[Markup, Axis]:
    """Draw a histogram of alarm scores (B,) on a logarithmic axis; windows in `on` (B,) have another colour.

    `thresholds` are the least, the median and the greatest threshold. Heights are square roots of counts; otherwise
    the few high alarm scores that matter would be invisible.
    """
    axis = alarm_axis(alarms, np.array(thresholds[2:], np.float32))
    logs = np.clip(np.log10(np.maximum(alarms, 1e-9)), axis.low, axis.high)

    # Bars, both kinds on one scale.
    edges = np.linspace(axis.low, axis.high, BARS + 1)
    heights = [np.sqrt(np.histogram(logs[which], edges)[0]) for which in (~on, on)]
    top = max(float(np.concatenate(heights).max()), 1.0)
    step = BINS // BARS
    bars = "".join(
        f'<rect class="{name}" x="{number * step}" y="{HIGH - high:.0f}" width="{step - 1}" height="{high:.0f}"/>'
        for name, values in zip(("bar", "bar labelled"), heights, strict=True)
        for number, high in enumerate((values / top * (HIGH - 10)).tolist())
        if high
    )

    # The range of thresholds, and a line at their median.
    low, middle, high = (BINS * (np.log10(max(t, 1e-9)) - axis.low) / (axis.high - axis.low) for t in thresholds)
    limits = f'<rect class="limits" x="{low:.0f}" y="0" width="{max(high - low, 1):.0f}" height="{HIGH}"/>'
    drawn = Markup(limits + bars) + _path("limit", f"M{middle:.0f} 0V{HIGH}")  # noqa: S704 - numbers
    return box(drawn, label), axis


def dots(flat: Floats, groups: Sequence[tuple[str, Bools]], label: str) -> Markup:
    """Draw places (S, 2) as dots, one group after another, the last on top."""
    low, high = np.quantile(flat, [0.002, 0.998], axis=0) if len(flat) else (np.zeros(2), np.ones(2))
    inner = 8 + (HIGH - 16) * np.clip((flat - low) / np.maximum(high - low, 1e-12), -0.03, 1.03)
    inner[:, 1] = HIGH - inner[:, 1]

    drawn = []
    for name, on in groups:
        circles = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="1.6"/>' for x, y in inner[on])
        drawn.append(f'<g class="{name}">{circles}</g>')
    return _square(Markup("".join(drawn)), label)  # noqa: S704 - numbers and our own class names


def _path(name: str, data: str) -> Markup:
    """Return a path of class `name`; `data` is made of numbers and commands."""
    return Markup('<path class="{}" d="{}"/>').format(name, data)


def _square(inside: Markup, label: str) -> Markup:
    """Return a framed chart as high as it is wide, with room at the edges for a dot."""
    frame = _path("frame", f"M0 0H{HIGH}V{HIGH}H0Z")
    chart = Markup('<svg viewBox="-4 -4 {} {}" role="img" aria-label="{}">{}</svg>')
    return chart.format(HIGH + 8, HIGH + 8, label, frame + inside)


def _gap(place: Times) -> int:
    """Return the number of empty stretches that is not yet a hole: three times the median distance of windows."""
    steps = np.diff(place)
    return 3 * max(1, int(np.median(steps[steps > 0]))) if np.any(steps > 0) else BINS


def _around(values: Doubles) -> Axis:
    """Return an axis around the finite values, with a margin of 6 %."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Axis(0, 1)

    low, high = float(finite.min()), float(finite.max())
    pad = 0.06 * (high - low) or max(abs(high) * 0.05, 0.5)
    return Axis(low - pad, high + pad)
