"""Make the pictures of the README: status page and backtest report of the demo's plant, in a browser.

    python -m benchmarks.pictures [--all]

1. The demo's plant runs through the unchanged daemon, second by second, so that the page shows real sparklines. The
   plant is stopped when FIRING assets have been in alert for WELL_S.
2. Chromium opens the page: docs/pictures/status.png.
3. The same readings go through `monitor backtest` with that model and the simulator's labels, and Chromium opens the
   report at one asset: docs/pictures/report.png.

`--all` makes each picture in light and dark, for desktop and telephone, below build/pictures, for review. Needs
Debian's chromium and pngquant, which reduces the files to a fifth without a visible difference.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Record
from monitor.observe.clock import wall_ms
from monitor.service.run import Service
from monitor.settings.load import load
from monitor.simulator.demo import PARTITIONS
from monitor.simulator.demo_plants import CLEAN, CONFIG, TAIL
from monitor.simulator.faults import ROUND, fault_schedule, faulty_rows
from monitor.simulator.plant import Plant, PlantSettings, Sent, messages
from monitor.web.app import make_app, page_routes
from monitor.web.page import Page
from monitor.web.server import WebServer
from monitor.worker.status import WorkerStatus
from tests.browser import DESKTOP, PHONE, Tab, tab

OUT = Path("docs/pictures")
ASSETS, ROUNDS = 8, 2
FIRING = 3  # a row of alerts on a desktop
WELL_S = 10  # of plant time, after which an alert's chart shows enough
SHOWN = "pump-05"  # asset of the report: its speed sensor froze
README = (1280, 800, 1)  # CSS pixels, and pixels of the screen for each
STEP_S = 0.05  # between two checks; the loop needs less for a second of eight pumps
SETTLED_S = 0.7  # until a new size or scheme is drawn


class Stand:
    """The demo's plant, its faults and its readings."""

    def __init__(self) -> None:
        self.plant = Plant(PlantSettings(ASSETS, 1000, 0))
        self.faults = fault_schedule(self.plant, CLEAN, ROUNDS)
        self.rows = faulty_rows(self.plant, self.faults, 0, CLEAN + ROUNDS * ROUND + TAIL)

    def sent(self) -> list[Sent]:
        return list(messages(self.plant, 0, self.rows))


@contextmanager
def at_work(stand: Stand, folder: Path) -> Iterator[str]:
    """Return the address of the page at that second."""
    given = {
        "outputs.directory": str(folder / "out"),
        "store.url": str(folder / "store"),
        "delivery.checkpoint_s": STEP_S,
        "source.poll_s": STEP_S / 2,
    }
    settings = load(CONFIG, {}, given)
    topic, broker = settings.source.topics[0], MemoryBroker({"readings": PARTITIONS}, bound=None)
    service, stop = Service(settings, broker), threading.Event()

    def look() -> WorkerStatus | None:
        return None if service.daemon is None else service.daemon.status

    page = Page("pumps", look, service.health.ready, wall_ms)
    server = WebServer(make_app(page_routes(page)), "127.0.0.1", 0)
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        for at, group in groupby(stand.sent(), key=attrgetter("time")):
            before = look()
            for each in group:
                broker.append(Record(topic, each.key, each.value), timestamp=each.time)
            if stand.plant.step(at) < CLEAN:  # the training history at once
                continue
            while (seen := look()) is None or seen is before or not seen.model or any(seen.lag.values()):
                assert thread.is_alive()
                time.sleep(STEP_S / 2)
            page.sample()
            begun = {alert.asset: alert.start for alert in seen.alerts}
            if len([start for start in begun.values() if at - start >= 1000 * WELL_S]) >= FIRING:
                break
        server.open()
        try:
            yield f"http://127.0.0.1:{server.port}/"
        finally:
            server.close()
    finally:
        stop.set()
        thread.join()


def report(stand: Stand, folder: Path) -> str:
    """Run a backtest with the daemon's model and return the address of its report."""
    recording, labels, out = (folder / name for name in ("plant.jsonl", "labels.jsonl", "report.html"))
    recording.write_bytes(b"".join(sent.value + b"\n" for sent in stand.sent()))
    labels.write_text("".join(json.dumps(asdict(fault)) + "\n" for fault in stand.faults))
    command = [sys.executable, "-m", "monitor", "backtest", str(recording), "--labels", str(labels)]
    given = ["-s", "source.kind=files", "-s", f"store.url={folder / 'store'}"]
    subprocess.run([*command, *given, "--model", "current", "--out", str(out)], check=True)
    return out.as_uri()


def pictures(browser: Tab, name: str, top: str, *, every: bool) -> None:
    """Take pictures of the browser's page, by `name`, from the element `top` on."""
    browser.call("Emulation.setScrollbarsHidden", hidden=True)
    for size in (DESKTOP, PHONE) if every else (README,):
        for scheme in ("light", "dark") if every else ("light",):
            browser.screen(size, scheme)
            browser.evaluate(f"{top}.scrollIntoView()")
            time.sleep(SETTLED_S)
            path = browser.picture(f"{name}-{size[0]}-{scheme}" if every else name)
            path = path if every else path.replace(OUT / path.name)
            subprocess.run(["pngquant", "--force", "--strip", "--output", path, "256", path], check=True)
            print(path, path.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    every = parser.parse_args().all
    stand = Stand()
    with tempfile.TemporaryDirectory() as name, tab(Path(name, "profile")) as browser:
        folder = Path(name)
        with at_work(stand, folder) as address:
            browser.call("Page.navigate", url=address)
            browser.until(f"document.querySelectorAll('.alert').length === {FIRING}")
            pictures(browser, "status", "document.body", every=every)
        browser.call("Page.navigate", url=report(stand, folder))
        browser.until("document.readyState === 'complete'")
        head = f"[...document.querySelectorAll('h3')].find((each) => each.textContent === '{SHOWN}')"
        pictures(browser, "report", f"{head}.parentElement", every=every)


if __name__ == "__main__":
    main()
