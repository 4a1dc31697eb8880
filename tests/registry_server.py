"""A stand-in for Confluent's schema registry, of which no package for Python exists: the parts of its HTTP API in use.

It speaks the paths, fields and error codes of the real one (docs.confluent.io, "Schema Registry API Reference"), so
that confluent-kafka's own serializers register their schemas with it and write real bytes. Schemas get numbers in the
order in which they are registered, a schema that is registered again keeps its number, and each has a GUID. A schema
of Protobuf that a serializer registers compiled is returned as the text in `texts`, as the real one does, unless
`format=serialized` is asked for.

    with registry_server() as server: SchemaRegistryClient({"url": server.url})
"""

import base64
import json
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TYPES = ["JSON", "PROTOBUF", "AVRO"]


@dataclass
class Registered:
    """A schema."""

    number: int
    kind: str
    text: str
    references: list[dict[str, Any]] = field(default_factory=list)
    guid: str = ""

    def body(self, subject: str = "", version: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {"schema": self.text, "guid": self.guid}
        if self.kind != "AVRO":  # the real one leaves the default out
            found["schemaType"] = self.kind
        if self.references:
            found["references"] = self.references
        if subject:
            found |= {"subject": subject, "version": version, "id": self.number}
        return found


class RegistryServer:
    """Schemas and requests of the stand-in; `up` and `down` start and stop it on one port."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.login: tuple[str, str] | None = None  # user and password; None = everyone may ask
        self.answer: tuple[int, str] | None = None  # in place of the true one
        self.texts: dict[str, str] = {}  # text of a compiled schema, by its base64
        self.requests: list[str] = []
        self.ends: list[Callable[[], None]] = []  # called at the end, for clients of producers
        self._tls = tls
        self._schemas: list[Registered] = []
        self._subjects: dict[str, list[int]] = {}
        self._port = 0
        self._connections: list[socket.socket] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def register(
        self, subject: str, text: str, kind: str = "AVRO", references: Sequence[Mapping[str, Any]] = ()
    ) -> Registered:
        """Register a schema, and return it with its number."""
        same = [each for each in self._schemas if (each.kind, each.text) == (kind, text)]
        found = same[0] if same else Registered(len(self._schemas) + 1, kind, text, [dict(one) for one in references])
        if not same:
            found.guid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {text}"))
            self._schemas.append(found)
        versions = self._subjects.setdefault(subject, [])
        if found.number not in versions:
            versions.append(found.number)
        return found

    def up(self) -> None:
        """Start, on the port of the last time."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._respond({})

            def do_POST(self) -> None:
                self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _respond(self, given: dict[str, Any]) -> None:
                registry.requests.append(f"{self.command} {self.path}")
                status, body = registry._answered(self.command, self.path, given, self.headers.get("Authorization"))
                text = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Write nothing to standard error."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request: Any, client_address: Any) -> None:
                registry._connections.append(request)
                super().process_request(request, client_address)

            def handle_error(self, *_: Any) -> None:
                """A client that leaves is no error."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Stop: connections end, and the next one is refused."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for connection in self._connections:
            with suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def _answered(self, method: str, path: str, given: dict[str, Any], login: str | None) -> tuple[int, str]:
        if self.answer is not None:
            return self.answer
        if self.login is not None and login != _basic(*self.login):
            return 401, json.dumps({"error_code": 401, "message": "Unauthorized"})

        split = urlsplit(path)
        parts = [unquote(part) for part in split.path.strip("/").split("/")]
        plain = parse_qs(split.query).get("format") != ["serialized"]
        try:
            return 200, json.dumps(self._found(method, parts, given, plain=plain))
        except _MissingError as error:
            return 404, json.dumps({"error_code": error.code, "message": str(error)})

    def _found(  # noqa: C901, PLR0911 - one for each path
        self, method: str, parts: list[str], given: dict[str, Any], *, plain: bool
    ) -> Any:
        match method, parts:
            case "GET", ["subjects"]:
                return list(self._subjects)
            case "GET", ["schemas", "types"]:
                return TYPES
            case "GET", ["schemas", "ids", number]:
                return self._shown(self._of_number(number).body(), plain=plain)
            case "GET", ["schemas", "ids", number, "versions"]:
                wanted = self._of_number(number).number
                return [
                    {"subject": subject, "version": versions.index(wanted) + 1}
                    for subject, versions in self._subjects.items()
                    if wanted in versions
                ]
            case "GET", ["schemas", "guids", guid]:
                with suppress(StopIteration):
                    return self._shown(next(each for each in self._schemas if each.guid == guid).body(), plain=plain)
                raise _MissingError(40403, "Schema not found")
            case "GET", ["subjects", subject, "versions"]:
                return list(range(1, len(self._versions(subject)) + 1))
            case "GET", ["subjects", subject, "versions", version]:
                versions = self._versions(subject)
                at = len(versions) if version in {"latest", "-1"} else int(version)
                if not 1 <= at <= len(versions):
                    raise _MissingError(40402, f"Version {version} not found.")
                return self._shown(self._schemas[versions[at - 1] - 1].body(subject, at), plain=plain)
            case "POST", ["subjects", subject, "versions"]:
                made = self.register(
                    subject, given["schema"], given.get("schemaType", "AVRO"), given.get("references", ())
                )
                return made.body(subject, self._subjects[subject].index(made.number) + 1)
            case "POST", ["subjects", subject]:
                for at, known in enumerate(self._versions(subject), 1):
                    if self._schemas[known - 1].text == given["schema"]:
                        return self._schemas[known - 1].body(subject, at)
                raise _MissingError(40403, "Schema not found")
        raise _MissingError(404, "HTTP 404 Not Found")

    def _of_number(self, number: str) -> Registered:
        if not 1 <= int(number) <= len(self._schemas):
            raise _MissingError(40403, f"Schema {number} not found")
        return self._schemas[int(number) - 1]

    def _versions(self, subject: str) -> list[int]:
        if subject not in self._subjects:
            raise _MissingError(40401, f"Subject '{subject}' not found.")
        return self._subjects[subject]

    def _shown(self, body: dict[str, Any], *, plain: bool) -> dict[str, Any]:
        return body | {"schema": self.texts.get(body["schema"], body["schema"])} if plain else body


class _MissingError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def registry_server(tls: ssl.SSLContext | None = None) -> Iterator[RegistryServer]:
    """A registry that is up."""
    server = RegistryServer(tls)
    server.up()
    try:
        yield server
    finally:
        for end in server.ends:
            end()
        server.down()
