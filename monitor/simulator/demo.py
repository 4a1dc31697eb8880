"""`monitor demo`: run the daemon on a simulated plant and show it in the terminal.

simulated plant -> in-process broker -> the unchanged daemon -> files. Everything else is as on a real plant: the first
model is learned from the stream, alerts come from the same loop, and the terminal shows alerts from the files that the
daemon wrote. At the end the alerts are matched with the simulator's labels, which the daemon never sees.
"""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from monitor.connectors.memory.client import MemoryBroker
from monitor.core.records import Record
from monitor.evaluation.matching import alert_spans, match
from monitor.observe.logs import configure
from monitor.service.run import Service
from monitor.settings.load import load
from monitor.simulator.demo_plants import DemoPlant
from monitor.simulator.demo_view import View, summary

LOOK_S = 0.2  # between two updates of the terminal
PARTITIONS = 2


def run_demo(out: Path, plant: DemoPlant, speed: float) -> int:
    """Run the demo; return 0 if it reached its end, 1 if the daemon or the plant failed."""
    folder = out / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    settings = load(plant.config, {}, {"outputs.directory": str(folder), "store.url": str(folder / "store")})
    folder.mkdir(parents=True)

    broker = MemoryBroker({settings.source.topics[0]: PARTITIONS}, bound=None)
    service, stop = Service(settings, broker), threading.Event()

    # Daemon and plant are threads; a failure of one stops the other.
    failures: list[BaseException] = []

    def guarded(work: Any, *given: Any) -> None:
        try:
            work(*given)
        except BaseException as failure:  # noqa: BLE001 - shown below
            failures.append(failure)
            stop.set()

    threads = [
        threading.Thread(target=guarded, args=(service.run, stop), name="daemon"),
        threading.Thread(target=guarded, args=(_feed, service, broker, plant, speed, stop), name="plant"),
    ]

    alerts = folder / f"{settings.outputs.alerts}.jsonl"
    console = Console()
    with (folder / "monitor.log").open("w") as log:
        configure(settings.log.level, settings.log.format, log)
        view = View(console, service, alerts, plant.count)
        _watch(threads, view, stop)

    if failures:
        console.print(f"The demo failed: {failures[0]!r}. See {folder / 'monitor.log'}.")
        return 1

    records = alerts.read_bytes().splitlines() if alerts.exists() else []
    summary(console, match(alert_spans(records), plant.labels, plant.grace_ms), service, folder, plant.assets)
    return 0


def _watch(threads: Sequence[threading.Thread], view: View, stop: threading.Event) -> None:
    """Update the terminal until the daemon has ended; Ctrl-C stops the daemon."""
    for thread in threads:
        thread.start()

    try:
        with view:
            while threads[0].is_alive():
                view.refresh()
                threads[0].join(LOOK_S)
    except KeyboardInterrupt:
        stop.set()

    for thread in threads:
        thread.join()


def _feed(service: Service, broker: MemoryBroker, plant: DemoPlant, speed: float, stop: threading.Event) -> None:
    """Write the plant's readings: the healthy part at once, the rest at `speed` once all detectors have a model."""
    topic = service.settings.source.topics[0]
    begin: float | None = None  # monotonic seconds at which monitoring began
    due = plant.learned  # ms UTC: event time up to which readings are written at once

    for each in plant.messages():
        if each.time >= due:
            # The part to learn from is in the broker; wait for the models before the first fault.
            while begin is None and not stop.is_set():
                if service.daemon is not None and service.daemon.status.learned:
                    begin = time.monotonic()
                time.sleep(LOOK_S)

            if begin is not None:
                stop.wait(max(0.0, begin + (due - plant.learned) / 1000 / speed - time.monotonic()))
            due += plant.chunk_ms
        if stop.is_set():
            break
        broker.append(Record(topic, each.key, each.value), timestamp=each.time)
    broker.finish()
