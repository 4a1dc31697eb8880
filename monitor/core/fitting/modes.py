"""Learns operating modes: which there are, and the usual errors of each.

By a channel, every value that the history has is a mode. Values that only the incumbent has seen stay known.

Otherwise modes are groups of latent means, found by k-means and described by a Gaussian each. Only a grouping that
explains the errors of held-out windows is of use, so their number is the smallest of NUMBERS whose held-out errors are
as likely as those of the best, within GAIN. Measured: on pumps that do one thing, 1 to 32 groups differ by less than
0.001, and one mode is left. On batch reactors, each doubling up to 16 gains 0.01 to 0.08. With more than MOST, groups
are so small that the edge of their errors is not known.

With an incumbent, learned modes keep their ids: each window belongs to the mode that the incumbent gives it, and only
the Gaussians are computed again in the latent space of the new weights. So the number stays, too.

Each mode with LEAST_WINDOWS has the usual errors and limits of its own windows, as `fit.calibrate` defines them. The
others have those of all windows.
"""

from typing import NamedTuple

import numpy as np

from monitor.core.arrays import Doubles, Index
from monitor.core.fitting.corpus import ChannelMissing, Corpus, Cut
from monitor.core.fitting.errors import Errors, edges
from monitor.core.fitting.recipe import Recipe
from monitor.core.model.forward import BATCH, Reconstruction
from monitor.core.model.model import Calibration, Model
from monitor.core.model.modes import MOST_MODES, Modes, nearest
from monitor.core.model.vae import VAE
from monitor.core.records import Bools, Floats, Ints

NUMBERS = (1, 2, 4, 8, 16)
GAIN = 0.005
LEAST_WINDOWS = 256  # of a mode; the limit is then near its largest error
REACH = 1.25  # times the largest distance in training: docs/decisions/0041-recurring-rest.md
SHRINK = 0.05  # share of a sphere in each Gaussian: a group may lie in fewer dimensions than the latent has
ROUNDS = 30  # of k-means
STRETCHES = 50  # of windows in their order; every fifth is held out
_LEAST = 1e-6


class Groups(NamedTuple):
    """The learned modes, without errors."""

    values: Doubles  # (M,) ids
    center: Floats  # (M, Z)
    whiten: Floats  # (M, Z, Z)
    reach: Floats  # (1,)


def learn_modes(  # noqa: PLR0917 - of the windows, then of the model
    errors: Errors,
    calibration: Calibration,
    windows: Cut,
    corpus: Corpus,
    recipe: Recipe,
    incumbent: Model | None,
) -> tuple[Modes | None, Ints]:
    """Return the modes that the recipe asks for, None if there is one, and the mode (n,) of each window of `errors`.

    Raises ValueError if the modes' channel is no channel of the corpus, or has no value or too many.
    """
    groups, mode = None, np.zeros(0, np.int32)
    if recipe.mode_channel:
        groups, mode = _by_channel(errors, windows, corpus, recipe.mode_channel, incumbent)
    elif recipe.learn_modes:
        groups = _learned(errors, windows, corpus, recipe, incumbent)
    if groups is None:
        return None, mode
    if not recipe.mode_channel:
        mode, _ = nearest(groups.center, groups.whiten, errors.latent)

    return _with_errors(recipe.mode_channel, groups, mode, errors, calibration), mode


def network_scores(errors: Errors, calibration: Calibration, modes: Modes | None, mode: Ints) -> Floats:
    """Return the network's scores (n,) of windows in `mode` (n,), as the scorer gives them."""
    n = len(errors.index)
    if modes is None:
        result: Floats = (errors.levels(np.arange(n), calibration.error) / calibration.limits).max(1)
        return result

    result = np.empty(n, np.float32)
    for number, (usual, limits) in enumerate(zip(modes.error, modes.limits, strict=True)):
        own = np.flatnonzero(mode % len(modes.error) == number)  # the last for UNKNOWN, too
        result[own] = (errors.levels(own, usual) / limits).max(1)
    return result


def _by_channel(
    errors: Errors, windows: Cut, corpus: Corpus, channel: str, incumbent: Model | None
) -> tuple[Groups, Ints]:
    """Return a mode for each value of the channel in the corpus or known to the incumbent, and that of each window."""
    if channel not in corpus.channels:
        raise ChannelMissing(
            f"modes.channel = {channel!r}: the history has no channel {channel}, expected one of "
            f"{', '.join(corpus.channels[:20])}"
        )
    column = corpus.channels.index(channel)
    values = np.unique(corpus.values[:, column]).astype(np.float64)
    values = values[~np.isnan(values)]
    if incumbent is not None and incumbent.modes is not None and incumbent.modes.channel == channel:
        values = np.union1d(values, incumbent.modes.values)
    if not 0 < len(values) <= MOST_MODES:
        raise ValueError(f"modes.channel {channel} has {len(values)} values in the history, expected 1 to {MOST_MODES}")

    none = np.zeros((len(values), 0, 0), np.float32)
    groups = Groups(values, none.reshape(len(values), 0), none, np.ones(1, np.float32))
    nothing = np.ones((len(values) + 1, 1), np.float32)
    mode = [np.empty(0, np.int32)]
    for begin in range(0, len(errors.index), BATCH):
        x = windows.take(errors.index[begin : begin + BATCH])[0][:, column]
        mode.append(Modes(channel, *groups, nothing, nothing).of_channel(x).mode)
    return groups, np.concatenate(mode)


def _learned(errors: Errors, windows: Cut, corpus: Corpus, recipe: Recipe, incumbent: Model | None) -> Groups | None:
    """Return the incumbent's modes in the latent space of the new network, or new ones; None if there is only one."""
    if incumbent is None or incumbent.modes is None or incumbent.modes.channel:
        n = len(errors.latent)
        held = np.arange(n) * STRETCHES // max(n, 1) % 5 == 4
        return grouped(
            errors.latent, (errors.squares / np.maximum(errors.cells, 1)).astype(np.float32), held, recipe.seed
        )

    network, rows = Reconstruction.of(VAE.of(incumbent)), incumbent.scaling.rows(corpus.assets)
    mode = [np.empty(0, np.int32)]
    for begin in range(0, len(errors.index), BATCH):
        values, observed, asset = windows.take(errors.index[begin : begin + BATCH])
        _, latent = network.reconstruct_latent(incumbent.scaling.forward(values, rows[asset]), observed)
        mode.append(nearest(incumbent.modes.center, incumbent.modes.whiten, latent)[0])
    return regrouped(errors.latent, np.concatenate(mode), incumbent.modes)


def grouped(latent: Floats, error: Floats, held: Bools, seed: int) -> Groups | None:
    """Return the modes of latent means (n, Z); None if one mode explains the errors as well.

    `error` (n, C) is the mean squared error of each window and channel. Windows that are `held` (n,) are held out: they
    decide on the number alone.
    """
    tried: dict[int, Groups] = {}
    cost: dict[int, float] = {}
    for number in NUMBERS:
        if number * LEAST_WINDOWS > np.count_nonzero(~held):
            break
        tried[number] = _gaussians(latent[~held], _k_means(latent[~held], number, seed), number)
        cost[number] = _cost(tried[number], latent, error, held)
    best = min(cost.values(), default=0.0)
    number = next((number for number, value in cost.items() if value <= best + GAIN), 1)
    return _with_reach(tried[number], latent) if number > 1 else None


def regrouped(latent: Floats, mode: Ints, incumbent: Modes) -> Groups:
    """Return the incumbent's modes in the latent space (n, Z) of a new network; `mode` (n,) are those it gives."""
    groups = _gaussians(latent, mode.astype(np.int64), len(incumbent.values))
    return _with_reach(groups._replace(values=incumbent.values), latent)


def _with_errors(channel: str, groups: Groups, mode: Ints, errors: Errors, common: Calibration) -> Modes:
    """Return the modes with the usual errors of their own windows, each in `mode` (n,), or of all windows."""
    # Of windows it was fitted on, a network's errors are too small. All modes are corrected as all windows are.
    squares, cells, usual = errors.squares, errors.cells, errors.usual
    factor = common.error / np.maximum(squares[usual].sum(0) / np.maximum(cells[usual].sum(0), 1), _LEAST)

    error, limits = [], []
    for number in range(len(groups.values)):
        own = np.flatnonzero((mode == number) & usual)
        if len(own) < LEAST_WINDOWS:
            error.append(common.error)
            limits.append(common.limits)
            continue
        seen = cells[own].sum(0)
        mean = squares[own].sum(0) / np.maximum(seen, 1) * factor
        error.append(np.where(seen > 0, np.maximum(mean, errors.least), common.error).astype(np.float32))
        limits.append(edges(errors.levels(own, error[-1])))
    return Modes(channel, *groups, np.stack([*error, common.error]), np.stack([*limits, common.limits]))


def _k_means(x: Floats, number: int, seed: int) -> Index:
    """Return the group (n,) of each x (n, Z), by Lloyd's algorithm from the start of Arthur and Vassilvitskii 2007."""
    draw = np.random.default_rng(seed)
    centers = x[[draw.integers(len(x))]]
    for _ in range(number - 1):
        distance = _squared_distances(x, centers).min(1).astype(np.float64)
        centers = np.append(centers, x[[draw.choice(len(x), p=distance / distance.sum())]], 0)

    group: Index = _squared_distances(x, centers).argmin(1)
    for _ in range(ROUNDS):
        means = [x[group == one].mean(0) if (group == one).any() else centers[one] for one in range(number)]
        centers = np.stack(means)
        before, group = group, _squared_distances(x, centers).argmin(1)
        if np.array_equal(before, group):
            break
    return group


def _squared_distances(x: Floats, centers: Floats) -> Floats:
    result: Floats = np.maximum((x**2).sum(1)[:, None] - 2 * x @ centers.T + (centers**2).sum(1), 0)
    return result


def _gaussians(x: Floats, group: Index, number: int) -> Groups:
    """Return a Gaussian of each group of x (n, Z); a group with few windows has the shape of all."""
    centers, whitens = [], []
    for one in range(number):
        own = x[group == one].astype(np.float64)
        shape = own if len(own) > 2 * x.shape[1] else x.astype(np.float64)
        spread = np.cov(shape.T).reshape(x.shape[1], x.shape[1])
        sphere = np.eye(len(spread)) * max(np.trace(spread) / len(spread), _LEAST)
        whitens.append(np.linalg.inv(np.linalg.cholesky((1 - SHRINK) * spread + SHRINK * sphere)))
        centers.append((own if len(own) else shape).mean(0))
    center, whiten = (np.array(each, np.float32) for each in (centers, whitens))
    return Groups(np.arange(1.0, number + 1), center, whiten, np.ones(1, np.float32))


def _with_reach(groups: Groups, latent: Floats) -> Groups:
    _, distance = nearest(groups.center, groups.whiten, latent)
    return groups._replace(reach=np.array([REACH * max(float(distance.max()), _LEAST)], np.float32))


def _cost(groups: Groups, latent: Floats, error: Floats, held: Bools) -> float:
    """Return the negative log-likelihood of the held-out errors, as Gaussian noise of the variance in their group."""
    group, _ = nearest(groups.center, groups.whiten, latent)
    usual = np.stack([_mean_error(error[(group == one) & ~held], error[~held]) for one in range(len(groups.values))])
    own, found = usual[group[held]], error[held]
    return float((0.5 * (np.log(own) + found / own)).mean())


def _mean_error(own: Floats, of_all: Floats) -> Floats:
    result: Floats = np.maximum((own if len(own) else of_all).mean(0), 1e-4)
    return result
