"""Dashboards and alert rules match the generator's output, and everything that they reference exists.

Neither Grafana nor InfluxDB is run here. Other tests show that every queried measurement, tag and field is written
(test_influx_questions.py) and that Prometheus' panels return data (test_real_run.py).
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from deploy.grafana.generate import dashboards as generated
from monitor.onboard.dashboard import Language, dashboard_text
from tests.deploy.files import GRAFANA, alerting, dashboards, headings, onboarded, parts, read

PAGES = {**dashboards(), **{f"onboard/{language}.json": page for language, page in onboarded().items()}}
SOURCES = {each["uid"]: each["type"] for each in read(GRAFANA / "provisioning/datasources/monitor.yaml")["datasources"]}
RULES = {
    (language, rule["title"]): rule
    for language, content in alerting().items()
    for group in content["groups"]
    for rule in group["rules"]
}

pages = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def test_the_dashboards_are_what_the_generator_makes() -> None:
    """The committed dashboards are, byte by byte, the output of deploy/grafana/generate.py, and there are no others."""
    made = generated()
    assert {path: path.read_text() for path in made} == made
    assert set((GRAFANA / "dashboards").rglob("*.json")) < set(made)


def test_uids_are_unique() -> None:
    """No two dashboards, and no two rules, have the same id."""
    for identities in ([page["uid"] for page in PAGES.values()], [rule["uid"] for rule in RULES.values()]):
        assert len(set(identities)) == len(identities)


@pages
def test_every_panel_asks_a_source_that_is_provisioned(page: Mapping[str, Any]) -> None:
    """Each panel has a title, a description and a query to a provisioned data source of the right kind."""
    panels = [panel for panel in page["panels"] if panel["type"] != "row"]
    assert len(panels) >= 3
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    named = [part["datasource"] for part in parts(page) if isinstance(part.get("datasource"), dict)]
    assert all(SOURCES[each["uid"]] == each["type"] for each in named)


@pages
def test_panels_do_not_overlap(page: Mapping[str, Any]) -> None:
    """Panels fit into the 24 columns of a page and do not overlap."""
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in page["panels"]):
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


@pages
def test_links_lead_to_dashboards(page: Mapping[str, Any]) -> None:
    """Every link leads to an existing dashboard and sets one of its variables."""
    known = {each["uid"]: {v["name"] for v in each["templating"]["list"]} for each in PAGES.values()}
    for url in (part["url"] for part in parts(page) if str(part.get("url", "")).startswith("/d/")):
        uid, _, query = url.removeprefix("/d/").partition("?")
        assert set(re.findall(r"var-(\w+)=", query)) <= known[uid]


@pages
def test_variables_are_there(page: Mapping[str, Any]) -> None:
    """Each variable in a query or a title is one of the dashboard's or of Grafana's own."""
    own = {each["name"] for each in page["templating"]["list"]}
    text = json.dumps([page["panels"], page["annotations"]])
    used = set(re.findall(r"\$\{?([A-Za-z_]\w*)", text))
    grafana = {"__rate_interval", "__interval", "__data", "__field", "timeFilter", "col"}
    assert used - own <= grafana | {"tag_asset", "tag_channel", "tag_detector"}


def test_what_the_pages_must_show_is_there() -> None:
    """The fleet has timelines and a table, and the asset page repeats its channels and marks alerts on the curves."""
    for language in ("flux", "influxql"):
        fleet, asset = PAGES[f"{language}/fleet.json"], PAGES[f"{language}/asset.json"]
        assert [panel["type"] for panel in fleet["panels"]].count("state-timeline") == 2
        assert "table" in {panel["type"] for panel in fleet["panels"]}
        assert [panel["repeat"] for panel in asset["panels"] if "repeat" in panel] == ["channel"]
        (marks,) = asset["annotations"]["list"]
        assert marks["enable"]
        assert "monitor_alerts" in marks["target"]["query"]
        (band,) = [panel for panel in asset["panels"] if panel["title"] == "$channel"]
        filled = [each["value"] for each in parts(band) if each.get("id") == "custom.fillBelowTo"]
        assert filled == ["low"]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: str(rule["uid"]))
def test_rules_are_whole(rule: Mapping[str, Any]) -> None:
    """A rule queries a provisioned source, decides by one of its queries, and links a dashboard and a runbook."""
    queries = {each["refId"]: each for each in rule["data"]}
    assert rule["condition"] in queries
    assert {each["datasourceUid"] for each in queries.values()} - {"__expr__"} <= SOURCES.keys()
    for name, each in queries.items():
        assert each["model"]["refId"] == name
        assert each["model"].get("expression", "A") in queries
    assert rule["annotations"]["__dashboardUid__"] in {page["uid"] for page in PAGES.values()}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor in headings()


@pytest.mark.parametrize("language", ["flux", "influxql"])
def test_silence_is_no_anomaly_but_an_alarm_of_its_own(language: str) -> None:
    """Without alert records the anomaly rule is normal, and a separate rule reports missing scores."""
    assert {title for spoken, title in RULES if spoken == language} == {"Asset in alert", "No scores"}
    assert RULES[language, "Asset in alert"]["noDataState"] == "OK"
    silence = RULES[language, "No scores"]
    assert (silence["noDataState"], silence["execErrState"]) == ("Alerting", "Alerting")


def test_one_set_of_rules_is_provisioned() -> None:
    """Grafana loads the rules of one language only, because both would notify twice."""
    assert [path.name for path in (GRAFANA / "provisioning/alerting").iterdir()] == ["monitor.yaml"]


def test_an_onboarded_page_is_of_what_was_found() -> None:
    """The dashboard offers the found assets and has one panel with its unit for each channel."""
    text = dashboard_text("hall 3", ("p/1", "p.2"), ("oil.celsius", "flow", "a/b_rpm"), Language.INFLUXQL)
    page = json.loads(text)
    several, detectors, one, detector = page["templating"]["list"]
    assert [each["type"] for each in (detectors, detector)] == ["query", "query"]  # found by Grafana itself
    assert [each["value"] for each in several["options"]] == ["$__all", "p/1", "p.2"]
    assert (one["query"], one["current"]["value"]) == ("p/1,p.2", "p/1")
    oil, flow, speed = page["panels"][-3:]
    assert [panel["title"] for panel in (oil, flow, speed)] == ["oil.celsius", "flow", "a/b_rpm"]
    assert [panel["fieldConfig"]["defaults"]["unit"] for panel in (oil, flow, speed)] == ["celsius", "none", "rotrpm"]
    assert r'"channel" =~ /^oil\.celsius$/' in oil["targets"][0]["query"]
    assert r'"channel" =~ /^a\/b_rpm$/' in speed["targets"][0]["query"]
    assert "$channel" not in text
    flux = dashboard_text("hall 3", ("p/1",), ("oil.celsius",), Language.FLUX)
    assert r"r.channel == \"oil.celsius\"" in flux


@pytest.mark.parametrize("name", ["fleet", "plant.1", "plant_1", "x" * 64])
def test_the_identity_of_an_onboarded_page_is_one_that_grafana_takes(name: str) -> None:
    """Every detector name gives its own id of at most 40 letters, digits and hyphens."""
    found = [json.loads(dashboard_text(each, ("a",), ("c",), Language.FLUX))["uid"] for each in (name, name + "-")]
    assert all(re.fullmatch(r"[A-Za-z0-9-]{1,40}", uid) for uid in found)
    assert len({*found, *(page["uid"] for page in dashboards().values())}) == 2 + len(dashboards())
