"""What probes, Prometheus, and clients of ill will get from the health server."""

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from monitor.observe import health as module
from monitor.observe.health import CONNECTIONS, REQUEST_BYTES, Health, HealthServer
from monitor.observe.metrics import Metrics


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(10, ("restored", "kafka"), clock)


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    server = HealthServer(health, Metrics(), "127.0.0.1", 0)
    server.open()
    yield server
    server.close()


def _ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    answer, body = _answer(server, path, method)
    return answer.status, body


def _answer(server: HealthServer, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


def _connect(server: HealthServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def _rest(client: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    received = b""
    with suppress(ConnectionResetError):  # the server hung up on something it had not read
        while part := client.recv(65_536):
            received += part
    return received


def test_alive_while_the_loop_beats(server: HealthServer, health: Health, clock: Clock) -> None:
    """/livez is 200 up to the limit after the last beat, then 503 with the age, and 200 again after a beat."""
    clock.now += 9.9
    assert _ask(server, "/livez") == (200, "last beat 9.9 s ago, stalled from 10 s\n")
    clock.now += 0.1
    assert _ask(server, "/livez") == (503, "last beat 10.0 s ago, stalled from 10 s\n")
    health.beat()
    assert _ask(server, "/livez") == (200, "last beat 0.0 s ago, stalled from 10 s\n")


def test_ready_when_all_conditions_hold(server: HealthServer, health: Health) -> None:
    """/readyz is 503 with a line for each condition that does not hold or is not known yet, else 200."""
    assert _ask(server, "/readyz") == (503, "restored: not known yet\nkafka: not known yet\n")
    health.set("kafka", ok=False, reason="SSL handshake failed")
    health.set("restored", ok=True)
    assert _ask(server, "/readyz") == (503, "kafka: SSL handshake failed\n")
    health.set("kafka", ok=True, reason="of no interest")
    assert _ask(server, "/readyz") == (200, "ready\n")
    health.set("restored", ok=False)
    assert _ask(server, "/readyz") == (503, "restored: does not hold\n")


def test_a_condition_nobody_named_is_refused(health: Health) -> None:
    """A condition that was not given at the start raises KeyError, since nobody would wait for it."""
    with pytest.raises(KeyError, match="kafak"):
        health.set("kafak", ok=True)


def test_reasons_are_one_printable_line(server: HealthServer, health: Health) -> None:
    """Control characters, line ends and lone surrogates in a reason become spaces, and a long one is cut."""
    health.set("restored", ok=False, reason="a\r\nkafka: fine\x1b[2J\x00\u2028\u202e\ud800 ä")
    health.set("kafka", ok=False, reason="x" * 100_000)
    assert _ask(server, "/readyz") == (503, f"restored: a kafka: fine [2J ä\nkafka: {'x' * 500}\n")


def test_metrics_are_served(server: HealthServer) -> None:
    """/metrics is the text that Prometheus reads, under its content type."""
    answer, body = _answer(server, "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "\nmonitor_messages_total 0.0\n" in body


def test_other_paths_are_not_found(server: HealthServer) -> None:
    """Paths are exact but for a query; anything else is 404, and the answer repeats nothing of it."""
    assert _ask(server, "/livez?verbose")[0] == 200
    for path in ("/", "/livez/", "/LIVEZ", "/metrics.html", "/../metrics", "/<b>"):
        assert _ask(server, path) == (404, "Not Found\n")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/none"])
def test_head_is_get_without_a_body(server: HealthServer, path: str) -> None:
    """HEAD has the status and the headers of GET, and no body."""
    get, _ = _answer(server, path)
    head, body = _answer(server, path, "HEAD")
    assert (head.status, body) == (get.status, "")
    assert head.headers.keys() == get.headers.keys()
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "setup", "GETS"])
def test_nothing_can_be_done_but_read(server: HealthServer, method: str) -> None:
    """Any other method is 405, with those that are allowed."""
    answer, body = _answer(server, "/livez", method)
    assert (answer.status, answer.headers["Allow"], body) == (405, "GET, HEAD", "Method Not Allowed\n")


@pytest.mark.parametrize("line", [b"GET", b"GET /livez FTP/1.0", b"GET / / HTTP/1.1", b"\xff\xfe <script> HTTP/9"])
def test_nonsense_gets_a_bare_status(server: HealthServer, line: bytes) -> None:
    """A request that is none is 400, and the answer repeats nothing of it."""
    with _connect(server) as client:
        client.sendall(line + b"\r\n\r\n")
        received = _rest(client)
    assert received.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert received.endswith(b"\r\n\r\nBad Request\n")


def test_it_does_not_say_what_it_runs_on(server: HealthServer, capfd: pytest.CaptureFixture[str]) -> None:
    """No answer names Python or its version, and no request is written to the process's own output."""
    for path in ("/livez", "/none"):
        answer, _ = _answer(server, path)
        assert answer.headers["Server"] == "monitor"
        assert "python" not in str(answer.headers).lower()
    _ask(server, "/livez", "POST")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "request_", [b"GET /" + b"x" * REQUEST_BYTES, b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * REQUEST_BYTES]
)
def test_a_long_request_is_hung_up_on(server: HealthServer, request_: bytes) -> None:
    """A request line or headers beyond the bound end the connection at once, without an answer."""
    begin = time.monotonic()
    with _connect(server) as client:
        with suppress(ConnectionResetError, BrokenPipeError):  # hung up before all was sent
            client.sendall(request_)
        assert _rest(client) == b""
    assert time.monotonic() - begin < module.PATIENCE_S / 2


def test_a_slow_client_runs_out_of_time(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a byte now and then is hung up on when its time for the whole request is over."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    begin = time.monotonic()
    with _connect(server) as client, suppress(ConnectionResetError, BrokenPipeError):
        while time.monotonic() - begin < 5:
            client.sendall(b"x")
            time.sleep(0.02)
    assert 0.3 <= time.monotonic() - begin < 3


def test_silent_clients_do_not_lock_others_out(server: HealthServer) -> None:
    """However many clients connect and say nothing, one that asks is answered, and their number stays bounded."""
    before = threading.active_count()
    silent = [_connect(server) for _ in range(CONNECTIONS * 2)]
    begin = time.monotonic()
    assert _ask(server, "/livez")[0] == 200
    assert time.monotonic() - begin < module.PATIENCE_S / 2
    while threading.active_count() - before > CONNECTIONS:  # those hung up on take a moment to end
        assert time.monotonic() - begin < module.PATIENCE_S / 2
        time.sleep(0.01)
    for client in silent[:CONNECTIONS]:
        assert _rest(client) == b""
    for client in silent:
        client.close()


def test_closing_does_not_wait_for_clients(health: Health) -> None:
    """Closing hangs up on whoever is connected, frees the port, and may be repeated."""
    server = HealthServer(health, Metrics(), "127.0.0.1", 0)
    server.open()
    port = server.port
    with _connect(server) as client:
        client.sendall(b"GET /li")
        assert _ask(server, "/livez")[0] == 200  # so the one before it was accepted
        begin = time.monotonic()
        server.close()
        assert _rest(client) == b""
        assert time.monotonic() - begin < module.PATIENCE_S / 2
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    again = HealthServer(health, Metrics(), "127.0.0.1", port)
    again.open()
    assert again.port == port
    again.close()


def test_a_port_in_use_is_an_error(server: HealthServer, health: Health) -> None:
    """A port that another process listens on raises OSError when the server is opened."""
    with pytest.raises(OSError, match="in use"):
        HealthServer(health, Metrics(), "127.0.0.1", server.port).open()


def test_ipv6(health: Health) -> None:
    """An address of IPv6 can be listened on."""
    server = HealthServer(health, Metrics(), "::1", 0)
    try:
        server.open()
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
    with socket.create_connection(("::1", server.port), timeout=10) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _rest(client).startswith(b"HTTP/1.0 200 OK\r\n")
    server.close()


def test_a_client_does_not_hold_the_process() -> None:
    """A process whose server is open and has a client that says nothing ends when its main thread does."""
    code = """if True:
        import socket
        from monitor.observe import health
        from monitor.observe.health import Health, HealthServer
        from monitor.observe.metrics import Metrics
        health.PATIENCE_S = 60
        server = HealthServer(Health(10, ()), Metrics(), "127.0.0.1", 0)
        server.open()
        client = socket.create_connection(("127.0.0.1", server.port))
        other = socket.create_connection(("127.0.0.1", server.port))
        other.sendall(b"GET /livez HTTP/1.0\\r\\n\\r\\n")
        assert other.recv(12) == b"HTTP/1.0 200"
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


class Broken(Metrics):
    """Metrics that cannot be rendered."""

    def render(self) -> bytes:
        raise RuntimeError("cannot render")


def test_a_bug_in_an_answer_is_logged(health: Health, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that fails ends that connection with a log line, and the next request is answered."""
    server = HealthServer(health, Broken(), "127.0.0.1", 0)
    server.open()
    with pytest.raises(http.client.RemoteDisconnected):
        _ask(server, "/metrics")
    assert _ask(server, "/livez")[0] == 200
    server.close()
    assert [(record.levelname, record.message) for record in caplog.records] == [("ERROR", "health request failed")]
    assert "cannot render" in caplog.text


def test_threads_may_tell_and_ask_at_once(server: HealthServer, health: Health) -> None:
    """While another thread sets conditions, every answer is one of the states that were set."""
    over = threading.Event()

    def tell() -> None:
        while not over.is_set():
            health.beat()
            health.set("restored", ok=True)
            health.set("kafka", ok=False, reason="down")
            health.set("kafka", ok=True)
            over.wait(0.0001)

    health.set("restored", ok=True)
    health.set("kafka", ok=True)
    thread = threading.Thread(target=tell)
    thread.start()
    answers = {_ask(server, "/readyz") for _ in range(50)}
    over.set()
    thread.join()
    assert answers <= {(200, "ready\n"), (503, "kafka: down\n")}
