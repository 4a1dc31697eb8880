"""Sections of the settings for what is learned: the model and its training, and thresholds.

Ranges are never wider than those the stages in monitor/core accept; what depends on two settings is checked in
configuration_checks.py.
"""

from typing import Any, Literal

from monitor.core.fitting.recipe import Recipe
from monitor.core.model.architecture import Architecture
from monitor.settings.base import Section, setting


class ModelSection(Section):
    """Size of the model. A change takes effect with the next first model, not with a retrained one."""

    hidden: int = setting(
        32,
        "Width of every convolution; the cost grows with its square.",
        "it could learn nothing, or never keep up",
        low=4,
        high=256,
    )
    latent: int = setting(
        12,
        "Size of the bottleneck. Larger copies the input, anomalies included.",
        "the model would learn nothing, or copy its input",
        low=1,
        high=256,
    )
    layers: int = setting(
        3, "Convolutions, each of which halves the time axis.", "the window could not be halved so often", low=1, high=6
    )
    kernel: int = setting(
        5, "Steps a convolution looks at; odd.", "a convolution would see nothing, or all", unit="steps", low=1, high=15
    )
    threads: int = setting(
        1,
        "Threads for arithmetic. One is fastest for small models; run more processes instead.",
        "nothing could be computed",
        low=1,
        high=64,
    )

    def architecture(self, channels: int, length: int) -> Architecture:
        """The model's shape. Raises ValueError where the numbers do not fit together."""
        return Architecture(channels, length, self.hidden, self.latent, self.layers, self.kernel)


class TrainingSection(Section):
    """Learning from the recent past, in a child process, while the stream goes on."""

    enabled: bool = setting(True, "Whether models are trained here; without, one must be in the store.", "")
    history_windows: int = setting(
        20_000,
        "Windows of history kept per partition, one window length apart. Beyond it, every second one is dropped.",
        "there would be nothing to learn from, or the memory would not suffice",
        unit="windows",
        low=20,
        high=1_000_000,
    )
    horizon_s: float = setting(
        604_800.0,
        "Older history is forgotten. A week holds weekdays and weekend.",
        "there would be nothing to learn from",
        unit="s",
        low=60,
        high=31_536_000,
    )
    first_steps: int = setting(
        1000,
        "Steps of history that half of the assets must have given before the first model is trained.",
        "the first model would have seen nothing, or never be trained",
        unit="steps",
        low=20,
        high=10_000_000,
    )
    interval_s: float = setting(
        86_400.0,
        "Time between two trainings; 0 = only on demand, after the first.",
        "the monitor would do little but train",
        unit="s",
        low=0,
        high=31_536_000,
    )
    guard_s: float = setting(
        60.0,
        "History this long before and after an alert is not learned from.",
        "incidents would be learned as normal, or all history left out",
        unit="s",
        low=0,
        high=86_400,
    )
    worst: float = setting(
        0.02,
        "Share of the history left out that the current model scores highest: a fault too slow to alert must not "
        "become normal.",
        "slow faults would be learned as normal, or all history left out",
        low=0,
        high=0.5,
    )
    steps: int = setting(
        800,
        "Gradient steps of the first model; a retraining takes a third.",
        "nothing would be learned, or it would take for ever",
        low=10,
        high=1_000_000,
    )
    batch: int = setting(
        128, "Windows per gradient step.", "nothing would be learned", unit="windows", low=1, high=4096
    )
    learning_rate: float = setting(
        2e-3,
        "Of AdamW, at its highest; a retraining takes a quarter.",
        "nothing would be learned, or the weights would not stay finite",
        low=1e-6,
        high=0.1,
    )
    patience: int = setting(
        8,
        "Looks at the held-out windows, one every 25 steps, without improvement before it stops.",
        "it would stop at once",
        low=1,
        high=10_000,
    )
    margin: float = setting(
        0.05,
        "A new model is refused if its loss on the held-out windows is worse than the current one's by more than this "
        "share.",
        "no new model would be accepted, or any",
        low=0,
        high=1,
    )
    seed: int = setting(
        0,
        "Of all randomness in training: the same history gives the same model on the same machine.",
        "random numbers could not be drawn from it",
        low=0,
        high=2**32 - 1,
    )
    timeout_s: float = setting(
        1800.0,
        "A training that takes longer is ended.",
        "no training would end in time",
        unit="s",
        low=10,
        high=604_800,
    )
    memory_mb: int = setting(
        4096,
        "Memory of the child process; beyond it, the training fails and the stream goes on. An eighth of it is what "
        "the history it is given may take.",
        "no training would fit",
        unit="MiB",
        low=512,
        high=1_048_576,
    )
    nice: int = setting(
        10,
        "Niceness of the child process, so that it takes what the stream leaves.",
        "the system does not know it",
        low=0,
        high=19,
    )

    def recipe(self, model: ModelSection) -> Recipe:
        """How to fit a model of that size."""
        size = model.model_dump(exclude={"threads"})
        how = self.model_dump(include={"steps", "batch", "learning_rate", "patience", "worst", "seed"})
        return Recipe(**size, **how)


class ThresholdSection(Section):
    """The limit of each asset: a percentile of its own recent scores, times a margin.

    After a change of kind or memory, snapshots no longer fit, and all state starts anew.
    """

    kind: Literal["ring", "histogram"] = setting(
        "ring",
        "How the asset's last scores are kept. ring: all of them, the percentile exact. histogram: counted in buckets, "
        "2.6 kB per asset however many there are, the percentile within 1.22 %; for thousands of assets per process.",
        "no scores would be kept",
    )
    percentile: float = setting(
        99.5,
        "Of the asset's last scores. By itself it would flag 0.5 % of all windows, hence the margin.",
        "half of all windows would be flagged, or none",
        unit="%",
        low=50,
        high=99.999,
    )
    margin: float = setting(
        1.6,
        "Factor on the percentile. A lower one finds more faults and gives more false alerts.",
        "normal windows would be flagged, or no fault found",
        low=1,
        high=100,
    )
    memory: int = setting(
        10_000,
        "Scores kept per asset: 2.8 hours at one a second. A ring of 10 000 takes 40 kB per asset; a histogram keeps "
        "between 7/8 of them and all.",
        "the percentile would rest on nothing, or the memory would not suffice",
        unit="scores",
        low=100,
        high=1_000_000,
    )
    warm: int = setting(
        256,
        "Scores of an asset before its own percentile counts; until then the model's calibration does. Where normal "
        "has moved since training, everything is above that, so it should not be long.",
        "the threshold would follow the first scores",
        unit="scores",
        low=1,
        high=1_000_000,
    )
    clip: float = setting(
        1.05,
        "A score enters the memory as at most this factor of the percentile. It bounds how fast a lasting shift is "
        "accepted; at 1 it never would be. With 1.05 and one score a second a shift to twice the threshold is accepted "
        "after about 16 minutes, with 1.2 after 4.",
        "a lasting shift would never be accepted, or an incident would blind the monitor",
        low=1.01,
        high=10,
    )
    refresh: int = setting(
        32,
        "Scores between two computations of an asset's percentile, which would otherwise cost more than the model.",
        "the percentile would never be computed, or be long out of date",
        unit="scores",
        low=1,
        high=10_000,
    )

    def arguments(self) -> dict[str, Any]:
        """What `monitor.core.threshold.threshold.Threshold` is made from."""
        return self.model_dump()
