"""HTTP clients on real sockets, well-behaved and others."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.types import ASGIApp

from monitor.web.server import WebServer


@contextmanager
def serving(app: ASGIApp) -> Iterator[WebServer]:
    """Serve an application on a free port."""
    server = WebServer(app, "127.0.0.1", 0)
    server.open()
    try:
        yield server
    finally:
        server.close()


def ask(server: WebServer, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and body of the response."""
    response, body = request(server, path, method)
    return response.status, body


def request(
    server: WebServer, path: str, method: str = "GET", body: bytes | Iterator[bytes] | None = None
) -> tuple[http.client.HTTPResponse, str]:
    """Return the response and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response, response.read().decode()
    finally:
        connection.close()


def connect(server: WebServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def rest(client: socket.socket) -> bytes:
    """Return all that comes until the server disconnects."""
    received = b""
    with suppress(ConnectionResetError):  # the server disconnected with bytes unread
        while part := client.recv(65_536):
            received += part
    return received
