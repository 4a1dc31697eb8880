"""Spans of a history that a new model fits worst."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from monitor.core.fitting.corpus import Corpus, cut
from monitor.core.fitting.errors import Errors
from monitor.core.fitting.fit import fit
from monitor.core.fitting.poor_fit import MOST, poor_fits
from tests.core.machines import ASSETS, CHANNELS, FAST, STEP, L, corpus


def told(history: Corpus, scores: dict[tuple[str, int], float]) -> list[tuple[str, int, int, float]]:
    """Return asset, first and last step and score of each span, given the score of windows by asset and last step."""
    windows = cut(history)
    values, _, asset = windows.take(np.arange(len(windows)))
    step = values[:, -1, -1].astype(int)  # the last channel counts the steps
    score = [scores.get((history.assets[a], s), 0.5) for a, s in zip(asset.tolist(), step.tolist(), strict=True)]
    n, C = len(windows), len(history.channels)
    parts = np.ones((n, 1, C), np.float32)
    nothing: Any = np.zeros(0)
    errors = Errors(
        index=np.arange(n), parts=parts, seen=nothing, squares=nothing, cells=nothing, latent=nothing, least=nothing,
        forecast=nothing, newest=nothing, asset=asset, usual=nothing, move=nothing,
    )  # fmt: skip
    found = poor_fits(history, windows, errors, np.array(score, np.float32), np.ones(C, np.float32))
    return [(each.asset, step_of(each.start), step_of(each.end) - 1, each.score) for each in found]


def step_of(text: str) -> int:
    """Return the number of the step at a time in ISO 8601."""
    return round(datetime.fromisoformat(text).timestamp() * 1000) // STEP


def counting(steps: int, hole: int) -> Corpus:
    """A history whose last channel is the number of the step, without the block at step `hole`."""
    made = corpus(steps)
    number = (made.end[:, None] // STEP - (L - 1) + np.arange(L)).astype(np.float32)
    values = made.values.copy()
    values[:, -1] = number
    counted = replace(made, values=values)
    return counted.take(~((made.end // STEP - (L - 1) <= hole) & (hole <= made.end // STEP)))


def test_windows_that_follow_each_other_are_one_span_of_their_asset() -> None:
    """A span begins with its first window and ends with its last, and holes between blocks move no times."""
    history = counting(20 * L, 5 * L + 3)
    last = history.end.max() // STEP
    scores = {("a", 2 * L + 5): 3.0, ("a", 2 * L + 9): 7.0, ("b", 2 * L + 7): 2.0, ("b", int(last)): 1.5}
    assert told(history, scores) == [
        ("a", L + 6, 2 * L + 9, 7.0),
        ("b", L + 8, 2 * L + 7, 2.0),
        ("b", last - L + 1, last, 1.5),
    ]


def test_only_the_worst_are_told() -> None:
    """Of more spans the highest are told, and none of windows within the edge."""
    history = counting(40 * L, 0)
    scores = {("a", 3 * L * place + L): 1.0 + place for place in range(1, 12)}
    assert [score for *_, score in told(history, scores)] == [12.0 - place for place in range(MOST)]
    assert told(history, {("a", 5 * L): 1.0}) == []


@pytest.mark.parametrize("asset", [0, 1])
def test_an_incident_in_the_history_is_named(asset: int) -> None:
    """An incident of 2 % that is learned with the rest is the worst fit, with its channel first."""
    made = corpus(1600)
    own = np.flatnonzero(made.asset == asset)[40:42]
    values = made.values.copy()
    values[own, 1] += np.float32(2.0 if asset == 0 else 20.0) * np.where(np.arange(L) % 4 < 2, 1, -1).astype(np.float32)
    worst = fit(replace(made, values=values), FAST, None, lambda *_: None).poor[0]
    assert worst.asset == ASSETS[asset]
    assert worst.channels[0] == CHANNELS[1]
    assert step_of(worst.start) <= made.end[own[0]] // STEP
    assert made.end[own[-1]] // STEP - L < step_of(worst.end)
