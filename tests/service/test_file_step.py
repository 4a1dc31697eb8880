"""The step of a recording is taken from its readings, unless it is set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.service import file_step
from monitor.service.backends import make_source
from monitor.service.file_step import with_file_steps
from monitor.settings.load import load
from monitor.settings.tree import Settings
from tests.commands import TRAINING, monitor, sets

BEGIN = 1_772_431_200_000


def recorded(path: Path, step_s: float, count: int = 200) -> Path:
    """Write two machines whose readings come every `step_s`, in the format that the path's ending says."""
    rng = np.random.default_rng(0)
    times = [BEGIN + round(1000 * step_s * n) for n in range(count) for _ in "12"]
    flow = np.sin(np.arange(count).repeat(2) / 20) + rng.normal(0, 0.05, 2 * count)
    rows = list(zip(times, ["P1", "P2"] * count, flow.round(4).tolist(), (10 - flow).round(4).tolist(), strict=True))
    if path.suffix == ".csv":
        path.write_text("\n".join(["timestamp,machine,flow,temp", *(",".join(map(str, row)) for row in rows)]))
    else:
        messages = ({"asset": a, "timestamp": t, "values": {"flow": f, "temp": p}} for t, a, f, p in rows)
        path.write_text("".join(f"{json.dumps(each)}\n" for each in messages))
    return path


def stepped(path: Path, **given: Any) -> tuple[Settings, list[str]]:
    """Return the settings for a file with the step taken from it, and the sentences about it."""
    texts = {key.replace("__", "."): value for key, value in given.items()}
    form = path.suffix[1:]
    source = {"source.kind": "files", "source.format": form, "outputs.kind": "files", "source.paths": [str(path)]}
    told: list[str] = []
    (made,) = with_file_steps([load(None, {}, {**source, **texts})], told.append)
    return made, told


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("step", [0.1, 10.0, 60.0])
def test_the_step_is_the_period_of_the_readings(tmp_path: Path, step: float, kind: str) -> None:
    """Every format is measured, and one sentence names the step."""
    made, told = stepped(recorded(tmp_path / f"pumps.{kind}", step))
    assert made.windows.step_s == step
    (sentence,) = told
    assert f"windows.step_s = {step}" in sentence
    assert make_source(made, None, None, None) is not None  # type: ignore[arg-type]


def test_a_step_of_a_second_is_no_news(tmp_path: Path) -> None:
    """Nothing is said where the file fits the default."""
    made, told = stepped(recorded(tmp_path / "pumps.csv", 1.0))
    assert made.windows.step_s == 1.0
    assert told == []


def test_other_settings_follow_a_long_step_unless_they_are_set(tmp_path: Path) -> None:
    """History is kept long enough for the first model; a horizon that is set and too short is refused with the cure."""
    path = recorded(tmp_path / "pumps.csv", 3600.0)
    made, told = stepped(path)
    assert made.training.horizon_s >= made.training.first_steps * 3600
    assert "training.horizon_s" in told[0]
    with pytest.raises(
        ValueError, match=r"come every 3600 s, but .*training\.horizon_s.*set windows\.step_s, or these"
    ):
        stepped(path, training__horizon_s=86_400.0)


@pytest.mark.parametrize(
    ("period", "step", "words"),
    [(10.0, 1.0, "most steps are empty"), (1.0, 60.0, "60 readings"), (1.0, 10.0, ""), (10.0, 5.0, "")],
)
def test_a_step_that_is_set_stays_and_warns_if_the_file_contradicts_it(
    tmp_path: Path, period: float, step: float, words: str
) -> None:
    """A step that leaves steps empty, or takes many readings into one, is named with the step that fits."""
    made, told = stepped(recorded(tmp_path / "pumps.csv", period), windows__step_s=step)
    assert made.windows.step_s == step
    assert len(told) == bool(words)
    assert words in "".join(told)
    assert f"set windows.step_s = {period:g}" in "".join(told) or not words


def test_a_step_that_aggregates_many_readings_is_no_contradiction(tmp_path: Path) -> None:
    """A slow twin is not warned of the many readings in its steps."""
    given = {"windows__step_s": 60.0, "windows__aggregate": ["mean"]}
    assert stepped(recorded(tmp_path / "pumps.csv", 1.0), **given)[1] == []


def test_a_file_with_too_little_changes_nothing(tmp_path: Path) -> None:
    """One row has no period, nothing that can be read has none, and the command says what they lack."""
    unread, empty = tmp_path / "unread.jsonl", tmp_path / "empty.jsonl"
    unread.write_text("{}\n" * 5)
    empty.touch()
    for path in (recorded(tmp_path / "pumps.csv", 10.0, count=1), unread, empty):
        made, told = stepped(path)
        assert made.windows.step_s == 1.0
        assert told == []


def test_each_detector_has_the_step_of_its_own_machines(tmp_path: Path) -> None:
    """Of two machines at different paces each gives the step of its detector, unless the detector sets one."""
    path = tmp_path / "two.jsonl"
    rows = sorted([(BEGIN + 1000 * n, "P1") for n in range(300)] + [(BEGIN + 10_000 * n, "C1") for n in range(30)])
    bodies = [{"asset": asset, "timestamp": at, "values": {"flow": at % 7001 / 7}} for at, asset in rows]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in bodies))
    detectors = [
        {"name": "pumps", "assets": ["P*"]},
        {"name": "compressors", "assets": ["C*"], "windows": {"length": 32}},
        {"name": "slow", "assets": ["C*"], "windows": {"step_s": 60.0}},
    ]
    source = {"source.kind": "files", "source.format": "jsonl", "source.paths": [str(path)], "outputs.kind": "files"}
    told: list[str] = []
    made = with_file_steps(load(None, {}, {**source, "detectors": detectors}).per_detector(), told.append)
    assert [each.windows.step_s for each in made] == [1.0, 10.0, 60.0]
    assert [each.windows.length for each in made] == [64, 32, 64]
    (sentence,) = told
    assert sentence.startswith("compressors: windows.step_s = 10.0")


def test_only_the_beginning_of_a_long_file_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after so many bytes is not read for the step."""
    path = recorded(tmp_path / "pumps.jsonl", 10.0, count=300)
    later = recorded(tmp_path / "later.jsonl", 1.0, count=2000)
    path.write_text(path.read_text() + later.read_text())
    monkeypatch.setattr(file_step, "_SAMPLE_BYTES", 20_000)
    made, _ = stepped(path, source__batch_messages=100)
    assert made.windows.step_s == 10.0
    monkeypatch.undo()
    assert stepped(path)[0].windows.step_s == 1.0


def test_train_and_backtest_find_windows_without_a_step(tmp_path: Path) -> None:
    """Both commands score a recording of 10 s without a setting, and print the step on standard error."""
    path = recorded(tmp_path / "pumps.csv", 10.0, count=400)
    shape = {key: value for key, value in TRAINING.items() if key not in {"windows.step_s", "training.horizon_s"}}
    given = sets(**shape, store__url=str(tmp_path / "store"), training__first_steps=200)
    trained = monitor("train", path, *given)
    assert "windows of 2 assets" in trained.output, trained.output
    assert trained.stderr.count("windows.step_s = 10.0: from the period") == 1
    tested = monitor("backtest", path, *given, "--out", tmp_path / "report.html")
    assert tested.exit_code == 0, tested.output
    assert tested.stderr.count("windows.step_s = 10.0: from the period") == 1
    assert " windows scored" in tested.stdout
