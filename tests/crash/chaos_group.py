"""The worker processes of a chaos run, and their logs.

A worker is `python -m monitor run` with a configuration file of its own; all share a consumer group and a
store. One that ends without having been told to is started again and counted: a supervisor would do the same. One that
is supervised is also killed and started again when it falls silent, as systemd does (WatchdogSec in deploy/systemd).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from monitor.settings.load import load, render

ROOT = Path(__file__).parents[2]
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
_WATCHDOG_S = 30.0  # without a sign of life; a flush or a commit may take 20 s while the broker is away
_LEAVE_S = 45.0  # for a worker told to stop: its last checkpoint, closing, and its own grace period


@dataclass(frozen=True, slots=True)
class Tenure:
    """A worker process was assigned a partition."""

    partition: int
    committed: int  # offset from which on it publishes
    begin: float  # seconds since the epoch
    end: float  # when the process ended, at the latest; it may have given the partition up before
    worker: int


class Watchdog:
    """The supervisor's end of sd_notify(3) for one process."""

    def __init__(self) -> None:
        name = f"monitor-{uuid4().hex}"
        self.environment = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": f"{_WATCHDOG_S * 1e6:.0f}"}
        self._heard: float | None = None  # None = not a word yet: it is starting
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}")
        self._socket.setblocking(False)

    def silent(self) -> bool:
        """Return whether the process has been silent for too long."""
        with suppress(BlockingIOError):
            while self._socket.recv(100):
                self._heard = time.monotonic()
        return self._heard is not None and time.monotonic() - self._heard > _WATCHDOG_S

    def close(self) -> None:
        self._socket.close()


class Worker:
    """One place in the group, filled by one process after another."""

    def __init__(self, number: int, config: Path, log: Path) -> None:
        self.number = number
        self.frozen = False
        self.role = "all"
        self.program: tuple[str, ...] = ("monitor",)  # module, and arguments before those of `run`
        self.supervised = False  # somebody calls `watch` every few seconds
        self.surprises: list[int] = []  # exit codes of processes that ended by themselves
        self.stalls = 0  # processes that were killed because they had fallen silent
        self._watchdog: Watchdog | None = None
        self._config, self._log = config, log
        self._process: subprocess.Popen[bytes] | None = None
        self._lives: list[tuple[Path, float]] = []  # log and end of each process that has ended
        self._file = log

    def start(self) -> None:
        """Start a process."""
        self._file = self._log.with_name(f"{self._log.stem}-{len(self._lives):02d}.jsonl")
        run = ["-m", *self.program, "run", "-c", str(self._config), "--role", self.role]
        command = ["nice", "-n", "5", sys.executable, *run]
        environment = _ENVIRONMENT
        if self.supervised:
            self._watchdog = Watchdog()
            environment = {**_ENVIRONMENT, **self._watchdog.environment}
        with self._file.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def ready(self) -> bool:
        """Return whether the process was assigned a partition at least once."""
        return self.told("partition assigned")

    def told(self, event: str) -> bool:
        """Return whether the process has logged this event."""
        return event.encode() in self._file.read_bytes()

    def kill(self) -> None:
        self._opened().send_signal(signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        """Send SIGTERM and wait. An exit code other than 0 is a surprise, unless the process was still starting."""
        begun = self._file.stat().st_size > 0
        self._opened().send_signal(signal.SIGTERM)
        code = self._ended()
        if code != 0 and (begun or code != -signal.SIGTERM):
            self.surprises.append(code)

    def freeze(self) -> None:
        self._opened().send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self._opened().send_signal(signal.SIGCONT)
        self.frozen = False

    def watch(self) -> None:
        """Restart the process if it has ended or fallen silent."""
        if self._process is not None and self._process.poll() is not None:
            self.surprises.append(self._ended())
            self.start()
        elif self._watchdog is not None and self._watchdog.silent():
            self.stalls += 1
            self.kill()
            self.start()

    def end(self) -> None:
        """End the process if there is one."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._forget_the_watchdog()

    def tenures(self) -> list[Tenure]:
        """Return the tenures of all processes so far."""
        now = time.time()
        lives = [*self._lives, (self._file, now)] if self._process is not None else self._lives
        return [
            Tenure(line["partition"], line["committed"] or 0, seconds(line["timestamp"]), end, self.number)
            for log, end in lives
            for line in lines(log)
            if line["event"] == "partition assigned"
        ]

    def logs(self) -> list[Path]:
        return [log for log, _ in self._lives]

    def _opened(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "start() comes first"
        return self._process

    def _ended(self) -> int:
        """Wait for the end of the process and return its exit code."""
        process = self._opened()
        try:
            code = process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self._lives.append((self._file, time.time()))
        self._process = None
        self._forget_the_watchdog()
        return code

    def _forget_the_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None


def lines(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, without those that a kill has cut off or a library has written."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            parsed = json.loads(line)
        except ValueError:
            continue
        if isinstance(parsed, dict):
            found.append(parsed)
    return found


def seconds(timestamp: str) -> float:
    """Convert the time of a log line to seconds since the epoch."""
    return datetime.fromisoformat(timestamp).timestamp()


def make_workers(folder: Path, settings: Mapping[str, Any], options: Sequence[Mapping[str, Any]]) -> list[Worker]:
    """Make a worker for each element of `options`, which are librdkafka's. All have the same settings."""
    made = []
    for number, own in enumerate(options):
        config = folder / f"worker-{number}.toml"
        config.write_text(render(load(None, {}, {**settings, "kafka.options": own})))
        made.append(Worker(number, config, folder / f"worker-{number}.jsonl"))
    return made
