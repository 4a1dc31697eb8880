"""Tells the probes and systemd that the loop is alive: sd_notify(3) and its watchdog, without a library.

The watchdog is fed by the loop itself, not by a thread beside it: a loop that hangs misses it and is started again.
Work that is done once per partition says so after each, for a worker of 64 partitions takes a minute over some of it.
Where the environment names no socket, systemd is told nothing.
"""

import socket
from collections.abc import Callable, Mapping


class Notifier:
    """The way to the supervisor, from the variables it sets: NOTIFY_SOCKET, WATCHDOG_USEC; `beat` is for the probes."""

    def __init__(
        self, environment: Mapping[str, str], monotonic: Callable[[], float], beat: Callable[[], None]
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        self._interval_s = int(usec) / 2e6 if usec.isdecimal() else None  # half of it, as sd_notify(3) recommends
        self._monotonic, self._beat = monotonic, beat
        self._fed_at = -1e9
        self._is_ready = False

    def alive(self) -> None:
        """The loop went round or got on: the first time it is ready, and from then on it lives."""
        self._beat()
        if not self._address:
            return
        if not self._is_ready:
            self._send("READY=1")
            self._is_ready = True
        if self._interval_s is not None and self._monotonic() - self._fed_at >= self._interval_s:
            self._send("WATCHDOG=1")
            self._fed_at = self._monotonic()

    def stopping(self) -> None:
        """It leaves, and may take a while."""
        if self._address:
            self._send("STOPPING=1")
            self._address = ""  # systemd waits for the end now, not for signs of life

    def _send(self, state: str) -> None:
        """Raises OSError: a supervisor that cannot be told would kill the service for being silent."""
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
            way.sendto(state.encode(), address)
