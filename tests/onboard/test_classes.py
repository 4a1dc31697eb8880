"""Several classes of machines on one topic: each gets a detector, by its group or its names, and finds its faults."""

import json
import random
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.core.decode.format import Format
from monitor.core.records import Message, Partition
from monitor.onboard import cost
from monitor.onboard.classes import MOST_CLASSES, Division, divide
from monitor.onboard.command import rules_text
from monitor.onboard.survey import read, survey
from monitor.settings.load import load
from monitor.settings.tree import Settings
from tests.commands import monitor

BEGIN = 1_770_000_000_000
NOW = 1_780_000_000_000
WIDE = Format("json_wide")
KINDS = {  # class -> names of machines, channels, seconds between readings
    "pump": (("pump-1", "pump-2", "pump-3"), ("flow", "pressure", "current", "temp", "vib"), 1),
    "compressor": (("comp-1", "comp-2"), ("pressure", "oil", "speed", "power"), 1),
    "pc": (("edge01",), ("cpu", "mem", "load"), 10),
}
Reading = tuple[int, str, str, dict[str, float]]  # second, class, asset, values


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and estimate the cost in little time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "RUN_S", 0.02)


def plant(seconds: int, fault_from: int = 2**31) -> Iterator[Reading]:
    """Yield readings of three classes; from a second on, the first machine of each has a fault for a minute."""
    draw = random.Random(3)
    for second in range(seconds):
        for kind, (assets, channels, every) in KINDS.items():
            for number, asset in enumerate(assets if second % every == 0 else ()):
                base = 10 + 3 * ((second // every + 7 * number) % 60 > 30)
                values = {name: round(base * (at + 1) + draw.gauss(0, 0.3), 3) for at, name in enumerate(channels)}
                if number == 0 and fault_from <= second < fault_from + 60 * every:
                    values[channels[1]] += 40.0
                yield second, kind, asset, values


def as_line(second: int, kind: str, asset: str, values: dict[str, float]) -> str:
    fields = ",".join(f"{name}={value}" for name, value in values.items())
    return f"{kind},machine={asset},site=x {fields} {BEGIN + 1000 * second}000000"


def as_json(second: int, kind: str, asset: str, values: dict[str, float]) -> str:
    return json.dumps({"asset": asset, "kind": kind, "timestamp": BEGIN + 1000 * second, "values": values})


def as_plain(second: int, _: str, asset: str, values: dict[str, float]) -> str:
    return json.dumps({"asset": asset, "timestamp": BEGIN + 1000 * second, "values": values})


def onboarded(write: Callable[..., str], readings: Iterator[Reading], name: str = "in.jsonl") -> tuple[Settings, str]:
    """Return the settings that onboard writes for readings in a file, and what it says."""
    Path(name).write_text("".join(f"{write(*each)}\n" for each in readings))
    made = monitor("onboard", "--file", name, "--out", "monitor.toml", "--force")
    assert made.exit_code == 0, made.output
    assert monitor("check", "-c", "monitor.toml").exit_code == 0
    return load(Path("monitor.toml"), {}, {}), made.output


@pytest.mark.parametrize(
    ("write", "place", "compressors"),
    [(as_line, "measurement:", "compressor"), (as_json, "kind", "compressor"), (as_plain, "", "comp")],
)
def test_each_class_gets_a_detector_with_its_own_step(write: Callable[..., str], place: str, compressors: str) -> None:
    """By a measurement, a field, or names; the PC sends every 10 s, and no channel of any class is left out."""
    settings, said = onboarded(write, plant(300))
    assert settings.format.group == place
    by_name = {each.name: each for each in settings.per_detector()}
    pc = "pc" if place else "edge"
    assert {name: each.windows.step_s for name, each in by_name.items()} == {"pump": 1, compressors: 1, pc: 10}
    if place:
        assert [each.groups for each in settings.detectors] == [("pump",), ("compressor",), ("pc",)]
    else:
        assert [each.assets for each in settings.detectors] == [("pump-*",), ("comp-*",), ("edge*",)]
    assert "classes   3, told apart by" in said
    assert f"start     {pc}: the first model needs 1000 steps of 10 s" in said
    assert "channels exist on some assets only" not in said


def test_slow_twins_are_written_as_comments() -> None:
    """Without the leading # the file loads: each detector with a short step then has one of a minute beside it."""
    onboarded(as_json, plant(300))
    text = Path("monitor.toml").read_text()
    head, mark, tail = text.partition("# [[detectors]]")
    Path("slow.toml").write_text(
        head + "\n".join(line.removeprefix("# ").removeprefix("#") for line in (mark + tail).splitlines())
    )
    settings = load(Path("slow.toml"), {}, {})
    slow = {each.name: each for each in settings.per_detector() if each.name.endswith("-slow")}
    assert list(slow) == ["pump-slow", "compressor-slow"]
    for name, each in slow.items():
        assert (each.windows.step_s, each.windows.aggregate, each.alerting.silence_s) == (60, ("mean", "max"), 0)
        assert each.route() == settings.of_detector(name.removesuffix("-slow")).route()


def test_one_class_needs_no_detectors_and_its_twin_keeps_its_name() -> None:
    """The file has the settings of one detector; its comments name that one and the slow one."""
    pumps = (each for each in plant(300) if each[1] == "pump")
    settings, said = onboarded(as_plain, pumps)
    assert settings.detectors == ()
    assert settings.format.group == ""
    assert "classes" not in said
    text = Path("monitor.toml").read_text()
    twins = tomllib.loads("\n".join(line[2:] for line in text.splitlines() if line.startswith("# ") and _is_toml(line)))
    assert [each["name"] for each in twins["detectors"]] == [settings.name, f"{settings.name}-slow"]


def _is_toml(line: str) -> bool:
    return line.startswith(("# [[", "# [detectors", '# name = "')) or line in {"# step_s = 60.0", "# silence_s = 0.0"}


def test_detectors_that_are_given_stay() -> None:
    """A configuration with detectors is kept, and nothing is proposed beside them."""
    Path("base.toml").write_text(
        '[[detectors]]\nname = "mine"\nassets = ["pump-*"]\n[detectors.threshold]\nmargin = 2.0\n'
    )
    Path("in.jsonl").write_text("".join(f"{as_plain(*each)}\n" for each in plant(300)))
    made = monitor("onboard", "--file", "in.jsonl", "--out", "monitor.toml", "--config", "base.toml")
    assert made.exit_code == 0, made.output
    settings = load(Path("monitor.toml"), {}, {})
    assert [(each.name, each.assets, each.threshold) for each in settings.detectors] == [
        ("mine", ("pump-*",), {"margin": 2.0})
    ]
    assert "-slow" not in Path("monitor.toml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("write", [as_line, as_json])
def test_a_fault_is_found_in_each_class(write: Callable[..., str]) -> None:
    """Onboard, check and backtest of a mixed topic, without an edit: one alert of each faulty machine's detector."""
    seconds = 3000
    settings, _ = onboarded(write, (each for each in plant(seconds, 2700) if each[1] != "pc"))
    assert len(settings.detectors) == 2
    options = ("-s", "training.first_steps=1500", "-s", "training.steps=400")
    done = monitor("backtest", "-c", "monitor.toml", "--alerts", "alerts.jsonl", *options)
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in Path("alerts.jsonl").read_text().splitlines()]
    found = {(each["detector"], each["asset"]) for each in records if each["start"] >= BEGIN + 2_695_000}
    assert found == {("pump", "pump-1"), ("compressor", "comp-1")}


# Which machines are alike


def division(*machines: tuple[str, str], form: Format = WIDE, count: int = 20, **more: Any) -> Division:
    """Return the classes of machines, each with a name and channels of one letter."""
    rows = [(step, name, channels) for step in range(count) for name, channels in machines]
    return divided(rows, form, **more)


def divided(rows: Sequence[tuple[int, str, str]], form: Format = WIDE, **more: Any) -> Division:
    run = []
    for offset, (step, name, channels) in enumerate(rows):
        values = {channel: float(step * 37 % 101) for channel in channels}
        body = {"asset": name, "timestamp": BEGIN + 1000 * step, "values": values, **more.get(name, {})}
        run.append(Message(Partition("t", 0), offset, None, json.dumps(body).encode(), BEGIN + 1000 * step))
    return divide([run], read([run], form, NOW).table, form, NOW)


def classes(given: Division) -> list[tuple[str, ...]]:
    return [each.assets for each in given.classes]


def test_machines_that_lack_a_sensor_or_two_stay_with_their_sisters() -> None:
    """Also one with a sensor more; a machine that shares two of five channels is of another class."""
    found = division(("p1", "abcde"), ("p2", "abcd"), ("p3", "abc"), ("p4", "abcdef"), ("k1", "abxyz"), ("k2", "abxyz"))
    assert classes(found) == [("p1", "p2", "p3", "p4"), ("k1", "k2")]
    assert [each.globs for each in found.classes] == [("p*",), ("k*",)]


def test_a_machine_of_which_little_was_seen_belongs_where_its_channels_are_known() -> None:
    """In a sample of single readings it showed one channel of five."""
    rows = [(step, name, "abcde") for step in range(20) for name in ("p1", "p2")]
    rows += [(step, f"k{n}", "vwxyz") for step in range(20) for n in (1, 2)] + [(5, "k3", "w")]
    assert classes(divided(rows)) == [("k1", "k2", "k3"), ("p1", "p2")]


def test_one_class_or_only_different_machines_are_one() -> None:
    """Forty machines that are all different are no forty classes."""
    alike = classes(division(("a", "xy"), ("b", "xy"), ("c", "x")))
    assert alike == [("a", "b", "c")]
    single = division(*((f"m{n}", f"{chr(65 + n)}{chr(97 + n)}") for n in range(20)))
    assert [len(each.assets) for each in single.classes] == [20]


def test_of_many_classes_the_small_ones_are_together() -> None:
    """A limit of detectors, the last one with the machines that are alone, and that is said."""
    pairs = [(f"{chr(97 + n)}-{side}", f"{chr(65 + n)}{chr(97 + n)}") for n in range(6) for side in (1, 2)]
    odd = [(f"odd{chr(97 + n)}", f"{chr(75 + n)}{chr(107 + n)}") for n in range(9)]
    found = division(*pairs, *odd)
    assert len(found.classes) == 7 < MOST_CLASSES
    assert [each.others for each in found.classes] == [False] * 6 + [True]
    assert (found.classes[-1].name, len(found.classes[-1].assets)) == ("others", 9)


def test_names_that_no_glob_tells_apart_are_listed() -> None:
    """Classes whose machines are named alike are chosen by these names, and have names of their own."""
    found = division(("m1", "abc"), ("m2", "xyz"), ("m3", "abc"), ("m4", "xyz"))
    assert [(each.name, each.globs) for each in found.classes] == [("m", ("m1", "m3")), ("class-2", ("m2", "m4"))]


def test_a_group_that_is_given_divides_machines_with_the_same_channels() -> None:
    """The user's place counts; without it these are one class."""
    machines = [("m1", "abc"), ("m2", "abc"), ("m3", "abc"), ("m4", "abc")]
    kinds: dict[str, Any] = {name: {"kind": kind} for (name, _), kind in zip(machines, "pqpq", strict=True)}
    assert len(division(*machines, **kinds).classes) == 1
    found = division(*machines, form=Format("json_wide", group="kind"), **kinds)
    assert [(each.name, each.groups, each.assets) for each in found.classes] == [
        ("p", ("p",), ("m1", "m3")),
        ("q", ("q",), ("m2", "m4")),
    ]


def test_a_place_that_mixes_classes_or_names_machines_is_no_group() -> None:
    """The site is the same for two classes, and the serial number differs for each machine."""
    machines = [("p1", "abc"), ("p2", "abc"), ("k1", "xyz"), ("k2", "xyz")]
    more: dict[str, Any] = {name: {"serial": name * 2, "site": f"s{at % 2}"} for at, (name, _) in enumerate(machines)}
    assert division(*machines, **more).group == ""
    more = {name: {**each, "line": name[0] * 3} for name, each in more.items()}
    found = division(*machines, **more)
    assert (found.group, [each.groups for each in found.classes]) == ("line", [("ppp",), ("kkk",)])


def test_the_rules_compare_each_detector_with_its_own_assets() -> None:
    """Each has rules with its label, so that a slow twin does not hide a missing machine."""
    settings, _ = onboarded(as_json, plant(300))
    run = [
        Message(Partition("t", 0), at, None, as_plain(*each).encode(), BEGIN + 1000 * each[0])
        for at, each in enumerate(plant(100))
    ]
    figures = survey([run], WIDE, NOW)
    text = rules_text(settings, {"pump": figures, "pc": figures})
    assert text.count("MonitorAssetsMissing") == text.count("MonitorScoresMissing") == 2
    assert text.count("MonitorReadingsMissing") == 1
    assert f'monitor_assets{{job="monitor", detector="pc", state!="silent"}}) < {len(figures.assets)}' in text
    assert "0.09 * sum" in text
    assert np.isfinite(figures.rate)
