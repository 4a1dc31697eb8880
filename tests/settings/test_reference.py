"""The configuration files of the program, and docs/configuration.md, against the code."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from monitor.settings.load import load, render
from monitor.settings.reference import PAGE, REFERENCE, page, reference
from monitor.settings.sections import fields

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"


def flat(path: Path) -> dict[str, Any]:
    """Return the settings in a file, by key."""
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if name in fields():
            found[name] = value
        else:
            found |= {f"{name}.{leaf}": each for leaf, each in value.items()}
    return found


def plain(value: Any) -> Any:
    """Return a default as TOML represents it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return list(value) if isinstance(value, tuple) else value


def test_the_reference_names_every_setting_with_its_default() -> None:
    """reference.toml has exactly the settings, each with its default and type."""
    written = flat(ROOT / REFERENCE)
    defaults = {key: plain(field.default) for key, field in fields().items()}
    assert written == defaults
    assert {key: type(value) for key, value in written.items()} == {k: type(v) for k, v in defaults.items()}


def test_the_reference_is_what_the_code_writes() -> None:
    """reference.toml is byte for byte as the code writes it, comments included."""
    assert (ROOT / REFERENCE).read_text(encoding="utf-8") == reference()


def test_the_page_is_what_the_code_writes() -> None:
    """docs/configuration.md is as the code writes it, and names each setting."""
    text = page()
    assert (ROOT / PAGE).read_text(encoding="utf-8") == text
    assert [key for key in fields() if f"| `{key.rpartition('.')[2]}` |" not in text] == []


def test_the_reference_changes_nothing() -> None:
    """reference.toml loads to the same settings as no file."""
    assert load(ROOT / REFERENCE, {}, {}) == load(None, {}, {})


@pytest.fixture
def mounted(tmp_path: Path) -> dict[str, str]:
    """Return the variables that the fleet's manifest sets in a pod."""
    for name in ("password", "ca", "token"):
        (tmp_path / name).write_text(f"{name}-of-the-pod\n")
    return {
        "MONITOR_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "password"),
        "MONITOR_KAFKA__SSL_CA_LOCATION": str(tmp_path / "ca"),
        "MONITOR_RECORDER__TOKEN_FILE": str(tmp_path / "token"),
    }


@pytest.mark.parametrize("name", ["plant", "fleet", "demo"])
def test_the_examples_are_accepted(name: str, mounted: dict[str, str]) -> None:
    """plant.toml, fleet.toml and demo.toml load without a problem in their environment."""
    settings = load(CONFIGS / f"{name}.toml", mounted if name == "fleet" else {}, {})
    assert settings.name == name
    assert "of-the-pod" not in render(settings)


def test_the_fleet_logs_in(mounted: dict[str, str]) -> None:
    """The client of the fleet gets the password from its mounted file, without the line end."""
    client = load(CONFIGS / "fleet.toml", mounted, {}).kafka.client()
    assert client["sasl.password"] == "password-of-the-pod"
    assert client["ssl.ca.location"] == mounted["MONITOR_KAFKA__SSL_CA_LOCATION"]
