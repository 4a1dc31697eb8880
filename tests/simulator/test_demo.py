"""`monitor demo`: its exit code, its findings and its printed lines."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from monitor.core.publish import alert_record
from monitor.core.records import Alert, AlertState, ChannelShare
from monitor.evaluation.label import Label
from monitor.evaluation.matching import AlertSpan, match
from monitor.service.run import Service
from monitor.simulator.demo_view import View, _assets, summary
from monitor.training.trainer import Status
from monitor.worker.loop import Daemon
from monitor.worker.status import Asset, WorkerStatus
from tests.core.test_published import conforms
from tests.rig import READINGS, settings

ROOT = Path(__file__).parents[2]
START = 1_700_000_000_000


def alert(state: AlertState, sequence: int = 0, observed: float | None = 4.2) -> bytes:
    """Return a line of the alerts file."""
    share = ChannelShare("pressure", 0.82, observed, 2.5, 2.0, 3.0, 0)
    made = Alert(
        id="x",
        asset="pump-01",
        state=state,
        start=START,
        end=START + 90_000 if state == "resolved" else None,
        time=START + 3_000,
        severity="warning",
        alarm=1.5,
        threshold=1.0,
        ratio=1.5,
        peak=1.5,
        channels=(share,),
        model="m",
        detector="d",
        partition=READINGS,
        offset=1,
        position=1,
        sequence=sequence,
    )
    return (alert_record("alerts", made).value or b"") + b"\n"


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    """Return a finished run of the demo, which must have succeeded."""
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "demo", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=380,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "300"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def printed(console: Console) -> list[str]:
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.fixture
def console() -> Console:
    return Console(width=160, record=True, file=io.StringIO(), force_terminal=False)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(settings(tmp_path))


def test_alerts_are_told_as_they_come(tmp_path: Path, console: Console, service: Service) -> None:
    """Each complete line of the file is printed once as a sentence, and a partial line waits for its rest."""
    file = tmp_path / "alerts.jsonl"
    view = View(console, service, file, 100)
    with view:
        view.refresh()
        whole, part = alert("firing"), alert("firing", 1, None)
        file.write_bytes(whole + part[:40])
        view.refresh()
        view.refresh()
        assert printed(console) == [
            "22:13:23  firing    pump-01  pressure 4.2, expected 2 to 3 (82%)  alarm score 1.50 x threshold"
        ]
        file.write_bytes(whole + part + alert("resolved", 2))
    lines = printed(console)
    assert lines[-2:] == [
        "22:13:23  worse     pump-01  pressure not measured, expected 2 to 3 (82%)  alarm score 1.50 x threshold",
        "22:13:23  resolved  pump-01  after 90 s",
    ]


def test_a_wrong_clock_is_told_without_a_channel(tmp_path: Path, console: Console, service: Service) -> None:
    """The line of a clock fault shows the clock's offset."""
    file = tmp_path / "alerts.jsonl"
    clock = {**json.loads(alert("firing")), "cause": "sensor", "fault": "clock", "channels": [], "alarm": 75.0}
    file.write_text(json.dumps(clock) + "\n")
    with View(console, service, file, 100) as view:
        view.refresh()
    assert printed(console) == ["22:13:23  firing    pump-01  clock 75 s ahead"]


def test_the_verdict_is_summed_up(tmp_path: Path, console: Console, service: Service) -> None:
    """The summary lists the faults found, their delays, the number of false alerts, and the output folder."""
    faults = [
        Label("pump-01", "step", ("pressure",), START, START + 60_000),
        Label("pump-02", "noise", ("flow",), START, START + 60_000),
    ]
    alerts = [
        AlertSpan("x", "pump-01", START + 5_000, START + 70_000, "pressure"),
        AlertSpan("y", "pump-03", START, START + 1_000, "flow"),
    ]
    summary(console, match(alerts, faults, 0), service, tmp_path, 4)
    lines = printed(console)
    (found,) = [re.split(r"\s*│\s*", line.strip("│ ")) for line in lines if "pump-01" in line]
    assert found == ["step", "pump-01", "pressure", "60 s", "yes", "5 s", "machine", "yes"]
    (missed,) = [re.split(r"\s*│\s*", line.strip("│ ")) for line in lines if "pump-02" in line]
    assert missed[:5] == ["noise", "pump-02", "flow", "60 s", "-"]
    text = " ".join(lines)
    for figure in ("1 of 2 kinds", "1 of 2 faults", "1 false alerts", "4 assets", str(tmp_path)):
        assert figure in text


def test_alerts_of_twins_name_the_detector(tmp_path: Path, console: Console) -> None:
    """Where several detectors watch an asset, its alerts and its state are shown with the detector's name."""
    service = Service(settings(tmp_path))
    twins = [Asset("pump-01", "normal", 0.5, detector=name) for name in ("d", "d-slow")]
    assets = (*twins, Asset("pump-02", "off", None, detector="d"), Asset("pump-03", "adapted", 1.0, detector="d"))
    now = WorkerStatus({name: Status(steps=5, needed=10) for name in ("d", "d-slow")}, assets, 1)
    service.daemon = cast("Daemon", SimpleNamespace(status=now))
    file = tmp_path / "alerts.jsonl"
    file.write_bytes(alert("firing"))
    with View(console, service, file, 100):
        pass
    lines = printed(console)
    assert "firing    pump-01 (d)  pressure 4.2" in lines[0]
    assert lines[1] == "learning: 5 of 10 steps of history of d"
    console.print(_assets(now))
    cells = " ".join(printed(console))
    for cell in ("pump-01 (d)  normal", "pump-01 (d-slow)  normal", "pump-02  off", "pump-03  adapted"):
        assert cell in cells


def test_events_are_summed_up_apart(tmp_path: Path, console: Console, service: Service) -> None:
    """Silence, machines that do not run and new modes are no faults: they count if an alert has their own cause."""
    labels = [
        Label("pump-01", "step", ("flow",), START, START + 60_000),
        Label("pump-02", "silence", (), START, START + 60_000),
        Label("pump-03", "not_running", (), START, START + 60_000),
        Label("pump-04", "not_running", (), START, START + 60_000),
    ]
    alerts = [
        AlertSpan("a", "pump-01", START + 5_000, START + 70_000, "flow"),
        AlertSpan("b", "pump-02", START + 5_000, START + 70_000, None, "silence"),
        AlertSpan("c", "pump-03", START + 5_000, START + 70_000, None, "not_running"),
        AlertSpan("d", "pump-04", START + 5_000, START + 70_000, "flow"),
        AlertSpan("e", "pump-05", START + 5_000, START + 70_000, None, "silence"),
    ]
    summary(console, match(alerts, labels, 0), service, tmp_path, 5)
    text = " ".join(printed(console))
    assert "1 of 1 kinds of fault found, 1 of 1 faults; 0 false alerts on 5 assets." in text
    assert "Alerts of events as labelled: silent 1 of 1, not running 1 of 2; 1 of silence without a label." in text


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_mixed_demo_is_told_as_labelled(tmp_path: Path) -> None:
    """With its own settings the mixed demo finds most faults and all events, with few false alerts."""
    done = demo("--plant", "mixed", "--out", str(tmp_path))
    ((kinds, false),) = re.findall(r"(\d+) of 6 kinds of fault found, .*; (\d+) false alerts on 10 assets", done.stdout)
    assert int(kinds) >= 5
    assert int(false) <= 5
    events = "silent 2 of 2, not running 1 of 1, new mode 1 of 1; 0 of silence without a label."
    assert f"Alerts of events as labelled: {events}" in done.stdout
    assert re.search(r"fouling +│ compressor-01 .* yes .* compressors-slow", done.stdout)
    for name in ("pumps", "mixers", "compressors", "compressors-slow"):
        assert f"fitting the first model of {name}" in done.stdout
    assert not list(tmp_path.glob("*/monitor.dead-letters.jsonl"))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_finds_the_faults(tmp_path: Path) -> None:
    """With its own settings the demo exits with 0, finds six of eight kinds, with at most one false alert per asset."""
    done = demo("--out", str(tmp_path))
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    (found,) = [match for line in lines if (match := re.search(r"(\d+) of 8 kinds of fault found", line))]
    assert int(found[1]) >= 6
    (false,) = [match for line in lines if (match := re.search(r"(\d+) false alerts on (\d+) assets", line))]
    assert int(false[1]) <= int(false[2]) == 8
    (where,) = [match for line in lines if (match := re.search(r"Alerts, scores, model and log are in (\S+)\.$", line))]
    folder = Path(where[1])
    alerts = [json.loads(line) for line in (folder / "monitor.alerts.jsonl").read_text().splitlines()]
    assert {"firing", "resolved"} <= {body["state"] for body in alerts}
    for one in {body["id"] for body in alerts}:  # a limit may have risen to a fault, depending on the load
        states = " ".join(body["state"] for body in alerts if body["id"] == one)
        assert re.fullmatch(r"firing( firing)*( adapted)?( resolved)?", states), f"{one}: {states}"
    assert sum("  firing  " in line for line in lines) == sum(body["sequence"] == 0 for body in alerts)
    scores = (folder / "monitor.scores.jsonl").read_text().splitlines()
    assert scores
    for body in alerts:
        conforms("alert", body)
    for line in scores:
        conforms("score", json.loads(line))
    assert (folder / "monitor.log").stat().st_size > 0
    assert list((folder / "store").glob("detectors/*/models/*/weights.safetensors"))
    assert not (folder / "monitor.dead-letters.jsonl").exists()
    for phase in ("training: ", "monitoring: "):  # learning may be over before the first look
        assert any(line.startswith(phase) for line in lines), phase
