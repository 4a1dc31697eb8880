"""`monitor simulate`: the readings of the simulated plant, into a topic or to standard output; labels on request."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from monitor.core.records import Record
from monitor.evaluation.label import Label
from monitor.observe.clock import wall_ms
from monitor.observe.metrics import Metrics
from monitor.service.backends import make_producer
from monitor.settings.tree import Settings
from monitor.simulator.faults import ROUND, fault_round, faulty_rows
from monitor.simulator.plant import Plant, PlantSettings, Sent, messages

CHUNK = 60  # steps made at once


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to write."""

    assets: int
    seed: int
    steps: int  # 0 = without end
    clean: int  # steps before the first round of faults
    speed: float  # simulated seconds per second; 0 = as fast as possible
    labels: Path | None


def stream(plant: Plant, kind: str, clean: int, steps: int) -> Iterator[tuple[list[Sent], list[Label]]]:
    """The messages of CHUNK steps after CHUNK steps, and the faults that begin in a round these steps enter first."""
    faults: list[Label] = []
    rounds, begin = 0, 0
    while not steps or begin < steps:
        end = min(begin + CHUNK, steps) if steps else begin + CHUNK
        new: list[Label] = []
        while clean + rounds * ROUND < end:
            new += fault_round(plant, clean, rounds)
            rounds += 1
        faults = [fault for fault in faults + new if plant.step(fault.end) > begin]
        yield list(messages(plant, begin, faulty_rows(plant, faults, begin, end), kind=kind)), new
        begin = end


def _at_once(sent: list[Sent], speed: float) -> list[tuple[int, list[Sent]]]:
    """What is written together, and when it was sent: a step after the other, or all if there is no rhythm."""
    if not speed:
        return [(sent[-1].time, sent)]
    return [(at, list(group)) for at, group in groupby(sent, key=attrgetter("time"))]


def _way_out(settings: Settings, *, to_kafka: bool) -> tuple[Callable[[list[Sent]], None], Callable[[], None]]:
    """Where messages go, and what is to be called at the end. Raises ValueError if the client refuses its options."""
    if not to_kafka:

        def to_stdout(sent: list[Sent]) -> None:
            sys.stdout.buffer.writelines(each.value + b"\n" for each in sent)
            sys.stdout.flush()

        return to_stdout, lambda: None
    sink = make_producer(settings, Metrics())
    sink.open()

    def to_topic(sent: list[Sent]) -> None:
        sink.write([Record(settings.source.topics[0], each.key, each.value) for each in sent])
        sink.flush(settings.delivery.flush_timeout_s)

    return to_topic, sink.close


def write(settings: Settings, simulation: Simulation, *, to_kafka: bool) -> int:
    """Write until the steps are done; the number of messages goes to standard error. Raises ValueError, Unavailable."""
    kind = settings.format.kind
    if kind not in {"json_wide", "json_long"}:
        raise ValueError(f"format.kind = {kind}: the simulator writes json_wide and json_long")
    if not simulation.steps and simulation.speed != 1:
        raise ValueError("without end (--steps 0), times keep to the clock only in real time (--speed 1)")
    step_ms = settings.windows.step_ms
    back = simulation.steps if simulation.speed != 1 else 0  # faster than the clock: end now, do not run ahead of it
    start = (wall_ms() // step_ms - back) * step_ms
    plant = Plant(PlantSettings(simulation.assets, step_ms, simulation.seed, start))
    put, close = _way_out(settings, to_kafka=to_kafka)
    if simulation.labels is not None:
        simulation.labels.write_text("")
    begin, count = time.monotonic(), 0
    for made, faults in stream(plant, kind, simulation.clean, simulation.steps):
        if simulation.labels is not None:
            with simulation.labels.open("a") as file:
                file.writelines(json.dumps(asdict(fault)) + "\n" for fault in faults)
        for at, sent in _at_once(made, simulation.speed):
            if simulation.speed:
                due = begin + (at - start) / 1000 / simulation.speed
                time.sleep(max(0.0, due - time.monotonic()))
            put(sent)
            count += len(sent)
    close()
    print(f"{count} messages of {simulation.assets} assets", file=sys.stderr)
    return 0
