"""Fits the VAE on blocks of normal history and calibrates what its errors mean: Corpus -> Model.

1. Blocks within alerts are left out. With an incumbent, so are blocks that it finds clearly anomalous, and the worst
   share of the rest: neither a fault too slow to alert nor one so long that its alert ended must become normal. A new
   normal far from the old one is for a person to accept (`monitor train`). Alerts whose pattern has come back on
   several days are the exception: starts and stops must not alert for ever (recurring.py).
2. Of every ten blocks of an asset two neighbours are held out. They cover the same modes and hours as the rest, yet
   share no reading with it. Early stopping and the gate use nothing else.
3. Scaling: statistics per asset (model/scaling.py). With an incumbent its scaling stays for assets it knows, and only
   new assets get a row: otherwise old and new scores would be on different scales. A span that became known widens it.
4. AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with a warm-up and a cosine. The weight of the KL term rises from
   0 to 1 over the first 30 % of the steps, without which the latent collapses onto the prior before it carries anything
   (Bowman et al. 2016, arXiv:1511.06349). For the first half the noise of every channel stays at 1, so that all
   channels count equally. Then it is set to the maximum of the likelihood (the mean error: Rybkin et al. 2021,
   arXiv:2006.13202) and learned on. Learned from the start, easy channels take the whole gradient, and a hard one is
   never learned (measured: docs/model.md).
   With an incumbent: its weights and noise as a start, a third of the steps, a quarter of the rate.
5. The forecaster, in closed form (fitting/forecast.py).
6. Calibration on all normal windows, seen or not, as the tail of the scores needs every window there is. But no
   channel's usual error is below that of the held-out windows, and what the history holds once is no measure of what
   is usual (fitting/single.py).
7. Operating modes, if asked for, each with the usual errors of its own windows (fitting/modes.py).
8. Limits of the channels, and alarm scores of clean windows (fitting/alarms.py).
9. The spans that the model fits worst, for people to look at (fitting/poor_fit.py).

Seeded: the same corpus and recipe give the same weights on the same machine. It knows no clock and no process.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from monitor.core.arrays import Doubles
from monitor.core.fitting.alarms import calibrate_alarms
from monitor.core.fitting.corpus import Corpus, Cut, cut, held_out
from monitor.core.fitting.errors import Errors, edges
from monitor.core.fitting.forecast import FittedForecaster, calibrated, fit_forecaster
from monitor.core.fitting.modes import learn_modes, network_scores
from monitor.core.fitting.poor_fit import PoorFit, poor_fits
from monitor.core.fitting.profile import learn_profile
from monitor.core.fitting.recipe import Recipe
from monitor.core.fitting.rest import find_levels
from monitor.core.fitting.selection import select
from monitor.core.fitting.single import single
from monitor.core.fitting.starts import Starts
from monitor.core.model.alarm import foresees
from monitor.core.model.architecture import Architecture
from monitor.core.model.errors import channels_seen, newest, recent_change, window_errors
from monitor.core.model.forward import BATCH, Reconstruction
from monitor.core.model.model import Calibration, Model
from monitor.core.model.scaling import SHARE, Scaling, fit_scaling, state_table
from monitor.core.model.scorer import latent_errors, squared_errors
from monitor.core.model.vae import VAE
from monitor.core.records import Bools, Floats, Times
from monitor.core.running.levels import Levels

LEAST_ROWS = 256  # rows of its own before an asset gets statistics of its own
LEAST_ERROR = 1e-4  # of the calibration, scaled units: a hundredth of a deviation is no news in a constant channel
LEAST_SHARE = 0.05  # of the channels' mean usual error, for each: quiet channels would dominate the mean of ratios
MOST_CALIBRATED = 40_000  # windows; a second of forward passes, and 200 beyond the 99.5 % quantile
CHECK_STEPS = 25  # between two checks of the held-out windows
MOST_CHECKED = 1_000  # held-out windows checked, a tenth of the fit's time; neighbours say nearly the same
NOISE_RATE = 10  # times the rate of the weights: log variances go to -5, which is 2500 steps of 2e-3
_EQUAL = 0.5
_KL_RISE = 0.3
_FEWER_STEPS, _LOWER_RATE = 3, 4  # with an incumbent

Progress = Callable[[int, int, float], None]  # steps done, steps planned, loss on the held-out windows


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, and the figures of its fit."""

    model: Model
    windows: int  # fitted on
    held_out: int
    steps: int  # done
    loss: float  # on the held-out windows, per cell
    poor: tuple[PoorFit, ...]


@dataclass(frozen=True, slots=True)
class _Data:
    """The windows of a corpus, and how they are scaled."""

    train: Cut
    check: Cut  # held out
    scaling: Scaling
    rows: Times  # (assets,) the scaling's rows of the corpus's assets


def levels_of(corpus: Corpus, recipe: Recipe, incumbent: Model | None) -> Levels | None:
    """Return the levels of rest and work, if the recipe asks for them: those of the corpus, or of the incumbent.

    While a model with levels is in use, rest is in no history.
    """
    if recipe.rest_days is None:
        return None
    found = find_levels(corpus, recipe.rest_days, recipe.channel_kinds())
    if found is None:
        return None if incumbent is None else incumbent.levels
    return replace(found, settle_ms=Starts.of(corpus, found).settle_ms())


def prepare(corpus: Corpus, recipe: Recipe, incumbent: Model | None, levels: Levels | None = None) -> Corpus:
    """Return the part of the corpus that is fit to learn from and to judge the result by (step 1 above).

    Times of rest, by `levels`, are left out. Without an incumbent, so are channels that are hardly measured. Raises
    ValueError if nothing is left, or if the corpus does not fit the incumbent.
    """
    return select(corpus, recipe, incumbent, levels).corpus


def fit(
    corpus: Corpus, recipe: Recipe, incumbent: Model | None, progress: Progress, levels: Levels | None = None
) -> Fitted:
    """Return a model of a corpus that `prepare` returned, with the same `levels`.

    Raises ValueError if the corpus does not suffice.
    """
    held = held_out(corpus)  # 2
    train, check = cut(corpus.take(~held)), cut(corpus.take(held))
    if not len(train) or not len(check):
        raise ValueError(f"{len(corpus)} blocks of history give no windows to fit on, or none to hold out")

    states = recipe.states(corpus.channels)
    scaling = _scaling(corpus.take(~held), incumbent, states, recipe.known_spans(corpus.channels))  # 3
    data = _Data(train, check, scaling, scaling.rows(corpus.assets))

    architecture = _architecture(corpus, recipe) if incumbent is None else incumbent.architecture  # 4
    network, steps, loss = _optimise(data, architecture, recipe, incumbent, progress)
    network.eval()

    windows = cut(corpus)
    forecast = fit_forecaster(windows, scaling, data.rows, MOST_CALIBRATED)  # 5
    once = not (recipe.mode_channel or recipe.learn_modes)  # otherwise a disturbance may be a mode
    calibration, errors = calibrate(network, windows, corpus, scaling, data.rows, forecast, once=once)  # 6
    forecaster = calibrated(
        forecast.forecaster, forecast.errors[errors.usual], errors.asset[errors.usual], windows.length
    )
    modes, mode = learn_modes(errors, calibration, windows, corpus, recipe, incumbent)  # 7
    scores = network_scores(errors, calibration, modes, mode)
    alarm = calibrate_alarms(errors, calibration, modes, mode, scores)  # 8
    poor = poor_fits(corpus, windows, errors, scores, calibration.error)  # 9
    profile = incumbent.profile if incumbent is not None else None
    profile = (profile or learn_profile(corpus)).without(states)

    weights = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    model = Model(
        architecture,
        corpus.channels,
        scaling,
        calibration,
        weights,
        forecaster,
        alarm,
        profile=profile,
        levels=levels,
        modes=modes,
    )
    model.check()
    return Fitted(model, len(train), len(check), steps, loss, poor)


def held_out_loss(network: VAE, check: Cut, scaling: Scaling, rows: Times) -> float:
    """Return the mean negative evidence lower bound per cell over windows of `check`, always with the same noise."""
    noise = torch.Generator().manual_seed(0)
    index = check.spread(MOST_CHECKED)
    total = 0.0
    network.eval()
    with torch.inference_mode():
        for begin in range(0, len(index), 256):
            x, observed = scaled(check, index[begin : begin + 256], scaling, rows)
            total += float(network.loss(x, observed, 1.0, noise).sum())
    network.train()
    return total / len(index)


def scaled(windows: Cut, index: Times, scaling: Scaling, rows: Times) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the windows at `index` (m,) in scaled units and where they are observed, (m, C, L) each.

    `rows` (assets,) are the scaling's rows of the corpus's assets.
    """
    values, observed, asset = windows.take(index)
    return torch.from_numpy(scaling.forward(values, rows[asset])), torch.from_numpy(observed)


def calibrate(  # noqa: PLR0917 - what the fit has made, in its order
    network: VAE, windows: Cut, corpus: Corpus, scaling: Scaling, rows: Times, forecast: FittedForecaster, *, once: bool
) -> tuple[Calibration, Errors]:
    """Return error and move per channel, and edges of the horizons and the level.

    All are those of clean windows, the windows of `forecast`, whose errors are returned, too. A channel's error is not
    below that of the held-out windows: of a short history the network remembers the windows it was fitted on, and a
    channel whose usual error came out too small would outvote the others. So would a quiet channel, whose usual error
    is therefore at least LEAST_SHARE of the channels' mean. That holds in each mode, too (`Errors.least`).

    With `once`, windows of single disturbances do not count for a network that foresees. Of another one, the limits of
    channels follow what is usual, and not much depends on where they begin.
    """
    index, one = forecast.index, np.ones(windows.rows.shape[1], np.float32)
    parts, seen, moved, latents, squares, counts, last, assets = [], [], [], [], [], [], [], []
    reconstruction = Reconstruction.of(network)

    # All windows at once would not fit into a cache, nor always into memory.
    for begin in range(0, len(index), BATCH):
        values, observed, asset = windows.take(index[begin : begin + BATCH])
        x = scaling.forward(values, rows[asset])
        latent, squared = latent_errors(reconstruction, x, observed)
        parts.append(window_errors(x, squared, observed, one))
        seen.append(channels_seen(observed))
        moved.append(recent_change(x, observed, newest(windows.length)))
        latents.append(latent)
        squares.append(squared.sum(2, dtype=np.float64))
        counts.append(observed.sum(2, dtype=np.float64))
        last.append(observed[:, :, -newest(windows.length) :].any(2))
        assets.append(asset)

    nothing = np.zeros(len(one), np.float32)
    errors = Errors(
        index=index,
        parts=np.concatenate(parts),
        seen=np.concatenate(seen),
        squares=np.concatenate(squares),
        cells=np.concatenate(counts),
        latent=np.concatenate(latents),
        least=nothing,
        forecast=forecast.errors,
        newest=np.concatenate(last),
        asset=np.concatenate(assets),
        usual=np.ones(len(index), np.bool_),
        move=np.concatenate(moved),
    )
    check = held_out(corpus)
    calibration, errors = _calibration(errors, mean_error(network, cut(corpus.take(check)), scaling, rows))
    if not once or not foresees(calibration.move, calibration.error):
        return calibration, errors

    usual = ~single(errors.squares, errors.cells, errors.asset, LEAST_ERROR)
    left = check & ~_touched(corpus, windows, index[~usual])
    if 2 * np.count_nonzero(left) >= np.count_nonzero(check):  # otherwise it may be conspicuous as it was held out
        check = left
    return _calibration(replace(errors, usual=usual), mean_error(network, cut(corpus.take(check)), scaling, rows))


def _calibration(errors: Errors, held: Floats) -> tuple[Calibration, Errors]:
    """Return the calibration by the usual windows, and the errors with the least usual error.

    `held` (C,) are the mean errors of the held-out windows.
    """
    usual = errors.usual
    error = np.maximum(_mean(errors.squares[usual].sum(0), errors.cells[usual].sum(0)), held)
    least = np.full_like(error, LEAST_SHARE * error.mean())
    error = np.maximum(error, least)
    move = np.maximum(errors.move[usual].mean(0, dtype=np.float64), LEAST_ERROR).astype(np.float32)
    limits = edges(errors.levels(np.flatnonzero(usual), error))
    return Calibration(error, move, limits), replace(errors, least=least)


def _touched(corpus: Corpus, windows: Cut, index: Times) -> Bools:
    """Return which blocks (K,) of the corpus the windows at `index` (m,) touch."""
    result = np.zeros(len(corpus), np.bool_)
    first, last = (row // windows.length for row in (windows.starts[index], windows.starts[index] + windows.length - 1))
    order = np.lexsort((corpus.end, corpus.asset))
    result[order[np.concatenate((first, last))]] = True
    return result


def mean_error(network: VAE, windows: Cut, scaling: Scaling, rows: Times) -> Floats:
    """Return the mean squared error per channel (C,) over at most MOST_CHECKED windows, scaled units."""
    x, observed = scaled(windows, windows.spread(MOST_CHECKED), scaling, rows)
    _, error = squared_errors(Reconstruction.of(network), x.numpy(), observed.numpy())
    return _mean(error.sum((0, 2), dtype=np.float64), observed.numpy().sum((0, 2)))


def _mean(error: Doubles, cells: npt.NDArray[np.number]) -> Floats:
    """Return the mean error per channel (C,) over `cells` (C,) cells, at least LEAST_ERROR."""
    result: Floats = np.maximum(error / np.maximum(1, cells), LEAST_ERROR).astype(np.float32)
    return result


def _scaling(corpus: Corpus, incumbent: Model | None, states: Bools, spans: Doubles) -> Scaling:
    """Return the scaling of the corpus; `states` (C,) are the channels that are states, `spans` (C,) known ones."""
    C, by_asset = len(corpus.channels), {}
    for code, name in enumerate(corpus.assets):
        mine = np.flatnonzero(corpus.asset == code)
        if len(mine):
            rows = np.where(corpus.observed[mine], corpus.values[mine], np.float32(np.nan))
            by_asset[name] = rows.transpose(0, 2, 1).reshape(-1, C)
    fresh = fit_scaling(by_asset, LEAST_ROWS, np.flatnonzero(states).tolist(), spans)
    if incumbent is None:
        return fresh

    # The class row stays the last one.
    old = incumbent.scaling
    added = [number for number, name in enumerate(fresh.assets) if name not in old.assets]
    return Scaling(
        (*old.assets, *(fresh.assets[number] for number in added)),
        np.concatenate([old.center[:-1], fresh.center[added], old.center[-1:]]),
        np.maximum(np.concatenate([old.scale[:-1], fresh.scale[added], old.scale[-1:]]), SHARE * spans),
        _all_states(old, fresh),
    )


def _all_states(old: Scaling, fresh: Scaling) -> Doubles | None:
    """Return the states of the channels that are states in `fresh`, with those that `old` knows."""
    if fresh.states is None:
        return None
    known = old.states if old.states is not None else np.full((len(fresh.states), 1), np.nan)
    both = np.concatenate([fresh.states, known], 1)
    channels = np.flatnonzero(fresh.is_state()).tolist()
    return state_table({c: np.unique(both[c][~np.isnan(both[c])]) for c in channels}, len(both))


def _architecture(corpus: Corpus, recipe: Recipe) -> Architecture:
    L = corpus.values.shape[2]
    return Architecture(len(corpus.channels), L, recipe.hidden, recipe.latent, recipe.layers, recipe.kernel)


def _optimise(
    data: _Data, architecture: Architecture, recipe: Recipe, incumbent: Model | None, progress: Progress
) -> tuple[VAE, int, float]:
    """Return the network at its best on the held-out windows, the number of steps done, and that loss."""
    network = _start(architecture, recipe.seed, incumbent)
    steps = recipe.steps if incumbent is None else max(1, recipe.steps // _FEWER_STEPS)
    equal = int(_EQUAL * steps) if incumbent is None else 0
    optimizer = _optimizer(network, recipe.learning_rate / (1 if incumbent is None else _LOWER_RATE))
    draw, noise = np.random.default_rng(recipe.seed), torch.Generator().manual_seed(recipe.seed)
    best, lowest, since = network.state_dict(), math.inf, 0

    for step in range(1, steps + 1):
        _set_rates(optimizer, step, steps, equal)
        x, observed = scaled(data.train, draw.integers(len(data.train), size=recipe.batch), data.scaling, data.rows)
        weight = 1.0 if incumbent is not None else min(1.0, step / (_KL_RISE * steps))

        optimizer.zero_grad()
        network.loss(x, observed, weight, noise).mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

        # From here on losses are on another scale, so earlier ones do not count.
        if step == equal:
            _measure_noise(network, data)
            lowest, since = math.inf, 0
        if step % CHECK_STEPS and step < steps:
            continue

        loss = held_out_loss(network, data.check, data.scaling, data.rows)
        progress(step, steps, loss)
        since += 1
        if loss < lowest:
            lowest, since = loss, 0
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if since >= recipe.patience and step > equal:
            break

    if not math.isfinite(lowest):
        raise ValueError("the loss on the held-out windows was never finite")
    network.load_state_dict(best)
    return network, step, lowest


def _set_rates(optimizer: torch.optim.Optimizer, step: int, steps: int, equal: int) -> None:
    """Set a warm-up of 20 steps, then a cosine down to a twentieth; 0 for the noise while channels count equally."""
    share = min(1.0, step / 20) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if group["of_noise"] and step <= equal else group["rate"] * share


def _measure_noise(network: VAE, data: _Data) -> None:
    """Set the log variances to the maximum of the likelihood for the current reconstruction: the mean error."""
    with torch.no_grad():
        network.noise.copy_(torch.from_numpy(np.log(mean_error(network, data.train, data.scaling, data.rows))))


def _optimizer(network: VAE, rate: float) -> torch.optim.Optimizer:
    """Return AdamW. It moves a parameter by about `rate` a step, which is too slow for the noise's log variance."""
    weights = [parameter for name, parameter in network.named_parameters() if name != "noise"]
    groups = [
        {"params": weights, "rate": rate, "of_noise": False, "weight_decay": 1e-4},
        {"params": [network.noise], "rate": NOISE_RATE * rate, "of_noise": True, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, fused=True)


def _start(architecture: Architecture, seed: int, incumbent: Model | None) -> VAE:
    """Return the network to start from: the incumbent's, or one with random weights.

    torch's global generator stays as it was.
    """
    if incumbent is not None:
        return VAE.of(incumbent).train()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(architecture)
