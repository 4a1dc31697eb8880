"""Host names under which the status page may be requested: a foreign web page must not read it (DNS rebinding)."""

import socket
from collections.abc import Iterator

import pytest

from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.web.app import make_app, page_routes, probe_routes
from monitor.web.page import Page
from monitor.web.server import WebServer
from tests.web.clients import connect, rest, serving


@pytest.fixture
def server() -> Iterator[WebServer]:
    """Serve the page under a name with dots."""
    health = Health(10, ("kafka",))
    page = Page("plant", lambda: None, health.ready, lambda: 0)
    routes = [*probe_routes(health, Metrics()), *page_routes(page)]
    with serving(make_app(routes, ("hall3.PLANT.example",))) as made:
        yield made


def ask(server: WebServer, *hosts: str, path: str = "/readyz") -> bytes:
    """Return the response to a request with these Host headers, which HTTP/1.0 leaves out."""
    with connect(server) as client:
        heads = "".join(f"Host: {host}\r\n" for host in hosts)
        client.sendall(f"GET {path} HTTP/1.{len(hosts)}\r\n{heads}\r\n".encode())
        return rest(client)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9464",
        "10.1.2.3",
        "[::1]:9464",
        "[fe80::1%25eth0]",
        "localhost:9464",
        "localhost.",
        "monitor:9464",
        "",
        socket.gethostname(),
        "Hall3.plant.example:9464",
    ],
)
def test_known_hosts_are_answered(server: WebServer, host: str) -> None:
    """An IP address, localhost, a service's name, this machine's name and a configured name are accepted."""
    assert ask(server, host, path="/").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/", "/status.json"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "a@evil.example"])
def test_unknown_hosts_are_refused(server: WebServer, path: str, host: str) -> None:
    """Under an unknown name the response only names the setting, and does not repeat the name."""
    head, _, body = ask(server, host, path=path).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 421 ")
    assert b"health.names" in body
    assert host.encode() not in head + body


@pytest.mark.parametrize(("path", "status"), [("/metrics", b"200"), ("/livez", b"200"), ("/readyz", b"503")])
def test_probes_and_metrics_answer_under_any_name(server: WebServer, path: str, status: bytes) -> None:
    """Probes and metrics, which show no asset, answer under any name."""
    assert ask(server, "box.plant.lan:9464", path=path).startswith(b"HTTP/1.1 " + status)


def test_two_hosts_are_refused_and_none_is_answered(server: WebServer) -> None:
    """Two Host headers are refused. Without one, as HTTP/1.0 allows, the client is no browser."""
    with connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n")
        assert rest(client).startswith(b"HTTP/1.1 400 ")
    assert ask(server, path="/").startswith(b"HTTP/1.1 200 ")
