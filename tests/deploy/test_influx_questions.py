"""Every InfluxDB query of dashboards and Grafana's rules, on the data written by a real run of the daemon.

InfluxDB itself (tests/influxd.py) is queried in both languages, with Grafana's variables replaced, on the lines that
the recorder wrote. The comparison of measurement, tag and field names needs no database.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.core.publish import alert_record
from monitor.core.records import ChannelShare, Message, Partition
from monitor.recorder.line_protocol import ALERTS, CHANNELS, SCORES, alert_points
from tests.deploy.files import alerting, dashboards, onboarded, parts
from tests.deploy.real_run import Run
from tests.influxd import BUCKET, Influxd, influxd
from tests.recorder.test_line_protocol import FIRING

TAGS = {"asset", "channel", "detector", "severity", "state"}
INTERVAL = "10s"  # between two points of a curve. Grafana computes it from the time range and the panel's width


_DETECTOR = {"$detectors": "test", "$detector": "test"}
EVERYTHING = "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)"


def questions(tree: Any) -> list[str]:
    """Return every InfluxDB query in panels, variables, annotations and rules."""
    found = {part["query"] for part in parts(tree) if isinstance(part.get("query"), str)}
    return sorted(text for text in found if "_measurement" in text or "FROM" in text)


def spoken(queries: list[str]) -> tuple[list[str], list[str]]:
    """Return the queries in InfluxQL and those in Flux."""
    return [text for text in queries if "FROM" in text], [text for text in queries if "FROM" not in text]


EVERY = questions([*dashboards().values(), *onboarded().values(), *alerting().values()])
INFLUXQL, FLUX = spoken(EVERY)


def names_in(query: str) -> tuple[str, set[str]]:
    """Return the measurement of a query, and the tags and fields it names."""
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


def influxql(query: str, run: Run, asset: str, channel: str) -> str:
    """Return a query as Grafana sends it, for the time of the run."""
    first, last = _span(run)
    filled = {"$timeFilter": f"time >= {first}ms and time <= {last}ms", "$__interval": INTERVAL}
    return _filled(query, {**filled, "$assets": asset, "$asset": asset, "$channel": channel, **_DETECTOR})


def flux(query: str, run: Run, assets: str) -> str:
    """Return a query as Grafana sends it, with its variables and Flux's `v` replaced in the text."""
    first, last = _span(run)
    filled = {
        "v.timeRangeStart": _time(first),
        "v.timeRangeStop": _time(last + 1),  # Flux excludes the end of a range
        "v.windowPeriod": INTERVAL,
        "v.defaultBucket": f'"{BUCKET}"',
        "${detector:regex}": "test",
        "${detectors:regex}": "test",
        "${detector}": "test",
        "${asset:regex}": assets,
        "${assets:regex}": assets,
        "${asset}": "b",
        "${channel}": "flow",
    }
    return _filled(query, filled)


def _span(run: Run) -> tuple[int, int]:
    """Return the first and last written time in ms."""
    times = [point.time for point in run.points]
    return min(times), max(times)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    assert "$" not in text.replace("$/", "")  # the end of a regular expression
    return text


def columns(series: list[dict[str, Any]], name: str) -> list[Any]:
    """Return the non-null values of a column in all series of an answer."""
    found = [row[each["columns"].index(name)] for each in series for row in each["values"]]
    return [value for value in found if value is not None]


@pytest.fixture(scope="module")
def database(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """Yield InfluxDB with every line of the run."""
    with influxd(tmp_path_factory.mktemp("influxd")) as made:
        made.write(run.lines)
        yield made


@pytest.mark.parametrize("query", EVERY)
def test_what_influxdb_is_asked_for_is_written(run: Run, query: str) -> None:
    """The run wrote the measurement of each query, with every tag and field that the query names."""
    measurement, names = names_in(query)
    assert names
    assert names - run.written[measurement] == set()


@pytest.mark.slow
@pytest.mark.parametrize("asset", ["b", ".*"])
@pytest.mark.parametrize("query", INFLUXQL)
def test_influxdb_answers_every_question_in_influxql(run: Run, database: Influxd, query: str, asset: str) -> None:
    """Each InfluxQL query, for one asset and for all, returns a value in each of its columns."""
    series = database.influxql(influxql(query, run, asset, "flow"))
    assert series
    for name in series[0]["columns"]:
        assert columns(series, name), name


@pytest.mark.slow
@pytest.mark.parametrize("asset", ["b", ".*"])
@pytest.mark.parametrize("query", FLUX)
def test_influxdb_answers_every_question_in_flux(run: Run, database: Influxd, query: str, asset: str) -> None:
    """Each Flux query, for one asset and for all, returns rows with a value in each of their columns."""
    rows = database.flux(flux(query, run, asset))
    assert rows
    for name in {name for row in rows for name in row} - {"result"}:  # the default result has no name
        assert any(row[name] for row in rows), name


@pytest.mark.slow
def test_influxdb_keeps_what_was_recorded(run: Run, database: Influxd) -> None:
    """The database contains every point with its tags, fields and time, and nothing more."""
    for measurement in (ALERTS, CHANNELS, SCORES):
        kept = set()
        for each in database.influxql(f'SELECT * FROM "{measurement}"'):
            rows = [dict(zip(each["columns"], row, strict=True)) for row in each["values"]]
            kept |= {frozenset((name, value) for name, value in row.items() if value is not None) for row in rows}
        points = [point for point in run.points if point.measurement == measurement]
        assert kept == {frozenset({"time": p.time, **p.tags, **p.fields}.items()) for p in points}


@pytest.mark.slow
def test_the_figures_are_those_of_the_alerts(run: Run, database: Influxd) -> None:
    """The fleet's figures and timeline match the alert records: firing, resolved and scored assets."""
    asked_for = {query: database.influxql(influxql(query, run, ".*", ".*")) for query in INFLUXQL}
    (firing_now,) = [answer for query, answer in asked_for.items() if 'sum("firing")' in query]
    (scored_now,) = [answer for query, answer in asked_for.items() if 'count("ratio") FROM (' in query]
    timelines = [answer for query, answer in asked_for.items() if query.startswith('SELECT "firing"')]
    records = sorted((p.time, p.tags["asset"], p.fields["firing"]) for p in run.points if p.measurement == ALERTS)
    assert {asset for _, asset, _ in records} == {"b"}
    assert columns(firing_now, "sum") == [records[-1][2]] == [0]
    assert columns(scored_now, "count") == [2]
    assert len(timelines) == 2  # of the fleet, and of onboard's dashboard
    for (bars,) in timelines:
        assert bars["tags"] == {"asset": "b", "detector": "test"}
        assert [tuple(row) for row in bars["values"]] == [(time, firing) for time, _, firing in records]


@pytest.mark.slow
def test_two_detectors_of_an_asset_are_told_apart(run: Run, tmp_path: Path) -> None:
    """Points of a twin are kept next to the others; a figure counts an asset once, and an alert that is open in one."""
    twin = run.lines.replace(b"detector=test", b"detector=slow")
    lines = [line for line in twin.splitlines() if b"state=resolved" not in line]
    with influxd(tmp_path) as made:
        made.write(run.lines)
        made.write(b"\n".join(lines))
        for measurement in (ALERTS, CHANNELS, SCORES):
            written = sum(point.measurement == measurement for point in run.points)
            kept = made.influxql(f'SELECT * FROM "{measurement}" GROUP BY "detector"')
            assert {each["tags"]["detector"]: len(each["values"]) for each in kept}["test"] == written

        (firing,) = [query for query in INFLUXQL if 'sum("firing")' in query]
        (fired,) = [query for query in FLUX if "sum()" in query]
        for detector, number in (("test", 0), ("slow", 1), (".*", 1)):
            one = influxql(firing.replace("$detector", detector), run, ".*", ".*")
            assert columns(made.influxql(one), "sum") == [number]
            (row,) = made.flux(flux(fired.replace("${detector:regex}", detector), run, ".*"))
            assert float(row["_value"]) == number


@pytest.mark.slow
def test_what_was_not_written_has_no_answer(run: Run, database: Influxd) -> None:
    """A query for an unknown field or asset returns no series, so that the tests above can fail."""
    for query in ('SELECT mean("colour") FROM "monitor_scores" WHERE $timeFilter', INFLUXQL[0]):
        assert database.influxql(influxql(query, run, "nobody", "nothing")) == []
    assert database.flux(flux(f'{EVERYTHING} |> filter(fn: (r) => r.asset == "nobody")', run, "b")) == []


@pytest.mark.slow
def test_odd_names_arrive_as_they_are(tmp_path: Path) -> None:
    """Spaces, commas, equals signs, quotes and accents in names are read from the database as they were published."""
    odd = ChannelShare('öl "A", p=1 \\ 2', 0.75, observed=4.2, expected=2.45, low=2.0, high=2.9, steps_ago=3)
    alert = replace(FIRING, asset="halle 3, pumpe=ü", detector='"x"', channels=(odd,), model="a\\")
    record = alert_record("alerts", alert)
    line = alert_points(Message(Partition("alerts", 0), 0, record.key, record.value, alert.time)).value
    with influxd(tmp_path) as made:
        made.write(line or b"")
        (series,) = made.influxql(f'SELECT * FROM "{ALERTS}"')
    kept = dict(zip(series["columns"], series["values"][0], strict=True))
    assert (kept["asset"], kept["detector"], kept["model"]) == (alert.asset, alert.detector, alert.model)
    assert kept["channel"] == odd.channel
    assert kept["text"] == f"{odd.channel} 4.2, expected 2 to 2.9"


def test_the_search_for_names_finds_them() -> None:
    """Measurement, tags and fields are found in both languages, without aliases and Flux's own columns."""
    text = 'from(bucket: b) |> filter(fn: (r) => r._measurement == "m" and r.asset == "x" and r._field == "f")'
    assert names_in(f'{text} |> keep(columns: ["_time", "state"])') == ("m", {"asset", "f", "state"})
    assert names_in('SELECT mean("f") AS "g" FROM "m" WHERE "asset" =~ /^$asset$/') == ("m", {"f", "asset"})


def test_both_languages_ask_the_same() -> None:
    """Each InfluxDB dashboard queries the same measurements, tags and fields in Flux as in InfluxQL."""
    pages = {**dashboards(), **{f"{language}/onboarded.json": page for language, page in onboarded().items()}}
    for name in ("fleet", "asset", "onboarded"):
        told = []
        for language in ("flux", "influxql"):
            found = [names_in(text) for text in questions(pages[f"{language}/{name}.json"])]
            told.append({(measurement, field) for measurement, names in found for field in names - TAGS})
        assert told[0] == told[1] != set()
