"""[[detectors]]: what each one gets, and what is refused, by its name and key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from monitor.settings.detectors import MOST, PER_DETECTOR
from monitor.settings.live import changes
from monitor.settings.load import ConfigurationError, load, render
from monitor.settings.sections import sections
from monitor.settings.tree import Settings

TWINS = """
name = "plant"
[threshold]
margin = 1.7
[[detectors]]
name = "pumps"
assets = ["pump-*", "Lüfter *"]
[[detectors]]
name = "pumps-slow"
assets = ["pump-*"]
[detectors.windows]
step_s = 60
[detectors.threshold]
margin = 2.0
"""
SLOW = "detectors[pumps-slow]"


def read(folder: Path, text: str) -> Settings:
    (folder / "monitor.toml").write_text(text)
    return load(folder / "monitor.toml", {}, {})


def refused(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        read(folder, text)
    return error.value.problems


def test_a_detector_takes_the_sections_and_overrides_single_settings(tmp_path: Path) -> None:
    """Each has the form of the settings of one detector, with the file's values where it sets none itself."""
    pumps, slow = read(tmp_path, TWINS).per_detector()
    assert (pumps.name, pumps.windows.step_s, pumps.threshold.margin) == ("pumps", 1.0, 1.7)
    assert (slow.name, slow.windows.step_s, slow.threshold.margin) == ("pumps-slow", 60.0, 2.0)
    assert slow.threshold.percentile == pumps.threshold.percentile == 99.0
    assert slow.per_detector() == (slow,)
    assert pumps.route().assets.want("pump-1")
    assert pumps.route().assets.want("Luefter_3") is False
    assert pumps.route().assets.want("L_fter_3")


def test_without_detectors_there_is_the_one_of_the_file(tmp_path: Path) -> None:
    """Its settings are those of the file, and it wants everything."""
    whole = read(tmp_path, 'name = "plant"\n')
    assert whole.per_detector() == (whole,)
    assert whole.route().everything


def test_every_section_that_may_be_overridden_is_one() -> None:
    """The names of overridable sections are names of sections."""
    assert PER_DETECTOR
    assert set(PER_DETECTOR) <= set(sections())


def test_settings_that_are_printed_are_read_again(tmp_path: Path) -> None:
    """Printed as TOML, the detectors are the same ones."""
    whole = read(tmp_path, TWINS)
    (tmp_path / "again.toml").write_text(render(whole))
    assert load(tmp_path / "again.toml", {}, {}).detectors == whole.detectors
    assert len(tomllib.loads(render(whole))["detectors"]) == 2


def test_detectors_come_from_a_variable_as_a_whole() -> None:
    """As JSON they take the place of all in the file; single settings of one have no variable and no flag."""
    whole = load(None, {"MONITOR_DETECTORS": '[{"name": "a"}]'}, {})
    assert [each.name for each in whole.per_detector()] == ["a"]
    with pytest.raises(ConfigurationError) as error:
        load(None, {"MONITOR_DETECTORS__0__NAME": "x"}, {"detectors.a.margin": "3"})
    assert "MONITOR_DETECTORS__0__NAME: no setting" in error.value.problems[0]
    assert "set in the file, or all together as JSON" in error.value.problems[1]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("step_s = 60", "step_s = -60", ["detectors[pumps-slow].windows.step_s = -60: expected a number from 0.001"]),
        ("step_s = 60", "stp_s = 60", ["detectors[pumps-slow].windows.stp_s: unknown setting (did you mean step_s?)"]),
        ("step_s = 60", "length = 8", ["detectors[pumps-slow].windows.length = 8", "windows.max_gap = 16"]),
        ('"pumps-slow"', '"pumps"', ["two detectors are named 'pumps'"]),
        ('name = "pumps-slow"', "", ["detectors[1] has no name"]),
        ('name = "pumps-slow"', 'name = "a b"', ['detectors[a b].name = "a b": expected 1 to 64']),
        ('name = "pumps-slow"', 'name = ".."', ['detectors[..].name = "..": expected 1 to 64', "a dot not first"]),
        (
            'assets = ["pump-*"]',
            'asets = ["x"]',
            ["detectors[pumps-slow].asets: unknown setting (did you mean assets?)"],
        ),
        ('assets = ["pump-*"]', 'assets_exclude = ["*"]', ["detectors[pumps-slow].assets_exclude", "no reading"]),
        ('assets = ["pump-*"]', 'channels = ["x"]\nchannels_exclude = ["x"]', ["detectors[pumps-slow].channels"]),
        ('assets = ["pump-*"]', 'groups = ["pump"]', ['detectors[pumps-slow].groups = ["pump"]', 'format.group = ""']),
        ("[detectors.windows]\nstep_s = 60", "windows = 3", ["detectors[pumps-slow].windows = 3", "a section"]),
        ("[detectors.windows]\nstep_s = 60", "[detectors.kafka]\n", ["detectors[pumps-slow].kafka: unknown setting"]),
        ("margin = 2.0", "warm = 20000", ["detectors[pumps-slow].threshold.warm = 20000", "never leave warm-up"]),
        (TWINS, "detectors = 3", ["detectors = 3: expected a list of tables, [[detectors]]"]),
        (TWINS, "detectors = [3]", ["detectors[0]: expected a table, [[detectors]]"]),
        (TWINS, "\n".join(f'[[detectors]]\nname = "d{n}"' for n in range(MOST + 1)), [f"at most {MOST} fit"]),
    ],
)
def test_mistakes_are_named_with_the_detector(tmp_path: Path, old: str, new: str, named: list[str]) -> None:
    """A mistake gives one problem, with the detector's name or place, the key and the value."""
    head, found, tail = TWINS.rpartition(old)
    assert found
    (problem,) = refused(tmp_path, head + new + tail)
    assert all(each in problem for each in named)


def test_what_all_detectors_inherit_is_refused_once(tmp_path: Path) -> None:
    """A contradiction in the file's own sections is one problem, whichever number of detectors has it."""
    (problem,) = refused(tmp_path, TWINS.replace("margin = 1.7", "memory = 200"))
    assert problem.startswith("threshold.")
    assert "detectors[" not in problem


@pytest.mark.parametrize(
    ("old", "new", "live", "named"),
    [
        ("margin = 2.0", "margin = 3.0", ["detectors[pumps-slow].threshold.margin"], []),
        ("margin = 2.0", "percentile = 99.6", [f"{SLOW}.threshold.margin", f"{SLOW}.threshold.percentile"], []),
        ('"pumps-slow"', '"fans"', ["detectors[fans]", "detectors[pumps-slow]"], []),
        ("margin = 1.7", "margin = 1.8", ["threshold.margin"], []),
        ("step_s = 60", "step_s = 30", [], ["detectors[pumps-slow].windows.step_s: 60.0 is in force"]),
        ('assets = ["pump-*"]', 'assets = ["p*"]', [], ["detectors[pumps-slow].assets"]),
        (TWINS, 'name = "plant"\n[threshold]\nmargin = 1.7\n', [SLOW, "detectors[pumps]"], ["detectors: pumps"]),
    ],
)  # fmt: skip
def test_what_of_a_detector_is_live(tmp_path: Path, old: str, new: str, live: list[str], named: list[str]) -> None:
    """Live settings of one detector, and detectors that come or go, are live. All else is refused with the reason."""
    head, _, tail = TWINS.rpartition(old)
    before, after = read(tmp_path, TWINS), read(tmp_path, head + new + tail)
    found: tuple[Any, Any] = changes(before, after)
    assert sorted(found[0]) == sorted(live)
    assert len(found[1]) == len(named)
    assert all(text in line and "restart" in line for text, line in zip(named, found[1], strict=True))


def test_a_detector_gets_the_channels_of_its_condition() -> None:
    """A channel that says whether a machine runs reaches the detector, also if it does not read that channel."""
    made = load(None, {}, {"detectors": [{"name": "a", "channels": ["flow"], "running": {"when": "speed > 50"}}]})
    (route,) = (each.route() for each in made.per_detector())
    assert route.watched == ("speed",)
