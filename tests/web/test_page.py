"""The page at / and its data, /status.json: bounded, and free of anything that could be markup."""

import http.client
import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.decode.names import Names
from monitor.core.records import Alert, ChannelShare, Partition
from monitor.training.trainer import Status
from monitor.web.app import make_app, page_routes
from monitor.web.page import HTML, POLICY, SPARKLINE_STEPS, Page, Sparklines, policy
from monitor.web.page_status import ALERTS, CHANNELS, LIMIT, PARTITIONS
from monitor.web.server import WebServer
from monitor.worker.alert_charts import AlertChart
from monitor.worker.status import STATES, Asset, WorkerStatus
from tests.core.machines import L, rows
from tests.rig import ORIGIN, committed, feed, put_model, running, settings, until, values

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u2028"
NOW = 1_700_000_000_000


def alert(asset: str, start: int = NOW, severity: str = "warning") -> Alert:
    shares = tuple(ChannelShare(f"c{n}", 0.2, None if n else 3.0, 1.0, 0.5, 1.5, 0) for n in range(5))
    return Alert(
        id=f"{asset}-{start}", asset=asset, state="firing", start=start, end=None, time=start, severity=severity,
        alarm=3.0, threshold=2.0, ratio=1.5, peak=1.75, channels=shares, model="m", detector="d",
        partition=Partition("readings", 0), offset=1, position=2, sequence=0,
    )  # fmt: skip


def chart(steps: int = 4) -> AlertChart:
    observed = np.full((steps, 2), 3.123456, np.float32)
    observed[0] = np.nan
    ends = NOW + 1000 * np.arange(steps)
    return AlertChart(("c0", "c9"), ends, observed, np.full((steps, 2), 1.0, np.float32), np.full(2, 0.25, np.float32))


def picture(
    assets: list[Asset], alerts: list[Alert] | None = None, charts: dict[str, AlertChart] | None = None
) -> WorkerStatus:
    """The status of a worker with one detector, d."""
    lag = {Partition("readings", number): number for number in range(2 * PARTITIONS)}
    mine = tuple(asset._replace(detector=asset.detector or "d") for asset in assets)
    of_assets = {("d", asset): chart for asset, chart in (charts or {}).items()}
    return WorkerStatus({"d": Status()}, mine, 1, tuple(alerts or ()), of_assets, {("d", "m"): 1}, lag)


def page(now: WorkerStatus | None, ready: tuple[bool, str] = (True, "ready\n")) -> Page:
    made = Page("plant", lambda: now, lambda: ready, lambda: NOW)
    made.sample()
    return made


def ask(made: Page, **query: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(made.answer(urlencode(query)))
    return answer


def names(answer: dict[str, Any]) -> list[str]:
    return [asset["name"] for asset in answer["assets"]["shown"]]


def test_before_the_worker_is_there_the_page_says_so() -> None:
    """While the worker starts there are no assets, `seen` is null, and the reasons for not being ready are listed."""
    answer = ask(page(None, (False, "source: not known yet\npartitions: not known yet\n")))
    assert (answer["seen"], answer["ready"]) == (None, False)
    assert answer["reasons"] == ["source: not known yet", "partitions: not known yet"]
    assert answer["assets"] == {
        "total": 0,
        "names": 0,
        "found": 0,
        "states": dict.fromkeys(reversed(STATES), 0),
        "shown": [],
    }


def test_firing_assets_are_on_top_and_the_others_by_name() -> None:
    """Assets come firing, pending, silent, adapted, unscored, normal, warming, learning, off, within each by name."""
    given = [Asset(f"{state[0]}{n}", state, 1.0 - n) for state in STATES for n in (2, 1)]
    assert names(ask(page(picture(given)))) == [f"{state}{n}" for state in "fpsaunwlo" for n in (1, 2)]


def test_of_many_assets_the_most_urgent_are_shown() -> None:
    """Of 10 000 assets the firing ones and then those nearest to the limit are shown, and the totals count all."""
    given = [Asset(f"a{n:05d}", "normal", n / 10_000) for n in range(9_999)] + [Asset("z", "firing", 1.1)]
    made = page(picture(given))
    answer = ask(made, limit=3)
    assert names(answer) == ["z", "a09997", "a09998"]
    assert (answer["assets"]["total"], answer["assets"]["found"]) == (10_000, 10_000)
    assert answer["assets"]["states"]["normal"] == 9_999
    assert len(names(ask(made))) == 200
    assert len(made.answer(f"limit={LIMIT}")) < 600_000


def test_assets_are_found_by_text_and_state() -> None:
    """A search matches part of the name in any case, a state filters, and states are counted before that filter."""
    given = [Asset("Pump-1", "normal", 0.5), Asset("pump-2", "firing", 2.0), Asset("fan", "firing", 3.0)]
    answer = ask(page(picture(given)), search="PUMP", state="normal")
    assert names(answer) == ["Pump-1"]
    assert (answer["assets"]["found"], answer["assets"]["total"]) == (2, 3)
    assert (answer["assets"]["states"]["firing"], answer["assets"]["states"]["normal"]) == (1, 1)


def twins() -> WorkerStatus:
    """Two detectors of one asset, of which the slow one fires, and another asset."""
    given = [Asset("a", "normal", 0.5, detector="fast"), Asset("a", "firing", 2.5, detector="slow")]
    given += [Asset("b", "normal", 0.25, detector="fast")]
    status = picture(given, [replace(alert("a"), detector="slow")])
    training = {"fast": Status(), "slow": Status(share=0.5, steps=50, needed=100)}
    models = {("fast", "m1"): 1, ("slow", "m2"): 1}
    charts = {("slow", "a"): chart(6)}
    return replace(status, training=training, models=models, charts=charts)


def test_detectors_of_an_asset_are_told_apart() -> None:
    """Each has a card with its own state, ratio and sparkline; an alert has the ratio and chart of its detector."""
    answer = ask(page(twins()))
    shown = [
        (each["name"], each["detector"], each["state"], each["sparkline"][-1]) for each in answer["assets"]["shown"]
    ]
    assert shown == [("a", "slow", "firing", 2.5), ("a", "fast", "normal", 0.5), ("b", "fast", "normal", 0.25)]
    assert (answer["assets"]["total"], answer["assets"]["names"]) == (3, 2)
    (fired,) = answer["alerts"]["shown"]
    assert (fired["detector"], fired["ratio"], len(fired["times"])) == ("slow", 2.5, 6)
    assert [(each["detector"], each["scores"]) for each in answer["learning"]] == [("fast", True), ("slow", True)]
    assert [(each["detector"], each["version"]) for each in answer["models"]] == [("fast", "m1"), ("slow", "m2")]


def test_assets_are_found_by_detector() -> None:
    """The filter leaves the assets of one detector, and counts them by state; an unknown one has none."""
    made = page(twins())
    answer = ask(made, detector="fast")
    assert names(answer) == ["a", "b"]
    assert (answer["assets"]["found"], answer["assets"]["states"]["firing"]) == (2, 0)
    assert names(ask(made, detector="fast", search="b")) == ["b"]
    assert ask(made, detector="other")["assets"]["found"] == 0


LIMITS = ["limit=0", "limit=1001", "limit=-1", "limit=1e2", "limit=", "limit=٣", "limit=5&limit=5"]


@pytest.mark.parametrize(
    "query",
    [
        *LIMITS,
        "state=broken",
        "search=" + "x" * 129,
        "page=2",
        "search",
        "a=1&b=2&c=3&d=4",
        "&",
        "detector=a&detector=b",
        "detector=" + "x" * 129,
    ],
)
def test_a_query_that_does_not_fit_is_refused(query: str) -> None:
    """Unknown or repeated keys, unknown states, limits and searches out of range raise ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        page(None).answer(query)


def test_an_alert_shows_its_channels() -> None:
    """An alert has the present ratio of its asset, its first channels as published, and their chart, if any."""
    made = page(picture([Asset("a", "firing", 1.25)], [alert("a")], {"a": chart()}))
    (shown,) = ask(made)["alerts"]["shown"]
    assert (shown["asset"], shown["ratio"], shown["peak"], shown["start"]) == ("a", 1.25, 1.75, NOW)
    assert [channel["channel"] for channel in shown["channels"]] == [f"c{n}" for n in range(CHANNELS)]
    assert shown["times"] == [NOW, NOW + 1000, NOW + 2000, NOW + 3000]
    first, second, _ = shown["channels"]
    assert first["chart"] == {"observed": [None, 3.1235, 3.1235, 3.1235], "expected": [1.0] * 4, "width": 0.5}
    assert (first["observed"], first["low"], first["high"]) == (3.0, 0.5, 1.5)
    assert (second["observed"], second["chart"]) == (None, None)


def test_adapted_alerts_are_listed_apart() -> None:
    """An adapted alert is not among the firing ones; its list has the time, the peak and the channel, newest first."""
    adapted = [replace(alert("a", NOW + n), state="adapted", end=NOW + n, time=NOW + 9 + n) for n in range(ALERTS + 1)]
    answer = ask(page(replace(picture([Asset("a", "adapted", 0.7)]), adapted=tuple(adapted))))
    assert (answer["alerts"]["total"], answer["adapted"]["total"]) == (0, ALERTS + 1)
    assert [each["time"] for each in answer["adapted"]["shown"]] == [NOW + 9 + n for n in range(ALERTS, 0, -1)]
    first = answer["adapted"]["shown"][0]
    assert (first["asset"], first["start"], first["peak"], first["channel"]) == ("a", NOW + ALERTS, 1.75, "c0")


def test_an_alert_of_a_clock_says_how_far_it_is_off() -> None:
    """An alert about a clock has no channels, and its fault says how far the clock is off."""
    clock = replace(alert("a"), cause="sensor", fault="clock", channels=(), alarm=-75.0, threshold=-36.0)
    (shown,) = ask(page(picture([Asset("a", "normal", 0.5)], [clock])))["alerts"]["shown"]
    assert (shown["cause"], shown["fault"], shown["channels"]) == ("sensor", "clock 75 s behind", [])


def test_critical_alerts_come_first_and_their_number_is_bounded() -> None:
    """Critical alerts are on top, then the newest; no more than ALERTS are shown, and the total counts all."""
    many = [alert(f"a{n}", NOW + n) for n in range(50)]
    answer = ask(page(picture([], [*many, alert("worst", NOW - 1, "critical")])))
    assert answer["alerts"]["total"] == 51
    shown = [each["asset"] for each in answer["alerts"]["shown"]]
    assert shown == ["worst", *(f"a{n}" for n in range(49, 50 - ALERTS, -1))]


def test_the_largest_lags_are_shown() -> None:
    """Of many partitions those with the largest lags are shown, and the sum covers all."""
    lag = ask(page(picture([])))["lag"]
    assert lag["messages"] == sum(range(2 * PARTITIONS))
    assert [part["number"] for part in lag["partitions"]] == list(range(19, 9, -1))


def test_a_sparkline_keeps_the_highest_ratio_of_each_interval() -> None:
    """A step is the highest of its samples, a moment without a score is null, and the oldest step is dropped."""
    sparklines = Sparklines()
    for ratio in (0.5, 2.0, None, 1.0):
        sparklines.add(picture([Asset("a", "normal", ratio)]), 2)
    assert len(sparklines.of("d", "a")) == SPARKLINE_STEPS
    assert sparklines.of("d", "a")[-2:] == [2.0, 1.0]
    assert np.isnan(sparklines.of("d", "a")[:-2]).all()
    for _ in range(2 * (SPARKLINE_STEPS - 1)):
        sparklines.add(picture([Asset("a", "normal", 0.25)]), 2)
    assert sparklines.of("d", "a") == [1.0] + [0.25] * (SPARKLINE_STEPS - 1)


def test_a_sparkline_follows_its_asset() -> None:
    """Assets that come, go, or change places keep their own ratios; one that is gone is forgotten."""
    sparklines = Sparklines()
    sparklines.add(picture([Asset("a", "normal", 0.1), Asset("b", "normal", 0.2)]), 1)
    sparklines.add(picture([Asset("c", "normal", 0.3), Asset("b", "normal", 0.25)]), 1)
    assert sparklines.of("d", "b")[-2:] == [0.2, 0.25]
    assert np.isnan(sparklines.of("d", "c")[-2])
    assert sparklines.of("d", "a") == []


def test_a_response_is_made_once_for_each_sample() -> None:
    """The same query gets the same bytes until the next sample."""
    made = page(picture([Asset("a", "normal", 0.5)]))
    first = made.answer("limit=5")
    assert made.answer("limit=5") is first
    made.sample()
    assert made.answer("limit=5") is not first


def test_the_page_trusts_its_own_script_and_style_alone() -> None:
    """The policy names one script and one style by hash and forbids the rest, and the page loads nothing else."""
    assert policy(HTML) == POLICY
    assert policy(HTML.replace(b'"use strict";', b'"use strict"; ')) != POLICY
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'; script-src 'sha256-")
    text = HTML.decode()
    assert set(re.findall(r"https?://[^\"'`\s]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    for unsafe in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        " style=",
        " onclick",
        "<link",
    ):
        assert unsafe not in text


def fetch(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    finally:
        connection.close()


def test_the_server_hands_out_the_page() -> None:
    """/ is the page under its policy, /status.json is JSON, a wrong query is 400, and a hostile name stays a text."""
    made = page(picture([Asset(HOSTILE, "firing", 2.0)], [alert(HOSTILE)]))
    server = WebServer(make_app(page_routes(made)), "127.0.0.1", 0)
    server.open()
    try:
        status, headers, body = fetch(server.port, "/")
        assert (status, headers["content-type"], body) == (200, "text/html; charset=utf-8", HTML)
        assert headers["content-security-policy"] == POLICY
        status, headers, body = fetch(server.port, "/status.json")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert names(json.loads(body)) == [HOSTILE]
        assert fetch(server.port, "/status.json?limit=all")[::2] == (400, b"Bad Request\n")
        assert fetch(server.port, "/page.html")[0] == 404
    finally:
        server.close()


def test_a_worker_shows_what_happens(tmp_path: Path) -> None:
    """On the page of a running worker an asset that leaves its band fires, with a chart that shows the readings."""
    put_model(tmp_path)
    wanted = settings(tmp_path, health__enabled=True, health__port=0, alerting__off_delay_s=500.0)
    broker = MemoryBroker()
    batch = rows(400)
    batch[1, 300:, 1] += 8.0
    feed(broker, values(batch))
    with running(wanted, broker) as service:
        until(lambda: service.port is not None)

        def shown() -> dict[str, Any]:
            answer: dict[str, Any] = json.loads(fetch(service.port or 0, "/status.json")[2])
            return answer

        until(lambda: shown()["alerts"]["total"])
        until(lambda: not shown()["lag"]["messages"])
        answer = shown()
    assert [(asset["name"], asset["state"]) for asset in answer["assets"]["shown"]] == [
        ("b", "firing"),
        ("a", "normal"),
    ]
    assert answer["assets"]["shown"][0]["sparkline"][-1] > 1
    assert answer["ready"]
    assert answer["models"][0]["partitions"] == answer["partitions"]
    (found,) = answer["alerts"]["shown"]
    channel = next(each for each in found["channels"] if each["channel"] == "pressure")
    place = found["times"].index(ORIGIN + 305_000)
    assert abs(channel["chart"]["observed"][place] - batch[1, 305, 1]) < 0.001
    assert channel["chart"]["observed"][place] > channel["chart"]["expected"][place] + channel["chart"]["width"]
    assert found["times"][0] <= found["start"]


@pytest.mark.parametrize("messages", [2, 36, 5000], ids="{} at a time".format)
def test_a_chart_leads_up_to_its_alert(tmp_path: Path, messages: int) -> None:
    """A chart begins a window or more before its alert, on the grid, with the observed and expected values."""
    put_model(tmp_path)
    more = {"source__batch_messages": messages, "alerting__off_delay_s": 500.0}
    wanted = settings(tmp_path, health__enabled=True, health__port=0, **more)
    broker = MemoryBroker()
    batch = rows(304)
    batch[1, 300:, 1] += 8.0
    feed(broker, values(batch))
    with running(wanted, broker) as service:
        until(lambda: committed(broker) == 608)
        until(lambda: service.daemon is not None and service.daemon.status.charts)
        assert service.daemon is not None
        chart = service.daemon.status.charts["test", "b"]
    steps = (chart.ends - ORIGIN) // 1000
    assert steps.tolist() == list(range(steps[0], 304))
    assert steps[0] <= 300 - (L - 1)
    pressure = chart.channels.index("pressure")
    assert np.allclose(chart.observed[:, pressure], batch[1, steps, 1], atol=1e-4)
    off = np.abs(chart.observed - chart.expected)[steps < 300, pressure]
    assert off.max() < 8 * chart.spread[pressure] < np.abs(chart.observed - chart.expected)[-1, pressure]


@pytest.mark.parametrize("off", [{"health__page": False}, {"health__enabled": False}])
def test_without_the_page_nothing_is_kept_for_it(tmp_path: Path, off: dict[str, object]) -> None:
    """With the page off / is not found, no thread samples, and no chart is kept."""
    put_model(tmp_path)
    wanted = settings(tmp_path, **{"health__enabled": True, "health__port": 0, **off})
    broker = MemoryBroker()
    batch = rows(320)
    batch[1, 300:, 1] += 8.0
    feed(broker, values(batch))
    with running(wanted, broker) as service:
        until(lambda: service.daemon is not None and service.daemon.status.alerts)
        assert service.daemon is not None
        assert not service.daemon.status.charts
        assert "page" not in {thread.name for thread in threading.enumerate()}
        if service.port is not None:
            assert fetch(service.port, "/")[0] == fetch(service.port, "/status.json")[0] == 404
            assert fetch(service.port, "/livez")[0] == 200


def test_names_are_shown_as_they_came() -> None:
    """Assets, alerts and channels have the names that became their ids, and a search finds both."""
    given = picture([Asset("Pump_1", "firing", 2.0), Asset("P2", "normal", 0.5)], [alert("Pump_1")])
    known = Names({"Pump_1": "Pump №1", "other": "x"}, {"c0": "Lager °C"})
    made = page(replace(given, names=known))
    found = ask(made)
    assert [(each["name"], each["label"]) for each in found["assets"]["shown"]] == [("Pump_1", "Pump №1"), ("P2", "P2")]
    (shown,) = found["alerts"]["shown"]
    assert (shown["asset"], shown["label"]) == ("Pump_1", "Pump №1")
    labels = {each["channel"]: each["label"] for each in shown["channels"]}
    assert labels["c0"] == "Lager °C"
    assert all(label == name for name, label in labels.items() if name != "c0")
    for text in ("№1", "pump_1"):
        assert names(ask(made, search=text)) == ["Pump_1"]
