"""What probes and Prometheus get from the routes, and what a failing or foreign request gets."""

from collections.abc import Iterator

import pytest
import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from monitor.observe.health import Health
from monitor.observe.metrics import Metrics
from monitor.web.app import BODY_BYTES, make_app, probe_routes
from monitor.web.server import WebServer
from tests.web.clients import ask, request, serving


@pytest.fixture
def health() -> Health:
    return Health(10, ("restored", "kafka"))


@pytest.fixture
def server(health: Health) -> Iterator[WebServer]:
    with serving(make_app(probe_routes(health, Metrics()))) as server:
        yield server


def test_livez_follows_the_heartbeat(server: WebServer) -> None:
    """/livez is 200 with the age of the last beat while the loop is alive, otherwise 503."""
    status, text = ask(server, "/livez")
    assert status == 200
    assert text.startswith("last beat 0.")
    with serving(make_app(probe_routes(Health(0, ()), Metrics()))) as stalled:
        assert ask(stalled, "/livez")[0] == 503


def test_readyz_follows_the_conditions(server: WebServer, health: Health) -> None:
    """/readyz is 503 with a line for each condition that does not hold, otherwise 200."""
    assert ask(server, "/readyz") == (503, "restored: not known yet\nkafka: not known yet\n")
    health.set("restored", ok=True)
    health.set("kafka", ok=True)
    assert ask(server, "/readyz") == (200, "ready\n")


def test_metrics_are_served(server: WebServer) -> None:
    """/metrics is the text that Prometheus reads, under its content type."""
    response, body = request(server, "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "\nmonitor_messages_total 0.0\n" in body


def test_other_paths_are_not_found(server: WebServer) -> None:
    """Paths are exact but for a query. Any other path is 404, and the response repeats nothing of it."""
    assert ask(server, "/livez?verbose")[0] == 200
    for path in ("/", "/livez/", "/LIVEZ", "/metrics.html", "/../metrics", "/<b>"):
        response, body = request(server, path)
        assert (response.status, body) == (404, "Not Found\n")
        assert "Location" not in response.headers


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/none"])
def test_head_is_get_without_a_body(server: WebServer, path: str) -> None:
    """HEAD has the status and the headers of GET, and no body."""
    get, _ = request(server, path)
    head, body = request(server, path, "HEAD")
    assert (head.status, body) == (get.status, "")
    assert head.headers.keys() == get.headers.keys()
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "setup", "GETS"])
def test_nothing_can_be_done_but_read(server: WebServer, method: str) -> None:
    """Any other method is 405, with the methods that are allowed."""
    response, body = request(server, "/livez", method)
    assert (response.status, response.headers["Allow"], body) == (405, "GET, HEAD", "Method Not Allowed\n")


def test_the_security_headers_are_on_every_response(server: WebServer) -> None:
    """Found, not found, refused: each response forbids scripts, sniffing, caching and referrers."""
    for path, method in (("/livez", "GET"), ("/none", "GET"), ("/livez", "POST")):
        headers = request(server, path, method)[0].headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


def test_it_does_not_say_what_it_runs_on(server: WebServer, capfd: pytest.CaptureFixture[str]) -> None:
    """No response names a library or its version, and no request is written to the process's own output."""
    for path in ("/livez", "/none"):
        response, _ = request(server, path)
        assert response.headers["Server"] == "monitor"
        for word in ("python", "uvicorn", "starlette", "h11"):
            assert word not in str(response.headers).lower()
    ask(server, "/livez", "POST")
    assert capfd.readouterr() == ("", "")


async def _fail(_: Request) -> Response:
    raise RuntimeError("cannot render")


def test_a_failure_is_logged_and_costs_one_response() -> None:
    """An endpoint that raises answers 500 without details, logs the exception, and the next request is answered."""

    class Broken(Metrics):
        def render(self) -> bytes:
            raise RuntimeError("cannot render")

    routes = [*probe_routes(Health(10, ()), Broken()), Route("/fail", _fail)]
    with structlog.testing.capture_logs() as lines, serving(make_app(routes)) as server:
        for path in ("/metrics", "/fail"):
            response, body = request(server, path)
            assert (response.status, body) == (500, "Internal Server Error\n")
            assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert ask(server, "/livez")[0] == 200
    assert [(line["log_level"], line["event"], line["path"]) for line in lines] == [
        ("error", "request failed", "/metrics"),
        ("error", "request failed", "/fail"),
    ]
    assert "cannot render" in repr(lines[0]["exc_info"])


async def _echo(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())} bytes")


def test_a_body_has_a_largest_size() -> None:
    """A body up to the limit reaches its endpoint. A larger one gets 413, whether its length is announced or not."""

    def chunks(total: int) -> Iterator[bytes]:
        yield from (b"x" * 1024 for _ in range(total // 1024))

    with serving(make_app([Route("/echo", _echo, methods=["POST"])])) as server:
        for fits in (b"x" * BODY_BYTES, chunks(BODY_BYTES)):
            assert request(server, "/echo", "POST", fits)[1] == f"{BODY_BYTES} bytes"
        for larger in (b"x" * (BODY_BYTES + 1), chunks(BODY_BYTES + 1024)):
            response, _ = request(server, "/echo", "POST", larger)
            assert response.status == 413
            assert response.headers["X-Content-Type-Options"] == "nosniff"
