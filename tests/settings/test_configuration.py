"""Loading: which source wins, and that every mistake is named."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.settings.base import about
from monitor.settings.load import ConfigurationError, load, render
from monitor.settings.sections import fields
from tests.settings.mistakes import MISTAKES, PLANTED, Mistake, mistakes, write


def as_toml(settings: Mapping[str, Any]) -> str:
    """Dotted keys are TOML, and so is JSON but for the colons of tables."""

    def value(found: Any) -> str:
        if isinstance(found, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {value(each)}" for key, each in found.items()) + "}"
        if isinstance(found, list):
            return "[" + ", ".join(map(value, found)) + "]"
        return "nan" if found != found else json.dumps(found)  # noqa: PLR0124 - NaN is not itself

    return "\n".join(f"{key} = {value(each)}" for key, each in settings.items())


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: " ".join(mistake.settings))
@pytest.mark.parametrize("way", ["file", "flags"])
def test_a_mistake_is_named(way: str, mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One mistake, in file or flags, gives one line with key, value and problem."""
    monkeypatch.chdir(tmp_path)
    Path("here.jsonl").touch()
    path = write(tmp_path, as_toml(mistake.settings)) if way == "file" else None
    (problem,) = mistakes(path, overrides={} if way == "file" else mistake.settings)
    assert [text for text in mistake.named if text not in problem] == []
    assert len(problem.partition(": ")[2].split()) >= 2
    assert PLANTED not in problem


@pytest.mark.parametrize(
    ("key", "value"), [("threshold.clip", 1), ("alerting.deadband", 1), ("windows.min_observed", 50)]
)
def test_a_consequence_that_is_news_is_named(key: str, value: float) -> None:
    """A refused value of a setting with a consequence of its own is reported with it."""
    (problem,) = mistakes(overrides={key: value})
    assert about(fields()[key])["otherwise"] in problem


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("MONITOR_WINDOWS__LENGHT", "32", "MONITOR_WINDOWS__LENGTH?"),
        ("MONITOR_WINDOWS_LENGTH", "32", "MONITOR_WINDOWS__LENGTH?"),
        ("monitor_windows__length", "32", "MONITOR_WINDOWS__LENGTH?"),
        ("MONITOR_NMAE", "x", "MONITOR_NAME?"),
        ("MONITOR_WINDOWS", "{}", "no setting has this variable"),
        ("MONITOR_KAFKA__OPTIONS__LINGER", "5", "MONITOR_KAFKA__OPTIONS?"),
        ("MONITOR_KAFKA__SASL_PASSWRD", PLANTED, "MONITOR_KAFKA__SASL_PASSWORD?"),
        ("MONITOR_", "x", "no setting has this variable"),
        ("MONITOR_SERVICE_HOST", "10.0.0.1", "enableServiceLinks: false"),
        ("MONITOR_PORT_9464_TCP_ADDR", "10.0.0.1", "enableServiceLinks: false"),
    ],
)
def test_a_variable_must_name_a_setting(name: str, text: str, said: str) -> None:
    """A variable with our prefix that names no setting is refused, with a suggestion."""
    (problem,) = mistakes(env={name: text})
    assert problem.startswith(f"{name}: ")
    assert said in problem
    assert PLANTED not in problem


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("MONITOR_SOURCE__TOPICS", "a,b", 'as JSON such as ["a", "b"]'),
        ("MONITOR_KAFKA__OPTIONS", f"password={PLANTED}", 'as JSON such as {"linger.ms": 5}'),
        ("MONITOR_WINDOWS__LENGTH", "many", 'windows.length = "many": expected a whole number from 4 to 1024 steps'),
        ("MONITOR_WINDOWS__LENGTH", "", 'windows.length = "": expected a whole number'),
        ("MONITOR_RECORDER__ENABLED", "2", 'recorder.enabled = "2": expected true or false'),
    ],
)
def test_a_variable_must_have_a_fitting_text(name: str, text: str, said: str) -> None:
    """A text of the environment that does not fit its setting is refused with the accepted values."""
    (problem,) = mistakes(env={name: text})
    assert said in problem
    assert PLANTED not in problem


def test_other_variables_are_ignored() -> None:
    """Variables without the prefix are ignored."""
    assert load(None, {"PATH": "/bin", "WINDOWS__LENGTH": "x", "MONITORING_X": "x"}, {}) == load(None, {}, {})


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """Each setting comes from the last of file, environment and flags that has it, independent of other settings."""
    path = write(tmp_path, 'name = "file"\n[windows]\nlength = 32\nidle = 7\nmax_fill = 2\n')
    env = {"MONITOR_WINDOWS__LENGTH": "128", "MONITOR_WINDOWS__IDLE": "8", "MONITOR_LOG__LEVEL": "debug"}
    settings = load(path, env, {"windows.length": 256, "source.topics": '["a"]', "outputs.directory": "-"})
    windows = settings.windows
    assert (windows.length, windows.idle, windows.max_fill) == (256, 8, 2)
    assert (settings.name, settings.log.level, settings.source.topics) == ("file", "debug", ("a",))
    assert settings.outputs.directory == "-"


def test_a_table_of_options_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Options of the environment do not mix with those of the file."""
    path = write(tmp_path, '[kafka]\noptions = { "linger.ms" = 5 }\n')
    settings = load(path, {"MONITOR_KAFKA__OPTIONS": '{"compression.type": "zstd"}'}, {})
    assert settings.kafka.options == {"compression.type": "zstd"}


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """Unknown names, bad values and contradictions from file, environment and flags are in one error."""
    path = write(tmp_path, 'sorce = 1\n[windows]\nstep_s = "x"\nlenght = 3\n[threshold]\nwarm = 20000\n')
    problems = mistakes(path, {"MONITOR_NAME": "a b", "MONITOR_X": ""}, {"health.port": -1, "store.uri": "x"})
    for key in ("sorce", "windows.step_s", "windows.lenght", "threshold.warm", "name", "MONITOR_X", "health.port"):
        assert len([sentence for sentence in problems if sentence.startswith((f"{key}:", f"{key} ="))]) == 1
    assert len(problems) == 8


def test_a_bad_value_is_reported_once(tmp_path: Path) -> None:
    """A setting with a bad value is not reported again for its combination with others."""
    path = write(
        tmp_path,
        '[threshold]\nmemory = "much"\nwarm = 20000\n[kafka]\nsasl_mechanism = "PLAIN"\nsecurity_protocol = 1\n',
    )
    problems = mistakes(path)
    assert [sentence.partition(" ")[0] for sentence in problems] == ["threshold.memory", "kafka.security_protocol"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[windows\n", "not TOML"),
        (b"[windows]\nlength = 32\nlength = 33\n", "not TOML"),
        (b'name = "\xff"\n', "not UTF-8 at byte 8"),
        (None, "cannot be read (No such file or directory)"),
        ("folder", "cannot be read (not a regular file)"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_mistake(content: bytes | str | None, said: str, tmp_path: Path) -> None:
    """A file that is missing, no regular file or no TOML is refused by name; variables are still checked."""
    path = tmp_path / "monitor.toml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    problems = mistakes(path, {"MONITOR_NMAE": "x"})
    assert len(problems) == 2
    assert problems[0].startswith(f"{path}: ")
    assert said in problems[0]


def test_a_file_that_vanishes_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that disappears just before it is read is a mistake, not an empty configuration."""
    path, is_file = write(tmp_path, 'name = "line-3"\n'), Path.is_file

    def vanish(self: Path) -> bool:
        found = is_file(self)
        self.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "is_file", vanish)
    (problem,) = mistakes(path)
    assert problem == f"{path}: cannot be read (No such file or directory)"


@pytest.mark.parametrize("content", ["windows = 3", 'windows = "x"', "windows = [1]", "[[windows]]\nlength = 3"])
def test_a_section_must_be_a_table(content: str, tmp_path: Path) -> None:
    """A section that is no table is refused, and its value is not shown."""
    (problem,) = mistakes(write(tmp_path, content))
    assert problem == "windows: expected a table, [windows]"


def test_no_key_of_the_file_reaches_the_library(tmp_path: Path) -> None:
    """A key that is an argument of the settings library is an unknown setting."""
    env = write(tmp_path, "").with_name("x.env")
    env.write_text("MONITOR_NAME=from-elsewhere\n")
    (problem,) = mistakes(write(tmp_path, f'_env_file = "{env}"\n'))
    assert problem.startswith("_env_file: unknown setting")


def test_the_recorder_has_its_own_group() -> None:
    """The recorder's group is derived from the source's unless it is given, and is printed as it is in force."""
    settings = load(None, {}, {"source.group": "line-3"})
    assert settings.recorder.group == "line-3-recorder"
    assert 'group = "line-3-recorder"' in render(settings)
    assert load(None, {}, {"recorder.group": "mine"}).recorder.group == "mine"


def test_a_table_file_needs_no_other_format(tmp_path: Path) -> None:
    """Files of csv and npz are accepted with the default format."""
    path = tmp_path / "pump-1.csv"
    path.touch()
    for kind in ("csv", "npz"):
        settings = load(None, {}, {"source.kind": "files", "source.format": kind, "source.paths": [str(path)]})
        assert settings.source.format == kind


def test_the_monitor_does_not_read_its_own_files(tmp_path: Path) -> None:
    """A file that the outputs write is refused as a source, by any path that leads to it."""
    path = tmp_path / "monitor.alerts.jsonl"
    path.touch()
    wrong = {
        "source.kind": "files",
        "source.paths": [f"{tmp_path}/../{tmp_path.name}/monitor.alerts.jsonl"],
        "outputs.kind": "files",
        "outputs.directory": str(tmp_path),
    }
    (problem,) = mistakes(overrides=wrong)
    assert "read its own alerts" in problem


DETECTORS: list[dict[str, Any]] = [
    {"name": "pumps", "assets": ['pump "a"*']},
    {"name": "slow", "windows": {"step_s": 60, "aggregate": ["mean", "max"]}, "threshold": {"margin": 2.0}},
]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
SOME = {
    "name": st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", fullmatch=True),
    "detectors": st.just(DETECTORS),
    "format.asset": TEXTS.filter(lambda text: text.strip() and not re.search(r'["\\\x00-\x1f]', text)),
    "source.paths": st.lists(TEXTS, max_size=3),
    "windows.min_observed": st.floats(0, 1),
    "windows.max_assets": st.integers(1, 65_536),
    "training.learning_rate": st.floats(1e-6, 0.1),
    "outputs.fsync": st.booleans(),
    "kafka.options": st.dictionaries(st.sampled_from(["linger.ms", "client.rack"]), TEXTS | st.integers()),
}


@given(wrong=st.fixed_dictionaries({}, optional=SOME))
def test_printed_settings_can_be_loaded(tmp_path_factory: pytest.TempPathFactory, wrong: dict[str, Any]) -> None:
    """Printed settings without secrets are a file that loads to the same settings."""
    settings = load(None, {}, wrong)
    path = write(tmp_path_factory.mktemp("shown"), render(settings))
    assert load(path, {}, {}) == settings


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(PLANTED),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(wrong=st.dictionaries(st.sampled_from([*fields(), "x", "kafka.x", "x.y", "kafka"]), JUNK, max_size=5))
def test_loading_returns_settings_or_problems(wrong: dict[str, Any]) -> None:
    """No value of any type makes loading fail in another way, or shows a secret."""
    try:
        sentences = [render(load(None, {}, wrong))]
    except ConfigurationError as error:
        sentences = error.problems
    assert sentences
    assert not [text for text in sentences if re.search(f"(password|token) = .*{PLANTED}", text)]


def test_channels_have_sections_by_name_or_glob(tmp_path: Path) -> None:
    """A section of a channel is read from file, environment or flag, in its order, and printed so that it loads."""
    path = write(tmp_path, '[channels."*.energy"]\nas = "rate"\n[channels.Running]\nas = "state"\n[channels.x]\n')
    expected = (("*.energy", "rate"), ("Running", "state"), ("x", "measurement"))
    settings = load(path, {}, {})
    assert settings.channel_kinds().globs == expected
    assert settings.message_format().kinds == settings.channel_kinds()
    assert load(write(tmp_path, render(settings)), {}, {}).channels == settings.channels

    text = '{"*.energy": {"as": "ignore"}}'
    assert load(path, {"MONITOR_CHANNELS": text}, {}).channel_kinds().globs == (("*.energy", "ignore"),)
    assert load(path, {}, {"channels": text}).channel_kinds().globs == (("*.energy", "ignore"),)
