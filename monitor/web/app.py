"""Routes of the HTTP server, as a Starlette application.

    /livez            200 while the loop's last beat is younger than `stalled_s`, otherwise 503: restart the process
    /readyz           200 while every condition holds, otherwise 503 with a line for each that does not: do not
                      restart, read the reasons
    /metrics          the metrics in Prometheus' text format
    /, /status.json   the status page and its data

DNS rebinding: a foreign web page in an operator's browser can let its own name resolve to this server's address and
then read the responses. The browser sends that name as Host, so a request under an unknown name gets 421. An IP
address and a name without a dot cannot be made to resolve elsewhere. Probes and metrics answer under any name: they
show no asset and no reading.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Collection, Iterable
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.observe.health import Health
from monitor.observe.metrics import CONTENT_TYPE, Metrics
from monitor.web.page import HTML, POLICY, Page

BODY_BYTES = 65_536  # of a request; no route reads one yet

# Prometheus and orchestrators use names that this process cannot know. These paths show no asset and no reading.
_ANY_HOST = {"/livez", "/readyz", "/metrics"}
_UNKNOWN_HOST = "unknown host name: use an IP address, or add the name to health.names\n"
# Responses are of the moment, come with no foreign content, and belong in no other site's frame or log.
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]

log = structlog.stdlib.get_logger("monitor")


def make_app(routes: Iterable[Route], names: Iterable[str] = ()) -> ASGIApp:
    """Return an application with these routes.

    Args:
        routes: Paths and their endpoints. Other paths get 404, other methods 405.
        names: Host names that may request any path, in addition to IP addresses, names without a dot and this
            machine's name.
    """
    app = Starlette(
        routes=list(routes),
        exception_handlers={HTTPException: _refuse, ClientDisconnect: _drop, Exception: _fail},
        max_body_size=BODY_BYTES,
    )
    # A redirect from /livez/ to /livez would repeat the Host header.
    app.router.redirect_slashes = False
    return _Guard(app, names)


def probe_routes(health: Health, metrics: Metrics) -> list[Route]:
    """Return the routes for probes and Prometheus."""

    async def live(_: Request) -> Response:
        return _probe(*health.live())

    async def ready(_: Request) -> Response:
        return _probe(*health.ready())

    # Rendering takes milliseconds, so it runs on a worker thread: the probes must not wait for it.
    async def scrape(_: Request) -> Response:
        return Response(await asyncio.to_thread(metrics.render), media_type=CONTENT_TYPE)

    return [Route("/livez", live), Route("/readyz", ready), Route("/metrics", scrape)]


def page_routes(page: Page) -> list[Route]:
    """Return the routes of the status page."""

    async def html(_: Request) -> Response:
        return HTMLResponse(HTML)

    async def status(request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        # On a worker thread, because a response about 10 000 assets takes longer than a probe may wait.
        try:
            body = await asyncio.to_thread(page.answer, query)
        except ValueError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST) from error
        return Response(body, media_type="application/json")

    return [Route("/", html), Route("/status.json", status)]


def _probe(ok: bool, text: str) -> Response:
    return PlainTextResponse(text, HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)


async def _refuse(_: Request, error: Exception) -> Response:
    """Answer with the bare status. Nothing of the request is repeated."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return PlainTextResponse(f"{error.detail}\n", error.status_code, headers)


async def _drop(_: Request, __: Exception) -> Response:
    """Answer a client that left before it had sent its body. This is no failure, so it is not logged."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _fail(request: Request, error: Exception) -> Response:
    """Log a failure of an endpoint and answer 500."""
    log.error("request failed", path=request.scope["path"], exc_info=error)
    return PlainTextResponse("Internal Server Error\n", HTTPStatus.INTERNAL_SERVER_ERROR)


class _Guard:
    """Refuse unknown host names, and add the security headers to every response."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in (*names, socket.gethostname()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        hosts = Headers(scope=scope).getlist("host")
        if scope["path"] in _ANY_HOST or all(is_known(host, self._names) for host in hosts):
            await self._app(scope, receive, send_guarded)
        else:
            refusal = PlainTextResponse(_UNKNOWN_HOST, HTTPStatus.MISDIRECTED_REQUEST)
            await refusal(scope, receive, send_guarded)


def is_known(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header has an IP address, a name without a dot, or one of `names`."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if "." not in name or name in names:
            return True
        ipaddress.ip_address(name)
    except ValueError:  # neither an address nor a valid host
        return False
    return True
