"""What the page draws of an alert: its asset's channels as observed and as expected, from before it began until now.

It begins when the asset becomes pending, with the steps of that window, and ends with the alert. Nothing of it is kept
over a restart, and nothing depends on it. Bounded: of each partition KEPT assets, firing ones first, with POINTS steps;
with 8 channels 8 kB each, with 64 channels 62 kB.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitor.core.pipeline import Pipeline
from monitor.core.records import Floats, Outputs, Times

POINTS = 120  # steps; at one a second two minutes, as wide as a telephone shows them apart
KEPT = 20  # assets of a partition; twice what the page draws


@dataclass(frozen=True, slots=True)
class AlertChart:
    """An asset over its last T steps."""

    channels: tuple[str, ...]
    ends: Times  # (T,) ms UTC
    observed: Floats  # (T, C) NaN = not measured
    expected: Floats  # (T, C)
    spread: Floats  # (C,) one standard deviation of what is expected


class AlertCharts:
    """The charts of one partition's assets that are not normal, by name; each is replaced, never changed."""

    def __init__(self, step_ms: int) -> None:
        self._step_ms = step_ms
        self.charts: Mapping[str, AlertChart] = {}

    def take(self, pipeline: Pipeline, outputs: Outputs) -> None:
        """Remember the windows of assets that are pending or firing, after the pipeline has judged them."""
        states, names = pipeline.sensor_alerts.states() | pipeline.alerting.states(), pipeline.windows.assets
        # Firing ones first, and of these the ones that are drawn already.
        urgent = sorted(states, key=lambda row: (states[row] != "firing", names[row] not in self.charts))[:KEPT]
        self.charts = {
            names[row]: course for row in urgent if (course := self._course(row, pipeline, outputs)) is not None
        }

    def _course(self, row: int, pipeline: Pipeline, outputs: Outputs) -> AlertChart | None:
        """The course of the asset at `row` with this batch in it."""
        windows, scores, name = outputs.windows, outputs.scores, pipeline.windows.assets[row]
        channels = tuple(pipeline.windows.channels)
        before = self.charts.get(name)
        places = np.flatnonzero(windows.assets == row)[-POINTS:]
        if scores is None or not len(places):
            return before
        if before is None or before.channels != channels:
            before = self._lead_up(places[:1], channels, pipeline, outputs)
        return AlertChart(
            channels,
            np.concatenate((before.ends, windows.ends[places]))[-POINTS:],
            np.concatenate((before.observed, scores.newest[places]))[-POINTS:],
            np.concatenate((before.expected, scores.expected[places]))[-POINTS:],
            scores.spread[places[-1]],
        )

    def _lead_up(
        self,
        place: "np.ndarray[tuple[int], np.dtype[np.intp]]",
        channels: tuple[str, ...],
        pipeline: Pipeline,
        outputs: Outputs,
    ) -> AlertChart:
        """The steps of the window at `place` (1,) but its newest."""
        assert pipeline.detector is not None, "what is not normal was scored"
        window = outputs.windows.take(place)
        observed = np.where(window.observed, window.values, np.float32(np.nan))[0, :, :-1].T
        names, scaling = pipeline.windows.assets, pipeline.detector.model.scaling
        scalings = pipeline.new_assets.current(window, names, scaling)
        expected = pipeline.detector.expected(window, names, scalings)[0, :, :-1].T
        ends = window.ends[0] - self._step_ms * np.arange(len(observed), 0, -1)
        return AlertChart(channels, ends, observed, expected, np.zeros(len(channels), np.float32))
