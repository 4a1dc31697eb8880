"""The three rings: the allowed imports of each package."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "monitor"
FILES = sorted(ROOT.rglob("*.py"))
STANDARD_IN_CORE = {"bisect", "collections", "contextlib", "csv", "dataclasses", "datetime", "functools", "hashlib"}
STANDARD_IN_CORE |= {"enum", "fnmatch", "itertools", "json", "math", "operator", "re", "typing", "zoneinfo"}
STANDARD_IN_CORE |= {"unicodedata"}
LIBRARIES_IN_CORE = {"msgspec", "numpy", "torch"}
CLIENTS = {  # library -> the packages or modules that may import it
    "confluent_kafka": {"monitor.connectors.kafka"},
    "influxdb_client": {"monitor.connectors.influx"},
    "urllib3": {"monitor.connectors.influx", "monitor.connectors.schemas"},
    "fastavro": {"monitor.connectors.schemas"},
    "google": {"monitor.connectors.schemas"},
    "fsspec": {"monitor.store.files"},
    "safetensors": {"monitor.store.tensors"},
    "prometheus_client": {"monitor.observe.metrics"},
    "pydantic_settings": {"monitor.settings"},
    "starlette": {"monitor.web"},
    "uvicorn": {"monitor.web"},
    "h11": {"monitor.web"},
    "typer": {"monitor.cli", "monitor.options"},
    "rich": {"monitor.cli", "monitor.simulator", "monitor.onboard", "monitor.backtest", "monitor.settings"},
}
BACKENDS = "monitor.service.backends"  # the one module that selects implementations
NAMED_ELSEWHERE = {  # importer -> an implementation that it may also import
    "monitor.service.wiring": "monitor.connectors.memory",  # these three pass the in-process broker on
    "monitor.service.run": "monitor.connectors.memory",
    "monitor.simulator.demo": "monitor.connectors.memory",
    "monitor.settings.checks.servers": "monitor.connectors.kafka.options",  # checks options without the library
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def module(path: Path) -> str:
    return ".".join(("monitor", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def allowed(name: str) -> set[str]:
    """Return the packages of this project that module `name` may import."""
    parts = name.split(".")
    if within(name, {"monitor.core"}):
        return {"monitor.core"}
    if within(name, {"monitor.store"}):
        return {"monitor.core", "monitor.store"}
    if within(name, {"monitor.connectors"}):
        return {"monitor.core", "monitor.connectors.base", ".".join(parts[:3])}
    if within(name, {"monitor.observe"}):
        return {"monitor.observe"}
    return {"monitor"}


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_go_inwards(path: Path) -> None:
    """Core imports core only, connectors and stores import core and their own, and each client library has one home."""
    name = module(path)
    for found in imports(path):
        first = found.split(".")[0]
        if first == "monitor":
            assert within(found, allowed(name)), f"{name} imports {found}"
        elif within(name, {"monitor.core"}):
            assert first in STANDARD_IN_CORE | LIBRARIES_IN_CORE, f"{name} imports {found}"
        if first in CLIENTS:
            assert within(name, CLIENTS[first]), f"{name} imports {found}"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_one_module_names_implementations(path: Path) -> None:
    """In the shell, only service/backends.py imports Kafka, InfluxDB or files as source or sink."""
    name = module(path)
    if name == BACKENDS or within(name, {"monitor.core", "monitor.store", "monitor.connectors"}):
        return
    for found in imports(path):
        if found.startswith("monitor.connectors.") and not within(found, {"monitor.connectors.base"}):
            assert within(found, {NAMED_ELSEWHERE.get(name, BACKENDS)}), f"{name} imports {found}"


def test_settings_import_no_torch() -> None:
    """No module of the settings imports torch, directly or indirectly."""
    names = sorted(module(path) for path in FILES if within(module(path), {"monitor.settings"}))
    assert len(names) > 8
    script = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT.parent, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"
