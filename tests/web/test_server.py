"""Limits of the HTTP server on real sockets: slow, silent, greedy and malformed clients, and closing."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.web import server as module
from monitor.web.app import make_app, probe_routes
from monitor.web.server import CONNECTIONS, HEAD_BYTES, WebServer
from tests.web.clients import ask, connect, rest, serving

SOON = module.CONNECTION_S / 2  # what comes sooner was not caused by the deadline
BIG = 32 << 20  # more than two sockets buffer


async def _echo(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def _big(_: Request) -> Response:
    return Response(b"x" * BIG)


async def _stream(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BIG >> 16):
            yield b"x" * (1 << 16)

    return StreamingResponse(pieces())


async def _late(_: Request) -> Response:
    await asyncio.sleep(0.2)
    return Response()


ROUTES = [
    *probe_routes(Health(1e9, ()), Metrics()),
    Route("/echo", _echo, methods=["POST"]),
    Route("/big", _big),
    Route("/stream", _stream),
    Route("/late", _late),
]


@pytest.fixture
def server() -> Iterator[WebServer]:
    with serving(make_app(ROUTES)) as server:
        yield server


@pytest.mark.parametrize("line", [b"GET", b"GET /livez FTP/1.0", b"GET / / HTTP/1.1", b"\xff\xfe <script> HTTP/9"])
def test_a_malformed_request_gets_a_bare_status(server: WebServer, line: bytes) -> None:
    """A malformed request is 400, and the response repeats nothing of it."""
    with connect(server) as client:
        client.sendall(line + b"\r\n\r\n")
        received = rest(client)
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert received.endswith(b"\r\n\r\nBad Request\n")


@pytest.mark.parametrize("path", [b"/echo", b"/big", b"/livez"])
def test_a_malformed_body_ends_the_connection(
    server: WebServer, path: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """A chunk that is none is 400 or the end of the connection, and nothing is logged for it."""
    with connect(server) as client:
        client.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnothing\r\n\r\n")
        assert rest(client)[:12] in {b"", b"HTTP/1.1 400"}
    assert ask(server, "/livez")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_malformed_body_after_the_response_began_ends_the_connection(
    server: WebServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that is malformed while its response is on the way is disconnected, and nothing is logged for it."""
    with connect(server) as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        client.sendall(b"nothing\r\n\r\n")
        begin = time.monotonic()
        assert len(rest(client)) < BIG
        assert time.monotonic() - begin < SOON
    assert ask(server, "/livez")[0] == 200
    assert [record.message for record in caplog.records] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"x" * HEAD_BYTES,
        b"GET /" + b"x" * HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * HEAD_BYTES,
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * HEAD_BYTES + b"\r\n",
    ],
    ids=["line", "whole line", "headers", "whole headers"],
)
@pytest.mark.parametrize("size", [1 << 20, 1000], ids=["at once", "in pieces"])
def test_a_long_head_is_disconnected(server: WebServer, request_: bytes, size: int) -> None:
    """A request line or headers beyond the limit end the connection at once, without a response."""
    begin = time.monotonic()
    with connect(server) as client:
        with suppress(ConnectionResetError, BrokenPipeError):  # disconnected before all was sent
            for start in range(0, len(request_), size):
                client.sendall(request_[start : start + size])
        assert rest(client) == b""
    assert time.monotonic() - begin < SOON


def test_a_head_of_the_largest_size_is_answered(server: WebServer) -> None:
    """A head of exactly the limit is answered, also with a body right behind it."""
    start, end = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\nA: ", b"\r\n\r\n"
    head = start + b"a" * (HEAD_BYTES - len(start) - len(end)) + end
    with connect(server) as client:
        client.sendall(head + b"x" * 9000)
        assert rest(client).endswith(b"9000 bytes")


@pytest.mark.parametrize(
    "begin_with", [b"", b"GET /", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"],
    ids=["nothing", "line", "body"],
)  # fmt: skip
def test_a_slow_client_runs_out_of_time(server: WebServer, monkeypatch: pytest.MonkeyPatch, begin_with: bytes) -> None:
    """A client that sends a byte of its head or body now and then is disconnected when its time is over."""
    monkeypatch.setattr(module, "CONNECTION_S", 0.3)
    begin = time.monotonic()
    with connect(server) as client, suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(begin_with)
        while time.monotonic() - begin < SOON:
            client.sendall(b"x")
            time.sleep(0.02)
    assert 0.3 <= time.monotonic() - begin < SOON


def test_a_slow_reader_runs_out_of_time(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not take its response is disconnected when its time is over."""
    monkeypatch.setattr(module, "CONNECTION_S", 0.3)
    with connect(server) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.6)
        assert len(rest(client)) < BIG


def test_silent_clients_do_not_lock_others_out(server: WebServer) -> None:
    """However many clients connect and send nothing, another is answered, and the oldest are disconnected."""
    threads = threading.active_count()
    silent = [connect(server) for _ in range(CONNECTIONS * 2)]
    begin = time.monotonic()
    assert ask(server, "/livez")[0] == 200
    for client in silent[: CONNECTIONS + 1]:
        assert rest(client) == b""
    assert time.monotonic() - begin < SOON

    assert threading.active_count() <= threads
    newest = silent[-1]
    newest.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert rest(newest).startswith(b"HTTP/1.1 200 ")
    for client in silent:
        client.close()


def test_a_slow_endpoint_does_not_delay_a_probe() -> None:
    """While a scrape takes long, /livez is answered."""
    held, release = threading.Event(), threading.Event()

    class Slow(Metrics):
        def render(self) -> bytes:
            held.set()
            release.wait(10)
            return b""

    with serving(make_app(probe_routes(Health(10, ()), Slow()))) as server, connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.wait(10)
        assert ask(server, "/livez")[0] == 200
        release.set()
        assert rest(client).startswith(b"HTTP/1.1 200 ")


def test_one_request_per_connection(server: WebServer) -> None:
    """A second request on a connection is not answered."""
    with connect(server) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        received = rest(client)
    assert received.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close" in received


def test_a_client_may_stop_sending_after_its_request(server: WebServer) -> None:
    """A client that shuts down its side after the request is answered; with half a request it is disconnected."""
    for text, answer in ((b"GET /late HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 "), (b"GET /livez HT", b"")):
        with connect(server) as client:
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            begin = time.monotonic()
            received = rest(client)
            assert received.startswith(answer)
            assert bool(received) is bool(answer)
            assert time.monotonic() - begin < SOON


def test_closing_does_not_wait_for_clients() -> None:
    """Closing disconnects every client, frees the port, and may be repeated."""
    app = make_app(ROUTES)
    server = WebServer(app, "127.0.0.1", 0)
    server.open()
    port = server.port
    with connect(server) as client, connect(server) as reader:
        client.sendall(b"GET /li")
        reader.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reader.recv(12) == b"HTTP/1.1 200"
        assert ask(server, "/livez")[0] == 200  # so the ones before it were accepted
        begin = time.monotonic()
        server.close()
        assert rest(client) == b""
        assert len(rest(reader)) < BIG
        assert time.monotonic() - begin < module.CLOSE_S / 2
    server.close()
    assert "http" not in {thread.name for thread in threading.enumerate()}

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    again = WebServer(app, "127.0.0.1", port)
    again.open()
    assert again.port == port
    again.close()


def test_closing_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that hangs delays closing by no more than the limit."""
    monkeypatch.setattr(module, "CLOSE_S", 0.5)
    held, release = threading.Event(), threading.Event()

    async def hang(_: Request) -> Response:
        held.set()
        await asyncio.to_thread(release.wait, 20)
        return Response()

    with serving(make_app([Route("/hang", hang)])) as server, connect(server) as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.wait(10)
        begin = time.monotonic()
        server.close()
        assert time.monotonic() - begin < SOON
        release.set()
    server._thread.join(10)
    assert not server._thread.is_alive()


def test_a_port_in_use_is_an_error(server: WebServer) -> None:
    """A port that another process listens on raises OSError with the address when the server is opened."""
    with pytest.raises(OSError, match="in use") as raised:
        WebServer(make_app(()), "127.0.0.1", server.port).open()
    assert "127.0.0.1" in str(raised.value)
    assert str(server.port) in str(raised.value)


def test_ipv6() -> None:
    """An address of IPv6 can be listened on."""
    server = WebServer(make_app(ROUTES), "::1", 0)
    try:
        server.open()
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
    try:
        with socket.create_connection(("::1", server.port), timeout=10) as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert rest(client).startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        server.close()


def test_a_client_does_not_hold_the_process() -> None:
    """A process whose server is open and has a client that sends nothing ends when its main thread does."""
    code = """if True:
        import socket
        from monitor.observe.health import Health
        from monitor.observe.metrics import Metrics
        from monitor.web import server
        from monitor.web.app import make_app, probe_routes
        server.CONNECTION_S = 60
        made = server.WebServer(make_app(probe_routes(Health(10, ()), Metrics())), "127.0.0.1", 0)
        made.open()
        client = socket.create_connection(("127.0.0.1", made.port))
        for path in (b"/livez", b"/metrics"):
            other = socket.create_connection(("127.0.0.1", made.port))
            other.sendall(b"GET " + path + b" HTTP/1.0\\r\\n\\r\\n")
            assert other.recv(12) == b"HTTP/1.1 200"
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
