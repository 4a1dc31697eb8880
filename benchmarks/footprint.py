"""Measure the daemon's start time, its memory, idle and busy, and readings per second over a real broker.

    python -m benchmarks.footprint [--assets 200] [--steps 600] [--json FILE]

A Kafka-compatible broker (Tansu) and `monitor run` run as processes. The daemon starts on an empty topic with a trained
model. Then the simulated plant's readings (8 channels per asset, json_wide) are written all at once. The time is
measured from the first read message to the last, including snapshots and all outputs.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import numpy as np
from confluent_kafka import Producer

from benchmarks.replay import configuration, make_topics
from monitor.simulator.plant import NAMES, Plant, PlantSettings, Sent, messages
from tests.brokers import Broker, free_port, tansu_broker

LEARNED = 1600  # steps of eight assets for the model
PARTITIONS = 3  # of the topics that replay makes
PATIENCE_S = 300.0


def memory_mb(pid: int | str, name: str = "VmRSS") -> float:
    """Return the resident memory of a process, current or peak (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no {name} of process {pid}")


def counter(port: int, name: str) -> float:
    """Return a counter of the daemon, summed over its labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def until(port: int, daemon: "subprocess.Popen[bytes]", condition: str) -> float:
    """Wait until /readyz no longer shows the condition, and return the seconds."""
    begin = time.monotonic()
    while time.monotonic() - begin < PATIENCE_S:
        assert daemon.poll() is None, f"the daemon ended with {daemon.returncode}"
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                return time.monotonic() - begin
        except HTTPError as answer:
            if f"{condition}:" not in answer.read().decode():
                return time.monotonic() - begin
        except (URLError, ConnectionError, TimeoutError):  # not listening yet, or too busy to answer
            pass
        time.sleep(0.02)
    raise TimeoutError(f"{condition} did not hold")


def make_model(config: Path) -> None:
    """Train a model of the plant with `monitor train`."""
    plant = Plant(PlantSettings(assets=8))
    for asset, rows in zip(plant.names, plant.rows(0, LEARNED), strict=True):
        time_ms = np.array([plant.time(step) for step in range(LEARNED)])
        np.savez(config.parent / f"{asset}.npz", time=time_ms, values=rows, channels=np.array(NAMES))
    files = map(str, sorted(config.parent.glob("pump-*.npz")))
    subprocess.run([*monitor("train", config), *files], check=True, capture_output=True)


def monitor(command: str, config: Path) -> list[str]:
    return [sys.executable, "-m", "monitor", command, "-c", str(config)]


def produce(broker: Broker, sent: Sequence[Sent]) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 20, "log_level": 0})
    for each in sent:
        number = int(each.key.decode().rpartition("-")[2]) % PARTITIONS
        while True:
            with suppress(BufferError):
                producer.produce("readings", each.value, each.key, number, timestamp=each.time)
                break
            producer.poll(0.1)
    assert producer.flush(PATIENCE_S) == 0


def measure(assets: int, steps: int) -> dict[str, Any]:
    """Return the figures."""
    plant = Plant(PlantSettings(assets=assets))
    sent = list(messages(plant, 0, plant.rows(0, steps)))

    with tempfile.TemporaryDirectory() as name, tansu_broker() as broker:
        port = free_port()
        lines = f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"\n[health]\nport = {port}'
        config = configuration(Path(name), lines)
        make_topics(config, broker)
        make_model(config)

        with (Path(name) / "log").open("wb") as log:
            daemon = subprocess.Popen(monitor("run", config), stdout=log, stderr=log)
            try:
                first_poll = until(port, daemon, "source")
                until(port, daemon, "partitions")  # the broker's time to form a group, which is not reported
                idle = memory_mb(daemon.pid)

                produce(broker, sent)
                begin, first = time.monotonic(), counter(port, "monitor_messages_total")
                while (done := counter(port, "monitor_messages_total")) < len(sent):
                    assert time.monotonic() - begin < PATIENCE_S, f"{done:.0f} of {len(sent)} messages"
                    time.sleep(0.1)
                seconds = time.monotonic() - begin
                scored = counter(port, "monitor_windows_scored_total")
                busy = memory_mb(daemon.pid, "VmHWM")
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(60)

    return {
        "assets": assets,
        "channels": len(NAMES),
        "readings": len(sent) * len(NAMES),
        "first_poll_s": round(first_poll, 1),
        "idle_mb": round(idle),
        "busy_mb": round(busy),
        "readings_per_s": round((len(sent) - first) * len(NAMES) / seconds),
        "windows_scored": round(scored),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=200)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.assets, arguments.steps), indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
