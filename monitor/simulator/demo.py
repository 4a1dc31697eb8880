"""`monitor demo`: the daemon itself on a plant that does not exist, watched from the terminal.

simulated plant -> in-process broker -> the unchanged daemon -> files. Nothing else differs from a real plant: the first
model is learned from the stream, alerts come from the same loop, and what is shown is read from the files it wrote. At
the end the alerts are held against the simulator's labels, which the daemon never sees.
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
from monitor.simulator.demo_view import View, summary
from monitor.simulator.faults import ROUND, fault_schedule, faulty_rows
from monitor.simulator.plant import Plant, PlantSettings, messages

CONFIG = Path(__file__).parents[1] / "configs/demo.toml"
CLEAN = 1700  # steps: the history the first model needs, the first window, and some to spare
TAIL = 100  # steps after the last round, so that its alerts can be resolved
GRACE_MS = 64_000  # an alert within a window's length after a fault still counts as its
CHUNK = 20  # steps written at once
LOOK_S = 0.2  # between two looks at what there is to show
PARTITIONS = 2


def run_demo(out: Path, *, assets: int, seed: int, speed: float) -> int:
    """Run it; 0 if it came to its end."""
    folder = out / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    settings = load(CONFIG, {}, {"outputs.directory": str(folder), "store.url": str(folder / "store")})
    folder.mkdir(parents=True)
    plant = Plant(PlantSettings(assets, settings.windows.step_ms, seed))
    rounds = max(2, -(-8 // assets))
    faults = fault_schedule(plant, CLEAN, rounds)
    broker = MemoryBroker({settings.source.topics[0]: PARTITIONS}, bound=None)
    service, stop = Service(settings, broker), threading.Event()
    failures: list[BaseException] = []

    def guarded(work: Any, *given: Any) -> None:
        try:
            work(*given)
        except BaseException as failure:  # noqa: BLE001 - shown below
            failures.append(failure)
            stop.set()

    alerts = folder / f"{settings.outputs.alerts}.jsonl"
    values = faulty_rows(plant, faults, 0, CLEAN + rounds * ROUND + TAIL)
    threads = [
        threading.Thread(target=guarded, args=(service.run, stop), name="daemon"),
        threading.Thread(target=guarded, args=(_feed, service, broker, plant, values, speed, stop), name="plant"),
    ]
    console = Console()
    with (folder / "monitor.log").open("w") as log:
        configure(settings.log.level, settings.log.format, log)
        view = View(console, service, alerts, assets * values.shape[1])
        _watch(threads, view, stop)
    if failures:
        console.print(f"The demo failed: {failures[0]!r}. See {folder / 'monitor.log'}.")
        return 1
    records = alerts.read_bytes().splitlines() if alerts.exists() else []
    summary(console, match(alert_spans(records), faults, GRACE_MS), service, folder, assets)
    return 0


def _watch(threads: Sequence[threading.Thread], view: View, stop: threading.Event) -> None:
    """Show what happens until the daemon has ended; Ctrl-C asks it to."""
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


def _feed(  # noqa: PLR0917 - a thread's arguments
    service: Service, broker: MemoryBroker, plant: Plant, values: Any, speed: float, stop: threading.Event
) -> None:
    """Write the plant's readings: the clean part at once, the rest at `speed` once there is a model."""
    topic = service.settings.source.topics[0]
    sent = messages(plant, 0, values)
    begin: float | None = None
    for each in sent:
        step = plant.step(each.time)
        if step >= CLEAN:
            while begin is None and not stop.is_set():
                if service.daemon is not None and service.daemon.status.model:
                    begin = time.monotonic()
                time.sleep(LOOK_S)
            if step % CHUNK == 0 and begin is not None:
                stop.wait(max(0.0, begin + (step - CLEAN) / speed - time.monotonic()))
        if stop.is_set():
            break
        broker.append(Record(topic, each.key, each.value), timestamp=each.time)
    broker.finish()
