"""A stand-in for InfluxDB 2: POST /api/v2/write over HTTP, with faults at will.

It plays the error table, most of which a healthy server never shows: 400 for lines that cannot be parsed (nothing of
the request is written), 422 for a field that changes its type (the other points are written), 401 for a wrong token,
404 for an unknown bucket, 413 above a size, and any other answer on request. Points are kept as in the database:
measurement, tags and time are the identity, and a later write of the same point replaces its fields. tests/influxd.py
has InfluxDB itself.

    with influx_server() as server: InfluxSink(server.url, lambda: server.token, server.org, server.bucket)
"""

import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

Value = float | int | bool | str

_KEY = r"((?:\\.|[^\\,= \n])+)"  # a backslash before any sign is kept with it; which ones are escapes, `_plain` knows
_HEAD = re.compile(rf"((?:\\.|[^\\, \n])+)((?:,{_KEY}={_KEY})*) ")
_TAG = re.compile(rf",{_KEY}={_KEY}")
_FIELD = re.compile(rf'{_KEY}=("(?:\\.|[^"\\])*"|[^", ]+)(,|(?= )|$)')
_STAMP = re.compile(r" (-?[0-9]+)")


class Point(NamedTuple):
    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, Value]
    time: int

    @property
    def identity(self) -> tuple[str, frozenset[tuple[str, str]], int]:
        return self.measurement, frozenset(self.tags.items()), self.time


class Answer(NamedTuple):
    """An answer in place of the true one; status 0 cuts the connection without any."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = {}


class InfluxServer:
    """Points and answers of the stand-in; `up` and `down` start and stop it on one port."""

    def __init__(self) -> None:
        self.token, self.org, self.bucket = "right-token", "plant", "monitor"
        self.lines: dict[object, bytes] = {}  # the last line of each point by its identity, in the order of the first
        self.points: dict[object, Point] = {}
        self.answers: list[int] = []  # the status of every request
        self.script: list[Answer | None] = []  # answers to the next requests; None, and what follows, is the true one
        self.max_body: int | None = None  # bytes
        self.going_on = threading.Event()  # while it is not set, no request is answered
        self.going_on.set()
        self._types: dict[tuple[str, str], type] = {}
        self._lock = threading.Lock()
        self._port = 0
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        self._http = _Http(self, self._port)
        self._port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def down(self) -> None:
        """Close the listening socket and every connection."""
        self.going_on.set()
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.cut()
            self._http.server_close()
            self._http = None

    def answer(self, target: str, token: str, body: bytes) -> Answer:
        """Carry out a write and return its answer."""
        self.going_on.wait()
        with self._lock:
            scripted = self.script.pop(0) if self.script else None
            answer = scripted or self._judged(target, token, body)
            self.answers.append(answer.status)
            return answer

    def _judged(self, target: str, token: str, body: bytes) -> Answer:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path != "/api/v2/write" or query["precision"] != "ms":
            return _error(404, "not found", "path not found")
        if token != f"Token {self.token}":
            return _error(401, "unauthorized", "unauthorized access")
        if query["org"] != self.org or query["bucket"] != self.bucket:
            return _error(404, "not found", f'bucket "{query["bucket"]}" not found')
        if self.max_body is not None and len(body) > self.max_body:
            return _error(413, "request too large", f"body of {len(body)} bytes")
        return self._written(body)

    def _written(self, body: bytes) -> Answer:
        lines = [line for line in body.split(b"\n") if line.strip()]
        try:
            points = [parse(line.decode()) for line in lines]
        except ValueError as error:
            return _error(400, "invalid", str(error))
        dropped = []
        for line, point in zip(lines, points, strict=True):
            if conflict := self._conflict(point):
                dropped.append(conflict)
            else:
                self._keep(line, point)
        if dropped:
            words = f"partial write: field type conflict: {dropped[0]} dropped={len(dropped)}"
            return _error(422, "unprocessable entity", words)
        return Answer(204)

    def _conflict(self, point: Point) -> str:
        for name, value in point.fields.items():
            known = self._types.get((point.measurement, name), type(value))
            if known is not type(value):
                return f'input field "{name}" on measurement "{point.measurement}" is already of type {known.__name__}'
        return ""

    def _keep(self, line: bytes, point: Point) -> None:
        self._types |= {(point.measurement, name): type(value) for name, value in point.fields.items()}
        known = self.points.get(point.identity)
        self.points[point.identity] = point._replace(fields={**(known.fields if known else {}), **point.fields})
        self.lines[point.identity] = line


def parse(line: str) -> Point:
    """Parse a line with a timestamp by the rules of InfluxDB 2. Raise ValueError in about its words."""
    head = _HEAD.match(line)
    if head is None:
        raise ValueError(f"unable to parse '{line}': missing fields")
    tags = {_plain(name): _plain(value) for name, value in _TAG.findall(head[2])}
    fields: dict[str, Value] = {}
    position, more = head.end(), ","
    while more:
        field = _FIELD.match(line, position)
        if field is None:
            raise ValueError(f"unable to parse '{line}': invalid field format")
        fields[_plain(field[1])] = _value(line, field[2])
        position, more = field.end(), field[3]
    stamp = _STAMP.fullmatch(line, position)
    if stamp is None:
        raise ValueError(f"unable to parse '{line}': bad timestamp")
    return Point(_plain(head[1]), tags, fields, int(stamp[1]))


def _plain(name: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", name)


def _value(line: str, text: str) -> Value:
    if text.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if text in {"true", "false"}:
        return text == "true"
    try:
        number = int(text[:-1]) if text.endswith("i") else float(text)
    except ValueError:
        raise ValueError(f"unable to parse '{line}': invalid number") from None
    if text.lower().lstrip("+-").startswith(("nan", "inf")):
        raise ValueError(f"unable to parse '{line}': invalid number")
    return number


def _error(status: int, code: str, message: str) -> Answer:
    return Answer(status, json.dumps({"code": code, "message": message}), {"Content-Type": "application/json"})


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    allow_reuse_address = True

    def __init__(self, influx: InfluxServer, port: int) -> None:
        self.influx = influx
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def cut(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):  # the other side was first
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are used again
    disable_nagle_algorithm = True  # head and body of an answer are written one after the other
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.influx.answer(self.path, self.headers.get("Authorization", ""), body)
        if answer.status == 0:
            self.close_connection = True
            return
        with suppress(ConnectionError):  # the client may have given up
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body.encode())))
            self.end_headers()
            self.wfile.write(answer.body.encode())

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # cut while it waited for the next request
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def influx_server() -> Iterator[InfluxServer]:
    """A server that is up."""
    server = InfluxServer()
    server.up()
    try:
        yield server
    finally:
        server.down()
