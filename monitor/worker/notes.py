"""What a worker keeps of one detector on one partition besides its pipeline. No alert depends on it."""

from dataclasses import dataclass, field

import numpy as np

from monitor.core.fitting.history import History
from monitor.core.pipeline import Pipeline
from monitor.core.records import Floats, Outputs
from monitor.worker.alert_charts import AlertCharts


@dataclass(slots=True)
class Notes:
    """The past for training, and ratios and charts for the status page."""

    history: History
    charts: AlertCharts | None = None  # None = there is no page
    ratios: Floats = field(default_factory=lambda: np.empty(0, np.float32))  # (A,) of each asset's last window

    def remember(self, pipeline: Pipeline, outputs: Outputs) -> None:
        """Add outputs of the pipeline."""
        names, windows = outputs.names, outputs.windows
        self.history.note(outputs.alerts)  # first, since blocks of alerts are kept when others are not
        self.history.add(windows, names, pipeline.windows.channels)
        self.history.forget([name for _, name in outputs.evicted])

        if outputs.scores is not None and outputs.thresholds is not None:
            grown = np.full(len(names), np.nan, np.float32)
            grown[: len(self.ratios)] = self.ratios
            grown[[row for row, _ in outputs.evicted]] = np.nan
            # If an asset occurs more than once, its last value is kept.
            grown[windows.assets] = outputs.thresholds.alarm / outputs.thresholds.threshold
            self.ratios = grown[: len(pipeline.windows.assets)]

        if self.charts is not None:
            self.charts.update(pipeline, outputs)
