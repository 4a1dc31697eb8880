"""By which names the health server may be asked: no page that lured a browser here may read what it answers."""

import socket
from collections.abc import Iterator

import pytest

from monitor.service.health import Health, HealthServer
from monitor.service.metrics import Metrics


@pytest.fixture
def server() -> Iterator[HealthServer]:
    """One that is asked by a name with dots."""
    made = HealthServer(Health(10, ("kafka",)), Metrics(), "127.0.0.1", 0, names=("hall3.PLANT.example",))
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
    """Probes ask by address, a browser on the box by localhost, Prometheus by a service's name: each is answered."""
    assert ask(server, host, path="/metrics").startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize("path", ["/", "/status.json", "/metrics", "/livez", "/readyz", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "a@evil.example"])
def test_by_the_name_of_another_it_does_not(server: HealthServer, path: str, host: str) -> None:
    """A browser that a stranger's name led here is told nothing but what to set, and not the name it sent."""
    head, _, body = ask(server, host, path=path).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 421 ")
    assert body == b"not known by this name: ask by address, or add it to health.names\n"


def test_one_host_of_two_that_is_foreign_is_enough(server: HealthServer) -> None:
    """Two Host headers must both be known; without one, as HTTP/1.0 may ask, there is no browser to guard against."""
    assert ask(server, "127.0.0.1", "evil.example").startswith(b"HTTP/1.0 421 ")
    assert ask(server).startswith(b"HTTP/1.0 503 ")
