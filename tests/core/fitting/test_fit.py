"""Fitting, calibration and the gate for new models."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from monitor.core.fitting.corpus import Corpus, cut, held_out
from monitor.core.fitting.errors import LIMIT
from monitor.core.fitting.fit import CHECK_STEPS, LEAST_ERROR, LEAST_SHARE, Fitted, calibrate, fit, mean_error, prepare
from monitor.core.fitting.forecast import fit_forecaster
from monitor.core.fitting.gate import refusal
from monitor.core.fitting.recipe import Recipe
from monitor.core.model import alarm
from monitor.core.model.alarm import ERRORS, alarm_scores, at_limits
from monitor.core.model.channel_limits import ChannelLimits
from monitor.core.model.model import LEVELS, Model
from monitor.core.model.scorer import Scorer
from monitor.core.model.vae import VAE
from tests.core.machines import ASSETS, CHANNELS, FAST, STEP, L, corpus, model, rows, unforeseen, windows


def silent(*_: float) -> None:
    """Discard the progress."""


def learn(corpus: Corpus, recipe: Recipe, incumbent: Model | None = None) -> Fitted:
    """Prepare and fit as the training process does."""
    return fit(prepare(corpus, recipe, incumbent), recipe, incumbent, silent)


def test_windows_are_cut_from_neighbouring_blocks_only() -> None:
    """A window begins at every row of a run of blocks and never spans a gap or two assets."""
    whole = corpus(8 * L)
    holey = whole.take(~((whole.asset == 0) & (whole.end == (4 * L - 1) * STEP)))
    made = cut(holey)
    values, _, asset = made.take(np.arange(len(made)))
    assert len(made) == (3 - 1) * L + 1 + (4 - 1) * L + 1 + (8 - 1) * L + 1
    truth = rows(8 * L)
    wanted = {
        (code, truth[code, begin : begin + L].T.tobytes())
        for code, begins in ((0, [*range(2 * L + 1), *range(4 * L, 7 * L + 1)]), (1, range(7 * L + 1)))
        for begin in begins
    }
    assert {(code, window.tobytes()) for code, window in zip(asset.tolist(), values, strict=True)} == wanted


def test_a_fifth_is_held_out_in_neighbouring_pairs() -> None:
    """Two adjacent blocks out of every ten of an asset are held out."""
    whole = corpus(40 * L)
    number = (whole.end // STEP + 1) // L
    assert sorted(set(number[held_out(whole)].tolist())) == [8, 9, 18, 19, 28, 29, 38, 39]


def test_of_many_assets_with_few_blocks_some_are_held_out() -> None:
    """If every asset has the same few blocks, about a fifth is held out, independent of the other assets."""
    names = tuple(f"pump-{number}" for number in range(500))
    asset, number = np.repeat(np.arange(500), 4), np.tile(np.arange(4), 500)
    values = np.zeros((2000, 1, L), np.float32)
    end, seen, alerted = (number * L + L - 1) * STEP, np.ones_like(values, np.bool_), np.zeros(2000, np.bool_)
    whole = Corpus(("flow",), names, STEP, asset, end, values, seen, alerted)
    held = held_out(whole)
    assert 0.15 < held.mean() < 0.25
    assert np.array_equal(held_out(whole.take(asset < 100)), held[asset < 100])


def test_training_is_repeatable() -> None:
    """The same corpus and recipe give the same weights, another seed gives others, and torch's own state stays."""
    short = replace(FAST, steps=2 * CHECK_STEPS)
    before = torch.get_rng_state()
    one, two = (learn(corpus(), short).model for _ in range(2))
    other = learn(corpus(), replace(short, seed=1)).model
    assert torch.equal(before, torch.get_rng_state())
    assert all(np.array_equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert not all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_progress_tells_steps_and_a_falling_loss() -> None:
    """Progress reports the steps done, the steps planned, and a decreasing held-out loss."""
    reported: list[tuple[int, int, float]] = []
    fitted = fit(corpus(), FAST, None, lambda *each: reported.append(each))
    assert [step for step, _, _ in reported] == list(range(CHECK_STEPS, FAST.steps + 1, CHECK_STEPS))
    assert {steps for _, steps, _ in reported} == {FAST.steps}
    assert reported[-1][2] < reported[0][2] - 0.3
    assert fitted.loss == min(loss for _, _, loss in reported)


def test_training_stops_when_nothing_improves() -> None:
    """Training stops early without improvement on the held-out part and keeps the best weights."""
    fitted = learn(corpus(), replace(FAST, learning_rate=0.1, steps=800, patience=3))
    assert fitted.steps < 800


@pytest.mark.parametrize("made", [model(), unforeseen()], ids=["foresees", "does not"])
def test_clean_windows_reach_the_edge_rarely(made: Model) -> None:
    """On fresh normal data few windows score above 1.0, and the quantiles of the alarm score match its alarm scores."""
    fresh = windows(rows(1600, seed=5))
    found = Scorer(made).score(fresh, ASSETS)
    assert np.mean(found.network > 1.0) < 10 * (1 - LIMIT)
    assert np.all(np.diff(made.alarm.scores) >= 0)
    limits = ChannelLimits()
    limits.use(made.alarm.starts)
    expected = np.quantile(alarm_scores(found.network, limits.update(fresh.assets, found.errors)), 0.5)
    assert abs(np.interp(0.5, LEVELS, made.alarm.scores) - expected) < 0.15


def test_a_usual_error_is_not_below_that_of_held_out_windows() -> None:
    """The calibration uses the larger of the training and held-out errors of each channel."""
    short = corpus(10 * L)
    made = learn(short, replace(FAST, patience=1000)).model
    rows_of = made.scaling.rows(short.assets)
    network = VAE.of(made)
    held = mean_error(network, cut(short.take(held_out(short))), made.scaling, rows_of)
    seen = mean_error(network, cut(short.take(~held_out(short))), made.scaling, rows_of)
    assert (held > 1.5 * seen).any()
    assert (made.calibration.error >= held).all()


def test_a_quiet_channel_has_a_share_of_the_mean_usual_error() -> None:
    """Among channels of noise, the usual error of one that never moves is LEAST_SHARE of the mean, in modes, too."""
    past = corpus()
    values = np.random.default_rng(3).normal(0, 1, past.values.shape).astype(np.float32)
    values[:, 0] = 7.0
    past = replace(past, values=values)
    made = learn(past, FAST).model

    whole, rows_of = cut(past), made.scaling.rows(past.assets)
    forecast = fit_forecaster(whole, made.scaling, rows_of, 500)
    calibration, errors = calibrate(VAE.of(made), whole, past, made.scaling, rows_of, forecast, once=True)
    least = LEAST_SHARE * (LEAST_ERROR + calibration.error[1:].sum()) / len(calibration.error)
    assert least > 2 * LEAST_ERROR
    np.testing.assert_allclose([calibration.error[0], *errors.least], least, rtol=1e-5)


def test_faults_stand_out_and_are_explained() -> None:
    """A shift of one channel scores far above 1.0, and that channel ranks first with its values."""
    values = rows(200, seed=6)
    values[1, 150:, 1] += 20.0
    scores = Scorer(model()).score(windows(values), ASSETS)
    batch = windows(values)
    late = np.flatnonzero((batch.assets == 1) & (batch.ends == 154 * STEP))
    assert scores.network[late] > 2.0
    ranked = Scorer(model()).explain(batch.take(late), ASSETS)
    assert ranked[0].channel == "pressure"
    assert ranked[0].observed is not None
    assert ranked[0].observed > ranked[0].high
    assert abs(sum(share.contribution for share in ranked) - 1) < 1e-5


def test_a_level_far_off_stands_out_though_it_is_reconstructed() -> None:
    """Windows without a reconstruction error still score high if all channels are far from their training values."""
    made = unforeseen()
    far = windows(rows(L + 20, seed=6) + 3 * made.scaling.scale[:2, None].astype(np.float32))
    blind_to_error = replace(made.calibration, error=made.calibration.error * 1e6)
    scores = Scorer(replace(made, calibration=blind_to_error)).score(far, ASSETS)
    assert (scores.network > 2).all()
    found = at_limits(scores.network, scores.errors, made.alarm.starts)
    assert (found > 5 * made.alarm.scores[-1]).all()


def blurred() -> Scorer:
    """Return a model whose usual error is as large as a usual move, except for the dominant temperature."""
    calibration = unforeseen().calibration
    error = np.where(np.arange(len(CHANNELS)) == 2, np.float32(1e-4), calibration.move)
    return Scorer(replace(unforeseen(), calibration=replace(calibration, error=error)))


def test_a_model_that_foresees_moves_names_what_it_reconstructs_wrongly() -> None:
    """A frozen channel ranks first because it does not follow the other channels."""
    values = rows(200, seed=6)
    values[0, 100:, 2] = 0.9
    batch = windows(values)
    late = batch.take(np.flatnonzero((batch.assets == 0) & (batch.ends == 160 * STEP)))
    ranked = Scorer(model()).explain(late, ASSETS)
    assert ranked[0].channel == "temperature"
    assert abs(sum(share.contribution for share in ranked) - 1) < 1e-5


def test_a_model_that_does_not_names_what_moved() -> None:
    """If usual errors are as large as usual moves, the channel that just moved ranks above the largest error."""
    values = rows(200, seed=6)
    values[1, 150:, 1] += 20.0
    batch = windows(values)
    late = batch.take(np.flatnonzero((batch.assets == 1) & (batch.ends == 150 * STEP)))
    assert blurred().explain(late, ASSETS)[0].channel == "pressure"
    assert blurred().score(late, ASSETS).by_channel[0].argmax() == 1


def test_where_nothing_moved_the_part_of_the_score_names_the_channel() -> None:
    """A fault too slow to move a channel within the last steps is ranked by that channel's part of the score."""
    still = np.repeat(rows(1, seed=6), L, axis=1)
    batch = windows(still)
    first = batch.take(np.array([0]))
    ranked = blurred().explain(first, ASSETS)
    assert not blurred().score(first, ASSETS).by_channel.any()
    assert ranked[0].channel == "temperature"
    assert abs(sum(share.contribution for share in ranked) - 1) < 1e-5


def test_scores_do_not_depend_on_the_batch() -> None:
    """A window has the same score, bit for bit, alone and in any batch."""
    batch = windows(rows(120, seed=7))
    scorer = Scorer(model())
    whole = scorer.score(batch, ASSETS)
    for begin, end in ((0, 1), (5, 38), (100, len(batch))):
        part = scorer.score(batch.take(np.arange(begin, end)), ASSETS)
        assert np.array_equal(part.network, whole.network[begin:end])
        assert np.array_equal(part.forecast, whole.forecast[begin:end])
        assert np.array_equal(part.by_channel, whole.by_channel[begin:end])


def test_no_window_no_score() -> None:
    """An empty batch of windows gives an empty batch of scores."""
    scores = Scorer(model()).score(windows(rows(L)).take(np.arange(0)), ASSETS)
    assert len(scores.network) == 0


def test_a_model_survives_packing() -> None:
    """A model scores the same after being packed and unpacked."""
    made = model()
    again = Model.unpack(made.version, *made.pack())
    batch = windows(rows(60, seed=8))
    assert np.array_equal(Scorer(made).score(batch, ASSETS).network, Scorer(again).score(batch, ASSETS).network)


def test_channels_hardly_measured_are_left_out() -> None:
    """A channel seen in fewer than 5 % of the steps is not part of the model."""
    whole = corpus()
    values, observed = whole.values.copy(), whole.observed.copy()
    values[1:, 2], observed[1:, 2] = np.nan, False
    part = replace(whole, values=values, observed=observed)
    assert learn(part, replace(FAST, steps=CHECK_STEPS)).model.channels == CHANNELS[:2]


@pytest.mark.parametrize("steps", [0, L, 6 * L])
def test_too_little_history_is_refused(steps: int) -> None:
    """A history with no window to fit on, or none to hold out, raises ValueError."""
    few = corpus(10 * L)
    with pytest.raises(ValueError, match="blocks of history"):
        learn(few.take(few.end < steps * STEP), FAST)


def test_retraining_keeps_the_ruler_and_adds_new_assets() -> None:
    """With an incumbent, known assets keep their scaling and a new asset gets its own statistics."""
    made, whole = model(), corpus(1600, seed=3)
    renamed = replace(whole, assets=("a", "c"))
    again = learn(renamed, FAST, made).model
    assert again.scaling.assets == ("a", "b", "c")
    assert np.array_equal(again.scaling.center[[0, 1, 3]], made.scaling.center)
    assert abs(again.scaling.scale[2] / again.scaling.scale[1] - 1).max() < 0.2
    assert refusal(again, made, renamed, 0.05) == ""


def test_what_the_incumbent_finds_anomalous_is_not_learned() -> None:
    """A block that the incumbent scores far above 1.0 is left out of what the new model is fitted on."""
    whole = corpus(1600, seed=3)
    values = whole.values.copy()
    values[10, 1] += 50.0
    spoiled = replace(whole, values=values)
    kept = prepare(spoiled, replace(FAST, worst=0.0), model())
    assert len(kept) == len(spoiled) - 1
    assert np.nanmax(kept.values[:, 1]) < np.nanmax(values[:, 1]) - 20


def test_the_worst_share_is_not_learned() -> None:
    """For assets that the incumbent knows, the share of blocks with its highest scores is left out."""
    whole = corpus(1600, seed=3)
    all_of_it = learn(whole, replace(FAST, worst=0.0, steps=CHECK_STEPS), model())
    less = learn(whole, replace(FAST, worst=0.2, steps=CHECK_STEPS), model())
    assert less.windows < 0.75 * all_of_it.windows


def broken(made: Model) -> Model:
    weights = {name: np.full_like(value, np.nan) for name, value in made.weights.items()}
    return replace(made, weights=weights)


def untrained(made: Model) -> Model:
    return learn(corpus(), replace(FAST, steps=1, learning_rate=1e-6)).model


def blind(made: Model) -> Model:
    return replace(made, calibration=replace(made.calibration, limits=made.calibration.limits * 100))


def blind_in_a_channel(made: Model) -> Model:
    starts = made.alarm.starts.copy()
    starts[:, 1] *= 1000
    return replace(made, alarm=replace(made.alarm, starts=starts))


@pytest.mark.parametrize(
    ("spoil", "model_of", "reason"),
    [
        (broken, model, "not finite"),
        (untrained, model, "held-out loss"),
        (blind, model, "of the synthetic faults by the network's score"),
        (blind_in_a_channel, unforeseen, "of the synthetic faults by the alarm score"),
    ],
)
def test_the_gate_refuses(spoil: Callable[[Model], Model], model_of: Callable[[], Model], reason: str) -> None:
    """A candidate with NaN, with a worse reconstruction or without sensitivity to faults is refused with the reason."""
    made = model_of()
    assert reason in refusal(spoil(made), made, corpus(800, seed=4), 0.05)


def test_the_gate_lets_pass() -> None:
    """A first model and a model as good as the incumbent pass the gate."""
    assert refusal(model(), None, corpus(800, seed=4), 0.05) == ""
    assert refusal(model(), model(), corpus(800, seed=4), 0.05) == ""


def test_a_recording_with_faults_does_not_speak_against_the_retrained_model() -> None:
    """A retrained model is judged on blocks fit for training and passes although its recording contains long faults."""
    whole = corpus(1600, seed=3)
    values = whole.values.copy()
    values[held_out(whole) & (whole.asset == 1), 1] += 40.0
    spoiled = replace(whole, values=values)
    recipe = replace(FAST, worst=0.0)
    kept = prepare(spoiled, recipe, model())
    assert len(kept) < len(spoiled)
    assert refusal(fit(kept, recipe, model(), silent).model, model(), kept, 0.05) == ""


def disturbed() -> Corpus:
    """Return the corpus with the pressure of a machine off for four of its hundred blocks."""
    whole = corpus()
    values = whole.values.copy()
    own = np.flatnonzero(whole.asset == 1)[40:44]
    values[own, 1] += 6.0
    return replace(whole, values=values)


@pytest.mark.parametrize(
    ("recipe", "foreseen", "counts"),
    [(FAST, True, False), (replace(FAST, learn_modes=True), True, True), (FAST, False, True)],
    ids=["foresees", "modes", "does not foresee"],
)
def test_a_single_disturbance_is_no_measure(
    recipe: Recipe, foreseen: bool, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edge of the whole window is that of a healthy history, but for modes and networks that do not foresee."""
    if not foreseen:
        monkeypatch.setattr(alarm, "FORESEEN", np.inf)
    made, healthy = (fit(past, recipe, None, silent).model for past in (disturbed(), corpus()))
    edges = made.calibration.limits[0] / healthy.calibration.limits[0]
    assert (edges > 3) if counts else (0.5 < edges < 1.5)
    assert made.alarm.starts.shape == healthy.alarm.starts.shape == (0 if foreseen else ERRORS, len(CHANNELS))
