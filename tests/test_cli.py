"""The command line: output, refusals and exit codes of each command."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from monitor import __version__
from monitor.settings.load import load
from tests.commands import monitor, sets
from tests.rig import stored_models

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set a terminal width, run in an empty folder, and remove the program's variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith("MONITOR_")]:
        monkeypatch.delenv(name)


def test_without_a_command_the_help_is_shown() -> None:
    """Without arguments the program lists its commands, and with --version it prints its version."""
    shown = monitor()
    assert shown.exit_code in {0, 2}
    for command in ("run", "check", "demo", "train", "simulate", "topics", "onboard"):
        assert command in shown.output
    version = monitor("--version")
    assert (version.exit_code, version.output) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"],
        ["run", "--nosuch"],
        ["run", "file.toml"],
        ["train", "--config"],
        ["simulate", "--assets", "0"],
        ["simulate", "--steps", "many"],
        ["topics", "--partitions", "0"],
        ["demo", "--assets", "3"],
    ],
    ids=" ".join,
)
def test_a_wrong_argument_is_a_usage_error(arguments: list[str]) -> None:
    """An unknown command or option and a number out of range exit with 2 and are named."""
    result = monitor(*arguments)
    assert result.exit_code == 2
    assert arguments[-1].lstrip("-") in result.output or arguments[-2] in result.output


def test_check_prints_what_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options override the environment, which overrides the file, and printed settings load to the same settings."""
    (tmp_path / "it.toml").write_text('name = "file"\n[windows]\nlength = 32\nstep_s = 2.0\n')
    monkeypatch.setenv("MONITOR_WINDOWS__STEP_S", "4")
    monkeypatch.setenv("MONITOR_WINDOWS__MAX_GAP", "8")
    result = monitor("check", "--config", tmp_path / "it.toml", "-s", "windows.max_gap=16", *sets(source__topics=["x"]))
    assert result.exit_code == 0
    printed = tomllib.loads(result.stdout)
    assert printed["name"] == "file"
    windows = printed["windows"]
    assert (windows["length"], windows["step_s"], windows["max_gap"]) == (32, 4.0, 16)
    (tmp_path / "again.toml").write_text(result.stdout)
    monkeypatch.delenv("MONITOR_WINDOWS__STEP_S")
    monkeypatch.delenv("MONITOR_WINDOWS__MAX_GAP")
    expected = {"windows.step_s": "4", "windows.max_gap": 16, "source.topics": ["x"]}
    assert load(tmp_path / "again.toml", {}, {}) == load(tmp_path / "it.toml", {}, expected)
    assert monitor("check", "-c", "again.toml").stdout == result.stdout


@pytest.mark.parametrize("option", [["--reference"], ["--example", "plant"], ["--example", "demo"]], ids=" ".join)
def test_config_prints_a_file_that_loads(tmp_path: Path, option: list[str]) -> None:
    """The reference and the examples are printed byte for byte, and the output passes a check."""
    result = monitor("config", *option)
    assert result.exit_code == 0
    assert result.stdout == (ROOT / "configs" / f"{option[-1].lstrip('-')}.toml").read_text()
    (tmp_path / "printed.toml").write_text(result.stdout)
    assert monitor("check", "-c", "printed.toml").exit_code == 0


@pytest.mark.parametrize("options", [[], ["--reference", "--example", "plant"], ["--example", "house"]])
def test_config_prints_one_file(options: list[str]) -> None:
    """No option, both options, or an unknown example is a usage error."""
    assert monitor("config", *options).exit_code == 2


def test_check_prints_a_budget_forecast(tmp_path: Path) -> None:
    """With a budget, comments show the fleet's alarms, the hours until the budget is held, and the first margin."""
    assert "budget" not in monitor("check").stdout.replace("alarms_per_day = 0.0", "")
    result = monitor("check", *sets(alerting__alarms_per_day=0.5))
    assert tomllib.loads(result.stdout)["alerting"]["alarms_per_day"] == 0.5
    *_, first, second, third = result.stdout.splitlines()
    assert all(figure in first for figure in (" 0.5 ", " 100 ", " 50 "))
    assert all(figure in second for figure in (" 8 ", " 192 ", " 1.9 "))
    assert re.fullmatch(r"# .* \d\.\d\d\.", third)


def test_check_shows_no_secret(tmp_path: Path) -> None:
    """A secret is masked in the output."""
    result = monitor("check", *sets(recorder__token="hunter2"))
    assert result.exit_code == 0
    assert "hunter2" not in result.output


def test_check_prints_every_problem(tmp_path: Path) -> None:
    """Every problem is printed, one per line, and the exit code is 78."""
    (tmp_path / "it.toml").write_text('[windows]\nlength = -1\n[sources]\nkind = "kafka"\n')
    result = monitor("check", "--config", tmp_path / "it.toml", *sets(threshold__margin="x", nosuch__key=1))
    assert result.exit_code == 78
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert all(line.startswith("configuration: ") for line in lines)
    for name in ("windows.length", "sources", "threshold.margin", "nosuch.key"):
        assert any(line.startswith(f"configuration: {name}") for line in lines), name


def test_check_notes_what_nothing_reads() -> None:
    """Settings of another kind of source are a comment behind the settings, which stay a file that can be loaded."""
    assert "# note" not in monitor("check").stdout
    result = monitor("check", *sets(source__decimal="comma"))
    assert "# note: source.decimal: not read" in result.stdout
    assert tomllib.loads(result.stdout)["source"]["decimal"] == "comma"


@pytest.mark.parametrize("command", ["run", "check", "train", "simulate", "topics"])
@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--set", "windows.length"], "--set windows.length: expected key=value"),
        (["--config", "nosuch.toml"], "nosuch.toml: cannot be read"),
        (["--set", "window.length=32"], "window.length: unknown setting"),
    ],
    ids=["no value", "no file", "no setting"],
)
def test_every_command_refuses_wrong_settings(command: str, option: list[str], reason: str) -> None:
    """Every command exits with 78 for invalid settings, before it does anything."""
    result = monitor(command, *option)
    assert result.exit_code == 78
    assert result.stderr.startswith(f"configuration: {reason}")
    assert len(result.stderr.splitlines()) == 1


def test_simulate_writes_readings_and_labels(tmp_path: Path) -> None:
    """Readings of the simulated plant are printed, one message per line, and faults are written to a file."""
    command = ["simulate", "--steps", 560, "--clean", 40, "--speed", 0, "--assets", 2, "--labels", "labels.jsonl"]
    result = monitor(*command)
    assert result.exit_code == 0
    sent = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(sent) == 2 * 560
    assert {message["asset"] for message in sent} == {"pump-01", "pump-02"}
    labels = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert len(labels) == 4
    assert all(label["start"] < label["end"] and label["kind"] and label["channels"] for label in labels)
    other = monitor(*command, "--seed", 1)
    assert other.stdout != result.stdout


def test_simulate_refuses_an_endless_run_at_full_speed() -> None:
    """An endless run faster than the clock is refused with the option and exit code 1."""
    result = monitor("simulate", "--speed", 0)
    assert result.exit_code == 1
    assert result.stderr.startswith("monitor: ")
    assert "--steps 0" in result.stderr


def test_a_demo_that_cannot_write_says_why(tmp_path: Path) -> None:
    """A folder that cannot be created ends the demo with the reason and exit code 1."""
    (tmp_path / "file").write_text("")
    result = monitor("demo", "--out", tmp_path / "file")
    assert result.exit_code == 1
    assert result.stderr.startswith("monitor: ")
    assert "Traceback" not in result.output


def test_topics_that_cannot_be_made_are_named() -> None:
    """Without a broker, `topics` prints the client's error and exits with 1."""
    result = monitor("topics", *sets(kafka__bootstrap_servers="127.0.0.1:9", delivery__flush_timeout_s=0.5))
    assert result.exit_code == 1
    assert result.stderr.startswith("monitor: topic ")


def loaded(*arguments: str, code: int = 0) -> set[str]:
    """Run a command in a separate process, check its exit code and return the modules that it imported."""
    script = """
import sys
from monitor.cli import app
try:
    app(sys.argv[1:])
except SystemExit as done:
    print(*sys.modules, file=sys.stderr)
    raise
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_what_computes_nothing_imports_no_torch(tmp_path: Path) -> None:
    """Help, version, check, config, topics and rollback do not import torch, and training does."""
    store = sets(store__url=str(tmp_path / "store"))
    models = stored_models(tmp_path / "store", "monitor")
    first, second = (models.put({}, {"weights": np.full(1, number)}, 1000 * number) for number in (1, 2))
    models.set_current(first)
    models.set_current(second)

    assert "torch" not in loaded("--help")
    assert "torch" not in loaded("--version")
    assert "torch" not in loaded("config", "--reference")
    assert "torch" not in loaded("check", *store)
    assert "torch" not in loaded("rollback", *store)
    assert models.current() == first
    (tmp_path / "in.jsonl").touch()
    files = sets(source__kind="files", source__paths=[str(tmp_path / "in.jsonl")], outputs__kind="files")
    folder = sets(outputs__directory=str(tmp_path / "out"))
    assert "torch" not in loaded("check", "--connect", *store, *files, *folder)
    nowhere = sets(kafka__bootstrap_servers="127.0.0.1:9", delivery__flush_timeout_s=0.5)
    assert "torch" not in loaded("topics", *nowhere, code=1)

    (tmp_path / "empty.jsonl").touch()
    assert "torch" in loaded("train", str(tmp_path / "empty.jsonl"), *store, code=1)


def test_a_check_needs_no_client() -> None:
    """Neither help nor check imports the clients of Kafka and InfluxDB, or file systems."""
    for arguments in (["--help"], ["check"]):
        assert loaded(*arguments) & {"confluent_kafka", "influxdb_client", "fsspec", "structlog"} == set()
