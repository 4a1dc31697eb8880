"""The three rings: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "monitor"
FILES = sorted(ROOT.rglob("*.py"))
STANDARD_IN_CORE = {"bisect", "collections", "contextlib", "dataclasses", "datetime", "functools", "hashlib"}
STANDARD_IN_CORE |= {"itertools", "json", "math", "re", "typing"}
LIBRARIES_IN_CORE = {"msgspec", "numpy", "torch"}
CLIENTS = {  # library -> the modules that may import it
    "confluent_kafka": "monitor.connectors.kafka.source",
    "influxdb_client": "monitor.connectors.influx",
    "urllib3": "monitor.connectors.influx",
    "fsspec": "monitor.store.files",
    "safetensors": "monitor.store.tensors",
    "prometheus_client": "monitor.observe.metrics",
    "pydantic_settings": "monitor.service",
    "typer": "monitor.cli",
    "rich": "monitor.service",
}
LINES, FUNCTION = 300, 40


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def module(path: Path) -> str:
    return ".".join(("monitor", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def ring(name: str) -> str:
    return name.split(".")[1] if name.count(".") else ""


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_go_inwards(path: Path) -> None:
    """Core imports core only; connectors and stores import core and their own; each client library has one home."""
    name = module(path)
    may = {"core": {"core"}, "connectors": {"core", "connectors"}, "store": {"core", "store"}}.get(ring(name))
    for found in imports(path):
        first = found.split(".")[0]
        if first == "monitor":
            assert may is None or ring(found) in may, f"{name} imports {found}"
            if ring(name) == "connectors" and ring(found) == "connectors":
                technology = found.split(".")[2].split("_")[0].removesuffix("s")
                assert technology in {"base", name.split(".")[2].split("_")[0].removesuffix("s")}, f"{name}: {found}"
        elif ring(name) == "core":
            assert first in STANDARD_IN_CORE | LIBRARIES_IN_CORE, f"{name} imports {found}"
        if first in CLIENTS:
            assert name.startswith(CLIENTS[first]), f"{name} imports {found}"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_files_and_functions_stay_readable(path: Path) -> None:
    """No file is longer than 300 lines, no function longer than 40 without its docstring."""
    text = path.read_text()
    assert text.count("\n") <= LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = node.end_lineno - body[0].lineno + 1 if body and node.end_lineno else 0
            assert length <= FUNCTION, f"{node.name}: {length} lines"


def test_only_build_names_implementations() -> None:
    """Outside connectors, only build.py names Kafka, InfluxDB or files as source or sink."""
    named = {
        module(path)
        for path in FILES
        for found in imports(path)
        if ring(module(path)) == "service" and found.startswith("monitor.connectors.") and "base" not in found
    }
    memory = {
        "monitor.service.wiring",
        "monitor.service.run",
        "monitor.simulator.demo",
    }  # hand the broker through
    options = {"monitor.settings.server_checks"}  # checks librdkafka's options without the library
    assert named <= {"monitor.service.backends"} | memory | options
