"""Machines as plants have them, from a file to alerts: the folder FIELD has the programs that write their readings.

Each test runs `monitor onboard` on the file and `monitor backtest` with what it wrote. A test adds only what the
documentation tells a person to add: hours of work.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from monitor.core.decode.decode import decode_all
from monitor.core.decode.names import Names
from monitor.observe.clock import wall_ms
from monitor.onboard import cost
from monitor.service.backends import make_sample
from monitor.settings.load import load
from monitor.settings.tree import Settings
from tests.commands import monitor
from tests.parts import part

PROGRAMS = ("make_12_13", "make_14", "make_15_20", "make_21", "make_23")
LABELS = re.compile(r"labels: (\d+) of (\d+) found, (\d+) false alerts?")
Record = dict[str, Any]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Found(NamedTuple):
    """What a backtest said."""

    said: str
    records: list[Record]  # of alerts

    @property
    def fired(self) -> list[Record]:
        """The first record of each alert."""
        return [each for each in self.records if each["sequence"] == 0]

    def labels(self) -> tuple[int, int, int]:
        """Return how many labels were found, of how many, and how many alerts were false."""
        match = LABELS.search(self.said)
        assert match is not None, self.said
        return int(match[1]), int(match[2]), int(match[3])


class Case(NamedTuple):
    """The files of a case, in a folder of its own."""

    file: Path
    labels: list[Record]
    settings: Settings  # as onboard wrote them

    def backtest(self, *options: str, more: str = "") -> Found:
        """Run backtest with onboard's file; `more` is appended to it."""
        config = self.file.with_suffix(".more.toml")
        config.write_text(Path("x.toml").read_text() + more)
        sets = [each for option in options for each in ("-s", option)]
        labels = ["--labels", self.file.with_name("labels.jsonl")] if self.labels else []
        result = monitor("backtest", "-c", config, *labels, "--alerts", "alerts.jsonl", *sets)
        assert result.exit_code == 0, result.output
        assert re.search(r"\b0 of [\d,]+ messages and 0 values could not be read", result.output), result.output
        return Found(result.output, [json.loads(line) for line in Path("alerts.jsonl").read_text().splitlines()])

    def within(self, record: Record, place: int = 0, grace_s: int = 0) -> bool:
        """Return whether a record is of a label's machine and time."""
        label = self.labels[place]
        same = record["asset"] == label["asset"]
        return same and int(label["start"]) <= int(record["time"]) <= int(label["end"]) + 1000 * grace_s


@pytest.fixture(scope="module")
def plants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all readings."""
    programs, folder = part("FIELD", "folder of programs that write readings"), tmp_path_factory.mktemp("plants")
    for name in PROGRAMS:
        command = [sys.executable, str(programs / f"{name}.py")]
        subprocess.run(command, cwd=folder, check=True, env=os.environ | {"PYTHONPATH": str(programs)})
    return folder


def case(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> Case:
    """Run onboard on a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "RUN_S", 0.02)
    file = folder / name
    result = monitor("onboard", "--file", file, "--out", "x.toml")
    assert result.exit_code == 0, result.output
    labels = file.with_name("labels.jsonl")
    rows = [json.loads(line) for line in labels.read_text().splitlines()] if labels.exists() else []
    return Case(file, rows, load(Path("x.toml"), {}, {}))


def test_values_sent_on_change(plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels that speak each 90 minutes do not set the step, and a fallen flow is found within a minute."""
    given = case(plants, monkeypatch, tmp_path, "12-report-on-change/roc.jsonl")
    assert given.settings.windows.step_s <= 10
    found = given.backtest()
    assert found.labels()[0] == 1
    first = next(each for each in found.fired if given.within(each))
    assert first["channels"][0]["channel"] == "flow"
    assert first["time"] - given.labels[0]["start"] <= 60_000


def test_channels_at_different_rates(plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With periods from 1 s to 10 minutes the step is 10 s at most, and both faults are found by their channels."""
    given = case(plants, monkeypatch, tmp_path, "13-mixed-rates/mixed.jsonl")
    assert given.settings.windows.step_s <= 10
    found = given.backtest()
    assert found.labels()[0] == 2
    for place, channel in enumerate(("temp", "vib")):
        during = [each for each in found.records if given.within(each, place, grace_s=640)]
        assert channel in {each["channels"][0]["channel"] for each in during}


@pytest.mark.parametrize("rest", ["zeros", "silent"])
def test_machines_in_two_shifts(rest: str, plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three weeks of nights and weekends three alerts at most are false; faults and a missing start are found."""
    given = case(plants, monkeypatch, tmp_path, f"14-weekend/{rest}.jsonl")
    found = given.backtest('running.expected=["Mon-Fri 06:00-22:00"]')
    assert found.labels()[:2] == (3, 3)
    assert found.labels()[2] <= 3
    absent = [each for each in found.fired if each["cause"] == "not_running"]
    assert [each["asset"] for each in absent] == ["P3"]
    assert given.within(absent[0], 2)


def test_shifts_without_a_condition(plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rest came on three days of the history, starts and stops give no false alert, and both faults are found."""
    given = case(plants, monkeypatch, tmp_path, "14-weekend/zeros.jsonl")
    found = given.backtest("running.when=", "running.start_delay_s=0")
    assert found.labels()[0] >= 2
    assert found.labels()[2] <= 3


# Three machines are scored for the days that onboard's file leaves. R1 has the third recipe from 204 h after the
# beginning on, for 6 h.
THIRD_MS, LASTS_MS = 204 * 3_600_000, 6 * 3_600_000
SCORED_DAYS = 3 * 4


def third(given: Case) -> int:
    """Return the time from which the third recipe may come."""
    with given.file.open() as file:
        return int(json.loads(file.readline())["timestamp"]) + THIRD_MS


def false_of(records: Sequence[Record], given: Case) -> list[Record]:
    """Return alerts that are neither of the fault nor of the third recipe."""
    begin = third(given)
    return [
        each
        for each in records
        if not given.within(each, grace_s=3600)
        and not (each["asset"] == "R1" and begin <= int(each["time"]) <= begin + LASTS_MS)
    ]


def test_batches_and_recipes(plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slower heating is found, a third recipe is a new mode, and at most 0.2 alerts a machine-day are false."""
    given = case(plants, monkeypatch, tmp_path, "15-recipes/recipes.jsonl")
    assert given.settings.modes.learned
    found = given.backtest()
    assert found.labels()[0] == 1
    assert len(false_of(found.fired, given)) <= 0.2 * SCORED_DAYS
    told = [each for each in found.fired if each["cause"] == "new_mode"]
    assert {each["asset"] for each in told} == {"R1"}
    assert min(int(each["time"]) for each in told) > third(given)


def test_counters_hide_nothing(plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With three counters among the channels a fall of the flow is found within a minute."""
    given = case(plants, monkeypatch, tmp_path, "19-counters/counters.jsonl")
    found = given.backtest()
    first = next(each for each in found.fired if given.within(each))
    assert first["time"] - given.labels[0]["start"] <= 60_000
    assert first["channels"][0]["channel"] == "flow"


def test_a_state_that_was_not_learned_is_no_explosion(
    plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as states against onboard's advice, a new mode and a first alarm word are no deviations of the machine."""
    given = case(plants, monkeypatch, tmp_path, "20-status-channels/status.jsonl")
    states = {"running", "mode", "alarm_word", "setpoint"}
    assert set(given.settings.select.channels_exclude) == states
    read = "".join(f'\n[channels.{name}]\nas = "state"\n' for name in sorted(states))
    found = given.backtest("select.channels_exclude=[]", more=read)
    assert max((each["peak"] for each in found.records), default=0.0) < 10
    causes = {each["channels"][0]["channel"] for each in found.records if each["channels"]}
    assert not causes & states


@pytest.mark.parametrize("name", ["few", "many", "coils"])
def test_a_topic_of_telegraf(name: str, plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pumps are apart, the collector's own points are left out, and points of booleans alone are no dead letters."""
    given = case(plants, monkeypatch, tmp_path, f"21-mixed-topic/{name}.lp")
    assets, channels = set[str](), set[str]()
    for run in make_sample(given.settings, 10**6, lambda _: None).runs:
        decoded = decode_all(run, given.settings.message_format(), wall_ms(), Names())
        assert decoded.rejected == []
        assets |= set(decoded.readings.assets)
        channels |= set(decoded.readings.channels)
    assert assets == {"P1", "P2", "P3"}
    assert {each.rpartition(".")[2] for each in channels} - {"running", "state"} == {
        "flow",
        "pressure",
        "current",
        "temp",
        "vib",
    }


def test_a_machine_that_falls_silent(plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which nothing comes any more is told so as soon as the delay has passed, and no other is."""
    given = case(plants, monkeypatch, tmp_path, "23-machine-silent/silent.jsonl")
    with given.file.open() as file:
        last = max(row["timestamp"] for row in map(json.loads, file) if row["asset"] == "P2")
    silent = [each for each in given.backtest().fired if each["cause"] == "silence"]
    assert [each["asset"] for each in silent] == ["P2"]
    step_ms = given.settings.windows.step_ms
    delay = given.settings.alerting.silence_ms(given.settings.windows)
    assert delay <= silent[0]["time"] - last <= delay + step_ms
