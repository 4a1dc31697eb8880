"""Commands of the program, run in the process of the test."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from monitor.cli import app
from tests.rig import SMALL

TRAINING: dict[str, Any] = {
    key: value for key, value in SMALL.items() if key.partition(".")[0] in {"name", "windows", "model", "training"}
}


def monitor(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def sets(**given: object) -> list[str]:
    """Return `--set` options for these settings."""
    texts = {key.replace("__", "."): value for key, value in given.items()}
    pairs = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in texts.items()]
    return [part for pair in pairs for part in ("--set", pair)]


def small(store: Path, **given: object) -> list[str]:
    """Return options for a training of the small machines that takes a second."""
    return [*sets(**TRAINING), *sets(store__url=str(store), **given)]
