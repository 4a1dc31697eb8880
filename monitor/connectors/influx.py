"""Line protocol to InfluxDB 2, acknowledged by the server before a flush returns. See `base.Sink`.

A record's value is one line or a few; its key and headers are not written. The official client writes synchronously,
one request at a time, and retries nothing: unacknowledged records stay here, in order, for the next flush. Writing a
point again changes nothing, so a lost answer does no harm.

    204                     acknowledged
    400 422                 a record of the batch is rejected permanently: each half is sent alone, down to the record
    413                     halves as well, and no later batch is as large as this one
    429 503                 Unavailable, with Retry-After if it is given in seconds
    401 403 404             Unavailable: an operator must act; each flush asks for the token again
    other answers, no answer, no connection   Unavailable

The token appears in no message of this module, even if the server repeats it. docs/decisions/0004-influxdb.md has more
reasons. The sink does not wait between attempts; the caller does.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS, WriteApi
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError  # raised by the client when there is no answer

from monitor.connectors.base import Invalid, Unavailable
from monitor.core.records import Record

_WRITTEN = 204  # any other success comes from something that is not InfluxDB's write API
_TOO_LARGE = 413
_REFUSED = (400, 422)
_NO_POINT = b"#"  # a comment: servers look at the token and the bucket before they look for points
_MOST_TEXT = 300  # characters of the server's text in a message


class _Answer(NamedTuple):
    status: int
    text: str  # the server's
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class InfluxLimits:
    """Bounds of the buffer and of a request."""

    records: int = 10_000  # between two flushes; an empty buffer takes one call of any length
    # Bytes of a request: the 5,000 lines that InfluxDB advises, at 100 bytes each, and less than the 1 MB at which many
    # proxies stop. A record is never divided.
    batch_bytes: int = 500_000
    timeout: float = 10.0  # s; of one request, if the flush leaves it as many


def _no_notice(_: str) -> None:
    """Ignore a notice."""


def _not_counted(_: int) -> None:
    """Ignore a status."""


class InfluxSink:
    """Points into a bucket; see the module."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        org: str,
        bucket: str,
        limits: InfluxLimits = InfluxLimits(),
        *,
        on_notice: Callable[[str], None] = _no_notice,
        on_answer: Callable[[int], None] = _not_counted,
    ) -> None:
        """See the module.

        Args:
            url: Of the server, without the path of its API.
            token: Returns the token; called at each flush, since its file may have changed.
            org: Name or id of the organisation.
            bucket: Name or id of the bucket.
            limits: Of the buffer and of a request.
            on_notice: Receives a text when batches are made smaller permanently.
            on_answer: Receives the status of the answer to each request; 0 = no answer.
        """
        self._url = url
        self._token = token
        self._org = org
        self._bucket = bucket
        self._bound = limits.records
        self._batch_bytes = limits.batch_bytes
        self._timeout = limits.timeout
        self._on_notice = on_notice
        self._on_answer = on_answer

        self._pending: list[Record] = []  # written and not acknowledged
        self._rejected: list[tuple[Record, str]] = []  # not yet raised
        self._secret = ""  # the token in use
        self._client: InfluxDBClient | None = None
        self._writer: WriteApi | None = None

    def open(self) -> None:
        """Create the client, which connects with the first request."""
        self._client = InfluxDBClient(self._url, org=self._org, retries=False)
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)

    def write(self, records: Sequence[Record]) -> None:
        """Accept all records, or raise Unavailable and accept none of them. Never waits."""
        if self._pending and len(self._pending) + len(records) > self._bound:
            raise Unavailable(f"{len(self._pending)} records wait to be written, at most {self._bound} may")
        self._pending += records

    def flush(self, timeout: float) -> None:
        """See `base.Sink`."""
        deadline = time.monotonic() + timeout
        if self._pending:
            self._authorise()
        while self._pending:
            self._write_out(self._next_batch(), deadline)

        self._rejected, rejected = [], self._rejected
        if rejected:
            raise Invalid(f"{len(rejected)} records rejected permanently; the first: {rejected[0][1]}", rejected)

    def check(self, timeout: float) -> None:
        """Ask whether the token may write, without writing a point. Raises Unavailable with the reason."""
        self._authorise()
        answer = self._post(_NO_POINT, time.monotonic() + timeout)
        if answer.status not in (_WRITTEN, *_REFUSED):  # refused: it was read, and has no point
            raise self._unavailable(answer)

    def close(self) -> None:
        client, self._client, self._writer = self._client, None, None
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]
        self._pending.clear()

    def _authorise(self) -> None:
        """Read the token. Check it: the exception about an illegal header would show it."""
        try:
            token = self._token().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"the token cannot be read: {error}") from error
        if not (token.isascii() and token.isprintable()):
            raise Unavailable("the token holds characters that are not allowed in an HTTP header")

        self._secret = token
        self._opened().api_client.default_headers["Authorization"] = f"Token {token}"

    def _next_batch(self) -> list[Record]:
        """Return the oldest records, at least one, as many as a request may hold."""
        size = 0
        for count, record in enumerate(self._pending):
            size += len(record.value or b"") + 1
            if size > self._batch_bytes and count > 0:
                return self._pending[:count]
        return self._pending[:]

    def _write_out(self, batch: Sequence[Record], deadline: float) -> None:
        """Write the oldest records, or reject them one by one. Raises Unavailable; the rest stays in the buffer."""
        body = b"\n".join(record.value or b"" for record in batch)
        answer = self._post(body, deadline)
        if answer.status not in (_WRITTEN, _TOO_LARGE, *_REFUSED):
            raise self._unavailable(answer)

        # A single record is written or rejected; a larger batch is halved until the guilty record is alone.
        if answer.status == _WRITTEN or len(batch) == 1:
            if answer.status != _WRITTEN:
                self._rejected.append((batch[0], f"{answer.status} {answer.text}"))
            del self._pending[: len(batch)]
            return

        half = len(batch) // 2
        if answer.status == _TOO_LARGE:
            self._batch_bytes = len(body) // 2
            self._on_notice(f"{len(body)} bytes are too much for {self._url}: at most {self._batch_bytes} from now on")
        self._write_out(batch[:half], deadline)
        self._write_out(batch[half:], deadline)

    def _post(self, body: bytes, deadline: float) -> _Answer:
        """Send one request, and count it. Raises Unavailable if it gets no answer, or the time is up."""
        left = min(self._timeout, deadline - time.monotonic())
        if left <= 0:
            raise Unavailable(f"{len(self._pending)} records not acknowledged within the time of the flush")

        client = self._opened()
        client.conf.timeout = left * 1000  # `write` takes no timeout
        assert self._writer is not None
        try:
            self._writer.write(self._bucket, self._org, body, WritePrecision.MS)  # type: ignore[arg-type]  # a text
        except ApiException as error:
            self._on_answer(error.status)
            text = str(error.message if error.status else error.reason)  # 0: TLS failed before any answer
            return _Answer(error.status, self._presentable(text), _seconds(error.retry_after))
        except (HTTPError, OSError, UnicodeDecodeError) as error:  # the last: an answer that is not UTF-8
            self._on_answer(0)
            raise Unavailable(f"{self._url}: {self._presentable(str(error))}") from None
        self._on_answer(client.api_client.last_response.status)
        return _Answer(client.api_client.last_response.status, "", None)

    def _unavailable(self, answer: _Answer) -> Unavailable:
        advice = {
            0: "no connection",
            401: "check the token",
            403: f"check that the token may write to bucket {self._bucket}",
            404: f"check the names of organisation {self._org} and bucket {self._bucket}",
        }.get(answer.status, f"expected {_WRITTEN}")
        return Unavailable(f"{self._url}: {answer.status} {answer.text} ({advice})", answer.retry_after)

    def _presentable(self, text: str) -> str:
        """Return the text on one line, cut, and without the token."""
        if self._secret:
            text = text.replace(self._secret, "<token>")
        return " ".join(text.split())[:_MOST_TEXT]

    def _opened(self) -> InfluxDBClient:
        assert self._client is not None, "open() comes first"
        return self._client


def _seconds(text: str | None) -> float | None:
    """Return Retry-After in seconds; None for its other form, a date, so that the caller waits its own time."""
    return float(text) if text is not None and text.isascii() and text.isdecimal() else None
