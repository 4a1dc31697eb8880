"""A machine the model has never seen: how its own statistics come in, and where they end."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.model.model import Model
from monitor.core.model.new_assets import CELLS, CLASS_ROWS, LEVEL, SCALE, WIDE, NewAssets
from monitor.core.model.scaling import Scaling
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Outputs, State, WindowBatch
from tests.core.machines import ASSETS, CHANNELS, STEP, L, model, rows, windows
from tests.properties.hostile_stores import new_pipeline
from tests.rig import processed, readings

NOW = 2**41


def class_only() -> Model:
    """The model, which knows machine a by name but not b."""
    scaling = model().scaling
    known = Scaling(scaling.assets[:1], scaling.center[[0, -1]], scaling.scale[[0, -1]])
    return replace(model(), scaling=known, version="m-20250102T000000-00000000")


def walk(steps: int, made: Model) -> tuple[Pipeline, list[Outputs]]:
    pipeline = new_pipeline()
    pipeline.use(Scorer(made))
    sent = readings(rows(steps, seed=9).astype(np.float64))
    return pipeline, [processed(pipeline, sent[at : at + 500], NOW) for at in range(0, len(sent), 500)]


def stage(batch: WindowBatch | None = None) -> NewAssets:
    made = NewAssets(length=L, step_ms=STEP)
    made.use(CHANNELS)
    if batch is not None:
        made.update(batch, ASSETS, class_only().scaling)
    return made


def row(made: NewAssets, scaling: Scaling | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What machine b is scaled by as of now, (C,) each."""
    found = made.current(windows(rows(L)).take(np.array([1])), ASSETS, scaling or class_only().scaling)
    return found.scaling.center[found.rows[0]], found.scaling.scale[found.rows[0]]


def test_a_new_machine_is_soon_scored_like_one_that_was_learned() -> None:
    """Its scores come from far off to those it would have in a model that knew it; the known one's never differ."""
    bare, known = Scorer(class_only()), Scorer(model())
    batch = windows(rows(1500, seed=9))
    scalings = stage().update(batch, ASSETS, class_only().scaling)
    learned, ideal = (d.score(batch, ASSETS, r).network for d, r in ((bare, scalings), (known, None)))
    poor = bare.score(batch, ASSETS).network
    late = (batch.assets == 1) & (batch.ends > 1000 * STEP)
    assert np.array_equal(learned[batch.assets == 0], ideal[batch.assets == 0])
    assert np.abs(np.log(learned[late] / ideal[late])).mean() < 0.5 * np.abs(np.log(poor[late] / ideal[late])).mean()


def test_a_pipeline_scores_and_explains_with_what_it_learned() -> None:
    """The expected values of a new machine's scores and of its alerts are in its own units, not in the class's."""
    pipeline, outputs = walk(1500, class_only())
    last = outputs[-1]
    assert last.scores is not None
    place = np.flatnonzero(last.windows.assets == 1)[-1:]
    window, names = last.windows.take(place), pipeline.windows.assets
    scalings = pipeline.new_assets.current(window, names, class_only().scaling)
    scorer = Scorer(class_only())
    apart = np.abs(scorer.expected(window, names, scalings) - scorer.expected(window, names))
    assert apart.max() > 0.5
    np.testing.assert_allclose(
        scorer.expected(window, names, scalings)[0, :, -1], last.scores.expected[place[0]], atol=0.5
    )
    by_channel = {share.channel: share.expected for share in scorer.explain(window, names, scalings)}
    in_class = {share.channel: share.expected for share in scorer.explain(window, names)}
    assert by_channel != in_class


def test_a_fault_from_the_first_minute_is_taken_in_no_further_than_allowed() -> None:
    """However far off and however long, a row keeps within its bounds of the class's."""
    scaling = class_only().scaling
    values = rows(4000, seed=9)
    values[1] = scaling.center[-1] + 1000 * scaling.scale[-1]
    center, scale = row(stage(windows(values)))
    assert (center - scaling.center[-1] <= LEVEL * scaling.scale[-1] * (1 + 1e-9)).all()
    assert (scale >= scaling.scale[-1] / SCALE * (1 - 1e-9)).all()
    first, _ = row(stage(windows(values[:, :L])))
    weight = L / (L + CLASS_ROWS)
    np.testing.assert_allclose(first, scaling.center[-1] + weight * CELLS * scaling.scale[-1], rtol=1e-6)


def test_doubted_cells_teach_nothing() -> None:
    """What a sensor at fault says is not the machine's nature, though the window shows it."""
    batch = windows(rows(400, seed=9))
    masked = np.zeros(batch.values.shape, np.bool_)
    masked[:, 1] = True
    made = stage(replace(batch, observed=batch.observed & ~masked, masked=masked))
    scaling = class_only().scaling
    center, scale = row(made)
    assert (center[1], scale[1]) == (scaling.center[-1, 1], min(WIDE, SCALE) * scaling.scale[-1, 1])
    assert center[0] != scaling.center[-1, 0]


@pytest.mark.parametrize("phase", [0, 1])
def test_a_machine_that_is_read_at_every_second_step_learns(phase: int) -> None:
    """It comes to the statistics that it would have of its readings alone, whichever steps they fall on."""
    values = rows(1600, seed=9)
    batch = windows(values)
    hidden = batch.observed.copy()
    hidden[(batch.assets == 1)[:, None, None] & _at(batch, 1 - phase)] = False
    read = (batch.assets == 0) | (batch.ends // STEP % 2 == phase)
    center, scale = row(stage(replace(batch, observed=hidden).take(np.flatnonzero(read))))
    whole, spread = row(stage(windows(values[:, :800])))  # as many cells
    np.testing.assert_allclose(center, whole, atol=0.2 * class_only().scaling.scale[-1].min())
    np.testing.assert_allclose(scale, spread, rtol=0.2)


def _at(batch: WindowBatch, phase: int) -> np.ndarray:
    """Cells (B, C, L) of steps of this parity."""
    steps = batch.ends[:, None] // STEP - np.arange(L)[::-1]
    return np.broadcast_to((steps % 2 == phase)[:, None, :], batch.values.shape)


def test_nothing_is_left_of_a_machine_that_was_given_up() -> None:
    """A row that is another machine's now begins with the class's statistics."""
    made = stage(windows(rows(400, seed=9)))
    made.forget(1)
    made.forget(99)
    assert np.array_equal(row(made)[0], class_only().scaling.center[-1])


def test_a_model_that_knows_the_machine_ends_what_it_learned_itself() -> None:
    """From adoption on its row is the model's; after a rollback it goes on with what it had learned."""
    pipeline, _ = walk(1000, class_only())
    before = row(pipeline.new_assets)
    pipeline.adopt(Scorer(model()))
    assert np.array_equal(row(pipeline.new_assets, model().scaling)[0], model().scaling.center[1])
    processed(pipeline, readings(rows(1100, seed=9).astype(np.float64))[2000:], NOW)
    pipeline.adopt(Scorer(class_only()))
    assert all(np.array_equal(now, then) for now, then in zip(row(pipeline.new_assets), before, strict=True))


def test_channels_may_come_and_go() -> None:
    """A channel that stays keeps its statistics, one that is new begins with the class's."""
    made = stage(windows(rows(400, seed=9)))
    before, scaling = row(made), class_only().scaling
    made.use(("temperature", "level", "flow"))
    order = [2, 0, 0]
    turned = Scaling(scaling.assets, scaling.center[:, order], scaling.scale[:, order])
    center, _ = row(made, turned)
    assert (center[0], center[1], center[2]) == (before[0][2], scaling.center[-1, 0], before[0][0])


def test_a_state_without_new_assets_is_refused() -> None:
    """A partition does not continue from a state without statistics of new assets; it would score them otherwise."""
    pipeline, _ = walk(600, class_only())
    state = {name: array for name, array in pipeline.save_state().items() if not name.startswith("new_assets.")}
    with pytest.raises(ValueError, match="state of new assets: channels is missing"):
        new_pipeline().load_state(state)


def damaged(**changes: object) -> State:
    return {**stage(windows(rows(100, seed=9))).save_state(), **changes}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"count": np.zeros((0, 3), np.int64)}, "channels is missing"),
        (damaged(count=np.zeros((2, 3))), "count is float64"),
        (damaged(mean=np.zeros((2, 2))), "mean is float64"),
        (damaged(mean=np.full((2, 3), np.nan)), r"mean\[0, 0\] is nan"),
        (damaged(squares=np.full((2, 3), -1.0)), r"squares\[0, 0\] is -1.0"),
        (damaged(count=np.full((2, 3), -1)), r"count\[0, 0\] is -1"),
        (damaged(channels=np.frombuffer(b'["a","a","b"]', np.uint8)), "'a' twice"),
        (damaged(channels=np.frombuffer(b"[" * 10**5, np.uint8)), "nested deep"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(state: State, said: str) -> None:
    """The refusal names the array that does not fit, and learned statistics stay."""
    made = stage(windows(rows(200, seed=9)))
    before = row(made)
    with pytest.raises(ValueError, match=said):
        made.load_state(state)
    assert np.array_equal(row(made)[0], before[0])
