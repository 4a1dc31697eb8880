"""A pipeline with modes: a recipe that was never learned, a state with a new value, restarts and cuts of the stream."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from monitor.core.fitting.fit import fit
from monitor.core.model.model import Model
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.publish import alert_record, score_records
from monitor.core.published import decode_alert, decode_score
from monitor.core.records import Alert, Floats, Partition, ReadingBatch
from monitor.service.pipelines import make_pipeline
from monitor.settings.tree import Settings
from tests.core.fitting.test_modes import with_recipe
from tests.core.machines import ASSETS, FAST, L, rows

CHANNELS = ("flow", "pressure", "temperature", "recipe")
NEW = slice(150, 220)  # steps in which machine a runs recipe 8000


@cache
def model() -> Model:
    """A model of recipes 1 and 2."""
    recipe = replace(FAST, mode_channel="recipe", steps=150)
    return fit(with_recipe(0, (1.0, 2.0)), recipe, None, lambda *_: None).model


def readings(steps: int = 320, new: float = 8000) -> ReadingBatch:
    """Readings of both machines at recipe 1; a runs a new one in NEW."""
    recipe = np.ones((2, steps), np.float32)
    recipe[0, NEW] = new
    return batch(rows(steps, seed=5), recipe)


def batch(values: Floats, recipe: Floats) -> ReadingBatch:
    """Readings of both machines, values (A, T, 3) at recipes (A, T)."""
    table = np.concatenate([values, recipe[:, :, None]], 2).transpose(1, 0, 2)  # (T, A, C)
    T, A, C = table.shape
    time = np.repeat(np.arange(T, dtype=np.int64) * 1000, A * C)
    asset = np.tile(np.repeat(np.arange(A, dtype=np.int32), C), T)
    channel = np.tile(np.arange(C, dtype=np.int32), T * A)
    return ReadingBatch(ASSETS, CHANNELS, asset, channel, time, table.ravel().astype(np.float64), time)


def pipeline(**sections: object) -> Pipeline:
    settings = Settings.model_validate(
        {
            "source": {"topics": ["t"]},
            "windows": {"step_s": 1, "length": L, "max_gap": 8},
            "modes": {"channel": "recipe"},
            **sections,
        }
    )
    made = make_pipeline(settings, Partition("t", 0))
    made.use(Scorer(model()))
    return made


def run(size: int, *, restart: bool = False) -> Iterator[tuple[list[Alert], float]]:
    """Yield the alerts of each batch of `size` readings, and its largest score; 8 readings are a step."""
    whole, stage = readings(), pipeline()
    for begin in range(0, len(whole), size):
        outputs = stage.step(whole.part(begin, begin + size), lambda offsets: offsets, lambda _: None)
        scores = outputs.scores
        yield list(outputs.alerts), 0.0 if scores is None else float(scores.score.max(initial=0))
        if restart:
            state, stage = stage.save_state(), pipeline()
            stage.load_state(state)
            stage.use(Scorer(model()))


def test_a_new_recipe_is_one_alert_and_no_fault_of_the_machine() -> None:
    """A recipe that was never learned fires and resolves one alert with its number, and scores stay of their size."""
    parts = list(run(400))
    alerts = [alert for part, _ in parts for alert in part]
    assert [(each.asset, each.cause, each.mode, each.state) for each in alerts] == [
        ("a", "new_mode", "8000", "firing"),
        ("a", "new_mode", "8000", "resolved"),
    ]
    assert alerts[0].time < 1000 * (NEW.start + L)
    assert max(score for _, score in parts) < 20


@pytest.mark.parametrize("fault", [0.0, 12.0])
def test_each_mode_has_errors_of_its_own(fault: float) -> None:
    """Clean windows of the noisy recipe raise no alarm, and a fault in the quiet one is found."""
    steps = np.arange(900)
    recipe = np.tile(1 + steps // 64 % 2, (2, 1)).astype(np.float32)
    values = rows(len(steps), seed=7)
    noise = np.random.default_rng(7).normal(0, 0.2, recipe.shape) * (recipe - 1) * [[1], [10]]
    values[:, :, 1] += noise  # standard deviation 2 of machine b, and 0.3 in the quiet recipe
    begin = 12 * 64 + 30
    assert recipe[1, begin] == 1
    values[1, begin : begin + 8, 1] += fault

    stage, alerts = pipeline(), list[Alert]()
    whole = batch(values, recipe)
    for cut in range(0, len(steps), 50):
        alerts += stage.step(whole.part(8 * cut, 8 * (cut + 50)), lambda offsets: offsets, lambda _: None).alerts
    fired = [alert for alert in alerts if alert.state == "firing"]
    if not fault:
        assert fired == []
        return
    assert {(alert.asset, alert.cause, alert.channels[0].channel) for alert in fired} == {("b", "machine", "pressure")}
    assert 1000 * begin <= fired[0].start < 1000 * (begin + 8)


@pytest.mark.parametrize("size", [60, 1000])
def test_cuts_and_restarts_change_no_alert(size: int) -> None:
    """However the stream is cut, and with the state reloaded after each batch, the alerts are the same."""
    expected = [alert for part, _ in run(10_000) for alert in part]
    assert [alert for part, _ in run(size, restart=True) for alert in part] == expected


@pytest.mark.parametrize(("section", "channel"), [("rec*", "recipe"), ("door", "door")])
def test_a_state_is_of_the_first_of_the_texts(section: str, channel: str) -> None:
    """Texts may be added at the end over a restart. A state is refused if a value of it stands for another text now."""

    def texts(named: str, *texts: str) -> Pipeline:
        watched = {"when": 'door == "SHUT"'} if channel == "door" else {}  # a channel that no window has
        return pipeline(channels={named: {"texts": texts}} if texts else {}, running=watched if texts else {})

    before = texts(section, "OPEN", "SHUT")
    before.step(readings(20), lambda offsets: offsets, lambda _: None)
    state = before.save_state()
    for known in (("OPEN", "SHUT", "B"), ()):
        texts(section, *known).load_state(state)
    for other in (("SHUT", "OPEN"), ("SHUT",)):
        with pytest.raises(ValueError, match=rf"the texts \['OPEN', 'SHUT'\] of {channel}, which are now"):
            texts("[rd]*", *other).load_state(state)


def test_a_mode_that_is_a_text_is_shown_as_one() -> None:
    """Alerts and scores name the text of a mode and of a state, in place of its number."""
    stage = pipeline(channels={"rec*": {"texts": ["RINSE", "A", "B"]}})
    outputs = stage.process(readings(new=0), lambda offsets: offsets, lambda _: None)
    fired, resolved = outputs.alerts
    assert (fired.mode, resolved.mode) == ("RINSE", "RINSE")
    (channel,) = decode_alert(alert_record("alerts", fired).value).channels
    assert channel.reading() in {"RINSE, expected A", "RINSE, expected B"}  # as the small model has it

    scores = score_records(
        "scores",
        outputs,
        names=outputs.names,
        channels=CHANNELS,
        model="m",
        detector="d",
        every_steps=1,
        step_ms=1000,
    )
    modes = [(each.asset, each.mode) for record in scores for each in [decode_score(record.value)]]
    assert set(modes) == {("a", "A"), ("a", "RINSE"), ("b", "A")}
