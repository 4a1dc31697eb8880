"""Measure whether a worker's memory is constant after all bounded memories are full.

A Kafka-compatible broker (Tansu) and `monitor run` run as processes, and this process writes the messages. It first
writes enough steps to fill every window, every score memory and the history for training. Then it writes at a steady
rate, with the normal work of a plant: scores of every window, alerts, checkpoints, snapshots every 5 s, a retraining in
a child process and the adoption of its model every 90 s, requests of Prometheus and the status page every 5 s. One
message in a thousand is invalid, and one is from an asset beyond `windows.max_assets`, each with another name.

Resident memory is read every 5 s and reported as the median of each minute. The first third of the minutes is warm-up.
A straight line is fitted to the rest (least squares). Memory is flat if the slope is within twice its standard error,
from the scatter of the minutes around the line.
"""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from confluent_kafka import Producer

from benchmarks.footprint import PARTITIONS, counter, make_model, memory_mb, monitor, until
from benchmarks.replay import make_topics
from monitor.simulator.plant import Plant, PlantSettings, Sent, messages
from tests.brokers import free_port, tansu_broker

MINUTE, RETRAIN_S = 60, 90
MORE = 128  # steps beyond the score memory: windows fill first, and the slowest asset is slightly behind
LOOK_S = 5.0
PIECE = 50  # simulated steps per piece
PATIENCE_S = 600.0


def stream(plant: Plant) -> Iterator[Sent]:
    """Yield the plant's messages endlessly, with the faults of a plant's network."""
    begin, number = 0, 0
    while True:
        for each in messages(plant, begin, plant.rows(begin, begin + PIECE)):
            number += 1
            yield each
            if number % 1000 == 0:
                yield Sent(each.key, b'{"asset": "' + each.key, each.time)
                yield Sent(each.key, each.value.replace(each.key, b"stranger-%d" % number), each.time)
        begin += PIECE


class Writer:
    """Writes the stream to the broker; `sent` counts messages."""

    def __init__(self, bootstrap: str, plant: Plant) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "log_level": 0})
        self._stream = stream(plant)
        self.sent = 0

    def write(self, count: int) -> None:
        for _ in range(count):
            each = next(self._stream)
            while True:
                try:
                    number = int(each.key.decode().rpartition("-")[2]) % PARTITIONS
                    self._producer.produce("readings", each.value, each.key, number, timestamp=each.time)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self.sent += 1
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(PATIENCE_S) == 0


def configure(folder: Path, bootstrap: str, port: int, *, assets: int, scores: int, kind: str, retrain_s: int) -> Path:
    """Write the worker's configuration, with bounds that the first steps reach."""
    blocks = assets // PARTITIONS * (scores + MORE) // 64  # of history per partition from the first steps

    path = folder / "soak.toml"
    path.write_text(f"""
name = "soak"
[source]
topics = ["readings"]
group = "soak"
[kafka]
bootstrap_servers = "{bootstrap}"
[health]
port = {port}
[windows]
max_assets = {-(-assets // PARTITIONS)}
[threshold]
kind = "{kind}"
memory = {scores}
[training]
interval_s = {retrain_s}
timeout_s = {retrain_s}
history_windows = {max(100, blocks // 2)}
[store]
url = "{folder / "store"}"
snapshot_s = 5
""")
    return path


def look(port: int) -> int:
    """Request the metrics and the page as clients do. Return the number of series."""
    with urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        answer.read()
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return sum(not line.startswith(b"#") for line in answer.read().splitlines())


def caught_up(port: int, writer: Writer, daemon: "subprocess.Popen[bytes]") -> None:
    begin = time.monotonic()
    while counter(port, "monitor_messages_total") < writer.sent:
        assert daemon.poll() is None, f"the daemon ended with {daemon.returncode}"
        assert time.monotonic() - begin < PATIENCE_S, "the worker does not catch up"
        time.sleep(0.2)


def run_steadily(minutes: float, rate: float, writer: Writer, pid: int, port: int) -> tuple[list[float], int, int]:
    """Return resident memory (MB) by minute at a steady rate, and the number of series at start and end."""
    begin, medians, samples = time.monotonic(), list[float](), list[float]()
    first = series = look(port)
    written, next_look = writer.sent, begin + LOOK_S

    while len(medians) < minutes:
        elapsed = time.monotonic() - begin
        writer.write(max(0, written + int(rate * elapsed) - writer.sent))

        if time.monotonic() >= next_look:
            next_look += LOOK_S
            series = look(port)
            samples.append(memory_mb(pid))

        if elapsed >= MINUTE * (len(medians) + 1):
            lag = writer.sent - counter(port, "monitor_messages_total")
            medians.append(float(np.median(samples)))
            print(
                f"minute {len(medians):3}: {medians[-1]:7.1f} MB, {writer.sent} sent, {lag:.0f} not read yet",
                flush=True,
            )
            samples.clear()
        time.sleep(0.05)

    return medians, first, series


def slope(minutes: list[float]) -> tuple[float, float]:
    """Return the slope in MB/h after warm-up and its standard error, infinite for three points or fewer."""
    kept = np.array(minutes[len(minutes) // 3 :])
    x = np.arange(len(kept)) / 60
    if len(kept) < 4:
        return float("nan"), float("inf")
    fitted = np.polyfit(x, kept, 1)
    scatter = float(np.sum((kept - np.polyval(fitted, x)) ** 2)) / (len(kept) - 2)
    return float(fitted[0]), float(np.sqrt(scatter / np.sum((x - x.mean()) ** 2)))


def soak(minutes: float, rate: float, assets: int, scores: int, kind: str) -> dict[str, Any]:
    """Run the soak, print and return its figures."""
    plant = Plant(PlantSettings(assets=assets))

    with tempfile.TemporaryDirectory() as name, tansu_broker() as broker:
        port = free_port()
        config = configure(
            Path(name), broker.bootstrap, port, assets=assets, scores=scores, kind=kind, retrain_s=RETRAIN_S
        )
        make_topics(config, broker)
        make_model(config)

        with (Path(name) / "log").open("wb") as log:
            daemon = subprocess.Popen(monitor("run", config), stdout=log, stderr=log)
            try:
                until(port, daemon, "source")
                until(port, daemon, "partitions")

                # Fill everything that has a bound.
                writer, begin = Writer(broker.bootstrap, plant), time.monotonic()
                writer.write(assets * (scores + MORE))
                writer.flush()
                caught_up(port, writer, daemon)
                seconds, full = time.monotonic() - begin, memory_mb(daemon.pid)
                print(f"filled: {writer.sent} messages in {seconds:.0f} s, {full:.1f} MB", flush=True)

                by_minute, first, last = run_steadily(minutes, rate, writer, daemon.pid, port)
                figures = {
                    count: counter(port, f"monitor_{count}_total")
                    for count in (
                        "alerts",
                        "messages_rejected",
                        "readings_dropped",
                        "training_runs",
                        "snapshots",
                        "windows_scored",
                    )
                }
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(60)

    rise, error = slope(by_minute)
    flat = abs(rise) <= 2 * error
    print(f"series of metrics: {first} at the start, {last} at the end; {figures}")
    print(f"slope after warm-up: {rise:.2f} ± {2 * error:.2f} MB/h: {'flat' if flat else 'NOT FLAT'}")
    return {"mb_by_minute": by_minute, "slope_mb_h": rise, "error_mb_h": error, "flat": flat, "counts": figures}
