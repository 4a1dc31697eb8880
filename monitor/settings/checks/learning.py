"""Settings of windows, model, training and threshold that are refused."""

from monitor.core.threshold.histogram import LEAST_CLIP, MOST_SCORES
from monitor.settings.checks.channels import exclusion_problems
from monitor.settings.checks.problem import Problems
from monitor.settings.learning import ThresholdSection
from monitor.settings.sections import Sections

_CELL = 5  # bytes of a float32 and its mark "observed"
_COPIES = 2  # of the history during a training: as stored, and scaled


def windows_problems(settings: Sections) -> Problems:
    """Yield the problems of [windows]."""
    windows = settings.windows
    if abs(windows.step_ms - windows.step_s * 1000) > 1e-6:
        yield "not a whole number of ms, so the grid would drift against the readings", "windows.step_s"
    if not windows.aggregate or len(set(windows.aggregate)) < len(windows.aggregate):
        yield "a step would keep nothing, or the same twice; name each aggregate once", "windows.aggregate"
    for name in ("max_gap", "max_fill"):
        if getattr(windows, name) >= windows.length:
            yield (
                "a whole window could be missing; both must be shorter than the window",
                f"windows.{name}",
                "windows.length",
            )
    if windows.idle * windows.step_s < windows.lateness_s:
        yield (
            "an asset would count as silent while its readings are still accepted; they would be late",
            "windows.idle",
            "windows.step_s",
            "windows.lateness_s",
        )


def model_problems(settings: Sections) -> Problems:
    """Yield the problems of [model]."""
    try:
        settings.model.architecture(channels=1, length=settings.windows.length)
    except ValueError as error:
        yield f"{error}; no model could be built", "model.layers", "model.kernel", "windows.length"


def training_problems(settings: Sections) -> Problems:
    """Yield the problems of [training]."""
    training, windows = settings.training, settings.windows
    yield from exclusion_problems(settings)
    if not training.enabled:
        return

    if training.first_steps < windows.length:
        yield (
            "the first model would be trained before an asset has a single window",
            "training.first_steps",
            "windows.length",
        )
    if training.first_steps > training.history_windows * windows.length:
        yield (
            "history would be thinned out before it is long enough for the first model",
            "training.first_steps",
            "training.history_windows",
            "windows.length",
        )
    if training.horizon_s < training.first_steps * windows.step_s:
        yield (
            "history would be dropped before it is long enough for the first model",
            "training.horizon_s",
            "training.first_steps",
            "windows.step_s",
        )
    if 0 < training.interval_s < training.timeout_s:
        yield (
            "a training would be due while the previous one may still run",
            "training.interval_s",
            "training.timeout_s",
        )

    channels = windows.max_channels * len(windows.aggregate)
    history = training.history_windows * windows.length * channels * _CELL * _COPIES / 2**20
    if history > training.memory_mb:
        yield (
            f"a full history takes {history:.0f} MiB in a training, which would run out of memory",
            "training.history_windows",
            "windows.length",
            "windows.max_channels",
            "training.memory_mb",
        )


def threshold_problems(settings: Sections) -> Problems:
    """Yield the problems of [threshold]."""
    threshold = settings.threshold
    if threshold.warm > threshold.memory:
        yield "the threshold would never leave warm-up", "threshold.warm", "threshold.memory"
    if threshold.refresh > threshold.memory:
        yield "the percentile would be older than every stored score", "threshold.refresh", "threshold.memory"
    if threshold.kind == "histogram":
        yield from _histogram(threshold)

    tail = 1 - threshold.percentile / 100
    for name in ("memory", "warm"):
        if getattr(threshold, name) * tail < 1 - 1e-9:  # 1 - 0.999 is a little less than 0.001
            consequence = f"the percentile would be the largest score; at least {1 / tail:.0f} scores are needed"
            yield consequence, "threshold.percentile", f"threshold.{name}"


def _histogram(threshold: ThresholdSection) -> Problems:
    if threshold.clip < LEAST_CLIP:
        consequence = "a clipped score would stay in the percentile's own bucket, and a lasting shift never be accepted"
        yield f"{consequence}; at least {LEAST_CLIP} is needed", "threshold.kind", "threshold.clip"
    if threshold.memory > MOST_SCORES:
        yield (
            f"the counts of a histogram would overflow; it counts up to {MOST_SCORES} scores",
            "threshold.kind",
            "threshold.memory",
        )
