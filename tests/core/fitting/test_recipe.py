"""What a recipe says of channels by their names."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.fit import fit, prepare
from monitor.core.fitting.recipe import Recipe
from monitor.core.model.scaling import SHARE
from monitor.settings.load import load
from tests.core.machines import CHANNELS, FAST, corpus, model


@pytest.mark.parametrize(
    ("aggregates", "channels", "expected"),
    [
        (("last",), ["cpu.load", "cpu.steal", "heat"], [100, 7, 0]),
        (("mean", "std"), ["cpu.load.mean", "cpu.load.std", "heat.mean"], [100, 0, 0]),
    ],
)
def test_the_first_glob_that_matches_gives_the_span(
    aggregates: tuple[str, ...], channels: list[str], expected: list[float]
) -> None:
    """A channel's aggregates have its span, but for the deviation within a step, which is another quantity."""
    sections = {"cpu.load": {"span": 100}, "cpu.*": {"span": 7}, "heat": {"title": "Heat"}}
    settings = load(None, {}, {"channels": sections, "windows.aggregate": list(aggregates)})
    assert settings.recipe().known_spans(channels).tolist() == expected


def test_after_a_way_through_json_spans_are_the_same() -> None:
    """Lists are read as the pairs that they were."""
    recipe = Recipe(spans=[["a", 2.0]], aggregates=["last"])  # type: ignore[arg-type]
    assert recipe.known_spans(["a", "b"]).tolist() == [2, 0]


def test_a_span_widens_the_scale_of_a_first_model_and_of_the_next_one() -> None:
    """All rows have it, those that the incumbent knows, too."""
    recipe = replace(FAST, spans=(("pressure", 400.0),), steps=25)
    for incumbent in (None, model()):
        kept = prepare(corpus(), recipe, incumbent)
        made = fit(kept, recipe, incumbent, lambda *_: None).model
        own = made.scaling.scale[:, CHANNELS.index("pressure")]
        np.testing.assert_array_equal(own, SHARE * 400)
        assert (made.scaling.scale[:, 0] < 10).all()
