"""What a model learns from: the blocks that are kept, and the report about those that are not."""

import re
from dataclasses import replace

import numpy as np
import pytest

from monitor.core.fitting.corpus import Corpus, reorder
from monitor.core.fitting.exclude import Span
from monitor.core.fitting.recipe import Recipe
from monitor.core.fitting.selection import REASONS, Selection, select, summary
from tests.core.machines import FAST, STEP, L, corpus, model

HOUR = L * STEP / 3_600_000  # of a block


def reasons(selection: Selection) -> dict[str, int]:
    """Return the number of blocks by reason."""
    return {name: round(hours / HOUR) for name, hours in selection.report()["hours"].items()}


def without(recipe: Recipe, whole: Corpus | None = None) -> set[tuple[str, int]]:
    """Return asset and number of the blocks that a first model does not learn from."""
    given = corpus(40 * L) if whole is None else whole
    kept = select(given, recipe, None, None).corpus
    every, left = (
        {(each.assets[code], int(number)) for code, number in zip(each.asset, each.number, strict=True)}
        for each in (given, kept)
    )
    return every - left


def test_spans_of_assets_are_left_out() -> None:
    """Blocks that touch a span of their asset are left out; the end is not part of it, and globs name assets."""
    begin = (9 * L) * STEP  # of block 10
    assert without(replace(FAST, exclude_spans=(Span("a", begin, begin + 1),))) == {("a", 10)}
    assert without(replace(FAST, exclude_spans=(Span("a", begin - 1, begin),))) == set()
    assert without(replace(FAST, exclude_spans=(Span("a", begin - STEP, begin),))) == {("a", 9)}
    assert without(replace(FAST, exclude_spans=(Span("?", begin, begin + 1),))) == {("a", 10), ("b", 10)}


def test_spans_name_assets_as_their_machines_do() -> None:
    """A span's asset matches the id that its name has become."""
    whole = replace(corpus(40 * L), assets=("Pump_1", "b"))
    begin = (9 * L) * STEP
    recipe = replace(FAST, exclude_spans=(Span("Pump 1", begin, begin + 1),))
    assert without(recipe, whole) == {("Pump_1", 10)}


def test_blocks_are_left_out_where_a_condition_holds() -> None:
    """A block in which the condition is true at one step is left out, an unknown one is not."""
    whole = corpus(40 * L)
    whole.values[3, 0, 5] = 77.0
    whole.values[4, 0, :] = np.nan
    number = int(whole.number[3])
    recipe = replace(FAST, exclude="flow > 70 and temperature < 100")
    assert without(recipe, whole) == {(whole.assets[whole.asset[3]], number)}


def test_a_channel_that_the_history_lacks_is_an_error() -> None:
    """A condition on a channel that is not in the history names the channel and those that are."""
    with pytest.raises(ValueError, match="no channel status, expected one of flow, pressure, temperature"):
        select(corpus(40 * L), replace(FAST, exclude="status == 3"), None, None)


def test_the_report_says_what_became_of_every_block() -> None:
    """Hours by reason add up to the history, in all and over assets and days."""
    whole = corpus(100 * L)
    whole.alerted[40:47] = True
    end = (whole.number * L + L - 1) * STEP
    span = Span("b", int(end.min()), int(end.min()) + 5 * L * STEP)
    selection = select(whole, replace(FAST, exclude_spans=(span,), exclude="flow > 1e6"), None, None)
    report, found = selection.report(), reasons(selection)
    assert sum(found.values()) == len(whole)
    assert found["alert or guard band"] == 7
    assert found["excluded span"] >= 4
    assert found["learned"] + found["held out"] == len(selection.corpus)
    assert found["held out"] == pytest.approx(len(selection.corpus) / 5, rel=0.2)
    for name in found:
        assert sum(day["hours"].get(name, 0) for day in report["days"]) == pytest.approx(
            report["hours"][name], abs=0.01
        )
    assert {(day["asset"], day["day"]) for day in report["days"]} == {("a", "1970-01-01"), ("b", "1970-01-01")}
    assert summary(report)["left_out"].startswith("excluded span 0.0 h, alert or guard band 0.0 h")


def test_dropped_channels_have_a_reason() -> None:
    """A first model drops channels that are hardly measured, a later one those that the model in use does not have."""
    whole = corpus(40 * L)
    names = (*whole.channels, "rare")
    values, observed = reorder(whole.values, whole.observed, whole.channels, names)
    whole = replace(whole, channels=names, values=values, observed=observed)
    first, later = (select(whole, FAST, incumbent, None).report() for incumbent in (None, model()))
    assert first["dropped_channels"] == {"rare": "measured in 0.0% of the steps"}
    assert later["dropped_channels"] == {"rare": "not a channel of the model in use"}
    assert first["channels"] == later["channels"] == list(model().channels)
    assert summary(first)["dropped_channels"] == "rare"


def test_what_the_incumbent_finds_anomalous_is_named() -> None:
    """Blocks far above the incumbent's edge are anomalous, and the rest of its highest scores the worst share."""
    whole = corpus(200 * L, seed=4)
    whole.values[10] *= 40
    found = reasons(select(whole, FAST, model(), None))
    assert found["anomalous"] == 1
    assert 1 <= found["worst share"] <= 0.03 * len(whole)
    assert set(found) <= set(REASONS)


def test_a_history_of_which_too_little_is_left_says_what_was_left_out() -> None:
    """What was left out is counted, and only where the model in use left out the most there is a way past it."""
    whole = corpus(40 * L)
    wrong = replace(whole, values=whole.values + 40 * model().scaling.scale[0, None, :, None].astype(np.float32))
    assert select(whole, FAST, None, None).too_few() == ""
    said = select(wrong, FAST, model(), None).too_few()
    assert re.fullmatch(r"0 of 80 blocks .* left out: 80 anomalous\..*--anew", said)
    few = whole.take(np.arange(80) < 3)
    said = select(few, replace(FAST, worst=0.0), model(), None).too_few()
    assert said == "3 of 3 blocks of history are too few to fit on some and hold out others"
    alerted = np.arange(80) > 2
    said = select(replace(whole, alerted=alerted), replace(FAST, worst=0.0), model(), None).too_few()
    assert said.endswith("; left out: 77 alert or guard band")
