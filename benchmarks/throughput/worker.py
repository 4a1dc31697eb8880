"""`monitor run` as a process on one core, and its figures: messages, processor time, memory, seconds per stage.

Processor time is that of the whole process, including librdkafka's threads, from /proc. Other load on the machine makes
a run longer, but hardly changes its processor time.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.throughput.fleet import PATIENCE_S
from monitor.settings.load import load, render
from monitor.settings.tree import Settings
from tests.brokers import free_port

STAGES = ("decode", "windows", "score", "limits", "threshold", "alerting", "output")
TICK = os.sysconf("SC_CLK_TCK")
LOOK_S = 0.25  # between two requests of /metrics, each of which costs the worker some 2 ms
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}


@dataclass(frozen=True)
class Mark:
    """Figures of a worker at one moment."""

    at: float  # seconds, monotonic
    cpu_s: float
    rss_mb: float
    counters: Mapping[str, float]  # from /metrics, labels included

    def __getitem__(self, name: str) -> float:
        """Return a counter, summed over its labels."""
        return sum(value for key, value in self.counters.items() if key.split("{")[0] == name)

    def stage(self, name: str) -> float:
        """Return the seconds of a stage so far."""
        return self.counters.get(f'monitor_stage_seconds_total{{stage="{name}"}}', 0.0)


class Worker:
    """A worker with its own configuration file; `command` is followed by that file's path."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], cpu: int, command: Sequence[str]) -> None:
        self.port = free_port()
        self.settings: Settings = load(None, {}, {**settings, "health.port": self.port, "log.format": "json"})
        self._config, self._log = folder / f"{self.port}.toml", folder / f"{self.port}.log"
        self._cpu, self._command = cpu, command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was started"
        return self._process.pid

    def start(self) -> None:
        """Start the worker on its core, like `taskset`, while it has only one thread."""
        self._config.write_text(render(self.settings))
        command = [sys.executable, "-m", *self._command, str(self._config)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_ENVIRONMENT
            )
        os.sched_setaffinity(self._process.pid, {self._cpu % (os.cpu_count() or 1)})

    def wait_for(self, partitions: int) -> None:
        """Wait until the worker owns this many partitions."""
        begin = time.monotonic()
        while True:
            try:
                if self.mark()["monitor_partitions_assigned"] == partitions:
                    return
            except (URLError, ConnectionError):  # not listening yet
                pass
            assert time.monotonic() - begin < PATIENCE_S, f"no {partitions} partitions: {self.end_of_log()}"
            time.sleep(LOOK_S)

    def mark(self) -> Mark:
        """Return the current figures. Raise URLError or ConnectionError while the worker does not listen."""
        self.alive()
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        counters = {name: float(value) for name, value in pairs}
        return Mark(time.monotonic(), cpu_s(self.pid), rss_mb(self.pid), counters)

    def alive(self) -> None:
        """Raise AssertionError with the end of the log if the worker has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.end_of_log()

    def end_of_log(self) -> str:
        return self._log.read_text()[-3000:]

    def end(self) -> tuple[float, float]:
        """Stop the worker. Return processor and wall time of its last checkpoint with all snapshots."""
        before, begin = cpu_s(self.pid), time.monotonic()
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        assert self._process.returncode == 0, self.end_of_log()
        return used.ru_utime + used.ru_stime - before, time.monotonic() - begin

    def kill(self) -> None:
        """Kill the worker unless it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            self._process.wait()


def cpu_s(pid: int) -> float:
    """Return the processor time of a process with all its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def drained(workers: Sequence[Worker], messages: int) -> list[Mark]:
    """Wait until these workers together have read this many messages. Return a mark of each."""
    begin = time.monotonic()
    while True:
        marks = [worker.mark() for worker in workers]
        done = sum(mark["monitor_messages_total"] for mark in marks)
        if done >= messages:
            return marks
        assert time.monotonic() - begin < PATIENCE_S, f"{done:.0f} of {messages} messages"
        time.sleep(LOOK_S)
