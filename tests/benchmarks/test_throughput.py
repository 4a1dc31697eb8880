"""The throughput benchmark: the twin does the same work as the product, and the tables report the measured figures."""

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.throughput import __main__ as command
from benchmarks.throughput import engines, report
from benchmarks.throughput.fleet import CHANNELS, KINDS, LENGTH, PARTITIONS, Fleet, fleet, partition
from benchmarks.throughput.naive import CLIP, MARGIN, ON_DELAY, PERCENTILE, Job, Machine
from benchmarks.throughput.product import Run
from benchmarks.throughput.store import MEMORY, common, model_of, warmed
from benchmarks.throughput.training import history
from benchmarks.throughput.worker import STAGES
from monitor.core.fitting.fit import fit, prepare
from monitor.core.model.channel_limits import BLOCK
from monitor.core.model.model import Model
from monitor.core.records import Message
from monitor.settings.load import load
from tests.rig import processed

LATENCY = ("assets", "channels", "load", "alerts", "p50_ms", "p99_ms", "most_ms")
TINY = command.Plan(  # with fewer gradient steps or seconds, no fault is found
    ("json_long", "json_wide"), 800, (20,), (13,), 800, 0.05, 15, 100, (100,), {"training.steps": 200}
)


@cache
def base() -> Model:
    """Return a model of the pumps after little training, because only equal scores matter."""
    settings = load(None, {}, {"training.steps": 10})
    recipe = settings.recipe()
    corpus = prepare(history(settings, 100, 12 * LENGTH), recipe, None)
    return fit(corpus, recipe, None, lambda *_: None).model


def product_scores(sent: Fleet, model: Model) -> dict[tuple[str, int], tuple[float, float, float]]:
    """Return score, alarm score and threshold by asset and time, as the product's stages compute them."""
    settings = load(None, {}, common(sent, Path("unused"), {}))
    found = {}
    for number in range(PARTITIONS):
        pipeline = warmed(settings, model, sent, number)
        for step in range(sent.steps):
            mine = [each for each in sent.step(step) if each[0] == number]
            read = [
                Message(partition(number), at, key, value, sent.time(step)) for at, (_, key, value) in enumerate(mine)
            ]
            outputs = processed(pipeline, read, sent.time(step), form=settings.message_format())
            assert outputs.scores is not None
            assert outputs.thresholds is not None
            windows, limits = outputs.windows, outputs.thresholds
            columns = (windows.assets, windows.ends, outputs.scores.score, limits.alarm, limits.threshold)
            for row, end, score, alarm, threshold in zip(*(column.tolist() for column in columns), strict=True):
                found[pipeline.windows.assets[row], end] = (score, alarm, threshold)
    return found


@pytest.mark.parametrize("kind", ["json_long", "json_wide"])
def test_naive_twin_scores_as_the_product(kind: str) -> None:
    """From the first message on, the twin publishes the product's scores and threshold of every window."""
    sent = Fleet(6, BLOCK + 8, kind, faulty=1)  # more windows of an asset than limits of channels take to move
    model = model_of(base(), sent)
    job, found = Job(sent, model), {}
    machines: dict[bytes, Machine] = {}
    for step in range(sent.steps):
        for _, key, value in sent.step(step):
            machine = machines.setdefault(key, job.machine(key.decode()))
            published = job.step(machine, json.loads(value))
            if published is not None:
                body = json.loads(published)
                found[body["asset"], body["time"]] = (body["score"], body["alarm"], body["threshold"])
    product = product_scores(sent, model)
    assert found.keys() == product.keys()
    assert len(found) == sent.windows
    for window, (score, alarm, threshold) in product.items():
        assert found[window][0] == pytest.approx(score, rel=1e-4)
        assert found[window][1] == pytest.approx(alarm, rel=1e-4)
        assert found[window][2] == pytest.approx(threshold, rel=3e-2)  # the product recomputes it every 32 scores only


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_completes_what_it_should(kind: str) -> None:
    """For each message format, every step of every asset gives a window, from the first on."""
    sent = Fleet(5, 3, kind)
    assert len(product_scores(sent, model_of(base(), sent))) == sent.windows
    assert sum(1 for step in range(sent.steps) for _ in sent.step(step)) == sent.messages


def test_fleet_survives_the_command_line() -> None:
    """A fleet serialized for another process is restored unchanged."""
    sent = Fleet(5, 3, "influx_line", faulty=2, first=1_700_000_000_000)
    assert fleet(sent.text()) == sent


def test_twin_has_the_settings_of_the_product() -> None:
    """The constants that the twin repeats are the product's defaults."""
    settings = load(None, {}, {})
    threshold = settings.threshold
    assert (threshold.percentile, threshold.margin, threshold.clip, threshold.memory) == (
        PERCENTILE,
        MARGIN,
        CLIP,
        MEMORY,
    )
    assert settings.alerting.on_delay_s == (ON_DELAY - 1) * settings.windows.step_s


def test_machine_tells_an_alert_once() -> None:
    """The twin's alert fires when the alarm score has been above the threshold for the on-delay, and only once."""
    machine = Machine([[0.0]], np.ones((3, 1), np.float32), np.ones(MEMORY, np.float32))
    assert [machine.judge(alarm)[1] for alarm in (1, 9, 9, 9, 9, 9, 1)] == [False] * 4 + [True, False, False]


def test_engine_that_is_missing_is_left_out_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is not installed is skipped, and the output names it with the reason."""
    monkeypatch.setattr(engines, "run", lambda engine, *_: {"name": engine.name})
    absent = engines.Engine("Nobody", "twin", "no_such_engine")
    race: Any = SimpleNamespace(python=sys.executable)
    assert [row["name"] for row in engines.side_by_side(race, [absent])] == ["naive twin"]
    assert "left out: Nobody, since" in capsys.readouterr().out


def a_run(assets: int, windows_per_s: float, **other: Any) -> Run:
    """Return a run with these figures and without snapshots."""
    same = {"broker": "tansu", "kind": "json_wide", "workers": 1, "scores": True, "wall_s": 1.0, "snapshot_cpu_s": 0.0,
            "snapshot_wall_s": 0.0, "snapshot_mb": 0.0, "checkpoint_ms": 1.0, "rss_mb": 300.0,
            "stage_s": dict.fromkeys(STAGES, 0.1)}  # fmt: skip
    return Run(**{**same, "assets": assets, "windows": 1000, "cpu_s": 1000 / windows_per_s, **other})


def some_figures(rate: float) -> dict[str, Any]:
    """Return a run's figures, all in proportion to the product's windows/s."""
    runs = [a_run(125, rate, kind=kind) for kind in ("json_long", "json_wide")]
    other = {"kind": "json_wide", "batched": False, "windows_per_core_s": 1000.0}
    return {
        "runs": runs, "compared": runs, "growth": [a_run(13, rate), a_run(125, rate), a_run(1250, rate, rss_mb=340.0)],
        "one": runs[1], "two": a_run(125, rate, workers=2),
        "others": [{**other, "name": "naive twin"}, {**other, "name": "An Engine", "version": "1.0"}],
        "floors": [{**other, "batch": 256}], "training": [],
        "latency": dict.fromkeys(LATENCY, 1_000_000 / rate),
    }  # fmt: skip


def test_targets_are_met_or_not_by_what_was_found() -> None:
    """A fast product meets every target, and a slow one misses all targets that depend on its speed."""
    fast, slow = report.targets(some_figures(100_000.0)), report.targets(some_figures(400.0))
    assert "NO" not in fast
    assert fast.count("| yes |") == fast.count("\n") - 1
    met = [line.split("|")[1].strip() for line in slow.splitlines() if "| yes |" in line]
    unaffected = ["memory per asset in KB", "cost per window, 10000 channels over 1000", "2 workers over 1"]
    assert met == unaffected


def test_a_snapshot_a_minute_is_in_the_rate() -> None:
    """The cost of a snapshot of every partition is subtracted from each minute of work, shared by the workers."""
    assert a_run(1, 100.0, snapshot_cpu_s=6.0).per_core == pytest.approx(90)
    assert a_run(1, 100.0, snapshot_cpu_s=6.0, workers=2).per_core == pytest.approx(95)
    assert a_run(1, 100.0).readings == pytest.approx(100 * CHANNELS)


def test_memory_of_an_asset_is_what_a_larger_fleet_takes_more() -> None:
    """The memory of a process without assets is not counted as an asset's."""
    assert report.asset_kb(a_run(10, 1.0), replace(a_run(110, 1.0), rss_mb=310.0)) == pytest.approx(102.4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_of_it_runs() -> None:
    """Everything runs from training to the tables, over a real broker, and the twin's scores equal the product's."""
    figures = command.measure(TINY, sys.executable)
    text = report.page(figures)
    assert "naive twin, json_wide" in text
    assert max(other["largest_difference"] for other in figures["others"]) <= engines.TOLERANCE
    assert figures["latency"]["alerts"] > 0
    assert json.dumps(figures, default=command.plain)
