"""Every query of Prometheus' panels and rules, on the metrics of a real run of the daemon.

The scrapes (tests/deploy/real_run.py) are stored in VictoriaMetrics, which answers PromQL. test_influx_questions.py
covers the queries to InfluxDB.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.observe.clock import wall_ms
from monitor.recorder.line_protocol import ALERTS
from tests.core.machines import rows
from tests.deploy.files import metrics_in, panel_expressions, rules
from tests.deploy.real_run import SCRAPES, Run
from tests.victoria import VictoriaMetrics, victoria_metrics

MINUTE = 60_000  # between two stored scrapes, long enough for rates over minutes
NOW = wall_ms()  # time of the last scrape: ages are relative to it, and the database refuses the future
TAGS = {"asset", "cause", "channel", "detector", "severity", "state"}


@pytest.fixture(scope="module")
def database(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """Yield VictoriaMetrics with the scrapes, labelled and stored as by Prometheus."""
    with victoria_metrics(tmp_path_factory.mktemp("victoria")) as made:
        for number, text in enumerate(run.scrapes, 1 - len(run.scrapes)):
            labels = "&".join(f"extra_label={each}" for each in ("job=plant", "instance=a", "service=monitor"))
            url = f"{made.url}/api/v1/import/prometheus?timestamp={NOW + number * MINUTE}&{labels}"
            with urlopen(Request(url, data=f"{text}up 1\n".encode(), method="POST"), timeout=30) as answer:
                assert answer.status == 204
        made.get("/internal/force_flush")
        yield made


def query(database: VictoriaMetrics, expr: str) -> list[float]:
    answer = json.loads(database.get("/api/v1/query", query=expr, time=str(NOW / 1000)))
    assert answer["status"] == "success", answer
    return [float(each["value"][1]) for each in answer["data"]["result"]]


@pytest.mark.parametrize("expr", sorted(set(panel_expressions())))
def test_every_panel_of_prometheus_has_data(database: VictoriaMetrics, expr: str) -> None:
    """Each expression of a panel returns at least one number for the daemon's real metrics."""
    found = query(database, expr)
    assert found
    assert all(value == value for value in found)  # noqa: PLR0124 - not NaN


RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def decidable(expr: str) -> str:
    """Return a rule with recorded series expanded, and comparisons, also after `unless`, that return 0 or 1."""
    expr = expr.replace(" unless ", " and ")  # whatever the other side returns would be left out
    pieces = re.split(r"(\{[^}]*\}|\[[^\]]*\])", expr)  # the comparisons in selectors stay
    bare = [re.sub(r"(==|>=|<=|>|<)(?= )", r"\1 bool", piece) if piece[:1] not in "{[" else piece for piece in pieces]
    return re.sub(r"job(?:_detector)?:\w+:\w+", lambda match: f"({RECORDED[match[0]]})", "".join(bare))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule.get("alert", rule.get("record"))))
def test_every_rule_of_prometheus_has_data(database: VictoriaMetrics, rule: Mapping[str, Any]) -> None:
    """Each rule's expression returns a number when its comparisons give 0 or 1, and each of its metrics exists."""
    assert query(database, decidable(rule["expr"]))
    for name, _ in metrics_in(decidable(rule["expr"])):
        assert query(database, f'count({{__name__=~"{name}(_bucket)?"}})'), name


def test_nothing_is_answered_that_was_not_written(database: VictoriaMetrics) -> None:
    """A metric that the daemon does not have returns no data, so that the two tests above can fail."""
    assert query(database, "sum(rate(monitor_nothing_total[5m]))") == []


def test_the_run_had_everything_in_it(run: Run) -> None:
    """The run alerted, resolved, rejected and recorded, so that no panel is empty for lack of data."""
    families = text_string_to_metric_families(run.scrapes[-1])
    last = {(s.name, frozenset(s.labels.values())): s.value for family in families for s in family.samples}
    assert (
        last["monitor_alerts_total", frozenset({"firing", "warning", "machine", "test"})]
        + last["monitor_alerts_total", frozenset({"firing", "critical", "machine", "test"})]
    )
    unwanted = last["monitor_readings_unwanted_total", frozenset({"asset", ""})]
    assert unwanted == SCRAPES
    assert last["monitor_readings_total", frozenset()] == 300 * 2 * rows(1).shape[2] + unwanted
    assert last["monitor_recorder_points_total", frozenset({"written"})] > 0
    assert run.written[ALERTS] >= {"firing", "text", "peak"}
