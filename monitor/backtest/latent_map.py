"""Places of windows in the model's latent space, and a flat map of them, for people to look at.

No score depends on this. The map has two axes: the first two principal components of the latent means,
the directions in which they differ most (Pearson 1901, doi:10.1080/14786440109462720).
"""

from collections.abc import Sequence

import numpy as np
import torch

from monitor.core.model.forward import BATCH
from monitor.core.model.scorer import Scorer
from monitor.core.records import Floats, WindowBatch


def latent_means(scorer: Scorer, windows: WindowBatch, names: Sequence[str]) -> Floats:
    """Return the latent means (B, latent) of windows whose `assets` index `names`."""
    scaling = scorer.model.scaling
    x = scaling.forward(windows.values, scaling.rows(names)[windows.assets])
    means = np.empty((len(x), scorer.model.architecture.latent), np.float32)

    with torch.inference_mode():
        for start in range(0, len(x), BATCH):
            part = slice(start, start + BATCH)
            mu, _ = scorer.network.encode(torch.from_numpy(x[part]), torch.from_numpy(windows.observed[part]))
            means[part] = mu.numpy()
    return means


def flat_map(means: Floats) -> tuple[Floats, tuple[float, float]]:
    """Project latent means (B, latent) on two axes (B, 2); also return each axis' share of the variance, 0..1.

    A latent of one number has a second axis of zeros. Fewer than two windows lie in the origin.
    """
    flat = np.zeros((len(means), 2), np.float32)
    if len(means) < 2:
        return flat, (0.0, 0.0)

    centred = means.astype(np.float64) - means.mean(0, dtype=np.float64)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    kept = min(2, len(axes))
    flat[:, :kept] = centred @ axes[:kept].T

    shares = np.zeros(2)
    shares[:kept] = sizes[:kept] ** 2 / max(float((sizes**2).sum()), 1e-30)
    return flat, (float(shares[0]), float(shares[1]))
