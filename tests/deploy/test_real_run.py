"""A real run of the daemon, and everything that dashboards and rules ask for held against what it wrote.

The daemon scores, alerts, rejects, records into the stand-in for InfluxDB and answers /metrics. Its metrics are stored
in VictoriaMetrics, which answers PromQL: every expression of panels and rules is asked there. Of InfluxDB's languages
none can be run here: InfluxDB 2 is not to be had, and VictoriaMetrics knows no Flux and answers InfluxQL's SELECT with
its list of databases. So of these only the names are compared: measurements, tags and fields with those written.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from monitor.connectors.memory import MemoryBroker
from monitor.core.points import ALERTS, CHANNELS, SCORES
from monitor.service.build import wall_ms
from monitor.service.running import Service
from tests.core.machines import rows
from tests.deploy.files import alerting, dashboards, metrics_in, panel_expressions, parts, rules
from tests.influx_server import influx_server
from tests.service.rig import committed, feed, put_model, running, settings, until, values
from tests.service.test_daemon import faulty
from tests.service.test_running import recording, with_health
from tests.victoria import VictoriaMetrics, victoria_metrics

MINUTE = 60_000
SCRAPES = 5  # stored a minute apart, so that rates over minutes have something to go by; the run takes seconds
NOW = wall_ms()  # of the last: ages are counted from here, and the database refuses the future
TAGS = {"asset", "cause", "channel", "detector", "severity", "state"}


class Run(NamedTuple):
    scrapes: list[str]  # /metrics, in the order of time
    written: Mapping[str, set[str]]  # measurement -> its tags and fields


def scrape_at(service: Service, broker: MemoryBroker, offset: int) -> str:
    """/metrics when everything below the offset is read and recorded."""
    until(lambda: committed(broker) == offset)
    until(lambda: b"monitor_recorder_lag_messages 0.0" in service.metrics.render())
    return service.metrics.render().decode()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A worker with a model, fed a fault and messages that cannot be read, in pieces with a scrape after each."""
    folder = tmp_path_factory.mktemp("run")
    put_model(folder / "store")
    broker, sent, texts = MemoryBroker(), values(faulty()), []
    written: dict[str, set[str]] = defaultdict(set)
    with influx_server() as server:
        wanted = settings(folder / "store", store__snapshot_s=1.0, recorder__batch_points=50)
        wanted = with_health(recording(wanted, server.url))
        place = {"org": server.org, "bucket": server.bucket, "token": SecretStr(server.token)}
        wanted = wanted.model_copy(update={"recorder": wanted.recorder.model_copy(update=place)})
        with running(wanted, broker) as service:
            until(lambda: service.metrics.total("monitor_checkpoints_total"))
            size = -(-len(sent) // SCRAPES)
            for begin in range(0, len(sent), size):
                feed(broker, [*sent[begin : begin + size], (b"a", b"{}", sent[begin][2])])
                due = min(begin + size, len(sent)) + begin // size + 1
                texts.append(scrape_at(service, broker, due))
            until(lambda: {ALERTS, CHANNELS, SCORES} <= {point.measurement for point in server.points.values()})
        for point in server.points.values():
            written[point.measurement] |= {*point.tags, *point.fields}
    return Run(texts, written)


@pytest.fixture(scope="module")
def database(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """VictoriaMetrics with the scrapes, as Prometheus would have labelled and stored them."""
    with victoria_metrics(tmp_path_factory.mktemp("victoria")) as made:
        for number, text in enumerate(run.scrapes, 1 - len(run.scrapes)):
            labels = "&".join(f"extra_label={each}" for each in ("job=plant", "instance=a", "service=monitor"))
            url = f"{made.url}/api/v1/import/prometheus?timestamp={NOW + number * MINUTE}&{labels}"
            with urlopen(Request(url, data=f"{text}up 1\n".encode(), method="POST"), timeout=30) as answer:
                assert answer.status == 204
        made.get("/internal/force_flush")
        yield made


def ask(database: VictoriaMetrics, expr: str) -> list[float]:
    answer = json.loads(database.get("/api/v1/query", query=expr, time=str(NOW / 1000)))
    assert answer["status"] == "success", answer
    return [float(each["value"][1]) for each in answer["data"]["result"]]


@pytest.mark.parametrize("expr", sorted(set(panel_expressions())))
def test_every_panel_of_prometheus_has_data(database: VictoriaMetrics, expr: str) -> None:
    """Each expression of a panel gives at least one number, from what the daemon really exposed."""
    found = ask(database, expr)
    assert found
    assert all(value == value for value in found)  # noqa: PLR0124 - not NaN


RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def judged(expr: str) -> str:
    """A rule's expression with recorded series written out, and comparisons that say 0 or 1 instead of nothing."""
    pieces = re.split(r"(\{[^}]*\}|\[[^\]]*\])", expr)  # the comparisons in selectors stay
    bare = [re.sub(r"(==|>=|<=|>|<)(?= )", r"\1 bool", piece) if piece[:1] not in "{[" else piece for piece in pieces]
    return re.sub(r"job:\w+:\w+", lambda match: f"({RECORDED[match[0]]})", "".join(bare))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule.get("alert", rule.get("record"))))
def test_every_rule_of_prometheus_has_data(database: VictoriaMetrics, rule: Mapping[str, Any]) -> None:
    """Each rule can be decided: with its comparisons as 0 or 1 it gives a number, and each of its metrics is there."""
    assert ask(database, judged(rule["expr"]))
    for name, _ in metrics_in(judged(rule["expr"])):
        assert ask(database, f'count({{__name__=~"{name}(_bucket)?"}})'), name


def test_nothing_is_answered_that_was_not_written(database: VictoriaMetrics) -> None:
    """A metric that the daemon does not have has no data, so that the two tests above can fail."""
    assert ask(database, "sum(rate(monitor_nothing_total[5m]))") == []


def test_the_database_that_answers_promql_does_not_answer_influxql(database: VictoriaMetrics) -> None:
    """VictoriaMetrics gives its list of databases as answer to any SELECT; if that changes, ask it all of ours."""
    answer = json.loads(database.get("/query", db="monitor", q='SELECT * FROM "monitor_messages_total"'))
    assert [series["name"] for result in answer["results"] for series in result["series"]] == ["databases"]


def influx_questions() -> list[str]:
    """Every question to InfluxDB in panels, variables, annotations and rules."""
    found = [part["query"] for page in dashboards().values() for part in parts(page) if "query" in part]
    found += [part["query"] for rules in alerting().values() for part in parts(rules) if "query" in part]
    return sorted({text for text in found if isinstance(text, str) and ("_measurement" in text or "FROM" in text)})


def asked(query: str) -> tuple[str, set[str]]:
    """The measurement of a question, and the tags and fields it names."""
    if "_measurement" in query:
        (measurement,) = re.findall(r'_measurement == "(\w+)"', query)
        names = set(re.findall(r"\br\.([a-z]\w*)", query)) | set(re.findall(r'_field == "(\w+)"', query))
        for columns in re.findall(r"columns?(?:Key)?: \[([^\]]*)\]", query):
            names |= set(re.findall(r'"([a-z]\w*)"', columns))
        return measurement, (names | set(re.findall(r'tag: "(\w+)"', query))) - {"time"}  # renamed for annotations
    (measurement,) = re.findall(r'FROM "(\w+)"', query)
    aliases = set(re.findall(r'AS "(\w+)"', query))
    names = set(re.findall(r'"(\w+)"', query)) - {measurement}
    raw = set(re.findall(r'\w+\("(\w+)"\)', query))
    return measurement, (names - aliases) | raw


@pytest.mark.parametrize("query", influx_questions())
def test_what_influxdb_is_asked_for_is_written(run: Run, query: str) -> None:
    """The measurement of each question was written by the run, with every tag and field that the question names."""
    measurement, names = asked(query)
    assert names
    assert names - run.written[measurement] == set()


def test_the_search_for_names_finds_them() -> None:
    """Measurement, tags and fields are found in both languages; aliases and Flux's own columns are none."""
    flux = 'from(bucket: b) |> filter(fn: (r) => r._measurement == "m" and r.asset == "x" and r._field == "f")'
    assert asked(f'{flux} |> keep(columns: ["_time", "state"])') == ("m", {"asset", "f", "state"})
    assert asked('SELECT mean("f") AS "g" FROM "m" WHERE "asset" =~ /^$asset$/') == ("m", {"f", "asset"})


def test_both_languages_ask_the_same() -> None:
    """Each dashboard of InfluxDB asks for the same measurements, tags and fields in Flux as in InfluxQL."""
    for name in ("fleet", "asset"):
        told = {}
        for language in ("flux", "influxql"):
            found = [part["query"] for part in parts(dashboards()[f"{language}/{name}.json"]) if "query" in part]
            questions = [asked(text) for text in found if isinstance(text, str)]
            told[language] = {(measurement, field) for measurement, names in questions for field in names - TAGS}
        assert told["flux"] == told["influxql"]


def test_the_run_had_everything_in_it(run: Run) -> None:
    """The run alerted, resolved, rejected and recorded, so that no panel was empty for want of something to show."""
    families = text_string_to_metric_families(run.scrapes[-1])
    last = {(s.name, frozenset(s.labels.values())): s.value for family in families for s in family.samples}
    assert (
        last["monitor_alerts_total", frozenset({"firing", "warning", "machine"})]
        + last["monitor_alerts_total", frozenset({"firing", "critical", "machine"})]
    )
    assert last["monitor_readings_total", frozenset()] == 300 * 2 * rows(1).shape[2]
    assert last["monitor_recorder_points_total", frozenset({"written"})] > 0
    assert run.written[ALERTS] >= {"firing", "text", "peak"}
