"""The parts of the chain as processes: machines, Telegraf, and the monitor's commands.

with plc(folder, 0.1) as pumps, telegraf(folder, CONFIG): ...
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.brokers import free_port
from tests.parts import program

ROOT = Path(__file__).parents[2]
READY_S = 60.0  # 2 s on an idle core
_END_S = 20.0


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} not within {seconds} s"
        time.sleep(0.2)


def environment(**more: str) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MONITOR_")}
    return {**clean, "PYTHONPATH": str(ROOT), **more}


class Machines:
    """A program of this folder that plays machines and obeys commands on its standard input."""

    def __init__(self, module: str, log: Path, *arguments: object) -> None:
        self.port = free_port()
        self._log = log
        self._command = [sys.executable, "-m", f"tests.chain.{module}", str(self.port), *map(str, arguments)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the program and wait until it prints a line."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), self._log.read_text()[-2000:]

    def do(self, command: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End the program as a power cut would. A second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=_END_S)


@contextmanager
def machines(module: str, folder: Path, *arguments: object) -> Iterator[Machines]:
    made = Machines(module, folder / f"{module}.log", *arguments)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Telegraf:
    """Telegraf with a configuration, which can be stopped and started again."""

    def __init__(self, folder: Path, config: str) -> None:
        self._binary = program("TELEGRAF", "program of Telegraf")
        self._config, self.log = folder / "telegraf.conf", folder / "telegraf.log"
        self._config.write_text(config)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its outputs are connected."""
        read = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "--config", self._config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

        def loaded() -> bool:
            text = self.log.read_text()[read:]
            assert self._process is not None
            assert self._process.poll() is None, text[-2000:]
            return "Loaded outputs" in text

        until(loaded, READY_S, "Telegraf")

    def stop(self) -> None:
        """Ask it to end, so that it writes its buffer out. A second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_END_S)


@contextmanager
def telegraf(folder: Path, config: str) -> Iterator[Telegraf]:
    made = Telegraf(folder, config)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def monitor(folder: Path, name: str, *arguments: object) -> str:
    """Run a command that must succeed, and return its output."""
    result = subprocess.run(
        [sys.executable, "-m", "monitor", name, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, f"monitor {name}: {result.stderr}{result.stdout}"
    return result.stdout


class Daemon:
    """`monitor run` in a folder. It must run until it is told to end."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.log = folder / "monitor.log"
        command = [sys.executable, "-m", "monitor", "run", *map(str, arguments), "-s", f"health.port={free_port()}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, cwd=folder, env=environment()
            )

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of the log with this event."""
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def stop(self) -> None:
        """End it as a service manager would."""
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_S)
            raise


@contextmanager
def daemon(folder: Path, *arguments: object) -> Iterator[Daemon]:
    made = Daemon(folder, *arguments)
    try:
        yield made
        made.said("")
    finally:
        made.stop()
