"""What settings of the stages must not be together. One function per subject; each says the consequence.

A combination is refused if something that was asked for could then never happen, or would happen unseen. What is only
unusual passes.
"""

from collections.abc import Iterator
from typing import NamedTuple

from monitor.core.threshold.histogram import LEAST_CLIP, MOST_SCORES
from monitor.settings.learning import ThresholdSection
from monitor.settings.tree import Settings

_CELL = 5  # bytes of a float32 and its mark "observed"
_COPIES = 2  # of the history during a training: as kept, and scaled


class Problem(NamedTuple):
    """A combination that is refused."""

    keys: tuple[str, ...]  # of the settings that make it
    consequence: str


def problem(consequence: str, *keys: str) -> Problem:
    """A refusal of what the settings `keys` say together."""
    return Problem(keys, consequence)


def check_stages(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong between decoding and alerts."""
    for subject in (_format, _windows, _model, _training, _threshold):
        yield from subject(settings)


def _format(settings: Settings) -> Iterator[Problem]:
    try:
        settings.format.build()
    except ValueError as error:
        yield problem(
            f"{error}; otherwise every message would become a dead letter",
            "format.kind",
            "format.asset_from",
            "format.timestamp_unit",
        )


def _windows(settings: Settings) -> Iterator[Problem]:
    windows = settings.windows
    if abs(windows.step_ms - windows.step_s * 1000) > 1e-6:
        yield problem("this is no whole number of ms; the grid would drift against the readings", "windows.step_s")
    for name in ("max_gap", "max_fill"):
        if getattr(windows, name) >= windows.length:
            yield problem(
                "a window could lie wholly in a hole; both must be shorter than the window",
                f"windows.{name}",
                "windows.length",
            )
    if windows.idle * windows.step_s < windows.lateness_s:
        yield problem(
            "an asset would count as silent while its readings may still come; they would be late",
            "windows.idle",
            "windows.step_s",
            "windows.lateness_s",
        )


def _model(settings: Settings) -> Iterator[Problem]:
    try:
        settings.model.architecture(channels=1, length=settings.windows.length)
    except ValueError as error:
        yield problem(f"{error}; no model could be built", "model.layers", "model.kernel", "windows.length")


def _training(settings: Settings) -> Iterator[Problem]:
    training, windows = settings.training, settings.windows
    if not training.enabled:
        return
    if training.first_steps < windows.length:
        yield problem(
            "the first model would be trained before an asset has given a single window",
            "training.first_steps",
            "windows.length",
        )
    if training.first_steps > training.history_windows * windows.length:
        yield problem(
            "history would be thinned out before it is long enough for the first model",
            "training.first_steps",
            "training.history_windows",
            "windows.length",
        )
    if training.horizon_s < training.first_steps * windows.step_s:
        yield problem(
            "history would be forgotten before it is long enough for the first model",
            "training.horizon_s",
            "training.first_steps",
            "windows.step_s",
        )
    if 0 < training.interval_s < training.timeout_s:
        yield problem(
            "a training would be due before the one before it must have ended",
            "training.interval_s",
            "training.timeout_s",
        )
    history = training.history_windows * windows.length * windows.max_channels * _CELL * _COPIES / 2**20
    if history > training.memory_mb:
        yield problem(
            f"a full history takes {history:.0f} MiB in a training, which would fail for memory",
            "training.history_windows",
            "windows.length",
            "windows.max_channels",
            "training.memory_mb",
        )


def _threshold(settings: Settings) -> Iterator[Problem]:
    threshold = settings.threshold
    tail = 1 - threshold.percentile / 100
    if threshold.warm > threshold.memory:
        yield problem("the threshold would never leave warm-up", "threshold.warm", "threshold.memory")
    if threshold.refresh > threshold.memory:
        yield problem(
            "the percentile would be older than every score it should rest on", "threshold.refresh", "threshold.memory"
        )
    if threshold.kind == "histogram":
        yield from _histogram(threshold)
    for name in ("memory", "warm"):
        if getattr(threshold, name) * tail < 1 - 1e-9:  # 1 - 0.999 is a little less than 0.001
            consequence = f"the percentile would be the largest score; at least {1 / tail:.0f} scores are needed"
            yield problem(consequence, "threshold.percentile", f"threshold.{name}")


def _histogram(threshold: ThresholdSection) -> Iterator[Problem]:
    if threshold.clip < LEAST_CLIP:
        yield problem(
            "a clipped score would stay in the percentile's own bucket, and a lasting shift never be accepted; "
            f"at least {LEAST_CLIP} is needed",
            "threshold.kind",
            "threshold.clip",
        )
    if threshold.memory > MOST_SCORES:
        yield problem(
            f"a histogram counts up to {MOST_SCORES} scores; beyond, its counts would run over",
            "threshold.kind",
            "threshold.memory",
        )
