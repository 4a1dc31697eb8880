"""systemd notifications over a real socket, and the unit that configures them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.observe.watchdog import Notifier
from tests.rig import until

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "monitor.service"


class Supervisor:
    """A socket in systemd's place."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(100).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path.name}-{os.getpid()}")
    yield made
    made.socket.close()


def test_ready_once_then_alive_twice_per_interval(supervisor: Supervisor) -> None:
    """The first sign of life sends READY, later ones feed the watchdog every half interval, and a stop is announced."""
    now, beats = [0.0], list[float]()
    environment = {"NOTIFY_SOCKET": supervisor.address, "WATCHDOG_USEC": "10000000"}
    notifier = Notifier(environment, lambda: now[0], lambda: beats.append(now[0]))
    for second in range(11):
        now[0] = float(second)
        notifier.alive()
    notifier.stopping()
    assert supervisor.heard() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
    assert beats == list(range(11))


def test_without_a_supervisor_nothing_is_sent() -> None:
    """Without NOTIFY_SOCKET only the probes' heartbeat is called."""
    beats = list[str]()
    notifier = Notifier({}, lambda: 0.0, lambda: beats.append("alive"))
    notifier.alive()
    notifier.stopping()
    assert beats == ["alive"]


def test_a_stopped_loop_misses_the_watchdog(tmp_path: Path) -> None:
    """A real process feeds the watchdog while its loop runs, not while it is stopped, and announces its exit."""
    supervisor = Supervisor(str(tmp_path / "notify"))
    reader, writer = os.pipe()  # stays open: there is always more to wait for
    options = {
        "source.kind": "files",
        "source.paths": '["-"]',
        "outputs.kind": "files",
        "outputs.directory": str(tmp_path),
        "store.url": str(tmp_path / "store"),
        "health.enabled": "false",
    }
    flags = [f"--set={key}={value}" for key, value in options.items()]
    environment = {**os.environ, "NOTIFY_SOCKET": supervisor.address, "WATCHDOG_USEC": "400000"}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "monitor", "run", *flags],
        stdin=reader,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    heard: list[str] = []
    try:
        until(lambda: _listen(supervisor, heard) >= 3)
        assert heard[0] == "READY=1"
        daemon.send_signal(signal.SIGSTOP)
        supervisor.heard()
        supervisor.socket.settimeout(1.5)
        with pytest.raises(TimeoutError):
            supervisor.socket.recv(100)
        daemon.send_signal(signal.SIGCONT)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
        supervisor.socket.setblocking(False)
        assert supervisor.heard()[-1] == "STOPPING=1"
    finally:
        daemon.kill()
        daemon.wait()
        os.close(reader)
        os.close(writer)
        supervisor.socket.close()


def _listen(supervisor: Supervisor, heard: list[str]) -> int:
    """Return how often the watchdog was fed so far."""
    heard += supervisor.heard()
    return heard.count("WATCHDOG=1")


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-analyze is not installed")
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_the_unit_is_sound(tmp_path: Path) -> None:
    """systemd-analyze accepts the unit and rates its exposure 1.5 or less."""
    copy = tmp_path / "monitor.service"
    copy.write_text(UNIT.read_text().replace("/opt/monitor/bin/monitor", sys.executable))
    verified = analyze("verify", "--man=no", str(copy))
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = analyze("security", "--offline=true", str(UNIT)).stdout
    assert float(rated.rsplit("monitor.service: ", 1)[1].split()[0]) <= 1.5
