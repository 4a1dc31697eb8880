"""Sections for model, training and threshold.

Ranges are never wider than what the stages in monitor/core accept. Combinations are checked in checks.py.
"""

from pathlib import Path
from typing import Literal

from monitor.core.fitting.exclude import Span
from monitor.core.fitting.history import HistoryOptions
from monitor.core.fitting.recipe import Recipe
from monitor.core.model.architecture import Architecture
from monitor.core.threshold.options import ThresholdOptions
from monitor.settings.base import Section, setting
from monitor.settings.exclude_spans import read_spans
from monitor.settings.stages import WindowsSection


class ModelSection(Section):
    """Size of the model. A change takes effect with the next first model, not with a retrained one."""

    hidden: int = setting(32, "Width of every convolution. The cost grows with its square.", low=4, high=256)
    latent: int = setting(
        12,
        "Size of the bottleneck. A larger one copies the input, anomalies included.",
        low=1,
        high=256,
    )
    layers: int = setting(3, "Number of convolutions. Each halves the time axis.", low=1, high=6)
    kernel: int = setting(5, "Width of a convolution in time; odd.", unit="steps", low=1, high=15)
    threads: int = setting(
        1,
        "Threads for arithmetic. One is fastest for small models; start more processes instead.",
        low=1,
        high=64,
    )

    def architecture(self, channels: int, length: int) -> Architecture:
        """Return the model's shape. Raises ValueError if the numbers do not fit together."""
        return Architecture(channels, length, self.hidden, self.latent, self.layers, self.kernel)


class TrainingSection(Section):
    """Training on recent history, in a child process, while the stream is processed."""

    enabled: bool = setting(True, "Train models in this process. If off, a model must be in the store.")
    history_windows: int = setting(
        20_000,
        "Windows of history per partition, one window length apart. When it is full, every second window is dropped.",
        unit="windows",
        low=20,
        high=1_000_000,
    )
    horizon_s: float = setting(
        604_800.0,
        "Drop history that is older. A week contains workdays and a weekend.",
        unit="s",
        low=60,
        high=31_536_000,
    )
    first_steps: int = setting(
        1000,
        "Steps of history that half of the assets must have before the first model is trained.",
        unit="steps",
        low=20,
        high=10_000_000,
    )
    interval_s: float = setting(
        86_400.0,
        "Time between two trainings. 0 = after the first model, train only on demand.",
        unit="s",
        low=0,
        high=31_536_000,
    )
    guard_s: float = setting(
        60.0,
        "Do not train on history within this time before and after an alert.",
        unit="s",
        low=0,
        high=86_400,
    )
    worst: float = setting(
        0.02,
        "Share of the history with the highest scores of the current model that is not trained on, so that a fault too "
        "slow to alert does not become normal.",
        low=0,
        high=0.5,
    )
    exclude: str = setting(
        "",
        'Condition on channels under which history is not trained on, such as status == 3 or state == "SERVICE". It is '
        "written like running.when. The channels must be in the history, which has those of the model in use. A "
        "code that is sent on change needs [channels.NAME] hold_s, longer than it stays the same: otherwise only the "
        "steps at which it came count, and the model leaves it out. A window's length of history in which the "
        "condition is true at any step is left out as a whole.",
        form="a condition, or empty",
    )
    exclude_spans: str = setting(
        "",
        'File of times that are not trained on, read before each training. JSON lines such as {"asset": "pump-*", '
        '"start": "2026-03-02T06:00:00Z", "end": 1772438400000}; asset is a name or glob, times are ms UTC or texts '
        "with a zone. Empty: none.",
        form="a path, or empty",
    )
    recurs_days: int = setting(
        3,
        "Learn an alert's pattern, such as a start of the machine, once it has come back on this many different days "
        "(UTC). Until then, history within alerts is left out. A fault that comes and goes on that many days is "
        "learned, too. 0 = never learn it.",
        unit="days",
        low=0,
        high=365,
    )
    steps: int = setting(800, "Gradient steps of the first model. A retraining takes a third.", low=10, high=1_000_000)
    batch: int = setting(128, "Windows per gradient step.", unit="windows", low=1, high=4096)
    learning_rate: float = setting(
        2e-3,
        "Highest learning rate of AdamW. A retraining takes a quarter.",
        otherwise="the weights would not change, or not stay finite",
        low=1e-6,
        high=0.1,
    )
    patience: int = setting(
        8,
        "Stop after this many evaluations without improvement. The held-out windows are evaluated every 25 steps.",
        low=1,
        high=10_000,
    )
    margin: float = setting(
        0.05,
        "Refuse a new model whose loss on the held-out windows exceeds the current model's by more than this share.",
        low=0,
        high=1,
    )
    seed: int = setting(
        0,
        "Seed of all randomness in training. The same history gives the same model on the same machine.",
        low=0,
        high=2**32 - 1,
    )
    timeout_s: float = setting(1800.0, "Stop a training that takes longer.", unit="s", low=10, high=604_800)
    memory_mb: int = setting(
        4096,
        "Memory of the child process. A training that needs more fails, and the stream continues. The history passed "
        "to a training may take an eighth of it.",
        unit="MiB",
        low=512,
        high=1_048_576,
    )
    nice: int = setting(
        10,
        "Niceness of the child process, so that it uses processor time that the stream leaves.",
        low=0,
        high=19,
    )

    def history_options(self, windows: WindowsSection) -> HistoryOptions:
        """Return how much history of a partition is kept for training."""
        return HistoryOptions(
            budget=self.history_windows,
            length=windows.length,
            step_ms=windows.step_ms,
            horizon_ms=round(self.horizon_s * 1000),
            guard_ms=round(self.guard_s * 1000),
        )

    def recipe(self, model: ModelSection, rest_days: int | None = None) -> Recipe:
        """Return how to fit a model of this size. Levels of rest are learned as `Recipe.rest_days` says."""
        size = model.model_dump(exclude={"threads"})
        names = {"steps", "batch", "learning_rate", "patience", "worst", "recurs_days", "exclude", "seed"}
        return Recipe(**size, **self.model_dump(include=names), rest_days=rest_days, exclude_spans=self.spans())

    def spans(self) -> tuple[Span, ...]:
        """Read the times to leave out. Raises OSError, and ValueError that names file, line and field."""
        return read_spans(Path(self.exclude_spans)) if self.exclude_spans else ()


class ModesSection(Section):
    """Operating modes of the machines, such as recipes or levels of load, each with usual errors of its own.

    With neither setting, there is one mode. After a change, the next training brings it. An asset in a mode that was
    not learned has one alert with the cause new_mode, and is not judged by the errors of other modes
    (docs/model.md).
    """

    channel: str = setting(
        "",
        "Channel with the mode as a number or, with [channels.NAME] texts, as a text, such as recipe. It is read as a "
        "state. Each value that the history holds "
        "is a mode, at most 64. Empty: modes do not come from a channel.",
        form="a channel's name, or empty",
    )
    learned: bool = setting(
        False,
        "Learn up to 16 modes: groups of windows that look alike and differ in their errors. Machines that do one "
        "thing get one. Faults of batches then stand out more. A new recipe gives an alert with the cause new_mode if "
        "it is unlike all that was learned.",
    )


class ThresholdSection(Section):
    """The threshold of each asset: a percentile of its own recent alarm scores, times a margin.

    After a change of kind or memory, old snapshots are refused and all state is built up again.
    """

    kind: Literal["ring", "histogram"] = setting(
        "ring",
        "How an asset's recent alarm scores are stored. ring: each score, with an exact percentile. histogram: counts "
        "in buckets, 2.6 kB per asset for any number of scores, with a percentile within 1.22 %; for thousands of "
        "assets per process.",
    )
    percentile: float = setting(
        99.0,
        "Percentile of the asset's recent alarm scores. By itself it would flag 1 % of all windows, hence the margin.",
        otherwise="half of all windows would be flagged, or none",
        unit="%",
        low=50,
        high=99.999,
    )
    margin: float = setting(
        1.4,
        "Factor on the percentile. A lower factor finds more faults and gives more false alerts. Alarm scores are "
        "logarithms or roots, so a factor of 2 is much.",
        otherwise="normal windows would be flagged, or no fault found",
        low=1,
        high=100,
    )
    memory: int = setting(
        10_000,
        "Scores stored per asset: 2.8 hours at one a second. A ring of 10 000 takes 40 kB per asset. A histogram "
        "stores between 7/8 of them and all. The more are stored, the more slowly the threshold follows.",
        unit="scores",
        low=100,
        high=1_000_000,
    )
    warm: int = setting(
        256,
        "Scores of an asset before its own percentile applies. Until then the model's calibration applies. If normal "
        "operation has changed since the training, every score exceeds that, so keep this short.",
        unit="scores",
        low=1,
        high=1_000_000,
    )
    clip: float = setting(
        1.05,
        "An alarm score is stored as at most this factor of the percentile, which limits how fast the threshold rises "
        "to a lasting shift. The limits of the channels, if the model has any, follow it sooner: see "
        "docs/operations.md.",
        otherwise="a lasting shift would never be accepted, or an incident would blind the monitor",
        low=1.01,
        high=10,
    )
    refresh: int = setting(
        32,
        "Compute an asset's percentile once in this many scores. For each score it would cost more than the model.",
        unit="scores",
        low=1,
        high=10_000,
    )

    def options(self) -> ThresholdOptions:
        """Return the options of the stage."""
        return ThresholdOptions(**self.model_dump())
