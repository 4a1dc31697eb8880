"""Alerts of a machine whose limits of single channels have moved before, in a pipeline with six channels."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from monitor.core.fitting.fit import fit
from monitor.core.fitting.history import History, HistoryOptions
from monitor.core.model import alarm
from monitor.core.model.model import Model
from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Alert, Message
from monitor.service.pipelines import make_pipeline
from tests.core.machines import ASSETS, FAST, STEP, L, rows, windows
from tests.rig import ORIGIN, READINGS, processed, settings

CHANNELS = ("x1", "x2", "x3", "y1", "y2", "y3")
FAULTY = set(CHANNELS[3:])
CHATTER, FAULT, END = 300, 1500, 2400  # steps: the x chatter from CHATTER on, the y are at fault from FAULT on


def plant(steps: int, seed: int) -> np.ndarray:
    """Readings (A, T, 6) of two groups of channels that know nothing of each other."""
    return np.concatenate([rows(steps, seed), rows(steps, seed + 1)], 2)


@cache
def trained(foreseen: float = math.inf) -> Model:
    """A model of both groups, trained once, by default as one whose network foresees too little."""
    past = History(HistoryOptions(budget=1000, length=L, step_ms=STEP, horizon_ms=10**9, guard_ms=0))
    past.add(windows(plant(1600, 0)), ASSETS, CHANNELS)
    with mock.patch.object(alarm, "FORESEEN", foreseen):
        made = fit(past.normal(), FAST, None, lambda *_: None).model
    return replace(made, version="m-20250101T000000-00000000")


def faulty(lasts: int) -> np.ndarray:
    """Readings in which three channels chatter until their limits have followed, and three others are at fault."""
    draw, values, scale = np.random.default_rng(5), plant(END, 20), trained().scaling.scale[:1]
    values[0, CHATTER:, :3] += draw.normal(0, 2, (END - CHATTER, 3)) * scale[:, :3]
    values[0, FAULT : FAULT + lasts, 3:] += draw.normal(0, 3, (lasts, 3)) * scale[:, 3:]
    return values.astype(np.float32)


def messages(values: np.ndarray) -> list[Message]:
    """Return readings (A, T, C) as messages."""
    found = list[Message]()
    for step, of_assets in enumerate(values.transpose(1, 0, 2).tolist()):
        for name, reading in zip(ASSETS, of_assets, strict=True):
            at = ORIGIN + step * STEP
            row = {"asset": name, "timestamp": at, "values": dict(zip(CHANNELS, reading, strict=True))}
            found.append(Message(READINGS, len(found), name.encode(), json.dumps(row).encode(), at))
    return found


def monitored(store: Path) -> Pipeline:
    """Return a pipeline with the model that has no alerts of sensors."""
    made = make_pipeline(settings(store, sensors__skip=["*"]), READINGS)
    made.use(Scorer(trained()))
    return made


def records(store: Path, lasts: int, batch: int = 500, *, restored: bool = False) -> list[Alert]:
    """Return the records of the alert that the fault raises; `restored` = a new pipeline goes on after each batch."""
    made, sent, found = monitored(store), messages(faulty(lasts)), list[Alert]()
    for begin in range(0, len(sent), batch):
        found += processed(made, sent[begin : begin + batch], 2**50).alerts
        if restored:
            state, made = made.save_state(), monitored(store)
            made.load_state(state)
    since = ORIGIN + FAULT * STEP
    fired = [alert for alert in found if alert.cause == "machine" and alert.asset == ASSETS[0]]
    (ident,) = {alert.id for alert in fired if since <= alert.start < since + 60 * STEP}
    return [alert for alert in fired if alert.id == ident]


@pytest.mark.parametrize(("lasts", "state"), [(60, "resolved"), (END - FAULT, "adapted")])
def test_channels_that_chattered_before_do_not_decide_whether_a_fault_is_over(
    tmp_path: Path, lasts: int, state: str
) -> None:
    """While other channels chatter, the alert of a fault that ends is resolved, and that of one that lasts adapted."""
    found = records(tmp_path, lasts)
    assert found[0].state == "firing"
    assert found[-1].state == state
    assert "adapted" not in {alert.state for alert in found[:-1]}


def test_channels_at_fault_are_named_before_channels_that_chattered_before(tmp_path: Path) -> None:
    """A channel whose limit has followed its errors is named after those that raise the alarm."""
    fired = records(tmp_path, 60)[0]
    assert {share.channel for share in fired.channels[:2]} < FAULTY
    assert sum(share.contribution for share in fired.channels if share.channel in FAULTY) > 0.8
    assert sum(share.contribution for share in fired.channels) == pytest.approx(1)


def test_a_restored_pipeline_goes_on_identically(tmp_path: Path) -> None:
    """Limits of channels and the alert that keeps some are the same wherever a worker takes over, bit by bit."""
    assert records(tmp_path, 60, 333, restored=True) == records(tmp_path, 60)


@pytest.mark.parametrize("foreseen", [(math.inf, 0.0), (0.0, math.inf)], ids=["then it foresees", "then it does not"])
def test_an_open_alert_outlives_a_model_of_the_other_kind(tmp_path: Path, foreseen: tuple[float, float]) -> None:
    """Where the next model has limits of channels and the one before had none, or the other way, it has its end."""
    draw, values, scale = np.random.default_rng(5), plant(END, 20), trained().scaling.scale[:1]
    values[0, FAULT : FAULT + 60, 3:] += draw.normal(0, 3, (60, 3)) * scale[:, 3:]
    sent = messages(values.astype(np.float32))
    before, after = map(trained, foreseen)
    assert before.foresees != after.foresees
    made = make_pipeline(settings(tmp_path, sensors__skip=["*"]), READINGS)
    made.use(Scorer(before))

    cut = 2 * (FAULT + 30)
    processed(made, sent[:cut], 2**50)
    (firing,) = made.open_alerts()
    made.adopt(Scorer(after))
    ended = [alert for alert in processed(made, sent[cut:], 2**50).alerts if alert.id == firing.id]
    assert ended[-1].state == "resolved"
    assert made.open_alerts() == []
