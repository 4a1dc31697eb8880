"""`monitor simulate`: write the readings of the simulated plant to a topic or to standard output, and its labels."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter

from monitor.connectors.base import is_pattern
from monitor.core.records import Record
from monitor.evaluation.label import Label
from monitor.observe.clock import wall_ms
from monitor.observe.metrics import Metrics
from monitor.options import Simulation
from monitor.service.backends import make_producer
from monitor.settings.tree import Settings
from monitor.simulator.faults import ROUND, fault_round, faulty_rows
from monitor.simulator.plant import Plant, PlantSettings, Sent, messages

CHUNK = 60  # steps made at once


def write(settings: Settings, simulation: Simulation, *, to_kafka: bool) -> int:
    """Write all steps and print the number of messages to standard error. Raises ValueError, Unavailable."""
    kind = settings.format.kind
    if kind not in {"json_wide", "json_long"}:
        raise ValueError(f"format.kind = {kind}: the simulator writes json_wide and json_long")
    if not simulation.steps and simulation.speed != 1:
        raise ValueError("--steps 0 (without end) needs --speed 1: otherwise times of readings leave the clock")

    # Faster than the clock, the stream ends now; it must not run ahead of the clock.
    step_ms = settings.windows.step_ms
    back = simulation.steps if simulation.speed != 1 else 0
    start = (wall_ms() // step_ms - back) * step_ms
    plant = Plant(PlantSettings(simulation.assets, step_ms, simulation.seed, start))

    put, close = _output(settings, to_kafka=to_kafka)
    if simulation.labels is not None:
        simulation.labels.write_text("")

    begin = time.monotonic()
    count = 0
    for made, faults in stream(plant, kind, simulation.clean, simulation.steps):
        if simulation.labels is not None:
            with simulation.labels.open("a") as file:
                file.writelines(json.dumps(asdict(fault)) + "\n" for fault in faults)

        for at, sent in _batches(made, simulation.speed):
            if simulation.speed:
                due = begin + (at - start) / 1000 / simulation.speed
                time.sleep(max(0.0, due - time.monotonic()))
            put(sent)
            count += len(sent)

    close()
    print(f"{count} messages of {simulation.assets} assets", file=sys.stderr)
    return 0


def stream(plant: Plant, kind: str, clean: int, steps: int) -> Iterator[tuple[list[Sent], list[Label]]]:
    """Yield the messages of CHUNK steps at a time, with the faults of the rounds that begin in them."""
    faults: list[Label] = []
    rounds = begin = 0
    while not steps or begin < steps:
        end = min(begin + CHUNK, steps) if steps else begin + CHUNK

        new: list[Label] = []
        while clean + rounds * ROUND < end:
            new += fault_round(plant, clean, rounds)
            rounds += 1

        faults = [fault for fault in faults + new if plant.step(fault.end) > begin]
        yield list(messages(plant, begin, faulty_rows(plant, faults, begin, end), kind=kind)), new
        begin = end


def _batches(sent: list[Sent], speed: float) -> list[tuple[int, list[Sent]]]:
    """Group messages by the time at which they are sent; one group if they are sent as fast as possible."""
    if not speed:
        return [(sent[-1].time, sent)]
    return [(at, list(group)) for at, group in groupby(sent, key=attrgetter("time"))]


def _output(settings: Settings, *, to_kafka: bool) -> tuple[Callable[[list[Sent]], None], Callable[[], None]]:
    """Return functions that write messages and that close the output. Raises ValueError for refused options."""
    if not to_kafka:

        def to_stdout(sent: list[Sent]) -> None:
            sys.stdout.buffer.writelines(each.value + b"\n" for each in sent)
            sys.stdout.flush()

        return to_stdout, lambda: None

    if is_pattern(settings.source.topics[0]):
        raise ValueError(f"source.topics: {settings.source.topics[0]!r} is a pattern; name one topic to write to")
    sink = make_producer(settings, Metrics())
    sink.open()

    def to_topic(sent: list[Sent]) -> None:
        sink.write([Record(settings.source.topics[0], each.key, each.value) for each in sent])
        sink.flush(settings.delivery.flush_timeout_s)

    return to_topic, sink.close
