"""Both ways to keep scores, where the stages around them rely on it: restart, adoption, reload, change of the kind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog

from monitor.core.model.scorer import Scorer
from monitor.core.pipeline import Pipeline
from monitor.core.records import Outputs
from monitor.core.threshold.histogram import ERROR
from monitor.service import pipelines
from monitor.service.pipelines import make_pipeline
from tests.core.machines import model, rows
from tests.rig import READINGS, only, processed, put_model, readings, settings
from tests.worker.managing import NEVER, ManagerRig, committed, process, same

KINDS = pytest.mark.parametrize("kind", ["ring", "histogram"])
NEWER = "m-20250102T000000-00000000"


@pytest.fixture(autouse=True)
def no_least_percentile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machines here are so calm that the least percentile would be the limit of all."""
    monkeypatch.setattr(pipelines, "LEAST_BASE", 0.0)


def rig(path: Path, kind: str, **overrides: object) -> ManagerRig:
    small = {"threshold__warm": 50, "threshold__percentile": 98, "threshold__refresh": 1}
    return ManagerRig(path, settings(path, threshold__kind=kind, **small, **overrides))


def limits(outputs: Outputs) -> np.ndarray:
    assert outputs.thresholds is not None
    assert outputs.thresholds.warm.all()
    return outputs.thresholds.threshold


@KINDS
def test_a_restart_goes_on_with_the_same_limits(tmp_path: Path, kind: str) -> None:
    """From a snapshot the same readings get the same limits and alerts, to the last bit."""
    put_model(tmp_path)
    sent = readings(rows(400))
    first = rig(tmp_path, kind)
    state = first.manager.assign(READINGS, None, NEVER)
    process(state, sent[:500])
    first.manager.write_snapshot(committed(state))
    again = rig(tmp_path, kind).manager.assign(READINGS, 500, NEVER)
    assert same(process(again, sent[500:]), process(state, sent[500:]))


@KINDS
def test_a_model_and_live_settings_are_adopted_with_the_scores_carried_over(tmp_path: Path, kind: str) -> None:
    """A model whose scores are three times as high gets limits three times as high, and a new margin counts at once."""
    put_model(tmp_path)
    sent = readings(rows(300))
    first = rig(tmp_path, kind)
    state = first.manager.assign(READINGS, None, NEVER)
    process(state, sent[:500])
    first.manager.write_snapshot(committed(state))
    calm = limits(process(first.manager.assign(READINGS, 500, NEVER), sent[500:502]))
    made = model()
    alarm = replace(made.alarm, scores=made.alarm.scores * 3)
    turned = rig(tmp_path, kind, threshold__margin=2.8)  # instead of 1.4
    turned.adopt(state, Scorer(replace(made, alarm=alarm, version=NEWER)))
    assert turned.newest() == (500, NEWER)
    rounded = 3 * ERROR if kind == "histogram" else 1e-5
    assert limits(process(state, sent[500:502])) == pytest.approx(6 * calm, rel=rounded)


@pytest.mark.parametrize(("before", "after"), [("ring", "histogram"), ("histogram", "ring")])
def test_another_kind_begins_anew_and_says_so(tmp_path: Path, before: str, after: str) -> None:
    """A state of the other kind is refused with the reason; the detector starts empty where the snapshot is."""
    put_model(tmp_path)
    first = rig(tmp_path, before)
    state = first.manager.assign(READINGS, None, NEVER)
    process(state, readings(rows(100)))
    first.manager.write_snapshot(committed(state))
    with structlog.testing.capture_logs() as lines:
        again = rig(tmp_path, after).manager.assign(READINGS, 200, NEVER)
    assert again.next == 200
    assert not only(again).windows.assets
    (refused,) = [line for line in lines if line["event"] == "detector state refused"]
    assert (refused["detector"], refused["log_level"]) == ("test", "error")
    assert "other settings of windows, threshold or counters" in refused["reason"]


def test_both_kinds_say_nearly_the_same(tmp_path: Path) -> None:
    """Over the same readings the limits differ by no more than two roundings, and by something."""
    put_model(tmp_path)
    found = {}
    for kind in ("ring", "histogram"):
        pipeline: Pipeline = make_pipeline(rig(tmp_path, kind).settings, READINGS)
        pipeline.use(Scorer(model()))
        for begin in range(0, 800, 100):
            outputs = processed(pipeline, readings(rows(400))[begin : begin + 100], 2**42)
        found[kind] = limits(outputs)
    assert found["histogram"] == pytest.approx(found["ring"], rel=2 * ERROR)
    assert not np.array_equal(found["histogram"], found["ring"])
