"""The files of deploy/, and the tools that check them."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.onboard.dashboard import Language, dashboard_text
from tests.core.machines import ASSETS, CHANNELS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKER, GRAFANA, KUBERNETES, PROMETHEUS = (DEPLOY / n for n in ("docker", "grafana", "kubernetes", "prometheus"))
RUNBOOK = ROOT / "docs" / "operations.md"


def read(path: Path) -> Any:
    """Return a YAML file with one document."""
    return yaml.safe_load(path.read_text())


def tool(name: str, package: str) -> str:
    """Return the path of a program. Without it the test is skipped, but fails where CI=true."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip(f"{name} is not installed (Debian: {package})")
    assert found is not None, f"{name} is missing in CI"
    return found


def headings() -> set[str]:
    """Return the anchors in docs/operations.md."""
    found = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in found}


def dashboards() -> dict[str, Any]:
    """Return the committed dashboards by their path below deploy/grafana/dashboards."""
    folder = GRAFANA / "dashboards"
    return {str(path.relative_to(folder)): json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))}


def onboarded() -> dict[str, Any]:
    """Return the dashboards that `monitor onboard` makes for the machines of tests/core/machines.py, by language."""
    return {each: json.loads(dashboard_text("plant.1", ASSETS, CHANNELS, each)) for each in Language}


def alerting() -> dict[str, Any]:
    """Return Grafana's alert rules in both languages."""
    paths = {"flux": GRAFANA / "provisioning/alerting/monitor.yaml", "influxql": GRAFANA / "influxql/alerting.yaml"}
    return {language: read(path) for language, path in paths.items()}


def parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object inside a JSON document, at any depth."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from parts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from parts(value)


def rules() -> list[dict[str, Any]]:
    """Return every recording and alerting rule of Prometheus."""
    return [rule for group in read(PROMETHEUS / "rules.yml")["groups"] for rule in group["rules"]]


def panel_expressions() -> list[str]:
    """Return every PromQL expression of a panel, with Grafana's variables replaced."""
    filled = {"$__rate_interval": "2m", "$job": ".*", "$instance": ".*", "$detector": ".*"}
    found = [part["expr"] for each in dashboards().values() for part in parts(each) if "expr" in part]
    return [_filled(expr, filled) for expr in found]


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def metrics_in(expr: str) -> set[tuple[str, frozenset[str]]]:
    """Return the metrics selected by PromQL, without a histogram's suffix, each with its selector labels."""
    found = set()
    for name, selector in re.findall(r"(?<![:\w])((?:monitor_|process_|up\b)\w*)(?:\{([^}]*)\})?", expr):
        labels = frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector or ""))
        found.add((re.sub(r"_(bucket|sum|count)$", "", name), labels))
    return found
