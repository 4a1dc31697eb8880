"""By which names the status page may be asked for: no page that lured a browser here may read what it shows."""

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
def test_by_an_address_or_a_name_of_its_own_it_answers(server: WebServer, host: str) -> None:
    """A browser asks by address, by localhost on the box, by a service's name or by one that was set: all work."""
    assert ask(server, host, path="/").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/", "/status.json"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "a@evil.example"])
def test_by_the_name_of_another_the_page_is_not_shown(server: WebServer, path: str, host: str) -> None:
    """A browser that a stranger's name led here is told nothing but what to set, and not the name it sent."""
    head, _, body = ask(server, host, path=path).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 421 ")
    assert b"health.names" in body
    assert host.encode() not in head + body


@pytest.mark.parametrize(("path", "status"), [("/metrics", b"200"), ("/livez", b"200"), ("/readyz", b"503")])
def test_probes_and_prometheus_may_ask_by_any_name(server: WebServer, path: str, status: bytes) -> None:
    """Names in a plant's own network are none of this process's business where nothing of assets is told."""
    assert ask(server, "box.plant.lan:9464", path=path).startswith(b"HTTP/1.1 " + status)


def test_two_hosts_are_refused_and_none_is_answered(server: WebServer) -> None:
    """Two Host headers are refused. Without one, as HTTP/1.0 allows, no browser is asking."""
    with connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n")
        assert rest(client).startswith(b"HTTP/1.1 400 ")
    assert ask(server, path="/").startswith(b"HTTP/1.1 200 ")
