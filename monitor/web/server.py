"""The HTTP server: uvicorn on a thread with an event loop of its own, and limits for every client.

uvicorn parses requests, writes responses and bounds how much of a body it buffers. It has no deadline for headers or
bodies and no bound on idle connections, so these are added here. They hold for any application:

1. A connection carries one request and one response, and it ends after CONNECTION_S. A client that sends or takes a
   byte now and then gains no time.
2. Request line and headers have at most HEAD_BYTES. A client that sends more is disconnected without a response.
3. At most CONNECTIONS are open. A further client makes the server drop the oldest one. A probe or a scrape takes
   milliseconds, so it is never the oldest.
4. A malformed request gets a bare 400, which repeats nothing of the request.

The size of a body is limited by the application (app.py).

One request per connection costs a handshake for each request. That is little for probes, scrapes and a page that asks
every two seconds, and it makes the deadline a single timer.
"""

import asyncio
import socket
import threading
from operator import attrgetter

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_BYTES = 8192  # a browser with cookies sends 2,000
CONNECTION_S = 10.0  # from connect to close; the largest response, 400 kB, passes within that at 40 kB/s
CONNECTIONS = 32  # probes and two Prometheus servers take 4
CLOSE_S = 5.0  # for closing; 0.3 s is usual

_BACKLOG = 128  # clients waiting to be accepted; beyond that, a connection takes a second


class WebServer:
    """Serve an ASGI application at an address. Port 0 takes any free port; `port` has the number after `open`."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._host = host
        self.port = port
        self._config = uvicorn.Config(
            app,
            interface="asgi3",
            http=_Connection,
            ws="none",
            lifespan="off",
            proxy_headers=False,
            headers=[("server", "monitor"), ("connection", "close")],
            backlog=_BACKLOG,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_graceful_shutdown=1,
            # uvicorn logs every malformed request, so clients could fill the log. Failures are logged by app.py.
            log_config=None,
            log_level="critical",
            access_log=False,
        )

    def open(self) -> None:
        """Listen and answer. Raise OSError with the address if it cannot be bound."""
        ipv6 = ":" in self._host
        listener = socket.create_server(
            (self._host, self.port),
            family=socket.AF_INET6 if ipv6 else socket.AF_INET,
            backlog=_BACKLOG,
            dualstack_ipv6=ipv6 and socket.has_dualstack_ipv6(),
        )
        self.port = listener.getsockname()[1]

        # uvicorn installs signal handlers in the main thread only, so the process keeps its own.
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(target=self._serve, args=(listener,), name="http", daemon=True)
        self._thread.start()

    def _serve(self, listener: socket.socket) -> None:
        asyncio.run(self._server.serve(sockets=[listener]))

    def close(self) -> None:
        """Stop listening and disconnect all clients, in at most CLOSE_S. A second call is a no-op."""
        self._server.should_exit = True
        self._thread.join(CLOSE_S)


class _Connection(H11Protocol):
    """A client's connection, with the limits of this module."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)

        # Limit 1: a single timer, which nothing that the client does restarts.
        self.began = self.loop.time()
        self._deadline = self.loop.call_later(CONNECTION_S, self.shutdown)
        self._head_room = HEAD_BYTES

        # Limit 3: this connection is counted already.
        if len(self.connections) > CONNECTIONS:
            min(self.connections, key=attrgetter("began")).shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Disconnect at once. uvicorn calls this for each connection when the server closes."""
        self.connections.discard(self)  # now, for the next client to be counted right; the transport closes later
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        # Limit 2: h11 checks the size of a head only while it is incomplete, and a head may arrive in one piece of
        # 256 KiB. So h11 gets at most HEAD_BYTES until the head is complete.
        if self.conn.their_state is h11.IDLE:
            head, data = data[: self._head_room], data[self._head_room :]
            self._head_room -= len(head)
            super().data_received(head)
            if self.conn.their_state is h11.IDLE and self._head_room == 0:
                self.shutdown()

        if data and not self.transport.is_closing():
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio allows a bool, uvicorn declares None
        """Keep the transport open if the request is whole: its client has no more to send but waits for a response."""
        return self.conn.their_state in {h11.DONE, h11.MUST_CLOSE}

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's sentence
        """Refuse a malformed request, or disconnect if a response has begun."""
        # Limit 4.
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response("Bad Request\n")
        else:
            self.shutdown()

        # The application may still send a response. It is dropped, because the state of h11 no longer allows one.
        if self.cycle:
            self.cycle.disconnected = True
