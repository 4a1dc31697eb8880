"""The tree of settings, and what it builds for stages and clients."""

import math
from dataclasses import asdict
from typing import get_origin

import pytest
from pydantic import SecretStr, ValidationError

from monitor.core.arrays import FARTHEST, MOST_ASSETS
from monitor.core.decode.format import Format
from monitor.core.fitting.recipe import Recipe
from monitor.core.model.architecture import Architecture
from monitor.core.threshold.options import ThresholdOptions
from monitor.settings.base import MASK, Section, about, expected, literal, shown
from monitor.settings.learning import ModelSection, ThresholdSection, TrainingSection
from monitor.settings.sections import fields, sections
from monitor.settings.servers import KafkaSection
from monitor.settings.stages import FormatSection, WindowsSection
from monitor.settings.tree import Settings

FIELDS = fields()


def ends(section: type[Section]) -> list[tuple[str, float]]:
    """Return the smallest and the largest value of every number of a section."""
    ranges = {name: about(field) for name, field in section.model_fields.items()}
    return [(name, said[end]) for name, said in ranges.items() for end in ("low", "high") if said[end] is not None]


def test_a_tree_made_by_hand_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the process do not reach settings that are built directly."""
    monkeypatch.setenv("MONITOR_NAME", "from-outside")
    monkeypatch.setenv("MONITOR_WINDOWS__LENGTH", "128")
    assert Settings() == Settings(name="monitor")
    assert Settings().windows.length == 64


@pytest.mark.parametrize(("key", "value"), [("name", "x"), ("windows.length", 32), ("kafka.sasl_username", "x")])
def test_settings_do_not_change(key: str, value: object) -> None:
    """A setting cannot be assigned to."""
    settings = Settings()
    part, _, leaf = key.rpartition(".")
    with pytest.raises(ValidationError, match="frozen"):
        setattr(getattr(settings, part) if part else settings, leaf, value)


@pytest.mark.parametrize("key", FIELDS)
def test_every_field_has_a_meaning(key: str) -> None:
    """Every setting has a description in whole sentences, and a range or a form unless any value is accepted."""
    field = FIELDS[key]
    assert field.description is not None
    assert field.description.endswith(".")
    assert expected(field)
    if field.annotation in (int, float):
        assert about(field)["low"] <= field.default <= about(field)["high"]
    if key.endswith("_s"):
        assert about(field)["unit"] == "s"


@pytest.mark.parametrize("key", [key for key, field in FIELDS.items() if about(field)["low"] is not None])
def test_every_range_is_checked_at_its_ends(key: str) -> None:
    """A number is accepted at both ends of its range and refused just beyond them; so are NaN and infinity."""
    part, _, name = key.rpartition(".")
    section, field = sections()[part], FIELDS[key]
    low, high = about(field)["low"], about(field)["high"]
    for value in (low, high):
        assert getattr(section(**{name: value}), name) == value
    step = 1 if field.annotation is int else 1e-9 * max(abs(low), abs(high))
    for value in (low - step, high + step, math.nan, math.inf, True):
        with pytest.raises(ValidationError):
            section(**{name: value})


EXACT = {  # largest values with which the stages' whole-number arithmetic stays within 64 bits
    "step_ms": 2**31 - 1,
    "length": 2**20,
    "lateness_ms": 2**40,
    "max_gap": 2**31,
    "max_fill": 2**31,
    "idle": 2**31,
    "max_assets": MOST_ASSETS,
    "max_channels": 2**16,
    "new_assets": MOST_ASSETS,
    "forget_ms": FARTHEST,
}


@pytest.mark.parametrize(("name", "value"), ends(WindowsSection))
def test_the_ranges_of_windows_keep_the_arithmetic_exact(name: str, value: float) -> None:
    """No setting of the windows exceeds what the stages, which trust the settings, compute without overflow."""
    options = asdict(WindowsSection.model_validate({name: value}).options())
    assert {key: options[key] for key in EXACT if not 0 <= options[key] <= EXACT[key]} == {}
    assert options["forget_ms"] >= options["idle"] * options["step_ms"] > 0


def test_the_threshold_gets_what_is_set() -> None:
    """Every setting of the section reaches the stage by its name."""
    section = ThresholdSection(memory=500, warm=3, kind="histogram")
    assert section.options() == ThresholdOptions(**section.model_dump())


@pytest.mark.parametrize(("name", "value"), ends(FormatSection))
def test_the_decoder_accepts_the_whole_range(name: str, value: float) -> None:
    """The decoder accepts every value that the section accepts."""
    FormatSection.model_validate({name: value}).build()


def test_seconds_become_milliseconds() -> None:
    """Times reach the stages in whole milliseconds, names and numbers unchanged."""
    windows = WindowsSection(step_s=0.25, lateness_s=1.5, length=32).options()
    assert (windows.step_ms, windows.lateness_ms, windows.length) == (250, 1500, 32)
    assert FormatSection(max_future_s=1.5, kind="json_long").build() == Format("json_long", max_future_ms=1500)


def test_the_recipe_is_made_of_two_sections() -> None:
    """A recipe has the size of the model section and the numbers of the training section; its defaults agree."""
    assert TrainingSection().recipe(ModelSection()) == Recipe()
    recipe = TrainingSection(steps=50, seed=7).recipe(ModelSection(hidden=16, latent=4))
    assert recipe == Recipe(hidden=16, latent=4, steps=50, seed=7)
    assert ModelSection(layers=2).architecture(3, 32) == Architecture(3, 32, layers=2)


def test_the_client_gets_what_is_set() -> None:
    """The client gets every setting that is not empty, secrets in clear, and the options unchanged."""
    assert KafkaSection().client() == {"bootstrap.servers": "localhost:9092", "security.protocol": "plaintext"}
    kafka = KafkaSection(
        security_protocol="sasl_ssl",
        sasl_mechanism="PLAIN",
        sasl_username="monitor",
        sasl_password=SecretStr("hunter2"),
        ssl_ca_location="ca.pem",
        options={"linger.ms": 5},
    )
    assert kafka.client() == {
        "linger.ms": 5,
        "bootstrap.servers": "localhost:9092",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "monitor",
        "sasl.password": "hunter2",
        "ssl.ca.location": "ca.pem",
    }


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("kafka.sasl_password", "hunter2", f'"{MASK}"'),
        ("kafka.sasl_password", 42, f'"{MASK}"'),
        ("kafka.sasl_password", "", '""'),
        ("kafka.options", {"ssl.key.pem": "hunter2"}, "{ ssl.key.pem }"),
        ("recorder.url", "http://me:hunter2@db:8086", f'"http://{MASK}@db:8086"'),
        ("windows.length", 64, "64"),
        ("source.topics", ("a", "b"), '["a", "b"]'),
        ("name", "x\n" * 200, '"' + "x\\n" * 39 + "x\\" + "…"),
    ],
)
def test_messages_show_values_but_no_secrets(key: str, value: object, text: str) -> None:
    """A value is shown as TOML, cut to a bound; a value that may be a secret is masked."""
    assert shown(value, FIELDS[key]) == text


def test_every_secret_is_masked_and_has_a_file() -> None:
    """Passwords and tokens have the masked type, and each can be read from a file."""
    secret = [key for key, field in FIELDS.items() if field.annotation is SecretStr]
    assert secret == ["schemas.password", "kafka.sasl_password", "kafka.ssl_key_password", "recorder.token"]
    assert all(f"{key}_file" in FIELDS for key in secret)


def test_lists_cannot_be_appended_to() -> None:
    """A list in the file is a tuple in the tree."""
    lists = [key for key, field in FIELDS.items() if get_origin(field.annotation) is tuple]
    globs = [f"select.{name}{end}" for name in ("measurements", "assets", "channels") for end in ("", "_exclude")]
    assert lists == [
        "detectors",
        "source.topics",
        "source.paths",
        "source.ignore",
        "format.ignore",
        "format.patterns",
        "format.extra_channels",
        *globs,
        "schemas.files",
        "windows.aggregate",
        "sensors.skip",
        "running.holidays",
        "health.names",
    ]
    assert literal(Settings().source.topics) == '["readings"]'
