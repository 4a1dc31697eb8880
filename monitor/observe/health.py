"""Whether the daemon lives and is ready, and the small HTTP server that tells it.

    /livez     200 while the loop's last beat is younger than `stalled_s`, else 503: restart the process
    /readyz    200 while every condition holds, else 503 with a line for each that does not: do not restart, look there
    /metrics   what metrics.py renders
    /, /status.json   the page for people, and what it shows (page.py), where it is not turned off

A condition does not hold until somebody said so: what is unknown is not ready. The loop's beat begins with the process,
so a start that hangs is seen, too.

The server faces whoever reaches the port, so a client gets one short request, a few seconds, and one answer. When
clients hold all connections, the oldest is hung up on: a scrape takes milliseconds, so it is never the oldest one.
It has no TLS and asks nobody who he is; nothing secret is told here. Bind it to an address that only operators reach.

A page of somebody else's, open in an operator's browser, can have its own name resolved to our address and then read
what we answer. The browser sends that name as Host, so the status page, which shows assets and their readings, is
refused with 421 under names that we are not known by. An address, and a name without a dot, nobody can have resolved to
where he wants. Probes and Prometheus, to which nothing of that is told, are answered under any name.
"""

import ipaddress
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from monitor.observe.metrics import CONTENT_TYPE, Metrics
from monitor.web.page import HTML, POLICY, Page

REQUEST_BYTES = 8192  # request line and headers; a browser with cookies sends 2,000
PATIENCE_S = 5.0  # for the request to arrive, and again for the answer to be taken
CONNECTIONS = 32  # at a time, a thread each; probes and two Prometheus servers take 4
REASON_CHARS = 500  # of a condition's reason; librdkafka's longest complaints have 300
_MISDIRECTED = b"not known by this name: ask by address, or add it to health.names\n"
_CLOSE_S = 0.1  # how long closing may take to be noticed

_log = logging.getLogger(__name__)


class Health:
    """The state that the loop tells and the probes ask for; any thread may do either."""

    def __init__(
        self, stalled_s: float, conditions: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """See the module.

        Args:
            stalled_s: A loop that did not beat for so long hangs.
            conditions: Names of what must hold to be ready, in the order they are told in.
            clock: Seconds that never run backwards.
        """
        self._stalled_s = stalled_s
        self._clock = clock
        self._beat = clock()
        self._wrong: dict[str, str | None] = dict.fromkeys(conditions, "not known yet")  # None = holds

    def beat(self) -> None:
        """The loop goes round."""
        self._beat = self._clock()

    def set(self, name: str, ok: bool, reason: str = "") -> None:
        """Say whether a condition holds, and why not. Raises KeyError if it is not one of those given."""
        if name not in self._wrong:
            raise KeyError(f"no condition {name!r}")
        self._wrong[name] = None if ok else _clean(reason) or "does not hold"

    def live(self) -> tuple[bool, str]:
        """Whether the loop goes round, and the age of its last beat."""
        age = self._clock() - self._beat
        return age < self._stalled_s, f"last beat {age:.1f} s ago, stalled from {self._stalled_s:g} s\n"

    def ready(self) -> tuple[bool, str]:
        """Whether every condition holds, and a line for each that does not."""
        wrong = [f"{name}: {reason}\n" for name, reason in self._wrong.copy().items() if reason is not None]
        return not wrong, "".join(wrong) or "ready\n"


class HealthServer:
    """The HTTP server, on a thread of its own. Port 0 = any that is free; `port` tells which one."""

    def __init__(
        self,
        health: Health,
        metrics: Metrics,
        host: str,
        port: int,
        page: Page | None = None,
        *,
        names: Iterable[str] = (),
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._page = page
        self._host = host
        self._names = frozenset(name.lower() for name in (*names, host, socket.gethostname()))
        self.port = port

    def open(self) -> None:
        """Listen and answer. Raises OSError if the address cannot be bound."""
        self._server = _Server(self._health, self._metrics, self._page, self._host, self.port, names=self._names)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_CLOSE_S,), name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and hang up on whoever is connected. A second close does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """Threads that end with the process, and a bound on their number."""

    daemon_threads = True
    request_queue_size = 128  # clients that wait to be accepted; beyond it, a connection takes a second

    def __init__(
        self, health: Health, metrics: Metrics, page: Page | None, host: str, port: int, *, names: Collection[str]
    ) -> None:
        self.health = health
        self.metrics = metrics
        self.page = page
        self.names = names
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, None] = {}  # oldest first
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Not HTTPServer's, which asks the DNS for a name that nobody needs and may wait long for it."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._connections) >= CONNECTIONS:
                self._hang_up(next(iter(self._connections)))
            self._connections[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            for connection in tuple(self._connections):
                self._hang_up(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - who it was does not matter
        """A client that went away is no error; anything else is one of ours."""
        if not isinstance(sys.exception(), OSError):
            _log.error("health request failed", exc_info=True)

    def _hang_up(self, connection: socket.socket) -> None:
        """Wake the thread that waits for this client; it then closes the socket. Called with the lock held."""
        del self._connections[connection]
        with suppress(OSError):  # the client was faster
            connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request of a client."""

    server: _Server
    default_request_version = "HTTP/1.0"  # 0.9 is answered without a status

    def setup(self) -> None:
        super().setup()
        self.rfile.close()  # it would wait for each byte anew, and read without a bound
        self.rfile = BytesIO(_request(self.connection))
        self.connection.settimeout(PATIENCE_S)  # for the answer as a whole

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/metrics":
            self._answer(HTTPStatus.OK, self.server.metrics.render(), CONTENT_TYPE)
        elif path in {"/livez", "/readyz"}:
            ok, text = self.server.health.live() if path == "/livez" else self.server.health.ready()
            self._answer(HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE, text.encode())
        elif self.server.page is not None and path in {"/", "/status.json"}:
            self._show(self.server.page, path, query)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def _show(self, page: Page, path: str, query: str) -> None:
        if not all(_known(host, self.server.names) for host in self.headers.get_all("Host", ())):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, _MISDIRECTED)
            return
        if path == "/":
            self._answer(HTTPStatus.OK, HTML, "text/html; charset=utf-8")
            return
        try:
            answer = page.answer(query)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        self._answer(HTTPStatus.OK, answer, "application/json")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """The bare status: nothing of the request is repeated to whoever sent it."""
        status = HTTPStatus(code)
        if status == HTTPStatus.NOT_IMPLEMENTED:  # so the library calls a method that we do not have
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._answer(status, f"{status.phrase}\n".encode())

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "monitor"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing: a line for each probe would bury the rest."""


def _request(connection: socket.socket) -> bytes:
    """Request line and headers; empty if they are too long, or do not arrive in time as a whole."""
    deadline = time.monotonic() + PATIENCE_S
    head = b""
    while b"\r\n\r\n" not in head:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        received = connection.recv(REQUEST_BYTES)
        head += received
        if not received or len(head) > REQUEST_BYTES:
            return b""
    return head


def _known(host: str, names: Collection[str]) -> bool:
    """Whether a Host header is an address, a name without a dot, or one of `names`."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if "." not in name or name in names:
            return True
        ipaddress.ip_address(name)
    except ValueError:  # no address, or no host at all
        return False
    return True


def _clean(reason: str) -> str:
    """One line of printable characters, so that no text from outside can look like another condition."""
    printable = "".join(char if char.isprintable() else " " for char in reason[:REASON_CHARS])
    return " ".join(printable.split())
