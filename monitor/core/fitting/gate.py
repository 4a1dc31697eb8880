"""The gate: whether a candidate may replace the model in use.

A candidate is refused if a number in it is not finite, if it reconstructs held-out normal windows worse than the
incumbent beyond a margin, or if it has become blind: of synthetic faults in the held-out windows (a shift of one
channel over the last quarter of a window) it must find those that the incumbent finds. Retraining on windows that hold
an incident which never alerted would pass the first two and fail the third.

It must find them by the network's score, and by the alarm score at the limits that an asset begins with: alerts are
decided by the latter, and an incident in one channel of the history raises where that channel's limits begin. For the
alarm score only the shifted channel counts: a shift also raises the errors of other channels. With limits 1000 times
too high in the shifted channel, these alone gave a median alarm score of 0.3, at a clean edge of 0.1 (measured). Of a
network that foresees there are no such limits, and the alarm score says what the network's does.

A first model has no incumbent to be compared with and must only be finite.
"""

from dataclasses import replace

import numpy as np

from monitor.core.fitting.corpus import Corpus, Cut, cut, held_out, reorder
from monitor.core.fitting.fit import MOST_CHECKED, held_out_loss
from monitor.core.model.alarm import alarm_scores
from monitor.core.model.model import Model
from monitor.core.model.scorer import Scorer
from monitor.core.model.vae import VAE
from monitor.core.records import Floats, WindowBatch

SHIFT = 4.0  # deviations; clearly a fault, and not so large that any model would see it
BLIND = 0.1  # share of the synthetic faults, in all channels together, that may be lost


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

    found, usual = (_found(model, check, corpus) for model in (candidate, incumbent))
    for score, new in found.items():
        if new < usual[score] - BLIND:
            return f"finds {new:.0%} of the synthetic faults by the {score}, the model in use {usual[score]:.0%}"
    return ""


def _in_channels(corpus: Corpus, channels: tuple[str, ...]) -> Cut:
    kept = corpus.take(held_out(corpus))
    values, observed = reorder(kept.values, kept.observed, kept.channels, channels)
    return cut(replace(kept, channels=channels, values=values, observed=observed))


def _loss(model: Model, check: Cut, corpus: Corpus) -> float:
    return held_out_loss(VAE.of(model), check, model.scaling, model.scaling.rows(corpus.assets))


def _found(model: Model, check: Cut, corpus: Corpus) -> dict[str, float]:
    """Return, by score, the share of held-out windows beyond the clean edge once one channel in turn is shifted."""
    index = check.spread(MOST_CHECKED)
    values, observed, asset = check.take(index)
    rows = model.scaling.rows(corpus.assets)[asset]
    each = np.arange(len(values))
    channel, sign = each % values.shape[1], np.where(each // values.shape[1] % 2, -1.0, 1.0)

    shifted: Floats = values.copy()
    begin = values.shape[2] * 3 // 4
    shifted[each, channel, begin:] += (sign * SHIFT * model.scaling.scale[rows, channel])[:, None]
    windows = WindowBatch(asset.astype(np.int32), index, shifted, observed, index)
    scored = Scorer(model).score(windows, corpus.assets)
    ratios = np.zeros_like(scored.errors)
    ratios[each, :, channel] = np.nan_to_num(scored.errors / model.alarm.starts)[each, :, channel]
    return {
        "network's score": float(np.mean(scored.network > 1.0)),
        "alarm score": float(np.mean(alarm_scores(scored.network, ratios) > model.alarm.edge)),
    }
