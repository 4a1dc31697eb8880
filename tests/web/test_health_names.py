"""By which names the status page may be asked for: no page that lured a browser here may read what it shows."""

import socket
from collections.abc import Iterator

import pytest

from monitor.observe.health import Health, HealthServer
from monitor.observe.metrics import Metrics
from monitor.web.page import Page


@pytest.fixture
def server() -> Iterator[HealthServer]:
    """One that is asked by a name with dots."""
    health, names = Health(10, ("kafka",)), ("hall3.PLANT.example",)
    page = Page("plant", lambda: None, health.ready, lambda: 0)
    made = HealthServer(health, Metrics(), "127.0.0.1", 0, page, names=names)
    health.beat()
    made.open()
    yield made
    made.close()


def ask(server: HealthServer, *hosts: str, path: str = "/readyz") -> bytes:
    """The answer to a request with these Host headers."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        heads = "".join(f"Host: {host}\r\n" for host in hosts)
        client.sendall(f"GET {path} HTTP/1.1\r\n{heads}\r\n".encode())
        return b"".join(iter(lambda: client.recv(65_536), b""))


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
def test_by_an_address_or_a_name_of_its_own_it_answers(server: HealthServer, host: str) -> None:
    """A browser asks by address, by localhost on the box, by a service's name or by one that was set: all work."""
    assert ask(server, host, path="/").startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize("path", ["/", "/status.json"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "a@evil.example"])
def test_by_the_name_of_another_the_page_is_not_shown(server: HealthServer, path: str, host: str) -> None:
    """A browser that a stranger's name led here is told nothing but what to set, and not the name it sent."""
    head, _, body = ask(server, host, path=path).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 421 ")
    assert body == b"not known by this name: ask by address, or add it to health.names\n"


@pytest.mark.parametrize(("path", "status"), [("/metrics", b"200"), ("/livez", b"200"), ("/readyz", b"503")])
def test_probes_and_prometheus_may_ask_by_any_name(server: HealthServer, path: str, status: bytes) -> None:
    """Names in a plant's own network are none of this process's business where nothing of assets is told."""
    assert ask(server, "box.plant.lan:9464", path=path).startswith(b"HTTP/1.0 " + status)


def test_one_host_of_two_that_is_foreign_is_enough(server: HealthServer) -> None:
    """Two Host headers must both be known; without one, as HTTP/1.0 may ask, there is no browser to guard against."""
    assert ask(server, "127.0.0.1", "evil.example", path="/").startswith(b"HTTP/1.0 421 ")
    assert ask(server, path="/").startswith(b"HTTP/1.0 200 ")
