"""The page in a real browser: in light and dark, on a desktop and a telephone, and how it changes.

The pictures lie in build/pictures afterwards.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from monitor.connectors.memory.client import MemoryBroker
from monitor.training.trainer import Status
from monitor.web.app import make_app, page_routes
from monitor.web.page import Page
from monitor.web.server import WebServer
from monitor.worker.quiet import QuietTopic
from monitor.worker.status import Asset, WorkerStatus
from tests.browser import DESKTOP, PHONE, Tab, tab
from tests.core.machines import rows
from tests.rig import feed, put_model, running, settings, until, values
from tests.web.test_page import HOSTILE, alert, chart, picture, twins

WITNESS = """
window.touched = [];
new MutationObserver((list) => touched.push(...list.map((each) => each.target.className)))
  .observe(document.getElementById("assets"), { childList: true, subtree: true, attributes: true });
"""
LOOKS = [(size, scheme) for size in (DESKTOP, PHONE) for scheme in ("light", "dark")]


class Shown:
    """A page whose worker status is set by a test."""

    def __init__(self, now: WorkerStatus) -> None:
        self.now = now
        self.page = Page("plant", lambda: self.now, lambda: (True, "ready\n"), lambda: time.time_ns() // 1_000_000)

    def show(self, now: WorkerStatus) -> None:
        self.now = now
        self.page.sample()

    @contextmanager
    def served(self) -> Iterator[str]:
        self.page.sample()
        server = WebServer(make_app(page_routes(self.page)), "127.0.0.1", 0)
        server.open()
        try:
            yield f"http://127.0.0.1:{server.port}/"
        finally:
            server.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """One browser for all; each test opens its own address in it."""
    with tab(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def opened(browser: Tab) -> Iterator[Callable[[str], Tab]]:
    """Open an address, and check in the end that the browser reported no error."""

    def go(address: str) -> Tab:
        browser.errors.clear()
        browser.call("Page.navigate", url=address)
        browser.until("document.readyState === 'complete' && performance.getEntriesByName('update').length > 0")
        return browser

    yield go
    assert [text for text in browser.errors if "favicon" not in text] == []
    browser.call("Page.navigate", url="about:blank")


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a worker whose asset b has left its band."""
    folder = tmp_path_factory.mktemp("plant")
    put_model(folder, detector="boiler-house")
    broker = MemoryBroker()
    batch = rows(330)
    batch[1, 300:, 1] += 8.0
    feed(broker, values(batch))
    wanted = settings(folder, name="boiler-house", health__enabled=True, health__port=0, alerting__off_delay_s=500.0)
    with running(wanted, broker) as service:
        until(lambda: service.daemon is not None and service.daemon.status.alerts)
        yield f"http://127.0.0.1:{service.port}/"


@pytest.mark.parametrize(
    ("size", "scheme"), LOOKS, ids=lambda value: value if isinstance(value, str) else f"{value[0]}"
)
def test_an_alert_is_seen(opened: Callable[[str], Tab], plant: str, size: tuple[int, int, int], scheme: str) -> None:
    """A firing asset is on top, its alert shows readings outside of the expected band, and all fits the screen."""
    page = opened(plant)
    page.screen(size, scheme)
    page.until("document.querySelectorAll('#alerts path.observed[d]').length === 3")
    page.until("document.querySelector('#assets .firing path.sparkline').getAttribute('d')")
    page.picture(f"alert-{size[0]}-{scheme}")
    seen = page.evaluate("document.body.innerText")
    for text in ("boiler-house", "ready", "2 assets, 1 firing", "m-20231114T221320-", "0 messages"):
        assert text in seen
    assert page.evaluate("document.title") == "(1) boiler-house"
    assert page.evaluate("[...document.querySelectorAll('#assets .name')].map((each) => each.textContent)") == [
        "b",
        "a",
    ]
    assert page.evaluate("document.querySelector('#alerts h3').textContent").startswith("b  ")
    assert "pressure" in page.evaluate("document.querySelector('#alerts .said').innerText")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 28)"
    assert dark is (scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Of the first channel: the line of what was read ends above the band, and lies within its chart.
    ends = "document.querySelector('#alerts path.{}').getAttribute('d').split('L').pop().split(' ')[1]"
    assert float(page.evaluate(ends.format("observed"))) < float(page.evaluate(ends.format("expected"))) - 5
    inside = "(({height}, svg) => height > 40 && height <= svg.height)"
    box = "document.querySelector('#alerts path.{}').getBBox()"
    assert page.evaluate(f"{inside}({box.format('observed')}, {{height: 84}})")
    assert page.evaluate(f"{box.format('band')}.width") == pytest.approx(300, abs=1)


def test_what_changes_changes_in_place(opened: Callable[[str], Tab]) -> None:
    """A new state or ratio changes the texts of existing nodes, and only added or removed assets change the list."""
    quiet = [Asset("a", "normal", 0.5), Asset("b", "normal", 0.6), Asset("c", "normal", 0.7)]
    shown = Shown(picture(quiet))
    with shown.served() as address:
        page = opened(address)
        page.evaluate(
            "document.querySelectorAll('#assets li').forEach((node) => node.mark = node.innerText.split('\\n')[0])"
        )
        assert page.evaluate("document.getElementById('quiet').hidden") is False
        worse = [quiet[2]._replace(state="firing", ratio=2.5), quiet[0], Asset("d", "normal", 0.1)]
        shown.show(picture(worse, [alert("c")], {"c": chart()}))
        page.until("document.querySelectorAll('.firing').length === 1")
        marks = page.evaluate("[...document.querySelectorAll('#assets li')].map((node) => [node.mark, node.innerText])")
        assert [mark for mark, _ in marks] == ["c", "a", None]
        assert [text.split() for _, text in marks] == [
            ["c", "firing", "2.50"],
            ["a", "normal", "0.50"],
            ["d", "normal", "0.10"],
        ]
        assert page.evaluate("document.querySelectorAll('.alert').length") == 1
        shown.show(picture(quiet))
        page.until("document.querySelectorAll('.alert').length === 0")
        assert page.evaluate("document.getElementById('quiet').hidden") is False


def test_while_it_learns_the_page_begins_with_that(opened: Callable[[str], Tab]) -> None:
    """Before the first model, progress and remaining time are at the top, afterwards below."""
    learning = replace(picture([Asset("a", "learning", None)]), models={})
    shown = Shown(replace(learning, training={"d": Status(share=0.25, steps=250, needed=1000, eta_s=750.0)}))
    top = "document.getElementById('{}').getBoundingClientRect().top"
    above = f"{top.format('worker')} < {top.format('assets')}"
    with shown.served() as address:
        page = opened(address)
        assert page.evaluate(above)
        assert page.evaluate("document.getElementById('share').value") == 0.25
        text = page.evaluate("document.getElementById('learning').textContent")
        assert text == "250 of 1000 steps of history, about 13 min to go"
        shown.show(picture([Asset("a", "normal", 0.5)]))
        page.until(f"!({above})")
        assert page.evaluate("document.getElementById('share').hidden")


def test_what_is_not_ready_is_told_with_its_reason(opened: Callable[[str], Tab]) -> None:
    """A worker that is not ready is marked at the top, with each condition that does not hold, as text."""
    shown = Shown(picture([]))
    shown.page._ready = lambda: (False, "source: <b>down</b>\npartitions: not known yet\n")
    with shown.served() as address:
        page = opened(address)
        assert page.evaluate("document.getElementById('ready').textContent") == "not ready"
        reasons = page.evaluate("[...document.querySelectorAll('#reasons li')].map((each) => each.textContent)")
        assert reasons == ["source: <b>down</b>", "partitions: not known yet"]


def test_silence_is_seen(opened: Callable[[str], Tab]) -> None:
    """A silent machine is grey, with the age of its last reading; a silent topic has a line at the top."""
    still = replace(alert("a"), cause="silence", fault="absent", channels=(), alarm=300.0, threshold=300.0, ratio=1.0)
    silent = Asset("a", "silent", None, "sends nothing", newest=time.time_ns() // 1_000_000 - 720_000)
    given = picture([silent, Asset("b", "normal", 0.5)], [still])
    topic = QuietTopic("readings", (3,), 6, 660.0, messages=False)
    shown = Shown(given)
    with shown.served() as address:
        page = opened(address)
        tile, about = "document.querySelector('.tile.silent .state')", "document.querySelector('.alert .soft')"
        assert page.evaluate(f"{tile}.textContent") == "silent: sends nothing, last reading 12 min ago"
        grey = page.evaluate(f"getComputedStyle({tile}).color")
        assert grey == page.evaluate(
            "(() => { const n = document.createElement('i'); n.style.color = 'var(--idle)';"
            "document.body.append(n); return getComputedStyle(n).color })()"
        )
        assert page.evaluate("document.querySelector('.alert h3').textContent") == "a  silent"
        assert page.evaluate(f"{about}.textContent").startswith("sends nothing for 300 s, since ")
        assert page.evaluate("document.getElementById('trouble').hidden")
        shown.show(replace(given, quiet=(topic,)))
        page.until("!document.getElementById('trouble').hidden")
        assert page.evaluate("document.querySelector('#reasons li').textContent") == topic.text()


def test_readings_without_a_detector_are_shown_by_group(opened: Callable[[str], Tab]) -> None:
    """The page names the groups, the one with most readings first, and says nothing where there are none."""
    given = picture([Asset("a", "normal", 0.5)])
    shown = Shown(given)
    with shown.served() as address:
        page = opened(address)
        assert page.evaluate("document.getElementById('unwanted').hidden")
        shown.show(replace(given, unwanted={"": 1, "cpu": 1200}))
        page.until("!document.getElementById('unwanted').hidden")
        text = page.evaluate("document.getElementById('unwanted').textContent")
        assert text == "No detector for the assets of: cpu (1200 readings), without a group (1 reading)."


def test_assets_are_filtered(opened: Callable[[str], Tab]) -> None:
    """Search and state leave only matching assets, with their number."""
    shown = Shown(picture([*(Asset(f"pump-{n}", "normal", 0.5) for n in range(30)), Asset("fan", "firing", 2.0)]))
    with shown.served() as address:
        page = opened(address)
        change = (
            "document.getElementById('{0}').value = '{1}';"
            "document.getElementById('{0}').dispatchEvent(new Event('input', {{bubbles: true}}))"
        )
        count = "document.querySelectorAll('#assets li').length === {}"
        page.until(count.format(31))
        page.evaluate(change.format("search", "PUMP-2"))
        page.until(count.format(11))
        assert page.evaluate("document.getElementById('assetcount').textContent") == "11 of 31"
        page.evaluate(change.format("search", ""))
        page.evaluate(change.format("state", "firing"))
        page.until(count.format(1))
        assert page.evaluate("document.getElementById('state').selectedOptions[0].textContent") == "firing (1)"


@pytest.mark.parametrize(
    ("size", "scheme"), LOOKS, ids=lambda value: value if isinstance(value, str) else f"{value[0]}"
)
def test_twins_are_told_apart(opened: Callable[[str], Tab], size: tuple[int, int, int], scheme: str) -> None:
    """With several detectors, cards, alerts and models have their names, and one of them can be chosen."""
    shown = Shown(twins())
    with shown.served() as address:
        page = opened(address)
        page.screen(size, scheme)
        cards = "[...document.querySelectorAll('#assets li')].map((each) => each.innerText.split('\\n'))"
        page.until("document.querySelectorAll('#assets li').length === 3")
        assert page.evaluate(cards) == [
            ["a", "firing 2.50", "slow"],
            ["a", "normal 0.50", "fast"],
            ["b", "normal 0.25", "fast"],
        ]
        page.picture(f"twins-{size[0]}-{scheme}")
        assert page.evaluate("document.querySelector('#summary').textContent") == "2 assets, 1 firing"
        assert page.evaluate("document.querySelector('#alerts .soft').textContent").startswith("slow: warning, since")
        assert page.evaluate("document.getElementById('models').textContent").splitlines() == [
            "fast: m1 (1 partition)",
            "slow: m2 (1 partition)",
        ]
        assert page.evaluate("document.getElementById('learning').textContent") == "fast: done\nslow: done"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.evaluate(
            "document.getElementById('detector').value = 'fast';"
            "document.getElementById('detector').dispatchEvent(new Event('input', {bubbles: true}))"
        )
        page.until("document.querySelectorAll('#assets li').length === 2")


def test_one_detector_needs_no_name(opened: Callable[[str], Tab]) -> None:
    """With one detector, no card has its name, and there is nothing to choose."""
    with Shown(picture([Asset("a", "normal", 0.5)])).served() as address:
        page = opened(address)
        page.until("document.querySelectorAll('#assets li').length === 1")
        assert page.evaluate("document.querySelector('#assets li').innerText") == "a\nnormal 0.50"
        assert page.evaluate("document.getElementById('detector').hidden") is True


def test_a_hostile_name_stays_a_text(opened: Callable[[str], Tab]) -> None:
    """A name that is markup is shown letter by letter and makes no element; a script put in does not run."""
    shown = Shown(picture([Asset(HOSTILE, "firing", 2.0)], [replace(alert("x"), asset=HOSTILE)]))
    with shown.served() as address:
        page = opened(address)
        page.until("document.querySelectorAll('#assets li').length === 1")
        assert page.evaluate("document.querySelector('#assets .name').textContent") == HOSTILE
        assert page.evaluate("document.querySelector('#alerts h3').textContent").startswith(HOSTILE)
        assert page.evaluate("document.querySelectorAll('img').length") == 0
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
        )
        assert page.evaluate("window.ran === undefined") is True
        assert any("Content Security Policy" in text for text in page.errors)
        page.errors.clear()


def test_a_monitor_that_is_gone_is_missed(opened: Callable[[str], Tab]) -> None:
    """When the server stops answering, the page says since when, and keeps its content."""
    shown = Shown(picture([Asset("a", "normal", 0.5)]))
    with shown.served() as address:
        page = opened(address)
    page.until("document.getElementById('trouble').innerText.includes('has not answered since')")
    assert page.evaluate("document.querySelectorAll('#assets li').length") == 1
    page.errors.clear()  # of the connection


def test_200_assets_fit_and_are_updated_in_one_go(opened: Callable[[str], Tab]) -> None:
    """200 assets with sparklines and 10 alerts with charts are all shown, and an update touches only what differs."""
    assets = [Asset(f"pump-{n:03d}", "firing" if n < 10 else "normal", 2.0 - n / 200) for n in range(200)]
    alerts = [alert(f"pump-{n:03d}") for n in range(10)]
    shown = Shown(picture(assets, alerts, {each.asset: chart(120) for each in alerts}))
    with shown.served() as address:
        page = opened(address)
        page.screen(DESKTOP, "light")
        page.until("document.querySelectorAll('#assets li').length === 200")
        assert page.evaluate("document.querySelectorAll('.alert').length") == 10
        page.picture("200-assets")
        page.evaluate(WITNESS)
        shown.show(picture([*assets[:-1], assets[-1]._replace(ratio=0.25)], alerts, {}))
        page.until("document.querySelector('#assets li:last-child .state').textContent === 'normal 0.25'")
        touched = page.evaluate("window.touched")
        took = page.evaluate("performance.getEntriesByName('update')[0].duration")
    assert took > 0
    print(f"an update of 200 assets and 10 alerts took {took:.1f} ms")
    assert "state" in touched
    assert not {"name", "tile normal", "tile firing", "tiles"} & {each for each in touched if isinstance(each, str)}
