"""systemd notifications: sd_notify(3) with its watchdog, without a library.

The loop itself feeds the watchdog, not a thread: a loop that hangs misses the watchdog, and systemd restarts the
process. Work that is repeated for each partition calls `alive` after each of them, because a worker with 64 partitions
needs a minute for some of it. Without NOTIFY_SOCKET nothing is sent.
"""

import socket
from collections.abc import Callable, Mapping


class Notifier:
    """systemd notifications, configured by NOTIFY_SOCKET and WATCHDOG_USEC, together with the probes' heartbeat."""

    def __init__(
        self, environment: Mapping[str, str], monotonic: Callable[[], float], beat: Callable[[], None]
    ) -> None:
        """Send nothing yet.

        Args:
            environment: Variables that systemd sets.
            monotonic: Seconds.
            beat: Called with every sign of life, for the probes.
        """
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        self._interval_s = int(usec) / 2e6 if usec.isdecimal() else None  # half of it, as sd_notify(3) recommends
        self._monotonic = monotonic
        self._beat = beat
        self._fed_at = -1e9
        self._is_ready = False

    def alive(self) -> None:
        """Give a sign of life. The first call also reports the service as ready."""
        self._beat()
        if not self._address:
            return

        if not self._is_ready:
            self._send("READY=1")
            self._is_ready = True

        now = self._monotonic()
        if self._interval_s is not None and now - self._fed_at >= self._interval_s:
            self._send("WATCHDOG=1")
            self._fed_at = now

    def stopping(self) -> None:
        """Report that the service stops, which may take a while."""
        if self._address:
            self._send("STOPPING=1")
            self._address = ""  # from now on systemd waits for the exit, not for signs of life

    def _send(self, state: str) -> None:
        """Send one notification. Raises OSError: without notifications systemd would kill the service anyway."""
        abstract = self._address.startswith("@")
        address = "\0" + self._address[1:] if abstract else self._address

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(state.encode(), address)
