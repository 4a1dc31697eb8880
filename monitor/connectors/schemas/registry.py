"""A schema registry over HTTP, with the API of Confluent's, which Apicurio, Karapace and Redpanda speak, too.

    GET /schemas/ids/17, /schemas/guids/UUID         a schema
    GET /subjects/NAME/versions/3                    one that it refers to
    GET /subjects                                    whether the registry answers and takes the credentials

    404 with error_code 40403       there is no such schema; only this answer turns messages into dead letters
    any other answer, or none       Unavailable, and the partition waits

A 404 without that code comes from a proxy or from another server, not from a registry that has looked for the schema.
Redirects are not followed, since the credentials would go along. The password appears in no message of this module.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from monitor.connectors.base import Unavailable
from monitor.connectors.schemas.encoding import Schema
from monitor.connectors.schemas.framing import Frame

_NO_SCHEMA = 40403
_DENIED = (401, 403)
_MOST_BYTES = 8 * 2**20  # of an answer
_MOST_TEXT = 200  # characters of the server's text in a message
_DEEPEST = 16  # schemas that refer to schemas
_REFERENCE = {"name", "subject", "version"}
_ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"


class NoSchemaError(Exception):
    """The registry has no such schema."""


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """Address and credentials."""

    url: str
    username: str = ""
    password: str = ""
    ca: str = ""  # file with certificate authorities; empty = those of the system
    timeout_s: float = 3.0  # of a request


class Registry:
    """See the module."""

    def __init__(self, options: RegistryOptions) -> None:
        """Make the client. Raises ValueError for a file of authorities that cannot be read."""
        self.url = options.url.rstrip("/")
        self._timeout = options.timeout_s
        headers = {"Accept": _ACCEPT}
        if options.username:
            login = base64.b64encode(f"{options.username}:{options.password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        tls: dict[str, Any] = {"ca_certs": options.ca} if options.ca else {}
        self._http = urllib3.PoolManager(headers=headers, retries=False, maxsize=2, **tls)

    def schema(self, frame: Frame) -> Schema:
        """Return a schema with those that it refers to. Raises NoSchemaError, Unavailable."""
        path = f"/schemas/guids/{frame.guid}" if frame.guid else f"/schemas/ids/{frame.number}"
        return self._complete(self._get(path), 0, {})

    def check(self, seconds: float) -> int:
        """Return the number of subjects. Raises Unavailable."""
        found = self._get("/subjects", min(seconds, 10 * self._timeout))
        if not isinstance(found, list):
            raise self._unavailable("answers /subjects with something that is no list: it is no schema registry")
        return len(found)

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def _complete(self, answer: Any, depth: int, known: dict[str, Schema]) -> Schema:
        """Return the schema in an answer, and ask for those that it refers to unless `known` has them by path."""
        if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
            raise self._unavailable("answers without a schema: it is no schema registry")
        if depth > _DEEPEST:
            raise NoSchemaError(f"its schemas refer to one another more than {_DEEPEST} deep")
        references = {}
        for each in self._references(answer):
            subject, version = quote(str(each["subject"]), safe=""), quote(str(each["version"]), safe="")
            path = f"/subjects/{subject}/versions/{version}?deleted=true"
            if path not in known:
                known[path] = self._complete(self._get(path), depth + 1, known)
            references[str(each["name"])] = known[path]
        return Schema(str(answer.get("schemaType") or "AVRO"), answer["schema"], references)

    def _references(self, answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        found = answer.get("references") or []
        if not isinstance(found, list) or not all(isinstance(one, dict) and one.keys() >= _REFERENCE for one in found):
            shown = _clean(json.dumps(found))
            raise self._unavailable(f"answers with references {shown}, expected a list of name, subject and version")
        return found

    def _get(self, path: str, seconds: float | None = None) -> Any:
        """Return the answer of the registry. Raises NoSchemaError, Unavailable."""
        try:
            answer = self._http.request(
                "GET",
                self.url + path,
                timeout=urllib3.Timeout(total=self._timeout if seconds is None else seconds),
                redirect=False,
                preload_content=False,
            )
            text = answer.read(_MOST_BYTES, decode_content=True)
            answer.close()  # a longer answer is not read to its end
        except (HTTPError, OSError) as error:
            raise self._unavailable(f"cannot be reached: {_plain(error)}") from None
        return self._judged(answer.status, text)

    def _judged(self, status: int, text: bytes) -> Any:
        """Return the content of an answer. Raises NoSchemaError, Unavailable."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if status == 200 and found is not None:
            return found

        said = str(found.get("message", "")) if isinstance(found, dict) else ""
        if status == 404 and isinstance(found, dict) and found.get("error_code") == _NO_SCHEMA:
            raise NoSchemaError(_clean(said))
        if status in _DENIED:
            raise self._unavailable(f"refuses the credentials ({status}): set schemas.username, schemas.password_file")
        if status == 404 and not said:
            said = "it is no schema registry, or its path is missing in the URL"
        raise self._unavailable(f"answers {status}{': ' if said else ''}{_clean(said)}")

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(f"schema registry {self.url} {what}")


def _plain(error: Exception) -> str:
    """Return the reason of a failed request, without the library's words around it."""
    reason = getattr(error, "reason", None) or error
    text = str(reason)
    return _clean(text.rpartition(">: ")[2] or text)


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MOST_TEXT]
