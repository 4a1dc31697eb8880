"""`monitor train`: a model from the history that the source holds, put into use if it passes the gate."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
import torch

from monitor.core.fitting.fit import Progress
from monitor.observe.clock import wall_ms
from monitor.observe.metrics import Metrics
from monitor.service.backends import make_blobs, make_models, make_source
from monitor.service.offline import alone, collect
from monitor.settings.tree import Settings
from monitor.training.child import train
from monitor.training.registry import ModelRegistry


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    adopted: bool
    text: str


def train_now(settings: Settings, reading: Callable[[int, int], None], fitting: Progress) -> Outcome:
    """Train in this process. Raises ValueError if the history does not suffice, Unavailable, StoreUnavailable."""
    torch.set_num_threads(settings.model.threads)
    metrics, blobs = Metrics(), make_blobs(settings)
    models = make_models(blobs, metrics)
    own = alone(settings, "train")
    corpus = collect(own, make_source(own, None, metrics, None), reading)
    current = ModelRegistry(
        models, settings.windows.length, time.monotonic, structlog.stdlib.get_logger("monitor")
    ).in_use()
    begin = time.monotonic()
    trained = train(
        corpus,
        settings.training.recipe(settings.model),
        models,
        incumbent="" if current is None else current.model.version,
        margin=settings.training.margin,
        progress=fitting,
        wall_ms=wall_ms(),
    )
    fitted = trained.fitted
    figures = (
        f"{fitted.windows} windows of {len(corpus.assets)} assets, {fitted.steps} steps, "
        f"held-out loss {fitted.loss:.3f}, {time.monotonic() - begin:.1f} s"
    )
    if trained.refused:
        return Outcome(False, f"refused: {trained.refused} ({figures})")
    models.set_current(trained.version)
    return Outcome(True, f"{trained.version} in use ({figures})")
