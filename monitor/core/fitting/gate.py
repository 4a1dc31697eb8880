"""The gate: whether a candidate may replace the model in use.

A candidate is refused if a number in it is not finite, if it reconstructs held-out normal windows worse than the
incumbent beyond a margin, or if it has become blind: of synthetic faults in the held-out windows (a shift of one
channel over the last quarter of a window) it must find those that the incumbent finds. Retraining on windows that hold
an incident which never alerted would pass the first two and fail the third.

A first model has no incumbent to be compared with and must only be finite.
"""

from dataclasses import replace

import numpy as np

from monitor.core.fitting.corpus import Corpus, Cut, cut, held_out, reorder
from monitor.core.fitting.fit import MOST_CHECKED, held_out_loss
from monitor.core.model.model import Model
from monitor.core.model.scorer import scores
from monitor.core.model.vae import VAE
from monitor.core.records import Floats

SHIFT = 4.0  # deviations; clearly a fault, and not so large that any model would see it
BLIND = 0.1  # share of the synthetic faults that may be lost


def refusal(candidate: Model, incumbent: Model | None, corpus: Corpus, margin: float) -> str:
    """Return why the candidate must not be adopted, as a sentence; empty if it may be.

    `corpus` is the one it was fitted on, as `fit.prepare` returned it: judged on blocks that were left out of the fit,
    a candidate would be punished for not having learned anomalies. `margin` is the share by which its loss may exceed
    the incumbent's in amount. Raises ValueError if `corpus` holds out no windows.
    """
    arrays = (*candidate.weights.values(), candidate.calibration.error, candidate.calibration.limits)
    if not all(np.isfinite(array).all() for array in arrays):
        return "the candidate holds numbers that are not finite"
    if incumbent is None:
        return ""

    check = _in_channels(corpus, incumbent.channels)
    if not len(check):
        raise ValueError("no held-out windows to compare the candidate on")

    new, old = (_loss(model, check, corpus) for model in (candidate, incumbent))
    if not new <= old + margin * abs(old):
        return f"held-out loss {new:.4f}, the model in use has {old:.4f} and at most {margin:.0%} more is allowed"

    new, old = (_found(model, check, corpus) for model in (candidate, incumbent))
    if new < old - BLIND:
        return f"finds {new:.0%} of the synthetic faults, the model in use {old:.0%}"
    return ""


def _in_channels(corpus: Corpus, channels: tuple[str, ...]) -> Cut:
    kept = corpus.take(held_out(corpus))
    values, observed = reorder(kept.values, kept.observed, kept.channels, channels)
    return cut(replace(kept, channels=channels, values=values, observed=observed))


def _loss(model: Model, check: Cut, corpus: Corpus) -> float:
    return held_out_loss(VAE.of(model), check, model.scaling, model.scaling.rows(corpus.assets))


def _found(model: Model, check: Cut, corpus: Corpus) -> float:
    """Return the share of held-out windows that score above 1.0 once one channel in turn is shifted."""
    values, observed, asset = check.take(check.spread(MOST_CHECKED))
    rows = model.scaling.rows(corpus.assets)[asset]
    each = np.arange(len(values))
    channel, sign = each % values.shape[1], np.where(each // values.shape[1] % 2, -1.0, 1.0)

    shifted: Floats = values.copy()
    begin = values.shape[2] * 3 // 4
    shifted[each, channel, begin:] += (sign * SHIFT * model.scaling.scale[rows, channel])[:, None]
    return float(np.mean(scores(model, shifted, observed, rows) > 1.0))
