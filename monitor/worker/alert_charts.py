"""Charts of alerts for the status page: an asset's channels as observed and as expected, from before the alert on.

A chart begins when the asset becomes pending, with the steps of that window, and ends with the alert. Charts are not
saved, and nothing depends on them. They are bounded: per partition MOST_CHARTS assets, firing ones first, with
CHART_STEPS steps each. With 8 channels a chart takes 8 kB, with 64 channels 62 kB.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitor.core.pipeline import Pipeline
from monitor.core.records import Floats, Outputs, Times

CHART_STEPS = 120  # at one a second two minutes, as many as a telephone's screen shows apart
MOST_CHARTS = 20  # assets of a partition; the page draws half as many


@dataclass(frozen=True, slots=True)
class AlertChart:
    """An asset over its last T steps."""

    channels: tuple[str, ...]
    ends: Times  # (T,) ms UTC
    observed: Floats  # (T, C) NaN = not measured
    expected: Floats  # (T, C)
    spread: Floats  # (C,) one standard deviation of the expected values


class AlertCharts:
    """Charts of one partition's pending and firing assets, by name. The mapping is replaced, never changed."""

    def __init__(self) -> None:
        self.charts: Mapping[str, AlertChart] = {}

    def update(self, pipeline: Pipeline, outputs: Outputs) -> None:
        """Add the windows of pending and firing assets, after the pipeline has processed them."""
        names = pipeline.windows.assets
        states = pipeline.sensor_alerts.states()
        states |= {row: state for row, state in pipeline.alerting.states().items() if state != "adapted"}

        # Firing assets first, and of these the ones that have a chart already.
        urgent = sorted(states, key=lambda row: (states[row] != "firing", names[row] not in self.charts))
        charts = {names[row]: self._extended(row, pipeline, outputs) for row in urgent[:MOST_CHARTS]}
        self.charts = {name: chart for name, chart in charts.items() if chart is not None}

    def _extended(self, row: int, pipeline: Pipeline, outputs: Outputs) -> AlertChart | None:
        """Return the chart of the asset at `row` with this batch added; None if there is nothing to draw yet."""
        windows, scores = outputs.windows, outputs.scores
        channels = tuple(pipeline.windows.channels)
        chart = self.charts.get(pipeline.windows.assets[row])
        places = np.flatnonzero(windows.assets == row)[-CHART_STEPS:]
        if scores is None or not len(places):
            return chart

        if chart is None or chart.channels != channels:
            chart = self._lead_up(places[:1], channels, pipeline, outputs)
        return AlertChart(
            channels,
            np.concatenate((chart.ends, windows.ends[places]))[-CHART_STEPS:],
            np.concatenate((chart.observed, scores.newest[places]))[-CHART_STEPS:],
            np.concatenate((chart.expected, scores.expected[places]))[-CHART_STEPS:],
            scores.spread[places[-1]],
        )

    def _lead_up(
        self,
        place: "np.ndarray[tuple[int], np.dtype[np.intp]]",
        channels: tuple[str, ...],
        pipeline: Pipeline,
        outputs: Outputs,
    ) -> AlertChart:
        """Return a chart of the window at `place` (1,) without its newest step."""
        assert pipeline.scorer is not None, "a pending asset was scored"
        window = outputs.windows.take(place)
        observed = np.where(window.observed, window.values, np.float32(np.nan))[0, :, :-1].T

        names, scaling = pipeline.windows.assets, pipeline.scorer.model.scaling
        scalings = pipeline.new_assets.current(window, names, scaling)
        expected = pipeline.scorer.expected(window, names, scalings)[0, :, :-1].T

        ends = window.ends[0] - pipeline.windows.step_ms * np.arange(len(observed), 0, -1)
        return AlertChart(channels, ends, observed, expected, np.zeros(len(channels), np.float32))
