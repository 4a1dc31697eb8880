"""Prometheus' rules and scrapes, checked by promtool and against the table of metrics."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.observe.metric_table import TABLE
from tests.deploy.files import DEPLOY, PROMETHEUS, headings, metrics_in, panel_expressions, read, rules, tool

ALERTS = [rule for rule in rules() if "alert" in rule]
TARGET = {"job", "instance", "service", "role"}  # labels that the scrape adds


def promtool(*arguments: str, cwd: Path = PROMETHEUS) -> str:
    done = subprocess.run(
        [tool("promtool", "prometheus"), *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_sound() -> None:
    """Promtool finds the rules valid and counts every rule of the file."""
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", "rules.yml")


def test_the_rules_fire_when_they_should() -> None:
    """Promtool's unit tests pass: each alert fires in its scenario and stays silent in the others."""
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_each_alert_is_tested() -> None:
    """Every alert of the rules has a scenario in which it fires, with its labels and annotations."""
    stories = [
        each for test in read(PROMETHEUS / "rules_test.yml")["tests"] for each in test.get("alert_rule_test", [])
    ]
    assert {each["alertname"] for each in stories if each.get("exp_alerts")} == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_what_to_do(rule: Mapping[str, Any]) -> None:
    """An alert has a severity, a description, and a runbook link to its section in the operations page."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor == rule["alert"].lower()
    assert anchor in headings()


def test_every_metric_that_is_asked_for_exists() -> None:
    """Rules and panels select metrics of the table by existing labels, and process metrics are the client's own."""
    labels = {row.name: set(row.labels) for row in TABLE} | {"up": set()}
    selected = {
        pair for expr in [*(rule["expr"] for rule in rules()), *panel_expressions()] for pair in metrics_in(expr)
    }
    wrong = [
        (name, used)
        for name, used in selected
        if not name.startswith("process_") and (name not in labels or used - labels[name] - TARGET)
    ]
    assert wrong == []
    assert len(selected) > len(TABLE), "the search must find metrics"


def test_every_metric_is_looked_at() -> None:
    """Each metric of the table is in a panel of the daemon's dashboard."""
    shown = {name for expr in panel_expressions() for name, _ in metrics_in(expr)}
    assert {row.name for row in TABLE} - shown == set()


def test_the_search_for_metrics_finds_them() -> None:
    """Names and labels are found in PromQL, and a recorded series is not taken for a metric."""
    expr = 'sum by (le) (rate(monitor_x_seconds_bucket{job=~"a", le!="1"}[5m])) / job:monitor_y:rate5m > monitor_z'
    assert metrics_in(expr) == {("monitor_x_seconds", frozenset({"job", "le"})), ("monitor_z", frozenset())}


def test_the_scrapes_are_sound(tmp_path: Path) -> None:
    """Promtool accepts both configurations. Debian's build has no Kubernetes discovery, so it is replaced there."""
    assert "is valid" in promtool("check", "config", "prometheus.yml")
    kubernetes = read(PROMETHEUS / "kubernetes.yml")
    for job in kubernetes["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["monitor"]}}]
        job["static_configs"] = [{"targets": ["a:9464"]}]
    (tmp_path / "rules.yml").write_text((PROMETHEUS / "rules.yml").read_text())
    (tmp_path / "kubernetes.yml").write_text(yaml.safe_dump(kubernetes))
    assert "is valid" in promtool("check", "config", "kubernetes.yml", cwd=tmp_path)


def test_scrapes_name_what_is_deployed() -> None:
    """The compose target is the service with its port, the jobs are detector names, and both set `service`."""
    (job,) = read(PROMETHEUS / "prometheus.yml")["scrape_configs"]
    ((target,),) = [each["targets"] for each in job["static_configs"]]
    assert target.split(":")[0] in read(DEPLOY / "docker/compose.yaml")["services"]
    config = (DEPLOY / "docker/monitor.toml").read_text()
    assert re.search(rf'^name = "{job["job_name"]}"', config, re.MULTILINE)
    assert job["static_configs"][0]["labels"] == {"service": "monitor"}
    (fleet,) = read(PROMETHEUS / "kubernetes.yml")["scrape_configs"]
    assert {"target_label": "service", "replacement": "monitor"} in fleet["relabel_configs"]
    assert re.search(
        rf'^name = "{fleet["job_name"]}"', (DEPLOY / "kubernetes/base/monitor.toml").read_text(), re.MULTILINE
    )
