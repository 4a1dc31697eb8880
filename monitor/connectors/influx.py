"""Line protocol to InfluxDB 2, acknowledged by the server before a flush returns. See `base.Sink`.

A record's value is one line or a few; its key and headers say nothing to the database. The official client writes
synchronously, one request at a time, and tries nothing twice: what was not acknowledged stays here, in order, for the
next flush. Writing a point again changes nothing, so an answer that got lost does no harm.

    204                     acknowledged
    400 422                 something in the batch is refused for ever: each half is sent alone, down to the record
    413                     halves as well, and no batch as large as this one again
    429 503                 Unavailable, with Retry-After where it is given in seconds
    401 403 404             Unavailable: an operator must act; the token is asked for again at each flush
    other answers, no answer, no connection   Unavailable

The token appears in no message of this module, even where the server repeats it. docs/decisions/0004-influxdb.md says
more of the reasons. It does not wait between attempts; the caller does.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS, WriteApi
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError  # what the client lets through when there is no answer

from monitor.connectors.base import Invalid, Unavailable
from monitor.core.records import Record

_WRITTEN = 204  # any other success comes from something that is not InfluxDB's write API
_TOO_LARGE = 413
_REFUSED = (400, 422)
_WORDS = 300  # characters of the server's words that are passed on


class _Answer(NamedTuple):
    status: int
    words: str  # the server's
    retry_after: float | None


def _no_notice(_: str) -> None:
    """What is said to nobody."""


def _not_counted(_: int) -> None:
    """What nobody counts."""


class InfluxSink:
    """Points into a bucket; see the module."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        org: str,
        bucket: str,
        *,
        bound: int = 10_000,
        batch_bytes: int = 500_000,
        timeout: float = 10.0,
        on_notice: Callable[[str], None] = _no_notice,
        on_answer: Callable[[int], None] = _not_counted,
    ) -> None:
        """See the module.

        Args:
            url: Of the server, without the path of its API.
            token: Gives the token; asked at each flush, since the file it stands in may change.
            org: Name or id of the organisation.
            bucket: Name or id of the bucket.
            bound: Records held between two flushes; an empty buffer takes one call of any length.
            batch_bytes: Of a request at most: the 5,000 lines InfluxDB advises, if they have 100 bytes, and less than
                the 1 MB that many a proxy stops at. A record is never divided.
            timeout: Seconds that one request may take, if the flush leaves it as many.
            on_notice: Told when batches are made smaller for good.
            on_answer: Told the status of the answer to each request; 0 = none came.
        """
        self._url, self._token, self._org, self._bucket = url, token, org, bucket
        self._bound = bound
        self._batch_bytes = batch_bytes
        self._timeout = timeout
        self._on_notice, self._on_answer = on_notice, on_answer
        self._held: list[Record] = []  # written and not acknowledged
        self._rejected: list[tuple[Record, str]] = []  # not yet told
        self._secret = ""  # the token in use
        self._client: InfluxDBClient | None = None
        self._writer: WriteApi | None = None

    def open(self) -> None:
        """Make the client, which connects with the first request."""
        self._client = InfluxDBClient(self._url, org=self._org, retries=False)
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)

    def write(self, records: Sequence[Record]) -> None:
        """Accept all records, or raise Unavailable and accept none of them. Never waits."""
        if self._held and len(self._held) + len(records) > self._bound:
            raise Unavailable(f"{len(self._held)} records wait to be written, at most {self._bound} may")
        self._held += records

    def flush(self, timeout: float) -> None:
        """See `base.Sink`."""
        deadline = time.monotonic() + timeout
        if self._held:
            self._authorise()
        while self._held:
            self._settle(self._next_batch(), deadline)
        self._rejected, rejected = [], self._rejected
        if rejected:
            raise Invalid(f"{len(rejected)} records refused for ever; the first: {rejected[0][1]}", rejected)

    def close(self) -> None:
        client, self._client, self._writer = self._client, None, None
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]
        self._held.clear()

    def _authorise(self) -> None:
        """Take the token as it is now. A header with an odd sign would end in an exception that shows it."""
        try:
            token = self._token().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"the token cannot be read: {error}") from error
        if not (token.isascii() and token.isprintable()):
            raise Unavailable("the token holds characters that have no place in an HTTP header")
        self._secret = token
        self._opened().api_client.default_headers["Authorization"] = f"Token {token}"

    def _next_batch(self) -> list[Record]:
        """The oldest records, at least one, as many as a request may hold."""
        size = 0
        for count, record in enumerate(self._held):
            size += len(record.value or b"") + 1
            if size > self._batch_bytes and count > 0:
                return self._held[:count]
        return self._held[:]

    def _settle(self, batch: Sequence[Record], deadline: float) -> None:
        """Get rid of the oldest records: written, or rejected one by one. Raises Unavailable with the rest held."""
        body = b"\n".join(record.value or b"" for record in batch)
        answer = self._post(body, deadline)
        if answer.status not in (_WRITTEN, _TOO_LARGE, *_REFUSED):
            raise self._unavailable(answer)
        if answer.status == _WRITTEN or len(batch) == 1:
            if answer.status != _WRITTEN:
                self._rejected.append((batch[0], f"{answer.status} {answer.words}"))
            del self._held[: len(batch)]
            return
        half = len(batch) // 2
        if answer.status == _TOO_LARGE:
            self._batch_bytes = len(body) // 2
            self._on_notice(f"{len(body)} bytes are too much for {self._url}: at most {self._batch_bytes} from now on")
        self._settle(batch[:half], deadline)
        self._settle(batch[half:], deadline)

    def _post(self, body: bytes, deadline: float) -> _Answer:
        """One request, counted. Raises Unavailable if it gets no answer, or the time is up."""
        left = min(self._timeout, deadline - time.monotonic())
        if left <= 0:
            raise Unavailable(f"{len(self._held)} records not acknowledged within the time of the flush")
        client = self._opened()
        client.conf.timeout = left * 1000  # `write` takes none of its own
        assert self._writer is not None
        try:
            self._writer.write(self._bucket, self._org, body, WritePrecision.MS)  # type: ignore[arg-type]  # a text
        except ApiException as error:
            self._on_answer(error.status)
            words = str(error.message if error.status else error.reason)  # 0: TLS failed before any answer
            return _Answer(error.status, self._presentable(words), _seconds(error.retry_after))
        except (HTTPError, OSError, UnicodeDecodeError) as error:  # the last: an answer that is no text
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
        return Unavailable(f"{self._url}: {answer.status} {answer.words} ({advice})", answer.retry_after)

    def _presentable(self, words: str) -> str:
        """On one line, of bounded length, and without the token."""
        if self._secret:
            words = words.replace(self._secret, "<token>")
        return " ".join(words.split())[:_WORDS]

    def _opened(self) -> InfluxDBClient:
        assert self._client is not None, "open() comes first"
        return self._client


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is left to the caller's own patience."""
    return float(text) if text is not None and text.isascii() and text.isdecimal() else None
